# SPDX-License-Identifier: GPL-2.0-only
"""Generate and build nooks.ko for one kernel."""
