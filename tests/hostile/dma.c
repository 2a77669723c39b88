// SPDX-License-Identifier: GPL-2.0-only
/* dma.c - what the device is told to touch */
#include <linux/dma-mapping.h>
#include <linux/pci.h>
#include <linux/timer.h>
#include "hostile.h"

#define BLOCK	64

static struct device *hostile_device(void)
{
	struct pci_dev *pdev = hostile_claim();

	return pdev ? &pdev->dev : NULL;
}

static __always_inline int hostile_map(void *p, size_t len, enum dma_data_direction dir)
{
	struct device *dev = hostile_device();
	dma_addr_t at = dma_map_single(dev, p, len, dir);

	if (dma_mapping_error(dev, at))
		return -EIO;
	dma_unmap_single(dev, at, len, dir);
	return 0;
}

/* a: not memory of the driver */
static noinline int hostile_dma_foreign(word a, word b)
{
	return hostile_map((void *)a, BLOCK, DMA_FROM_DEVICE);
}

/* a: bytes, of a block that has fewer */
static noinline int hostile_dma_long(word a, word b)
{
	return hostile_map(kmalloc(BLOCK, GFP_KERNEL), a, DMA_FROM_DEVICE);
}

static noinline int hostile_dma_direction(word a, word b)
{
	return hostile_map(kmalloc(BLOCK, GFP_KERNEL), BLOCK, a);
}

static noinline int hostile_dma_device(word a, word b)
{
	dma_set_mask((struct device *)a, DMA_BIT_MASK(32));
	return 0;
}

static noinline int hostile_dma_unmap(word a, word b)
{
	dma_unmap_single(hostile_device(), a, BLOCK, DMA_FROM_DEVICE);
	return 0;
}

static noinline int hostile_dma_unmap_twice(word a, word b)
{
	struct device *dev = hostile_device();
	dma_addr_t at = dma_map_single(dev, kmalloc(BLOCK, GFP_KERNEL), BLOCK, DMA_FROM_DEVICE);

	dma_unmap_single(dev, at, BLOCK, DMA_FROM_DEVICE);
	dma_unmap_single(dev, at, BLOCK, DMA_FROM_DEVICE);
	return 0;
}

static noinline int hostile_dma_sync(word a, word b)
{
	struct device *dev = hostile_device();
	dma_addr_t at = dma_map_single(dev, kmalloc(BLOCK, GFP_KERNEL), BLOCK, DMA_FROM_DEVICE);

	dma_sync_single_for_cpu(dev, at, a, DMA_FROM_DEVICE);
	return 0;
}

/* a: where the handle is to be written */
static noinline int hostile_dma_handle(word a, word b)
{
	return dma_alloc_coherent(hostile_device(), PAGE_SIZE, (dma_addr_t *)a, GFP_KERNEL) ?
		0 : -ENOMEM;
}

static noinline int hostile_coherent_free(word a, word b)
{
	dma_free_coherent(hostile_device(), PAGE_SIZE, (void *)a, virt_to_phys((void *)a));
	return 0;
}

static noinline int hostile_coherent_twice(word a, word b)
{
	struct device *dev = hostile_device();
	dma_addr_t at;
	void *p = dma_alloc_coherent(dev, PAGE_SIZE, &at, GFP_KERNEL);

	dma_free_coherent(dev, PAGE_SIZE, p, at);
	dma_free_coherent(dev, PAGE_SIZE, p, at);
	return 0;
}

/* On and on: page after page, until one is not its own. */
static noinline int hostile_coherent_beyond(word a, word b)
{
	dma_addr_t at;
	volatile word *p = dma_alloc_coherent(hostile_device(), PAGE_SIZE, &at, GFP_KERNEL);
	word i;

	for (i = 0; i < a; i++)
		p[i] = b;
	return 0;
}

