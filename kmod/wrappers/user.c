// SPDX-License-Identifier: GPL-2.0-only
/*
 * user.c - copies between the driver and the process it works for
 *
 * Context: process, may sleep, kernel view: the user half of the address space is empty in a
 *	domain.
 */
#include <linux/minmax.h>
#include <linux/uaccess.h>
#include "wrappers.h"

#define USER_CHUNK	256
#define USER_MAX	0x100000

/*
 * (to, from, n): bytes that were not copied, and are zero. By way of a buffer of ours, because the
 * kernel's check of the target has a BUG for a field of an sk_buff, and for a copy across two
 * blocks of pages.
 */
u64 wrap__copy_from_user(struct xpc *x, const u64 *a)
{
	char chunk[USER_CHUNK];
	u64 done, n, left;
	void *to;

	if (!wrap_may_sleep(x, "_copy_from_user"))
		return 0;
	to = arg_writable(x, "_copy_from_user", "to", (void *)a[0], a[2]);
	if (!to)
		return 0;
	for (done = 0; done < a[2]; done += n) {
		n = min_t(u64, a[2] - done, USER_CHUNK);
		left = copy_from_user(chunk, (void __user *)(a[1] + done), n);
		memcpy(to + done, chunk, n);
		if (left) {
			memset(to + done + n, 0, a[2] - done - n);
			return a[2] - done - n + left;
		}
	}
	return 0;
}

/* (to, from, n) */
u64 wrap__copy_to_user(struct xpc *x, const u64 *a)
{
	char chunk[USER_CHUNK];
	u64 done, n;

	if (!wrap_may_sleep(x, "_copy_to_user"))
		return 0;
	if (a[2] > USER_MAX)
		return nooks_reject(x, "_copy_to_user(n): %llu", a[2]);
	for (done = 0; done < a[2]; done += n) {
		n = min_t(u64, a[2] - done, USER_CHUNK);
		if (!wrap_fetch(x, chunk, (void *)(a[1] + done), n))
			return nooks_reject(x, "_copy_to_user(from): not readable");
		if (copy_to_user((void __user *)(a[0] + done), chunk, n))
			break;
	}
	return a[2] - done;
}
