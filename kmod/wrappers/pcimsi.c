// SPDX-License-Identifier: GPL-2.0-only
/*
 * pcimsi.c - interrupts that PCI devices send as messages (MSI, MSI-X), and whose a line is
 *
 * Context: process, may sleep, kernel view.
 */
#include <linux/pci.h>
#include <linux/slab.h>
#include "objtrack/objtrack.h"
#include "wrappers.h"
#include "wrappers/pci.h"

#define PCI_VECTORS_MAX	64

/* what a tracked OBJ_PCI_ENABLED undoes; its address is the pci_dev's plus this */
enum pci_enabled {
	PCI_ENABLED_DEVICE,
	PCI_ENABLED_MSI,
	PCI_ENABLED_MSIX,
	PCI_ENABLED_KINDS
};

/* Each way to enable a device is an entry of its own: the address is the pci_dev plus this. */
static void *pci_enabled_key(struct pci_dev *pdev, enum pci_enabled how)
{
	return (void *)pdev + how;
}

/* ---- whose line ------------------------------------------------------------------------------ */

static bool pci_has_vector(struct pci_dev *pdev, unsigned int irq)
{
	int i, vec;

	if (!pci_dev_msi_enabled(pdev))
		return false;
	for (i = 0; i < PCI_VECTORS_MAX; i++) {
		vec = pci_irq_vector(pdev, i);
		if (vec < 0)
			return false;
		if (vec == irq)
			return true;
	}
	return false;
}

struct pci_dev *nooks_pci_of_irq(struct nook *nk, unsigned int irq)
{
	struct pci_dev *pdev;

	for_each_nook_pci_dev(nk, pdev)
		if (pdev->irq == irq || pci_has_vector(pdev, irq))
			break;
	return pdev;
}

bool wrap_owns_irq(struct nook *nk, unsigned int irq)
{
	struct pci_dev *pdev = nooks_pci_of_irq(nk, irq);

	pci_dev_put(pdev);
	return pdev;
}

/* ---- a driver that has left ------------------------------------------------------------------ */

static bool pci_is_line(struct tracked *t, const void *irq)
{
	return t->type == OBJ_IRQ && t->data[0] == *(const int *)irq;
}

/* A line of the nook that is the device's own; pci_irq_vector() sleeps, so it is asked outside. */
static struct tracked *pci_line_left(struct nook *nk, struct pci_dev *pdev)
{
	struct tracked *t = NULL;
	int i, irq;

	for (i = 0; pci_dev_msi_enabled(pdev) && i < PCI_VECTORS_MAX && !t; i++) {
		irq = pci_irq_vector(pdev, i);
		if (irq < 0)
			break;
		t = objtrack_newest(nk, pci_is_line, &irq);
	}
	return t;
}

/*
 * The driver core frees a device's MSI data when its driver is gone, whether or not the driver gave
 * its lines back. One that died, or forgot, has not: do it now. A line without MSI may be shared
 * with another device of the nook, and can wait.
 */
void nooks_pci_release_lines(struct nook *nk, struct pci_dev *pdev)
{
	struct tracked *t;
	int what;

	while ((t = pci_line_left(nk, pdev)))
		objtrack_release(t);
	for (what = PCI_ENABLED_DEVICE + 1; what < PCI_ENABLED_KINDS; what++) {
		t = objtrack_find(nk, OBJ_PCI_ENABLED, pci_enabled_key(pdev, what));
		if (t)
			objtrack_release(t);
	}
}

/*
 * A device that goes on after its driver's death and finds MSI-X off signals by its line, although
 * that is off, too. Not all get over that: QEMU's vmxnet3 never signals again, and its e1000e ends
 * the machine. So for the device MSI-X stays on, and masked, until a driver chooses, or none will.
 */
static void pci_park_msix(struct pci_dev *pdev, bool park)
{
	u16 ctrl, bits = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;

	if (!pdev->msix_cap || pdev->msix_enabled)
		return;
	pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, &ctrl);
	if (PCI_POSSIBLE_ERROR(ctrl) || !(ctrl & PCI_MSIX_FLAGS_ENABLE) == !park)
		return;
	pci_write_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS,
			      park ? ctrl | bits : ctrl & ~bits);
}

void nooks_pci_unpark_msix(struct pci_dev *pdev)
{
	pci_park_msix(pdev, false);
}

/* ---- wrappers -------------------------------------------------------------------------------- */

static void pci_msi_disable(struct pci_dev *pdev, enum pci_enabled how)
{
	if (how == PCI_ENABLED_MSIX)
		pci_disable_msix(pdev);
	else
		pci_disable_msi(pdev);
}

static int pci_msi_track(struct xpc *x, struct pci_dev *pdev, enum pci_enabled how, int ret)
{
	if (ret < 0 || !nooks_track(x->nook, OBJ_PCI_ENABLED, pci_enabled_key(pdev, how), 0, NULL,
				    how, 0, GFP_KERNEL))
		return ret;
	pci_msi_disable(pdev, how);
	return -ENOMEM;
}

