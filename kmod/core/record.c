// SPDX-License-Identifier: GPL-2.0-only
/*
 * record.c - the crash record of a nook: what can only be read before recovery begins
 *
 * Recovery releases the objects, restores the text and runs the driver again, so all of it is
 * copied when the entry fails. Names are found when somebody asks. Nothing here believes the
 * driver: its stack is words, read as far as the nook owns them, and a word is a return address if
 * it stands behind a call.
 *
 * Locking: nook->fault_lock guards nook->record, but for what is const after record_create().
 *	nook->ring is per CPU and lock-free.
 * Context: any but NMI, unless a function says otherwise.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "core/core.h"
#include "ksym/ksym.h"
#include "objtrack/objtrack.h"

#define RECORD_PIECE	64		/* code is copied in pieces, as far as it is mapped */
#define RECORD_CALL_MAX	7		/* ff /2 with SIB and disp32 */

static_assert(RECORD_BEFORE % RECORD_PIECE == 0 && RECORD_BEHIND <= RECORD_PIECE);

int record_create(struct nook *nk)
{
	size_t counts = array_size(objtrack_types(), sizeof(struct record_count));
	size_t bytes = size_add(struct_size(nk->record, ring, nr_cpu_ids), counts);

	nk->ring = alloc_percpu(struct record_ring);
	nk->record = kvzalloc(bytes, GFP_KERNEL);
	if (!nk->ring || !nk->record)
		return -ENOMEM;
	nk->record->bytes = bytes;
	nk->record->id = nk->id;
	strscpy(nk->record->name, nk->name, sizeof(nk->record->name));
	return 0;
}

void record_destroy(struct nook *nk)
{
	kvfree(nk->record);
	free_percpu(nk->ring);
}

/* ---- the parts -------------------------------------------------------------------------- */

static void record_code(struct nook_record *r)
{
	u8 *at = r->code + RECORD_BEFORE;
	u64 ip = r->fault.ip;
	u32 before = 0, behind = RECORD_BEHIND;

	/* the last instruction of a mapping has less behind it */
	if (copy_from_kernel_nofault(at, (void *)ip, behind)) {
		behind = min_t(u64, behind, PAGE_SIZE - offset_in_page(ip));
		if (copy_from_kernel_nofault(at, (void *)ip, behind))
			behind = 0;
	}
	while (behind && before < RECORD_BEFORE) {
		if (copy_from_kernel_nofault(at - before - RECORD_PIECE,
					     (void *)(ip - before - RECORD_PIECE), RECORD_PIECE))
			break;
		before += RECORD_PIECE;
	}
	memmove(r->code, at - before, before + behind);
	r->code_at = ip - before;
	r->ncode = before + behind;
}

/* Is what ends at @at a call: e8 rel32, or ff /2 with whatever operand? */
static bool record_is_call(u64 at)
{
	u8 b[RECORD_CALL_MAX], *end = b + RECORD_CALL_MAX;
	int len;

	if (copy_from_kernel_nofault(b, (void *)(at - RECORD_CALL_MAX), sizeof(b)))
		return false;
	if (end[-5] == 0xe8)
		return true;
	for (len = 2; len <= RECORD_CALL_MAX; len++)
		if (end[-len] == 0xff && (end[1 - len] & 0x38) == 0x10)
			return true;
	return false;
}

static void record_stack(struct nook *nk, struct nook_record *r)
{
	u64 sp = ALIGN(r->fault.sp, sizeof(u64)), at, word;

	/* a frame that begins in the guard page has callers above it */
	if (!nook_owns(nk, (void *)sp, sizeof(u64)))
		sp = PAGE_ALIGN(sp);
	r->sp = sp;
	bitmap_zero(r->calls, RECORD_STACK);
	for (r->nstack = 0; r->nstack < RECORD_STACK; r->nstack++) {
		at = sp + r->nstack * sizeof(u64);
		if ((at == sp || !offset_in_page(at)) && !nook_owns(nk, (void *)at, sizeof(u64)))
			break;
		if (copy_from_kernel_nofault(&word, (void *)at, sizeof(word)))
			break;
		r->stack[r->nstack] = word;
		if (ksym_kernel_text_address(word) && record_is_call(word))
			__set_bit(r->nstack, r->calls);
	}
}

static void record_object(struct tracked *t, void *arg)
{
	struct nook_record *r = arg;
	struct record_count *c = &record_counts(r)[t->type];

	if (r->nobjects == RECORD_OBJECTS || c->listed == RECORD_ALIKE)
		return;
	c->listed++;
	r->object[r->nobjects++] = (struct record_object){
		.addr = t->it.start,
		.size = objtrack_size(t),
		.type = t->type,
		.published = READ_ONCE(t->published),
	};
}

static void record_objects(struct nook *nk, struct nook_record *r)
{
	struct record_count *c = record_counts(r);
	unsigned int type;

	for (type = 0; type < objtrack_types(); type++)
		c[type] = (struct record_count){ .n = nook_count_of(nk, type) };
	r->nobjects = 0;
	objtrack_each(nk, record_object, r);
}

/* ---- the whole -------------------------------------------------------------------------- */

void record_fill(struct nook *nk, const struct xpc *x)
{
	struct nook_record *r = nk->record;
	unsigned int cpu;

	lockdep_assert_held(&nk->fault_lock);
	r->fault = x->fault;
	r->trapped = x->trapped;
	r->regs = x->regs;
	record_code(r);
	record_stack(nk, r);
	record_objects(nk, r);
	for_each_possible_cpu(cpu)
		r->ring[cpu] = *per_cpu_ptr(nk->ring, cpu);
}

struct nook_record *record_copy(struct nook *nk)
{
	struct nook_record *copy;
	unsigned long flags;

	if (!atomic64_read(&nk->faults))
		return ERR_PTR(-ENODATA);
	copy = kvmalloc(nk->record->bytes, GFP_KERNEL);
	if (!copy)
		return ERR_PTR(-ENOMEM);
	raw_spin_lock_irqsave(&nk->fault_lock, flags);
	memcpy(copy, nk->record, nk->record->bytes);
	raw_spin_unlock_irqrestore(&nk->fault_lock, flags);
	return copy;
}
