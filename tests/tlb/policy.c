// SPDX-License-Identifier: GPL-2.0-only
/*
 * policy.c - send NOOKS_CMD_POLICY_SET for one driver, with no rules: policy NAME
 *
 * For guests without Python. Exit status 0 if the kernel acknowledged it.
 */
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nooks.h"

static struct {
	struct nlmsghdr n;
	struct genlmsghdr g;
	char attrs[4096];
} msg;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void begin(unsigned short type, unsigned char cmd)
{
	memset(&msg, 0, sizeof(msg));
	msg.n.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	msg.n.nlmsg_type = type;
	msg.n.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	msg.g.cmd = cmd;
	msg.g.version = 1;
}

static void put(unsigned short type, const void *data, unsigned short len)
{
	struct nlattr *a = (void *)((char *)&msg + NLMSG_ALIGN(msg.n.nlmsg_len));

	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + len;
	memcpy((char *)a + NLA_HDRLEN, data, len);
	msg.n.nlmsg_len = NLMSG_ALIGN(msg.n.nlmsg_len) + NLA_ALIGN(a->nla_len);
}

static int family_id(const char *at, const char *end)
{
	while (at + NLA_HDRLEN <= end) {
		const struct nlattr *a = (const void *)at;

		if (a->nla_type == CTRL_ATTR_FAMILY_ID)
			return *(const unsigned short *)(at + NLA_HDRLEN);
		at += NLA_ALIGN(a->nla_len);
	}
	return 0;
}

/* Send it and read up to the acknowledgement. Gives the family's id if one was in the answer. */
static int ask(int fd)
{
	static char buf[16384];
	int id = 0;

	if (send(fd, &msg, msg.n.nlmsg_len, 0) < 0)
		die("send");
	for (;;) {
		int len = recv(fd, buf, sizeof(buf), 0);
		struct nlmsghdr *n = (void *)buf;

		if (len < 0)
			die("recv");
		for (; NLMSG_OK(n, len); n = NLMSG_NEXT(n, len)) {
			if (n->nlmsg_type == NLMSG_ERROR) {
				const struct nlmsgerr *e = NLMSG_DATA(n);

				if (!e->error)
					return id;
				fprintf(stderr, "policy: %s\n", strerror(-e->error));
				exit(1);
			}
			id = family_id((char *)NLMSG_DATA(n) + GENL_HDRLEN,
				       (char *)n + n->nlmsg_len);
		}
	}
}

int main(int argc, char **argv)
{
	unsigned int level = NOOKS_LEVEL_PAGETABLE, limit_ms = 5000;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), id;

	if (fd < 0)
		die("socket");
	if (argc != 2) {
		fprintf(stderr, "usage: policy NAME\n");
		return 2;
	}
	begin(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	put(CTRL_ATTR_FAMILY_NAME, NOOKS_GENL_NAME, sizeof(NOOKS_GENL_NAME));
	id = ask(fd);
	begin(id, NOOKS_CMD_POLICY_SET);
	put(NOOKS_A_NAME, argv[1], strlen(argv[1]) + 1);
	put(NOOKS_A_LEVEL, &level, sizeof(level));
	put(NOOKS_A_LIMIT_MS, &limit_ms, sizeof(limit_ms));
	ask(fd);
	return 0;
}
