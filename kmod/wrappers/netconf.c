// SPDX-License-Identifier: GPL-2.0-only
/*
 * netconf.c - what a driver says of its net_device as a whole: number of queues, up or down
 *
 * The kernel believes its callers that they hold rtnl, and only warns if nobody does. Whoever has
 * it, the calls here come from an entry that was made with rtnl held, or take it.
 *
 * Context: process, may sleep, kernel view, if the function does not say otherwise.
 */
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include "wrappers.h"
#include "wrappers/netshadow.h"

/*
 * A device that may change: not registered yet, or rtnl is held. One that has outlived its driver
 * is registered, and its new driver does not know: for it rtnl is taken, *@took.
 */
static struct net_device *netconf_dev(struct xpc *x, const char *fn, u64 dev, bool *took)
{
	struct net_device *d = (struct net_device *)dev;
	struct net_shadow *sh;

	*took = false;
	if (!wrap_may_sleep(x, fn) || !arg_obj(x, fn, "dev", OBJ_NET_DEVICE, d))
		return NULL;
	sh = netshadow_find(x->nook, d);
	if (sh && READ_ONCE(sh->phase) == NET_STAGED) {
		*took = wrap_take_rtnl(x, fn);
		return *took ? d : NULL;
	}
	if (d->reg_state != NETREG_UNINITIALIZED && !rtnl_is_locked()) {
		nooks_reject(x, "%s(dev): rtnl is not held", fn);
		return NULL;
	}
	return d;
}

static u64 netconf_done(int ret, bool took)
{
	if (took)
		rtnl_unlock();
	return ret;
}

/* (dev, txq) */
u64 wrap_netif_set_real_num_tx_queues(struct xpc *x, const u64 *a)
{
	bool took;
	struct net_device *dev = netconf_dev(x, "netif_set_real_num_tx_queues", a[0], &took);

	return dev ? netconf_done(netif_set_real_num_tx_queues(dev, a[1]), took) : 0;
}

/* (dev, rxq) */
u64 wrap_netif_set_real_num_rx_queues(struct xpc *x, const u64 *a)
{
	bool took;
	struct net_device *dev = netconf_dev(x, "netif_set_real_num_rx_queues", a[0], &took);

	return dev ? netconf_done(netif_set_real_num_rx_queues(dev, a[1]), took) : 0;
}

/* (dev, txq, rxq) */
u64 wrap_netif_set_real_num_queues(struct xpc *x, const u64 *a)
{
	bool took;
	struct net_device *dev = netconf_dev(x, "netif_set_real_num_queues", a[0], &took);

	return dev ? netconf_done(netif_set_real_num_queues(dev, a[1], a[2]), took) : 0;
}

/* (dev): the kernel asks the driver again what it can do */
u64 wrap_netdev_update_features(struct xpc *x, const u64 *a)
{
	bool took;
	struct net_device *dev = netconf_dev(x, "netdev_update_features", a[0], &took);

	if (dev && !took && dev->reg_state == NETREG_REGISTERED)
		netdev_update_features(dev);
	return netconf_done(0, took);
}

/* (dev, threaded): a thread has no entry that ends. Polls stay where they are. */
u64 wrap_dev_set_threaded(struct xpc *x, const u64 *a)
{
	arg_obj(x, "dev_set_threaded", "dev", OBJ_NET_DEVICE, (void *)a[0]);
	return -EOPNOTSUPP;
}

/* Why by hand: it calls the driver again, and needs rtnl, which the entry must hold itself. */
u64 wrap_dev_close(struct xpc *x, const u64 *a)
{
	bool took;
	struct net_device *dev = netconf_dev(x, "dev_close", a[0], &took);

	/* its own ndo_stop would be called again, and again */
	if (dev && !list_empty(&dev->close_list)) {
		nooks_reject(x, "dev_close(dev): it is being closed");
		return netconf_done(0, took);
	}
	/* one that has just been staged is not open, as its new driver sees it */
	if (dev && !took && dev->reg_state == NETREG_REGISTERED)
		dev_close(dev);
	return netconf_done(0, took);
}

/*
 * (data, fmt, ...): the kernel would write where a pointer in driver memory says. The text goes
 * where the driver may write, ETH_GSTRING_LEN bytes, and the pointer behind it.
 */
u64 wrap_ethtool_sprintf(struct xpc *x, const u64 *a)
{
	static const char fn[] = "ethtool_sprintf";
	u8 **data = (u8 **)a[0], *at, *to;
	char text[ETH_GSTRING_LEN] = {};

	if (!arg_owned(x, fn, "data", data, sizeof(*data)) ||
	    !arg_string(x, fn, "fmt", (char *)a[1]))
		return 0;
	at = READ_ONCE(*data);
	to = arg_writable(x, fn, "*data", at, sizeof(text));
	if (!to)
		return 0;
	wrap_format(x, text, sizeof(text), (const char *)a[1], a, 2);
	memcpy(to, text, sizeof(text));
	WRITE_ONCE(*data, at + sizeof(text));
	return 0;
}
