// SPDX-License-Identifier: GPL-2.0-only
/*
 * dump.c - NOOKS_CMD_DUMP_GET: the crash record of a nook, with names
 *
 * The first part of an answer takes a copy of the record, so that all parts are of one fault.
 * Symbols are looked up here: the driver's text stays where it is while it is in a nook.
 *
 * Context: process, may sleep.
 */
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <net/genetlink.h>
#include "control/control.h"
#include "core/core.h"

/* cb->args */
enum { DUMP_COPY, DUMP_PART, DUMP_INDEX };

#define DUMP_LEFT_OUT 1

/* Without the module, which is the nook's own. */
static const char *dump_function(char *text, u64 addr)
{
	snprintf(text, KSYM_SYMBOL_LEN, "%ps", (void *)(unsigned long)addr);
	return strsep(&text, " ");
}

/* ---- parts: 0, -EMSGSIZE, -ENOENT behind the last, or DUMP_LEFT_OUT --------------------- */

static int dump_head(struct sk_buff *skb, const struct nook_record *r, unsigned int i)
{
	static_assert(sizeof(r->regs) == 21 * sizeof(u64));

	if (i)
		return -ENOENT;
	if (nla_put_string(skb, NOOKS_A_NAME, r->name) || nla_put_u32(skb, NOOKS_A_ID, r->id) ||
	    control_put_fault(skb, &r->fault) ||
	    (r->trapped && nla_put(skb, NOOKS_A_REGS, sizeof(r->regs), &r->regs)) ||
	    (r->ncode && (nla_put(skb, NOOKS_A_CODE, r->ncode, r->code) ||
			  nla_put_u64_64bit(skb, NOOKS_A_CODE_AT, r->code_at, NOOKS_A_PAD))) ||
	    nla_put(skb, NOOKS_A_STACK, r->nstack * sizeof(u64), r->stack) ||
	    nla_put_u64_64bit(skb, NOOKS_A_SP, r->sp, NOOKS_A_PAD))
		return -EMSGSIZE;
	return 0;
}

