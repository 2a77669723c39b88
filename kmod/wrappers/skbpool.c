// SPDX-License-Identifier: GPL-2.0-only
/*
 * skbpool.c - shadow packets
 *
 * The sk_buff that a driver works on is a copy in memory of its own, at an address that names a
 * slot. Two kinds of slots. "Sent" ones show a packet that the kernel has given with
 * ndo_start_xmit; the real one is never touched by the driver, and is freed or given back as it
 * came. "Own" ones are taken by the driver itself (runtime/skb.c) when it allocates a packet;
 * nothing stands behind them until they are handed up, or until a function needs more than the copy
 * can do: then the real one is built from what is found to be sound (skbbuild.c), and shown in the
 * slot.
 *
 * The headers of a packet that is to be segmented are copied too, because drivers write into them.
 *
 * Locking: pool_lock guards slots; a slot that is in use by a wrapper (busy) cannot be given away.
 * Context: any but NMI, kernel view.
 */
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <net/sock.h>
#include "runtime/runtime.h"
#include "skbpool.h"
#include "wrappers.h"

#define POOL_HEAD	PAGE_ALIGN(sizeof(struct skb_pool_dom))
#define POOL_SHRINK	3		/* how often half of it would do, if memory is in pieces */
#define SLOT_NONE	U16_MAX
#define TCP_AHEAD_SHIFT	8		/* 1 s >> 8: 4 ms of data */

struct slot {
	struct sk_buff *skb;		/* the real one */
	u16 next;			/* free "sent" slots */
	bool busy;
};

/* Only the first member is looked at by the domain. */
struct pool {
	struct skb_pool p;
	raw_spinlock_t lock;
	u16 free;
	unsigned int lent;
	size_t size;
	struct slot slot[];		/* "sent" ones first */
};

static struct pool *pool_of(struct nook *nk)
{
	return nk->skbs ? container_of(nk->skbs, struct pool, p) : NULL;
}

/* The slot that a driver's pointer names, or -1. */
static int pool_index(const struct pool *pool, const struct sk_buff *skb)
{
	unsigned long at = (unsigned long)skb;

	if (at >= pool->p.sent_lo && at < pool->p.own_lo)
		return (at - pool->p.sent_lo) % SKB_SENT_SLOT ?
		       -1 : (at - pool->p.sent_lo) / SKB_SENT_SLOT;
	if (at >= pool->p.own_lo && at < pool->p.hi)
		return (at - pool->p.own_lo) % SKB_OWN_SLOT ?
		       -1 : pool->p.nsent + (at - pool->p.own_lo) / SKB_OWN_SLOT;
	return -1;
}

