// SPDX-License-Identifier: GPL-2.0-only
/* waits.c - locks, completions and wait queues whose insides were changed */
#include <linux/completion.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include "hostile.h"

static DEFINE_SPINLOCK(lock);
static DEFINE_MUTEX(mutex);
static DECLARE_COMPLETION(done);
static DECLARE_WAIT_QUEUE_HEAD(queue);
static struct timer_list timer;
static int flag;

/* It says that it is taken; nobody has it. */
static noinline int hostile_spin_value(word a, word b)
{
	WRITE_ONCE(*(u32 *)&lock, 0x101);
	spin_lock(&lock);
	spin_unlock(&lock);
	return 0;
}

/* Held, with somebody said to wait. a: who */
static noinline int hostile_mutex_waiters(word a, word b)
{
	mutex_init(&mutex);
	mutex_lock(&mutex);
	WRITE_ONCE(mutex.wait_list.next, (struct list_head *)a);
	atomic_long_or(1, &mutex.owner);	/* MUTEX_FLAG_WAITERS */
	mutex_unlock(&mutex);
	return 0;
}

/* Not held, with an owner. a: who */
static noinline int hostile_mutex_owner(word a, word b)
{
	mutex_init(&mutex);
	atomic_long_set(&mutex.owner, a);
	mutex_lock(&mutex);
	mutex_unlock(&mutex);
	return 0;
}

static noinline int hostile_mutex_foreign(word a, word b)
{
	mutex_lock((struct mutex *)a);
	return 0;
}

static noinline int hostile_completion_list(word a, word b)
{
	init_completion(&done);
	WRITE_ONCE(done.wait.task_list.next, (struct list_head *)a);
	complete(&done);
	return wait_for_completion_timeout(&done, SOON) ? 0 : -ETIME;
}

static noinline int hostile_completion_lock(word a, word b)
{
	init_completion(&done);
	WRITE_ONCE(*(u32 *)&done.wait.lock, 0x101);
	complete(&done);
	return wait_for_completion_timeout(&done, SOON) ? 0 : -ETIME;
}

static noinline int hostile_completion_foreign(word a, word b)
{
	complete((struct completion *)a);
	return 0;
}

static noinline int hostile_completion_locked(word a, word b)
{
	init_completion(&done);
	spin_lock(&lock);
	wait_for_completion_timeout(&done, SOON);
	spin_unlock(&lock);
	return 0;
}

static noinline int hostile_queue_list(word a, word b)
{
	init_waitqueue_head(&queue);
	WRITE_ONCE(queue.head.next, (struct list_head *)a);
	wake_up(&queue);
	return 0;
}

static noinline int hostile_queue_foreign(word a, word b)
{
	wake_up((struct wait_queue_head *)a);
	return 0;
}

static noinline void hostile_waking(struct timer_list *unused)
{
	WRITE_ONCE(flag, 1);
	wake_up(&queue);
	complete(&done);
}

/* Nothing hostile: waits that end, one by its time and two because somebody wakes them. */
static noinline int hostile_waits(word a, word b)
{
	flag = 0;
	init_completion(&done);
	init_waitqueue_head(&queue);
	timer_setup(&timer, hostile_waking, 0);
	if (wait_for_completion_timeout(&done, SOON))
		return -EINVAL;
	mod_timer(&timer, jiffies + SOON);
	if (!wait_event_timeout(queue, READ_ONCE(flag), HZ))
		return -ETIME;
	wait_for_completion(&done);
	return try_wait_for_completion(&done) ? -EINVAL : 0;
}

/* ---- nobody wakes it ------------------------------------------------------------------------- */

static noinline int hostile_never_done(word a, word b)
{
	init_completion(&done);
	wait_for_completion(&done);
	return 0;
}

static noinline int hostile_never_woken(word a, word b)
{
	flag = 0;
	init_waitqueue_head(&queue);
	wait_event(queue, READ_ONCE(flag));
	return 0;
}

const struct attack attacks_waits[] = {
	ATTACK(spin_value), ATTACK(mutex_waiters), ATTACK(mutex_owner), ATTACK(mutex_foreign),
	ATTACK(completion_list), ATTACK(completion_lock), ATTACK(completion_foreign),
	ATTACK(completion_locked), ATTACK(queue_list), ATTACK(queue_foreign), ATTACK(waits),
	ATTACK(never_done), ATTACK(never_woken), { }
};
