// SPDX-License-Identifier: GPL-2.0-only
/*
 * net.c - network devices
 *
 * The kernel allocates a net_device and the driver's private area as one block, sharing a page. A
 * nook may write only whole pages. So the block is allocated larger, and the net_device is moved
 * inside it until the private area starts on a page: the kernel finds the start of the block by
 * dev->padded, which net_move() sets. Everything that points into the net_device at that time is in
 * the structure itself, in its queues or in its address list; net_move() corrects those and refuses
 * the device if it finds one that it does not know.
 *
 * Context: process, may sleep, kernel view, if the function does not say otherwise.
 */
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include "domain/shadow.h"
#include "objtrack/objtrack.h"
#include "wrappers.h"
#include "wrappers/netshadow.h"

#define NET_PRIV_MAX	SZ_256K
#define NET_QUEUES_MAX	64

/* ---- moving a new net_device ---------------------------------------------------------------- */

/* Words in [p, p+len) that point into [from, from+size), corrected; returns how many. */
static size_t net_relocate(void *p, size_t len, const void *from, size_t size, long delta)
{
	unsigned long lo = (unsigned long)from, hi = lo + size;
	unsigned long *w = p, *end = p + round_down(len, sizeof(*w));
	size_t n = 0;

	for (; w < end; w++) {
		if (*w < lo || *w >= hi)
			continue;
		*w += delta;
		n++;
	}
	return n;
}

/* The lists must be closed again: every element points back at us. */
static bool net_lists_closed(struct net_device *dev)
{
	struct list_head *lists[] = {
		&dev->napi_list, &dev->unreg_list, &dev->close_list, &dev->ptype_all,
		&dev->ptype_specific, &dev->adj_list.upper, &dev->adj_list.lower, &dev->uc.list,
		&dev->mc.list, &dev->link_watch_list, &dev->net_notifier_list,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(lists); i++)
		if (!list_empty(lists[i]) || lists[i]->prev != lists[i])
			return false;
	return list_is_singular(&dev->dev_addrs.list) &&
	       dev->dev_addrs.list.next->next == &dev->dev_addrs.list;
}

/* Nothing that is registered anywhere, and nothing a later kernel might add without our knowing. */
static bool net_movable(const struct net_device *dev)
{
	return dev->reg_state == NETREG_UNINITIALIZED && !dev->ingress_queue && !dev->qdisc &&
	       !dev->name_node && !dev->phydev && !dev->dev.kobj.state_initialized &&
	       !timer_pending(&dev->watchdog_timer) && dev->dev_addr;
}

static bool net_queues_moved(const struct net_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->num_tx_queues; i++)
		if (dev->_tx[i].dev != dev)
			return false;
	for (i = 0; i < dev->num_rx_queues; i++)
		if (dev->_rx[i].dev != dev || dev->_rx[i].xdp_rxq.dev != dev)
			return false;
	return true;
}

/*
 * The transmit queues get pages of their own, so that a nook can be shown a copy of them. Nothing
 * but the net_device and themselves knows yet where they are. Without memory they stay: their
 * fields are checked writes then. free_netdev() frees either.
 */
static void net_move_queues(struct net_device *dev)
{
	size_t size = dev->num_tx_queues * sizeof(*dev->_tx);
	struct netdev_queue *old = dev->_tx, *to = kzalloc(PAGE_ALIGN(size), GFP_KERNEL);

	if (!to || !PAGE_ALIGNED(to)) {
		kfree(to);
		return;
	}
	memcpy(to, old, size);
	net_relocate(to, size, old, size, (void *)to - (void *)old);
	dev->_tx = to;
	kvfree(old);
}

static struct net_device *net_move(struct net_device *dev)
{
	struct netdev_hw_addr *ha = list_first_entry(&dev->dev_addrs.list, struct netdev_hw_addr,
						     list);
	void *start = (void *)dev - dev->padded;
	const size_t body = ALIGN(sizeof(*dev), NETDEV_ALIGN);
	struct net_device *to = (void *)PAGE_ALIGN((unsigned long)dev + body) - body;
	long delta = (void *)to - (void *)dev;

