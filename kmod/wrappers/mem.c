// SPDX-License-Identifier: GPL-2.0-only
/*
 * mem.c - memory for the driver: domain heap, pages, page fragments
 *
 * kmalloc and its relatives come from the domain heap, vmalloc from the kernel's, granted. Pages
 * for receive buffers are not granted: the device fills them and the driver reads.
 *
 * Context: any but NMI, kernel view.
 */
#include <linux/hardirq.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "runtime/runtime.h"
#include "wrappers.h"

#define MEM_MAX		SZ_16M
#define MEM_FRAG_MAX	SZ_32K
#define MEM_ORDER_MAX	5

gfp_t wrap_gfp(u64 flags)
{
	gfp_t gfp = (__force gfp_t)(u32)flags;

	gfp &= GFP_KERNEL | GFP_ATOMIC | __GFP_ZERO | __GFP_NOWARN | __GFP_NORETRY |
	       __GFP_RETRY_MAYFAIL | __GFP_COMP | __GFP_DMA | __GFP_DMA32 | __GFP_NOMEMALLOC;
	if (!preemptible() || rcu_preempt_depth())
		gfp &= ~__GFP_DIRECT_RECLAIM;
	return gfp;
}

static u64 mem_alloc(struct xpc *x, u64 size, u64 gfp)
{
	if (!size)
		return (u64)ZERO_SIZE_PTR;
	if (size > MEM_MAX)
		return 0;
	return (u64)nook_alloc(x, size, wrap_gfp(gfp));
}

u64 wrap___kmalloc(struct xpc *x, const u64 *a)
{
	return mem_alloc(x, a[0], a[1]);
}

/* (cache, flags, size): the cache is the kernel's choice by size, the heap has its own */
u64 wrap_kmalloc_trace(struct xpc *x, const u64 *a)
{
	return mem_alloc(x, a[2], a[1]);
}

/* (cache, flags, node, size) */
u64 wrap_kmalloc_node_trace(struct xpc *x, const u64 *a)
{
	return mem_alloc(x, a[3], a[1]);
}

/* (size, flags, node) */
u64 wrap___kmalloc_node(struct xpc *x, const u64 *a)
{
	return mem_alloc(x, a[0], a[1]);
}

/* (size, flags) */
u64 wrap_kmalloc_large(struct xpc *x, const u64 *a)
{
	return mem_alloc(x, a[0], a[1]);
}

u64 wrap_kfree(struct xpc *x, const u64 *a)
{
	if (!ZERO_OR_NULL_PTR((void *)a[0]) && nook_free(x, (void *)a[0]))
		return nooks_reject(x, "kfree(%#llx): not a block of the domain heap", a[0]);
	return 0;
}

/* ---- vmalloc -------------------------------------------------------------------------------- */

static u64 mem_vmalloc(struct xpc *x, const char *fn, u64 size)
{
	if (!wrap_may_sleep(x, fn))
		return 0;
	if (!size)
		return nooks_reject(x, "%s(size): 0", fn);
	return nook_may_have(x, size) ? (u64)nook_vmalloc(x->nook, size) : 0;
}

u64 wrap_vmalloc(struct xpc *x, const u64 *a)
{
	return mem_vmalloc(x, "vmalloc", a[0]);
}

u64 wrap_vzalloc(struct xpc *x, const u64 *a)
{
	return mem_vmalloc(x, "vzalloc", a[0]);
}

u64 wrap_vzalloc_node(struct xpc *x, const u64 *a)
{
	return mem_vmalloc(x, "vzalloc_node", a[0]);
}

u64 wrap_vcalloc(struct xpc *x, const u64 *a)
{
	u64 bytes;

	return check_mul_overflow(a[0], a[1], &bytes) ? 0 : mem_vmalloc(x, "vcalloc", bytes);
}

/* (size, flags, node) */
u64 wrap_kvmalloc_node(struct xpc *x, const u64 *a)
{
	u64 p = mem_alloc(x, a[0], a[1]);

	if (p || !gfpflags_allow_blocking(wrap_gfp(a[1])))
		return p;
	return mem_vmalloc(x, "kvmalloc_node", a[0]);
}

u64 wrap_vfree(struct xpc *x, const u64 *a)
{
	if (a[0] && nook_vfree(x->nook, (void *)a[0]))
		return nooks_reject(x, "vfree(%#llx): not from vmalloc()", a[0]);
	return 0;
}

u64 wrap_kvfree(struct xpc *x, const u64 *a)
{
	return is_vmalloc_addr((void *)a[0]) ? wrap_vfree(x, a) : wrap_kfree(x, a);
}

