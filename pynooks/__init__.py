# SPDX-License-Identifier: GPL-2.0-only
"""pynooks: isolate stock Linux drivers in nooks, and show that it holds."""

__version__ = "0.1.0"
