# SPDX-License-Identifier: GPL-2.0-only
"""Guests: image, QEMU, console, monitor, SSH."""
