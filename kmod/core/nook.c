// SPDX-License-Identifier: GPL-2.0-only
/*
 * nook.c - the life of a nook: made when a relinked module arrives, gone when it leaves
 *
 * A relinked module carries a manifest (pynooks/relink/manifest.py): its gates and the ranges of
 * data that are the driver's own. The module notifier reads it before any of the driver's code can
 * run, and refuses the module if there is no policy for it.
 *
 * Locking: nooks_mutex guards nooks_list for writers; nook_of_gate() reads it under RCU.
 *	nook->recov_lock orders init, exit and recovery.
 * Context: process, unless a function says otherwise.
 */
#define pr_fmt(fmt) "nooks: " fmt

#include <linux/cpu.h>
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "control/control.h"
#include "core/core.h"
#include "domain/pgt.h"
#include "ksym/ksym.h"
#include "objtrack/objtrack.h"
#include "recovery/recovery.h"
#include "trace/nooks_trace.h"
#include "wrappers/wrappers.h"
#include "xpc/xpc.h"

#define NOOK_GATES_MAX	4096
#define NOOK_RANGES_MAX	64

DEFINE_MUTEX(nooks_mutex);
LIST_HEAD(nooks_list);
static u32 nook_next_id = 1;		/* nooks_mutex */

static const struct entry_desc nook_init_desc = { .name = "module.init", .ret = RET_INT };
static const struct entry_desc nook_exit_desc = { .name = "module.exit", .ret = RET_VOID };

struct nook *nook_find(const char *name)
{
	struct nook *nk;

	lockdep_assert_held(&nooks_mutex);
	list_for_each_entry(nk, &nooks_list, node)
		if (!strcmp(nk->name, name))
			return nk;
	return NULL;
}

void nook_set_state(struct nook *nk, u32 state)
{
	u32 old = xchg(&nk->state, state);

	if (old == state)
		return;
	trace_nooks_state(nk->id, old, state);
	control_event_state(nk);
}

/* ---- gates ---------------------------------------------------------------------------------- */

struct gate *nook_gate(struct nook *nk, const void *ptr)
{
	unsigned long at = (unsigned long)ptr;
	struct gate *g;

	if (at < nk->gates_lo || at >= nk->gates_hi || (at - nk->gates_lo) % NOOKS_GATE_SIZE)
		return NULL;
	g = &nk->gate[(at - nk->gates_lo) / NOOKS_GATE_SIZE];
	return g->kind == GATE_PLAIN ? g : NULL;
}

/*
 * The module that the gate lies in is pinned by whoever runs the gate, and the nook lives as long.
 */
__nooks_hot struct nook *nook_of_gate(unsigned long stub, struct gate **g)
{
	struct nook *nk, *found = NULL;

	rcu_read_lock_sched();		/* inline, unlike rcu_read_lock() */
	list_for_each_entry_rcu(nk, &nooks_list, node, rcu_read_lock_sched_held()) {
		if (stub >= nk->gates_lo && stub < nk->gates_hi) {
			*g = &nk->gate[(stub - nk->gates_lo) / NOOKS_GATE_SIZE];
			found = nk;
			break;
		}
	}
	rcu_read_unlock_sched();
	return found;
}

/* ---- the driver's own code and data ---------------------------------------------------------- */

static size_t nook_data_size(const struct nook *nk)
{
	size_t sum = 0;
	unsigned int i;

	for (i = 0; i < nk->nranges; i++)
		sum += nk->range[i].size;
	return sum;
}

static int nook_save_data(struct nook *nk)
{
	unsigned int i;
	size_t at = 0;

	if (nk->pristine)
		return 0;
	nk->pristine_size = nook_data_size(nk);
	nk->pristine = kvmalloc(max_t(size_t, nk->pristine_size, 1), GFP_KERNEL);
	if (!nk->pristine)
		return -ENOMEM;
	for (i = 0; i < nk->nranges; i++) {
		memcpy(nk->pristine + at, (void *)nk->range[i].start, nk->range[i].size);
		at += nk->range[i].size;
	}
	return 0;
}

