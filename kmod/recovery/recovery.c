// SPDX-License-Identifier: GPL-2.0-only
/*
 * recovery.c - stop, drain, release, restore, init, replay
 *
 * Works from process context whatever context the fault came in. nook->dead is set before anything
 * else, and entries look at it after they have counted themselves (nook_admit()), so that once
 * nook->inside is zero nobody is in and nobody comes in. Release goes pass by pass
 * (wrappers/wrappers.h), newest object first.
 *
 * A device that ran when its driver died goes on with the old rings as soon as the new driver lets
 * it reach memory, which most do before they reset it. So what it may write to is held, no longer
 * the driver's, until the driver runs again: then the device has been reset or opened.
 *
 * Locking: nook->recov_lock is held throughout.
 * Context: process, may sleep.
 */
#define pr_fmt(fmt) "nooks: " fmt

#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/smp.h>
#include "control/control.h"
#include "core/core.h"
#include "domain/pgt.h"
#include "objtrack/objtrack.h"
#include "recovery/recovery.h"
#include "trace/nooks_trace.h"
#include "wrappers/wrappers.h"
#include "xpc/xpc.h"

#define RECOV_DRAIN_MS		50	/* between two kicks */
#define RECOV_DRAIN_TRIES	600	/* 30 s */
#define RECOV_NMI_AFTER		10	/* kicks without effect, then NMIs too */
#define RECOV_BACKOFF_MAX_MS	60000
/* a fault on another CPU may hit a restart that would have worked */
#define RECOV_START_TRIES	3

static struct workqueue_struct *recov_wq;

static u64 recov_step(struct nook *nk, u32 step, u64 since)
{
	u64 now = ktime_get_ns();

	trace_nooks_recov_step(nk->id, step, now - since);
	return now;
}

static u64 recov_stop(struct nook *nk, u64 since)
{
	WRITE_ONCE(nk->dead, 1);
	smp_mb();			/* pairs with nook_admit() */
	objtrack_quiesce(nk);
	return recov_step(nk, RECOV_STEP_STOP, since);
}

static int recov_drain(struct nook *nk)
{
	int i;

	for (i = 0; i < RECOV_DRAIN_TRIES && atomic_read(&nk->inside); i++) {
		xpc_kill(nk, i > RECOV_NMI_AFTER);
		wait_event_timeout(nk->empty, !atomic_read(&nk->inside),
				   msecs_to_jiffies(RECOV_DRAIN_MS));
	}
	if (!atomic_read(&nk->inside))
		return 0;
	pr_err("%s: %d entries do not come back; it stays stopped with what it holds, reboot to free it\n",
	       nk->name, atomic_read(&nk->inside));
	return -EBUSY;
}

static void recov_release_object(struct nook *nk, struct tracked *t)
{
	const struct obj_type_desc *desc = obj_type_desc(t->type);
	bool hold = nk->comes_back && desc->hold && desc->hold(nk, t);

	if (!hold)
		obj_release(nk, t);
	objtrack_drop(t);
	if (hold)
		list_add_tail(&t->order, &nk->held);
	else
		objtrack_put(t);
}

static bool recov_of_pass(struct tracked *t, const void *pass)
{
	return obj_type_desc(t->type)->order == *(const unsigned int *)pass;
}

static void recov_release_pass(struct nook *nk, unsigned int pass)
{
	struct tracked *t;

	while ((t = objtrack_newest(nk, recov_of_pass, &pass))) {
		recov_release_object(nk, t);
		cond_resched();
	}
}

static void recov_release_held(struct nook *nk)
{
	struct tracked *t, *next;

	list_for_each_entry_safe(t, next, &nk->held, order) {
		list_del_init(&t->order);
		obj_release(nk, t);
		objtrack_put(t);
		cond_resched();
	}
}

