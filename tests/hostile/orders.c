// SPDX-License-Identifier: GPL-2.0-only
/*
 * orders.c - a driver that calls what it is told to, with what it is told to give
 *
 *	echo "DST FN ARG..." > /sys/module/caller/parameters/attack	this moment
 *	echo "DST FN ARG..." > /sys/module/caller/parameters/later	in its next callback
 *	echo "DST FN ARG..." > /sys/module/caller/parameters/poll	in its next poll
 *
 * and so for irq and xmit.
 *
 * Several orders in one line, separated by ";", are done in one entry, or in one callback.
 *
 * FN is a number of functions.c, which `pynooks bench fuzz` writes: every function of the kernel
 * that a driver in a nook can import. Its result goes to slot DST. An ARG is a number, or
 * sSLOT+NUMBER: what that slot holds, and so much more. All numbers are hexadecimal, without 0x.
 *
 * It has what a driver of a network card has when it runs (caller_probe()), so that an order can be
 * a good one, too.
 */
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include "hostile.h"

#define ARGS	8
#define SLOTS	64
#define ORDERS	8
#define ARENA	0x8000
#define WEIGHT	16

/* The first slots: what it has from the start, and the result of the next callback, if not 0. */
enum { PDEV, DEV, NETDEV, REGS, NAPI, IRQ, HEAP, RESULT };

struct order {
	unsigned int dst, fn;
	struct {
		bool is_slot;
		unsigned int slot;
		word more;
	} arg[ARGS];
};

static word slot[SLOTS];
static u8 arena[ARENA] __aligned(PAGE_SIZE);	/* for structures that a driver embeds */
static word callbacks;

struct waiting {
	struct order order[ORDERS];
	unsigned int count;
};

static struct waiting later, polls, sends, handlers;

static noinline int caller_perform(const struct order *o)
{
	word v[ARGS];
	int i;

	for (i = 0; i < ARGS; i++)
		v[i] = (o->arg[i].is_slot ? slot[o->arg[i].slot % SLOTS] : 0) + o->arg[i].more;
	slot[o->dst % SLOTS] = caller_function(o->fn, v);
	return 0;
}

static noinline void caller_perform_all(struct waiting *w)
{
	struct order now[ORDERS];
	unsigned int i, n = xchg(&w->count, 0);

	n = min_t(unsigned int, n, ORDERS);
	memcpy(now, w->order, n * sizeof(*now));
	for (i = 0; i < n; i++)
		caller_perform(&now[i]);
}

/* What each callback does: the orders that wait for one. */
static noinline void caller_called_back(void)
{
	callbacks++;
	caller_perform_all(&later);
}

static int caller_result(int good)
{
	word result = xchg(&slot[RESULT], 0);

	return result ? (int)result : good;
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static irqreturn_t caller_irq(int irq, void *data)
{
	caller_called_back();
	caller_perform_all(&handlers);
	return caller_result(IRQ_HANDLED);
}

static int caller_poll(struct napi_struct *napi, int budget)
{
	caller_called_back();
	caller_perform_all(&polls);
	napi_complete_done(napi, 0);
	return caller_result(0);
}

static void caller_timer(struct timer_list *t)
{
	caller_called_back();
}

static void caller_work(struct work_struct *work)
{
	caller_called_back();
}

static void caller_tasklet(struct tasklet_struct *t)
{
	caller_called_back();
}

static int caller_open(struct net_device *dev)
{
	napi_enable((struct napi_struct *)slot[NAPI]);
	caller_called_back();
	return caller_result(0);
}

static int caller_stop(struct net_device *dev)
{
	caller_called_back();
	napi_disable((struct napi_struct *)slot[NAPI]);
	return caller_result(0);
}

/* The packet is its own meanwhile, in a slot that orders know. */
static netdev_tx_t caller_xmit(struct sk_buff *skb, struct net_device *dev)
{
	slot[SLOTS - 1] = (word)skb;
	if (sends.count)
		caller_perform_all(&sends);
	else
		dev_kfree_skb_any(skb);
	return caller_result(NETDEV_TX_OK);
}

static void caller_rx_mode(struct net_device *dev)
{
	caller_called_back();
}

static int caller_mtu(struct net_device *dev, int mtu)
{
	caller_called_back();
	dev->mtu = mtu;
	return caller_result(0);
}

static int caller_features(struct net_device *dev, netdev_features_t features)
{
	caller_called_back();
	return caller_result(0);
}

static void caller_stats(struct net_device *dev, struct rtnl_link_stats64 *s)
{
	caller_called_back();
}

static void caller_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	caller_called_back();
}

static int caller_nway(struct net_device *dev)
{
	caller_called_back();
	return caller_result(0);
}

static const struct net_device_ops ops = {
	.ndo_open = caller_open, .ndo_stop = caller_stop, .ndo_start_xmit = caller_xmit,
	.ndo_set_rx_mode = caller_rx_mode, .ndo_change_mtu = caller_mtu,
	.ndo_set_features = caller_features, .ndo_get_stats64 = caller_stats,
};

static const struct ethtool_ops eth_ops = {
	.get_drvinfo = caller_drvinfo, .nway_reset = caller_nway, .get_link = ethtool_op_get_link,
};

/* ---- its device ------------------------------------------------------------------------------ */

static struct net_device *caller_netdev(struct pci_dev *pdev)
{
	static const u8 address[ETH_ALEN] = { 2, 0, 0, 0, 0, 3 };
	struct net_device *dev = alloc_etherdev(sizeof(struct napi_struct));

