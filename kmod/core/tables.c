// SPDX-License-Identifier: GPL-2.0-only
/*
 * tables.c - which tables of functions a driver has
 *
 * The kernel calls what stands in them, so it is only given what the compiler has made one of: an
 * object of the driver's read-only data that is as large, or one of an array. The symbol table is
 * read once, before any of the driver's code has run: it lies beside its data.
 */
#include <linux/elf.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "nooks.h"
#include "core/core.h"

struct nook_object {
	unsigned long start;
	size_t size;
};

static bool tables_has(const struct nook *nk, const Elf_Sym *sym)
{
	return ELF_ST_TYPE(sym->st_info) == STT_OBJECT && sym->st_size &&
	       sym->st_value >= nk->text_hi && sym->st_value + sym->st_size <= nk->ro_hi;
}

/* Return: how many there are; they are written to @to, if it is given. */
static unsigned int tables_read(const struct nook *nk, struct nook_object *to)
{
	const struct mod_kallsyms *k;
	unsigned int i, n = 0;

	rcu_read_lock_sched();
	k = rcu_dereference_sched(nk->mod->kallsyms);
	for (i = 1; k && i < k->num_symtab; i++) {
		if (!tables_has(nk, &k->symtab[i]))
			continue;
		if (to)
			to[n] = (struct nook_object){ k->symtab[i].st_value, k->symtab[i].st_size };
		n++;
	}
	rcu_read_unlock_sched();
	return n;
}

int nook_save_tables(struct nook *nk)
{
	unsigned int n;

	if (nk->objects)
		return 0;
	n = tables_read(nk, NULL);
	nk->objects = kvcalloc(max(n, 1U), sizeof(*nk->objects), GFP_KERNEL);
	if (!nk->objects)
		return -ENOMEM;
	nk->nobjects = tables_read(nk, nk->objects);
	return 0;
}

/* Is it one of those that the object consists of? */
static bool tables_are(const struct nook_object *o, const void *ops, size_t size)
{
	size_t at = (unsigned long)ops - o->start;

	return at < o->size && !(at % size) && !(o->size % size);
}

static bool tables_include(const struct nook *nk, const void *ops, size_t size)
{
	unsigned int i;

	for (i = 0; i < nk->nobjects; i++)
		if (tables_are(&nk->objects[i], ops, size))
			return true;
	return false;
}

bool arg_ops(struct xpc *x, const char *fn, const char *arg, const void *ops,
	     const struct entry_table *tab)
{
	unsigned int i;

	if (!tables_include(x->nook, ops, tab->size)) {
		nooks_reject(x, "%s(%s): not a table of the driver's read-only data", fn, arg);
		return false;
	}
	for (i = 0; i < tab->n; i++) {
		struct gate *g = nook_gate(x->nook, *(void * const *)(ops + tab->offset[i]));

		if (g)
			WRITE_ONCE(g->desc, &tab->desc[i]);
	}
	return true;
}
