/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * objtrack.h - what only the core needs of the object tracker; the rest stands in nooks.h
 */
#ifndef NOOKS_OBJTRACK_H
#define NOOKS_OBJTRACK_H

#include "nooks.h"

int objtrack_cache_init(void);
void objtrack_cache_deinit(void);

static inline size_t objtrack_size(const struct tracked *t)
{
	return t->it.last - t->it.start + 1;
}

/**
 * objtrack_new() - an entry that nobody can find yet
 * Context: any but NMI. Return: to be filled and given to objtrack_insert(); NULL without memory.
 */
struct tracked *objtrack_new(struct nook *nk, u16 type, const void *addr, size_t size, gfp_t gfp);

/* From here on it can be found and dropped: who goes on with it takes a reference before. */
void objtrack_insert(struct tracked *t);

/* The interval tree with all that has a size in it. Under objs.lock. */
struct rb_root_cached *objtrack_tree(struct objtrack *ot);

/**
 * objtrack_lend() - track an object for the time of one entry
 * Context: any but NMI. Return: the entry, referenced for the caller, or NULL without memory.
 */
struct tracked *objtrack_lend(struct nook *nk, struct xpc *x, u16 type, const void *addr,
			      size_t size);

/**
 * objtrack_newest() - what was acquired last of the objects that @match says yes to
 * @match: called with objs.lock held
 * Context: any but NMI. Return: referenced, or NULL.
 */
struct tracked *objtrack_newest(struct nook *nk, bool (*match)(struct tracked *t, const void *arg),
				const void *arg);

/**
 * obj_release() - give what an entry stands for back to the kernel, by whatever way its type has
 * Context: process, may sleep; nobody else uses it.
 */
void obj_release(struct nook *nk, struct tracked *t);

/* All that was retired is the kernel's. Process, may sleep; the nook is empty. */
void objtrack_flush(struct nook *nk);

/* retire.c, for objtrack_init(): 0 or -ENOMEM */
int retire_init(struct objtrack *ot);
void retire_deinit(struct objtrack *ot);

/**
 * objtrack_release() - give an object back to the kernel and forget it
 * @t: of a type that has a release function; referenced, which this takes
 * Context: process, may sleep.
 */
void objtrack_release(struct tracked *t);

/**
 * objtrack_at() - ask @match about each object that @addr lies in, until it says yes
 * @match runs under objs.lock with interrupts off.
 */
bool objtrack_at(struct nook *nk, unsigned long addr,
		 bool (*match)(struct tracked *t, void *arg), void *arg);

/**
 * objtrack_each() - show each object to @visit, the newest first
 * @visit runs under objs.lock with interrupts off.
 */
void objtrack_each(struct nook *nk, void (*visit)(struct tracked *t, void *arg), void *arg);

#endif
