// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmit.c - several packets to be sent, in one entry
 *
 * Context: domain view, softirq or bottom halves off, the queue's lock is held.
 */
#include <linux/netdevice.h>
#include "runtime/queue.h"

/* Not after one that the driver does not want, nor when it has stopped the queue. */
u64 runtime_xmit(struct sk_buff *first, struct net_device *dev)
{
	const struct xpc *x = dom_xpc();
	netdev_tx_t (*xmit)(struct sk_buff *skb, struct net_device *dev) = x->fn;
	const struct netdev_queue *q = skb_get_tx_queue(dev, first);
	u32 i, n = x->nsent;

	for (i = 0; i < n; i++) {
		netdev_tx_t ret;

		WRITE_ONCE(x->dom->sending, i);
		ret = xmit(x->shown[i], dev);
		if (ret != NETDEV_TX_OK)
			return XMIT_RESULT(i, ret);
		if (READ_ONCE(q->state) & BIT(__QUEUE_STATE_DRV_XOFF))
			return XMIT_RESULT(i + 1, ret);
	}
	return XMIT_RESULT(n, NETDEV_TX_OK);
}
