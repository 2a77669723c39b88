/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * nooks_trace.h - tracepoints of nooks.ko (events/nooks/ in tracefs)
 *
 * Fields have a fixed width and hold raw values; text is made in TP_printk. pynooks/trace/ reads
 * the same fields by name.
 *
 * Context: any but NMI, kernel view.
 */
#ifndef NOOKS_TRACE_ENUMS
#define NOOKS_TRACE_ENUMS

/* Steps of a recovery in their order; each is traced when it ends, with its duration. */
enum recov_step {
	RECOV_STEP_STOP,	/* no new entries, the device is quiet */
	RECOV_STEP_DRAIN,	/* live entries aborted and gone */
	RECOV_STEP_RELEASE,	/* what was tracked is given back */
	RECOV_STEP_RESTORE,	/* .data and .bss as before the first init */
	RECOV_STEP_INIT,	/* the driver's init ran again */
	RECOV_STEP_REPLAY,	/* what was configured is configured again */
	RECOV_STEP_DONE,	/* running again; the time is that of all steps */
	RECOV_STEP_FAILED,	/* stays stopped; the time is that of all steps */
};

enum nooks_object_op { NOOKS_OBJECT_ADD, NOOKS_OBJECT_DROP };

#endif

#undef TRACE_SYSTEM
#define TRACE_SYSTEM nooks

#if !defined(NOOKS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define NOOKS_TRACE_H

#include <linux/tracepoint.h>
#include "../nooks.h"

TRACE_DEFINE_ENUM(RECOV_STEP_STOP);
TRACE_DEFINE_ENUM(RECOV_STEP_DRAIN);
TRACE_DEFINE_ENUM(RECOV_STEP_RELEASE);
TRACE_DEFINE_ENUM(RECOV_STEP_RESTORE);
TRACE_DEFINE_ENUM(RECOV_STEP_INIT);
TRACE_DEFINE_ENUM(RECOV_STEP_REPLAY);
TRACE_DEFINE_ENUM(RECOV_STEP_DONE);
TRACE_DEFINE_ENUM(RECOV_STEP_FAILED);
TRACE_DEFINE_ENUM(NOOKS_LOADING);
TRACE_DEFINE_ENUM(NOOKS_RUNNING);
TRACE_DEFINE_ENUM(NOOKS_FAILED);
TRACE_DEFINE_ENUM(NOOKS_RECOVERING);
TRACE_DEFINE_ENUM(NOOKS_STOPPED);
TRACE_DEFINE_ENUM(NOOKS_RELEASED);

#define nooks_show_state(state)				\
	__print_symbolic(state,				\
		{ NOOKS_LOADING,	"LOADING" },	\
		{ NOOKS_RUNNING,	"RUNNING" },	\
		{ NOOKS_FAILED,		"FAILED" },	\
		{ NOOKS_RECOVERING,	"RECOVERING" },	\
		{ NOOKS_STOPPED,	"STOPPED" },	\
		{ NOOKS_RELEASED,	"RELEASED" })

#define nooks_show_step(step)				\
	__print_symbolic(step,				\
		{ RECOV_STEP_STOP,	"stop" },	\
		{ RECOV_STEP_DRAIN,	"drain" },	\
		{ RECOV_STEP_RELEASE,	"release" },	\
		{ RECOV_STEP_RESTORE,	"restore" },	\
		{ RECOV_STEP_INIT,	"init" },	\
		{ RECOV_STEP_REPLAY,	"replay" },	\
		{ RECOV_STEP_DONE,	"done" },	\
		{ RECOV_STEP_FAILED,	"failed" })

/* @name: entry_desc's name; NULL if the gate is not bound to one */
TRACE_EVENT(nooks_entry,
	TP_PROTO(u32 nook, u64 fn, const char *name),
	TP_ARGS(nook, fn, name),
	TP_STRUCT__entry(
		__field(u64, fn)
		__field(u32, nook)
		__array(char, name, NOOKS_NAME_LEN)
	),
	TP_fast_assign(
		__entry->fn = fn;
		__entry->nook = nook;
		strscpy(__entry->name, name ?: "?", NOOKS_NAME_LEN);
	),
	TP_printk("nook=%u fn=%ps name=%s", __entry->nook, (void *)(unsigned long)__entry->fn,
		  __entry->name)
);

TRACE_EVENT(nooks_entry_done,
	TP_PROTO(u32 nook, u64 fn, u64 ret),
	TP_ARGS(nook, fn, ret),
	TP_STRUCT__entry(
		__field(u64, fn)
		__field(u64, ret)
		__field(u32, nook)
	),
	TP_fast_assign(
		__entry->fn = fn;
		__entry->ret = ret;
		__entry->nook = nook;
	),
	TP_printk("nook=%u fn=%ps ret=%#llx", __entry->nook,
		  (void *)(unsigned long)__entry->fn, __entry->ret)
);

