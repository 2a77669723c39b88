/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * core.h - the life of a nook, for xpc/ and recovery/
 */
#ifndef NOOKS_CORE_H
#define NOOKS_CORE_H

#include "nooks.h"

/* ---- nook.c -------------------------------------------------------------------------------- */
int nook_notifier_init(void);			/* from here on relinked modules get a nook */
void nook_notifier_deinit(void);

/**
 * nook_of_gate() - whose gate is this?
 * Context: any but NMI. Return: the nook and its gate in *@g, or NULL.
 */
struct nook *nook_of_gate(unsigned long stub, struct gate **g);

/* Entry that was admitted is over; wakes recovery when the nook is dead and empty. */
void nook_leave(struct nook *nk);

/* The driver's init and exit, as the module loader calls them. Process. */
int nook_module_init(struct nook *nk);
void nook_module_exit(struct nook *nk);

/* Run init in the nook. Process. Return: what it returned, -EIO if it died. */
int nook_run_init(struct nook *nk);

/* Text without injected faults, .data and .bss as before the first init. The nook is empty. */
void nook_restore_image(struct nook *nk);

/**
 * nook_fail() - an entry has died: refuse new ones, quiet the device, record, start recovery
 * @x: settled, with its fault filled in
 * Context: any but NMI; only the first of a series starts a recovery.
 */
void nook_fail(struct nook *nk, struct xpc *x);

/* ---- memory.c ------------------------------------------------------------------------------ */
int nook_heap_create(struct nook *nk);
void nook_heap_destroy(struct nook *nk);
size_t nook_heap_used(struct nook *nk);
void nook_grants_deinit(struct nook *nk);
void nook_release_heap(struct nook *nk, struct tracked *t);

#endif
