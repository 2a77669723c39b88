# SPDX-License-Identifier: GPL-2.0-only
"""The frozen guest that every trial of one driver and mode starts from."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from pynooks.build.builder import build_module, read_btf
from pynooks.campaign.plan import Mode
from pynooks.campaign.resident import attach_resident, start_resident
from pynooks.control.client import AGENT, Agent, Peer, copy_agent
from pynooks.demo.net import ADDRESSES, SETUP, SPACES, wire
from pynooks.deploy import deploy
from pynooks.errors import InfraError
from pynooks.remote import LocalVm
from pynooks.remote.target import REMOTE_DIR, Target
from pynooks.trace import witness_argument
from pynooks.vm.cmdline import WITNESS
from pynooks.vm.machine import Snapshot, Vm, VmSpec
from pynooks.vm.nics import nics_of
from pynooks.vm.registry import spec_of

_log = logging.getLogger(__name__)
Progress = Callable[[str], None]
ANSWER_S = 15.0
MEMORY_MIB = 512  # less to copy per trial
HANG_S = 10.0
WORKLOAD = "workload"
_AGENT = "agent"
# A snapshot leaves out pages of zeros: give back what the compiler has used, and take it all once.
_ZERO = """
import mmap
with open("/proc/sys/vm/drop_caches", "w") as file:
    file.write("1")
with open("/proc/meminfo") as lines:
    free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemFree:"))
flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
mmap.mmap(-1, free - (16 << 20), flags).close()
"""
_WORKLOAD_FILES = (
    ("pynooks.campaign", "workload.py", "workload.py"),
    ("pynooks.campaign", "requests.py", "nooks_requests.py"),
    ("pynooks.bench", "udp.py", "nooks_udp.py"),
    ("pynooks.trace", "tracer.py", "nooks_tracer.py"),
    ("pynooks.trace", "witness.bpf.c", "witness.bpf.c"),
)

# A trial shall see in seconds what a user sees in minutes: name, value, default, meaning.
SYSCTLS = (
    ("kernel/watchdog_thresh", "3"),  # 10: soft lockup after twice this
    ("kernel/hung_task_timeout_secs", "8"),  # 120
    ("kernel/hung_task_check_interval_secs", "2"),  # 0: as the timeout
)
_RCU_STALL = "/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout"
_RCU_STALL_S = "6"  # 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """symbols: addresses of the driver's functions in that guest."""

    driver: str
    mode: Mode
    snapshot: Snapshot
    symbols: Mapping[str, int]


def make_base(driver: str, mode: Mode, workdir: Path, progress: Progress = _log.info) -> Base:
    """Boot, load the driver, connect its two NICs, start what trials need, freeze."""
    spec = VmSpec(
        name=f"base-{mode}",
        image="full",  # the witness is compiled in the guest
        nics=nics_of(driver),
        pluggable=True,
        memory_mib=MEMORY_MIB,
        hang_s=HANG_S,
        extra_cmdline=WITNESS,
    )
    with Vm.start(spec, workdir, progress) as vm:
        target = LocalVm(vm, name=spec.name)
        for name, value in SYSCTLS:
            target.run(["sh", "-c", f"echo {value} >/proc/sys/{name}"])
        target.run(["sh", "-c", f"echo {_RCU_STALL_S} >{_RCU_STALL}"])
        if mode is Mode.NATIVE:
            _load_native(target, driver, progress)
        else:
            deploy(target, driver, progress=progress)
        wire(target, driver)
        progress(f"{spec.name}: starting agent and workload")
        copy_agent(target)
        start_resident(target, _AGENT, ["python3", "-u", AGENT])
        with Agent(target) as agent:
            symbols = agent.call("symbols", module=driver)
        _start_workload(target, driver)
        if found := vm.verdict():
            raise InfraError(
                f"the guest complains before any fault: {found.title}", hint="see its console"
            )
        target.run(["python3", "-c", _ZERO])
        snapshot = vm.freeze(workdir / "base.qcow2")
    base = Base(driver=driver, mode=mode, snapshot=snapshot, symbols=symbols)
    (workdir / "base.json").write_text(json.dumps(_as_json(base)))
    return base


def _load_native(target: LocalVm, driver: str, progress: Progress) -> None:
    """nooks.ko is there too, without a nook: it injects."""
    built = build_module(target.release(), target.btf_file(), progress)
    target.run(["mkdir", "-p", REMOTE_DIR])
    target.put(built.ko, f"{REMOTE_DIR}/nooks.ko")
    target.run(["insmod", f"{REMOTE_DIR}/nooks.ko"])
    target.run(["modprobe", driver])


def _start_workload(target: Target, driver: str) -> None:
    for package, name, remote in _WORKLOAD_FILES:
        target.put(Path(str(resources.files(package) / name)), f"{REMOTE_DIR}/{remote}")
    kernel = witness_argument(read_btf(target.btf_file()))
    argv = ["python3", f"{REMOTE_DIR}/nooks_tracer.py", "hold", kernel]
    argv += ["python3", "-u", f"{REMOTE_DIR}/workload.py", driver, *SPACES, *ADDRESSES, SETUP]
    start_resident(target, WORKLOAD, argv)


def open_agent(target: Target) -> Agent:
    """In a guest restored from a base."""
    return Agent(target, attach_resident(target, _AGENT))


def open_workload(target: Target) -> Peer:
    return Peer(target, attach_resident(target, WORKLOAD), start_s=ANSWER_S)


def _as_json(base: Base) -> dict[str, object]:
    s = base.snapshot
    return {
        "schema": 1,
        "driver": base.driver,
        "mode": str(base.mode),
        "symbols": dict(base.symbols),
        "spec": asdict(s.spec),
        "overlay": str(s.overlay),
        "tag": s.tag,
        "image_root": str(s.image_root),
        "accel": s.accel,
    }


def read_base(workdir: Path) -> Base | None:
    """A base that was made before, None if there is none that is whole."""
    try:
        raw = json.loads((workdir / "base.json").read_text())
    except (OSError, ValueError):
        return None
    overlay = Path(raw["overlay"])
    if not overlay.exists() or not Path(raw["image_root"]).exists():
        return None
    snapshot = Snapshot(
        spec_of(raw["spec"]), overlay, raw["tag"], Path(raw["image_root"]), raw["accel"]
    )
    return Base(
        driver=raw["driver"], mode=Mode(raw["mode"]), snapshot=snapshot, symbols=raw["symbols"]
    )
