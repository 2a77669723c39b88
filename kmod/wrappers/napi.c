// SPDX-License-Identifier: GPL-2.0-only
/*
 * napi.c - polling
 *
 * A napi_struct in driver memory names a twin, which is what the kernel schedules and polls. The
 * kernel trusts drivers to schedule only after a successful prep, to complete only inside their
 * poll, and to use the receive lists only there; here each of these is checked, because a breach
 * corrupts per-CPU lists or leaves napi_disable() waiting for ever.
 *
 * Locking: napi_lists keeps additions and deletions apart, which drivers leave to rtnl or to
 *	nobody; twin->state moves by cmpxchg; napi_cur is the poll that runs on this CPU, bottom
 *	halves off.
 */
#include <linux/bottom_half.h>
#include <linux/delay.h>
#include <linux/hardirq.h>
#include <linux/hrtimer.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include "generated/exits.h"
#include "runtime/runtime.h"
#include "wrappers/moderate.h"
#include "wrappers/netshadow.h"
#include "wrappers.h"

static DEFINE_MUTEX(napi_lists);		/* dev->napi_list of nooks' devices */

#define NAPI_GRACE	HZ	/* between prep and schedule, when somebody waits */
#define HOLD_END	(HZ / 10)	/* for a poll that is due */

enum napi_twin_state { NAPI_OFF, NAPI_ON, NAPI_BUSY };

struct napi_twin {
	struct napi_struct kn;
	struct nook *nk;
	struct napi_struct *drv;
	struct net_shadow *sh;		/* of kn.dev */
	void *fn;
	atomic_t state;			/* enum napi_twin_state */
	atomic_t prepped;		/* SCHED is set and nobody has queued it */
	unsigned long prepped_at;
	struct moderation moderation;
};

/* One run of a poll function, on the stack of napi_poll(). */
struct napi_run {
	struct napi_twin *tw;
	bool completed;
};

static DEFINE_PER_CPU(struct napi_run *, napi_cur);

static const struct entry_desc napi_entry = {
	.name = "napi_struct.poll", .nargs = 2, .ret = RET_SCALAR, .hot = true,
};

static struct napi_slot *napi_slot(const struct napi_twin *tw)
{
	return &tw->nk->napi[napi_slot_of(tw->drv)];
}

/* Not if another one has its place: the runtime would not know. */
static bool napi_offer_hold(struct napi_twin *tw)
{
	enum napi_hold hold = moderate_begin(&tw->moderation, tw->kn.dev, netxmit_waits(tw->sh));
	struct napi_slot *s = napi_slot(tw);

	if (s->kn != &tw->kn)
		return false;
	WRITE_ONCE(s->hold, hold);
	return hold;
}

/*
 * The driver has not said that it is done, or not been let: it is polled again after the delay.
 * napi_delete() cancels the timer once more, when nobody is in here.
 */
static void napi_complete_for(struct napi_twin *tw, int work, bool held)
{
	u64 ns = moderate_end(&tw->moderation, work, held);

	if (napi_complete_done(&tw->kn, work) && held)
		hrtimer_start(&tw->kn.timer, ns_to_ktime(ns), HRTIMER_MODE_REL_PINNED);
}

static int napi_poll(struct napi_struct *kn, int budget)
{
	struct napi_twin *tw = container_of(kn, struct napi_twin, kn);
	struct napi_run run = { .tw = tw }, *outer = this_cpu_read(napi_cur);
	u64 args[NOOKS_ARGS] = { (u64)tw->drv, (u64)budget };
	bool hold = napi_offer_hold(tw);
	int work;

	this_cpu_write(napi_cur, &run);
	work = (int)nook_call(tw->nk, tw->fn, &napi_entry, args);
	this_cpu_write(napi_cur, outer);
	work = clamp(work, 0, budget);
	if (run.completed)
		return budget ? min(work, budget - 1) : 0;	/* it may run elsewhere by now */
	if (work < budget)			/* held, forgotten, or dead */
		napi_complete_for(tw, work, hold && !READ_ONCE(tw->nk->dead));
	return work;
}

/* The run of this twin's poll function that the caller is inside of, completed or not. */
static struct napi_run *napi_run_of(struct napi_twin *tw)
{
	struct napi_run *run = this_cpu_read(napi_cur);

	return run && run->tw == tw && !in_hardirq() ? run : NULL;
}

static struct napi_run *napi_running(struct napi_twin *tw)
{
	struct napi_run *run = napi_run_of(tw);

	return run && !run->completed ? run : NULL;
}

struct napi_struct *nooks_napi_of(struct tracked *t)
{
	struct napi_twin *tw = t->twin;

	return &tw->kn;
}

