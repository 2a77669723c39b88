// SPDX-License-Identifier: GPL-2.0-only
/*
 * netsetting.c - what ethtool sets and only a driver remembers: recorded, answered, replayed
 *
 * Each row of the table is a pair of operations, one that tells and one that sets, with the
 * structures that both take. What was set is set again in a driver that starts anew; while there is
 * none, what was last known answers. Some only tell. Numbers of things are among them: a program
 * asks for a number, makes room, and asks for so many things; the kernel writes as many as there
 * are by then. So they must not be fewer while there is no driver, and are asked for whenever an
 * interface is opened.
 *
 * Locking: rtnl, which the kernel holds around every ethtool operation.
 * Context: process, may sleep, kernel view.
 */
#define pr_fmt(fmt) "nooks: " fmt

#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include "wrappers/netshadow.h"
#include "wrappers/wrappers.h"

/**
 * struct net_setting_desc - one row
 * @name:  for messages
 * @get:   offset in ethtool_ops; (dev, structure...), (dev, x, array) or a result
 * @set:   (dev, structure...) or (dev, value); SET_NONE: it only tells
 * @which: only where the first argument behind the device is this; WHICH_ANY
 * @array: the second argument behind the device is one, and nothing else is kept
 * @size:  of the structures, in order; none: a 32-bit value
 */
struct net_setting_desc {
	const char *name;
	u16 get, set;
	s8 which;
	bool array;
	u16 size[NET_SETTING_ARGS];
};

struct net_array {
	size_t len;
	u8 data[];
};

#define SET_NONE	U16_MAX
#define WHICH_ANY	(-1)
#define ARRAY_MOST	SZ_64K
#define ETH_PAIR(what) .name = #what, .get = ETH(get_##what), .set = ETH(set_##what), \
	.which = WHICH_ANY
#define ETH_TOLD(what) .name = #what, .get = ETH(get_##what), .set = SET_NONE

/* Structure first: rings and channels before what refers to them. */
static const struct net_setting_desc net_settings[NET_SETTINGS] = {
	{ ETH_PAIR(msglevel) },
	{ ETH_PAIR(priv_flags) },
	{ ETH_PAIR(channels), .size = { sizeof(struct ethtool_channels) } },
	{ ETH_PAIR(ringparam), .size = { sizeof(struct ethtool_ringparam),
					 sizeof(struct kernel_ethtool_ringparam) } },
	{ ETH_PAIR(coalesce), .size = { sizeof(struct ethtool_coalesce),
					sizeof(struct kernel_ethtool_coalesce) } },
	{ ETH_PAIR(pauseparam), .size = { sizeof(struct ethtool_pauseparam) } },
	{ ETH_PAIR(link_ksettings), .size = { sizeof(struct ethtool_link_ksettings) } },
	{ ETH_PAIR(eee), .size = { sizeof(struct ethtool_eee) } },
	{ ETH_PAIR(wol), .size = { sizeof(struct ethtool_wolinfo) } },
	{ ETH_TOLD(drvinfo), .which = WHICH_ANY, .size = { sizeof(struct ethtool_drvinfo) } },
	{ ETH_TOLD(regs_len), .which = WHICH_ANY },
	{ ETH_TOLD(eeprom_len), .which = WHICH_ANY },
	{ ETH_TOLD(sset_count), .which = ETH_SS_STATS },
	{ ETH_TOLD(sset_count), .which = ETH_SS_TEST },
	{ ETH_TOLD(sset_count), .which = ETH_SS_PRIV_FLAGS },
	{ ETH_TOLD(strings), .which = ETH_SS_STATS, .array = true },
	{ ETH_TOLD(ethtool_stats), .which = WHICH_ANY, .array = true },
};

static size_t setting_size(const struct net_setting_desc *d)
{
	return d->size[0] ? d->size[0] + d->size[1] : sizeof(u64);
}

static void *array_save(const struct entry_desc *desc, const u64 *args)
{
	size_t len = min_t(size_t, desc->param[2].size(args), ARRAY_MOST);
	struct net_array *to = kmalloc(struct_size(to, data, len), GFP_KERNEL);

	if (to) {
		to->len = len;
		memcpy(to->data, (void *)args[2], len);
	}
	return to;
}

