// SPDX-License-Identifier: GPL-2.0-only
/*
 * print.c - messages of a driver
 *
 * The kernel's printf trusts its format and its pointers. So the format is walked here, one
 * conversion at a time, each with a value that was fetched with faults caught; what is left of the
 * kernel's printf sees only our own small formats. A nook that floods the log is limited.
 *
 * Context: any but NMI, kernel view.
 */
#include <linux/ctype.h>
#include <linux/device.h>
#include <linux/netdevice.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "wrappers.h"

#define PRINT_FMT_MAX	512
#define PRINT_LINE_MAX	256
#define PRINT_STR_MAX	128
#define PRINT_LIMITS	16
#define PRINT_DUMP_MAX	4096

/* One conversion of a format: "%-08.3lx" */
struct print_spec {
	char text[16];		/* flags, width, precision as given, then ours */
	int n;
	bool wide;		/* l, ll, z, t, j: all 64 bits */
	char conv;
};

struct print_state {
	struct xpc *x;
	char *buf;
	size_t size, len;
	const u64 *a;
	int i;
};

static u64 print_arg(struct print_state *st)
{
	return st->i < NOOKS_EXIT_ARGS ? st->a[st->i++] : 0;
}

static void print_spec_char(struct print_spec *sp, char c)
{
	if (sp->n < sizeof(sp->text) - 4)
		sp->text[sp->n++] = c;
}

static const char *print_number(struct print_state *st, struct print_spec *sp, const char *f)
{
	int n = 0;

	if (*f == '*') {
		n = (int)print_arg(st);
		f++;
		if (n < 0)
			print_spec_char(sp, '-');
		n = abs(clamp(n, -PRINT_STR_MAX, PRINT_STR_MAX));
	} else {
		while (isdigit(*f))
			n = min(n * 10 + *f++ - '0', PRINT_STR_MAX);
	}
	if (n >= 100)
		print_spec_char(sp, '0' + n / 100);
	if (n >= 10)
		print_spec_char(sp, '0' + n / 10 % 10);
	print_spec_char(sp, '0' + n % 10);
	return f;
}

static const char *print_parse(struct print_state *st, struct print_spec *sp, const char *f)
{
	sp->n = 0;
	sp->wide = false;
	print_spec_char(sp, '%');
	while (*f && strchr("-+ #0", *f))
		print_spec_char(sp, *f++);
	if (isdigit(*f) || *f == '*')
		f = print_number(st, sp, f);
	if (*f == '.') {
		print_spec_char(sp, *f++);
		f = print_number(st, sp, f);
	}
	while (*f && strchr("hlLzjtZ", *f))
		sp->wide |= *f++ != 'h';
	sp->conv = *f;
	return *f ? f + 1 : f;
}

static void print_tail(struct print_spec *sp, const char *tail)
{
	strscpy(sp->text + sp->n, tail, sizeof(sp->text) - sp->n);
}

static void print_done(struct print_state *st, int n)
{
	st->len = min(st->len + n, st->size - 1);
}

static void print_int(struct print_state *st, struct print_spec *sp)
{
	char tail[4] = { 'l', 'l', sp->conv, 0 };
	u64 v = print_arg(st);

	if (!sp->wide)
		v = sp->conv == 'd' || sp->conv == 'i' ? (u64)(s64)(s32)v : (u32)v;
	print_tail(sp, tail);
	print_done(st, snprintf(st->buf + st->len, st->size - st->len, sp->text, v));
}

static void print_string(struct print_state *st, struct print_spec *sp)
{
	char tmp[PRINT_STR_MAX];
	const char *s = (const char *)print_arg(st);

	if (!s)
		strscpy(tmp, "(null)", sizeof(tmp));
	else if (wrap_fetch_string(tmp, s, sizeof(tmp)) < 0)
		strscpy(tmp, "(bad string)", sizeof(tmp));
	print_tail(sp, "s");
	print_done(st, snprintf(st->buf + st->len, st->size - st->len, sp->text, tmp));
}

/* %pM %pI4 and their like read at most 16 bytes; the others are shown as plain pointers. */
static const char *print_pointer(struct print_state *st, const char *f)
{
	void *p = (void *)print_arg(st);
	char fmt[8] = "%p", bytes[16] = {};
	const char *ext = f;
	int n = 2;
	size_t need = 0;

	while (isalnum(*f))
		f++;
	if (*ext == 'M' || *ext == 'm')
		need = 6;
	else if ((*ext == 'I' || *ext == 'i') && (ext[1] == '4' || ext[1] == '6'))
		need = ext[1] == '4' ? 4 : 16;
	if (need && !copy_from_kernel_nofault(bytes, p, need))
		p = bytes;
	else if (need || !strchr("sSBxK", *ext))
		ext = f;
	while (ext < f && n < sizeof(fmt) - 1 && n < 4)
		fmt[n++] = *ext++;
	fmt[n] = 0;
	print_done(st, snprintf(st->buf + st->len, st->size - st->len, fmt, p));
	return f;
}