static struct tracked *napi_arg(struct xpc *x, const char *fn, u64 arg)
{
	struct tracked *t = objtrack_find(x->nook, OBJ_NAPI_STRUCT, (void *)arg);

	if (t && t->twin)
		return t;
	if (t)
		objtrack_put(t);
	nooks_reject(x, "%s(napi): not a tracked napi_struct", fn);
	return NULL;
}

/* ---- life ----------------------------------------------------------------------------------- */

/* A place that is taken stays so: the runtime leaves for the other one's calls. */
static void napi_slot_set(struct napi_twin *tw)
{
	struct napi_slot *s = napi_slot(tw);

	lockdep_assert_held(&napi_lists);
	if (s->drv)
		return;
	s->kn = &tw->kn;
	smp_store_release(&s->drv, tw->drv);	/* pairs with dom_napi_twin() */
}

static void napi_slot_clear(struct napi_twin *tw)
{
	struct napi_slot *s = napi_slot(tw);

	lockdep_assert_held(&napi_lists);
	if (s->kn == &tw->kn)
		WRITE_ONCE(s->drv, NULL);
}

static void napi_create(struct xpc *x, struct net_device *dev, struct napi_struct *drv, void *fn,
			int weight)
{
	struct napi_twin *tw = kzalloc(sizeof(*tw), GFP_KERNEL);

	if (!tw) {
		nooks_reject(x, "netif_napi_add_weight: no memory");
		return;
	}
	tw->nk = x->nook;
	tw->drv = drv;
	tw->sh = netshadow_find(x->nook, dev);
	tw->fn = fn;
	netif_napi_add_weight(dev, &tw->kn, napi_poll, weight);
	if (nooks_track(x->nook, OBJ_NAPI_STRUCT, drv, sizeof(*drv), tw, 0, 0, GFP_KERNEL)) {
		netif_napi_del(&tw->kn);
		kfree(tw);
		nooks_reject(x, "netif_napi_add_weight: no memory");
		return;
	}
	/* inline code and the driver itself may look at these */
	memset(drv, 0, sizeof(*drv));
	drv->dev = dev;
	drv->weight = weight;
	napi_slot_set(tw);
}

/* (dev, napi, poll, weight) */
u64 wrap_netif_napi_add_weight(struct xpc *x, const u64 *a)
{
	static const char fn[] = "netif_napi_add_weight";
	struct napi_struct *drv = (struct napi_struct *)a[1];
	struct gate *g;

	if (!wrap_may_sleep(x, fn) || !arg_obj(x, fn, "dev", OBJ_NET_DEVICE, (void *)a[0]) ||
	    !arg_owned(x, fn, "napi", drv, sizeof(*drv)))
		return 0;
	g = arg_gate(x, fn, "poll", (void *)a[2]);
	if (!g)
		return 0;
	mutex_lock(&napi_lists);
	if (objtrack_has(x->nook, OBJ_NAPI_STRUCT, drv))
		nooks_reject(x, "%s(napi): added already", fn);
	else
		napi_create(x, (struct net_device *)a[0], drv, g->target,
			    clamp((int)a[3], 1, NAPI_POLL_WEIGHT));
	mutex_unlock(&napi_lists);
	return 0;
}

static bool napi_busy(struct napi_twin *tw)
{
	return READ_ONCE(tw->kn.state) & (NAPIF_STATE_SCHED | NAPIF_STATE_NPSVC);
}

/*
 * A driver may take it that its interrupts are on when its poll has ended, and not switch them on
 * when it enables the poll again. So the one that is due is let complete.
 */
static void napi_end_hold(struct napi_twin *tw)
{
	unsigned long until = jiffies + HOLD_END;

	WRITE_ONCE(tw->moderation.ends, true);
	while (READ_ONCE(tw->moderation.holding) && !READ_ONCE(tw->nk->dead) &&
	       time_before(jiffies, until))
		usleep_range(20, 200);
}

/* Like napi_disable(), but a prep that nobody follows up is followed up by us. */
static void napi_stop(struct napi_twin *tw, unsigned long grace)
{
	set_bit(NAPI_STATE_DISABLE, &tw->kn.state);	/* no prep succeeds from now on */
	while (napi_busy(tw)) {
		if (atomic_read(&tw->prepped) &&
		    !time_before(jiffies, READ_ONCE(tw->prepped_at) + grace) &&
		    atomic_xchg(&tw->prepped, 0)) {
			local_bh_disable();
			__napi_schedule(&tw->kn);
			local_bh_enable();
		}
		usleep_range(20, 200);
	}
	napi_disable(&tw->kn);
}

static void napi_kill(struct napi_twin *tw)
{
	if (atomic_xchg(&tw->state, NAPI_OFF) == NAPI_ON)
		napi_stop(tw, 0);
}

