/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * entry.S - cross a domain boundary: interrupt stubs, entries, exits, and the way back
 *
 * Terms:
 *	kernel view	the page table the task had; CR3 without CR3_MARK
 *	domain view	the nook's page table; CR3 with CR3_MARK, on any CPU, at any time
 *	home		XPC_KSP: RSP on the task's kernel stack after xpc_enter's pushes. While the
 *			driver runs, everything below it is free, and all kernel work that interrupts
 *			the driver is done there
 *	return page	the upper page of this CPU's own IST stack, in the direct map. Kernel stacks are
 *			vmalloc'ed, and a domain's private copy of a vmalloc table may be stale, so
 *			nothing may touch the kernel stack in the domain view
 *
 * Two per-CPU words, xpc_cur and xpc_kcr3, are valid only in the domain view: whoever loads the
 * view writes them first, with interrupts off. So a task may be preempted or moved anywhere
 * else without preempt_disable().
 *
 * Windows (tests/vm/test_windows.py interrupts each by NMI):
 *	W-ENTER	domain view loaded, driver not yet called: RSP is the domain's, xpc_cur is set
 *	W-LEAVE	driver has returned, kernel view not yet loaded: as W-ENTER
 *	W-RET	xpc_resume has loaded the domain view but not done its iretq: RSP is on the return
 *		page, so an NMI must return to the interrupted RSP and not to home
 * Without a timer that sends NMIs one CPU stays outside: if driver code turned interrupts off on
 * all of them and looped, nobody would be left to send one. xpc_cpus_inside counts the CPUs in a
 * domain view; it is raised before the view is loaded and lowered after it was left, with
 * interrupts off.
 *
 * Nothing in here aborts an entry while RIP is inside the stubs: an interrupt is about to be
 * delivered that the APIC holds in service, and nobody else would acknowledge it.
 */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>
#include <asm/percpu.h>
#include <asm/segment.h>
#include <asm/unwind_hints.h>
#include "xpc/offsets.h"

#define EFLAGS_IF	0x200
#define EFLAGS_TF	0x100

/* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX push an error code */
#define HAS_ERROR(v)	(((v) == 8) || (((v) >= 10) && ((v) <= 14)) || ((v) == 17) || ((v) == 21) || \
			 ((v) == 29) || ((v) == 30))
/* external interrupts run on our IST: the domain's stack may be full when one arrives */
#define ON_OUR_IST(v)	(((v) >= 32) && ((v) != 128))

/*
 * The domain's CR3 into \dst, for the entry in \xpc. Kernel view. Level wrap has no table of its
 * own.
 */
.macro DOMAIN_CR3 dst:req xpc:req
	movq	XPC_DCR3(\xpc), \dst
	testq	\dst, \dst
	jnz	.Lcr3_\@
	movq	%cr3, \dst
	orq	$CR3_MARK, \dst
.Lcr3_\@:
.endm

/* Take a place among the CPUs that may be inside, or go to \busy. Kernel view, interrupts off. */
.macro CPU_ENTER busy:req tmp:req
	movl	$1, \tmp
	lock xaddl \tmp, xpc_cpus_inside(%rip)
	cmpl	xpc_cpus_max(%rip), \tmp
	jae	\busy
.endm

.macro CPU_LEAVE
	lock decl xpc_cpus_inside(%rip)
.endm

/*
 * Interrupt stubs. From user mode and from the kernel proper they jump on to the kernel's own
 * handler with the machine as they found it. %gs is not touched before CR3 said "domain".
 */
.macro STUB
	.balign STUB_SIZE, 0xcc
	UNWIND_HINT_EMPTY
.if HAS_ERROR(vec)
	testb	$3, 16(%rsp)
.else
	testb	$3, 8(%rsp)
.endif
	jnz	1f
	pushq	%rax				/* rax */
	movq	%cr3, %rax
	testb	$CR3_MARK, %al
	jnz	2f
.if ON_OUR_IST(vec)
	pushq	$vec				/* vector */
	jmp	.Lirq_in_kernel
