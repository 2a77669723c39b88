// SPDX-License-Identifier: GPL-2.0-only
/*
 * work.c - work items and workqueues
 *
 * A work_struct or delayed_work in driver memory names a twin, which is what the kernel queues. The
 * function is read from the driver's structure when it is queued, and must be a gate of the nook.
 * A wait for a work item ends when the nook is stopped: the work may be waiting for us.
 *
 * Locking: work_wq_lock keeps a workqueue alive between its check and the queuing; destroying it
 *	takes it out of the tracker first, then empties it. twin->fn is written while the twin is
 *	idle; a race of two queuers stores one of two functions that both were checked.
 */
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "wrappers.h"

static DEFINE_RWLOCK(work_wq_lock);

struct work_twin {
	struct delayed_work dw;
	struct nook *nk;
	void *drv;
	void *fn;
	atomic_t canceling;
};

static const struct entry_desc work_entry = {
	.name = "work_struct.func", .nargs = 1, .ret = RET_VOID,
};

static void work_run(struct work_struct *w)
{
	struct work_twin *tw = container_of(to_delayed_work(w), struct work_twin, dw);
	u64 args[NOOKS_ARGS] = { (u64)tw->drv };

	nook_call(tw->nk, READ_ONCE(tw->fn), &work_entry, args);
}

static void *work_make(struct nook *nk, void *addr)
{
	struct work_twin *tw = kzalloc(sizeof(*tw), GFP_ATOMIC);

	if (tw) {
		INIT_DELAYED_WORK(&tw->dw, work_run);
		tw->nk = nk;
		tw->drv = addr;
	}
	return tw;
}

/* The twin of a work item that is going to be queued, its function checked. */
static struct tracked *work_get(struct xpc *x, const char *fn, u64 arg)
{
	struct work_struct *drv = (struct work_struct *)arg;
	struct work_twin *tw;
	struct tracked *t;
	struct gate *g;

	if (!arg_owned(x, fn, "work", drv, sizeof(*drv)))
		return NULL;
	g = arg_gate(x, fn, "work->func", READ_ONCE(drv->func));
	if (!g)
		return NULL;
	t = nooks_twin_get(x->nook, OBJ_WORK_STRUCT, drv, sizeof(*drv), work_make);
	if (!t) {
		nooks_reject(x, "%s(work): no memory for its twin", fn);
		return NULL;
	}
	tw = t->twin;
	if (!work_pending(&tw->dw.work))
		WRITE_ONCE(tw->fn, g->target);
	return t;
}

/* The queues of the kernel that are exported, or one that the nook has made. */
static struct workqueue_struct *work_queue(struct xpc *x, const char *fn, u64 arg)
{
	struct workqueue_struct *wq = (struct workqueue_struct *)arg;

	if (wq && (wq == system_wq || wq == system_highpri_wq || wq == system_long_wq ||
		   wq == system_unbound_wq || wq == system_freezable_wq ||
		   wq == system_power_efficient_wq || wq == system_freezable_power_efficient_wq))
		return wq;
	return arg_obj(x, fn, "wq", OBJ_WORKQUEUE, wq) ? wq : NULL;
}

static bool work_cpu_ok(struct xpc *x, const char *fn, u64 cpu)
{
	if ((int)cpu == WORK_CPU_UNBOUND || ((u32)cpu < nr_cpu_ids && cpu_possible((u32)cpu)))
		return true;
	nooks_reject(x, "%s(cpu): %d", fn, (int)cpu);
	return false;
}

/* (cpu, wq, work) */
u64 wrap_queue_work_on(struct xpc *x, const u64 *a)
{
	static const char fn[] = "queue_work_on";
	struct workqueue_struct *wq;
	unsigned long flags;
	struct work_twin *tw;
	struct tracked *t;
	bool queued = false;

	if (!work_cpu_ok(x, fn, a[0]))
		return 0;
	t = work_get(x, fn, a[2]);
	if (!t)
		return 0;
	tw = t->twin;
	read_lock_irqsave(&work_wq_lock, flags);
	wq = work_queue(x, fn, a[1]);
	if (wq && !atomic_read(&tw->canceling))
		queued = queue_work_on((int)a[0], wq, &tw->dw.work);
	read_unlock_irqrestore(&work_wq_lock, flags);
	objtrack_put(t);
	return queued;
}

