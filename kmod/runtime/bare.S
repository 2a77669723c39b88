/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bare.S - the part of the runtime that has to leave every register as it is
 *
 * Domain view. The kernel's preemption points are reached from inline assembly without clobbers;
 * in a domain they do nothing, and the next interrupt preempts. A smashed stack or an overrun that
 * the compiler's own checks caught is the driver's fault at once.
 */
#include <linux/linkage.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>

SYM_FUNC_START(nooks___SCT__preempt_schedule)
	RET
SYM_FUNC_END(nooks___SCT__preempt_schedule)

SYM_FUNC_START(nooks___SCT__preempt_schedule_notrace)
	RET
SYM_FUNC_END(nooks___SCT__preempt_schedule_notrace)

SYM_CODE_START(nooks___stack_chk_fail)
	UNWIND_HINT_FUNC
	ud2
SYM_CODE_END(nooks___stack_chk_fail)

SYM_CODE_START(nooks_fortify_panic)
	UNWIND_HINT_FUNC
	ud2
SYM_CODE_END(nooks_fortify_panic)
