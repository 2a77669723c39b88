// SPDX-License-Identifier: GPL-2.0-only
/*
 * watchdog.c - end entries that run for too long
 *
 * A hard timer on every CPU, staggered by nothing but chance. A tick that finds the domain
 * interrupted, or the kernel running on its behalf, counts against that entry's limit: it is CPU
 * time, so that sleeping on the driver's behalf is not held against it. A CPU whose ticks have
 * stopped may be in driver code with interrupts off; the others see that and send it an NMI, whose
 * handler aborts the entry if it hit a domain and does nothing else.
 *
 * For an entry that sleeps it is the time since it began that counts, in looks at all that is
 * inside, so that a pause of the machine is not held against it. It is marked as well, and every
 * wait of ours looks at that. If it does not come back all the same, because it sleeps in a
 * function of the kernel's, the nook is declared dead without it.
 *
 * An NMI needs a CPU that can still send one, or a timer (nmi.c). Without such a timer one CPU
 * always stays outside (xpc_cpus_max); with a single CPU, interrupts-off loops then end only by an
 * NMI from outside: the machine's own watchdog, or the emulator's monitor.
 *
 * Locking: per-CPU data, read by others without order; nook->live_lock for what is inside;
 *	wd_max_lock guards what xpc_cpus_max follows from.
 * Context: hardirq and NMI.
 */
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/smp.h>
#include <asm/apic.h>
#include <asm/irq_regs.h>
#include <asm/nmi.h>
#include "core/core.h"
#include "wrappers/wrappers.h"
#include "xpc/xpc.h"

#define WD_PERIOD_NS	(20 * NSEC_PER_MSEC)
/* looks without a pause, and pauses without a clock */
#define WD_SPIN		1024
#define WD_CLAIM_MAX_NS	(4 * XPC_NMI_PERIOD_NS)
#define WD_LATE_NS	NSEC_PER_SEC		/* an NMI of ours has arrived by then */
#define WD_SILENCE_NS	(10 * WD_PERIOD_NS)	/* no tick for so long: interrupts are off there */
#define WD_LOOK_MS	500			/* between two looks at what is inside */
/* in a row: 1 to 1.5 s; a driver that resets its device may have to put it back itself */
#define WD_LOST_LOOKS	3
#define WD_DEAF_MS	10000			/* who is marked for so long sees it never */

struct wd_cpu {
	struct hrtimer timer;
	u64 last_tick;
	/* when a domain went on here that had waited for its place */
	u64 resumed;
	u64 silent_nmi;			/* when the last NMI of ours was sent there */
	u64 timer_charged;		/* when the timer's NMI was last counted against an entry */
	u64 claim_time;			/* up to when @claim_ns has grown */
	s64 claim_ns;			/* time that no NMI of the timer's was claimed for yet */
	u64 nmi_time;			/* when the last of any kind was */
	bool nmi_sent;
};

static DEFINE_PER_CPU(struct wd_cpu, wd_cpu);

/* entry.S: CPUs in a domain view, and how many may be */
atomic_t xpc_cpus_inside = ATOMIC_INIT(0);
int xpc_cpus_max = 1;
static DEFINE_RAW_SPINLOCK(wd_max_lock);
static unsigned int wd_cpus = 1;	/* online */
static bool wd_all_cpus;
static atomic64_t wd_next_look;

/* The interrupted context of this CPU, if it was a domain: the frame returns to xpc_resume. */
static struct xpc *wd_interrupted(struct pt_regs *regs)
{
	const u64 *home;

	if (!regs || user_mode(regs) || regs->ip != (unsigned long)xpc_resume)
		return NULL;
	home = *(const u64 **)regs->sp;
	return *(struct xpc **)home;
}

static void wd_charge(struct xpc *x, unsigned int ticks)
{
	x->ticks += ticks;
	if (x->ticks * WD_PERIOD_NS > READ_ONCE(x->nook->limit_ns) && !READ_ONCE(x->abort))
		WRITE_ONCE(x->abort, NOOKS_FAULT_WATCHDOG);
}

/*
 * An entry whose exit burns the CPU: a loop of calls that never sleeps. The entries below it on the
 * same task are charged as well; they wait for it.
 */
static void wd_charge_exits(void)
{
	struct nook *nk;
	struct xpc *x;

	rcu_read_lock();
	list_for_each_entry_rcu(nk, &nooks_list, node) {
		raw_spin_lock(&nk->live_lock);
		hlist_for_each_entry(x, &nk->live, live)
			if (x->task == current && READ_ONCE(x->in_exit))
				wd_charge(x, 1);
		raw_spin_unlock(&nk->live_lock);
	}
	rcu_read_unlock();
}

static void wd_send_nmi(unsigned int cpu)
{
	WRITE_ONCE(per_cpu(wd_cpu, cpu).nmi_time, ktime_get_mono_fast_ns());
	WRITE_ONCE(per_cpu(wd_cpu, cpu).nmi_sent, true);
	apic->send_IPI(cpu, NMI_VECTOR);
}

