// SPDX-License-Identifier: GPL-2.0-only
/*
 * skb.c - packets that a nook holds
 *
 * A driver may write an skb's lengths, pointers and fragments (checked writes), so nothing of them
 * is believed when the skb crosses: the lengths must agree with the tracked buffer, and fragments
 * must be as they were when the skb came, or pages of the nook. The fragments' state is kept as a
 * keyed hash, because a nook holds thousands of packets.
 *
 * OBJ_SK_BUFF: twin = head, data[0] = SKB_*, data[1] = hash. OBJ_SKB_DATA: data[0] = allocated by
 * the driver, so that its device may write it; else the skb_shared_info is left out.
 *
 * Context: any but NMI, kernel view.
 */
#include <linux/delay.h>
#include <linux/etherdevice.h>
#include <linux/hardirq.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/random.h>
#include <linux/sizes.h>
#include <linux/siphash.h>
#include <linux/skbuff.h>
#include "wrappers.h"

#define SKB_OWN		1	/* allocated by the driver */
#define SKB_NAPI	2	/* napi->skb: the kernel's, filled by the driver */
#define SKB_HOW		(SKB_OWN | SKB_NAPI)
#define SKB_HELD	4	/* out of use; only to be freed */
#define SKB_BITS	8	/* skb_state() */
#define SKB_CHARGE	32
#define SKB_SIZE_MAX	SZ_128K

/* What a driver adds to an skb of its own. */
struct skb_frag_state {
	u64 nr_frags, flags;
	void *frag_list, *destructor_arg;
	skb_frag_t frags[MAX_SKB_FRAGS];
};

static siphash_aligned_key_t skb_key __ro_after_init;

/* Not net_get_random_once(), which patches our text while packets flow. */
void __init nooks_skb_init(void)
{
	get_random_bytes(&skb_key, sizeof(skb_key));
}

static u64 skb_hash(const struct sk_buff *skb, u32 how)
{
	const struct skb_shared_info *si = skb_shinfo(skb);
	unsigned int n = min_t(unsigned int, READ_ONCE(si->nr_frags), MAX_SKB_FRAGS);
	struct skb_frag_state st;

	if (!(how & SKB_OWN))
		return 0;		/* not writable */
	st.nr_frags = si->nr_frags;
	st.flags = si->flags;
	st.frag_list = si->frag_list;
	st.destructor_arg = si->destructor_arg;
	memcpy(st.frags, si->frags, n * sizeof(skb_frag_t));
	return siphash(&st, offsetof(struct skb_frag_state, frags[n]), &skb_key);
}

/* What decides how an skb is freed, and lies beside what a driver may write. */
static u64 skb_state(const struct sk_buff *skb, u32 how)
{
	u64 bits = skb->cloned | skb->nohdr << 1 | skb->fclone << 2 | skb->head_frag << 4 |
		   skb->pp_recycle << 5;

	/* a socket has been charged with the size of a packet that was lent */
	return how | bits << SKB_BITS | (how & SKB_OWN ? 0 : (u64)skb->truesize << SKB_CHARGE);
}

static void skb_restore(struct sk_buff *skb, u64 state)
{
	u64 bits = state >> SKB_BITS;

	skb->cloned = bits;
	skb->nohdr = bits >> 1;
	skb->fclone = bits >> 2;
	skb->head_frag = bits >> 4;
	skb->pp_recycle = bits >> 5;
	if (!(state & SKB_OWN))
		skb->truesize = state >> SKB_CHARGE;
}

/* The skb_shared_info of a packet that was lent may be in use by clones: not to be written. */
static size_t skb_room(const struct sk_buff *skb, u32 how)
{
	return skb_end_offset(skb) + (how & SKB_OWN ? sizeof(struct skb_shared_info) : 0);
}

