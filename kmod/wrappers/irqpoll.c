// SPDX-License-Identifier: GPL-2.0-only
/*
 * irqpoll.c - an interrupt handler that asks for a poll runs with it, in one entry
 *
 * Natively the handler silences its device and asks for a poll, which comes as soon as the
 * interrupt is over. In a nook these are two entries, and between them the CPU has forgotten what
 * the first one needed. So a handler that did so the last time is left to the poll: nothing is done
 * in hard interrupt but to ask for it. To the driver that is what a kernel with "threadirqs" does:
 * interrupts are off, bottom halves too, and the context is not a hard interrupt.
 *
 * Only for messages (MSI, MSI-X), which come once. A line stays raised until the handler has run.
 * It can be silenced at the device, but that takes four accesses to its configuration space, which
 * cost as much as the entry.
 *
 * A handler never runs twice at once: struct irq_poll.left says what is under way.
 *
 * Context: kernel view.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include "objtrack/objtrack.h"
#include "runtime/runtime.h"
#include "wrappers.h"
#include "wrappers/irq.h"

static bool irqs_in_polls = true;
module_param(irqs_in_polls, bool, 0600);
MODULE_PARM_DESC(irqs_in_polls, "a handler of messages (MSI) that asks for a poll runs with it, in one entry");

/* The handler that runs by itself on this CPU. */
static DEFINE_PER_CPU(struct irq_twin *, irqpoll_cur);

static const struct entry_desc irqpoll_entry = {
	.name = "irq_handler, napi_struct.poll", .nargs = 5, .subject = 3, .ret = RET_IRQ_POLL,
	.via = dom_irq_then_poll, .hot = true,
};

void irqpoll_init(struct irq_twin *tw, const struct pci_dev *pdev, unsigned long flags)
{
	tw->poll.fixed = !tw->fn || tw->thread_fn || !(pdev->msi_enabled || pdev->msix_enabled) ||
			 flags & (IRQF_NO_THREAD | IRQF_PERCPU | IRQF_ONESHOT);
}

void irqpoll_deinit(struct irq_twin *tw)
{
	if (tw->poll.napi)
		objtrack_put(tw->poll.napi);
}

/* ---- hard interrupt -------------------------------------------------------------------------- */

/* A run is under way or will be: it sees this one too. Return: false if it has ended meanwhile. */
static bool irqpoll_joins(struct irq_poll *p)
{
	int left = atomic_read(&p->left);

	while (left != IRQ_LEFT_NONE)
		if (left != IRQ_LEFT_RUNNING ||
		    atomic_try_cmpxchg(&p->left, &left, IRQ_LEFT_AGAIN))
			return true;
	return false;
}

bool irqpoll_leave(struct irq_twin *tw)
{
	struct irq_poll *p = &tw->poll;

	if (irqpoll_joins(p))
		return true;
	if (!READ_ONCE(p->armed) || !READ_ONCE(irqs_in_polls))
		return false;
	atomic_set(&p->left, IRQ_LEFT_PENDING);
	if (nooks_napi_leave(p->napi, tw))
		return true;
	atomic_set(&p->left, IRQ_LEFT_NONE);
	return false;
}

irqreturn_t irqpoll_alone(struct irq_twin *tw)
{
	struct irq_twin *outer = this_cpu_read(irqpoll_cur);
	struct irq_poll *p = &tw->poll;
	irqreturn_t ret;

	p->asked = false;
	this_cpu_write(irqpoll_cur, tw);
	ret = irq_call(tw, tw->fn);
	this_cpu_write(irqpoll_cur, outer);
	WRITE_ONCE(p->armed, p->asked && !p->fixed);
	return ret;
}

void irqpoll_asks(struct nook *nk, struct tracked *napi)
{
	struct irq_twin *tw = this_cpu_read(irqpoll_cur);
	struct irq_poll *p;

	if (!tw || tw->nk != nk || !irqs_disabled() || tw->poll.fixed)
		return;
	p = &tw->poll;
	if (!p->napi) {
		kref_get(&napi->ref);
		p->napi = napi;
	}
	/* of several polls each has to come by itself */
	p->fixed = p->napi != napi;
	p->asked = true;
}

/* ---- softirq --------------------------------------------------------------------------------- */

/* Another message has come since the handler began. */
static void irqpoll_once_more(struct irq_twin *tw)
{
	struct irq_poll *p = &tw->poll;

	atomic_set(&p->left, IRQ_LEFT_PENDING);
	if (nooks_napi_leave(p->napi, tw))
		return;
	do {
		atomic_set(&p->left, IRQ_LEFT_RUNNING);
		local_irq_disable();
		irqpoll_alone(tw);
		local_irq_enable();
	} while (atomic_cmpxchg(&p->left, IRQ_LEFT_RUNNING, IRQ_LEFT_NONE) != IRQ_LEFT_RUNNING);
}

int irqpoll_run(struct irq_twin *tw, void *poll, void *napi, int budget)
{
	u64 args[NOOKS_ARGS] = { tw->irq, (u64)tw->dev_id, (u64)poll, (u64)napi, budget };
	struct irq_poll *p = &tw->poll;
	int work;

	atomic_set(&p->left, IRQ_LEFT_RUNNING);
	work = nook_call(tw->nk, tw->fn, &irqpoll_entry, args) >> 32;
	WRITE_ONCE(p->armed, work != DOM_NOT_POLLED);
	/* without another one it may be freed at once: irqpoll_wait() */
	if (atomic_cmpxchg(&p->left, IRQ_LEFT_RUNNING, IRQ_LEFT_NONE) != IRQ_LEFT_RUNNING)
		irqpoll_once_more(tw);
	return work;
}

bool irqpoll_idle(const struct irq_twin *tw)
{
	return atomic_read_acquire(&tw->poll.left) == IRQ_LEFT_NONE;
}

void irqpoll_wait(const struct irq_twin *tw)
{
	while (!irqpoll_idle(tw))
		usleep_range(20, 200);
}
