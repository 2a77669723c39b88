// SPDX-License-Identifier: GPL-2.0-only
/*
 * nettimeout.c - a network device that has stopped sending, although its driver resets it
 *
 * The kernel tells the driver when a queue has stood still for too long, and the driver knows best
 * what to do. If nothing was sent until the next time it has not helped, and after some times a
 * restart is tried instead.
 *
 * A driver may put the kernel off for ever: netif_stop_queue() starts its clock anew (6.1), and
 * e1000 calls it every two seconds while its own check finds the transmitter hung. So our watchdog
 * looks, too.
 *
 * Locking: dev_watchdog() holds the device's tx_global_lock. One CPU at a time looks.
 * Context: softirq or hard interrupt, kernel view.
 */
#include <linux/netdevice.h>
#include "wrappers/netshadow.h"
#include "wrappers/wrappers.h"

#define TIMEOUT_WINDOW	(60 * HZ)

/*
 * Something that changes when a packet was sent: what the driver tells byte queue limits, which
 * start at 0 with each reset; else what it counts.
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

static bool timeout_stopped(const struct net_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->real_num_tx_queues; i++)
		if (netif_xmit_stopped(netdev_get_tx_queue(dev, i)))
			return true;
	return false;
}

/* Has a queue stood still, with nothing sent, for as long as @most timeouts of the kernel take? */
static bool timeout_look_at(struct net_shadow *sh, u32 most)
{
	struct net_device *dev = sh->dev;
	u64 sent;

	if (READ_ONCE(sh->phase) != NET_LIVE || READ_ONCE(sh->awaits_link) || !netif_running(dev) ||
	    !netif_device_present(dev) || !netif_carrier_ok(dev) || !timeout_stopped(dev)) {
		sh->still = false;
		return false;
	}
	sent = timeout_sent(dev);
	if (!sh->still || sent != sh->still_sent) {
		sh->still = true;
		sh->still_sent = sent;
		sh->still_since = jiffies;
		return false;
	}
	return dev->watchdog_timeo > 0 &&
	       time_after(jiffies, sh->still_since + (unsigned long)most * dev->watchdog_timeo);
}

void nooks_net_look(struct nook *nk)
{
	const struct entry_desc *desc;
	u32 most = READ_ONCE(nk->tx_timeouts);
	struct net_shadow *sh, *hung = NULL;
	unsigned long flags, since = 0;
	struct gate *g = NULL;

	if (!most || READ_ONCE(nk->dead))
		return;
	raw_spin_lock_irqsave(&nk->netdevs_lock, flags);
	list_for_each_entry(sh, &nk->netdevs, node)
		if (timeout_look_at(sh, most))
			hung = sh;
	if (hung) {
		g = nook_gate(nk, hung->dev->netdev_ops->ndo_tx_timeout);
		since = hung->still_since;
		hung->still = false;
	}
	raw_spin_unlock_irqrestore(&nk->netdevs_lock, flags);
	if (!hung)
		return;
	desc = nooks_entry_at(&nooks_entries_net_device_ops,
			      offsetof(struct net_device_ops, ndo_tx_timeout));
	nook_hangs(nk, desc, g ? g->target : NULL, "device stopped answering: nothing sent for %u s",
		   jiffies_to_msecs(jiffies - since) / (unsigned int)MSEC_PER_SEC);
}