void nook_restore_image(struct nook *nk)
{
	unsigned int i;
	size_t at = 0;

	inject_undo(nk->mod);
	if (!nk->pristine)
		return;
	for (i = 0; i < nk->nranges; i++) {
		memcpy((void *)nk->range[i].start, nk->pristine + at, nk->range[i].size);
		at += nk->range[i].size;
	}
}

int nook_run_init(struct nook *nk)
{
	u64 args[NOOKS_ARGS] = { 0 };

	if (!nk->init)
		return 0;
	return (int)nook_call(nk, nk->init->target, &nook_init_desc, args);
}

/* What the driver holds: packets have no entry of their own, and the stock is not its yet. */
static unsigned int nook_objects(struct nook *nk)
{
	return objtrack_total(nk) + nooks_skb_lent(nk) - nooks_stock(nk);
}

int nook_module_init(struct nook *nk)
{
	int ret = nook_save_data(nk) ?: nook_save_tables(nk);

	if (ret)
		return ret;
	mutex_lock(&nk->recov_lock);
	ret = nook_run_init(nk);
	if (!ret && READ_ONCE(nk->dead))
		ret = -EIO;
	if (ret) {
		WRITE_ONCE(nk->dead, 1);
		recov_teardown(nk);
		nook_set_state(nk, NOOKS_STOPPED);
	} else {
		nook_set_state(nk, NOOKS_RUNNING);
	}
	mutex_unlock(&nk->recov_lock);
	if (ret > 0)
		ret = -EINVAL;
	return ret;
}

void nook_run_exit(struct nook *nk)
{
	u64 args[NOOKS_ARGS] = { 0 };
	unsigned int left;

	lockdep_assert_held(&nk->recov_lock);
	if (READ_ONCE(nk->dead) || !nk->exit)
		return;
	nook_call(nk, nk->exit->target, &nook_exit_desc, args);
	left = nook_objects(nk);
	if (left)
		pr_warn("%s left %u objects behind at exit; they are released\n", nk->name, left);
}

void nook_module_exit(struct nook *nk)
{
	mutex_lock(&nk->recov_lock);
	nook_run_exit(nk);
	WRITE_ONCE(nk->dead, 1);
	recov_teardown(nk);
	nook_set_state(nk, NOOKS_RELEASED);
	mutex_unlock(&nk->recov_lock);
}

/* ---- death ---------------------------------------------------------------------------------- */

#define NOOK_BLAME_WORDS 32

/*
 * Which code of the driver to name when it is lost elsewhere: the innermost return address on its
 * stack, or else the function that was entered.
 */
static unsigned long nook_blame(const struct nooks_fault *f, const struct xpc *x)
{
	const unsigned long *sp = (const unsigned long *)(unsigned long)(f->sp & ~7ULL);
	struct nook *nk = x->nook;
	int i;

	for (i = 0; i < NOOK_BLAME_WORDS && nook_owns(nk, sp + i, sizeof(*sp)); i++)
		if (sp[i] >= nk->text_lo && sp[i] < nk->text_hi)
			return sp[i] - 1;	/* the call: behind it may be the next function */
	return (unsigned long)x->fn;
}

/*
 * The driver's code that is to blame; if another function ran on its behalf, that one is named too.
 */
static void nook_fault_symbol(struct nooks_fault *f, const struct xpc *x)
{
	size_t len = strlen(f->what);
	char in[NOOKS_SYM_LEN];

	if (f->ip >= x->nook->text_lo && f->ip < x->nook->text_hi) {
		snprintf(f->symbol, sizeof(f->symbol), "%pS", (void *)(unsigned long)f->ip);
		return;
	}
	snprintf(f->symbol, sizeof(f->symbol), "%pS", (void *)nook_blame(f, x));
	snprintf(in, sizeof(in), "%ps", (void *)(unsigned long)f->ip);
	if (f->vec != NOOKS_FAULT_RULE && !strstarts(in, "0x"))
		snprintf(f->what + len, sizeof(f->what) - len, ", in %s", in);
}

