// SPDX-License-Identifier: GPL-2.0-only
/*
 * objtrack.c - kernel objects that a nook holds, with the way to release each
 *
 * Keyed by (address, type, nook): a struct and its first member share an address. The hash answers
 * "is this pointer a T of mine", the interval tree "what object does this address lie in", the list
 * keeps the order of acquisition. The tree is only asked about now and then: what is newer than the
 * last question is not in it, so that a receive buffer mostly comes and goes without.
 *
 * Locking: objs.lock (raw, irqsave) guards all three; an entry that was found is kept by its
 * reference and may be dead by then (t->dead).
 * Context: any but NMI, kernel view.
 */
#include <linux/percpu.h>
#include <linux/slab.h>
#include "nooks.h"
#include "objtrack/objtrack.h"
#include "trace/nooks_trace.h"
#include "wrappers/wrappers.h"

#define OBJTRACK_SPARES	64

/*
 * Entries to be used again. There is one for each receive buffer, and buffers go in the order of a
 * ring: what is freed is never of the slab that the allocator has at hand.
 */
struct objtrack_spare {
	unsigned int n;
	struct tracked *t[OBJTRACK_SPARES];
};

static DEFINE_PER_CPU(struct objtrack_spare, objtrack_spare);	/* interrupts off */
static struct kmem_cache *objtrack_cache;

int __init objtrack_cache_init(void)
{
	objtrack_cache = KMEM_CACHE(tracked, 0);
	return objtrack_cache ? 0 : -ENOMEM;
}

void objtrack_cache_deinit(void)
{
	struct objtrack_spare *sp;
	int cpu;

	for_each_possible_cpu(cpu)
		for (sp = per_cpu_ptr(&objtrack_spare, cpu); sp->n; sp->n--)
			kmem_cache_free(objtrack_cache, sp->t[sp->n - 1]);
	kmem_cache_destroy(objtrack_cache);
}

static struct tracked *objtrack_get_spare(void)
{
	struct tracked *t = NULL;
	struct objtrack_spare *sp;
	unsigned long flags;

	local_irq_save(flags);
	sp = this_cpu_ptr(&objtrack_spare);
	if (sp->n)
		t = sp->t[--sp->n];
	local_irq_restore(flags);
	return t;
}

static bool objtrack_put_spare(struct tracked *t)
{
	struct objtrack_spare *sp;
	unsigned long flags;
	bool kept;

	local_irq_save(flags);
	sp = this_cpu_ptr(&objtrack_spare);
	kept = sp->n < OBJTRACK_SPARES;
	if (kept)
		sp->t[sp->n++] = t;
	local_irq_restore(flags);
	return kept;
}

static void objtrack_free(struct kref *ref)
{
	struct tracked *t = container_of(ref, struct tracked, ref);

	nooks_twin_free(t);
	if (!objtrack_put_spare(t))
		kmem_cache_free(objtrack_cache, t);
}

void objtrack_put(struct tracked *t)
{
	kref_put(&t->ref, objtrack_free);
}

static u64 objtrack_key(u16 type, const void *addr)
{
	return (unsigned long)addr + ((u64)type << 3);
}

int objtrack_init(struct nook *nk)
{
	struct objtrack *ot = &nk->objs;

	raw_spin_lock_init(&ot->lock);
	hash_init(ot->table);
	ot->tree = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&ot->order);
	ot->count = kcalloc(objtrack_types(), sizeof(*ot->count), GFP_KERNEL);
	if (ot->count && !retire_init(ot))
		return 0;
	kfree(ot->count);
	ot->count = NULL;
	return -ENOMEM;
}

void objtrack_deinit(struct nook *nk)
{
	struct tracked *t, *next;

	if (!nk->objs.count)
		return;			/* it was never there */
	retire_deinit(&nk->objs);
	list_for_each_entry_safe(t, next, &nk->objs.order, order)
		objtrack_drop(t);
	kfree(nk->objs.count);
	nk->objs.count = NULL;
}

struct tracked *objtrack_new(struct nook *nk, u16 type, const void *addr, size_t size, gfp_t gfp)
{
	struct tracked *t = objtrack_get_spare() ?: kmem_cache_alloc(objtrack_cache, gfp);

	if (!t)
		return NULL;
	*t = (struct tracked){
		.nook = nk,
		.type = type,
		.it.start = (unsigned long)addr,
		.it.last = (unsigned long)addr + (size ? size - 1 : 0),
		.sized = size,
	};
	kref_init(&t->ref);
	return t;
}

