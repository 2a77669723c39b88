// SPDX-License-Identifier: GPL-2.0-only
/*
 * policy.c - what each driver may write in kernel memory
 *
 * One struct nooks_policy per driver name, loaded by user space before the driver. Its rules are
 * sorted by (type, offset), so that a match in the fault path is a short binary search.
 *
 * Locking: nooks_mutex for the list. A policy does not change while a nook of its name is listed;
 *	    that is what lets the match run without a lock.
 * Context: process, but for the two match functions.
 */
#include <linux/slab.h>
#include <linux/sort.h>
#include <net/netlink.h>
#include "control/control.h"
#include "ksym/ksym.h"

#define POLICY_DEFAULT_LIMIT_MS 1000
#define POLICY_PERCPU "percpu"
#define POLICY_OBJECT_MAX S16_MAX	/* bytes; what NLA_POLICY_MAX can hold */

static LIST_HEAD(policy_list);		/* nooks_mutex */

static const struct nla_policy policy_rule_attrs[NOOKS_R_MAX + 1] = {
	[NOOKS_R_OBJECT] = { .type = NLA_NUL_STRING, .len = NOOKS_NAME_LEN - 1 },
	[NOOKS_R_FIELD]  = { .type = NLA_NUL_STRING, .len = NOOKS_NAME_LEN - 1 },
	[NOOKS_R_OFFSET] = NLA_POLICY_MAX(NLA_U32, POLICY_OBJECT_MAX),
	[NOOKS_R_SIZE]   = NLA_POLICY_MAX(NLA_U32, POLICY_OBJECT_MAX),
	[NOOKS_R_VALUE]  = NLA_POLICY_MAX(NLA_U32, NOOKS_VALUE_ASKED),
};

struct nooks_policy *policy_get(const char *driver)
{
	struct nooks_policy *p;

	lockdep_assert_held(&nooks_mutex);
	list_for_each_entry(p, &policy_list, node)
		if (!strcmp(p->driver, driver))
			return p;
	return NULL;
}

/* Index of the first rule whose type is not less. */
static u32 policy_first(const struct nooks_policy *p, u16 type)
{
	u32 lo = 0, hi = p->nrules;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (p->rules[mid].type < type)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/*
 * Compilers merge stores to neighbours (min_mtu and max_mtu in one quadword), so a store may be
 * allowed by several rules together. Rules are sorted by offset; those that share a store must let
 * any value in, because a part of a pointer cannot be judged.
 */
struct write_rule *policy_match(struct nooks_policy *p, u16 type, u32 off, u32 len)
{
	struct write_rule *first = NULL, *r;
	u64 end = (u64)off + len, pos = off;
	u32 i;

	if (!p)
		return NULL;
	for (i = policy_first(p, type); i < p->nrules; i++) {
		r = &p->rules[i];
		if (r->type != type)
			break;
		if (r->whole || (off >= r->off && end <= (u64)r->off + r->len))
			return r;
		/* Compilers join stores to neighbours: each byte then needs a rule of its own. */
		if (r->value != NOOKS_VALUE_ANY || r->off > pos || (u64)r->off + r->len <= pos)
			continue;
		if (!first)
			first = r;
		pos = (u64)r->off + r->len;
		if (pos >= end)
			return first;
	}
	return NULL;
}

const struct write_rule *policy_next(const struct nooks_policy *p, u16 type,
				     const struct write_rule *r)
{
	if (!p)
		return NULL;
	r = r ? r + 1 : &p->rules[policy_first(p, type)];
	return r < &p->rules[p->nrules] && r->type == type ? r : NULL;
}

bool policy_value_ok(struct nook *nk, const struct write_rule *r, u64 value)
{
	const void *p = (const void *)value;

	switch (r->value) {
	case NOOKS_VALUE_ANY:
	case NOOKS_VALUE_SETUP:
	case NOOKS_VALUE_ASKED:		/* after that it is up to shadow_asked() */
		return true;
	case NOOKS_VALUE_RODATA:
	case NOOKS_VALUE_OPS:
		return !p || (nook_reads(nk, p, sizeof(p)) && !nook_owns(nk, p, sizeof(p)));
	case NOOKS_VALUE_OWNED:
		return !p || nook_owns(nk, p, 1);
	default:
		return false;
	}
}

struct write_rule *policy_match_percpu(struct nooks_policy *p, u64 off, u32 len)
{
	struct write_rule *r;
	u32 i;

	if (!p)
		return NULL;
	for (i = policy_first(p, OBJ_PERCPU); i < p->nrules; i++) {
		r = &p->rules[i];
		if (r->type != OBJ_PERCPU)
			break;
		if (off >= r->addr && off - r->addr < r->len && len <= r->len - (off - r->addr))
			return r;
	}
	return NULL;
}

static int policy_cmp(const void *a, const void *b)
{
	const struct write_rule *x = a, *y = b;

	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	if (x->whole != y->whole)
		return x->whole ? 1 : -1;	/* a field's own counter goes first */
	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	return 0;
}

static int policy_rule_percpu(struct write_rule *r, struct netlink_ext_ack *extack)
{
	r->type = OBJ_PERCPU;
	r->addr = ksym_lookup(r->field);
	if (!r->addr) {
		control_extack(extack, "percpu.%s: no such symbol", r->field);
		return -EINVAL;
	}
	if (r->whole || !r->len || r->value != NOOKS_VALUE_ANY) {
		control_extack(extack, "percpu.%s: needs a size and no value rule", r->field);
		return -EINVAL;
	}
	return 0;
}

static int policy_rule_object(struct write_rule *r, struct netlink_ext_ack *extack)
{
	const struct obj_type_desc *desc;

	r->type = obj_type_by_name(r->object);
	if (r->type == OBJ_NONE || r->type == OBJ_PERCPU) {
		control_extack(extack, "%s.%s: no such object type", r->object, r->field);
		return -EINVAL;
	}
	if (r->whole)
		return 0;
	desc = obj_type_desc(r->type);
	if (!r->len || (desc->size && (u64)r->off + r->len > desc->size)) {
		control_extack(extack, "%s.%s: outside of the object", r->object, r->field);
		return -EINVAL;
	}
	if (!policy_value_any(r) && r->len % sizeof(void *)) {
		control_extack(extack, "%s.%s: the value rule needs pointers", r->object, r->field);
		return -EINVAL;
	}
	if (r->value == NOOKS_VALUE_ASKED && r->off % sizeof(u64) + r->len > sizeof(u64)) {
		control_extack(extack, "%s.%s: it needs an integer", r->object, r->field);
		return -EINVAL;
	}
	return 0;
}

static int policy_rule_parse(struct write_rule *r, const struct nlattr *attr,
			     struct netlink_ext_ack *extack)
{
	struct nlattr *tb[NOOKS_R_MAX + 1];
	int ret;

	if (nla_type(attr) != NOOKS_A_RULE) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "NOOKS_A_RULES holds something else than rules");
		return -EINVAL;
	}
	ret = nla_parse_nested(tb, NOOKS_R_MAX, attr, policy_rule_attrs, extack);
	if (ret)
		return ret;
	if (!tb[NOOKS_R_OBJECT] || !tb[NOOKS_R_FIELD]) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "rule without object or field");
		return -EINVAL;
	}
	nla_strscpy(r->object, tb[NOOKS_R_OBJECT], sizeof(r->object));
	nla_strscpy(r->field, tb[NOOKS_R_FIELD], sizeof(r->field));
	r->off = tb[NOOKS_R_OFFSET] ? nla_get_u32(tb[NOOKS_R_OFFSET]) : 0;
	r->len = tb[NOOKS_R_SIZE] ? nla_get_u32(tb[NOOKS_R_SIZE]) : 0;
	r->value = tb[NOOKS_R_VALUE] ? nla_get_u32(tb[NOOKS_R_VALUE]) : NOOKS_VALUE_ANY;
	r->whole = !strcmp(r->field, "*");
	if (!strcmp(r->object, POLICY_PERCPU))
		return policy_rule_percpu(r, extack);
	return policy_rule_object(r, extack);
}

