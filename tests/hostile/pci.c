// SPDX-License-Identifier: GPL-2.0-only
/*
 * pci.c - devices of its own, whose stock drivers are not loaded: registers, interrupts, sleep
 *
 * An 82540EM, and an 82574L, which has power states.
 */
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include "hostile.h"

#define BAR		0
#define REG_ICR		0x00c0
#define REG_ICS		0x00c8
#define REG_IMS		0x00d0
#define REG_IMC		0x00d8
#define CAUSE		0x10		/* any; it is ours alone to raise */

static struct pci_dev *claimed;
static void __iomem *irq_regs;
static int irqs;
static irqreturn_t irq_result;
static DEFINE_SPINLOCK(irq_lock);

static const struct pci_device_id ids[] = { { PCI_DEVICE(0x8086, 0x100e) }, { } };
static struct pci_driver other = { .name = "other", .id_table = ids };
static bool probe_registers, probe_works;
static struct work_struct work;

static noinline int hostile_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	claimed = pdev;
	if (probe_works) {
		schedule_work(&work);
		msleep(4 * LATER);
	}
	if (probe_registers)
		pci_register_driver(&other);
	return 0;
}

static void hostile_remove(struct pci_dev *pdev)
{
	claimed = NULL;
}

static struct pci_driver driver = {
	.name = "hostile", .id_table = ids, .probe = hostile_probe, .remove = hostile_remove,
};

struct pci_dev *hostile_claim(void)
{
	if (!claimed && pci_register_driver(&driver))
		return NULL;
	return claimed;
}

void hostile_unclaim(void)
{
	if (claimed)
		pci_unregister_driver(&driver);
}

void __iomem *hostile_registers(struct pci_dev *pdev)
{
	void __iomem *regs;

	if (pci_enable_device_mem(pdev))
		return NULL;
	regs = pci_ioremap_bar(pdev, BAR);
	if (regs) {
		/*
		 * what an earlier life has left: QEMU forgets a line that is up before it is
		 * requested
		 */
		writel(~0, regs + REG_IMC);
		readl(regs + REG_ICR);
	}
	return regs;
}

void hostile_interrupt(void __iomem *regs)
{
	writel(CAUSE, regs + REG_IMS);
	writel(CAUSE, regs + REG_ICS);
}

/* ---- registration ---------------------------------------------------------------------------- */

static noinline int hostile_pci_probe(word a, word b)
{
	driver.probe = (void *)a;
	return pci_register_driver(&driver);
}

static noinline int hostile_pci_ids(word a, word b)
{
	driver.id_table = (void *)a;
	return pci_register_driver(&driver);
}

static noinline int hostile_pci_nameless(word a, word b)
{
	driver.name = "";
	return pci_register_driver(&driver);
}

static noinline int hostile_pci_errors(word a, word b)
{
	driver.err_handler = (void *)a;
	return pci_register_driver(&driver);
}

/* Nobody saves what it forgets. */
static int hostile_suspend(struct device *dev)
{
	return pci_set_power_state(to_pci_dev(dev), PCI_D3hot);
}

static int hostile_suspend_early(struct pci_dev *pdev, pm_message_t state)
{
	return 0;
}

static int hostile_sleeper_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return 0;
}

static const struct dev_pm_ops pm = { .suspend = hostile_suspend };
static const struct pci_device_id sleeper_ids[] = { { PCI_DEVICE(0x8086, 0x10d3) }, { } };
static struct pci_driver sleeper = {
	.name = "sleeper", .id_table = sleeper_ids, .probe = hostile_sleeper_probe,
	.driver.pm = &pm,
};

static noinline int hostile_sleep_forgetful(word a, word b)
{
	return pci_register_driver(&sleeper);
}

/* One of two ways to be told, and the kernel warns of both. */
static noinline int hostile_sleep_twice(word a, word b)
{
	sleeper.suspend = hostile_suspend_early;
	return pci_register_driver(&sleeper);
}

/* The groups of attributes that registration makes files of. */
static noinline int hostile_pci_groups(word a, word b)
{
	driver.groups = (void *)a;
	driver.dev_groups = (void *)a;
	return pci_register_driver(&driver);
}

/* After registration the kernel has what it needs. */
static noinline int hostile_pci_remove(word a, word b)
{
	struct pci_driver good = driver;

	if (!hostile_claim())
		return -ENODEV;
	driver.remove = (void *)a;
	driver.driver.bus = (void *)b;
	driver.driver.p = (void *)b;
	pci_unregister_driver(&driver);
	driver = good;
	return claimed ? -EBUSY : 0;
}

static noinline int hostile_pci_twice(word a, word b)
{
	hostile_claim();
	return pci_register_driver(&driver);
}

