// SPDX-License-Identifier: GPL-2.0-only
/*
 * retire.c - objects that a driver gives back while another call of it may still use them
 *
 * A wrapper asks the tracker for an object and works on it; meanwhile another CPU of the same nook
 * may give it back. So whatever the kernel's side does for a driver is a read-side section of
 * objs.users (SRCU: it may sleep), and what is given back is finished when the sections that were
 * open then are over. It is the driver's no more at once, or, where every CPU cannot be waited for,
 * before that. A nook that is torn down is empty: nothing has to be waited for.
 *
 * Context: any but NMI, kernel view, if the function does not say otherwise.
 */
#include <linux/srcu.h>
#include <linux/workqueue.h>
#include "objtrack/objtrack.h"

static void retire_withdraw(struct tracked *t)
{
	const struct obj_type_desc *desc = obj_type_desc(t->type);

	if (!t->withdrawn && desc->withdraw)
		desc->withdraw(t->nook, t);
	t->withdrawn = true;
}

/* What is retired is memory that is kept for the driver, as it was before. */
static void retire_charge(struct tracked *t, bool on)
{
	struct objtrack *ot = &t->nook->objs;
	unsigned long flags;

	raw_spin_lock_irqsave(&ot->lock, flags);
	ot->bytes += on ? t->charge : -(size_t)t->charge;
	if (on)
		list_add_tail(&t->order, &ot->retired);
	raw_spin_unlock_irqrestore(&ot->lock, flags);
}

static void retire_work(struct work_struct *work)
{
	struct objtrack *ot = container_of(work, struct objtrack, retire_work);
	struct tracked *t, *next;
	LIST_HEAD(retired);

	raw_spin_lock_irq(&ot->lock);
	list_splice_init(&ot->retired, &retired);
	raw_spin_unlock_irq(&ot->lock);
	list_for_each_entry(t, &retired, order)
		retire_withdraw(t);
	synchronize_srcu(&ot->users);
	list_for_each_entry_safe(t, next, &retired, order) {
		list_del_init(&t->order);
		obj_type_desc(t->type)->finish(t->nook, t);
		retire_charge(t, false);
		objtrack_put(t);
	}
}

void objtrack_retire(struct tracked *t)
{
	struct objtrack *ot = &t->nook->objs;

	if (preemptible())
		retire_withdraw(t);
	retire_charge(t, true);
	queue_work(system_unbound_wq, &ot->retire_work);
}

void obj_release(struct nook *nk, struct tracked *t)
{
	const struct obj_type_desc *desc = obj_type_desc(t->type);

	if (desc->finish) {
		retire_withdraw(t);
		desc->finish(nk, t);
	} else if (desc->release) {
		desc->release(nk, t);
	}
}

int retire_init(struct objtrack *ot)
{
	INIT_LIST_HEAD(&ot->retired);
	INIT_WORK(&ot->retire_work, retire_work);
	return init_srcu_struct(&ot->users);
}

void objtrack_flush(struct nook *nk)
{
	flush_work(&nk->objs.retire_work);
}

void retire_deinit(struct objtrack *ot)
{
	flush_work(&ot->retire_work);
	srcu_barrier(&ot->users);
	cleanup_srcu_struct(&ot->users);
}