static void nook_fault_text(struct nooks_fault *f, const struct xpc *x)
{
	f->time_ns = ktime_get_ns();
	f->cpu = raw_smp_processor_id();
	f->pid = x->task->pid;
	nook_fault_symbol(f, x);
	if (!f->target[0] && f->addr)
		snprintf(f->target, sizeof(f->target), "%pS", (void *)(unsigned long)f->addr);
	strscpy(f->entry, x->desc->name, sizeof(f->entry));
}

void nook_fail(struct nook *nk, struct xpc *x)
{
	struct nooks_fault *f = &x->fault;
	unsigned long flags;

	if (f->vec == NOOKS_FAULT_KILLED || xchg(&nk->dead, 1))
		/* its own fault, or the first one's, has done what follows */
		return;
	objtrack_quiesce(nk);
	nook_fault_text(f, x);
	raw_spin_lock_irqsave(&nk->fault_lock, flags);
	record_fill(nk, x);
	raw_spin_unlock_irqrestore(&nk->fault_lock, flags);
	atomic64_inc(&nk->faults);
	trace_nooks_fault(nk->id, f);
	control_event_fault(nk, f);
	pr_warn("%s failed in %s: %s at %s (vector %llu, address %#llx %s)\n", nk->name, f->entry,
		f->what, f->symbol, f->vec, f->addr, f->target);
	nook_set_state(nk, NOOKS_FAILED);
	recov_schedule(nk);
}

void nook_hangs(struct nook *nk, const struct entry_desc *desc, void *fn, const char *fmt, ...)
{
	struct xpc x = { .nook = nk, .desc = desc, .fn = fn, .task = current };
	va_list args;

	if (READ_ONCE(nk->dead))
		return;
	x.fault.vec = NOOKS_FAULT_WATCHDOG;
	va_start(args, fmt);
	vsnprintf(x.fault.what, sizeof(x.fault.what), fmt, args);
	va_end(args);
	nook_fail(nk, &x);
}

/* ---- construction --------------------------------------------------------------------------- */

static bool nook_inside_core(const struct module *mod, u64 start, u64 size)
{
	u64 base = (unsigned long)mod->core_layout.base;

	return start >= base && size <= mod->core_layout.size &&
	       start - base <= mod->core_layout.size - size;
}

static bool nook_inside_text(const struct module *mod, u64 start, u64 size)
{
	u64 base = (unsigned long)mod->core_layout.base;

	return start >= base && size <= mod->core_layout.text_size &&
	       start - base <= mod->core_layout.text_size - size;
}

/*
 * Writable data of the driver whose pages hold nothing of the kernel's, least of all struct module.
 */
static bool nook_may_own(const struct module *mod, const struct nooks_range *r)
{
	u64 lo = r->start & PAGE_MASK, hi = PAGE_ALIGN(r->start + r->size);
	u64 m = (unsigned long)mod;

	return nook_inside_core(mod, r->start, r->size) &&
	       lo >= (unsigned long)mod->core_layout.base + mod->core_layout.ro_after_init_size &&
	       (hi <= m || lo >= m + sizeof(*mod));
}

