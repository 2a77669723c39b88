// SPDX-License-Identifier: GPL-2.0-only
/* context.c - locks and counts that must be as on entry, and sleep where that is not possible */
#include <linux/bottom_half.h>
#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/rcupdate.h>
#include <linux/rtnetlink.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include "hostile.h"

static DEFINE_SPINLOCK(lock);
static DEFINE_SPINLOCK(other_lock);
static DEFINE_MUTEX(mutex);
static struct timer_list timer;

static noinline int hostile_unlock(word a, word b)
{
	spin_unlock(&lock);
	return 0;
}

/* a: a lock that is not its own */
static noinline int hostile_lock_of(word a, word b)
{
	spin_lock((spinlock_t *)a);
	return 0;
}

static noinline int hostile_lock_twice(word a, word b)
{
	spin_lock(&lock);
	spin_lock(&lock);
	return 0;
}

static noinline void hostile_locking(struct timer_list *unused)
{
	spin_lock(&lock);
	spin_unlock(&lock);
}

/*
 * On the CPU that holds it, from an interrupt: it should have been taken with interrupts off. A busy
 * CPU leaves the timer to ksoftirqd, which waits for us: so more than once.
 */
static noinline int hostile_lock_interrupted(word a, word b)
{
	unsigned long end;
	int i;

	timer_setup(&timer, hostile_locking, TIMER_PINNED);
	for (i = 0; i < 10; i++) {
		spin_lock(&lock);
		mod_timer(&timer, jiffies + SOON);
		end = jiffies + msecs_to_jiffies(4 * LATER);
		while (time_before(jiffies, end))
			cpu_relax();
		spin_unlock(&lock);
		msleep(LATER);
	}
	return 0;
}

static int crossing;

static noinline void hostile_crossing(struct work_struct *unused)
{
	spin_lock(&other_lock);
	WRITE_ONCE(crossing, 1);
	spin_lock(&lock);
	spin_unlock(&lock);
	spin_unlock(&other_lock);
}

static DECLARE_WORK(work, hostile_crossing);

/* Two locks, and each of two CPUs holds one of them and wants the other. */
static noinline int hostile_lock_crossed(word a, word b)
{
	crossing = 0;
	spin_lock(&lock);
	queue_work_on(!raw_smp_processor_id(), system_wq, &work);
	while (!READ_ONCE(crossing))
		cpu_relax();
	spin_lock(&other_lock);
	spin_unlock(&other_lock);
	spin_unlock(&lock);
	return 0;
}

static noinline int hostile_keep_lock(word a, word b)
{
	spin_lock(&lock);
	return 0;
}

static noinline int hostile_keep_irq_lock(word a, word b)
{
	unsigned long flags;

	spin_lock_irqsave(&lock, flags);
	hostile_counter += flags & 1;
	return 0;
}

static noinline int hostile_keep_preempt(word a, word b)
{
	preempt_disable();
	return 0;
}

static noinline int hostile_keep_bh(word a, word b)
{
	local_bh_disable();
	return 0;
}

static noinline int hostile_enable_bh(word a, word b)
{
	local_bh_enable();
	return 0;
}

static noinline int hostile_keep_mutex(word a, word b)
{
	mutex_lock(&mutex);
	return 0;
}

static noinline int hostile_unlock_mutex(word a, word b)
{
	mutex_unlock(&mutex);
	return 0;
}

static noinline int hostile_keep_rtnl(word a, word b)
{
	rtnl_lock();
	return 0;
}

static noinline int hostile_unlock_rtnl(word a, word b)
{
	rtnl_unlock();
	return 0;
}

/* rtnl_unlock() waits for what was unregistered. */
static noinline int hostile_rtnl_locked(word a, word b)
{
	rtnl_lock();
	spin_lock(&lock);
	rtnl_unlock();
	spin_unlock(&lock);
	return 0;
}

static noinline int hostile_keep_rcu(word a, word b)
{
	rcu_read_lock();
	return 0;
}

