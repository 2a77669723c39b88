// SPDX-License-Identifier: GPL-2.0-only
/*
 * fault.c - an exception of domain code: serve it for the kernel, perform a checked write, or say
 * that the driver is at fault
 *
 * The kernel's own handlers must not see these: its #PF handler would find the write allowed in
 * init_mm and retry for ever, and its oops path would end the machine.
 *
 * Context: any but NMI; on the task's kernel stack below home, kernel view, interrupts off.
 */
#include <linux/kallsyms.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/trap_pf.h>
#include <asm/trapnr.h>
#include "control/control.h"
#include "core/core.h"
#include "domain/pgt.h"
#include "ksym/ksym.h"
#include "objtrack/objtrack.h"
#include "runtime/runtime.h"
#include "trace/nooks_trace.h"
#include "wrappers/wrappers.h"
#include "xpc/offsets.h"
#include "xpc/xpc.h"

#define XPC_SPURIOUS_MAX	10000

/* ---- checked writes ------------------------------------------------------------------------- */

struct write_check {
	struct nook *nk;
	const struct store *st;
	struct write_rule *rule;
	const char *object;		/* innermost one that was hit */
	u16 type;
	u32 off;
	bool published;
};

static struct write_rule *xpc_rule_for(struct write_check *c, u16 type, unsigned long start)
{
	const struct obj_type_desc *desc = obj_type_desc(type);
	u32 off = c->st->addr - start;

	if (desc->size && type != OBJ_PERCPU)
		off %= desc->size;		/* an array of them */
	c->object = desc->name;
	c->type = type;
	c->off = off;
	return policy_match(c->nk->policy, type, off, c->st->size);
}

static bool xpc_match_object(struct tracked *t, void *arg)
{
	struct write_check *c = arg;

	if (c->st->addr + c->st->size - 1 > t->it.last)
		return false;
	c->rule = xpc_rule_for(c, t->type, t->it.start);
	if (c->rule && policy_until_published(c->rule) && READ_ONCE(t->published)) {
		c->published = true;
		c->rule = NULL;
	}
	return c->rule;
}

static void xpc_find_rule(struct write_check *c)
{
	unsigned long addr = c->st->addr, task = (unsigned long)current;
	u64 percpu = addr - this_cpu_read(this_cpu_off);

	c->rule = policy_match_percpu(c->nk->policy, percpu, c->st->size);
	if (c->rule) {
		c->object = "percpu";
		c->type = OBJ_PERCPU;
		return;
	}
	if (addr >= task && addr + c->st->size <= task + sizeof(struct task_struct)) {
		c->rule = xpc_rule_for(c, OBJ_TASK_STRUCT, task);
		return;
	}
	objtrack_at(c->nk, addr, xpc_match_object, c);
	if (!c->object && nooks_skb_holds(c->nk, (void *)addr, c->st->size))
		c->rule = xpc_rule_for(c, OBJ_SKB_DATA, addr);
}

static bool xpc_value_allowed(const struct write_check *c)
{
	const struct store *st = c->st;

	if (!policy_value_any(c->rule) && (!st->plain || st->size != sizeof(void *)))
		return false;
	return policy_value_ok(c->nk, c->rule, st->value);
}

/* Return: true if the store was done and the driver goes on. */
static bool xpc_checked_write(struct xpc *x, struct pt_regs *regs, unsigned long addr)
{
	struct nook *nk = x->nook;
	struct store st;
	struct write_check c = { .nk = nk, .st = &st };
	bool allowed;
	int ret;

	ret = store_decode(&st, regs);
	if (ret) {
		snprintf(x->fault.what, sizeof(x->fault.what), "store that is not emulated (%d)", ret);
		return false;
	}
	if (st.addr != addr) {
		strscpy(x->fault.what, "store across the end of a grant", sizeof(x->fault.what));
		return false;
	}
	xpc_find_rule(&c);
	allowed = c.rule && xpc_value_allowed(&c);
	if (!allowed && (nk->flags & NOOKS_F_LEARN)) {
		learn_note(nk, c.object, c.off, st.size, regs->ip, addr);
		allowed = c.object;		/* memory that is nobody's is never written */
	}
	trace_nooks_write(nk->id, regs->ip, addr, c.type, c.off, allowed);
	if (!allowed) {
		atomic64_inc(&nk->denied);
		if (c.object)
			snprintf(x->fault.target, sizeof(x->fault.target), "%s+%#x", c.object, c.off);
		strscpy(x->fault.what, c.rule ? "value not allowed for this field" :
			c.published ? POLICY_PUBLISHED :
			c.object ? "no rule allows this write" : "write to memory it does not own",
			sizeof(x->fault.what));
		return false;
	}
	atomic64_inc(&nk->checked);
	if (c.rule)
		atomic64_inc(&c.rule->count);
	store_perform(&st, regs);
	return true;
}

/* ---- exceptions ----------------------------------------------------------------------------- */

