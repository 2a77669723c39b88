// SPDX-License-Identifier: GPL-2.0-only
/*
 * shadow.c - kernel objects of which a nook sees a copy at the object's own address
 *
 * The pages of the object are mapped to other ones in the domain view, so a driver's pointers need
 * no translation and its stores no fault. Three versions of each word: the object itself, the copy,
 * and the base, which is what both were when they last agreed. A crossing compares: where the copy
 * differs from the base the driver has written, and policy decides about the field as it does for a
 * checked write; where the object differs the kernel has, and the copy follows.
 *
 * A count is not copied but added: the driver sees its own sum, the object goes on from where an
 * earlier driver left it.
 *
 * A staged object is one that an earlier driver has set up and that a new one describes again, as
 * if it were its own: the fields that it may write are shown and taken from a stage until
 * shadow_commit().
 *
 * With every packet only the words of shadow_heat() are compared, with every other crossing all of
 * them. A forbidden write is so found late, but the object never has it.
 *
 * Locking: nook->shadow_lock (raw, irqsave).
 * Context: any but NMI, kernel view, if not said otherwise.
 */
#include <linux/atomic.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/slab.h>
#include "control/control.h"
#include "domain/pgt.h"
#include "domain/shadow.h"

#define SHADOW_LOCKS	2
#define SHADOW_ASKS	2		/* fields that the kernel asks for */
#define SHADOW_RUN	8		/* words that are compared at once */

struct shadow_range {
	u32 lo, hi;			/* words of an element */
};

/* What a driver may store in a field, which it else may not: shadow_ask(). */
struct shadow_ask {
	u32 off;			/* 0: not used */
	u64 value;
	u64 before;			/* the word that it lies in, as it was */
};

struct shadow {
	struct list_head node;
	u16 type;
	u64 *obj, *copy, *base;
	u32 words;
	u32 each;			/* words of an element */
	struct shadow_range out;	/* what the driver changes all the time */
	struct shadow_range in[2];	/* and the kernel */
	/* word of an element that both sides change by single bits */
	u32 bits;
	u64 bits_mask;			/* bits of it that are the driver's, ... */
	u64 bits_own;			/* ... and that it is not shown as they are */
	u32 lock[SHADOW_LOCKS];		/* words of an element with a spinlock */
	u64 lock_mask[SHADOW_LOCKS];
	/* words that count: the object gets what the driver has added */
	struct shadow_range sum;
	struct write_rule **rule;	/* for each byte of an element, once it was looked for */
	struct shadow_ask ask[SHADOW_ASKS];
	u64 *stage;			/* shadow_stage(): what the driver describes, or NULL */
	unsigned long *staged;		/* words that are shown and taken from there */
	u32 state;			/* word with bits of the object's life, ... */
	u64 hidden, shown;		/* ... and those that are not as the driver sees them */
	bool held;			/* bits that the driver changes do not reach the object */
	unsigned long lo;
	unsigned int order;
	void *pages;
	struct rcu_head rcu;
};

static bool shadow_published(struct nook *nk, struct shadow *s)
{
	struct tracked *t = objtrack_find(nk, s->type, s->obj);
	bool published = !t || READ_ONCE(t->published);

	if (t)
		objtrack_put(t);
	return published;
}

/* Is word @i of an element a count? */
static bool shadow_sums(const struct shadow *s, u32 i)
{
	return i >= s->sum.lo && i < s->sum.hi;
}

/* Where word @i of an object is to be taken from, and stored to. */
static u64 *shadow_home(const struct shadow *s, u32 i)
{
	return s->stage && test_bit(i, s->staged) ? &s->stage[i] : &s->obj[i];
}

static void shadow_store(void *to, const void *from, u32 len)
{
	switch (len) {
	case 1:
		WRITE_ONCE(*(u8 *)to, *(const u8 *)from);
		break;
	case 2:
		WRITE_ONCE(*(u16 *)to, *(const u16 *)from);
		break;
	case 4:
		WRITE_ONCE(*(u32 *)to, *(const u32 *)from);
		break;
	case 8:
		WRITE_ONCE(*(u64 *)to, *(const u64 *)from);
		break;
	default:
		memcpy(to, from, len);
	}
}

