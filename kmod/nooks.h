/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * nooks.h - what the parts of nooks.ko share
 *
 * A nook is a protection domain that runs one driver. The kernel enters it through gates, the
 * driver leaves it through exit stubs; both are XPCs (extension procedure calls). Words and
 * architecture: docs/design.md.
 *
 * Lock order, outermost first:
 *	nooks_mutex > nook->recov_lock > (rtnl, device locks of the kernel) >
 *	nook->netdevs_lock > nook->shadow_lock > nook->fault_lock > nook->objs.lock >
 *	nook->grants_lock > nook->pgt.lock
 * The last six are raw, taken with interrupts off, and never held across a call of the kernel
 * that could sleep or enter a nook.
 *
 * View: "kernel view" is the page table the task had before it entered; "domain view" is the
 * nook's. All C code runs in the kernel view unless it says so.
 */
#ifndef NOOKS_H
#define NOOKS_H

#include <linux/types.h>
#include <linux/list.h>
#include <linux/hashtable.h>
#include <linux/interval_tree.h>
#include <linux/interrupt.h>
#include <linux/kref.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/ptrace.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>
#include "uapi/nooks.h"

/*
 * On the path of every crossing. A load of CR3 empties the TLB, so these functions lie together, in
 * as few pages as they can.
 */
#define __nooks_hot __attribute__((__hot__))

struct nook;
struct tracked;
struct xpc;
struct dma_side;
struct genl_info;
struct nook_record;
struct record_ring;
struct skb_pool;
struct xpc_dom;
struct net_device;
struct sk_buff;

/* ---- objects (objtrack/) ------------------------------------------------------------------ */

/*
 * Types that hand-written code names. The generator appends one for each other struct that a
 * wrapper or an entry has as a parameter (generated/types.h), so ids are not stable: the names
 * are what policy and user space use.
 */
enum obj_type {
	OBJ_NONE,
	OBJ_HEAP,		/* domain heap block: kmalloc */
	OBJ_VMALLOC,		/* whole pages of vmalloc(), granted */
	OBJ_PAGE,		/* struct page from alloc_pages; data[0] = order */
	OBJ_PAGE_FRAG,		/* page fragment for receive buffers */
	OBJ_DMA_COHERENT,	/* twin = struct device, data[0] = dma handle */
	/* streaming mapping; address is the dma address; twin = struct device */
	OBJ_DMA_MAP,
	OBJ_MMIO,		/* ioremapped device registers */
	OBJ_IRQ,		/* address = dev_id; data[0] = irq */
	OBJ_SPINLOCK,
	OBJ_MUTEX,
	OBJ_RTNL,		/* rtnl_lock held by the nook */
	OBJ_WORK_STRUCT,
	OBJ_DELAYED_WORK,
	OBJ_TIMER_LIST,
	OBJ_NAPI_STRUCT,
	OBJ_PCI_DEV,
	OBJ_PCI_CONFIG,		/* a pci_dev that may be read: a device, a bridge above */
	OBJ_DEVICE,
	OBJ_PCI_ENABLED,	/* a pci_enable_device() to undo; address = pci_dev */
	OBJ_PCI_REGION,		/* requested BARs; address = pci_dev, data[0] = bar mask */
	OBJ_PCI_DRIVER,
	OBJ_NET_DEVICE,
	OBJ_NETDEV_PRIV,	/* the driver's private area behind a net_device */
	OBJ_NETDEV_QUEUE,
	OBJ_SK_BUFF,
	OBJ_SKB_DATA,		/* [skb->head, end of skb_shared_info) */
	OBJ_TASK_STRUCT,	/* current, for fields inline code writes */
	OBJ_PERCPU,		/* a per-CPU variable of the kernel */
	OBJ_BUFFER,		/* raw buffer that the kernel lends for one call */
	OBJ_WORKQUEUE,
	OBJ_TASKLET_STRUCT,
	OBJ_MANAGED,		/* mark of a managed resource at this address; twin = its device */
	OBJ_NR_CORE
};

