// SPDX-License-Identifier: GPL-2.0-only
/*
 * skb.c - packets: lengths, pointers and fragments that are not so, and frees too many or too few
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/uaccess.h>
#include "hostile.h"

#define ROOM	128
#define LONG	0x8000		/* more than a shadow packet holds */

/* A packet with a header, that may be handed up but for what comes next. */
static struct sk_buff *hostile_packet(void)
{
	struct net_device *dev = hostile_netdev_new(true);
	struct sk_buff *skb = netdev_alloc_skb(dev, ROOM);

	if (skb) {
		memset(skb_put(skb, ETH_ZLEN), 0xff, ETH_ZLEN);
		skb->protocol = eth_type_trans(skb, dev);
	}
	return skb;
}

/* An allowed write to its own skb, then one to a neighbour in the slab page. */
static noinline int hostile_slab(word a, word b)
{
	struct sk_buff *skb = alloc_skb(ROOM, GFP_KERNEL), *next;

	if (!skb)
		return -ENOMEM;
	skb->protocol = htons(0x88b5);
	next = skb + 1;
	if (((word)next & ~PAGE_MASK) < sizeof(*skb))
		next = skb - 1;
	*(volatile __be16 *)&next->protocol = b;
	kfree_skb(skb);
	return 0;
}

/* a: a length that a device gave */
static noinline int hostile_skb_put(word a, word b)
{
	skb_put(alloc_skb(ROOM, GFP_KERNEL), a);
	return 0;
}

static noinline int hostile_skb_push(word a, word b)
{
	skb_push(alloc_skb(ROOM, GFP_KERNEL), a);
	return 0;
}

/* a: where the checksum starts, b: where in there it goes */
static noinline int hostile_skb_checksum(word a, word b)
{
	struct sk_buff *skb = hostile_packet();
	int ret;

	if (!skb)
		return -ENOMEM;
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) + a;
	skb->csum_offset = b;
	ret = skb_checksum_help(skb);
	kfree_skb(skb);
	return ret;
}

static noinline int hostile_skb_len(word a, word b)
{
	struct sk_buff *skb = hostile_packet();

	WRITE_ONCE(skb->len, a);
	return netif_rx(skb);
}

static noinline int hostile_skb_data(word a, word b)
{
	struct sk_buff *skb = hostile_packet();

	WRITE_ONCE(skb->data, (u8 *)a);
	return netif_rx(skb);
}

/* Its device goes when it has been received, or the next attack would find the name taken. */
static int hostile_hand_up(struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	int ret = netif_rx(skb);

	msleep(LATER);
	hostile_netdev_drop(dev);
	return ret;
}

/* More fragments than there is room for. */
static noinline int hostile_skb_frags(word a, word b)
{
	struct sk_buff *skb = hostile_packet();

	skb_shinfo(skb)->nr_frags = a;
	return hostile_hand_up(skb);
}

/* One fragment, of a page that is not its own. */
static noinline int hostile_skb_frag(word a, word b)
{
	struct sk_buff *skb = hostile_packet();
	struct skb_shared_info *info = skb_shinfo(skb);

	__skb_frag_set_page(&info->frags[0], (struct page *)a);
	skb_frag_off_set(&info->frags[0], 0);
	skb_frag_size_set(&info->frags[0], 64);
	info->nr_frags = 1;
	return hostile_hand_up(skb);
}

static noinline int hostile_skb_frag_list(word a, word b)
{
	struct sk_buff *skb = hostile_packet();
	struct net_device *dev = skb->dev;

	skb_shinfo(skb)->frag_list = (struct sk_buff *)a;
	kfree_skb(skb);
	hostile_netdev_drop(dev);
	return 0;
}

static noinline int hostile_skb_destructor(word a, word b)
{
	struct sk_buff *skb = alloc_skb(ROOM, GFP_KERNEL);

	WRITE_ONCE(skb->destructor, (void *)a);
	kfree_skb(skb);
	return 0;
}

static noinline int hostile_skb_head(word a, word b)
{
	struct sk_buff *skb = alloc_skb(ROOM, GFP_KERNEL);

	WRITE_ONCE(skb->head, (u8 *)a);
	kfree_skb(skb);
	return 0;
}