static int skb_track(struct nook *nk, struct sk_buff *skb, u32 how, gfp_t gfp)
{
	if (nooks_track(nk, OBJ_SKB_DATA, skb->head, skb_room(skb, how), skb, how & SKB_OWN, 0,
			gfp))
		return -ENOMEM;
	if (!nooks_track(nk, OBJ_SK_BUFF, skb, sizeof(*skb), skb->head, skb_state(skb, how),
			 skb_hash(skb, how), gfp))
		return 0;
	objtrack_del(nk, OBJ_SKB_DATA, skb->head);
	return -ENOMEM;
}

int nooks_skb_track(struct nook *nk, struct sk_buff *skb, gfp_t gfp)
{
	return skb_track(nk, skb, 0, gfp);
}

/* ---- may the kernel believe it? ------------------------------------------------------------- */

/* It can be freed as it came; its fragments are as they came, or made of pages of this nook. */
static bool skb_frags_ok(struct nook *nk, struct sk_buff *skb, struct tracked *t)
{
	const struct skb_shared_info *si = skb_shinfo(skb);
	u32 how = t->data[0] & SKB_HOW;
	int i;

	if (skb->head != t->twin || skb_state(skb, how) != t->data[0])
		return false;
	if (!(how & SKB_OWN))
		return true;
	if (atomic_read(&si->dataref) != 1)
		return false;
	if (skb_hash(skb, how) == t->data[1])
		return true;
	if (si->nr_frags > MAX_SKB_FRAGS || si->frag_list || si->flags)
		return false;
	for (i = 0; i < si->nr_frags; i++)
		if (!nooks_page_holds(nk, skb_frag_page(&si->frags[i]), skb_frag_off(&si->frags[i]),
				      skb_frag_size(&si->frags[i])))
			return false;
	return true;
}

/* The pages of fragments that the driver has added belong to the skb now. */
static bool skb_take_pages(struct nook *nk, struct sk_buff *skb, struct tracked *t)
{
	const struct skb_shared_info *si = skb_shinfo(skb);
	int i;

	if (skb_hash(skb, t->data[0]) == t->data[1])
		return true;
	for (i = 0; i < si->nr_frags; i++)
		if (!objtrack_del(nk, OBJ_PAGE, skb_frag_page(&si->frags[i])))
			return false;
	return true;
}

static bool skb_lengths_ok(struct sk_buff *skb)
{
	const struct skb_shared_info *si = skb_shinfo(skb);
	u64 paged = 0;
	int i;

	if (skb->data < skb->head || skb->data_len > skb->len ||
	    skb->data - skb->head > skb_end_offset(skb) ||
	    skb_headlen(skb) > skb_end_offset(skb) ||
	    skb->tail > skb_end_offset(skb) ||
	    skb->data + skb_headlen(skb) != skb_tail_pointer(skb))
		return false;
	for (i = 0; i < min_t(int, si->nr_frags, MAX_SKB_FRAGS); i++)
		paged += skb_frag_size(&si->frags[i]);
	return si->frag_list ? paged <= skb->data_len : paged == skb->data_len;
}

static bool skb_dev_ok(struct nook *nk, struct sk_buff *skb)
{
	return !skb->dev || objtrack_has(nk, OBJ_NET_DEVICE, skb->dev);
}

/* ---- use ------------------------------------------------------------------------------------ */

static void skb_done(struct tracked *t)
{
	objtrack_unclaim(t);
	objtrack_put(t);
}

/* Not while another call works on it, or frees it. */
static struct tracked *skb_claim(struct nook *nk, const struct sk_buff *skb)
{
	struct tracked *t = objtrack_find(nk, OBJ_SK_BUFF, skb);

	if (!t || objtrack_claim(t))
		return t;
	objtrack_put(t);
	return NULL;
}

/*
 * The tracked entry of an skb whose lengths and fragments the kernel may follow, for skb_done(); or
 * rejected.
 */
static struct tracked *skb_use(struct xpc *x, const char *fn, struct sk_buff *skb)
{
	struct tracked *t = skb_claim(x->nook, skb);

