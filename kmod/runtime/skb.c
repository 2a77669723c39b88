// SPDX-License-Identifier: GPL-2.0-only
/*
 * skb.c - packets: a driver works on its own copy of each sk_buff
 *
 * A packet to be sent is lent as a shadow. One that the driver allocates exists only as a shadow,
 * with a buffer in the pool or a receive fragment as its head, until it is handed up: then the
 * kernel's side builds the real one from what it finds to be sound. So these functions need no
 * check that protects the kernel, only those that find the driver's error early.
 *
 * Context: domain view, any context of the driver.
 */
#include <linux/etherdevice.h>
#include <linux/export.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include "generated/exits.h"
#include "runtime/queue.h"
#include "runtime/slow.h"

/* ---- allocation ------------------------------------------------------------------------------ */

static struct sk_buff *dom_skb_take(const struct skb_pool *p)
{
	struct skb_pool_dom *d = p->dom;
	unsigned int tries, i;

	for (tries = 0; tries < p->nown; tries++) {
		i = READ_ONCE(d->rotor);
		if (i >= p->nown)
			i = 0;
		WRITE_ONCE(d->rotor, i + 1);
		if (!READ_ONCE(d->used[i]) && !cmpxchg(&d->used[i], 0, 1))
			return (struct sk_buff *)(p->own_lo + i * SKB_OWN_SLOT);
	}
	return NULL;
}

/* Like __build_skb_around(); the shared info behind @size bytes is zero already. */
static void dom_skb_init(struct sk_buff *skb, void *head, unsigned int size)
{
	u64 *w = (u64 *)skb;
	int i;

#pragma GCC unroll 32
	for (i = 0; i < SKB_SHADOW_STRUCT / sizeof(*w); i++)
		WRITE_ONCE(w[i], 0);
	skb->head = head;
	skb->data = head;
	skb->end = size;
	skb->truesize = SKB_TRUESIZE(size);
	refcount_set(&skb->users, 1);
	skb->mac_header = (typeof(skb->mac_header))~0U;
	skb->transport_header = (typeof(skb->transport_header))~0U;
}

static struct sk_buff *dom_skb_new(unsigned int len, unsigned int reserve, struct net_device *dev)
{
	const struct skb_pool *p = dom_pool();
	struct skb_shared_info *si;
	struct sk_buff *skb;
	void *buf;

	if (!p || SKB_DATA_ALIGN(len + reserve) > SKB_OWN_BUFFER - SKB_SHARED_SIZE)
		return NULL;
	skb = dom_skb_take(p);
	if (!skb)
		return NULL;
	buf = (void *)skb + SKB_SHADOW_STRUCT;
	dom_skb_init(skb, buf, SKB_DATA_ALIGN(len + reserve));
	si = skb_shinfo(skb);
	memset(si, 0, offsetof(struct skb_shared_info, dataref));
	atomic_set(&si->dataref, 1);
	skb->data += reserve;
	skb->tail = reserve;
	skb->dev = dev;
	return skb;
}

struct sk_buff *nooks___alloc_skb(unsigned int size, gfp_t gfp, int flags, int node)
{
	struct sk_buff *skb = dom_skb_new(size, 0, NULL);

	return skb ?: nooks_slow___alloc_skb(size, gfp, flags, node);
}
EXPORT_SYMBOL_GPL(nooks___alloc_skb);

struct sk_buff *nooks___napi_alloc_skb(struct napi_struct *napi, unsigned int len, gfp_t gfp)
{
	struct sk_buff *skb = dom_skb_new(len, NET_SKB_PAD + NET_IP_ALIGN, napi->dev);

	return skb ?: nooks_slow___napi_alloc_skb(napi, len, gfp);
}
EXPORT_SYMBOL_GPL(nooks___napi_alloc_skb);

struct sk_buff *nooks___netdev_alloc_skb(struct net_device *dev, unsigned int len, gfp_t gfp)
{
	struct sk_buff *skb = dom_skb_new(len, NET_SKB_PAD, dev);

	return skb ?: nooks_slow___netdev_alloc_skb(dev, len, gfp);
}
EXPORT_SYMBOL_GPL(nooks___netdev_alloc_skb);