/* While the device is locked. */
static noinline int hostile_pci_nested(word a, word b)
{
	probe_registers = true;
	return hostile_claim() ? 0 : -ENODEV;
}

static noinline void hostile_unregistering(struct work_struct *unused)
{
	pci_unregister_driver(&driver);
}

/* Gone before it is there. */
static noinline int hostile_pci_race(word a, word b)
{
	INIT_WORK(&work, hostile_unregistering);
	probe_works = true;
	return hostile_claim() ? 0 : -ENODEV;
}

static noinline int hostile_pci_disable(word a, word b)
{
	struct pci_dev *pdev = hostile_claim();

	pci_disable_device(pdev);
	return 0;
}

/* Where the answer goes. */
static noinline int hostile_pci_config(word a, word b)
{
	return pci_read_config_word(hostile_claim(), 0, (u16 *)a);
}

/* a: before the first register of the configuration space, or behind the last */
static noinline int hostile_pci_where(word a, word b)
{
	u16 v;

	return pci_read_config_word(hostile_claim(), (int)a, &v);
}

/* What lies between the device and the kernel, and others behind it. a: register, b: its value */
static noinline int hostile_bridge(word a, word b)
{
	return pci_write_config_word(pci_upstream_bridge(hostile_claim()), (int)a, b);
}

/* a: register of its PCIe capability, b: bits */
static noinline int hostile_bridge_set(word a, word b)
{
	return pcie_capability_set_word(pci_upstream_bridge(hostile_claim()), (int)a, b);
}

/* What drivers do that may not let their link sleep. */
static noinline int hostile_bridge_link(word a, word b)
{
	struct pci_dev *bridge = pci_upstream_bridge(hostile_claim());
	u16 v;

	return pci_read_config_word(bridge, PCI_VENDOR_ID, &v) ?:
	       pcie_capability_read_word(bridge, PCI_EXP_LNKCTL, &v) ?:
	       pcie_capability_clear_word(bridge, PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_ASPMC);
}

/* a: register of a BAR, b: an address that is not its own */
static noinline int hostile_pci_move(word a, word b)
{
	return pci_write_config_dword(hostile_claim(), (int)a, b);
}

/* What a driver does that has saved them, and has reset its device. */
static noinline int hostile_pci_put_back(word a, word b)
{
	struct pci_dev *pdev = hostile_claim();
	u32 bar;

	pci_read_config_dword(pdev, (int)a, &bar);
	return pci_write_config_dword(pdev, (int)a, bar);
}

/* ---- registers ------------------------------------------------------------------------------- */

static noinline int hostile_bar(word a, word b)
{
	return pci_ioremap_bar(hostile_claim(), a) ? 0 : -ENOMEM;
}

/* a: an address of memory, mapped as if it were registers */
static noinline int hostile_ioremap(word a, word b)
{
	hostile_claim();
	writel(b, ioremap(virt_to_phys((void *)a), PAGE_SIZE));
	return 0;
}

static noinline int hostile_iounmap(word a, word b)
{
	hostile_claim();
	iounmap((void __iomem *)a);
	return 0;
}

static noinline int hostile_registers_beyond(word a, word b)
{
	struct pci_dev *pdev = hostile_claim();
	void __iomem *regs = hostile_registers(pdev);

	writel(b, regs + pci_resource_len(pdev, BAR));
	return 0;
}

static noinline int hostile_registers_late(word a, word b)
{
	void __iomem *regs = hostile_registers(hostile_claim());

	iounmap(regs);
	writel(b, regs);
	return 0;
}

/* A bit that the device never sets. */
static noinline int hostile_device_poll(word a, word b)
{
	void __iomem *regs = hostile_registers(hostile_claim());

	while (!(readl(regs + REG_IMC) & 1))
		;
	return 0;
}

