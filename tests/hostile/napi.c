// SPDX-License-Identifier: GPL-2.0-only
/* napi.c - polling, with a napi_struct that was changed, and out of order */
#include <linux/bottom_half.h>
#include <linux/netdevice.h>
#include "hostile.h"

static struct napi_struct napi;
static int polled, work;

static noinline int hostile_poll(struct napi_struct *n, int budget)
{
	polled++;
	if (work)
		return budget + work;
	napi_complete_done(n, 0);
	return 0;
}

static struct net_device *hostile_napi_new(void)
{
	struct net_device *dev = hostile_netdev_new(true);

	polled = work = 0;
	netif_napi_add(dev, &napi, hostile_poll);
	napi_enable(&napi);
	return dev;
}

/* Scheduled, and before it can be polled: */
static struct net_device *hostile_napi_pending(void)
{
	struct net_device *dev = hostile_napi_new();

	local_bh_disable();
	napi_schedule(&napi);
	return dev;
}

static int hostile_napi_polled(struct net_device *dev)
{
	local_bh_enable();
	msleep(LATER);
	napi_disable(&napi);
	netif_napi_del(&napi);
	hostile_netdev_drop(dev);
	return READ_ONCE(polled) ? 0 : -ETIME;
}

static noinline int hostile_napi_poll(word a, word b)
{
	struct net_device *dev = hostile_napi_pending();

	WRITE_ONCE(napi.poll, (void *)a);
	return hostile_napi_polled(dev);
}

static noinline int hostile_napi_list(word a, word b)
{
	struct net_device *dev = hostile_napi_pending();

	WRITE_ONCE(napi.poll_list.next, (void *)a);
	return hostile_napi_polled(dev);
}

static noinline int hostile_napi_dev(word a, word b)
{
	struct net_device *dev = hostile_napi_pending();

	WRITE_ONCE(napi.dev, (void *)a);
	return hostile_napi_polled(dev);
}

/* The node of the list that the net_device keeps of them. */
static noinline int hostile_napi_dev_list(word a, word b)
{
	struct net_device *dev = hostile_napi_pending();

	WRITE_ONCE(napi.dev_list.next, (void *)a);
	return hostile_napi_polled(dev);
}

/* More work than it was allowed. */
static noinline int hostile_napi_budget(word a, word b)
{
	struct net_device *dev = hostile_napi_pending();

	WRITE_ONCE(work, (int)a);
	local_bh_enable();
	msleep(LATER);
	WRITE_ONCE(work, 0);
	local_bh_disable();
	return hostile_napi_polled(dev);
}

static noinline int hostile_napi_add(word a, word b)
{
	struct net_device *dev = hostile_netdev_new(true);

	netif_napi_add(dev, &napi, (void *)a);
	napi_enable(&napi);
	local_bh_disable();
	napi_schedule(&napi);
	local_bh_enable();
	return 0;
}

static noinline int hostile_napi_enable(word a, word b)
{
	hostile_napi_new();
	napi_enable(&napi);
	return 0;
}

static noinline int hostile_napi_disable(word a, word b)
{
	hostile_napi_new();
	napi_disable(&napi);
	napi_disable(&napi);
	return 0;
}

static noinline int hostile_napi_complete(word a, word b)
{
	hostile_napi_new();
	napi_complete_done(&napi, 0);
	return 0;
}

static noinline int hostile_napi_foreign(word a, word b)
{
	napi_enable((struct napi_struct *)a);
	return 0;
}

const struct attack attacks_napi[] = {
	ATTACK(napi_poll), ATTACK(napi_list), ATTACK(napi_dev), ATTACK(napi_dev_list),
	ATTACK(napi_budget), ATTACK(napi_add), ATTACK(napi_enable), ATTACK(napi_disable),
	ATTACK(napi_complete), ATTACK(napi_foreign), { }
};
