# SPDX-License-Identifier: GPL-2.0-only
"""What the documents name is there: files, commands with their options, messages, windows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from pynooks.cli.main import app

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
GUIDE = (ROOT / "docs/guide.md").read_text()
ISOLATION = (ROOT / "docs/isolation.md").read_text()
ENTRY = (ROOT / "kmod/xpc/entry.S").read_text()
SPAN = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w.*+-]+(/[\w.*+-]+)+/?\Z")
LINK = re.compile(r"\]\(([\w./-]+)\)")
COMMAND = re.compile(r"\bpynooks((?: [\w./@=*-]+)+)")
MESSAGE = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
LABEL = re.compile(r"`(\.L\w+|xpc_\w+|nooks_xpc_\w+)`")
VARIES = "…"
SOURCES = (".py", ".c", ".h", ".S")


def paths(text: str) -> list[str]:
    """Backticked words with a slash that do not begin with one."""
    return sorted({span for span in SPAN.findall(text) if PATH.match(span)})


def commands(text: str) -> list[list[str]]:
    """Words behind `pynooks` in code: indented lines and backticked spans."""
    code = [line for line in text.splitlines() if line.startswith("    ")]
    code += SPAN.findall(text)
    return [found.split() for line in code for found in COMMAND.findall(line.split("#")[0])]


def complaint(words: list[str]) -> str:
    """What is wrong with a command line, or nothing."""
    group = typer.main.get_command(app)
    command = group
    rest = list(words)
    while hasattr(command, "commands") and rest:
        name = rest.pop(0)
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    if hasattr(command, "commands"):
        return "no command"
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    unknown = [word for word in rest if word.startswith("-") and word not in known]
    return f"no option {', '.join(unknown)}" if unknown else ""


def source_text() -> str:
    """All messages of the code, literals that the compiler joins joined."""
    files = [p for d in ("kmod", "pynooks") for p in (ROOT / d).rglob("*") if p.suffix in SOURCES]
    text = "\n".join(p.read_text() for p in sorted(files))
    return re.sub(r'"\s*\n\s*(?:\+ )?f?"', "", text)


def chapter(text: str, title: str) -> str:
    """From a heading of two # to the next."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("doc", DOCS, ids=lambda p: p.stem)
def test_named_files_exist(doc: Path) -> None:
    text = doc.read_text()
    assert not [path for path in paths(text) if not list(ROOT.glob(path))]
    assert not [link for link in LINK.findall(text) if not (doc.parent / link).exists()]


def test_the_check_of_files_can_fail() -> None:
    assert paths("`kmod/gone.c`, `a/b c`, `/etc/passwd`, a/b, `x`") == ["kmod/gone.c"]
    assert not list(ROOT.glob("kmod/gone.c"))


def test_every_command_of_the_guide_exists() -> None:
    found = commands(GUIDE)
    assert len(found) > 30
    assert not {f"pynooks {' '.join(w)}: {said}" for w in found if (said := complaint(w))}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("frobnicate", "no command frobnicate"),
        ("vm frobnicate", "no command frobnicate"),
        ("status --frobnicate", "no option --frobnicate"),
        ("status e1000 --json", ""),
        ("vm", "no command"),
    ],
)
def test_the_check_of_commands_can_fail(line: str, said: str) -> None:
    assert complaint(line.split()) == said


def test_the_guide_tells_every_command() -> None:
    told = {words[0] for words in commands(GUIDE)}
    have = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert have - told <= {"demo", "bench"}  # of the README


def test_messages_of_the_guide_are_in_the_code() -> None:
    code = source_text()
    told = [
        m
        for title in ("6. Reading a fault record", "7. Troubleshooting")
        for m in MESSAGE.findall(chapter(GUIDE, title))
    ]
    told = [m for m in told if m not in ("#PF",) and not m.startswith(("at ", "in "))]
    assert len(told) > 40
    parts = [part.strip() for m in told for part in m.split(VARIES)]
    assert not [part for part in parts if part not in code]


def test_every_window_is_explained() -> None:
    in_code = set(re.findall(r"\bW-[A-Z]+\b", ENTRY))
    told = set(re.findall(r"^\| (W-[A-Z]+) \|", ISOLATION, re.MULTILINE))
    assert in_code == told


def test_every_load_of_cr3_is_counted() -> None:
    loads = len(re.findall(r"^\s*movq\s+%\w+, %cr3", ENTRY, re.MULTILINE))
    words = {"Six": 6, "Three": 3, "nine": 9}
    assert loads == words["nine"] == words["Six"] + words["Three"]
    assert "CR3 is loaded at nine places" in ISOLATION


@pytest.mark.parametrize("label", sorted(set(LABEL.findall(ISOLATION))))
def test_labels_exist(label: str) -> None:
    assert label in source_text()
