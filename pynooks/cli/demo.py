# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks demo`."""

from __future__ import annotations

import typer

from pynooks.demo import tell_story


def demo() -> None:
    """Boot a VM, isolate its stock e1000, break it, and see the kernel live."""
    tell_story(typer.echo, lambda step: typer.echo(f"  ... {step}", err=True))
