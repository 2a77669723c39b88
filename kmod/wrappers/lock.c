// SPDX-License-Identifier: GPL-2.0-only
/*
 * lock.c - locks that a driver takes
 *
 * A spinlock in driver memory is the driver's own: the runtime takes it inside the domain
 * (runtime/lock.S) and comes here to wait. A mutex there is only the name of a twin. Of the
 * kernel's own locks a driver gets those that network drivers share with the stack. What an entry
 * holds of the kernel's is recorded, so that an abort releases it. Nobody waits for ever: a wait
 * ends when the nook is stopped, when the holder can never run again, or when the holder's entry
 * must have ended by its limit, because a driver that deadlocks must not take the CPU along.
 *
 * Context: spinlocks any but NMI, mutexes process; kernel view.
 */
#include <linux/bottom_half.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include "runtime/runtime.h"
#include "wrappers.h"

#define LOCK_SPARE_NS	NSEC_PER_SEC		/* beyond the limit of the entry that holds it */

struct mutex_twin {
	struct mutex lock;
	struct task_struct *task;	/* holder; only compared */
};

/*
 * A lock of the kernel's that a driver may take, and the tracked object that it is in (referenced).
 */
struct lock_ref {
	raw_spinlock_t *lock;
	struct tracked *t;
};

static void *lock_make_mutex(struct nook *nk, void *addr)
{
	struct mutex_twin *tw = kzalloc(sizeof(*tw), GFP_ATOMIC);

	if (tw)
		mutex_init(&tw->lock);
	return tw;
}

static raw_spinlock_t *lock_field(struct tracked *t, const void *p, size_t off)
{
	return (const void *)t->it.start + off == p ? (raw_spinlock_t *)p : NULL;
}

/* A kernel lock that a driver may take is one of these fields of an object that it holds. */
static bool lock_of_kernel(struct nook *nk, const void *p, struct lock_ref *ref)
{
	struct tracked *t = nooks_containing(nk, OBJ_NETDEV_QUEUE, p, sizeof(raw_spinlock_t));

	if (t) {
		ref->lock = lock_field(t, p, offsetof(struct netdev_queue, _xmit_lock));
	} else {
		t = nooks_containing(nk, OBJ_NET_DEVICE, p, sizeof(raw_spinlock_t));
		if (!t)
			return false;
		ref->lock = lock_field(t, p, offsetof(struct net_device, tx_global_lock));
		if (!ref->lock)
			ref->lock = lock_field(t, p, offsetof(struct net_device, addr_list_lock));
	}
	if (!ref->lock) {
		objtrack_put(t);
		return false;
	}
	ref->t = t;
	return true;
}

/* While an entry spins. @begin: 0 at first */
static void lock_look_at_clock(struct xpc *x, const char *fn, u64 *begin)
{
	u64 now = ktime_get_mono_fast_ns();

	if (!*begin)
		*begin = now;
	if (READ_ONCE(x->abort) || now - *begin > READ_ONCE(x->nook->limit_ns) + LOCK_SPARE_NS)
		nooks_reject(x, "%s(lock): not free after %llu ms", fn,
			     div_u64(now - *begin, NSEC_PER_MSEC));
}

/* ---- locks in memory of the nook: what the runtime (runtime/lock.S) could not do at once ----- */

/*
 * The entry that holds it runs below us in the same task, and cannot go on before we do. The word
 * is the driver's: what it says is only used to end a wait early.
 */
static bool lock_hopeless(struct xpc *x, u32 word)
{
	struct nook *nk = x->nook;
	struct xpc *holder;
	unsigned long flags;
	bool hit = false;

	raw_spin_lock_irqsave(&nk->live_lock, flags);
	hlist_for_each_entry(holder, &nk->live, live)
		if (holder->lock_id == word)
			hit = holder->task == current;
	raw_spin_unlock_irqrestore(&nk->live_lock, flags);
	return hit;
}

static bool lock_own_take(struct xpc *x, const char *fn, u32 *word)
{
	u64 begin = 0;
	u32 old;

	while ((old = cmpxchg(word, 0, x->lock_id))) {
		if (old == x->lock_id)
			nooks_reject(x, "%s(lock): this entry holds it already", fn);
		else if (lock_hopeless(x, old))
			nooks_reject(x, "%s(lock): deadlock with the interrupted entry", fn);
		else
			lock_look_at_clock(x, fn, &begin);
		if (x->faulted)
			return false;
		cpu_relax();
	}
	x->dom->locks++;
	return true;
}

static bool lock_own_try(struct xpc *x, u32 *word)
{
	if (cmpxchg(word, 0, x->lock_id))
		return false;
	x->dom->locks++;
	return true;
}