.else
	popq	%rax
.endif
1:	ANNOTATE_RETPOLINE_SAFE
	jmp	*xpc_idt_orig+8*vec(%rip)
2:
.if vec == 2
	jmp	.Lnmi_in_domain			/* one word on the NMI stack is all that is free */
.elseif vec == 18
	jmp	.Lmce_in_domain
.elseif vec == 1
	jmp	.Ldebug_in_domain
.elseif vec == 8
	jmp	.Ldouble_fault_in_domain
.elseif HAS_ERROR(vec)
	pushq	$vec
	jmp	.Lfault_in_domain
.elseif ON_OUR_IST(vec)
	pushq	$vec
	jmp	.Lirq_in_domain
.else
	pushq	$vec
	jmp	.Lfault_no_error
.endif
.endm

	.section .text.hot, "ax"		/* with the functions that are __nooks_hot */
SYM_CODE_START(xpc_stubs)
.set vec, 0
.rept 256
	STUB
.set vec, vec + 1
.endr

/*
 * External interrupt of the kernel proper, on our IST: [vec][rax][RIP][CS][FLAGS][RSP][SS].
 * Put the frame where it would be without an IST and go on to the kernel's handler. Interrupts
 * were on, so %gs is the kernel's.
 */
.Lirq_in_kernel:
	UNWIND_HINT_EMPTY
	pushq	%rcx
	movq	48(%rsp), %rcx			/* interrupted RSP */
	andq	$-16, %rcx
	movq	56(%rsp), %rax
	movq	%rax, -8(%rcx)			/* SS */
	movq	48(%rsp), %rax
	movq	%rax, -16(%rcx)			/* RSP */
	movq	40(%rsp), %rax
	movq	%rax, -24(%rcx)			/* FLAGS */
	movq	32(%rsp), %rax
	movq	%rax, -32(%rcx)			/* CS */
	movq	24(%rsp), %rax
	movq	%rax, -40(%rcx)			/* RIP */
	movq	(%rsp), %rax
	movq	%rax, -48(%rcx)			/* rcx */
	movq	16(%rsp), %rax
	movq	%rax, -56(%rcx)			/* rax */
	movq	8(%rsp), %rax
	leaq	-56(%rcx), %rsp
	leaq	xpc_idt_orig(%rip), %rcx
	movq	(%rcx, %rax, 8), %rax
	movq	%rax, PER_CPU_VAR(xpc_target)
	popq	%rax
	popq	%rcx
	ANNOTATE_RETPOLINE_SAFE
	jmp	*PER_CPU_VAR(xpc_target)

/*
 * External interrupt of a domain, on our IST: [vec][rax][RIP][CS][FLAGS][RSP][SS], domain view.
 * The handler gets a frame that returns to xpc_resume, on the task's kernel stack.
 */
.Lirq_in_domain:
	UNWIND_HINT_EMPTY
	pushq	%rcx
	pushq	%rdx
	movq	PER_CPU_VAR(xpc_kcr3), %rax
	movq	%rax, %cr3
	CPU_LEAVE
	movq	%rsp, %rdx
/* rdx: [rdx][rcx][vec][rax][RIP][CS][FLAGS][RSP][SS] */
.Lirq_deliver:
	UNWIND_HINT_EMPTY
	movq	PER_CPU_VAR(xpc_cur), %rcx
	movq	XPC_KSP(%rcx), %rsp
	andq	$-16, %rsp
	pushq	64(%rdx)			/* domain SS */
	pushq	56(%rdx)			/* domain RSP */
	pushq	48(%rdx)			/* domain FLAGS */
	pushq	40(%rdx)			/* domain CS */
	pushq	32(%rdx)			/* domain RIP */
	pushq	XPC_KSP(%rcx)			/* home */
	movq	%rsp, %rax
	pushq	$__KERNEL_DS			/* SS */
	pushq	%rax				/* RSP */
	movq	48(%rdx), %rax
	andl	$EFLAGS_IF, %eax
	orl	$2, %eax
	/* FLAGS: IF as in the domain, so that we can be preempted */
	pushq	%rax
	pushq	$__KERNEL_CS			/* CS */
	leaq	xpc_resume(%rip), %rax
	pushq	%rax				/* RIP */
	movq	16(%rdx), %rax
	leaq	xpc_idt_orig(%rip), %rcx
	movq	(%rcx, %rax, 8), %rax
	movq	%rax, PER_CPU_VAR(xpc_target)
	movq	24(%rdx), %rax
	movq	8(%rdx), %rcx
	movq	(%rdx), %rdx
	cld
	ANNOTATE_RETPOLINE_SAFE
	jmp	*PER_CPU_VAR(xpc_target)

