// SPDX-License-Identifier: GPL-2.0-only
/*
 * napi.c - ask for a poll without leaving
 *
 * A driver's napi_struct has the address of its twin in poll_list.next (wrappers/napi.c), which is
 * only looked at. If the twin is free, napi_schedule_prep() says yes and __napi_schedule() is queued:
 * its wrapper does both for the twin. Meanwhile somebody else may have scheduled it; then the poll is
 * marked as missed and runs again, which is all that the driver was promised.
 *
 * Context: domain view, any context of the driver.
 */
#include <linux/export.h>
#include <linux/netdevice.h>
#include "generated/exits.h"
#include "runtime/queue.h"
#include "runtime/slow.h"

bool nooks_napi_schedule_prep(struct napi_struct *napi)
{
	const struct napi_struct *kn = (const void *)READ_ONCE(napi->poll_list.next);
	struct xpc_dom *d = dom_xpc()->dom;

	if (!kn || (READ_ONCE(kn->state) & (NAPIF_STATE_DISABLE | NAPIF_STATE_SCHED)) ||
	    READ_ONCE(d->prepped))
		return nooks_slow_napi_schedule_prep(napi);
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
