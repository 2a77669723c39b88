// SPDX-License-Identifier: GPL-2.0-only
/*
 * xpc.c - extension procedure calls: entries into a nook, exits from it
 *
 * Life of an entry: nook_call() takes a stack, lends the parameters, xpc_enter() switches, and
 * whatever way the driver comes back - a return, a fault, an abort - xpc_settle() makes the context
 * what it was: locks, preempt count, RCU nesting, interrupt flag.
 *
 * Locking: nook->live_lock guards nook->live and the free stacks. nook->inside and nook->dead
 *	order entries against recovery (nook_admit() pairs with recov_stop()).
 * Context: any but NMI.
 */
#include <linux/hardirq.h>
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/rcupdate.h>
#include <linux/rtnetlink.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include "control/control.h"
#include "core/core.h"
#include "domain/pgt.h"
#include "domain/shadow.h"
#include "objtrack/objtrack.h"
#include "runtime/runtime.h"
#include "trace/nooks_trace.h"
#include "wrappers/wrappers.h"
#include "xpc/offsets.h"
#include "xpc/xpc.h"

#define XPC_STACKS	64
#define XPC_STACK_LEFT	(THREAD_SIZE / 4)	/* of the task's, for an entry and what it calls */
/* never what the kernel's own spinlocks hold; low byte not 0 */
#define XPC_LOCK_ID_BASE 0x4e000001
#define XPC_STACK_ORDER	2		/* 16 KiB: a guard page and 12 KiB */
#define XPC_STACK_SIZE	(PAGE_SIZE << XPC_STACK_ORDER)
#define XPC_REGISTERS	6		/* arguments in registers, the rest is on the stack */
#define XPC_STACK_WORDS	(NOOKS_ARGS - XPC_REGISTERS)
/* above the first frame: an exit reads up to 14 words there */
#define XPC_STACK_ROOM	256

static_assert(offsetof(struct xpc, ksp) == XPC_KSP);
static_assert(offsetof(struct xpc, dcr3) == XPC_DCR3);
static_assert(offsetof(struct xpc, dsp) == XPC_DSP);
static_assert(offsetof(struct xpc, abort) == XPC_ABORT);
static_assert(offsetof(struct xpc, in_exit) == XPC_IN_EXIT);
static_assert(offsetof(struct xpc, gates_lo) == XPC_GATES_LO);
static_assert(offsetof(struct xpc, gates_len) == XPC_GATES_LEN);
static_assert(offsetof(struct xpc, gate_tab) == XPC_GATE_TAB);
static_assert(offsetof(struct xpc, abort_ip) == XPC_ABORT_IP);
static_assert(offsetof(struct xpc, dom) == XPC_DOM);
static_assert(offsetof(struct xpc, lock_id) == XPC_LOCK_ID);
static_assert(offsetof(struct xpc, exit_sp) == XPC_EXIT_SP);
static_assert(offsetof(struct xpc_dom, locks) == DOM_LOCKS);
static_assert(offsetof(struct gate, target) == GATE_TARGET);
static_assert(sizeof(struct gate) == 2 * NOOKS_GATE_SIZE);

static struct xpc *xpc_create(struct nook *nk, unsigned int slot, void *top)
{
	struct xpc *x = kzalloc(sizeof(*x), GFP_KERNEL);

	if (!x)
		return NULL;
	x->nook = nk;
	x->lock_id = XPC_LOCK_ID_BASE + slot;
	x->dom = nk->stacks->dom + slot * PAGE_SIZE;
	x->dsp = (unsigned long)top - XPC_STACK_ROOM;
	x->gates_lo = nk->gates_lo;
	x->gates_len = nk->gates_hi - nk->gates_lo;
	x->gate_tab = (unsigned long)nk->gate;
	hlist_add_head(&x->live, &nk->idle);
	return x;
}