	if (!t) {
		nooks_reject(x, "%s(skb): not a tracked sk_buff, or used elsewhere", fn);
		return NULL;
	}
	if (skb_frags_ok(x->nook, skb, t) && skb_lengths_ok(skb) && skb_dev_ok(x->nook, skb))
		return t;
	nooks_reject(x, "%s(skb): its lengths, fragments or device are not consistent", fn);
	skb_done(t);
	return NULL;
}

/* The kernel has changed the skb on the driver's behalf. */
static void skb_changed(struct xpc *x, struct sk_buff *skb, struct tracked *t)
{
	u32 how = t->data[0] & SKB_HOW;

	if (skb->head != t->twin) {
		objtrack_del(x->nook, OBJ_SKB_DATA, t->twin);
		if (nooks_track(x->nook, OBJ_SKB_DATA, skb->head, skb_room(skb, how), skb,
				how & SKB_OWN, 0, GFP_ATOMIC))
			nooks_reject(x, "no memory to track an skb's buffer");
		t->twin = skb->head;
	}
	t->data[0] = skb_state(skb, how);
	t->data[1] = skb_hash(skb, how);
}

static void skb_forget(struct nook *nk, struct tracked *t)
{
	objtrack_del(nk, OBJ_SKB_DATA, t->twin);
	objtrack_put(t);
}

bool nooks_skb_untrack(struct nook *nk, struct sk_buff *skb)
{
	struct tracked *t = skb_claim(nk, skb);
	bool ok;

	if (!t)
		return false;
	ok = !(t->data[0] & SKB_NAPI) && skb_frags_ok(nk, skb, t) && skb_lengths_ok(skb) &&
	     skb_take_pages(nk, skb, t);
	if (ok) {
		objtrack_drop(t);
		objtrack_del(nk, OBJ_SKB_DATA, t->twin);
	}
	skb_done(t);
	return ok;
}

/* Make it safe to free: what hangs on it is lost, if the driver could have hung it there. */
static void skb_disarm(struct sk_buff *skb, struct tracked *t)
{
	struct skb_shared_info *si;

	skb->head = t->twin;
	skb_restore(skb, t->data[0]);
	if (!(t->data[0] & SKB_OWN))
		return;
	si = skb_shinfo(skb);
	si->nr_frags = 0;
	si->frag_list = NULL;
	si->flags = 0;
	atomic_set(&si->dataref, 1);
	skb->len = 0;
	skb->data_len = 0;
	skb->data = skb->head;
	skb_reset_tail_pointer(skb);
}

static bool skb_up_ok(struct sk_buff *skb)
{
	return skb->ip_summed != CHECKSUM_PARTIAL && !skb_shinfo(skb)->gso_size &&
	       !skb_shared(skb) && skb->dev;
}

static bool skb_give(struct xpc *x, const char *fn, struct sk_buff *skb, u32 how)
{
	struct tracked *t = skb_use(x, fn, skb);
	bool ok;

	if (!t)
		return false;
	ok = skb_up_ok(skb) && (t->data[0] & SKB_NAPI) == how &&
	     skb_take_pages(x->nook, skb, t);
	if (ok) {
		objtrack_drop(t);
		objtrack_del(x->nook, OBJ_SKB_DATA, t->twin);
	}
	skb_done(t);
	if (!ok) {
		nooks_reject(x, "%s(skb): not a packet that can be received", fn);
		return false;
	}
	/* of napi->skb the header is still to be pulled */
	if (nooks_skb_presentable(skb) || how)
		return true;
	dev_kfree_skb_any(skb);
	return false;
}

struct sk_buff *wrap_skb_take(struct xpc *x, const char *fn, u64 arg, struct napi_struct *napi)
{
	struct sk_buff *skb = (struct sk_buff *)arg;

	if (nooks_skb_is_shadow(x->nook, skb))
		return nooks_skb_hand_up(x, fn, skb, napi);
	return skb_give(x, fn, skb, 0) ? skb : NULL;
}

bool wrap_skb_take_napi(struct xpc *x, const char *fn, struct sk_buff *skb)
{
	return skb_give(x, fn, skb, SKB_NAPI);
}

