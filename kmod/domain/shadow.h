/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * shadow.h - kernel objects of which a nook sees a copy at the object's own address
 */
#ifndef NOOKS_SHADOW_H
#define NOOKS_SHADOW_H

#include "nooks.h"

/**
 * shadow_create() - show a nook a copy of an object, which it may write
 * @nk:   the nook
 * @type: of the object or, for an array, of its elements
 * @obj:  the object; nobody else's data may lie in its pages, and they must be in the direct map
 * @size: bytes
 *
 * Context: process, may sleep, kernel view.
 * Return: 0; -EOPNOTSUPP if this nook or object has to do with checked writes; -ENOMEM.
 */
int shadow_create(struct nook *nk, u16 type, void *obj, size_t size);

/* The nook sees the object itself again, or what follows it. Process context, interrupts on. */
void shadow_destroy(struct nook *nk, const void *obj);

void shadow_out_now(struct xpc *x, bool all);
void shadow_in_now(struct nook *nk, bool all);

/**
 * shadow_out() - give the kernel what the driver has written into its copies
 * @x:   entry that leaves the domain
 * @all: whole objects, else what changes with each packet
 *
 * A write that policy does not allow is a fault of the driver; the object is as it was.
 * Context: any but NMI, kernel view.
 */
static __always_inline void shadow_out(struct xpc *x, bool all)
{
	if (!list_empty(&x->nook->shadows))
		shadow_out_now(x, all);
}

/*
 * shadow_in() - show the driver what the kernel has changed; arguments and context as shadow_out()
 */
static __always_inline void shadow_in(struct nook *nk, bool all)
{
	if (!list_empty(&nk->shadows))
		shadow_in_now(nk, all);
}

/**
 * shadow_ask() - the kernel asks the driver for a value of a field
 * @nk:    the nook
 * @obj:   of shadow_create(); nothing happens if there is no copy of it
 * @off:   of the field, for which policy says NOOKS_VALUE_ASKED
 * @value: which the driver may store from now on, as it may what stands there now; until the next
 *	   time
 *
 * Context: any but NMI.
 */
void shadow_ask(struct nook *nk, const void *obj, u32 off, u64 value);

/* Does the nook see a copy of this object? Any context but NMI. */
bool shadow_shows(struct nook *nk, const void *obj);

/*
 * Where [p, p+len) of an object is to be written on the driver's behalf: its copy, or @p. Any
 * context.
 */
void *shadow_target(struct nook *nk, void *p, size_t len);

/**
 * shadow_stage() - let a new driver describe an object that an earlier one has set up
 * @nk:    the nook
 * @obj:   of shadow_create(), just created
 * @fresh: the object's bytes when it was new
 *
 * From here on the driver sees, and changes, the fields that it may write as in @fresh, and all
 * others as they are. The object itself stays as it is.
 *
 * Context: process, may sleep, kernel view; no entry is live that works on the object.
 * Return: the stage, of the object's size, which the caller may change too; NULL: no memory,
 *	no copy.
 */
void *shadow_stage(struct nook *nk, const void *obj, const void *fresh);

/**
 * shadow_commit() - the object takes what the driver has described
 * @takes: for the offset of each field that the driver may write: is it taken over?
 *
 * Context: process, kernel view.
 */
void shadow_commit(struct nook *nk, const void *obj, bool (*takes)(u32 off));

/* The driver does not see these bits of the object's state, and sees those. Any context but NMI. */
void shadow_veil(struct nook *nk, const void *obj, u64 hidden, u64 shown);

/*
 * Bits that both sides change: from shadow_hold() on the driver sees its own, clear at first, and
 * the object keeps what it has, until shadow_unhold() gives it the driver's. Any context but NMI.
 */
void shadow_hold(struct nook *nk, const void *obj);
void shadow_unhold(struct nook *nk, const void *obj);

#endif
