# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a nook after a fault: its recovery policy, kept on the target across reboots.

Words follow devlink health (Documentation/networking/devlink/devlink-health.rst of the kernel).
"""

from pynooks.health.policy import PATH, Health, read_health, write_health

__all__ = ["PATH", "Health", "read_health", "write_health"]
