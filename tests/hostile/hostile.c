// SPDX-License-Identifier: GPL-2.0-only
/*
 * hostile.c - a driver that does on demand what no driver should
 *
 *	echo "NAME [HEX [HEX]]" > /sys/module/hostile/parameters/attack
 *
 * An ordinary module; pynooks relinks it like any driver. The write is an entry of its nook, so
 * each attack ends that entry, and the function's name stands in the fault's record.
 *
 * Never load it natively: every attack is meant.
 */
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/delay.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

typedef unsigned long word;

static word heap;			/* a block of its own */
module_param(heap, ulong, 0400);
static DEFINE_SPINLOCK(lock);
static word counter;

/* Nothing hostile: an entry with two exits. */
static noinline void hostile_ping(word a, word b)
{
	kfree(kmalloc(64, GFP_KERNEL));
	counter++;
}

static noinline void hostile_store(word a, word b)
{
	*(volatile word *)a = b;
}

static noinline void hostile_load(word a, word b)
{
	counter += *(volatile word *)a;
}

/* a: offset in the per-CPU area */
static noinline void hostile_percpu(word a, word b)
{
	asm volatile("movq %1, %%gs:(%0)" : : "r" (a), "r" (b) : "memory");
}

/* The nook's own top-level page table. a: the entry */
static noinline void hostile_own_table(word a, word b)
{
	word cr3;

	asm volatile("movq %%cr3, %0" : "=r" (cr3));
	((volatile word *)__va(cr3 & PAGE_MASK))[a] = b;
}

/* The table that the CPU has loaded, which is nooks.ko's. a: the vector */
static noinline void hostile_idt(word a, word b)
{
	struct { u16 size; u64 base; } __packed idt;

	asm volatile("sidt %0" : "=m" (idt));
	((volatile word *)idt.base)[2 * a] = b;
}

/* An allowed write to its own skb, then one to a neighbour in the slab page. */
static noinline void hostile_slab(word a, word b)
{
	struct sk_buff *skb = alloc_skb(128, GFP_KERNEL), *next;

	if (!skb)
		return;
	skb->protocol = htons(0x88b5);
	next = skb + 1;
	if (((word)next & ~PAGE_MASK) < sizeof(*skb))
		next = skb - 1;
	*(volatile __be16 *)&next->protocol = b;
}

static noinline void hostile_jump(word a, word b)
{
	((void (*)(void))a)();
}

static noinline void hostile_ud2(word a, word b)
{
	asm volatile("ud2");
}

static noinline void hostile_div0(word a, word b)
{
	asm volatile("xorl %%edx, %%edx\n\tmovl $1, %%eax\n\tdivl %0" : : "r" (0)
		     : "eax", "edx", "cc");
}

static noinline void hostile_int3(word a, word b)
{
	asm volatile("int3");
}

static noinline word hostile_recurse(word n)
{
	volatile char frame[256];

	frame[0] = n;
	if (n)
		frame[1] = hostile_recurse(n - 1);
	return frame[0] + frame[1];
}

static noinline void hostile_overflow(word a, word b)
{
	counter = hostile_recurse(1000000);
}

/* a: the new stack pointer */
static noinline void hostile_rsp(word a, word b)
{
	asm volatile("movq %0, %%rsp\n\tpushq $0" : : "r" (a) : "memory");
	unreachable();
}

static noinline void hostile_loop(word a, word b)
{
	for (;;)
		counter++;
}

static noinline void hostile_cli_loop(word a, word b)
{
	asm volatile("cli");
	for (;;)
		counter++;
}

static noinline void hostile_exit_loop(word a, word b)
{
	for (;;)
		kfree(kmalloc(64, GFP_KERNEL));
}

static noinline void hostile_sleep_loop(word a, word b)
{
	for (;;)
		msleep(1);
}

/* a: flags to set; b: then sleep with them */
static noinline void hostile_flags(word a, word b)
{
	asm volatile("pushfq\n\torq %0, (%%rsp)\n\tpopfq\n\tnop" : : "r" (a) : "cc", "memory");
	if (b)
		msleep(20);
}

static noinline void hostile_cli(word a, word b)
{
	asm volatile("cli");
}

/* With access to user memory on, write some. */
static noinline void hostile_stac(word a, word b)
{
	asm volatile("stac");
	*(volatile word *)a = b;
}

static noinline void hostile_kfree(word a, word b)
{
	kfree((void *)a);
}

static noinline void hostile_double_free(word a, word b)
{
	void *p = kmalloc(64, GFP_KERNEL);

	kfree(p);
	kfree(p);
}

static noinline void hostile_unlock(word a, word b)
{
	spin_unlock(&lock);
}

/* a: a lock that is not its own */
static noinline void hostile_lock_of(word a, word b)
{
	spin_lock((spinlock_t *)a);
}

static noinline void hostile_keep_lock(word a, word b)
{
	spin_lock(&lock);
}

static noinline void hostile_keep_preempt(word a, word b)
{
	preempt_disable();
}

static noinline void hostile_printk(word a, word b)
{
	pr_info("hostile says %s\n", (const char *)a);
}

static noinline void hostile_netdev(word a, word b)
{
	netif_carrier_on((struct net_device *)a);
}

static noinline void hostile_pci(word a, word b)
{
	u16 v;

	pci_read_config_word((struct pci_dev *)a, 0, &v);
}

/* The kernel writes its answer where the driver says. */
static noinline void hostile_memset(word a, word b)
{
	volatile size_t n = 64;

	memset((void *)a, (int)b, n);
}

#define ATTACK(n) { #n, hostile_##n }
static const struct {
	const char *name;
	void (*fn)(word a, word b);
} attacks[] = {
	ATTACK(ping), ATTACK(store), ATTACK(load), ATTACK(percpu), ATTACK(own_table), ATTACK(idt),
	ATTACK(slab), ATTACK(jump), ATTACK(ud2), ATTACK(div0), ATTACK(int3),
	ATTACK(overflow), ATTACK(rsp), ATTACK(loop), ATTACK(cli_loop), ATTACK(exit_loop),
	ATTACK(sleep_loop), ATTACK(flags), ATTACK(cli), ATTACK(stac), ATTACK(kfree),
	ATTACK(double_free), ATTACK(unlock), ATTACK(lock_of), ATTACK(keep_lock),
	ATTACK(keep_preempt), ATTACK(printk), ATTACK(netdev), ATTACK(pci), ATTACK(memset),
};

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

static int attack_set(const char *val, const struct kernel_param *kp)
{
	size_t n = hostile_word(val);
	const char *rest = val[n] == ' ' ? val + n + 1 : val + n;
	unsigned int i;
	word a, b;

	rest = hostile_hex(rest, &a);
	hostile_hex(rest, &b);
	for (i = 0; i < ARRAY_SIZE(attacks); i++) {
		if (strlen(attacks[i].name) != n || strncmp(attacks[i].name, val, n))
			continue;
		attacks[i].fn(a, b);
		return 0;
	}
	return -EINVAL;
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
	kfree((void *)heap);
}

module_init(hostile_init);
module_exit(hostile_exit);
MODULE_DESCRIPTION("Does what no driver should; for the tests of nooks.ko");
MODULE_LICENSE("GPL");