int recov_teardown(struct nook *nk)
{
	u64 since = recov_stop(nk, ktime_get_ns());
	unsigned int pass;
	int ret = recov_drain(nk);

	if (ret)
		return ret;
	since = recov_step(nk, RECOV_STEP_DRAIN, since);
	objtrack_flush(nk);
	nooks_pci_reset(nk);
	for (pass = 0; pass <= RELEASE_NAMES; pass++) {
		if (pass == RELEASE_BUFFERS)
			nooks_skb_pool_empty(nk);
		recov_release_pass(nk, pass);
	}
	if (!nk->comes_back) {
		recov_release_held(nk);
		nooks_net_reap(nk);
	}
	nooks_dma_forget(nk);
	pgt_shootdown();
	recov_step(nk, RECOV_STEP_RELEASE, since);
	return 0;
}

/* One restart. Return: 0 running, -EAGAIN the driver died in it, else what its init returned. */
static int recov_try_start(struct nook *nk)
{
	u64 since = ktime_get_ns();
	int ret;

	nook_restore_image(nk);
	since = recov_step(nk, RECOV_STEP_RESTORE, since);
	nook_set_state(nk, NOOKS_LOADING);
	WRITE_ONCE(nk->replayer, current);
	WRITE_ONCE(nk->dead, 0);
	ret = nook_run_init(nk);
	since = recov_step(nk, RECOV_STEP_INIT, since);
	if (!ret && !READ_ONCE(nk->dead)) {
		ret = nooks_net_replay(nk);
		nooks_pci_masters(nk, NULL);
		recov_step(nk, RECOV_STEP_REPLAY, since);
	}
	WRITE_ONCE(nk->replayer, NULL);
	return READ_ONCE(nk->dead) ? -EAGAIN : ret;
}

/* After a start that failed: release what it took. Devices stay only if there is another try. */
static bool recov_again(struct nook *nk, int ret, int tries)
{
	bool again = ret == -EAGAIN && tries < RECOV_START_TRIES;

	nk->comes_back = again;
	ret = recov_teardown(nk);
	nk->comes_back = false;
	return !ret && again;
}

/* Return: 0 running again, else why not; then the nook is released and stopped. */
static int recov_start(struct nook *nk, u64 begin)
{
	int ret, tries;

	for (tries = 1; ; tries++) {
		ret = recov_try_start(nk);
		if (!ret)
			break;
		if (!recov_again(nk, ret, tries)) {
			nook_set_state(nk, NOOKS_STOPPED);
			recov_step(nk, RECOV_STEP_FAILED, begin);
			pr_err("%s: does not start again (%d); it stays stopped, see \"pynooks status\"\n",
			       nk->name, ret);
			return ret;
		}
	}
	recov_release_held(nk);
	nooks_net_reap(nk);
	atomic64_inc(&nk->recoveries);
	nook_set_state(nk, NOOKS_RUNNING);
	recov_step(nk, RECOV_STEP_DONE, begin);
	pr_info("%s: running again after %llu ms\n", nk->name,
		div_u64(ktime_get_ns() - begin, NSEC_PER_MSEC));
	return 0;
}

/*
 * @again: it is to start again, so its devices stay. Return: 0; else it is stopped with what it
 * holds.
 */
static int recov_stop_and_release(struct nook *nk, bool again, u64 begin)
{
	int ret;

	lockdep_assert_held(&nk->recov_lock);
	nook_set_state(nk, NOOKS_RECOVERING);
	nk->comes_back = again;
	ret = recov_teardown(nk);
	nk->comes_back = false;
	if (ret) {
		nook_set_state(nk, NOOKS_STOPPED);
		recov_step(nk, RECOV_STEP_FAILED, begin);
	}
	return ret;
}

static int recov_run(struct nook *nk, bool start, u32 end_state)
{
	u64 begin = ktime_get_ns();
	int ret = recov_stop_and_release(nk, start, begin);

	if (ret)
		return ret;
	if (start)
		return recov_start(nk, begin);
	nook_set_state(nk, end_state);
	return 0;
}

/* ---- after a fault: at once, later, or not at all -------------------------------------------- */

/* Recoveries within the grace period: a driver that lives no longer than that keeps failing. */
static unsigned int recov_recent(const struct nook *nk, u64 now)
{
	u64 grace = (u64)READ_ONCE(nk->grace_ms) * NSEC_PER_MSEC;
	unsigned int i, n = min_t(unsigned int, nk->recov_n, RECOV_PAST);

	for (i = 0; i < n; i++)
		if (now - nk->recov_at[(nk->recov_n - 1 - i) % RECOV_PAST] >= grace)
			break;
	return i;
}