/* @index: of nooks_exits[]; @fn is its wrapper */
TRACE_EVENT(nooks_exit,
	TP_PROTO(u32 nook, u32 index),
	TP_ARGS(nook, index),
	TP_STRUCT__entry(
		__field(u64, fn)
		__field(u32, nook)
		__field(u32, index)
	),
	TP_fast_assign(
		__entry->fn = index < nooks_nexits ? (unsigned long)nooks_exits[index].fn : 0;
		__entry->nook = nook;
		__entry->index = index;
	),
	TP_printk("nook=%u index=%u fn=%ps", __entry->nook, __entry->index,
		  (void *)(unsigned long)__entry->fn)
);

TRACE_EVENT(nooks_fault,
	TP_PROTO(u32 nook, const struct nooks_fault *f),
	TP_ARGS(nook, f),
	TP_STRUCT__entry(
		__field(u64, vec)
		__field(u64, err)
		__field(u64, ip)
		__field(u64, addr)
		__field(u32, nook)
		__array(char, symbol, NOOKS_SYM_LEN)
		__array(char, what, NOOKS_WHAT_LEN)
		__array(char, entry, NOOKS_WHAT_LEN)
	),
	TP_fast_assign(
		__entry->vec = f->vec;
		__entry->err = f->err;
		__entry->ip = f->ip;
		__entry->addr = f->addr;
		__entry->nook = nook;
		memcpy(__entry->symbol, f->symbol, NOOKS_SYM_LEN);
		memcpy(__entry->what, f->what, NOOKS_WHAT_LEN);
		memcpy(__entry->entry, f->entry, NOOKS_WHAT_LEN);
	),
	TP_printk("nook=%u vec=%llu err=%#llx ip=%#llx (%.96s) addr=%#llx in=%.96s what=%.96s",
		  __entry->nook, __entry->vec, __entry->err, __entry->ip, __entry->symbol,
		  __entry->addr, __entry->entry, __entry->what)
);

/* @op: enum nooks_object_op */
TRACE_EVENT(nooks_object,
	TP_PROTO(u32 nook, u16 type, u64 addr, u64 size, u8 op),
	TP_ARGS(nook, type, addr, size, op),
	TP_STRUCT__entry(
		__field(u64, addr)
		__field(u64, size)
		__field(u32, nook)
		__field(u16, type)
		__field(u8, op)
	),
	TP_fast_assign(
		__entry->addr = addr;
		__entry->size = size;
		__entry->nook = nook;
		__entry->type = type;
		__entry->op = op;
	),
	TP_printk("nook=%u %s type=%u addr=%#llx size=%llu", __entry->nook,
		  __entry->op == NOOKS_OBJECT_ADD ? "add" : "drop", __entry->type,
		  __entry->addr, __entry->size)
);

TRACE_EVENT(nooks_state,
	TP_PROTO(u32 nook, u32 old_state, u32 new_state),
	TP_ARGS(nook, old_state, new_state),
	TP_STRUCT__entry(
		__field(u32, nook)
		__field(u32, old_state)
		__field(u32, new_state)
	),
	TP_fast_assign(
		__entry->nook = nook;
		__entry->old_state = old_state;
		__entry->new_state = new_state;
	),
	TP_printk("nook=%u %s -> %s", __entry->nook, nooks_show_state(__entry->old_state),
		  nooks_show_state(__entry->new_state))
);

TRACE_EVENT(nooks_recov_step,
	TP_PROTO(u32 nook, u32 step, u64 ns),
	TP_ARGS(nook, step, ns),
	TP_STRUCT__entry(
		__field(u64, ns)
		__field(u32, nook)
		__field(u32, step)
	),
	TP_fast_assign(
		__entry->ns = ns;
		__entry->nook = nook;
		__entry->step = step;
	),
	TP_printk("nook=%u step=%s ns=%llu", __entry->nook, nooks_show_step(__entry->step),
		  __entry->ns)
);

/* A store outside of what the nook owns; @type and @off only if a tracked object was hit. */
TRACE_EVENT(nooks_write,
	TP_PROTO(u32 nook, u64 ip, u64 addr, u16 type, u32 off, u8 allowed),
	TP_ARGS(nook, ip, addr, type, off, allowed),
	TP_STRUCT__entry(
		__field(u64, ip)
		__field(u64, addr)
		__field(u32, nook)
		__field(u32, off)
		__field(u16, type)
		__field(u8, allowed)
	),
	TP_fast_assign(
		__entry->ip = ip;
		__entry->addr = addr;
		__entry->nook = nook;
		__entry->off = off;
		__entry->type = type;
		__entry->allowed = allowed;
	),
	TP_printk("nook=%u %s ip=%pS addr=%#llx type=%u off=%u", __entry->nook,
		  __entry->allowed ? "allowed" : "denied", (void *)(unsigned long)__entry->ip,
		  __entry->addr, __entry->type, __entry->off)
);

#endif

/* Found through ccflags-y += -I$(src)/trace. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE nooks_trace
#include <trace/define_trace.h>
