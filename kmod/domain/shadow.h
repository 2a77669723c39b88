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

/**
 * shadow_out() - give the kernel what the driver has written into its copies
 * @x:   entry that leaves the domain
 * @all: whole objects, else what changes with each packet
 *
 * A write that policy does not allow is a fault of the driver; the object is as it was.
 * Context: any but NMI, kernel view.
 */
void shadow_out(struct xpc *x, bool all);

/* shadow_in() - show the driver what the kernel has changed; arguments and context as shadow_out() */
void shadow_in(struct nook *nk, bool all);

#endif
