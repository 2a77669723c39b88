// SPDX-License-Identifier: GPL-2.0-only
/* attributes.c - a group of attributes whose function is changed when its file is there */
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/sysfs.h>

static ssize_t value_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return 0;
}

static struct kobj_attribute value = __ATTR_RO(value);
static struct attribute *attrs[] = { &value.attr, NULL };
static struct attribute_group group = { .name = "hostile", .attrs = attrs };

static int change_set(const char *val, const struct kernel_param *kp)
{
	value.show = (void *)0x5a5a5a5aUL;
	return 0;
}

static const struct kernel_param_ops change_ops = { .set = change_set };
module_param_cb(attack, &change_ops, NULL, 0200);

static int __init attributes_init(void)
{
	return sysfs_create_group(kernel_kobj, &group);
}

module_init(attributes_init);
MODULE_DESCRIPTION("Changes an attribute's function; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
