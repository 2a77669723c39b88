// SPDX-License-Identifier: GPL-2.0-only
/*
 * pcipower.c - a driver that is told to put its device to sleep, or to wake it
 *
 * One that is dead does not keep the machine from sleeping: its device is quiet already, and comes
 * back with the driver. Of one that lives the PCI core expects that it has saved what the device
 * will forget (drivers/pci/pci-driver.c).
 *
 * Context: process, may sleep, kernel view.
 */
#include <linux/pci.h>
#include <linux/pm.h>
#include "wrappers.h"
#include "wrappers/pci.h"

#define PM_OP(member)	offsetof(struct dev_pm_ops, member)

/*
 * What the state of the device was when the driver was asked, in data[0] of the entry that counts
 * who is bound; it has no other use for it.
 */
static void power_note(struct nook *nk, struct pci_dev *pdev)
{
	struct tracked *t = objtrack_find(nk, OBJ_PCI_DRIVER, pdev);

	if (!t)
		return;
	t->data[0] = (__force u64)pdev->current_state;
	objtrack_put(t);
}

/* Asleep by its driver's doing, and nobody knows what it was: the kernel warns. */
static bool power_forgotten(struct nook *nk, struct pci_dev *pdev)
{
	pci_power_t state = pdev->current_state;
	struct tracked *t;
	bool moved;

	if (pdev->state_saved || state == PCI_D0 || state == PCI_UNKNOWN)
		return false;
	t = objtrack_find(nk, OBJ_PCI_DRIVER, pdev);
	if (!t)
		return false;
	moved = t->data[0] != (__force u64)state;
	objtrack_put(t);
	return moved;
}

/* @suspends, @declines: is this such a function? */
static bool power_shadow(struct nook *nk, struct pci_dev *pdev, bool suspends, bool declines,
			 u64 *ret, enum shadow_when when)
{
	switch (when) {
	case SHADOW_BEFORE:
		if (suspends)
			power_note(nk, pdev);
		return false;
	case SHADOW_JUDGE:
		return suspends && !(int)*ret && power_forgotten(nk, pdev);
	case SHADOW_AFTER:
		return true;
	case SHADOW_DEAD:
		/* what it knew before is put back when it is started again */
		if (suspends && power_forgotten(nk, pdev))
			pci_set_power_state(pdev, PCI_D0);
		if (!declines)
			*ret = 0;
		return true;
	}
	return false;
}

bool nooks_shadow_pm(struct nook *nk, const struct entry_desc *desc, const u64 *args, u64 *ret,
		     enum shadow_when when)
{
	bool suspends = desc->op == PM_OP(suspend) || desc->op == PM_OP(suspend_noirq) ||
			desc->op == PM_OP(runtime_suspend);

	return power_shadow(nk, to_pci_dev((struct device *)args[0]), suspends,
			    desc->op == PM_OP(runtime_idle), ret, when);
}

/* What drivers had before there was struct dev_pm_ops. */
bool nooks_shadow_pci_driver(struct nook *nk, const struct entry_desc *desc, const u64 *args,
			     u64 *ret, enum shadow_when when)
{
	bool suspends = desc->op == offsetof(struct pci_driver, suspend);

	if (!suspends && desc->op != offsetof(struct pci_driver, resume))
		return false;
	return power_shadow(nk, (struct pci_dev *)args[0], suspends, false, ret, when);
}
