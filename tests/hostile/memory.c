// SPDX-License-Identifier: GPL-2.0-only
/* memory.c - blocks, pages, strings, counts: freed twice, used late, written beyond, lost */
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/refcount.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include "hostile.h"

#define BLOCK	64

static volatile size_t block = BLOCK;	/* so that nothing is known at compile time */

static noinline int hostile_kfree(word a, word b)
{
	kfree((void *)a);
	return 0;
}

static noinline int hostile_double_free(word a, word b)
{
	void *p = kmalloc(block, GFP_KERNEL);

	kfree(p);
	kfree(p);
	return 0;
}

/* A pointer into a block instead of its start. */
static noinline int hostile_inner_free(word a, word b)
{
	char *p = kmalloc(256, GFP_KERNEL);

	kfree(p + 72);
	return 0;
}

/* The kernel writes its answer where the driver says. */
static noinline int hostile_memset(word a, word b)
{
	memset((void *)a, (int)b, block);
	return 0;
}

static noinline int hostile_memcpy(word a, word b)
{
	static char from[BLOCK];

	memcpy((void *)a, from, block);
	return 0;
}

/* From where nothing is. */
static noinline int hostile_memcpy_from(word a, word b)
{
	void *p = kmalloc(block, GFP_KERNEL);

	memcpy(p, (void *)a, block);
	kfree(p);
	return 0;
}

static noinline int hostile_sprintf(word a, word b)
{
	sprintf((char *)a, "%lx", b);
	return 0;
}

/* a: a string; it goes into an array that is too small, whose size the compiler knows */
static noinline int hostile_fortify(word a, word b)
{
	static char small[8];
	size_t n = block;

	memcpy(small, (void *)a, n);
	return small[0] ? 0 : -EINVAL;
}

static noinline int hostile_printk(word a, word b)
{
	pr_info("hostile says %s\n", (const char *)a);
	return 0;
}

/* A format without an end. */
static noinline int hostile_no_end(word a, word b)
{
	char *p = kmalloc(4096, GFP_KERNEL);
	struct workqueue_struct *wq;

	if (!p)
		return -ENOMEM;
	memset(p, 'A', block * 64);
	wq = alloc_workqueue(p, 0, 0);
	if (wq)
		destroy_workqueue(wq);
	kfree(p);
	return 0;
}

/* ---- beyond, and too late -------------------------------------------------------------------- */

/* Into the next block: within its own memory a driver is as unprotected as ever. */
static noinline int hostile_beyond_block(word a, word b)
{
	char *p = kmalloc(block, GFP_KERNEL);
	word i;

	for (i = block; i < block + 16; i++)
		((volatile char *)p)[i] = 0x5a;
	kfree(p);
	return 0;
}

/* On and on, until somebody stops it. */
static noinline int hostile_beyond_heap(word a, word b)
{
	volatile char *p = kmalloc(block, GFP_KERNEL);

	for (;;)
		*p++ = 0x5a;
	return 0;
}

/* a: an index that a device gave */
static noinline int hostile_index(word a, word b)
{
	static word ring[16];

	((volatile word *)ring)[(int)a] = b;
	return 0;
}

static noinline int hostile_late_write(word a, word b)
{
	volatile word *p = kmalloc(block, GFP_KERNEL);

	kfree((void *)p);
	p[1] = b;
	return 0;
}

/* What it gets instead of the block that it still writes to. */
static noinline int hostile_late_again(word a, word b)
{
	hostile_late_write(a, b);
	kfree(kmalloc(block, GFP_KERNEL));
	return 0;
}

/* What nobody has written yet is looked at. a: what it may not be */
static noinline int hostile_never_written(word a, word b)
{
	word *p = kmalloc(block, GFP_KERNEL);
	int ret = READ_ONCE(*p) == a ? -EIO : 0;

	kfree(p);
	return ret;
}

/* One element behind a table of whole pages. */
static noinline int hostile_beyond_area(word a, word b)
{
	volatile word *p = vmalloc(PAGE_SIZE);

	if (!p)
		return -ENOMEM;
	p[PAGE_SIZE / sizeof(*p)] = b;
	vfree((void *)p);
	return 0;
}

/* The same by way of the kernel. */
static noinline int hostile_fill_area(word a, word b)
{
	void *p = vmalloc(block * 64);

	memset(p, (int)b, block * 65);
	vfree(p);
	return 0;
}

