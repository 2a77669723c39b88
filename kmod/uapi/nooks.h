/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * uapi/nooks.h - control of nooks.ko over generic netlink
 *
 * Family "nooks", version 1, multicast group "events". Every command needs CAP_NET_ADMIN in the
 * initial user namespace. Errors arrive as negative errno with an extended-ack message.
 *
 * NOOKS_CMD_POLICY_SET	what a driver may do, before its relinked module is loaded
 *	NOOKS_A_NAME		string, module name (with _ for -)
 *	NOOKS_A_LEVEL		u32, enum nooks_level
 *	NOOKS_A_LIMIT_MS	u32, CPU time per entry, 10..60000
 *	NOOKS_A_FLAGS		u32, NOOKS_F_*
 *	NOOKS_A_RULES		nest of NOOKS_A_RULE, each a nest:
 *		NOOKS_R_OBJECT	string, struct name, "percpu", "task_struct", "buffer"
 *		NOOKS_R_FIELD	string, "*" for every field
 *		NOOKS_R_OFFSET	u32, bytes from the object's start (not for "percpu")
 *		NOOKS_R_SIZE	u32, bytes
 *		NOOKS_R_VALUE	u32, enum nooks_value
 *	-EBUSY while the driver is in a nook, -EINVAL with the rule's name if it makes no sense.
 *
 * NOOKS_CMD_NOOK_GET	do: one (NOOKS_A_NAME), dump: all; each answer:
 *	NOOKS_A_NAME, NOOKS_A_ID u32, NOOKS_A_STATE u32, NOOKS_A_LEVEL, NOOKS_A_FLAGS,
 *	NOOKS_A_LIMIT_MS, NOOKS_A_GRACE_MS, NOOKS_A_BACKOFF_MS, NOOKS_A_BURST, NOOKS_A_STALL_MS,
 *	NOOKS_A_IRQ_RATE, NOOKS_A_TX_TIMEOUTS, NOOKS_A_MEMORY_MIB, NOOKS_A_STATS nest of u64
 *	NOOKS_S_*, NOOKS_A_FAULT nest NOOKS_F_A_* (last fault, absent if none)
 *
 * NOOKS_CMD_COUNT_GET	dump, needs NOOKS_A_NAME: one message per counter, in this order
 *	NOOKS_A_COUNT nest: NOOKS_C_KIND u32 enum nooks_count, NOOKS_C_NAME string,
 *	NOOKS_C_FIELD string (writes only), NOOKS_C_VALUE u64
 *
 * NOOKS_CMD_LEARN_GET	dump, needs NOOKS_A_NAME: what a nook with NOOKS_F_LEARN wrote without
 *	a rule; NOOKS_A_LEARN nest: NOOKS_L_OBJECT string, NOOKS_L_OFFSET u32, NOOKS_L_SIZE u32,
 *	NOOKS_L_IP string symbol+offset, NOOKS_L_COUNT u64, NOOKS_L_SYMBOL string (what the address
 *	is, if no object is known)
 *
 * NOOKS_CMD_RESTART	NOOKS_A_NAME; stop, release, init again; returns when done
 * NOOKS_CMD_RELEASE	NOOKS_A_NAME; stop and release; the module can be removed then
 * NOOKS_CMD_SET	NOOKS_A_NAME and any of NOOKS_A_LIMIT_MS, NOOKS_A_FLAGS, NOOKS_A_LEVEL
 *			(level: -EBUSY unless stopped; it takes effect at the next restart), and of
 *			NOOKS_A_GRACE_MS	u32, a driver that ran so long is well; 0: at once
 *			NOOKS_A_BACKOFF_MS	u32, wait before a restart within the grace period;
 *						doubled for each one more, 60 s at most; 0: none
 *			NOOKS_A_BURST		u32, 0..64: so many restarts within the grace period,
 *						then it stays stopped; 0: no limit
 *			NOOKS_A_STALL_MS	u32, time that an entry may take, asleep or not; half of
 *						it for one wait; 0: no limit
 *			NOOKS_A_IRQ_RATE	u32, calls of one interrupt handler in a second; 0: no limit,
 *						and the kernel may give the line up
 *			NOOKS_A_TX_TIMEOUTS	u32, transmit timeouts of one device within a minute
 *						without a packet that was sent in between; 0: no limit
 *			NOOKS_A_MEMORY_MIB	u32, memory that the nook may hold, MiB; 0: no limit
 * NOOKS_CMD_INJECT	NOOKS_A_NAME (any loaded module), NOOKS_A_SYMBOL, NOOKS_A_OFFSET u32,
 *			NOOKS_A_BYTES binary, 1..64: patch module text. Answer: NOOKS_A_ADDR u64,
 *			NOOKS_A_OLD binary, NOOKS_A_BYTES
 *
 * NOOKS_CMD_DUMP_GET	dump, needs NOOKS_A_NAME: the crash record of the last fault, as things were
 *	before recovery began. The first message has
 *	NOOKS_A_NAME, NOOKS_A_ID, NOOKS_A_FAULT,
 *	NOOKS_A_REGS binary, struct pt_regs; absent if the fault's ip and sp are all that is known,
 *	NOOKS_A_CODE binary and NOOKS_A_CODE_AT u64, bytes around ip; absent if nothing is there,
 *	NOOKS_A_STACK binary and NOOKS_A_SP u64, words from sp on.
 *	Then one message for each, in this order:
 *	NOOKS_A_FRAME nest: NOOKS_B_AT u64 (place on the stack; 0 for ip, which comes first),
 *		NOOKS_B_ADDR u64, NOOKS_B_SYMBOL string. A word that stands behind a call; it may
 *		be left over from an earlier one
 *	NOOKS_A_CROSSING nest: NOOKS_X_CPU u32, NOOKS_X_TSC u64, NOOKS_X_KIND u32
 *		(NOOKS_COUNT_ENTRY, NOOKS_COUNT_EXIT), NOOKS_X_NAME string; by CPU, oldest first
 *	NOOKS_A_OBJECT nest: NOOKS_O_TYPE string, NOOKS_O_ADDR u64, NOOKS_O_SIZE u64,
 *		NOOKS_O_PUBLISHED u32; newest first, a few of each type
 *	NOOKS_A_COUNT nest of kind NOOKS_COUNT_OBJECT: how many there were of a type
 *	-ENODATA if it has had no fault.
 *
 * Events (multicast): NOOKS_CMD_EVENT_FAULT (NAME, ID, FAULT), NOOKS_CMD_EVENT_STATE (NAME, ID,
 * STATE).
 */
