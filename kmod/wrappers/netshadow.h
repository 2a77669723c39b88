/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * wrappers/netshadow.h - the shadow driver for network devices: what its files share
 *
 * A net_device is the kernel's, and outlives its driver. When a nook that is to come back is
 * released, its registered devices are parked: no packet moves, the kernel keeps them, and with
 * them addresses, routes, sockets, disciplines and upper devices. The driver's next probe asks for
 * a net_device and gets the parked one, staged (domain/shadow.h): it describes it again as if it
 * were new. When init has returned, what the kernel wants of the device is replayed, and it runs.
 *
 *	NEW -> LIVE -> PARKED -> STAGED -> REJOINED -> HALTED -> LIVE
 *	                  ^---------'---------'----------'  the new driver died, too
 */
#ifndef NOOKS_NETSHADOW_H
#define NOOKS_NETSHADOW_H

#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include "nooks.h"

/* entry_desc.op of an operation */
#define NDO(member)	offsetof(struct net_device_ops, member)
#define ETH(member)	offsetof(struct ethtool_ops, member)

enum net_phase {
	NET_NEW,			/* not registered, or not any more */
	NET_LIVE,			/* the driver runs it */
	NET_PARKED,			/* the driver is gone, the device is not */
	NET_STAGED,			/* a new driver's probe has it */
	NET_REJOINED,			/* and has registered it; the replay is still to come */
	NET_HALTED,			/* and its device has forgotten what it did before */
};

#define NET_SETTINGS	17		/* rows of netsetting.c */
#define NET_SETTING_ARGS 2

/* What the driver was told, or has told, of one thing that only drivers remember. rtnl. */
struct net_setting {
	void *known;			/* the last answer, or the last value that was taken */
	void *wanted;			/* what was set since it was new; replayed */
	void *asked;			/* what is being set */
};

/* What a driver has said, when it registered its device, that it can do. */
struct net_declared {
	netdev_features_t hw, vlan, enc, mpls;
};

/**
 * struct net_shadow - what is remembered of one net_device
 * @origin: the device whose probe allocated it, referenced; NULL: none
 * @fresh:  its bytes when it was new
 * @view:   while staged: what the driver describes. Freed with the stage.
 * @addr:   address that the driver has found in its device, valid if @has_addr
 * @told:   statistics that this life of the driver has told; @before: those of its earlier lives
 */
struct net_shadow {
	struct list_head node;		/* nook->netdevs_lock */
	struct rcu_head rcu;
	struct net_device *dev;		/* const */
	struct device *origin;		/* const */
	size_t priv;			/* const; bytes */
	unsigned int txqs, rxqs;	/* const */
	enum net_phase phase;		/* rtnl once registered */
	struct net_device *fresh;	/* const */
	struct net_device *view;
	struct net_declared declared;	/* const once registered */
	u8 addr[MAX_ADDR_LEN];
	bool has_addr;
	bool no_link;			/* as the driver sees it, when @awaits_link or staged */
	/* packets wait for the link, and the kernel does not know */
	bool awaits_link;
	bool leaving;			/* netshadow_gone() is unregistering it */
	bool started;			/* as the driver sees it, when @awaits_link */
	struct delayed_work link_work;	/* patience has an end */
	struct nook *nook;		/* const */
	raw_spinlock_t stats_lock;
	struct rtnl_link_stats64 told, before;	/* stats_lock */
	struct net_device_stats legacy;	/* what ndo_get_stats points at */
	struct net_setting setting[NET_SETTINGS];
	struct net_xmit *xmit;		/* const; @txqs of them (netxmit.c) */
	u64 xmit_waits;			/* TSC: until then a queue is held there */
	/* jiffies, when the first of @timeouts was; tx_global_lock */
	unsigned long timeout_at;
	/* transmit timeouts without a packet that was sent; tx_global_lock */
	u32 timeouts;
	u64 timeout_sent;		/* what had been sent then; tx_global_lock */
	struct net_asked *asked;	/* rtnl; netanswer.c */
	bool still;			/* a queue is stopped, and nothing was sent since ... */
	unsigned long still_since;	/* jiffies; nooks_net_look() */
	u64 still_sent;
};