static void shadow_refuse(struct xpc *x, struct shadow *s, u32 off, const char *what)
{
	atomic64_inc(&x->nook->denied);
	x->blamed = true;
	if (!x->faulted)
		snprintf(x->fault.target, sizeof(x->fault.target), "%s+%#x",
			 obj_type_desc(s->type)->name, off);
	nooks_reject(x, "%s", what);
}

/*
 * Word @i of element @e as the driver may see it. A lock looks taken to it, so that the runtime's
 * attempt to take the copy fails, and the wrapper takes the lock itself.
 */
static __nooks_hot u64 shadow_view(const struct shadow *s, u32 e, u32 i)
{
	u64 own, value = READ_ONCE(*shadow_home(s, e + i));
	int k;

	if (i == s->state)
		value = (value & ~s->hidden) | s->shown;
	if (i == s->bits) {
		own = s->held ? s->bits_mask : s->bits_own;
		value = (value & ~own) | (s->base[e + i] & own);
	}
	for (k = 0; k < SHADOW_LOCKS; k++)
		if (i == s->lock[k])
			value |= s->lock_mask[k];
	return value;
}

/* The rule for what begins at byte @at of an element and is always of this length; or NULL. */
static struct write_rule *shadow_rule(struct nook *nk, struct shadow *s, u32 at, u32 len)
{
	if (unlikely(!s->rule[at]))
		s->rule[at] = policy_match(nk->policy, s->type, at, len);
	return s->rule[at];
}

/* An integer that lies inside of a word. */
static u64 shadow_field(u64 word, u32 off, u32 len)
{
	word >>= 8 * (off % sizeof(u64));
	return len < sizeof(u64) ? word & (BIT_ULL(8 * len) - 1) : word;
}

static struct shadow_ask *shadow_ask_of(struct shadow *s, u32 off)
{
	int k;

	for (k = 0; k < SHADOW_ASKS; k++)
		if (s->ask[k].off == off)
			return &s->ask[k];
	return NULL;
}

/* Another entry of the nook may find what the one that was asked has written. */
static bool shadow_asked(struct shadow *s, const struct write_rule *r, u64 word)
{
	u64 value = shadow_field(word, r->off, r->len);
	const struct shadow_ask *ask = shadow_ask_of(s, r->off);

	return ask && (value == ask->value || value == shadow_field(ask->before, r->off, r->len));
}

/* Why a driver may not change a field that it has a rule for; NULL: it may. */
static const char *shadow_forbids(struct nook *nk, struct shadow *s, const struct write_rule *r,
				  u64 word)
{
	bool published = r->value != NOOKS_VALUE_ANY && shadow_published(nk, s);

	if (published && policy_until_published(r))
		return POLICY_PUBLISHED;
	if (published && r->value == NOOKS_VALUE_ASKED && !shadow_asked(s, r, word))
		return "the kernel has not asked for this value";
	return policy_value_ok(nk, r, word) ? NULL : "value not allowed for this field";
}

/* The bytes of a word that the driver has changed, judged field by field. */
static void shadow_take_fields(struct xpc *x, struct shadow *s, u32 e, u32 word, u64 value)
{
	u64 diff = value ^ s->base[e + word];
	u32 at = word * sizeof(u64), i, lo, end;
	struct write_rule *r;
	const char *why;

	for (i = 0; i < sizeof(u64); i = end) {
		end = i + 1;
		if (!(u8)(diff >> (8 * i)))
			continue;
		r = shadow_rule(x->nook, s, at + i, 1);
		if (!r) {
			shadow_refuse(x, s, at + i, "no rule allows this write");
			return;
		}
		why = shadow_forbids(x->nook, s, r, value);
		if (why) {
			shadow_refuse(x, s, at + i, why);
			return;
		}
		/* the whole field, as one store if it is one */
		lo = r->whole || r->off < at ? 0 : r->off - at;
		if (!r->whole && r->off + r->len < at + sizeof(u64))
			end = r->off + r->len - at;
		else
			end = sizeof(u64);
		shadow_store((void *)shadow_home(s, e + word) + lo, (void *)&value + lo, end - lo);
	}
	s->base[e + word] = value;
}