	if (!dev)
		return NULL;
	SET_NETDEV_DEV(dev, &pdev->dev);
	strcpy(dev->name, "caller0");
	dev->netdev_ops = &ops;
	dev->ethtool_ops = &eth_ops;
	dev->hw_features = NETIF_F_RXCSUM;
	eth_hw_addr_set(dev, address);
	netif_napi_add_weight(dev, netdev_priv(dev), caller_poll, WEIGHT);
	slot[NAPI] = (word)netdev_priv(dev);
	if (!register_netdev(dev))
		return dev;
	free_netdev(dev);
	return NULL;
}

static int caller_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	if (pci_enable_device_mem(pdev))
		return -EIO;
	slot[PDEV] = (word)pdev;
	slot[DEV] = (word)&pdev->dev;
	slot[REGS] = (word)pci_ioremap_bar(pdev, 0);
	slot[IRQ] = pdev->irq;
	slot[HEAP] = (word)kmalloc(PAGE_SIZE, GFP_KERNEL);
	slot[NETDEV] = (word)caller_netdev(pdev);
	pci_set_drvdata(pdev, (void *)slot[NETDEV]);
	return slot[REGS] && slot[HEAP] && slot[NETDEV] ? 0 : -ENOMEM;
}

/* Orders may have done some of it already; then it is a fault. */
static void caller_remove(struct pci_dev *pdev)
{
	struct net_device *dev = pci_get_drvdata(pdev);

	unregister_netdev(dev);
	free_netdev(dev);
	iounmap((void __iomem *)slot[REGS]);
	pci_disable_device(pdev);
}

static const struct pci_device_id ids[] = { { PCI_DEVICE(0x8086, 0x100e) }, { } };
static struct pci_driver driver = {
	.name = "caller", .id_table = ids, .probe = caller_probe, .remove = caller_remove,
};

/* ---- what orders point at -------------------------------------------------------------------- */

static const char * const strings[] = { "caller%d", "caller", "%s %pM %d", "", "%n%p%s" };
static const struct net_device_ops other_ops = { .ndo_start_xmit = caller_xmit };

/* Read-only: arena, slots, strings, tables, functions. The order is that of PLACES in fuzz.py. */
static word places[] = {
	(word)arena, (word)slot, (word)&ops, (word)&other_ops, (word)&eth_ops, (word)&driver,
	(word)ids, (word)caller_irq, (word)caller_poll, (word)caller_timer, (word)caller_work,
	(word)caller_tasklet, (word)delayed_work_timer_fn, (word)strings,
};
static int nplaces = ARRAY_SIZE(places);
module_param_array(places, ulong, &nplaces, 0400);
static word texts[ARRAY_SIZE(strings)];
static int ntexts = ARRAY_SIZE(strings);
module_param_array(texts, ulong, &ntexts, 0400);
module_param(callbacks, ulong, 0400);

static word heap;
module_param(heap, ulong, 0400);

/* ---- orders ---------------------------------------------------------------------------------- */

static const char *caller_hex(const char *s, word *v)
{
	for (*v = 0; *s && !strchr(" +;\n", *s); s++)
		*v = *v << 4 | ((*s & 15) + (*s > '9' ? 9 : 0));
	return s;
}

static const char *caller_arg(const char *s, struct order *o, int i)
{
	word v;

	o->arg[i].is_slot = *s == 's';
	if (*s == 's') {
		s = caller_hex(s + 1, &v);
		o->arg[i].slot = v;
		if (*s != '+')
			return s;
		s++;
	}
	return caller_hex(s, &o->arg[i].more);
}

static const char *caller_read(const char *s, struct order *o)
{
	word v;
	int i;

	memset(o, 0, sizeof(*o));
	s = caller_hex(s, &v);
	o->dst = v;
	s = caller_hex(*s == ' ' ? s + 1 : s, &v);
	o->fn = v;
	for (i = 0; i < ARGS && *s == ' '; i++)
		s = caller_arg(s + 1, o, i);
	return *s == ';' ? s + 1 : NULL;
}

static int attack_set(const char *val, const struct kernel_param *kp)
{
	struct order o;

	if (!strncmp(val, "ping", 4))
		return 0;
	while (val) {
		val = caller_read(val, &o);
		caller_perform(&o);
	}
	return 0;
}

static int later_set(const char *val, const struct kernel_param *kp)
{
	struct waiting *w = kp->arg;

	while (val && w->count < ORDERS) {
		val = caller_read(val, &w->order[w->count]);
		w->count++;
	}
	return 0;
}

static const struct kernel_param_ops attack_ops = { .set = attack_set };
module_param_cb(attack, &attack_ops, NULL, 0200);
static const struct kernel_param_ops later_ops = { .set = later_set };
module_param_cb(later, &later_ops, &later, 0200);
module_param_cb(poll, &later_ops, &polls, 0200);
module_param_cb(xmit, &later_ops, &sends, 0200);
module_param_cb(irq, &later_ops, &handlers, 0200);

static int __init caller_init(void)
{
	int ret = pci_register_driver(&driver);

	memcpy(texts, strings, sizeof(texts));
	heap = slot[HEAP];
	return ret ?: heap ? 0 : -ENODEV;
}

static void __exit caller_exit(void)
{
	pci_unregister_driver(&driver);
}

module_init(caller_init);
module_exit(caller_exit);
MODULE_DESCRIPTION("Calls what it is told to; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