	if (!net_movable(dev))
		return NULL;
	memmove(to, dev, sizeof(*dev));
	to->padded = (void *)to - start;
	net_relocate(to, sizeof(*to), dev, sizeof(*dev), delta);
	net_relocate(to->_tx, to->num_tx_queues * sizeof(*to->_tx), dev, sizeof(*dev), delta);
	net_relocate(to->_rx, to->num_rx_queues * sizeof(*to->_rx), dev, sizeof(*dev), delta);
	net_relocate(ha, sizeof(*ha), dev, sizeof(*dev), delta);
	net_move_queues(to);
	return to;
}

static struct net_device *net_alloc(int priv, unsigned int txqs, unsigned int rxqs)
{
	/* a page to move within; and more than two, so that the block is whole pages of its own */
	size_t size = PAGE_ALIGN(priv) + 2 * PAGE_SIZE;
	struct net_device *dev = alloc_etherdev_mqs(size, txqs, rxqs), *to;

	if (!dev)
		return NULL;
	to = net_move(dev);
	if (!to) {
		free_netdev(dev);
		return NULL;
	}
	if (WARN_ON_ONCE(!net_lists_closed(to) || !net_queues_moved(to) ||
			 !PAGE_ALIGNED(netdev_priv(to))))
		return NULL;		/* leaked: its pointers are not to be followed */
	memset(netdev_priv(to), 0, PAGE_ALIGN(priv));
	return to;
}

/* ---- allocation ----------------------------------------------------------------------------- */

static void net_untrack(struct nook *nk, struct net_device *dev)
{
	unsigned int i;

	shadow_destroy(nk, dev);
	shadow_destroy(nk, dev->_tx);
	for (i = 0; i < dev->num_tx_queues; i++)
		objtrack_del(nk, OBJ_NETDEV_QUEUE, &dev->_tx[i]);
	objtrack_del(nk, OBJ_NET_DEVICE, dev);
}

static int net_track(struct nook *nk, struct net_device *dev, size_t priv)
{
	unsigned int i;

	for (i = 0; i < dev->num_tx_queues; i++)
		if (nooks_track(nk, OBJ_NETDEV_QUEUE, &dev->_tx[i], sizeof(dev->_tx[i]), dev, 0, 0,
				GFP_KERNEL))
			goto untrack;
	if (nooks_track(nk, OBJ_NET_DEVICE, dev, sizeof(*dev), NULL, (u64)dev->ethtool_ops, 0,
			GFP_KERNEL))
		goto untrack;
	if (nook_grant(nk, netdev_priv(dev), priv))
		goto untrack;
	/* without them its fields are checked writes: slower, and as safe */
	shadow_create(nk, OBJ_NET_DEVICE, dev, sizeof(*dev));
	if (PAGE_ALIGNED(dev->_tx))
		shadow_create(nk, OBJ_NETDEV_QUEUE, dev->_tx,
			      dev->num_tx_queues * sizeof(*dev->_tx));
	nooks_skb_pool_create(nk);
	if (!nooks_track(nk, OBJ_NETDEV_PRIV, netdev_priv(dev), priv, dev, 0, 0, GFP_KERNEL))
		return 0;
	nook_revoke(nk, netdev_priv(dev), priv);
untrack:
	net_untrack(nk, dev);
	return -ENOMEM;
}

/* The private area goes back to the kernel with everything in it that had a twin. */
static void net_forget(struct nook *nk, struct net_device *dev, size_t priv)
{
	nooks_napi_del_all(nk, dev);
	net_untrack(nk, dev);
	objtrack_drop_range(nk, netdev_priv(dev), priv);
	nook_revoke(nk, netdev_priv(dev), priv);
}

/* The device that is being probed, or NULL. */
static struct device *net_origin(const struct xpc *x)
{
	if (x->desc != nooks_entry_at(&nooks_entries_pci_driver,
				      offsetof(struct pci_driver, probe)))
		return NULL;
	return &((struct pci_dev *)x->arg)->dev;
}