bool nooks_skb_lend_napi(struct nook *nk, struct sk_buff *skb)
{
	return objtrack_has(nk, OBJ_SK_BUFF, skb) ||
	       !skb_track(nk, skb, SKB_OWN | SKB_NAPI, GFP_ATOMIC);
}

void nooks_skb_unlend_napi(struct nook *nk, struct sk_buff *skb)
{
	struct tracked *t = objtrack_take(nk, OBJ_SK_BUFF, skb);

	if (!t)
		return;
	while (smp_load_acquire(&t->busy))	/* pairs with objtrack_unclaim() */
		usleep_range(20, 200);
	skb_disarm(skb, t);
	skb_forget(nk, t);
}

/* The fragments that are the nook's become the skb's, or others than it has are not freed. */
static void skb_retire(struct nook *nk, struct tracked *t)
{
	struct sk_buff *skb = (struct sk_buff *)t->it.start;

	if (t->data[0] & SKB_HELD)
		return;
	if (t->data[0] & SKB_NAPI || !skb_frags_ok(nk, skb, t) || !skb_take_pages(nk, skb, t))
		skb_disarm(skb, t);
	objtrack_del(nk, OBJ_SKB_DATA, t->twin);
	t->data[0] |= SKB_HELD;
}

/* Those to be sent have senders who wait for them; a device only reads them. */
bool nooks_hold_sk_buff(struct nook *nk, struct tracked *t)
{
	if ((t->data[0] & SKB_HOW) != SKB_OWN)
		return false;
	skb_retire(nk, t);
	return true;
}

void nooks_release_sk_buff(struct nook *nk, struct tracked *t)
{
	skb_retire(nk, t);
	if (!(t->data[0] & SKB_NAPI))
		dev_kfree_skb_any((struct sk_buff *)t->it.start);
}

/* ---- allocation ----------------------------------------------------------------------------- */

static u64 skb_new(struct xpc *x, struct sk_buff *skb)
{
	if (!skb)
		return 0;
	if (!nook_may_have(x, skb->truesize) || skb_track(x->nook, skb, SKB_OWN, GFP_ATOMIC)) {
		dev_kfree_skb_any(skb);
		return 0;
	}
	return (u64)skb;
}

/* (size, gfp, flags, node) */
u64 wrap___alloc_skb(struct xpc *x, const u64 *a)
{
	int flags = a[2] & (SKB_ALLOC_RX | SKB_ALLOC_FCLONE);

	if (a[0] > SKB_SIZE_MAX)
		return 0;
	return skb_new(x, __alloc_skb(a[0], wrap_gfp(a[1]), flags, NUMA_NO_NODE));
}

/* (dev, length, gfp) */
u64 wrap___netdev_alloc_skb(struct xpc *x, const u64 *a)
{
	struct net_device *dev = (struct net_device *)a[0];

	if (!arg_obj_or_null(x, "__netdev_alloc_skb", "dev", OBJ_NET_DEVICE, dev) ||
	    (u32)a[1] > SKB_SIZE_MAX)
		return 0;
	return skb_new(x, __netdev_alloc_skb(dev, a[1], wrap_gfp(a[2])));
}

/* (napi, length, gfp) */
u64 wrap___napi_alloc_skb(struct xpc *x, const u64 *a)
{
	static const char fn[] = "__napi_alloc_skb";
	struct tracked *t;
	struct sk_buff *skb;

	if (!in_softirq() || in_hardirq())
		return nooks_reject(x, "%s: not in softirq context", fn);
	if ((u32)a[1] > SKB_SIZE_MAX)
		return 0;
	t = objtrack_find(x->nook, OBJ_NAPI_STRUCT, (void *)a[0]);
	if (!t || !t->twin) {
		if (t)
			objtrack_put(t);
		return nooks_reject(x, "%s(napi): not a tracked napi_struct", fn);
	}
	skb = __napi_alloc_skb(nooks_napi_of(t), a[1], wrap_gfp(a[2]));
	objtrack_put(t);
	return skb_new(x, skb);
}