int xpc_stacks_create(struct nook *nk)
{
	struct nook_stacks *st;
	void *base;
	int i;

	st = kzalloc(struct_size(st, slot, XPC_STACKS), GFP_KERNEL);
	if (!st)
		return -ENOMEM;
	nk->stacks = st;
	xpc_nmi_get();
	/* one block: one private page table, and its neighbours are stacks too */
	base = alloc_pages_exact(XPC_STACKS * XPC_STACK_SIZE, GFP_KERNEL | __GFP_ZERO);
	if (!base)
		return -ENOMEM;
	st->dom = alloc_pages_exact(XPC_STACKS * PAGE_SIZE, GFP_KERNEL | __GFP_ZERO);
	if (!st->dom || nook_grant(nk, st->dom, XPC_STACKS * PAGE_SIZE)) {
		free_pages_exact(base, XPC_STACKS * XPC_STACK_SIZE);
		return -ENOMEM;
	}
	for (i = 0; i < XPC_STACKS; i++) {
		struct nook_stack *s = &st->slot[i];
		int ret;

		s->base = base + i * XPC_STACK_SIZE;
		s->xpc = xpc_create(nk, i, s->base + XPC_STACK_SIZE);
		if (!s->xpc)
			return -ENOMEM;
		ret = nook_grant(nk, s->base + PAGE_SIZE, XPC_STACK_SIZE - PAGE_SIZE);
		if (ret)
			return ret;
	}
	return 0;
}

void xpc_stacks_destroy(struct nook *nk)
{
	struct nook_stacks *st = nk->stacks;
	int i;

	if (!st)
		return;
	if (st->dom)
		free_pages_exact(st->dom, XPC_STACKS * PAGE_SIZE);
	if (st->slot[0].base)
		free_pages_exact(st->slot[0].base, XPC_STACKS * XPC_STACK_SIZE);
	for (i = 0; i < XPC_STACKS; i++)
		kfree(st->slot[i].xpc);
	INIT_HLIST_HEAD(&nk->idle);
	kfree(st);
	nk->stacks = NULL;
	xpc_nmi_put();
}

static struct xpc *xpc_get(struct nook *nk)
{
	struct xpc *x;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->live_lock, flags);
	x = hlist_entry_safe(nk->idle.first, struct xpc, live);
	if (likely(x)) {
		/* the rest is as xpc_create() and xpc_put() left it */
		memset(&x->fresh, 0, sizeof(x->fresh));
		x->task = current;
		x->dom->locks = 0;
		x->dom->n = 0;
		x->dom->prepped = NULL;
		x->dom->sending = 0;
		hlist_del(&x->live);
		hlist_add_head(&x->live, &nk->live);
	}
	raw_spin_unlock_irqrestore(&nk->live_lock, flags);
	return x;
}

static void xpc_put(struct nook *nk, struct xpc *x)
{
	unsigned long flags;

	if (unlikely(x->blamed))
		memset(&x->fault, 0, sizeof(x->fault));
	raw_spin_lock_irqsave(&nk->live_lock, flags);
	hlist_del(&x->live);
	hlist_add_head(&x->live, &nk->idle);
	raw_spin_unlock_irqrestore(&nk->live_lock, flags);
}

static bool nook_admit(struct nook *nk)
{
	atomic_inc(&nk->inside);
	smp_mb__after_atomic();		/* pairs with recov_stop(): dead, then inside */
	if (likely(!READ_ONCE(nk->dead)))
		return true;
	nook_leave(nk);
	return false;
}

__nooks_hot void nook_leave(struct nook *nk)
{
	if (atomic_dec_and_test(&nk->inside) && READ_ONCE(nk->dead))
		wake_up_all(&nk->empty);
}

static __cold u64 xpc_dead_answer(const struct entry_desc *desc, const u64 *args, bool entered)
{
	switch (desc->ret) {
	case RET_INT:
		return -EIO;
	case RET_NETDEV_TX:
		/* packets that went in belong to the nook, recovery frees them */
		if (!entered)
			nooks_xmit_drop((struct xmit_batch *)args[0]);
		return NETDEV_TX_OK;
	case RET_IRQ:
		return IRQ_NONE;
	case RET_STATS:
		return (u64)&((struct net_device *)args[0])->stats;
	case RET_VOID:
	case RET_SCALAR:
	case RET_PTR:
	default:
		return 0;
	}
}

/* ---- parameters ---------------------------------------------------------------------------- */