static bool lock_own_release(struct xpc *x, const char *fn, u32 *word)
{
	if (cmpxchg(word, x->lock_id, 0) != x->lock_id) {
		nooks_reject(x, "%s(lock): not held by this entry", fn);
		return false;
	}
	x->dom->locks--;
	return true;
}

static bool lock_is_own(struct xpc *x, const void *p)
{
	return nook_owns(x->nook, p, sizeof(u32));
}

/* ---- locks of the kernel --------------------------------------------------------------------- */

static bool lock_resolve(struct xpc *x, const char *fn, void *p, struct lock_ref *ref)
{
	if (lock_of_kernel(x->nook, p, ref))
		return true;
	nooks_reject(x, "%s(lock): %#lx is not a lock of this nook", fn, (unsigned long)p);
	return false;
}

static bool lock_held(struct xpc *x, const void *lock)
{
	int i;

	for (i = 0; i < x->nheld; i++)
		if (x->held[i].lock == lock)
			return true;
	return false;
}

static bool lock_may_take(struct xpc *x, const char *fn, const void *lock)
{
	if (lock_held(x, lock))
		nooks_reject(x, "%s(lock): this entry holds it already", fn);
	else if (x->nheld >= XPC_HELD_MAX)
		nooks_reject(x, "%s(lock): more than %d locks held", fn, XPC_HELD_MAX);
	else
		return true;
	return false;
}

static bool lock_spin(struct xpc *x, const char *fn, struct lock_ref *ref)
{
	u64 begin = 0;

	while (!raw_spin_trylock(ref->lock)) {
		lock_look_at_clock(x, fn, &begin);
		if (x->faulted)
			return false;
		cpu_relax();
	}
	__release(ref->lock);	/* for sparse: the entry holds it, not this function */
	xpc_hold(x, OBJ_SPINLOCK, ref->lock, ref->t);
	return true;
}

static bool lock_spin_lock(struct xpc *x, const char *fn, u64 arg)
{
	struct lock_ref ref;
	bool ok;

	if (lock_is_own(x, (void *)arg))
		return lock_own_take(x, fn, (u32 *)arg);
	if (!lock_resolve(x, fn, (void *)arg, &ref))
		return false;
	ok = lock_may_take(x, fn, ref.lock) && lock_spin(x, fn, &ref);
	objtrack_put(ref.t);
	return ok;
}

static bool lock_spin_trylock(struct xpc *x, const char *fn, u64 arg)
{
	struct lock_ref ref;
	bool ok;

	if (lock_is_own(x, (void *)arg))
		return lock_own_try(x, (u32 *)arg);
	if (!lock_resolve(x, fn, (void *)arg, &ref))
		return false;
	ok = !lock_held(x, ref.lock) && lock_may_take(x, fn, ref.lock);
	if (ok && raw_spin_trylock(ref.lock)) {
		__release(ref.lock);
		xpc_hold(x, OBJ_SPINLOCK, ref.lock, ref.t);
	} else {
		ok = false;
	}
	objtrack_put(ref.t);
	return ok;
}

static bool lock_spin_unlock(struct xpc *x, const char *fn, u64 arg)
{
	struct lock_ref ref;
	bool ok;

	if (lock_is_own(x, (void *)arg))
		return lock_own_release(x, fn, (u32 *)arg);
	if (!lock_resolve(x, fn, (void *)arg, &ref))
		return false;
	ok = xpc_unhold(x, OBJ_SPINLOCK, ref.lock);
	if (ok) {
		__acquire(ref.lock);
		raw_spin_unlock(ref.lock);
	} else {
		nooks_reject(x, "%s(lock): not held by this entry", fn);
	}
	objtrack_put(ref.t);
	return ok;
}

/* Bottom halves were disabled by this entry and not by its caller. */
static bool lock_bh_balanced(struct xpc *x, const char *fn)
{
	if (softirq_count() >= (x->preempt & SOFTIRQ_MASK) + SOFTIRQ_DISABLE_OFFSET)
		return true;
	nooks_reject(x, "%s: bottom halves were not disabled by this entry", fn);
	return false;
}

u64 wrap__raw_spin_lock(struct xpc *x, const u64 *a)
{
	lock_spin_lock(x, "_raw_spin_lock", a[0]);
	return 0;
}

u64 wrap__raw_spin_trylock(struct xpc *x, const u64 *a)
{
	return lock_spin_trylock(x, "_raw_spin_trylock", a[0]);
}

u64 wrap__raw_spin_unlock(struct xpc *x, const u64 *a)
{
	lock_spin_unlock(x, "_raw_spin_unlock", a[0]);
	return 0;
}

