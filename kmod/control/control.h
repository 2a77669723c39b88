/* SPDX-License-Identifier: GPL-2.0-only */
/* control.h - what user space asks of nooks.ko, and what it is told */
#ifndef NOOKS_CONTROL_H
#define NOOKS_CONTROL_H

#include <linux/netlink.h>
#include "../nooks.h"

/* ---- netlink.c ----------------------------------------------------------------------------- */

/**
 * control_init() - register the generic netlink family
 *
 * Last step of module init: commands arrive from here on.
 *
 * Context: process, may sleep.
 * Return: 0, or what genl_register_family() says.
 */
int control_init(void);

/**
 * control_deinit() - no more commands, pending events sent, all policies freed
 *
 * Context: process, may sleep; no nook is left, and nobody sends events any more.
 */
void control_deinit(void);

/**
 * control_event_fault() - tell listeners of a fault
 * @nk: the nook
 * @f:  copied
 *
 * Context: any but NMI; sent later from a worker.
 */
void control_event_fault(struct nook *nk, const struct nooks_fault *f);

/**
 * control_event_state() - tell listeners of nk->state as it is now
 * @nk: the nook
 *
 * Context: any but NMI; sent later from a worker.
 */
void control_event_state(struct nook *nk);

/**
 * control_extack() - answer a request with a reason that is made at run time
 * @extack: of the request
 * @fmt:    one line without a newline, at most 160 characters are kept
 *
 * Linux 6.1 keeps only a pointer; the text stays until 16 later ones were made.
 *
 * Context: process.
 */
__printf(2, 3) void control_extack(struct netlink_ext_ack *extack, const char *fmt, ...);

/* For dump.c. */
extern struct genl_family control_family;

int control_put_fault(struct sk_buff *skb, const struct nooks_fault *f);	/* 0, -EMSGSIZE */

/* The nook that a request names, ERR_PTR(-EINVAL), or ERR_PTR(-ENOENT). nooks_mutex held. */
struct nook *control_nook(struct nlattr **attrs, struct netlink_ext_ack *extack);

/* ---- dump.c -------------------------------------------------------------------------------- */
int control_record_dump(struct sk_buff *skb, struct netlink_callback *cb);	/* process */
int control_record_done(struct netlink_callback *cb);

/* ---- policy.c ------------------------------------------------------------------------------ */

/**
 * policy_get() - the policy that was loaded for a driver
 * @driver: module name
 *
 * A policy is replaced only while no nook of that name is in nooks_list. So the result is valid
 * until nooks_mutex is dropped, and from then on as long as the nook is listed: look up and list
 * the nook under one hold of the mutex. There is no put.
 *
 * Context: process, nooks_mutex held.
 * Return: the policy, or NULL if none was loaded.
 */
struct nooks_policy *policy_get(const char *driver);

/**
 * policy_match() - may a driver write this part of an object
 * @p:    policy, NULL allows nothing
 * @type: enum obj_type; not OBJ_PERCPU
 * @off:  of the store in the object
 * @len:  bytes
 *
 * A store over several fields needs a rule for each, and none of these may restrict the value; the
 * first is what is returned. Does not count: the caller does, when the store is done.
 *
 * Context: any.
 * Return: the rule that allows it, or NULL.
 */
struct write_rule *policy_match(struct nooks_policy *p, u16 type, u32 off, u32 len);

/*
 * The rule about @type that follows @r, or the first one if @r is NULL; NULL: no more. Context:
 * any.
 */
const struct write_rule *policy_next(const struct nooks_policy *p, u16 type,
				     const struct write_rule *r);

/**
 * policy_value_ok() - may a driver store this value where a rule lets it store
 * @nk:    the nook
 * @r:     rule
 * @value: the whole pointer, if the rule is about pointers
 *
 * Context: any but NMI.
 */
bool policy_value_ok(struct nook *nk, const struct write_rule *r, u64 value);

/* Does the value not matter? Then a part of the field may be stored, too. */
static inline bool policy_value_any(const struct write_rule *r)
{
	return r->value == NOOKS_VALUE_ANY || r->value == NOOKS_VALUE_SETUP ||
	       r->value == NOOKS_VALUE_ASKED;
}

/* Is the field the kernel's alone once the object is registered? */
static inline bool policy_until_published(const struct write_rule *r)
{
	return r->value == NOOKS_VALUE_OPS || r->value == NOOKS_VALUE_SETUP;
}

