// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c - table of contents: what nooks.ko consists of, in the order in which it comes up
 */
#define pr_fmt(fmt) "nooks: " fmt

#include <linux/cc_platform.h>
#include <linux/init.h>
#include <linux/module.h>
#include <asm/cpufeature.h>
#include <asm/hypervisor.h>
#include <asm/tlbflush.h>
#include "control/control.h"
#include "core/core.h"
#include "ksym/ksym.h"
#include "objtrack/objtrack.h"
#include "recovery/recovery.h"
#include "wrappers/wrappers.h"
#include "xpc/xpc.h"

#if !defined(CONFIG_X86_64) || !defined(CONFIG_SMP) || !defined(CONFIG_PREEMPT_COUNT)
#error "nooks.ko needs an x86-64 SMP kernel with CONFIG_PREEMPT_COUNT"
#endif

/* Say why not, and what to do. Return: 0 or -EOPNOTSUPP. */
static int __init main_check_machine(void)
{
	if (boot_cpu_has(X86_FEATURE_PTI)) {
		pr_err("page table isolation is on, and our entry stubs are not in the user page table; boot with nopti\n");
		return -EOPNOTSUPP;
	}
	if (__read_cr4() & X86_CR4_PCIDE) {
		pr_err("PCID is on, and the kernel would flush one address space only; boot with nopcid\n");
		return -EOPNOTSUPP;
	}
	if (boot_cpu_has(X86_FEATURE_XENPV)) {
		pr_err("this is a Xen PV guest, which has no page table of its own; use HVM or PVH\n");
		return -EOPNOTSUPP;
	}
	if (cc_platform_has(CC_ATTR_MEM_ENCRYPT)) {
		pr_err("memory encryption (SME, SEV, TDX) is on, and a domain's page table does not know it; boot with mem_encrypt=off, or use another machine\n");
		return -EOPNOTSUPP;
	}
	if (__read_cr4() & X86_CR4_VMXE) {
		pr_err("virtual machines of kvm_intel run here, and leaving one loads the kernel's interrupt table over ours; stop them first\n");
		return -EOPNOTSUPP;
	}
	return 0;
}

static int __init main_init(void)
{
	int ret;

	ret = main_check_machine();
	if (ret)
		return ret;
	ret = ksym_init();
	if (ret)
		return ret;
	nooks_skb_init();
	ret = objtrack_cache_init();
	if (ret)
		return ret;
	ret = recov_wq_init();
	if (ret)
		goto objtrack_cache_deinit;
	ret = xpc_watchdog_init();
	if (ret)
		goto recov_wq_deinit;
	ret = xpc_idt_init();
	if (ret)
		goto xpc_watchdog_deinit;
	ret = nooks_net_init();
	if (ret)
		goto xpc_idt_deinit;
	ret = nook_notifier_init();
	if (ret)
		goto nooks_net_deinit;
	ret = control_init();
	if (ret)
		goto nook_notifier_deinit;
	pr_info("loaded: %d-level paging, %u wrappers, %u object types\n",
		pgtable_l5_enabled() ? 5 : 4, nooks_nexits, objtrack_types());
	return 0;

nook_notifier_deinit:
	nook_notifier_deinit();
nooks_net_deinit:
	nooks_net_deinit();
xpc_idt_deinit:
	xpc_idt_deinit();
xpc_watchdog_deinit:
	xpc_watchdog_deinit();
recov_wq_deinit:
	recov_wq_deinit();
objtrack_cache_deinit:
	objtrack_cache_deinit();
	return ret;
}

/* Every relinked driver depends on us, so no nook is left. */
static void __exit main_exit(void)
{
	control_deinit();
	nook_notifier_deinit();
	nooks_net_deinit();
	inject_forget(NULL);
	xpc_idt_deinit();
	xpc_watchdog_deinit();
	recov_wq_deinit();
	objtrack_cache_deinit();
	pr_info("unloaded\n");
}

module_init(main_init);
module_exit(main_exit);
MODULE_DESCRIPTION("Nooks: run stock drivers in protection domains inside the kernel");
MODULE_LICENSE("GPL");