static noinline int hostile_unlock_rcu(word a, word b)
{
	rcu_read_unlock();
	return 0;
}

static noinline int hostile_keep_pagefault(word a, word b)
{
	pagefault_disable();
	return 0;
}

/* ---- sleep ----------------------------------------------------------------------------------- */

static noinline int hostile_sleep_locked(word a, word b)
{
	spin_lock(&lock);
	msleep(10);
	spin_unlock(&lock);
	return 0;
}

static noinline int hostile_sleep_rcu(word a, word b)
{
	rcu_read_lock();
	synchronize_rcu();
	rcu_read_unlock();
	return 0;
}

static noinline int hostile_mutex_locked(word a, word b)
{
	spin_lock(&lock);
	mutex_lock(&mutex);
	mutex_unlock(&mutex);
	spin_unlock(&lock);
	return 0;
}

/* An allocation that may sleep, with a lock held: the flags are put right. */
static noinline int hostile_alloc_locked(word a, word b)
{
	void *p;

	spin_lock(&lock);
	p = kmalloc(a, GFP_KERNEL);
	spin_unlock(&lock);
	kfree(p);
	return p ? 0 : -ENOMEM;
}

static noinline void hostile_sleeping(struct timer_list *unused)
{
	msleep(10);
}

static noinline int hostile_sleep_timer(word a, word b)
{
	timer_setup(&timer, hostile_sleeping, 0);
	mod_timer(&timer, jiffies + SOON);
	msleep(LATER);
	return 0;
}

static noinline void hostile_keeping(struct timer_list *unused)
{
	preempt_disable();
}

/* The kernel itself looks at the count after a timer's handler. */
static noinline int hostile_keep_timer(word a, word b)
{
	timer_setup(&timer, hostile_keeping, 0);
	mod_timer(&timer, jiffies + SOON);
	msleep(LATER);
	return 0;
}

/* ---- values that a call may not have --------------------------------------------------------- */

static noinline int hostile_sleep_long(word a, word b)
{
	msleep(a);
	return 0;
}

/* a: a state of the scheduler */
static noinline int hostile_sleep_state(word a, word b)
{
	usleep_range_state(100, 200, a);
	return 0;
}

static noinline int hostile_netdev(word a, word b)
{
	netif_carrier_on((struct net_device *)a);
	return 0;
}

static noinline int hostile_pci(word a, word b)
{
	u16 v;

	pci_read_config_word((struct pci_dev *)a, 0, &v);
	return 0;
}

/* a: a capability that there is not */
static noinline int hostile_capability(word a, word b)
{
	return capable(a) ? 0 : -EPERM;
}

/* a: a clock that there is not */
static noinline int hostile_clock(word a, word b)
{
	hostile_counter += ktime_get_with_offset(a);
	return 0;
}

/* a: more than the key has */
static noinline int hostile_key_length(word a, word b)
{
	u8 *p = kmalloc(a, GFP_KERNEL);

	netdev_rss_key_fill(p, a);
	kfree(p);
	return 0;
}

const struct attack attacks_context[] = {
	ATTACK(unlock), ATTACK(lock_of), ATTACK(lock_twice), ATTACK(keep_lock),
	ATTACK(lock_interrupted), ATTACK(lock_crossed),
	ATTACK(keep_irq_lock), ATTACK(keep_preempt), ATTACK(keep_bh), ATTACK(enable_bh),
	ATTACK(keep_mutex), ATTACK(unlock_mutex), ATTACK(keep_rtnl), ATTACK(unlock_rtnl),
	ATTACK(keep_rcu), ATTACK(unlock_rcu), ATTACK(keep_pagefault), ATTACK(sleep_locked),
	ATTACK(sleep_rcu), ATTACK(mutex_locked), ATTACK(alloc_locked), ATTACK(sleep_timer),
	ATTACK(keep_timer), ATTACK(sleep_long), ATTACK(sleep_state), ATTACK(netdev), ATTACK(pci),
	ATTACK(capability), ATTACK(clock), ATTACK(key_length), ATTACK(rtnl_locked), { }
};
