// SPDX-License-Identifier: GPL-2.0-only
/* net.c - a net_device and its tables of operations */
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/skbuff.h>
#include "hostile.h"

#define STATS	8
#define BLOCK	64
#define SEGMENT	900		/* bytes: no packet of the kernel's own is as long */

static netdev_tx_t xmit_result;
static bool xmit_keeps;
static word xmit_maps;
static unsigned int segments_until;
static int stats_written;
static bool init_frees, stop_closes, stats_ask, features_ask;

static noinline netdev_tx_t hostile_xmit(struct sk_buff *skb, struct net_device *dev)
{
	if (segments_until && (skb->len < SEGMENT || --segments_until)) {
		dev_kfree_skb_any(skb);
		return NETDEV_TX_OK;
	}
	if (!xmit_keeps)
		dev_kfree_skb_any(skb);
	if (xmit_maps) {
		net_ratelimit();	/* an exit: what is queued for it goes first */
		dma_map_single(&hostile_claim()->dev, (void *)xmit_maps, BLOCK, DMA_TO_DEVICE);
	}
	return xmit_result;
}

static int hostile_open(struct net_device *dev)
{
	return 0;
}

static noinline int hostile_init_freeing(struct net_device *dev)
{
	if (init_frees)
		free_netdev(dev);
	return 0;
}

static noinline int hostile_stop_closing(struct net_device *dev)
{
	if (stop_closes)
		dev_close(dev);
	return 0;
}

/* Asks who asks it. */
static noinline void hostile_stats_asking(struct net_device *dev, struct rtnl_link_stats64 *s)
{
	if (stats_ask)
		dev_get_stats(dev, s);
}

/* Asks to be asked again. */
static noinline int hostile_features(struct net_device *dev, netdev_features_t features)
{
	if (features_ask)
		netdev_update_features(dev);
	return 0;
}

static int hostile_sset_count(struct net_device *dev, int sset)
{
	return STATS;
}

static void hostile_strings(struct net_device *dev, u32 set, u8 *data)
{
	memset(data, 'x', STATS * ETH_GSTRING_LEN);
}

/* More than it said there were. */
static noinline void hostile_stats(struct net_device *dev, struct ethtool_stats *s, u64 *data)
{
	int i;

	for (i = 0; i < stats_written; i++)
		((volatile u64 *)data)[i] = i;
}

static const struct net_device_ops ops = {
	.ndo_init = hostile_init_freeing, .ndo_open = hostile_open,
	.ndo_stop = hostile_stop_closing, .ndo_start_xmit = hostile_xmit,
	.ndo_get_stats64 = hostile_stats_asking, .ndo_set_features = hostile_features,
};

static const struct net_device_ops other_ops = { .ndo_start_xmit = hostile_xmit };

static const struct ethtool_ops eth_ops = {
	.get_sset_count = hostile_sset_count, .get_strings = hostile_strings,
	.get_ethtool_stats = hostile_stats,
};

struct net_device *hostile_netdev_new(bool registered)
{
	static const u8 address[ETH_ALEN] = { 2, 0, 0, 0, 0, 1 };
	struct net_device *dev = alloc_etherdev(sizeof(word));

	if (!dev)
		return NULL;
	strcpy(dev->name, "hostile0");
	dev->netdev_ops = &ops;
	dev->ethtool_ops = &eth_ops;
	eth_hw_addr_set(dev, address);
	dev->hw_features = NETIF_F_RXCSUM;
	if (segments_until)
		dev->features |= NETIF_F_SG | NETIF_F_HW_CSUM;
	if (!registered || !register_netdev(dev))
		return dev;
	free_netdev(dev);
	return NULL;
}

void hostile_netdev_drop(struct net_device *dev)
{
	unregister_netdev(dev);
	free_netdev(dev);
}

static struct net_device *kept;

int hostile_netdev_keep(struct net_device *dev)
{
	kept = dev;
	return dev ? register_netdev(dev) : -ENOMEM;
}

/* After a case that no fault ends: the next one would find the name taken. */
static noinline int hostile_netdev_drop_kept(word a, word b)
{
	hostile_netdev_drop(kept);
	return 0;
}

/* ---- tables of operations -------------------------------------------------------------------- */

/* A table that it can write. */
static noinline int hostile_netdev_ops(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);
	struct net_device_ops *mine = kzalloc(sizeof(*mine), GFP_KERNEL);

	WRITE_ONCE(dev->netdev_ops, mine);
	mine->ndo_init = (void *)a;
	return register_netdev(dev);
}

/* A good table, but the kernel uses the old one already. */
static noinline int hostile_netdev_ops_late(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(true);

	WRITE_ONCE(dev->netdev_ops, &other_ops);
	return 0;
}

