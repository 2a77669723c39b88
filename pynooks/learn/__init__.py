# SPDX-License-Identifier: GPL-2.0-only
"""From the log of a learning run to policy lines for review."""

from __future__ import annotations

from pynooks.learn.propose import Proposal, propose, toml_lines

__all__ = ["Proposal", "propose", "toml_lines"]
