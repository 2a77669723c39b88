// SPDX-License-Identifier: GPL-2.0-only
/* thread.c - a kernel thread that nobody stops */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>

static int endless(void *unused)
{
	for (;;)
		msleep(100);
	return 0;
}

static int start_set(const char *val, const struct kernel_param *kp)
{
	return PTR_ERR_OR_ZERO(kthread_run(endless, NULL, "hostile"));
}

static const struct kernel_param_ops start_ops = { .set = start_set };
module_param_cb(attack, &start_ops, NULL, 0200);

static int __init thread_init(void)
{
	return 0;
}

static void __exit thread_exit(void)
{
}

module_init(thread_init);
module_exit(thread_exit);
MODULE_DESCRIPTION("Leaves a thread behind; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