static int nook_check_manifest(const struct module *mod, const struct nooks_manifest *man)
{
	const struct nooks_range *range = (const void *)(man + 1);
	const struct nooks_gate_ent *ent;
	unsigned int i;

	if (!nook_inside_core(mod, (unsigned long)man, sizeof(*man)) ||
	    man->magic != NOOKS_MANIFEST_MAGIC || man->version != NOOKS_MANIFEST_VERSION ||
	    man->nranges > NOOK_RANGES_MAX || man->ngates > NOOK_GATES_MAX)
		return -EINVAL;
	ent = (const void *)(range + man->nranges);
	if (!nook_inside_core(mod, (unsigned long)man, (u64)(unsigned long)(ent + man->ngates) -
			      (unsigned long)man))
		return -EINVAL;
	if (!nook_inside_text(mod, man->gates, (u64)man->ngates * NOOKS_GATE_SIZE))
		return -EINVAL;
	for (i = 0; i < man->nranges; i++)
		if (!nook_may_own(mod, &range[i]))
			return -EINVAL;
	for (i = 0; i < man->ngates; i++)
		if (!nook_inside_text(mod, ent[i].target, 1) || ent[i].kind > GATE_EXIT)
			return -EINVAL;
	return 0;
}

static int nook_read_manifest(struct nook *nk, struct module *mod, const struct nooks_manifest *man)
{
	const struct nooks_gate_ent *ent;
	unsigned long base = (unsigned long)mod->core_layout.base;
	unsigned int i;

	nk->mod = mod;
	nk->man = man;
	nk->text_lo = base;
	nk->text_hi = base + mod->core_layout.text_size;
	nk->ro_lo = base;
	nk->ro_hi = base + mod->core_layout.ro_after_init_size;
	nk->nranges = man->nranges;
	nk->range = (const void *)(man + 1);
	nk->ngates = man->ngates;
	nk->gates_lo = man->gates;
	nk->gates_hi = man->gates + (u64)man->ngates * NOOKS_GATE_SIZE;
	nk->gate = kcalloc(max(nk->ngates, 1U), sizeof(*nk->gate), GFP_KERNEL);
	if (!nk->gate)
		return -ENOMEM;
	ent = (const void *)(nk->range + nk->nranges);
	for (i = 0; i < nk->ngates; i++) {
		nk->gate[i].target = (void *)(unsigned long)ent[i].target;
		nk->gate[i].kind = ent[i].kind;
		if (ent[i].kind == GATE_INIT)
			nk->init = &nk->gate[i];
		else if (ent[i].kind == GATE_EXIT)
			nk->exit = &nk->gate[i];
	}
	return 0;
}

static int nook_grant_data(struct nook *nk)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < nk->nranges && !ret; i++) {
		const struct nooks_range *r = &nk->range[i];

		/* two sections of the driver may share a page */
		if (r->size && !nook_owns(nk, (void *)r->start, r->size))
			ret = nook_grant(nk, (void *)r->start, r->size);
	}
	return ret;
}

/*
 * The kernel calls through a parameter's operations, and believes what describes an array or
 * string.
 */
static bool nook_params_fixed(struct nook *nk, const struct module *mod)
{
	const struct kernel_param *kp;

	for (kp = mod->kp; kp < mod->kp + mod->num_kp; kp++) {
		bool described = kp->ops == &nooks_param_array_ops ||
				 kp->ops == &nooks_param_ops_string;

		if (!nook_owns(nk, kp->ops, 1) && !(described && nook_owns(nk, kp->arr, 1)))
			continue;
		pr_err("%s: operations of parameter %s can be written; make them const\n", nk->name,
		       kp->name);
		return false;
	}
	return true;
}

static void nook_apply_policy(struct nook *nk, struct nooks_policy *policy)
{
	nk->policy = policy;
	nk->level = policy->level;
	nk->flags = policy->flags;
	nk->limit_ns = (u64)policy->limit_ms * NSEC_PER_MSEC;
	nk->stall_ms = NOOKS_STALL_MS;
	nk->irq_rate = NOOKS_IRQ_RATE;
	nk->tx_timeouts = NOOKS_TX_TIMEOUTS;
	nk->memory_mib = NOOKS_MEMORY_MIB;
}

static void nook_free_rcu(struct rcu_head *rcu)
{
	struct nook *nk = container_of(rcu, struct nook, rcu);

	kfree(nk->gate);
	kfree(nk);
}

