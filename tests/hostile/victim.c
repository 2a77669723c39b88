// SPDX-License-Identifier: GPL-2.0-only
/*
 * victim.c - the kernel's side of the tests: what hostile.ko attacks, and what drives it
 *
 * A plain module in the kernel proper. Parameters:
 *	data slab page pte text percpu idt	addresses of things that a nook does not own
 *	peek	write an address; read the eight bytes there
 *	hold	write an interface's name: it is referenced; write "-": it is no more
 *	rounds	write "N F PAGE"; N entries of hostile.ko, every F-th also stores to PAGE, which
 *		the kernel has written just before; read the counts
 *	pge	read whether CR4.PGE is on
 *	cost	write "EMPTY LEAVING N", two gates of a nook, hexadecimal, and a count; read N and the
 *		nanoseconds of an entry, of one with an exit, and of two CR3 loads, each of N in all
 *	watch	write the addresses of xpc_resume, xpc_enter and nooks_xpc_exit, hexadecimal
 *	storm	microseconds between NMIs to the other CPUs, 0: none; read how many were sent and
 *		seen, how many hit a nook (inside), and in which window of kmod/xpc/entry.S (enter:
 *		W-ENTER or W-LEAVE, ret: W-RET)
 *
 * Context: process.
 */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/nmi.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/apic.h>
#include <asm/desc.h>
#include <asm/nmi.h>
#include <asm/tsc.h>
#include <net/net_namespace.h>

#define ATTACK_FILE	"/sys/module/hostile/parameters/attack"
#define CANARY		0x600d600d600d600dUL
#define ALIVE_MS	30000		/* from a fault to the next entry */

static unsigned long victim_data = CANARY;
static DEFINE_PER_CPU(unsigned long, victim_percpu) = CANARY;

static unsigned long data, slab, page, pte, text, percpu, idt;
module_param(data, ulong, 0400);
module_param(slab, ulong, 0400);
module_param(page, ulong, 0400);
module_param(pte, ulong, 0400);
module_param(text, ulong, 0400);
module_param(percpu, ulong, 0400);
module_param(idt, ulong, 0400);

static void *victim_vmalloc;

/* ---- peek ----------------------------------------------------------------------------------- */

static unsigned long peek_at;

static int peek_set(const char *val, const struct kernel_param *kp)
{
	return kstrtoul(val, 16, &peek_at);
}

static int peek_get(char *buf, const struct kernel_param *kp)
{
	unsigned long v;

	if (copy_from_kernel_nofault(&v, (void *)peek_at, sizeof(v)))
		return -EFAULT;
	return sysfs_emit(buf, "%lx\n", v);
}

static const struct kernel_param_ops peek_ops = { .set = peek_set, .get = peek_get };
module_param_cb(peek, &peek_ops, NULL, 0600);

/* ---- hold ----------------------------------------------------------------------------------- */

static struct net_device *held;

static int hold_set(const char *val, const struct kernel_param *kp)
{
	char name[IFNAMSIZ];

	dev_put(held);
	held = NULL;
	strscpy(name, val, sizeof(name));
	if (!strcmp(strim(name), "-"))
		return 0;
	held = dev_get_by_name(&init_net, strim(name));
	return held ? 0 : -ENODEV;
}

static const struct kernel_param_ops hold_ops = { .set = hold_set };
module_param_cb(hold, &hold_ops, NULL, 0200);

/* ---- cost ----------------------------------------------------------------------------------- */

static struct {
	unsigned long n;
	u64 entry, leaving, cr3;		/* TSC ticks */
} cost;

/* Turn by turn, so that whatever else the machine does hits all three. */
static int cost_set(const char *val, const struct kernel_param *kp)
{
	unsigned long empty, leaving, n, i;
	u64 t[4];

	if (sscanf(val, "%lx %lx %lu", &empty, &leaving, &n) != 3 || !n)
		return -EINVAL;
	memset(&cost, 0, sizeof(cost));
	for (i = 0; i < n; i++) {
		preempt_disable();
		t[0] = rdtsc_ordered();
		((int (*)(void))empty)();
		t[1] = rdtsc_ordered();
		((int (*)(void))leaving)();
		t[2] = rdtsc_ordered();
		native_write_cr3(__native_read_cr3());
		native_write_cr3(__native_read_cr3());
		t[3] = rdtsc_ordered();
		preempt_enable();
		cost.entry += t[1] - t[0];
		cost.leaving += t[2] - t[1];
		cost.cr3 += t[3] - t[2];
		cond_resched();
	}
	cost.n = n;
	return 0;
}

