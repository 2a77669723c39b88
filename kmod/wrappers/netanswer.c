// SPDX-License-Identifier: GPL-2.0-only
/*
 * netanswer.c - answers of a network driver that the kernel would act on, and that make no sense
 *
 * The kernel believes what the operations of net_device_ops and ethtool_ops return: it allocates
 * memory by it, copies by it, and calls what a feature promises without asking whether it is there.
 *
 * Context: that of the operation, kernel view.
 */
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include "wrappers.h"
#include "wrappers/netshadow.h"

#define ANSWER_COUNT_MAX	SZ_64K		/* strings, statistics, entries of a table */
#define ANSWER_BYTES_MAX	SZ_16M		/* registers, a dump */
#define ANSWER_FLAGS_MAX	32		/* private flags: they are a u32 */

/* ---- features ------------------------------------------------------------------------------- */

#define VLAN_FILTERS	(NETIF_F_HW_VLAN_CTAG_FILTER | NETIF_F_HW_VLAN_STAG_FILTER)

static const struct {
	netdev_features_t features;
	u16 op;
} net_promises[] = {
	{ VLAN_FILTERS, NDO(ndo_vlan_rx_add_vid) },
	{ VLAN_FILTERS, NDO(ndo_vlan_rx_kill_vid) },
	{ NETIF_F_HW_L2FW_DOFFLOAD, NDO(ndo_dfwd_add_station) },
	{ NETIF_F_HW_L2FW_DOFFLOAD, NDO(ndo_dfwd_del_station) },
};

/* A net_device of a nook has no tlsdev_ops: no policy lets a driver set them. */
#define NET_NO_FEATURES	(NETIF_F_HW_TLS_TX | NETIF_F_HW_TLS_RX)

netdev_features_t netanswer_features(const struct net_device_ops *ops, netdev_features_t features)
{
	netdev_features_t empty = features & NET_NO_FEATURES;
	int i;

	for (i = 0; i < ARRAY_SIZE(net_promises); i++)
		if (!*(void * const *)((const void *)ops + net_promises[i].op))
			empty |= features & net_promises[i].features;
	return empty;
}

bool netanswer_netdev(const struct net_shadow *sh, u16 op, u64 ret)
{
	const struct net_device *dev = netshadow_view(sh);

	switch (op) {
	case NDO(ndo_init):
		return !(int)ret && netanswer_features(dev->netdev_ops,
						       dev->features | dev->hw_features);
	case NDO(ndo_fix_features):
		return netanswer_features(sh->dev->netdev_ops, ret);
	default:
		return false;
	}
}

/* ---- ethtool -------------------------------------------------------------------------------- */

/*
 * The structure that an operation is about, as it was before the driver got it. An operation may
 * lead to another one of the same device: dev_open() in a self test, and who is told of that.
 */
struct net_asked {
	struct net_asked *outer;
	const u64 *args;		/* of the call: whose this is */
	size_t size;
	u8 bytes[];
};

void netanswer_note(struct net_shadow *sh, const struct entry_desc *desc, const u64 *args)
{
	size_t size = desc->nargs > 1 && args[1] && desc->param[1].type >= OBJ_NR_CORE ?
		obj_type_desc(desc->param[1].type)->size : 0;
	struct net_asked *asked;

	ASSERT_RTNL();
	asked = size ? kmalloc(struct_size(asked, bytes, size), GFP_KERNEL | __GFP_NOFAIL) : NULL;
	if (!asked)
		return;
	asked->outer = sh->asked;
	asked->args = args;
	asked->size = size;
	memcpy(asked->bytes, (void *)args[1], size);
	sh->asked = asked;
}

void netanswer_settle(struct net_shadow *sh, const u64 *args, bool undo)
{
	struct net_asked *asked = sh->asked;

	ASSERT_RTNL();
	if (!asked || asked->args != args)
		return;
	sh->asked = asked->outer;
	if (undo)
		memcpy((void *)args[1], asked->bytes, asked->size);
	kfree(asked);
}

/* More than was asked for is copied to the user, from a buffer for what was. */
static bool answer_eeprom(const struct ethtool_eeprom *asked, const struct ethtool_eeprom *told)
{
	return told->len > asked->len;
}

/* The kernel goes on behind what was written: with 0, for ever. */
static bool answer_eeprom_set(const struct ethtool_eeprom *asked, const struct ethtool_eeprom *told)
{
	return told->len != asked->len;
}

static bool answer_test(const struct ethtool_test *asked, const struct ethtool_test *told)
{
	return told->len > asked->len;
}

static bool answer_rules(const struct ethtool_rxnfc *asked, const struct ethtool_rxnfc *told)
{
	return asked->cmd == ETHTOOL_GRXCLSRLALL && told->rule_cnt > asked->rule_cnt;
}

/* The kernel goes through what would be more than is asked for, one by one. */
static bool answer_channels(const struct ethtool_channels *c)
{
	const u32 counts[] = { c->max_rx, c->max_tx, c->max_other, c->max_combined,
			       c->rx_count, c->tx_count, c->other_count, c->combined_count };
	int i;

	for (i = 0; i < ARRAY_SIZE(counts); i++)
		if (counts[i] > ANSWER_COUNT_MAX)
			return true;
	return false;
}

bool netanswer_ethtool(const struct net_shadow *sh, u16 op, const u64 *args, u64 ret)
{
	const void *told = (void *)args[1], *asked = told;

	if (sh->asked && sh->asked->args == args)
		asked = sh->asked->bytes;
	switch (op) {
	case ETH(get_sset_count):
		return (int)ret > (args[1] == ETH_SS_PRIV_FLAGS ? ANSWER_FLAGS_MAX :
				   ANSWER_COUNT_MAX);
	case ETH(get_rxfh_indir_size):
	case ETH(get_rxfh_key_size):
		return (u32)ret > ANSWER_COUNT_MAX;
	case ETH(get_regs_len):
		return (int)ret > ANSWER_BYTES_MAX;
	case ETH(get_dump_flag):
		return ((const struct ethtool_dump *)told)->len > ANSWER_BYTES_MAX;
	case ETH(get_channels):
		return answer_channels(told);
	case ETH(get_eeprom):
	case ETH(get_module_eeprom):
		return answer_eeprom(asked, told);
	case ETH(set_eeprom):
		return answer_eeprom_set(asked, told);
	case ETH(self_test):
		return answer_test(asked, told);
	case ETH(get_rxnfc):
		return (int)ret >= 0 && answer_rules(asked, told);
	default:
		return false;
	}
}

u64 netanswer_count(u16 op, u64 ret)
{
	return op == ETH(get_sset_count) && !(int)ret ? -EOPNOTSUPP : ret;
}
