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

/* A device that may change: not registered yet, or rtnl is held. */
static struct net_device *netconf_dev(struct xpc *x, const char *fn, u64 dev)
{
	struct net_device *d = (struct net_device *)dev;

	if (!wrap_may_sleep(x, fn) || !arg_obj(x, fn, "dev", OBJ_NET_DEVICE, d))
		return NULL;
	if (d->reg_state != NETREG_UNINITIALIZED && !rtnl_is_locked()) {
		nooks_reject(x, "%s(dev): rtnl is not held", fn);
		return NULL;
	}
	return d;
}

/* (dev, txq) */
u64 wrap_netif_set_real_num_tx_queues(struct xpc *x, const u64 *a)
{
	struct net_device *dev = netconf_dev(x, "netif_set_real_num_tx_queues", a[0]);

	return dev ? netif_set_real_num_tx_queues(dev, a[1]) : 0;
}

/* (dev, rxq) */
u64 wrap_netif_set_real_num_rx_queues(struct xpc *x, const u64 *a)
{
	struct net_device *dev = netconf_dev(x, "netif_set_real_num_rx_queues", a[0]);

	return dev ? netif_set_real_num_rx_queues(dev, a[1]) : 0;
}

/* (dev, txq, rxq) */
u64 wrap_netif_set_real_num_queues(struct xpc *x, const u64 *a)
{
	struct net_device *dev = netconf_dev(x, "netif_set_real_num_queues", a[0]);

	return dev ? netif_set_real_num_queues(dev, a[1], a[2]) : 0;
}

/* Why by hand: it calls the driver again, and needs rtnl, which the entry must hold itself. */
u64 wrap_dev_close(struct xpc *x, const u64 *a)
{
	struct net_device *dev = netconf_dev(x, "dev_close", a[0]);

	if (dev && dev->reg_state == NETREG_REGISTERED)
		dev_close(dev);
	return 0;
}

/*
 * (data, fmt, ...): the kernel would write where a pointer in driver memory says. The text goes
 * where the driver may write, ETH_GSTRING_LEN bytes, and the pointer behind it.
 */
u64 wrap_ethtool_sprintf(struct xpc *x, const u64 *a)
{
	static const char fn[] = "ethtool_sprintf";
	u8 **data = (u8 **)a[0], *to;
	char text[ETH_GSTRING_LEN] = {};

	if (!arg_owned(x, fn, "data", data, sizeof(*data)) ||
	    !arg_string(x, fn, "fmt", (char *)a[1]))
		return 0;
	to = READ_ONCE(*data);
	if (!arg_writable(x, fn, "*data", to, sizeof(text)))
		return 0;
	wrap_format(x, text, sizeof(text), (const char *)a[1], a, 2);
	memcpy(to, text, sizeof(text));
	WRITE_ONCE(*data, to + sizeof(text));
	return 0;
}
