/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * queue.h - the runtime's own helpers. Domain view: nothing in here calls the kernel.
 */
#ifndef NOOKS_RUNTIME_QUEUE_H
#define NOOKS_RUNTIME_QUEUE_H

#include <linux/percpu.h>
#include "runtime/runtime.h"

/* The entry that runs. One load: the task may be moved to another CPU before the next. */
static __always_inline const struct xpc *dom_xpc(void)
{
	return raw_cpu_read(xpc_cur);
}

static __always_inline const struct skb_pool *dom_pool(void)
{
	return dom_xpc()->nook->skbs;
}

/* Is it a packet of the pool, which the driver may write? */
static __always_inline bool dom_skb(const struct sk_buff *skb)
{
	return skb_pool_has(dom_pool(), skb);
}

/* Queue a call. False: no room, so leave with it, which delivers what is queued first if it may. */
static __always_inline bool dom_queue(u64 index, u64 a0, u64 a1, u64 a2)
{
	struct xpc_dom *d = dom_xpc()->dom;
	u32 n = READ_ONCE(d->n);

	if (n >= DOM_CALLS)
		return false;
	d->call[n] = (struct dom_call){ .index = index, .a = { a0, a1, a2 } };
	WRITE_ONCE(d->n, n + 1);
	return true;
}

#endif
