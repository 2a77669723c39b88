# SPDX-License-Identifier: GPL-2.0-only
"""Fault-injection campaigns: many trials, native and isolated, each judged and remembered."""

from __future__ import annotations

from pynooks.campaign.journal import Journal, Result, results
from pynooks.campaign.outcome import Outcome
from pynooks.campaign.plan import Case, Mode, Plan, read_plan

__all__ = ["Case", "Journal", "Mode", "Outcome", "Plan", "Result", "read_plan", "results"]