struct sk_buff *nooks_napi_build_skb(void *data, unsigned int frag_size)
{
	const struct skb_pool *p = dom_pool();
	struct sk_buff *skb = NULL;

	if (p && frag_size > SKB_SHARED_SIZE)
		skb = dom_skb_take(p);
	if (!skb)
		return nooks_slow_napi_build_skb(data, frag_size);
	dom_skb_init(skb, data, frag_size - SKB_SHARED_SIZE);
	skb->head_frag = 1;
	return skb;
}
EXPORT_SYMBOL_GPL(nooks_napi_build_skb);

static struct frag_stock *dom_stock(const struct skb_pool *p, unsigned int size, unsigned int mask)
{
	struct frag_stock *st = p->dom->stock;
	int i;

	for (i = 0; i < SKB_FRAG_KINDS; i++, st++)
		/* pairs with mem_stock_of(): the mask is there before the size */
		if (smp_load_acquire(&st->size) == size && READ_ONCE(st->mask) == mask)
			return st;
	return NULL;
}

/* From the stock that a visit to the kernel has filled. */
static void *dom_frag_take(unsigned int size, unsigned int mask)
{
	const struct skb_pool *p = dom_pool();
	struct frag_stock *st;
	void *frag = NULL;
	u32 n;

	st = p ? dom_stock(p, size, mask) : NULL;
	if (!st)
		return NULL;
	do {
		n = READ_ONCE(st->n);
		if (!n || n > SKB_FRAG_STOCK)
			return NULL;
		frag = (void *)xchg(&st->frag[n - 1], 0);
		cmpxchg(&st->n, n, n - 1);
	} while (!frag);
	return frag;
}

void *nooks___netdev_alloc_frag_align(unsigned int size, unsigned int mask)
{
	return dom_frag_take(size, mask) ?: nooks_slow___netdev_alloc_frag_align(size, mask);
}
EXPORT_SYMBOL_GPL(nooks___netdev_alloc_frag_align);

void *nooks___napi_alloc_frag_align(unsigned int size, unsigned int mask)
{
	return dom_frag_take(size, mask) ?: nooks_slow___napi_alloc_frag_align(size, mask);
}
EXPORT_SYMBOL_GPL(nooks___napi_alloc_frag_align);

/* ---- lengths --------------------------------------------------------------------------------- */

void *nooks_skb_put(struct sk_buff *skb, unsigned int len)
{
	void *tail;

	if (!dom_skb(skb) || skb->data_len || skb->tail > skb->end || len > skb->end - skb->tail)
		return nooks_slow_skb_put(skb, len);
	tail = skb_tail_pointer(skb);
	skb->tail += len;
	skb->len += len;
	return tail;
}
EXPORT_SYMBOL_GPL(nooks_skb_put);

void *nooks_skb_push(struct sk_buff *skb, unsigned int len)
{
	if (!dom_skb(skb) || len > skb_headroom(skb))
		return nooks_slow_skb_push(skb, len);
	skb->data -= len;
	skb->len += len;
	return skb->data;
}
EXPORT_SYMBOL_GPL(nooks_skb_push);

void *nooks_skb_pull(struct sk_buff *skb, unsigned int len)
{
	if (!dom_skb(skb) || (len <= skb->len && len > skb_headlen(skb)))
		return nooks_slow_skb_pull(skb, len);
	if (len > skb->len)
		return NULL;
	skb->len -= len;
	return skb->data += len;
}
EXPORT_SYMBOL_GPL(nooks_skb_pull);

void nooks_skb_trim(struct sk_buff *skb, unsigned int len)
{
	if (!dom_skb(skb) || skb->data_len) {
		nooks_slow_skb_trim(skb, len);
	} else if (len < skb->len) {
		skb->len = len;
		skb_set_tail_pointer(skb, len);
	}
}
EXPORT_SYMBOL_GPL(nooks_skb_trim);

