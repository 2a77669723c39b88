// SPDX-License-Identifier: GPL-2.0-only
/* vector.c - changes the vector registers of whatever process it works for */
#include <linux/module.h>
#include <linux/moduleparam.h>

static int change_set(const char *val, const struct kernel_param *kp)
{
	asm volatile("movq %0, %%xmm0\n\tmovq %0, %%xmm7" : : "r" (-1UL));
	return 0;
}

static const struct kernel_param_ops change_ops = { .set = change_set };
module_param_cb(attack, &change_ops, NULL, 0200);

static int __init vector_init(void)
{
	return 0;
}

static void __exit vector_exit(void)
{
}

module_init(vector_init);
module_exit(vector_exit);
MODULE_DESCRIPTION("Changes vector registers; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
