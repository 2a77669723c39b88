// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c - a driver that does on demand what no driver should
 *
 *	echo "NAME [HEX [HEX]]" > /sys/module/hostile/parameters/attack
 *
 * An ordinary module; pynooks relinks it like any driver. The write is an entry of its nook, so
 * each attack ends that entry, and the function's name stands in the fault's record. What is
 * expected of each stands in cases.toml.
 *
 * Natively every attack is meant: load it only where nothing is lost.
 */
#include <linux/netdevice.h>
#include <linux/string.h>
#include "hostile.h"

word hostile_counter;

static word heap;			/* a block of its own */
module_param(heap, ulong, 0400);

/* Nothing hostile: an entry with two exits. */
static noinline int hostile_ping(word a, word b)
{
	kfree(kmalloc(64, GFP_KERNEL));
	hostile_counter++;
	return 0;
}

/* ---- what the kernel reads of a parameter ---------------------------------------------------- */

static char *text = "text";
module_param(text, charp, 0600);
static int list[4];
static int nlist = 4;
module_param_array(list, int, &nlist, 0400);

/* a: where the string is said to lie */
static noinline int hostile_param_string(word a, word b)
{
	WRITE_ONCE(text, (char *)a);
	return 0;
}

/* a: how many elements there are said to be */
static noinline int hostile_param_count(word a, word b)
{
	WRITE_ONCE(nlist, (int)a);
	return 0;
}

static const struct attack attacks_main[] = {
	ATTACK(ping), ATTACK(param_string), ATTACK(param_count), { }
};

static const struct attack * const attacks[] = {
	attacks_main, attacks_cpu, attacks_memory, attacks_context, attacks_timers, attacks_waits,
	attacks_net, attacks_skb, attacks_napi, attacks_pci, attacks_dma, attacks_teardown,
	attacks_answers,
};

/* ---- the parameter "attack" ------------------------------------------------------------------ */

static const char *hostile_hex(const char *s, word *v)
{
	for (*v = 0; *s && *s != ' ' && *s != '\n'; s++)
		*v = *v << 4 | ((*s & 15) + (*s > '9' ? 9 : 0));
	return *s == ' ' ? s + 1 : s;
}

static size_t hostile_word(const char *s)
{
	size_t n = 0;

	while (s[n] && s[n] != ' ' && s[n] != '\n')
		n++;
	return n;
}

static const struct attack *hostile_find(const char *name, size_t n)
{
	const struct attack *at;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(attacks); i++)
		for (at = attacks[i]; at->name; at++)
			if (strlen(at->name) == n && !strncmp(at->name, name, n))
				return at;
	return NULL;
}

static int attack_set(const char *val, const struct kernel_param *kp)
{
	size_t n = hostile_word(val);
	const struct attack *at = hostile_find(val, n);
	const char *rest = val[n] == ' ' ? val + n + 1 : val + n;
	word a, b;

	if (!at)
		return -EINVAL;
	rest = hostile_hex(rest, &a);
	hostile_hex(rest, &b);
	return at->fn(a, b);
}

static const struct kernel_param_ops attack_ops = { .set = attack_set };
module_param_cb(attack, &attack_ops, NULL, 0200);

static int __init hostile_init(void)
{
	word *p = kmalloc(64, GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	*p = 0x600d600d600d600d;
	heap = (word)p;
	return 0;
}

static void __exit hostile_exit(void)
{
	hostile_unclaim();
	kfree((void *)heap);
}

module_init(hostile_init);
module_exit(hostile_exit);
MODULE_DESCRIPTION("Does what no driver should; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
