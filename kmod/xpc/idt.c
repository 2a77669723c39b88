// SPDX-License-Identifier: GPL-2.0-only
/*
 * idt.c - our interrupt table on every CPU, the IST stack that it uses, CR4.PGE
 *
 * The kernel's handlers must never run in a domain view: their first per-CPU write would fault. So
 * each vector gets a stub of ours (entry.S), which goes on to the kernel's gate. External
 * interrupts use an IST that Linux leaves free, because a domain's stack may be full when one
 * arrives, and an interrupt that cannot be delivered is one that nobody acknowledges.
 *
 * CR4.PGE is off while we are loaded: global kernel TLB entries would survive the switch to the
 * domain view with write permission.
 *
 * Locking: none; each CPU changes its own registers, in the CPU hotplug callbacks.
 * Context: process.
 */
#define pr_fmt(fmt) "nooks: " fmt

#include <linux/cpuhotplug.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <asm/cpu_entry_area.h>
#include <asm/desc.h>
#include <asm/processor.h>
#include <asm/tlbflush.h>
#include "core/core.h"
#include "domain/pgt.h"
#include "xpc/offsets.h"
#include "xpc/xpc.h"

#define IDT_OUR_IST	5		/* index in tss->ist; hardware counts from 1 */
#define IDT_SYSCALL	0x80

/* Read by entry.S. */
unsigned long xpc_idt_orig[IDT_ENTRIES] __ro_after_init;
DEFINE_PER_CPU(struct xpc *, xpc_cur);
DEFINE_PER_CPU(unsigned long, xpc_kcr3);
DEFINE_PER_CPU(unsigned long, xpc_target);
DEFINE_PER_CPU(unsigned long, xpc_ist_page);
DEFINE_PER_CPU(unsigned long[2], xpc_nmi_save);
DEFINE_PER_CPU(unsigned long[2], xpc_mce_save);
DEFINE_PER_CPU(unsigned long[2], xpc_debug_save);

static DEFINE_PER_CPU(bool, xpc_idt_on);
static DEFINE_PER_CPU(bool, idt_comes);		/* CPU hotplug; no NMIs for it yet */
static gate_desc *idt_ours;
static struct desc_ptr idt_kernel, idt_new;
static enum cpuhp_state idt_hp_prepare, idt_hp_online;
static bool idt_unloading;
static bool keep_pge;
module_param(keep_pge, bool, 0400);
MODULE_PARM_DESC(keep_pge, "leave CR4.PGE on: only for the test that shows why it must be off");

static int idt_build(void)
{
	gate_desc *orig;
	int i;

	store_idt(&idt_kernel);
	if (idt_kernel.size + 1 < IDT_ENTRIES * sizeof(gate_desc)) {
		pr_err("the kernel's interrupt table is too short (%u bytes); this kernel is not supported\n",
		       idt_kernel.size + 1);
		return -EOPNOTSUPP;
	}
	idt_ours = (gate_desc *)get_zeroed_page(GFP_KERNEL);
	if (!idt_ours)
		return -ENOMEM;
	orig = (gate_desc *)idt_kernel.address;
	for (i = 0; i < IDT_ENTRIES; i++) {
		unsigned long stub = (unsigned long)xpc_stubs + i * STUB_SIZE;

		xpc_idt_orig[i] = gate_offset(&orig[i]);
		idt_ours[i] = orig[i];
		idt_ours[i].offset_low = stub;
		idt_ours[i].offset_middle = stub >> 16;
		idt_ours[i].offset_high = stub >> 32;
		if (i >= FIRST_EXTERNAL_VECTOR && i != IDT_SYSCALL)
			idt_ours[i].bits.ist = IDT_OUR_IST + 1;
	}
	idt_new.address = (unsigned long)idt_ours;
	idt_new.size = IDT_ENTRIES * sizeof(gate_desc) - 1;
	return 0;
}

static void idt_free(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		free_page(per_cpu(xpc_ist_page, cpu));
	free_page((unsigned long)idt_ours);
}

/*
 * Writable in the domain because the CPU writes there; not a grant, so that no argument may point
 * in.
 */
static int idt_open_stack(struct nook *nk, unsigned long top, size_t size)
{
	return top ? pgt_protect(nk, top - size, size, true) : 0;
}

