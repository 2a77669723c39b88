/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * wrappers/wrappers.h - what the hand-written wrappers share, and what the core needs of them
 *
 * Twins. A structure that the kernel would follow and that lies in driver memory (napi_struct,
 * work_struct, timer_list, tasklet_struct, mutex, pci_driver) has a kernel-side twin, tracked under
 * the driver's address. tracked.twin points at it and lives as long as the tracked entry: whoever
 * holds a reference to the entry may use the twin, and the last objtrack_put() calls
 * nooks_twin_free(). objtrack_drop_range() (memory is freed by the driver) may drop mutex twins
 * only: the others are known to the kernel until their release function has run, and a new
 * structure at the same address finds and reuses them.
 *
 * Release order (obj_type_desc.order). The nook is dead and empty, the device's bus mastering is
 * off; whatever the kernel still calls gets the typed answer of a dead driver.
 *	0 DMA_MAP			before the memory that a bounce buffer would be copied to
 *	1 SK_BUFF PAGE_FRAG PAGE	before net_device: a queued skb may hold a reference to it; and
 *					what stands behind shadow packets (nooks_skb_pool_empty())
 *	2 NET_DEVICE			disables the device's napis; unregisters, or parks (netshadow.h)
 *	3 NAPI TIMER WORK TASKLET IRQ	nothing calls the nook afterwards
 *	4 WORKQUEUE DMA_COHERENT MMIO PCI_REGION PCI_ENABLED
 *	5 NETDEV_PRIV			free_netdev(), if it was not parked
 *	6 PCI_DRIVER			unregisters, drops the references to the pci_devs
 *	7 MUTEX, HEAP, VMALLOC		names only; nobody can hold them any more
 */
#ifndef NOOKS_WRAPPERS_H
#define NOOKS_WRAPPERS_H

#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/pci.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include "nooks.h"
#include "generated/wrap.h"

enum nooks_release_order {
	RELEASE_DMA,
	RELEASE_BUFFERS,
	RELEASE_NETDEV,
	RELEASE_CALLERS,
	RELEASE_DEVICE,
	RELEASE_NETDEV_MEM,
	RELEASE_DRIVER,
	RELEASE_NAMES,
};

/* ---- for objtrack/ and recovery/ ----------------------------------------------------------- */
void nooks_release_page(struct nook *nk, struct tracked *t);
void nooks_release_page_frag(struct nook *nk, struct tracked *t);
void nooks_withdraw_dma_coherent(struct nook *nk, struct tracked *t);
void nooks_finish_dma_coherent(struct nook *nk, struct tracked *t);
void nooks_release_dma_map(struct nook *nk, struct tracked *t);
void nooks_withdraw_mmio(struct nook *nk, struct tracked *t);
void nooks_finish_mmio(struct nook *nk, struct tracked *t);
void nooks_release_irq(struct nook *nk, struct tracked *t);
void nooks_release_work_struct(struct nook *nk, struct tracked *t);
void nooks_release_timer_list(struct nook *nk, struct tracked *t);
void nooks_release_napi_struct(struct nook *nk, struct tracked *t);
void nooks_release_pci_enabled(struct nook *nk, struct tracked *t);
void nooks_release_pci_region(struct nook *nk, struct tracked *t);
void nooks_release_pci_driver(struct nook *nk, struct tracked *t);
void nooks_release_net_device(struct nook *nk, struct tracked *t);
void nooks_withdraw_netdev_priv(struct nook *nk, struct tracked *t);
void nooks_finish_netdev_priv(struct nook *nk, struct tracked *t);
void nooks_release_sk_buff(struct nook *nk, struct tracked *t);
void nooks_finish_workqueue(struct nook *nk, struct tracked *t);
void nooks_release_tasklet(struct nook *nk, struct tracked *t);

/* obj_type_desc.hold */
bool nooks_hold_page_frag(struct nook *nk, struct tracked *t);
bool nooks_hold_sk_buff(struct nook *nk, struct tracked *t);
bool nooks_hold_pci_driver(struct nook *nk, struct tracked *t);

/* obj_type_desc.quiesce of OBJ_PCI_DEV: no more DMA, no more INTx */
void nooks_quiesce_pci_dev(struct nook *nk, struct tracked *t);