static u64 recov_backoff_ms(const struct nook *nk, unsigned int recent)
{
	u64 wait = recent ? (u64)READ_ONCE(nk->backoff_ms) << min(recent - 1, 16U) : 0;

	return min_t(u64, wait, RECOV_BACKOFF_MAX_MS);
}

static void recov_restart_now(struct nook *nk, u64 begin)
{
	if (recov_start(nk, begin))
		return;
	nk->recov_at[nk->recov_n++ % RECOV_PAST] = ktime_get_ns();
}

static void recov_after_fault(struct nook *nk)
{
	u64 begin = ktime_get_ns(), wait;
	unsigned int recent = recov_recent(nk, begin), burst = READ_ONCE(nk->burst);
	bool start = !(nk->flags & NOOKS_F_NO_RECOVER);

	if (start && burst && recent >= burst) {
		pr_err("%s: %u restarts within %u ms did not help; it stays stopped, see \"pynooks policy\"\n",
		       nk->name, recent, nk->grace_ms);
		start = false;
	}
	if (recov_stop_and_release(nk, start, begin))
		return;
	if (!start) {
		nook_set_state(nk, NOOKS_STOPPED);
		return;
	}
	wait = recov_backoff_ms(nk, recent);
	if (!wait) {
		recov_restart_now(nk, begin);
		return;
	}
	/* its devices stay parked, and answered for; a restart on demand does not wait */
	nk->recov_begin = begin;
	pr_info("%s: starts again in %llu ms\n", nk->name, wait);
	mod_delayed_work(recov_wq, &nk->recov_work, msecs_to_jiffies(wait));
}

static void recov_work(struct work_struct *work)
{
	struct nook *nk = container_of(to_delayed_work(work), struct nook, recov_work);

	mutex_lock(&nk->recov_lock);
	if (nk->state == NOOKS_RECOVERING)
		recov_restart_now(nk, nk->recov_begin);		/* it has waited */
	/* init or a restart on demand may have dealt with it while we waited */
	else if (READ_ONCE(nk->dead) && nk->state != NOOKS_STOPPED && nk->state != NOOKS_RELEASED)
		recov_after_fault(nk);
	mutex_unlock(&nk->recov_lock);
}

void recov_init(struct nook *nk)
{
	INIT_DELAYED_WORK(&nk->recov_work, recov_work);
}

void recov_schedule(struct nook *nk)
{
	mod_delayed_work(recov_wq, &nk->recov_work, 0);
}

/* By name: the module is pinned, and with it the nook, while we wait for the lock. */
static int recov_on_demand(const char *name, bool start)
{
	struct nook *nk;
	int ret;

	mutex_lock(&nooks_mutex);
	nk = nook_find(name);
	if (nk && !try_module_get(nk->mod))
		nk = NULL;
	mutex_unlock(&nooks_mutex);
	if (!nk)
		return -ENOENT;
	mutex_lock(&nk->recov_lock);
	if (start && nk->state == NOOKS_RELEASED) {
		ret = -EINVAL;
	} else {
		/* it stops its devices, which the stock driver may not expect to run */
		if (!start)
			nook_run_exit(nk);
		ret = recov_run(nk, start, NOOKS_RELEASED);
	}
	mutex_unlock(&nk->recov_lock);
	module_put(nk->mod);
	return ret;
}

int recov_restart(const char *name)
{
	return recov_on_demand(name, true);
}

int recov_release(const char *name)
{
	return recov_on_demand(name, false);
}

int recov_wq_init(void)
{
	/*
	 * not WQ_MEM_RECLAIM: it waits for work of drivers, which is on queues without it;
	 * freezable: a driver cannot start on a device that is being put to sleep
	 */
	recov_wq = alloc_workqueue("nooks_recovery", WQ_UNBOUND | WQ_HIGHPRI | WQ_FREEZABLE, 0);
	return recov_wq ? 0 : -ENOMEM;
}

void recov_wq_deinit(void)
{
	destroy_workqueue(recov_wq);
}
