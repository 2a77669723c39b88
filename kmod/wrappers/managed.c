// SPDX-License-Identifier: GPL-2.0-only
/*
 * managed.c - managed resources (devres): given back when the driver leaves its device
 *
 * Each is what the plain function gives, tracked as that, and a mark of type OBJ_MANAGED beside it:
 * under the resource's address, with its type, and the device as twin. When remove has returned, or
 * probe has failed, what is marked for the device is released, the newest first, as
 * drivers/base/devres.c does. Recovery releases by type and needs no marks.
 *
 * Context: process, may sleep, kernel view.
 */
#include <linux/netdevice.h>
#include <linux/pci.h>
#include "objtrack/objtrack.h"
#include "wrappers.h"

#define MANAGED_TYPE	0		/* of data[] */

static bool managed_releasable(u16 type, const struct tracked *t)
{
	const struct net_device *dev = t->twin;

	/* a driver that forgot to unregister it: it stays, until the nook is released */
	return type != OBJ_NETDEV_PRIV || dev->reg_state == NETREG_UNINITIALIZED ||
	       dev->reg_state == NETREG_UNREGISTERED;
}

static void managed_undo(struct nook *nk, u16 type, const void *addr)
{
	struct tracked *t = objtrack_find(nk, type, addr);

	if (!t)
		return;			/* given back by hand */
	if (type == OBJ_PCI_ENABLED)
		managed_undo(nk, OBJ_PCI_REGION, addr);
	if (managed_releasable(type, t))
		objtrack_release(t);
	else
		objtrack_put(t);
}

static bool managed_of(struct tracked *t, const void *dev)
{
	return t->type == OBJ_MANAGED && t->twin == dev;
}

void nooks_managed_release(struct nook *nk, const struct device *dev)
{
	struct tracked *t;

	while ((t = objtrack_newest(nk, managed_of, dev))) {
		managed_undo(nk, t->data[MANAGED_TYPE], (void *)t->it.start);
		objtrack_drop(t);
		objtrack_put(t);
	}
}

static int managed_mark(struct nook *nk, struct device *dev, u16 type, const void *addr)
{
	int ret = nooks_track(nk, OBJ_MANAGED, addr, 0, dev, type, 0, GFP_KERNEL);

	if (ret)
		managed_undo(nk, type, addr);
	return ret;
}

/* For functions that give an address. */
static u64 managed(struct xpc *x, struct device *dev, u16 type, u64 addr)
{
	if (!addr || managed_mark(x->nook, dev, type, (void *)addr))
		return 0;
	return addr;
}

static bool managed_ok(struct xpc *x, const char *fn, u64 dev)
{
	return wrap_may_sleep(x, fn) && arg_obj(x, fn, "dev", OBJ_DEVICE, (void *)dev);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* (dev, size, gfp) */
u64 wrap_devm_kmalloc(struct xpc *x, const u64 *a)
{
	if (!managed_ok(x, "devm_kmalloc", a[0]))
		return 0;
	if (!a[1])
		return (u64)ZERO_SIZE_PTR;
	return managed(x, (struct device *)a[0], OBJ_HEAP, wrap___kmalloc(x, &a[1]));
}

/* (dev, p) */
u64 wrap_devm_kfree(struct xpc *x, const u64 *a)
{
	if (ZERO_OR_NULL_PTR((void *)a[1]))
		return 0;
	if (!objtrack_del(x->nook, OBJ_MANAGED, (void *)a[1]))
		return nooks_reject(x, "devm_kfree(p): not managed memory");
	return wrap_kfree(x, &a[1]);
}

/* (dev, size, dma_handle, gfp, attrs) */
u64 wrap_dmam_alloc_attrs(struct xpc *x, const u64 *a)
{
	if (!managed_ok(x, "dmam_alloc_attrs", a[0]))
		return 0;
	return managed(x, (struct device *)a[0], OBJ_DMA_COHERENT, wrap_dma_alloc_attrs(x, a));
}

/* (dev, sizeof_priv, txqs, rxqs) */
u64 wrap_devm_alloc_etherdev_mqs(struct xpc *x, const u64 *a)
{
	struct net_device *dev;

	if (!managed_ok(x, "devm_alloc_etherdev_mqs", a[0]))
		return 0;
	dev = (struct net_device *)wrap_alloc_etherdev_mqs(x, &a[1]);
	if (!dev || managed_mark(x->nook, (struct device *)a[0], OBJ_NETDEV_PRIV, netdev_priv(dev)))
		return 0;
	return (u64)dev;
}

/* ---- PCI ------------------------------------------------------------------------------------ */

/* What it enables is disabled at the end, and the regions are given back (pcim_release()). */
u64 wrap_pcim_enable_device(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = (struct pci_dev *)a[0];
	int ret;

	if (!arg_obj(x, "pcim_enable_device", "pdev", OBJ_PCI_DEV, pdev))
		return 0;
	ret = (int)wrap_pci_enable_device(x, a);
	if (ret || x->faulted)
		return ret;
	return managed_mark(x->nook, &pdev->dev, OBJ_PCI_ENABLED, pdev);
}

/* (pdev, bar, maxlen); the cookie of an I/O BAR holds nothing */
u64 wrap_pcim_iomap(struct xpc *x, const u64 *a)
{
	u64 va = wrap_pci_iomap(x, a);

	if (!objtrack_has(x->nook, OBJ_MMIO, (void *)va))
		return va;
	return managed(x, &((struct pci_dev *)a[0])->dev, OBJ_MMIO, va);
}

/* (pdev, addr) */
u64 wrap_pcim_iounmap(struct xpc *x, const u64 *a)
{
	objtrack_del(x->nook, OBJ_MANAGED, (void *)a[1]);
	return wrap_pci_iounmap(x, a);
}

/* (dev, offset, size) */
u64 wrap_devm_ioremap(struct xpc *x, const u64 *a)
{
	if (!managed_ok(x, "devm_ioremap", a[0]))
		return 0;
	return managed(x, (struct device *)a[0], OBJ_MMIO, wrap_ioremap(x, &a[1]));
}