/* A device that has outlived its driver, for a new one that believes it to be new. */
static struct net_device *net_adopt(struct nook *nk, struct net_shadow *sh)
{
	struct net_device *dev = sh->dev;

	memset(netdev_priv(dev), 0, sh->priv);
	if (net_track(nk, dev, sh->priv))
		return NULL;
	sh->has_addr = false;
	sh->view = shadow_stage(nk, dev, sh->fresh);
	if (!sh->view) {
		objtrack_del(nk, OBJ_NETDEV_PRIV, netdev_priv(dev));
		net_forget(nk, dev, sh->priv);
		return NULL;
	}
	netcarrier_stage(sh);
	WRITE_ONCE(sh->phase, NET_STAGED);
	return dev;
}

static struct net_device *net_create(struct nook *nk, struct device *origin, size_t priv, u32 txqs,
				     u32 rxqs)
{
	struct net_device *dev = net_alloc(priv, txqs, rxqs);
	struct net_shadow *sh;

	if (!dev)
		return NULL;
	sh = netshadow_create(nk, dev, origin, priv, txqs, rxqs);
	if (sh && !net_track(nk, dev, priv))
		return dev;
	netshadow_destroy(nk, sh);
	free_netdev(dev);
	return NULL;
}

static u64 net_new(struct xpc *x, const char *fn, u64 priv, u32 txqs, u32 rxqs)
{
	struct device *origin = net_origin(x);
	struct net_shadow *sh;

	if (!wrap_may_sleep(x, fn))
		return 0;
	if (priv > NET_PRIV_MAX || !txqs || txqs > NET_QUEUES_MAX || !rxqs || rxqs > NET_QUEUES_MAX)
		return nooks_reject(x, "%s: %llu bytes, %u and %u queues", fn, priv, txqs, rxqs);
	priv = PAGE_ALIGN(max_t(u64, priv, 1));
	sh = netshadow_parked(x->nook, origin, priv, txqs, rxqs);
	if (sh)
		return (u64)net_adopt(x->nook, sh);
	if (!nook_may_have(x, priv + sizeof(struct net_device)))
		return 0;
	return (u64)net_create(x->nook, origin, priv, txqs, rxqs);
}

/* (sizeof_priv, txqs, rxqs) */
u64 wrap_alloc_etherdev_mqs(struct xpc *x, const u64 *a)
{
	return net_new(x, "alloc_etherdev_mqs", (u32)a[0], a[1], a[2]);
}

static const struct entry_desc net_setup_entry = {
	.name = "net_device.setup", .nargs = 1, .ret = RET_VOID,
};

/*
 * (sizeof_priv, name, name_assign_type, setup, txqs, rxqs)
 *
 * A set-up function of the driver is called when the device is in place, and the set-up of Ethernet
 * has been done: what it does again changes nothing, and what else it writes is for the policy to
 * judge.
 */
u64 wrap_alloc_netdev_mqs(struct xpc *x, const u64 *a)
{
	static const char fn[] = "alloc_netdev_mqs";
	struct net_device *dev;
	u64 args[NOOKS_ARGS] = {};
	struct gate *setup = NULL;
	char name[IFNAMSIZ];
	long len;

	if ((void *)a[3] != ether_setup) {
		setup = arg_gate(x, fn, "setup", (void *)a[3]);
		if (!setup)
			return 0;
	}
	if (!arg_string(x, fn, "name", (char *)a[1]))
		return 0;
	len = wrap_fetch_string(name, (char *)a[1], sizeof(name));
	if (len < 0 || len >= IFNAMSIZ)
		return nooks_reject(x, "%s(name): too long", fn);
	dev = (struct net_device *)net_new(x, fn, (u32)a[0], a[4], a[5]);
	if (!dev)
		return 0;
	if (dev->reg_state == NETREG_UNINITIALIZED) {
		strscpy(dev->name, name, sizeof(dev->name));
		dev->name_assign_type = a[2];
	}
	args[0] = (u64)dev;
	if (setup)
		nook_call(x->nook, setup->target, &net_setup_entry, args);
	return (u64)dev;
}

