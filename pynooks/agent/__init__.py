# SPDX-License-Identifier: GPL-2.0-only
"""What runs in the target; the host's end is pynooks/control/client.py."""
