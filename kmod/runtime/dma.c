// SPDX-License-Identifier: GPL-2.0-only
/*
 * dma.c - streaming DMA mappings of a device whose DMA addresses are physical ones
 *
 * Without IOMMU and bounce buffer a mapping is arithmetic, and there is nothing to undo. What may
 * be mapped is the same as in wrappers/dma.c, which is asked whenever this is not sure: memory of
 * the nook, by the tags of its pages, and towards the device the packet that the entry is about.
 *
 * Context: domain view, any context of the driver.
 */
#include <linux/dma-direction.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/skbuff.h>
#include "runtime/queue.h"
#include "runtime/slow.h"

static bool dom_dma_direct(const struct nook *nk, const struct device *dev)
{
	const struct dma_side *side = nk->dma;
	unsigned int i, n = min_t(unsigned int, READ_ONCE(side->ndev), DMA_DIRECT_MAX);

	for (i = 0; i < n; i++)
		if (READ_ONCE(side->dev[i]) == dev)
			return dma_side_reaches(side, dev);
	return false;
}

static bool dom_dma_tagged(const struct nook *nk, u64 phys, u64 size)
{
	u64 pfn = phys >> PAGE_SHIFT, last = (phys + size - 1) >> PAGE_SHIFT;

	if (size > SKB_OWN_SLOT * 4 || !pfn)
		return false;
	for (; pfn <= last; pfn++)
		if (dma_tag_way(&nk->dma->tags[dma_tag_set(pfn)], pfn) == DMA_TAG_WAYS)
			return false;
	return true;
}

static bool dom_dma_pool(const struct nook *nk, u64 phys, u64 size)
{
	const struct skb_pool *p = nk->skbs;
	u64 lo;

	if (!p)
		return false;
	lo = __pa(p->sent_lo);
	return phys >= lo && size <= p->hi - p->sent_lo && phys - lo <= p->hi - p->sent_lo - size;
}

/* The packet that the driver was given last in this entry: its head, or one of its fragments. */
static bool dom_dma_packet(const struct xpc *x, const struct page *page, u64 offset, u64 phys,
			   u64 size)
{
	const struct skb_shared_info *si;
	const struct sk_buff *skb;
	u32 sending = READ_ONCE(x->dom->sending);
	u64 head;
	int i;

	if (sending >= x->nsent)
		return false;
	skb = x->sent[sending];
	head = __pa(skb->head);
	if (phys >= head && phys - head + size <= skb->end)
		return true;
	si = skb_shinfo(skb);
	for (i = 0; i < si->nr_frags && i < MAX_SKB_FRAGS; i++) {
		const skb_frag_t *f = &si->frags[i];

		if (skb_frag_page(f) == page && offset >= skb_frag_off(f) &&
		    offset - skb_frag_off(f) + size <= skb_frag_size(f))
			return true;
	}
	return false;
}

dma_addr_t nooks_dma_map_page_attrs(struct device *dev, struct page *page, size_t offset,
				    size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	const struct xpc *x = dom_xpc();
	const struct nook *nk = x->nook;
	u64 phys = page_to_phys(page) + offset;

	if ((u32)dir <= DMA_FROM_DEVICE && size && size <= SZ_64K && offset <= SZ_64K &&
	    dom_dma_direct(nk, dev) &&
	    (dom_dma_tagged(nk, phys, size) || dom_dma_pool(nk, phys, size) ||
	     (dir == DMA_TO_DEVICE && dom_dma_packet(x, page, offset, phys, size))))
		return phys;
	return nooks_slow_dma_map_page_attrs(dev, page, offset, size, dir, attrs);
}
EXPORT_SYMBOL_GPL(nooks_dma_map_page_attrs);

void nooks_dma_unmap_page_attrs(struct device *dev, dma_addr_t addr, size_t size,
				enum dma_data_direction dir, unsigned long attrs)
{
	if (!dom_dma_direct(dom_xpc()->nook, dev))
		nooks_slow_dma_unmap_page_attrs(dev, addr, size, dir, attrs);
}
EXPORT_SYMBOL_GPL(nooks_dma_unmap_page_attrs);

void nooks_dma_sync_single_for_cpu(struct device *dev, dma_addr_t addr, size_t size,
				   enum dma_data_direction dir)
{
	if (!dom_dma_direct(dom_xpc()->nook, dev))
		nooks_slow_dma_sync_single_for_cpu(dev, addr, size, dir);
}
EXPORT_SYMBOL_GPL(nooks_dma_sync_single_for_cpu);

void nooks_dma_sync_single_for_device(struct device *dev, dma_addr_t addr, size_t size,
				      enum dma_data_direction dir)
{
	if (!dom_dma_direct(dom_xpc()->nook, dev))
		nooks_slow_dma_sync_single_for_device(dev, addr, size, dir);
}
EXPORT_SYMBOL_GPL(nooks_dma_sync_single_for_device);
