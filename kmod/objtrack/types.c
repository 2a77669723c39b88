// SPDX-License-Identifier: GPL-2.0-only
/*
 * types.c - the one table of object types: size, release order, how to release
 *
 * Core types stand here, those that only generated code names follow from generated/types.c.
 * The order of release is explained in wrappers/wrappers.h.
 */
#include <linux/mm_types.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include "core/core.h"
#include "nooks.h"
#include "objtrack/objtrack.h"
#include "wrappers/wrappers.h"

/* Before its device is registered a queue has no discipline, and the kernel does not look. */
static bool obj_queue_usable(const void *p)
{
	return rcu_access_pointer(((const struct netdev_queue *)p)->qdisc);
}

static bool obj_hold(struct nook *nk, struct tracked *t)
{
	return true;
}

static const struct obj_type_desc obj_core[OBJ_NR_CORE] = {
	[OBJ_NONE]	= { "none", 0, NULL, RELEASE_NAMES },
	[OBJ_HEAP]	= { "heap", 0, nook_release_heap, RELEASE_NAMES },
	[OBJ_VMALLOC]	= { "vmalloc", 0, NULL, RELEASE_NAMES,
			    .withdraw = nook_withdraw_vmalloc, .finish = nook_finish_vmalloc },
	[OBJ_PAGE]	= { "page", sizeof(struct page), nooks_release_page, RELEASE_BUFFERS,
			    .hold = obj_hold },
	[OBJ_PAGE_FRAG]	= { "page_frag", 0, nooks_release_page_frag, RELEASE_BUFFERS,
			    .hold = nooks_hold_page_frag },
	[OBJ_DMA_COHERENT] = { "dma_coherent", 0, NULL, RELEASE_DEVICE, .hold = obj_hold,
			       .withdraw = nooks_withdraw_dma_coherent,
			       .finish = nooks_finish_dma_coherent },
	[OBJ_DMA_MAP]	= { "dma_map", 0, nooks_release_dma_map, RELEASE_DMA,
			    .hold = obj_hold },
	[OBJ_MMIO]	= { "mmio", 0, NULL, RELEASE_DEVICE,
			    .withdraw = nooks_withdraw_mmio, .finish = nooks_finish_mmio },
	[OBJ_IRQ]	= { "irq", 0, nooks_release_irq, RELEASE_CALLERS },
	[OBJ_SPINLOCK]	= { "spinlock", 0, NULL, RELEASE_NAMES },
	[OBJ_MUTEX]	= { "mutex", sizeof(struct mutex), NULL, RELEASE_NAMES },
	[OBJ_RTNL]	= { "rtnl", 0, NULL, RELEASE_NAMES },
	[OBJ_WORK_STRUCT] = { "work_struct", sizeof(struct work_struct),
			      nooks_release_work_struct, RELEASE_CALLERS },
	[OBJ_DELAYED_WORK] = { "delayed_work", sizeof(struct delayed_work),
			       nooks_release_work_struct, RELEASE_CALLERS },
	[OBJ_TIMER_LIST] = { "timer_list", sizeof(struct timer_list), nooks_release_timer_list,
			     RELEASE_CALLERS },
	[OBJ_NAPI_STRUCT] = { "napi_struct", sizeof(struct napi_struct), nooks_release_napi_struct,
			      RELEASE_CALLERS },
	[OBJ_PCI_DEV]	= { "pci_dev", sizeof(struct pci_dev), NULL, RELEASE_NAMES,
			    nooks_quiesce_pci_dev },
	[OBJ_PCI_CONFIG] = { "pci_config", 0, NULL, RELEASE_NAMES },
	[OBJ_DEVICE]	= { "device", sizeof(struct device), NULL, RELEASE_NAMES },
	[OBJ_PCI_ENABLED] = { "pci_enabled", 0, nooks_release_pci_enabled, RELEASE_DEVICE },
	[OBJ_PCI_REGION] = { "pci_region", 0, nooks_release_pci_region, RELEASE_DEVICE },
	[OBJ_PCI_DRIVER] = { "pci_driver", sizeof(struct pci_driver), nooks_release_pci_driver,
			     RELEASE_DRIVER, .hold = nooks_hold_pci_driver },
	[OBJ_NET_DEVICE] = { "net_device", sizeof(struct net_device), nooks_release_net_device,
			     RELEASE_NETDEV },
	[OBJ_NETDEV_PRIV] = { "netdev_priv", 0, NULL, RELEASE_NETDEV_MEM,
			      .withdraw = nooks_withdraw_netdev_priv,
			      .finish = nooks_finish_netdev_priv },
	[OBJ_NETDEV_QUEUE] = { "netdev_queue", sizeof(struct netdev_queue), NULL, RELEASE_NAMES,
			       .usable = obj_queue_usable },
	[OBJ_SK_BUFF]	= { "sk_buff", sizeof(struct sk_buff), nooks_release_sk_buff,
			    RELEASE_BUFFERS, .hold = nooks_hold_sk_buff },
	[OBJ_SKB_DATA]	= { "skb_data", 0, NULL, RELEASE_NAMES },
	[OBJ_TASK_STRUCT] = { "task_struct", sizeof(struct task_struct), NULL, RELEASE_NAMES },
	[OBJ_PERCPU]	= { "percpu", 0, NULL, RELEASE_NAMES },
	[OBJ_BUFFER]	= { "buffer", 0, NULL, RELEASE_NAMES },
	[OBJ_WORKQUEUE]	= { "workqueue_struct", 0, NULL, RELEASE_DEVICE,
			    .finish = nooks_finish_workqueue },
	[OBJ_TASKLET_STRUCT] = { "tasklet_struct", sizeof(struct tasklet_struct),
				 nooks_release_tasklet, RELEASE_CALLERS },
	[OBJ_MANAGED]	= { "managed", 0, NULL, RELEASE_NAMES },
};

const struct obj_type_desc *obj_type_desc(u16 type)
{
	if (type < OBJ_NR_CORE)
		return &obj_core[type];
	return &nooks_gen_types[type - OBJ_NR_CORE];
}

unsigned int objtrack_types(void)
{
	return OBJ_NR_CORE + nooks_ngen_types;
}

u16 obj_type_by_name(const char *name)
{
	u16 type;

	for (type = OBJ_NONE + 1; type < objtrack_types(); type++)
		if (!strcmp(obj_type_desc(type)->name, name))
			return type;
	return OBJ_NONE;
}