/**
 * nooks_pci_reset() - reset the devices of a driver that has died, those that can be
 * Context: process, may sleep, up to a second for each. Nobody is inside the nook.
 */
void nooks_pci_reset(struct nook *nk);

/**
 * nooks_pci_masters() - let devices reach memory whose driver has asked for it in its restart
 * @dev: this one, or NULL for all
 * Context: process.
 */
void nooks_pci_masters(struct nook *nk, const struct device *dev);

/**
 * nooks_pci_look() - has a device forgotten its addresses, so that nobody reaches it?
 * @looks: in a row that have to say so
 *
 * Fails the nook then. Context: any but NMI. Return: has it?
 */
bool nooks_pci_look(struct nook *nk, u32 looks);

/**
 * nooks_twin_free() - the last reference to a tracked entry is gone
 * @t: entry, no longer in the table
 *
 * Context: any but NMI. Called once for every entry, whatever its type.
 */
void nooks_twin_free(struct tracked *t);

/* ---- for xpc/: skbs that the kernel lends with an entry ------------------------------------- */

void nooks_skb_init(void);

/**
 * nooks_skb_track() - a nook may use an skb from now on
 * @nk:  the nook
 * @skb: not yet tracked in @nk
 * @gfp: for the entries
 *
 * Context: any but NMI. Return: 0 or -ENOMEM.
 */
int nooks_skb_track(struct nook *nk, struct sk_buff *skb, gfp_t gfp);

/**
 * nooks_skb_untrack() - take an skb away from a nook
 * @nk:  the nook
 * @skb: may be anything
 *
 * Context: any but NMI. Return: true if the caller owns the skb now, false if @nk did not.
 */
bool nooks_skb_untrack(struct nook *nk, struct sk_buff *skb);

/* ---- netxmit.c: packets to be sent. Softirq or bottom halves off ----------------------------- */

/**
 * nooks_xmit() - the kernel calls ndo_start_xmit
 * @fn:   the driver's
 * @args: what the kernel has called it with
 *
 * Return: netdev_tx_t, for the packet in @args. The driver may get it later.
 */
u64 nooks_xmit(struct nook *nk, void *fn, const struct entry_desc *desc, const u64 *args);
void nooks_xmit_drop(struct xmit_batch *b);		/* the nook has none of them */

/* The packets of a batch, the entry's first argument, for the driver. False: it gets none. */
bool nooks_xmit_lend(struct xpc *x);

/* @ret: of ndo_start_xmit if it was given one packet, else of runtime_xmit() */
void nooks_xmit_done(struct xpc *x, u64 ret);

/* ---- skbpool.c: packets as the driver sees them ---------------------------------------------- */
int nooks_skb_pool_create(struct nook *nk);		/* process, may sleep; 0 if there is one */
/* no entry is live: the real packets go back */
void nooks_skb_pool_empty(struct nook *nk);
void nooks_skb_pool_destroy(struct nook *nk);
unsigned int nooks_skb_lent(struct nook *nk);		/* packets that the driver has to send */
bool nooks_skb_is_shadow(struct nook *nk, const struct sk_buff *skb);

/**
 * nooks_skb_lend() - show a driver a packet that it is to send
 * Return: what it is given as the packet: a shadow, or @skb, tracked, if there are too many;
 *	or NULL.
 */
struct sk_buff *nooks_skb_lend(struct nook *nk, struct sk_buff *skb);

/*
 * The driver does not want the packet that it was shown so: true if it is the caller's again. One
 * packet may have been lent several times (pktgen).
 */
bool nooks_skb_give_back(struct nook *nk, struct sk_buff *skb, struct sk_buff *shown);

/**
 * nooks_skb_open() - the real packet behind a shadow, for a wrapper that works on it
 * @shadow: nooks_skb_is_shadow()
 *
 * Return: the packet with the driver's lengths, to be followed by nooks_skb_close(), which
 *	shows the driver what has become of it; or NULL, rejected.
 */
struct sk_buff *nooks_skb_open(struct xpc *x, const char *fn, struct sk_buff *shadow);
void nooks_skb_close(struct xpc *x, struct sk_buff *shadow);