#ifndef _UAPI_NOOKS_H
#define _UAPI_NOOKS_H

#define NOOKS_GENL_NAME		"nooks"
#define NOOKS_GENL_VERSION	1
#define NOOKS_GENL_MCGRP	"events"

#define NOOKS_NAME_LEN	56
#define NOOKS_WHAT_LEN	96
#define NOOKS_SYM_LEN	96
#define NOOKS_INJECT_MAX 64

/* limits of a nook that nobody has set */
#define NOOKS_STALL_MS		120000
#define NOOKS_IRQ_RATE		100000
#define NOOKS_TX_TIMEOUTS	3
#define NOOKS_MEMORY_MIB	256

enum nooks_level {
	NOOKS_LEVEL_WRAP,
	NOOKS_LEVEL_PAGETABLE,
};

enum nooks_state {
	NOOKS_LOADING,
	NOOKS_RUNNING,
	NOOKS_FAILED,		/* a fault was seen, recovery not yet begun */
	NOOKS_RECOVERING,
	NOOKS_STOPPED,		/* released, not started again: restart failed or was not wanted */
	NOOKS_RELEASED,		/* released on demand; the module can be removed */
};

/* flags of a nook */
#define NOOKS_F_LEARN		1	/* log and allow writes that no rule allows */
#define NOOKS_F_NO_RECOVER	2	/* after a fault release and leave stopped */
#define NOOKS_F_REOPEN		4	/* its open does not reset the device: policy "reopen" */
#define NOOKS_F_DEBUG_HEAP	8	/* red zones and poison; read when it is loaded */