/* Memory that an entry stands for, but for the heap's and vmalloc()'s, which have counts. */
static u32 objtrack_memory(const struct tracked *t)
{
	switch (t->type) {
	case OBJ_PAGE:
		return PAGE_SIZE << t->data[0];
	case OBJ_PAGE_FRAG:
	case OBJ_SKB_DATA:
	case OBJ_DMA_COHERENT:
	case OBJ_NET_DEVICE:
	case OBJ_NETDEV_PRIV:
	case OBJ_NETDEV_QUEUE:
		return objtrack_size(t);
	default:
		return 0;
	}
}

void objtrack_insert(struct tracked *t)
{
	struct objtrack *ot = &t->nook->objs;
	unsigned long flags;

	t->charge = objtrack_memory(t) + sizeof(*t);
	raw_spin_lock_irqsave(&ot->lock, flags);
	hash_add(ot->table, &t->node, objtrack_key(t->type, (void *)t->it.start));
	list_add_tail(&t->order, &ot->order);
	ot->count[t->type]++;
	ot->bytes += t->charge;
	trace_nooks_object(t->nook->id, t->type, t->it.start, objtrack_size(t), 0);
	raw_spin_unlock_irqrestore(&ot->lock, flags);
}

int objtrack_add(struct nook *nk, u16 type, const void *addr, size_t size, gfp_t gfp)
{
	struct tracked *t = objtrack_new(nk, type, addr, size, gfp);

	if (!t)
		return -ENOMEM;
	objtrack_insert(t);
	return 0;
}

struct tracked *objtrack_lend(struct nook *nk, struct xpc *x, u16 type, const void *addr,
			      size_t size)
{
	struct tracked *t = objtrack_new(nk, type, addr, size, GFP_ATOMIC);

	if (!t)
		return NULL;
	t->xpc = x;
	kref_get(&t->ref);
	objtrack_insert(t);
	return t;
}

/* Those that the tree was not told of yet are the newest ones. */
struct rb_root_cached *objtrack_tree(struct objtrack *ot)
{
	struct tracked *t;

	lockdep_assert_held(&ot->lock);
	list_for_each_entry_reverse(t, &ot->order, order) {
		if (t->settled)
			break;
		if (t->sized)
			interval_tree_insert(&t->it, &ot->tree);
		t->settled = true;
	}
	return &ot->tree;
}

static struct tracked *objtrack_lookup(struct objtrack *ot, u16 type, const void *addr)
{
	struct tracked *t;

	hash_for_each_possible(ot->table, t, node, objtrack_key(type, addr))
		if (t->it.start == (unsigned long)addr && t->type == type)
			return t;
	return NULL;
}

static void objtrack_remove(struct objtrack *ot, struct tracked *t)
{
	hash_del(&t->node);
	if (t->sized && t->settled)
		interval_tree_remove(&t->it, &ot->tree);
	list_del_init(&t->order);
	ot->count[t->type]--;
	ot->bytes -= t->charge;
	t->dead = true;
}

struct tracked *objtrack_find(struct nook *nk, u16 type, const void *addr)
{
	struct tracked *t;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->objs.lock, flags);
	t = objtrack_lookup(&nk->objs, type, addr);
	if (t)
		kref_get(&t->ref);
	raw_spin_unlock_irqrestore(&nk->objs.lock, flags);
	return t;
}

bool objtrack_has(struct nook *nk, u16 type, const void *addr)
{
	unsigned long flags;
	bool has;

	raw_spin_lock_irqsave(&nk->objs.lock, flags);
	has = objtrack_lookup(&nk->objs, type, addr);
	raw_spin_unlock_irqrestore(&nk->objs.lock, flags);
	return has;
}

/* The newest of equal keys: the same page may be mapped for DMA twice. */
struct tracked *objtrack_take(struct nook *nk, u16 type, const void *addr)
{
	struct tracked *t;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->objs.lock, flags);
	t = objtrack_lookup(&nk->objs, type, addr);
	if (t)
		objtrack_remove(&nk->objs, t);
	raw_spin_unlock_irqrestore(&nk->objs.lock, flags);
	if (t)
		trace_nooks_object(nk->id, type, t->it.start, objtrack_size(t), 1);
	return t;
}

bool objtrack_del(struct nook *nk, u16 type, const void *addr)
{
	struct tracked *t = objtrack_take(nk, type, addr);

	if (t)
		objtrack_put(t);
	return t;
}