/**
 * struct obj_type_desc - one row of the type table
 * @name:    the kernel's struct name, or what the enum's comment says
 * @size:    bytes, 0 if it varies per object
 * @release: gives the object back to the kernel when a nook is torn down, NULL if nothing to do.
 *	     Process context, may sleep, the nook is dead and empty.
 * @order:   release pass, 0 first (see recovery/recovery.c)
 * @quiesce: makes the hardware behind the object silent, at once when the driver dies. Any context
 *	     but NMI, interrupts may be off.
 * @usable:  the kernel may be called with it in the state that it is in; NULL: in any. Any context.
 * @hold:    NULL, or the device may still write to the object: takes it out of use. True if
 *	     @release can wait until the device has forgotten it. As @release.
 * @withdraw, @finish: instead of @release, for what other calls of the driver may be using when it
 *	     gives it back: @withdraw takes it from the driver, @finish gives it to the kernel, when
 *	     those are over (objtrack/retire.c). Process context; @withdraw must not wait for other
 *	     calls, @finish may sleep.
 */
struct obj_type_desc {
	const char *name;
	size_t size;
	void (*release)(struct nook *nk, struct tracked *t);
	unsigned int order;
	void (*quiesce)(struct nook *nk, struct tracked *t);
	bool (*usable)(const void *p);
	bool (*hold)(struct nook *nk, struct tracked *t);
	void (*withdraw)(struct nook *nk, struct tracked *t);
	void (*finish)(struct nook *nk, struct tracked *t);
};

/**
 * struct tracked - one object that a nook holds
 * @it:    [address, last byte]
 * @twin:  kernel-side object that stands for one in driver memory, or the partner that the
 *	   type's comment names
 * @xpc:   the entry that it is lent to; NULL for a long-lived one
 */
struct tracked {
	struct interval_tree_node it;
	struct hlist_node node;		/* objs.lock */
	struct list_head order;		/* objs.lock; acquisition order */
	struct nook *nook;
	struct xpc *xpc;
	void *twin;
	u64 data[2];
	struct kref ref;
	u32 charge;			/* of objs.bytes */
	u16 type;
	bool sized;			/* is in the interval tree, ... */
	bool settled;			/* ... but for what the tree was not told of; objs.lock */
	bool dead;			/* objs.lock; no longer in the table */
	bool published;			/* the kernel uses it: NOOKS_VALUE_OPS and _SETUP end */
	bool busy;			/* objs.lock; a wrapper works on it: objtrack_claim() */
	bool withdrawn;			/* obj_type_desc.withdraw has been called */
};

#define OBJTRACK_BITS 10

struct objtrack {
	raw_spinlock_t lock;
	DECLARE_HASHTABLE(table, OBJTRACK_BITS);
	struct rb_root_cached tree;	/* objtrack_tree() */
	struct list_head order;
	u32 *count;			/* per type, objs.lock */
	size_t bytes;			/* that all entries stand for, objs.lock */
	/* objtrack/retire.c */
	struct list_head retired;	/* objs.lock */
	struct work_struct retire_work;
	struct srcu_struct users;
};

/* ---- entries ------------------------------------------------------------------------------ */

#define NOOKS_ARGS 12			/* six registers and six stack words */

/* What a caller is told when the driver cannot answer. */
enum entry_ret {
	RET_VOID,
	RET_INT,			/* -EIO */
	RET_SCALAR,			/* 0: unsigned, bool, enum */
	RET_PTR,			/* NULL */
	/* the stats of the net_device in args[0], which the caller reads */
	RET_STATS,
	/* args[0] is a struct xmit_batch, whose packets are freed; NETDEV_TX_OK */
	RET_NETDEV_TX,
	RET_IRQ,			/* IRQ_NONE */
};

/**
 * struct entry_param - what the kernel lends with one parameter
 * @type: object type of the pointee, OBJ_NONE for a scalar or an opaque pointer
 * @size: bytes lent, for OBJ_BUFFER; called in the kernel view with the entry's arguments
 */
