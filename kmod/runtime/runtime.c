// SPDX-License-Identifier: GPL-2.0-only
/*
 * runtime.c - the instructions of the runtime that may find their target read-only
 *
 * Context: any, kernel view.
 */
#include <linux/export.h>
#include <linux/kernel.h>
#include "runtime/runtime.h"
#include "runtime/slow.h"

EXPORT_SYMBOL_GPL(nooks__raw_spin_lock);
EXPORT_SYMBOL_GPL(nooks__raw_spin_lock_irqsave);
EXPORT_SYMBOL_GPL(nooks__raw_spin_lock_irq);
EXPORT_SYMBOL_GPL(nooks__raw_spin_unlock);
EXPORT_SYMBOL_GPL(nooks__raw_spin_unlock_irqrestore);
EXPORT_SYMBOL_GPL(nooks__raw_spin_unlock_irq);
EXPORT_SYMBOL_GPL(nooks_memcpy);
EXPORT_SYMBOL_GPL(nooks_memmove);
EXPORT_SYMBOL_GPL(nooks_memset);
EXPORT_SYMBOL_GPL(nooks___SCT__preempt_schedule);
EXPORT_SYMBOL_GPL(nooks___SCT__preempt_schedule_notrace);
EXPORT_SYMBOL_GPL(nooks___stack_chk_fail);
EXPORT_SYMBOL_GPL(nooks_fortify_panic);

static const struct {
	const char *insn, *slow;
} runtime_ways[] = {
	{ dom_spin_lock_try, dom_spin_lock_slow },
	{ dom_spin_lock_irqsave_try, dom_spin_lock_irqsave_slow },
	{ dom_spin_lock_irq_try, dom_spin_lock_irq_slow },
	{ dom_memcpy_words, dom_memcpy_slow },
	{ dom_memcpy_bytes, dom_memcpy_slow },
	{ dom_memset_words, dom_memset_slow },
	{ dom_memset_bytes, dom_memset_slow },
};

unsigned long runtime_slow_way(unsigned long ip)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(runtime_ways); i++)
		if ((unsigned long)runtime_ways[i].insn == ip)
			return (unsigned long)runtime_ways[i].slow;
	return 0;
}