/* (data, frag_size): the fragment becomes the skb's head */
u64 wrap_napi_build_skb(struct xpc *x, const u64 *a)
{
	static const char fn[] = "napi_build_skb";
	unsigned int size = a[1];
	struct tracked *t;
	struct sk_buff *skb;

	if (!in_softirq() || in_hardirq())
		return nooks_reject(x, "%s: not in softirq context", fn);
	t = nooks_frag_take(x->nook, (void *)a[0]);
	if (!t)
		return nooks_reject(x, "%s(data): not a fragment of this nook", fn);
	if (size > SKB_DATA_ALIGN(t->data[0]) ||
	    size < SKB_DATA_ALIGN(sizeof(struct skb_shared_info)) + L1_CACHE_BYTES) {
		nooks_reject(x, "%s(frag_size): %u of a fragment of %llu", fn, size, t->data[0]);
		page_frag_free((void *)a[0]);
		objtrack_put(t);
		return 0;
	}
	skb = napi_build_skb((void *)a[0], size);
	if (!skb && nooks_track(x->nook, OBJ_PAGE_FRAG, (void *)a[0], t->data[0], NULL, t->data[0],
				0, GFP_ATOMIC))
		nooks_reject(x, "%s: no memory", fn);
	objtrack_put(t);
	return skb_new(x, skb);
}

/* ---- freeing -------------------------------------------------------------------------------- */

/* The real packet, which is the caller's to free; NULL if there is none. */
static struct sk_buff *skb_drop(struct xpc *x, const char *fn, u64 arg)
{
	struct sk_buff *skb = (struct sk_buff *)arg;

	if (!skb)
		return NULL;
	if (nooks_skb_is_shadow(x->nook, skb))
		return nooks_skb_drop_shadow(x, fn, skb);
	if (nooks_skb_untrack(x->nook, skb))
		return skb;
	nooks_reject(x, "%s(skb): not an sk_buff of this nook, or its fragments are not", fn);
	return NULL;
}

u64 wrap_consume_skb(struct xpc *x, const u64 *a)
{
	dev_consume_skb_any(skb_drop(x, "consume_skb", a[0]));
	return 0;
}

u64 wrap_kfree_skb_reason(struct xpc *x, const u64 *a)
{
	dev_kfree_skb_any(skb_drop(x, "kfree_skb_reason", a[0]));
	return 0;
}

/* (skb, reason) */
u64 wrap___dev_kfree_skb_any(struct xpc *x, const u64 *a)
{
	struct sk_buff *skb = skb_drop(x, "__dev_kfree_skb_any", a[0]);

	if ((u32)a[1] == SKB_REASON_CONSUMED)
		dev_consume_skb_any(skb);
	else
		dev_kfree_skb_any(skb);
	return 0;
}

/* (skb, reason) */
u64 wrap___dev_kfree_skb_irq(struct xpc *x, const u64 *a)
{
	dev_kfree_skb_any(skb_drop(x, "__dev_kfree_skb_irq", a[0]));
	return 0;
}

/* (skb, budget): with a budget it goes to a per-CPU cache that only softirq may touch */
u64 wrap_napi_consume_skb(struct xpc *x, const u64 *a)
{
	struct sk_buff *skb = skb_drop(x, "napi_consume_skb", a[0]);
	bool cache = in_softirq() && !in_hardirq() && !irqs_disabled();

	napi_consume_skb(skb, cache ? !!(u32)a[1] : 0);
	return 0;
}

/* ---- changing ------------------------------------------------------------------------------- */

/* An argument: the real packet, and what the driver knows it by. */
struct skb_arg {
	struct sk_buff *skb, *shadow;
	struct tracked *t;		/* NULL for a shadow */
};

static bool skb_begin(struct xpc *x, const char *fn, u64 arg, struct skb_arg *s)
{
	s->shadow = (struct sk_buff *)arg;
	s->t = NULL;
	if (nooks_skb_is_shadow(x->nook, s->shadow)) {
		s->skb = nooks_skb_open(x, fn, s->shadow);
		return s->skb;
	}
	s->skb = s->shadow;
	s->t = skb_use(x, fn, s->skb);
	return s->t;
}