/* No entry is live and none can come: undo nook_create(), in reverse. */
static void nook_destroy(struct nook *nk)
{
	cancel_delayed_work_sync(&nk->recov_work);
	record_destroy(nk);
	kfree(nk->exit_count);
	learn_deinit(nk);
	nooks_skb_pool_destroy(nk);
	nook_heap_destroy(nk);
	objtrack_deinit(nk);
	nooks_dma_destroy(nk);
	xpc_stacks_destroy(nk);
	nook_grants_deinit(nk);
	pgt_deinit(nk);
	kvfree(nk->pristine);
	kvfree(nk->objects);
	call_rcu(&nk->rcu, nook_free_rcu);
}

static void nook_init_fields(struct nook *nk, const struct module *mod)
{
	strscpy(nk->name, mod->name, sizeof(nk->name));
	nk->id = nook_next_id++;
	nk->state = NOOKS_LOADING;
	nk->grants = RB_ROOT_CACHED;
	raw_spin_lock_init(&nk->grants_lock);
	raw_spin_lock_init(&nk->live_lock);
	raw_spin_lock_init(&nk->fault_lock);
	INIT_HLIST_HEAD(&nk->live);
	INIT_HLIST_HEAD(&nk->idle);
	raw_spin_lock_init(&nk->shadow_lock);
	INIT_LIST_HEAD(&nk->shadows);
	raw_spin_lock_init(&nk->netdevs_lock);
	INIT_LIST_HEAD(&nk->netdevs);
	INIT_LIST_HEAD(&nk->held);
	INIT_LIST_HEAD(&nk->pgt.pages);
	INIT_LIST_HEAD(&nk->objs.order);
	init_waitqueue_head(&nk->empty);
	mutex_init(&nk->recov_lock);
	recov_init(nk);
}

static int nook_create_parts(struct nook *nk, struct module *mod, const struct nooks_manifest *man)
{
	int ret = nook_read_manifest(nk, mod, man);

	if (!ret)
		ret = pgt_init(nk);
	if (!ret)
		ret = xpc_idt_grant(nk);
	if (!ret)
		ret = xpc_stacks_create(nk);
	if (!ret)
		ret = objtrack_init(nk);
	if (!ret)
		ret = nook_heap_create(nk);
	if (!ret)
		ret = nooks_dma_create(nk);
	if (!ret)
		ret = learn_init(nk);
	if (!ret)
		ret = nook_grant_data(nk);
	if (!ret && !nook_params_fixed(nk, mod))
		ret = -ENOEXEC;
	if (!ret) {
		nk->exit_count = kcalloc(nooks_nexits, sizeof(*nk->exit_count), GFP_KERNEL);
		if (!nk->exit_count)
			ret = -ENOMEM;
	}
	if (!ret)
		ret = record_create(nk);
	return ret;
}

static int nook_create(struct module *mod, const struct nooks_manifest *man)
{
	struct nooks_policy *policy;
	struct nook *nk;
	int ret = nook_check_manifest(mod, man);

	if (ret) {
		pr_err("%s: its manifest is damaged; relink the driver with this version of pynooks\n",
		       mod->name);
		return ret;
	}
	cpus_read_lock();		/* none may come up without being granted its stacks */
	mutex_lock(&nooks_mutex);
	policy = policy_get(mod->name);
	if (!policy) {
		pr_err("%s: no policy is loaded for it; use \"pynooks deploy\"\n", mod->name);
		ret = -EPERM;
		goto unlock;
	}
	nk = kzalloc(sizeof(*nk), GFP_KERNEL);
	if (!nk) {
		ret = -ENOMEM;
		goto unlock;
	}
	nook_init_fields(nk, mod);
	nook_apply_policy(nk, policy);
	ret = nook_create_parts(nk, mod, man);
	if (ret) {
		nook_destroy(nk);
		goto unlock;
	}
	list_add_tail_rcu(&nk->node, &nooks_list);
	pr_info("%s: nook %u, level %s, %u gates\n", nk->name, nk->id,
		nk->level == NOOKS_LEVEL_WRAP ? "wrap" : "pagetable", nk->ngates);
unlock:
	mutex_unlock(&nooks_mutex);
	cpus_read_unlock();
	return ret;
}

