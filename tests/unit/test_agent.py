# SPDX-License-Identifier: GPL-2.0-only
"""The agent's line protocol, as it answers in the target, and the host's end of it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import btfmake
import pytest

from pynooks.agent.agent import Agent as Server
from pynooks.agent.agent import AgentError as ServerError
from pynooks.btf import Btf
from pynooks.control.client import Agent, AgentError
from pynooks.control.records import Fault
from pynooks.deploy.suitable import suitable
from pynooks.errors import InfraError

ROOT = Path(__file__).parents[2]


def ask(server: Server, **request: Any) -> dict[str, Any]:
    return server.answer(json.dumps({"id": 7, **request}))


def test_ping() -> None:
    assert ask(Server(), method="ping") == {"id": 7, "result": {"pid": os.getpid()}}


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        ({"method": "frobnicate"}, errno.ENOSYS),
        ({"method": "address", "params": {"symbol": "no_such_symbol_of_the_kernel"}}, errno.ENOENT),
        ({"method": "unbind", "params": {"driver": "no-such", "slot": "0000:00"}}, errno.ENOENT),
        ({"method": "ping", "params": {"surplus": 1}}, 0),
        ({"method": "run", "params": {"argv": ["/no/such/program"]}}, errno.ENOENT),
        ({"no": "method"}, 0),
    ],
)
def test_errors_are_answers(request_: dict[str, Any], number: int) -> None:
    error = ask(Server(), **request_)["error"]
    assert error["errno"] == number
    assert error["what"]


def test_garbage_is_answered() -> None:
    assert "error" in Server().answer("{not json")


def test_kernel_text_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(Exception):
        code = errno.EBUSY

    def refuse(self: Server) -> None:
        raise Refused(errno.EBUSY, "e1000 is in a nook; release it first")

    monkeypatch.setattr(Server, "do_ping", refuse)
    error = ask(Server(), method="ping")["error"]
    assert error == {"errno": errno.EBUSY, "what": "e1000 is in a nook; release it first"}


def test_facts_are_what_suitable_judges() -> None:
    facts = ask(Server(), method="facts").get("result")
    if facts is None:
        pytest.skip("this machine's /proc is restricted")
    assert {check.name for check in suitable(facts)} >= {"pti", "pcid", "btf", "root"}


def test_read_of_nothing(tmp_path: Path) -> None:
    server = Server()
    path = str(tmp_path / "a/b")
    assert ask(server, method="read", params={"path": path})["result"] is None
    ask(server, method="write", params={"path": path, "text": "x"})
    assert ask(server, method="read", params={"path": path})["result"] == "x"
    ask(server, method="remove", params={"path": path})
    assert ask(server, method="read", params={"path": path})["result"] is None


def test_nooks_without_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pynooks.agent.agent.SYS", tmp_path)
    with pytest.raises(ServerError, match=r"nooks\.ko is not loaded"):
        Server().do_status()


def test_runs_as_a_copied_script(tmp_path: Path) -> None:
    """In the target there is no pynooks package."""
    (tmp_path / "agent.py").write_bytes((ROOT / "pynooks/agent/agent.py").read_bytes())
    netlink = (ROOT / "pynooks/control/netlink.py").read_bytes()
    (tmp_path / "nooks_netlink.py").write_bytes(netlink)
    packages = [p for p in sys.path if p.endswith("site-packages")]
    done = subprocess.run(
        [sys.executable, "-S", "agent.py"],
        cwd=tmp_path,
        input='{"id": 1, "method": "ping"}\n\n{"id": 2, "method": "nothing"}\n',
        env={"PYTHONPATH": ":".join(packages), "PYTHONSAFEPATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["id"] == 1
    assert second["error"]["errno"] == errno.ENOSYS


class Pipe:
    """A stream that runs the agent's code in place. before: lines told before each answer."""

    def __init__(self, before: Sequence[dict[str, Any]] = ()) -> None:
        self.server = Server()
        self.before = list(before)
        self.lines: list[bytes] = []
        self.stdin = self.stdout = self
        self.stderr_tail = "ModuleNotFoundError: No module named 'pyroute2'"
        self.closed = False

    def write(self, data: bytes) -> None:
        for event in self.before:
            self.lines.append(json.dumps(event).encode())
        self.lines.append(json.dumps(self.server.answer(data.decode())).encode())

    def readline(self, timeout: float) -> bytes:
        return self.lines.pop(0) if self.lines else b""

    def close(self) -> None:
        self.closed = True


class FakeTarget:
    name = "fake"

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.files: list[str] = []

    def run(self, argv: Sequence[str], **_: Any) -> None:
        assert list(argv[:2]) == ["mkdir", "-p"]

    def put(self, local: Path, remote: str) -> None:
        assert local.is_file()
        self.files.append(remote)

    def open_stream(self, argv: Sequence[str]) -> Pipe:
        assert argv[-1] in self.files
        return self.pipe


def test_client_keeps_events_and_raises_errors() -> None:
    pipe = Pipe(before=[{"event": "state", "name": "e1000", "id": 1, "state": "RUNNING"}])
    with Agent(FakeTarget(pipe)) as agent:  # type: ignore[arg-type]
        assert agent.call("read", path="/no/such/file") is None
        assert agent.wait_event(1)["state"] == "RUNNING"
        with pytest.raises(AgentError, match="no method nothing") as caught:
            agent.call("nothing")
        assert caught.value.number == errno.ENOSYS
        assert caught.value.exit_code == 1
    assert pipe.closed


def test_dead_agent_is_infrastructure() -> None:
    pipe = Pipe()
    pipe.write = lambda data: None  # type: ignore[method-assign]
    with pytest.raises(InfraError, match="pyroute2") as caught:
        Agent(FakeTarget(pipe))  # type: ignore[arg-type]
    assert "python3-pyroute2" in caught.value.hint
    assert pipe.closed


def test_fault_reads_like_a_sentence() -> None:
    raw = {"vec": 14, "ip": 0x1234, "addr": 0xFFFF888000000000, "err": 3,
           "symbol": "e1000_xmit_frame+0x11", "entry": "net_device_ops.ndo_start_xmit",
           "target": "init_task"}  # fmt: skip
    assert str(Fault.of(raw)) == (
        "#PF at e1000_xmit_frame+0x11 in net_device_ops.ndo_start_xmit at 0xffff888000000000"
        " (init_task)"
    )


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("net_device+0x18", "net_device.stats.tx_packets"),
        ("net_device+0", "net_device.name"),
        ("init_task+0x40/0x2480", "init_task+0x40/0x2480"),
        ("nothing+0x8", "nothing+0x8"),
        ("", ""),
    ],
)
def test_a_refused_write_names_its_field(target: str, named: str) -> None:
    fault = Fault.of({"vec": 14, "target": target})
    assert fault.with_field(Btf(btfmake.kernel())).target == named
