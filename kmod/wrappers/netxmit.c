// SPDX-License-Identifier: GPL-2.0-only
/*
 * netxmit.c - packets to be sent: as many as there are in one entry
 *
 * The kernel says with each packet whether it has another one for the same queue (xmit_more). Then
 * the driver is not entered yet. Once it is, it may stop its queue before it has taken them all, or
 * not want one: the last packet is the kernel's again then, which comes back with it when the queue
 * goes on, and those before it wait here for that.
 *
 * A program that sends one packet after the other gives the kernel no reason to say so. When
 * entries follow each other closely the queue is stopped for a moment, as byte queue limits would
 * do it, so that packets gather in its discipline. That is at most eight times what an entry takes,
 * and ends when it brings nothing.
 *
 * Locking: the queue's _xmit_lock, which the caller of ndo_start_xmit has. Drivers that do without
 *	(NETIF_F_LLTX) get each packet by itself.
 * Context: softirq or bottom halves off, kernel view, if a function does not say otherwise.
 */
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/slab.h>
#include <linux/timex.h>
#include <net/sch_generic.h>
#include "runtime/runtime.h"
#include "wrappers/netshadow.h"
#include "wrappers/wrappers.h"

#define HOLD_COSTS	8ULL
#define CLOSE_PARTS	4	/* of the time that a queue is held: what follows soon */
#define ROW_GOOD	8	/* entries that follow closely, before a queue is held */
#define ROW_MOST	16
#define COST_WEIGHT	8

static unsigned int xmit_delay_us = 1000;
module_param(xmit_delay_us, uint, 0600);
MODULE_PARM_DESC(xmit_delay_us, "the longest time that packets of a busy transmit queue wait for others, to be sent in one entry; 0: none waits");

/**
 * struct net_xmit - one transmit queue of a driver
 * @sh:    its device; const
 * @queue: the kernel's; const
 * @timer: ends the time that it is held
 * @batch: packets that the kernel has given, and the driver does not have
 * @ended: TSC, of the last entry
 * @cost:  ticks of the TSC that an entry takes, a moving average
 * @row:   how much speaks for holding the queue
 * @held:  it was, after the last entry
 * @first: it was, after the last entry but one, and the last one was for a single packet
 */
struct net_xmit {
	struct net_shadow *sh;
	struct netdev_queue *queue;
	struct hrtimer timer;
	struct xmit_batch batch;
	u64 ended, cost;
	u32 row;
	bool held, first;
};

/* ---- holding a queue ------------------------------------------------------------------------- */

static u64 xmit_hold_most(const struct net_xmit *m)
{
	return min(HOLD_COSTS * m->cost, (u64)READ_ONCE(xmit_delay_us) * tsc_khz / USEC_PER_MSEC);
}

/* Hard interrupt. Completions, which clear the bit as well, may have been first. */
static enum hrtimer_restart xmit_hold_end(struct hrtimer *timer)
{
	struct net_xmit *m = container_of(timer, struct net_xmit, timer);

	if (test_and_clear_bit(__QUEUE_STATE_STACK_XOFF, &m->queue->state))
		netif_schedule_queue(m->queue);
	return HRTIMER_NORESTART;
}

/*
 * Has the last entry with @n packets shown that others come soon? The first one that finds its
 * queue stopped waits outside of the discipline and comes alone; then all the others come.
 */
static bool xmit_more_to_come(struct net_xmit *m, u64 began, u32 n)
{
	if (m->held && n == 1) {
		m->first = true;
		return false;
	}
	if (m->held || m->first)
		m->row = n > 1 ? ROW_MOST : m->row / 2;
	else if (began - m->ended < xmit_hold_most(m) / CLOSE_PARTS)
		m->row = min(m->row + 1, ROW_MOST);
	else
		m->row = 0;
	m->first = false;
	return m->row >= ROW_GOOD;
}

/* Packets can wait in its discipline, which hands out several if the driver tells what it has. */
static bool xmit_can_hold(const struct netdev_queue *q)
{
	return q->dql.num_queued && rcu_dereference_bh(q->qdisc)->enqueue &&
	       !netif_xmit_frozen_or_stopped(q) && !netdev_xmit_more();
}

static void xmit_adapt(struct net_xmit *m, u64 began, u32 n)
{
	bool hold = xmit_more_to_come(m, began, n) && xmit_can_hold(m->queue);
	u64 ticks;

	m->ended = rdtsc();
	m->cost += div_s64(m->ended - began - m->cost, COST_WEIGHT);
	ticks = hold ? xmit_hold_most(m) : 0;
	m->held = ticks && !test_and_set_bit(__QUEUE_STATE_STACK_XOFF, &m->queue->state);
	if (!m->held)
		return;
	WRITE_ONCE(m->sh->xmit_waits, m->ended + ticks);
	hrtimer_start(&m->timer, ns_to_ktime(div_u64(ticks * USEC_PER_SEC, tsc_khz)),
		      HRTIMER_MODE_REL_PINNED);
}

bool netxmit_waits(const struct net_shadow *sh)
{
	return sh && (s64)(READ_ONCE(sh->xmit_waits) - rdtsc()) > 0;
}