static const char *print_conversion(struct print_state *st, const char *f)
{
	struct print_spec sp;

	f = print_parse(st, &sp, f);
	switch (sp.conv) {
	case 'd':
	case 'i':
	case 'u':
	case 'x':
	case 'X':
	case 'o':
		print_int(st, &sp);
		break;
	case 'c':
		st->buf[st->len] = print_arg(st);
		print_done(st, 1);
		break;
	case 's':
		print_string(st, &sp);
		break;
	case 'p':
		f = print_pointer(st, f);
		break;
	case '%':
		st->buf[st->len] = '%';
		print_done(st, 1);
		break;
	default:
		print_arg(st);
	}
	return f;
}

int wrap_format(struct xpc *x, char *buf, size_t size, const char *fmt, const u64 *a, int i)
{
	struct print_state st = { .x = x, .buf = buf, .size = size, .a = a, .i = i };
	char copy[PRINT_FMT_MAX];	/* the driver may change its own while we read */
	const char *f = copy;

	if (wrap_fetch_string(copy, fmt, sizeof(copy)) < 0)
		return 0;
	while (*f && st.len < size - 1) {
		if (*f == '%')
			f = print_conversion(&st, f + 1);
		else
			buf[st.len++] = *f++;
	}
	buf[st.len] = 0;
	return st.len;
}

static bool print_allowed(struct nook *nk)
{
	static struct ratelimit_state limit[PRINT_LIMITS] = {
		[0 ... PRINT_LIMITS - 1] = RATELIMIT_STATE_INIT(print, 5 * HZ, 200),
	};

	return __ratelimit(&limit[nk->id % PRINT_LIMITS]);
}

static bool print_line(struct xpc *x, const char *fn, char *line, const u64 *a, int fmt)
{
	if (!arg_string(x, fn, "fmt", (const char *)a[fmt]) || !print_allowed(x->nook))
		return false;
	wrap_format(x, line, PRINT_LINE_MAX, (const char *)a[fmt], a, fmt + 1);
	return true;
}

u64 wrap__printk(struct xpc *x, const u64 *a)
{
	char line[PRINT_LINE_MAX];

	return print_line(x, "_printk", line, a, 0) ? _printk("%s", line) : 0;
}

/* The ud2 of the WARN follows in the driver and is counted there. */
u64 wrap___warn_printk(struct xpc *x, const u64 *a)
{
	char line[PRINT_LINE_MAX];

	if (print_line(x, "__warn_printk", line, a, 0))
		pr_warn("%s: %s", x->nook->name, line);
	return 0;
}

static bool print_device(struct xpc *x, const char *fn, const struct device *dev)
{
	const struct net_device *nd = container_of(dev, struct net_device, dev);

	if (!dev || objtrack_has(x->nook, OBJ_DEVICE, dev) ||
	    objtrack_has(x->nook, OBJ_NET_DEVICE, nd))
		return true;
	nooks_reject(x, "%s(dev): not a tracked device", fn);
	return false;
}

/* a[at] is the device, the format follows */
static u64 print_dev_at(struct xpc *x, const char *fn, const char *level, const u64 *a, int at)
{
	const struct device *dev = (const struct device *)a[at];
	char line[PRINT_LINE_MAX];

	if (print_device(x, fn, dev) && print_line(x, fn, line, a, at + 1))
		_dev_printk(level, dev, "%s", line);
	return 0;
}

static u64 print_dev(struct xpc *x, const char *fn, const char *level, const u64 *a)
{
	return print_dev_at(x, fn, level, a, 0);
}

u64 wrap__dev_emerg(struct xpc *x, const u64 *a)
{
	return print_dev(x, "_dev_emerg", KERN_EMERG, a);
}

u64 wrap__dev_crit(struct xpc *x, const u64 *a)
{
	return print_dev(x, "_dev_crit", KERN_CRIT, a);
}

u64 wrap__dev_err(struct xpc *x, const u64 *a)
{
	return print_dev(x, "_dev_err", KERN_ERR, a);
}

u64 wrap__dev_warn(struct xpc *x, const u64 *a)
{
	return print_dev(x, "_dev_warn", KERN_WARNING, a);
}

u64 wrap__dev_notice(struct xpc *x, const u64 *a)
{
	return print_dev(x, "_dev_notice", KERN_NOTICE, a);
}

u64 wrap__dev_info(struct xpc *x, const u64 *a)
{
	return print_dev(x, "_dev_info", KERN_INFO, a);
}

