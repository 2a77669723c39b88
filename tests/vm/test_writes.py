# SPDX-License-Identifier: GPL-2.0-only
"""Checked writes: counted by field, refused without a rule, and proposed by a learning run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from bed import DRIVER, Bed

from pynooks.bench import ping_times, stream
from pynooks.btf import Btf
from pynooks.build.builder import read_btf
from pynooks.control.netlink import FLAGS
from pynooks.demo.net import SPACES
from pynooks.deploy import deploy, release
from pynooks.learn import propose, toml_lines
from pynooks.policy import DriverPolicy, WriteRule, driver_rules

pytestmark = pytest.mark.vm
PINGS = 100
WORKLOAD_S = 240
OBJECT, FIELD = "netdev_queue", "dql.num_queued"  # netdev_tx_sent_queue(): each packet sent


def test_writes_are_counted_by_object_and_field(bed: Bed) -> None:
    stats, writes = bed.nook().stats, bed.counts("write")
    assert writes["pci_dev.dev.driver_data"] >= 2  # pci_set_drvdata() of two devices
    # the counts also hold what kernel functions wrote for it
    assert 0 < stats["checked"] <= sum(writes.values())


def test_steady_traffic_needs_no_checked_write(bed: Bed) -> None:
    before, rx = bed.nook().stats, received(bed)
    assert len(ping_times(bed.target, count=PINGS, interval_s=0.02)) == PINGS
    assert stream(bed.target, seconds=2) > 1
    stats = bed.nook().stats
    assert (stats["checked"], stats["denied"]) == (before["checked"], before["denied"])
    assert stats["deferred"] - before["deferred"] >= 4 * PINGS  # received, and sent packets freed
    assert received(bed) - rx >= PINGS  # statistics arrive in the kernel's own net_device


def received(bed: Bed) -> int:
    """Packets that the kernel's own net_device has counted."""
    command = f"ip netns exec {SPACES[0]} sh -c 'cat /sys/class/net/e*/statistics/rx_packets'"
    text = bed.target.run(["sh", "-c", command]).stdout
    return sum(map(int, text.split()))


def test_the_whole_workload_passes_enforced(bed: Bed) -> None:
    """ethtool, jumbo frames, TSO, promiscuous mode, VLAN: what the policy lacks would be fatal."""
    before = bed.nook().stats
    script = Path(__file__).with_name("workload.sh")
    bed.target.put(script, "/run/pynooks/workload.sh")
    done = bed.target.run(
        ["sh", "/run/pynooks/workload.sh", *SPACES], timeout=WORKLOAD_S, check=False
    )
    stats = bed.nook().stats
    assert (stats["faults"], stats["denied"]) == (before["faults"], before["denied"]), (
        bed.nook().fault
    )
    assert done.status == 0, done.stdout
    assert stream(bed.target, seconds=2) > 1
    assert bed.nook().stats["faults"] == before["faults"]


@pytest.fixture
def lacking(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """The policy lacks one field; a learning run has shown what that field is for."""

    def fewer(policy: DriverPolicy, btf: Btf) -> tuple[WriteRule, ...]:
        rules = driver_rules(policy, btf)
        left = tuple(r for r in rules if (r.object, r.field) != (OBJECT, FIELD))
        assert len(left) == len(rules) - 1
        return left

    release(bed.target, DRIVER)
    with monkeypatch.context() as patched:
        patched.setattr("pynooks.deploy.pipeline.driver_rules", fewer)
        deploy(bed.target, DRIVER, learn=True)
    bed.wire()
    yield bed
    release(bed.target, DRIVER)


def test_a_missing_field_is_learned_then_fatal_and_named(lacking: Bed) -> None:
    assert len(ping_times(lacking.target, count=20, interval_s=0.02)) == 20
    time.sleep(2.5)  # the driver's watchdog
    nook = lacking.nook()
    assert (nook.state, nook.stats["faults"], nook.flags) == ("RUNNING", 0, ("learn",))
    btf = read_btf(lacking.target.btf_file())
    found = propose(lacking.agent.learned(DRIVER), btf)
    assert [(p.object, p.field) for p in found] == [(OBJECT, FIELD)]
    assert found[0].count >= 40
    lines = toml_lines(found)
    assert lines[1] == f"{OBJECT} = ["
    assert lines[2].startswith(f'  "{FIELD}", # ')
    assert "e1000_" in lines[2]

    lacking.agent.call("set", name=DRIVER, flags=FLAGS["no_recover"])
    ping_times(lacking.target, count=1, interval_s=0.02)  # its last packet
    nook = lacking.nook()
    assert nook.state == "STOPPED"
    assert nook.stats["denied"] >= 1
    assert nook.fault is not None
    assert nook.fault.what == "no rule allows this write"
    fault = nook.fault.with_field(btf)
    assert fault.target == f"{OBJECT}.{FIELD}"
    assert f"({OBJECT}.{FIELD})" in str(fault)


def test_the_policy_says_why(bed: Bed) -> None:
    """Each permission stands in a file, and each has a count that the nook keeps."""
    text = "".join(
        (resources.files("pynooks.policy") / name).read_text()
        for name in ("class/net.toml", f"drivers/{DRIVER}.toml")
    )
    for name, count in bed.counts("write").items():
        if count:
            thing, _, field = name.partition(".")
            assert f"{thing} = [" in text, name
            assert f'"{field}"' in text, name
