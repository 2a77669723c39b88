// SPDX-License-Identifier: GPL-2.0-only
/*
 * netshadow.c - the shadow driver for network devices: a net_device stays while its driver restarts
 *
 * See netshadow.h for the life of a device. What the kernel itself keeps of a configuration (flags,
 * MTU, features, address, multicast, VLANs) is replayed from there as it is then, so that a request
 * which came while the driver was down needs no memory of its own; what only drivers keep is in
 * netsetting.c.
 *
 * Locking: nook->netdevs_lock for the list; rtnl for phases. A net_shadow lives as long as its
 *	device, so whoever is inside an operation of the device may use it.
 * Context: process, may sleep, kernel view, if a function does not say otherwise.
 */
#define pr_fmt(fmt) "nooks: " fmt

#include <linux/delay.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include "domain/shadow.h"
#include "wrappers/netshadow.h"
#include "wrappers/wrappers.h"

#define NET_PATIENCE	(3600 * HZ)	/* the transmit watchdog waits for the recovery */
#define NET_OTHERS_US	1000		/* who waits for rtnl gets it between two devices */

/* net_shadow.leaving has become false: netshadow_gone() */
static DECLARE_WAIT_QUEUE_HEAD(netshadow_left);

/* ---- life ----------------------------------------------------------------------------------- */

struct net_shadow *netshadow_create(struct nook *nk, struct net_device *dev, struct device *origin,
				    size_t priv, unsigned int txqs, unsigned int rxqs)
{
	struct net_shadow *sh = kzalloc(sizeof(*sh), GFP_KERNEL);
	unsigned long flags;

	if (!sh)
		return NULL;
	sh->nook = nk;
	sh->dev = dev;
	sh->txqs = txqs;
	sh->rxqs = rxqs;
	sh->fresh = kmemdup(dev, sizeof(*dev), GFP_KERNEL);
	if (!sh->fresh || netxmit_create(sh)) {
		kfree(sh->fresh);
		kfree(sh);
		return NULL;
	}
	netcarrier_init(sh);
	sh->origin = origin ? get_device(origin) : NULL;
	sh->priv = priv;
	raw_spin_lock_init(&sh->stats_lock);
	raw_spin_lock_irqsave(&nk->netdevs_lock, flags);
	list_add_tail(&sh->node, &nk->netdevs);
	raw_spin_unlock_irqrestore(&nk->netdevs_lock, flags);
	return sh;
}

static void netshadow_free(struct rcu_head *rcu)
{
	struct net_shadow *sh = container_of(rcu, struct net_shadow, rcu);

	kfree(sh->fresh);
	kfree(sh);
}

void netshadow_destroy(struct nook *nk, struct net_shadow *sh)
{
	unsigned long flags;

	if (!sh)
		return;
	wait_event(netshadow_left, !READ_ONCE(sh->leaving));
	raw_spin_lock_irqsave(&nk->netdevs_lock, flags);
	list_del(&sh->node);
	raw_spin_unlock_irqrestore(&nk->netdevs_lock, flags);
	netcarrier_deinit(sh);
	netxmit_destroy(sh);
	netsetting_free(sh);
	if (sh->origin)
		put_device(sh->origin);
	call_srcu(&nk->objs.users, &sh->rcu, netshadow_free);
}

struct net_shadow *netshadow_find(struct nook *nk, const struct net_device *dev)
{
	struct net_shadow *sh, *found = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->netdevs_lock, flags);
	list_for_each_entry(sh, &nk->netdevs, node)
		if (sh->dev == dev)
			found = sh;
	raw_spin_unlock_irqrestore(&nk->netdevs_lock, flags);
	return found;
}

struct net_shadow *netshadow_parked(struct nook *nk, const struct device *origin, size_t priv,
				    unsigned int txqs, unsigned int rxqs)
{
	struct net_shadow *sh, *found = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->netdevs_lock, flags);
	list_for_each_entry(sh, &nk->netdevs, node)
		if (!found && sh->phase == NET_PARKED && sh->origin == origin &&
		    sh->dev->reg_state == NETREG_REGISTERED &&
		    sh->priv == priv && sh->txqs == txqs && sh->rxqs == rxqs)
			found = sh;
	raw_spin_unlock_irqrestore(&nk->netdevs_lock, flags);
	return found;
}

/* The first device in this phase, or NULL. rtnl keeps it. */
static struct net_shadow *netshadow_in(struct nook *nk, enum net_phase phase)
{
	struct net_shadow *sh, *found = NULL;
	unsigned long flags;

