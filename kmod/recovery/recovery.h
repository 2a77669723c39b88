/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * recovery.h - from a dead driver to a running one
 */
#ifndef NOOKS_RECOVERY_H
#define NOOKS_RECOVERY_H

#include "nooks.h"

int recov_wq_init(void);
void recov_wq_deinit(void);
void recov_init(struct nook *nk);

/* Recover as the nook's flags say, from a worker. Any context but NMI; nook->dead is set. */
void recov_schedule(struct nook *nk);

/**
 * recov_teardown() - abort what is live, release all that the nook holds
 *
 * Context: process, may sleep, nook->recov_lock held, nook->dead set; not from inside the nook.
 * Return: 0, -EBUSY if an entry never left: then nothing was released.
 */
int recov_teardown(struct nook *nk);

#endif
