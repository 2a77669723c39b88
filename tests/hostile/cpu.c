// SPDX-License-Identifier: GPL-2.0-only
/* cpu.c - stores, jumps, exceptions, endless loops, and the CPU's flags and registers */
#include <linux/timer.h>
#include "hostile.h"

static noinline int hostile_store(word a, word b)
{
	*(volatile word *)a = b;
	return 0;
}

static noinline int hostile_load(word a, word b)
{
	hostile_counter += *(volatile word *)a;
	return 0;
}

/* a: offset in the per-CPU area */
static noinline int hostile_percpu(word a, word b)
{
	asm volatile("movq %1, %%gs:(%0)" : : "r" (a), "r" (b) : "memory");
	return 0;
}

/* The nook's own top-level page table. a: the entry */
static noinline int hostile_own_table(word a, word b)
{
	word cr3;

	asm volatile("movq %%cr3, %0" : "=r" (cr3));
	((volatile word *)__va(cr3 & PAGE_MASK))[a] = b;
	return 0;
}

/* The table that the CPU has loaded, which is nooks.ko's. a: the vector */
static noinline int hostile_idt(word a, word b)
{
	struct { u16 size; u64 base; } __packed idt;

	asm volatile("sidt %0" : "=m" (idt));
	((volatile word *)idt.base)[2 * a] = b;
	return 0;
}

static noinline int hostile_jump(word a, word b)
{
	((void (*)(void))a)();
	return 0;
}

static noinline int hostile_ud2(word a, word b)
{
	asm volatile("ud2");
	return 0;
}

static noinline int hostile_div0(word a, word b)
{
	asm volatile("xorl %%edx, %%edx\n\tmovl $1, %%eax\n\tdivl %0" : : "r" (0)
		     : "eax", "edx", "cc");
	return 0;
}

static noinline int hostile_int3(word a, word b)
{
	asm volatile("int3");
	return 0;
}

static noinline word hostile_recurse(word n)
{
	volatile char frame[256];

	frame[0] = n;
	if (n)
		frame[1] = hostile_recurse(n - 1);
	return frame[0] + frame[1];
}

static noinline int hostile_overflow(word a, word b)
{
	hostile_counter = hostile_recurse(1000000);
	return 0;
}

/* a: the new stack pointer */
static noinline int hostile_rsp(word a, word b)
{
	asm volatile("movq %0, %%rsp\n\tpushq $0" : : "r" (a) : "memory");
	unreachable();
}

/* Beyond a buffer on the stack; the compiler's canary sees it. */
static noinline int hostile_stack_smash(word a, word b)
{
	volatile char buf[16];
	volatile word n = 64;
	word i;

	for (i = 0; i < n; i++)
		buf[i] = 0x5a;
	return buf[3] ? 0 : -EINVAL;
}

static noinline int hostile_loop(word a, word b)
{
	for (;;)
		hostile_counter++;
	return 0;
}

static noinline int hostile_cli_loop(word a, word b)
{
	asm volatile("cli");
	for (;;)
		hostile_counter++;
	return 0;
}

static noinline int hostile_exit_loop(word a, word b)
{
	for (;;)
		kfree(kmalloc(64, GFP_KERNEL));
	return 0;
}

static noinline int hostile_sleep_loop(word a, word b)
{
	for (;;)
		msleep(1);
	return 0;
}

/* a: flags to set; b: then sleep with them */
static noinline int hostile_flags(word a, word b)
{
	asm volatile("pushfq\n\torq %0, (%%rsp)\n\tpopfq\n\tnop" : : "r" (a) : "cc", "memory");
	if (b)
		msleep(20);
	return 0;
}

static noinline int hostile_cli(word a, word b)
{
	asm volatile("cli");
	return 0;
}

/* With access to user memory on, write some. */
static noinline int hostile_stac(word a, word b)
{
	asm volatile("stac");
	*(volatile word *)a = b;
	return 0;
}

/* Registers that a function must give back; as a timer's handler, so that the kernel sees it. */
void hostile_clobbering(struct timer_list *timer);
asm(".pushsection .text\n"
    "	.globl hostile_clobbering\n"
    "	.type hostile_clobbering, @function\n"
    "hostile_clobbering:\n"
    "	movq	$-1, %rbx\n"
    "	movq	$-1, %rbp\n"
    "	movq	$-1, %r12\n"
    "	movq	$-1, %r13\n"
    "	movq	$-1, %r14\n"
    "	movq	$-1, %r15\n"
    "	movl	$1, hostile_clobbered(%rip)\n"
    "	jmp	__x86_return_thunk\n"
    "	.size hostile_clobbering, . - hostile_clobbering\n"
    ".popsection\n");

int hostile_clobbered;
static struct timer_list timer;

static noinline int hostile_clobber(word a, word b)
{
	hostile_clobbered = 0;
	timer_setup(&timer, hostile_clobbering, 0);
	mod_timer(&timer, jiffies + SOON);
	msleep(LATER);
	return READ_ONCE(hostile_clobbered) ? 0 : -ETIME;
}

static void hostile_cli_handler(struct timer_list *t)
{
	hostile_cli_loop(0, 0);
}

/* On this CPU, a while after the entry has ended. a: jiffies until then */
static noinline int hostile_cli_later(word a, word b)
{
	timer_setup(&timer, hostile_cli_handler, TIMER_PINNED);
	mod_timer(&timer, jiffies + a);
	return 0;
}

const struct attack attacks_cpu[] = {
	ATTACK(store), ATTACK(load), ATTACK(percpu), ATTACK(own_table), ATTACK(idt), ATTACK(jump),
	ATTACK(ud2), ATTACK(div0), ATTACK(int3), ATTACK(overflow), ATTACK(rsp),
	ATTACK(stack_smash), ATTACK(loop), ATTACK(cli_loop), ATTACK(exit_loop), ATTACK(sleep_loop),
	ATTACK(flags), ATTACK(cli), ATTACK(stac), ATTACK(clobber),
	ATTACK(cli_later), { }
};