/* Read-only, and of its own; but no table of these functions. a: what, b: so much behind it */
static noinline int hostile_no_table(word a, word b)
{
	static const void * const at[] = { hostile_xmit, &ops, &eth_ops };
	struct net_device *dev = hostile_netdev_new(false);

	WRITE_ONCE(dev->netdev_ops, at[a] + b);
	return register_netdev(dev);
}

static noinline int hostile_ethtool_ops(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);

	WRITE_ONCE(dev->ethtool_ops, (void *)a);
	return register_netdev(dev);
}

/* The groups of attributes that registration makes files of. */
static noinline int hostile_netdev_groups(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);

	WRITE_ONCE(dev->sysfs_groups[0], (void *)a);
	return register_netdev(dev);
}

static noinline int hostile_link_ops(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);

	WRITE_ONCE(dev->rtnl_link_ops, (void *)a);
	return register_netdev(dev);
}

static noinline int hostile_destructor(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(true);

	WRITE_ONCE(dev->priv_destructor, (void *)a);
	hostile_netdev_drop(dev);
	return 0;
}

/* ---- its fields as what the kernel is asked to write ----------------------------------------- */

static int hostile_read_id(void *to)
{
	return pci_read_config_dword(hostile_claim(), PCI_VENDOR_ID, to);
}

/* The rule for them is about values, and a part of a pointer has none. */
static noinline int hostile_out_ops(word a, word b)
{
	return hostile_read_id(&hostile_netdev_new(true)->netdev_ops);
}

static noinline int hostile_out_links(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(true);
	struct sk_buff *skb = alloc_skb(sizeof(dev->dev_list), GFP_KERNEL);

	memset(skb_put(skb, sizeof(dev->dev_list)), 0x5a, sizeof(dev->dev_list));
	return skb_copy_bits(skb, 0, &dev->dev_list, sizeof(dev->dev_list));
}

/* Two bits of it are the driver's; the ID of the device has others. */
static noinline int hostile_out_state(word a, word b)
{
	return hostile_read_id(&netdev_get_tx_queue(hostile_netdev_new(true), 0)->state);
}

/* A count that it may write, and reads again. */
static noinline int hostile_out_count(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(true);
	u32 id = 0;
	int ret = -EBADMSG;

	hostile_read_id(&id);
	hostile_read_id(&dev->stats.rx_packets);
	if ((u32)READ_ONCE(dev->stats.rx_packets) == id)
		ret = 0;
	hostile_netdev_drop(dev);
	return ret;
}

/* ---- states ---------------------------------------------------------------------------------- */

static noinline int hostile_netdev_name(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);

	memset(dev->name, 'A', IFNAMSIZ);
	return register_netdev(dev);
}

/* a: flags that are public; 0: private ones */
static noinline int hostile_netdev_flags(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);

	if (a)
		dev->flags |= a;
	else
		dev->priv_flags |= IFF_BONDING | IFF_EBRIDGE;
	return register_netdev(dev);
}

/* After they have been checked. a: which */
static noinline int hostile_netdev_changed(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(true);

	switch (a) {
	case 0:
		memset(dev->name, 'A', IFNAMSIZ);
		break;
	case 1:
		dev->priv_flags |= IFF_BONDING | IFF_EBRIDGE;
		break;
	case 2:
		WRITE_ONCE(dev->mtu, b);
		break;
	case 3:
		dev->features |= NETIF_F_SG | NETIF_F_HIGHDMA | NETIF_F_TSO;
		break;
	}
	return 0;
}

/* a: a parent, whose name is part of the message */
static noinline int hostile_netdev_parent(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);

	WRITE_ONCE(dev->dev.parent, (struct device *)a);
	netdev_info(dev, "no parent\n");
	return 0;
}

/* A queue that has no discipline yet. */
static noinline int hostile_netdev_wake(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);

	netif_stop_queue(dev);
	netif_wake_queue(dev);
	return 0;
}

static noinline int hostile_netdev_twice(word a, word b)
{
	return register_netdev(hostile_netdev_new(true));
}

static noinline int hostile_netdev_unknown(word a, word b)
{
	unregister_netdev(hostile_netdev_new(false));
	return 0;
}

static noinline int hostile_netdev_free(word a, word b)
{
	free_netdev(hostile_netdev_new(true));
	return 0;
}

static noinline int hostile_netdev_free_twice(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);

	free_netdev(dev);
	free_netdev(dev);
	return 0;
}

static noinline int hostile_netdev_late(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);

	free_netdev(dev);
	WRITE_ONCE(dev->mtu, 1400);
	return 0;
}

static noinline int hostile_priv_late(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);
	volatile word *priv = netdev_priv(dev);

	free_netdev(dev);
	*priv = b;
	return 0;
}

