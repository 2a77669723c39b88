/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * moderate.h - polls of a busy device that do not wait for its interrupt
 */
#ifndef NOOKS_WRAPPERS_MODERATE_H
#define NOOKS_WRAPPERS_MODERATE_H

#include <linux/netdevice.h>
#include "nooks.h"

/**
 * struct moderation - what one napi_struct of a driver has been doing
 * @began, @ended: TSC, of the last poll
 * @cost: ticks of the TSC that a poll takes, a moving average
 * @delay: ticks from the end of a poll to the next one, while interrupts stay off
 * @skip: completions that are not to be held
 * @backoff: @skip after the next time that holding was in vain
 * @row: polls that were held, one after the other
 * @score: which of them have saved something
 * @holding: the last poll was told to go on, so the driver's interrupts may be off
 * @ends: no poll is told so any more
 *
 * Whoever has NAPI_STATE_SCHED set owns it, but for @ends.
 */
struct moderation {
	u64 began, ended, cost, delay;
	u32 skip, backoff, row;
	int score;
	bool holding, ends;
};

/**
 * moderate_begin() - before a poll
 * @sends: packets wait for a moment before they are sent (netxmit.c)
 *
 * Return: may its completion be held?
 */
enum napi_hold moderate_begin(struct moderation *m, const struct net_device *dev, bool sends);

/**
 * moderate_end() - after a poll, before its twin completes
 * @work: packets received
 * @held: the driver was told that it has not completed
 *
 * Return: time until the next poll, ns, if @held.
 */
u64 moderate_end(struct moderation *m, int work, bool held);

#endif
