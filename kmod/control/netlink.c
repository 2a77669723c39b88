// SPDX-License-Identifier: GPL-2.0-only
/*
 * netlink.c - the generic netlink family of uapi/nooks.h
 *
 * Events are queued where they happen, in whatever context, and sent by a worker: a fault must
 * not depend on memory, and netlink must not run with a nook's locks held.
 *
 * Locking: nooks_mutex keeps nooks and policies in place while an answer is made;
 *	    control_event_lock (raw, irqsave) protects the queue of events.
 * Context: process, may sleep, but for control_event_*().
 */
#include <linux/kallsyms.h>
#include <net/genetlink.h>
#include "control/control.h"
#include "core/core.h"

#define CONTROL_EVENTS 64
#define CONTROL_EXTACK_SLOTS 16
#define CONTROL_EXTACK_LEN 160

void control_extack(struct netlink_ext_ack *extack, const char *fmt, ...)
{
	static char text[CONTROL_EXTACK_SLOTS][CONTROL_EXTACK_LEN];
	static atomic_t next;
	char *slot = text[(unsigned int)atomic_inc_return(&next) % CONTROL_EXTACK_SLOTS];
	va_list args;

	if (!extack)
		return;
	va_start(args, fmt);
	vsnprintf(slot, CONTROL_EXTACK_LEN, fmt, args);
	va_end(args);
	extack->_msg = slot;
}

/* ---- what is common to answers --------------------------------------------------------------- */