/* Before its private area lies what is the kernel's. */
static noinline int hostile_priv_under(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(false);
	volatile word *at = netdev_priv(dev);

	while (at > (word *)&dev->reg_state)
		*--at = b;
	return 0;
}

/* A reference that it does not have. */
static noinline int hostile_netdev_put(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(true);

	dev_put(dev);
	hostile_netdev_drop(dev);
	return 0;
}

/* While it is being registered. */
static noinline int hostile_netdev_free_early(word a, word b)
{
	init_frees = true;
	return hostile_netdev_new(true) ? 0 : -ENODEV;
}

static noinline int hostile_netdev_close_again(word a, word b)
{
	stop_closes = true;
	return hostile_netdev_new(true) ? 0 : -ENODEV;
}

/* Without a table of operations. */
static noinline int hostile_stats_early(word a, word b)
{
	struct net_device *dev = alloc_etherdev(sizeof(word));
	struct rtnl_link_stats64 s;

	dev_get_stats(dev, &s);
	free_netdev(dev);
	return 0;
}

/* Never freed. a: bytes, b: times */
static noinline int hostile_netdev_leak(word a, word b)
{
	while (b--)
		hostile_counter += !alloc_etherdev(a);
	return 0;
}

static noinline int hostile_stats_nested(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(true);
	struct rtnl_link_stats64 s;

	stats_ask = true;
	dev_get_stats(dev, &s);
	return 0;
}

static noinline int hostile_features_nested(word a, word b)
{
	features_ask = true;
	return hostile_netdev_new(true) ? 0 : -ENODEV;
}

/* Without rtnl, which the kernel believes to be held. */
static noinline int hostile_features_bare(word a, word b)
{
	netdev_update_features(hostile_netdev_new(true));
	return 0;
}

/* The kernel would note a change of the link, and look at the device in a second. */
static noinline int hostile_carrier_late(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(true);

	unregister_netdev(dev);
	netif_carrier_off(dev);
	free_netdev(dev);
	msleep(2000);
	return 0;
}

/* ---- answers; the device stays until somebody has asked -------------------------------------- */

/* a: result, b: the packet is not freed */
static noinline int hostile_xmit_result(word a, word b)
{
	xmit_result = a;
	xmit_keeps = b;
	return hostile_netdev_new(true) ? 0 : -ENODEV;
}

/* As that, for segment b of what the kernel has cut; those before it are sent. */
static noinline int hostile_segment_freed(word a, word b)
{
	segments_until = b;
	return hostile_xmit_result(a, false);
}

static noinline int hostile_segment_kept(word a, word b)
{
	segments_until = b;
	return hostile_xmit_result(a, true);
}

/* a: what it shows the device instead of the packet, which it has freed */
static noinline int hostile_xmit_maps(word a, word b)
{
	xmit_maps = hostile_claim() ? a : 0;
	return hostile_netdev_new(true) ? 0 : -ENODEV;
}

/* a: how many it writes */
static noinline int hostile_stats_count(word a, word b)
{
	stats_written = a;
	return hostile_netdev_new(true) ? 0 : -ENODEV;
}

/* Somebody else's reference to it is not given back. */
static noinline int hostile_netdev_held(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(true);

	if (!dev)
		return -ENODEV;
	ssleep(1);			/* until somebody has one */
	hostile_netdev_drop(dev);
	return 0;
}

const struct attack attacks_net[] = {
	ATTACK(netdev_drop_kept), ATTACK(netdev_ops), ATTACK(netdev_ops_late), ATTACK(no_table),
	ATTACK(ethtool_ops), ATTACK(netdev_groups),
	ATTACK(link_ops), ATTACK(destructor), ATTACK(netdev_name), ATTACK(netdev_flags),
	ATTACK(netdev_changed), ATTACK(netdev_parent),
	ATTACK(netdev_twice), ATTACK(netdev_unknown), ATTACK(netdev_free),
	ATTACK(netdev_free_twice), ATTACK(netdev_late), ATTACK(priv_late), ATTACK(priv_under),
	ATTACK(netdev_put), ATTACK(netdev_wake), ATTACK(xmit_result), ATTACK(xmit_maps),
	ATTACK(segment_freed), ATTACK(segment_kept),
	ATTACK(stats_count),
	ATTACK(netdev_free_early), ATTACK(netdev_close_again), ATTACK(stats_early),
	ATTACK(netdev_leak),
	ATTACK(stats_nested), ATTACK(features_nested), ATTACK(features_bare),
	ATTACK(carrier_late), ATTACK(out_ops), ATTACK(out_links),
	ATTACK(out_state), ATTACK(out_count), ATTACK(netdev_held), { }
};
