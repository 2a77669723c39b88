/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * xpc.h - what the parts of xpc/ share, and what core/ and recovery/ need of them
 */
#ifndef NOOKS_XPC_H
#define NOOKS_XPC_H

#include <linux/percpu.h>
#include <linux/ptrace.h>
#include "nooks.h"

/* entry.S */
extern const char xpc_stubs[], xpc_resume[], xpc_wret_start[], xpc_wret_end[];
u64 xpc_enter(struct xpc *x, void *fn, const u64 *args);

/* Read or written by entry.S; xpc_cur and xpc_kcr3 are valid in the domain view only. */
extern unsigned long xpc_idt_orig[];
DECLARE_PER_CPU(struct xpc *, xpc_cur);
DECLARE_PER_CPU(unsigned long, xpc_kcr3);
DECLARE_PER_CPU(unsigned long, xpc_target);
DECLARE_PER_CPU(unsigned long, xpc_ist_page);
DECLARE_PER_CPU(unsigned long[2], xpc_nmi_save);
DECLARE_PER_CPU(unsigned long[2], xpc_mce_save);
DECLARE_PER_CPU(unsigned long[2], xpc_debug_save);

/* Called by entry.S; regs and args are the kernel's own copies. */
asmlinkage u64 xpc_gate(unsigned long stub, u64 *args);
asmlinkage u64 xpc_exit(struct xpc *x, u32 index, const u64 *a);
asmlinkage int xpc_exit_done(struct xpc *x);
asmlinkage u64 xpc_exit_stray(u32 index);
asmlinkage void xpc_wait_turn(void);
asmlinkage int xpc_fault(struct xpc *x, struct pt_regs *regs, unsigned long vec);

/**
 * xpc_stacks_create() - domain stacks of a nook, one for each entry that may be live at once
 * Context: process, may sleep. Return: 0, -ENOMEM.
 */
int xpc_stacks_create(struct nook *nk);
void xpc_stacks_destroy(struct nook *nk);

/**
 * xpc_kill() - ask every live entry of a nook to leave the domain at its next chance
 * @nmi: also by NMI, for entries that have interrupts off
 * Context: process, interrupts on.
 */
void xpc_kill(struct nook *nk, bool nmi);

/* ---- idt.c: our interrupt table, its IST stack, CR4.PGE ------------------------------------- */
int xpc_idt_init(void);				/* process; CPU hotplug is handled from here on */
void xpc_idt_deinit(void);			/* no nook is left */
int xpc_idt_grant(struct nook *nk);		/* the stacks that the CPU itself writes */
bool xpc_cpu_ready(void);			/* this CPU has our IDT; preemption off */

/* ---- watchdog.c ----------------------------------------------------------------------------- */
extern atomic_t xpc_cpus_inside;
extern int xpc_cpus_max;

static __always_inline bool xpc_may_enter(void)
{
	return atomic_read(&xpc_cpus_inside) < READ_ONCE(xpc_cpus_max);
}

void xpc_wait_for_place(void);

/* Until this CPU may enter a domain. Any context. */
static __always_inline void xpc_wait_outside(void)
{
	if (unlikely(!xpc_may_enter()))
		xpc_wait_for_place();
}

int xpc_watchdog_init(void);
void xpc_watchdog_deinit(void);
void xpc_watchdog_cpu_online(unsigned int cpu);
void xpc_watchdog_cpu_offline(unsigned int cpu);
/* marked entries there end, even with IF=0 */
void xpc_watchdog_nmi(const struct cpumask *cpus);
void xpc_watchdog_all_cpus(bool all);		/* all may be inside, or one stays outside */

/* ---- nmi.c: NMIs from a timer, to every CPU -------------------------------------------------- */
#define XPC_NMI_PERIOD_NS	(60 * NSEC_PER_MSEC)

extern u64 xpc_nmi_until;			/* 0: none come. Any context */
void xpc_nmi_init(void);			/* process; xpc_watchdog_init() was called */
void xpc_nmi_deinit(void);			/* no nook is left */
void xpc_nmi_get(void);				/* process; a nook comes */
void xpc_nmi_put(void);				/* process; it can have no entry any more */
void xpc_nmi_cpu_comes(void);			/* process; it has no interrupt table yet */
void xpc_nmi_cpu_has_come(void);		/* process; it has, or will not come after all */
void xpc_nmi_count(void);			/* NMI; one was ours */

/* ---- emulate.c ------------------------------------------------------------------------------ */

/**
 * struct store - one memory write of an instruction, decoded
 * @addr:  first byte; @size: 1, 2, 4, 8
 * @value: what it stores, if @plain
 * @plain: a move; false for read-modify-write
 * @len:   of the instruction
 */
struct store {
	unsigned long addr;
	u64 value;
	u32 size;
	u32 op;
	u32 arg;
	u8 len;
	bool plain;
	bool repeat;			/* string instruction with REP: one element of it */
};

/**
 * store_decode() - what would the instruction at regs->ip store?
 * Context: any. Return: 0, -EOPNOTSUPP for an instruction that is not emulated, -EFAULT.
 */
int store_decode(struct store *st, const struct pt_regs *regs);

/**
 * store_perform() - do it, with every other effect of the instruction, on regs
 * @st->addr must be mapped and writable. Context: any, interrupts off.
 */
void store_perform(const struct store *st, struct pt_regs *regs);

#endif