/* (s, gfp) */
u64 wrap_kstrdup(struct xpc *x, const u64 *a)
{
	char tmp[256], *p;
	long len;

	if (!a[0])
		return 0;
	len = wrap_fetch_string(tmp, (char *)a[0], sizeof(tmp));
	if (len < 0 || len >= sizeof(tmp))
		return nooks_reject(x, "kstrdup(s): not a string");
	p = (char *)mem_alloc(x, len + 1, a[1]);
	if (p)
		memcpy(p, tmp, len + 1);
	return (u64)p;
}

/* (src, len, gfp) */
u64 wrap_kmemdup(struct xpc *x, const u64 *a)
{
	void *p = (void *)mem_alloc(x, a[1], a[2]);

	if (ZERO_OR_NULL_PTR(p))
		return (u64)p;
	if (wrap_fetch(x, p, (void *)a[0], a[1]))
		return (u64)p;
	nook_free(x, p);
	return nooks_reject(x, "kmemdup(src): not readable");
}

size_t nooks_buffer_room(const void *p)
{
	struct page *page;
	size_t n = 0;

	if (ZERO_OR_NULL_PTR(p))
		return 0;
	if (is_vmalloc_addr(p)) {
		/* an area starts on a page and ends with one that is not mapped */
		while (PAGE_ALIGNED(p) && n < MEM_MAX && vmalloc_to_page(p + n))
			n += PAGE_SIZE;
		return n;
	}
	if (!virt_addr_valid(p))
		return 0;
	page = virt_to_head_page(p);
	return PageSlab(page) || (PageHead(page) && page_address(page) == p) ? ksize(p) : 0;
}

/* ---- pages ---------------------------------------------------------------------------------- */

u64 wrap_alloc_pages(struct xpc *x, const u64 *a)
{
	unsigned int order = a[1];
	struct page *page;

	if (order > MEM_ORDER_MAX || !nook_may_have(x, PAGE_SIZE << order))
		return 0;
	page = alloc_pages(wrap_gfp(a[0]) | __GFP_COMP | __GFP_NOWARN, order);
	if (!page)
		return 0;
	if (nooks_track(x->nook, OBJ_PAGE, page, sizeof(*page), NULL, order, 0, GFP_ATOMIC)) {
		__free_pages(page, order);
		return 0;
	}
	return (u64)page;
}

/* The driver's put_page() has seen the count reach zero. */
u64 wrap___folio_put(struct xpc *x, const u64 *a)
{
	struct page *page = (struct page *)a[0];
	struct tracked *t = objtrack_take(x->nook, OBJ_PAGE, page);

	if (!t)
		return nooks_reject(x, "__folio_put(folio): not a page of this nook");
	objtrack_put(t);
	if (page_ref_count(page))
		return nooks_reject(x, "__folio_put(folio): still in use");
	__folio_put(page_folio(page));
	return 0;
}

/* (page, order) */
u64 wrap___free_pages(struct xpc *x, const u64 *a)
{
	struct page *page = (struct page *)a[0];
	struct tracked *t = objtrack_take(x->nook, OBJ_PAGE, page);
	unsigned int order;

	if (!t)
		return nooks_reject(x, "__free_pages(page): not a page of this nook");
	order = t->data[0];
	objtrack_put(t);
	__free_pages(page, order);
	return 0;
}

/* Only reached for device memory, which a nook is never given. */
u64 wrap___put_devmap_managed_page_refs(struct xpc *x, const u64 *a)
{
	if (!objtrack_has(x->nook, OBJ_PAGE, (void *)a[0]))
		return nooks_reject(x, "__put_devmap_managed_page_refs(page): not a page of this nook");
	return 0;
}

bool nooks_page_holds(struct nook *nk, struct page *page, unsigned int off, unsigned int size)
{
	struct tracked *t = objtrack_find(nk, OBJ_PAGE, page);
	bool ok;

	if (!t)
		return false;
	ok = page_ref_count(page) > 0 && (u64)off + size <= PAGE_SIZE << t->data[0];
	objtrack_put(t);
	return ok;
}

bool nooks_page_take(struct nook *nk, struct page *page, unsigned int off, unsigned int size)
{
	return nooks_page_holds(nk, page, off, size) && objtrack_del(nk, OBJ_PAGE, page);
}

void nooks_release_page(struct nook *nk, struct tracked *t)
{
	struct page *page = (struct page *)t->it.start;

	/* the driver may have moved the count; a page that others hold is theirs to free */
	if (page_ref_count(page) > 0)
		__free_pages(page, t->data[0]);
}

/* ---- page fragments ------------------------------------------------------------------------- */

/* A fragment of the nook's, until it is freed or becomes an skb's head. */
static void *mem_frag(struct nook *nk, unsigned int size, unsigned int mask)
{
	void *p = __netdev_alloc_frag_align(size, mask), *shared;

	if (!p)
		return NULL;
	if (size > SKB_SHARED_SIZE) {	/* the driver may look at it, and may not write it */
		shared = p + size - SKB_SHARED_SIZE;
		memset(shared, 0, sizeof(struct skb_shared_info));
		atomic_set(&((struct skb_shared_info *)shared)->dataref, 1);
	}
	if (nooks_track(nk, OBJ_PAGE_FRAG, p, size, NULL, size, 0, GFP_ATOMIC)) {
		page_frag_free(p);
		return NULL;
	}
	nooks_dma_tag(nk, p, size);
	return p;
}

