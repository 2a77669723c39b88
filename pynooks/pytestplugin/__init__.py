# SPDX-License-Identifier: GPL-2.0-only
"""pytest-pynooks: fixtures for tests of drivers in nooks.

    nook_vm            a booted guest with two NICs on a hub; one per session
    isolated_driver    a driver in its nook there, released after the test
    @pytest.mark.nook(driver="e1000", level="pagetable")    what isolated_driver deploys

A guest that does not boot, or dies, is an error of the test and shows its console.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pynooks.control.client import Agent
from pynooks.control.records import Nook
from pynooks.deploy import deploy, release
from pynooks.inject import Injection, Kind, inject_kind
from pynooks.policy import Level
from pynooks.remote import LocalVm
from pynooks.vm.machine import Vm, VmSpec

MARKER = "nook"
DEFAULT_DRIVER = "e1000"
CONSOLE_LINES = 30


@dataclass(frozen=True, slots=True)
class IsolatedDriver:
    """A driver in its nook."""

    target: LocalVm
    name: str

    def nook(self) -> Nook:
        """Its state and counters now."""
        with Agent(self.target) as agent:
            return agent.nook(self.name)

    def inject(self, kind: Kind, *, seed: int) -> Injection:
        """Break it. Traffic must run meanwhile."""
        return inject_kind(self.target, self.name, kind, seed=seed, native=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pynooks")
    group.addoption("--nook-accel", choices=("auto", "kvm", "tcg"), default="auto",
                    help="how nook_vm's QEMU runs (default: KVM if it works)")  # fmt: skip
    group.addoption("--nook-image", choices=("slim", "full"), default="slim",
                    help="guest image of nook_vm; full has bcc")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f'{MARKER}(driver="e1000", level="pagetable"): what isolated_driver deploys'
    )


def wanted(marker: pytest.Mark | None) -> tuple[str, Level | None]:
    """Driver and level that a marker says. Raises UsageError if it says something else."""
    if marker is None:
        return DEFAULT_DRIVER, None
    words = dict(marker.kwargs)
    driver, level = words.pop("driver", DEFAULT_DRIVER), words.pop("level", None)
    if marker.args or words or not isinstance(driver, str):
        raise pytest.UsageError(f"@pytest.mark.{MARKER} takes driver=NAME and level=LEVEL")
    try:
        return driver, None if level is None else Level[str(level).upper()]
    except KeyError as e:
        known = ", ".join(one.name.lower() for one in Level)
        raise pytest.UsageError(f"@pytest.mark.{MARKER}: level is one of {known}") from e


@pytest.fixture(scope="session")
def nook_vm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalVm]:
    """Booted at first use."""
    spec = VmSpec(
        name="pytest",
        accel=request.config.getoption("--nook-accel"),
        image=request.config.getoption("--nook-image"),
    )
    with Vm.start(spec, tmp_path_factory.mktemp("nook_vm")) as vm:
        yield LocalVm(vm, name=spec.name)


@pytest.fixture
def isolated_driver(
    request: pytest.FixtureRequest, nook_vm: LocalVm
) -> Iterator[IsolatedDriver]:
    """Deployed before the test, released after it."""
    driver, level = wanted(request.node.get_closest_marker(MARKER))
    deploy(nook_vm, driver, level=level)
    yield IsolatedDriver(nook_vm, driver)
    release(nook_vm, driver)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows the end of the guest's console."""
    report = yield
    target: Any = getattr(item, "funcargs", {}).get("nook_vm")
    if report.failed and isinstance(target, LocalVm):
        report.sections.append(("console of nook_vm", target.vm.console_tail(CONSOLE_LINES)))
    return report
