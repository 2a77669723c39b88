// SPDX-License-Identifier: GPL-2.0-only
/*
 * wait.c - completions and wait queues
 *
 * Both are a lock and a list in driver memory, which the kernel would take and walk. Here it does
 * neither: a completion is its count, read and written under a lock of ours; a wait queue is
 * nothing but an address. Nobody is woken: who waits looks again every so often, as for a mutex.
 *
 * Locking: wait_lock guards the count of every completion.
 * Context: any but NMI for complete() and wake-ups, process for waits; kernel view.
 */
#include <linux/completion.h>
#include <linux/sched/signal.h>
#include <linux/wait.h>
#include "wrappers.h"

static DEFINE_RAW_SPINLOCK(wait_lock);

/* ---- completions ---------------------------------------------------------------------------- */

static u64 wait_complete(struct xpc *x, const char *fn, u64 arg, bool all)
{
	struct completion *c = (struct completion *)arg;
	unsigned long flags;

	if (!arg_owned(x, fn, "x", c, sizeof(*c)))
		return 0;
	raw_spin_lock_irqsave(&wait_lock, flags);
	if (all)
		WRITE_ONCE(c->done, UINT_MAX);
	else if (c->done != UINT_MAX)
		WRITE_ONCE(c->done, c->done + 1);
	raw_spin_unlock_irqrestore(&wait_lock, flags);
	return 0;
}

u64 wrap_complete(struct xpc *x, const u64 *a)
{
	return wait_complete(x, "complete", a[0], false);
}

u64 wrap_complete_all(struct xpc *x, const u64 *a)
{
	return wait_complete(x, "complete_all", a[0], true);
}

static bool wait_take(struct completion *c)
{
	unsigned long flags;
	bool done;

	raw_spin_lock_irqsave(&wait_lock, flags);
	done = READ_ONCE(c->done);
	if (done && c->done != UINT_MAX)
		WRITE_ONCE(c->done, c->done - 1);
	raw_spin_unlock_irqrestore(&wait_lock, flags);
	return done;
}

/* Return: jiffies left, at least 1, if it was completed; 0 after @timeout; -ERESTARTSYS. */
static long wait_for(struct xpc *x, const char *fn, u64 arg, unsigned long timeout, bool signals)
{
	struct completion *c = (struct completion *)arg;
	unsigned long begin = jiffies, deadline = wrap_deadline(x);

	if (!wrap_may_sleep(x, fn) || !arg_owned(x, fn, "x", c, sizeof(*c)))
		return 0;
	while (!wait_take(c)) {
		if (jiffies - begin >= timeout)
			return 0;
		if (signals && signal_pending(current))
			return -ERESTARTSYS;
		if (wrap_must_stop(x, deadline)) {
			nooks_reject(x, "%s(x): not completed", fn);
			return 0;
		}
		wrap_nap(x);
	}
	return timeout - min(timeout - 1, jiffies - begin);
}

u64 wrap_wait_for_completion(struct xpc *x, const u64 *a)
{
	wait_for(x, "wait_for_completion", a[0], MAX_SCHEDULE_TIMEOUT, false);
	return 0;
}

/* 0 when completed */
u64 wrap_wait_for_completion_interruptible(struct xpc *x, const u64 *a)
{
	return min(wait_for(x, "wait_for_completion_interruptible", a[0], MAX_SCHEDULE_TIMEOUT,
			    true), 0L);
}

/* (x, timeout) */
u64 wrap_wait_for_completion_timeout(struct xpc *x, const u64 *a)
{
	return wait_for(x, "wait_for_completion_timeout", a[0], max_t(u64, a[1], 1), false);
}

u64 wrap_wait_for_completion_interruptible_timeout(struct xpc *x, const u64 *a)
{
	return wait_for(x, "wait_for_completion_interruptible_timeout", a[0], max_t(u64, a[1], 1),
			true);
}

u64 wrap_try_wait_for_completion(struct xpc *x, const u64 *a)
{
	struct completion *c = (struct completion *)a[0];

	return arg_owned(x, "try_wait_for_completion", "x", c, sizeof(*c)) && wait_take(c);
}

/* ---- wait queues: what the wait_event() macros call ------------------------------------------ */

static bool wait_queue_ok(struct xpc *x, const char *fn, u64 queue)
{
	return arg_owned(x, fn, "wq_head", (void *)queue, sizeof(struct wait_queue_head));
}

/* (wq_head, mode, nr, key): whoever waits will look for itself */
u64 wrap___wake_up(struct xpc *x, const u64 *a)
{
	wait_queue_ok(x, "__wake_up", a[0]);
	return 0;
}

/* (wq_entry, flags): in no list, now or later */
u64 wrap_init_wait_entry(struct xpc *x, const u64 *a)
{
	struct wait_queue_entry *e = (struct wait_queue_entry *)a[0];

	if (!arg_owned(x, "init_wait_entry", "wq_entry", e, sizeof(*e)))
		return 0;
	memset(e, 0, sizeof(*e));
	e->flags = a[1];
	INIT_LIST_HEAD(&e->entry);
	return 0;
}

/* (wq_head, wq_entry, state) */
u64 wrap_prepare_to_wait_event(struct xpc *x, const u64 *a)
{
	if (!wait_queue_ok(x, "prepare_to_wait_event", a[0]))
		return 0;
	return signal_pending_state(a[2], current) ? -ERESTARTSYS : 0;
}

/* (wq_head, wq_entry) */
u64 wrap_finish_wait(struct xpc *x, const u64 *a)
{
	wait_queue_ok(x, "finish_wait", a[0]);
	return 0;
}

/* Why not the kernel's: nobody would wake us, and the state is not the driver's to set. */
u64 wrap_schedule(struct xpc *x, const u64 *a)
{
	if (wrap_may_sleep(x, "schedule"))
		wrap_nap(x);
	return 0;
}

/* (timeout): woken early, as it may always be */
u64 wrap_schedule_timeout(struct xpc *x, const u64 *a)
{
	unsigned long begin = jiffies;

	if (!wrap_may_sleep(x, "schedule_timeout") || (long)a[0] <= 0)
		return 0;
	wrap_nap(x);
	return a[0] - min_t(u64, a[0], jiffies - begin);
}
