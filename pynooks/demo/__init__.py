# SPDX-License-Identifier: GPL-2.0-only
"""The whole story on one screen: a stock driver breaks, and nobody is hurt."""

from __future__ import annotations

from pynooks.demo.story import tell_story

__all__ = ["tell_story"]
