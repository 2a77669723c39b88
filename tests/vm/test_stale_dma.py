# SPDX-License-Identifier: GPL-2.0-only
"""A device goes on with the dead driver's rings until it is reset: that memory is nobody else's.

Another card sends to it all the time, so that packets are there the moment it may reach memory. The
kernel poisons free pages, and looks at the poison when it gives them away.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pynooks.control.client import Agent
from pynooks.demo.net import ping, wire
from pynooks.deploy import deploy
from pynooks.remote import LocalVm
from pynooks.vm.machine import Vm, VmSpec
from pynooks.vm.nics import nics_of

pytestmark = pytest.mark.vm
DRIVERS = ("8139cp", "e100", "e1000e", "pcnet32", "tulip", "vmxnet3")
SENDER = {"8139cp": "e1000"}  # 8139cp for all others
RESTARTS = 4
POISON = ("slub_debug=FZPU", "page_poison=1")
DAMAGE = "dmesg | grep -E 'pagealloc|Poison overwritten|Redzone overwritten|Object padding'"
USE_MEMORY = """sync; echo 3 >/proc/sys/vm/drop_caches
find /usr -xdev -type f -size +50k | head -200 | xargs cat >/dev/null"""
UP = """for net in /sys/bus/pci/drivers/{}/0*/net/*; do
ip link set ${{net##*/}} up; echo ${{net##*/}}; done | head -1"""
FLOOD = """
import socket, sys, time
frame = b"\\xff" * 6 + bytes.fromhex("525400000001") + b"\\x08\\x00" + b"A" * 1000
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind((sys.argv[1], 0))
    while True:
        try:
            sock.send(frame)
        except OSError:
            pass
        time.sleep(0.001)
"""


@pytest.mark.parametrize(
    "driver", ["e1000", *(pytest.param(name, marks=pytest.mark.slow) for name in DRIVERS)]
)
def test_nobody_gets_memory_that_a_device_still_writes_to(tmp_path: Path, driver: str) -> None:
    sender = SENDER.get(driver, "8139cp")
    spec = VmSpec(name=f"test-dma-{driver}", nics=nics_of(driver, sender), extra_cmdline=POISON)
    with Vm.start(spec, tmp_path) as vm:
        for name in (driver, sender):
            vm.run(["modprobe", name])
        target = LocalVm(vm, name=spec.name)
        with Agent(target) as agent:
            deploy(target, driver)
            wire(target, driver)
            (tmp_path / "flood.py").write_text(FLOOD)
            vm.put(tmp_path / "flood.py", "/run/flood.py")
            net = vm.run(UP.format(sender)).stdout.strip()
            vm.run(f"setsid python3 /run/flood.py {net} >/dev/null 2>&1 </dev/null &")
            for _ in range(RESTARTS):
                assert agent.restart(driver).state == "RUNNING"
                vm.run(USE_MEMORY)
            vm.run(["pkill", "-f", "flood.py"])
            assert vm.run(DAMAGE, check=False).stdout == ""
            assert vm.verdict() is None
            wire(target, driver, limit_s=40)
            assert ping(target, count=10).whole