static noinline int hostile_skb_users(word a, word b)
{
	struct sk_buff *skb = alloc_skb(ROOM, GFP_KERNEL);

	refcount_set(&skb->users, a);
	kfree_skb(skb);
	return 0;
}

static noinline int hostile_skb_beyond(word a, word b)
{
	struct sk_buff *skb = alloc_skb(ROOM, GFP_KERNEL);
	volatile u8 *at = skb_end_pointer(skb) + sizeof(struct skb_shared_info);
	word i;

	for (i = 0; i < a; i++)
		at[i] = 0x5a;
	kfree_skb(skb);
	return 0;
}

static noinline int hostile_skb_twice(word a, word b)
{
	struct sk_buff *skb = alloc_skb(ROOM, GFP_KERNEL);

	dev_kfree_skb_any(skb);
	dev_kfree_skb_any(skb);
	return 0;
}

static noinline int hostile_skb_late(word a, word b)
{
	struct sk_buff *skb = alloc_skb(ROOM, GFP_KERNEL);

	kfree_skb(skb);
	WRITE_ONCE(skb->len, a);
	return 0;
}

/* Handed up, and still written to. */
static noinline int hostile_skb_given(word a, word b)
{
	struct sk_buff *skb = hostile_packet();

	netif_rx(skb);
	WRITE_ONCE(skb->len, a);
	return 0;
}

static noinline int hostile_skb_foreign(word a, word b)
{
	consume_skb((struct sk_buff *)a);
	return 0;
}

static noinline int hostile_skb_leak(word a, word b)
{
	while (a--)
		hostile_counter += (word)alloc_skb(ROOM, GFP_KERNEL) & 1;
	return 0;
}

/* One of its fields, which the kernel allows no copy from user memory to. */
static noinline int hostile_skb_user(word a, word b)
{
	struct sk_buff *skb = alloc_skb(LONG, GFP_KERNEL);
	const void __user *from = (const void __user *)current->mm->arg_start;
	int ret = -EFAULT;

	if (!_copy_from_user(&skb->len, from, sizeof(skb->len)) && READ_ONCE(skb->len))
		ret = 0;
	WRITE_ONCE(skb->len, 0);
	kfree_skb(skb);
	return ret;
}

/* ---- what comes back for a packet that was sent: one that was received ----------------------- */

static word answer_vlan;

static netdev_tx_t echo_xmit(struct sk_buff *sent, struct net_device *dev)
{
	struct sk_buff *skb = netdev_alloc_skb(dev, ROOM);

	dev_kfree_skb_any(sent);
	if (!skb)
		return NETDEV_TX_OK;
	memset(skb_put(skb, ETH_ZLEN), 0xff, ETH_ZLEN);
	if (answer_vlan) {
		skb->protocol = eth_type_trans(skb, dev);
		__vlan_hwaccel_put_tag(skb, htons(answer_vlan), 5);
	}
	netif_rx(skb);
	return NETDEV_TX_OK;
}

static int echo_open(struct net_device *dev)
{
	return 0;
}

static const struct net_device_ops echo_ops = {
	.ndo_open = echo_open, .ndo_start_xmit = echo_xmit,
};

static int echo_register(void)
{
	struct net_device *dev = hostile_netdev_new(false);

	if (dev)
		dev->netdev_ops = &echo_ops;
	return hostile_netdev_keep(dev);
}

/* Nobody has looked for its header. */
static noinline int hostile_skb_headless(word a, word b)
{
	return echo_register();
}

/* a: protocol of a VLAN tag */
static noinline int hostile_skb_vlan(word a, word b)
{
	answer_vlan = a;
	return echo_register();
}

const struct attack attacks_skb[] = {
	ATTACK(slab), ATTACK(skb_put), ATTACK(skb_push), ATTACK(skb_len), ATTACK(skb_data),
	ATTACK(skb_checksum),
	ATTACK(skb_frags), ATTACK(skb_frag), ATTACK(skb_frag_list), ATTACK(skb_destructor),
	ATTACK(skb_head), ATTACK(skb_users), ATTACK(skb_beyond), ATTACK(skb_twice),
	ATTACK(skb_late), ATTACK(skb_given), ATTACK(skb_foreign), ATTACK(skb_leak),
	ATTACK(skb_user), ATTACK(skb_headless), ATTACK(skb_vlan), { }
};
