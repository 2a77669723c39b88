// SPDX-License-Identifier: GPL-2.0-only
/*
 * irq.c - interrupt handlers of a driver
 *
 * The kernel gets our handler and our twin as dev_id; the driver's dev_id is passed on. How often a
 * driver has disabled a line is counted, so that it can neither unbalance nor keep it. How often
 * its handler is called in a second is counted too: a device that does not fall silent takes the
 * CPU for itself, whatever the handler answers. On a CPU that is too slow for such a number it is
 * seen by what does not run there any more.
 *
 * Locking: irq_lock guards the list of twins; a twin is freed by the last reference to its tracked
 *	entry, which whoever uses it holds.
 */
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/kernel_stat.h>
#include <linux/list.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <asm/tsc.h>
#include "objtrack/objtrack.h"
#include "wrappers.h"
#include "wrappers/pci.h"

#define IRQ_NAME_MAX	64
#define IRQ_UNANSWERED	10000	/* in a row; at 99900 the kernel gives the line up */
#define IRQ_UNANSWERED_MIN 1000	/* and so many in each second, or they are only odd ones */
#define IRQ_WINDOW_MS	(2 * MSEC_PER_SEC)	/* RCU complains after 21 s */
#define IRQ_PER_SOFTIRQ	64
#define IRQ_FLAGS	(IRQF_TRIGGER_MASK | IRQF_SHARED | IRQF_PROBE_SHARED | IRQF_ONESHOT | \
			 IRQF_NO_SUSPEND | IRQF_NO_AUTOEN)

struct irq_twin {
	struct list_head node;		/* irq_lock */
	struct nook *nk;
	struct tracked *t;		/* owns us */
	void *dev_id;
	void *fn, *thread_fn;
	unsigned int irq;
	unsigned int depth;		/* disables by the driver; irq_lock, while it is listed */
	bool requested;			/* the kernel has it; before, nobody may free it */
	struct task_struct *thread;	/* only compared */
	unsigned long since;		/* jiffies; @calls are counted from there */
	u32 calls;
	u32 unanswered;			/* interrupts in a row that nobody on the line answered */
	u32 unhandled;			/* what the line has counted of them */
	u64 from;			/* TSC: what follows is since then */
	u64 busy;			/* ticks of it in the handler */
	u32 handled;
	unsigned long softirqs;		/* that had run on @cpu */
	int cpu;
	char name[IRQ_NAME_MAX];
};

static LIST_HEAD(irq_twins);
static DEFINE_RAW_SPINLOCK(irq_lock);

static const struct entry_desc irq_entry = {
	.name = "irq_handler", .nargs = 2, .ret = RET_IRQ, .hot = true,
};

static irqreturn_t irq_call(struct irq_twin *tw, void *fn)
{
	u64 args[NOOKS_ARGS] = { tw->irq, (u64)tw->dev_id };
	u32 ret = nook_call(tw->nk, fn, &irq_entry, args);

	if (ret == IRQ_WAKE_THREAD && !tw->thread_fn)
		return IRQ_HANDLED;
	return ret <= IRQ_WAKE_THREAD ? ret : IRQ_NONE;
}

/* A line runs one handler at a time, so nobody else counts. */
static bool irq_storms(struct irq_twin *tw, int irq, void *fn)
{
	u32 most = READ_ONCE(tw->nk->irq_rate);

	if (time_after_eq(jiffies, tw->since + HZ)) {
		if (tw->calls < IRQ_UNANSWERED_MIN)
			tw->unanswered = 0;
		tw->since = jiffies;
		tw->calls = 0;
	}
	if (likely(!most || tw->calls++ < most))
		return false;
	nook_hangs(tw->nk, &irq_entry, fn, "interrupt storm: more than %u a second on line %d", most,
		   irq);
	return true;
}

/*
 * The kernel's count changes with each interrupt that nobody has answered; what it reaches is no
 * use to us, because it begins anew after any pause, and the line would be disabled for all who
 * share it. Who else is there may be to blame as well; but a driver that requests the line again
 * has it enabled.
 */
