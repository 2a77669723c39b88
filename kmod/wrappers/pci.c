// SPDX-License-Identifier: GPL-2.0-only
/*
 * pci.c - PCI drivers, their devices and configuration spaces
 *
 * The kernel registers our twin of the driver's pci_driver, with copies of name and id table; its
 * callbacks enter the nook. Probe makes pci_dev and device known to the tracker, remove forgets
 * them. A reference to each pci_dev is kept until the nook is released: what the driver left behind
 * needs the device for its own release.
 *
 * Context: process, may sleep, kernel view, if the function does not say otherwise.
 */
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "objtrack/objtrack.h"
#include "wrappers.h"
#include "wrappers/pci.h"

#define PCI_IDS_MAX	1024

struct pci_twin {
	struct pci_driver drv;
	struct nook *nk;
	struct pci_device_id *ids;
	char *name;
	void *probe, *remove, *shutdown, *suspend, *resume;
	bool registered;		/* and to be unregistered by whoever takes this back */
};

const struct entry_desc *nooks_entry_at(const struct entry_table *tab, u16 offset)
{
	u32 i;

	for (i = 0; i < tab->n; i++)
		if (tab->offset[i] == offset)
			return &tab->desc[i];
	return NULL;
}

#define PCI_ENTRY(member) \
	nooks_entry_at(&nooks_entries_pci_driver, offsetof(struct pci_driver, member))

struct pci_dev *nooks_pci_next(struct nook *nk, struct pci_dev *pdev)
{
	do
		pdev = pci_get_device(PCI_ANY_ID, PCI_ANY_ID, pdev);
	while (pdev && !objtrack_has(nk, OBJ_PCI_DEV, pdev));
	return pdev;
}

static struct pci_twin *pci_twin_of(struct pci_dev *pdev)
{
	return container_of(to_pci_driver(pdev->dev.driver), struct pci_twin, drv);
}

/* ---- where a device is ----------------------------------------------------------------------- */

/* What the kernel has put into the register of a BAR. Return: the bits of @want that count. */
static u32 pci_bar_bits(struct pci_dev *pdev, int bar, u32 *want)
{
	bool upper = bar && pci_resource_flags(pdev, bar - 1) & IORESOURCE_MEM_64;
	struct resource *res = &pdev->resource[upper ? bar - 1 : bar];
	struct pci_bus_region region;

	if (pdev->is_virtfn || !res->parent ||
	    res->flags & (IORESOURCE_UNSET | IORESOURCE_PCI_FIXED | IORESOURCE_PCI_EA_BEI))
		return 0;
	pcibios_resource_to_bus(pdev->bus, &region, res);
	*want = upper ? upper_32_bits(region.start) : lower_32_bits(region.start);
	if (upper)
		return U32_MAX;
	return res->flags & IORESOURCE_IO ? (u32)PCI_BASE_ADDRESS_IO_MASK :
					    (u32)PCI_BASE_ADDRESS_MEM_MASK;
}

static bool pci_in_place(struct pci_dev *pdev)
{
	u32 want, bits, is;
	int bar;

	for (bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
		bits = pci_bar_bits(pdev, bar, &want);
		if (!bits)
			continue;
		pci_read_config_dword(pdev, PCI_BASE_ADDRESS_0 + 4 * bar, &is);
		if ((is ^ want) & bits)
			return false;
	}
	return true;
}

/*
 * Whoever loses his addresses between two drivers, or while one is restarted, is nobody's: his next
 * driver would find no device. Context: process, the device's lock held.
 */