	ASSERT_RTNL();
	raw_spin_lock_irqsave(&nk->netdevs_lock, flags);
	list_for_each_entry(sh, &nk->netdevs, node)
		if (!found && sh->phase == phase)
			found = sh;
	raw_spin_unlock_irqrestore(&nk->netdevs_lock, flags);
	return found;
}

/* ---- statistics: a new driver counts from zero, the kernel goes on --------------------------- */

#define NET_COUNTERS (sizeof(struct rtnl_link_stats64) / sizeof(u64))

static void net_add_stats(struct rtnl_link_stats64 *to, const struct rtnl_link_stats64 *from)
{
	u64 *t = (u64 *)to;
	const u64 *f = (const u64 *)from;
	int i;

	for (i = 0; i < NET_COUNTERS; i++)
		t[i] += f[i];
}

/* @now: what the driver has told, or NULL for what it told last; then with its earlier lives' */
static void net_tell_stats(struct net_shadow *sh, const struct rtnl_link_stats64 *now,
			   struct rtnl_link_stats64 *out)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&sh->stats_lock, flags);
	if (now)
		sh->told = *now;
	*out = sh->told;
	net_add_stats(out, &sh->before);
	raw_spin_unlock_irqrestore(&sh->stats_lock, flags);
}

static void net_close_stats(struct net_shadow *sh)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&sh->stats_lock, flags);
	net_add_stats(&sh->before, &sh->told);
	memset(&sh->told, 0, sizeof(sh->told));
	raw_spin_unlock_irqrestore(&sh->stats_lock, flags);
}

/*
 * ndo_get_stats returns a pointer, which the kernel follows: to the net_device's own statistics, or
 * else what stands there is copied.
 */
