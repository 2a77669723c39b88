// SPDX-License-Identifier: GPL-2.0-only
/*
 * pgt.c - the domain page table
 *
 * x86 ANDs R/W over the levels of a walk. So a top-level table that copies the kernel half of the
 * kernel's own, with R/W cleared in each entry, shows all of the kernel read-only while every lower
 * table stays shared, and so current. Only the ranges that a nook may write get private copies of
 * the tables on their path; PGT_PRIVATE marks the entries that point to one.
 *
 * A private copy can go stale. Entries for module space are copied again when the module notifier
 * raises pgt_map_gen. Entries of private last-level tables in vmalloc space are not copied at all
 * but on demand (pgt_lazy_sync), and forgotten before the next crossing.
 *
 * Locking: pgt->lock (raw, irqsave) guards every private table.
 * Context: any but NMI, kernel view.
 */
#include <linux/mm.h>
#include <linux/smp.h>
#include <asm/tlbflush.h>
#include "domain/pgt.h"
#include "xpc/offsets.h"

#define PGT_PRIVATE	BIT_ULL(11)	/* ignored by hardware */
#define PGT_ADDR	0x000ffffffffff000ULL
#define PGT_ENTRIES	512
#define PGT_LEVEL_PTE	1
/* _PAGE_PAT_LARGE; in a pte PAT is bit 7, as PSE is above */
#define PGT_PAT_LARGE	BIT_ULL(12)

atomic_t pgt_map_gen = ATOMIC_INIT(1);

static unsigned int pgt_shift(int level)
{
	return PAGE_SHIFT + 9 * (level - 1);
}

static u64 *pgt_entry(u64 *table, int level, unsigned long va)
{
	return &table[(va >> pgt_shift(level)) & (PGT_ENTRIES - 1)];
}

static u64 *pgt_next(u64 entry)
{
	return __va(entry & PGT_ADDR);
}

static bool pgt_leaf(u64 entry, int level)
{
	return level == PGT_LEVEL_PTE || (level <= 3 && (entry & _PAGE_PSE));
}

static bool pgt_private(u64 entry, int level)
{
	return (entry & PGT_PRIVATE) && !pgt_leaf(entry, level);
}

static u64 *pgt_kernel_top(void)
{
	return __va(__read_cr3() & PGT_ADDR);
}

static bool pgt_is_vmalloc(unsigned long va)
{
	return va >= VMALLOC_START && va <= VMALLOC_END;
}

static u64 *pgt_new_table(struct pgt *pgt)
{
	struct page *page = alloc_page(GFP_ATOMIC | __GFP_ZERO);

	if (!page)
		return NULL;
	list_add(&page->lru, &pgt->pages);
	pgt->npages++;
	return page_address(page);
}

/* The entries of a large page as those of a table one level down. */
static void pgt_split(u64 *table, u64 entry, int level)
{
	u64 size = 1ULL << pgt_shift(level - 1);
	u64 flags = entry & ~PGT_ADDR & ~PGT_PRIVATE;
	u64 pa = entry & PGT_ADDR;
	int i;

	if (level == 2)
		flags &= ~_PAGE_PSE;
	if (pa & PGT_PAT_LARGE) {
		pa &= ~PGT_PAT_LARGE;
		flags |= level == 2 ? _PAGE_PAT : PGT_PAT_LARGE;
	}
	for (i = 0; i < PGT_ENTRIES; i++)
		table[i] = (pa + i * size) | flags;
}

/* The private table below @entry; made from what the kernel has there if there is none yet. */
static u64 *pgt_descend(struct pgt *pgt, u64 *entry, int level, unsigned long va)
{
	u64 old = *entry;
	u64 *table;
	int i;

	if (pgt_private(old, level))
		return pgt_next(old);
	table = pgt_new_table(pgt);
	if (!table)
		return NULL;
	if (pgt_leaf(old, level)) {
		pgt_split(table, old, level);
		old &= _PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_NX;
	} else {
		if (level > 2 || !pgt_is_vmalloc(va))
			for (i = 0; i < PGT_ENTRIES; i++)
				table[i] = pgt_next(old)[i] & ~(u64)(_PAGE_RW | PGT_PRIVATE);
		old &= ~PGT_ADDR;
	}
	*entry = __pa(table) | old | _PAGE_RW | PGT_PRIVATE;
	return table;
}

/* The kernel's entry at the same place, or 0. */
static u64 pgt_kernel_entry(struct pgt *pgt, unsigned long va, int level)
{
	u64 *table = pgt_kernel_top();
	int l;

	for (l = pgt->levels; ; l--) {
		u64 entry = *pgt_entry(table, l, va);

		if (!(entry & _PAGE_PRESENT))
			return 0;
		if (l == level)
			return entry;
		if (pgt_leaf(entry, l))
			return 0;
		table = pgt_next(entry);
	}
}

