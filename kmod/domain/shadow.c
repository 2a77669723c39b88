// SPDX-License-Identifier: GPL-2.0-only
/*
 * shadow.c - kernel objects of which a nook sees a copy at the object's own address
 *
 * The pages of the object are mapped to other ones in the domain view, so a driver's pointers need no
 * translation and its stores no fault. Three versions of each word: the object itself, the copy, and
 * the base, which is what both were when they last agreed. A crossing compares: where the copy differs
 * from the base the driver has written, and policy decides about the field as it does for a checked
 * write; where the object differs the kernel has, and the copy follows.
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

struct shadow {
	struct list_head node;
	u16 type;
	u64 *obj, *copy, *base;
	u32 words;
	u32 each;			/* words of an element */
	u32 out_lo, out_hi;		/* words of an element that the driver changes all the time */
	u32 in_lo, in_hi;		/* and the kernel */
	u32 bits;			/* word of an element that both sides change by single bits */
	u64 bits_mask;			/* bits of it that are the driver's */
	u32 lock[SHADOW_LOCKS];		/* words of an element with a spinlock */
	u64 lock_mask[SHADOW_LOCKS];
	unsigned long lo;
	unsigned int order;
	void *pages;
};

static bool shadow_published(struct nook *nk, struct shadow *s)
{
	struct tracked *t = objtrack_find(nk, s->type, s->obj);
	bool published = !t || READ_ONCE(t->published);

	if (t)
		objtrack_put(t);
	return published;
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
static u64 shadow_view(const struct shadow *s, u32 e, u32 i)
{
	u64 value = READ_ONCE(s->obj[e + i]);
	int k;

	for (k = 0; k < SHADOW_LOCKS; k++)
		if (i == s->lock[k])
			value |= s->lock_mask[k];
	return value;
}

/* The bytes of a word that the driver has changed, judged field by field. */
static void shadow_take_fields(struct xpc *x, struct shadow *s, u32 e, u32 word, u64 value)
{
	u64 diff = value ^ s->base[e + word];
	u32 at = word * sizeof(u64), i, lo, end;
	struct write_rule *r;

	for (i = 0; i < sizeof(u64); i = end) {
		end = i + 1;
		if (!(u8)(diff >> (8 * i)))
			continue;
		r = policy_match(x->nook->policy, s->type, at + i, 1);
		if (!r) {
			shadow_refuse(x, s, at + i, "no rule allows this write");
			return;
		}
		if (r->value == NOOKS_VALUE_OPS && shadow_published(x->nook, s)) {
			shadow_refuse(x, s, at + i,
				      "operations of a registered object may not be changed");
			return;
		}
		if (!policy_value_ok(x->nook, r, value)) {
			shadow_refuse(x, s, at + i, "value not allowed for this field");
			return;
		}
		/* the whole field, as one store if it is one */
		lo = r->whole || r->off < at ? 0 : r->off - at;
		if (!r->whole && r->off + r->len < at + sizeof(u64))
			end = r->off + r->len - at;
		else
			end = sizeof(u64);
		shadow_store((void *)&s->obj[e + word] + lo, (void *)&value + lo, end - lo);
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
	atomic64_or(value & diff, (atomic64_t *)&s->obj[e + word]);
	atomic64_andnot(~value & diff, (atomic64_t *)&s->obj[e + word]);
	s->base[e + word] ^= diff;
}

static void shadow_out_words(struct xpc *x, struct shadow *s, u32 e, u32 from, u32 to)
{
	u64 value;
	u32 i;

	for (i = from; i < to; i++) {
		value = READ_ONCE(s->copy[e + i]);
		if (likely(value == s->base[e + i]))
			continue;
		if (i == s->bits)
			shadow_take_bits(x, s, e, i, value);
		else
			shadow_take_fields(x, s, e, i, value);
		if (x->faulted)
			return;
	}
}

static void shadow_in_words(struct shadow *s, u32 e, u32 from, u32 to)
{
	u64 value, diff;
	u32 i;

	for (i = from; i < to; i++) {
		value = shadow_view(s, e, i);
		diff = value ^ s->base[e + i];
		if (likely(!diff))
			continue;
		if (i == s->bits)
			atomic64_xor(diff, (atomic64_t *)&s->copy[e + i]);
		else
			WRITE_ONCE(s->copy[e + i], value);
		s->base[e + i] = value;
	}
}

void shadow_out(struct xpc *x, bool all)
{
	struct nook *nk = x->nook;
	unsigned long flags;
	struct shadow *s;
	u32 e;

	if (list_empty(&nk->shadows))
		return;
	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	list_for_each_entry(s, &nk->shadows, node)
		for (e = 0; e < s->words && !x->faulted; e += s->each)
			shadow_out_words(x, s, e, all ? 0 : s->out_lo, all ? s->each : s->out_hi);
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
}

void shadow_in(struct nook *nk, bool all)
{
	unsigned long flags;
	struct shadow *s;
	u32 e;

	if (list_empty(&nk->shadows))
		return;
	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	list_for_each_entry(s, &nk->shadows, node)
		for (e = 0; e < s->words; e += s->each)
			shadow_in_words(s, e, all ? 0 : s->in_lo, all ? s->each : s->in_hi);
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
}

/* ---- life ------------------------------------------------------------------------------------- */

/* What a driver and the stack change with each packet. */
static void shadow_lock_at(struct shadow *s, int k, u32 off)
{
	s->lock[k] = off / sizeof(u64);
	s->lock_mask[k] = (u64)U32_MAX << (8 * (off % sizeof(u64)));
}

static void shadow_heat(struct shadow *s)
{
	int k;

	s->bits = U32_MAX;
	for (k = 0; k < SHADOW_LOCKS; k++)
		s->lock[k] = U32_MAX;
	if (s->type == OBJ_NETDEV_QUEUE) {
		s->out_lo = offsetof(struct netdev_queue, xmit_lock_owner) / sizeof(u64);
		s->out_hi = s->each;
		s->in_lo = s->out_lo;
		s->in_hi = s->out_hi;
		s->bits = offsetof(struct netdev_queue, state) / sizeof(u64);
		s->bits_mask = QUEUE_STATE_DRV_XOFF | QUEUE_STATE_STACK_XOFF;
		shadow_lock_at(s, 0, offsetof(struct netdev_queue, _xmit_lock));
	} else if (s->type == OBJ_NET_DEVICE) {
		s->out_lo = offsetof(struct net_device, stats) / sizeof(u64);
		s->out_hi = s->out_lo + sizeof_field(struct net_device, stats) / sizeof(u64);
		s->in_lo = offsetof(struct net_device, state) / sizeof(u64);
		s->in_hi = s->in_lo + 1;
		shadow_lock_at(s, 0, offsetof(struct net_device, tx_global_lock));
		shadow_lock_at(s, 1, offsetof(struct net_device, addr_list_lock));
	}
}

static void shadow_free(struct shadow *s)
{
	kfree(s->base);
	free_pages((unsigned long)s->pages, s->order);
	kfree(s);
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
	s->base = kmalloc(size, GFP_KERNEL);
	if (!s->pages || !s->base) {
		shadow_free(s);
		return NULL;
	}
	s->obj = obj;
	s->copy = s->pages + ((unsigned long)obj - lo);
	s->words = size / sizeof(u64);
	s->each = obj_type_desc(type)->size / sizeof(u64);
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
			s->copy[e + i] = shadow_view(s, e, i);
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

void shadow_destroy(struct nook *nk, const void *obj)
{
	struct shadow *s, *found = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&nk->shadow_lock, flags);
	list_for_each_entry(s, &nk->shadows, node) {
		if (s->obj != obj)
			continue;
		list_del(&s->node);
		found = s;
		break;
	}
	raw_spin_unlock_irqrestore(&nk->shadow_lock, flags);
	if (!found)
		return;
	shadow_unmap(nk, found);
	shadow_free(found);
}