/* The driver frees a shadow. Return: the real packet, for the caller to free, or NULL. */
struct sk_buff *nooks_skb_drop_shadow(struct xpc *x, const char *fn, struct sk_buff *shadow);

/**
 * nooks_skb_hand_up() - the driver gives a packet that it has received to the stack
 * @napi: whose poll runs, or NULL
 *
 * Return: the real packet, or NULL: no memory, or rejected.
 */
struct sk_buff *nooks_skb_hand_up(struct xpc *x, const char *fn, struct sk_buff *shadow,
				  struct napi_struct *napi);

/**
 * nooks_skb_presentable() - make of a packet for the stack what that takes for granted
 * @skb: with a device of the nook. Its header can be pushed back, as packet sockets and bridges do;
 *	its VLAN tag is one; its receive queue exists.
 *
 * Return: false without memory.
 */
bool nooks_skb_presentable(struct sk_buff *skb);

/* Do these bytes lie in the head of a packet of the pool that was lent? Or also in a fragment? */
bool nooks_skb_holds(struct nook *nk, const void *p, size_t len);
bool nooks_skb_holds_page(struct nook *nk, struct page *page, size_t offset, size_t size);
/* In a fragment of this packet, which cannot go meanwhile? */
bool nooks_skb_has_frag(const struct sk_buff *skb, struct page *page, size_t offset, size_t size);

/*
 * mem.c: a fragment or page changes hands. The entry is the caller's to put; NULL: it was not the
 * nook's.
 */
struct tracked *nooks_frag_take(struct nook *nk, const void *head);
bool nooks_page_holds(struct nook *nk, struct page *page, unsigned int off, unsigned int size);
bool nooks_page_take(struct nook *nk, struct page *page, unsigned int off, unsigned int size);

/* Fragments that the runtime has in stock; what a driver has written there is not believed. */
unsigned int nooks_stock(struct nook *nk);

/* dma.c: pages that a domain may map without asking (runtime/dma.c) */
int nooks_dma_create(struct nook *nk);
void nooks_dma_destroy(struct nook *nk);
void nooks_dma_tag(struct nook *nk, const void *p, size_t size);
void nooks_dma_untag(struct nook *nk, const void *p, size_t size);
void nooks_dma_forget(struct nook *nk);		/* devices and pages, all */

/**
 * nooks_buffer_room() - how much was allocated at an address
 * @p: start of a kmalloc() or vmalloc() block of the kernel
 *
 * Return: bytes that belong to it, 0 if it is neither.
 */
size_t nooks_buffer_room(const void *p);

/* ---- among the wrappers --------------------------------------------------------------------- */

/**
 * nooks_track() - objtrack_add() with the twin and the data of the type
 * @nk:   the nook
 * @type: enum obj_type
 * @addr: the object's name
 * @size: bytes, 0 to keep it out of the interval tree
 * @twin: see the type's comment in nooks.h
 * @d0:   tracked.data[0]
 * @d1:   tracked.data[1]
 * @gfp:  for the entry
 *
 * Return: 0 or -ENOMEM.
 */
int nooks_track(struct nook *nk, u16 type, const void *addr, size_t size, void *twin,
		u64 d0, u64 d1, gfp_t gfp);

/**
 * nooks_twin_get() - find a twin, or make it
 * @nk:   the nook
 * @type: enum obj_type
 * @addr: the driver's structure
 * @size: its size
 * @make: allocates the twin, atomic; NULL: only find
 *
 * Return: referenced entry whose twin is set, or NULL.
 */
struct tracked *nooks_twin_get(struct nook *nk, u16 type, const void *addr, size_t size,
			       void *(*make)(struct nook *nk, void *addr));

/* The tracked object of @type that contains [p, p+len), referenced, or NULL. */
struct tracked *nooks_containing(struct nook *nk, u16 type, const void *p, size_t len);

/* False, and rejected, if the entry runs where the kernel may not sleep. */
bool wrap_may_sleep(struct xpc *x, const char *fn);

/*
 * Until when (jiffies) a driver may wait for one thing: half of the time that its entry may take.
 */
unsigned long wrap_deadline(struct xpc *x);

