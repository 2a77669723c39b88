// SPDX-License-Identifier: GPL-2.0-only
/*
 * emulate.c - perform one store of the driver on its behalf
 *
 * Covers what compilers emit for stores to memory: moves, ALU operations, INC/DEC/NOT/NEG, bit
 * operations, SETcc, XCHG, XADD, CMPXCHG, MOVNTI, STOS and MOVS, with any prefix. Read-modify-write
 * is always done locked: a locked one stays atomic, and for a plain one it does not matter. What is
 * not covered is the driver's fault, with the instruction in the record.
 *
 * The kernel's decoder finds the operands (arch/x86/lib/insn.c); what each opcode does is here.
 *
 * Context: any, kernel view.
 */
#include <linux/kernel.h>
#include <linux/uaccess.h>
#include <asm/insn.h>
#include <asm/processor-flags.h>
#include "ksym/ksym.h"
#include "xpc/xpc.h"

#define ARITH_FLAGS (X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | \
		     X86_EFLAGS_SF | X86_EFLAGS_OF)

enum store_op {
	/* numbered as the ALU group's /digit */
	OP_ADD, OP_OR, OP_ADC, OP_SBB, OP_AND, OP_SUB, OP_XOR,
	OP_MOV = 8, OP_INC, OP_DEC, OP_NOT, OP_NEG, OP_BTS, OP_BTR, OP_BTC,
	OP_XCHG, OP_XADD, OP_CMPXCHG, OP_SHIFT, OP_STOS, OP_MOVS,
};

static unsigned long *store_reg(struct pt_regs *regs, unsigned int n)
{
	static const u16 at[16] = {
		offsetof(struct pt_regs, ax), offsetof(struct pt_regs, cx),
		offsetof(struct pt_regs, dx), offsetof(struct pt_regs, bx),
		offsetof(struct pt_regs, sp), offsetof(struct pt_regs, bp),
		offsetof(struct pt_regs, si), offsetof(struct pt_regs, di),
		offsetof(struct pt_regs, r8), offsetof(struct pt_regs, r9),
		offsetof(struct pt_regs, r10), offsetof(struct pt_regs, r11),
		offsetof(struct pt_regs, r12), offsetof(struct pt_regs, r13),
		offsetof(struct pt_regs, r14), offsetof(struct pt_regs, r15),
	};

	return (unsigned long *)((char *)regs + at[n & 15]);
}

/* Without REX, byte registers 4..7 are AH, CH, DH, BH. */
static bool store_high_byte(const struct insn *insn, unsigned int n, u32 size)
{
	return size == 1 && !insn->rex_prefix.nbytes && n >= 4 && n < 8;
}

static u64 store_get_reg(const struct insn *insn, struct pt_regs *regs, unsigned int n, u32 size)
{
	u64 v;

	if (store_high_byte(insn, n, size))
		return (*store_reg(regs, n - 4) >> 8) & 0xff;
	v = *store_reg(regs, n);
	return size == 8 ? v : v & (BIT_ULL(size * 8) - 1);
}

static void store_put_reg(bool high, struct pt_regs *regs, unsigned int n, u32 size, u64 v)
{
	unsigned long *r = store_reg(regs, high ? n - 4 : n);

	switch (size) {
	case 1:
		if (high)
			*r = (*r & ~0xff00UL) | (v & 0xff) << 8;
		else
			*r = (*r & ~0xffUL) | (v & 0xff);
		break;
	case 2:
		*r = (*r & ~0xffffUL) | (v & 0xffff);
		break;
	case 4:
		*r = (u32)v;
		break;
	default:
		*r = v;
	}
}

static unsigned long store_address(const struct insn *insn, struct pt_regs *regs)
{
	unsigned int mod = X86_MODRM_MOD(insn->modrm.value);
	unsigned int rm = X86_MODRM_RM(insn->modrm.value);
	unsigned long ea = insn->displacement.value;
	int i;

	if (rm == 4) {
		unsigned int base = X86_SIB_BASE(insn->sib.value);
		unsigned int index = X86_SIB_INDEX(insn->sib.value) |
				     (X86_REX_X(insn->rex_prefix.value) ? 8 : 0);

		if (base != 5 || mod)
			ea += *store_reg(regs, base | (X86_REX_B(insn->rex_prefix.value) ? 8 : 0));
		if (index != 4)
			ea += *store_reg(regs, index) << X86_SIB_SCALE(insn->sib.value);
	} else if (rm == 5 && !mod) {
		ea += regs->ip + insn->length;
	} else {
		ea += *store_reg(regs, rm | (X86_REX_B(insn->rex_prefix.value) ? 8 : 0));
	}
	for (i = 0; i < insn->prefixes.nbytes; i++)
		if (insn->prefixes.bytes[i] == 0x65)
			ea += this_cpu_read(this_cpu_off);
	return ea;
}