/* nooks_fault.vec beyond the exception vectors */
#define NOOKS_FAULT_WATCHDOG	256	/* a limit; "what" says which */
#define NOOKS_FAULT_RULE	257	/* a check at a gate; "what" has the argument */
/* another entry of the nook faulted, or a restart was asked for */
#define NOOKS_FAULT_KILLED	258

enum nooks_value {
	NOOKS_VALUE_ANY,
	NOOKS_VALUE_RODATA,	/* NULL or a pointer into the driver's read-only data */
	NOOKS_VALUE_OWNED,	/* NULL or a pointer into memory of the nook */
	/* as RODATA; the gates of the table are bound; until the object is registered */
	NOOKS_VALUE_OPS,
	NOOKS_VALUE_SETUP,	/* anything, until the object is registered */
	/* the same, and then what the kernel asks for, in an object that the nook sees a copy of */
	NOOKS_VALUE_ASKED,
};

enum nooks_count {
	NOOKS_COUNT_OBJECT,	/* tracked objects by type, now */
	NOOKS_COUNT_WRITE,	/* checked writes by object and field */
	NOOKS_COUNT_EXIT,	/* exits by function */
	NOOKS_COUNT_ENTRY,	/* entries by function */
};

enum nooks_cmd {
	NOOKS_CMD_UNSPEC,
	NOOKS_CMD_POLICY_SET,
	NOOKS_CMD_NOOK_GET,
	NOOKS_CMD_COUNT_GET,
	NOOKS_CMD_LEARN_GET,
	NOOKS_CMD_RESTART,
	NOOKS_CMD_RELEASE,
	NOOKS_CMD_SET,
	NOOKS_CMD_INJECT,
	NOOKS_CMD_EVENT_FAULT,
	NOOKS_CMD_EVENT_STATE,
	NOOKS_CMD_DUMP_GET,
	__NOOKS_CMD_MAX
};
#define NOOKS_CMD_MAX (__NOOKS_CMD_MAX - 1)

enum nooks_attr {
	NOOKS_A_UNSPEC,
	NOOKS_A_NAME,
	NOOKS_A_ID,
	NOOKS_A_LEVEL,
	NOOKS_A_STATE,
	NOOKS_A_FLAGS,
	NOOKS_A_LIMIT_MS,
	NOOKS_A_RULES,
	NOOKS_A_RULE,
	NOOKS_A_STATS,
	NOOKS_A_FAULT,
	NOOKS_A_COUNT,
	NOOKS_A_LEARN,
	NOOKS_A_SYMBOL,
	NOOKS_A_OFFSET,
	NOOKS_A_BYTES,
	NOOKS_A_ADDR,
	NOOKS_A_OLD,
	NOOKS_A_GRACE_MS,
	NOOKS_A_BACKOFF_MS,
	NOOKS_A_BURST,
	NOOKS_A_REGS,
	NOOKS_A_CODE,
	NOOKS_A_CODE_AT,
	NOOKS_A_STACK,
	NOOKS_A_SP,
	NOOKS_A_FRAME,
	NOOKS_A_CROSSING,
	NOOKS_A_OBJECT,
	NOOKS_A_STALL_MS,
	NOOKS_A_IRQ_RATE,
	NOOKS_A_TX_TIMEOUTS,
	NOOKS_A_MEMORY_MIB,
	NOOKS_A_PAD,
	__NOOKS_A_MAX
};
#define NOOKS_A_MAX (__NOOKS_A_MAX - 1)

enum nooks_rule_attr {
	NOOKS_R_UNSPEC,
	NOOKS_R_OBJECT,
	NOOKS_R_FIELD,
	NOOKS_R_OFFSET,
	NOOKS_R_SIZE,
	NOOKS_R_VALUE,
	__NOOKS_R_MAX
};
#define NOOKS_R_MAX (__NOOKS_R_MAX - 1)

