# SPDX-License-Identifier: GPL-2.0-only
"""The guest that most tests share. If it breaks, that is an error of every later test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest
from bed import Bed, started
from xdist.scheduler import LoadScopeScheduling

from pynooks.errors import GuestError
from pynooks.vm import boot, stale
from pynooks.vm.machine import Vm, VmSpec

CONSOLE_LINES = 30
FAULTS = ("test_contexts", "test_control", "test_hangs", "test_inject")


@pytest.fixture(scope="session")
def _guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Booted once. A boot failure is an error, never a skip."""
    with started(VmSpec(name="test-e1000"), tmp_path_factory.mktemp("bed")) as bed:
        yield bed


@pytest.fixture
def bed(_guest: Bed) -> Iterator[Bed]:
    """e1000 in its nook at level pagetable, connected; afterwards the kernel has no complaint."""
    if found := _guest.complaints():
        raise GuestError(
            f"the guest is broken since an earlier test: {found[0]}",
            hint="see the first failure",
            console=_guest.vm.console_tail(),
        )
    _guest.isolate()
    yield _guest
    assert not _guest.complaints()


class ByGuest(LoadScopeScheduling):  # type: ignore[misc]
    """What shares a guest stays in one worker of pytest-xdist, so that it is booted once.

    The session's guest is booted in each of two workers: half of all tests want it.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = self.config.rootpath / nodeid.partition("::")[0]
        if "bed: Bed" not in path.read_text():
            return path.stem
        return "bed, faults" if path.stem in FAULTS else "bed"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGuest:
    """In place of --dist's."""
    return ByGuest(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows the console's tail of each guest that the test had."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if vm := _vm_of(value):
                tail = vm.console_tail(CONSOLE_LINES)
                report.sections.append((f"console of {vm.spec.name} ({name})", tail))
        console = getattr(call.excinfo.value if call.excinfo else None, "console", "")
        if console:
            report.sections.append(("console", console))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands what it noted to the process that tells it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["stalls"] = boot.stalls
        session.config.workeroutput["cures"] = stale.cures


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended."""
    output = getattr(node, "workeroutput", {})
    boot.stalls.extend(output.get("stalls", ()))
    stale.cures.extend(output.get("cures", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the emulator got wrong is told, so that nobody takes it for luck."""
    for stall in boot.stalls:
        terminalreporter.write_line(f"BOOTED AGAIN {stall}")
    for cure in stale.cures:
        terminalreporter.write_line(f"HELPED ON {cure}")


def _vm_of(value: Any) -> Vm | None:
    vm = value if isinstance(value, Vm) else getattr(value, "vm", None)
    return vm if isinstance(vm, Vm) else None