static void pci_put_in_place(struct pci_dev *pdev)
{
	u32 want, bits;
	u16 cmd;
	int bar;

	if (!pci_device_is_present(pdev) || pci_in_place(pdev))
		return;
	pci_warn(pdev, "nooks: BARs put back where the kernel has put them\n");
	pci_read_config_word(pdev, PCI_COMMAND, &cmd);
	pci_write_config_word(pdev, PCI_COMMAND,
			      cmd & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
	for (bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
		bits = pci_bar_bits(pdev, bar, &want);
		if (bits)
			pci_write_config_dword(pdev, PCI_BASE_ADDRESS_0 + 4 * bar, want);
	}
	pci_write_config_word(pdev, PCI_COMMAND, cmd);
}

/* ---- devices -------------------------------------------------------------------------------- */

/* What its configuration space holds before the driver knows it. NULL: it cannot be read back. */
static struct pci_saved_state *pci_state_of(struct pci_dev *pdev)
{
	struct pci_saved_state *state;

	if (pci_save_state(pdev))
		return NULL;
	state = pci_store_saved_state(pdev);
	pdev->state_saved = false;	/* so that the kernel still saves it by itself in suspend */
	return state;
}

static void pci_forget(struct nook *nk, struct pci_dev *pdev)
{
	struct pci_dev *up;

	for (up = pdev; up; up = pci_upstream_bridge(up))
		objtrack_del(nk, OBJ_PCI_CONFIG, up);
	objtrack_del(nk, OBJ_DEVICE, &pdev->dev);
	objtrack_del(nk, OBJ_PCI_DEV, pdev);
}

/* The device, and what is on the way to it, whose configuration drivers look at. */
static int pci_know_names(struct nook *nk, struct pci_dev *pdev)
{
	struct pci_dev *up;

	for (up = pdev; up; up = pci_upstream_bridge(up))
		if (nooks_track(nk, OBJ_PCI_CONFIG, up, 0, NULL, 0, 0, GFP_KERNEL))
			return -ENOMEM;
	return nooks_track(nk, OBJ_DEVICE, &pdev->dev, sizeof(pdev->dev), NULL, 0, 0, GFP_KERNEL);
}

static int pci_know(struct nook *nk, struct pci_dev *pdev)
{
	struct pci_saved_state *state;

	if (!objtrack_has(nk, OBJ_PCI_DRIVER, pdev)) {
		if (nooks_track(nk, OBJ_PCI_DRIVER, pdev, 0, NULL, 0, 0, GFP_KERNEL))
			return -ENOMEM;
		pci_dev_get(pdev);
	}
	pci_put_in_place(pdev);
	state = pci_state_of(pdev);
	if (nooks_track(nk, OBJ_PCI_DEV, pdev, sizeof(*pdev), state, 0, 0, GFP_KERNEL)) {
		kfree(state);
		return -ENOMEM;
	}
	if (!pci_know_names(nk, pdev))
		return 0;
	pci_forget(nk, pdev);
	return -ENOMEM;
}

static void pci_left(struct nook *nk, struct pci_dev *pdev)
{
	nooks_pci_release_lines(nk, pdev);
	if (!READ_ONCE(nk->dead))
		nooks_managed_release(nk, &pdev->dev);
	pci_forget(nk, pdev);
}

/*
 * A driver that died in its probe holds things that the driver core would pull from under it if the
 * probe failed. So the device stays bound, until recovery has released all and unregisters us.
 */
static int pci_twin_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct pci_twin *tw = container_of(pdev->driver, struct pci_twin, drv);
	u64 args[NOOKS_ARGS] = { (u64)pdev, (u64)id };
	int ret;

	if (READ_ONCE(tw->nk->dead))
		return -EIO;
	ret = pci_know(tw->nk, pdev);
	if (ret)
		return ret;
	ret = (int)nook_call(tw->nk, tw->probe, PCI_ENTRY(probe), args);
	if (!ret || READ_ONCE(tw->nk->dead))
		return 0;
	pci_left(tw->nk, pdev);
	return ret < 0 && ret >= -MAX_ERRNO ? ret : -EIO;
}

static void pci_twin_remove(struct pci_dev *pdev)
{
	struct pci_twin *tw = pci_twin_of(pdev);
	u64 args[NOOKS_ARGS] = { (u64)pdev };

	nook_call(tw->nk, tw->remove, PCI_ENTRY(remove), args);
	pci_left(tw->nk, pdev);
}

static void pci_twin_shutdown(struct pci_dev *pdev)
{
	struct pci_twin *tw = pci_twin_of(pdev);
	u64 args[NOOKS_ARGS] = { (u64)pdev };

	nook_call(tw->nk, tw->shutdown, PCI_ENTRY(shutdown), args);
}

static int pci_twin_suspend(struct pci_dev *pdev, pm_message_t state)
{
	struct pci_twin *tw = pci_twin_of(pdev);
	u64 args[NOOKS_ARGS] = { (u64)pdev, (u64)state.event };
	int ret = (int)nook_call(tw->nk, tw->suspend, PCI_ENTRY(suspend), args);

	return ret > 0 ? -EIO : ret;
}