/* One that was staged is parked again: who restarts the driver decides what becomes of it. */
void nooks_withdraw_netdev_priv(struct nook *nk, struct tracked *t)
{
	struct net_device *dev = t->twin;
	struct net_shadow *sh = netshadow_find(nk, dev);

	net_forget(nk, dev, objtrack_size(t));
	if (sh && sh->phase >= NET_PARKED) {
		t->twin = NULL;		/* it is not freed */
		sh->view = NULL;
		WRITE_ONCE(sh->phase, NET_PARKED);
		return;
	}
	netshadow_destroy(nk, sh);
}

void nooks_finish_netdev_priv(struct nook *nk, struct tracked *t)
{
	if (t->twin)
		free_netdev(t->twin);
}

static bool net_staged(struct nook *nk, const struct net_device *dev)
{
	struct net_shadow *sh = netshadow_find(nk, dev);

	return sh && sh->phase == NET_STAGED;
}

static bool net_published(struct nook *nk, const struct net_device *dev)
{
	struct tracked *t = objtrack_find(nk, OBJ_NET_DEVICE, dev);
	bool published = t && READ_ONCE(t->published);

	if (t)
		objtrack_put(t);
	return published;
}

u64 wrap_free_netdev(struct xpc *x, const u64 *a)
{
	struct net_device *dev = (struct net_device *)a[0];
	struct tracked *t;

	if (!wrap_may_sleep(x, "free_netdev") ||
	    !arg_obj(x, "free_netdev", "dev", OBJ_NET_DEVICE, dev))
		return 0;
	if (dev->reg_state != NETREG_UNINITIALIZED && dev->reg_state != NETREG_UNREGISTERED &&
	    !net_staged(x->nook, dev))
		return nooks_reject(x, "free_netdev(dev): still registered");
	/* by its own ndo_init */
	if (dev->reg_state != NETREG_UNREGISTERED && net_published(x->nook, dev))
		return nooks_reject(x, "free_netdev(dev): it is being registered");
	t = objtrack_take(x->nook, OBJ_NETDEV_PRIV, netdev_priv(dev));
	if (!t)
		return nooks_reject(x, "free_netdev(dev): freed already");
	objtrack_retire(t);
	return 0;
}

/* ---- registration --------------------------------------------------------------------------- */

/* alloc_netdev() has set a table of the kernel's own, which stays if the driver has none. */
static bool net_ethtool_ops(struct xpc *x, const char *fn, const struct net_device *dev,
			    const struct ethtool_ops *ops)
{
	struct tracked *t = objtrack_find(x->nook, OBJ_NET_DEVICE, dev);
	bool same = t && t->data[0] == (u64)ops;

	if (t)
		objtrack_put(t);
	if (same)
		return true;
	if (!arg_ops(x, fn, "dev->ethtool_ops", ops, &nooks_entries_ethtool_ops))
		return false;
	if (!ops->set_coalesce || ops->supported_coalesce_params)
		return true;
	nooks_reject(x, "%s(dev->ethtool_ops): set_coalesce, and nothing that it could set", fn);
	return false;
}

static bool net_netdev_ops(struct xpc *x, const char *fn, const struct net_device *v)
{
	netdev_features_t empty;

	if (!arg_ops(x, fn, "dev->netdev_ops", v->netdev_ops, &nooks_entries_net_device_ops))
		return false;
	empty = netanswer_features(v->netdev_ops, v->features | v->hw_features);
	if (!v->netdev_ops->ndo_start_xmit)
		nooks_reject(x, "%s(dev->netdev_ops): cannot send", fn);
	else if (empty)
		nooks_reject(x, "%s(dev->features): %llx need operations that it does not have",
			     fn, empty);
	else
		return true;
	return false;
}

/* The others say what kind of device it is, and the kernel believes them about the private area. */
#define NET_PRIV_FLAGS (IFF_XMIT_DST_RELEASE | IFF_XMIT_DST_RELEASE_PERM | IFF_UNICAST_FLT | \
			IFF_SUPP_NOFCS | IFF_LIVE_ADDR_CHANGE | IFF_TX_SKB_SHARING | \
			IFF_DONT_BRIDGE | IFF_DISABLE_NETPOLL)