static int dump_put_frame(struct sk_buff *skb, u64 at, u64 addr, const char *symbol)
{
	struct nlattr *nest = nla_nest_start(skb, NOOKS_A_FRAME);

	if (!nest || nla_put_u64_64bit(skb, NOOKS_B_AT, at, NOOKS_B_UNSPEC) ||
	    nla_put_u64_64bit(skb, NOOKS_B_ADDR, addr, NOOKS_B_UNSPEC) ||
	    nla_put_string(skb, NOOKS_B_SYMBOL, symbol))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int dump_frame(struct sk_buff *skb, const struct nook_record *r, unsigned int i)
{
	char symbol[KSYM_SYMBOL_LEN];

	if (!i) {
		snprintf(symbol, sizeof(symbol), "%pS", (void *)(unsigned long)r->fault.ip);
		return dump_put_frame(skb, 0, r->fault.ip, symbol);
	}
	if (--i >= r->nstack)
		return -ENOENT;
	if (!test_bit(i, r->calls))
		return DUMP_LEFT_OUT;
	snprintf(symbol, sizeof(symbol), "%pB", (void *)(unsigned long)r->stack[i]);
	return dump_put_frame(skb, r->sp + i * sizeof(u64), r->stack[i], symbol);
}

static int dump_crossing(struct sk_buff *skb, const struct nook_record *r, unsigned int i)
{
	unsigned int cpu = i / RECORD_CROSSINGS;
	const struct record_crossing *c;
	char text[KSYM_SYMBOL_LEN];
	struct nlattr *nest;
	bool entry;

	if (cpu >= nr_cpu_ids)
		return -ENOENT;
	c = &r->ring[cpu].slot[(r->ring[cpu].next + 1 + i) % RECORD_CROSSINGS];
	if (!c->tsc)
		return DUMP_LEFT_OUT;
	entry = c->what >= nooks_nexits;
	nest = nla_nest_start(skb, NOOKS_A_CROSSING);
	if (!nest || nla_put_u32(skb, NOOKS_X_CPU, cpu) ||
	    nla_put_u64_64bit(skb, NOOKS_X_TSC, c->tsc, NOOKS_X_UNSPEC) ||
	    nla_put_u32(skb, NOOKS_X_KIND, entry ? NOOKS_COUNT_ENTRY : NOOKS_COUNT_EXIT) ||
	    nla_put_string(skb, NOOKS_X_NAME,
			   entry ? dump_function(text, c->what) : nooks_exits[c->what].name))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int dump_object(struct sk_buff *skb, const struct nook_record *r, unsigned int i)
{
	const struct record_object *o = &r->object[i];
	struct nlattr *nest;

	if (i >= r->nobjects)
		return -ENOENT;
	nest = nla_nest_start(skb, NOOKS_A_OBJECT);
	if (!nest || nla_put_string(skb, NOOKS_O_TYPE, obj_type_desc(o->type)->name) ||
	    nla_put_u64_64bit(skb, NOOKS_O_ADDR, o->addr, NOOKS_O_UNSPEC) ||
	    nla_put_u64_64bit(skb, NOOKS_O_SIZE, o->size, NOOKS_O_UNSPEC) ||
	    nla_put_u32(skb, NOOKS_O_PUBLISHED, o->published))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int dump_count(struct sk_buff *skb, const struct nook_record *r, unsigned int i)
{
	struct nlattr *nest;
	u32 n;

	if (i >= objtrack_types())
		return -ENOENT;
	n = record_counts(r)[i].n;
	if (!n)
		return DUMP_LEFT_OUT;
	nest = nla_nest_start(skb, NOOKS_A_COUNT);
	if (!nest || nla_put_u32(skb, NOOKS_C_KIND, NOOKS_COUNT_OBJECT) ||
	    nla_put_string(skb, NOOKS_C_NAME, obj_type_desc(i)->name) ||
	    nla_put_u64_64bit(skb, NOOKS_C_VALUE, n, NOOKS_C_UNSPEC))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

typedef int (*dump_put_fn)(struct sk_buff *skb, const struct nook_record *r, unsigned int i);

static const dump_put_fn dump_parts[] = {
	dump_head, dump_frame, dump_crossing, dump_object, dump_count,
};

/* ---- the answer ------------------------------------------------------------------------- */

static int dump_message(struct sk_buff *skb, struct netlink_callback *cb)
{
	void *hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				&control_family, NLM_F_MULTI, NOOKS_CMD_DUMP_GET);
	int ret;

	if (!hdr)
		return -EMSGSIZE;
	ret = dump_parts[cb->args[DUMP_PART]](skb, (void *)cb->args[DUMP_COPY],
					      cb->args[DUMP_INDEX]);
	if (ret)
		genlmsg_cancel(skb, hdr);
	else
		genlmsg_end(skb, hdr);
	return ret;
}

static int dump_copy(struct netlink_callback *cb)
{
	struct nook_record *copy;
	struct nook *nk;

	mutex_lock(&nooks_mutex);
	nk = control_nook(genl_dumpit_info(cb)->attrs, cb->extack);
	copy = IS_ERR(nk) ? ERR_CAST(nk) : record_copy(nk);
	if (copy == ERR_PTR(-ENODATA))
		control_extack(cb->extack, "%s has had no fault", nk->name);
	mutex_unlock(&nooks_mutex);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	cb->args[DUMP_COPY] = (long)copy;
	return 0;
}

int control_record_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	int ret = cb->args[DUMP_COPY] ? 0 : dump_copy(cb);

	if (ret)
		return ret;
	while (cb->args[DUMP_PART] < ARRAY_SIZE(dump_parts)) {
		ret = dump_message(skb, cb);
		if (ret == -EMSGSIZE)
			return skb->len ?: ret;
		cb->args[DUMP_INDEX]++;
		if (ret == -ENOENT) {
			cb->args[DUMP_PART]++;
			cb->args[DUMP_INDEX] = 0;
		}
	}
	return skb->len;
}

int control_record_done(struct netlink_callback *cb)
{
	kvfree((void *)cb->args[DUMP_COPY]);
	return 0;
}
