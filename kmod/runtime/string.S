/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * string.S - copying and filling memory of the nook
 *
 * A target that is not the nook's faults, and runtime_slow_way() sends it to the label behind,
 * which leaves with the arguments as they were: the target may be a field that policy lets it
 * write.
 *
 * Domain view, any context. Arguments as in C.
 */
#include <linux/linkage.h>
#include <asm/asm.h>

SYM_FUNC_START(nooks_memcpy)
	movq	%rdi, %rax
	movq	%rdx, %r8
	movq	%rdx, %rcx
	shrq	$3, %rcx
SYM_INNER_LABEL(dom_memcpy_words, SYM_L_GLOBAL)
	rep movsq
	movl	%r8d, %ecx
	andl	$7, %ecx
SYM_INNER_LABEL(dom_memcpy_bytes, SYM_L_GLOBAL)
	rep movsb
	RET
SYM_FUNC_END(nooks_memcpy)

SYM_FUNC_START(dom_memcpy_slow)
	subq	%rax, %rdi			/* as far as it came */
	subq	%rdi, %rsi
	movq	%rax, %rdi
	movq	%r8, %rdx
	jmp	nooks_slow_memcpy
SYM_FUNC_END(dom_memcpy_slow)

SYM_FUNC_START(nooks_memmove)
	movq	%rdi, %rax
	subq	%rsi, %rax			/* the target lies inside the source: backwards */
	cmpq	%rdx, %rax
	jae	nooks_memcpy
	jmp	nooks_slow_memmove
SYM_FUNC_END(nooks_memmove)

SYM_FUNC_START(nooks_memset)
	movq	%rdi, %r9
	movq	%rdx, %r8
	movzbl	%sil, %eax
	movq	$0x0101010101010101, %rcx
	imulq	%rcx, %rax
	movq	%rdx, %rcx
	shrq	$3, %rcx
SYM_INNER_LABEL(dom_memset_words, SYM_L_GLOBAL)
	rep stosq
	movl	%r8d, %ecx
	andl	$7, %ecx
SYM_INNER_LABEL(dom_memset_bytes, SYM_L_GLOBAL)
	rep stosb
	movq	%r9, %rax
	RET
SYM_FUNC_END(nooks_memset)

SYM_FUNC_START(dom_memset_slow)
	movq	%r9, %rdi
	movq	%r8, %rdx
	jmp	nooks_slow_memset
SYM_FUNC_END(dom_memset_slow)
