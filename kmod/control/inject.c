// SPDX-License-Identifier: GPL-2.0-only
/*
 * inject.c - overwrite text of a loaded module, to see what a fault in it does
 *
 * Works alike for a driver in a nook and for a native one, so that the two can be compared. What
 * was there is remembered until the module goes: a recovery starts the driver from the text that
 * was loaded, as reading it from disk again would.
 *
 * Locking: a reference keeps the module; text_mutex serialises with the kernel's own patching;
 * inj_lock guards inj_patches.
 * Context: process, may sleep.
 */
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>
#include "control/control.h"
#include "ksym/ksym.h"

/*
 * find_module() is not exported, but the modules' kset is at hand. A reference on the kobject keeps
 * struct module: free_module() waits for the last one.
 */
static struct module *inj_module_get(const char *name)
{
	struct module *mod = NULL;
	struct kobject *kobj;

	kobj = kset_find_obj(THIS_MODULE->mkobj.kobj.kset, name);
	if (!kobj)
		return NULL;
	mod = container_of(kobj, struct module_kobject, kobj)->mod;	/* NULL: built in */
	if (mod && !try_module_get(mod))
		mod = NULL;
	kobject_put(kobj);
	return mod;
}

struct inj_patch {
	struct list_head node;		/* inj_lock; newest first */
	const struct module *mod;
	void *addr;
	u32 len;
	u8 old[NOOKS_INJECT_MAX];
	u8 new[NOOKS_INJECT_MAX];
};

static DEFINE_MUTEX(inj_lock);
static LIST_HEAD(inj_patches);

static int inj_write(void *data)
{
	const struct inj_patch *p = data;

	ksym_text_poke(p->addr, p->new, p->len);
	return 0;
}

static int inj_write_back(void *data)
{
	const struct inj_patch *p = data;

	ksym_text_poke(p->addr, p->old, p->len);
	return 0;
}

/* All CPUs stand still for it, so that none runs half of an instruction. */
static int inj_poke(struct inj_patch *p, cpu_stop_fn_t write)
{
	int ret;

	mutex_lock(ksym_text_mutex);
	if (write == inj_write)
		memcpy(p->old, p->addr, p->len);
	ret = stop_machine(write, p, NULL);
	mutex_unlock(ksym_text_mutex);
	return ret;
}

void inject_undo(const struct module *mod)
{
	struct inj_patch *p, *next;

	mutex_lock(&inj_lock);
	list_for_each_entry_safe(p, next, &inj_patches, node) {
		if (p->mod != mod || inj_poke(p, inj_write_back))
			continue;
		list_del(&p->node);
		kfree(p);
	}
	mutex_unlock(&inj_lock);
}

void inject_forget(const struct module *mod)
{
	struct inj_patch *p, *next;

	mutex_lock(&inj_lock);
	list_for_each_entry_safe(p, next, &inj_patches, node) {
		if (mod && p->mod != mod)
			continue;
		list_del(&p->node);
		kfree(p);
	}
	mutex_unlock(&inj_lock);
}

static int inj_apply(const struct module *mod, void *addr, const u8 *bytes, u8 *old, u32 len)
{
	struct inj_patch *p = kzalloc(sizeof(*p), GFP_KERNEL);
	int ret;

	if (!p)
		return -ENOMEM;
	p->mod = mod;
	p->addr = addr;
	p->len = len;
	memcpy(p->new, bytes, len);
	mutex_lock(&inj_lock);
	ret = inj_poke(p, inj_write);
	if (ret) {
		kfree(p);
	} else {
		memcpy(old, p->old, len);
		list_add(&p->node, &inj_patches);
	}
	mutex_unlock(&inj_lock);
	return ret;
}

int inject_patch(const char *module, const char *symbol, u32 off, const u8 *bytes, u8 *old,
		 u32 len, u64 *addr, struct netlink_ext_ack *extack)
{
	char name[MODULE_NAME_LEN + NOOKS_SYM_LEN + 1];
	unsigned long base, start;
	struct module *mod;
	u32 size;
	int ret;

	mod = inj_module_get(module);
	if (!mod) {
		control_extack(extack, "module %s is not loaded", module);
		return -ENOENT;
	}
	snprintf(name, sizeof(name), "%s:%s", module, symbol);
	start = ksym_lookup(name);
	if (!start) {
		control_extack(extack, "%s has no symbol %s", module, symbol);
		ret = -ENOENT;
		goto put_module;
	}
	base = (unsigned long)mod->core_layout.base;
	size = mod->core_layout.text_size;
	if (start < base || start - base >= size || off >= size - (start - base) ||
	    len > size - (start - base) - off) {
		control_extack(extack, "%s+%u is not in the text of %s", symbol, off, module);
		ret = -EINVAL;
		goto put_module;
	}

	*addr = start + off;
	ret = inj_apply(mod, (void *)(start + off), bytes, old, len);

put_module:
	module_put(mod);
	return ret;
}
