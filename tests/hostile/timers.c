// SPDX-License-Identifier: GPL-2.0-only
/*
 * timers.c - timers, work items and tasklets: changed after they were given to the kernel
 *
 * The kernel acts on its twin, so what was armed runs where it should, and the attack returns 0.
 */
#include <linux/bottom_half.h>
#include <linux/interrupt.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include "hostile.h"

static int ran;

static int hostile_ran(void)
{
	msleep(LATER);
	return READ_ONCE(ran) == 1 ? 0 : -ETIME;
}

/* ---- timers ---------------------------------------------------------------------------------- */

static struct timer_list timer;

static noinline void hostile_timer_ok(struct timer_list *unused)
{
	ran++;
}

static void hostile_arm(void)
{
	ran = 0;
	timer_setup(&timer, hostile_timer_ok, 0);
	mod_timer(&timer, jiffies + SOON);
}

static noinline int hostile_timer_function(word a, word b)
{
	hostile_arm();
	WRITE_ONCE(timer.function, (void *)a);
	return hostile_ran();
}

/* The node of an hlist that the kernel walks. */
static noinline int hostile_timer_links(word a, word b)
{
	hostile_arm();
	WRITE_ONCE(timer.entry.next, (void *)a);
	WRITE_ONCE(timer.entry.pprev, (void *)b);
	return hostile_ran();
}

static noinline int hostile_timer_late(word a, word b)
{
	struct timer_list *t = kzalloc(sizeof(*t), GFP_KERNEL);

	ran = 0;
	timer_setup(t, hostile_timer_ok, 0);
	mod_timer(t, jiffies + SOON);
	kfree(t);
	return hostile_ran();
}

/* Many that nobody stops. a: how many */
static noinline int hostile_timer_leak(word a, word b)
{
	struct timer_list *t = kcalloc(a, sizeof(*t), GFP_KERNEL);
	word i;

	for (i = 0; t && i < a; i++) {
		timer_setup(&t[i], hostile_timer_ok, 0);
		mod_timer(&t[i], jiffies + 100 * HZ);
	}
	return 0;
}

static noinline int hostile_timer_setup(word a, word b)
{
	timer_setup(&timer, (void *)a, 0);
	return 0;
}

static noinline int hostile_timer_arm(word a, word b)
{
	timer_setup(&timer, hostile_timer_ok, 0);
	WRITE_ONCE(timer.function, (void *)a);
	mod_timer(&timer, jiffies + SOON);
	msleep(LATER);
	return 0;
}

/* a: not memory of the driver */
static noinline int hostile_timer_foreign(word a, word b)
{
	mod_timer((struct timer_list *)a, jiffies + SOON);
	return 0;
}

static noinline void hostile_timer_waiting(struct timer_list *t)
{
	del_timer_sync(t);
}

static noinline int hostile_timer_self(word a, word b)
{
	timer_setup(&timer, hostile_timer_waiting, 0);
	mod_timer(&timer, jiffies + SOON);
	msleep(LATER);
	return 0;
}

/* ---- work items ------------------------------------------------------------------------------ */

static struct work_struct work;
static struct delayed_work dwork;

static noinline void hostile_work_ok(struct work_struct *unused)
{
	ran++;
}

static noinline void hostile_work_waiting(struct work_struct *w)
{
	cancel_work_sync(w);
}

/* Queued, and before this CPU's worker can run: @change */
static int hostile_queued(void (*change)(word a), word a)
{
	ran = 0;
	INIT_WORK(&work, hostile_work_ok);
	preempt_disable();
	schedule_work_on(smp_processor_id(), &work);
	change(a);
	preempt_enable();
	return hostile_ran();
}

static void hostile_set_func(word a)
{
	WRITE_ONCE(work.func, (void *)a);
}

static void hostile_set_entry(word a)
{
	WRITE_ONCE(work.entry.next, (void *)a);
}

static noinline int hostile_work_function(word a, word b)
{
	return hostile_queued(hostile_set_func, a);
}

static noinline int hostile_work_entry(word a, word b)
{
	return hostile_queued(hostile_set_entry, a);
}

static noinline int hostile_work_queue(word a, word b)
{
	INIT_WORK(&work, hostile_work_ok);
	WRITE_ONCE(work.func, (void *)a);
	schedule_work(&work);
	msleep(LATER);
	return 0;
}