struct tracked *nooks_frag_take(struct nook *nk, const void *head)
{
	struct tracked *t = objtrack_take(nk, OBJ_PAGE_FRAG, head);

	if (t)
		nooks_dma_untag(nk, head, t->data[0]);
	return t;
}

static void mem_frag_free(struct nook *nk, const void *head)
{
	struct tracked *t = nooks_frag_take(nk, head);

	if (!t)
		return;
	page_frag_free((void *)t->it.start);
	objtrack_put(t);
}

static DEFINE_RAW_SPINLOCK(mem_stock_lock);	/* for the kinds of all stocks */

/* The stock of this kind, or a new one; NULL: there are too many kinds. */
static struct frag_stock *mem_stock_of(struct nook *nk, unsigned int size, unsigned int mask)
{
	struct frag_stock *st = nk->skbs->dom->stock, *found = NULL;
	unsigned long flags;
	int i;

	raw_spin_lock_irqsave(&mem_stock_lock, flags);
	for (i = 0; i < SKB_FRAG_KINDS && !found; i++) {
		if (!READ_ONCE(st[i].size)) {
			WRITE_ONCE(st[i].mask, mask);
			smp_store_release(&st[i].size, size);	/* pairs with dom_stock() */
		}
		if (READ_ONCE(st[i].size) == size && READ_ONCE(st[i].mask) == mask)
			found = &st[i];
	}
	raw_spin_unlock_irqrestore(&mem_stock_lock, flags);
	return found;
}

/* Fragments for the runtime to take without coming here. */
static void mem_stock(struct nook *nk, unsigned int size, unsigned int mask)
{
	struct frag_stock *st = mem_stock_of(nk, size, mask);
	unsigned int i;
	void *p;

	for (i = 0; st && i < SKB_FRAG_STOCK; i++) {
		if (READ_ONCE(st->frag[i]))
			continue;
		p = mem_frag(nk, size, mask);
		if (!p)
			break;
		if (cmpxchg(&st->frag[i], 0, (u64)p))
			mem_frag_free(nk, p);	/* another CPU was faster */
	}
	if (st)
		WRITE_ONCE(st->n, i);
}

unsigned int nooks_stock(struct nook *nk)
{
	unsigned int i, n = 0;

	for (i = 0; nk->skbs && i < SKB_FRAG_KINDS; i++)
		n += min_t(u32, READ_ONCE(nk->skbs->dom->stock[i].n), SKB_FRAG_STOCK);
	return n;
}

static u64 mem_frag_align(struct xpc *x, const char *fn, const u64 *a)
{
	unsigned int size = a[0], mask = a[1];
	void *p;

	if (!size || size > MEM_FRAG_MAX)
		return nooks_reject(x, "%s(fragsz): %u", fn, size);
	if (!is_power_of_2(-mask))
		return nooks_reject(x, "%s(align_mask): %x", fn, mask);
	p = nook_may_have(x, size) ? mem_frag(x->nook, size, mask) : NULL;
	if (p && x->nook->skbs)
		mem_stock(x->nook, size, mask);
	return (u64)p;
}

u64 wrap___netdev_alloc_frag_align(struct xpc *x, const u64 *a)
{
	return mem_frag_align(x, "__netdev_alloc_frag_align", a);
}

/* Not from the cache of softirq: the stock is for any context. */
u64 wrap___napi_alloc_frag_align(struct xpc *x, const u64 *a)
{
	return mem_frag_align(x, "__napi_alloc_frag_align", a);
}

/* (addr): any address in the fragment; drivers keep a pointer behind their headroom */
u64 wrap_page_frag_free(struct xpc *x, const u64 *a)
{
	struct tracked *in = nooks_containing(x->nook, OBJ_PAGE_FRAG, (void *)a[0], 1), *t = NULL;

	if (in) {
		t = nooks_frag_take(x->nook, (void *)in->it.start);
		objtrack_put(in);
	}
	if (!t)
		return nooks_reject(x, "page_frag_free(addr): not a fragment of this nook");
	page_frag_free((void *)t->it.start);
	objtrack_put(t);
	return 0;
}

bool nooks_hold_page_frag(struct nook *nk, struct tracked *t)
{
	nooks_dma_untag(nk, (void *)t->it.start, t->data[0]);
	t->data[0] = 0;
	return true;
}

void nooks_release_page_frag(struct nook *nk, struct tracked *t)
{
	nooks_hold_page_frag(nk, t);
	page_frag_free((void *)t->it.start);
}