static void xpc_lend_one(struct xpc *x, const struct entry_param *p, u64 arg, const u64 *args)
{
	const void *addr = (const void *)arg;
	struct tracked *t;
	size_t size;

	if (!addr || p->type == OBJ_NONE || x->nlent == ARRAY_SIZE(x->lent))
		return;
	size = p->type == OBJ_BUFFER ? (p->size ? p->size(args) : 0) : obj_type_desc(p->type)->size;
	if (p->type == OBJ_BUFFER && !size)
		return;
	if (objtrack_has(x->nook, p->type, addr))
		return;
	t = objtrack_lend(x->nook, x, p->type, addr, size);
	if (t)
		x->lent[x->nlent++] = t;
}

static void xpc_lend(struct xpc *x, const struct entry_desc *desc, const u64 *args)
{
	int i;

	for (i = 0; i < desc->nargs && i < ARRAY_SIZE(desc->param); i++) {
		if (i == 0 && desc->ret == RET_NETDEV_TX)
			continue;		/* nooks_xmit_lend() */
		xpc_lend_one(x, &desc->param[i], args[i], args);
	}
}

static void xpc_take_back(struct xpc *x)
{
	while (x->nlent) {
		struct tracked *t = x->lent[--x->nlent];

		objtrack_drop(t);
		objtrack_put(t);
	}
}

/* ---- locks that an entry holds --------------------------------------------------------------- */

void xpc_hold(struct xpc *x, u32 kind, void *lock, struct tracked *t)
{
	if (x->nheld == XPC_HELD_MAX) {
		nooks_reject(x, "holds more than %d locks", XPC_HELD_MAX);
		return;
	}
	if (t)
		kref_get(&t->ref);
	x->held[x->nheld++] = (struct held_lock_rec){ .t = t, .lock = lock, .kind = kind };
}

bool xpc_unhold(struct xpc *x, u32 kind, void *lock)
{
	int i;

	for (i = x->nheld - 1; i >= 0; i--) {
		struct held_lock_rec *h = &x->held[i];

		if (h->lock != lock || h->kind != kind)
			continue;
		if (h->t)
			objtrack_put(h->t);
		x->nheld--;
		memmove(h, h + 1, (x->nheld - i) * sizeof(*h));
		return true;
	}
	return false;
}

/*
 * Interrupts are off on entry and return; a mutex is given back with them as the caller had them.
 */
static void xpc_release_locks(struct xpc *x, bool irqs_on)
{
	while (x->nheld) {
		struct held_lock_rec *h = &x->held[--x->nheld];

		if (h->kind == OBJ_SPINLOCK) {
			/* the unlock takes one off, and ours was put right already */
			preempt_disable();
			__acquire(h->lock);	/* for sparse: the wrapper took it */
			raw_spin_unlock((raw_spinlock_t *)h->lock);
		} else {
			if (irqs_on)
				local_irq_enable();
			if (h->kind == OBJ_MUTEX)
				mutex_unlock(h->lock);
			else if (h->kind == OBJ_RTNL)
				rtnl_unlock();
			local_irq_disable();
		}
		if (h->t)
			objtrack_put(h->t);
	}
}

/* ---- what the entry must leave as it found it ------------------------------------------------ */

static const char *xpc_broken_convention(struct xpc *x)
{
	if (x->nheld || READ_ONCE(x->dom->locks))
		return "returned with a lock held";
	if (preempt_count() != x->preempt)
		return "returned with another preempt count";
	if (rcu_preempt_depth() != x->rcu_nesting)
		return "returned with another RCU nesting";
	if (current->pagefault_disabled != x->pagefault_disabled)
		return "returned with page faults disabled";
	return NULL;
}

static __cold void xpc_settle(struct xpc *x)
{
	bool irqs_on = !irqs_disabled();

	local_irq_disable();
	while (rcu_preempt_depth() > x->rcu_nesting) {
		__acquire(RCU);		/* for sparse: the driver took it */
		rcu_read_unlock();
	}
	preempt_count_set(x->preempt);
	current->pagefault_disabled = x->pagefault_disabled;
	xpc_release_locks(x, irqs_on);
	if (irqs_on)
		local_irq_enable();
}

static __cold void xpc_abort_record(struct xpc *x)
{
	struct nooks_fault *f = &x->fault;

	if (x->faulted)
		return;
	x->faulted = true;
	x->blamed = true;
	f->vec = x->abort;
	f->ip = x->abort_ip;
	f->sp = x->exit_sp;
	if (x->stalled)
		snprintf(f->what, sizeof(f->what), "does not end: inside for more than %u ms",
			 READ_ONCE(x->nook->stall_ms));
	else
		strscpy(f->what, x->abort == NOOKS_FAULT_WATCHDOG ?
			"time limit of the entry exceeded" :
			x->abort == NOOKS_FAULT_KILLED ? "another entry of the nook failed" :
			"aborted", sizeof(f->what));
}