static void wd_look_at_others(u64 now)
{
	unsigned int cpu;

	for_each_online_cpu(cpu) {
		struct wd_cpu *wd = &per_cpu(wd_cpu, cpu);
		u64 last = READ_ONCE(wd->last_tick);

		if (cpu == smp_processor_id() || !last || now < last + WD_SILENCE_NS)
			continue;
		/* each NMI is charged for the time since the one before */
		if (now < READ_ONCE(wd->silent_nmi) + WD_PERIOD_NS)
			continue;
		WRITE_ONCE(wd->silent_nmi, now);
		wd_send_nmi(cpu);
	}
}

/* An entry that is found inside once more. Return: it was told to leave, and does not. */
static bool wd_look_at_entry(struct xpc *x, u32 stall_ms)
{
	u64 inside_ms = (u64)x->looks * WD_LOOK_MS;	/* since the first look */

	WRITE_ONCE(x->looks, x->looks + 1);
	if (!stall_ms || inside_ms < stall_ms)
		return false;
	if (!READ_ONCE(x->abort)) {
		x->stalled = true;
		WRITE_ONCE(x->abort, NOOKS_FAULT_WATCHDOG);
	}
	return x->stalled && inside_ms >= (u64)stall_ms + WD_DEAF_MS;
}

static void wd_look_at_nook(struct nook *nk)
{
	u32 stall_ms = READ_ONCE(nk->stall_ms);
	struct xpc *x, deaf = { };

	if (READ_ONCE(nk->dead))
		return;
	raw_spin_lock(&nk->live_lock);
	hlist_for_each_entry(x, &nk->live, live) {
		if (!wd_look_at_entry(x, stall_ms))
			continue;
		deaf.desc = x->desc;
		deaf.fn = x->fn;
		deaf.task = x->task;
		deaf.fault.ip = x->abort_ip;	/* of its last exit */
		deaf.fault.sp = x->exit_sp;
	}
	raw_spin_unlock(&nk->live_lock);
	if (!deaf.desc)
		return;
	deaf.nook = nk;
	deaf.fault.vec = NOOKS_FAULT_WATCHDOG;
	snprintf(deaf.fault.what, sizeof(deaf.fault.what),
		 "asleep in the kernel for more than %u ms", stall_ms);
	nook_fail(nk, &deaf);
}

/* One CPU does, whichever is first. */
static void wd_look_inside(u64 now)
{
	u64 due = atomic64_read(&wd_next_look);
	struct nook *nk;

	if (now < due || atomic64_cmpxchg(&wd_next_look, due,
					  now + WD_LOOK_MS * NSEC_PER_MSEC) != due)
		return;
	rcu_read_lock();		/* tasks too are freed after it only */
	list_for_each_entry_rcu(nk, &nooks_list, node) {
		wd_look_at_nook(nk);
		nooks_net_look(nk);
		nooks_pci_look(nk, WD_LOST_LOOKS);
	}
	rcu_read_unlock();
}

static enum hrtimer_restart wd_tick(struct hrtimer *timer)
{
	struct wd_cpu *wd = container_of(timer, struct wd_cpu, timer);
	u64 now = ktime_get_mono_fast_ns();
	struct xpc *x = wd_interrupted(get_irq_regs());

	WRITE_ONCE(wd->last_tick, now);
	if (x) {
		/*
		 * a tick that was held off while it waited comes at once, and is not for it to pay
		 */
		if (now >= wd->resumed + WD_PERIOD_NS / 2)
			wd_charge(x, 1);
	} else {
		wd_charge_exits();
	}
	wd_look_at_others(now);
	wd_look_inside(now);
	hrtimer_forward_now(timer, ns_to_ktime(WD_PERIOD_NS));
	return HRTIMER_RESTART;
}

/*
 * entry.S: undo the place that was one too many, and wait until there may be one. Interrupts off.
 */
asmlinkage void xpc_wait_turn(void)
{
	atomic_dec(&xpc_cpus_inside);
	xpc_wait_outside();
	__this_cpu_write(wd_cpu.resumed, ktime_get_mono_fast_ns());
}

/*
 * Any interrupt state. Our own tick may be held off, so look after the others from here. A turn is
 * short, so neither the clock nor a pause instruction is used at once: on an emulator both take the
 * lock that the other CPU needs for its device.
 */
void xpc_wait_for_place(void)
{
	unsigned int i = 0;

	while (!xpc_may_enter()) {
		if (++i % WD_SPIN) {
			barrier();
			continue;
		}
		cpu_relax();
		if (i % (WD_SPIN * WD_SPIN))
			continue;
		preempt_disable_notrace();
		wd_look_at_others(ktime_get_mono_fast_ns());
		preempt_enable_notrace();
	}
}

/*
 * Is this NMI the timer's? Which NMI is whose is not told, so it is a matter of time: one for each
 * period. A CPU of a virtual machine that does not run gets them late, and then several in a row;
 * an NMI of others counts in the place of one of the timer's.
 */