int control_put_fault(struct sk_buff *skb, const struct nooks_fault *f)
{
	struct nlattr *nest = nla_nest_start(skb, NOOKS_A_FAULT);

	if (!nest)
		return -EMSGSIZE;
	if (nla_put_u64_64bit(skb, NOOKS_F_A_VEC, f->vec, NOOKS_F_A_UNSPEC) ||
	    nla_put_u64_64bit(skb, NOOKS_F_A_ERR, f->err, NOOKS_F_A_UNSPEC) ||
	    nla_put_u64_64bit(skb, NOOKS_F_A_IP, f->ip, NOOKS_F_A_UNSPEC) ||
	    nla_put_u64_64bit(skb, NOOKS_F_A_ADDR, f->addr, NOOKS_F_A_UNSPEC) ||
	    nla_put_u64_64bit(skb, NOOKS_F_A_SP, f->sp, NOOKS_F_A_UNSPEC) ||
	    nla_put_u64_64bit(skb, NOOKS_F_A_FLAGS, f->flags, NOOKS_F_A_UNSPEC) ||
	    nla_put_u64_64bit(skb, NOOKS_F_A_TIME, f->time_ns, NOOKS_F_A_UNSPEC) ||
	    nla_put_u32(skb, NOOKS_F_A_CPU, f->cpu) ||
	    nla_put_u32(skb, NOOKS_F_A_PID, f->pid) ||
	    nla_put_string(skb, NOOKS_F_A_WHAT, f->what) ||
	    nla_put_string(skb, NOOKS_F_A_ENTRY, f->entry) ||
	    nla_put_string(skb, NOOKS_F_A_SYMBOL, f->symbol) ||
	    nla_put_string(skb, NOOKS_F_A_TARGET, f->target)) {
		nla_nest_cancel(skb, nest);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	return 0;
}

static int control_put_stats(struct sk_buff *skb, struct nook *nk)
{
	struct nlattr *nest = nla_nest_start(skb, NOOKS_A_STATS);
	u32 i;

	if (!nest)
		return -EMSGSIZE;
	for (i = NOOKS_S_UNSPEC + 1; i <= NOOKS_S_MAX; i++)
		if (nla_put_u64_64bit(skb, i, nook_stat(nk, i), NOOKS_S_UNSPEC)) {
			nla_nest_cancel(skb, nest);
			return -EMSGSIZE;
		}
	nla_nest_end(skb, nest);
	return 0;
}

static int control_put_nook(struct sk_buff *skb, struct nook *nk)
{
	struct nooks_fault fault;
	unsigned long flags;

	if (nla_put_string(skb, NOOKS_A_NAME, nk->name) ||
	    nla_put_u32(skb, NOOKS_A_ID, nk->id) ||
	    nla_put_u32(skb, NOOKS_A_STATE, READ_ONCE(nk->state)) ||
	    nla_put_u32(skb, NOOKS_A_LEVEL, nk->level) ||
	    nla_put_u32(skb, NOOKS_A_FLAGS, nk->flags) ||
	    nla_put_u32(skb, NOOKS_A_LIMIT_MS, div_u64(nk->limit_ns, NSEC_PER_MSEC)) ||
	    nla_put_u32(skb, NOOKS_A_GRACE_MS, nk->grace_ms) ||
	    nla_put_u32(skb, NOOKS_A_BACKOFF_MS, nk->backoff_ms) ||
	    nla_put_u32(skb, NOOKS_A_BURST, nk->burst) ||
	    nla_put_u32(skb, NOOKS_A_STALL_MS, nk->stall_ms) ||
	    nla_put_u32(skb, NOOKS_A_IRQ_RATE, nk->irq_rate) ||
	    nla_put_u32(skb, NOOKS_A_TX_TIMEOUTS, nk->tx_timeouts) ||
	    nla_put_u32(skb, NOOKS_A_MEMORY_MIB, nk->memory_mib) ||
	    control_put_stats(skb, nk))
		return -EMSGSIZE;
	if (!atomic64_read(&nk->faults))
		return 0;
	raw_spin_lock_irqsave(&nk->fault_lock, flags);
	fault = nk->record->fault;
	raw_spin_unlock_irqrestore(&nk->fault_lock, flags);
	return control_put_fault(skb, &fault);
}

struct nook *control_nook(struct nlattr **attrs, struct netlink_ext_ack *extack)
{
	struct nook *nk;

	lockdep_assert_held(&nooks_mutex);
	if (!attrs[NOOKS_A_NAME]) {
		control_extack(extack, "the name of a nook is missing");
		return ERR_PTR(-EINVAL);
	}
	nk = nook_find(nla_data(attrs[NOOKS_A_NAME]));
	if (!nk) {
		control_extack(extack, "no nook is named %s",
			       (const char *)nla_data(attrs[NOOKS_A_NAME]));
		return ERR_PTR(-ENOENT);
	}
	return nk;
}

/* ---- commands -------------------------------------------------------------------------------- */

static int control_policy_set(struct sk_buff *skb, struct genl_info *info)
{
	int ret;

	if (!info->attrs[NOOKS_A_NAME]) {
		control_extack(info->extack, "the name of a driver is missing");
		return -EINVAL;
	}
	mutex_lock(&nooks_mutex);
	ret = policy_set(info->attrs, info->extack);
	mutex_unlock(&nooks_mutex);
	return ret;
}

static int control_nook_get(struct sk_buff *skb, struct genl_info *info)
{
	struct sk_buff *msg = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	struct nook *nk;
	void *hdr;
	int ret;

	if (!msg)
		return -ENOMEM;
	hdr = genlmsg_put_reply(msg, info, &control_family, 0, NOOKS_CMD_NOOK_GET);
	mutex_lock(&nooks_mutex);
	nk = control_nook(info->attrs, info->extack);
	ret = IS_ERR(nk) ? PTR_ERR(nk) : hdr ? control_put_nook(msg, nk) : -EMSGSIZE;
	mutex_unlock(&nooks_mutex);
	if (ret) {
		nlmsg_free(msg);
		return ret;
	}
	genlmsg_end(msg, hdr);
	return genlmsg_reply(msg, info);
}

static int control_nook_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct nook *nk;
	long i = 0;
	void *hdr;

	mutex_lock(&nooks_mutex);
	list_for_each_entry(nk, &nooks_list, node) {
		if (i++ < cb->args[0])
			continue;
		hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				  &control_family, NLM_F_MULTI, NOOKS_CMD_NOOK_GET);
		if (!hdr)
			break;
		if (control_put_nook(skb, nk)) {
			genlmsg_cancel(skb, hdr);
			break;
		}
		genlmsg_end(skb, hdr);
		cb->args[0] = i;
	}
	mutex_unlock(&nooks_mutex);
	return skb->len;
}

static void control_set_u32(u32 *to, const struct nlattr *attr)
{
	if (attr)
		WRITE_ONCE(*to, nla_get_u32(attr));
}