/* True if the driver may not go on waiting: aborted, nook dead, or @deadline (jiffies) passed. */
bool wrap_must_stop(struct xpc *x, unsigned long deadline);

/* Sleep before the next look at what is waited for: the longer, the longer the entry is inside. */
void wrap_nap(struct xpc *x);

/* Allocation flags that a driver may ask for, without sleeping if it must not. */
gfp_t wrap_gfp(u64 flags);

/*
 * Bytes that may be anywhere, as the driver sees them: its own counts in a net_device, not those
 * that the kernel goes on with. False: not readable.
 */
bool wrap_fetch(struct xpc *x, void *dst, const void *src, size_t len);

/* Copy of a string that may be anywhere, at most @size with the end; length or -EFAULT. */
long wrap_fetch_string(char *dst, const char *src, size_t size);
char *wrap_strdup(struct nook *nk, const char *s, size_t max);

/* printf for the driver's words a[i..]; never follows a pointer unchecked. */
int wrap_format(struct xpc *x, char *buf, size_t size, const char *fmt, const u64 *a, int i);

/* rtnl_lock() that cannot wait for itself: false, and rejected, if it takes too long. */
bool wrap_take_rtnl(struct xpc *x, const char *fn);

/* netshadow.c, netsetting.c: entry_desc.shadow of net_device_ops and ethtool_ops */
bool nooks_shadow_netdev(struct nook *nk, const struct entry_desc *desc, const u64 *args, u64 *ret,
			 enum shadow_when when);
bool nooks_shadow_ethtool(struct nook *nk, const struct entry_desc *desc, const u64 *args, u64 *ret,
			  enum shadow_when when);

/* pcipower.c: of dev_pm_ops and pci_driver */
bool nooks_shadow_pm(struct nook *nk, const struct entry_desc *desc, const u64 *args, u64 *ret,
		     enum shadow_when when);
bool nooks_shadow_pci_driver(struct nook *nk, const struct entry_desc *desc, const u64 *args,
			     u64 *ret, enum shadow_when when);

/**
 * nooks_net_replay() - configure the devices that a restarted driver has claimed again
 * @nk: alive, its init has returned; nk->replayer is the caller
 *
 * Return: 0; -EAGAIN if the driver died of it; what ndo_open returned.
 */
int nooks_net_replay(struct nook *nk);

/**
 * nooks_net_look() - is there a device that has stopped sending, and the kernel does not see it?
 * Fails the nook then. Context: hard interrupt, one CPU at a time.
 */
void nooks_net_look(struct nook *nk);

/* Devices that nobody has claimed: the kernel loses them. The nook's lists are quiet. */
void nooks_net_reap(struct nook *nk);

int nooks_net_init(void);
void nooks_net_deinit(void);

/* napi.c, for the device that goes away */
void nooks_napi_del_all(struct nook *nk, struct net_device *dev);
void nooks_napi_stop_all(struct net_device *dev);
void nooks_napi_twin_free(void *twin);
struct napi_struct *nooks_napi_of(struct tracked *t);

/* managed.c: the driver has left this device. Nothing to do if it is dead: recovery does it */
void nooks_managed_release(struct nook *nk, const struct device *dev);

/* pci.c */
void nooks_pci_twin_free(void *twin);
const struct entry_desc *nooks_entry_at(const struct entry_table *tab, u16 offset);

/* param.c: operations of parameters, in place of the kernel's */
extern const struct kernel_param_ops nooks_param_ops_charp, nooks_param_array_ops,
	nooks_param_ops_string;

/* irq.c */
void nooks_irq_twin_free(void *twin);
bool nooks_irq_in_use(struct nook *nk, struct pci_dev *pdev);

/* skb.c: a packet for the stack, whose lengths, pointers and fragments it may follow; NULL: none */
struct sk_buff *wrap_skb_take(struct xpc *x, const char *fn, u64 skb, struct napi_struct *napi);
bool wrap_skb_take_napi(struct xpc *x, const char *fn, struct sk_buff *skb);
/* napi->skb while the driver fills it */
bool nooks_skb_lend_napi(struct nook *nk, struct sk_buff *skb);
void nooks_skb_unlend_napi(struct nook *nk, struct sk_buff *skb);

#endif
