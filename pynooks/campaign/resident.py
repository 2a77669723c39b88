# SPDX-License-Identifier: GPL-2.0-only
"""Programs that live in a snapshot: started once, spoken with by every guest restored from it.

Imports take seconds in a guest; restoring one takes a second. A program's standard streams are two
FIFOs, so it does not notice who is at the other end.
"""

from __future__ import annotations

from collections.abc import Sequence

from pynooks.errors import InfraError
from pynooks.remote.target import REMOTE_DIR, Target
from pynooks.vm.ssh import GuestStream

START_S = 180  # bcc compiles in the guest

# $1: directory; $2: seconds that it may take; then the command. Ready when it has answered a ping.
_START = """
set -e
dir=$1; limit=$2; shift 2
mkdir -p $dir
mkfifo $dir/in $dir/out
setsid "$@" 0<>$dir/in 1<>$dir/out 2>$dir/err &
echo '{"id": 0, "method": "ping"}' >$dir/in
timeout $limit head -n 1 $dir/out
"""
_ATTACH = 'cat "$1/out" & exec cat >"$1/in"'


def start_resident(target: Target, name: str, argv: Sequence[str]) -> None:
    """Leave a program that answers JSON lines running on the target."""
    directory = f"{REMOTE_DIR}/{name}"
    words = ["sh", "-c", _START, "start", directory, str(START_S), *argv]
    done = target.run(words, timeout=START_S)
    if '"result"' not in done.stdout:
        said = done.stdout + target.run(["cat", f"{directory}/err"], check=False).stdout
        raise InfraError(
            f"{name} did not start in the guest: {said[-300:]}", hint="report this"
        )


def attach_resident(target: Target, name: str) -> GuestStream:
    """Speak with it. Whoever attaches is the last to do so in this guest."""
    return target.open_stream(["sh", "-c", _ATTACH, "attach", f"{REMOTE_DIR}/{name}"])
