// SPDX-License-Identifier: GPL-2.0-only
/*
 * teardown.c - what a driver leaves behind when it is unloaded
 *
 * Each leaves something that the kernel will call; then somebody removes the module.
 */
#include <linux/interrupt.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include "hostile.h"

#define AFTER	(HZ / 2)

static struct timer_list timer;
static struct delayed_work work;

static void hostile_timer_left(struct timer_list *unused)
{
	hostile_counter++;
}

static void hostile_work_left(struct work_struct *unused)
{
	hostile_counter++;
}

static irqreturn_t hostile_irq_left(int irq, void *data)
{
	hostile_counter++;
	return IRQ_HANDLED;
}

static noinline int hostile_leave_timer(word a, word b)
{
	timer_setup(&timer, hostile_timer_left, 0);
	mod_timer(&timer, jiffies + AFTER);
	return 0;
}

static noinline int hostile_leave_work(word a, word b)
{
	INIT_DELAYED_WORK(&work, hostile_work_left);
	schedule_delayed_work(&work, AFTER);
	return 0;
}

static noinline int hostile_leave_netdev(word a, word b)
{
	return hostile_netdev_new(true) ? 0 : -ENODEV;
}

static noinline int hostile_leave_irq(word a, word b)
{
	struct pci_dev *pdev = hostile_claim();

	return pci_enable_device_mem(pdev) ?:
	       request_irq(pdev->irq, hostile_irq_left, IRQF_SHARED, "hostile", pdev);
}

static noinline int hostile_leave_workqueue(word a, word b)
{
	struct workqueue_struct *wq = alloc_workqueue("hostile", 0, 0);

	INIT_DELAYED_WORK(&work, hostile_work_left);
	queue_delayed_work(wq, &work, AFTER);
	return 0;
}

const struct attack attacks_teardown[] = {
	ATTACK(leave_timer), ATTACK(leave_work), ATTACK(leave_netdev), ATTACK(leave_irq),
	ATTACK(leave_workqueue), { }
};