#define POLICY_PUBLISHED "this field of a registered object may not be changed"

/**
 * policy_match_percpu() - may a driver write this part of the per-CPU area
 * @p:   policy, NULL allows nothing
 * @off: address of the store less the base of this CPU's area
 * @len: bytes
 *
 * Context: any.
 * Return: the rule that allows it, or NULL.
 */
struct write_rule *policy_match_percpu(struct nooks_policy *p, u64 off, u32 len);

/**
 * policy_set() - load a driver's policy from NOOKS_CMD_POLICY_SET
 * @attrs:  NOOKS_A_* of the request, indexed
 * @extack: takes the reason, with the rule's name
 *
 * Context: process, may sleep, nooks_mutex held.
 * Return: 0, -EINVAL if a rule makes no sense, -EBUSY while the driver is in a nook, -ENOMEM.
 */
int policy_set(struct nlattr **attrs, struct netlink_ext_ack *extack);

/* Context: process, may sleep; no nook is left. */
void policy_free_all(void);

/* ---- learn.c ------------------------------------------------------------------------------- */

/**
 * learn_init() - room for the learning log of a nook
 * @nk: has NOOKS_F_LEARN, or may get it later
 *
 * Context: process, may sleep.
 * Return: 0 or -ENOMEM.
 */
int learn_init(struct nook *nk);

/* Context: process, may sleep; nobody notes any more. Tolerates a failed learn_init(). */
void learn_deinit(struct nook *nk);

/**
 * learn_note() - log a store that no rule allows
 * @nk:     the nook
 * @object: type name from the type table (kept as a pointer), NULL if no object was hit
 * @off:    in the object
 * @len:    bytes
 * @ip:     of the store
 * @addr:   that was written
 *
 * Context: any but NMI; no allocation.
 */
void learn_note(struct nook *nk, const char *object, u32 off, u32 len, unsigned long ip,
		unsigned long addr);

/* One line of the log, copied out. */
struct learn_line {
	const char *object;		/* NULL: see addr */
	u32 off, len;
	unsigned long ip, addr;
	u64 count;
};

/**
 * learn_get() - the next line of the log
 * @nk:   the nook
 * @pos:  0 at first, advanced past the line
 * @line: filled
 *
 * Context: process, nooks_mutex held.
 * Return: false at the end.
 */
bool learn_get(struct nook *nk, unsigned int *pos, struct learn_line *line);

/* Context: any. Return: stores that did not find room in the log. */
u64 learn_lost(struct nook *nk);

/* ---- inject.c ------------------------------------------------------------------------------ */

/**
 * inject_patch() - overwrite text of a loaded module, isolated or native
 * @module: name
 * @symbol: of that module
 * @off:    from the symbol
 * @bytes:  what to write
 * @old:    takes what was there
 * @len:    1..NOOKS_INJECT_MAX
 * @addr:   takes the address
 * @extack: takes the reason of a refusal
 *
 * All CPUs are stopped for the write, so none runs half of it; a task that was preempted between
 * two of the replaced instructions goes on in the middle of the new ones.
 *
 * Context: process, may sleep.
 * Return: 0, -ENOENT no such module or symbol, -EINVAL not inside the module's text,
 *	   -EOPNOTSUPP the kernel lacks what it takes.
 */
int inject_patch(const char *module, const char *symbol, u32 off, const u8 *bytes, u8 *old,
		 u32 len, u64 *addr, struct netlink_ext_ack *extack);

/**
 * inject_undo() - put back what was in a module's text before inject_patch()
 * Context: process, may sleep; nobody runs the module's text.
 */
void inject_undo(const struct module *mod);

/* The module, or with NULL every module, goes: its text is of no more interest. Process. */
void inject_forget(const struct module *mod);

/* ---- given by core/ and recovery/ ------------------------------------------------------------ */

/*
 * By name, without nooks_mutex. Context: process, may sleep.
 * Return: 0, -ENOENT no such nook, -EBUSY it is in recovery, or what init returned.
 */
int recov_restart(const char *name);
int recov_release(const char *name);

/* NOOKS_S_* of a nook. Context: process, nooks_mutex held. */
u64 nook_stat(struct nook *nk, u32 stat);

#endif
