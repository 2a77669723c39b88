// SPDX-License-Identifier: GPL-2.0-only
/*
 * pciregs.c - BARs of PCI devices: regions, ports, and registers that are mapped
 *
 * A nook may map what lies in a BAR of its devices, and nothing else.
 *
 * Context: process, may sleep, kernel view, if the function does not say otherwise.
 */
#include <linux/io.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include "objtrack/objtrack.h"
#include "wrappers.h"
#include "wrappers/pci.h"

#define PCI_PIO_COOKIES	0x40000		/* PIO_RESERVED of lib/iomap.c */

/* ---- regions -------------------------------------------------------------------------------- */

static u64 pci_request(struct xpc *x, const char *fn, u64 dev, int bars, u64 res_name)
{
	struct pci_dev *pdev = (struct pci_dev *)dev;
	char *name;
	int ret;

	if (!wrap_may_sleep(x, fn) || !arg_obj(x, fn, "pdev", OBJ_PCI_DEV, pdev))
		return 0;
	if (bars & ~(BIT(PCI_STD_NUM_BARS) - 1))
		return nooks_reject(x, "%s(bars): %x", fn, bars);
	name = wrap_strdup(x->nook, (char *)res_name, PCI_NAME_MAX);	/* the kernel keeps it */
	if (!name)
		return nooks_reject(x, "%s(name): not a string", fn);
	ret = pci_request_selected_regions(pdev, bars, name);
	if (!ret && nooks_track(x->nook, OBJ_PCI_REGION, pdev, 0, name, bars, 0, GFP_KERNEL)) {
		pci_release_selected_regions(pdev, bars);
		ret = -ENOMEM;
	}
	if (ret)
		kfree(name);
	return ret;
}

static u64 pci_release(struct xpc *x, const char *fn, u64 dev, int bars)
{
	struct pci_dev *pdev = (struct pci_dev *)dev;
	struct tracked *t;

	if (!wrap_may_sleep(x, fn) || !arg_obj(x, fn, "pdev", OBJ_PCI_DEV, pdev))
		return 0;
	t = objtrack_take(x->nook, OBJ_PCI_REGION, pdev);
	if (!t)
		return nooks_reject(x, "%s(pdev): regions were not requested", fn);
	if (t->data[0] != (u32)bars)
		nooks_reject(x, "%s(bars): %x, but %llx were requested", fn, bars, t->data[0]);
	pci_release_selected_regions(pdev, t->data[0]);
	objtrack_put(t);
	return 0;
}

/* (pdev, bars, res_name) */
u64 wrap_pci_request_selected_regions(struct xpc *x, const u64 *a)
{
	return pci_request(x, "pci_request_selected_regions", a[0], a[1], a[2]);
}

/* Exclusive only keeps user space from mapping them too. */
u64 wrap_pci_request_selected_regions_exclusive(struct xpc *x, const u64 *a)
{
	return pci_request(x, "pci_request_selected_regions_exclusive", a[0], a[1], a[2]);
}

u64 wrap_pci_release_selected_regions(struct xpc *x, const u64 *a)
{
	return pci_release(x, "pci_release_selected_regions", a[0], a[1]);
}

u64 wrap_pci_request_regions(struct xpc *x, const u64 *a)
{
	return pci_request(x, "pci_request_regions", a[0], BIT(PCI_STD_NUM_BARS) - 1, a[1]);
}

u64 wrap_pci_release_regions(struct xpc *x, const u64 *a)
{
	return pci_release(x, "pci_release_regions", a[0], BIT(PCI_STD_NUM_BARS) - 1);
}

/* ---- registers ------------------------------------------------------------------------------ */

static u64 pci_map(struct xpc *x, phys_addr_t phys, size_t size)
{
	void __iomem *va = ioremap(phys, size);

	if (!va)
		return 0;
	if (nook_grant(x->nook, (void __force *)va, size))
		goto unmap;
	if (nooks_track(x->nook, OBJ_MMIO, (void __force *)va, size, NULL, phys, 0, GFP_KERNEL))
		goto revoke;
	return (__force u64)va;

revoke:
	nook_revoke(x->nook, (void __force *)va, size);
unmap:
	iounmap(va);
	return 0;
}

/* (pdev, bar) */
u64 wrap_pci_ioremap_bar(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = (struct pci_dev *)a[0];
	int bar = (int)a[1];

	if (!wrap_may_sleep(x, "pci_ioremap_bar") ||
	    !arg_obj(x, "pci_ioremap_bar", "pdev", OBJ_PCI_DEV, pdev))
		return 0;
	if (bar < 0 || bar >= PCI_STD_NUM_BARS)
		return nooks_reject(x, "pci_ioremap_bar(bar): %d", bar);
	if (!(pci_resource_flags(pdev, bar) & IORESOURCE_MEM) || !pci_resource_len(pdev, bar))
		return 0;
	return pci_map(x, pci_resource_start(pdev, bar), pci_resource_len(pdev, bar));
}