/* Like the kernel's (net/ethernet/eth.c). */
__be16 nooks_eth_type_trans(struct sk_buff *skb, struct net_device *dev)
{
	const struct ethhdr *eth;

	if (!dom_skb(skb) || (skb_headlen(skb) < ETH_HLEN && skb->data_len))
		return nooks_slow_eth_type_trans(skb, dev);
	skb->dev = dev;
	skb_reset_mac_header(skb);
	eth = (struct ethhdr *)skb->data;
	if (skb->len >= ETH_HLEN) {
		skb->len -= ETH_HLEN;
		skb->data += ETH_HLEN;
	}
	if (!ether_addr_equal_64bits(eth->h_dest, dev->dev_addr)) {
		if (!is_multicast_ether_addr_64bits(eth->h_dest))
			skb->pkt_type = PACKET_OTHERHOST;
		else if (ether_addr_equal_64bits(eth->h_dest, dev->broadcast))
			skb->pkt_type = PACKET_BROADCAST;
		else
			skb->pkt_type = PACKET_MULTICAST;
	}
	if (eth_proto_is_802_3(eth->h_proto))
		return eth->h_proto;
	if (skb_headlen(skb) >= 2 && *(u16 *)skb->data == 0xffff)
		return htons(ETH_P_802_3);
	return htons(ETH_P_802_2);
}
EXPORT_SYMBOL_GPL(nooks_eth_type_trans);

/* Only for a PHY that takes time stamps, which no nook has. */
void nooks_skb_clone_tx_timestamp(struct sk_buff *skb)
{
}
EXPORT_SYMBOL_GPL(nooks_skb_clone_tx_timestamp);

/* ---- giving a packet away: queued, and delivered when the driver returns --------------------- */

gro_result_t nooks_napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb)
{
	if (dom_skb(skb) && dom_queue(EXIT_napi_gro_receive, (u64)napi, (u64)skb, 0))
		return GRO_NORMAL;
	return nooks_slow_napi_gro_receive(napi, skb);
}
EXPORT_SYMBOL_GPL(nooks_napi_gro_receive);

int nooks_netif_rx(struct sk_buff *skb)
{
	if (dom_skb(skb) && dom_queue(EXIT_netif_rx, (u64)skb, 0, 0))
		return NET_RX_SUCCESS;
	return nooks_slow_netif_rx(skb);
}
EXPORT_SYMBOL_GPL(nooks_netif_rx);

int nooks_netif_receive_skb(struct sk_buff *skb)
{
	if (dom_skb(skb) && dom_queue(EXIT_netif_receive_skb, (u64)skb, 0, 0))
		return NET_RX_SUCCESS;
	return nooks_slow_netif_receive_skb(skb);
}
EXPORT_SYMBOL_GPL(nooks_netif_receive_skb);

void nooks_consume_skb(struct sk_buff *skb)
{
	if (!dom_skb(skb) || !dom_queue(EXIT_consume_skb, (u64)skb, 0, 0))
		nooks_slow_consume_skb(skb);
}
EXPORT_SYMBOL_GPL(nooks_consume_skb);

void nooks_kfree_skb_reason(struct sk_buff *skb, enum skb_drop_reason reason)
{
	if (!dom_skb(skb) || !dom_queue(EXIT_kfree_skb_reason, (u64)skb, reason, 0))
		nooks_slow_kfree_skb_reason(skb, reason);
}
EXPORT_SYMBOL_GPL(nooks_kfree_skb_reason);

void nooks_napi_consume_skb(struct sk_buff *skb, int budget)
{
	if (!dom_skb(skb) || !dom_queue(EXIT_napi_consume_skb, (u64)skb, budget, 0))
		nooks_slow_napi_consume_skb(skb, budget);
}
EXPORT_SYMBOL_GPL(nooks_napi_consume_skb);

void nooks___dev_kfree_skb_any(struct sk_buff *skb, enum skb_free_reason reason)
{
	if (!dom_skb(skb) || !dom_queue(EXIT___dev_kfree_skb_any, (u64)skb, reason, 0))
		nooks_slow___dev_kfree_skb_any(skb, reason);
}
EXPORT_SYMBOL_GPL(nooks___dev_kfree_skb_any);

void nooks___dev_kfree_skb_irq(struct sk_buff *skb, enum skb_free_reason reason)
{
	if (!dom_skb(skb) || !dom_queue(EXIT___dev_kfree_skb_irq, (u64)skb, reason, 0))
		nooks_slow___dev_kfree_skb_irq(skb, reason);
}
EXPORT_SYMBOL_GPL(nooks___dev_kfree_skb_irq);
