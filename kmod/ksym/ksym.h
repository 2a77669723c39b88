/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ksym.h - the only way to kernel symbols that are not exported
 *
 * Each pointer has the prototype of the kernel's own declaration, so that a change of it breaks
 * the build and not the machine. The table in ksym.c gives the reason for each.
 */
#ifndef NOOKS_KSYM_H
#define NOOKS_KSYM_H

#include <linux/bug.h>
#include <linux/extable.h>
#include <linux/kallsyms.h>
#include <linux/kernel.h>
#include <linux/mutex.h>
#include <asm/insn.h>
#include <asm/text-patching.h>

extern typeof(&poke_int3_handler) ksym_poke_int3_handler;
extern typeof(&find_bug) ksym_find_bug;
extern typeof(&report_bug) ksym_report_bug;
extern typeof(&fixup_exception) ksym_fixup_exception;
extern typeof(&insn_decode) ksym_insn_decode;
extern typeof(&text_poke) ksym_text_poke;
extern typeof(&__kernel_text_address) ksym_kernel_text_address;
extern struct mutex *ksym_text_mutex;

/**
 * ksym_init() - resolve every symbol of the table
 *
 * Context: process, may sleep.
 * Return: 0, or -EOPNOTSUPP after each missing name was printed.
 */
int ksym_init(void);

/**
 * ksym_lookup() - address of any symbol, "name" or "module:name"
 *
 * Context: process.
 * Return: the address, or 0 if there is no such symbol.
 */
unsigned long ksym_lookup(const char *name);

#endif
