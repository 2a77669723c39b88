// SPDX-License-Identifier: GPL-2.0-only
/*
 * dma.c - memory that a device reads and writes
 *
 * A driver may map for its device only what it may touch itself: memory of the nook, buffers that
 * it allocated, and, towards the device, the packets that it was given. What the device does with
 * an address afterwards is not checked: there is no IOMMU in this model (docs/limits.md).
 *
 * Context: any but NMI, kernel view.
 */
#include <linux/cc_platform.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/hardirq.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/swiotlb.h>
#include "objtrack/objtrack.h"
#include "runtime/runtime.h"
#include "wrappers.h"

#define DMA_COHERENT_MAX	SZ_4M
#define DMA_ATTRS		(DMA_ATTR_WEAK_ORDERING | DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_NO_WARN)

static bool dma_dev_ok(struct xpc *x, const char *fn, const void *dev)
{
	return arg_obj(x, fn, "dev", OBJ_DEVICE, dev);
}

/* ---- coherent memory ------------------------------------------------------------------------ */

static void *dma_coherent(struct xpc *x, struct device *dev, size_t size, dma_addr_t *handle,
			  u64 gfp, unsigned long attrs)
{
	/* whole pages: they are granted */
	void *va = dma_alloc_attrs(dev, size, handle, wrap_gfp(gfp) | __GFP_ZERO, attrs);

	if (!va)
		return NULL;
	if (nook_grant(x->nook, va, size))
		goto free;
	if (nooks_track(x->nook, OBJ_DMA_COHERENT, va, size, dev, *handle, attrs, GFP_ATOMIC))
		goto revoke;
	return va;

revoke:
	nook_revoke(x->nook, va, size);
free:
	dma_free_attrs(dev, size, va, *handle, attrs);
	return NULL;
}

/* (dev, size, dma_handle, flag, attrs) */
u64 wrap_dma_alloc_attrs(struct xpc *x, const u64 *a)
{
	static const char fn[] = "dma_alloc_attrs";
	dma_addr_t *out, handle = 0;
	void *va;

	if (!dma_dev_ok(x, fn, (void *)a[0]))
		return 0;
	out = arg_writable(x, fn, "dma_handle", (void *)a[2], sizeof(*out));
	if (!out)
		return 0;
	if (irqs_disabled())
		return nooks_reject(x, "%s: interrupts are off", fn);
	if (!a[1] || a[1] > DMA_COHERENT_MAX || !nook_may_have(x, a[1]))
		return 0;
	va = dma_coherent(x, (struct device *)a[0], PAGE_ALIGN(a[1]), &handle, a[3],
			  a[4] & (DMA_ATTR_WEAK_ORDERING | DMA_ATTR_NO_WARN));
	if (va)
		WRITE_ONCE(*out, handle);
	return (u64)va;
}

void nooks_withdraw_dma_coherent(struct nook *nk, struct tracked *t)
{
	nook_revoke(nk, (void *)t->it.start, objtrack_size(t));
}

void nooks_finish_dma_coherent(struct nook *nk, struct tracked *t)
{
	dma_free_attrs(t->twin, objtrack_size(t), (void *)t->it.start, t->data[0], t->data[1]);
}

/* (dev, size, cpu_addr, dma_handle, attrs) */
u64 wrap_dma_free_attrs(struct xpc *x, const u64 *a)
{
	struct tracked *t;

	if (irqs_disabled())
		return nooks_reject(x, "dma_free_attrs: interrupts are off");
	if (!a[2])
		return 0;
	t = objtrack_take(x->nook, OBJ_DMA_COHERENT, (void *)a[2]);
	if (!t)
		return nooks_reject(x, "dma_free_attrs(cpu_addr): not allocated by this nook");
	if (t->twin != (void *)a[0] || t->data[0] != a[3] ||
	    objtrack_size(t) != PAGE_ALIGN(a[1]))
		nooks_reject(x, "dma_free_attrs: not as it was allocated");
	objtrack_retire(t);
	return 0;
}