/*
 * Back into interrupted domain code. Kernel view; the stack (task's, or the return page after an
 * NMI in W-RET): [home][RIP][CS][FLAGS][RSP][SS]. Interrupts may be on; (home) = struct xpc.
 */
SYM_INNER_LABEL(xpc_resume, SYM_L_GLOBAL)
	UNWIND_HINT sp_reg=ORC_REG_SP_INDIRECT sp_offset=9*8 type=UNWIND_HINT_TYPE_CALL
	cli
	cld
	UNWIND_HINT_EMPTY
	pushq	%rax
	pushq	%rcx
	movq	16(%rsp), %rcx
	movq	(%rcx), %rcx			/* struct xpc */
.Lresume_check:
	cmpq	$0, XPC_ABORT(%rcx)
	jne	.Lresume_abort
.Lresume_go:
	CPU_ENTER .Lresume_busy, %eax
	movq	%rcx, PER_CPU_VAR(xpc_cur)
	movq	%cr3, %rax
	movq	%rax, PER_CPU_VAR(xpc_kcr3)
	pushq	%rdx
	UNWIND_HINT_EMPTY
	movq	PER_CPU_VAR(xpc_ist_page), %rdx
	movq	%rsp, %rax
	subq	%rdx, %rax
	cmpq	$4096, %rax
	jb	.Lresume_on_page
	movq	32(%rsp), %rax
	movq	%rax, IST_RET+16(%rdx)		/* RIP */
	movq	40(%rsp), %rax
	movq	%rax, IST_RET+24(%rdx)		/* CS */
	movq	48(%rsp), %rax
	movq	%rax, IST_RET+32(%rdx)		/* FLAGS */
	movq	56(%rsp), %rax
	movq	%rax, IST_RET+40(%rdx)		/* RSP */
	movq	64(%rsp), %rax
	movq	%rax, IST_RET+48(%rdx)		/* SS */
	movq	16(%rsp), %rax
	movq	%rax, IST_RET(%rdx)		/* rax */
	movq	(%rsp), %rax
	movq	%rax, IST_RET-8(%rdx)		/* rdx */
	DOMAIN_CR3 %rax, %rcx
	movq	8(%rsp), %rcx
	leaq	IST_RET-8(%rdx), %rsp
	popq	%rdx
	jmp	xpc_wret_start
.Lresume_on_page:
	popq	%rdx
	DOMAIN_CR3 %rax, %rcx
	popq	%rcx
	UNWIND_HINT_EMPTY
SYM_INNER_LABEL(xpc_wret_start, SYM_L_GLOBAL)
	movq	%rax, %cr3			/* W-RET */
	popq	%rax
	leaq	8(%rsp), %rsp
	iretq
SYM_INNER_LABEL(xpc_wret_end, SYM_L_GLOBAL)
	UNWIND_HINT_EMPTY
.Lresume_busy:
	call	xpc_wait_turn_thunk
	jmp	.Lresume_check
.Lresume_abort:
	movq	24(%rsp), %rax			/* domain RIP */
	pushq	%rdx
	leaq	xpc_stubs(%rip), %rdx
	cmpq	%rdx, %rax
	jb	.Lresume_abort_now
	leaq	xpc_resume(%rip), %rdx
	cmpq	%rdx, %rax
	jae	.Lresume_abort_now
	popq	%rdx
	jmp	.Lresume_go			/* a stub was interrupted: let it deliver first */
