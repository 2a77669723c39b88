// SPDX-License-Identifier: GPL-2.0-only
/*
 * timer.c - timers of a driver
 *
 * A timer_list in driver memory names a twin. The driver's copy keeps function and flags, which are
 * read when it is armed, and entry.pprev, which the inline timer_pending() looks at.
 *
 * Context: any but NMI, kernel view; the handler runs in softirq.
 */
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include "wrappers.h"

#define TIMER_WAIT	(2 * HZ)

struct timer_twin {
	struct timer_list timer;
	struct nook *nk;
	struct timer_list *drv;
	void *fn;
};

static const struct entry_desc timer_entry = {
	.name = "timer_list.function", .nargs = 1, .ret = RET_VOID,
};

/* What timer_pending() shows the driver; the pointer itself is never followed. */
static void timer_mark(struct timer_twin *tw, bool pending)
{
	struct timer_list *drv = tw->drv;

	if (nook_owns(tw->nk, drv, sizeof(*drv)))
		WRITE_ONCE(drv->entry.pprev, pending ? &drv->entry.next : NULL);
}

static void timer_fire(struct timer_list *timer)
{
	struct timer_twin *tw = container_of(timer, struct timer_twin, timer);
	u64 args[NOOKS_ARGS] = { (u64)tw->drv };

	timer_mark(tw, false);
	nook_call(tw->nk, READ_ONCE(tw->fn), &timer_entry, args);
}

static void *timer_make(struct nook *nk, void *addr)
{
	struct timer_twin *tw = kzalloc(sizeof(*tw), GFP_ATOMIC);

	if (tw) {
		timer_setup(&tw->timer, timer_fire, 0);
		tw->nk = nk;
		tw->drv = addr;
	}
	return tw;
}

/*
 * (timer, func, flags, name, key): only driver memory is written; the twin comes when it is armed
 */
u64 wrap_init_timer_key(struct xpc *x, const u64 *a)
{
	struct timer_list *drv = (struct timer_list *)a[0];

	if (!arg_owned(x, "init_timer_key", "timer", drv, sizeof(*drv)))
		return 0;
	if ((void *)a[1] != delayed_work_timer_fn &&
	    !arg_gate(x, "init_timer_key", "func", (void *)a[1]))
		return 0;
	drv->entry.pprev = NULL;
	drv->function = (void *)a[1];
	drv->flags = a[2] & TIMER_INIT_FLAGS;
	return 0;
}

static struct tracked *timer_get(struct xpc *x, const char *fn, u64 arg)
{
	struct timer_list *drv = (struct timer_list *)arg;
	struct timer_twin *tw;
	struct tracked *t;
	struct gate *g;

	if (!arg_owned(x, fn, "timer", drv, sizeof(*drv)))
		return NULL;
	g = arg_gate(x, fn, "timer->function", READ_ONCE(drv->function));
	if (!g)
		return NULL;
	t = nooks_twin_get(x->nook, OBJ_TIMER_LIST, drv, sizeof(*drv), timer_make);
	if (!t) {
		nooks_reject(x, "%s(timer): no memory for its twin", fn);
		return NULL;
	}
	tw = t->twin;
	WRITE_ONCE(tw->fn, g->target);
	return t;
}

static u64 timer_arm(struct xpc *x, const char *fn, u64 arg, unsigned long expires,
		     int (*arm)(struct timer_list *timer, unsigned long expires))
{
	struct tracked *t = timer_get(x, fn, arg);
	struct timer_twin *tw;
	int ret;

	if (!t)
		return 0;
	tw = t->twin;
	if (arm != mod_timer_pending)
		timer_mark(tw, true);
	WRITE_ONCE(tw->drv->expires, expires);
	ret = arm(&tw->timer, expires);
	objtrack_put(t);
	return ret;
}

u64 wrap_mod_timer(struct xpc *x, const u64 *a)
{
	return timer_arm(x, "mod_timer", a[0], a[1], mod_timer);
}

u64 wrap_mod_timer_pending(struct xpc *x, const u64 *a)
{
	return timer_arm(x, "mod_timer_pending", a[0], a[1], mod_timer_pending);
}

u64 wrap_timer_reduce(struct xpc *x, const u64 *a)
{
	return timer_arm(x, "timer_reduce", a[0], a[1], timer_reduce);
}

/* Why like mod_timer(): the kernel's add_timer() has a BUG for one that is pending. */
u64 wrap_add_timer(struct xpc *x, const u64 *a)
{
	struct timer_list *drv = (struct timer_list *)a[0];

	if (!arg_owned(x, "add_timer", "timer", drv, sizeof(*drv)))
		return 0;
	return timer_arm(x, "add_timer", a[0], READ_ONCE(drv->expires), mod_timer);
}

static struct tracked *timer_known(struct xpc *x, const char *fn, u64 arg)
{
	if (!arg_owned(x, fn, "timer", (void *)arg, sizeof(struct timer_list)))
		return NULL;
	return nooks_twin_get(x->nook, OBJ_TIMER_LIST, (void *)arg, 0, NULL);
}

static u64 timer_del(struct xpc *x, const char *fn, u64 arg)
{
	struct tracked *t = timer_known(x, fn, arg);
	struct timer_twin *tw;
	int ret;

	if (!t)
		return 0;
	tw = t->twin;
	ret = timer_delete(&tw->timer);
	timer_mark(tw, false);
	objtrack_put(t);
	return ret;
}

/* Not the kernel's own: that one spins for ever if the handler waits for us, or is us. */
static u64 timer_del_sync(struct xpc *x, const char *fn, u64 arg)
{
	struct tracked *t = timer_known(x, fn, arg);
	unsigned long deadline = jiffies + TIMER_WAIT;
	u64 spins = 0;
	struct timer_twin *tw;
	int ret;

	if (!t)
		return 0;
	tw = t->twin;
	while ((ret = try_to_del_timer_sync(&tw->timer)) < 0) {
		/* jiffies stand still with interrupts off on the CPU that counts them */
		if (wrap_must_stop(x, deadline) || ++spins > 100000000) {
			nooks_reject(x, "%s(timer): its handler does not end", fn);
			break;
		}
		cpu_relax();
	}
	timer_mark(tw, false);
	objtrack_put(t);
	return ret > 0;
}

u64 wrap_timer_delete(struct xpc *x, const u64 *a)
{
	return timer_del(x, "timer_delete", a[0]);
}

u64 wrap_timer_delete_sync(struct xpc *x, const u64 *a)
{
	return timer_del_sync(x, "timer_delete_sync", a[0]);
}

u64 wrap_timer_shutdown_sync(struct xpc *x, const u64 *a)
{
	return timer_del_sync(x, "timer_shutdown_sync", a[0]);
}

void nooks_release_timer_list(struct nook *nk, struct tracked *t)
{
	struct timer_twin *tw = t->twin;

	if (tw)
		timer_shutdown_sync(&tw->timer);
}