/* ---- pools: each block has pages of its own, because it is granted --------------------------- */

/* Lies in the domain heap: what the driver writes into it is checked like any argument. */
struct dma_pool_twin {
	struct device *dev;
	size_t size;
};

/* (name, dev, size, align, boundary) */
u64 wrap_dma_pool_create(struct xpc *x, const u64 *a)
{
	struct dma_pool_twin *p;

	if (!dma_dev_ok(x, "dma_pool_create", (void *)a[1]))
		return 0;
	if (!a[2] || a[2] > DMA_COHERENT_MAX || a[3] > PAGE_SIZE || (a[4] && a[4] < a[2]))
		return 0;
	p = nook_alloc(x, sizeof(*p), wrap_gfp((__force u64)(GFP_KERNEL | __GFP_ZERO)));
	if (p) {
		p->dev = (struct device *)a[1];
		p->size = PAGE_ALIGN(a[2]);
	}
	return (u64)p;
}

u64 wrap_dma_pool_destroy(struct xpc *x, const u64 *a)
{
	if (a[0] && nook_free(x, (void *)a[0]))
		nooks_reject(x, "dma_pool_destroy(pool): not a pool of this nook");
	return 0;
}

/* (pool, flags, handle) */
u64 wrap_dma_pool_alloc(struct xpc *x, const u64 *a)
{
	struct dma_pool_twin *p = (struct dma_pool_twin *)a[0];
	u64 b[5] = { 0, 0, a[2], a[1], 0 };

	if (!arg_owned(x, "dma_pool_alloc", "pool", p, sizeof(*p)))
		return 0;
	b[0] = (u64)READ_ONCE(p->dev);
	b[1] = READ_ONCE(p->size);
	return wrap_dma_alloc_attrs(x, b);
}

/* (pool, vaddr, dma) */
u64 wrap_dma_pool_free(struct xpc *x, const u64 *a)
{
	struct dma_pool_twin *p = (struct dma_pool_twin *)a[0];
	u64 b[5] = { 0, 0, a[1], a[2], 0 };

	if (!arg_owned(x, "dma_pool_free", "pool", p, sizeof(*p)))
		return 0;
	b[0] = (u64)READ_ONCE(p->dev);
	b[1] = READ_ONCE(p->size);
	return wrap_dma_free_attrs(x, b);
}

/* ---- streaming mappings --------------------------------------------------------------------- */

static bool dma_page_valid(const struct page *page)
{
	unsigned long off = (unsigned long)page - (unsigned long)vmemmap;

	return (unsigned long)page >= (unsigned long)vmemmap && !(off % sizeof(*page)) &&
	       pfn_valid(off / sizeof(*page));
}

static bool dma_within(struct nook *nk, u16 type, const void *va, size_t size, bool own)
{
	struct tracked *t = nooks_containing(nk, type, va, size);
	bool ok;

	if (!t)
		return false;
	ok = !own || t->data[0];
	objtrack_put(t);
	return ok;
}

/* A page of alloc_pages(), whole or in part. */
static bool dma_in_page(struct nook *nk, struct page *page, size_t offset, size_t size)
{
	struct page *head = compound_head(page);
	struct tracked *t = objtrack_find(nk, OBJ_PAGE, head);
	size_t first = (page - head) * PAGE_SIZE + offset;
	bool ok;

	if (!t)
		return false;
	ok = first + size <= PAGE_SIZE << t->data[0];
	objtrack_put(t);
	return ok;
}

/* A fragment of a packet that did not fit into the pool, and that the driver still has. */
static bool dma_in_tracked(struct xpc *x, struct page *page, size_t offset, size_t size)
{
	u32 i;

	for (i = 0; i < x->nsent; i++)
		if (x->shown[i] == x->sent[i] && objtrack_has(x->nook, OBJ_SK_BUFF, x->sent[i]) &&
		    nooks_skb_has_frag(x->sent[i], page, offset, size))
			return true;
	return false;
}

