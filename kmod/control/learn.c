// SPDX-License-Identifier: GPL-2.0-only
/*
 * learn.c - what a driver wrote without a rule, while its nook had NOOKS_F_LEARN
 *
 * A hash table of fixed size, filled in the fault path and never shrunk: a line is (instruction,
 * object, offset, length), or the address where no object is known. What finds no room is counted.
 *
 * Locking: log->lock (raw, irqsave) protects all of the log.
 * Context: any but NMI for learn_note(), process else.
 */
#include <linux/hash.h>
#include <linux/mm.h>
#include "control/control.h"

#define LEARN_BITS 12
#define LEARN_PROBES 32

struct nook_learn {
	raw_spinlock_t lock;
	u64 lost;			/* lock */
	struct learn_line line[1 << LEARN_BITS];	/* lock; free if count is 0 */
};

int learn_init(struct nook *nk)
{
	nk->learn = kvzalloc(sizeof(*nk->learn), GFP_KERNEL);
	if (!nk->learn)
		return -ENOMEM;
	raw_spin_lock_init(&nk->learn->lock);
	return 0;
}

void learn_deinit(struct nook *nk)
{
	kvfree(nk->learn);
	nk->learn = NULL;
}

static bool learn_same(const struct learn_line *a, const struct learn_line *b)
{
	return a->ip == b->ip && a->object == b->object && a->off == b->off && a->len == b->len &&
	       a->addr == b->addr;
}

void learn_note(struct nook *nk, const char *object, u32 off, u32 len, unsigned long ip,
		unsigned long addr)
{
	struct learn_line key = { .object = object, .off = off, .len = len, .ip = ip };
	struct nook_learn *log = nk->learn;
	unsigned long flags;
	u32 slot, i;

	if (!log)
		return;
	/* The object's own address would make each packet a line of its own. */
	key.addr = object ? 0 : addr;
	slot = hash_64(ip ^ ((u64)off << 32) ^ key.addr, LEARN_BITS);

	raw_spin_lock_irqsave(&log->lock, flags);
	for (i = 0; i < LEARN_PROBES; i++) {
		struct learn_line *line = &log->line[(slot + i) % ARRAY_SIZE(log->line)];

		if (!line->count)
			*line = key;
		else if (!learn_same(line, &key))
			continue;
		line->count++;
		goto unlock;
	}
	log->lost++;
unlock:
	raw_spin_unlock_irqrestore(&log->lock, flags);
}

bool learn_get(struct nook *nk, unsigned int *pos, struct learn_line *line)
{
	struct nook_learn *log = nk->learn;
	unsigned long flags;
	bool found = false;

	if (!log)
		return false;
	raw_spin_lock_irqsave(&log->lock, flags);
	while (!found && *pos < ARRAY_SIZE(log->line)) {
		*line = log->line[(*pos)++];
		found = line->count;
	}
	raw_spin_unlock_irqrestore(&log->lock, flags);
	return found;
}

u64 learn_lost(struct nook *nk)
{
	return nk->learn ? READ_ONCE(nk->learn->lost) : 0;
}