static void napi_delete(struct napi_twin *tw)
{
	lockdep_assert_held(&napi_lists);
	napi_slot_clear(tw);
	napi_kill(tw);
	if (tw->kn.skb)
		nooks_skb_unlend_napi(tw->nk, tw->kn.skb);
	netif_napi_del(&tw->kn);
	hrtimer_cancel(&tw->kn.timer);		/* of a poll that netif_napi_del() has waited for */
}

static u64 napi_del(struct xpc *x, const char *fn, u64 arg)
{
	struct tracked *t;

	if (!wrap_may_sleep(x, fn))
		return 0;
	t = objtrack_take(x->nook, OBJ_NAPI_STRUCT, (void *)arg);
	if (!t)
		return nooks_reject(x, "%s(napi): not a tracked napi_struct", fn);
	mutex_lock(&napi_lists);
	if (t->twin)
		napi_delete(t->twin);
	mutex_unlock(&napi_lists);
	objtrack_put(t);
	return 0;
}

/* Why not the kernel's own: it leaves the synchronize_net() to the caller, whom we do not trust */
u64 wrap___netif_napi_del(struct xpc *x, const u64 *a)
{
	return napi_del(x, "__netif_napi_del", a[0]);
}

static struct napi_twin *napi_twin_of(struct napi_struct *kn)
{
	return kn->poll == napi_poll ? container_of(kn, struct napi_twin, kn) : NULL;
}

void nooks_napi_stop_all(struct net_device *dev)
{
	struct napi_struct *kn;

	mutex_lock(&napi_lists);
	list_for_each_entry(kn, &dev->napi_list, dev_list)
		if (napi_twin_of(kn))
			napi_kill(napi_twin_of(kn));
	mutex_unlock(&napi_lists);
}

void nooks_napi_del_all(struct nook *nk, struct net_device *dev)
{
	struct napi_struct *kn, *next;
	struct tracked *t;

	mutex_lock(&napi_lists);
	list_for_each_entry_safe(kn, next, &dev->napi_list, dev_list) {
		if (!napi_twin_of(kn))
			continue;
		t = objtrack_take(nk, OBJ_NAPI_STRUCT, napi_twin_of(kn)->drv);
		if (!t)
			continue;
		napi_delete(t->twin);
		objtrack_put(t);
	}
	mutex_unlock(&napi_lists);
}

void nooks_release_napi_struct(struct nook *nk, struct tracked *t)
{
	mutex_lock(&napi_lists);
	if (t->twin)
		napi_delete(t->twin);
	mutex_unlock(&napi_lists);
}

void nooks_napi_twin_free(void *twin)
{
	kfree(twin);
}

/* ---- use ------------------------------------------------------------------------------------ */

u64 wrap_napi_enable(struct xpc *x, const u64 *a)
{
	struct tracked *t = napi_arg(x, "napi_enable", a[0]);
	struct napi_twin *tw;

	if (!t)
		return 0;
	tw = t->twin;
	if (atomic_cmpxchg(&tw->state, NAPI_OFF, NAPI_BUSY) == NAPI_OFF) {
		WRITE_ONCE(tw->moderation.ends, false);
		napi_enable(&tw->kn);
		atomic_set(&tw->state, NAPI_ON);
	} else {
		nooks_reject(x, "napi_enable(napi): enabled already");
	}
	objtrack_put(t);
	return 0;
}

u64 wrap_napi_disable(struct xpc *x, const u64 *a)
{
	struct napi_twin *tw;
	struct tracked *t;

	if (!wrap_may_sleep(x, "napi_disable"))
		return 0;
	t = napi_arg(x, "napi_disable", a[0]);
	if (!t)
		return 0;
	tw = t->twin;
	if (atomic_cmpxchg(&tw->state, NAPI_ON, NAPI_BUSY) == NAPI_ON) {
		napi_end_hold(tw);
		napi_stop(tw, NAPI_GRACE);
		atomic_set(&tw->state, NAPI_OFF);
	} else {
		nooks_reject(x, "napi_disable(napi): not enabled");
	}
	objtrack_put(t);
	return 0;
}

u64 wrap_napi_schedule_prep(struct xpc *x, const u64 *a)
{
	struct tracked *t = napi_arg(x, "napi_schedule_prep", a[0]);
	struct napi_twin *tw;
	bool ret;

	if (!t)
		return 0;
	tw = t->twin;
	ret = napi_schedule_prep(&tw->kn);
	if (ret) {
		WRITE_ONCE(tw->prepped_at, jiffies);
		atomic_set(&tw->prepped, 1);
	} else {
		/*
		 * For the driver it has completed: no would be wrong. It is marked as missed now.
		 */
		ret = xpc_has_queued(x->nook, EXIT_napi_complete_done, a[0]);
	}
	objtrack_put(t);
	return ret;
}