static void irq_count_unanswered(struct irq_twin *tw, int irq, void *fn)
{
	struct irq_data *data = irq_get_irq_data(irq);
	u32 unhandled = data ? READ_ONCE(irq_data_to_desc(data)->irqs_unhandled) : 0;

	tw->unanswered = unhandled != tw->unhandled ? tw->unanswered + 1 : 0;
	tw->unhandled = unhandled;
	if (likely(tw->unanswered <= IRQ_UNANSWERED || !READ_ONCE(tw->nk->irq_rate)))
		return;
	/* a device that is lost cannot be told to lower its line: then that is what is wrong */
	if (!nooks_pci_look(tw->nk, 1))
		nook_hangs(tw->nk, &irq_entry, fn, "interrupt storm: nobody answers line %d", irq);
}

static unsigned long irq_softirqs_run(int cpu)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < NR_SOFTIRQS; i++)
		sum += kstat_softirqs_cpu(i, cpu);
	return sum;
}

/*
 * A line that is raised again at once leaves its CPU next to no time: the handler has it, and
 * hardly a softirq runs. Under load one runs for every few interrupts. The time is the TSC's, even
 * where that is no clock: to read another one costs as much as a call. Hard interrupt, after a call
 * that began at @began.
 */
static void irq_watch_share(struct irq_twin *tw, int irq, void *fn, u64 began)
{
	u64 now = rdtsc(), window = now - tw->from;
	int cpu = smp_processor_id();
	unsigned long run, fresh;
	bool starves;

	tw->busy += now - began;
	tw->handled++;
	if (likely(window < (u64)tsc_khz * IRQ_WINDOW_MS))
		return;
	run = irq_softirqs_run(cpu);
	fresh = run - tw->softirqs;
	starves = tw->cpu == cpu && tw->busy > window / 5 * 2 &&
		  fresh < tw->handled / IRQ_PER_SOFTIRQ;
	tw->from = now;
	tw->busy = 0;
	tw->handled = 0;
	tw->softirqs = run;
	tw->cpu = cpu;
	if (starves && READ_ONCE(tw->nk->irq_rate))
		nook_hangs(tw->nk, &irq_entry, fn, "interrupt storm: line %d leaves CPU %d no time",
			   irq, cpu);
}

static irqreturn_t irq_handle(int irq, void *data)
{
	struct irq_twin *tw = data;
	u64 began = rdtsc();
	irqreturn_t ret;

	if (unlikely(irq_storms(tw, irq, tw->fn)))
		return IRQ_NONE;
	irq_count_unanswered(tw, irq, tw->fn);		/* the ones before this */
	ret = irq_call(tw, tw->fn);
	irq_watch_share(tw, irq, tw->fn, began);
	return ret;
}

static irqreturn_t irq_handle_thread(int irq, void *data)
{
	struct irq_twin *tw = data;
	irqreturn_t ret;

	WRITE_ONCE(tw->thread, current);
	if (!tw->fn && irq_storms(tw, irq, tw->thread_fn))
		return IRQ_NONE;
	ret = irq_call(tw, tw->thread_fn);
	return ret == IRQ_WAKE_THREAD ? IRQ_HANDLED : ret;
}

static void irq_unlist(struct irq_twin *tw)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&irq_lock, flags);
	list_del_init(&tw->node);
	raw_spin_unlock_irqrestore(&irq_lock, flags);
}

/* A twin of the nook's for this line, with its entry referenced; @take: it is ours alone then. */
static struct irq_twin *irq_find(struct nook *nk, unsigned int irq, const void *dev_id, bool take)
{
	struct irq_twin *tw, *hit = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&irq_lock, flags);
	list_for_each_entry(tw, &irq_twins, node) {
		if (tw->nk != nk || tw->irq != irq)
			continue;
		if (take && (tw->dev_id != dev_id || !READ_ONCE(tw->requested)))
			continue;
		kref_get(&tw->t->ref);
		if (take)
			list_del_init(&tw->node);
		hit = tw;
		break;
	}
	raw_spin_unlock_irqrestore(&irq_lock, flags);
	return hit;
}

static bool irq_list(struct irq_twin *tw)
{
	unsigned long flags;
	struct tracked *t = objtrack_new(tw->nk, OBJ_IRQ, tw->dev_id, 0, GFP_ATOMIC);

	if (!t)
		return false;
	tw->t = t;
	kref_get(&t->ref);	/* for the caller */
	t->data[0] = tw->irq;
	t->twin = tw;
	objtrack_insert(t);
	raw_spin_lock_irqsave(&irq_lock, flags);
	list_add(&tw->node, &irq_twins);
	raw_spin_unlock_irqrestore(&irq_lock, flags);
	return true;
}

