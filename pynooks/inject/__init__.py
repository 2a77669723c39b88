# SPDX-License-Identifier: GPL-2.0-only
"""Put faults into the text of a loaded driver, isolated or native."""

from __future__ import annotations

from pynooks.inject.payload import Kind, payload
from pynooks.inject.run import Injection, inject_bytes, inject_kind
from pynooks.inject.site import Function, Site, choose_site, functions

__all__ = [
    "Function",
    "Injection",
    "Kind",
    "Site",
    "choose_site",
    "functions",
    "inject_bytes",
    "inject_kind",
    "payload",
]
