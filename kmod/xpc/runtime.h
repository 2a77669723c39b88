/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * runtime.h - stubs that a relinked driver calls inside its domain; runtime.c, bare.S
 */
#ifndef NOOKS_RUNTIME_H
#define NOOKS_RUNTIME_H

void nooks___udelay(unsigned long us);
void nooks___ndelay(unsigned long ns);
void nooks___const_udelay(unsigned long xloops);
void nooks___SCT__preempt_schedule(void);
void nooks___SCT__preempt_schedule_notrace(void);
void nooks___stack_chk_fail(void);
void nooks_fortify_panic(void);

#endif
