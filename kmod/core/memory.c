// SPDX-License-Identifier: GPL-2.0-only
/*
 * memory.c - what memory a nook owns: grants, the domain heap, vmalloc() areas
 *
 * Grants are whole pages, kept in an interval tree beside the page table, so that "does the nook
 * own this" has the same answer at every level of isolation. The heap is a genalloc pool over
 * granted 2 MiB blocks: physically contiguous, so that DMA works, and one large page in the domain
 * view. What a driver vmalloc()s is vmalloc'ed, for its guard page's sake, and granted.
 *
 * Locking: nook->grants_lock (raw) for the tree; the pool has its own. Lock order: nooks.h.
 * Context: any but NMI unless a function says otherwise.
 */
#include <linux/genalloc.h>
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/poison.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include "core/core.h"
#include "domain/pgt.h"
#include "objtrack/objtrack.h"
#include "xpc/xpc.h"

#define HEAP_ORDER	9
#define HEAP_MIN_SHIFT	6		/* 64 bytes: a cache line each */
#define HEAP_MAX	(64UL << 20)	/* of one block or area */
#define HEAP_RED	64		/* at least so many bytes behind each block */

struct nook_heap {
	struct gen_pool *pool;
	struct mutex grow;		/* process context only */
	bool debug;			/* NOOKS_F_DEBUG_HEAP as it was at the beginning */
	atomic_long_t vmalloced;	/* bytes */
};

/* ---- grants --------------------------------------------------------------------------------- */

static void grant_span(const void *p, size_t len, unsigned long *lo, unsigned long *hi)
{
	*lo = (unsigned long)p & PAGE_MASK;
	*hi = PAGE_ALIGN((unsigned long)p + len);
}

int nook_grant(struct nook *nk, const void *p, size_t len)
{
	struct interval_tree_node *it;
	unsigned long lo, hi, flags;
	int ret;

	grant_span(p, len, &lo, &hi);
	it = kzalloc(sizeof(*it), GFP_ATOMIC);
	if (!it)
		return -ENOMEM;
	it->start = lo;
	it->last = hi - 1;
	ret = pgt_protect(nk, lo, hi - lo, true);
	if (ret) {
		pgt_protect(nk, lo, hi - lo, false);
		kfree(it);
		return ret;
	}
	raw_spin_lock_irqsave(&nk->grants_lock, flags);
	interval_tree_insert(it, &nk->grants);
	raw_spin_unlock_irqrestore(&nk->grants_lock, flags);
	return 0;
}

void nook_revoke(struct nook *nk, const void *p, size_t len)
{
	struct interval_tree_node *it;
	unsigned long lo, hi, flags;

	grant_span(p, len, &lo, &hi);
	raw_spin_lock_irqsave(&nk->grants_lock, flags);
	for (it = interval_tree_iter_first(&nk->grants, lo, hi - 1); it;
	     it = interval_tree_iter_next(it, lo, hi - 1))
		if (it->start == lo && it->last == hi - 1)
			break;
	if (it)
		interval_tree_remove(it, &nk->grants);
	raw_spin_unlock_irqrestore(&nk->grants_lock, flags);
	if (WARN_ON_ONCE(!it))
		return;
	kfree(it);
	pgt_protect(nk, lo, hi - lo, false);
	if (!WARN_ON_ONCE(irqs_disabled()))
		pgt_shootdown();
}

void nook_grants_deinit(struct nook *nk)
{
	struct interval_tree_node *it;

	while ((it = interval_tree_iter_first(&nk->grants, 0, ULONG_MAX))) {
		interval_tree_remove(it, &nk->grants);
		kfree(it);
	}
}

bool nook_owns(struct nook *nk, const void *p, size_t len)
{
	unsigned long start = (unsigned long)p, last = start + (len ? len - 1 : 0), flags;
	struct interval_tree_node *it;

	if (last < start)
		return false;
	raw_spin_lock_irqsave(&nk->grants_lock, flags);
	/* adjacent grants may cover the range together */
	while ((it = interval_tree_iter_first(&nk->grants, start, start)) && it->last < last)
		start = it->last + 1;
	raw_spin_unlock_irqrestore(&nk->grants_lock, flags);
	return it;
}

bool nook_reads(struct nook *nk, const void *p, size_t len)
{
	unsigned long start = (unsigned long)p, end = start + len;

	if (end < start)
		return false;
	return (start >= nk->ro_lo && end <= nk->ro_hi) || nook_owns(nk, p, len);
}

