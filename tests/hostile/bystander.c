// SPDX-License-Identifier: GPL-2.0-only
/*
 * bystander.c - a driver that does nothing; its nook is one that others attack, and that is
 * measured
 */
#include <linux/module.h>
#include <linux/slab.h>

static unsigned long heap;			/* a block of its own */
module_param(heap, ulong, 0400);
static unsigned long empty, leaving;	/* functions for the victim to call, by their gates */
module_param(empty, ulong, 0400);
module_param(leaving, ulong, 0400);

static int bystander_empty(void)
{
	return 0;
}

/* One exit that does nothing. */
static int bystander_leaving(void)
{
	kfree(NULL);
	return 0;
}

static int __init bystander_init(void)
{
	unsigned long *p = kmalloc(64, GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	*p = 0x600d600d600d600d;
	heap = (unsigned long)p;
	empty = (unsigned long)bystander_empty;
	leaving = (unsigned long)bystander_leaving;
	return 0;
}

static void __exit bystander_exit(void)
{
	kfree((void *)heap);
}

module_init(bystander_init);
module_exit(bystander_exit);
MODULE_DESCRIPTION("Another nook beside hostile.ko; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