static bool xpc_bad_result(struct xpc *x, const struct entry_desc *desc, u64 ret)
{
	switch (desc->ret) {
	case RET_IRQ:
		return (u32)ret & ~(u32)(IRQ_HANDLED | IRQ_WAKE_THREAD);
	case RET_STATS:
		return ret != (u64)&((struct net_device *)x->arg)->stats &&
		       !nook_owns(x->nook, (void *)ret, sizeof(struct net_device_stats));
	default:
		return false;
	}
}

/*
 * Objects, and packets that it was given to send: no allocation has asked for them. The heap's part
 * takes a walk, and this is done with each packet.
 */
static bool xpc_holds_too_much(const struct nook *nk)
{
	u32 most = READ_ONCE(nk->memory_mib);

	return most && READ_ONCE(nk->objs.bytes) >> 20 >= most;
}

static void xpc_check_result(struct xpc *x, const struct entry_desc *desc, const u64 *args, u64 ret)
{
	const char *broken = xpc_broken_convention(x);

	if (broken) {
		nooks_reject(x, "%s: %s", desc->name, broken);
	} else if (desc->ret == RET_NETDEV_TX) {
		nooks_xmit_done(x, ret);
	} else if (xpc_bad_result(x, desc, ret)) {
		nooks_reject(x, "%s: result %#llx", desc->name, ret);
	} else if (desc->shadow && desc->shadow(x->nook, desc, args, &ret, SHADOW_JUDGE)) {
		nooks_reject(x, "%s: an answer that cannot be, result %#llx", desc->name, ret);
	}
	if (unlikely(xpc_holds_too_much(x->nook)))
		nook_may_have(x, 0);
}

static void xpc_prepare(struct xpc *x, struct nook *nk, void *fn, const struct entry_desc *desc,
			const u64 *args)
{
	u64 *stack;

	x->desc = desc;
	x->fn = fn;
	x->arg = args[0];
	x->dcr3 = nk->level == NOOKS_LEVEL_WRAP ? 0 : nk->pgt.cr3;
	x->preempt = preempt_count();
	x->rcu_nesting = rcu_preempt_depth();
	x->pagefault_disabled = current->pagefault_disabled;
	/* the seventh and later arguments, above the return address that the call will push */
	if (unlikely(desc->nargs > XPC_REGISTERS)) {
		stack = (u64 *)x->dsp;
		memcpy(stack, args + XPC_REGISTERS, XPC_STACK_WORDS * sizeof(u64));
	}
}

static void xpc_deliver_one(struct xpc *x, const struct dom_call *call)
{
	u64 a[NOOKS_EXIT_ARGS] = { 0 }, index = READ_ONCE(call->index);

	if (index >= nooks_nexits || !nooks_exits[index].defer) {
		nooks_reject(x, "queued call with number %llu", index);
		return;
	}
	memcpy(a, call->a, sizeof(call->a));
	nooks_exits[index].fn(x, a);
}

/*
 * May an exit deliver what was queued before? Not inside of something that the driver has locked
 * since: what it gave away then must not come back to it there, as a packet that is answered at
 * once would.
 */
static bool xpc_may_deliver(struct xpc *x, bool locked)
{
	return !locked && !x->nheld && !irqs_disabled();
}

/*
 * What the runtime has queued, in order; each call is checked like one that left at once. It counts
 * as queued until all are done: xpc_has_queued().
 */
static void xpc_deliver(struct xpc *x)
{
	struct srcu_struct *users = &x->nook->objs.users;
	struct xpc_dom *d = x->dom;
	u32 i, n = READ_ONCE(d->n);
	int idx;

	if (!n)
		return;
	if (n > DOM_CALLS) {
		nooks_reject(x, "%u queued calls", n);
		return;
	}
	idx = srcu_read_lock(users);
	for (i = 0; i < n && !x->faulted; i++)
		xpc_deliver_one(x, &d->call[i]);
	srcu_read_unlock(users, idx);
	WRITE_ONCE(d->n, 0);
	atomic64_add(n, &x->nook->deferred);
}