struct entry_param {
	u16 type;
	size_t (*size)(const u64 *args);
};

/* When a shadow driver is asked about an entry. */
enum shadow_when {
	SHADOW_BEFORE,			/* true: the answer is *ret, the driver is left alone */
	SHADOW_JUDGE,			/* the driver has answered; true: not so, that is a fault */
	SHADOW_AFTER,			/* the answer can be gone by; *ret may be replaced */
	/* it is dead, and *ret the typed answer, which may be replaced */
	SHADOW_DEAD,
};

/**
 * struct entry_desc - how one kind of driver function is called
 * @name:   "struct.member", for records and policy
 * @ret:    how to answer for a dead driver
 * @op:     offset of the member in its structure
 * @shadow: who stands in for the driver; NULL: nobody, and never for an entry that is hot. Any
 *	    context that the entry may have.
 */
struct entry_desc {
	const char *name;
	bool (*shadow)(struct nook *nk, const struct entry_desc *desc, const u64 *args, u64 *ret,
		       enum shadow_when when);
	u16 op;
	u8 nargs;
	u8 ret;				/* enum entry_ret */
	bool hot;			/* with each packet: as little as can be besides the call */
	struct entry_param param[6];
};

/* One ops structure of the kernel, generated from BTF: desc[i] is for the pointer at offset[i]. */
struct entry_table {
	const char *name;
	u32 size;			/* of the structure, bytes */
	u32 n;
	const u16 *offset;
	const struct entry_desc *desc;
};

/* ---- the relinked module's manifest; pynooks/relink/manifest.py writes it ------------------- */

#define NOOKS_MANIFEST_MAGIC	0x4b4f4f4e	/* "NOOK" */
#define NOOKS_MANIFEST_VERSION	1
#define NOOKS_GATE_SIZE		16

enum nooks_gate_kind { GATE_PLAIN, GATE_INIT, GATE_EXIT };

struct nooks_range {
	u64 start;
	u64 size;
};

struct nooks_gate_ent {
	u64 target;			/* driver function */
	u64 kind;
};

struct nooks_manifest {
	u32 magic;
	u32 version;
	u32 ngates;
	u32 nranges;
	u64 gates;			/* gate i stands at gates + i * NOOKS_GATE_SIZE */
	u64 reserved;
	/* followed by nooks_range[nranges], then nooks_gate_ent[ngates] */
};

/**
 * struct gate - a driver function that escapes, and what is known of its callers
 * @target: the function itself
 * @desc:   bound when the ops table that holds it is registered; NULL until then
 */
struct gate {
	void *target;			/* first word: xpc/entry.S */
	const struct entry_desc *desc;
	atomic64_t count;
	u64 kind;
};

/* ---- packets to be sent ------------------------------------------------------------------- */

#define XMIT_BATCH	16

/**
 * struct xmit_batch - packets of one transmit queue that its driver gets in one entry
 * @skb: in order
 * @n:   how many
 * @left: how many of them, the last ones, are the caller's again when the entry is over
 */
struct xmit_batch {
	struct sk_buff *skb[XMIT_BATCH];
	u32 n, left;
};

/* ---- XPC ---------------------------------------------------------------------------------- */

#define XPC_HELD_MAX 16

struct held_lock_rec {
	struct tracked *t;		/* referenced */
	void *lock;
	u32 kind;			/* enum obj_type: OBJ_SPINLOCK, OBJ_MUTEX, OBJ_RTNL */
};

/**
 * struct nooks_fault - what the driver did
 * @vec: exception vector, or NOOKS_FAULT_* for a broken rule
 */