static bool store_has_prefix(const struct insn *insn, u8 prefix)
{
	int i;

	for (i = 0; i < insn->prefixes.nbytes; i++)
		if (insn->prefixes.bytes[i] == prefix)
			return true;
	return false;
}

static u32 store_size(const struct insn *insn, bool byte)
{
	if (byte)
		return 1;
	if (X86_REX_W(insn->rex_prefix.value))
		return 8;
	return store_has_prefix(insn, 0x66) ? 2 : 4;
}

static bool store_condition(unsigned int cc, unsigned long flags)
{
	bool cf = flags & X86_EFLAGS_CF, zf = flags & X86_EFLAGS_ZF, sf = flags & X86_EFLAGS_SF;
	bool of = flags & X86_EFLAGS_OF, pf = flags & X86_EFLAGS_PF, r = false;

	switch (cc >> 1) {
	case 0:
		r = of;
		break;
	case 1:
		r = cf;
		break;
	case 2:
		r = zf;
		break;
	case 3:
		r = cf || zf;
		break;
	case 4:
		r = sf;
		break;
	case 5:
		r = pf;
		break;
	case 6:
		r = sf != of;
		break;
	case 7:
		r = zf || sf != of;
		break;
	}
	return r ^ (cc & 1);
}

#define STORE_ARG_REG(n, high)	((n) | ((high) ? 0x100 : 0))

/* One-byte opcodes. Return: 0 or -EOPNOTSUPP. */
static int store_decode_1(struct store *st, const struct insn *insn, struct pt_regs *regs)
{
	u8 op = insn->opcode.bytes[0];
	unsigned int digit = X86_MODRM_REG(insn->modrm.value);
	unsigned int reg = digit | (X86_REX_R(insn->rex_prefix.value) ? 8 : 0);

	st->size = store_size(insn, !(op & 1));
	if (op < 0x38 && (op & 7) < 2) {		/* ALU r/m, r */
		st->op = op >> 3;
		st->value = store_get_reg(insn, regs, reg, st->size);
		return 0;
	}
	switch (op) {
	case 0x80: case 0x81: case 0x83:		/* ALU r/m, imm */
		if (digit == 7)
			return -EOPNOTSUPP;		/* CMP stores nothing */
		st->op = digit;
		st->value = (s64)insn->immediate.value;
		return 0;
	case 0x86: case 0x87:
		st->op = OP_XCHG;
		st->value = store_get_reg(insn, regs, reg, st->size);
		st->arg = STORE_ARG_REG(reg, store_high_byte(insn, reg, st->size));
		return 0;
	case 0x88: case 0x89:
		st->op = OP_MOV;
		st->value = store_get_reg(insn, regs, reg, st->size);
		return 0;
	case 0xc6: case 0xc7:
		st->op = OP_MOV;
		st->value = (s64)insn->immediate.value;
		return digit ? -EOPNOTSUPP : 0;
	case 0xc0: case 0xc1:
		st->op = OP_SHIFT;
		st->arg = digit;
		st->value = insn->immediate.value & 63;
		return 0;
	case 0xd0: case 0xd1:
		st->op = OP_SHIFT;
		st->arg = digit;
		st->value = 1;
		return 0;
	case 0xd2: case 0xd3:
		st->op = OP_SHIFT;
		st->arg = digit;
		st->value = regs->cx & 63;
		return 0;
	case 0xf6: case 0xf7:
		if (digit != 2 && digit != 3)
			return -EOPNOTSUPP;
		st->op = digit == 2 ? OP_NOT : OP_NEG;
		return 0;
	case 0xfe: case 0xff:
		if (digit > 1)
			return -EOPNOTSUPP;
		st->op = digit ? OP_DEC : OP_INC;
		return 0;
	}
	return -EOPNOTSUPP;
}