static struct sk_buff *pool_shadow(const struct pool *pool, unsigned int i)
{
	if (i < pool->p.nsent)
		return (struct sk_buff *)(pool->p.sent_lo + i * SKB_SENT_SLOT);
	return (struct sk_buff *)(pool->p.own_lo + (i - pool->p.nsent) * SKB_OWN_SLOT);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void pool_layout(struct pool *pool, void *base, unsigned int nsent, unsigned int nown)
{
	pool->p.dom = base;
	pool->p.lo = (unsigned long)base;
	pool->p.sent_lo = pool->p.lo + POOL_HEAD;
	pool->p.own_lo = pool->p.sent_lo + nsent * SKB_SENT_SLOT;
	pool->p.hi = pool->p.own_lo + nown * SKB_OWN_SLOT;
	pool->p.nsent = nsent;
	pool->p.nown = nown;
}

static void pool_reset(struct pool *pool)
{
	unsigned int i;

	memset(pool->p.dom, 0, sizeof(*pool->p.dom));
	pool->free = SLOT_NONE;
	pool->lent = 0;
	for (i = pool->p.nsent; i-- > 0; ) {
		pool->slot[i].next = pool->free;
		pool->free = i;
	}
}

int nooks_skb_pool_create(struct nook *nk)
{
	unsigned int shrink, nsent, nown;
	void *base = NULL;
	struct pool *pool;

	if (nk->skbs)
		return 0;
	pool = kzalloc(struct_size(pool, slot, SKB_SENT_MAX + SKB_OWN_MAX), GFP_KERNEL);
	if (!pool)
		return -ENOMEM;
	for (shrink = 0; shrink <= POOL_SHRINK && !base; shrink++) {
		nsent = SKB_SENT_MAX >> shrink;
		nown = SKB_OWN_MAX >> shrink;
		pool->size = PAGE_ALIGN(POOL_HEAD + nsent * SKB_SENT_SLOT + nown * SKB_OWN_SLOT);
		base = alloc_pages_exact(pool->size, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
	}
	if (!base || nook_grant(nk, base, pool->size))
		goto free;
	raw_spin_lock_init(&pool->lock);
	pool_layout(pool, base, nsent, nown);
	pool_reset(pool);
	/* after it is filled: another device may be using it */
	smp_store_release(&nk->skbs, &pool->p);
	return 0;

free:
	if (base)
		free_pages_exact(base, pool->size);
	kfree(pool);
	return -ENOMEM;
}

/* No entry is live: whatever the driver held goes back. */
void nooks_skb_pool_empty(struct nook *nk)
{
	struct pool *pool = pool_of(nk);
	unsigned int i;

	if (!pool)
		return;
	for (i = 0; i < pool->p.nsent + pool->p.nown; i++) {
		struct slot *s = &pool->slot[i];

		if (s->skb)
			dev_kfree_skb_any(s->skb);
		s->skb = NULL;
		s->busy = false;
	}
	pool_reset(pool);
}

void nooks_skb_pool_destroy(struct nook *nk)
{
	struct pool *pool = pool_of(nk);

	if (!pool)
		return;
	nooks_skb_pool_empty(nk);
	nk->skbs = NULL;
	free_pages_exact((void *)pool->p.lo, pool->size);
	kfree(pool);
}

unsigned int nooks_skb_lent(struct nook *nk)
{
	struct pool *pool = pool_of(nk);

	return pool ? READ_ONCE(pool->lent) : 0;
}

/* ---- showing a packet ------------------------------------------------------------------------ */

static bool pool_copies_headers(const struct sk_buff *skb)
{
	return skb_is_gso(skb) && skb->tail <= SKB_SENT_BUFFER - SKB_SHARED_SIZE;
}

static void pool_copy_headers(struct sk_buff *shadow, const struct sk_buff *skb)
{
	u8 *buf = (u8 *)shadow + SKB_SHADOW_STRUCT;
	unsigned int end = SKB_SENT_BUFFER - SKB_SHARED_SIZE;

	memcpy(buf + skb_headroom(skb), skb->data, skb_headlen(skb));
	memcpy(buf + end, skb_shinfo(skb), sizeof(struct skb_shared_info));
	shadow->head = buf;
	shadow->data = buf + skb_headroom(skb);
	shadow->end = end;
	shadow->cloned = 0;		/* these headers are nobody else's */
}

/* Nothing that belongs to the kernel's view of the packet: inline code would follow it. */
static void pool_show(struct sk_buff *shadow, const struct sk_buff *skb, bool sent)
{
	memcpy(shadow, skb, sizeof(*shadow));
	shadow->next = NULL;
	shadow->prev = NULL;
	shadow->sk = NULL;
	shadow->destructor = NULL;
	if (sent && pool_copies_headers(skb))
		pool_copy_headers(shadow, skb);
}

struct sk_buff *nooks_skb_lend(struct nook *nk, struct sk_buff *skb)
{
	struct pool *pool = pool_of(nk);
	unsigned int i = SLOT_NONE;
	unsigned long flags;

	/*
	 * That it has been sent is told later than natively (moderate.c). With the 1 ms that TCP
	 * has on the way by default, it would stop for the news of each packet.
	 */
	sk_pacing_shift_update(skb->sk, TCP_AHEAD_SHIFT);
	if (pool) {
		raw_spin_lock_irqsave(&pool->lock, flags);
		i = pool->free;
		if (i != SLOT_NONE) {
			pool->free = pool->slot[i].next;
			pool->slot[i].skb = skb;
			pool->lent++;
		}
		raw_spin_unlock_irqrestore(&pool->lock, flags);
	}
	if (i == SLOT_NONE)
		return nooks_skb_track(nk, skb, GFP_ATOMIC) ? NULL : skb;
	pool_show(pool_shadow(pool, i), skb, true);
	return pool_shadow(pool, i);
}

/* ---- taking it back -------------------------------------------------------------------------- */

static void pool_free_own(struct pool *pool, unsigned int i)
{
	/* after all that was read of it: the driver may take it at once */
	smp_store_release(&pool->p.dom->used[i - pool->p.nsent], 0);
}

static void pool_free_slot(struct pool *pool, unsigned int i)
{
	pool->slot[i].skb = NULL;
	if (i < pool->p.nsent) {
		pool->slot[i].next = pool->free;
		pool->free = i;
		pool->lent--;
	} else {
		pool_free_own(pool, i);
	}
}

/*
 * The real packet of slot @i, which is free then; NULL if there is none, another one than @want, or
 * a wrapper has it.
 */
static struct sk_buff *pool_claim(struct pool *pool, unsigned int i, const struct sk_buff *want)
{
	struct sk_buff *skb;
	unsigned long flags;

	raw_spin_lock_irqsave(&pool->lock, flags);
	skb = pool->slot[i].busy ? NULL : pool->slot[i].skb;
	if (want && skb != want)
		skb = NULL;
	if (skb)
		pool_free_slot(pool, i);
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return skb;
}

bool nooks_skb_give_back(struct nook *nk, struct sk_buff *skb, struct sk_buff *shown)
{
	if (shown == skb)
		return nooks_skb_untrack(nk, skb);
	return pool_claim(pool_of(nk), pool_index(pool_of(nk), shown), skb);
}

bool nooks_skb_is_shadow(struct nook *nk, const struct sk_buff *skb)
{
	return skb_pool_has(nk->skbs, skb);
}

/* ---- for skb.c: what a driver's pointer stands for ------------------------------------------- */

/* A packet that came with ndo_start_xmit and has changed its data or lengths since. */
static bool pool_sync(struct xpc *x, const char *fn, struct sk_buff *shadow, struct sk_buff *skb)
{
	struct skb_image im;
	unsigned int off;

	if (skb_image_take(&im, shadow, skb_end_offset(skb)) && im.skb.data_len == skb->data_len) {
		off = im.skb.data - im.skb.head;
		skb->data = skb->head + off;
		skb->tail = im.skb.tail;
		skb->len = im.skb.len;
		return true;
	}
	nooks_reject(x, "%s(skb): its lengths are not consistent", fn);
	return false;
}

struct sk_buff *nooks_skb_open(struct xpc *x, const char *fn, struct sk_buff *shadow)
{
	struct pool *pool = pool_of(x->nook);
	struct sk_buff *skb = NULL;
	struct slot *s;
	unsigned long flags;
	int i = pool_index(pool, shadow);

	if (i < 0) {
		nooks_reject(x, "%s(skb): points into a packet", fn);
		return NULL;
	}
	s = &pool->slot[i];
	raw_spin_lock_irqsave(&pool->lock, flags);
	if (!s->busy && (s->skb || i >= pool->p.nsent)) {
		s->busy = true;
		skb = s->skb;
	} else {
		i = -1;
	}
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	if (i < 0) {
		nooks_reject(x, "%s(skb): given away already, or used elsewhere", fn);
		return NULL;
	}
	if (skb) {
		if (pool_sync(x, fn, shadow, skb))
			return skb;
	} else {
		skb = nooks_skb_build(x, fn, shadow, NULL);
		if (skb) {
			s->skb = skb;
			return skb;
		}
		if (!x->faulted)
			nooks_reject(x, "%s(skb): no memory", fn);
	}
	s->busy = false;
	return NULL;
}

void nooks_skb_close(struct xpc *x, struct sk_buff *shadow)
{
	struct pool *pool = pool_of(x->nook);
	int i = pool_index(pool, shadow);

	pool_show(shadow, pool->slot[i].skb, i < pool->p.nsent);
	smp_store_release(&pool->slot[i].busy, false);	/* after the shadow is what the packet is */
}

/* An "own" slot that nothing stands behind: its fragment, or its pages, go too. */
static bool pool_discard(struct xpc *x, const char *fn, struct pool *pool, unsigned int i)
{
	struct sk_buff *shadow = pool_shadow(pool, i);
	void *head = READ_ONCE(shadow->head);
	struct sk_buff *skb = NULL;
	struct tracked *t;

	if (!READ_ONCE(pool->p.dom->used[i - pool->p.nsent])) {
		nooks_reject(x, "%s(skb): freed already", fn);
		return false;
	}
	if (head != (void *)shadow + SKB_SHADOW_STRUCT) {
		t = nooks_frag_take(x->nook, head);
		if (t) {
			page_frag_free((void *)t->it.start);
			objtrack_put(t);
		}
	} else if (READ_ONCE(shadow->data_len)) {
		skb = nooks_skb_build(x, fn, shadow, NULL);
	}
	if (skb)
		dev_kfree_skb_any(skb);
	pool_free_own(pool, i);
	return true;
}

struct sk_buff *nooks_skb_drop_shadow(struct xpc *x, const char *fn, struct sk_buff *shadow)
{
	struct pool *pool = pool_of(x->nook);
	int i = pool_index(pool, shadow);
	struct sk_buff *skb = i < 0 ? NULL : pool_claim(pool, i, NULL);

	if (skb)
		return skb;
	if (i < (int)pool->p.nsent || READ_ONCE(pool->slot[i].busy))
		nooks_reject(x, "%s(skb): not an sk_buff of this nook", fn);
	else
		pool_discard(x, fn, pool, i);
	return NULL;
}

/* @received: by a device of the nook */
static struct sk_buff *pool_present(struct xpc *x, const char *fn, struct sk_buff *skb,
				    bool received)
{
	if (likely(received && nooks_skb_presentable(skb)))
		return skb;
	dev_kfree_skb_any(skb);
	if (!received)
		nooks_reject(x, "%s(skb): its device is none of this nook", fn);
	return NULL;
}

/* A packet that was built before, for another function than the one that receives. */
static struct sk_buff *pool_hand_up_built(struct xpc *x, const char *fn, struct pool *pool,
					  unsigned int i)
{
	struct sk_buff *shadow = pool_shadow(pool, i), *skb, from;

	if (!pool_sync(x, fn, shadow, pool->slot[i].skb))
		return NULL;
	memcpy(&from, shadow, sizeof(from));
	skb = pool_claim(pool, i, NULL);
	if (!skb)
		return NULL;
	skb_image_apply(&from, skb);
	if (from.mac_header <= skb_headroom(skb))
		skb->mac_header = from.mac_header;
	return pool_present(x, fn, skb, skb->dev &&
			    objtrack_has(x->nook, OBJ_NET_DEVICE, skb->dev));
}

struct sk_buff *nooks_skb_hand_up(struct xpc *x, const char *fn, struct sk_buff *shadow,
				  struct napi_struct *napi)
{
	struct pool *pool = pool_of(x->nook);
	int i = pool_index(pool, shadow);
	struct sk_buff *skb;

	if (i < (int)pool->p.nsent || READ_ONCE(pool->slot[i].busy) ||
	    !READ_ONCE(pool->p.dom->used[i - pool->p.nsent])) {
		nooks_reject(x, "%s(skb): not a packet that can be received", fn);
		return NULL;
	}
	if (pool->slot[i].skb)
		return pool_hand_up_built(x, fn, pool, i);
	skb = nooks_skb_build(x, fn, shadow, napi);
	pool_free_own(pool, i);
	return skb ? pool_present(x, fn, skb, skb->dev) : NULL;
}

bool nooks_skb_has_frag(const struct sk_buff *skb, struct page *page, size_t offset, size_t size)
{
	const struct skb_shared_info *si = skb_shinfo(skb);
	int i, n = min_t(int, READ_ONCE(si->nr_frags), MAX_SKB_FRAGS);

	for (i = 0; i < n; i++) {
		const skb_frag_t *f = &si->frags[i];
		size_t at = (page_to_pfn(page) - page_to_pfn(skb_frag_page(f))) * PAGE_SIZE +
			    offset;

		if (at >= skb_frag_off(f) && size <= skb_frag_size(f) &&
		    at - skb_frag_off(f) <= skb_frag_size(f) - size)
			return true;
	}
	return false;
}

static bool pool_holds_head(const struct sk_buff *skb, const void *p, size_t len)
{
	const u8 *at = p;

	return at >= skb->head && len <= skb->end && at - skb->head <= skb->end - len;
}

/*
 * Does a packet that was lent hold these bytes: in its head, or, if they are given by page, in a
 * fragment? Under the lock none is freed that the driver has.
 */
static bool pool_holds(struct nook *nk, const void *p, size_t size, struct page *page,
		       size_t offset)
{
	struct pool *pool = pool_of(nk);
	bool hit = false;
	unsigned long flags;
	unsigned int i;

	if (!pool)
		return false;
	raw_spin_lock_irqsave(&pool->lock, flags);
	for (i = 0; i < pool->p.nsent && !hit; i++) {
		const struct sk_buff *skb = pool->slot[i].skb;

		hit = skb && (pool_holds_head(skb, p, size) ||
			      (page && nooks_skb_has_frag(skb, page, offset, size)));
	}
	raw_spin_unlock_irqrestore(&pool->lock, flags);
	return hit;
}

bool nooks_skb_holds(struct nook *nk, const void *p, size_t len)
{
	return pool_holds(nk, p, len, NULL, 0);
}

bool nooks_skb_holds_page(struct nook *nk, struct page *page, size_t offset, size_t size)
{
	return pool_holds(nk, page_address(page) + offset, size, page, offset);
}