/* Neither is it up, nor does it have a reference to promiscuous mode. */
#define NET_FLAGS (IFF_BROADCAST | IFF_MULTICAST | IFF_NOARP | IFF_POINTOPOINT | IFF_DEBUG | \
		   IFF_PORTSEL | IFF_AUTOMEDIA | IFF_DYNAMIC | IFF_NOTRAILERS)

/* @v: the device as the driver has described it */
static bool net_registrable(struct xpc *x, const char *fn, const struct net_device *dev,
			    const struct net_device *v)
{
	if (v->priv_flags & ~(u64)NET_PRIV_FLAGS)
		nooks_reject(x, "%s(dev->priv_flags): %llx", fn, (u64)v->priv_flags);
	else if (v->flags & ~(unsigned int)NET_FLAGS)
		nooks_reject(x, "%s(dev->flags): %x", fn, v->flags);
	else if (strnlen(v->name, IFNAMSIZ) == IFNAMSIZ)
		nooks_reject(x, "%s(dev->name): has no end", fn);
	else if (v->dev.parent && !objtrack_has(x->nook, OBJ_DEVICE, v->dev.parent))
		nooks_reject(x, "%s(dev->dev.parent): not a tracked device", fn);
	else
		return net_netdev_ops(x, fn, v) && net_ethtool_ops(x, fn, dev, v->ethtool_ops);
	return false;
}

/* From registration on the kernel calls through the tables: checked writes of them end. */
static void net_publish(struct nook *nk, struct net_device *dev, bool published)
{
	struct tracked *t = objtrack_find(nk, OBJ_NET_DEVICE, dev);

	if (!t)
		return;
	WRITE_ONCE(t->published, published);
	objtrack_put(t);
}

/* For the kernel it is registered, and stays so. */
static int net_rejoin(struct xpc *x, const char *fn, struct net_shadow *sh)
{
	const struct net_device_ops *ops = sh->view->netdev_ops;
	int ret = 0;

	if (sh->view->dev.parent != sh->dev->dev.parent) {
		nooks_reject(x, "%s(dev->dev.parent): another one than before", fn);
		return 0;
	}
	if (ops->ndo_init)
		ret = ops->ndo_init(sh->dev);
	if (!ret)
		WRITE_ONCE(sh->phase, NET_REJOINED);
	return ret;
}

static int net_register(struct xpc *x, const char *fn, struct net_device *dev,
			struct net_shadow *sh)
{
	int ret;

	if (sh->phase == NET_STAGED)
		return net_rejoin(x, fn, sh);
	if (dev->reg_state != NETREG_UNINITIALIZED) {
		nooks_reject(x, "%s(dev): registered already", fn);
		return 0;
	}
	ret = register_netdevice(dev);
	if (!ret) {
		netshadow_declared(sh);
		WRITE_ONCE(sh->phase, NET_LIVE);
	}
	return ret;
}

u64 wrap_register_netdev(struct xpc *x, const u64 *a)
{
	static const char fn[] = "register_netdev";
	struct net_device *dev = (struct net_device *)a[0];
	struct net_shadow *sh;
	int ret;

	if (!arg_obj(x, fn, "dev", OBJ_NET_DEVICE, dev))
		return 0;
	sh = netshadow_find(x->nook, dev);
	if (!sh)
		return nooks_reject(x, "%s(dev): being freed", fn);
	net_publish(x->nook, dev, true);	/* before the check, so that it cannot be outrun */
	if (!net_registrable(x, fn, dev, netshadow_view(sh)) || !wrap_take_rtnl(x, fn))
		return 0;
	ret = net_register(x, fn, dev, sh);
	rtnl_unlock();
	if (ret)
		net_publish(x->nook, dev, false);
	return ret;
}

static void net_unregister(struct nook *nk, struct net_device *dev)
{
	struct net_shadow *sh = netshadow_find(nk, dev);

	unregister_netdevice(dev);
	if (sh)
		WRITE_ONCE(sh->phase, NET_NEW);
}

