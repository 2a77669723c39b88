/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * skbpool.h - what the slots of shadow packets (skbpool.c) need of the builder (skbbuild.c)
 */
#ifndef NOOKS_SKBPOOL_H
#define NOOKS_SKBPOOL_H

#include <linux/skbuff.h>
#include "nooks.h"

/* What the kernel reads of a shadow, once, so that the driver cannot change it meanwhile. */
struct skb_image {
	struct sk_buff skb;
	unsigned int off, len;		/* of the head's data, from its mac header on */
	unsigned int pull;		/* bytes of it that are before skb->data */
};

/**
 * skb_image_take() - read a shadow, once
 * @room: bytes behind its head
 *
 * Return: true if its lengths fit in there and agree with each other.
 */
bool skb_image_take(struct skb_image *im, const struct sk_buff *shadow, unsigned int room);

/* What a driver says about a packet that it has received, as far as the stack can live with it. */
void skb_image_apply(const struct sk_buff *from, struct sk_buff *skb);

/**
 * nooks_skb_build() - the real packet of a shadow that nothing stands behind yet
 * @shadow: "own" slot
 * @napi:   whose poll runs, or NULL
 *
 * A fragment or pages of the shadow are the packet's then, or gone.
 * Return: the packet, or NULL: no memory, or rejected.
 */
struct sk_buff *nooks_skb_build(struct xpc *x, const char *fn, struct sk_buff *shadow,
				struct napi_struct *napi);

#endif
