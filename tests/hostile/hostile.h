/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * hostile.h - the parts of hostile.ko: attacks by subject, each a function of two words
 *
 * An attack returns 0 if all that it wanted to see has come about (a callback that it tried to
 * divert has run where it should), else a negative errno, which is the status of the write.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/slab.h>

typedef unsigned long word;

struct attack {
	const char *name;
	int (*fn)(word a, word b);
};

#define ATTACK(n) { #n, hostile_##n }

/* Each ends with an entry without a name. */
extern const struct attack attacks_cpu[], attacks_memory[], attacks_context[], attacks_timers[],
	attacks_waits[], attacks_net[], attacks_skb[], attacks_napi[], attacks_pci[], attacks_dma[],
	attacks_teardown[], attacks_answers[];

extern word hostile_counter;

#define SOON	2		/* jiffies until what was armed runs */
#define LATER	50		/* milliseconds after which it has */

/* pci.c: the device, claimed at first use; NULL if there is none. */
struct pci_dev;
struct pci_dev *hostile_claim(void);
void hostile_unclaim(void);
/* pci.c: its registers, and an interrupt on demand */
void __iomem *hostile_registers(struct pci_dev *pdev);
void hostile_interrupt(void __iomem *regs);

/* net.c: a net_device of its own, registered or not; NULL if that fails. */
struct net_device;
struct net_device *hostile_netdev_new(bool registered);
void hostile_netdev_drop(struct net_device *dev);
/* It is registered, and stays until the attack netdev_drop_kept. Takes NULL. */
int hostile_netdev_keep(struct net_device *dev);

/* functions.c, which pynooks/bench/calls.py writes: calls one of them, with eight values. */
word caller_function(unsigned int number, const word *v);

#endif