static int store_decode_bit(struct store *st, const struct insn *insn, struct pt_regs *regs,
			    unsigned int digit, bool immediate)
{
	static const u8 ops[] = { [5] = OP_BTS, [6] = OP_BTR, [7] = OP_BTC };
	unsigned int reg = X86_MODRM_REG(insn->modrm.value) |
			   (X86_REX_R(insn->rex_prefix.value) ? 8 : 0);
	s64 bit;

	st->size = store_size(insn, false);
	if (digit < 5)
		return -EOPNOTSUPP;			/* BT stores nothing */
	st->op = ops[digit];
	if (immediate) {
		st->value = insn->immediate.value & (st->size * 8 - 1);
		return 0;
	}
	bit = (s64)store_get_reg(insn, regs, reg, st->size);
	if (st->size == 4)
		bit = (s32)bit;
	else if (st->size == 2)
		bit = (s16)bit;
	/* the bit may lie far from the operand's address */
	st->addr += (bit >> (st->size == 8 ? 6 : st->size == 4 ? 5 : 4)) * st->size;
	st->value = bit & (st->size * 8 - 1);
	return 0;
}

/* Opcodes 0f xx. */
static int store_decode_2(struct store *st, const struct insn *insn, struct pt_regs *regs)
{
	u8 op = insn->opcode.bytes[1];
	unsigned int digit = X86_MODRM_REG(insn->modrm.value);
	unsigned int reg = digit | (X86_REX_R(insn->rex_prefix.value) ? 8 : 0);

	st->size = store_size(insn, !(op & 1));
	switch (op) {
	case 0x90 ... 0x9f:
		st->size = 1;
		st->op = OP_MOV;
		st->value = store_condition(op & 15, regs->flags);
		return 0;
	case 0xab: case 0xb3: case 0xbb:
		return store_decode_bit(st, insn, regs, op >> 3 & 7, false);
	case 0xba:
		return store_decode_bit(st, insn, regs, digit, true);
	case 0xb0: case 0xb1:
	case 0xc0: case 0xc1:
		st->op = op < 0xc0 ? OP_CMPXCHG : OP_XADD;
		st->value = store_get_reg(insn, regs, reg, st->size);
		st->arg = STORE_ARG_REG(reg, store_high_byte(insn, reg, st->size));
		return 0;
	case 0xc3:
		st->op = OP_MOV;
		st->size = store_size(insn, false);
		st->value = store_get_reg(insn, regs, reg, st->size);
		return 0;
	}
	return -EOPNOTSUPP;
}

static int store_decode_string(struct store *st, const struct insn *insn, struct pt_regs *regs)
{
	u8 op = insn->opcode.bytes[0];

	st->repeat = store_has_prefix(insn, 0xf3) || store_has_prefix(insn, 0xf2);
	st->size = store_size(insn, !(op & 1));
	st->addr = regs->di;
	st->op = op >= 0xaa ? OP_STOS : OP_MOVS;
	if (st->op == OP_STOS) {
		st->value = st->size == 8 ? regs->ax : regs->ax & (BIT_ULL(st->size * 8) - 1);
		return 0;
	}
	/*
	 * the source was readable in the domain, so it is here; but it may end at a page that is
	 * not
	 */
	return copy_from_kernel_nofault(&st->value, (void *)regs->si, st->size);
}

int store_decode(struct store *st, const struct pt_regs *const_regs)
{
	struct pt_regs *regs = (struct pt_regs *)const_regs;
	struct insn insn;
	u8 buf[MAX_INSN_SIZE], op;
	int ret, n = MAX_INSN_SIZE;

	memset(st, 0, sizeof(*st));
	while (n && copy_from_kernel_nofault(buf, (void *)regs->ip, n))
		n--;
	if (!n)
		return -EFAULT;
	if (ksym_insn_decode(&insn, buf, n, INSN_MODE_64) || insn.vex_prefix.nbytes)
		return -EOPNOTSUPP;
	st->len = insn.length;
	op = insn.opcode.bytes[0];
	if (op == 0xa4 || op == 0xa5 || op == 0xaa || op == 0xab) {
		ret = store_decode_string(st, &insn, regs);
	} else {
		if (!insn.modrm.nbytes || X86_MODRM_MOD(insn.modrm.value) == 3 ||
		    insn.addr_bytes != 8)
			return -EOPNOTSUPP;
		st->addr = store_address(&insn, regs);
		if (op != 0x0f)
			ret = store_decode_1(st, &insn, regs);
		else if (insn.opcode.nbytes == 2)
			ret = store_decode_2(st, &insn, regs);
		else
			ret = -EOPNOTSUPP;
	}
	st->plain = st->op == OP_MOV || st->op == OP_STOS || st->op == OP_MOVS;
	return ret;
}