static int pci_twin_resume(struct pci_dev *pdev)
{
	struct pci_twin *tw = pci_twin_of(pdev);
	u64 args[NOOKS_ARGS] = { (u64)pdev };
	int ret = (int)nook_call(tw->nk, tw->resume, PCI_ENTRY(resume), args);

	return ret > 0 ? -EIO : ret;
}

void nooks_pci_hush(struct pci_dev *pdev)
{
	pci_clear_master(pdev);
	pci_intx(pdev, 0);
}

void nooks_quiesce_pci_dev(struct nook *nk, struct tracked *t)
{
	nooks_pci_hush((struct pci_dev *)t->it.start);
}

/* ---- a device whose driver has died ---------------------------------------------------------- */

/*
 * Its configuration space as before the driver knew it: whatever the driver wrote there, or the
 * device forgot, the next one finds the device where the kernel has put it.
 */
static void pci_rewind(struct nook *nk, struct pci_dev *pdev)
{
	struct tracked *t = objtrack_find(nk, OBJ_PCI_DEV, pdev);

	if (!t)
		return;
	if (t->twin && !pci_load_saved_state(pdev, t->twin))
		pci_restore_state(pdev);
	objtrack_put(t);
}

/*
 * The device may still run, with addresses in memory that is about to be freed. It cannot reach
 * memory until the driver says so again; here it forgets them, if there is a way that needs no
 * driver. A lock that is held (somebody binds or removes the device) is not waited for.
 */
void nooks_pci_reset(struct nook *nk)
{
	struct pci_dev *pdev;

	for_each_nook_pci_dev(nk, pdev) {
		if (!pci_device_is_present(pdev))
			continue;
		pci_rewind(nk, pdev);
		pci_try_reset_function(pdev);
		nooks_pci_hush(pdev);
	}
}

static bool pci_is_lost(struct tracked *t, u32 looks)
{
	struct pci_dev *pdev = (struct pci_dev *)t->it.start;

	if (pdev->current_state != PCI_D0 || pdev->block_cfg_access ||
	    !pci_device_is_present(pdev) || pci_in_place(pdev))
		t->data[1] = 0;
	else
		t->data[1]++;
	return t->data[1] >= looks;
}

bool nooks_pci_look(struct nook *nk, u32 looks)
{
	struct objtrack *objs = &nk->objs;
	const char *name = NULL;
	unsigned long flags;
	struct tracked *t;
	void *probe = NULL;
	u32 left;

	if (READ_ONCE(nk->dead))
		return false;
	raw_spin_lock_irqsave(&objs->lock, flags);
	left = objs->count[OBJ_PCI_DEV];	/* they are among the oldest */
	list_for_each_entry(t, &objs->order, order) {
		if (!left)
			break;
		if (t->type != OBJ_PCI_DEV)
			continue;
		left--;
		if (!pci_is_lost(t, looks))
			continue;
		name = pci_name((struct pci_dev *)t->it.start);
		probe = pci_twin_of((struct pci_dev *)t->it.start)->probe;
	}
	raw_spin_unlock_irqrestore(&objs->lock, flags);
	if (name)
		nook_hangs(nk, PCI_ENTRY(probe), probe,
			   "device %s is not where the kernel has put it", name);
	return name;
}

/* Would the write move a BAR? Only what puts it back does not. @size: bytes, 1, 2 or 4 */
static bool pci_moves_bar(struct pci_dev *pdev, int where, int size, u32 val)
{
	int bar = (where - PCI_BASE_ADDRESS_0) / 4, shift = where % 4 * 8;
	u32 want = 0;

	if (where < PCI_BASE_ADDRESS_0 || bar >= PCI_STD_NUM_BARS)
		return false;
	return pci_bar_bits(pdev, bar, &want) & ((val << shift) ^ want) &
	       (GENMASK(size * 8 - 1, 0) << shift);
}

/*
 * A device that lost its place is not reached by what the driver does to reset it: it would go on
 * with the addresses of an earlier life. Return: may it reach memory now?
 *
 * Of the tracked pci_dev, data[0] says that the driver has asked, and waits for
 * nooks_pci_masters(); data[1] counts the looks in a row that have not found it in its place.
 */