bool xpc_has_queued(struct nook *nk, u32 index, u64 arg)
{
	unsigned long flags;
	bool found = false;
	struct xpc *x;
	u32 i, n;

	raw_spin_lock_irqsave(&nk->live_lock, flags);
	hlist_for_each_entry(x, &nk->live, live) {
		n = min_t(u32, READ_ONCE(x->dom->n), DOM_CALLS);
		for (i = 0; i < n && !found; i++)
			found = READ_ONCE(x->dom->call[i].index) == index &&
				READ_ONCE(x->dom->call[i].a[0]) == arg;
	}
	raw_spin_unlock_irqrestore(&nk->live_lock, flags);
	return found;
}

/*
 * What the driver has left behind. When it did so is not known, so a record names no place for it.
 */
static void xpc_collect(struct xpc *x)
{
	u64 ip = x->abort_ip, sp = x->exit_sp;

	x->abort_ip = 0;
	x->exit_sp = 0;
	shadow_out(x, !x->desc->hot);
	xpc_deliver(x);
	x->abort_ip = ip;
	x->exit_sp = sp;
}

/*
 * A driver that calls itself by way of the kernel has a stack of its own each time, but the
 * kernel's frames between are all on the task's. Interrupts and softirq end elsewhere before.
 */
static bool xpc_too_deep(void)
{
	return current_stack_pointer - (unsigned long)task_stack_page(current) < XPC_STACK_LEFT;
}

static __nooks_hot u64 xpc_run(struct nook *nk, struct xpc *x, void *fn,
			       const struct entry_desc *desc, const u64 *args)
{
	u64 ret = 0, shown[NOOKS_ARGS];
	void *enter = fn;

	xpc_prepare(x, nk, fn, desc, args);
	xpc_lend(x, desc, args);
	if (desc->ret == RET_NETDEV_TX) {
		if (!nooks_xmit_lend(x)) {
			xpc_take_back(x);
			return NETDEV_TX_OK;
		}
		memcpy(shown, args, sizeof(shown));
		shown[0] = (u64)x->shown[0];
		args = shown;
		if (x->nsent > 1)
			enter = runtime_xmit;
	}
	atomic64_inc(&nk->entries);
	record_crossing(nk, (u64)fn);
	trace_nooks_entry(nk->id, (unsigned long)fn, desc->name);
	shadow_in(nk, !desc->hot);
	pgt_resync(nk);
	xpc_wait_outside();		/* better here, where interrupts may be on */
	if (unlikely(xpc_too_deep()))
		nooks_reject(x, "%s: too many entries inside of each other", desc->name);
	else
		ret = xpc_enter(x, enter, args);
	trace_nooks_entry_done(nk->id, (unsigned long)fn, ret);

	if (likely(!READ_ONCE(x->abort) && !x->faulted))
		xpc_collect(x);
	if (likely(!READ_ONCE(x->abort) && !x->faulted))
		xpc_check_result(x, desc, args, ret);
	xpc_take_back(x);
	if (unlikely(READ_ONCE(x->abort) || x->faulted)) {
		xpc_abort_record(x);
		xpc_settle(x);
		nook_fail(nk, x);
		ret = xpc_dead_answer(desc, args, true);
	}
	return ret;
}

/* Return: true if the driver has answered; else *ret is the typed answer of a dead one. */
static __nooks_hot bool nook_enter(struct nook *nk, void *fn, const struct entry_desc *desc,
				   const u64 *args, u64 *ret)
{
	struct xpc *x;
	bool alive;

	if (!nook_admit(nk)) {
		*ret = xpc_dead_answer(desc, args, false);
		return false;
	}
	x = xpc_cpu_ready() ? xpc_get(nk) : NULL;
	if (unlikely(!x)) {
		nook_leave(nk);
		*ret = xpc_dead_answer(desc, args, false);
		return false;
	}
	*ret = xpc_run(nk, x, fn, desc, args);
	alive = !READ_ONCE(x->abort) && !x->faulted;
	xpc_put(nk, x);
	nook_leave(nk);
	return alive;
}