.Lresume_abort_now:
	movq	%rcx, %rdi
	movq	%rax, XPC_ABORT_IP(%rdi)
	movq	56(%rsp), %rax			/* domain RSP */
	movq	%rax, XPC_EXIT_SP(%rdi)
	jmp	.Labort

/*
 * NMI, #MC and #DB of a domain, each on its own IST stack: [rax][RIP][CS][FLAGS][RSP][SS]. The
 * hardware frame is rewritten in place to return to xpc_resume, and its original goes to the
 * kernel stack, as for an interrupt. \slot: per-CPU scratch, one for each because they nest.
 */
.macro FORWARD_IST slot:req
	UNWIND_HINT_EMPTY
	movq	PER_CPU_VAR(xpc_kcr3), %rax
	movq	%rax, %cr3
	CPU_LEAVE
	movq	%rcx, PER_CPU_VAR(\slot)
	movq	%rdx, PER_CPU_VAR(\slot+8)
	movq	PER_CPU_VAR(xpc_cur), %rcx
	movq	XPC_KSP(%rcx), %rdx
	leaq	xpc_wret_start(%rip), %rax
	cmpq	%rax, 8(%rsp)
	jb	1f
	leaq	xpc_wret_end(%rip), %rax
	cmpq	%rax, 8(%rsp)
	jae	1f
	movq	32(%rsp), %rdx			/* W-RET: keep what is on the return page */
1:	andq	$-16, %rdx
	subq	$48, %rdx
	movq	XPC_KSP(%rcx), %rax
	movq	%rax, (%rdx)			/* home */
	movq	8(%rsp), %rax
	movq	%rax, 8(%rdx)			/* RIP */
	movq	16(%rsp), %rax
	movq	%rax, 16(%rdx)			/* CS */
	movq	24(%rsp), %rax
	movq	%rax, 24(%rdx)			/* FLAGS */
	movq	32(%rsp), %rax
	movq	%rax, 32(%rdx)			/* RSP */
	movq	40(%rsp), %rax
	movq	%rax, 40(%rdx)			/* SS */
	leaq	xpc_resume(%rip), %rax
	movq	%rax, 8(%rsp)
	movq	$2, 24(%rsp)			/* interrupts off until xpc_resume has its frame */
	movq	%rdx, 32(%rsp)
	movq	PER_CPU_VAR(\slot), %rcx
	movq	PER_CPU_VAR(\slot+8), %rdx
	popq	%rax
	cld
.endm

.Lnmi_in_domain:
	FORWARD_IST xpc_nmi_save
	ANNOTATE_RETPOLINE_SAFE
	jmp	*xpc_idt_orig+8*2(%rip)

.Lmce_in_domain:
	FORWARD_IST xpc_mce_save
	ANNOTATE_RETPOLINE_SAFE
	jmp	*xpc_idt_orig+8*18(%rip)

.Ldebug_in_domain:
	UNWIND_HINT_EMPTY
	testl	$EFLAGS_TF, 24(%rsp)
	jnz	.Ldebug_trap_flag
	FORWARD_IST xpc_debug_save
	ANNOTATE_RETPOLINE_SAFE
	jmp	*xpc_idt_orig+8*1(%rip)
/* the driver set TF: its fault, no breakpoint of the kernel's */
.Ldebug_trap_flag:
	UNWIND_HINT_EMPTY
	pushq	$1
	jmp	.Lfault_no_error

/*
 * #DF of a domain, on IST1: [rax][err][RIP]...: its stack is full or gone. If RIP is in the stub of
 * an external interrupt, that one is in service in the APIC: deliver it, then abort.
 */
