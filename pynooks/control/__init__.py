# SPDX-License-Identifier: GPL-2.0-only
"""Control of nooks.ko: the netlink codec, typed records, and the host's end of the agent."""