/* ---- doing it ------------------------------------------------------------------------------- */

/* One locked instruction on *(type *)p, with CF in (for ADC and SBB) and the flags out. */
#define RMW(insn, type, reg)							\
	do {									\
		asm volatile("btl $0, %k[f]\n\t"				\
			     "lock " insn " %" reg "[v], %[m]\n\t"		\
			     "pushfq\n\tpopq %[f]"				\
			     : [m] "+m" (*(type *)p), [f] "+r" (f)		\
			     : [v] "r" (v) : "cc", "memory");			\
	} while (0)

#define RMW_SIZES(insn)								\
	do {									\
		if (size == 1)							\
			RMW(insn "b", u8, "b");					\
		else if (size == 2)						\
			RMW(insn "w", u16, "w");				\
		else if (size == 4)						\
			RMW(insn "l", u32, "k");				\
		else								\
			RMW(insn "q", u64, "q");				\
	} while (0)

#define UNARY(insn, type)							\
	do {									\
		asm volatile("lock " insn " %0\n\tpushfq\n\tpopq %1"		\
			     : "+m" (*(type *)p), "=r" (f) :: "cc", "memory");	\
	} while (0)

#define UNARY_SIZES(insn)							\
	do {									\
		if (size == 1)							\
			UNARY(insn "b", u8);					\
		else if (size == 2)						\
			UNARY(insn "w", u16);					\
		else if (size == 4)						\
			UNARY(insn "l", u32);					\
		else								\
			UNARY(insn "q", u64);					\
	} while (0)

static unsigned long store_alu(u32 op, void *p, u32 size, u64 v, unsigned long f)
{
	switch (op) {
	case OP_ADD:
		RMW_SIZES("add");
		break;
	case OP_OR:
		RMW_SIZES("or");
		break;
	case OP_ADC:
		RMW_SIZES("adc");
		break;
	case OP_SBB:
		RMW_SIZES("sbb");
		break;
	case OP_AND:
		RMW_SIZES("and");
		break;
	case OP_SUB:
		RMW_SIZES("sub");
		break;
	default:
		RMW_SIZES("xor");
		break;
	}
	return f;
}

static unsigned long store_unary(u32 op, void *p, u32 size, unsigned long old)
{
	unsigned long f = old;

	switch (op) {
	case OP_INC:
		UNARY_SIZES("inc");
		break;
	case OP_DEC:
		UNARY_SIZES("dec");
		break;
	default:
		UNARY_SIZES("neg");
		break;
	}
	/* INC and DEC leave CF alone */
	return op == OP_NEG ? f : (f & ~(unsigned long)X86_EFLAGS_CF) | (old & X86_EFLAGS_CF);
}

static u64 store_load(const void *p, u32 size)
{
	switch (size) {
	case 1:
		return READ_ONCE(*(const u8 *)p);
	case 2:
		return READ_ONCE(*(const u16 *)p);
	case 4:
		return READ_ONCE(*(const u32 *)p);
	default:
		return READ_ONCE(*(const u64 *)p);
	}
}

static void store_move(void *p, u32 size, u64 v)
{
	switch (size) {
	case 1:
		WRITE_ONCE(*(u8 *)p, v);
		break;
	case 2:
		WRITE_ONCE(*(u16 *)p, v);
		break;
	case 4:
		WRITE_ONCE(*(u32 *)p, v);
		break;
	default:
		WRITE_ONCE(*(u64 *)p, v);
	}
}

/* Compare and exchange of any size. Return: what was there. */
static u64 store_cmpxchg(void *p, u32 size, u64 old, u64 new)
{
	switch (size) {
	case 1:
		return cmpxchg((u8 *)p, (u8)old, (u8)new);
	case 2:
		return cmpxchg((u16 *)p, (u16)old, (u16)new);
	case 4:
		return cmpxchg((u32 *)p, (u32)old, (u32)new);
	default:
		return cmpxchg((u64 *)p, old, new);
	}
}

/* Replace the value by fn's. Return: the one before. */
static u64 store_update(const struct store *st, u64 (*fn)(const struct store *st, u64 old))
{
	void *p = (void *)st->addr;
	u64 old, seen = store_load(p, st->size);

	do {
		old = seen;
		seen = store_cmpxchg(p, st->size, old, fn(st, old));
	} while (seen != old);
	return old;
}