static void array_tell(const struct net_array *from, const struct entry_desc *desc, const u64 *args)
{
	memcpy((void *)args[2], from->data, min(from->len, desc->param[2].size(args)));
}

/* The structures of a call, one behind the other; or its value. */
static void *setting_save(const struct net_setting_desc *d, const struct entry_desc *desc,
			  const u64 *args, u64 value)
{
	void *to, *at;
	int i;

	if (d->array)
		return array_save(desc, args);
	to = kzalloc(setting_size(d), GFP_KERNEL);
	at = to;
	if (!to)
		return NULL;
	if (!d->size[0])
		*(u64 *)to = value;
	for (i = 0; i < NET_SETTING_ARGS && d->size[i]; i++, at += d->size[i - 1])
		if (args[1 + i])
			memcpy(at, (void *)args[1 + i], d->size[i]);
	return to;
}

static void setting_tell(const struct net_setting_desc *d, const struct entry_desc *desc,
			 const void *from, const u64 *args, u64 *ret)
{
	int i;

	if (d->array) {
		array_tell(from, desc, args);
		return;
	}
	*ret = d->size[0] ? 0 : *(const u64 *)from;
	for (i = 0; i < NET_SETTING_ARGS && d->size[i]; from += d->size[i], i++)
		if (args[1 + i])
			memcpy((void *)args[1 + i], from, d->size[i]);
}

static void setting_put(void **slot, void *value)
{
	kfree(*slot);
	*slot = value;
}

void netsetting_free(struct net_shadow *sh)
{
	int i;

	for (i = 0; i < NET_SETTINGS; i++) {
		setting_put(&sh->setting[i].known, NULL);
		setting_put(&sh->setting[i].wanted, NULL);
		setting_put(&sh->setting[i].asked, NULL);
	}
}

static int setting_of(u16 op, const u64 *args, bool *sets)
{
	const struct net_setting_desc *d;
	int i;

	for (i = 0; i < NET_SETTINGS; i++) {
		d = &net_settings[i];
		*sets = d->set == op;
		if (*sets || (d->get == op && (d->which == WHICH_ANY || d->which == (int)args[1])))
			return i;
	}
	return -1;
}

static bool setting_refused(const struct entry_desc *desc, u64 ret)
{
	return desc->ret == RET_INT && (int)ret;
}

/* A number that is an error says nothing. */
static bool setting_is_told(const struct net_setting_desc *d, const struct entry_desc *desc,
			    u64 ret)
{
	if (d->set == SET_NONE && desc->ret == RET_INT)
		return (int)ret >= 0;
	return !d->size[0] || !setting_refused(desc, ret);
}

/* @taken: the driver has, or the replay will */
static void setting_settle(struct net_setting *s, const struct net_setting_desc *d, bool taken)
{
	void *asked = s->asked;

	s->asked = NULL;
	if (!taken || !asked) {
		kfree(asked);
		return;
	}
	setting_put(&s->known, kmemdup(asked, setting_size(d), GFP_KERNEL));
	setting_put(&s->wanted, asked);
}

/*
 * Nobody is there. A request to set is remembered, one to tell is answered with what was last
 * known.
 */
static bool setting_answer(struct net_setting *s, const struct net_setting_desc *d,
			   const struct entry_desc *desc, bool sets, const u64 *args, u64 *ret)
{
	if (sets) {
		setting_settle(s, d, true);
		*ret = 0;
		return true;
	}
	if (!s->known)
		return false;
	setting_tell(d, desc, s->known, args, ret);
	return true;
}

bool nooks_shadow_ethtool(struct nook *nk, const struct entry_desc *desc, const u64 *args, u64 *ret,
			  enum shadow_when when)
{
	struct net_shadow *sh = netshadow_find(nk, (struct net_device *)args[0]);
	const struct net_setting_desc *d;
	struct net_setting *s = NULL;
	bool sets = false;
	int i;

