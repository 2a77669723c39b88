// SPDX-License-Identifier: GPL-2.0-only
/* notifier.c - a notifier block whose function is changed while the kernel's chain holds it */
#include <linux/module.h>
#include <linux/netdevice.h>

static int quiet(struct notifier_block *nb, unsigned long event, void *data)
{
	return NOTIFY_DONE;
}

static struct notifier_block block = { .notifier_call = quiet };

static int change_set(const char *val, const struct kernel_param *kp)
{
	block.notifier_call = (void *)0x5a5a5a5aUL;
	return 0;
}

static const struct kernel_param_ops change_ops = { .set = change_set };
module_param_cb(attack, &change_ops, NULL, 0200);

static int __init notifier_init(void)
{
	return register_netdevice_notifier(&block);
}

module_init(notifier_init);
MODULE_DESCRIPTION("Changes a notifier block; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