int nook_strlen(struct nook *nk, const char *s, size_t max)
{
	size_t n;

	for (n = 0; n < max; n++) {
		if (!(((unsigned long)s + n) & ~PAGE_MASK) || !n)
			if (!nook_reads(nk, s + n, 1))
				return -EFAULT;
		if (!READ_ONCE(s[n]))
			return n;
	}
	return -EFAULT;
}

/* ---- how much ------------------------------------------------------------------------------- */

size_t nook_memory(struct nook *nk)
{
	return READ_ONCE(nk->objs.bytes) + nook_heap_used(nk);
}

bool nook_may_have(struct xpc *x, size_t more)
{
	struct nook *nk = x->nook;
	u32 most = READ_ONCE(nk->memory_mib);

	if (likely(!most || nook_memory(nk) + more < (u64)most << 20))
		return true;
	nooks_reject(x, "it holds all of the %u MiB of memory that it may have", most);
	return false;
}

/* ---- heap ----------------------------------------------------------------------------------- */

/*
 * With NOOKS_F_DEBUG_HEAP a block has a red zone behind it, a new one is not zeroed unless that was
 * asked for, and what is free is poison and nothing else (linux/poison.h). That a red zone was
 * written shows when its block is freed, that free memory was when it is allocated.
 */
static size_t heap_room(const struct nook_heap *heap, size_t size)
{
	return heap->debug ? ALIGN(size, 1UL << HEAP_MIN_SHIFT) + HEAP_RED : size;
}

static void heap_free_room(struct nook_heap *heap, unsigned long addr, size_t size)
{
	size_t room = heap_room(heap, size);

	if (heap->debug)
		memset((void *)addr, POISON_FREE, room);
	gen_pool_free(heap->pool, addr, room);
}

/* Return: where free memory was written, or NULL. */
static void *heap_prepare(const struct nook_heap *heap, unsigned long addr, size_t size, gfp_t gfp)
{
	size_t room = heap_room(heap, size);
	void *late;

	if (!heap->debug) {
		memset((void *)addr, 0, size);
		return NULL;
	}
	late = memchr_inv((void *)addr, POISON_FREE, room);
	memset((void *)addr, gfp & __GFP_ZERO ? 0 : POISON_INUSE, size);
	memset((void *)addr + size, SLUB_RED_ACTIVE, room - size);
	return late;
}

/* Return: where the red zone of a block was written, or NULL. */
static void *heap_overrun(const struct nook_heap *heap, const struct tracked *t)
{
	size_t size = objtrack_size(t);

	return memchr_inv((void *)t->it.start + size, SLUB_RED_ACTIVE,
			  heap_room(heap, size) - size);
}

static int heap_grow(struct nook *nk)
{
	struct nook_heap *heap = nk->heap;
	int order, ret = -ENOMEM;
	struct page *page = NULL;

	mutex_lock(&heap->grow);
	for (order = HEAP_ORDER; order >= 2 && !page; order--)
		page = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN | __GFP_COMP, order);
	if (!page)
		goto unlock;
	order++;
	if (heap->debug)
		memset(page_address(page), POISON_FREE, PAGE_SIZE << order);
	ret = nook_grant(nk, page_address(page), PAGE_SIZE << order);
	if (!ret)
		ret = gen_pool_add(heap->pool, (unsigned long)page_address(page),
				   PAGE_SIZE << order, NUMA_NO_NODE);
	if (ret)
		__free_pages(page, order);
unlock:
	mutex_unlock(&heap->grow);
	return ret;
}

int nook_heap_create(struct nook *nk)
{
	struct nook_heap *heap = kzalloc(sizeof(*heap), GFP_KERNEL);

	if (!heap)
		return -ENOMEM;
	heap->debug = nk->flags & NOOKS_F_DEBUG_HEAP;
	mutex_init(&heap->grow);
	heap->pool = gen_pool_create(HEAP_MIN_SHIFT, NUMA_NO_NODE);
	if (!heap->pool) {
		kfree(heap);
		return -ENOMEM;
	}
	gen_pool_set_algo(heap->pool, gen_pool_first_fit_order_align, NULL);
	nk->heap = heap;
	return heap_grow(nk);
}

static void heap_free_chunk(struct gen_pool *pool, struct gen_pool_chunk *chunk, void *unused)
{
	__free_pages(virt_to_page(chunk->start_addr),
		     get_order(chunk->end_addr - chunk->start_addr + 1));
}

