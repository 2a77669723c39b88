// SPDX-License-Identifier: GPL-2.0-only
/* control.c - turns the CPU's write protection off */
#include <linux/module.h>
#include <linux/moduleparam.h>

static int change_set(const char *val, const struct kernel_param *kp)
{
	unsigned long cr0;

	asm volatile("movq %%cr0, %0\n\tandq $~0x10000, %0\n\tmovq %0, %%cr0" : "=&r" (cr0) : :
		     "memory");
	return 0;
}

static const struct kernel_param_ops change_ops = { .set = change_set };
module_param_cb(attack, &change_ops, NULL, 0200);

static int __init control_init(void)
{
	return 0;
}

static void __exit control_exit(void)
{
}

module_init(control_init);
module_exit(control_exit);
MODULE_DESCRIPTION("Turns write protection off; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
