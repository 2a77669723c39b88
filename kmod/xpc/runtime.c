// SPDX-License-Identifier: GPL-2.0-only
/*
 * runtime.c - what a driver imports and gets without leaving its domain (policy "domain")
 *
 * Context: domain view, any context of the driver. Nothing in here may write outside the domain's
 * stack, call anything, or be traced.
 */
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/objtool.h>
#include <asm/tsc.h>
#include <asm/processor.h>

#define RUNTIME(ret, name, ...)			\
	ret nooks_##name(__VA_ARGS__);		\
	EXPORT_SYMBOL_GPL(nooks_##name);	\
	notrace ret nooks_##name(__VA_ARGS__)

/* The kernel's own counts up the preempt count, which lies in memory that is read-only here. */
static __always_inline void runtime_delay_ns(u64 ns)
{
	u64 start = rdtsc(), ticks = mul_u64_u64_div_u64(ns, tsc_khz, 1000000);

	while (rdtsc() - start < ticks)
		cpu_relax();
}

RUNTIME(void, __udelay, unsigned long us)
{
	runtime_delay_ns(us * 1000ULL);
}

RUNTIME(void, __ndelay, unsigned long ns)
{
	runtime_delay_ns(ns);
}

/* @xloops: 2^32 / 10^6 for each microsecond (asm/delay.h) */
RUNTIME(void, __const_udelay, unsigned long xloops)
{
	runtime_delay_ns(xloops * 1000ULL / 0x10c7);
}

/* bare.S */
#define RUNTIME_BARE(name) extern void nooks_##name(void); EXPORT_SYMBOL_GPL(nooks_##name)
RUNTIME_BARE(__SCT__preempt_schedule);
RUNTIME_BARE(__SCT__preempt_schedule_notrace);
RUNTIME_BARE(__stack_chk_fail);
RUNTIME_BARE(fortify_panic);
