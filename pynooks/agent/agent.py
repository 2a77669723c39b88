# SPDX-License-Identifier: GPL-2.0-only
"""The agent: stays alive in the target, because imports are slow there, and answers JSON lines.

Copied to the target beside netlink.py (as nooks_netlink.py) and run as root with Debian's python3
and python3-pyroute2. One request per line on stdin, one answer per line on stdout:

    {"id": 1, "method": "status", "params": {}}
    {"id": 1, "result": {...}}
    {"id": 1, "error": {"errno": 2, "what": "no nook is named e1000"}}
    {"event": "fault", "t": 12.5, ...}     once "events" was called; t: monotonic seconds

It decides nothing: each method is one step of the kernel's or of the netlink family. End of stdin
ends it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

try:
    from pynooks.control import netlink
except ImportError:  # in the target
    import nooks_netlink as netlink  # type: ignore[import-not-found, no-redef]

SYS = Path("/sys")
PROC = Path("/proc")


class AgentError(Exception):
    """A request that cannot be done; errno as the kernel's."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(what)
        self.number = number


class Agent:
    """Methods whose names begin with do_ are what the host can ask for."""

    def __init__(self) -> None:
        self._out = threading.Lock()
        self._socket: netlink.NooksSocket | None = None

    # ---- the line protocol

    def say(self, message: dict[str, Any]) -> None:
        """One line to the host."""
        with self._out:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    def serve(self) -> None:
        """Until the end of stdin."""
        for line in sys.stdin:
            if line.strip():
                self.say(self.answer(line))

    def answer(self, line: str) -> dict[str, Any]:
        """One request, one answer; never raises for what a request asks."""
        number = None
        try:
            request = json.loads(line)
            number = request.get("id")
            method = getattr(self, f"do_{request['method']}", None)
            if method is None:
                raise AgentError(errno.ENOSYS, f"no method {request['method']}")
            return {"id": number, "result": method(**request.get("params", {}))}
        except AgentError as e:
            return {"id": number, "error": {"errno": e.number, "what": str(e)}}
        except subprocess.CalledProcessError as e:
            text = (e.stderr or e.stdout or "").strip().replace("\n", "; ")
            what = f"{' '.join(map(str, e.cmd))}: {text or e.returncode}"
            return {"id": number, "error": {"errno": errno.EIO, "what": what}}
        except OSError as e:
            what = e.strerror or str(e)
            if e.filename:
                what = f"{e.filename}: {what}"
            return {"id": number, "error": {"errno": e.errno or errno.EIO, "what": what}}
        except Exception as e:
            # pyroute2's errors derive from Exception only, with code and the kernel's text
            code = getattr(e, "code", None)
            if isinstance(code, int):
                what = str(e.args[-1]) if e.args else os.strerror(code)
                return {"id": number, "error": {"errno": code, "what": what}}
            return {"id": number, "error": {"errno": 0, "what": f"{type(e).__name__}: {e}"}}

    @property
    def nooks(self) -> netlink.NooksSocket:
        """The family's socket; made anew after nooks.ko was loaded again."""
        if self._socket is None:
            if not (SYS / "module/nooks").exists():
                raise AgentError(errno.ENODEV, "nooks.ko is not loaded")
            self._socket = netlink.NooksSocket()
        return self._socket

    def _forget_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # ---- the netlink family

    def do_ping(self) -> dict[str, Any]:
        return {"pid": os.getpid()}

    def do_status(self) -> list[dict[str, Any]]:
        return self.nooks.nooks()

    def do_nook(self, name: str) -> dict[str, Any]:
        return self.nooks.nook(name)

    def do_counts(self, name: str) -> list[dict[str, Any]]:
        return self.nooks.counts(name)

    def do_learned(self, name: str) -> list[dict[str, Any]]:
        return self.nooks.learned(name)

    def do_dump(self, name: str) -> dict[str, Any]:
        return self.nooks.crash(name)

    def do_policy_set(self, name: str, **policy: Any) -> None:
        self.nooks.policy_set(name, **policy)

    def do_restart(self, name: str) -> dict[str, Any]:
        self.nooks.restart(name)
        return self.nooks.nook(name)

    def do_release(self, name: str) -> None:
        self.nooks.release(name)

    def do_set(self, name: str, **values: Any) -> dict[str, Any]:
        self.nooks.set(name, **values)
        return self.nooks.nook(name)

    def do_inject(self, module: str, symbol: str, offset: int, code: str) -> dict[str, Any]:
        return self.nooks.inject(module, symbol, offset=offset, code=bytes.fromhex(code))

    def do_events(self) -> None:
        """From here on faults and state changes are told as they come."""
        sock = netlink.NooksSocket()
        sock.listen()
        threading.Thread(target=self._relay, args=(sock,), daemon=True).start()

    def _relay(self, sock: netlink.NooksSocket) -> None:
        while True:
            for event in sock.events():
                self.say({**event, "t": time.monotonic()})

    # ---- modules and devices

    def do_insmod(self, path: str, args: list[str] | None = None) -> None:
        # kmod's insmod: busybox's tries twice, so a failing init would run twice
        try:
            _run(["/sbin/insmod", path, *(args or [])])
        except subprocess.CalledProcessError as e:
            # insmod knows an errno only; nooks.ko tells the reason and the remedy in the log
            said = [line.split("] ", 1)[-1] for line in _klog()[-10:] if "nooks" in line]
            raise AgentError(errno.EIO, "; ".join([e.stderr.strip(), *said[-3:]])) from e

    def do_modprobe(self, name: str) -> None:
        _run(["/sbin/modprobe", name])

    def do_rmmod(self, name: str) -> None:
        if name == "nooks":
            self._forget_socket()
        _run(["/sbin/rmmod", name])

    def do_modules(self) -> dict[str, list[str]]:
        """Loaded modules, each with those that use it."""
        loaded = {}
        for line in (PROC / "modules").read_text().splitlines():
            name, _, _, users = line.split()[:4]
            loaded[name] = [] if users == "-" else [u for u in users.split(",") if u]
        return loaded

    def do_devices(self, driver: str) -> list[dict[str, Any]]:
        """PCI devices bound to a driver, with their network interfaces."""
        home = SYS / "bus/pci/drivers" / driver
        return [
            {"slot": dev.name, "net": sorted(p.name for p in (dev / "net").glob("*"))}
            for dev in sorted(home.glob("????:*"))
        ]

    def do_bind(self, driver: str, slot: str) -> None:
        (SYS / "bus/pci/drivers" / driver / "bind").write_text(slot)

    def do_unbind(self, driver: str, slot: str) -> None:
        (SYS / "bus/pci/drivers" / driver / "unbind").write_text(slot)

    # ---- files

    def do_read(self, path: str) -> str | None:
        """Text of a file, None if there is none."""
        file = Path(path)
        return file.read_text() if file.exists() else None

    def do_write(self, path: str, text: str) -> None:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def do_remove(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)

    # ---- what the target is and has

    def do_facts(self) -> dict[str, Any]:
        """What doctor and deploy judge. Raw values; the host judges."""
        cpuinfo = (PROC / "cpuinfo").read_text()
        flags = next((x for x in cpuinfo.splitlines() if x.startswith("flags")), "").split()
        return {
            "release": os.uname().release,
            "machine": os.uname().machine,
            "cpus": os.cpu_count(),
            "uid": os.getuid(),
            "cmdline": (PROC / "cmdline").read_text().strip(),
            "pti": "pti" in flags,
            "pcid": "pcid" in flags,
            "btf": (SYS / "kernel/btf/vmlinux").exists(),
            "lockdown": _read(SYS / "kernel/security/lockdown"),
            "sig_enforce": _read(SYS / "module/module/parameters/sig_enforce"),
            "tainted": int((PROC / "sys/kernel/tainted").read_text()),
            "nooks": (SYS / "module/nooks").exists(),
            "bcc": _importable("bcc"),
        }

    def do_symbols(self, module: str) -> dict[str, int]:
        """Text symbols of a loaded module and their addresses."""
        found = {}
        with (PROC / "kallsyms").open() as lines:
            for line in lines:
                words = line.split()
                if len(words) == 4 and words[3] == f"[{module}]" and words[1] in "tT":
                    found[words[2]] = int(words[0], 16)
        return found

    def do_address(self, symbol: str) -> int:
        """Of a symbol of the kernel itself."""
        with (PROC / "kallsyms").open() as lines:
            for line in lines:
                words = line.split()
                if len(words) == 3 and words[2] == symbol:
                    return int(words[0], 16)
        raise AgentError(errno.ENOENT, f"the kernel has no symbol {symbol}")

    def do_running(self, module: str, seconds: float, native: bool) -> list[str]:
        """Functions of a driver that the kernel called meanwhile, by tracing them.

        In a nook by its tracepoint; native by the function tracer, which then names all
        functions of the driver that ran.
        """
        instance = SYS / "kernel/tracing/instances/pynooks"
        if not instance.parent.is_dir():
            _run(["mount", "-t", "tracefs", "tracefs", str(SYS / "kernel/tracing")])
        instance.mkdir(exist_ok=True)
        try:
            if native:
                _only_functions_of(module, instance / "set_ftrace_filter")
                (instance / "current_tracer").write_text("function")
            else:
                (instance / "events/nooks/nooks_entry/enable").write_text("1")
            time.sleep(seconds)
            (instance / "tracing_on").write_text("0")
            text = (instance / "trace").read_text()
            if native:
                (instance / "current_tracer").write_text("nop")
        finally:
            instance.rmdir()
        form = r": (\S+)(?: \[\w+\])? <-" if native else r"fn=([^\s+]+)"
        return sorted(set(re.findall(form, text)))

    def do_resources(self) -> dict[str, Any]:
        """What may leak over restarts: memory in kB, interrupt lines, slab objects, ports."""
        memory = {}
        for line in (PROC / "meminfo").read_text().splitlines():
            key, value = line.split(":")
            memory[key] = int(value.split()[0])
        # free pages that each CPU keeps for itself, which the kernel does not count as free
        lists = re.findall(r"^ +count: (\d+)$", (PROC / "zoneinfo").read_text(), re.MULTILINE)
        memory["PerCpuLists"] = sum(map(int, lists)) * os.sysconf("SC_PAGE_SIZE") // 1024
        slabs, per_slab = {}, {}
        for line in (PROC / "slabinfo").read_text().splitlines()[2:]:
            name, active, _, _, each = line.split()[:5]
            slabs[name], per_slab[name] = int(active), int(each)
        irqs = [
            line.split()[-1]
            for line in (PROC / "interrupts").read_text().splitlines()[1:]
            if line.split(":")[0].strip().isdigit()
        ]
        areas = (PROC / "vmallocinfo").read_text()  # unpurged: freed already
        ports = (PROC / "ioports").read_text() + (PROC / "iomem").read_text()
        return {
            "memory": memory,
            "slabs": slabs,
            "per_slab": per_slab,
            "irqs": sorted(irqs),
            "regions": sorted(x.split(":")[1].strip() for x in ports.splitlines() if ":" in x),
            "vmalloc": sum("unpurged" not in line for line in areas.splitlines()),
        }

    def do_run(self, argv: list[str], timeout: float = 60) -> dict[str, Any]:
        """Any command; what it said and its status."""
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        return {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def _run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, timeout=120)


def _only_functions_of(module: str, file: Path) -> None:
    """Set a filter of the function tracer. Raises AgentError: without one it traces the kernel."""
    # a pattern that begins with a digit is a number (filter_parse_regex() of the kernel)
    file.write_text(f":mod:{'*' if module[0].isdigit() else ''}{module}")
    if file.read_text().startswith("####"):
        raise AgentError(errno.ENOENT, f"the tracer knows no function of {module}")


def _klog() -> list[str]:
    done = subprocess.run(["dmesg"], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.splitlines()


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _importable(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


if __name__ == "__main__":
    Agent().serve()