/* Return: true if it was there, and its reference is the caller's now. */
static bool objtrack_unlink(struct tracked *t)
{
	struct objtrack *ot = &t->nook->objs;
	unsigned long flags;
	bool mine;

	raw_spin_lock_irqsave(&ot->lock, flags);
	mine = !t->dead;
	if (mine)
		objtrack_remove(ot, t);
	raw_spin_unlock_irqrestore(&ot->lock, flags);
	if (mine)
		trace_nooks_object(t->nook->id, t->type, t->it.start, objtrack_size(t), 1);
	return mine;
}

void objtrack_drop(struct tracked *t)
{
	if (objtrack_unlink(t))
		objtrack_put(t);
}

bool objtrack_claim(struct tracked *t)
{
	struct objtrack *ot = &t->nook->objs;
	unsigned long flags;
	bool mine;

	raw_spin_lock_irqsave(&ot->lock, flags);
	mine = !t->dead && !t->busy;
	if (mine)
		t->busy = true;
	raw_spin_unlock_irqrestore(&ot->lock, flags);
	return mine;
}

void objtrack_unclaim(struct tracked *t)
{
	smp_store_release(&t->busy, false);	/* after all that was done with it */
}

/*
 * A lock in memory that is freed: its twin is of no more use. Other twins live until they are
 * deleted.
 */
void objtrack_drop_range(struct nook *nk, const void *p, size_t len)
{
	struct objtrack *ot = &nk->objs;
	unsigned long start = (unsigned long)p, last = start + len - 1, flags;
	struct interval_tree_node *it, *next;
	struct tracked *t;
	LIST_HEAD(drop);

	if (!len)
		return;
	raw_spin_lock_irqsave(&ot->lock, flags);
	for (it = interval_tree_iter_first(objtrack_tree(ot), start, last); it; it = next) {
		next = interval_tree_iter_next(it, start, last);
		t = container_of(it, struct tracked, it);
		if (t->type != OBJ_MUTEX || it->start < start || it->last > last ||
		    kref_read(&t->ref) != 1)
			continue;
		objtrack_remove(ot, t);
		list_add(&t->order, &drop);
	}
	raw_spin_unlock_irqrestore(&ot->lock, flags);
	while (!list_empty(&drop)) {
		t = list_first_entry(&drop, struct tracked, order);
		list_del_init(&t->order);
		objtrack_put(t);
	}
}

struct tracked *objtrack_newest(struct nook *nk, bool (*match)(struct tracked *t, const void *arg),
				const void *arg)
{
	struct objtrack *ot = &nk->objs;
	struct tracked *t, *found = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&ot->lock, flags);
	list_for_each_entry_reverse(t, &ot->order, order) {
		if (match(t, arg)) {
			kref_get(&t->ref);
			found = t;
			break;
		}
	}
	raw_spin_unlock_irqrestore(&ot->lock, flags);
	return found;
}

void objtrack_release(struct tracked *t)
{
	if (!obj_type_desc(t->type)->finish) {
		obj_release(t->nook, t);
		objtrack_drop(t);
	} else if (objtrack_unlink(t)) {
		objtrack_retire(t);
	}
	objtrack_put(t);
}

bool objtrack_at(struct nook *nk, unsigned long addr,
		 bool (*match)(struct tracked *t, void *arg), void *arg)
{
	struct objtrack *ot = &nk->objs;
	struct interval_tree_node *it;
	unsigned long flags;
	bool found = false;

	raw_spin_lock_irqsave(&ot->lock, flags);
	for (it = interval_tree_iter_first(objtrack_tree(ot), addr, addr); it && !found;
	     it = interval_tree_iter_next(it, addr, addr))
		found = match(container_of(it, struct tracked, it), arg);
	raw_spin_unlock_irqrestore(&ot->lock, flags);
	return found;
}

void objtrack_each(struct nook *nk, void (*visit)(struct tracked *t, void *arg), void *arg)
{
	struct tracked *t;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->objs.lock, flags);
	list_for_each_entry_reverse(t, &nk->objs.order, order)
		visit(t, arg);
	raw_spin_unlock_irqrestore(&nk->objs.lock, flags);
}

void objtrack_quiesce(struct nook *nk)
{
	struct tracked *t;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->objs.lock, flags);
	list_for_each_entry(t, &nk->objs.order, order)
		if (obj_type_desc(t->type)->quiesce)
			obj_type_desc(t->type)->quiesce(nk, t);
	raw_spin_unlock_irqrestore(&nk->objs.lock, flags);
}

unsigned int objtrack_total(struct nook *nk)
{
	unsigned int type, sum = 0;

	for (type = 0; type < objtrack_types(); type++)
		sum += READ_ONCE(nk->objs.count[type]);
	return sum;
}