/* (level, dev, fmt, ...) */
u64 wrap__dev_printk(struct xpc *x, const u64 *a)
{
	return print_dev_at(x, "_dev_printk", KERN_INFO, a, 1);
}

/* (dev, err, fmt, ...). No probe is deferred here, so there is no reason to keep. Return: err */
u64 wrap_dev_err_probe(struct xpc *x, const u64 *a)
{
	const struct device *dev = (const struct device *)a[0];
	char line[PRINT_LINE_MAX];

	if (print_device(x, "dev_err_probe", dev) && print_line(x, "dev_err_probe", line, a, 2))
		_dev_printk(KERN_ERR, dev, "error %d: %s", (int)a[1], line);
	return a[1];
}

static u64 print_netdev(struct xpc *x, const char *fn, const char *level, const u64 *a, int dev)
{
	const struct net_device *nd = (const struct net_device *)a[dev];
	char line[PRINT_LINE_MAX];

	if (!arg_obj_or_null(x, fn, "dev", OBJ_NET_DEVICE, nd))
		return 0;
	/* the driver's to set, and its name part of the message */
	if (nd && !arg_obj_or_null(x, fn, "dev->dev.parent", OBJ_DEVICE, nd->dev.parent))
		return 0;
	if (print_line(x, fn, line, a, dev + 1))
		netdev_printk(level, nd, "%s", line);
	return 0;
}

u64 wrap_netdev_err(struct xpc *x, const u64 *a)
{
	return print_netdev(x, "netdev_err", KERN_ERR, a, 0);
}

u64 wrap_netdev_warn(struct xpc *x, const u64 *a)
{
	return print_netdev(x, "netdev_warn", KERN_WARNING, a, 0);
}

u64 wrap_netdev_notice(struct xpc *x, const u64 *a)
{
	return print_netdev(x, "netdev_notice", KERN_NOTICE, a, 0);
}

u64 wrap_netdev_info(struct xpc *x, const u64 *a)
{
	return print_netdev(x, "netdev_info", KERN_INFO, a, 0);
}

/* (level, dev, fmt, ...) */
u64 wrap_netdev_printk(struct xpc *x, const u64 *a)
{
	return print_netdev(x, "netdev_printk", KERN_INFO, a, 1);
}

/* (descriptor, dev, fmt, ...): the descriptor lies in driver data and is not looked at */
u64 wrap___dynamic_netdev_dbg(struct xpc *x, const u64 *a)
{
	return print_netdev(x, "__dynamic_netdev_dbg", KERN_DEBUG, a, 1);
}

/* (descriptor, dev, fmt, ...) */
u64 wrap___dynamic_dev_dbg(struct xpc *x, const u64 *a)
{
	return print_dev_at(x, "__dynamic_dev_dbg", KERN_DEBUG, a, 1);
}

/* (descriptor, fmt, ...) */
u64 wrap___dynamic_pr_debug(struct xpc *x, const u64 *a)
{
	char line[PRINT_LINE_MAX];

	if (print_line(x, "__dynamic_pr_debug", line, a, 1))
		_printk(KERN_DEBUG "%s", line);
	return 0;
}

static void print_dump_line(const char *level, const char *prefix, int type, unsigned int off,
			    const void *at, const char *text)
{
	if (type == DUMP_PREFIX_ADDRESS)
		_printk("%s%s%p: %s\n", level, prefix, at, text);
	else if (type == DUMP_PREFIX_OFFSET)
		_printk("%s%s%.8x: %s\n", level, prefix, off, text);
	else
		_printk("%s%s%s\n", level, prefix, text);
}

/* (level, prefix_str, prefix_type, rowsize, groupsize, buf, len, ascii) */
u64 wrap_print_hex_dump(struct xpc *x, const u64 *a)
{
	int row = (u32)a[3] == 32 ? 32 : 16, group = (int)a[4];
	const u8 *buf = (const u8 *)a[5];
	u64 len = min_t(u64, a[6], PRINT_DUMP_MAX), off, n;
	char level[4] = "", prefix[32] = "", text[32 * 3 + 2 + 32 + 1];
	u8 bytes[32];

	wrap_fetch_string(level, (const char *)a[0], sizeof(level));
	wrap_fetch_string(prefix, (const char *)a[1], sizeof(prefix));
	for (off = 0; off < len && print_allowed(x->nook); off += row) {
		n = min_t(u64, row, len - off);
		if (copy_from_kernel_nofault(bytes, buf + off, n))
			return nooks_reject(x, "print_hex_dump(buf): not readable");
		hex_dump_to_buffer(bytes, n, row, group, text, sizeof(text), a[7] & 0xff);
		print_dump_line(level, prefix, (int)a[2], off, buf + off, text);
	}
	return 0;
}