/* (cpu, wq, dwork, delay) */
static u64 work_delayed(struct xpc *x, const char *fn, const u64 *a, bool mod)
{
	struct workqueue_struct *wq;
	unsigned long flags;
	struct work_twin *tw;
	struct tracked *t;
	bool ret = false;

	if (!work_cpu_ok(x, fn, a[0]))
		return 0;
	t = work_get(x, fn, a[2]);
	if (!t)
		return 0;
	tw = t->twin;
	read_lock_irqsave(&work_wq_lock, flags);
	wq = work_queue(x, fn, a[1]);
	if (wq && !atomic_read(&tw->canceling))
		ret = mod ? mod_delayed_work_on((int)a[0], wq, &tw->dw, a[3]) :
			    queue_delayed_work_on((int)a[0], wq, &tw->dw, a[3]);
	read_unlock_irqrestore(&work_wq_lock, flags);
	objtrack_put(t);
	return ret;
}

u64 wrap_queue_delayed_work_on(struct xpc *x, const u64 *a)
{
	return work_delayed(x, "queue_delayed_work_on", a, false);
}

u64 wrap_mod_delayed_work_on(struct xpc *x, const u64 *a)
{
	return work_delayed(x, "mod_delayed_work_on", a, true);
}

/* Wait until the item neither waits nor runs; with @cancel it is taken off the queue. */
static bool work_wait(struct xpc *x, const char *fn, struct work_twin *tw, bool cancel, bool *had)
{
	unsigned long deadline = wrap_deadline(x);

	do {
		if (cancel)
			*had |= cancel_delayed_work(&tw->dw);
		if (!work_busy(&tw->dw.work))
			return true;
		wrap_nap(x);
	} while (!wrap_must_stop(x, deadline));
	nooks_reject(x, "%s(work): it does not end", fn);
	return false;
}

/* The twin whose handler this task runs. */
static struct work_twin *work_current(void)
{
	struct work_struct *w = current_work();

	return w && w->func == work_run ?
		container_of(to_delayed_work(w), struct work_twin, dw) : NULL;
}

static u64 work_sync(struct xpc *x, const char *fn, u64 arg, bool cancel)
{
	struct tracked *t;
	struct work_twin *tw;
	bool had = false;

	if (!wrap_may_sleep(x, fn) ||
	    !arg_owned(x, fn, "work", (void *)arg, sizeof(struct work_struct)))
		return 0;
	t = nooks_twin_get(x->nook, OBJ_WORK_STRUCT, (void *)arg, 0, NULL);
	if (!t)
		return 0;		/* was never queued */
	tw = t->twin;
	if (work_current() == tw) {
		nooks_reject(x, "%s(work): called from this work itself", fn);
	} else if (cancel) {
		atomic_inc(&tw->canceling);
		/* only when it is idle, and cannot be queued again, may we wait without a limit */
		if (work_wait(x, fn, tw, true, &had))
			cancel_delayed_work_sync(&tw->dw);
		atomic_dec(&tw->canceling);
	} else {
		had = work_busy(&tw->dw.work);
		if (cancel_delayed_work(&tw->dw))	/* it need not wait for its time */
			queue_work(system_wq, &tw->dw.work);
		work_wait(x, fn, tw, false, &had);
	}
	objtrack_put(t);
	return had;
}

u64 wrap_cancel_work_sync(struct xpc *x, const u64 *a)
{
	return work_sync(x, "cancel_work_sync", a[0], true);
}

u64 wrap_cancel_delayed_work_sync(struct xpc *x, const u64 *a)
{
	return work_sync(x, "cancel_delayed_work_sync", a[0], true);
}

u64 wrap_flush_work(struct xpc *x, const u64 *a)
{
	return work_sync(x, "flush_work", a[0], false);
}

u64 wrap_flush_delayed_work(struct xpc *x, const u64 *a)
{
	return work_sync(x, "flush_delayed_work", a[0], false);
}

static u64 work_cancel(struct xpc *x, const char *fn, u64 arg)
{
	struct work_twin *tw;
	struct tracked *t;
	bool had;

	if (!arg_owned(x, fn, "work", (void *)arg, sizeof(struct work_struct)))
		return 0;
	t = nooks_twin_get(x->nook, OBJ_WORK_STRUCT, (void *)arg, 0, NULL);
	if (!t)
		return 0;
	tw = t->twin;
	had = cancel_delayed_work(&tw->dw);
	objtrack_put(t);
	return had;
}

