// SPDX-License-Identifier: GPL-2.0-only
/* answers.c - what the operations of a network device tell the kernel */
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include "hostile.h"

#define BLOCK	64

static int strings = 1, registers = BLOCK;
static word eeprom_more, test_more, rules, split, channels;
static bool eeprom_nothing;
static netdev_features_t more_features;

static netdev_tx_t answers_xmit(struct sk_buff *skb, struct net_device *dev)
{
	dev_kfree_skb_any(skb);
	return NETDEV_TX_OK;
}

static int answers_open(struct net_device *dev)
{
	return 0;
}

static noinline netdev_features_t hostile_fix(struct net_device *dev, netdev_features_t features)
{
	return features | more_features;
}

static const struct net_device_ops answers_ops = {
	.ndo_open = answers_open, .ndo_start_xmit = answers_xmit, .ndo_fix_features = hostile_fix,
};

static const struct net_device_ops deaf_ops = { .ndo_open = answers_open };

static noinline int hostile_strings_count(struct net_device *dev, int set)
{
	return strings;
}

static void answers_strings(struct net_device *dev, u32 set, u8 *data)
{
}

static void answers_stats(struct net_device *dev, struct ethtool_stats *stats, u64 *data)
{
}

static noinline int hostile_regs_len(struct net_device *dev)
{
	return registers;
}

static void answers_regs(struct net_device *dev, struct ethtool_regs *regs, void *to)
{
}

static int answers_eeprom_len(struct net_device *dev)
{
	return BLOCK;
}

static noinline int hostile_get_eeprom(struct net_device *dev, struct ethtool_eeprom *e, u8 *to)
{
	e->len += eeprom_more;
	return 0;
}

static noinline int hostile_set_eeprom(struct net_device *dev, struct ethtool_eeprom *e, u8 *from)
{
	if (eeprom_nothing)
		e->len = 0;
	return 0;
}

static noinline void hostile_self_test(struct net_device *dev, struct ethtool_test *test, u64 *to)
{
	test->len += test_more;
}

static noinline int hostile_rules(struct net_device *dev, struct ethtool_rxnfc *nfc, u32 *to)
{
	if (nfc->cmd == ETHTOOL_GRXCLSRLALL)
		nfc->rule_cnt = rules;
	else if (nfc->cmd == ETHTOOL_GRXCLSRLCNT)
		nfc->rule_cnt = 1;
	else
		nfc->data = 1;
	return 0;
}

static noinline void hostile_rings(struct net_device *dev, struct ethtool_ringparam *ring,
				   struct kernel_ethtool_ringparam *more,
				   struct netlink_ext_ack *ack)
{
	ring->rx_max_pending = 1;
	if (split)
		more->tcp_data_split = split;
}

static noinline void hostile_channels(struct net_device *dev, struct ethtool_channels *c)
{
	c->max_combined = 2;
	c->combined_count = channels;
}

static int answers_set_channels(struct net_device *dev, struct ethtool_channels *c)
{
	return 0;
}

static void answers_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, "hostile", sizeof(info->driver));
}

static u32 answers_flags(struct net_device *dev)
{
	return 0;
}

static const struct ethtool_ops answers_eth_ops = {
	.get_sset_count = hostile_strings_count, .get_strings = answers_strings,
	.get_ethtool_stats = answers_stats, .get_regs_len = hostile_regs_len,
	.get_regs = answers_regs, .get_eeprom_len = answers_eeprom_len,
	.get_eeprom = hostile_get_eeprom, .set_eeprom = hostile_set_eeprom,
	.self_test = hostile_self_test, .get_rxnfc = hostile_rules,
	.get_ringparam = hostile_rings, .get_drvinfo = answers_drvinfo,
	.get_priv_flags = answers_flags, .get_channels = hostile_channels,
	.set_channels = answers_set_channels,
};

static int answers_coalesce(struct net_device *dev, struct ethtool_coalesce *c,
			    struct kernel_ethtool_coalesce *more, struct netlink_ext_ack *ack)
{
	return 0;
}

static const struct ethtool_ops coalesce_eth_ops = { .set_coalesce = answers_coalesce };

static struct net_device *answers_new(void)
{
	static const u8 address[ETH_ALEN] = { 2, 0, 0, 0, 0, 1 };
	struct net_device *dev = alloc_etherdev(sizeof(word));

	if (!dev)
		return NULL;
	strcpy(dev->name, "hostile0");
	dev->netdev_ops = &answers_ops;
	dev->ethtool_ops = &answers_eth_ops;
	eth_hw_addr_set(dev, address);
	dev->hw_features = NETIF_F_RXCSUM;
	return dev;
}

static int answers_register(void)
{
	return hostile_netdev_keep(answers_new());
}

/* ---- what is registered ---------------------------------------------------------------------- */

/* a: features that it has, b: that users may switch on */
static noinline int hostile_promises(word a, word b)
{
	struct net_device *dev = answers_new();

	dev->features |= a;
	dev->hw_features |= b;
	return register_netdev(dev);
}

static noinline int hostile_promises_late(word a, word b)
{
	struct net_device *dev = answers_new();
	int ret = register_netdev(dev);

	WRITE_ONCE(dev->hw_features, a);
	return ret;
}

static noinline int hostile_cannot_send(word a, word b)
{
	struct net_device *dev = answers_new();

	dev->netdev_ops = &deaf_ops;
	return register_netdev(dev);
}

static noinline int hostile_coalesce_nothing(word a, word b)
{
	struct net_device *dev = answers_new();

	dev->ethtool_ops = &coalesce_eth_ops;
	return register_netdev(dev);
}

/* ---- what is answered, when somebody asks ---------------------------------------------------- */

static noinline int hostile_features_more(word a, word b)
{
	more_features = a;
	return answers_register();
}

static noinline int hostile_strings_many(word a, word b)
{
	strings = a;
	return answers_register();
}

static noinline int hostile_regs_many(word a, word b)
{
	registers = a;
	return answers_register();
}

static noinline int hostile_eeprom_more(word a, word b)
{
	eeprom_more = a;
	return answers_register();
}

static noinline int hostile_eeprom_nothing(word a, word b)
{
	eeprom_nothing = true;
	return answers_register();
}

static noinline int hostile_test_more(word a, word b)
{
	test_more = a;
	return answers_register();
}

static noinline int hostile_rules_more(word a, word b)
{
	rules = a;
	return answers_register();
}

static noinline int hostile_split(word a, word b)
{
	split = a;
	return answers_register();
}

static noinline int hostile_channels_many(word a, word b)
{
	channels = a;
	return answers_register();
}

const struct attack attacks_answers[] = {
	ATTACK(promises), ATTACK(promises_late), ATTACK(cannot_send), ATTACK(coalesce_nothing),
	ATTACK(features_more), ATTACK(strings_many), ATTACK(regs_many), ATTACK(eeprom_more),
	ATTACK(eeprom_nothing), ATTACK(test_more), ATTACK(rules_more), ATTACK(split),
	ATTACK(channels_many), { }
};
