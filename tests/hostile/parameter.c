// SPDX-License-Identifier: GPL-2.0-only
/* parameter.c - a parameter whose table of functions can be written */
#include <linux/module.h>
#include <linux/moduleparam.h>

static struct kernel_param_ops value_ops;
module_param_cb(value, &value_ops, NULL, 0400);

static int change_set(const char *val, const struct kernel_param *kp)
{
	value_ops.get = (void *)0x5a5a5a5aUL;
	return 0;
}

static int value_get(char *buf, const struct kernel_param *kp)
{
	return 0;
}

static struct kernel_param_ops value_ops = { .get = value_get };
static const struct kernel_param_ops change_ops = { .set = change_set };
module_param_cb(attack, &change_ops, NULL, 0200);

static int __init parameter_init(void)
{
	return 0;
}

static void __exit parameter_exit(void)
{
}

module_init(parameter_init);
module_exit(parameter_exit);
MODULE_DESCRIPTION("Changes a parameter's functions; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
