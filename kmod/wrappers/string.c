// SPDX-License-Identifier: GPL-2.0-only
/*
 * string.c - memory and string functions that write where the driver says
 *
 * The destination must be memory that the nook may write. The source may be anything readable: it
 * is read with faults caught, because an address from a driver may not be mapped.
 *
 * Context: any but NMI, kernel view.
 */
#include <linux/io.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include "domain/shadow.h"
#include "wrappers.h"

bool wrap_fetch(struct xpc *x, void *dst, const void *src, size_t len)
{
	return !copy_from_kernel_nofault(dst, shadow_target(x->nook, (void *)src, len), len);
}

long wrap_fetch_string(char *dst, const char *src, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++) {
		if (copy_from_kernel_nofault(&dst[i], src + i, 1))
			return -EFAULT;
		if (!dst[i])
			return i;
	}
	if (size)
		dst[size - 1] = 0;
	return size;
}

char *wrap_strdup(struct nook *nk, const char *s, size_t max)
{
	int len = nook_strlen(nk, s, max);
	char *p;

	if (len < 0)
		return NULL;
	p = kmemdup_nul(s, len, GFP_ATOMIC);
	return p;
}

u64 wrap_memcpy(struct xpc *x, const u64 *a)
{
	void *dst = (void *)a[0];

	if (!a[2])
		return a[0];
	dst = arg_writable(x, "memcpy", "dst", dst, a[2]);
	if (!dst)
		return 0;
	if (!wrap_fetch(x, dst, (void *)a[1], a[2]))
		return nooks_reject(x, "memcpy(src): %#llx is not readable", a[1]);
	return a[0];
}

/* (to, from, n): from registers that were granted */
u64 wrap_memcpy_fromio(struct xpc *x, const u64 *a)
{
	void *to = arg_writable(x, "memcpy_fromio", "to", (void *)a[0], a[2]);

	if (to && arg_owned(x, "memcpy_fromio", "from", (void *)a[1], a[2]))
		memcpy_fromio(to, (void __iomem *)a[1], a[2]);
	return 0;
}

u64 wrap_memmove(struct xpc *x, const u64 *a)
{
	void *dst = (void *)a[0], *src = (void *)a[1], *seen;

	if (!a[2])
		return a[0];
	dst = arg_writable(x, "memmove", "dst", dst, a[2]);
	if (!dst)
		return 0;
	seen = shadow_target(x->nook, src, a[2]);
	if (seen != src || nook_owns(x->nook, src, a[2]))
		memmove(dst, seen, a[2]);
	else if (copy_from_kernel_nofault(dst, src, a[2]))
		return nooks_reject(x, "memmove(src): %#llx is not readable", a[1]);
	return a[0];
}

u64 wrap_memset(struct xpc *x, const u64 *a)
{
	void *s;

	if (!a[2])
		return a[0];
	s = arg_writable(x, "memset", "s", (void *)a[0], a[2]);
	if (s)
		memset(s, a[1], a[2]);
	return a[0];
}

u64 wrap_strncpy(struct xpc *x, const u64 *a)
{
	char *dst = (char *)a[0];
	long len;

	if (!a[2])
		return a[0];
	dst = arg_writable(x, "strncpy", "dest", dst, a[2]);
	if (!dst)
		return 0;
	for (len = 0; len < a[2]; len++) {
		if (copy_from_kernel_nofault(&dst[len], (char *)a[1] + len, 1))
			return nooks_reject(x, "strncpy(src): not readable");
		if (!dst[len])
			break;
	}
	memset(dst + len, 0, a[2] - len);
	return a[0];
}

/* The bytes that strscpy() and strlcpy() may touch: no more than the string, no more than count. */
static u64 string_copy(struct xpc *x, const char *fn, const u64 *a, bool *cut)
{
	char *dst = (char *)a[0], *to;
	char c;
	size_t i;

	*cut = true;
	to = arg_writable(x, fn, "dst", dst, min_t(u64, a[2], 1));
	if (!to)
		return 0;
	for (i = 0; i < a[2]; i++) {
		if (copy_from_kernel_nofault(&c, (char *)a[1] + i, 1))
			return nooks_reject(x, "%s(src): not readable", fn);
		to = arg_writable(x, fn, "dst", dst + i, 1);
		if (!to)
			return 0;
		if (i == a[2] - 1 && c)
			break;
		*to = c;
		if (!c) {
			*cut = false;
			return i;
		}
	}
	*to = 0;
	return i;
}

u64 wrap_strscpy(struct xpc *x, const u64 *a)
{
	bool cut;
	u64 n;

	if (!a[2] || a[2] > INT_MAX)
		return -E2BIG;
	n = string_copy(x, "strscpy", a, &cut);
	return cut ? -E2BIG : n;
}

u64 wrap_strlcpy(struct xpc *x, const u64 *a)
{
	bool cut;
	u64 n;
	char c;

	if (!a[2] || a[2] > INT_MAX)
		return 0;
	n = string_copy(x, "strlcpy", a, &cut);
	if (!cut)
		return n;
	while (n < PAGE_SIZE && !copy_from_kernel_nofault(&c, (char *)a[1] + n, 1) && c)
		n++;
	return n;
}

u64 wrap_strcpy(struct xpc *x, const u64 *a)
{
	u64 b[3] = { a[0], a[1], PAGE_SIZE };
	bool cut;

	string_copy(x, "strcpy", b, &cut);
	return a[0];
}

/* (buf, size, fmt, ...) */
static u64 string_format(struct xpc *x, const char *fn, const u64 *a, int arg, size_t size)
{
	const char *fmt = (const char *)a[arg - 1];
	char tmp[256], *to;
	int n;

	if (!arg_string(x, fn, "fmt", fmt))
		return 0;
	n = wrap_format(x, tmp, sizeof(tmp), fmt, a, arg);
	if (!size)
		return n;
	size = min_t(size_t, size, n + 1);
	to = arg_writable(x, fn, "buf", (void *)a[0], size);
	if (!to)
		return 0;
	memcpy(to, tmp, size - 1);
	to[size - 1] = 0;
	return n;
}

u64 wrap_snprintf(struct xpc *x, const u64 *a)
{
	return string_format(x, "snprintf", a, 3, a[1]);
}

u64 wrap_scnprintf(struct xpc *x, const u64 *a)
{
	u64 n = string_format(x, "scnprintf", a, 3, a[1]);

	return a[1] ? min(n, a[1] - 1) : 0;
}

u64 wrap_sprintf(struct xpc *x, const u64 *a)
{
	return string_format(x, "sprintf", a, 2, INT_MAX);
}
