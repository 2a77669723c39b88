// SPDX-License-Identifier: GPL-2.0-only
/* dma.c - what the device is told to touch */
#include <linux/dma-mapping.h>
#include <linux/pci.h>
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

const struct attack attacks_dma[] = {
	ATTACK(dma_foreign), ATTACK(dma_long), ATTACK(dma_direction), ATTACK(dma_device),
	ATTACK(dma_unmap), ATTACK(dma_unmap_twice), ATTACK(dma_sync), ATTACK(dma_handle),
	ATTACK(coherent_free), ATTACK(coherent_twice), ATTACK(coherent_beyond),
	ATTACK(coherent_late), { }
};
