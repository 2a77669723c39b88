// SPDX-License-Identifier: GPL-2.0-only
/*
 * param.c - parameters of a driver that the kernel would follow a pointer for, or count by a
 * number, that lies in driver memory
 *
 * Relinking points a driver's parameters at these operations instead of the kernel's own of the
 * same name (policy `domain` in policy/subsystem/core.toml). Tables of operations and descriptions
 * of arrays lie in read-only data; nook_params_fixed() in core/nook.c refuses others.
 *
 * Locking: param_lock guards param_strings. The kernel calls get and set under a lock of the
 *	module.
 * Context: process, may sleep, kernel view.
 */
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "wrappers.h"

#define PARAM_STRING_MAX	1024

/* What a charp parameter was set to. The driver has only the address. */
struct param_string {
	struct list_head node;
	const void *arg;		/* the parameter's variable */
	char text[];
};

static LIST_HEAD(param_strings);
static DEFINE_MUTEX(param_lock);

static void param_forget(const void *arg)
{
	struct param_string *s, *next;

	lockdep_assert_held(&param_lock);
	list_for_each_entry_safe(s, next, &param_strings, node) {
		if (s->arg != arg)
			continue;
		list_del(&s->node);
		kfree(s);
	}
}

static int param_set_pointer(const char *val, const struct kernel_param *kp)
{
	size_t len = strnlen(val, PARAM_STRING_MAX + 1);
	struct param_string *s;

	if (len > PARAM_STRING_MAX)
		return -ENOSPC;
	s = kmalloc(struct_size(s, text, len + 1), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	s->arg = kp->arg;
	memcpy(s->text, val, len + 1);
	mutex_lock(&param_lock);
	param_forget(kp->arg);
	list_add(&s->node, &param_strings);
	mutex_unlock(&param_lock);
	WRITE_ONCE(*(char **)kp->arg, s->text);
	return 0;
}

static int param_get_pointer(char *buf, const struct kernel_param *kp)
{
	const char *s = READ_ONCE(*(char **)kp->arg);
	long len;

	if (!s)
		return scnprintf(buf, PAGE_SIZE, "(null)\n");
	len = wrap_fetch_string(buf, s, PAGE_SIZE - 1);
	if (len < 0)
		return len;
	len = min_t(long, len, PAGE_SIZE - 2);
	strcpy(buf + len, "\n");
	return len + 1;
}

static void param_free_pointer(void *arg)
{
	mutex_lock(&param_lock);
	param_forget(arg);
	mutex_unlock(&param_lock);
}

const struct kernel_param_ops nooks_param_ops_charp = {
	.set = param_set_pointer, .get = param_get_pointer, .free = param_free_pointer,
};
EXPORT_SYMBOL_GPL(nooks_param_ops_charp);

/* ---- arrays --------------------------------------------------------------------------------- */

static unsigned int param_count(const struct kparam_array *arr)
{
	return arr->num ? min(READ_ONCE(*arr->num), arr->max) : arr->max;
}

static int param_set_array(const char *val, const struct kernel_param *kp)
{
	struct kparam_array arr = *kp->arr;
	struct kernel_param p = *kp;
	unsigned int n = 0;
	int ret;

	p.arr = &arr;
	/* the driver's count could change while it is compared with the room */
	arr.num = &n;
	ret = param_array_ops.set(val, &p);
	if (kp->arr->num)
		WRITE_ONCE(*kp->arr->num, n);
	return ret;
}

static int param_get_array(char *buf, const struct kernel_param *kp)
{
	const struct kparam_array *arr = kp->arr;
	struct kernel_param p = *kp;
	int len = 0, ret = 0;
	unsigned int i;
	char *one = kmalloc(PAGE_SIZE, GFP_KERNEL);

	if (!one)
		return -ENOMEM;
	for (i = 0; i < param_count(arr) && arr->ops->get; i++) {
		p.arg = arr->elem + arr->elemsize * i;
		ret = arr->ops->get(one, &p);
		if (ret < 0)
			break;
		if (len)
			buf[len - 1] = ',';	/* in place of the newline */
		len += scnprintf(buf + len, PAGE_SIZE - len, "%.*s", ret, one);
	}
	kfree(one);
	return ret < 0 ? ret : len;
}

static void param_free_array(void *arg)
{
	const struct kparam_array *arr = arg;
	unsigned int i;

	for (i = 0; arr->ops->free && i < arr->max; i++)
		arr->ops->free(arr->elem + arr->elemsize * i);
}

const struct kernel_param_ops nooks_param_array_ops = {
	.set = param_set_array, .get = param_get_array, .free = param_free_array,
};
EXPORT_SYMBOL_GPL(nooks_param_array_ops);

/* ---- strings in an array of the driver ------------------------------------------------------- */

static int param_set_text(const char *val, const struct kernel_param *kp)
{
	return param_set_copystring(val, kp);
}

static int param_get_text(char *buf, const struct kernel_param *kp)
{
	const struct kparam_string *s = kp->str;

	return scnprintf(buf, PAGE_SIZE, "%.*s\n", (int)min_t(size_t, s->maxlen, PAGE_SIZE),
			 s->string);
}

const struct kernel_param_ops nooks_param_ops_string = {
	.set = param_set_text, .get = param_get_text,
};
EXPORT_SYMBOL_GPL(nooks_param_ops_string);
