// SPDX-License-Identifier: GPL-2.0-only
/*
 * netcarrier.c - the link of a network device, and of one whose driver has started again
 *
 * A driver that starts finds its link after a while. An interface that goes up has no discipline
 * until then; one that was up all the time must not lose it, or sockets and routing daemons would
 * notice. So for the kernel the link stays, the transmit queues are held, and the driver sees what
 * it has said. When it finds the link, packets go on. If it does not, the kernel is told after
 * LINK_PATIENCE.
 *
 * Locking: nook->netdevs_lock for no_link, awaits_link and started.
 * Context: any but NMI, kernel view, if a function does not say otherwise.
 */
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/workqueue.h>
#include "domain/shadow.h"
#include "wrappers/netshadow.h"
#include "wrappers/wrappers.h"

#define LINK_PATIENCE	(10 * HZ)

/* Under netdevs_lock, so that it does not come after the end of the wait. */
static void carrier_show(struct net_shadow *sh)
{
	u64 hidden = BIT(__LINK_STATE_NOCARRIER) | (sh->started ? 0 : BIT(__LINK_STATE_START));

	if (sh->awaits_link)
		shadow_veil(sh->nook, sh->dev, hidden,
			    sh->no_link ? BIT(__LINK_STATE_NOCARRIER) : 0);
}

void netcarrier_started(struct net_shadow *sh, bool started)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&sh->nook->netdevs_lock, flags);
	sh->started = started;
	carrier_show(sh);
	raw_spin_unlock_irqrestore(&sh->nook->netdevs_lock, flags);
}

void netcarrier_stage(struct net_shadow *sh)
{
	cancel_delayed_work(&sh->link_work);
	sh->no_link = false;		/* as alloc_netdev() leaves it */
	sh->awaits_link = true;
	netcarrier_started(sh, false);
	shadow_hold(sh->nook, sh->dev->_tx);
}

/* The driver's own queue states, and packets that have waited. */
static void carrier_release(struct net_shadow *sh)
{
	struct net_device *dev = sh->dev;
	unsigned int i;

	shadow_veil(sh->nook, dev, 0, 0);
	shadow_unhold(sh->nook, dev->_tx);
	for (i = 0; i < dev->real_num_tx_queues; i++) {
		txq_trans_cond_update(netdev_get_tx_queue(dev, i));
		netif_schedule_queue(netdev_get_tx_queue(dev, i));
	}
	/*
	 * a look that it took while the device was parked may have put off the next one by
	 * NET_PATIENCE, and one that found it detached was the last
	 */
	if (netif_running(dev))
		__netdev_watchdog_up(dev);
}

/* True for the one who ends the wait. */
static bool carrier_claim(struct net_shadow *sh)
{
	unsigned long flags;
	bool mine;

	raw_spin_lock_irqsave(&sh->nook->netdevs_lock, flags);
	mine = sh->awaits_link && sh->phase == NET_LIVE;
	if (mine)
		sh->awaits_link = false;
	raw_spin_unlock_irqrestore(&sh->nook->netdevs_lock, flags);
	return mine;
}

/* Return: true if the kernel need not be told. */
static bool carrier_note(struct net_shadow *sh, bool link)
{
	unsigned long flags;
	bool hidden;

	raw_spin_lock_irqsave(&sh->nook->netdevs_lock, flags);
	hidden = sh->awaits_link;
	if (hidden)
		sh->no_link = !link;
	carrier_show(sh);
	raw_spin_unlock_irqrestore(&sh->nook->netdevs_lock, flags);
	return hidden;
}

static void carrier_found(struct net_shadow *sh)
{
	if (!carrier_claim(sh))
		return;
	carrier_release(sh);
	netif_carrier_on(sh->dev);
}

static void carrier_lost(struct work_struct *work)
{
	struct net_shadow *sh = container_of(to_delayed_work(work), struct net_shadow, link_work);

	if (!carrier_claim(sh))
		return;
	carrier_release(sh);
	netif_carrier_off(sh->dev);
}

void netcarrier_replayed(struct net_shadow *sh)
{
	ASSERT_RTNL();
	netcarrier_started(sh, netif_running(sh->dev));
	if (!sh->no_link)
		carrier_found(sh);
	else if (!(sh->dev->flags & IFF_UP))
		carrier_lost(&sh->link_work.work);
	else
		schedule_delayed_work(&sh->link_work, LINK_PATIENCE);
}

void netcarrier_init(struct net_shadow *sh)
{
	INIT_DELAYED_WORK(&sh->link_work, carrier_lost);
}

void netcarrier_deinit(struct net_shadow *sh)
{
	cancel_delayed_work_sync(&sh->link_work);
}

/* ---- wrappers ------------------------------------------------------------------------------- */

/*
 * Nobody would drop the reference that the watch of links takes: free_netdev() does not wait for
 * it.
 */
static bool carrier_late(const struct net_device *dev)
{
	return READ_ONCE(dev->reg_state) >= NETREG_UNREGISTERED;
}

u64 wrap_netif_carrier_on(struct xpc *x, const u64 *a)
{
	struct net_device *dev = (struct net_device *)a[0];
	struct net_shadow *sh;

	if (!arg_obj(x, "netif_carrier_on", "dev", OBJ_NET_DEVICE, dev) || carrier_late(dev))
		return 0;
	sh = netshadow_find(x->nook, dev);
	if (sh && carrier_note(sh, true))
		carrier_found(sh);
	else
		netif_carrier_on(dev);
	return 0;
}

u64 wrap_netif_carrier_off(struct xpc *x, const u64 *a)
{
	struct net_device *dev = (struct net_device *)a[0];
	struct net_shadow *sh;

	if (!arg_obj(x, "netif_carrier_off", "dev", OBJ_NET_DEVICE, dev) || carrier_late(dev))
		return 0;
	sh = netshadow_find(x->nook, dev);
	if (!sh || !carrier_note(sh, false))
		netif_carrier_off(dev);
	return 0;
}

/* Held queues keep their state; the driver's copy has what it wants. */
u64 wrap_netif_tx_wake_queue(struct xpc *x, const u64 *a)
{
	static const char fn[] = "netif_tx_wake_queue";
	struct netdev_queue *q = (struct netdev_queue *)a[0];
	struct net_shadow *sh;
	unsigned long *state;

	if (!arg_obj(x, fn, "dev_queue", OBJ_NETDEV_QUEUE, q))
		return 0;
	sh = netshadow_find(x->nook, q->dev);
	state = sh && READ_ONCE(sh->awaits_link) ?
		shadow_target(x->nook, &q->state, sizeof(q->state)) : &q->state;
	if (state != &q->state)
		clear_bit(__QUEUE_STATE_DRV_XOFF, state);
	else
		netif_tx_wake_queue(q);
	return 0;
}