static bool dma_range_ok(struct xpc *x, struct page *page, size_t offset, size_t size, u32 dir)
{
	bool write = dir != DMA_TO_DEVICE;
	const void *va;

	if (!dma_page_valid(page) || !size || size > SZ_1M || offset > SZ_1M)
		return false;
	va = page_address(page) + offset;
	return nook_owns(x->nook, va, size) ||
	       dma_within(x->nook, OBJ_SKB_DATA, va, size, write) ||
	       dma_within(x->nook, OBJ_PAGE_FRAG, va, size, false) ||
	       dma_in_page(x->nook, page, offset, size) ||
	       (!write && (nook_reads(x->nook, va, size) ||
			   nooks_skb_holds_page(x->nook, page, offset, size) ||
			   dma_in_tracked(x, page, offset, size)));
}

/* ---- mappings that are arithmetic: the runtime makes them (runtime/dma.c) -------------------- */

int nooks_dma_create(struct nook *nk)
{
	nk->dma = kvzalloc(sizeof(*nk->dma), GFP_KERNEL);
	if (!nk->dma)
		return -ENOMEM;
	raw_spin_lock_init(&nk->dma->lock);
	return 0;
}

void nooks_dma_destroy(struct nook *nk)
{
	kvfree(nk->dma);
	nk->dma = NULL;
}

static void dma_tag_add(struct nook *nk, const void *p, size_t size, int n)
{
	struct dma_side *side = nk->dma;
	u64 pfn = __pa(p) >> PAGE_SHIFT, last = (__pa(p) + size - 1) >> PAGE_SHIFT;
	unsigned long flags;

	raw_spin_lock_irqsave(&side->lock, flags);
	for (; pfn <= last; pfn++) {
		struct dma_tags *set = &side->tags[dma_tag_set(pfn)];
		unsigned int way = dma_tag_way(set, pfn);

		if (way == DMA_TAG_WAYS && n > 0)
			way = dma_tag_way(set, 0);
		if (way == DMA_TAG_WAYS)
			continue;	/* all are other pages': this one has to ask */
		set->n[way] += n;
		WRITE_ONCE(set->pfn[way], set->n[way] ? pfn : 0);
	}
	raw_spin_unlock_irqrestore(&side->lock, flags);
}

void nooks_dma_tag(struct nook *nk, const void *p, size_t size)
{
	dma_tag_add(nk, p, size, 1);
}

void nooks_dma_untag(struct nook *nk, const void *p, size_t size)
{
	dma_tag_add(nk, p, size, -1);
}

void nooks_dma_forget(struct nook *nk)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->dma->lock, flags);
	WRITE_ONCE(nk->dma->ndev, 0);
	memset(nk->dma->tags, 0, sizeof(nk->dma->tags));
	raw_spin_unlock_irqrestore(&nk->dma->lock, flags);
}

/* What dma_direct_map_page() would do for it is phys_to_dma(), and that is the identity. */
static bool dma_is_direct(struct device *dev)
{
	return !get_dma_ops(dev) && !dev->dma_range_map && dev->dma_mask &&
	       dev_is_dma_coherent(dev) && !is_swiotlb_force_bounce(dev) &&
	       !cc_platform_has(CC_ATTR_MEM_ENCRYPT);
}

static bool dma_direct(struct nook *nk, struct device *dev)
{
	struct dma_side *side = nk->dma;
	unsigned long flags;
	unsigned int i;

	if (!dma_is_direct(dev))
		return false;
	WRITE_ONCE(side->top, dma_get_required_mask(dev));
	if (!dma_side_reaches(side, dev))
		return false;
	raw_spin_lock_irqsave(&side->lock, flags);
	for (i = 0; i < side->ndev && side->dev[i] != dev; i++)
		;
	if (i == side->ndev && i < DMA_DIRECT_MAX) {
		side->dev[i] = dev;
		WRITE_ONCE(side->ndev, i + 1);
	}
	raw_spin_unlock_irqrestore(&side->lock, flags);
	return i < DMA_DIRECT_MAX;
}