static void skb_end(struct xpc *x, struct skb_arg *s)
{
	if (s->t)
		skb_done(s->t);
	else
		nooks_skb_close(x, s->shadow);
}

static void skb_end_changed(struct xpc *x, struct skb_arg *s)
{
	if (s->t)
		skb_changed(x, s->skb, s->t);
	skb_end(x, s);
}

/* Not shared, and its fragments are its own. */
static bool skb_may_change(struct xpc *x, struct skb_arg *s)
{
	return !skb_shared(s->skb) && (!s->t || skb_take_pages(x->nook, s->skb, s->t));
}

/* Not skb_end_changed(): what is wrong with it must stay visible. */
static u64 skb_refuse(struct xpc *x, struct skb_arg *s, const char *what, int value)
{
	skb_end(x, s);
	return nooks_reject(x, "%s: %d, or the skb is shared", what, value);
}

/* The runtime does these for a shadow, unless the driver asks for what cannot be. */
static bool skb_beyond(struct xpc *x, const char *fn, u64 arg, unsigned int len)
{
	const struct sk_buff *skb = (const struct sk_buff *)arg;

	if (!nooks_skb_is_shadow(x->nook, skb))
		return false;
	nooks_reject(x, "%s(len): %u, beyond the buffer or the data in its head", fn, len);
	return true;
}

/* (skb, len) */
u64 wrap_skb_put(struct xpc *x, const u64 *a)
{
	struct sk_buff *skb = (struct sk_buff *)a[0];
	unsigned int len = a[1];
	struct tracked *t;
	u64 ret = 0;

	if (skb_beyond(x, "skb_put", a[0], len))
		return 0;
	t = skb_use(x, "skb_put", skb);
	if (!t)
		return 0;
	if (skb_is_nonlinear(skb) || len > skb_tailroom(skb))
		nooks_reject(x, "skb_put(len): %u, but there is room for %d", len,
			     skb_tailroom(skb));
	else
		ret = (u64)skb_put(skb, len);
	skb_done(t);
	return ret;
}

/* (skb, len) */
u64 wrap_skb_push(struct xpc *x, const u64 *a)
{
	struct sk_buff *skb = (struct sk_buff *)a[0];
	unsigned int len = a[1];
	struct tracked *t;
	u64 ret = 0;

	if (skb_beyond(x, "skb_push", a[0], len))
		return 0;
	t = skb_use(x, "skb_push", skb);
	if (!t)
		return 0;
	if (len > skb_headroom(skb))
		nooks_reject(x, "skb_push(len): %u, but there is room for %u", len,
			     skb_headroom(skb));
	else
		ret = (u64)skb_push(skb, len);
	skb_done(t);
	return ret;
}

/* (skb, len) */
u64 wrap_skb_pull(struct xpc *x, const u64 *a)
{
	struct sk_buff *skb = (struct sk_buff *)a[0];
	unsigned int len = a[1];
	struct tracked *t;
	u64 ret = 0;

	if (skb_beyond(x, "skb_pull", a[0], len))
		return 0;
	t = skb_use(x, "skb_pull", skb);
	if (!t)
		return 0;
	if (len > skb_headlen(skb) && len <= skb->len)
		nooks_reject(x, "skb_pull(len): %u of %u in the head", len, skb_headlen(skb));
	else
		ret = (u64)skb_pull(skb, len);
	skb_done(t);
	return ret;
}

/* (skb, len) */
u64 wrap_skb_trim(struct xpc *x, const u64 *a)
{
	struct sk_buff *skb = (struct sk_buff *)a[0];
	struct tracked *t;

	if (skb_beyond(x, "skb_trim", a[0], a[1]))
		return 0;
	t = skb_use(x, "skb_trim", skb);
	if (!t)
		return 0;
	if (skb_is_nonlinear(skb))
		nooks_reject(x, "skb_trim(skb): has fragments");
	else
		skb_trim(skb, a[1]);
	skb_done(t);
	return 0;
}