u64 wrap_pci_enable_msi(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_enable_msi", a[0]);

	if (!pdev)
		return 0;
	if (pci_dev_msi_enabled(pdev))
		return nooks_reject(x, "pci_enable_msi(dev): enabled already");
	nooks_pci_unpark_msix(pdev);
	return pci_msi_track(x, pdev, PCI_ENABLED_MSI, pci_enable_msi(pdev));
}

/* (dev, entries, minvec, maxvec) */
u64 wrap_pci_enable_msix_range(struct xpc *x, const u64 *a)
{
	static const char fn[] = "pci_enable_msix_range";
	struct pci_dev *pdev = nooks_pci_sleeping(x, fn, a[0]);
	int min = (int)a[2], max = (int)a[3], ret;
	struct msix_entry *copy;
	size_t size;

	if (!pdev)
		return 0;
	if (min < 1 || max < min || max > PCI_VECTORS_MAX || pci_dev_msi_enabled(pdev))
		return nooks_reject(x, "%s(minvec, maxvec): %d, %d, or enabled already", fn, min,
				    max);
	size = max * sizeof(*copy);
	if (!arg_owned(x, fn, "entries", (void *)a[1], size))
		return 0;
	copy = kmemdup((void *)a[1], size, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	ret = pci_msi_track(x, pdev, PCI_ENABLED_MSIX,
			    pci_enable_msix_range(pdev, copy, min, max));
	if (ret > 0)
		memcpy((void *)a[1], copy, size);
	kfree(copy);
	return ret;
}

/* (dev, min_vecs, max_vecs, flags, affd). Why without affd: the kernel would call its functions. */
u64 wrap_pci_alloc_irq_vectors_affinity(struct xpc *x, const u64 *a)
{
	static const char fn[] = "pci_alloc_irq_vectors_affinity";
	struct pci_dev *pdev = nooks_pci_sleeping(x, fn, a[0]);
	unsigned int min = a[1], max = a[2], flags = a[3];
	int ret;

	if (!pdev)
		return 0;
	if (!min || max < min || pci_dev_msi_enabled(pdev))
		return nooks_reject(x, "%s(min_vecs, max_vecs): %u, %u, or enabled already",
				    fn, min, max);
	if (min > PCI_VECTORS_MAX)
		return -ENOSPC;
	if (!(flags & PCI_IRQ_MSIX))
		nooks_pci_unpark_msix(pdev);
	ret = pci_alloc_irq_vectors(pdev, min, min_t(unsigned int, max, PCI_VECTORS_MAX),
				    flags & PCI_IRQ_ALL_TYPES);
	nooks_pci_unpark_msix(pdev);			/* it is something else, or nothing */
	if (!pci_dev_msi_enabled(pdev))
		return ret;
	return pci_msi_track(x, pdev, pdev->msix_enabled ? PCI_ENABLED_MSIX : PCI_ENABLED_MSI, ret);
}

/* (dev, nr) */
u64 wrap_pci_irq_vector(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_irq_vector", a[0]);

	return pdev ? pci_irq_vector(pdev, a[1]) : 0;
}

/* The kernel frees the vectors without asking who uses them. */
static u64 pci_msi_off(struct xpc *x, const char *fn, u64 dev, enum pci_enabled how)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, fn, dev);

	if (!pdev)
		return 0;
	if (pci_dev_msi_enabled(pdev) && nooks_irq_in_use(x->nook, pdev))
		return nooks_reject(x, "%s(dev): interrupts are requested", fn);
	if (objtrack_del(x->nook, OBJ_PCI_ENABLED, pci_enabled_key(pdev, how)))
		pci_msi_disable(pdev, how);
	return 0;
}

u64 wrap_pci_disable_msi(struct xpc *x, const u64 *a)
{
	return pci_msi_off(x, "pci_disable_msi", a[0], PCI_ENABLED_MSI);
}

u64 wrap_pci_disable_msix(struct xpc *x, const u64 *a)
{
	return pci_msi_off(x, "pci_disable_msix", a[0], PCI_ENABLED_MSIX);
}

/* (dev): whichever there is */
u64 wrap_pci_free_irq_vectors(struct xpc *x, const u64 *a)
{
	pci_msi_off(x, "pci_free_irq_vectors", a[0], PCI_ENABLED_MSI);
	return x->faulted ? 0 : pci_msi_off(x, "pci_free_irq_vectors", a[0], PCI_ENABLED_MSIX);
}

void nooks_release_pci_enabled(struct nook *nk, struct tracked *t)
{
	struct pci_dev *pdev = (void *)t->it.start - t->data[0];

	if (t->data[0] == PCI_ENABLED_DEVICE) {
		pci_disable_device(pdev);
		return;
	}
	pci_msi_disable(pdev, t->data[0]);
	if (!READ_ONCE(nk->dead))
		return;
	if (t->data[0] == PCI_ENABLED_MSIX && nk->comes_back)
		pci_park_msix(pdev, true);
	nooks_pci_hush(pdev);		/* without messages the kernel switches the line on */
}