struct nooks_fault {
	u64 vec, err, ip, addr, sp, flags;
	u64 time_ns;
	u32 cpu, pid;
	char what[NOOKS_WHAT_LEN];	/* "pci_set_master(dev): not a tracked pci_dev" */
	char entry[NOOKS_WHAT_LEN];	/* entry the driver was in */
	char symbol[NOOKS_SYM_LEN];	/* ip as symbol+offset */
	char target[NOOKS_WHAT_LEN];	/* addr as object.field or symbol */
};

/* The first words are known to xpc/entry.S (xpc/offsets.h). */
struct xpc {
	u64 ksp;			/* kernel stack to return to */
	u64 dcr3;			/* domain CR3 with mark; 0: level wrap, kernel's own */
	u64 dsp;			/* initial domain stack pointer */
	u64 gates_lo;			/* the nook's own gates, for calls through pointers */
	u64 gates_len;
	u64 gate_tab;			/* struct gate [] */
	/* what the runtime writes for this entry (runtime/runtime.h) */
	struct xpc_dom *dom;
	u32 lock_id;			/* what the runtime puts into a spinlock */

	struct_group(fresh,		/* zero when an entry begins */
		u64 abort;		/* != 0: leave the domain at the next chance */
		u64 in_exit;		/* != 0: in the kernel on the driver's behalf */
		u64 abort_ip;		/* where the domain was when @abort took effect */
		u64 exit_sp;		/* domain stack at the last exit or abort, for a record */
		u32 nsent;		/* packets that were lent with the entry: @sent */
		u64 ticks;		/* watchdog ticks that hit the domain */
		u32 looks;		/* nook->live_lock; times that it was found inside */
		u32 nlent;
		u32 nheld;
		u32 spurious;		/* faults that were over when we looked */
		bool faulted;
		bool stalled;		/* @abort is set because of @looks */
		bool blamed;		/* @fault has been written to */
		bool trapped;		/* by an exception: @regs has its registers */
	);
	struct nook *nook;
	const struct entry_desc *desc;
	void *fn;			/* driver function that was entered */
	u64 arg;			/* its first argument, which the runtime reads */
	struct hlist_node live;		/* of nook->live or nook->idle; nook->live_lock */
	struct task_struct *task;
	struct tracked *lent[6];	/* call-scoped objects, referenced */
	struct sk_buff *sent[XMIT_BATCH], *shown[XMIT_BATCH];	/* and what the driver has for it */
	int preempt;
	int rcu_nesting;
	int pagefault_disabled;
	struct held_lock_rec held[XPC_HELD_MAX];
	struct nooks_fault fault;
	struct pt_regs regs;
};

/* Exits: a[] has the driver's six argument registers and then eight words of its stack. */
typedef u64 (*nooks_exit_fn)(struct xpc *x, const u64 *a);

#define NOOKS_EXIT_ARGS 14

struct nooks_exit_desc {
	const char *name;
	nooks_exit_fn fn;
	bool defer;			/* may be queued, and is delivered when the driver leaves */
};

/* generated/exits.c, sorted by name; index = the number in the stub */
extern const struct nooks_exit_desc nooks_exits[];
extern const unsigned int nooks_nexits;

/* generated/types.c: rows for ids OBJ_NR_CORE.. */
extern const struct obj_type_desc nooks_gen_types[];
extern const unsigned int nooks_ngen_types;

/* generated/entries.c: one table per ops struct that the policy names, and single callbacks */
extern const struct entry_table nooks_entries_net_device_ops;
extern const struct entry_table nooks_entries_ethtool_ops;
extern const struct entry_table nooks_entries_pci_driver;
extern const struct entry_table nooks_entries_dev_pm_ops;
extern const struct entry_table nooks_entries_pci_error_handlers;

/* ---- policy of checked writes (control/policy.c) -------------------------------------------- */

/**
 * struct write_rule - one field that the driver may write
 * @type:   object type, OBJ_PERCPU for a per-CPU variable (then @addr is its offset)
 * @off:    byte offset in the object; the store must lie inside [off, off + len)
 * @value:  NOOKS_VALUE_*: what may be stored
 */