static void nook_gone(struct module *mod)
{
	struct nook *nk, *found = NULL;

	mutex_lock(&nooks_mutex);
	list_for_each_entry(nk, &nooks_list, node)
		if (nk->mod == mod)
			found = nk;
	if (found)
		list_del_rcu(&found->node);
	mutex_unlock(&nooks_mutex);
	if (!found)
		return;
	mutex_lock(&found->recov_lock);
	WRITE_ONCE(found->dead, 1);
	/*
	 * a module without exit, or whose init failed; the loader frees its text next, so never
	 * give up
	 */
	while (recov_teardown(found))
		;
	mutex_unlock(&found->recov_lock);
	synchronize_rcu();
	nook_destroy(found);
}

static int nook_module_event(struct notifier_block *nb, unsigned long event, void *data)
{
	struct module *mod = data;
	char name[MODULE_NAME_LEN + 24];
	unsigned long man;

	atomic_inc(&pgt_map_gen);
	if (event == MODULE_STATE_GOING) {
		nook_gone(mod);
		inject_forget(mod);
	}
	if (event != MODULE_STATE_COMING)
		return NOTIFY_OK;
	snprintf(name, sizeof(name), "%s:__nooks_manifest", mod->name);
	man = ksym_lookup(name);
	if (!man)
		return NOTIFY_OK;
	return notifier_from_errno(nook_create(mod, (void *)man));
}

static struct notifier_block nook_module_nb = { .notifier_call = nook_module_event };

int nook_notifier_init(void)
{
	return register_module_notifier(&nook_module_nb);
}

void nook_notifier_deinit(void)
{
	unregister_module_notifier(&nook_module_nb);
	rcu_barrier();
}

/* ---- figures -------------------------------------------------------------------------------- */

u32 nook_count_of(struct nook *nk, u16 type)
{
	u32 n = READ_ONCE(nk->objs.count[type]);

	if (type == OBJ_SK_BUFF)
		n += nooks_skb_lent(nk);
	else if (type == OBJ_PAGE_FRAG)
		n -= min(n, nooks_stock(nk));
	return n;
}

u64 nook_stat(struct nook *nk, u32 stat)
{
	switch (stat) {
	case NOOKS_S_FAULTS:
		return atomic64_read(&nk->faults);
	case NOOKS_S_RECOVERIES:
		return atomic64_read(&nk->recoveries);
	case NOOKS_S_ENTRIES:
		return atomic64_read(&nk->entries);
	case NOOKS_S_EXITS:
		return atomic64_read(&nk->exits);
	case NOOKS_S_CHECKED:
		return atomic64_read(&nk->checked);
	case NOOKS_S_DENIED:
		return atomic64_read(&nk->denied);
	case NOOKS_S_WARNS:
		return atomic64_read(&nk->warns);
	case NOOKS_S_INSIDE:
		return atomic_read(&nk->inside);
	case NOOKS_S_OBJECTS:
		return nook_objects(nk);
	case NOOKS_S_DEFERRED:
		return atomic64_read(&nk->deferred);
	case NOOKS_S_HEAP:
		return nook_heap_used(nk);
	case NOOKS_S_MEMORY:
		return nook_memory(nk);
	case NOOKS_S_PGT_PAGES:
		return nk->pgt.npages;
	case NOOKS_S_RESUMED:
		return atomic64_read(&nk->resumed);
	/* two for each; interrupts, which leave the domain too, are not counted */
	case NOOKS_S_CR3_LOADS:
		return 2 * (atomic64_read(&nk->entries) + atomic64_read(&nk->exits) +
			    atomic64_read(&nk->resumed));
	default:
		return 0;
	}
}
