/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * offsets.h - what xpc/entry.S knows of C structures; xpc/xpc.c asserts that it is true
 */
#ifndef NOOKS_OFFSETS_H
#define NOOKS_OFFSETS_H

/* CR3.PWT: set only while a nook's view is loaded, never by Linux */
#define CR3_MARK	8

#define XPC_KSP		0
#define XPC_DCR3	8
#define XPC_DSP		16
#define XPC_GATES_LO	24
#define XPC_GATES_LEN	32
#define XPC_GATE_TAB	40
#define XPC_DOM		48
#define XPC_LOCK_ID	56
#define XPC_ABORT	64
#define XPC_IN_EXIT	72
#define XPC_ABORT_IP	80
#define XPC_EXIT_SP	88

#define DOM_LOCKS	0

#define GATE_TARGET	0

#define STUB_SIZE	64
#define STUB_SHIFT	6

/*
 * The page of our own IST stack: hardware frames at its top, returns to the domain from its middle.
 */
#define IST_RET		2048

#define FAULT_RESUME	1	/* what xpc_fault() answers */
#define FAULT_ABORT	0

#endif