/* a: not a workqueue */
static noinline int hostile_work_wq(word a, word b)
{
	INIT_WORK(&work, hostile_work_ok);
	queue_work((struct workqueue_struct *)a, &work);
	return 0;
}

/* a: a CPU that there is not */
static noinline int hostile_work_cpu(word a, word b)
{
	INIT_WORK(&work, hostile_work_ok);
	schedule_work_on(a, &work);
	return 0;
}

static noinline int hostile_work_self(word a, word b)
{
	INIT_WORK(&work, hostile_work_waiting);
	schedule_work(&work);
	msleep(LATER);
	return 0;
}

static noinline int hostile_wq_late(word a, word b)
{
	struct workqueue_struct *wq = alloc_workqueue("hostile", 0, 0);

	INIT_WORK(&work, hostile_work_ok);
	destroy_workqueue(wq);
	queue_work(wq, &work);
	msleep(LATER);
	return 0;
}

static void hostile_delay(void)
{
	ran = 0;
	INIT_DELAYED_WORK(&dwork, hostile_work_ok);
	schedule_delayed_work(&dwork, SOON);
}

static noinline int hostile_dwork_function(word a, word b)
{
	hostile_delay();
	WRITE_ONCE(dwork.work.func, (void *)a);
	return hostile_ran();
}

static noinline int hostile_dwork_timer(word a, word b)
{
	hostile_delay();
	WRITE_ONCE(dwork.timer.function, (void *)a);
	return hostile_ran();
}

static noinline int hostile_dwork_wq(word a, word b)
{
	hostile_delay();
	WRITE_ONCE(dwork.wq, (void *)a);
	return hostile_ran();
}

static noinline int hostile_dwork_late(word a, word b)
{
	struct delayed_work *d = kzalloc(sizeof(*d), GFP_KERNEL);

	ran = 0;
	INIT_DELAYED_WORK(d, hostile_work_ok);
	schedule_delayed_work(d, SOON);
	kfree(d);
	return hostile_ran();
}

/* ---- tasklets -------------------------------------------------------------------------------- */

static struct tasklet_struct tasklet;

static noinline void hostile_tasklet_ok(struct tasklet_struct *unused)
{
	ran++;
}

/* Scheduled, and before it can run: */
static void hostile_scheduled(void)
{
	ran = 0;
	tasklet_setup(&tasklet, hostile_tasklet_ok);
	local_bh_disable();
	tasklet_schedule(&tasklet);
}

static noinline int hostile_tasklet_callback(word a, word b)
{
	hostile_scheduled();
	WRITE_ONCE(tasklet.func, (void *)a);
	local_bh_enable();
	return hostile_ran();
}

static noinline int hostile_tasklet_next(word a, word b)
{
	hostile_scheduled();
	WRITE_ONCE(tasklet.next, (void *)a);
	local_bh_enable();
	return hostile_ran();
}

static noinline int hostile_tasklet_setup(word a, word b)
{
	tasklet_setup(&tasklet, (void *)a);
	tasklet_schedule(&tasklet);
	msleep(LATER);
	return 0;
}

/* Nothing hostile: runs each time it is scheduled, and not after it was killed. */
static noinline int hostile_tasklet(word a, word b)
{
	int i;

	for (i = 0; i < 3; i++) {
		hostile_scheduled();
		tasklet_schedule(&tasklet);
		local_bh_enable();
		if (hostile_ran())
			return -ETIME;
	}
	tasklet_kill(&tasklet);
	return 0;
}

const struct attack attacks_timers[] = {
	ATTACK(timer_function), ATTACK(timer_links), ATTACK(timer_late), ATTACK(timer_setup),
	ATTACK(timer_leak),
	ATTACK(timer_arm), ATTACK(timer_foreign), ATTACK(timer_self), ATTACK(work_function),
	ATTACK(work_entry), ATTACK(work_queue), ATTACK(work_wq), ATTACK(work_cpu),
	ATTACK(work_self), ATTACK(wq_late), ATTACK(dwork_function), ATTACK(dwork_timer),
	ATTACK(dwork_wq), ATTACK(dwork_late), ATTACK(tasklet_callback), ATTACK(tasklet_next),
	ATTACK(tasklet_setup), ATTACK(tasklet), { }
};