	/*
	 * the kernel does not take rtnl for all that a driver's own code may call through a pointer
	 */
	if (!sh || !rtnl_is_locked())
		return false;
	i = setting_of(desc->op, args, &sets);
	if (i >= 0) {
		d = &net_settings[i];
		s = &sh->setting[i];
	}
	switch (when) {
	case SHADOW_BEFORE:
		if (s && sets)
			setting_put(&s->asked, setting_save(d, desc, args, args[1]));
		if (!netshadow_away(nk, sh)) {
			netanswer_note(sh, desc, args);
			return false;
		}
		*ret = desc->ret == RET_INT ? -EBUSY : 0;
		if (s)
			setting_answer(s, d, desc, sets, args, ret);
		else if (desc->op == ETH(self_test))
			((struct ethtool_test *)args[1])->flags |= ETH_TEST_FL_FAILED;
		return true;
	case SHADOW_JUDGE:
		return netanswer_ethtool(sh, desc->op, args, *ret);
	case SHADOW_AFTER:
		netanswer_settle(sh, args, false);
		*ret = netanswer_count(desc->op, *ret);
		if (s && sets)
			setting_settle(s, d, !setting_refused(desc, *ret));
		else if (s && setting_is_told(d, desc, *ret))
			setting_put(&s->known, setting_save(d, desc, args, *ret));
		return true;
	case SHADOW_DEAD:
		netanswer_settle(sh, args, true);
		if (s && netshadow_hides(nk, sh))
			setting_answer(s, d, desc, sets, args, ret);
		return true;
	}
	return false;
}

static void *setting_op(const struct ethtool_ops *ops, u16 op)
{
	return *(void * const *)((const void *)ops + op);
}

/* Scratch copies: what a driver does to its parameters is not remembered. */
static void setting_replay(struct net_shadow *sh, const struct net_setting_desc *d,
			   const struct net_setting *s, void *fn)
{
	int (*set)(struct net_device *dev, u64 a, void *b, struct netlink_ext_ack *extack) = fn;
	struct netlink_ext_ack extack = { 0 };
	void *copy = kmemdup(s->wanted, setting_size(d), GFP_KERNEL);
	int ret;

	if (!copy)
		return;
	if (d->size[0])
		ret = set(sh->dev, (u64)copy, copy + d->size[0], &extack);
	else
		ret = set(sh->dev, *(u64 *)copy, NULL, NULL);
	/* the result of a function without one means nothing */
	if (ret < 0 && d->set != ETH(set_msglevel))
		pr_warn("%s: the driver does not take its %s again (%d)\n", netdev_name(sh->dev),
			d->name, ret);
	kfree(copy);
}

void netsetting_replay(struct net_shadow *sh, const struct ethtool_ops *ops)
{
	int i;

	ASSERT_RTNL();
	for (i = 0; ops && i < NET_SETTINGS; i++)
		if (sh->setting[i].wanted && setting_op(ops, net_settings[i].set))
			setting_replay(sh, &net_settings[i], &sh->setting[i],
				       setting_op(ops, net_settings[i].set));
}

/* The answers are kept on their way, as those to anybody. */
void netsetting_learn(struct net_shadow *sh)
{
	const struct ethtool_ops *ops = sh->dev->ethtool_ops;
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	u8 *names;
	int n;

	ASSERT_RTNL();
	if (!ops)
		return;
	if (ops->get_drvinfo)
		ops->get_drvinfo(sh->dev, &info);
	if (ops->get_regs_len)
		ops->get_regs_len(sh->dev);
	if (ops->get_eeprom_len)
		ops->get_eeprom_len(sh->dev);
	if (!ops->get_sset_count || !ops->get_strings)
		return;
	ops->get_sset_count(sh->dev, ETH_SS_TEST);
	ops->get_sset_count(sh->dev, ETH_SS_PRIV_FLAGS);
	n = ops->get_sset_count(sh->dev, ETH_SS_STATS);
	names = n > 0 && n < ARRAY_MOST / ETH_GSTRING_LEN ?
		kcalloc(n, ETH_GSTRING_LEN, GFP_KERNEL) : NULL;
	if (names)
		ops->get_strings(sh->dev, ETH_SS_STATS, names);
	kfree(names);
}