enum nooks_stat_attr {		/* all u64 */
	NOOKS_S_UNSPEC,
	NOOKS_S_FAULTS,
	NOOKS_S_RECOVERIES,
	NOOKS_S_ENTRIES,
	NOOKS_S_EXITS,
	NOOKS_S_CHECKED,
	NOOKS_S_DENIED,
	NOOKS_S_WARNS,
	NOOKS_S_INSIDE,		/* entries that are live now */
	NOOKS_S_OBJECTS,	/* tracked objects now */
	NOOKS_S_HEAP,		/* domain heap in use, bytes */
	NOOKS_S_PGT_PAGES,	/* private page-table pages */
	NOOKS_S_CR3_LOADS,
	NOOKS_S_DEFERRED,	/* calls that were queued and delivered in a batch */
	NOOKS_S_RESUMED,	/* exceptions that the driver does not notice, checked writes too */
	NOOKS_S_MEMORY,		/* what NOOKS_A_MEMORY_MIB limits, bytes */
	__NOOKS_S_MAX
};
#define NOOKS_S_MAX (__NOOKS_S_MAX - 1)

enum nooks_fault_attr {
	NOOKS_F_A_UNSPEC,
	NOOKS_F_A_VEC,		/* u64 exception vector or NOOKS_FAULT_* */
	NOOKS_F_A_ERR,		/* u64 hardware error code */
	NOOKS_F_A_IP,		/* u64 */
	NOOKS_F_A_ADDR,		/* u64 */
	NOOKS_F_A_SP,		/* u64 */
	NOOKS_F_A_FLAGS,	/* u64 */
	NOOKS_F_A_TIME,		/* u64, CLOCK_MONOTONIC ns */
	NOOKS_F_A_CPU,		/* u32 */
	NOOKS_F_A_PID,		/* u32 */
	NOOKS_F_A_WHAT,		/* string */
	NOOKS_F_A_ENTRY,	/* string */
	NOOKS_F_A_SYMBOL,	/* string */
	NOOKS_F_A_TARGET,	/* string */
	__NOOKS_F_A_MAX
};
#define NOOKS_F_A_MAX (__NOOKS_F_A_MAX - 1)

enum nooks_count_attr {
	NOOKS_C_UNSPEC,
	NOOKS_C_KIND,
	NOOKS_C_NAME,
	NOOKS_C_FIELD,
	NOOKS_C_VALUE,
	__NOOKS_C_MAX
};
#define NOOKS_C_MAX (__NOOKS_C_MAX - 1)

enum nooks_learn_attr {
	NOOKS_L_UNSPEC,
	NOOKS_L_OBJECT,
	NOOKS_L_OFFSET,
	NOOKS_L_SIZE,
	NOOKS_L_IP,
	NOOKS_L_COUNT,
	NOOKS_L_SYMBOL,
	__NOOKS_L_MAX
};
#define NOOKS_L_MAX (__NOOKS_L_MAX - 1)

enum nooks_frame_attr {
	NOOKS_B_UNSPEC,
	NOOKS_B_AT,
	NOOKS_B_ADDR,
	NOOKS_B_SYMBOL,
	__NOOKS_B_MAX
};
#define NOOKS_B_MAX (__NOOKS_B_MAX - 1)

enum nooks_crossing_attr {
	NOOKS_X_UNSPEC,
	NOOKS_X_CPU,
	NOOKS_X_TSC,
	NOOKS_X_KIND,
	NOOKS_X_NAME,
	__NOOKS_X_MAX
};
#define NOOKS_X_MAX (__NOOKS_X_MAX - 1)

enum nooks_object_attr {
	NOOKS_O_UNSPEC,
	NOOKS_O_TYPE,
	NOOKS_O_ADDR,
	NOOKS_O_SIZE,
	NOOKS_O_PUBLISHED,
	__NOOKS_O_MAX
};
#define NOOKS_O_MAX (__NOOKS_O_MAX - 1)

#endif