static void *irq_target(struct xpc *x, const char *arg, u64 fn, bool *ok)
{
	struct gate *g;

	if (!fn)
		return NULL;
	g = arg_gate(x, "request_threaded_irq", arg, (void *)fn);
	*ok &= !!g;
	return g ? g->target : NULL;
}

/* It becomes a directory's name, and the kernel warns of one that cannot be. */
static void irq_name(struct irq_twin *tw)
{
	strreplace(tw->name, '/', '!');
	if (!tw->name[0] || !strcmp(tw->name, ".") || !strcmp(tw->name, ".."))
		strscpy(tw->name, tw->nk->name, sizeof(tw->name));
}

static struct irq_twin *irq_make(struct xpc *x, const u64 *a)
{
	struct irq_twin *tw = kzalloc(sizeof(*tw), GFP_KERNEL);
	bool ok = true;

	if (!tw)
		return NULL;
	INIT_LIST_HEAD(&tw->node);
	tw->nk = x->nook;
	tw->irq = a[0];
	tw->dev_id = (void *)a[5];
	tw->fn = irq_target(x, "handler", a[1], &ok);
	tw->thread_fn = ok ? irq_target(x, "thread_fn", a[2], &ok) : NULL;
	if (!ok || (!tw->fn && !tw->thread_fn) ||
	    wrap_fetch_string(tw->name, (char *)a[4], sizeof(tw->name)) < 0) {
		kfree(tw);
		return NULL;
	}
	irq_name(tw);
	return tw;
}

/* Of a twin that is in no list any more. @kept: one disable was not the driver's */
static void irq_enable_all(struct irq_twin *tw, bool kept)
{
	for (; tw->depth > kept; tw->depth--)
		enable_irq(tw->irq);
}

/* (irq, handler, thread_fn, flags, name, dev_id) */
u64 wrap_request_threaded_irq(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev;
	struct irq_twin *tw;
	struct tracked *t;
	int ret;

	if (!wrap_may_sleep(x, "request_threaded_irq"))
		return 0;
	pdev = nooks_pci_of_irq(x->nook, a[0]);
	if (!pdev)
		return nooks_reject(x, "request_threaded_irq(irq): %u is no line of its devices",
				    (u32)a[0]);
	nooks_pci_unpark_msix(pdev);
	pci_dev_put(pdev);
	tw = irq_make(x, a);
	if (!tw)
		return -EINVAL;
	tw->depth = !!(a[3] & IRQF_NO_AUTOEN);
	if (!irq_list(tw)) {
		kfree(tw);
		return -ENOMEM;
	}
	ret = request_threaded_irq(tw->irq, tw->fn ? irq_handle : NULL,
				   tw->thread_fn ? irq_handle_thread : NULL, a[3] & IRQ_FLAGS,
				   tw->name, tw);
	t = tw->t;
	if (ret) {
		irq_unlist(tw);
		irq_enable_all(tw, a[3] & IRQF_NO_AUTOEN);
		objtrack_drop(t);
	} else {
		WRITE_ONCE(tw->requested, true);
	}
	objtrack_put(t);
	return ret;
}

static void irq_free(struct irq_twin *tw)
{
	irq_enable_all(tw, false);
	free_irq(tw->irq, tw);
}

/* (irq, dev_id) */
u64 wrap_free_irq(struct xpc *x, const u64 *a)
{
	struct irq_twin *tw;
	struct tracked *t;

	if (!wrap_may_sleep(x, "free_irq"))
		return 0;
	tw = irq_find(x->nook, a[0], (void *)a[1], true);
	if (!tw)
		return nooks_reject(x, "free_irq(irq, dev_id): not requested, or not yet");
	t = tw->t;
	if (READ_ONCE(tw->thread) == current) {
		objtrack_put(t);
		return nooks_reject(x, "free_irq(irq): called from its own handler");
	}
	irq_free(tw);
	objtrack_drop(t);
	objtrack_put(t);
	return 0;
}