/* (skb, len) */
u64 wrap____pskb_trim(struct xpc *x, const u64 *a)
{
	struct skb_arg s;
	int ret = 0;

	if (!skb_begin(x, "___pskb_trim", a[0], &s))
		return 0;
	if (!skb_may_change(x, &s))
		return skb_refuse(x, &s, "___pskb_trim(len)", (int)a[1]);
	if ((u32)a[1] < s.skb->len)
		ret = ___pskb_trim(s.skb, a[1]);
	skb_end_changed(x, &s);
	return ret;
}

/* (skb, delta) */
u64 wrap___pskb_pull_tail(struct xpc *x, const u64 *a)
{
	int delta = (int)a[1];
	struct skb_arg s;
	bool ok;

	if (!skb_begin(x, "__pskb_pull_tail", a[0], &s))
		return 0;
	if (delta <= 0 || delta > s.skb->data_len || !skb_may_change(x, &s))
		return skb_refuse(x, &s, "__pskb_pull_tail(delta)", delta);
	ok = __pskb_pull_tail(s.skb, delta);
	skb_end_changed(x, &s);
	/* the kernel's result is the tail, and only looked at for NULL */
	return ok ? (u64)skb_tail_pointer(s.shadow) : 0;
}

/* (skb, nhead, ntail, gfp) */
u64 wrap_pskb_expand_head(struct xpc *x, const u64 *a)
{
	int nhead = (int)a[1], ntail = (int)a[2], ret;
	struct skb_arg s;

	if (!skb_begin(x, "pskb_expand_head", a[0], &s))
		return 0;
	if (nhead < 0 || nhead > SZ_64K || ntail < 0 || ntail > SZ_64K || !skb_may_change(x, &s))
		return skb_refuse(x, &s, "pskb_expand_head(nhead)", nhead);
	ret = pskb_expand_head(s.skb, nhead, ntail, wrap_gfp(a[3]));
	skb_end_changed(x, &s);
	return ret;
}

/* (skb, pad, free_on_error): freed by us on error, after it was untracked */
u64 wrap___skb_pad(struct xpc *x, const u64 *a)
{
	int pad = (int)a[1], ret;
	struct skb_arg s;

	if (!skb_begin(x, "__skb_pad", a[0], &s))
		return 0;
	if (pad < 0 || pad > SZ_64K || !skb_may_change(x, &s))
		return skb_refuse(x, &s, "__skb_pad(pad)", pad);
	ret = __skb_pad(s.skb, pad, false);
	skb_end_changed(x, &s);
	if (ret && (a[2] & 0xff))
		dev_kfree_skb_any(skb_drop(x, "__skb_pad", a[0]));
	return ret;
}

/* (skb, offset, to, len) */
u64 wrap_skb_copy_bits(struct xpc *x, const u64 *a)
{
	int off = (int)a[1], len = (int)a[3], ret = -EFAULT;
	struct skb_arg s;
	void *to;

	if (len <= 0)
		return len ? -EFAULT : 0;
	to = arg_writable(x, "skb_copy_bits", "to", (void *)a[2], len);
	if (!to || !skb_begin(x, "skb_copy_bits", a[0], &s))
		return 0;
	if (off >= 0)
		ret = skb_copy_bits(s.skb, off, to, len);
	skb_end(x, &s);
	return ret;
}

/* (skb, dev) */
u64 wrap_eth_type_trans(struct xpc *x, const u64 *a)
{
	struct net_device *dev = (struct net_device *)a[1];
	struct skb_arg s;
	u64 ret = 0;

	if (!arg_obj(x, "eth_type_trans", "dev", OBJ_NET_DEVICE, dev) ||
	    !skb_begin(x, "eth_type_trans", a[0], &s))
		return 0;
	/* a header in the fragments would be a BUG in the kernel's pull */
	if (skb_headlen(s.skb) < ETH_HLEN && s.skb->data_len)
		nooks_reject(x, "eth_type_trans(skb): no header");
	else
		ret = (__force u16)eth_type_trans(s.skb, dev);
	skb_end(x, &s);
	return ret;
}