static noinline int hostile_coherent_late(word a, word b)
{
	struct device *dev = hostile_device();
	dma_addr_t at;
	volatile word *p = dma_alloc_coherent(dev, PAGE_SIZE, &at, GFP_KERNEL);

	dma_free_coherent(dev, PAGE_SIZE, (void *)p, at);
	p[8] = b;
	return 0;
}

/* ---- by the device's own hand ---------------------------------------------------------------- */

#define RINGS		8
#define TX_RING		0x000
#define RX_RING		0x100
#define TX_BUFFER	0x200
#define TX_LENGTH	64
#define WAKING		1200		/* milliseconds until the emulated receiver works */
#define TX_COMMAND	0x03000000	/* end of packet, checksum */

struct descriptor {
	__le64 addr;
	__le32 lower, upper;
};

static void hostile_ring(void __iomem *regs, unsigned int base, dma_addr_t at, u32 tail)
{
	writel(lower_32_bits(at), regs + base);
	writel(upper_32_bits(at), regs + base + 0x04);
	writel(RINGS * sizeof(struct descriptor), regs + base + 0x08);
	writel(0, regs + base + 0x10);
	writel(tail, regs + base + 0x18);
}

/* a: where the device writes the packet that it sends to itself */
static noinline int hostile_device_writes(word a, word b)
{
	struct pci_dev *pdev = hostile_claim();
	void __iomem *regs = hostile_registers(pdev);
	struct descriptor *tx, *rx;
	dma_addr_t at;
	void *p;
	int i;

	pci_set_master(pdev);
	p = dma_alloc_coherent(&pdev->dev, PAGE_SIZE, &at, GFP_KERNEL);
	tx = p + TX_RING;
	rx = p + RX_RING;
	memset(p + TX_BUFFER, 0x5a, TX_LENGTH);
	tx->addr = cpu_to_le64(at + TX_BUFFER);
	tx->lower = cpu_to_le32(TX_COMMAND | TX_LENGTH);
	for (i = 0; i < RINGS; i++)
		rx[i].addr = cpu_to_le64(virt_to_phys((void *)a));
	writel(0x04204000, regs + 0x0020);		/* PHY: loop back */
	hostile_ring(regs, 0x2800, at + RX_RING, RINGS - 1);
	writel(0x0000801a, regs + 0x0100);		/* receive all */
	msleep(WAKING);
	hostile_ring(regs, 0x3800, at + TX_RING, 0);
	writel(0x0000000a, regs + 0x0400);		/* send */
	writel(1, regs + 0x3818);
	msleep(LATER);
	writel(0, regs + 0x0100);
	writel(0, regs + 0x0400);
	dma_free_coherent(&pdev->dev, PAGE_SIZE, p, at);
	iounmap(regs);
	pci_disable_device(pdev);
	return 0;
}

/* ---- in softirq, which is allowed ------------------------------------------------------------ */

static struct timer_list free_timer;
static void *free_what;
static dma_addr_t free_at;

static void hostile_free_soon(struct timer_list *timer)
{
	dma_free_coherent(hostile_device(), PAGE_SIZE, free_what, free_at);
	free_what = NULL;
}

static noinline int hostile_coherent_softirq(word a, word b)
{
	free_what = dma_alloc_coherent(hostile_device(), PAGE_SIZE, &free_at, GFP_KERNEL);
	timer_setup(&free_timer, hostile_free_soon, 0);
	mod_timer(&free_timer, jiffies + SOON);
	msleep(LATER);
	return READ_ONCE(free_what) ? -ETIMEDOUT : 0;
}

const struct attack attacks_dma[] = {
	ATTACK(dma_foreign), ATTACK(dma_long), ATTACK(dma_direction), ATTACK(dma_device),
	ATTACK(dma_unmap), ATTACK(dma_unmap_twice), ATTACK(dma_sync), ATTACK(dma_handle),
	ATTACK(coherent_free), ATTACK(coherent_twice), ATTACK(coherent_beyond),
	ATTACK(coherent_late), ATTACK(coherent_softirq), ATTACK(device_writes), { }
};