static u64 napi_sched(struct xpc *x, const char *fn, u64 arg)
{
	struct tracked *t = napi_arg(x, fn, arg);
	struct napi_twin *tw;

	if (!t)
		return 0;
	tw = t->twin;
	/* without a prep it is nobody's to queue; the runtime leaves that to us */
	if (atomic_xchg(&tw->prepped, 0) || napi_schedule_prep(&tw->kn))
		__napi_schedule(&tw->kn);
	objtrack_put(t);
	return 0;
}

u64 wrap___napi_schedule(struct xpc *x, const u64 *a)
{
	return napi_sched(x, "__napi_schedule", a[0]);
}

u64 wrap___napi_schedule_irqoff(struct xpc *x, const u64 *a)
{
	return napi_sched(x, "__napi_schedule_irqoff", a[0]);
}

/* (napi, work_done) */
u64 wrap_napi_complete_done(struct xpc *x, const u64 *a)
{
	struct tracked *t = napi_arg(x, "napi_complete_done", a[0]);
	struct napi_twin *tw;
	struct napi_run *run;
	bool ret = false;
	int work;

	if (!t)
		return 0;
	tw = t->twin;
	run = napi_running(tw);
	if (run) {
		run->completed = true;
		work = clamp((int)a[1], 0, tw->kn.weight);
		moderate_end(&tw->moderation, work, false);
		ret = napi_complete_done(&tw->kn, work);
	} else {
		nooks_reject(x, "napi_complete_done(napi): its poll does not run here");
	}
	objtrack_put(t);
	return ret;
}

/* ---- receiving ------------------------------------------------------------------------------ */

static struct tracked *napi_polling(struct xpc *x, const char *fn, u64 arg)
{
	struct tracked *t = napi_arg(x, fn, arg);

	if (!t || napi_running(t->twin))
		return t;
	objtrack_put(t);
	nooks_reject(x, "%s(napi): its poll does not run here", fn);
	return NULL;
}

/* The twin whose poll runs here and has not completed: it cannot go before that. Or NULL. */
static struct napi_twin *napi_here(const struct nook *nk, const struct napi_struct *drv)
{
	struct napi_run *run = this_cpu_read(napi_cur);

	if (!run || !napi_running(run->tw))
		return NULL;
	return run->tw->nk == nk && run->tw->drv == drv ? run->tw : NULL;
}

static u64 napi_receive(struct xpc *x, const char *fn, u64 arg, struct napi_struct *kn)
{
	struct sk_buff *skb = wrap_skb_take(x, fn, arg, kn);

	if (skb && kn && skb->dev == kn->dev)
		return napi_gro_receive(kn, skb);
	if (skb)
		/* its device may be freed while the list of this one holds it */
		netif_receive_skb(skb);
	return GRO_NORMAL;
}

/*
 * (napi, skb). A completed poll may run elsewhere by now, and its lists are that one's: a packet
 * that it had queued before goes by.
 */
u64 wrap_napi_gro_receive(struct xpc *x, const u64 *a)
{
	static const char fn[] = "napi_gro_receive";
	struct napi_twin *tw = napi_here(x->nook, (struct napi_struct *)a[0]);
	struct tracked *t;
	u64 ret = 0;

	if (tw)
		return napi_receive(x, fn, a[1], &tw->kn);
	t = napi_arg(x, fn, a[0]);
	if (!t)
		return 0;
	if (napi_run_of(t->twin))
		ret = napi_receive(x, fn, a[1], NULL);
	else
		nooks_reject(x, "%s(napi): its poll does not run here", fn);
	objtrack_put(t);
	return ret;
}

u64 wrap_napi_get_frags(struct xpc *x, const u64 *a)
{
	struct tracked *t = napi_polling(x, "napi_get_frags", a[0]);
	struct sk_buff *skb;

	if (!t)
		return 0;
	skb = napi_get_frags(nooks_napi_of(t));
	if (skb && !nooks_skb_lend_napi(x->nook, skb))
		skb = NULL;
	objtrack_put(t);
	return (u64)skb;
}

u64 wrap_napi_gro_frags(struct xpc *x, const u64 *a)
{
	struct tracked *t = napi_polling(x, "napi_gro_frags", a[0]);
	struct napi_struct *kn;
	u64 ret = GRO_NORMAL;

	if (!t)
		return 0;
	kn = nooks_napi_of(t);
	if (!kn->skb)
		nooks_reject(x, "napi_gro_frags(napi): no napi_get_frags() before");
	else if (wrap_skb_take_napi(x, "napi_gro_frags", kn->skb))
		ret = napi_gro_frags(kn);
	objtrack_put(t);
	return ret;
}