/* A device that is gone reads as ones. */
static noinline int hostile_device_gone(word a, word b)
{
	void __iomem *regs = hostile_registers(hostile_claim());
	volatile word *p = kmalloc(readl(regs + REG_IMC) | a, GFP_KERNEL | __GFP_NOWARN);

	*p = b;
	return 0;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static noinline irqreturn_t hostile_irq(int irq, void *data)
{
	if (!(readl(irq_regs + REG_ICR) & CAUSE))
		return IRQ_NONE;
	irqs++;
	return irq_result;
}

static noinline irqreturn_t hostile_irq_freeing(int irq, void *data)
{
	readl(irq_regs + REG_ICR);
	free_irq(irq, data);
	return IRQ_HANDLED;
}

/* The device is not asked, so it does not fall silent. */
static noinline irqreturn_t hostile_irq_stubborn(int irq, void *data)
{
	irqs++;
	return irq_result;
}

static noinline irqreturn_t hostile_irq_locking(int irq, void *data)
{
	readl(irq_regs + REG_ICR);
	spin_lock_bh(&irq_lock);
	spin_unlock_bh(&irq_lock);
	return IRQ_HANDLED;
}

static int hostile_irq_raise(irq_handler_t handler, irqreturn_t result)
{
	struct pci_dev *pdev = hostile_claim();
	int ret;

	irqs = 0;
	irq_result = result;
	irq_regs = hostile_registers(pdev);
	ret = request_irq(pdev->irq, handler, IRQF_SHARED, "hostile", &claimed);
	if (ret)
		return ret;
	hostile_interrupt(irq_regs);
	msleep(LATER);
	writel(~0, irq_regs + REG_IMC);
	free_irq(pdev->irq, &claimed);
	iounmap(irq_regs);
	pci_disable_device(pdev);
	return irqs ? 0 : -ETIME;
}

static noinline int hostile_irq_handler(word a, word b)
{
	return hostile_irq_raise((irq_handler_t)a, IRQ_HANDLED);
}

static noinline int hostile_irq_answer(word a, word b)
{
	return hostile_irq_raise(hostile_irq, a);
}

/* a: what the handler says */
static noinline int hostile_irq_storm(word a, word b)
{
	struct pci_dev *pdev = hostile_claim();
	int ret, i;

	irq_result = a;
	irq_regs = hostile_registers(pdev);
	ret = request_irq(pdev->irq, hostile_irq_stubborn, IRQF_SHARED, "hostile", &claimed);
	if (ret)
		return ret;
	hostile_interrupt(irq_regs);
	for (i = 0; i < 3000; i++)
		msleep(LATER);
	writel(~0, irq_regs + REG_IMC);
	free_irq(pdev->irq, &claimed);
	return 0;
}

static noinline int hostile_irq_self(word a, word b)
{
	return hostile_irq_raise(hostile_irq_freeing, IRQ_HANDLED);
}

static noinline int hostile_irq_bh(word a, word b)
{
	return hostile_irq_raise(hostile_irq_locking, IRQ_HANDLED);
}

/* What /proc has a directory of. */
static noinline int hostile_irq_named(word a, word b)
{
	static const char * const names[] = { "", "..", "a/b" };
	struct pci_dev *pdev = hostile_claim();
	int ret;

	irq_regs = hostile_registers(pdev);
	ret = request_irq(pdev->irq, hostile_irq, IRQF_SHARED, names[a], &claimed);
	if (!ret)
		free_irq(pdev->irq, &claimed);
	return ret;
}

/* a: a line of somebody else */
static noinline int hostile_irq_foreign(word a, word b)
{
	hostile_claim();
	return request_irq(a, hostile_irq, IRQF_SHARED, "hostile", &claimed);
}

static struct pci_dev *hostile_irq_quiet(void)
{
	struct pci_dev *pdev = hostile_claim();

	irq_regs = hostile_registers(pdev);
	return request_irq(pdev->irq, hostile_irq, IRQF_SHARED, "hostile", &claimed) ? NULL : pdev;
}

static noinline int hostile_irq_twice(word a, word b)
{
	struct pci_dev *pdev = hostile_irq_quiet();

	if (!pdev)
		return -EBUSY;
	free_irq(pdev->irq, &claimed);
	free_irq(pdev->irq, &claimed);
	return 0;
}

/* One enable more than there were disables. */
static noinline int hostile_irq_enable(word a, word b)
{
	struct pci_dev *pdev = hostile_irq_quiet();

	if (!pdev)
		return -EBUSY;
	enable_irq(pdev->irq);
	free_irq(pdev->irq, &claimed);
	return 0;
}

const struct attack attacks_pci[] = {
	ATTACK(pci_probe), ATTACK(pci_ids), ATTACK(pci_nameless),
	ATTACK(pci_errors), ATTACK(pci_groups), ATTACK(sleep_forgetful), ATTACK(sleep_twice),
	ATTACK(pci_remove), ATTACK(pci_twice), ATTACK(pci_nested), ATTACK(pci_race),
	ATTACK(pci_disable),
	ATTACK(pci_config), ATTACK(pci_where), ATTACK(pci_move),
	ATTACK(pci_put_back), ATTACK(bar), ATTACK(bridge), ATTACK(bridge_set),
	ATTACK(bridge_link),
	ATTACK(ioremap), ATTACK(iounmap), ATTACK(registers_beyond), ATTACK(registers_late),
	ATTACK(device_poll), ATTACK(device_gone), ATTACK(irq_handler), ATTACK(irq_answer),
	ATTACK(irq_self), ATTACK(irq_bh), ATTACK(irq_foreign), ATTACK(irq_twice),
	ATTACK(irq_enable), ATTACK(irq_storm), ATTACK(irq_named), { }
};