static bool xpc_page_fault(struct xpc *x, struct pt_regs *regs, unsigned long addr)
{
	struct srcu_struct *users = &x->nook->objs.users;
	unsigned long err = regs->orig_ax, slow;
	bool done;
	int idx;

	if (!(err & X86_PF_PROT)) {
		if (pgt_lazy_sync(x->nook, addr))
			return true;
		strscpy(x->fault.what, addr < PAGE_SIZE ? "NULL dereference" : "access to unmapped memory",
			sizeof(x->fault.what));
		return false;
	}
	if (err & X86_PF_INSTR) {
		strscpy(x->fault.what, "jump to memory that is not code", sizeof(x->fault.what));
		return false;
	}
	if (!(err & X86_PF_WRITE))
		return false;
	if (pgt_writable(x->nook, addr))
		return x->spurious++ < XPC_SPURIOUS_MAX;
	slow = runtime_slow_way(regs->ip);
	if (slow) {
		regs->ip = slow;
		return true;
	}
	strscpy(x->fault.what, "write to memory it does not own", sizeof(x->fault.what));
	if (!pgt_kernel_writable(addr))
		return false;
	idx = srcu_read_lock(users);
	done = xpc_checked_write(x, regs, addr);
	srcu_read_unlock(users, idx);
	return done;
}

/* The kernel patches driver text (static keys) while the driver runs it. */
static bool xpc_breakpoint(struct xpc *x, struct pt_regs *regs)
{
	u8 byte;

	if (ksym_poke_int3_handler(regs))
		return true;
	if (copy_from_kernel_nofault(&byte, (void *)(regs->ip - 1), 1) || byte == INT3_INSN_OPCODE)
		return false;
	if (x->spurious++ >= XPC_SPURIOUS_MAX)
		return false;
	regs->ip--;			/* the patching is over: run what is there now */
	return true;
}

/* WARN() is an ud2 with an entry in the bug table; so is BUG(), which ends the entry. */
static bool xpc_invalid_op(struct xpc *x, struct pt_regs *regs)
{
	struct bug_entry *bug;
	u16 insn;

	if (copy_from_kernel_nofault(&insn, (void *)regs->ip, sizeof(insn)) || insn != INSN_UD2)
		return false;
	bug = ksym_find_bug(regs->ip);
	if (!bug)
		return false;
	if (!(bug->flags & BUGFLAG_WARNING)) {
		strscpy(x->fault.what, "BUG()", sizeof(x->fault.what));
		return false;
	}
	if (ksym_report_bug(regs->ip, regs) != BUG_TRAP_TYPE_WARN)
		return false;
	atomic64_inc(&x->nook->warns);
	regs->ip += LEN_UD2;
	return true;
}

static bool xpc_serve(struct xpc *x, struct pt_regs *regs, unsigned long vec, unsigned long addr)
{
	switch (vec) {
	case X86_TRAP_PF:
		if (xpc_page_fault(x, regs, addr))
			return true;
		break;
	case X86_TRAP_BP:
		if (xpc_breakpoint(x, regs))
			return true;
		break;
	case X86_TRAP_UD:
		if (xpc_invalid_op(x, regs))
			return true;
		break;
	case X86_TRAP_DB:
		set_debugreg(DR6_RESERVED, 6);
		return false;
	case X86_TRAP_DF:
		return false;
	}
	return ksym_fixup_exception(regs, vec, regs->orig_ax, addr);
}

static const char *xpc_vector_text(unsigned long vec)
{
	switch (vec) {
	case X86_TRAP_DE:
		return "division error";
	case X86_TRAP_DB:
		return "trap flag set";
	case X86_TRAP_BP:
		return "breakpoint";
	case X86_TRAP_UD:
		return "invalid instruction";
	case X86_TRAP_DF:
		return "stack overflow";
	case X86_TRAP_GP:
		return "general protection";
	case X86_TRAP_PF:
		return "page fault";
	default:
		return "exception";
	}
}

asmlinkage int xpc_fault(struct xpc *x, struct pt_regs *regs, unsigned long vec)
{
	unsigned long addr = read_cr2();
	struct nooks_fault *f = &x->fault;

	x->blamed = true;
	if (!READ_ONCE(x->abort) && xpc_serve(x, regs, vec, addr)) {
		atomic64_inc(&x->nook->resumed);
		f->what[0] = '\0';	/* what was suspected meanwhile */
		return FAULT_RESUME;
	}
	if (x->faulted)
		return FAULT_ABORT;
	x->faulted = true;
	f->vec = vec;
	f->err = regs->orig_ax;
	f->ip = regs->ip;
	f->addr = vec == X86_TRAP_PF ? addr : 0;
	f->sp = regs->sp;
	f->flags = regs->flags;
	x->regs = *regs;
	x->trapped = true;
	if (!f->what[0])
		strscpy(f->what, xpc_vector_text(vec), sizeof(f->what));
	return FAULT_ABORT;
}