static void shadow_take_bits(struct xpc *x, struct shadow *s, u32 e, u32 word, u64 value)
{
	u64 diff = value ^ s->base[e + word];

	if (diff & ~s->bits_mask) {
		shadow_refuse(x, s, word * sizeof(u64), "no rule allows this write");
		return;
	}
	s->base[e + word] ^= diff;
	if (s->held)
		return;
	atomic64_or(value & diff, (atomic64_t *)&s->obj[e + word]);
	atomic64_andnot(~value & diff, (atomic64_t *)&s->obj[e + word]);
	/*
	 * A driver that starts a queue leaves it to the kernel to look for packets when the link
	 * comes up, and after a restart the kernel does not hear of that. After the other bit, of
	 * byte queue limits, drivers look themselves (netdev_tx_completed_queue()).
	 */
	if (~value & diff & QUEUE_STATE_DRV_XOFF)
		netif_schedule_queue((struct netdev_queue *)&s->obj[e]);
}

static void shadow_take_sum(struct xpc *x, struct shadow *s, u32 e, u32 word, u64 value)
{
	if (!shadow_rule(x->nook, s, word * sizeof(u64), sizeof(u64))) {
		shadow_refuse(x, s, word * sizeof(u64), "no rule allows this write");
		return;
	}
	WRITE_ONCE(s->obj[e + word], s->obj[e + word] + value - s->base[e + word]);
	s->base[e + word] = value;
}

/*
 * Is a whole run as it was? Nearly all are. What changes meanwhile is found the next time, and what
 * differs is read anew, once.
 */
static __always_inline bool shadow_same(const u64 *p, const u64 *q)
{
	u64 diff = 0;
	int i;

#pragma GCC unroll 8
	for (i = 0; i < SHADOW_RUN; i++)
		diff |= p[i] ^ q[i];
	return !diff;
}

static noinline void shadow_out_word(struct xpc *x, struct shadow *s, u32 e, u32 i)
{
	u64 value = READ_ONCE(s->copy[e + i]);

	if (i == s->bits)
		shadow_take_bits(x, s, e, i, value);
	else if (shadow_sums(s, i))
		shadow_take_sum(x, s, e, i, value);
	else
		shadow_take_fields(x, s, e, i, value);
}

static __nooks_hot void shadow_out_words(struct xpc *x, struct shadow *s, u32 e, u32 from, u32 to)
{
	const u64 *copy = s->copy + e, *base = s->base + e;
	u32 end;

	for (; from < to && !x->faulted; from = end) {
		end = min(from + SHADOW_RUN, to);
		if (end - from == SHADOW_RUN && likely(shadow_same(copy + from, base + from)))
			continue;
		for (; from < end && !x->faulted; from++)
			if (copy[from] != base[from])
				shadow_out_word(x, s, e, from);
	}
}

static noinline void shadow_in_word(struct shadow *s, u32 e, u32 i)
{
	u64 value, diff;

	if (shadow_sums(s, i))
		return;
	value = shadow_view(s, e, i);
	diff = value ^ s->base[e + i];
	if (!diff)
		return;
	if (i == s->bits) {
		/* the driver may have changed the same bit, to the same */
		atomic64_or(value & diff, (atomic64_t *)&s->copy[e + i]);
		atomic64_andnot(~value & diff, (atomic64_t *)&s->copy[e + i]);
	} else {
		WRITE_ONCE(s->copy[e + i], value);
	}
	s->base[e + i] = value;
}

static __nooks_hot void shadow_in_words(struct shadow *s, u32 e, u32 from, u32 to)
{
	bool plain = !s->stage && !s->hidden && !s->shown;
	const u64 *obj = s->obj + e, *base = s->base + e;
	u32 end;

	for (; from < to; from = end) {
		end = min(from + SHADOW_RUN, to);
		if (plain && end - from == SHADOW_RUN &&
		    likely(shadow_same(obj + from, base + from)))
			continue;
		for (; from < end; from++)
			if (!plain || obj[from] != base[from])
				shadow_in_word(s, e, from);
	}
}