static bool pci_may_master(struct xpc *x, const char *fn, struct pci_dev *pdev)
{
	struct nook *nk = x->nook;
	struct tracked *t = objtrack_find(nk, OBJ_PCI_DEV, pdev);
	bool now = false;

	if (!t)
		nooks_reject(x, "%s(dev): not a tracked pci_dev", fn);
	else if (!pci_in_place(pdev))
		nooks_reject(x, "%s(dev): its BARs are not where the kernel has put them", fn);
	else if ((READ_ONCE(nk->flags) & NOOKS_F_REOPEN) && READ_ONCE(nk->replayer))
		WRITE_ONCE(t->data[0], 1);
	else
		now = true;
	if (t)
		objtrack_put(t);
	return now;
}

/* (dev) */
u64 wrap_pci_set_master(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = (struct pci_dev *)a[0];

	if (pci_may_master(x, "pci_set_master", pdev))
		pci_set_master(pdev);
	return 0;
}

void nooks_pci_masters(struct nook *nk, const struct device *dev)
{
	struct pci_dev *pdev;
	struct tracked *t;

	for_each_nook_pci_dev(nk, pdev) {
		t = !dev || dev == &pdev->dev ? objtrack_find(nk, OBJ_PCI_DEV, pdev) : NULL;
		if (!t)
			continue;
		if (xchg(&t->data[0], 0) && pci_in_place(pdev))
			pci_set_master(pdev);
		objtrack_put(t);
	}
}

/* (dev, where, val), @size: bytes. Any context. Return: that of the kernel's own */
static u64 pci_write(struct xpc *x, const char *fn, const u64 *a, int size)
{
	struct pci_dev *pdev = (struct pci_dev *)a[0];
	int where = (int)a[1];
	u32 val = a[2];

	if (!arg_obj(x, fn, "dev", OBJ_PCI_DEV, pdev))
		return 0;
	if (where < 0 || where >= PCI_CFG_SPACE_EXP_SIZE)
		return nooks_reject(x, "%s(where): %d", fn, where);
	if (pci_moves_bar(pdev, where, size, val))
		return nooks_reject(x, "%s(val): %x moves a BAR", fn, val);
	if (where == PCI_COMMAND && val & PCI_COMMAND_MASTER && !pci_may_master(x, fn, pdev))
		val &= ~PCI_COMMAND_MASTER;
	switch (size) {
	case 1:
		return pci_write_config_byte(pdev, where, val);
	case 2:
		return pci_write_config_word(pdev, where, val);
	default:
		return pci_write_config_dword(pdev, where, val);
	}
}

u64 wrap_pci_write_config_byte(struct xpc *x, const u64 *a)
{
	return pci_write(x, "pci_write_config_byte", a, sizeof(u8));
}

u64 wrap_pci_write_config_word(struct xpc *x, const u64 *a)
{
	return pci_write(x, "pci_write_config_word", a, sizeof(u16));
}

u64 wrap_pci_write_config_dword(struct xpc *x, const u64 *a)
{
	return pci_write(x, "pci_write_config_dword", a, sizeof(u32));
}

/*
 * (dev, pos, clear, set). Any context. Power saving of a link is switched off at both its ends, and
 * the other end is the bridge's: nothing else of a bridge is written.
 */
static u64 pci_change(struct xpc *x, const char *fn, const u64 *a,
		      int (*change)(struct pci_dev *dev, int pos, u16 clear, u16 set))
{
	struct pci_dev *pdev = (struct pci_dev *)a[0];
	u16 clear = a[2], set = a[3];
	int pos = (int)a[1];

	if (!arg_obj(x, fn, "dev", OBJ_PCI_CONFIG, pdev))
		return 0;
	if (!objtrack_has(x->nook, OBJ_PCI_DEV, pdev) &&
	    (pos != PCI_EXP_LNKCTL || clear & ~PCI_EXP_LNKCTL_ASPMC || set))
		return nooks_reject(x, "%s(dev): a bridge, and not to switch ASPM off", fn);
	return change(pdev, pos, clear, set);
}

u64 wrap_pcie_capability_clear_and_set_word_locked(struct xpc *x, const u64 *a)
{
	return pci_change(x, "pcie_capability_clear_and_set_word_locked", a,
			  pcie_capability_clear_and_set_word_locked);
}