.Ldouble_fault_in_domain:
	UNWIND_HINT_EMPTY
	pushq	$8
	pushq	%rcx
	pushq	%rdx
	movq	PER_CPU_VAR(xpc_kcr3), %rax
	movq	%rax, %cr3
	CPU_LEAVE
	movq	PER_CPU_VAR(xpc_cur), %rcx
	movq	40(%rsp), %rax			/* RIP */
	leaq	xpc_stubs(%rip), %rdx
	subq	%rdx, %rax
	jb	1f
	cmpq	$(256 * STUB_SIZE), %rax
	jae	1f
	shrq	$STUB_SHIFT, %rax
	cmpq	$32, %rax
	jb	1f
	/* [rdx][rcx][8][rax][err][RIP][CS][FLAGS][RSP][SS] into .Lirq_deliver's picture */
	movq	$8, XPC_ABORT(%rcx)
	movq	%rsp, %rdx
	movq	%rax, 16(%rdx)			/* vec */
	movq	$0, 32(%rdx)			/* RIP */
	movq	48(%rdx), %rax
	movq	%rax, 40(%rdx)			/* CS */
	movq	$2, 48(%rdx)			/* FLAGS */
	jmp	.Lirq_deliver
1:	movq	%rsp, %rdx
	jmp	.Lfault_left

/*
 * Exception of domain code, on the domain's stack (or IST1): [vec][rax][RIP].. or
 * [vec][rax][err][RIP].. C gets a full pt_regs on the kernel stack and says whether the driver goes
 * on.
 */
.Lfault_no_error:
	UNWIND_HINT_EMPTY
	popq	%rax				/* vec */
	pushq	(%rsp)
	movq	$0, 8(%rsp)			/* [rax][0][RIP].. */
	pushq	%rax
.Lfault_in_domain:
	UNWIND_HINT_EMPTY
	pushq	%rcx
	pushq	%rdx
	movq	PER_CPU_VAR(xpc_kcr3), %rax
	movq	%rax, %cr3
	CPU_LEAVE
	movq	%rsp, %rdx
.Lfault_left:					/* rdx: [rdx][rcx][vec][rax][err][RIP].. */
	UNWIND_HINT_EMPTY
	movq	PER_CPU_VAR(xpc_cur), %rcx
	movq	XPC_KSP(%rcx), %rsp
	andq	$-16, %rsp
	pushq	72(%rdx)			/* pt_regs->ss */
	pushq	64(%rdx)			/* pt_regs->sp */
	pushq	56(%rdx)			/* pt_regs->flags */
	pushq	48(%rdx)			/* pt_regs->cs */
	pushq	40(%rdx)			/* pt_regs->ip */
	pushq	32(%rdx)			/* pt_regs->orig_ax = error code */
	pushq	%rdi
	pushq	%rsi
	pushq	(%rdx)				/* pt_regs->dx */
	pushq	8(%rdx)				/* pt_regs->cx */
	pushq	24(%rdx)			/* pt_regs->ax */
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushq	$2
	popfq					/* as for an exit; the driver's stand in pt_regs */
	movq	%rcx, %rbx
	movq	%rcx, %rdi			/* xpc */
	movq	%rsp, %rsi			/* regs */
	movq	16(%rdx), %rdx			/* vec */
	subq	$8, %rsp
	call	xpc_fault
	addq	$8, %rsp
	movq	%rbx, %rdi
	testl	%eax, %eax
	jz	.Labort
	movq	XPC_KSP(%rbx), %rax
	movq	%rax, 15*8(%rsp)		/* orig_ax becomes [home] */
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rax
	popq	%rcx
	popq	%rdx
	popq	%rsi
	popq	%rdi
	jmp	xpc_resume

.Labort:	/* rdi = xpc, kernel view, interrupts off: drop all that is below home */
	UNWIND_HINT_EMPTY
	cld
	movq	XPC_KSP(%rdi), %rsp
	movq	$-14, %rax
	jmp	.Lenter_out

/*
 * u64 xpc_enter(struct xpc *x, void *fn, const u64 *args) - run fn in the domain of x
 * Kernel view, any context but NMI. args: six registers (stack words were put at x->dsp by C).
 * rbx, rbp, r12-r15 are pushed because the driver may return garbage in them.
 */