__nooks_hot void shadow_out_now(struct xpc *x, bool all)
{
	struct nook *nk = x->nook;
	unsigned long flags;
	struct shadow *s;
	u32 e;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	list_for_each_entry(s, &nk->shadows, node)
		for (e = 0; e < s->words && !x->faulted; e += s->each)
			shadow_out_words(x, s, e, all ? 0 : s->out.lo, all ? s->each : s->out.hi);
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
}

__nooks_hot void shadow_in_now(struct nook *nk, bool all)
{
	unsigned long flags;
	struct shadow *s;
	u32 e, i;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	list_for_each_entry(s, &nk->shadows, node)
		for (e = 0; e < s->words; e += s->each) {
			if (all) {
				shadow_in_words(s, e, 0, s->each);
				continue;
			}
			for (i = 0; i < ARRAY_SIZE(s->in) && s->in[i].hi; i++)
				shadow_in_words(s, e, s->in[i].lo, s->in[i].hi);
		}
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void shadow_lock_at(struct shadow *s, int k, u32 off)
{
	s->lock[k] = off / sizeof(u64);
	s->lock_mask[k] = (u64)U32_MAX << (8 * (off % sizeof(u64)));
}

static struct shadow_range shadow_range(u32 from, u32 end)
{
	return (struct shadow_range){ from / sizeof(u64), DIV_ROUND_UP(end, sizeof(u64)) };
}

/* What a driver and the stack change with each packet. */
static void shadow_heat(struct shadow *s)
{
	int k;

	s->bits = U32_MAX;
	s->state = U32_MAX;
	for (k = 0; k < SHADOW_LOCKS; k++)
		s->lock[k] = U32_MAX;
	if (s->type == OBJ_NETDEV_QUEUE) {
		s->out = shadow_range(offsetof(struct netdev_queue, xmit_lock_owner),
				      sizeof(struct netdev_queue));
		/* not the lock's owner, which a driver sets and does not ask for */
		s->in[0] = shadow_range(offsetof(struct netdev_queue, trans_start),
					offsetofend(struct netdev_queue, state));
		s->in[1] = shadow_range(offsetof(struct netdev_queue, dql),
					offsetofend(struct netdev_queue, dql));
		s->bits = offsetof(struct netdev_queue, state) / sizeof(u64);
		s->bits_mask = QUEUE_STATE_DRV_XOFF | QUEUE_STATE_STACK_XOFF;
		s->bits_own = QUEUE_STATE_STACK_XOFF;	/* netxmit.c sets it as well */
		shadow_lock_at(s, 0, offsetof(struct netdev_queue, _xmit_lock));
	} else if (s->type == OBJ_NET_DEVICE) {
		s->sum = shadow_range(offsetof(struct net_device, stats),
				      offsetofend(struct net_device, stats));
		/* the next word too: whole runs are less work, and it is judged like any other */
		s->out = s->sum;
		s->out.hi = s->out.lo + roundup(s->out.hi - s->out.lo, SHADOW_RUN);
		s->in[0] = shadow_range(offsetof(struct net_device, state),
					offsetofend(struct net_device, state));
		s->state = s->in[0].lo;
		shadow_lock_at(s, 0, offsetof(struct net_device, tx_global_lock));
		shadow_lock_at(s, 1, offsetof(struct net_device, addr_list_lock));
	}
}

static void shadow_free(struct shadow *s)
{
	bitmap_free(s->staged);
	kfree(s->stage);
	kfree(s->base);
	kvfree(s->rule);
	free_pages((unsigned long)s->pages, s->order);
	kfree(s);
}

static void shadow_free_rcu(struct rcu_head *rcu)
{
	shadow_free(container_of(rcu, struct shadow, rcu));
}

static struct shadow *shadow_alloc(u16 type, void *obj, size_t size)
{
	unsigned long lo = (unsigned long)obj & PAGE_MASK;
	size_t span = PAGE_ALIGN((unsigned long)obj + size) - lo;
	struct shadow *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return NULL;
	s->type = type;
	s->lo = lo;
	s->order = get_order(span);
	s->pages = (void *)__get_free_pages(GFP_KERNEL, s->order);
	s->base = kzalloc(size, GFP_KERNEL);
	s->each = obj_type_desc(type)->size / sizeof(u64);
	s->rule = kvcalloc(obj_type_desc(type)->size, sizeof(*s->rule), GFP_KERNEL);
	if (!s->pages || !s->base || !s->rule) {
		shadow_free(s);
		return NULL;
	}
	s->obj = obj;
	s->copy = s->pages + ((unsigned long)obj - lo);
	s->words = size / sizeof(u64);
	shadow_heat(s);
	return s;
}

static size_t shadow_span(const struct shadow *s)
{
	return PAGE_ALIGN((unsigned long)(s->obj + s->words)) - s->lo;
}

static int shadow_map(struct nook *nk, struct shadow *s)
{
	size_t at;
	int ret;

	for (at = 0; at < shadow_span(s); at += PAGE_SIZE) {
		ret = pgt_alias(nk, s->lo + at, __pa(s->pages) + at);
		if (ret)
			return ret;
	}
	return 0;
}

static void shadow_unmap(struct nook *nk, struct shadow *s)
{
	size_t at;

	for (at = 0; at < shadow_span(s); at += PAGE_SIZE)
		pgt_unalias(nk, s->lo + at);
	pgt_shootdown();
}

int shadow_create(struct nook *nk, u16 type, void *obj, size_t size)
{
	unsigned long flags;
	struct shadow *s;
	u32 e, i;
	int ret;

	/* a learning run wants each store; level wrap has no page table to show a copy in */
	if ((nk->flags & NOOKS_F_LEARN) || nk->level == NOOKS_LEVEL_WRAP || !virt_addr_valid(obj))
		return -EOPNOTSUPP;
	s = shadow_alloc(type, obj, size);
	if (!s)
		return -ENOMEM;
	memcpy(s->pages, (void *)s->lo, shadow_span(s));
	for (e = 0; e < s->words; e += s->each)
		for (i = 0; i < s->each; i++) {
			s->copy[e + i] = shadow_sums(s, i) ? 0 : shadow_view(s, e, i);
			s->base[e + i] = s->copy[e + i];
		}
	ret = shadow_map(nk, s);
	if (ret) {
		shadow_unmap(nk, s);
		shadow_free(s);
		return ret;
	}
	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	list_add_tail(&s->node, &nk->shadows);
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
	return 0;
}

static struct shadow *shadow_find(struct nook *nk, const void *obj)
{
	struct shadow *s;

	lockdep_assert_held(&nk->shadow_lock);
	list_for_each_entry(s, &nk->shadows, node)
		if (s->obj == obj)
			return s;
	return NULL;
}

void shadow_ask(struct nook *nk, const void *obj, u32 off, u64 value)
{
	struct shadow_ask *ask = NULL;
	unsigned long flags;
	struct shadow *s;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	s = shadow_find(nk, obj);
	if (s)
		ask = shadow_ask_of(s, off) ?: shadow_ask_of(s, 0);
	if (ask) {
		ask->off = off;
		ask->value = value;
		ask->before = *shadow_home(s, off / sizeof(u64));
	}
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
}

bool shadow_shows(struct nook *nk, const void *obj)
{
	unsigned long flags;
	bool found;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	found = shadow_find(nk, obj);
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
	return found;
}

void *shadow_target(struct nook *nk, void *p, size_t len)
{
	unsigned long flags;
	struct shadow *s;
	void *to = p;

	if (list_empty(&nk->shadows))
		return p;
	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	list_for_each_entry(s, &nk->shadows, node)
		if (p >= (void *)s->obj && p < (void *)(s->obj + s->words) &&
		    len <= (void *)(s->obj + s->words) - p)
			to = (void *)s->copy + (p - (void *)s->obj);
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
	return to;
}

void shadow_destroy(struct nook *nk, const void *obj)
{
	struct shadow *found;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	found = shadow_find(nk, obj);
	if (found)
		list_del(&found->node);
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
	if (!found)
		return;
	shadow_unmap(nk, found);
	/* who has asked where to write, of shadow_target(), may be about to */
	call_srcu(&nk->objs.users, &found->rcu, shadow_free_rcu);
}

/* ---- staging --------------------------------------------------------------------------------- */

static void shadow_stage_field(struct shadow *s, u64 *stage, const void *fresh, u32 off, u32 len)
{
	memcpy((void *)stage + off, fresh + off, len);
	bitmap_set(s->staged, off / sizeof(u64),
		   DIV_ROUND_UP(off % sizeof(u64) + len, sizeof(u64)));
}

/*
 * The fields that the driver may write, from @fresh; the rest of the words that they lie in as it
 * is now. A net_device's flags too: ether_setup() sets them as they were, and a new device is not
 * up.
 */
static void shadow_fill_stage(struct nook *nk, struct shadow *s, u64 *stage, const void *fresh)
{
	const struct write_rule *r = NULL;

	memcpy(stage, s->obj, s->words * sizeof(u64));
	while ((r = policy_next(nk->policy, s->type, r))) {
		if (!shadow_sums(s, r->off / sizeof(u64)))
			shadow_stage_field(s, stage, fresh, r->off, r->len);
	}
	if (s->type == OBJ_NET_DEVICE)
		shadow_stage_field(s, stage, fresh, offsetof(struct net_device, flags),
				   sizeof_field(struct net_device, flags));
}

void *shadow_stage(struct nook *nk, const void *obj, const void *fresh)
{
	struct shadow *s;
	unsigned long flags, *staged;
	void *stage = NULL;
	size_t words;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	s = shadow_find(nk, obj);
	words = s ? s->words : 0;
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
	if (!words)
		return NULL;
	staged = bitmap_zalloc(words, GFP_KERNEL);
	stage = kmalloc_array(words, sizeof(u64), GFP_KERNEL);
	if (!staged || !stage) {
		bitmap_free(staged);
		kfree(stage);
		return NULL;
	}
	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	s->staged = staged;
	shadow_fill_stage(nk, s, stage, fresh);
	s->stage = stage;
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
	shadow_in(nk, true);
	return stage;
}

void shadow_commit(struct nook *nk, const void *obj, bool (*takes)(u32 off))
{
	const struct write_rule *r = NULL;
	unsigned long flags;
	struct shadow *s;
	u64 *stage = NULL;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	s = shadow_find(nk, obj);
	if (s && s->stage) {
		stage = s->stage;
		while ((r = policy_next(nk->policy, s->type, r)))
			if (!shadow_sums(s, r->off / sizeof(u64)) && takes(r->off))
				shadow_store((void *)s->obj + r->off, (void *)stage + r->off,
					     r->len);
		s->stage = NULL;
	}
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
	kfree(stage);
	shadow_in(nk, true);
}

/* ---- what the driver sees otherwise than it is ----------------------------------------------- */

void shadow_veil(struct nook *nk, const void *obj, u64 hidden, u64 shown)
{
	unsigned long flags;
	struct shadow *s;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	s = shadow_find(nk, obj);
	if (s) {
		s->hidden = hidden;
		s->shown = shown;
	}
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
}

void shadow_hold(struct nook *nk, const void *obj)
{
	unsigned long flags;
	struct shadow *s;
	u32 e;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	s = shadow_find(nk, obj);
	for (e = 0; s && e < s->words; e += s->each) {
		s->held = true;
		s->copy[e + s->bits] &= ~s->bits_mask;
		s->base[e + s->bits] &= ~s->bits_mask;
	}
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
}

void shadow_unhold(struct nook *nk, const void *obj)
{
	unsigned long flags;
	struct shadow *s;
	u32 e;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	s = shadow_find(nk, obj);
	for (e = 0; s && s->held && e < s->words; e += s->each) {
		u64 mine = s->base[e + s->bits];

		atomic64_or(mine & s->bits_mask, (atomic64_t *)&s->obj[e + s->bits]);
		atomic64_andnot(~mine & s->bits_mask, (atomic64_t *)&s->obj[e + s->bits]);
	}
	if (s)
		s->held = false;
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
}