static bool pgt_kernel_mapped(struct pgt *pgt, unsigned long va)
{
	u64 *table = pgt_kernel_top();
	int level;

	for (level = pgt->levels; ; level--) {
		u64 entry = *pgt_entry(table, level, va);

		if (!(entry & _PAGE_PRESENT))
			return false;
		if (pgt_leaf(entry, level))
			return true;
		table = pgt_next(entry);
	}
}

static int pgt_protect_one(struct pgt *pgt, unsigned long va, unsigned long end, bool writable,
			   unsigned long *size)
{
	u64 *table = pgt->top;
	int level;

	for (level = pgt->levels; ; level--) {
		u64 *entry = pgt_entry(table, level, va);

		*size = 1UL << pgt_shift(level);
		if (!(*entry & _PAGE_PRESENT) ||
		    (writable && level == PGT_LEVEL_PTE && pgt_is_vmalloc(va))) {
			*entry = pgt_kernel_entry(pgt, va, level) & ~(u64)(_PAGE_RW | PGT_PRIVATE);
			if (!(*entry & _PAGE_PRESENT))
				return -EFAULT;
		}
		if (pgt_leaf(*entry, level) &&
		    (level == PGT_LEVEL_PTE || (!(va & (*size - 1)) && va + *size <= end))) {
			if (writable)
				*entry |= _PAGE_RW | _PAGE_DIRTY | _PAGE_ACCESSED;
			else if (pgt_is_vmalloc(va))
				/* unmapped next, and the address used for something else */
				*entry = 0;
			else
				*entry &= ~(u64)_PAGE_RW;
			return 0;
		}
		table = pgt_descend(pgt, entry, level, va);
		if (!table)
			return -ENOMEM;
	}
}

int pgt_protect(struct nook *nk, unsigned long va, size_t len, bool writable)
{
	unsigned long end = va + len, size, flags;
	int ret = 0;

	raw_spin_lock_irqsave(&nk->pgt.lock, flags);
	for (; va < end && !ret; va += size)
		ret = pgt_protect_one(&nk->pgt, va, end, writable, &size);
	raw_spin_unlock_irqrestore(&nk->pgt.lock, flags);
	return ret;
}

/* The last-level entry of a page whose path is private. */
static u64 *pgt_private_pte(struct pgt *pgt, unsigned long va)
{
	u64 *table = pgt->top;
	int level;

	for (level = pgt->levels; level > PGT_LEVEL_PTE; level--) {
		u64 *entry = pgt_entry(table, level, va);

		if (!pgt_private(*entry, level))
			return NULL;
		table = pgt_next(*entry);
	}
	return pgt_entry(table, PGT_LEVEL_PTE, va);
}

int pgt_alias(struct nook *nk, unsigned long va, phys_addr_t pa)
{
	struct pgt *pgt = &nk->pgt;
	unsigned long flags;
	u64 *pte;
	int ret = pgt_protect(nk, va, PAGE_SIZE, true);

	if (ret)
		return ret;
	raw_spin_lock_irqsave(&pgt->lock, flags);
	pte = pgt_private_pte(pgt, va);
	if (pte)
		*pte = (*pte & ~PGT_ADDR) | pa;
	raw_spin_unlock_irqrestore(&pgt->lock, flags);
	return pte ? 0 : -EFAULT;
}

void pgt_unalias(struct nook *nk, unsigned long va)
{
	struct pgt *pgt = &nk->pgt;
	unsigned long flags;
	u64 *pte;

	raw_spin_lock_irqsave(&pgt->lock, flags);
	pte = pgt_private_pte(pgt, va);
	if (pte)
		*pte = (*pte & ~(PGT_ADDR | _PAGE_RW)) | __pa(va);
	raw_spin_unlock_irqrestore(&pgt->lock, flags);
}

static bool pgt_walk_writable(u64 *table, int level, unsigned long va)
{
	for (; ; level--) {
		u64 entry = *pgt_entry(table, level, va);

		if (!(entry & _PAGE_PRESENT) || !(entry & _PAGE_RW))
			return false;
		if (pgt_leaf(entry, level))
			return true;
		table = pgt_next(entry);
	}
}

bool pgt_writable(struct nook *nk, unsigned long va)
{
	return pgt_walk_writable(nk->pgt.top, nk->pgt.levels, va);
}

bool pgt_kernel_writable(unsigned long va)
{
	return pgt_walk_writable(pgt_kernel_top(), pgtable_l5_enabled() ? 5 : 4, va);
}

/* One that was granted meanwhile stays: it was copied from the kernel's then. */
static void pgt_forget_lazy(struct pgt *pgt)
{
	u64 *entry = pgt->lazy[--pgt->nlazy];

	if (!(*entry & _PAGE_RW))
		*entry = 0;
}

static void pgt_remember_lazy(struct pgt *pgt, u64 *entry)
{
	if (pgt->nlazy == PGT_LAZY_MAX)
		pgt_forget_lazy(pgt);
	pgt->lazy[pgt->nlazy++] = entry;
}

