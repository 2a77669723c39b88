/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * slow.h - the runtime's functions, and the exits behind them
 *
 * nooks_S() is where a driver's call of S arrives. nooks_slow_S() is the stub of its wrapper
 * (generated/stubs.c): it leaves the domain, and comes back with the result.
 */
#ifndef NOOKS_RUNTIME_SLOW_H
#define NOOKS_RUNTIME_SLOW_H

#include <linux/dma-mapping.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

/* skb.c */
struct sk_buff *nooks___alloc_skb(unsigned int size, gfp_t gfp, int flags, int node);
struct sk_buff *nooks_slow___alloc_skb(unsigned int size, gfp_t gfp, int flags, int node);
struct sk_buff *nooks___napi_alloc_skb(struct napi_struct *napi, unsigned int len, gfp_t gfp);
struct sk_buff *nooks_slow___napi_alloc_skb(struct napi_struct *napi, unsigned int len, gfp_t gfp);
struct sk_buff *nooks___netdev_alloc_skb(struct net_device *dev, unsigned int len, gfp_t gfp);
struct sk_buff *nooks_slow___netdev_alloc_skb(struct net_device *dev, unsigned int len, gfp_t gfp);
struct sk_buff *nooks_napi_build_skb(void *data, unsigned int frag_size);
struct sk_buff *nooks_slow_napi_build_skb(void *data, unsigned int frag_size);
void *nooks___netdev_alloc_frag_align(unsigned int size, unsigned int mask);
void *nooks_slow___netdev_alloc_frag_align(unsigned int size, unsigned int mask);
void *nooks___napi_alloc_frag_align(unsigned int size, unsigned int mask);
void *nooks_slow___napi_alloc_frag_align(unsigned int size, unsigned int mask);
void *nooks_skb_put(struct sk_buff *skb, unsigned int len);
void *nooks_slow_skb_put(struct sk_buff *skb, unsigned int len);
void *nooks_skb_push(struct sk_buff *skb, unsigned int len);
void *nooks_slow_skb_push(struct sk_buff *skb, unsigned int len);
void *nooks_skb_pull(struct sk_buff *skb, unsigned int len);
void *nooks_slow_skb_pull(struct sk_buff *skb, unsigned int len);
void nooks_skb_trim(struct sk_buff *skb, unsigned int len);
void nooks_slow_skb_trim(struct sk_buff *skb, unsigned int len);
__be16 nooks_eth_type_trans(struct sk_buff *skb, struct net_device *dev);
__be16 nooks_slow_eth_type_trans(struct sk_buff *skb, struct net_device *dev);
void nooks_skb_clone_tx_timestamp(struct sk_buff *skb);
gro_result_t nooks_napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb);
gro_result_t nooks_slow_napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb);
int nooks_netif_rx(struct sk_buff *skb);
int nooks_slow_netif_rx(struct sk_buff *skb);
int nooks_netif_receive_skb(struct sk_buff *skb);
int nooks_slow_netif_receive_skb(struct sk_buff *skb);
void nooks_consume_skb(struct sk_buff *skb);
void nooks_slow_consume_skb(struct sk_buff *skb);
void nooks_kfree_skb_reason(struct sk_buff *skb, enum skb_drop_reason reason);
void nooks_slow_kfree_skb_reason(struct sk_buff *skb, enum skb_drop_reason reason);
void nooks_napi_consume_skb(struct sk_buff *skb, int budget);
void nooks_slow_napi_consume_skb(struct sk_buff *skb, int budget);
void nooks___dev_kfree_skb_any(struct sk_buff *skb, enum skb_free_reason reason);
void nooks_slow___dev_kfree_skb_any(struct sk_buff *skb, enum skb_free_reason reason);
void nooks___dev_kfree_skb_irq(struct sk_buff *skb, enum skb_free_reason reason);
void nooks_slow___dev_kfree_skb_irq(struct sk_buff *skb, enum skb_free_reason reason);

/* lock.S, string.S, bare.S: asm, declared for their export */
void nooks__raw_spin_lock(raw_spinlock_t *lock);
unsigned long nooks__raw_spin_lock_irqsave(raw_spinlock_t *lock);
void nooks__raw_spin_lock_irq(raw_spinlock_t *lock);
void nooks__raw_spin_unlock(raw_spinlock_t *lock);
void nooks__raw_spin_unlock_irqrestore(raw_spinlock_t *lock, unsigned long flags);
void nooks__raw_spin_unlock_irq(raw_spinlock_t *lock);
void *nooks_memcpy(void *dst, const void *src, size_t n);
void *nooks_memmove(void *dst, const void *src, size_t n);
void *nooks_memset(void *dst, int c, size_t n);
void nooks___SCT__preempt_schedule(void);
void nooks___SCT__preempt_schedule_notrace(void);
void nooks___stack_chk_fail(void);
void nooks_fortify_panic(void);

/* Instructions of theirs that may find the target read-only, and where they go on then. */
extern const char dom_spin_lock_try[], dom_spin_lock_slow[];
extern const char dom_spin_lock_irqsave_try[], dom_spin_lock_irqsave_slow[];
extern const char dom_spin_lock_irq_try[], dom_spin_lock_irq_slow[];
extern const char dom_memcpy_words[], dom_memcpy_bytes[], dom_memcpy_slow[];
extern const char dom_memset_words[], dom_memset_bytes[], dom_memset_slow[];

/* delay.c */
void nooks___udelay(unsigned long us);
void nooks___ndelay(unsigned long ns);
void nooks___const_udelay(unsigned long xloops);

/* napi.c */
bool nooks_napi_schedule_prep(struct napi_struct *napi);
bool nooks_slow_napi_schedule_prep(struct napi_struct *napi);
void nooks___napi_schedule(struct napi_struct *napi);
void nooks_slow___napi_schedule(struct napi_struct *napi);
void nooks___napi_schedule_irqoff(struct napi_struct *napi);
void nooks_slow___napi_schedule_irqoff(struct napi_struct *napi);
bool nooks_napi_complete_done(struct napi_struct *napi, int work_done);
bool nooks_slow_napi_complete_done(struct napi_struct *napi, int work_done);

/* dma.c */
dma_addr_t nooks_dma_map_page_attrs(struct device *dev, struct page *page, size_t offset,
				    size_t size, enum dma_data_direction dir, unsigned long attrs);
dma_addr_t nooks_slow_dma_map_page_attrs(struct device *dev, struct page *page, size_t offset,
					 size_t size, enum dma_data_direction dir,
					 unsigned long attrs);
void nooks_dma_unmap_page_attrs(struct device *dev, dma_addr_t addr, size_t size,
				enum dma_data_direction dir, unsigned long attrs);
void nooks_slow_dma_unmap_page_attrs(struct device *dev, dma_addr_t addr, size_t size,
				     enum dma_data_direction dir, unsigned long attrs);
void nooks_dma_sync_single_for_cpu(struct device *dev, dma_addr_t addr, size_t size,
				   enum dma_data_direction dir);
void nooks_slow_dma_sync_single_for_cpu(struct device *dev, dma_addr_t addr, size_t size,
					enum dma_data_direction dir);
void nooks_dma_sync_single_for_device(struct device *dev, dma_addr_t addr, size_t size,
				      enum dma_data_direction dir);
void nooks_slow_dma_sync_single_for_device(struct device *dev, dma_addr_t addr, size_t size,
					   enum dma_data_direction dir);

#endif