struct write_rule {
	u16 type;
	u8 value;
	bool whole;			/* every field of the type */
	u32 off, len;
	u64 addr;
	atomic64_t count;
	char object[NOOKS_NAME_LEN];
	char field[NOOKS_NAME_LEN];
};

struct nooks_policy {
	struct list_head node;		/* nooks_mutex */
	char driver[NOOKS_NAME_LEN];
	u32 level, limit_ms, flags;
	u32 nrules;
	struct write_rule rules[];
};

/* ---- the nook ------------------------------------------------------------------------------ */

#define PGT_LAZY_MAX 64
#define RECOV_PAST 64

struct pgt {
	raw_spinlock_t lock;
	u64 *top;
	u64 cr3;			/* const after init */
	int levels;
	unsigned int gen;		/* map generation that the private copies show */
	struct list_head pages;		/* private tables, by page->lru */
	unsigned int npages;
	u64 *lazy[PGT_LAZY_MAX];	/* entries copied on demand from vmalloc space */
	unsigned int nlazy;
};

struct nook_stack {
	void *base;			/* lowest page is the guard */
	struct xpc *xpc;
};

struct nook_stacks {
	void *dom;			/* a page for each slot: struct xpc_dom */
	struct nook_stack slot[];
};

#define NAPI_SLOTS	64

/* Has a poll completed? (wrappers/moderate.c) */
enum napi_hold {
	NAPI_HOLD_NONE,			/* if the driver says so */
	NAPI_HOLD_FOUND,		/* not if it has found something */
	NAPI_HOLD_ANY,			/* no */
};

/* A napi_struct of the driver and its twin, at napi_slot_of(); the runtime only reads. */
struct napi_slot {
	const struct napi_struct *drv, *kn;
	u8 hold;			/* enum napi_hold */
};

struct nook {
	struct list_head node;		/* nooks_mutex for writers, RCU for readers */
	u32 id;
	char name[NOOKS_NAME_LEN];
	u32 state;			/* enum nooks_state, state_lock */
	u32 level;
	u32 flags;			/* NOOKS_F_* */
	u64 limit_ns;
	u32 stall_ms, irq_rate, tx_timeouts, memory_mib;	/* uapi/nooks.h */
	struct module *mod;		/* its text stays while we are listed */
	const struct nooks_manifest *man;
	unsigned long text_lo, text_hi;
	unsigned long ro_lo, ro_hi;	/* text and read-only data */
	const struct nooks_range *range;
	unsigned int nranges;
	void *pristine;
	size_t pristine_size;
	struct nook_object *objects;	/* core/tables.c */
	unsigned int nobjects;
	struct gate *gate;
	unsigned int ngates;
	unsigned long gates_lo, gates_hi;

	struct pgt pgt;
	raw_spinlock_t grants_lock;
	struct rb_root_cached grants;

	struct nook_heap *heap;
	struct nook_stacks *stacks;
	struct nooks_policy *policy;
	struct nook_learn *learn;
	struct skb_pool *skbs;		/* NULL until the driver has a net_device */
	struct dma_side *dma;
	raw_spinlock_t shadow_lock;
	struct list_head shadows;	/* struct shadow; shadow_lock */
	raw_spinlock_t netdevs_lock;
	struct list_head netdevs;	/* struct net_shadow; netdevs_lock */
	bool comes_back;		/* recov_lock; what is released is wanted again */
	struct list_head held;		/* recov_lock; struct tracked, by order: see recovery.c */
	struct task_struct *replayer;	/* who restarts the driver, and may talk to it */

	raw_spinlock_t live_lock;
	struct hlist_head live;		/* struct xpc */
	struct hlist_head idle;		/* those that no entry has */
	atomic_t inside;
	int dead;			/* entries are refused; set by a fault or a stop */
	wait_queue_head_t empty;

