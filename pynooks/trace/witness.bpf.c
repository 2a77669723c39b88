// SPDX-License-Identifier: GPL-2.0-only
/*
 * witness.bpf.c - what happens to the kernel, told by the kernel itself and not by nooks.ko
 *
 * Little is included, see nooks.bpf.c. NETDEV_FLAGS is the offset of net_device.flags, from the
 * target's BTF; net_device.name is its first member.
 *
 * struct record and KIND_* are known to tracer.py. Whoever does not read the events still has their
 * counts.
 */
#include <uapi/linux/ptrace.h>

enum { KIND_OOPS = 1, KIND_WARN, KIND_PANIC, KIND_REGISTER, KIND_UNREGISTER, KIND_UP, KIND_DOWN,
       KIND_LOAD, KIND_FREE, KINDS };

#define TEXT 64
#define UP 1	/* IFF_UP */

struct record {
	u64 time;
	u32 kind, cpu;
	u64 ip;
	char text[TEXT];
};

BPF_RINGBUF_OUTPUT(events, 64);
BPF_ARRAY(lost, u64, 1);
BPF_ARRAY(counts, u64, KINDS);

static __always_inline void count(u64 *n)
{
	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline struct record *take(u32 kind)
{
	struct record *r = events.ringbuf_reserve(sizeof(struct record));
	int at = kind, zero = 0;

	count(counts.lookup(&at));
	if (!r) {
		count(lost.lookup(&zero));
		return r;
	}
	r->time = bpf_ktime_get_ns();
	r->kind = kind;
	r->cpu = bpf_get_smp_processor_id();
	r->ip = 0;
	r->text[0] = 0;
	return r;
}

static __always_inline void tell(u32 kind, u64 ip, const void *text)
{
	struct record *r = take(kind);

	if (!r)
		return;
	r->ip = ip;
	if (text)
		bpf_probe_read_kernel_str(r->text, TEXT, text);
	events.ringbuf_submit(r, 0);
}

int kprobe__oops_enter(struct pt_regs *ctx)
{
	tell(KIND_OOPS, 0, 0);
	return 0;
}

/* __warn(file, line, caller, taint, regs, args) */
int kprobe____warn(struct pt_regs *ctx)
{
	tell(KIND_WARN, PT_REGS_PARM3(ctx), (void *)PT_REGS_PARM1(ctx));
	return 0;
}

int kprobe__panic(struct pt_regs *ctx)
{
	tell(KIND_PANIC, 0, (void *)PT_REGS_PARM1(ctx));
	return 0;
}

int kprobe__netdev_register_kobject(struct pt_regs *ctx)
{
	tell(KIND_REGISTER, 0, (void *)PT_REGS_PARM1(ctx));
	return 0;
}

int kprobe__netdev_unregister_kobject(struct pt_regs *ctx)
{
	tell(KIND_UNREGISTER, 0, (void *)PT_REGS_PARM1(ctx));
	return 0;
}

/* __dev_notify_flags(dev, old_flags, gchanges) */
int kprobe____dev_notify_flags(struct pt_regs *ctx)
{
	void *dev = (void *)PT_REGS_PARM1(ctx);
	u32 old = PT_REGS_PARM2(ctx), now = 0;

	bpf_probe_read_kernel(&now, sizeof(now), dev + NETDEV_FLAGS);
	if ((old ^ now) & UP)
		tell(now & UP ? KIND_UP : KIND_DOWN, 0, dev);
	return 0;
}

TRACEPOINT_PROBE(module, module_load)
{
	struct record *r = take(KIND_LOAD);

	if (r) {
		TP_DATA_LOC_READ_STR(r->text, name, TEXT);
		events.ringbuf_submit(r, 0);
	}
	return 0;
}

TRACEPOINT_PROBE(module, module_free)
{
	struct record *r = take(KIND_FREE);

	if (r) {
		TP_DATA_LOC_READ_STR(r->text, name, TEXT);
		events.ringbuf_submit(r, 0);
	}
	return 0;
}