bool pgt_lazy_sync(struct nook *nk, unsigned long va)
{
	struct pgt *pgt = &nk->pgt;
	u64 *table = pgt->top, *kernel = pgt_kernel_top();
	bool synced = false;
	unsigned long flags;
	int level;

	if (va < (unsigned long)PAGE_OFFSET)
		return false;
	raw_spin_lock_irqsave(&pgt->lock, flags);
	for (level = pgt->levels; ; level--) {
		u64 *entry = pgt_entry(table, level, va);
		u64 theirs = *pgt_entry(kernel, level, va);

		if (!(theirs & _PAGE_PRESENT))
			break;
		if (!(*entry & _PAGE_PRESENT)) {
			*entry = theirs & ~(u64)(_PAGE_RW | PGT_PRIVATE);
			if (level == PGT_LEVEL_PTE && pgt_is_vmalloc(va))
				pgt_remember_lazy(pgt, entry);
			synced = true;
			break;
		}
		if (!pgt_private(*entry, level)) {
			/*
			 * present by now: another CPU was faster; below it all is the kernel's own
			 */
			synced = pgt_kernel_mapped(pgt, va);
			break;
		}
		if (pgt_leaf(theirs, level))
			break;
		table = pgt_next(*entry);
		kernel = pgt_next(theirs);
	}
	raw_spin_unlock_irqrestore(&pgt->lock, flags);
	return synced;
}

static void pgt_resync_table(u64 *table, u64 *kernel, int level, unsigned int from, bool vmalloc)
{
	unsigned int i;

	for (i = from; i < PGT_ENTRIES; i++) {
		if (pgt_private(table[i], level)) {
			if ((kernel[i] & _PAGE_PRESENT) && !pgt_leaf(kernel[i], level))
				pgt_resync_table(pgt_next(table[i]), pgt_next(kernel[i]),
						 level - 1, 0, vmalloc);
		} else if (!(table[i] & _PAGE_RW) && !(vmalloc && level == PGT_LEVEL_PTE)) {
			table[i] = kernel[i] & ~(u64)(_PAGE_RW | PGT_PRIVATE);
		}
	}
}

static void pgt_resync_all(struct pgt *pgt)
{
	u64 *kernel = pgt_kernel_top();
	unsigned int i, vm_lo, vm_hi;
	int level = pgt->levels;

	vm_lo = (VMALLOC_START >> pgt_shift(level)) & (PGT_ENTRIES - 1);
	vm_hi = (VMALLOC_END >> pgt_shift(level)) & (PGT_ENTRIES - 1);
	for (i = PGT_ENTRIES / 2; i < PGT_ENTRIES; i++) {
		if (pgt_private(pgt->top[i], level))
			pgt_resync_table(pgt_next(pgt->top[i]), pgt_next(kernel[i]), level - 1, 0,
					 i >= vm_lo && i <= vm_hi);
		else
			pgt->top[i] = kernel[i] & ~(u64)(_PAGE_RW | PGT_PRIVATE);
	}
}

void pgt_resync_now(struct nook *nk)
{
	struct pgt *pgt = &nk->pgt;
	unsigned int gen = atomic_read(&pgt_map_gen);
	unsigned long flags;

	raw_spin_lock_irqsave(&pgt->lock, flags);
	while (pgt->nlazy)
		pgt_forget_lazy(pgt);
	if (pgt->gen != gen) {
		pgt_resync_all(pgt);
		WRITE_ONCE(pgt->gen, gen);
	}
	raw_spin_unlock_irqrestore(&pgt->lock, flags);
}

static void pgt_flush_this_cpu(void *unused)
{
	/*
	 * The interrupt that brought us here left the domain view, and CR3 is loaded on the way
	 * back.
	 */
}

void pgt_shootdown(void)
{
	on_each_cpu(pgt_flush_this_cpu, NULL, 1);
}

int pgt_init(struct nook *nk)
{
	struct pgt *pgt = &nk->pgt;
	u64 *kernel = pgt_kernel_top();
	int i;

	raw_spin_lock_init(&pgt->lock);
	INIT_LIST_HEAD(&pgt->pages);
	pgt->levels = pgtable_l5_enabled() ? 5 : 4;
	pgt->top = pgt_new_table(pgt);
	if (!pgt->top)
		return -ENOMEM;
	for (i = PGT_ENTRIES / 2; i < PGT_ENTRIES; i++)
		pgt->top[i] = kernel[i] & ~(u64)_PAGE_RW;
	pgt->cr3 = __pa(pgt->top) | CR3_MARK;
	pgt->gen = atomic_read(&pgt_map_gen);
	return 0;
}

void pgt_deinit(struct nook *nk)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &nk->pgt.pages, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
	nk->pgt.top = NULL;
	nk->pgt.npages = 0;
}
