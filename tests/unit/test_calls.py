# SPDX-License-Identifier: GPL-2.0-only
"""Programs of calls: from the same dice the same ones, and orders.c can read them."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import btfmake
import pytest

from pynooks.bench.calls import (
    ARGS,
    GFP,
    INSIDE,
    PLACES,
    SLOTS,
    START,
    Author,
    Line,
    callees,
    read_sequences,
    script,
    source,
    told,
)
from pynooks.bench.cases import hostile_dir
from pynooks.btf import Btf
from pynooks.policy import load_policies

BTF = Btf(btfmake.kernel())
EXPORTED = ("_printk", "napi_enable", "pci_read_config_word", "skb_copy_bits")
FUNCTIONS = callees(BTF, load_policies().imports, EXPORTED)
SEQUENCES = {
    "read": ["pci_read_config_word PDEV e HEAP", "skb_copy_bits s3f HEAP 4; _printk #0 1"],
    "poll": ["poll: napi_enable NAPI", "$ true", "h = load NETDEV.stats; store &s:sk_buff.len h"],
}
ORDERS = (hostile_dir() / "orders.c").read_text(encoding="utf-8")
WHEN = re.findall(r"module_param_cb\((\w+), &later_ops", ORDERS)
STRINGS = ORDERS.split("strings[] = ")[1].split(";")[0].count('"') // 2


def author(seed: int) -> Author:
    return Author(
        rng=random.Random(seed),
        functions=FUNCTIONS,
        sequences=SEQUENCES,
        places={name: 0x1000 * i for i, name in enumerate(PLACES, 1)},
        texts=(0x10, 0x20),
        kernel={"data": 0xFFFF},
        btf=BTF,
    )


def test_what_can_be_called_is_what_has_a_policy_and_is_exported() -> None:
    assert [callee.name for callee in FUNCTIONS] == [*INSIDE, *EXPORTED]
    assert FUNCTIONS[-1].args == (("skb", "struct sk_buff"), ("to", "memory"), ("len", "int"))
    assert [what for _, what in FUNCTIONS[len(INSIDE)].args] == ["str", "any", "any", "any"]
    assert not callees(BTF, load_policies().imports, ())[len(INSIDE) :]


def test_the_same_dice_write_the_same_program() -> None:
    assert author(1).program() == author(1).program()
    assert len({str(author(seed).program()) for seed in range(20)}) > 15


def test_orders_are_what_the_driver_can_read() -> None:
    word = r"(s[0-9a-f]+(\+[0-9a-f]+)?|[0-9a-f]+)"
    order = re.compile(rf"[0-9a-f]+ [0-9a-f]+( {word}){{0,{ARGS}}}\Z")
    for seed in range(200):
        for line in (line for lines in author(seed).program() for line in lines):
            assert line.file in ("", "attack", *WHEN)
            if line.file:
                for text in line.text.split(";"):
                    assert order.match(text), text
                    assert int(text.split()[0], 16) < SLOTS
                    assert int(text.split()[1], 16) < len(FUNCTIONS)
                assert len(line.text) < 4096


def test_what_is_wrong_in_a_program_differs_from_it() -> None:
    whole = {line.text for lines in untouched().program() for line in lines if line.file}
    spoilt = {
        line.text for seed in range(100) for lines in author(seed).program() for line in lines
    }
    assert len(spoilt - whole) > len(whole)


def untouched() -> Author:
    calm = author(0)
    calm.rng = Calm(0)
    return calm


class Calm(random.Random):
    """All dice fall high: nothing is left out, doubled or spoilt."""

    def random(self) -> float:
        return 0.999


def test_a_sound_sequence_is_written_as_it_stands() -> None:
    lines = [line.told for lines in untouched().program() for line in lines]
    assert [told.split(" = ")[-1] for told in lines if "pci_read" in told] == [
        "pci_read_config_word(pci_dev, e, s6)"
    ]
    assert any("load(NETDEV.stats)" in told for told in lines)


def test_a_field_is_found_in_the_structure_of_its_variable() -> None:
    words = author(0)._sequence("poll")[-1]
    assert isinstance(words, tuple)
    load, store = words[1]
    assert load.args[0].text == "s2+10"
    assert store.args[1].text == f"s{load.dst:x}"
    assert int(store.args[0].text, 16) == 0x1000  # the first structure in the arena


def test_functions_c_calls_each_by_its_number() -> None:
    text = source(FUNCTIONS)
    number = len(INSIDE) + EXPORTED.index("napi_enable")
    assert '__asm__("napi_enable")' in text
    assert f"case {number}:\n\t\treturn call_{number}(v[0], v[1]" in text
    assert "*(volatile unsigned short *)v[0] = v[1];" in text


@pytest.mark.parametrize(
    ("program", "counts"),
    [
        ([[True, True]], [2]),
        ([[True, False, True]], [2]),
        ([[True], [False, True]], [1, 1]),
    ],
)
def test_the_script_counts_what_was_done(
    tmp_path: Path, program: Iterable[list[bool]], counts: list[int]
) -> None:
    lines = [
        [Line("attack" if good else "no/such", "1 2", "told") for good in one] for one in program
    ]
    done = subprocess.run(
        ["sh", "-c", script(lines, str(tmp_path))], capture_output=True, text=True, check=True
    )
    assert sorted(map(int, done.stdout.split())) == sorted(counts)
    assert "told" in "\n".join(told(lines))


def test_a_shell_line_may_fail(tmp_path: Path) -> None:
    lines = [[Line("", "$ false", "$ false"), Line("attack", "1 2", "")]]
    done = subprocess.run(
        ["sh", "-c", script(lines, str(tmp_path))], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2"]


def test_every_word_of_every_sequence_is_known() -> None:
    imports = {*load_policies().imports, *INSIDE}
    for name, lines in read_sequences().items():
        known: set[str] = set()
        for line in (line for line in lines if not line.startswith("$ ")):
            head, colon, rest = line.partition(": ")
            assert not colon or head in WHEN, line
            for call in (rest if colon else line).split(";"):
                words, result = call.split(), set()
                if words[1:2] == ["="]:
                    result, words = {words[0]}, words[2:]
                assert words[0] in imports, f"{name}: {words[0]}"
                for word in words[1:]:
                    known |= check(word, known, name)
                known |= result


def check(word: str, known: set[str], name: str) -> set[str]:
    """What the word names for those after it."""
    base = re.split(r"[.+]", word)[0]
    if base.startswith("&"):
        variable, _, struct = base.partition(":")
        assert struct or variable in known, f"{name}: {word}"
        return {variable}
    if base.startswith("@"):
        assert base[1:] in PLACES, f"{name}: {word}"
    elif base.startswith("#"):
        assert int(base[1:]) < STRINGS
    elif base not in known and base not in START and base not in ("GFP", "ATOMIC"):
        assert re.fullmatch(r"s?[0-9a-f]+", base), f"{name}: {word}"
    return set()


def test_places_and_constants_are_those_of_the_driver() -> None:
    listed = ORDERS.split("static word places[] = {")[1].split("};")[0]
    assert len(re.findall(r"\(word\)", listed)) == len(PLACES)
    for name in ("SLOTS", "ARGS"):
        assert f"#define {name}\t{globals()[name]}" in ORDERS
    start = re.search(r"enum \{ (.*) \};", ORDERS)
    assert start
    assert start[1].split(", ") == list(START)
    assert GFP[0] == 0xCC0