u64 wrap_pcie_capability_clear_and_set_word_unlocked(struct xpc *x, const u64 *a)
{
	return pci_change(x, "pcie_capability_clear_and_set_word_unlocked", a,
			  pcie_capability_clear_and_set_word_unlocked);
}

/* ---- registration --------------------------------------------------------------------------- */

static void pci_twin_destroy(struct pci_twin *tw)
{
	if (!tw)
		return;
	kfree(tw->ids);
	kfree(tw->name);
	kfree(tw);
}

void nooks_pci_twin_free(void *twin)
{
	pci_twin_destroy(twin);
}

static bool pci_id_end(const struct pci_device_id *id)
{
	return !id->vendor && !id->subvendor && !id->class_mask;
}

static struct pci_device_id *pci_copy_ids(struct nook *nk, const struct pci_device_id *ids)
{
	struct pci_device_id *copy;
	size_t n;

	for (n = 0; n < PCI_IDS_MAX; n++) {
		if (!nook_reads(nk, &ids[n], sizeof(*ids)))
			return NULL;
		if (pci_id_end(&ids[n]))
			break;
	}
	copy = kcalloc(n + 1, sizeof(*ids), GFP_KERNEL);
	if (copy)
		memcpy(copy, ids, n * sizeof(*ids));	/* the end stays ours */
	return copy;
}

/* The target of a gate, NULL for NULL; *ok becomes false for anything else. */
static void *pci_target(struct xpc *x, const char *arg, const void *fn, bool *ok)
{
	struct gate *g;

	if (!fn || !*ok)
		return NULL;
	g = arg_gate(x, "__pci_register_driver", arg, fn);
	*ok = g;
	return g ? g->target : NULL;
}

static bool pci_callbacks(struct xpc *x, struct pci_twin *tw, const struct pci_driver *d)
{
	bool ok = true;

	tw->probe = pci_target(x, "drv->probe", d->probe, &ok);
	tw->remove = pci_target(x, "drv->remove", d->remove, &ok);
	tw->shutdown = pci_target(x, "drv->shutdown", d->shutdown, &ok);
	tw->suspend = pci_target(x, "drv->suspend", d->suspend, &ok);
	tw->resume = pci_target(x, "drv->resume", d->resume, &ok);
	if (!ok)
		return false;
	tw->drv.probe = tw->probe ? pci_twin_probe : NULL;
	tw->drv.remove = tw->remove ? pci_twin_remove : NULL;
	tw->drv.shutdown = tw->shutdown ? pci_twin_shutdown : NULL;
	tw->drv.suspend = tw->suspend ? pci_twin_suspend : NULL;
	tw->drv.resume = tw->resume ? pci_twin_resume : NULL;
	return true;
}

static bool pci_fill(struct xpc *x, struct pci_twin *tw, const struct pci_driver *d)
{
	static const char fn[] = "__pci_register_driver";

	if (!pci_callbacks(x, tw, d) ||
	    (d->driver.pm && !arg_ops(x, fn, "drv->driver.pm", d->driver.pm,
				      &nooks_entries_dev_pm_ops)) ||
	    (d->err_handler && !arg_ops(x, fn, "drv->err_handler", d->err_handler,
					&nooks_entries_pci_error_handlers)))
		return false;
	if (d->driver.pm && (d->suspend || d->resume)) {
		nooks_reject(x, "%s(drv): both suspend or resume and driver.pm", fn);
		return false;
	}
	tw->drv.driver.pm = d->driver.pm;
	tw->drv.err_handler = d->err_handler;
	tw->name = wrap_strdup(x->nook, d->name, PCI_NAME_MAX);
	tw->ids = pci_copy_ids(x->nook, d->id_table);
	tw->drv.name = tw->name;
	tw->drv.id_table = tw->ids;
	if (tw->name && tw->name[0] && tw->ids)
		return true;
	nooks_reject(x, "%s(drv): no name, or name or id_table cannot be read", fn);
	return false;
}

static struct pci_twin *pci_twin_create(struct xpc *x, const struct pci_driver *drv)
{
	struct pci_twin *tw = kzalloc(sizeof(*tw), GFP_KERNEL);
	struct pci_driver *d = kmemdup(drv, sizeof(*drv), GFP_KERNEL);	/* read once */