u64 wrap__raw_spin_lock_irqsave(struct xpc *x, const u64 *a)
{
	unsigned long flags;

	local_irq_save(flags);
	if (!lock_spin_lock(x, "_raw_spin_lock_irqsave", a[0]))
		local_irq_restore(flags);
	return flags;
}

u64 wrap__raw_spin_unlock_irqrestore(struct xpc *x, const u64 *a)
{
	if (lock_spin_unlock(x, "_raw_spin_unlock_irqrestore", a[0]))
		local_irq_restore((unsigned long)a[1]);
	return 0;
}

u64 wrap__raw_spin_lock_irq(struct xpc *x, const u64 *a)
{
	unsigned long flags;

	local_irq_save(flags);
	if (!lock_spin_lock(x, "_raw_spin_lock_irq", a[0]))
		local_irq_restore(flags);
	return 0;
}

u64 wrap__raw_spin_unlock_irq(struct xpc *x, const u64 *a)
{
	if (lock_spin_unlock(x, "_raw_spin_unlock_irq", a[0]))
		local_irq_enable();
	return 0;
}

/* The kernel warns if bottom halves are enabled in an interrupt. */
static bool lock_bh_ok(struct xpc *x, const char *fn)
{
	if (!in_hardirq())
		return true;
	nooks_reject(x, "%s: called from an interrupt handler", fn);
	return false;
}

u64 wrap__raw_spin_lock_bh(struct xpc *x, const u64 *a)
{
	if (!lock_bh_ok(x, "_raw_spin_lock_bh"))
		return 0;
	local_bh_disable();
	if (!lock_spin_lock(x, "_raw_spin_lock_bh", a[0]))
		local_bh_enable();
	return 0;
}

u64 wrap__raw_spin_trylock_bh(struct xpc *x, const u64 *a)
{
	if (!lock_bh_ok(x, "_raw_spin_trylock_bh"))
		return 0;
	local_bh_disable();
	if (lock_spin_trylock(x, "_raw_spin_trylock_bh", a[0]))
		return 1;
	local_bh_enable();
	return 0;
}

u64 wrap__raw_spin_unlock_bh(struct xpc *x, const u64 *a)
{
	if (!lock_bh_ok(x, "_raw_spin_unlock_bh") || !lock_bh_balanced(x, "_raw_spin_unlock_bh"))
		return 0;
	if (lock_spin_unlock(x, "_raw_spin_unlock_bh", a[0]))
		local_bh_enable();
	return 0;
}

/* (ip, cnt): the inline local_bh_enable() and spin_unlock_bh() end here */
u64 wrap___local_bh_enable_ip(struct xpc *x, const u64 *a)
{
	if (a[1] != SOFTIRQ_DISABLE_OFFSET)
		return nooks_reject(x, "__local_bh_enable_ip(cnt): %llx", a[1]);
	if (!lock_bh_balanced(x, "__local_bh_enable_ip"))
		return 0;
	if (in_hardirq() || irqs_disabled())
		return nooks_reject(x, "__local_bh_enable_ip: interrupts are off");
	__local_bh_enable_ip(_THIS_IP_, SOFTIRQ_DISABLE_OFFSET);
	return 0;
}

/* ---- mutexes -------------------------------------------------------------------------------- */

static struct tracked *lock_mutex(struct xpc *x, const char *fn, u64 arg)
{
	struct tracked *t;

	if (!arg_owned(x, fn, "lock", (void *)arg, sizeof(struct mutex)))
		return NULL;
	t = nooks_twin_get(x->nook, OBJ_MUTEX, (void *)arg, sizeof(struct mutex), lock_make_mutex);
	if (!t)
		nooks_reject(x, "%s(lock): no memory for its twin", fn);
	return t;
}

static void lock_mutex_got(struct xpc *x, struct tracked *t)
{
	struct mutex_twin *tw = t->twin;

	WRITE_ONCE(tw->task, current);
	xpc_hold(x, OBJ_MUTEX, &tw->lock, t);
}

static bool lock_mutex_wait(struct xpc *x, const char *fn, struct mutex_twin *tw)
{
	unsigned long deadline = wrap_deadline(x);

	while (!mutex_trylock(&tw->lock)) {
		if (READ_ONCE(tw->task) == current)
			nooks_reject(x, "%s(lock): an outer entry of this task holds it", fn);
		else if (wrap_must_stop(x, deadline))
			nooks_reject(x, "%s(lock): not free", fn);
		else {
			wrap_nap(x);
			continue;
		}
		return false;
	}
	return true;
}

static bool lock_mutex_lock(struct xpc *x, const char *fn, u64 arg)
{
	struct tracked *t;
	struct mutex_twin *tw;
	bool ok;

	if (!wrap_may_sleep(x, fn))
		return false;
	t = lock_mutex(x, fn, arg);
	if (!t)
		return false;
	tw = t->twin;
	ok = lock_may_take(x, fn, &tw->lock) && lock_mutex_wait(x, fn, tw);
	if (ok)
		lock_mutex_got(x, t);
	objtrack_put(t);
	return ok;
}