static int idt_grant_cpu(struct nook *nk, unsigned int cpu)
{
	struct x86_hw_tss *tss = &per_cpu(cpu_tss_rw, cpu).x86_tss;
	int i, ret;

	ret = idt_open_stack(nk, per_cpu(xpc_ist_page, cpu) + PAGE_SIZE, PAGE_SIZE);
	for (i = 0; i <= IST_INDEX_MCE && !ret; i++)
		ret = idt_open_stack(nk, tss->ist[i], EXCEPTION_STKSZ);
	return ret;
}

static int idt_grant_all(unsigned int cpu)
{
	struct nook *nk;
	int ret = 0;

	mutex_lock(&nooks_mutex);
	list_for_each_entry(nk, &nooks_list, node) {
		ret = idt_grant_cpu(nk, cpu);
		if (ret)
			break;
	}
	mutex_unlock(&nooks_mutex);
	return ret;
}

int xpc_idt_grant(struct nook *nk)
{
	unsigned int cpu;
	int ret = 0;

	for_each_online_cpu(cpu) {
		ret = idt_grant_cpu(nk, cpu);
		if (ret)
			break;
	}
	return ret;
}

bool xpc_cpu_ready(void)
{
	return raw_cpu_read(xpc_idt_on);
}

/* A CPU that comes up has the kernel's IDT until idt_cpu_online() has run there. On another CPU. */
static int idt_cpu_prepare(unsigned int cpu)
{
	per_cpu(xpc_idt_on, cpu) = false;
	if (!per_cpu(xpc_ist_page, cpu))
		per_cpu(xpc_ist_page, cpu) = get_zeroed_page(GFP_KERNEL);
	if (!per_cpu(xpc_ist_page, cpu))
		return -ENOMEM;
	per_cpu(idt_comes, cpu) = true;
	xpc_nmi_cpu_comes();
	return 0;
}

/* It has come, or has not, or is dead: then it had come before. */
static int idt_cpu_arrived(unsigned int cpu)
{
	if (per_cpu(idt_comes, cpu))
		xpc_nmi_cpu_has_come();
	per_cpu(idt_comes, cpu) = false;
	return 0;
}

static int idt_cpu_online(unsigned int cpu)
{
	unsigned long flags;
	int ret = idt_grant_all(cpu);

	if (ret)
		return ret;
	local_irq_save(flags);
	this_cpu_write(cpu_tss_rw.x86_tss.ist[IDT_OUR_IST],
		       per_cpu(xpc_ist_page, cpu) + PAGE_SIZE);
	if (!keep_pge)
		cr4_clear_bits_irqsoff(X86_CR4_PGE);
	native_load_idt(&idt_new);
	this_cpu_write(xpc_idt_on, true);
	local_irq_restore(flags);
	xpc_watchdog_cpu_online(cpu);
	return idt_cpu_arrived(cpu);
}

/*
 * A CPU that goes down keeps our IDT until it is dead: tasks that were preempted inside a nook may
 * still run there. Only unloading, when no nook is left, puts the kernel's back.
 */
static int idt_cpu_offline(unsigned int cpu)
{
	unsigned long flags;

	xpc_watchdog_cpu_offline(cpu);
	if (!idt_unloading)
		return 0;
	local_irq_save(flags);
	this_cpu_write(xpc_idt_on, false);
	native_load_idt(&idt_kernel);
	cr4_set_bits_irqsoff(X86_CR4_PGE);
	local_irq_restore(flags);
	return 0;
}

int xpc_idt_init(void)
{
	int ret = idt_build();

	if (ret)
		return ret;
	ret = cpuhp_setup_state(CPUHP_BP_PREPARE_DYN, "nooks:prepare", idt_cpu_prepare,
				idt_cpu_arrived);
	if (ret < 0)
		goto free_idt;
	idt_hp_prepare = ret;
	ret = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "nooks:online", idt_cpu_online, idt_cpu_offline);
	if (ret < 0)
		goto remove_prepare;
	idt_hp_online = ret;
	return 0;

remove_prepare:
	cpuhp_remove_state(idt_hp_prepare);
free_idt:
	idt_free();
	return ret;
}

void xpc_idt_deinit(void)
{
	idt_unloading = true;
	cpuhp_remove_state(idt_hp_online);
	cpuhp_remove_state(idt_hp_prepare);
	/* the last interrupt through our stubs has returned once every CPU has been elsewhere */
	synchronize_rcu();
	idt_free();
}