__nooks_hot u64 nook_call(struct nook *nk, void *fn, const struct entry_desc *desc, const u64 *args)
{
	bool alive;
	u64 ret = 0;

	if (likely(!desc->shadow)) {
		nook_enter(nk, fn, desc, args, &ret);
		return ret;
	}
	if (desc->shadow(nk, desc, args, &ret, SHADOW_BEFORE))
		return ret;
	alive = nook_enter(nk, fn, desc, args, &ret);
	desc->shadow(nk, desc, args, &ret, alive ? SHADOW_AFTER : SHADOW_DEAD);
	return ret;
}

/* A driver function whose ops table we never saw registered: safe, but it is lent nothing. */
static const struct entry_desc xpc_unbound = {
	.name = "unbound gate", .nargs = NOOKS_ARGS, .ret = RET_INT,
};

asmlinkage __nooks_hot u64 xpc_gate(unsigned long stub, u64 *args)
{
	const struct entry_desc *desc;
	struct gate *g;
	struct nook *nk;

	nk = nook_of_gate(stub, &g);
	if (WARN_ON_ONCE(!nk))
		return -EIO;
	atomic64_inc(&g->count);
	switch (g->kind) {
	case GATE_INIT:
		return nook_module_init(nk);
	case GATE_EXIT:
		nook_module_exit(nk);
		return 0;
	}
	desc = READ_ONCE(g->desc) ?: &xpc_unbound;
	if (desc->ret == RET_NETDEV_TX)
		return nooks_xmit(nk, g->target, desc, args);
	return nook_call(nk, g->target, desc, args);
}

/* ---- exits ---------------------------------------------------------------------------------- */

asmlinkage __nooks_hot u64 xpc_exit(struct xpc *x, u32 index, const u64 *a)
{
	struct nook *nk = x->nook;
	bool locked = READ_ONCE(x->dom->locks);
	u64 ret = 0;
	int idx;

	if (unlikely(index >= nooks_nexits))
		return nooks_reject(x, "exit with number %u", index);
	WRITE_ONCE(x->in_exit, 1);
	atomic64_inc(&nk->exits);
	atomic64_inc(&nk->exit_count[index]);
	record_crossing(nk, index);
	trace_nooks_exit(nk->id, index);
	if (locked)
		preempt_disable();	/* as the lock would have done outside of a nook */
	shadow_out(x, !x->desc->hot);
	if (xpc_may_deliver(x, locked))
		xpc_deliver(x);
	idx = srcu_read_lock(&nk->objs.users);
	if (likely(!x->faulted))
		ret = nooks_exits[index].fn(x, a);
	srcu_read_unlock(&nk->objs.users, idx);
	shadow_in(nk, !x->desc->hot);
	if (locked)
		preempt_enable();
	WRITE_ONCE(x->in_exit, 0);	/* waiting for a place is not held against it */
	xpc_wait_outside();
	return ret;
}

/* Interrupts off. Return: nonzero to abort the entry. */
asmlinkage __nooks_hot int xpc_exit_done(struct xpc *x)
{
	if (unlikely(READ_ONCE(x->abort)))
		return 1;
	pgt_resync(x->nook);
	return 0;
}

asmlinkage u64 xpc_exit_stray(u32 index)
{
	WARN_ONCE(1, "driver code outside its nook called %s\n",
		  index < nooks_nexits ? nooks_exits[index].name : "?");
	return 0;
}

u64 nooks_reject(struct xpc *x, const char *fmt, ...)
{
	struct nooks_fault *f = &x->fault;
	va_list args;

	if (x->faulted)
		return 0;
	x->faulted = true;
	x->blamed = true;
	f->vec = NOOKS_FAULT_RULE;
	f->ip = x->abort_ip;
	f->sp = x->exit_sp;
	va_start(args, fmt);
	vsnprintf(f->what, sizeof(f->what), fmt, args);
	va_end(args);
	WRITE_ONCE(x->abort, NOOKS_FAULT_RULE);
	return 0;
}

void xpc_kill(struct nook *nk, bool nmi)
{
	struct xpc *x;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->live_lock, flags);
	hlist_for_each_entry(x, &nk->live, live)
		if (!READ_ONCE(x->abort))
			WRITE_ONCE(x->abort, NOOKS_FAULT_KILLED);
	raw_spin_unlock_irqrestore(&nk->live_lock, flags);
	if (nmi)
		xpc_watchdog_nmi(cpu_online_mask);
	else
		kick_all_cpus_sync();
}
