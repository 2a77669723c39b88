// SPDX-License-Identifier: GPL-2.0-only
/*
 * nmi.c - NMIs that no CPU has to send: a comparator of the HPET that Linux leaves free
 *
 * While a nook exists, the comparator sends an NMI to every CPU, by a message that names the
 * delivery mode itself. Driver code cannot mask it, so driver code may run on all CPUs at once.
 * Whether it arrives is not believed but tried, at load. What an NMI does is watchdog.c's.
 *
 * Every CPU is also one that is only about to come up, and has no interrupt table yet. So the
 * comparator stands still until it has, and while the machine sleeps. One CPU stays outside of
 * driver code meanwhile, as without a timer.
 *
 * A process that may open /dev/hpet could be given the same comparator; then its interrupts and our
 * NMIs end, and with them the promise that a loop with interrupts off on all CPUs is ended.
 *
 * Locking: nmi_lock guards all but xpc_nmi_until, which is read without.
 * Context: process; what the header says is for NMIs has no lock.
 */
#define pr_fmt(fmt) "nooks: " fmt

#include <linux/acpi.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <asm/hpet.h>
#include "xpc/xpc.h"

#define NMI_MSI_ADDRESS	0xfee00000u	/* physical destination ... */
#define NMI_MSI_ALL	(0xffu << 12)	/* ... every CPU */
#define NMI_MSI_DATA	0x400u		/* delivery mode NMI, edge */
#define NMI_TRIES	5		/* periods until every CPU must have seen one */
#define NMI_FLIGHT_MS	2		/* from the comparator to a CPU */

static bool nmi_timer = true;
module_param(nmi_timer, bool, 0400);
MODULE_PARM_DESC(nmi_timer, "let driver code run on all CPUs if a timer can send NMIs; reads back whether one does");

static DEFINE_MUTEX(nmi_lock);
static void __iomem *nmi_hpet;
static unsigned int nmi_channel;
static unsigned int nmi_users;		/* nooks */
static unsigned int nmi_coming;		/* CPUs on their way up */
static bool nmi_asleep;			/* the machine, or about to be */
static bool nmi_on;
static u32 nmi_saved[3];		/* Tn_CFG, both halves of Tn_ROUTE */
static DEFINE_PER_CPU(unsigned int, nmi_seen);
u64 xpc_nmi_until;

static u32 nmi_read(unsigned int reg)
{
	return readl(nmi_hpet + reg);
}

static void nmi_write(unsigned int reg, u32 value)
{
	writel(value, nmi_hpet + reg);
}

static void nmi_start(void)
{
	u32 cfg = nmi_saved[0] & ~(HPET_TN_LEVEL | HPET_TN_ENABLE);
	u32 delta = div_u64(XPC_NMI_PERIOD_NS * 1000000ULL, nmi_read(HPET_PERIOD));

	cfg |= HPET_TN_FSB | HPET_TN_PERIODIC | HPET_TN_32BIT;
	WRITE_ONCE(xpc_nmi_until, U64_MAX);
	nmi_write(HPET_Tn_ROUTE(nmi_channel), NMI_MSI_DATA);
	nmi_write(HPET_Tn_ROUTE(nmi_channel) + 4, NMI_MSI_ADDRESS | NMI_MSI_ALL);
	/*
	 * the first write after SETVAL is when, the second how often (HPET specification,
	 * 2.3.9.2.2)
	 */
	nmi_write(HPET_Tn_CFG(nmi_channel), cfg | HPET_TN_SETVAL);
	nmi_write(HPET_Tn_CMP(nmi_channel), nmi_read(HPET_COUNTER) + delta);
	udelay(1);
	nmi_write(HPET_Tn_CMP(nmi_channel), delta);
	nmi_write(HPET_Tn_CFG(nmi_channel), cfg | HPET_TN_ENABLE);
}

static void nmi_stop(void)
{
	nmi_write(HPET_Tn_CFG(nmi_channel), nmi_saved[0] & ~HPET_TN_ENABLE);
	nmi_write(HPET_Tn_ROUTE(nmi_channel), nmi_saved[1]);
	nmi_write(HPET_Tn_ROUTE(nmi_channel) + 4, nmi_saved[2]);
	msleep(NMI_FLIGHT_MS);
	WRITE_ONCE(xpc_nmi_until, 0);
}

