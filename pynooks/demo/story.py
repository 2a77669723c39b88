# SPDX-License-Identifier: GPL-2.0-only
"""The demo: native traffic, isolated traffic, a wild write, recovery, traffic again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pynooks.build.builder import read_btf
from pynooks.control.client import Agent
from pynooks.control.records import VECTORS
from pynooks.demo.net import Ping, ping, wire
from pynooks.deploy import deploy
from pynooks.errors import CheckError
from pynooks.inject import Kind, payload
from pynooks.remote import LocalVm, Target
from pynooks.trace import Testimony, Tracer, canaries, judge, trace_nooks, trace_witness
from pynooks.vm.machine import Vm, VmSpec

DRIVER = "e1000"
FUNCTION = "e1000_xmit_frame"
VICTIM = "init_uts_ns"  # writable, and `uname -s` shows at once whether it was hit
RECOVERY_S = 30

Say = Callable[[str], None]


def tell_story(say: Say, progress: Say) -> None:
    """Raises CheckError if any of it does not happen. say: the result; progress: the rest."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pynooks-demo-") as scratch, ExitStack() as stack:
        vm = stack.enter_context(
            Vm.start(VmSpec(name="demo", image="full"), Path(scratch), progress)
        )
        target = stack.enter_context(LocalVm(vm, name="demo"))
        say(f"kernel {target.release()}, stock and unpatched; booted in {vm.boot_s:.1f} s")
        witness = stack.enter_context(trace_witness(target, read_btf(target.btf_file())))
        target.run(["modprobe", DRIVER])
        native = _traffic(target, "native", say)
        witness.wait_ready()
        before = canaries(target)
        _isolate(target, say, progress)
        tracer = stack.enter_context(trace_nooks(target))
        isolated = _traffic(target, "isolated", say)
        progress("compiling the trace program in the guest")
        tracer.wait_ready()
        after = _break(target, stack, tracer, say)
        events = list(witness.finish())
        found = judge(before, canaries(target), events)
        _verdict(found, target, say)
        if not (native.whole and isolated.whole and after.whole and found.good):
            raise CheckError("the demo did not go well", hint="read the lines above")
    say(f"all of it in {time.monotonic() - began:.0f} s")


def _traffic(target: Target, how: str, say: Say) -> Ping:
    wire(target, DRIVER)
    result = ping(target, count=20)
    say(f"ping, {DRIVER} {how + ':':16}{result}")
    return result


def _isolate(target: Target, say: Say, progress: Say) -> None:
    done, _ = deploy(target, DRIVER, progress=progress)
    origin = "the distribution's file" if done.stock else "NOT the distribution's file"
    say(f"{DRIVER}.ko ({origin}, sha256 {done.sha256[:16]}...) is in a nook, level {done.level}")


def _break(target: Target, stack: ExitStack, tracer: Tracer, say: Say) -> Ping:
    """A store of the driver to kernel memory while traffic flows, and what becomes of it."""
    with Agent(target) as agent:
        address = agent.call("address", symbol=VICTIM)
        traffic = stack.enter_context(
            target.open_stream(
                ["ip", "netns", "exec", "nooks-a", "ping", "-q", "-i", "0.02", "192.0.2.2"]
            )
        )
        patch = agent.inject(DRIVER, FUNCTION, offset=0, code=payload(Kind.WILD_WRITE, address))
        say(
            f"injected: a write to {VICTIM} ({address:#x}) in {FUNCTION}, "
            f"{patch.old.hex()} -> {patch.new.hex()}"
        )
        _follow_recovery(tracer, say)
        traffic.close()
        nook = agent.nook(DRIVER)
    say(f"nook {nook.name}: {nook.state}, {nook.stats['recoveries']} recovery, last fault:")
    say(f"  {nook.fault}")
    return _traffic(target, "after recovery", say)


def _follow_recovery(tracer: Tracer, say: Say) -> None:
    """Print the fault and the steps of the recovery. Raises CheckError if either is missing."""
    faults = 0
    for event in tracer.events(RECOVERY_S):
        if event["event"] == "fault":
            faults += 1
            vector = VECTORS.get(event["vec"], event["vec"])
            say(f"fault: {vector} at {event['symbol']}, address {event['addr']:#x}")
        elif event["event"] == "step":
            say(f"  recovery: {event['step']:8} {event['ns'] / 1e6:9.2f} ms")
            if event["step"] == "done":
                return
            if event["step"] == "failed":
                break
    raise CheckError(
        "the driver did not come back" if faults else "the fault never struck",
        hint="run with -vv, and read the guest's kernel log",
    )


def _verdict(found: Testimony, target: Target, say: Say) -> None:
    system = target.run(["uname", "-s"]).stdout.strip()
    say(
        f"witness: {found.checked} kernel objects checked, "
        f"changed: {', '.join(found.changed) or 'none'}; "
        f"oops, panic, WARN: {', '.join(found.bad) or 'none'}; lost events: {found.lost}; "
        f"uname -s: {system}"
    )
    say(f"witness: {', '.join(found.netdevs)}")