static struct nooks_policy *policy_parse(struct nlattr **attrs, struct netlink_ext_ack *extack)
{
	const struct nlattr *attr;
	struct nooks_policy *p;
	u32 n = 0;
	int rem, ret;

	if (attrs[NOOKS_A_RULES])
		nla_for_each_nested(attr, attrs[NOOKS_A_RULES], rem)
			n++;
	p = kvzalloc(struct_size(p, rules, n), GFP_KERNEL);
	if (!p)
		return ERR_PTR(-ENOMEM);
	nla_strscpy(p->driver, attrs[NOOKS_A_NAME], sizeof(p->driver));
	p->level = attrs[NOOKS_A_LEVEL] ? nla_get_u32(attrs[NOOKS_A_LEVEL]) : NOOKS_LEVEL_PAGETABLE;
	p->limit_ms = attrs[NOOKS_A_LIMIT_MS] ? nla_get_u32(attrs[NOOKS_A_LIMIT_MS]) :
						POLICY_DEFAULT_LIMIT_MS;
	p->flags = attrs[NOOKS_A_FLAGS] ? nla_get_u32(attrs[NOOKS_A_FLAGS]) : 0;
	if (n)
		nla_for_each_nested(attr, attrs[NOOKS_A_RULES], rem) {
			ret = policy_rule_parse(&p->rules[p->nrules++], attr, extack);
			if (ret)
				goto free_policy;
		}
	sort(p->rules, p->nrules, sizeof(*p->rules), policy_cmp, NULL);
	return p;

free_policy:
	kvfree(p);
	return ERR_PTR(ret);
}

int policy_set(struct nlattr **attrs, struct netlink_ext_ack *extack)
{
	struct nooks_policy *p, *old;

	lockdep_assert_held(&nooks_mutex);
	p = policy_parse(attrs, extack);
	if (IS_ERR(p))
		return PTR_ERR(p);
	if (nook_find(p->driver)) {
		control_extack(extack, "%s is in a nook; release it first", p->driver);
		kvfree(p);
		return -EBUSY;
	}
	old = policy_get(p->driver);
	if (old) {
		list_del(&old->node);
		kvfree(old);
	}
	list_add_tail(&p->node, &policy_list);
	return 0;
}

void policy_free_all(void)
{
	struct nooks_policy *p, *next;

	lockdep_assert_held(&nooks_mutex);
	list_for_each_entry_safe(p, next, &policy_list, node) {
		list_del(&p->node);
		kvfree(p);
	}
}