SYM_INNER_LABEL(xpc_enter, SYM_L_GLOBAL)
	UNWIND_HINT_FUNC
	pushq	%rbp				/* home + 56 */
	pushq	%rbx				/* home + 48 */
	pushq	%r12				/* home + 40 */
	pushq	%r13				/* home + 32 */
	pushq	%r14				/* home + 24 */
	pushq	%r15				/* home + 16 */
	pushfq					/* home + 8 */
	movq	(%rsp), %r10
	pushq	%rdi				/* home: struct xpc */
	movq	%rsp, XPC_KSP(%rdi)
	UNWIND_HINT_EMPTY
	cli
.Lenter_try:
	CPU_ENTER .Lenter_busy, %eax
	movq	%rdi, PER_CPU_VAR(xpc_cur)
	movq	%cr3, %rax
	movq	%rax, PER_CPU_VAR(xpc_kcr3)
	movq	%rsi, %r11
	movq	%rdx, %rbx
	DOMAIN_CR3 %rax, %rdi
	movq	XPC_DSP(%rdi), %r12
	movq	(%rbx), %rdi
	movq	8(%rbx), %rsi
	movq	16(%rbx), %rdx
	movq	24(%rbx), %rcx
	movq	32(%rbx), %r8
	movq	40(%rbx), %r9
	movq	%r12, %rsp
	movq	%rax, %cr3			/* W-ENTER */
	testl	$EFLAGS_IF, %r10d
	jz	1f
	sti
1:	movq	%r11, %rax
	ANNOTATE_RETPOLINE_SAFE
	call	*%rax
	cli					/* W-LEAVE */
	movq	PER_CPU_VAR(xpc_cur), %rdi
	movq	PER_CPU_VAR(xpc_kcr3), %rcx
	movq	%rcx, %cr3
	CPU_LEAVE
	movq	XPC_KSP(%rdi), %rsp
	cld
.Lenter_out:
	UNWIND_HINT sp_reg=ORC_REG_SP sp_offset=8+8*8 type=UNWIND_HINT_TYPE_CALL
	popq	%rdi
	popfq
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	UNWIND_HINT_FUNC
	RET
.Lenter_busy:
	UNWIND_HINT_EMPTY
	call	xpc_wait_turn_thunk
	jmp	.Lenter_try
SYM_CODE_END(xpc_stubs)

/* xpc_wait_turn() with every register as it was. Kernel view, interrupts off. */
SYM_CODE_START(xpc_wait_turn_thunk)
	UNWIND_HINT_FUNC
	pushq	%rbp
	UNWIND_HINT sp_reg=ORC_REG_SP sp_offset=16 type=UNWIND_HINT_TYPE_CALL
	movq	%rsp, %rbp
	UNWIND_HINT sp_reg=ORC_REG_BP sp_offset=16 type=UNWIND_HINT_TYPE_CALL
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	andq	$-16, %rsp
	call	xpc_wait_turn
	leaq	-72(%rbp), %rsp
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	popq	%rbp
	UNWIND_HINT_FUNC
	RET
SYM_CODE_END(xpc_wait_turn_thunk)

/*
 * Exit: every nooks_S stub comes here. Domain view, domain stack, eax = index, arguments as for S.
 * Callee-saved registers live on the domain's stack, whose pushes are the proof that it is there;
 * xpc_exit() gets the six argument registers and eight words of that stack.
 */
SYM_CODE_START(nooks_xpc_exit)
	UNWIND_HINT_FUNC
	movq	%cr3, %r11
	testb	$CR3_MARK, %r11b
	jz	.Lexit_stray
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	/* the last stack word is readable, or the fault is the driver's */
	movq	96(%rsp), %r11
	pushfq
	popq	%r10
	UNWIND_HINT_EMPTY
	pushq	$2
	/* interrupts off; no DF, NT, AC or IOPL of the driver's goes on */
	popfq
	movq	PER_CPU_VAR(xpc_cur), %rbx
	movq	PER_CPU_VAR(xpc_kcr3), %r11
	movq	%r11, %cr3
	CPU_LEAVE
	movq	%rsp, %rbp
	movq	32(%rbp), %r11			/* where the driver called from, for a record */
	movq	%r11, XPC_ABORT_IP(%rbx)
	movq	%rbp, XPC_EXIT_SP(%rbx)
	movq	XPC_KSP(%rbx), %rsp
	andq	$-16, %rsp
	pushq	96(%rbp)			/* a[13] */
	pushq	88(%rbp)
	pushq	80(%rbp)
	pushq	72(%rbp)
	pushq	64(%rbp)
	pushq	56(%rbp)
	pushq	48(%rbp)
	pushq	40(%rbp)			/* a[6] */
	pushq	%r9
	pushq	%r8
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi				/* a[0] */
	movq	%rbx, %rdi
	movl	%eax, %esi
	movq	%rsp, %rdx
	testl	$EFLAGS_IF, %r10d
	jz	1f
	sti
