/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pci.h - what the wrappers of PCI share
 */
#ifndef NOOKS_WRAPPERS_PCI_H
#define NOOKS_WRAPPERS_PCI_H

#include <linux/pci.h>
#include "nooks.h"

/* As pci_get_device(), for devices of this nook. Context: process. */
struct pci_dev *nooks_pci_next(struct nook *nk, struct pci_dev *pdev);

/* Whoever leaves it early puts the device. */
#define for_each_nook_pci_dev(nk, pdev) \
	for ((pdev) = nooks_pci_next(nk, NULL); (pdev); (pdev) = nooks_pci_next(nk, pdev))

/* The argument "dev" of a call that sleeps; NULL: refused. */
struct pci_dev *nooks_pci_sleeping(struct xpc *x, const char *fn, u64 dev);

/* No more DMA, no more INTx. Any context. */
void nooks_pci_hush(struct pci_dev *pdev);

#define PCI_NAME_MAX	64		/* of a region, or a driver */

/* pcimsi.c: whose line? The device is referenced; NULL: none of the nook's. Process, may sleep. */
struct pci_dev *nooks_pci_of_irq(struct nook *nk, unsigned int irq);
bool wrap_owns_irq(struct nook *nk, unsigned int irq);

/* A driver has chosen how its device is to signal. Process, may sleep. */
void nooks_pci_unpark_msix(struct pci_dev *pdev);

/*
 * nooks_pci_release_lines() - what a driver that has left did not give back of its messages
 * Context: process, may sleep.
 */
void nooks_pci_release_lines(struct nook *nk, struct pci_dev *pdev);

#endif