static int control_set(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr **attrs = info->attrs;
	struct nook *nk;
	int ret = 0;

	mutex_lock(&nooks_mutex);
	nk = control_nook(attrs, info->extack);
	if (IS_ERR(nk)) {
		ret = PTR_ERR(nk);
		goto unlock;
	}
	if (attrs[NOOKS_A_LEVEL] && READ_ONCE(nk->state) != NOOKS_STOPPED) {
		control_extack(info->extack, "%s is not stopped: its level cannot change", nk->name);
		ret = -EBUSY;
		goto unlock;
	}
	if (attrs[NOOKS_A_LEVEL])
		nk->level = nla_get_u32(attrs[NOOKS_A_LEVEL]);
	if (attrs[NOOKS_A_LIMIT_MS])
		WRITE_ONCE(nk->limit_ns,
			   (u64)nla_get_u32(attrs[NOOKS_A_LIMIT_MS]) * NSEC_PER_MSEC);
	control_set_u32(&nk->flags, attrs[NOOKS_A_FLAGS]);
	control_set_u32(&nk->grace_ms, attrs[NOOKS_A_GRACE_MS]);
	control_set_u32(&nk->backoff_ms, attrs[NOOKS_A_BACKOFF_MS]);
	control_set_u32(&nk->burst, attrs[NOOKS_A_BURST]);
	control_set_u32(&nk->stall_ms, attrs[NOOKS_A_STALL_MS]);
	control_set_u32(&nk->irq_rate, attrs[NOOKS_A_IRQ_RATE]);
	control_set_u32(&nk->tx_timeouts, attrs[NOOKS_A_TX_TIMEOUTS]);
	control_set_u32(&nk->memory_mib, attrs[NOOKS_A_MEMORY_MIB]);
unlock:
	mutex_unlock(&nooks_mutex);
	return ret;
}

static int control_stop(struct genl_info *info, int (*stop)(const char *name))
{
	const char *name;
	int ret;

	if (!info->attrs[NOOKS_A_NAME]) {
		control_extack(info->extack, "the name of a nook is missing");
		return -EINVAL;
	}
	name = nla_data(info->attrs[NOOKS_A_NAME]);
	ret = stop(name);
	if (ret == -ENOENT)
		control_extack(info->extack, "no nook is named %s", name);
	else if (ret == -EBUSY)
		control_extack(info->extack, "%s is in recovery; try again", name);
	return ret;
}

static int control_restart(struct sk_buff *skb, struct genl_info *info)
{
	return control_stop(info, recov_restart);
}

static int control_release(struct sk_buff *skb, struct genl_info *info)
{
	return control_stop(info, recov_release);
}

static int control_inject(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr **attrs = info->attrs;
	u8 old[NOOKS_INJECT_MAX];
	struct sk_buff *msg;
	void *hdr;
	u64 addr;
	int ret;
	u32 len;

	if (!attrs[NOOKS_A_NAME] || !attrs[NOOKS_A_SYMBOL] || !attrs[NOOKS_A_BYTES] ||
	    !nla_len(attrs[NOOKS_A_BYTES])) {
		control_extack(info->extack, "inject takes a module, a symbol and bytes");
		return -EINVAL;
	}
	len = nla_len(attrs[NOOKS_A_BYTES]);
	msg = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!msg)
		return -ENOMEM;
	ret = inject_patch(nla_data(attrs[NOOKS_A_NAME]), nla_data(attrs[NOOKS_A_SYMBOL]),
			   attrs[NOOKS_A_OFFSET] ? nla_get_u32(attrs[NOOKS_A_OFFSET]) : 0,
			   nla_data(attrs[NOOKS_A_BYTES]), old, len, &addr, info->extack);
	if (ret)
		goto free_msg;
	ret = -EMSGSIZE;
	hdr = genlmsg_put_reply(msg, info, &control_family, 0, NOOKS_CMD_INJECT);
	if (!hdr || nla_put_u64_64bit(msg, NOOKS_A_ADDR, addr, NOOKS_A_PAD) ||
	    nla_put(msg, NOOKS_A_OLD, len, old) ||
	    nla_put(msg, NOOKS_A_BYTES, len, nla_data(attrs[NOOKS_A_BYTES])))
		goto free_msg;
	genlmsg_end(msg, hdr);
	return genlmsg_reply(msg, info);

free_msg:
	nlmsg_free(msg);
	return ret;
}

/* ---- counters and learning log --------------------------------------------------------------- */

struct control_counter {
	const char *name, *field;
	u64 value;
	char text[KSYM_NAME_LEN];
};

/*
 * Counter @i of one kind. What was never used is left out where the list is long and says nothing:
 * object types and exits. A rule or an entry that was never used is worth knowing.
 *
 * Return: 1 filled, 0 left out, -ENOENT behind the last.
 */
