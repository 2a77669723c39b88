/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pgt.h - the domain page table
 */
#ifndef NOOKS_PGT_H
#define NOOKS_PGT_H

#include "nooks.h"

/* Raised when a mapping that private tables may have copied has changed (a module came or went). */
extern atomic_t pgt_map_gen;

/**
 * pgt_init() - a page table that shows the kernel, all of it read-only
 * Context: process, may sleep.
 * Return: 0, -ENOMEM.
 */
int pgt_init(struct nook *nk);
void pgt_deinit(struct nook *nk);

/**
 * pgt_protect() - make [va, va + len) writable, or read-only again, in the nook's view
 * @va:  page aligned
 * @len: bytes, whole pages
 *
 * Makes private copies of the tables on the way. Does not flush any TLB.
 *
 * Context: any but NMI. Return: 0, -ENOMEM, -EFAULT where the kernel maps nothing.
 */
int pgt_protect(struct nook *nk, unsigned long va, size_t len, bool writable);

/**
 * pgt_alias() - show the nook another page at @va, writable
 * @va: page aligned, in the direct map
 * @pa: of the other page
 *
 * Context: any but NMI. Return: 0, -ENOMEM, -EFAULT.
 */
int pgt_alias(struct nook *nk, unsigned long va, phys_addr_t pa);
void pgt_unalias(struct nook *nk, unsigned long va);	/* what the kernel sees there, read-only */

/* Is @va writable in the nook's view, and in the kernel's? Any context. */
bool pgt_writable(struct nook *nk, unsigned long va);
bool pgt_kernel_writable(unsigned long va);

/**
 * pgt_lazy_sync() - the domain missed a mapping that the kernel has: copy it, read-only
 * Context: the domain's fault handler, interrupts off. Return: true if the access is worth a retry.
 */
bool pgt_lazy_sync(struct nook *nk, unsigned long va);

void pgt_resync_now(struct nook *nk);

/**
 * pgt_resync() - bring the private tables up to date before the domain runs again
 * Cheap when nothing has changed. Context: any but NMI.
 */
static __always_inline void pgt_resync(struct nook *nk)
{
	if (unlikely(READ_ONCE(nk->pgt.gen) != atomic_read(&pgt_map_gen) ||
		     READ_ONCE(nk->pgt.nlazy)))
		pgt_resync_now(nk);
}

/* Wait until no CPU can hold a stale translation of the nook's. Process, interrupts on. */
void pgt_shootdown(void);

#endif