/* (dev, page, offset, size, dir, attrs) */
u64 wrap_dma_map_page_attrs(struct xpc *x, const u64 *a)
{
	static const char fn[] = "dma_map_page_attrs";
	struct device *dev = (struct device *)a[0];
	u32 dir = a[4];
	dma_addr_t dma;

	if (!dma_dev_ok(x, fn, dev))
		return DMA_MAPPING_ERROR;
	if (dir != DMA_TO_DEVICE && dir != DMA_FROM_DEVICE && dir != DMA_BIDIRECTIONAL)
		return nooks_reject(x, "%s(dir): %u", fn, dir);
	if (!dma_range_ok(x, (struct page *)a[1], a[2], a[3], dir))
		return nooks_reject(x, "%s(page): %llx+%llu is not memory of this nook", fn, a[2],
				    a[3]);
	if (dma_direct(x->nook, dev))
		return page_to_phys((struct page *)a[1]) + a[2];
	dma = dma_map_page_attrs(dev, (struct page *)a[1], a[2], a[3], dir, a[5] & DMA_ATTRS);
	if (dma_mapping_error(dev, dma))
		return DMA_MAPPING_ERROR;
	if (nooks_track(x->nook, OBJ_DMA_MAP, (void *)dma, a[3], dev, dir, 0, GFP_ATOMIC)) {
		dma_unmap_page_attrs(dev, dma, a[3], dir, 0);
		return DMA_MAPPING_ERROR;
	}
	return dma;
}

/* (dev, addr, size, dir, attrs) */
u64 wrap_dma_unmap_page_attrs(struct xpc *x, const u64 *a)
{
	struct tracked *t = objtrack_take(x->nook, OBJ_DMA_MAP, (void *)a[1]);
	size_t size;

	if (!t)
		return nooks_reject(x, "dma_unmap_page_attrs(addr): %llx is not mapped", a[1]);
	size = objtrack_size(t);
	if (t->twin != (void *)a[0] || size != a[2] || t->data[0] != (u32)a[3])
		nooks_reject(x, "dma_unmap_page_attrs: not as it was mapped");
	dma_unmap_page_attrs(t->twin, a[1], size, t->data[0], a[4] & DMA_ATTRS);
	objtrack_put(t);
	return 0;
}

/* Nobody wants what the device has written; it may have been freed before (bounce buffers). */
void nooks_release_dma_map(struct nook *nk, struct tracked *t)
{
	dma_unmap_page_attrs(t->twin, t->it.start, objtrack_size(t), t->data[0],
			     DMA_ATTR_SKIP_CPU_SYNC);
}

static bool dma_sync_ok(struct xpc *x, const char *fn, const u64 *a)
{
	struct tracked *t;
	bool ok;

	if (!dma_dev_ok(x, fn, (void *)a[0]))
		return false;
	t = nooks_containing(x->nook, OBJ_DMA_MAP, (void *)a[1], a[2]);
	ok = t && t->twin == (void *)a[0] && t->data[0] == (u32)a[3];
	if (t)
		objtrack_put(t);
	if (!ok)
		nooks_reject(x, "%s(addr): %llx+%llu is not mapped so", fn, a[1], a[2]);
	return ok;
}

/* (dev, addr, size, dir) */
u64 wrap_dma_sync_single_for_cpu(struct xpc *x, const u64 *a)
{
	if (dma_sync_ok(x, "dma_sync_single_for_cpu", a))
		dma_sync_single_for_cpu((struct device *)a[0], a[1], a[2], (u32)a[3]);
	return 0;
}

u64 wrap_dma_sync_single_for_device(struct xpc *x, const u64 *a)
{
	if (dma_sync_ok(x, "dma_sync_single_for_device", a))
		dma_sync_single_for_device((struct device *)a[0], a[1], a[2], (u32)a[3]);
	return 0;
}
