// SPDX-License-Identifier: GPL-2.0-only
/*
 * nettimeout.c - a network device that has stopped sending, although its driver resets it
 *
 * The kernel tells the driver when a queue has stood still for too long, and the driver knows best what
 * to do. If nothing was sent until the next time it has not helped, and after some times a restart is
 * tried instead.
 *
 * Locking: dev_watchdog() holds the device's tx_global_lock.
 * Context: softirq, kernel view.
 */
#include <linux/netdevice.h>
#include "wrappers/netshadow.h"
#include "wrappers/wrappers.h"

#define TIMEOUT_WINDOW	(60 * HZ)

/*
 * Something that changes when a packet was sent: what the driver tells byte queue limits, which start at 0
 * with each reset; else what it counts.
 */
static u64 timeout_sent(const struct net_device *dev)
{
	u64 sent = 0;
	unsigned int i;

	if (dev->num_tx_queues && !READ_ONCE(dev->_tx[0].dql.num_queued))
		return READ_ONCE(dev->stats.tx_packets);
	for (i = 0; i < dev->num_tx_queues; i++)
		sent += READ_ONCE(dev->_tx[i].dql.num_completed);
	return sent;
}

/* Has it sent something since the last timeout? After a reset the count is 0 until then. */
static bool timeout_is_over(const struct net_shadow *sh, u64 sent)
{
	return time_after(jiffies, sh->timeout_at + TIMEOUT_WINDOW) ||
	       (sent && sent != sh->timeout_sent);
}

void nettimeout_note(struct nook *nk, struct net_shadow *sh, const struct entry_desc *desc)
{
	u32 most = READ_ONCE(nk->tx_timeouts);
	u64 sent = timeout_sent(sh->dev);
	struct gate *g;

	if (READ_ONCE(sh->awaits_link))
		return;			/* we hold its queues */
	if (!sh->timeouts || timeout_is_over(sh, sent)) {
		sh->timeouts = 0;
		sh->timeout_at = jiffies;
	}
	sh->timeout_sent = sent;
	if (++sh->timeouts < most || !most)
		return;
	g = nook_gate(nk, sh->dev->netdev_ops->ndo_tx_timeout);
	nook_hangs(nk, desc, g ? g->target : NULL, "device stopped answering: %u transmit timeouts",
		   sh->timeouts);
	sh->timeouts = 0;
}
