// SPDX-License-Identifier: GPL-2.0-only
/*
 * skbbuild.c - making a packet of what a driver has allocated
 *
 * Nothing of a shadow is believed: it is read once, its lengths must agree with the buffer that is
 * known, its head must be that buffer or a receive fragment of the nook, its fragments pages of the
 * nook. What else a driver may say about a packet is copied field by field.
 *
 * Context: any but NMI, kernel view.
 */
#include <linux/hardirq.h>
#include <linux/if_vlan.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include "runtime/runtime.h"
#include "skbpool.h"
#include "wrappers.h"

bool skb_image_take(struct skb_image *im, const struct sk_buff *shadow, unsigned int room)
{
	unsigned int data;

	memcpy(&im->skb, shadow, sizeof(im->skb));
	data = im->skb.data - im->skb.head;
	if (im->skb.data < im->skb.head || im->skb.data - im->skb.head > room ||
	    im->skb.tail > room || im->skb.tail < data || im->skb.data_len > im->skb.len ||
	    im->skb.len - im->skb.data_len != im->skb.tail - data)
		return false;
	im->off = data;
	if (im->skb.mac_header != (typeof(im->skb.mac_header))~0U && im->skb.mac_header <= data)
		im->off = im->skb.mac_header;
	im->pull = data - im->off;
	im->len = im->skb.tail - im->off;
	return true;
}

/* What a driver says about a packet that it has received, as far as the stack can live with it. */
void skb_image_apply(const struct sk_buff *from, struct sk_buff *skb)
{
	skb->dev = from->dev;
	skb->protocol = from->protocol;
	skb->pkt_type = from->pkt_type;
	if (from->ip_summed != CHECKSUM_PARTIAL) {
		skb->ip_summed = from->ip_summed;
		skb->csum = from->csum;
		skb->csum_level = from->csum_level;
	}
	skb->hash = from->hash;
	skb->l4_hash = from->l4_hash;
	skb->sw_hash = from->sw_hash;
	skb->vlan_present = from->vlan_present;
	skb->vlan_proto = from->vlan_proto;
	skb->vlan_tci = from->vlan_tci;
	skb->queue_mapping = from->queue_mapping;
	skb->priority = from->priority;
}

bool nooks_skb_presentable(struct sk_buff *skb)
{
	if (skb->mac_header > skb_headroom(skb))	/* also if it was never set */
		skb_reset_mac_header(skb);
	if (skb->vlan_present && !eth_type_vlan(skb->vlan_proto))
		__vlan_hwaccel_clear_tag(skb);
	if (unlikely(skb->queue_mapping) && skb->queue_mapping > skb->dev->real_num_rx_queues)
		skb->queue_mapping = 0;
	return likely(skb_headroom(skb) >= ETH_HLEN) || !skb_cow_head(skb, ETH_HLEN);
}

static struct sk_buff *build_copy(struct napi_struct *napi, const struct skb_image *im,
				  const struct sk_buff *shadow)
{
	struct sk_buff *skb;

	if (napi)
		skb = napi_alloc_skb(napi, im->len);
	else
		skb = __netdev_alloc_skb_ip_align(im->skb.dev, im->len, GFP_ATOMIC | __GFP_NOWARN);
	if (skb)
		memcpy(__skb_put(skb, im->len), (u8 *)shadow + SKB_SHADOW_STRUCT + im->off,
		       im->len);
	return skb;
}

/* The head is a receive fragment, which becomes the packet's. */
static struct sk_buff *build_frag(const struct skb_image *im, unsigned int size)
{
	struct skb_shared_hwtstamps stamp;
	struct sk_buff *skb;
	void *head = im->skb.head;

	stamp = ((struct skb_shared_info *)(head + size - SKB_SHARED_SIZE))->hwtstamps;
	skb = in_softirq() && !in_hardirq() ? napi_build_skb(head, size) : build_skb(head, size);
	if (!skb) {
		page_frag_free(head);
		return NULL;
	}
	skb_reserve(skb, im->off);
	__skb_put(skb, im->len);
	*skb_hwtstamps(skb) = stamp;
	return skb;
}

/* Pages that the driver has hung on it. False, and rejected, if they are not its own. */
static bool build_pages(struct xpc *x, const char *fn, struct sk_buff *skb,
			const struct skb_image *im)
{
	const struct skb_shared_info *from = (void *)im->skb.head + im->skb.end;
	unsigned int i, n = READ_ONCE(from->nr_frags), bytes = 0;
	struct page *page;
	skb_frag_t f;

	for (i = 0; i < n && n <= MAX_SKB_FRAGS; i++) {
		memcpy(&f, &from->frags[i], sizeof(f));
		page = skb_frag_page(&f);
		if (!nooks_page_take(x->nook, page, skb_frag_off(&f), skb_frag_size(&f)))
			break;
		skb_add_rx_frag(skb, i, page, skb_frag_off(&f), skb_frag_size(&f),
				page_size(page));
		bytes += skb_frag_size(&f);
	}
	if (i == n && bytes == im->skb.data_len)
		return true;
	nooks_reject(x, "%s(skb): its fragments are not pages of this nook", fn);
	return false;
}

/* @napi's own need not be looked up. */
static bool build_device_ok(struct nook *nk, const struct net_device *dev,
			    const struct napi_struct *napi)
{
	return !dev || (napi && dev == napi->dev) || objtrack_has(nk, OBJ_NET_DEVICE, dev);
}

/* The real packet behind an "own" slot. NULL: no memory, or rejected. The slot is not freed. */
struct sk_buff *nooks_skb_build(struct xpc *x, const char *fn, struct sk_buff *shadow,
				struct napi_struct *napi)
{
	void *buf = (void *)shadow + SKB_SHADOW_STRUCT;
	struct tracked *frag = NULL;
	struct sk_buff *skb;
	struct skb_image im __uninitialized;	/* filled before it is looked at */
	unsigned int room = SKB_OWN_BUFFER - SKB_SHARED_SIZE;

	if (READ_ONCE(shadow->head) != buf) {
		frag = nooks_frag_take(x->nook, READ_ONCE(shadow->head));
		if (!frag) {
			nooks_reject(x, "%s(skb): its head is no fragment of this nook", fn);
			return NULL;
		}
		room = max_t(unsigned int, frag->data[0], SKB_SHARED_SIZE) - SKB_SHARED_SIZE;
	}
	if (!skb_image_take(&im, shadow, room) || im.skb.end > room ||
	    (frag ? im.skb.head != (void *)frag->it.start || im.skb.data_len :
		    im.skb.head != buf) ||
	    !build_device_ok(x->nook, im.skb.dev, napi)) {
		nooks_reject(x, "%s(skb): its lengths, fragments or device are not consistent", fn);
		if (frag) {
			page_frag_free((void *)frag->it.start);
			objtrack_put(frag);
		}
		return NULL;
	}
	if (frag) {
		skb = build_frag(&im, im.skb.end + SKB_SHARED_SIZE);
		objtrack_put(frag);
	} else {
		skb = build_copy(napi, &im, shadow);
	}
	if (!skb)
		return NULL;
	if (im.skb.data_len && !build_pages(x, fn, skb, &im)) {
		dev_kfree_skb_any(skb);
		return NULL;
	}
	skb_image_apply(&im.skb, skb);
	if (im.skb.mac_header == im.off)
		skb_reset_mac_header(skb);
	__skb_pull(skb, im.pull);
	return skb;
}