	struct mutex recov_lock;
	struct delayed_work recov_work;
	u32 grace_ms, backoff_ms, burst;	/* uapi/nooks.h */
	u64 recov_at[RECOV_PAST];	/* recov_lock; when the last recoveries were done, a ring */
	unsigned int recov_n;		/* recov_lock; recoveries for a fault since it was made */
	u64 recov_begin;		/* recov_lock; of the one that waits */
	struct rcu_head rcu;

	raw_spinlock_t fault_lock;
	struct nook_record *record;	/* of the last fault; fault_lock */
	struct record_ring __percpu *ring;	/* last entries and exits */
	atomic64_t faults, recoveries, entries, exits, deferred, checked, denied, warns, resumed;
	atomic64_t *exit_count;		/* nooks_nexits */
	struct gate *init, *exit;

	/* large ones last: an entry finds all else in one page */
	struct napi_slot napi[NAPI_SLOTS];
	struct objtrack objs;
};

extern struct mutex nooks_mutex;
extern struct list_head nooks_list;

/* ---- core/ --------------------------------------------------------------------------------- */
struct nook *nook_find(const char *name);		/* nooks_mutex held; or NULL */
/* gate that ptr is the stub of, or NULL */
struct gate *nook_gate(struct nook *nk, const void *ptr);
void nook_set_state(struct nook *nk, u32 state);
bool nook_owns(struct nook *nk, const void *p, size_t len);	/* nook may write [p, p+len) */
bool nook_reads(struct nook *nk, const void *p, size_t len);	/* owned, or its read-only data */
int nook_strlen(struct nook *nk, const char *s, size_t max);	/* length, or -EFAULT */

/**
 * nook_hangs() - the driver fails although no entry of its has gone wrong
 * @desc: what it is called for
 * @fn:   its function
 * @fmt:  what is wrong
 *
 * Context: any but NMI, kernel view.
 */
__printf(4, 5) __cold void nook_hangs(struct nook *nk, const struct entry_desc *desc, void *fn,
				      const char *fmt, ...);

/*
 * Grant of memory to the nook, page granular; any context but NMI. revoke may not have interrupts
 * off.
 */
int nook_grant(struct nook *nk, const void *p, size_t len);
void nook_revoke(struct nook *nk, const void *p, size_t len);

/*
 * Domain heap of the nook of @x, whose fault it is if the heap turns out to be damaged; any context
 * but NMI. Zeroed when gfp says so. Tracked as OBJ_HEAP. nook_free() returns -ENOENT for what is
 * not a block of this heap.
 */
void *nook_alloc(struct xpc *x, size_t size, gfp_t gfp);
int nook_free(struct xpc *x, const void *p);

/*
 * The kernel's vmalloc() for the nook: zeroed, whole pages, an unmapped one behind. Tracked as
 * OBJ_VMALLOC. Process context, may sleep; freed from any but NMI.
 */
void *nook_vmalloc(struct nook *nk, size_t size);
int nook_vfree(struct nook *nk, const void *p);		/* -ENOENT: not from nook_vmalloc() */

/**
 * nook_may_have() - may the driver get @more bytes of memory?
 * Memory is what is kept for it: heap, areas, pages, packets, and what the tracker needs to know
 * them. Return: false, and a driver fault, beyond nook->memory_mib. Context: any.
 */
bool nook_may_have(struct xpc *x, size_t more);
size_t nook_memory(struct nook *nk);		/* bytes now */

/* ---- xpc/ ---------------------------------------------------------------------------------- */

/**
 * nook_call() - run a driver function in its nook
 * @nk:   the nook
 * @fn:   driver function (a gate's target, never a stub)
 * @desc: how its parameters are lent and what a dead driver answers
 * @args: NOOKS_ARGS words
 *
 * Context: any but NMI, kernel view. May sleep if the driver's function may.
 * Return: the driver's result, or the typed answer if it is dead or dies.
 */
u64 nook_call(struct nook *nk, void *fn, const struct entry_desc *desc, const u64 *args);

/**
 * nooks_reject() - the driver broke a rule at a gate: record it and abort the entry
 * @x:   the XPC whose exit was checked
 * @fmt: what was wrong, with the argument's name
 *
 * Return: 0, so that a wrapper can return it. The driver never sees the value.
 */
