// SPDX-License-Identifier: GPL-2.0-only
/*
 * delay.c - busy waits
 *
 * Context: domain view, any context of the driver.
 */
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/objtool.h>
#include <asm/tsc.h>
#include <asm/processor.h>
#include "runtime/slow.h"

/* The kernel's own counts up the preempt count, which lies in memory that is read-only here. */
static __always_inline void runtime_delay_ns(u64 ns)
{
	u64 start = rdtsc(), ticks = mul_u64_u64_div_u64(ns, tsc_khz, 1000000);

	while (rdtsc() - start < ticks)
		cpu_relax();
}

void nooks___udelay(unsigned long us)
{
	runtime_delay_ns(us * 1000ULL);
}
EXPORT_SYMBOL_GPL(nooks___udelay);

void nooks___ndelay(unsigned long ns)
{
	runtime_delay_ns(ns);
}
EXPORT_SYMBOL_GPL(nooks___ndelay);

/* @xloops: 2^32 / 10^6 for each microsecond (asm/delay.h) */
void nooks___const_udelay(unsigned long xloops)
{
	runtime_delay_ns(xloops * 1000ULL / 0x10c7);
}
EXPORT_SYMBOL_GPL(nooks___const_udelay);
