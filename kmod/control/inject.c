// SPDX-License-Identifier: GPL-2.0-only
/*
 * inject.c - overwrite text of a loaded module, to see what a fault in it does
 *
 * Works alike for a driver in a nook and for a native one, so that the two can be compared.
 *
 * Locking: a reference keeps the module; text_mutex serialises with the kernel's own patching.
 * Context: process, may sleep.
 */
#include <linux/kobject.h>
#include <linux/module.h>
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
	void *addr;
	const u8 *bytes;
	u32 len;
};

static int inj_write(void *data)
{
	const struct inj_patch *p = data;

	ksym_text_poke(p->addr, p->bytes, p->len);
	return 0;
}

int inject_patch(const char *module, const char *symbol, u32 off, const u8 *bytes, u8 *old,
		 u32 len, u64 *addr, struct netlink_ext_ack *extack)
{
	char name[MODULE_NAME_LEN + NOOKS_SYM_LEN + 1];
	struct inj_patch patch = { .bytes = bytes, .len = len };
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

	patch.addr = (void *)(start + off);
	*addr = start + off;
	memcpy(old, patch.addr, len);
	mutex_lock(ksym_text_mutex);
	ret = stop_machine(inj_write, &patch, NULL);
	mutex_unlock(ksym_text_mutex);

put_module:
	module_put(mod);
	return ret;
}
