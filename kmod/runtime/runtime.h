/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * runtime.h - what runs inside a domain, and the memory that it shares with the kernel's side
 *
 * The functions of runtime/ are what a driver's calls arrive at when its policy is "domain" or
 * "defer". They run in the domain view, in any context of the driver: they write domain memory
 * only, read what they like, and leave by nooks_slow_S() if that is not enough. The kernel's side
 * believes nothing that they left behind; a driver may have written over it.
 */
#ifndef NOOKS_RUNTIME_H
#define NOOKS_RUNTIME_H

#include <linux/device.h>
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/skbuff.h>
#include "nooks.h"
#include "xpc/xpc.h"

/* ---- calls that are delivered in one batch (policy "defer") ---------------------------------- */

#define DOM_CALL_ARGS	3
#define DOM_CALLS	120

struct dom_call {
	u64 index;			/* of nooks_exits[] */
	u64 a[DOM_CALL_ARGS];
};

/* One page for each entry, written by the runtime. */
struct xpc_dom {
	/* spinlocks held, all of them in domain memory; xpc/offsets.h */
	u32 locks;
	u32 n;
	u32 sending;			/* of xpc->sent, the packet that the driver works on */
	void *prepped;			/* napi_struct that napi_schedule_prep() said yes for */
	struct dom_call call[DOM_CALLS];
};

static_assert(sizeof(struct xpc_dom) <= PAGE_SIZE);

/* ---- shadow packets (wrappers/skbpool.c) ----------------------------------------------------- */

#define SKB_SHADOW_STRUCT	256		/* a struct sk_buff */
/* headers of a packet to be segmented, shared info */
#define SKB_SENT_BUFFER		1024
#define SKB_OWN_BUFFER		2048		/* data of a packet that the driver allocated */
#define SKB_SENT_MAX		512
#define SKB_OWN_MAX		1024
#define SKB_SENT_SLOT		(SKB_SHADOW_STRUCT + SKB_SENT_BUFFER)
#define SKB_OWN_SLOT		(SKB_SHADOW_STRUCT + SKB_OWN_BUFFER)
#define SKB_SHARED_SIZE		SKB_DATA_ALIGN(sizeof(struct skb_shared_info))
#define SKB_FRAG_STOCK		64
#define SKB_FRAG_KINDS		4

static_assert(sizeof(struct sk_buff) <= SKB_SHADOW_STRUCT);

/*
 * Fragments of one kind for receive buffers, ready to be taken. The kind stays until the driver
 * starts again: one that changed while another CPU takes would hand out a buffer that is too short.
 */
struct frag_stock {
	u32 size, mask;			/* size 0: of no kind yet */
	u32 n;
	u64 frag[SKB_FRAG_STOCK];
};

/* The head of the pool, in domain memory. */
struct skb_pool_dom {
	u32 rotor;			/* where the search for a free slot goes on */
	struct frag_stock stock[SKB_FRAG_KINDS];
	u8 used[SKB_OWN_MAX];
};

/* In kernel memory: a domain reads it. sent_lo, own_lo: first slot; hi: the end of all. */
struct skb_pool {
	unsigned long lo, sent_lo, own_lo, hi;
	unsigned int nsent, nown;
	struct skb_pool_dom *dom;
};

static inline bool skb_pool_has(const struct skb_pool *p, const void *addr)
{
	return p && (unsigned long)addr - p->lo < p->hi - p->lo;
}

/* ---- DMA without leaving (wrappers/dma.c) ---------------------------------------------------- */

#define DMA_TAG_BITS	11
#define DMA_TAG_WAYS	4		/* hardly ever does a page find none */
#define DMA_DIRECT_MAX	8

/* Says that pages are the nook's: the set of a page's number, if it holds that number. */
struct dma_tags {
	u64 pfn[DMA_TAG_WAYS];
	u32 n[DMA_TAG_WAYS];		/* objects of the nook that lie in the page */
};

/* In kernel memory: a domain reads it. dev: devices whose DMA addresses are physical ones */
struct dma_side {
	raw_spinlock_t lock;
	u64 top;			/* mask of the highest address in memory */
	unsigned int ndev;
	const struct device *dev[DMA_DIRECT_MAX];
	struct dma_tags tags[1 << DMA_TAG_BITS];
};

/* The device reaches all memory, so that no bounce buffer is ever taken. */
static inline bool dma_side_reaches(const struct dma_side *side, const struct device *dev)
{
	return *dev->dma_mask >= side->top &&
	       (!dev->bus_dma_limit || dev->bus_dma_limit >= side->top);
}

static inline unsigned int dma_tag_set(u64 pfn)
{
	return pfn & ((1 << DMA_TAG_BITS) - 1);
}

/* The way of a set that holds @pfn, 0: that is free; DMA_TAG_WAYS if none does. */
static inline unsigned int dma_tag_way(const struct dma_tags *set, u64 pfn)
{
	unsigned int i;

	for (i = 0; i < DMA_TAG_WAYS && READ_ONCE(set->pfn[i]) != pfn; i++)
		;
	return i;
}

/* ---- polls (wrappers/napi.c) ----------------------------------------------------------------- */

/* Where nook->napi[] has the twin, if another napi_struct has not taken the place. */
static inline unsigned int napi_slot_of(const struct napi_struct *drv)
{
	return hash_ptr(drv, ilog2(NAPI_SLOTS));
}

/* ---- packets to be sent (wrappers/netxmit.c) ------------------------------------------------- */

/* What runtime_xmit() returns: how many packets the driver has taken, its last answer. */
#define XMIT_RESULT(taken, answer) ((u64)(taken) << 32 | (u32)(answer))

/**
 * runtime_xmit() - entered instead of ndo_start_xmit, which it calls for each of xpc->sent
 * Context: domain view, as ndo_start_xmit. Return: XMIT_RESULT()
 */
u64 runtime_xmit(struct sk_buff *first, struct net_device *dev);

/* ---- places where the runtime may fault, and where it goes on then --------------------------- */

/*
 * runtime_slow_way() - a write that the domain may not do: is it one that the runtime expects?
 * Context: any, kernel view. Return: where to go on, or 0.
 */
unsigned long runtime_slow_way(unsigned long ip);

#endif
