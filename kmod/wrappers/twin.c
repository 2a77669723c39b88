// SPDX-License-Identifier: GPL-2.0-only
/*
 * twin.c - finding and making the kernel-side partners of driver structures
 *
 * Locking: twin_lock makes find-or-make atomic, so that two CPUs never get two locks for one name;
 *	nk->objs.lock is taken inside it. A twin pointer is set once, before the entry is found.
 * Context: any but NMI, kernel view.
 */
#include <linux/delay.h>
#include <linux/hardirq.h>
#include <linux/interval_tree.h>
#include <linux/slab.h>
#include "objtrack/objtrack.h"
#include "wrappers.h"

static DEFINE_RAW_SPINLOCK(twin_lock);

int nooks_track(struct nook *nk, u16 type, const void *addr, size_t size, void *twin,
		u64 d0, u64 d1, gfp_t gfp)
{
	struct tracked *t = objtrack_new(nk, type, addr, size, gfp);

	if (!t)
		return -ENOMEM;
	t->data[0] = d0;
	t->data[1] = d1;
	t->twin = twin;
	objtrack_insert(t);
	return 0;
}

static struct tracked *twin_find(struct nook *nk, u16 type, const void *addr)
{
	struct tracked *t = objtrack_find(nk, type, addr);

	if (t && t->twin)
		return t;
	if (t)
		objtrack_put(t);
	return NULL;
}

struct tracked *nooks_twin_get(struct nook *nk, u16 type, const void *addr, size_t size,
			       void *(*make)(struct nook *nk, void *addr))
{
	struct tracked *t = twin_find(nk, type, addr);
	unsigned long flags;
	void *twin;

	if (t || !make)
		return t;
	twin = make(nk, (void *)addr);
	if (!twin)
		return NULL;
	raw_spin_lock_irqsave(&twin_lock, flags);
	t = twin_find(nk, type, addr);
	if (!t && !nooks_track(nk, type, addr, size, twin, 0, 0, GFP_ATOMIC)) {
		t = twin_find(nk, type, addr);
		twin = NULL;
	}
	raw_spin_unlock_irqrestore(&twin_lock, flags);
	kfree(twin);
	return t;
}

struct tracked *nooks_containing(struct nook *nk, u16 type, const void *p, size_t len)
{
	unsigned long first = (unsigned long)p, last = first + len - 1, flags;
	struct interval_tree_node *it;
	struct tracked *t = NULL, *hit = NULL;

	if (!len || last < first)
		return NULL;
	raw_spin_lock_irqsave(&nk->objs.lock, flags);
	for (it = interval_tree_iter_first(objtrack_tree(&nk->objs), first, last); it;
	     it = interval_tree_iter_next(it, first, last)) {
		t = container_of(it, struct tracked, it);
		if (t->type == type && it->start <= first && it->last >= last &&
		    kref_get_unless_zero(&t->ref)) {
			hit = t;
			break;
		}
	}
	raw_spin_unlock_irqrestore(&nk->objs.lock, flags);
	return hit;
}

void nooks_twin_free(struct tracked *t)
{
	switch (t->type) {
	case OBJ_MUTEX:
	case OBJ_WORK_STRUCT:
	case OBJ_TIMER_LIST:
	case OBJ_TASKLET_STRUCT:
	case OBJ_PCI_REGION:
	case OBJ_PCI_DEV:
		kfree(t->twin);
		break;
	case OBJ_NAPI_STRUCT:
		nooks_napi_twin_free(t->twin);
		break;
	case OBJ_IRQ:
		nooks_irq_twin_free(t->twin);
		break;
	case OBJ_PCI_DRIVER:
		nooks_pci_twin_free(t->twin);
		break;
	default:
		break;
	}
}

bool wrap_may_sleep(struct xpc *x, const char *fn)
{
	if (preemptible() && !rcu_preempt_depth())
		return true;
	nooks_reject(x, "%s: called where sleeping is not possible", fn);
	return false;
}

unsigned long wrap_deadline(struct xpc *x)
{
	u32 stall_ms = READ_ONCE(x->nook->stall_ms);

	return jiffies + (stall_ms ? msecs_to_jiffies(stall_ms / 2) : MAX_JIFFY_OFFSET);
}

bool wrap_must_stop(struct xpc *x, unsigned long deadline)
{
	return READ_ONCE(x->abort) || READ_ONCE(x->nook->dead) || time_after(jiffies, deadline);
}

#define NAP_MIN_US	50
#define NAP_MAX_US	500
#define NAP_DOUBLINGS	5		/* after 2.5 s: 1.6 to 16 ms */

/*
 * Looks cost CPU time, which has a limit; who has waited for seconds does not mind some
 * milliseconds.
 */
void wrap_nap(struct xpc *x)
{
	u32 doublings = min_t(u32, READ_ONCE(x->looks), NAP_DOUBLINGS);

	usleep_range(NAP_MIN_US << doublings, NAP_MAX_US << doublings);
}
