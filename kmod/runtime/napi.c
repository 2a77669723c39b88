// SPDX-License-Identifier: GPL-2.0-only
/*
 * napi.c - ask for a poll without leaving
 *
 * The twin of a driver's napi_struct is only looked at. If it is free, napi_schedule_prep() says
 * yes and __napi_schedule() is queued: its wrapper does both for the twin. Meanwhile somebody else
 * may have scheduled it; then the poll is marked as missed and runs again, which is all that the
 * driver was promised.
 *
 * A poll that completes is told so at once, and the twin completes when the poll returns. For the
 * driver it is idle in between, so a prep must say yes: its wrapper looks for what is queued here.
 * One of a busy device is told that it has not completed (wrappers/moderate.c).
 *
 * Context: domain view, any context of the driver.
 */
#include <linux/export.h>
#include <linux/netdevice.h>
#include "generated/exits.h"
#include "runtime/queue.h"
#include "runtime/slow.h"

static const struct napi_slot *dom_napi_slot(const struct napi_struct *napi)
{
	return &dom_xpc()->nook->napi[napi_slot_of(napi)];
}

static const struct napi_struct *dom_napi_twin(const struct napi_slot *s,
					       const struct napi_struct *napi)
{
	/* pairs with napi_slot_set() */
	return smp_load_acquire(&s->drv) == napi ? READ_ONCE(s->kn) : NULL;
}

bool nooks_napi_schedule_prep(struct napi_struct *napi)
{
	const struct napi_struct *kn = dom_napi_twin(dom_napi_slot(napi), napi);
	struct xpc_dom *d = dom_xpc()->dom;

	if (READ_ONCE(d->prepped))
		return nooks_slow_napi_schedule_prep(napi);
	if ((!kn || (READ_ONCE(kn->state) & (NAPIF_STATE_DISABLE | NAPIF_STATE_SCHED))) &&
	    !nooks_slow_napi_schedule_prep(napi))
		return false;
	WRITE_ONCE(d->prepped, napi);
	return true;
}
EXPORT_SYMBOL_GPL(nooks_napi_schedule_prep);

static __always_inline bool dom_napi_schedule(struct napi_struct *napi, u64 index)
{
	struct xpc_dom *d = dom_xpc()->dom;

	if (READ_ONCE(d->prepped) != napi)
		return false;
	WRITE_ONCE(d->prepped, NULL);
	return dom_queue(index, (u64)napi, 0, 0);
}

void nooks___napi_schedule(struct napi_struct *napi)
{
	if (!dom_napi_schedule(napi, EXIT___napi_schedule))
		nooks_slow___napi_schedule(napi);
}
EXPORT_SYMBOL_GPL(nooks___napi_schedule);

void nooks___napi_schedule_irqoff(struct napi_struct *napi)
{
	if (!dom_napi_schedule(napi, EXIT___napi_schedule_irqoff))
		nooks_slow___napi_schedule_irqoff(napi);
}
EXPORT_SYMBOL_GPL(nooks___napi_schedule_irqoff);

/* A twin whose completion may have another answer than "done", or another time. */
static bool dom_napi_waits(const struct napi_struct *kn)
{
	return (READ_ONCE(kn->state) &
		(NAPIF_STATE_MISSED | NAPIF_STATE_NPSVC | NAPIF_STATE_IN_BUSY_POLL)) ||
	       READ_ONCE(kn->dev->gro_flush_timeout);
}

bool nooks_napi_complete_done(struct napi_struct *napi, int work_done)
{
	const struct napi_slot *s = dom_napi_slot(napi);
	const struct napi_struct *kn = dom_napi_twin(s, napi);
	u8 hold;

	/* the argument of the poll function, if this is one */
	if (!kn || dom_xpc()->arg != (u64)napi || dom_napi_waits(kn))
		return nooks_slow_napi_complete_done(napi, work_done);
	hold = READ_ONCE(s->hold);
	/* what a poll cleans up it has queued */
	if (hold == NAPI_HOLD_ANY ||
	    (hold == NAPI_HOLD_FOUND && (work_done || READ_ONCE(dom_xpc()->dom->n))))
		return false;
	return dom_queue(EXIT_napi_complete_done, (u64)napi, work_done, 0) ||
	       nooks_slow_napi_complete_done(napi, work_done);
}
EXPORT_SYMBOL_GPL(nooks_napi_complete_done);