/* Free, can do it, and the counter runs. */
static bool nmi_find(void)
{
	unsigned int n = ((nmi_read(HPET_ID) & HPET_ID_NUMBER) >> HPET_ID_NUMBER_SHIFT) + 1;
	u32 can = HPET_TN_FSB_CAP | HPET_TN_PERIODIC_CAP;
	u32 period = nmi_read(HPET_PERIOD);

	if (!(nmi_read(HPET_CFG) & HPET_CFG_ENABLE) ||
	    period < HPET_MIN_PERIOD || period > HPET_MAX_PERIOD)
		return false;
	/* the first two are Linux's clock event and RTC, if any is */
	for (nmi_channel = n - 1; nmi_channel >= 2; nmi_channel--) {
		nmi_saved[0] = nmi_read(HPET_Tn_CFG(nmi_channel));
		if ((nmi_saved[0] & can) != can || nmi_saved[0] & (HPET_TN_ENABLE | HPET_TN_FSB))
			continue;
		nmi_saved[1] = nmi_read(HPET_Tn_ROUTE(nmi_channel));
		nmi_saved[2] = nmi_read(HPET_Tn_ROUTE(nmi_channel) + 4);
		return true;
	}
	return false;
}

static bool nmi_map(void)
{
	struct acpi_table_header *head;
	struct acpi_table_hpet *table;

	if (ACPI_FAILURE(acpi_get_table(ACPI_SIG_HPET, 0, &head)))
		return false;
	table = container_of(head, struct acpi_table_hpet, header);
	if (table->address.space_id == ACPI_ADR_SPACE_SYSTEM_MEMORY && table->address.address)
		nmi_hpet = ioremap(table->address.address, HPET_MMAP_SIZE);
	acpi_put_table(head);
	return nmi_hpet;
}

static bool nmi_seen_everywhere(const unsigned int *before)
{
	unsigned int cpu;

	for_each_online_cpu(cpu)
		if (READ_ONCE(per_cpu(nmi_seen, cpu)) - before[cpu] < 2)
			return false;
	return true;
}

/* One NMI may be somebody else's, so it takes two. */
static bool nmi_works(void)
{
	unsigned int *before = kcalloc(nr_cpu_ids, sizeof(*before), GFP_KERNEL);
	unsigned int cpu, i;
	bool good = false;

	if (!before)
		return false;
	for_each_possible_cpu(cpu)
		before[cpu] = per_cpu(nmi_seen, cpu);
	nmi_start();
	for (i = 0; i < NMI_TRIES && !good; i++) {
		msleep(XPC_NMI_PERIOD_NS / NSEC_PER_MSEC);
		good = nmi_seen_everywhere(before);
	}
	nmi_stop();
	kfree(before);
	return good;
}

static void nmi_update(void)
{
	bool on = nmi_users && !nmi_coming && !nmi_asleep;

	lockdep_assert_held(&nmi_lock);
	if (!nmi_timer || on == nmi_on)
		return;
	nmi_on = on;
	if (on) {
		nmi_start();
		xpc_watchdog_all_cpus(true);
	} else {
		xpc_watchdog_all_cpus(false);
		nmi_stop();
	}
}

static int nmi_pm_notify(struct notifier_block *nb, unsigned long what, void *unused)
{
	mutex_lock(&nmi_lock);
	nmi_asleep = what == PM_SUSPEND_PREPARE || what == PM_HIBERNATION_PREPARE ||
		     what == PM_RESTORE_PREPARE;
	nmi_update();
	mutex_unlock(&nmi_lock);
	return NOTIFY_DONE;
}

static struct notifier_block nmi_pm = { .notifier_call = nmi_pm_notify };

/* A CPU that is there and was never up has no interrupt table, now and later. */
static bool nmi_try(void)
{
	bool good;

	cpus_read_lock();
	good = cpumask_equal(cpu_present_mask, cpu_online_mask) && nmi_find() && nmi_works();
	cpus_read_unlock();
	return good;
}

void xpc_nmi_init(void)
{
	if (nmi_timer && nmi_map()) {
		nmi_timer = nmi_try() && !register_pm_notifier(&nmi_pm);
		if (nmi_timer) {
			pr_info("comparator %u of the HPET sends NMIs: driver code may run on all CPUs\n",
				nmi_channel);
			return;
		}
		iounmap(nmi_hpet);
	}
	nmi_timer = false;
	pr_info("no timer sends NMIs: one CPU stays outside of driver code\n");
}

void xpc_nmi_deinit(void)
{
	if (!nmi_timer)
		return;
	unregister_pm_notifier(&nmi_pm);
	iounmap(nmi_hpet);
}

static void nmi_count_in(unsigned int *what, int by)
{
	mutex_lock(&nmi_lock);
	*what += by;
	nmi_update();
	mutex_unlock(&nmi_lock);
}

void xpc_nmi_get(void)
{
	nmi_count_in(&nmi_users, 1);
}

void xpc_nmi_put(void)
{
	nmi_count_in(&nmi_users, -1);
}

void xpc_nmi_cpu_comes(void)
{
	nmi_count_in(&nmi_coming, 1);
}

void xpc_nmi_cpu_has_come(void)
{
	nmi_count_in(&nmi_coming, -1);
}

void xpc_nmi_count(void)
{
	this_cpu_inc(nmi_seen);
}
