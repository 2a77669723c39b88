// SPDX-License-Identifier: GPL-2.0-only
/*
 * moderate.c - polls of a busy device that do not wait for its interrupt
 *
 * Each interrupt of a driver in a nook is an entry, and the poll that it asks for is another.
 * While packets come or leave all the time, both are saved: a poll that has found something is
 * told that it has not completed, so that the driver leaves its interrupts off, and a timer polls
 * again. The kernel has such a mode itself (napi_defer_hard_irqs, net/core/dev.c), which its user
 * has to switch on; drivers therefore know the answer. This one looks after itself:
 *
 *	it starts when polls follow each other within the delay, and nothing else is held up;
 *	the delay grows while a poll finds few packets and shrinks when it finds many. It is at most
 *	sixteen times what a poll takes: little of the CPU is left to save then;
 *	it ends with the first poll that finds nothing, unless packets are about to be sent, and
 *	when polls find one packet each: then somebody waits for an answer, and the delay is all
 *	that he gets. The next try is later each time.
 *
 * Context: softirq of the poll, kernel view. Time is the TSC's: to read another clock may cost as
 * much as a call.
 */
#include <linux/module.h>
#include <linux/timex.h>
#include "wrappers/moderate.h"

#define DELAY_POLLS	16ULL
#define WORK_FEW	4
#define WORK_MANY	16
#define SCORE_LEAST	-2
#define SCORE_MOST	4
#define BACKOFF_FIRST	4
#define BACKOFF_MOST	1024
#define ROW_GOOD	12		/* so many in a row: it was right to hold them */
#define COST_WEIGHT	8

static unsigned int poll_delay_us = 1000;
module_param(poll_delay_us, uint, 0600);
MODULE_PARM_DESC(poll_delay_us, "the longest time from one poll of a busy network device to the next, while its interrupt is off; 0: interrupts only");

static u64 moderate_most(const struct moderation *m)
{
	return min(DELAY_POLLS * m->cost, (u64)READ_ONCE(poll_delay_us) * tsc_khz / USEC_PER_MSEC);
}

enum napi_hold moderate_begin(struct moderation *m, const struct net_device *dev, bool sends)
{
	m->began = rdtsc();
	if (!READ_ONCE(poll_delay_us) || m->skip || READ_ONCE(m->ends) ||
	    READ_ONCE(dev->gro_flush_timeout))		/* the kernel's own mode is on */
		return NAPI_HOLD_NONE;
	if (!m->holding && m->began - m->ended >= moderate_most(m))
		return NAPI_HOLD_NONE;
	return sends ? NAPI_HOLD_ANY : NAPI_HOLD_FOUND;
}

static void moderate_rest(struct moderation *m)
{
	if (m->row >= ROW_GOOD)
		m->backoff = 0;
	m->backoff = clamp_t(u32, m->backoff * 2, BACKOFF_FIRST, BACKOFF_MOST);
	m->skip = m->backoff;
}

static void moderate_adapt(struct moderation *m, int work)
{
	if (work < WORK_FEW)
		m->delay *= 2;
	else if (work > WORK_MANY)
		m->delay /= 2;
	m->delay = clamp(m->delay, m->cost / 4, moderate_most(m));
}

/* A poll that has received nothing has cleaned up what was sent, and nobody waits for that. */
static bool moderate_saves(struct moderation *m, int work)
{
	u64 time_for_more = moderate_most(m) / 2;
	bool one = work == 1 && m->delay >= time_for_more;

	if (work > 1 || one)
		m->score = clamp(m->score + (one ? -1 : 1), SCORE_LEAST, SCORE_MOST);
	return m->score > SCORE_LEAST;
}

u64 moderate_end(struct moderation *m, int work, bool held)
{
	bool held_before = m->holding;

	m->ended = rdtsc();
	m->cost += div_s64(m->ended - m->began - m->cost, COST_WEIGHT);
	WRITE_ONCE(m->holding, held);
	if (!held) {
		if (m->skip)
			m->skip--;
		else if (held_before)
			moderate_rest(m);
	} else if (!held_before) {
		m->delay = moderate_most(m) / 4;
		m->score = 0;
		m->row = 0;
	} else if (moderate_saves(m, work)) {
		m->row++;
		moderate_adapt(m, work);
	} else {
		moderate_rest(m);
	}
	return div_u64(m->delay * USEC_PER_SEC, tsc_khz);
}
