// SPDX-License-Identifier: GPL-2.0-only
/*
 * pm.c - power management, and services that a nook is not offered
 *
 * A latency request would be a list node of the kernel in driver memory, a clock a table of
 * functions called without a gate; drivers work without either, so requests are ignored and clocks
 * refused.
 *
 * Context: process, may sleep, kernel view, if the function does not say otherwise.
 */
#include <linux/err.h>
#include <linux/firmware.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/pm_wakeup.h>
#include <linux/rcupdate.h>
#include "wrappers.h"

#define PM_DELAY_MAX	60000

static struct device *pm_device(struct xpc *x, const char *fn, u64 dev, bool sleeps)
{
	if ((sleeps && !wrap_may_sleep(x, fn)) || !arg_obj(x, fn, "dev", OBJ_DEVICE, (void *)dev))
		return NULL;
	return (struct device *)dev;
}

/* (dev, rpmflags) */
u64 wrap___pm_runtime_resume(struct xpc *x, const u64 *a)
{
	int flags = a[1] & (RPM_ASYNC | RPM_NOWAIT | RPM_GET_PUT | RPM_AUTO);
	struct device *dev = pm_device(x, "__pm_runtime_resume", a[0], !(flags & RPM_ASYNC));

	return dev ? __pm_runtime_resume(dev, flags) : 0;
}

/* (dev, rpmflags): the kernel warns of a count below zero, and keeps it at zero */
u64 wrap___pm_runtime_idle(struct xpc *x, const u64 *a)
{
	int flags = a[1] & (RPM_ASYNC | RPM_NOWAIT | RPM_GET_PUT | RPM_AUTO);
	struct device *dev = pm_device(x, "__pm_runtime_idle", a[0], !(flags & RPM_ASYNC));

	return dev ? __pm_runtime_idle(dev, flags) : 0;
}

/* (dev, delay in ms); any context */
u64 wrap_pm_schedule_suspend(struct xpc *x, const u64 *a)
{
	struct device *dev = pm_device(x, "pm_schedule_suspend", a[0], false);

	return dev ? pm_schedule_suspend(dev, min_t(u32, a[1], PM_DELAY_MAX)) : 0;
}

u64 wrap_device_wakeup_enable(struct xpc *x, const u64 *a)
{
	struct device *dev = pm_device(x, "device_wakeup_enable", a[0], true);

	return dev ? device_wakeup_enable(dev) : 0;
}

u64 wrap_device_wakeup_disable(struct xpc *x, const u64 *a)
{
	struct device *dev = pm_device(x, "device_wakeup_disable", a[0], true);

	return dev ? device_wakeup_disable(dev) : 0;
}

/* (dev, enable) */
u64 wrap_device_set_wakeup_enable(struct xpc *x, const u64 *a)
{
	struct device *dev = pm_device(x, "device_set_wakeup_enable", a[0], true);

	return dev ? device_set_wakeup_enable(dev, a[1] & 0xff) : 0;
}

/* ---- hints that are ignored ------------------------------------------------------------------ */

u64 wrap_cpu_latency_qos_add_request(struct xpc *x, const u64 *a)
{
	return 0;
}

u64 wrap_cpu_latency_qos_update_request(struct xpc *x, const u64 *a)
{
	return 0;
}

u64 wrap_cpu_latency_qos_remove_request(struct xpc *x, const u64 *a)
{
	return 0;
}

/* ---- services that are not offered ----------------------------------------------------------- */

u64 wrap_ptp_clock_register(struct xpc *x, const u64 *a)
{
	return (u64)ERR_PTR(-EOPNOTSUPP);
}

u64 wrap_ptp_clock_index(struct xpc *x, const u64 *a)
{
	return nooks_reject(x, "ptp_clock_index(ptp): no clock was registered");
}

u64 wrap_ptp_clock_unregister(struct xpc *x, const u64 *a)
{
	return nooks_reject(x, "ptp_clock_unregister(ptp): no clock was registered");
}

u64 wrap_get_device_system_crosststamp(struct xpc *x, const u64 *a)
{
	return -EOPNOTSUPP;
}

/* (firmware_p, name, device): a driver that cannot do without it does not start */
u64 wrap_request_firmware(struct xpc *x, const u64 *a)
{
	const struct firmware **out = (const struct firmware **)a[0];

	if (!arg_owned(x, "request_firmware", "firmware_p", out, sizeof(*out)))
		return 0;
	WRITE_ONCE(*out, NULL);
	return -ENOENT;
}

u64 wrap_release_firmware(struct xpc *x, const u64 *a)
{
	return a[0] ? nooks_reject(x, "release_firmware(fw): none was given") : 0;
}

/* ISA interrupt probing */
u64 wrap_probe_irq_on(struct xpc *x, const u64 *a)
{
	return 0;
}

u64 wrap_probe_irq_off(struct xpc *x, const u64 *a)
{
	return 0;
}

u64 wrap_synchronize_rcu(struct xpc *x, const u64 *a)
{
	if (wrap_may_sleep(x, "synchronize_rcu"))
		synchronize_rcu();
	return 0;
}
