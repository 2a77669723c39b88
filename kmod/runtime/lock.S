/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lock.S - spinlocks in memory of the nook
 *
 * Such a lock is the driver's alone: the kernel never takes it, and a nook that dies with it held
 * is restarted with all its memory new. The word holds the number of the entry that has it
 * (xpc->lock_id), so that wrappers/lock.c, which is asked when it is not free, can tell a deadlock.
 * A lock of the kernel's, in an object that the nook was given, is not writable here: the cmpxchg
 * faults, and runtime_slow_way() sends it to the exit with all registers as they were.
 *
 * Domain view, any context. rdi = lock; rsi = flags to restore.
 */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/percpu.h>
#include "xpc/offsets.h"

#define EFLAGS_IF	0x200

.macro LOCK_ID
	movq	PER_CPU_VAR(xpc_cur), %r11
	movl	XPC_LOCK_ID(%r11), %ecx
.endm

.macro LOCKS op:req
	movq	XPC_DOM(%r11), %r11
	\op	DOM_LOCKS(%r11)
.endm

SYM_FUNC_START(nooks__raw_spin_lock)
	LOCK_ID
	xorl	%eax, %eax
SYM_INNER_LABEL(dom_spin_lock_try, SYM_L_GLOBAL)
	lock cmpxchgl %ecx, (%rdi)
	jne	dom_spin_lock_slow
	LOCKS	incl
	RET
SYM_INNER_LABEL(dom_spin_lock_slow, SYM_L_GLOBAL)
	jmp	nooks_slow__raw_spin_lock
SYM_FUNC_END(nooks__raw_spin_lock)

SYM_FUNC_START(nooks__raw_spin_lock_irqsave)
	pushfq
	popq	%r10
	cli
	LOCK_ID
	xorl	%eax, %eax
SYM_INNER_LABEL(dom_spin_lock_irqsave_try, SYM_L_GLOBAL)
	lock cmpxchgl %ecx, (%rdi)
	jne	dom_spin_lock_irqsave_slow
	LOCKS	incl
	movq	%r10, %rax
	RET
SYM_INNER_LABEL(dom_spin_lock_irqsave_slow, SYM_L_GLOBAL)
	pushq	%r10
	popfq
	jmp	nooks_slow__raw_spin_lock_irqsave
SYM_FUNC_END(nooks__raw_spin_lock_irqsave)

SYM_FUNC_START(nooks__raw_spin_lock_irq)
	pushfq
	popq	%r10
	cli
	LOCK_ID
	xorl	%eax, %eax
SYM_INNER_LABEL(dom_spin_lock_irq_try, SYM_L_GLOBAL)
	lock cmpxchgl %ecx, (%rdi)
	jne	dom_spin_lock_irq_slow
	LOCKS	incl
	RET
SYM_INNER_LABEL(dom_spin_lock_irq_slow, SYM_L_GLOBAL)
	pushq	%r10
	popfq
	jmp	nooks_slow__raw_spin_lock_irq
SYM_FUNC_END(nooks__raw_spin_lock_irq)

/* The holder is this entry, or the exit finds out who is. */
.macro UNLOCK slow:req
	LOCK_ID
	cmpl	%ecx, (%rdi)
	jne	\slow
	movl	$0, (%rdi)
	LOCKS	decl
.endm

SYM_FUNC_START(nooks__raw_spin_unlock)
	UNLOCK	nooks_slow__raw_spin_unlock
	RET
SYM_FUNC_END(nooks__raw_spin_unlock)

SYM_FUNC_START(nooks__raw_spin_unlock_irqrestore)
	UNLOCK	nooks_slow__raw_spin_unlock_irqrestore
	testl	$EFLAGS_IF, %esi
	jz	1f
	sti
1:	RET
SYM_FUNC_END(nooks__raw_spin_unlock_irqrestore)

SYM_FUNC_START(nooks__raw_spin_unlock_irq)
	UNLOCK	nooks_slow__raw_spin_unlock_irq
	sti
	RET
SYM_FUNC_END(nooks__raw_spin_unlock_irq)