static int control_counter(struct nook *nk, u32 kind, long i, struct control_counter *c)
{
	struct write_rule *r;
	char *end;

	c->field = NULL;
	switch (kind) {
	case NOOKS_COUNT_OBJECT:
		if (i >= OBJ_NR_CORE + nooks_ngen_types)
			return -ENOENT;
		c->value = nook_count_of(nk, i);
		if (!c->value)
			return 0;
		c->name = obj_type_desc(i)->name;
		return 1;
	case NOOKS_COUNT_WRITE:
		if (!nk->policy || i >= nk->policy->nrules)
			return -ENOENT;
		r = &nk->policy->rules[i];
		c->name = r->object;
		c->field = r->field;
		c->value = atomic64_read(&r->count);
		return 1;
	case NOOKS_COUNT_EXIT:
		if (i >= nooks_nexits)
			return -ENOENT;
		c->name = nooks_exits[i].name;
		c->value = atomic64_read(&nk->exit_count[i]);
		return c->value ? 1 : 0;
	case NOOKS_COUNT_ENTRY:
		if (i >= nk->ngates)
			return -ENOENT;
		snprintf(c->text, sizeof(c->text), "%ps", nk->gate[i].target);
		end = strchr(c->text, ' ');	/* "fn [module]" */
		if (end)
			*end = '\0';
		c->name = c->text;
		c->value = atomic64_read(&nk->gate[i].count);
		return 1;
	}
	return -ENOENT;
}

static int control_put_counter(struct sk_buff *skb, struct netlink_callback *cb, u32 kind,
			       const struct control_counter *c)
{
	struct nlattr *nest;
	void *hdr;

	hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &control_family,
			  NLM_F_MULTI, NOOKS_CMD_COUNT_GET);
	if (!hdr)
		return -EMSGSIZE;
	nest = nla_nest_start(skb, NOOKS_A_COUNT);
	if (!nest || nla_put_u32(skb, NOOKS_C_KIND, kind) ||
	    nla_put_string(skb, NOOKS_C_NAME, c->name) ||
	    (c->field && nla_put_string(skb, NOOKS_C_FIELD, c->field)) ||
	    nla_put_u64_64bit(skb, NOOKS_C_VALUE, c->value, NOOKS_C_UNSPEC)) {
		genlmsg_cancel(skb, hdr);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	genlmsg_end(skb, hdr);
	return 0;
}

/* cb->args: kind, index */
static int control_count_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct control_counter c;
	struct nook *nk;
	int ret;

	mutex_lock(&nooks_mutex);
	nk = control_nook(genl_dumpit_info(cb)->attrs, cb->extack);
	if (IS_ERR(nk)) {
		mutex_unlock(&nooks_mutex);
		return PTR_ERR(nk);
	}
	while (cb->args[0] <= NOOKS_COUNT_ENTRY) {
		ret = control_counter(nk, cb->args[0], cb->args[1], &c);
		if (ret > 0 && control_put_counter(skb, cb, cb->args[0], &c))
			break;
		cb->args[1]++;
		if (ret < 0) {
			cb->args[0]++;
			cb->args[1] = 0;
		}
	}
	mutex_unlock(&nooks_mutex);
	return skb->len;
}

static int control_put_learn(struct sk_buff *skb, struct netlink_callback *cb,
			     const struct learn_line *line)
{
	char ip[KSYM_SYMBOL_LEN], addr[KSYM_SYMBOL_LEN];
	struct nlattr *nest;
	void *hdr;

	snprintf(ip, sizeof(ip), "%pS", (void *)line->ip);
	snprintf(addr, sizeof(addr), "%pS", (void *)line->addr);
	hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &control_family,
			  NLM_F_MULTI, NOOKS_CMD_LEARN_GET);
	if (!hdr)
		return -EMSGSIZE;
	nest = nla_nest_start(skb, NOOKS_A_LEARN);
	if (!nest || nla_put_string(skb, NOOKS_L_OBJECT, line->object ?: "") ||
	    nla_put_u32(skb, NOOKS_L_OFFSET, line->off) ||
	    nla_put_u32(skb, NOOKS_L_SIZE, line->len) ||
	    nla_put_string(skb, NOOKS_L_IP, ip) ||
	    nla_put_u64_64bit(skb, NOOKS_L_COUNT, line->count, NOOKS_L_UNSPEC) ||
	    (!line->object && nla_put_string(skb, NOOKS_L_SYMBOL, addr))) {
		genlmsg_cancel(skb, hdr);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	genlmsg_end(skb, hdr);
	return 0;
}