/* (skb, hwtstamps) */
u64 wrap_skb_tstamp_tx(struct xpc *x, const u64 *a)
{
	struct skb_shared_hwtstamps stamp;
	struct skb_arg s;

	if (a[1] && !arg_readable(x, "skb_tstamp_tx", "hwtstamps", (void *)a[1], sizeof(stamp)))
		return 0;
	if (a[1])
		memcpy(&stamp, (void *)a[1], sizeof(stamp));
	if (!skb_begin(x, "skb_tstamp_tx", a[0], &s))
		return 0;
	skb_tstamp_tx(s.skb, a[1] ? &stamp : NULL);
	skb_end(x, &s);
	return 0;
}

u64 wrap_skb_defer_rx_timestamp(struct xpc *x, const u64 *a)
{
	return 0;	/* only for a PHY that time-stamps, which no nook has */
}

static bool skb_checksum_inside(const struct sk_buff *skb)
{
	int start = skb_checksum_start_offset(skb);

	return skb->ip_summed != CHECKSUM_PARTIAL ||
	       (start >= 0 && start <= skb_headlen(skb) &&
		start + skb->csum_offset + sizeof(__sum16) <= skb->len);
}

/* (skb, to): the kernel has a BUG for a checksum that starts behind the head */
u64 wrap_skb_copy_and_csum_dev(struct xpc *x, const u64 *a)
{
	static const char fn[] = "skb_copy_and_csum_dev";
	struct skb_arg s;
	void *to;

	if (!skb_begin(x, fn, a[0], &s))
		return 0;
	to = arg_writable(x, fn, "to", (void *)a[1], s.skb->len);
	if (!skb_checksum_inside(s.skb))
		nooks_reject(x, "%s(skb): its checksum lies outside of it", fn);
	else if (to)
		skb_copy_and_csum_dev(s.skb, to);
	skb_end(x, &s);
	return 0;
}

/* Where the kernel would write the checksum, without a warning. */
static bool skb_checksum_fits(const struct sk_buff *skb)
{
	int start = skb_checksum_start_offset(skb), room = skb_headlen(skb);

	return skb->ip_summed == CHECKSUM_COMPLETE ||
	       (skb->ip_summed == CHECKSUM_PARTIAL && !skb_is_gso(skb) && start >= 0 &&
		start < room && start + skb->csum_offset + (int)sizeof(__sum16) <= room);
}

/* (skb): what the hardware cannot do */
u64 wrap_skb_checksum_help(struct xpc *x, const u64 *a)
{
	static const char fn[] = "skb_checksum_help";
	struct skb_arg s;
	int ret;

	if (!skb_begin(x, fn, a[0], &s))
		return 0;
	if (!skb_may_change(x, &s) || !skb_checksum_fits(s.skb)) {
		skb_end(x, &s);
		return nooks_reject(x, "%s(skb): no checksum to fill in, or not there", fn);
	}
	ret = skb_checksum_help(s.skb);
	skb_end_changed(x, &s);
	return ret;
}

/* ---- receiving without napi ----------------------------------------------------------------- */

u64 wrap_netif_rx(struct xpc *x, const u64 *a)
{
	struct sk_buff *skb = wrap_skb_take(x, "netif_rx", a[0], NULL);

	return skb ? netif_rx(skb) : NET_RX_DROP;
}

u64 wrap_netif_receive_skb(struct xpc *x, const u64 *a)
{
	struct sk_buff *skb;

	if (!in_softirq() || in_hardirq() || irqs_disabled())
		return nooks_reject(x, "netif_receive_skb: not in softirq context");
	skb = wrap_skb_take(x, "netif_receive_skb", a[0], NULL);
	return skb ? netif_receive_skb(skb) : NET_RX_DROP;
}