/* A line that was freed meanwhile may be somebody else's. */
static void irq_disable(struct irq_twin *tw)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&irq_lock, flags);
	if (!list_empty(&tw->node)) {
		tw->depth++;
		disable_irq_nosync(tw->irq);
	}
	raw_spin_unlock_irqrestore(&irq_lock, flags);
}

/* Return: false if it was not disabled. */
static bool irq_enable(struct irq_twin *tw)
{
	unsigned long flags;
	bool was = true;

	raw_spin_lock_irqsave(&irq_lock, flags);
	if (!list_empty(&tw->node)) {
		was = tw->depth;
		if (was) {
			tw->depth--;
			enable_irq(tw->irq);
		}
	}
	raw_spin_unlock_irqrestore(&irq_lock, flags);
	return was;
}

static struct irq_twin *irq_arg(struct xpc *x, const char *fn, u64 irq)
{
	struct irq_twin *tw = irq_find(x->nook, irq, NULL, false);

	if (!tw)
		nooks_reject(x, "%s(irq): %u was not requested by this nook", fn, (u32)irq);
	return tw;
}

/* Drivers wait for the line of their device before they request it, too: it may be another's. */
u64 wrap_synchronize_irq(struct xpc *x, const u64 *a)
{
	struct irq_twin *tw;

	if (!wrap_may_sleep(x, "synchronize_irq"))
		return 0;
	tw = irq_find(x->nook, a[0], NULL, false);
	if (!tw && !wrap_owns_irq(x->nook, a[0]))
		return nooks_reject(x, "synchronize_irq(irq): %u is of no device of this nook",
				    (u32)a[0]);
	if (tw && READ_ONCE(tw->thread) == current)
		nooks_reject(x, "synchronize_irq(irq): called from its own handler");
	else
		synchronize_irq(a[0]);
	if (tw)
		objtrack_put(tw->t);
	return 0;
}

u64 wrap_disable_irq(struct xpc *x, const u64 *a)
{
	struct irq_twin *tw;

	if (!wrap_may_sleep(x, "disable_irq"))
		return 0;
	tw = irq_arg(x, "disable_irq", a[0]);
	if (!tw)
		return 0;
	irq_disable(tw);
	if (READ_ONCE(tw->thread) == current)
		nooks_reject(x, "disable_irq(irq): called from its own handler");
	else
		synchronize_irq(tw->irq);
	objtrack_put(tw->t);
	return 0;
}

u64 wrap_disable_irq_nosync(struct xpc *x, const u64 *a)
{
	struct irq_twin *tw = irq_arg(x, "disable_irq_nosync", a[0]);

	if (!tw)
		return 0;
	irq_disable(tw);
	objtrack_put(tw->t);
	return 0;
}

u64 wrap_disable_hardirq(struct xpc *x, const u64 *a)
{
	struct irq_twin *tw;
	bool ret = true;

	if (in_hardirq())
		return nooks_reject(x, "disable_hardirq(irq): called from an interrupt handler");
	tw = irq_arg(x, "disable_hardirq", a[0]);
	if (!tw)
		return 0;
	irq_disable(tw);
	ret = synchronize_hardirq(tw->irq);
	objtrack_put(tw->t);
	return ret;
}

u64 wrap_enable_irq(struct xpc *x, const u64 *a)
{
	struct irq_twin *tw = irq_arg(x, "enable_irq", a[0]);

	if (!tw)
		return 0;
	if (!irq_enable(tw))
		nooks_reject(x, "enable_irq(irq): %u is not disabled by this nook", tw->irq);
	objtrack_put(tw->t);
	return 0;
}

bool nooks_irq_in_use(struct nook *nk, struct pci_dev *pdev)
{
	struct irq_twin *tw;
	int i, vec;

	for (i = 0; (vec = pci_irq_vector(pdev, i)) >= 0 && i < 64; i++) {
		tw = irq_find(nk, vec, NULL, false);
		if (tw) {
			objtrack_put(tw->t);
			return true;
		}
	}
	return false;
}

void nooks_irq_twin_free(void *twin)
{
	kfree(twin);
}

void nooks_release_irq(struct nook *nk, struct tracked *t)
{
	struct irq_twin *tw = t->twin;

	if (!tw)
		return;
	irq_unlist(tw);
	irq_free(tw);
}
