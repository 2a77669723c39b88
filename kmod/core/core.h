/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * core.h - the life of a nook, for xpc/ and recovery/
 */
#ifndef NOOKS_CORE_H
#define NOOKS_CORE_H

#include <linux/bitmap.h>
#include <linux/percpu.h>
#include <asm/msr.h>
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

/* Tables of functions that it has, read before it runs. Process. Return: 0 or -ENOMEM. */
int nook_save_tables(struct nook *nk);

/* Run init in the nook. Process. Return: what it returned, -EIO if it died. */
int nook_run_init(struct nook *nk);

/* Let a driver that is alive end by its exit, in the nook. Process, recov_lock. */
void nook_run_exit(struct nook *nk);

/* Text without injected faults, .data and .bss as before the first init. The nook is empty. */
void nook_restore_image(struct nook *nk);

/**
 * nook_fail() - an entry has died: refuse new ones, quiet the device, record, start recovery
 * @x: settled, with its fault filled in
 * Context: any but NMI; only the first of a series starts a recovery.
 */
void nook_fail(struct nook *nk, struct xpc *x);

/* Objects of a type that the nook holds now, with packets and without the runtime's stock. */
u32 nook_count_of(struct nook *nk, u16 type);

/* ---- record.c ------------------------------------------------------------------------------ */
#define RECORD_CROSSINGS	32	/* a power of two */
#define RECORD_STACK		256	/* words */
#define RECORD_BEFORE		256	/* bytes of code up to the instruction */
#define RECORD_BEHIND		64	/* from the instruction on */
#define RECORD_OBJECTS		64
#define RECORD_ALIKE		8	/* of one type, or buffers would be all that is seen */

/* @what: the driver's function for an entry, the number of the exit for an exit. */
struct record_crossing {
	u64 tsc;			/* 0: never written */
	u64 what;
};

/* Written without a lock; a crossing that was preempted between its stores leaves a torn slot. */
struct record_ring {
	u32 next;			/* the oldest slot is the one behind it */
	struct record_crossing slot[RECORD_CROSSINGS];
};

struct record_object {
	u64 addr, size;
	u16 type;
	bool published;
};

struct record_count {
	u32 n;
	u32 listed;
};

/**
 * struct nook_record - what is known of a nook's last fault
 * @bytes:   size of the whole, so that it can be copied
 * @trapped: @regs is valid; else ip and sp of @fault are all that is known
 * @calls:   words of @stack that follow a call instruction
 * @code_at: address of @code[0]
 * @ring:    one for each possible CPU; behind it are the counts (record_counts())
 */
struct nook_record {
	size_t bytes;
	u32 id;
	char name[NOOKS_NAME_LEN];
	struct nooks_fault fault;
	bool trapped;
	struct pt_regs regs;
	u64 sp;
	u32 nstack;
	u64 stack[RECORD_STACK];
	DECLARE_BITMAP(calls, RECORD_STACK);
	u64 code_at;
	u32 ncode;
	u8 code[RECORD_BEFORE + RECORD_BEHIND];
	u32 nobjects;
	struct record_object object[RECORD_OBJECTS];
	struct record_ring ring[];
};

static inline struct record_count *record_counts(const struct nook_record *r)
{
	return (struct record_count *)&r->ring[nr_cpu_ids];
}

int record_create(struct nook *nk);
void record_destroy(struct nook *nk);

/* Note an entry or an exit. On the path of each packet: no lock, no clock. Context: any but NMI. */
static inline void record_crossing(struct nook *nk, u64 what)
{
	u32 at = raw_cpu_inc_return(nk->ring->next) % RECORD_CROSSINGS;
	struct record_crossing *c = raw_cpu_ptr(&nk->ring->slot[at]);

	WRITE_ONCE(c->tsc, rdtsc());
	WRITE_ONCE(c->what, what);
}

/**
 * record_fill() - keep what the entry that failed has left behind
 * @x: with its fault filled in; its stack and the driver's text are still as they were
 *
 * Context: any but NMI, nook->fault_lock held.
 */
void record_fill(struct nook *nk, const struct xpc *x);

/**
 * record_copy() - the record as it is now, for kvfree()
 * Context: process, may sleep. Return: ERR_PTR(-ENODATA) without a fault, ERR_PTR(-ENOMEM).
 */
struct nook_record *record_copy(struct nook *nk);

/* ---- memory.c ------------------------------------------------------------------------------ */
int nook_heap_create(struct nook *nk);
void nook_heap_destroy(struct nook *nk);
size_t nook_heap_used(struct nook *nk);
void nook_grants_deinit(struct nook *nk);
void nook_release_heap(struct nook *nk, struct tracked *t);
void nook_withdraw_vmalloc(struct nook *nk, struct tracked *t);
void nook_finish_vmalloc(struct nook *nk, struct tracked *t);

#endif