1:	call	xpc_exit
	/* the callee's IF counts: think of spin_lock_irqsave() */
	pushfq
	popq	%r12
	cli
	movq	%rax, %r13
.Lexit_try:
	movq	%rbx, %rdi
	call	xpc_exit_done
	movq	%rbx, %rdi
	testl	%eax, %eax
	jnz	.Lexit_abort
	CPU_ENTER .Lexit_busy, %eax
	movq	%rbx, PER_CPU_VAR(xpc_cur)
	movq	%cr3, %rcx
	movq	%rcx, PER_CPU_VAR(xpc_kcr3)
	DOMAIN_CR3 %rcx, %rbx
	movq	%r13, %rax
	movq	%rbp, %rsp
	movq	%rcx, %cr3
	testl	$EFLAGS_IF, %r12d
	jz	1f
	sti
1:	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	UNWIND_HINT_FUNC
	RET
.Lexit_busy:
	UNWIND_HINT_EMPTY
	call	xpc_wait_turn_thunk
	jmp	.Lexit_try
.Lexit_abort:
	UNWIND_HINT_EMPTY
	jmp	.Labort
/* driver code ran in the kernel view: never right */
.Lexit_stray:
	UNWIND_HINT_FUNC
	movl	%eax, %edi
	jmp	xpc_exit_stray
SYM_CODE_END(nooks_xpc_exit)

/*
 * Entry: every gate of a relinked driver comes here with rax = the gate's own address. From the
 * kernel it becomes a C call; from the driver itself (a call through its own pointer) it goes
 * straight on, and a gate of somebody else is no way out.
 */
SYM_CODE_START(nooks_xpc_gate)
	UNWIND_HINT_FUNC
	movq	%cr3, %r11
	testb	$CR3_MARK, %r11b
	jnz	.Lgate_inside
	pushq	%rbp
	UNWIND_HINT sp_reg=ORC_REG_SP sp_offset=16 type=UNWIND_HINT_TYPE_CALL
	movq	%rsp, %rbp
	UNWIND_HINT sp_reg=ORC_REG_BP sp_offset=16 type=UNWIND_HINT_TYPE_CALL
	pushq	56(%rbp)			/* args[11] */
	pushq	48(%rbp)
	pushq	40(%rbp)
	pushq	32(%rbp)
	pushq	24(%rbp)
	pushq	16(%rbp)			/* args[6] */
	pushq	%r9
	pushq	%r8
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi				/* args[0] */
	movq	%rax, %rdi
	movq	%rsp, %rsi
	call	xpc_gate
	movq	%rbp, %rsp
	popq	%rbp
	UNWIND_HINT_FUNC
	RET
.Lgate_inside:
	UNWIND_HINT_FUNC
	movq	PER_CPU_VAR(xpc_cur), %r11
	subq	XPC_GATES_LO(%r11), %rax
	cmpq	XPC_GATES_LEN(%r11), %rax
	jae	1f
	andq	$-16, %rax
	addq	%rax, %rax			/* 16-byte gates, 32-byte struct gate */
	addq	XPC_GATE_TAB(%r11), %rax
	movq	GATE_TARGET(%rax), %rax
	JMP_NOSPEC rax
1:	ud2
SYM_CODE_END(nooks_xpc_gate)