static u64 cost_ns(u64 ticks)
{
	return mul_u64_u64_div_u64(ticks, 1000000, tsc_khz);
}

static int cost_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%lu %llu %llu %llu\n", cost.n, cost_ns(cost.entry),
			  cost_ns(cost.leaving), cost_ns(cost.cr3));
}

static const struct kernel_param_ops cost_ops = { .set = cost_set, .get = cost_get };
module_param_cb(cost, &cost_ops, NULL, 0600);

/* ---- rounds --------------------------------------------------------------------------------- */

static struct {
	unsigned long pings, faults, passed, escaped;
} rounds;

static ssize_t victim_say(struct file *f, const char *text)
{
	loff_t pos = 0;

	return kernel_write(f, text, strlen(text), &pos);
}

/* An entry that succeeds; waits for a nook that is being restarted. */
static int victim_ping(struct file *f)
{
	unsigned long end = jiffies + msecs_to_jiffies(ALIVE_MS);

	while (victim_say(f, "ping") != 4) {
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		msleep(2);
	}
	rounds.pings++;
	return 0;
}

/* The nook lives, so the store is tried; the word is in this CPU's TLB, writable. */
static void victim_attack(struct file *f, unsigned long i, volatile unsigned long *word)
{
	char text[64];

	snprintf(text, sizeof(text), "store %lx %lx", (unsigned long)word, i);
	*word = CANARY;
	if (victim_say(f, text) != -EIO)
		rounds.passed++;	/* no fault */
	else
		rounds.faults++;
	if (*word != CANARY)
		rounds.escaped++;
}

static int rounds_set(const char *val, const struct kernel_param *kp)
{
	unsigned long i, n, every, at;
	struct file *f;
	int ret = 0;

	if (sscanf(val, "%lu %lu %lu", &n, &every, &at) != 3)
		return -EINVAL;
	f = filp_open(ATTACK_FILE, O_WRONLY, 0);
	if (IS_ERR(f))
		return PTR_ERR(f);
	memset(&rounds, 0, sizeof(rounds));
	for (i = 1; i <= n && !ret && !fatal_signal_pending(current); i++) {
		ret = victim_ping(f);
		if (!ret && every && !(i % every))
			victim_attack(f, i, (unsigned long *)at + i / every % 512);
		cond_resched();
	}
	filp_close(f, NULL);
	return ret;
}

static int rounds_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "pings=%lu faults=%lu passed=%lu escaped=%lu\n", rounds.pings,
			  rounds.faults, rounds.passed, rounds.escaped);
}

static const struct kernel_param_ops rounds_ops = { .set = rounds_set, .get = rounds_get };
module_param_cb(rounds, &rounds_ops, NULL, 0600);

static int pge_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", native_read_cr4() & X86_CR4_PGE ? "on" : "off");
}

static const struct kernel_param_ops pge_ops = { .get = pge_get };
module_param_cb(pge, &pge_ops, NULL, 0400);

/* ---- storm ---------------------------------------------------------------------------------- */

static struct task_struct *storm_task;
static unsigned int storm_us;
static unsigned long storm_sent;
static atomic_long_t storm_seen, storm_inside, storm_enter, storm_ret;
static unsigned long watch_resume, watch_enter, watch_end;