__printf(2, 3) __cold u64 nooks_reject(struct xpc *x, const char *fmt, ...);

void xpc_hold(struct xpc *x, u32 kind, void *lock, struct tracked *t);
bool xpc_unhold(struct xpc *x, u32 kind, void *lock);	/* true if it was held by this entry */

/**
 * xpc_has_queued() - has an entry of the nook queued this call, and it was not delivered yet?
 * @index: of nooks_exits[]
 * @arg:   the call's first argument
 *
 * Believes what the driver may have written over. Context: any but NMI.
 */
bool xpc_has_queued(struct nook *nk, u32 index, u64 arg);

/* ---- objtrack/ ----------------------------------------------------------------------------- */
int objtrack_init(struct nook *nk);
unsigned int objtrack_types(void);			/* number of rows of the type table */
unsigned int objtrack_total(struct nook *nk);
void objtrack_quiesce(struct nook *nk);

void objtrack_deinit(struct nook *nk);
int objtrack_add(struct nook *nk, u16 type, const void *addr, size_t size, gfp_t gfp);
/* referenced or NULL */
struct tracked *objtrack_find(struct nook *nk, u16 type, const void *addr);
bool objtrack_has(struct nook *nk, u16 type, const void *addr);
bool objtrack_del(struct nook *nk, u16 type, const void *addr);	/* forget; true if it was there */
/* find + del, referenced */
struct tracked *objtrack_take(struct nook *nk, u16 type, const void *addr);
void objtrack_drop(struct tracked *t);			/* del by entry */
void objtrack_put(struct tracked *t);
/**
 * objtrack_retire() - the driver gives an object back that other calls of it may be using
 * @t: from objtrack_take(), of a type with @finish; its reference is taken
 *
 * The driver has it no longer; the kernel has it when they are over.
 * Context: any but NMI, interrupts on.
 */
void objtrack_retire(struct tracked *t);

/**
 * objtrack_claim() - nobody else may work on the object
 * Return: false if somebody does, or if it is the driver's no more. Context: any but NMI.
 */
bool objtrack_claim(struct tracked *t);
void objtrack_unclaim(struct tracked *t);
/* twins in memory that is freed */
void objtrack_drop_range(struct nook *nk, const void *p, size_t len);
const struct obj_type_desc *obj_type_desc(u16 type);
u16 obj_type_by_name(const char *name);			/* OBJ_NONE if unknown */

/* ---- argument checks for wrappers: false means rejected, the wrapper returns at once --------- */
bool arg_obj(struct xpc *x, const char *fn, const char *arg, u16 type, const void *p);
bool arg_obj_or_null(struct xpc *x, const char *fn, const char *arg, u16 type, const void *p);
bool arg_owned(struct xpc *x, const char *fn, const char *arg, const void *p, size_t len);
bool arg_readable(struct xpc *x, const char *fn, const char *arg, const void *p, size_t len);
bool arg_string(struct xpc *x, const char *fn, const char *arg, const char *s);
/* signed: (u64)(s64) */
bool arg_max(struct xpc *x, const char *fn, const char *arg, u64 value, u64 max);
struct gate *arg_gate(struct xpc *x, const char *fn, const char *arg, const void *p);
/* a table of the driver's read-only data; the kernel may call through it from then on */
bool arg_ops(struct xpc *x, const char *fn, const char *arg, const void *ops,
	     const struct entry_table *tab);
/*
 * Memory that the driver may have written for it: owned, or a tracked object's writable field.
 * Where to write it, which is elsewhere if the nook sees a copy of the object: @p is not to be used
 * any more, a write there would pass by what shadow_out() checks. NULL: rejected, or @p is NULL and
 * @len 0.
 */
void * __must_check arg_writable(struct xpc *x, const char *fn, const char *arg, void *p,
				 size_t len);

#endif
