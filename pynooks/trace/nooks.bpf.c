// SPDX-License-Identifier: GPL-2.0-only
/*
 * nooks.bpf.c - nooks:* tracepoints into one ring buffer, for bcc
 *
 * Nothing is included: the tracepoints' format files have all types that are needed, and each
 * header costs seconds of compilation in a guest. CALLS, OBJECTS, WRITES are -D switches, because
 * a tracepoint that nobody probes costs nothing.
 *
 * struct record and KIND_* are known to tracer.py.
 */
enum { KIND_FAULT = 1, KIND_STATE, KIND_STEP, KIND_ENTRY, KIND_EXIT, KIND_OBJECT, KIND_WRITE };

#define TEXT 96

struct small {
	u64 time;
	u32 kind, nook;
	u64 a, b, c, d;
};

struct record {
	struct small s;
	char text[3][TEXT];
};

BPF_RINGBUF_OUTPUT(events, 256);
BPF_ARRAY(lost, u64, 1);

static __always_inline void count_lost(void)
{
	int zero = 0;
	u64 *n = lost.lookup(&zero);

	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline void put(u32 kind, u32 nook, u64 a, u64 b, u64 c, u64 d)
{
	struct small s = { .time = bpf_ktime_get_ns(), .kind = kind, .nook = nook,
			   .a = a, .b = b, .c = c, .d = d };

	if (events.ringbuf_output(&s, sizeof(s), 0))
		count_lost();
}

TRACEPOINT_PROBE(nooks, nooks_fault)
{
	struct record *r = events.ringbuf_reserve(sizeof(struct record));

	if (!r) {
		count_lost();
		return 0;
	}
	r->s.time = bpf_ktime_get_ns();
	r->s.kind = KIND_FAULT;
	r->s.nook = args->nook;
	r->s.a = args->vec;
	r->s.b = args->err;
	r->s.c = args->ip;
	r->s.d = args->addr;
	bpf_probe_read_kernel(r->text[0], TEXT, args->symbol);
	bpf_probe_read_kernel(r->text[1], TEXT, args->what);
	bpf_probe_read_kernel(r->text[2], TEXT, args->entry);
	events.ringbuf_submit(r, 0);
	return 0;
}

TRACEPOINT_PROBE(nooks, nooks_state)
{
	put(KIND_STATE, args->nook, args->old_state, args->new_state, 0, 0);
	return 0;
}

TRACEPOINT_PROBE(nooks, nooks_recov_step)
{
	put(KIND_STEP, args->nook, args->step, args->ns, 0, 0);
	return 0;
}

#ifdef CALLS
TRACEPOINT_PROBE(nooks, nooks_entry)
{
	put(KIND_ENTRY, args->nook, args->fn, 0, 0, 0);
	return 0;
}

TRACEPOINT_PROBE(nooks, nooks_exit)
{
	put(KIND_EXIT, args->nook, args->fn, args->index, 0, 0);
	return 0;
}
#endif

#ifdef OBJECTS
TRACEPOINT_PROBE(nooks, nooks_object)
{
	put(KIND_OBJECT, args->nook, args->addr, args->size, args->type, args->op);
	return 0;
}
#endif

#ifdef WRITES
TRACEPOINT_PROBE(nooks, nooks_write)
{
	put(KIND_WRITE, args->nook, args->ip, args->addr, (u64)args->type << 32 | args->off,
	    args->allowed);
	return 0;
}
#endif