/* cb->args: position in the log, whether it was complete is told first */
static int control_learn_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	unsigned int pos = cb->args[0];
	struct learn_line line;
	struct nook *nk;

	mutex_lock(&nooks_mutex);
	nk = control_nook(genl_dumpit_info(cb)->attrs, cb->extack);
	if (IS_ERR(nk)) {
		mutex_unlock(&nooks_mutex);
		return PTR_ERR(nk);
	}
	if (!pos && learn_lost(nk))
		pr_warn("%s: learning log is full, %llu writes are not in it; restart the nook to begin anew\n",
			nk->name, learn_lost(nk));
	while (learn_get(nk, &pos, &line)) {
		if (control_put_learn(skb, cb, &line))
			break;
		cb->args[0] = pos;
	}
	mutex_unlock(&nooks_mutex);
	return skb->len;
}

/* ---- events ---------------------------------------------------------------------------------- */

struct control_event {
	u8 cmd;
	u32 id, state;
	char name[NOOKS_NAME_LEN];
	struct nooks_fault fault;
};

static void control_event_work(struct work_struct *work);

static DEFINE_RAW_SPINLOCK(control_event_lock);
static struct control_event control_events[CONTROL_EVENTS];	/* control_event_lock */
static unsigned int control_event_head, control_event_tail;	/* control_event_lock */
static bool control_event_on;					/* control_event_lock */
static DECLARE_WORK(control_event_worker, control_event_work);

static void control_event_send(const struct control_event *e)
{
	struct sk_buff *msg;
	void *hdr;

	msg = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!msg)
		return;
	hdr = genlmsg_put(msg, 0, 0, &control_family, 0, e->cmd);
	if (!hdr || nla_put_string(msg, NOOKS_A_NAME, e->name) ||
	    nla_put_u32(msg, NOOKS_A_ID, e->id) ||
	    (e->cmd == NOOKS_CMD_EVENT_STATE && nla_put_u32(msg, NOOKS_A_STATE, e->state)) ||
	    (e->cmd == NOOKS_CMD_EVENT_FAULT && control_put_fault(msg, &e->fault))) {
		nlmsg_free(msg);
		return;
	}
	genlmsg_end(msg, hdr);
	genlmsg_multicast(&control_family, msg, 0, 0, GFP_KERNEL);	/* nobody listens: fine */
}

static void control_event_work(struct work_struct *work)
{
	static struct control_event e;	/* the one worker's, too big for its stack */
	unsigned long flags;

	for (;;) {
		raw_spin_lock_irqsave(&control_event_lock, flags);
		if (control_event_tail == control_event_head) {
			raw_spin_unlock_irqrestore(&control_event_lock, flags);
			return;
		}
		e = control_events[control_event_tail++ % CONTROL_EVENTS];
		raw_spin_unlock_irqrestore(&control_event_lock, flags);
		control_event_send(&e);
	}
}

static void control_event_queue(struct nook *nk, u8 cmd, const struct nooks_fault *f)
{
	struct control_event *e;
	unsigned long flags;

	raw_spin_lock_irqsave(&control_event_lock, flags);
	if (!control_event_on)
		goto unlock;
	if (control_event_head - control_event_tail == CONTROL_EVENTS)
		control_event_tail++;	/* the newest matter most */
	e = &control_events[control_event_head++ % CONTROL_EVENTS];
	e->cmd = cmd;
	e->id = nk->id;
	e->state = READ_ONCE(nk->state);
	strscpy(e->name, nk->name, sizeof(e->name));
	if (f)
		e->fault = *f;
	schedule_work(&control_event_worker);
unlock:
	raw_spin_unlock_irqrestore(&control_event_lock, flags);
}

void control_event_fault(struct nook *nk, const struct nooks_fault *f)
{
	control_event_queue(nk, NOOKS_CMD_EVENT_FAULT, f);
}

void control_event_state(struct nook *nk)
{
	control_event_queue(nk, NOOKS_CMD_EVENT_STATE, NULL);
}

/* ---- the family ------------------------------------------------------------------------------ */

static struct netlink_range_validation control_limit_ms = { .min = 10, .max = 60000 };