/* ---- the driver's ndo_start_xmit ------------------------------------------------------------- */

/* NULL: none that packets may gather in. */
static struct net_xmit *xmit_find(struct nook *nk, struct net_device *dev, struct sk_buff *skb)
{
	struct net_shadow *sh = netshadow_find(nk, dev);
	u32 i = skb_get_queue_mapping(skb);

	return sh && i < sh->txqs && !(dev->features & NETIF_F_LLTX) ? &sh->xmit[i] : NULL;
}

/* The last packets of a batch were not taken, and the very last one is the kernel's again. */
static void xmit_keep(struct xmit_batch *b)
{
	u32 stay = b->left - 1;

	memmove(b->skb, b->skb + b->n - b->left, stay * sizeof(b->skb[0]));
	b->n = stay;
}

u64 nooks_xmit(struct nook *nk, void *fn, const struct entry_desc *desc, const u64 *args)
{
	struct sk_buff *skb = (struct sk_buff *)args[0];
	struct net_xmit *m = xmit_find(nk, (struct net_device *)args[1], skb);
	struct xmit_batch one, *b = m ? &m->batch : &one;
	u64 began, with[NOOKS_ARGS] = { (u64)b, args[1] };
	u32 n;

	one.n = 0;
	b->skb[b->n++] = skb;
	if (m && b->n < XMIT_BATCH && netdev_xmit_more())
		return NETDEV_TX_OK;
	b->left = 0;
	n = b->n;
	began = rdtsc();
	nook_call(nk, fn, desc, with);
	if (b->left) {
		xmit_keep(b);
		return NETDEV_TX_BUSY;
	}
	b->n = 0;
	if (m)
		xmit_adapt(m, began, n);
	return NETDEV_TX_OK;
}

void nooks_xmit_drop(struct xmit_batch *b)
{
	while (b->n)
		dev_kfree_skb_any(b->skb[--b->n]);
}

/* ---- for xpc/ -------------------------------------------------------------------------------- */

bool nooks_xmit_lend(struct xpc *x)
{
	struct xmit_batch *b = (struct xmit_batch *)x->arg;
	u32 i, n = 0;

	for (i = 0; i < b->n; i++) {
		struct sk_buff *skb = b->skb[i];

		x->shown[n] = nooks_skb_lend(x->nook, skb);
		if (likely(x->shown[n])) {
			b->skb[n] = skb;
			x->sent[n++] = skb;
		} else {
			dev_kfree_skb_any(skb);
		}
	}
	b->n = n;
	x->nsent = n;
	return n;
}

/* Packets that are the driver's no more and nobody else's: its entry has failed. */
static void xmit_free(struct xpc *x, u32 from)
{
	for (; from < x->nsent; from++)
		if (x->sent[from])
			dev_kfree_skb_any(x->sent[from]);
}

void nooks_xmit_done(struct xpc *x, u64 ret)
{
	struct xmit_batch *b = (struct xmit_batch *)x->arg;
	u32 i, answer = ret, n = x->nsent;
	u32 taken = n > 1 ? ret >> 32 : answer == NETDEV_TX_OK;

	if (likely(answer == NETDEV_TX_OK && taken == n))
		return;
	if (answer == NETDEV_TX_OK ? !taken || taken > n : answer != NETDEV_TX_BUSY || taken >= n) {
		nooks_reject(x, "%s: result %#x", x->desc->name, answer);
		return;
	}
	for (i = taken; i < n; i++) {
		if (nooks_skb_give_back(x->nook, x->sent[i], x->shown[i]))
			continue;
		x->sent[i] = NULL;
		nooks_reject(x, "%s: busy, but the skb is gone", x->desc->name);
	}
	if (unlikely(x->faulted))
		xmit_free(x, taken);
	else
		b->left = n - taken;
}

/* ---- life ------------------------------------------------------------------------------------ */

int netxmit_create(struct net_shadow *sh)
{
	unsigned int i;

	sh->xmit = kcalloc(sh->txqs, sizeof(*sh->xmit), GFP_KERNEL);
	if (!sh->xmit)
		return -ENOMEM;
	for (i = 0; i < sh->txqs; i++) {
		struct net_xmit *m = &sh->xmit[i];

		m->sh = sh;
		m->queue = netdev_get_tx_queue(sh->dev, i);
		hrtimer_init(&m->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
		m->timer.function = xmit_hold_end;
	}
	return 0;
}

void netxmit_drop(struct net_shadow *sh)
{
	unsigned int i;

	for (i = 0; i < sh->txqs; i++) {
		struct netdev_queue *q = sh->xmit[i].queue;

		__netif_tx_lock_bh(q);
		nooks_xmit_drop(&sh->xmit[i].batch);
		__netif_tx_unlock_bh(q);
	}
}

void netxmit_destroy(struct net_shadow *sh)
{
	unsigned int i;

	netxmit_drop(sh);
	for (i = 0; i < sh->txqs; i++)
		hrtimer_cancel(&sh->xmit[i].timer);
	kfree(sh->xmit);
}