static u64 store_new_not(const struct store *st, u64 old)
{
	return ~old;
}

static u64 store_new_xchg(const struct store *st, u64 old)
{
	return st->value;
}

static u64 store_new_bts(const struct store *st, u64 old)
{
	return old | BIT_ULL(st->value);
}

static u64 store_new_btr(const struct store *st, u64 old)
{
	return old & ~BIT_ULL(st->value);
}

static u64 store_new_btc(const struct store *st, u64 old)
{
	return old ^ BIT_ULL(st->value);
}


static u64 store_new_shift(const struct store *st, u64 old)
{
	unsigned int bits = st->size * 8, n = st->value & (bits == 64 ? 63 : 31);
	s64 sold = (s64)(old << (64 - bits)) >> (64 - bits);

	switch (st->arg) {
	case 0:
		return n % bits ? old << n % bits | old >> (bits - n % bits) : old;
	case 1:
		return n % bits ? old >> n % bits | old << (bits - n % bits) : old;
	case 4:
	case 6:
		return n < bits ? old << n : 0;
	case 5:
		return n < bits ? old >> n : 0;
	case 7:
		return sold >> min(n, bits - 1);
	default:
		return old;
	}
}

static void store_bit(const struct store *st, struct pt_regs *regs)
{
	u64 old = store_update(st, st->op == OP_BTS ? store_new_bts :
			       st->op == OP_BTR ? store_new_btr : store_new_btc);

	regs->flags &= ~(unsigned long)X86_EFLAGS_CF;
	if (old & BIT_ULL(st->value))
		regs->flags |= X86_EFLAGS_CF;
}

static void store_compare_exchange(const struct store *st, struct pt_regs *regs)
{
	u64 mask = st->size == 8 ? ~0ULL : BIT_ULL(st->size * 8) - 1, ax = regs->ax & mask;
	u64 old = store_cmpxchg((void *)st->addr, st->size, ax, st->value) & mask;

	regs->flags &= ~(unsigned long)X86_EFLAGS_ZF;
	if (old == ax)
		regs->flags |= X86_EFLAGS_ZF;
	else
		store_put_reg(false, regs, 0, st->size, old);
}

static u64 store_new_add(const struct store *st, u64 old)
{
	return old + st->value;
}


static void store_string(const struct store *st, struct pt_regs *regs)
{
	long step = regs->flags & X86_EFLAGS_DF ? -(long)st->size : (long)st->size;

	if (st->repeat && !regs->cx) {
		regs->ip += st->len;
		return;
	}
	store_move((void *)st->addr, st->size, st->value);
	regs->di += step;
	if (st->op == OP_MOVS)
		regs->si += step;
	/* one element: the rest faults again, and each is checked */
	if (!st->repeat || !--regs->cx)
		regs->ip += st->len;
}

void store_perform(const struct store *st, struct pt_regs *regs)
{
	void *p = (void *)st->addr;
	bool high = st->arg & 0x100;
	unsigned int reg = st->arg & 15;
	unsigned long f = regs->flags;

	switch (st->op) {
	case OP_MOV:
		store_move(p, st->size, st->value);
		break;
	case OP_STOS: case OP_MOVS:
		store_string(st, regs);
		return;
	case OP_NOT:
		store_update(st, store_new_not);
		break;
	case OP_INC: case OP_DEC: case OP_NEG:
		f = store_unary(st->op, p, st->size, f);
		break;
	case OP_BTS: case OP_BTR: case OP_BTC:
		store_bit(st, regs);
		f = regs->flags;
		break;
	case OP_XCHG:
		store_put_reg(high, regs, reg, st->size, store_update(st, store_new_xchg));
		break;
	case OP_XADD:
		store_put_reg(high, regs, reg, st->size, store_update(st, store_new_add));
		break;
	case OP_CMPXCHG:
		store_compare_exchange(st, regs);
		f = regs->flags;
		break;
	case OP_SHIFT:
		store_update(st, store_new_shift);
		break;
	default:
		f = store_alu(st->op, p, st->size, st->value, f);
	}
	regs->flags = (regs->flags & ~(unsigned long)ARITH_FLAGS) | (f & ARITH_FLAGS);
	regs->ip += st->len;
}