static bool wd_claim_timer(struct wd_cpu *wd, u64 now)
{
	if (now > READ_ONCE(xpc_nmi_until))
		return false;
	wd->claim_ns = min_t(s64, wd->claim_ns + now - wd->claim_time, WD_CLAIM_MAX_NS);
	wd->claim_time = now;
	if (wd->claim_ns < XPC_NMI_PERIOD_NS / 2)
		return false;
	wd->claim_ns -= XPC_NMI_PERIOD_NS;
	return true;
}

/*
 * A CPU that ticks is charged by its ticks, and one that others look after by their NMIs. After a
 * pause of the machine only one period counts.
 */
static void wd_nmi_timer(struct wd_cpu *wd, struct xpc *x, u64 now)
{
	if (now < READ_ONCE(wd->last_tick) + WD_SILENCE_NS ||
	    now < READ_ONCE(wd->silent_nmi) + XPC_NMI_PERIOD_NS)
		return;
	if (now > READ_ONCE(xpc_nmi_until) || now < wd->timer_charged + XPC_NMI_PERIOD_NS / 2)
		return;
	wd->timer_charged = now;
	wd_charge(x, XPC_NMI_PERIOD_NS / WD_PERIOD_NS);
}

static int wd_nmi(unsigned int type, struct pt_regs *regs)
{
	struct wd_cpu *wd = this_cpu_ptr(&wd_cpu);
	bool ours = READ_ONCE(wd->nmi_sent);
	struct xpc *x = wd_interrupted(regs);
	u64 now = ktime_get_mono_fast_ns();

	WRITE_ONCE(wd->nmi_sent, false);
	if (x && ours) {
		wd_charge(x, 1);
	} else if (x && READ_ONCE(xpc_nmi_until)) {
		wd_nmi_timer(wd, x, now);
	} else if (x && now > wd->last_tick + READ_ONCE(x->nook->limit_ns)) {
		/* somebody else's NMI, but the driver has kept interrupts off for too long */
		if (!READ_ONCE(x->abort))
			WRITE_ONCE(x->abort, NOOKS_FAULT_WATCHDOG);
		ours = true;
	}
	return ours ? NMI_HANDLED : NMI_DONE;
}

/*
 * Nobody's NMI: the timer's. Or a second one of ours, sent while wd_nmi() was about to take the
 * mark of the first, finds no mark.
 */
static int wd_nmi_unknown(unsigned int type, struct pt_regs *regs)
{
	struct wd_cpu *wd = this_cpu_ptr(&wd_cpu);
	u64 now = ktime_get_mono_fast_ns(), sent = READ_ONCE(wd->nmi_time);

	if (wd_claim_timer(wd, now)) {
		xpc_nmi_count();
		return NMI_HANDLED;
	}
	return sent && now < sent + WD_LATE_NS ? NMI_HANDLED : NMI_DONE;
}

/* Entries that are to end are marked already; whose entry an NMI hits is not for it to judge. */
void xpc_watchdog_nmi(const struct cpumask *cpus)
{
	unsigned int cpu;

	preempt_disable();
	for_each_cpu(cpu, cpus)
		if (cpu != smp_processor_id())
			wd_send_nmi(cpu);
	preempt_enable();
}

static void wd_set_max(unsigned int cpus, bool all)
{
	wd_cpus = cpus;
	wd_all_cpus = all;
	WRITE_ONCE(xpc_cpus_max, all ? (int)cpus : max(1, (int)cpus - 1));
}

static void wd_set_cpus(unsigned int cpus)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&wd_max_lock, flags);
	wd_set_max(cpus, wd_all_cpus);
	raw_spin_unlock_irqrestore(&wd_max_lock, flags);
}

void xpc_watchdog_all_cpus(bool all)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&wd_max_lock, flags);
	wd_set_max(wd_cpus, all);
	raw_spin_unlock_irqrestore(&wd_max_lock, flags);
}

void xpc_watchdog_cpu_online(unsigned int cpu)
{
	struct wd_cpu *wd = &per_cpu(wd_cpu, cpu);

	hrtimer_init(&wd->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	wd->timer.function = wd_tick;
	wd->last_tick = ktime_get_mono_fast_ns();
	wd_set_cpus(num_online_cpus());
	hrtimer_start(&wd->timer, ns_to_ktime(WD_PERIOD_NS), HRTIMER_MODE_REL_PINNED_HARD);
}

void xpc_watchdog_cpu_offline(unsigned int cpu)
{
	struct wd_cpu *wd = &per_cpu(wd_cpu, cpu);

	hrtimer_cancel(&wd->timer);
	wd->last_tick = 0;
	wd_set_cpus(num_online_cpus() - 1);
}

int xpc_watchdog_init(void)
{
	int ret;

	ret = register_nmi_handler(NMI_LOCAL, wd_nmi, 0, "nooks");
	if (ret)
		return ret;
	ret = register_nmi_handler(NMI_UNKNOWN, wd_nmi_unknown, 0, "nooks");
	if (ret)
		unregister_nmi_handler(NMI_LOCAL, "nooks");
	else
		xpc_nmi_init();
	return ret;
}

void xpc_watchdog_deinit(void)
{
	xpc_nmi_deinit();
	unregister_nmi_handler(NMI_UNKNOWN, "nooks");
	unregister_nmi_handler(NMI_LOCAL, "nooks");
}
