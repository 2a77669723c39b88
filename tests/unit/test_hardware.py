# SPDX-License-Identifier: GPL-2.0-only
"""Faults of the hardware follow the seed, and say what they do to a value."""

from __future__ import annotations

import pytest
from test_mutate import everywhere, routine, text

from pynooks.campaign import Case, Mode, Plan
from pynooks.campaign.plan import HARDWARE
from pynooks.errors import RefusedError
from pynooks.inject.hardware import (
    LATEST_S,
    HardwareClass,
    HardwareFault,
    RegisterFault,
    address_of,
    candidates,
    choose_hardware,
    hardware_fault_of,
    loads,
)

K = HardwareClass
SEEDS = range(20)
# mov eax, [rdi+8]; movzx ecx, word [rax+rsi*4]; mov rax, [rdi]; mov eax, [rsp+4]; mov [rdi], eax
LOADS = "8b4708" "0fb70cb0" "488b07" "8b442404" "8907" "c3"  # fmt: skip


def faults(cls: HardwareClass, seed: int, count: int = 3) -> tuple[HardwareFault, ...]:
    places = candidates(text(), everywhere(text()))[:40]
    return choose_hardware(text(), cls, seed=seed, count=count, registers=places, devices=2)


def fault(**values: int) -> RegisterFault:
    bits = {"clear": 0, "set": 0, "flip": 0, "reads": 1, **values}
    return RegisterFault(cls=K.REGISTER, symbol="f", offset=0, code=b"\x8b\x07", **bits)


def test_a_load_may_read_a_register() -> None:
    """Not one of the stack, nor of eight bytes, nor a store."""
    found = list(loads(routine(LOADS)))
    assert [str(i) for i in found] == [
        "mov eax, dword ptr [rdi + 8]",
        "movzx ecx, word ptr [rax + rsi*4]",
    ]
    values = {"rdi": 0x1000, "rax": 0x2000, "rsi": 3}
    assert [address_of(i, values.__getitem__) for i in found] == [0x1008, 0x200C]


def test_addresses_wrap() -> None:
    (load,) = loads(routine("8b47f8" "c3"))  # fmt: skip
    assert address_of(load, lambda _: 4) == (1 << 64) - 4


@pytest.mark.parametrize(
    ("bits", "size", "value", "now"),
    [
        ({"flip": 0x10}, 4, 0xFF, 0xEF),
        ({"clear": 0xFFFFFFFF}, 4, 0x1234, 0),
        ({"set": 0xFFFFFFFF}, 2, 0x12345678, 0x1234FFFF),
        ({"clear": 1, "set": 2, "flip": 2}, 1, 0xFF, 0xFC),
    ],
)
def test_a_value_is_changed(bits: dict[str, int], size: int, value: int, now: int) -> None:
    """Only as far as the instruction reads."""
    assert fault(**bits).of_value(value, size) == now


@pytest.mark.parametrize("cls", list(K))
def test_faults_of_the_stock_driver(cls: HardwareClass) -> None:
    for seed in SEEDS:
        found = faults(cls, seed)
        assert found == faults(cls, seed)
        assert len(found) == (1 if cls is K.VANISH else 3)
        assert all(f.cls is cls and str(f) for f in found)
        assert tuple(hardware_fault_of(f.as_json()) for f in found) == found
        for f in found:
            if isinstance(f, RegisterFault):
                assert f.clear or f.set or f.flip
                assert (f.reads == 0) is (cls is K.STUCK_BIT)
            else:
                assert 0 < f.after_s <= LATEST_S
                assert (f.count > 0) is (cls is K.IRQ_SPURIOUS)
                assert (f.for_s > 0) is (cls in (K.IRQ_LOST, K.DMA_LOST, K.UNPLUG))
    assert len({faults(cls, seed) for seed in SEEDS}) > len(SEEDS) / 2


def test_a_driver_that_reads_no_register() -> None:
    with pytest.raises(RefusedError, match="reads no register"):
        choose_hardware(text(), K.REGISTER, seed=1, count=1, registers=(), devices=2)


def test_a_plan_names_them() -> None:
    plan = Plan.of({"name": "x", "seed": 1, "classes": [HARDWARE, "nop"]})
    assert plan.classes[:-1] == tuple(K)
    case = Case(driver="e1000", cls=K.VANISH, seed=3, mode=Mode.NATIVE)
    assert Case.of(case.key) == case
    assert Plan.of({"name": "x", "seed": 1, "classes": HARDWARE}).classes == tuple(K)