/* An NMI that hit a nook returns to xpc_resume; where it hit is the second word of its stack. */
static int storm_nmi(unsigned int type, struct pt_regs *regs)
{
	unsigned long ip;

	atomic_long_inc(&storm_seen);
	if (user_mode(regs) || regs->ip != watch_resume)
		return NMI_HANDLED;
	atomic_long_inc(&storm_inside);
	ip = ((unsigned long *)regs->sp)[1];
	if (ip >= watch_enter && ip < watch_end)
		atomic_long_inc(&storm_enter);
	else if (!is_vmalloc_addr((void *)regs->sp))
		atomic_long_inc(&storm_ret);	/* not the task's stack: the return page */
	return NMI_HANDLED;
}

static int watch_set(const char *val, const struct kernel_param *kp)
{
	return sscanf(val, "%lx %lx %lx", &watch_resume, &watch_enter, &watch_end) == 3 ? 0 :
										  -EINVAL;
}

static const struct kernel_param_ops watch_ops = { .set = watch_set };
module_param_cb(watch, &watch_ops, NULL, 0200);

static int storm_run(void *arg)
{
	unsigned int cpu;

	while (!kthread_should_stop()) {
		cpus_read_lock();
		preempt_disable();
		for_each_online_cpu(cpu) {
			if (cpu == smp_processor_id())
				continue;
			apic->send_IPI(cpu, NMI_VECTOR);
			storm_sent++;
		}
		preempt_enable();
		cpus_read_unlock();
		udelay(storm_us + (get_cycles() & 31));
		cond_resched();
	}
	return 0;
}

static int storm_stop(void)
{
	if (!storm_task)
		return 0;
	kthread_stop(storm_task);
	storm_task = NULL;
	msleep(20);			/* the last NMI has arrived */
	unregister_nmi_handler(NMI_LOCAL, "victim");
	return 0;
}

static int storm_set(const char *val, const struct kernel_param *kp)
{
	unsigned int us;
	int ret = kstrtouint(val, 0, &us) ?: storm_stop();

	if (ret || !us)
		return ret;
	storm_us = min(us, 1000U);
	storm_sent = 0;
	atomic_long_set(&storm_seen, 0);
	atomic_long_set(&storm_inside, 0);
	atomic_long_set(&storm_enter, 0);
	atomic_long_set(&storm_ret, 0);
	ret = register_nmi_handler(NMI_LOCAL, storm_nmi, 0, "victim");
	if (ret)
		return ret;
	storm_task = kthread_run(storm_run, NULL, "storm");
	if (!IS_ERR(storm_task))
		return 0;
	unregister_nmi_handler(NMI_LOCAL, "victim");
	ret = PTR_ERR(storm_task);
	storm_task = NULL;
	return ret;
}

static int storm_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "sent=%lu seen=%ld inside=%ld enter=%ld ret=%ld\n", storm_sent,
			  atomic_long_read(&storm_seen), atomic_long_read(&storm_inside),
			  atomic_long_read(&storm_enter), atomic_long_read(&storm_ret));
}

static const struct kernel_param_ops storm_ops = { .set = storm_set, .get = storm_get };
module_param_cb(storm, &storm_ops, NULL, 0600);

/* ---- what is attacked ------------------------------------------------------------------------ */

static int __init victim_init(void)
{
	unsigned int level;

	slab = (unsigned long)kmalloc(64, GFP_KERNEL);
	page = __get_free_page(GFP_KERNEL | __GFP_ZERO);
	victim_vmalloc = vmalloc(PAGE_SIZE);
	if (!slab || !page || !victim_vmalloc) {
		kfree((void *)slab);
		free_page(page);
		vfree(victim_vmalloc);
		return -ENOMEM;
	}
	*(unsigned long *)slab = CANARY;
	*(unsigned long *)page = CANARY;
	data = (unsigned long)&victim_data;
	pte = (unsigned long)lookup_address((unsigned long)victim_vmalloc, &level);
	text = (unsigned long)kernel_write;
	percpu = (unsigned long)&victim_percpu;
	idt = CPU_ENTRY_AREA_RO_IDT;
	return 0;
}

static void __exit victim_exit(void)
{
	storm_stop();
	vfree(victim_vmalloc);
	free_page(page);
	kfree((void *)slab);
}

module_init(victim_init);
module_exit(victim_exit);
MODULE_DESCRIPTION("What hostile.ko attacks; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