/* (pdev, bar, maxlen): an I/O BAR gives a cookie for port instructions, nothing to grant */
u64 wrap_pci_iomap(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = (struct pci_dev *)a[0];
	int bar = (int)a[1];
	size_t len;

	if (!wrap_may_sleep(x, "pci_iomap") ||
	    !arg_obj(x, "pci_iomap", "dev", OBJ_PCI_DEV, pdev))
		return 0;
	if (bar < 0 || bar >= PCI_STD_NUM_BARS)
		return nooks_reject(x, "pci_iomap(bar): %d", bar);
	len = pci_resource_len(pdev, bar);
	if (!len || !(pci_resource_flags(pdev, bar) & IORESOURCE_MEM))
		return (__force u64)pci_iomap(pdev, bar, a[2]);
	return pci_map(x, pci_resource_start(pdev, bar), a[2] ? min_t(u64, len, a[2]) : len);
}

/* (pdev, addr) */
u64 wrap_pci_iounmap(struct xpc *x, const u64 *a)
{
	return a[1] < PCI_PIO_COOKIES ? 0 : wrap_iounmap(x, &a[1]);
}

static bool pci_bar_contains(struct pci_dev *pdev, phys_addr_t phys, size_t size,
			     unsigned long kind)
{
	int i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++)
		if (pci_resource_flags(pdev, i) & kind &&
		    phys >= pci_resource_start(pdev, i) &&
		    phys + size - 1 <= pci_resource_end(pdev, i))
			return true;
	return false;
}

/* @kind: IORESOURCE_MEM or IORESOURCE_IO; a port is no address */
static bool pci_owns_phys(struct nook *nk, phys_addr_t phys, size_t size, unsigned long kind)
{
	struct pci_dev *pdev;

	if (!size || phys + size < phys)
		return false;
	for_each_nook_pci_dev(nk, pdev) {
		if (pci_bar_contains(pdev, phys, size, kind)) {
			pci_dev_put(pdev);
			return true;
		}
	}
	return false;
}

/* A region that was requested by range has its parent in data[1], its length in data[0]. */
void nooks_release_pci_region(struct nook *nk, struct tracked *t)
{
	if (t->data[1])
		__release_region((struct resource *)t->data[1], t->it.start, t->data[0]);
	else
		pci_release_selected_regions((struct pci_dev *)t->it.start, t->data[0]);
}

/* (parent, start, n, name, flags) */
u64 wrap___request_region(struct xpc *x, const u64 *a)
{
	static const char fn[] = "__request_region";
	struct resource *parent = (struct resource *)a[0], *res;
	char *name;

	if (!wrap_may_sleep(x, fn))
		return 0;
	if ((parent != &ioport_resource && parent != &iomem_resource) ||
	    !pci_owns_phys(x->nook, a[1], a[2], resource_type(parent)))
		return nooks_reject(x, "%s(start): %llx+%llu is in no BAR of its devices", fn, a[1],
				    a[2]);
	name = wrap_strdup(x->nook, (char *)a[3], PCI_NAME_MAX);
	res = name ? __request_region(parent, a[1], a[2], name, 0) : NULL;
	if (res && nooks_track(x->nook, OBJ_PCI_REGION, (void *)a[1], 0, name, a[2], (u64)parent,
			       GFP_KERNEL)) {
		__release_region(parent, a[1], a[2]);
		res = NULL;
	}
	if (!res)
		kfree(name);
	return (u64)res;
}

/* (parent, start, n) */
u64 wrap___release_region(struct xpc *x, const u64 *a)
{
	struct tracked *t = objtrack_take(x->nook, OBJ_PCI_REGION, (void *)a[1]);

	if (!t || !t->data[1])
		nooks_reject(x, "__release_region(start): %llx was not requested", a[1]);
	if (!t)
		return 0;
	nooks_release_pci_region(x->nook, t);
	objtrack_put(t);
	return 0;
}

/* (phys_addr, size) */
u64 wrap_ioremap(struct xpc *x, const u64 *a)
{
	if (!wrap_may_sleep(x, "ioremap"))
		return 0;
	if (!pci_owns_phys(x->nook, a[0], a[1], IORESOURCE_MEM))
		return nooks_reject(x, "ioremap(phys_addr): %llx+%llx is in no BAR of its devices",
				    a[0], a[1]);
	return pci_map(x, a[0], a[1]);
}

void nooks_withdraw_mmio(struct nook *nk, struct tracked *t)
{
	nook_revoke(nk, (void *)t->it.start, objtrack_size(t));
}

void nooks_finish_mmio(struct nook *nk, struct tracked *t)
{
	iounmap((void __iomem *)t->it.start);
}

u64 wrap_iounmap(struct xpc *x, const u64 *a)
{
	struct tracked *t;

	if (!wrap_may_sleep(x, "iounmap"))
		return 0;
	t = objtrack_take(x->nook, OBJ_MMIO, (void *)a[0]);
	if (!t)
		return nooks_reject(x, "iounmap(addr): not mapped by this nook");
	objtrack_retire(t);
	return 0;
}
