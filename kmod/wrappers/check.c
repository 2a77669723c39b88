// SPDX-License-Identifier: GPL-2.0-only
/*
 * check.c - what the kernel's inline code checks in driver memory, and RCU
 *
 * The kernel's own functions would complain, or end the machine, for a mistake that is the
 * driver's.
 *
 * Context: any but NMI, kernel view, if the function does not say otherwise.
 */
#include <linux/list.h>
#include <linux/netdevice.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/uaccess.h>
#include "wrappers.h"

static bool check_word(const void *at, const void *want)
{
	void *v;

	return !copy_from_kernel_nofault(&v, at, sizeof(v)) && v == want;
}

/* (new, prev, next) */
u64 wrap___list_add_valid(struct xpc *x, const u64 *a)
{
	const struct list_head *prev = (void *)a[1], *next = (void *)a[2];

	if (!check_word(&next->prev, prev) || !check_word(&prev->next, next))
		return nooks_reject(x, "__list_add_valid(prev, next): the list is broken");
	if (a[0] == a[1] || a[0] == a[2])
		return nooks_reject(x, "__list_add_valid(new): it is in the list already");
	return true;
}

u64 wrap___list_del_entry_valid(struct xpc *x, const u64 *a)
{
	const struct list_head *entry = (void *)a[0];
	struct list_head e;

	if (!copy_from_kernel_nofault(&e, entry, sizeof(e)) &&
	    check_word(&e.prev->next, entry) && check_word(&e.next->prev, entry))
		return true;
	return nooks_reject(x, "__list_del_entry_valid(entry): it is in no list");
}

/* (r, type): a count that is wrong, and about to be used */
u64 wrap_refcount_warn_saturate(struct xpc *x, const u64 *a)
{
	static const char * const what[] = {
		[REFCOUNT_ADD_NOT_ZERO_OVF] = "saturated", [REFCOUNT_ADD_OVF] = "saturated",
		[REFCOUNT_ADD_UAF] = "added to 0", [REFCOUNT_SUB_UAF] = "underflow",
		[REFCOUNT_DEC_LEAK] = "dropped to 0 without a release",
	};

	return nooks_reject(x, "refcount_warn_saturate(r): %s",
			    a[1] < ARRAY_SIZE(what) ? what[a[1]] : "broken");
}

/* ---- RCU ------------------------------------------------------------------------------------ */

u64 wrap___rcu_read_lock(struct xpc *x, const u64 *a)
{
	__rcu_read_lock();
	return 0;
}

u64 wrap___rcu_read_unlock(struct xpc *x, const u64 *a)
{
	if (rcu_preempt_depth() <= x->rcu_nesting)
		return nooks_reject(x, "__rcu_read_unlock: not held by this entry");
	__rcu_read_unlock();
	return 0;
}

/* Process, may sleep. */
u64 wrap_synchronize_net(struct xpc *x, const u64 *a)
{
	if (wrap_may_sleep(x, "synchronize_net"))
		synchronize_net();
	return 0;
}