/* ---- netshadow.c: life ---------------------------------------------------------------------- */
struct net_shadow *netshadow_create(struct nook *nk, struct net_device *dev, struct device *origin,
				    size_t priv, unsigned int txqs, unsigned int rxqs);
void netshadow_destroy(struct nook *nk, struct net_shadow *sh);		/* NULL is fine */
/* or NULL */
struct net_shadow *netshadow_find(struct nook *nk, const struct net_device *dev);

/* The parked device that a probe of @origin asks for again, or NULL. */
struct net_shadow *netshadow_parked(struct nook *nk, const struct device *origin, size_t priv,
				    unsigned int txqs, unsigned int rxqs);

/* The driver is not there, or not ready for others than who restarts it. Any context. */
bool netshadow_away(const struct nook *nk, const struct net_shadow *sh);

/* The device is coming back: the kernel need not know that its driver is dead. Any context. */
bool netshadow_hides(const struct nook *nk, const struct net_shadow *sh);

/* It has just been registered: rtnl held. */
void netshadow_declared(struct net_shadow *sh);

/* rtnl held, the nook is dead and empty, its napis are stopped. */
void netshadow_park(struct net_shadow *sh);

/*
 * netcarrier.c: the link of a device that starts again. Staged: nothing is known yet; started: is
 * netif_running() true to the driver, as ndo_open and an interrupt in it expect; replay: rtnl held
 */
void netcarrier_stage(struct net_shadow *sh);
void netcarrier_started(struct net_shadow *sh, bool started);
void netcarrier_replayed(struct net_shadow *sh);
void netcarrier_init(struct net_shadow *sh);
void netcarrier_deinit(struct net_shadow *sh);

/* The device as the driver sees it: what it describes while it is staged, else itself. */
static inline const struct net_device *netshadow_view(const struct net_shadow *sh)
{
	return sh->view ?: sh->dev;
}

/* ---- netxmit.c: packets that its driver does not have yet. Process, may sleep ---------------- */
int netxmit_create(struct net_shadow *sh);	/* 0, -ENOMEM */
void netxmit_destroy(struct net_shadow *sh);
void netxmit_drop(struct net_shadow *sh);	/* the driver is not to get them */
bool netxmit_waits(const struct net_shadow *sh);	/* for company; any context. NULL: false */

/* ---- nettimeout.c: the driver has been told of a transmit timeout. Softirq ------------------- */
void nettimeout_note(struct nook *nk, struct net_shadow *sh, const struct entry_desc *desc);

/* ---- netanswer.c: what a driver tells the kernel -------------------------------------------- */

/* Those of @features for which the driver has not what the kernel calls for them. */
netdev_features_t netanswer_features(const struct net_device_ops *ops, netdev_features_t features);

/* Can the kernel not go by what the operation has answered? @op: offset in its structure */
bool netanswer_netdev(const struct net_shadow *sh, u16 op, u64 ret);
bool netanswer_ethtool(const struct net_shadow *sh, u16 op, const u64 *args, u64 ret);

/*
 * netanswer_note() - remember the structure that an operation is about, before the driver gets it
 * netanswer_settle() - forget that, and if the driver has died (@undo) make it what it was: what it
 *	has written there by then is not for the kernel to go by
 * @args: of the call. Context: rtnl, may sleep
 */
void netanswer_note(struct net_shadow *sh, const struct entry_desc *desc, const u64 *args);
void netanswer_settle(struct net_shadow *sh, const u64 *args, bool undo);

/* A set of strings of which there are none is one that the driver does not know. */
u64 netanswer_count(u16 op, u64 ret);

/* ---- netsetting.c: what ethtool sets -------------------------------------------------------- */
void netsetting_replay(struct net_shadow *sh, const struct ethtool_ops *ops);	/* rtnl */
void netsetting_learn(struct net_shadow *sh);	/* rtnl; calls the driver */
void netsetting_free(struct net_shadow *sh);

#endif