u64 wrap_mutex_lock(struct xpc *x, const u64 *a)
{
	lock_mutex_lock(x, "mutex_lock", a[0]);
	return 0;
}

/* 0 when taken; nobody interrupts a wait that is bounded anyway */
u64 wrap_mutex_lock_interruptible(struct xpc *x, const u64 *a)
{
	lock_mutex_lock(x, "mutex_lock_interruptible", a[0]);
	return 0;
}

u64 wrap_mutex_lock_killable(struct xpc *x, const u64 *a)
{
	lock_mutex_lock(x, "mutex_lock_killable", a[0]);
	return 0;
}

u64 wrap_mutex_trylock(struct xpc *x, const u64 *a)
{
	struct tracked *t;
	struct mutex_twin *tw;
	bool ok;

	if (!wrap_may_sleep(x, "mutex_trylock"))
		return 0;
	t = lock_mutex(x, "mutex_trylock", a[0]);
	if (!t)
		return 0;
	tw = t->twin;
	ok = !lock_held(x, &tw->lock) && lock_may_take(x, "mutex_trylock", &tw->lock) &&
	     mutex_trylock(&tw->lock);
	if (ok)
		lock_mutex_got(x, t);
	objtrack_put(t);
	return ok;
}

u64 wrap_mutex_unlock(struct xpc *x, const u64 *a)
{
	struct tracked *t = lock_mutex(x, "mutex_unlock", a[0]);
	struct mutex_twin *tw;

	if (!t)
		return 0;
	tw = t->twin;
	if (xpc_unhold(x, OBJ_MUTEX, &tw->lock)) {
		WRITE_ONCE(tw->task, NULL);
		mutex_unlock(&tw->lock);
	} else {
		nooks_reject(x, "mutex_unlock(lock): not held by this entry");
	}
	objtrack_put(t);
	return 0;
}

u64 wrap_mutex_is_locked(struct xpc *x, const u64 *a)
{
	struct tracked *t = lock_mutex(x, "mutex_is_locked", a[0]);
	struct mutex_twin *tw;
	bool locked;

	if (!t)
		return 0;
	tw = t->twin;
	locked = mutex_is_locked(&tw->lock);
	objtrack_put(t);
	return locked;
}

/* (lock, name, key): the driver's copy keeps what inline code may look at */
u64 wrap___mutex_init(struct xpc *x, const u64 *a)
{
	struct mutex *m = (struct mutex *)a[0];

	if (!arg_owned(x, "__mutex_init", "lock", m, sizeof(*m)))
		return 0;
	memset(m, 0, sizeof(*m));
	INIT_LIST_HEAD(&m->wait_list);
	return 0;
}

/* ---- rtnl ----------------------------------------------------------------------------------- */

bool wrap_take_rtnl(struct xpc *x, const char *fn)
{
	unsigned long deadline = wrap_deadline(x);

	if (!wrap_may_sleep(x, fn))
		return false;
	while (!rtnl_trylock()) {
		if (wrap_must_stop(x, deadline)) {
			nooks_reject(x, "%s: rtnl is not free; does this task hold it?", fn);
			return false;
		}
		wrap_nap(x);
	}
	return true;
}

static char lock_rtnl;		/* stands for rtnl_mutex, which is private */

u64 wrap_rtnl_lock(struct xpc *x, const u64 *a)
{
	if (!lock_may_take(x, "rtnl_lock", &lock_rtnl) || !wrap_take_rtnl(x, "rtnl_lock"))
		return 0;
	xpc_hold(x, OBJ_RTNL, &lock_rtnl, NULL);
	return 0;
}

u64 wrap_rtnl_trylock(struct xpc *x, const u64 *a)
{
	if (!wrap_may_sleep(x, "rtnl_trylock") || lock_held(x, &lock_rtnl) ||
	    !lock_may_take(x, "rtnl_trylock", &lock_rtnl) || !rtnl_trylock())
		return 0;
	xpc_hold(x, OBJ_RTNL, &lock_rtnl, NULL);
	return 1;
}

/* What was unregistered meanwhile is waited for here. */
u64 wrap_rtnl_unlock(struct xpc *x, const u64 *a)
{
	if (!wrap_may_sleep(x, "rtnl_unlock"))
		return 0;
	if (!xpc_unhold(x, OBJ_RTNL, &lock_rtnl))
		return nooks_reject(x, "rtnl_unlock: not held by this entry");
	rtnl_unlock();
	return 0;
}