u64 wrap_cancel_delayed_work(struct xpc *x, const u64 *a)
{
	return work_cancel(x, "cancel_delayed_work", a[0]);
}

u64 wrap_cancel_work(struct xpc *x, const u64 *a)
{
	return work_cancel(x, "cancel_work", a[0]);
}

void nooks_release_work_struct(struct nook *nk, struct tracked *t)
{
	struct work_twin *tw = t->twin;

	if (tw)
		cancel_delayed_work_sync(&tw->dw);
}

/* ---- workqueues ----------------------------------------------------------------------------- */

#define WORK_WQ_FLAGS (WQ_UNBOUND | WQ_FREEZABLE | WQ_MEM_RECLAIM | WQ_HIGHPRI | \
		       WQ_CPU_INTENSIVE | WQ_POWER_EFFICIENT | __WQ_LEGACY | __WQ_ORDERED | \
		       __WQ_ORDERED_EXPLICIT)

/* (fmt, flags, max_active, ...) */
u64 wrap_alloc_workqueue(struct xpc *x, const u64 *a)
{
	struct workqueue_struct *wq;
	char name[24];

	if (!wrap_may_sleep(x, "alloc_workqueue") ||
	    !arg_string(x, "alloc_workqueue", "fmt", (const char *)a[0]))
		return 0;
	wrap_format(x, name, sizeof(name), (const char *)a[0], a, 3);
	wq = alloc_workqueue("%s", a[1] & WORK_WQ_FLAGS, clamp((int)a[2], 0, WQ_MAX_ACTIVE), name);
	if (!wq)
		return 0;
	if (nooks_track(x->nook, OBJ_WORKQUEUE, wq, 0, NULL, 0, 0, GFP_KERNEL)) {
		destroy_workqueue(wq);
		return 0;
	}
	return (u64)wq;
}

/* A delayed item of the nook whose timer would queue it on @wq, its entry referenced. */
static struct tracked *work_delayed_on(struct nook *nk, const struct workqueue_struct *wq)
{
	struct tracked *t, *hit = NULL;
	struct work_twin *tw;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->objs.lock, flags);
	list_for_each_entry(t, &nk->objs.order, order) {
		tw = t->type == OBJ_WORK_STRUCT ? t->twin : NULL;
		if (tw && READ_ONCE(tw->dw.wq) == wq && timer_pending(&tw->dw.timer)) {
			kref_get(&t->ref);
			hit = t;
			break;
		}
	}
	raw_spin_unlock_irqrestore(&nk->objs.lock, flags);
	return hit;
}

/* The workqueue is no longer known: nothing new is queued on it, and what is on it ends. */
static void work_wq_empty(struct nook *nk, struct workqueue_struct *wq)
{
	struct work_twin *tw;
	struct tracked *t;

	while ((t = work_delayed_on(nk, wq))) {
		tw = t->twin;
		cancel_delayed_work(&tw->dw);
		objtrack_put(t);
	}
	__flush_workqueue(wq);
}

u64 wrap_destroy_workqueue(struct xpc *x, const u64 *a)
{
	unsigned long flags;
	struct tracked *t;

	if (!wrap_may_sleep(x, "destroy_workqueue"))
		return 0;
	if (work_current())
		return nooks_reject(x, "destroy_workqueue(wq): called from a work item");
	write_lock_irqsave(&work_wq_lock, flags);
	t = objtrack_take(x->nook, OBJ_WORKQUEUE, (void *)a[0]);
	write_unlock_irqrestore(&work_wq_lock, flags);
	if (!t)
		return nooks_reject(x, "destroy_workqueue(wq): not a workqueue of this nook");
	work_wq_empty(x->nook, (struct workqueue_struct *)a[0]);
	objtrack_retire(t);
	return 0;
}

u64 wrap___flush_workqueue(struct xpc *x, const u64 *a)
{
	if (!wrap_may_sleep(x, "__flush_workqueue") ||
	    !arg_obj(x, "__flush_workqueue", "wq", OBJ_WORKQUEUE, (void *)a[0]))
		return 0;
	if (work_current())
		return nooks_reject(x, "__flush_workqueue(wq): called from a work item");
	__flush_workqueue((struct workqueue_struct *)a[0]);
	return 0;
}

void nooks_finish_workqueue(struct nook *nk, struct tracked *t)
{
	work_wq_empty(nk, (struct workqueue_struct *)t->it.start);
	destroy_workqueue((struct workqueue_struct *)t->it.start);
}
