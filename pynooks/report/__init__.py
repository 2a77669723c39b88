# SPDX-License-Identifier: GPL-2.0-only
"""A campaign's results for people (HTML), CI (JUnit XML), programs (JSON lines), documents."""

from __future__ import annotations

import json
from pathlib import Path

from pynooks.bench.report import insert
from pynooks.campaign.journal import NAME, read_plan_of, results
from pynooks.errors import InfraError
from pynooks.report.html import render_html
from pynooks.report.junit import render_junit
from pynooks.report.markdown import render_markdown

__all__ = ["document", "render_html", "render_junit", "render_markdown", "write_report"]


def write_report(root: Path, into: Path) -> list[Path]:
    """All three forms of what is done so far. Raises UsageError, InfraError."""
    plan, found = read_plan_of(root / NAME), results(root)
    texts = {
        "report.html": render_html(plan, found, root),
        "junit.xml": render_junit(plan, found, root),
        "trials.jsonl": "".join(json.dumps(r.as_json()) + "\n" for r in found),
    }
    try:
        into.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (into / name).write_text(text)
    except OSError as e:
        raise InfraError(f"cannot write {into}: {e.strerror}", hint="is the disk full?") from e
    return [into / name for name in texts]


def document(root: Path, path: Path) -> None:
    """Figures between <!-- campaign NAME --> and its end. Raises RefusedError, UsageError."""
    plan = read_plan_of(root / NAME)
    insert(path, f"campaign {plan.name}", render_markdown(plan, results(root)))
