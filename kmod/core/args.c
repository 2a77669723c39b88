// SPDX-License-Identifier: GPL-2.0-only
/*
 * args.c - checks of what a driver passes to a wrapper
 *
 * Each says no by rejecting: the entry is aborted when the wrapper returns, and the record has the
 * function's and the argument's name.
 *
 * Context: any but NMI, kernel view.
 */
#include "control/control.h"
#include "core/core.h"
#include "domain/shadow.h"
#include "objtrack/objtrack.h"

#define ARG_STRING_MAX 512

bool arg_obj(struct xpc *x, const char *fn, const char *arg, u16 type, const void *p)
{
	const struct obj_type_desc *desc = obj_type_desc(type);

	if (!p || !objtrack_has(x->nook, type, p))
		nooks_reject(x, "%s(%s): %s, not a tracked %s", fn, arg, p ? "wrong pointer" : "NULL",
			     desc->name);
	else if (desc->usable && !desc->usable(p))
		nooks_reject(x, "%s(%s): a %s that is not in use", fn, arg, desc->name);
	else
		return true;
	return false;
}

bool arg_obj_or_null(struct xpc *x, const char *fn, const char *arg, u16 type, const void *p)
{
	return !p || arg_obj(x, fn, arg, type, p);
}

bool arg_owned(struct xpc *x, const char *fn, const char *arg, const void *p, size_t len)
{
	if (!len || nook_owns(x->nook, p, len))
		return true;
	nooks_reject(x, "%s(%s): %zu bytes that it does not own", fn, arg, len);
	return false;
}

bool arg_readable(struct xpc *x, const char *fn, const char *arg, const void *p, size_t len)
{
	if (!len || nook_reads(x->nook, p, len))
		return true;
	nooks_reject(x, "%s(%s): %zu bytes that are not its own", fn, arg, len);
	return false;
}

bool arg_string(struct xpc *x, const char *fn, const char *arg, const char *s)
{
	if (nook_strlen(x->nook, s, ARG_STRING_MAX) >= 0)
		return true;
	nooks_reject(x, "%s(%s): not a terminated string of the driver", fn, arg);
	return false;
}

bool arg_max(struct xpc *x, const char *fn, const char *arg, u64 value, u64 max)
{
	if (value <= max)
		return true;
	nooks_reject(x, "%s(%s): %lld, not 0 to %llu", fn, arg, (s64)value, max);
	return false;
}

struct gate *arg_gate(struct xpc *x, const char *fn, const char *arg, const void *p)
{
	struct gate *g = nook_gate(x->nook, p);

	if (!g)
		nooks_reject(x, "%s(%s): not a function of the driver", fn, arg);
	return g;
}

struct writable_check {
	struct nook *nk;
	unsigned long last;
	u32 len;
	struct write_rule *rule;
	unsigned long addr;
};

static bool arg_match_writable(struct tracked *t, void *arg)
{
	struct writable_check *c = arg;
	const struct obj_type_desc *desc = obj_type_desc(t->type);
	u32 off = c->addr - t->it.start;

	if (c->last > t->it.last)
		return false;
	if (desc->size)
		off %= desc->size;
	c->rule = policy_match(c->nk->policy, t->type, off, c->len);
	return c->rule && policy_value_any(c->rule) &&
	       !(policy_until_published(c->rule) && READ_ONCE(t->published));
}

void *arg_writable(struct xpc *x, const char *fn, const char *arg, void *p, size_t len)
{
	struct writable_check c = { .nk = x->nook, .addr = (unsigned long)p, .len = len,
				    .last = (unsigned long)p + len - 1 };

	if (!len || nook_owns(x->nook, p, len))
		return p;
	if (c.last >= c.addr && objtrack_at(x->nook, c.addr, arg_match_writable, &c)) {
		atomic64_inc(&c.rule->count);
		return shadow_target(x->nook, p, len);
	}
	nooks_reject(x, "%s(%s): %zu bytes that it may not write", fn, arg, len);
	return NULL;
}