static const struct nla_policy control_attrs[NOOKS_A_MAX + 1] = {
	[NOOKS_A_NAME]	   = { .type = NLA_NUL_STRING, .len = NOOKS_NAME_LEN - 1 },
	[NOOKS_A_LEVEL]	   = NLA_POLICY_MAX(NLA_U32, NOOKS_LEVEL_PAGETABLE),
	[NOOKS_A_FLAGS]	   = NLA_POLICY_MASK(NLA_U32, NOOKS_F_LEARN | NOOKS_F_NO_RECOVER |
						     NOOKS_F_REOPEN | NOOKS_F_DEBUG_HEAP),
	[NOOKS_A_LIMIT_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &control_limit_ms),
	[NOOKS_A_GRACE_MS] = { .type = NLA_U32 },
	[NOOKS_A_BACKOFF_MS] = { .type = NLA_U32 },
	[NOOKS_A_BURST] = NLA_POLICY_MAX(NLA_U32, RECOV_PAST),
	[NOOKS_A_STALL_MS] = { .type = NLA_U32 },
	[NOOKS_A_IRQ_RATE] = { .type = NLA_U32 },
	[NOOKS_A_TX_TIMEOUTS] = { .type = NLA_U32 },
	[NOOKS_A_MEMORY_MIB] = { .type = NLA_U32 },
	[NOOKS_A_RULES]	   = { .type = NLA_NESTED },
	[NOOKS_A_SYMBOL]   = { .type = NLA_NUL_STRING, .len = NOOKS_SYM_LEN - 1 },
	[NOOKS_A_OFFSET]   = { .type = NLA_U32 },
	[NOOKS_A_BYTES]	   = { .type = NLA_BINARY, .len = NOOKS_INJECT_MAX },
};

static const struct genl_ops control_ops[] = {
	{
		.cmd = NOOKS_CMD_POLICY_SET,
		.flags = GENL_ADMIN_PERM,
		.doit = control_policy_set,
	},
	{
		.cmd = NOOKS_CMD_NOOK_GET,
		.flags = GENL_ADMIN_PERM,
		.doit = control_nook_get,
		.dumpit = control_nook_dump,
	},
	{
		.cmd = NOOKS_CMD_COUNT_GET,
		.flags = GENL_ADMIN_PERM,
		.dumpit = control_count_dump,
	},
	{
		.cmd = NOOKS_CMD_LEARN_GET,
		.flags = GENL_ADMIN_PERM,
		.dumpit = control_learn_dump,
	},
	{
		.cmd = NOOKS_CMD_RESTART,
		.flags = GENL_ADMIN_PERM,
		.doit = control_restart,
	},
	{
		.cmd = NOOKS_CMD_RELEASE,
		.flags = GENL_ADMIN_PERM,
		.doit = control_release,
	},
	{
		.cmd = NOOKS_CMD_SET,
		.flags = GENL_ADMIN_PERM,
		.doit = control_set,
	},
	{
		.cmd = NOOKS_CMD_INJECT,
		.flags = GENL_ADMIN_PERM,
		.doit = control_inject,
	},
	{
		.cmd = NOOKS_CMD_DUMP_GET,
		.flags = GENL_ADMIN_PERM,
		.dumpit = control_record_dump,
		.done = control_record_done,
	},
};

/* Events hold kernel addresses. */
static const struct genl_multicast_group control_groups[] = {
	{ .name = NOOKS_GENL_MCGRP, .flags = GENL_MCAST_CAP_NET_ADMIN },
};

/* parallel_ops, or genl_mutex would be held over a restart, and a driver's init may need it. */
struct genl_family control_family __ro_after_init = {
	.name = NOOKS_GENL_NAME,
	.version = NOOKS_GENL_VERSION,
	.maxattr = NOOKS_A_MAX,
	.policy = control_attrs,
	.parallel_ops = true,
	.module = THIS_MODULE,
	.ops = control_ops,
	.n_ops = ARRAY_SIZE(control_ops),
	.resv_start_op = __NOOKS_CMD_MAX,
	.mcgrps = control_groups,
	.n_mcgrps = ARRAY_SIZE(control_groups),
};

int control_init(void)
{
	unsigned long flags;
	int ret;

	ret = genl_register_family(&control_family);
	if (ret)
		return ret;
	raw_spin_lock_irqsave(&control_event_lock, flags);
	control_event_on = true;
	raw_spin_unlock_irqrestore(&control_event_lock, flags);
	return 0;
}

void control_deinit(void)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&control_event_lock, flags);
	control_event_on = false;
	raw_spin_unlock_irqrestore(&control_event_lock, flags);
	flush_work(&control_event_worker);
	genl_unregister_family(&control_family);
	mutex_lock(&nooks_mutex);
	policy_free_all();
	mutex_unlock(&nooks_mutex);
}