static u64 net_legacy_stats(struct net_shadow *sh, const void *p)
{
	struct rtnl_link_stats64 now = { 0 };
	struct net_device_stats raw;
	unsigned long *to = (unsigned long *)&sh->legacy;
	const u64 *from = (const u64 *)&now;
	int i;

	if (!p || p == &sh->dev->stats)
		return (u64)&sh->dev->stats;
	if (copy_from_kernel_nofault(&raw, p, sizeof(raw)))
		return (u64)&sh->dev->stats;
	netdev_stats_to_stats64(&now, &raw);
	net_tell_stats(sh, &now, &now);
	for (i = 0; i < sizeof(sh->legacy) / sizeof(*to); i++)
		WRITE_ONCE(to[i], from[i]);
	return (u64)&sh->legacy;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* For the driver that is not there. What it should have done is done by the replay. */
static bool net_answer(struct net_shadow *sh, u16 op, const u64 *a, u64 *ret)
{
	struct net_device *dev = sh->dev;

	switch (op) {
	case NDO(ndo_open):
	case NDO(ndo_stop):
	case NDO(ndo_vlan_rx_add_vid):
	case NDO(ndo_vlan_rx_kill_vid):
	case NDO(ndo_set_features):
		*ret = 0;
		return true;
	case NDO(ndo_change_mtu):
		WRITE_ONCE(dev->mtu, (int)a[1]);
		*ret = 0;
		return true;
	case NDO(ndo_set_mac_address):
		dev_addr_set(dev, ((const struct sockaddr *)a[1])->sa_data);
		*ret = 0;
		return true;
	case NDO(ndo_fix_features):
		*ret = a[1];
		return true;
	case NDO(ndo_features_check):
		*ret = a[2];
		return true;
	case NDO(ndo_get_stats64):
		net_tell_stats(sh, NULL, (struct rtnl_link_stats64 *)a[1]);
		return true;
	case NDO(ndo_get_stats):
		*ret = net_legacy_stats(sh, NULL);
		return true;
	default:
		return false;
	}
}

bool netshadow_away(const struct nook *nk, const struct net_shadow *sh)
{
	return READ_ONCE(sh->phase) >= NET_PARKED && READ_ONCE(nk->replayer) != current;
}

bool netshadow_hides(const struct nook *nk, const struct net_shadow *sh)
{
	return READ_ONCE(sh->phase) != NET_NEW && !(READ_ONCE(nk->flags) & NOOKS_F_NO_RECOVER) &&
	       READ_ONCE(nk->state) != NOOKS_STOPPED && READ_ONCE(nk->state) != NOOKS_RELEASED;
}

/* What an operation is about is the driver's to write while it is registered, and nothing else. */
static void net_asks(struct nook *nk, const struct entry_desc *desc, const u64 *args)
{
	void *dev = (void *)args[0];

	if (desc->op == NDO(ndo_change_mtu))
		shadow_ask(nk, dev, offsetof(struct net_device, mtu), (u32)args[1]);
	else if (desc->op == NDO(ndo_set_features))
		shadow_ask(nk, dev, offsetof(struct net_device, features), args[1]);
}

bool nooks_shadow_netdev(struct nook *nk, const struct entry_desc *desc, const u64 *args, u64 *ret,
			 enum shadow_when when)
{
	struct net_shadow *sh = netshadow_find(nk, (struct net_device *)args[0]);

	if (!sh)
		return false;
	switch (when) {
	case SHADOW_BEFORE:
		if (desc->op == NDO(ndo_stop))
			netxmit_drop(sh);
		/* ndo_init is part of registering, by whatever thread probes */
		if (!netshadow_away(nk, sh) || desc->op == NDO(ndo_init)) {
			net_asks(nk, desc, args);
			return false;
		}
		*ret = desc->ret == RET_INT ? -EBUSY : 0;
		net_answer(sh, desc->op, args, ret);
		return true;
	case SHADOW_JUDGE:
		return netanswer_netdev(sh, desc->op, *ret);
	case SHADOW_AFTER:
		if (desc->op == NDO(ndo_get_stats64))
			net_tell_stats(sh, (struct rtnl_link_stats64 *)args[1],
				       (struct rtnl_link_stats64 *)args[1]);
		else if (desc->op == NDO(ndo_get_stats))
			*ret = net_legacy_stats(sh, (void *)*ret);
		else if (desc->op == NDO(ndo_tx_timeout))
			nettimeout_note(nk, sh, desc);
		else if (desc->op == NDO(ndo_open) && !(int)*ret && sh->phase == NET_LIVE &&
			 rtnl_is_locked())
			netsetting_learn(sh);
		return true;
	case SHADOW_DEAD:
		if (netshadow_hides(nk, sh))
			net_answer(sh, desc->op, args, ret);
		return true;
	}
	return false;
}

/* ---- parking -------------------------------------------------------------------------------- */

/* What drivers have synchronised with their filters is to be synchronised again. */
static void net_forget_filters(struct net_device *dev)
{
	netif_addr_lock_bh(dev);
	__dev_uc_unsync(dev, NULL);
	__dev_mc_unsync(dev, NULL);
	netif_addr_unlock_bh(dev);
}

void netshadow_park(struct net_shadow *sh)
{
	struct net_device *dev = sh->dev;
	unsigned int i;

	ASSERT_RTNL();
	netif_tx_disable(dev);		/* packets wait in the discipline */
	netxmit_drop(sh);
	for (i = 0; i < dev->num_tx_queues; i++)
		netdev_tx_reset_queue(netdev_get_tx_queue(dev, i));
	dev->watchdog_timeo = NET_PATIENCE;	/* until a driver describes its own */
	net_forget_filters(dev);
	net_close_stats(sh);
	sh->timeouts = 0;
	sh->view = NULL;
	WRITE_ONCE(sh->phase, NET_PARKED);
}

/* ---- replay --------------------------------------------------------------------------------- */

/* Fields that the kernel owns once the device is registered: they are replayed, or kept. */
static bool net_takes(u32 off)
{
	switch (off) {
	case offsetof(struct net_device, name):
	case offsetof(struct net_device, flags):
	case offsetof(struct net_device, mtu):
	case offsetof(struct net_device, features):
	case offsetof(struct net_device, wanted_features):
	case offsetof(struct net_device, hw_features):
	case offsetof(struct net_device, vlan_features):
	case offsetof(struct net_device, hw_enc_features):
	case offsetof(struct net_device, mpls_features):
	case offsetof(struct net_device, priv_flags):
	case offsetof(struct net_device, addr_assign_type):
	case offsetof(struct net_device, dev.parent):
		return false;
	default:
		return true;
	}
}

static void net_replay_failed(const struct net_device *dev, const char *what, int ret)
{
	pr_warn("%s: the driver does not take its %s again (%d)\n", netdev_name(dev), what, ret);
}

static void net_replay_mtu(struct net_shadow *sh, const struct net_device_ops *ops)
{
	struct net_device *dev = sh->dev;
	int ret = 0;

	if (dev->mtu == sh->view->mtu)
		return;
	if (ops->ndo_change_mtu)
		ret = ops->ndo_change_mtu(dev, dev->mtu);
	if (ret)
		net_replay_failed(dev, "MTU", ret);
}

static void net_replay_features(struct net_shadow *sh, const struct net_device_ops *ops)
{
	struct net_device *dev = sh->dev;
	int ret = 0;

	if (ops->ndo_set_features && dev->features != (sh->view->features | NETIF_F_SOFT_FEATURES))
		ret = ops->ndo_set_features(dev, dev->features);
	if (ret < 0)
		net_replay_failed(dev, "features", ret);
}

static void net_replay_address(struct net_shadow *sh, const struct net_device_ops *ops)
{
	struct net_device *dev = sh->dev;
	struct sockaddr_storage sa = { .ss_family = dev->type };
	int ret = 0;

	/* who leaves it to the kernel reads the address when the interface is opened */
	if (ops->ndo_set_mac_address == eth_mac_addr || !sh->has_addr ||
	    !memcmp(sh->addr, dev->dev_addr, dev->addr_len))
		return;
	memcpy(((struct sockaddr *)&sa)->sa_data, dev->dev_addr, dev->addr_len);
	if (ops->ndo_set_mac_address)
		ret = ops->ndo_set_mac_address(dev, &sa);
	if (ret)
		net_replay_failed(dev, "address", ret);
}

static int net_open(struct net_shadow *sh, const struct net_device_ops *ops)
{
	netcarrier_started(sh, true);
	return ops->ndo_open ? ops->ndo_open(sh->dev) : 0;
}

/* As the kernel does when an interface goes up, but that nobody is told: for them it was up. */
static int net_replay_open(struct net_shadow *sh, const struct net_device_ops *ops)
{
	struct net_device *dev = sh->dev;
	int ret = net_open(sh, ops);

	if (ret)
		return ret;
	netif_addr_lock_bh(dev);
	if (ops->ndo_set_rx_mode)
		ops->ndo_set_rx_mode(dev);
	netif_addr_unlock_bh(dev);
	return 0;
}

/* The device's own word, and not that of an allocation: it does not run, with whatever rings. */
static bool net_refused(int err)
{
	return err == -EINVAL || err == -EIO || err == -ENODEV || err == -ENXIO ||
	       err == -ETIMEDOUT;
}

/*
 * A device that ran when its driver died goes on with the old rings, if neither it can be reset nor
 * its open does so: NOOKS_F_REOPEN. It is opened and stopped once, while they are still held
 * (recovery.c). Also if the interface is down: the driver may have died in its stop.
 *
 * It may reach memory only now: QEMU's vmxnet3 never gets over an interrupt that it has raised
 * before its probe has set up MSI-X.
 */
static int net_halt(struct nook *nk, struct net_shadow *sh)
{
	const struct net_device_ops *ops = sh->view->netdev_ops;
	int ret;

	WRITE_ONCE(sh->phase, NET_HALTED);
	/* its driver may have died with it detached; a new one is attached when it is registered */
	set_bit(__LINK_STATE_PRESENT, &sh->dev->state);
	if (!(READ_ONCE(nk->flags) & NOOKS_F_REOPEN))
		return 0;
	nooks_pci_masters(nk, sh->origin);
	if (!ops->ndo_open || !ops->ndo_stop)
		return 0;
	ret = net_open(sh, ops);
	netcarrier_started(sh, false);
	if (!ret)
		ops->ndo_stop(sh->dev);
	return net_refused(ret) ? 0 : ret;
}

/* What net_takes() leaves, and what a driver that failed may have written there. */
void netshadow_declared(struct net_shadow *sh)
{
	const struct net_device *dev = sh->dev;

	sh->declared = (struct net_declared){
		.hw = dev->hw_features, .vlan = dev->vlan_features,
		.enc = dev->hw_enc_features, .mpls = dev->mpls_features,
	};
}

static void net_redeclare(const struct net_shadow *sh)
{
	struct net_device *dev = sh->dev;

	dev->hw_features = sh->declared.hw;
	dev->vlan_features = sh->declared.vlan;
	dev->hw_enc_features = sh->declared.enc;
	dev->mpls_features = sh->declared.mpls;
}

static int net_replay(struct nook *nk, struct net_shadow *sh)
{
	const struct net_device_ops *ops = sh->view->netdev_ops;
	struct net_device *dev = sh->dev;
	int ret;

	net_redeclare(sh);
	netsetting_replay(sh, sh->view->ethtool_ops);
	net_replay_mtu(sh, ops);
	net_replay_features(sh, ops);
	net_replay_address(sh, ops);
	if (READ_ONCE(nk->dead))
		return -EAGAIN;
	shadow_commit(nk, dev, net_takes);
	sh->view = NULL;
	WRITE_ONCE(sh->phase, NET_LIVE);
	vlan_get_rx_ctag_filter_info(dev);
	vlan_get_rx_stag_filter_info(dev);
	if (!(dev->flags & IFF_UP))
		ret = 0;
	else
		ret = net_replay_open(sh, ops);
	netcarrier_replayed(sh);
	return ret;
}

/* Each device by itself: a driver may take seconds for one, and others wait for rtnl. */
static int net_each_in(struct nook *nk, enum net_phase phase,
		       int (*step)(struct nook *nk, struct net_shadow *sh))
{
	struct net_shadow *sh;
	int ret = 0;

	do {
		rtnl_lock();
		sh = netshadow_in(nk, phase);
		if (sh)
			ret = step(nk, sh);
		rtnl_unlock();
		if (sh)
			fsleep(NET_OTHERS_US);
	} while (sh && !ret && !READ_ONCE(nk->dead));
	return ret;
}

int nooks_net_replay(struct nook *nk)
{
	int ret = net_each_in(nk, NET_REJOINED, net_halt);

	if (!ret && !READ_ONCE(nk->dead))
		ret = net_each_in(nk, NET_HALTED, net_replay);
	if (READ_ONCE(nk->dead))
		return -EAGAIN;
	if (ret)
		pr_err("%s: a device does not open again (%d)\n", nk->name, ret);
	return ret;
}

void nooks_net_reap(struct nook *nk)
{
	struct net_shadow *sh;

	do {
		rtnl_lock();
		sh = netshadow_in(nk, NET_PARKED);
		if (sh) {
			pr_warn("%s: its driver does not claim it again; it is removed\n",
				netdev_name(sh->dev));
			if (sh->dev->reg_state == NETREG_REGISTERED)
				unregister_netdevice(sh->dev);
			sh->phase = NET_NEW;
		}
		rtnl_unlock();
		if (sh) {
			struct net_device *dev = sh->dev;

			netshadow_destroy(nk, sh);
			free_netdev(dev);
		}
	} while (sh);
}

/* ---- a device that is pulled out ------------------------------------------------------------- */

/* Registered by a driver that is dead, or that did not unregister it. */
static struct net_shadow *netshadow_orphan(struct nook *nk, const struct device *origin)
{
	struct net_shadow *sh, *found = NULL;
	unsigned long flags;

	ASSERT_RTNL();
	raw_spin_lock_irqsave(&nk->netdevs_lock, flags);
	list_for_each_entry(sh, &nk->netdevs, node)
		if (sh->origin == origin && sh->dev->reg_state == NETREG_REGISTERED)
			found = sh;
	raw_spin_unlock_irqrestore(&nk->netdevs_lock, flags);
	return found;
}

/* Those that netshadow_gone() has unregistered are nobody's any more, and may be freed. */
static void netshadow_let_go(struct nook *nk)
{
	struct net_shadow *sh;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->netdevs_lock, flags);
	list_for_each_entry(sh, &nk->netdevs, node)
		WRITE_ONCE(sh->leaving, false);
	raw_spin_unlock_irqrestore(&nk->netdevs_lock, flags);
}

