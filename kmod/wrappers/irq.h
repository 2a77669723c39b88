/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * irq.h - one interrupt handler of a driver, and a run of it that is left to a poll
 */
#ifndef NOOKS_WRAPPERS_IRQ_H
#define NOOKS_WRAPPERS_IRQ_H

#include <linux/interrupt.h>
#include <linux/list.h>
#include <linux/pci.h>
#include <linux/sched.h>
#include "nooks.h"

#define IRQ_NAME_MAX	64

/* Where a run that is left to a poll stands. */
enum irq_left {
	IRQ_LEFT_NONE,
	IRQ_LEFT_PENDING,
	IRQ_LEFT_RUNNING,
	IRQ_LEFT_AGAIN,			/* running, and another interrupt came */
};

/**
 * struct irq_poll - what becomes of a handler that asks for a poll (irqpoll.c)
 * @napi: the napi_struct that the handler has asked for, referenced; it stays the first one
 * @left: enum irq_left
 * @fixed: it cannot be left to a poll
 * @asked: this run has asked for one
 * @armed: the last one has
 */
struct irq_poll {
	struct tracked *napi;
	atomic_t left;
	bool fixed, asked, armed;
};

struct irq_twin {
	struct list_head node;		/* irq_lock */
	struct nook *nk;
	struct tracked *t;		/* owns us */
	void *dev_id;
	void *fn, *thread_fn;
	unsigned int irq;
	atomic_t depth;			/* disables by the driver */
	struct task_struct *thread;	/* only compared */
	struct irq_poll poll;
	unsigned long since;		/* jiffies; @calls are counted from there */
	u32 calls;
	u32 unanswered;			/* interrupts in a row that nobody on the line answered */
	u32 unhandled;			/* what the line has counted of them */
	u64 from;			/* TSC: what follows is since then */
	u64 busy;			/* ticks of it in the handler */
	u32 handled;
	unsigned long softirqs;		/* that had run on @cpu */
	int cpu;
	char name[IRQ_NAME_MAX];
};

/* irq.c: an entry for one of its two functions */
irqreturn_t irq_call(struct irq_twin *tw, void *fn);

/**
 * irqpoll_init() - for a twin that is filled but for this
 * @pdev: its device
 * @flags: IRQF_* of the request
 */
void irqpoll_init(struct irq_twin *tw, const struct pci_dev *pdev, unsigned long flags);
void irqpoll_deinit(struct irq_twin *tw);

/**
 * irqpoll_leave() - an interrupt: is there nothing to be done for it here?
 * Context: hard interrupt. Return: true; else irqpoll_alone().
 */
bool irqpoll_leave(struct irq_twin *tw);

/* An entry for the handler and nothing else. Interrupts off. */
irqreturn_t irqpoll_alone(struct irq_twin *tw);

/* Somebody asks for a poll; a handler, if this CPU runs one. Any context. */
void irqpoll_asks(struct nook *nk, struct tracked *napi);

/**
 * irqpoll_run() - the handler and, if it asks for it, the poll, in one entry
 * Context: softirq, interrupts on. @tw may be freed at return.
 * Return: packets, as the driver says, or DOM_NOT_POLLED.
 */
int irqpoll_run(struct irq_twin *tw, void *poll, void *napi, int budget);

/* Is nothing left to a poll? Any context; or wait for it: process, may sleep. */
bool irqpoll_idle(const struct irq_twin *tw);
void irqpoll_wait(const struct irq_twin *tw);

/**
 * nooks_napi_leave() - let the next poll of @napi, which is asked for, run the handler first
 * Context: any, bottom halves or interrupts off. Return: false if no poll would come.
 */
bool nooks_napi_leave(struct tracked *napi, struct irq_twin *tw);

#endif
