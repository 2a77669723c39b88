// SPDX-License-Identifier: GPL-2.0-only
/*
 * teardown.c - what a driver leaves behind when it is unloaded
 *
 * Each leaves something that the kernel will call; then somebody removes the module.
 */
#include <linux/interrupt.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/skbuff.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include <linux/vmalloc.h>
#include <linux/smp.h>
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

/* ---- given back on one CPU while a call of the other writes there ---------------------------- */

#define RACES	20000
#define RACE_BYTES	0x10000

static void *race_area;

/* Most of a call is the copying. */
static void race_read(struct work_struct *work)
{
	struct sk_buff *skb = alloc_skb(RACE_BYTES, GFP_KERNEL);
	int i;

	if (!skb)
		return;
	skb_put(skb, RACE_BYTES);
	for (i = 0; i < RACES; i++)
		skb_copy_bits(skb, 0, READ_ONCE(race_area), RACE_BYTES);
	kfree_skb(skb);
}

static noinline int hostile_race_area(word a, word b)
{
	static struct work_struct reader;
	void *area;
	int i;

	INIT_WORK(&reader, race_read);
	race_area = vmalloc(RACE_BYTES);
	schedule_work_on(raw_smp_processor_id() ? 0 : 1, &reader);
	for (i = 0; i < RACES; i++) {
		area = race_area;
		WRITE_ONCE(race_area, vmalloc(RACE_BYTES));
		vfree(area);
	}
	flush_work(&reader);
	return 0;
}

const struct attack attacks_teardown[] = {
	ATTACK(leave_timer), ATTACK(leave_work), ATTACK(leave_netdev), ATTACK(leave_irq),
	ATTACK(leave_workqueue), ATTACK(race_area), { }
};
