// SPDX-License-Identifier: GPL-2.0-only
/*
 * tasklet.c - tasklets of a driver
 *
 * A tasklet_struct in driver memory names a twin, which is what the kernel queues and runs. The
 * driver's copy keeps the function, which is read when it is scheduled, and the bit that the inline
 * tasklet_schedule() tests.
 *
 * Context: any but NMI, kernel view; the function runs in softirq.
 */
#include <linux/interrupt.h>
#include <linux/slab.h>
#include "wrappers.h"

struct tasklet_twin {
	struct tasklet_struct tasklet;
	struct nook *nk;
	struct tasklet_struct *drv;
	void *fn;
	u64 arg;
};

static const struct entry_desc tasklet_entry = {
	.name = "tasklet_struct.callback", .nargs = 1, .ret = RET_VOID,
};

/* Free to be scheduled again. */
static void tasklet_unmark(struct tasklet_twin *tw)
{
	if (nook_owns(tw->nk, tw->drv, sizeof(*tw->drv)))
		clear_bit(TASKLET_STATE_SCHED, &tw->drv->state);
}

static void tasklet_run(struct tasklet_struct *t)
{
	struct tasklet_twin *tw = from_tasklet(tw, t, tasklet);
	u64 args[NOOKS_ARGS] = { READ_ONCE(tw->arg) };

	tasklet_unmark(tw);
	nook_call(tw->nk, READ_ONCE(tw->fn), &tasklet_entry, args);
}

static void *tasklet_make(struct nook *nk, void *addr)
{
	struct tasklet_twin *tw = kzalloc(sizeof(*tw), GFP_ATOMIC);

	if (tw) {
		tasklet_setup(&tw->tasklet, tasklet_run);
		tw->nk = nk;
		tw->drv = addr;
	}
	return tw;
}

static u64 tasklet_fill(struct xpc *x, const char *fn, const u64 *a, bool callback)
{
	struct tasklet_struct *drv = (struct tasklet_struct *)a[0];

	if (!arg_owned(x, fn, "t", drv, sizeof(*drv)) ||
	    !arg_gate(x, fn, callback ? "callback" : "func", (void *)a[1]))
		return 0;
	memset(drv, 0, sizeof(*drv));
	drv->func = (void *)a[1];
	drv->use_callback = callback;
	drv->data = callback ? 0 : a[2];
	return 0;
}

/* (t, callback): only driver memory is written; the twin comes when it is scheduled */
u64 wrap_tasklet_setup(struct xpc *x, const u64 *a)
{
	return tasklet_fill(x, "tasklet_setup", a, true);
}

/* (t, func, data) */
u64 wrap_tasklet_init(struct xpc *x, const u64 *a)
{
	return tasklet_fill(x, "tasklet_init", a, false);
}

static struct tracked *tasklet_get(struct xpc *x, const char *fn, u64 arg)
{
	struct tasklet_struct *drv = (struct tasklet_struct *)arg;
	struct tasklet_twin *tw;
	struct tracked *t;
	struct gate *g;

	if (!arg_owned(x, fn, "t", drv, sizeof(*drv)))
		return NULL;
	g = arg_gate(x, fn, "t->callback", READ_ONCE(drv->func));
	if (!g)
		return NULL;
	t = nooks_twin_get(x->nook, OBJ_TASKLET_STRUCT, drv, sizeof(*drv), tasklet_make);
	if (!t) {
		nooks_reject(x, "%s(t): no memory for its twin", fn);
		return NULL;
	}
	tw = t->twin;
	if (!test_bit(TASKLET_STATE_SCHED, &tw->tasklet.state)) {
		WRITE_ONCE(tw->arg, READ_ONCE(drv->use_callback) ? arg : READ_ONCE(drv->data));
		WRITE_ONCE(tw->fn, g->target);
	}
	return t;
}

static u64 tasklet_queue(struct xpc *x, const char *fn, u64 arg,
			 void (*schedule)(struct tasklet_struct *t))
{
	struct tracked *t = tasklet_get(x, fn, arg);
	struct tasklet_twin *tw;

	if (!t)
		return 0;
	tw = t->twin;
	schedule(&tw->tasklet);
	objtrack_put(t);
	return 0;
}

u64 wrap___tasklet_schedule(struct xpc *x, const u64 *a)
{
	return tasklet_queue(x, "__tasklet_schedule", a[0], tasklet_schedule);
}

u64 wrap___tasklet_hi_schedule(struct xpc *x, const u64 *a)
{
	return tasklet_queue(x, "__tasklet_hi_schedule", a[0], tasklet_hi_schedule);
}

/* Not the kernel's own: that one waits for ever if the driver schedules it again and again. */
u64 wrap_tasklet_kill(struct xpc *x, const u64 *a)
{
	unsigned long deadline = wrap_deadline(x);
	struct tasklet_twin *tw;
	struct tracked *t;

	if (!wrap_may_sleep(x, "tasklet_kill") ||
	    !arg_owned(x, "tasklet_kill", "t", (void *)a[0], sizeof(struct tasklet_struct)))
		return 0;
	t = nooks_twin_get(x->nook, OBJ_TASKLET_STRUCT, (void *)a[0], 0, NULL);
	if (!t)
		return 0;		/* was never scheduled */
	tw = t->twin;
	while (READ_ONCE(tw->tasklet.state)) {
		if (wrap_must_stop(x, deadline)) {
			nooks_reject(x, "tasklet_kill(t): it does not end");
			break;
		}
		wrap_nap(x);
	}
	tasklet_unmark(tw);
	objtrack_put(t);
	return 0;
}

void nooks_release_tasklet(struct nook *nk, struct tracked *t)
{
	struct tasklet_twin *tw = t->twin;

	if (tw)
		tasklet_kill(&tw->tasklet);
}