	if (!tw || !d || !pci_fill(x, tw, d)) {
		pci_twin_destroy(tw);
		tw = NULL;
	} else {
		tw->nk = x->nook;
	}
	kfree(d);
	return tw;
}

/*
 * Whoever calls a driver's probe, remove or resume holds the lock of the device, which both need.
 */
static bool pci_in_callback(struct xpc *x, const char *fn)
{
	const struct entry_desc *desc = nooks_entries_pci_driver.desc;
	struct nook *nk = x->nook;
	unsigned long flags;
	struct xpc *e;
	bool hit = false;

	raw_spin_lock_irqsave(&nk->live_lock, flags);
	hlist_for_each_entry(e, &nk->live, live)
		if (e->task == current && e->desc >= desc &&
		    e->desc < desc + nooks_entries_pci_driver.n)
			hit = true;
	raw_spin_unlock_irqrestore(&nk->live_lock, flags);
	if (hit)
		nooks_reject(x, "%s(drv): called from a function of a pci_driver", fn);
	return hit;
}

/* (drv, owner, mod_name) */
u64 wrap___pci_register_driver(struct xpc *x, const u64 *a)
{
	static const char fn[] = "__pci_register_driver";
	struct pci_driver *drv = (struct pci_driver *)a[0];
	struct pci_twin *tw;
	int ret;

	if (!wrap_may_sleep(x, fn) || pci_in_callback(x, fn) ||
	    !arg_readable(x, fn, "drv", drv, sizeof(*drv)))
		return 0;
	if (objtrack_has(x->nook, OBJ_PCI_DRIVER, drv))
		return nooks_reject(x, "%s(drv): registered already", fn);
	tw = pci_twin_create(x, drv);
	if (!tw)
		return -ENOMEM;
	ret = nooks_track(x->nook, OBJ_PCI_DRIVER, drv, 0, tw, 0, 0, GFP_KERNEL);
	if (ret) {
		pci_twin_destroy(tw);
		return ret;
	}
	ret = __pci_register_driver(&tw->drv, x->nook->mod, x->nook->name);
	if (ret)
		objtrack_del(x->nook, OBJ_PCI_DRIVER, drv);
	else
		WRITE_ONCE(tw->registered, true);
	return ret;
}

u64 wrap_pci_unregister_driver(struct xpc *x, const u64 *a)
{
	struct tracked *t;
	struct pci_twin *tw;

	if (!wrap_may_sleep(x, "pci_unregister_driver") ||
	    pci_in_callback(x, "pci_unregister_driver"))
		return 0;
	if (!arg_readable(x, "pci_unregister_driver", "drv", (void *)a[0],
			  sizeof(struct pci_driver)))
		return 0;
	t = objtrack_find(x->nook, OBJ_PCI_DRIVER, (void *)a[0]);
	tw = t ? t->twin : NULL;
	if (tw && xchg(&tw->registered, false)) {
		pci_unregister_driver(&tw->drv);
		objtrack_drop(t);
	} else {
		nooks_reject(x, "pci_unregister_driver(drv): not registered, or not yet");
	}
	if (t)
		objtrack_put(t);
	return 0;
}

/* An entry without a twin is the reference to a pci_dev, see pci_know(). */
void nooks_release_pci_driver(struct nook *nk, struct tracked *t)
{
	struct pci_twin *tw = t->twin;

	if (tw) {
		if (tw->registered)
			pci_unregister_driver(&tw->drv);
		return;
	}
	nooks_pci_unpark_msix((struct pci_dev *)t->it.start);
	pci_dev_put((struct pci_dev *)t->it.start);
}

/* What is held may need the device. */
bool nooks_hold_pci_driver(struct nook *nk, struct tracked *t)
{
	return !t->twin;
}

/* (ids) */
u64 wrap_pci_dev_present(struct xpc *x, const u64 *a)
{
	struct pci_device_id *ids;
	int ret;

	if (!wrap_may_sleep(x, "pci_dev_present"))
		return 0;
	ids = pci_copy_ids(x->nook, (const struct pci_device_id *)a[0]);
	if (!ids)
		return nooks_reject(x, "pci_dev_present(ids): cannot be read, or has no end");
	ret = pci_dev_present(ids);
	kfree(ids);
	return ret;
}