void nook_heap_destroy(struct nook *nk)
{
	struct nook_heap *heap = nk->heap;

	if (!heap)
		return;
	objtrack_flush(nk);
	nk->heap = NULL;
	if (gen_pool_avail(heap->pool) != gen_pool_size(heap->pool)) {
		WARN_ONCE(1, "nook %s: heap blocks left, memory is not given back\n", nk->name);
		return;
	}
	gen_pool_for_each_chunk(heap->pool, heap_free_chunk, NULL);
	gen_pool_destroy(heap->pool);
	kfree(heap);
}

size_t nook_heap_used(struct nook *nk)
{
	struct nook_heap *heap = nk->heap;

	if (!heap)
		return 0;
	return gen_pool_size(heap->pool) - gen_pool_avail(heap->pool) +
	       atomic_long_read(&heap->vmalloced);
}

void *nook_alloc(struct xpc *x, size_t size, gfp_t gfp)
{
	bool may_grow = gfpflags_allow_blocking(gfp) && preemptible();
	struct nook *nk = x->nook;
	struct nook_heap *heap = nk->heap;
	unsigned long addr;
	void *late;
	size_t room;

	if (size > HEAP_MAX || !nook_may_have(x, size))
		return NULL;
	size = max_t(size_t, size, 1);
	room = heap_room(heap, size);
	addr = gen_pool_alloc(heap->pool, room);
	if (!addr && may_grow && room <= (PAGE_SIZE << HEAP_ORDER) && !heap_grow(nk))
		addr = gen_pool_alloc(heap->pool, room);
	if (!addr)
		return NULL;
	late = heap_prepare(heap, addr, size, gfp);
	if (late)
		nooks_reject(x, "heap: %#lx was written after it was freed", (unsigned long)late);
	else if (!objtrack_add(nk, OBJ_HEAP, (void *)addr, size,
			       may_grow ? GFP_KERNEL : GFP_ATOMIC))
		return (void *)addr;
	heap_free_room(heap, addr, size);
	return NULL;
}

static void heap_free_block(struct nook *nk, struct tracked *t)
{
	size_t size = objtrack_size(t);

	objtrack_drop_range(nk, (void *)t->it.start, size);
	heap_free_room(nk->heap, t->it.start, size);
}

int nook_free(struct xpc *x, const void *p)
{
	struct nook *nk = x->nook;
	struct tracked *t = objtrack_take(nk, OBJ_HEAP, p);
	void *beyond;

	if (!t)
		return -ENOENT;
	beyond = heap_overrun(nk->heap, t);
	if (beyond)
		nooks_reject(x, "heap: %#lx was written, beyond the block of %zu bytes at %#lx",
			     (unsigned long)beyond, objtrack_size(t), t->it.start);
	heap_free_block(nk, t);
	objtrack_put(t);
	return 0;
}

void nook_release_heap(struct nook *nk, struct tracked *t)
{
	heap_free_block(nk, t);
}

/* ---- vmalloc() ------------------------------------------------------------------------------ */

void *nook_vmalloc(struct nook *nk, size_t size)
{
	struct nook_heap *heap = nk->heap;
	void *p;

	if (size > HEAP_MAX)
		return NULL;
	size = PAGE_ALIGN(size);
	atomic_long_add(size, &heap->vmalloced);
	p = __vmalloc(size, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
	if (!p)
		goto uncount;
	if (nook_grant(nk, p, size))
		goto free;
	if (!objtrack_add(nk, OBJ_VMALLOC, p, size, GFP_KERNEL))
		return p;
	nook_revoke(nk, p, size);
free:
	vfree(p);
uncount:
	atomic_long_sub(size, &heap->vmalloced);
	return NULL;
}

void nook_withdraw_vmalloc(struct nook *nk, struct tracked *t)
{
	objtrack_drop_range(nk, (void *)t->it.start, objtrack_size(t));
	nook_revoke(nk, (void *)t->it.start, objtrack_size(t));
}

void nook_finish_vmalloc(struct nook *nk, struct tracked *t)
{
	vfree((void *)t->it.start);
	atomic_long_sub(objtrack_size(t), &nk->heap->vmalloced);
}

int nook_vfree(struct nook *nk, const void *p)
{
	struct tracked *t = objtrack_take(nk, OBJ_VMALLOC, p);

	if (!t)
		return -ENOENT;
	objtrack_retire(t);
	return 0;
}