/*
 * Its net_devices go before it does, or they would be left without a parent. Whoever holds them yet
 * finds them unregistered: recovery frees them, a driver that is alive gets an error. Not before
 * rtnl_unlock() is through with them, which waits for their users.
 */
static int netshadow_gone(struct notifier_block *nb, unsigned long action, void *data)
{
	struct net_shadow *sh;
	struct nook *nk;

	if (action != BUS_NOTIFY_DEL_DEVICE)
		return NOTIFY_DONE;
	mutex_lock(&nooks_mutex);
	rtnl_lock();
	list_for_each_entry(nk, &nooks_list, node) {
		while ((sh = netshadow_orphan(nk, data))) {
			nooks_napi_stop_all(sh->dev);
			WRITE_ONCE(sh->leaving, true);
			unregister_netdevice(sh->dev);
			if (sh->phase != NET_PARKED)
				WRITE_ONCE(sh->phase, NET_NEW);
		}
	}
	rtnl_unlock();
	list_for_each_entry(nk, &nooks_list, node)
		netshadow_let_go(nk);
	wake_up_all(&netshadow_left);
	mutex_unlock(&nooks_mutex);
	return NOTIFY_OK;
}

static struct notifier_block netshadow_nb = { .notifier_call = netshadow_gone };

int nooks_net_init(void)
{
	return bus_register_notifier(&pci_bus_type, &netshadow_nb);
}

void nooks_net_deinit(void)
{
	bus_unregister_notifier(&pci_bus_type, &netshadow_nb);
}
