// SPDX-License-Identifier: GPL-2.0-only
/*
 * ksym.c - unexported kernel symbols, each with its reason
 *
 * kallsyms_lookup_name() is itself no longer exported (commit 0bd476e6c671); a kprobe that is
 * registered and at once removed tells its address.
 *
 * Locking: none; written once by ksym_init() before anything reads.
 * Context: process.
 */
#define pr_fmt(fmt) "nooks: " fmt

#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/memory.h>
#include "ksym/ksym.h"

typeof(&poke_int3_handler) ksym_poke_int3_handler __ro_after_init;
typeof(&find_bug) ksym_find_bug __ro_after_init;
typeof(&report_bug) ksym_report_bug __ro_after_init;
typeof(&fixup_exception) ksym_fixup_exception __ro_after_init;
typeof(&insn_decode) ksym_insn_decode __ro_after_init;
typeof(&text_poke) ksym_text_poke __ro_after_init;
typeof(&__kernel_text_address) ksym_kernel_text_address __ro_after_init;
struct mutex *ksym_text_mutex __ro_after_init;

static typeof(&kallsyms_lookup_name) ksym_kallsyms_lookup_name __ro_after_init;

static const struct {
	const char *name;
	void **to;
} ksym_table[] = {
	/*
	 * a static key in driver text is patched while the driver runs: finish the #BP as the
	 * kernel would
	 */
	{ "poke_int3_handler", (void **)&ksym_poke_int3_handler },
	/*
	 * WARN in driver text is an ud2 that the kernel's #UD handler never sees; BUG is the
	 * driver's fault
	 */
	{ "find_bug", (void **)&ksym_find_bug },
	{ "report_bug", (void **)&ksym_report_bug },
	/* an instruction with an exception-table entry faulted in the domain */
	{ "fixup_exception", (void **)&ksym_fixup_exception },
	/* a checked write: what would the faulting instruction store? */
	{ "insn_decode", (void **)&ksym_insn_decode },
	/* fault injection patches text that is mapped read-only */
	{ "text_poke", (void **)&ksym_text_poke },
	{ "text_mutex", (void **)&ksym_text_mutex },
	/* a crash record: which words of a stack are code? */
	{ "__kernel_text_address", (void **)&ksym_kernel_text_address },
};

int __init ksym_init(void)
{
	struct kprobe kp = { .symbol_name = "kallsyms_lookup_name" };
	unsigned int i;
	int ret;

	ret = register_kprobe(&kp);
	if (ret) {
		pr_err("cannot find kernel symbols (kprobe: %d); the kernel needs CONFIG_KPROBES and CONFIG_KALLSYMS\n",
		       ret);
		return -EOPNOTSUPP;
	}
	ksym_kallsyms_lookup_name = (void *)kp.addr;
	unregister_kprobe(&kp);

	for (i = 0; i < ARRAY_SIZE(ksym_table); i++) {
		*ksym_table[i].to = (void *)ksym_kallsyms_lookup_name(ksym_table[i].name);
		if (!*ksym_table[i].to) {
			pr_err("kernel symbol %s is gone; this kernel is not supported, use Debian 12's 6.1\n",
			       ksym_table[i].name);
			ret = -EOPNOTSUPP;
		}
	}
	return ret;
}

unsigned long ksym_lookup(const char *name)
{
	return ksym_kallsyms_lookup_name(name);
}