static noinline int hostile_late_area(word a, word b)
{
	volatile word *p = vmalloc(PAGE_SIZE);

	vfree((void *)p);
	p[1] = b;
	return 0;
}

static noinline int hostile_double_vfree(word a, word b)
{
	void *p = vmalloc(PAGE_SIZE);

	vfree(p);
	vfree(p);
	return 0;
}

/* With the other allocator's function. */
static noinline int hostile_kfree_area(word a, word b)
{
	kfree(vmalloc(PAGE_SIZE));
	return 0;
}

/* Allowed: the kernel frees it later. */
static noinline int hostile_vfree_atomic(word a, word b)
{
	void *p = vmalloc(a);

	local_bh_disable();
	vfree(p);
	local_bh_enable();
	return p ? 0 : -ENOMEM;
}

/* An allocation that fails, and nobody looks. */
static noinline int hostile_unchecked(word a, word b)
{
	volatile word *p = kmalloc(a, GFP_KERNEL | __GFP_NOWARN);

	*p = b;
	kfree((void *)p);
	return 0;
}

/* Never freed. a: bytes, b: times */
static noinline int hostile_leak(word a, word b)
{
	while (b--)
		hostile_counter += (word)kmalloc(a, GFP_KERNEL | __GFP_NOWARN) & 1;
	return 0;
}

/* ---- pages ----------------------------------------------------------------------------------- */

/* Never freed. a: order, b: times */
static noinline int hostile_page_leak(word a, word b)
{
	while (b--)
		hostile_counter += !alloc_pages(GFP_KERNEL | __GFP_NOWARN, a);
	return 0;
}

static noinline int hostile_page_twice(word a, word b)
{
	struct page *page = alloc_pages(GFP_KERNEL, 0);

	__free_pages(page, 0);
	__free_pages(page, 0);
	return 0;
}

/* A reference that it does not have. */
static noinline int hostile_page_put(word a, word b)
{
	struct page *page = alloc_pages(GFP_KERNEL, 0);

	put_page(page);
	put_page(page);
	return 0;
}

/* A page whose contents are the device's to write, not the driver's. */
static noinline int hostile_page_write(word a, word b)
{
	struct page *page = alloc_pages(GFP_KERNEL, 0);

	*(volatile word *)page_address(page) = b;
	__free_pages(page, 0);
	return 0;
}

static noinline int hostile_page_late(word a, word b)
{
	struct page *page = alloc_pages(GFP_KERNEL, 0);
	volatile word *p = page_address(page);

	__free_pages(page, 0);
	*p = b;
	return 0;
}

/* ---- lists and counts ------------------------------------------------------------------------ */

/* a: where the list is said to go on */
static noinline int hostile_list_add(word a, word b)
{
	static LIST_HEAD(head);
	static struct list_head one;

	WRITE_ONCE(head.next, (struct list_head *)a);
	list_add(&one, &head);
	return 0;
}

static noinline int hostile_list_del(word a, word b)
{
	static LIST_HEAD(head);
	static struct list_head one;

	list_add(&one, &head);
	list_del(&one);
	list_del(&one);
	return 0;
}

static noinline int hostile_refcount(word a, word b)
{
	static refcount_t count = REFCOUNT_INIT(1);

	hostile_counter += refcount_dec_and_test(&count);
	refcount_dec(&count);
	return 0;
}

const struct attack attacks_memory[] = {
	ATTACK(kfree), ATTACK(double_free), ATTACK(inner_free), ATTACK(memset), ATTACK(memcpy),
	ATTACK(memcpy_from), ATTACK(sprintf), ATTACK(fortify), ATTACK(printk), ATTACK(no_end),
	ATTACK(beyond_block), ATTACK(beyond_heap), ATTACK(index), ATTACK(late_write),
	ATTACK(late_again), ATTACK(never_written),
	ATTACK(beyond_area), ATTACK(fill_area), ATTACK(late_area), ATTACK(double_vfree),
	ATTACK(kfree_area), ATTACK(vfree_atomic),
	ATTACK(unchecked), ATTACK(leak), ATTACK(page_leak), ATTACK(page_twice), ATTACK(page_put),
	ATTACK(page_write),
	ATTACK(page_late), ATTACK(list_add), ATTACK(list_del), ATTACK(refcount), { }
};
