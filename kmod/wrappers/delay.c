// SPDX-License-Identifier: GPL-2.0-only
/*
 * delay.c - sleeping, bounded: a nook that is being stopped wakes up early
 *
 * Context: process, may sleep, kernel view.
 */
#include <linux/delay.h>
#include <linux/sched/signal.h>
#include "wrappers.h"

#define DELAY_MAX_MS	60000
#define DELAY_SLICE_MS	100

static bool delay_ok(struct xpc *x, const char *fn, u64 ms)
{
	if (!wrap_may_sleep(x, fn))
		return false;
	if (ms <= DELAY_MAX_MS)
		return true;
	nooks_reject(x, "%s: %llu ms is too long", fn, ms);
	return false;
}

u64 wrap_msleep(struct xpc *x, const u64 *a)
{
	unsigned int ms = a[0], slice;

	if (!delay_ok(x, "msleep", ms))
		return 0;
	while (ms && !READ_ONCE(x->abort)) {
		slice = ms < 2 * DELAY_SLICE_MS ? ms : DELAY_SLICE_MS;
		msleep(slice);
		ms -= slice;
	}
	return 0;
}

u64 wrap_msleep_interruptible(struct xpc *x, const u64 *a)
{
	unsigned int ms = a[0], slice, left;

	if (!delay_ok(x, "msleep_interruptible", ms))
		return 0;
	while (ms && !READ_ONCE(x->abort)) {
		slice = ms < 2 * DELAY_SLICE_MS ? ms : DELAY_SLICE_MS;
		left = msleep_interruptible(slice);
		ms -= slice - min(left, slice);
		if (left && signal_pending(current))
			break;
	}
	return ms;
}

#define DELAY_SLICE_US	(DELAY_SLICE_MS * USEC_PER_MSEC)

/* (min, max, state) */
u64 wrap_usleep_range_state(struct xpc *x, const u64 *a)
{
	unsigned int state = a[2];
	u64 min = a[0], slack = a[1] > min ? min_t(u64, a[1] - min, DELAY_SLICE_US) : 0;

	if (!delay_ok(x, "usleep_range_state", a[0] / USEC_PER_MSEC))
		return 0;
	if (state != TASK_UNINTERRUPTIBLE && state != TASK_INTERRUPTIBLE && state != TASK_IDLE)
		return nooks_reject(x, "usleep_range_state(state): %x", state);
	while (min > DELAY_SLICE_US && !READ_ONCE(x->abort)) {
		usleep_range_state(DELAY_SLICE_US, DELAY_SLICE_US, state);
		min -= DELAY_SLICE_US;
	}
	if (!READ_ONCE(x->abort))
		usleep_range_state(min, min + slack, state);
	return 0;
}

/* Until the time is over or something wakes us. Return: what is left, in jiffies. */
static u64 delay_jiffies(struct xpc *x, u64 left, long (*sleep)(long timeout))
{
	const u64 slice = msecs_to_jiffies(DELAY_SLICE_MS);

	while (left && !READ_ONCE(x->abort)) {
		u64 now = min(left, slice), rest = sleep(now);

		left -= now - rest;
		if (rest)
			break;
	}
	return left;
}

u64 wrap_schedule_timeout_uninterruptible(struct xpc *x, const u64 *a)
{
	u64 ms = jiffies_to_msecs(min_t(u64, a[0], 1000 * HZ));

	if (!delay_ok(x, "schedule_timeout_uninterruptible", ms))
		return 0;
	return delay_jiffies(x, a[0], schedule_timeout_uninterruptible);
}

u64 wrap_schedule_timeout_interruptible(struct xpc *x, const u64 *a)
{
	u64 ms = jiffies_to_msecs(min_t(u64, a[0], 1000 * HZ));

	if (!delay_ok(x, "schedule_timeout_interruptible", ms))
		return 0;
	return delay_jiffies(x, a[0], schedule_timeout_interruptible);
}

/* Why by hand: it is a static call, and must not schedule where it may not. */
u64 wrap___SCT__cond_resched(struct xpc *x, const u64 *a)
{
	if (!preemptible() || rcu_preempt_depth())
		return 0;
	return cond_resched();
}

u64 wrap___SCT__might_resched(struct xpc *x, const u64 *a)
{
	return wrap___SCT__cond_resched(x, a);
}