/* ---- enabling ------------------------------------------------------------------------------- */

static u64 pci_enable(struct xpc *x, const char *fn, u64 arg, int (*enable)(struct pci_dev *dev))
{
	struct pci_dev *pdev = (struct pci_dev *)arg;
	int ret;

	if (!wrap_may_sleep(x, fn) || !arg_obj(x, fn, "dev", OBJ_PCI_DEV, pdev))
		return 0;
	ret = enable(pdev);
	if (ret)
		return ret;
	ret = nooks_track(x->nook, OBJ_PCI_ENABLED, pdev, 0, NULL, 0, 0, GFP_KERNEL);
	if (ret)
		pci_disable_device(pdev);
	return ret;
}

u64 wrap_pci_enable_device(struct xpc *x, const u64 *a)
{
	return pci_enable(x, "pci_enable_device", a[0], pci_enable_device);
}

u64 wrap_pci_enable_device_mem(struct xpc *x, const u64 *a)
{
	return pci_enable(x, "pci_enable_device_mem", a[0], pci_enable_device_mem);
}

u64 wrap_pci_disable_device(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = (struct pci_dev *)a[0];

	if (!wrap_may_sleep(x, "pci_disable_device") ||
	    !arg_obj(x, "pci_disable_device", "dev", OBJ_PCI_DEV, pdev))
		return 0;
	if (!objtrack_del(x->nook, OBJ_PCI_ENABLED, pdev))
		return nooks_reject(x, "pci_disable_device(dev): not enabled by this nook");
	pci_disable_device(pdev);
	return 0;
}

/* ---- configuration that may sleep ----------------------------------------------------------- */

struct pci_dev *nooks_pci_sleeping(struct xpc *x, const char *fn, u64 dev)
{
	if (!wrap_may_sleep(x, fn) || !arg_obj(x, fn, "dev", OBJ_PCI_DEV, (void *)dev))
		return NULL;
	return (struct pci_dev *)dev;
}

static pci_power_t pci_power(u64 state)
{
	return (__force pci_power_t)clamp((int)state, 0, 4);	/* PCI_D0 to PCI_D3cold */
}

u64 wrap_pci_set_power_state(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_set_power_state", a[0]);

	return pdev ? pci_set_power_state(pdev, pci_power(a[1])) : 0;
}

u64 wrap_pci_enable_wake(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_enable_wake", a[0]);

	return pdev ? pci_enable_wake(pdev, pci_power(a[1]), a[2] & 0xff) : 0;
}

u64 wrap_pci_wake_from_d3(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_wake_from_d3", a[0]);

	return pdev ? pci_wake_from_d3(pdev, a[1] & 0xff) : 0;
}

u64 wrap_pci_save_state(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_save_state", a[0]);

	return pdev ? pci_save_state(pdev) : 0;
}

u64 wrap_pci_restore_state(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_restore_state", a[0]);

	if (pdev)
		pci_restore_state(pdev);
	return 0;
}

/* (dev, state): a structure of one integer */
u64 wrap_pci_choose_state(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_choose_state", a[0]);
	pm_message_t state = { .event = (int)a[1] };

	return pdev ? (__force u64)pci_choose_state(pdev, state) : 0;
}

/* (pdev, state) */
u64 wrap_pci_disable_link_state(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_disable_link_state", a[0]);

	return pdev ? pci_disable_link_state(pdev, a[1]) : 0;
}

/* Why not the kernel's own: it believes the caller that the bus is locked. */
u64 wrap_pci_disable_link_state_locked(struct xpc *x, const u64 *a)
{
	return nooks_pci_sleeping(x, "pci_disable_link_state_locked", a[0]) ? -EOPNOTSUPP : 0;
}

u64 wrap_pci_prepare_to_sleep(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_prepare_to_sleep", a[0]);

	return pdev ? pci_prepare_to_sleep(pdev) : 0;
}

/* (dev, enable) */
u64 wrap_pci_pme_active(struct xpc *x, const u64 *a)
{
	struct pci_dev *pdev = nooks_pci_sleeping(x, "pci_pme_active", a[0]);

	if (pdev)
		pci_pme_active(pdev, a[1] & 0xff);
	return 0;
}