/* Why by hand: the kernel has a BUG for a device in any other state. */
u64 wrap_unregister_netdev(struct xpc *x, const u64 *a)
{
	static const char fn[] = "unregister_netdev";
	struct net_device *dev = (struct net_device *)a[0];

	if (!arg_obj(x, fn, "dev", OBJ_NET_DEVICE, dev))
		return 0;
	if (!wrap_take_rtnl(x, fn))
		return 0;
	if (dev->reg_state == NETREG_REGISTERED && !net_staged(x->nook, dev))
		net_unregister(x->nook, dev);
	else
		nooks_reject(x, "%s(dev): not registered", fn);
	rtnl_unlock();
	return 0;
}

void nooks_release_net_device(struct nook *nk, struct tracked *t)
{
	struct net_device *dev = (struct net_device *)t->it.start;

	struct net_shadow *sh = netshadow_find(nk, dev);

	nooks_napi_stop_all(dev);
	rtnl_lock();
	if (dev->reg_state == NETREG_REGISTERED) {
		/* without a copy a new driver could not describe it without being believed */
		if (sh && nk->comes_back && shadow_shows(nk, dev))
			netshadow_park(sh);
		else
			net_unregister(nk, dev);
	}
	rtnl_unlock();
}

/* ---- addresses and queues ------------------------------------------------------------------- */

/* (dev, offset, addr, len) */
u64 wrap_dev_addr_mod(struct xpc *x, const u64 *a)
{
	static const char fn[] = "dev_addr_mod";
	struct net_device *dev = (struct net_device *)a[0];
	struct net_shadow *sh;
	u8 addr[MAX_ADDR_LEN];
	u32 off = a[1];

	if (!arg_obj(x, fn, "dev", OBJ_NET_DEVICE, dev))
		return 0;
	if (off > MAX_ADDR_LEN || a[3] > MAX_ADDR_LEN - off)
		return nooks_reject(x, "%s(offset, len): %u, %llu", fn, off, a[3]);
	if (copy_from_kernel_nofault(addr, (void *)a[2], a[3]))
		return nooks_reject(x, "%s(addr): not readable", fn);
	sh = netshadow_find(x->nook, dev);
	if (sh && sh->phase != NET_LIVE) {
		memcpy(sh->addr + off, addr, a[3]);
		sh->has_addr = true;
	}
	if (sh && sh->view)
		return 0;		/* the kernel's address stays; it is replayed */
	if (dev->reg_state == NETREG_REGISTERED && !rtnl_is_locked())
		return nooks_reject(x, "%s(dev): rtnl is not held", fn);
	dev_addr_mod(dev, off, addr, a[3]);
	return 0;
}

/*
 * (dev, storage): by the tables of a device that is not registered nobody may call yet. Returns
 * what the driver knows the result by.
 */
u64 wrap_dev_get_stats(struct xpc *x, const u64 *a)
{
	static const char fn[] = "dev_get_stats";
	struct net_device *dev = (struct net_device *)a[0];
	struct rtnl_link_stats64 *out;

	if (!arg_obj(x, fn, "dev", OBJ_NET_DEVICE, dev))
		return 0;
	if (dev->reg_state != NETREG_REGISTERED && dev->reg_state != NETREG_UNREGISTERING)
		return nooks_reject(x, "%s(dev): not registered", fn);
	out = arg_writable(x, fn, "storage", (void *)a[1], sizeof(*out));
	if (!out)
		return 0;
	dev_get_stats(dev, out);
	return a[1];
}

/* (stats64, netdev_stats) */
u64 wrap_netdev_stats_to_stats64(struct xpc *x, const u64 *a)
{
	static const char fn[] = "netdev_stats_to_stats64";
	struct rtnl_link_stats64 *out;
	struct net_device_stats in;

	out = arg_writable(x, fn, "stats64", (void *)a[0], sizeof(*out));
	if (!out)
		return 0;
	if (!wrap_fetch(x, &in, (void *)a[1], sizeof(in)))
		return nooks_reject(x, "%s(netdev_stats): not readable", fn);
	netdev_stats_to_stats64(out, &in);
	return 0;
}
