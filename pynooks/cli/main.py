# SPDX-License-Identifier: GPL-2.0-only
"""The command line. This module alone maps what went wrong to an exit status."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from pynooks import __version__
from pynooks.cli import (
    bench,
    build,
    campaign,
    demo,
    deploy,
    doctor,
    dump,
    inject,
    nook,
    policy,
    relink,
    trace,
    vm,
    watch,
)
from pynooks.errors import GuestError, NooksError, UsageError

BUG = 70
_CONSOLE_LINES = 25
# Newer typers carry a click of their own and make only this leaf of its usage errors public.
_UsageError = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="pynooks",
    help="Isolate stock Linux drivers in nooks, and show that it holds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pynooks {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log to stderr; twice: commands too.")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, stream=sys.stderr, format="%(name)s: %(message)s")
    logging.getLogger("paramiko").setLevel(logging.WARNING)


app.command()(doctor.doctor)
app.command()(build.build)
app.command("relink")(relink.relink_command)
app.command("deploy")(deploy.deploy_command)
app.command()(nook.status)
app.command()(dump.dump)
app.command()(nook.restart)
app.command("set")(nook.set_command)
app.command("release")(deploy.release_command)
app.command("enable")(deploy.enable_command)
app.command("disable")(deploy.disable_command)
app.command()(nook.learn)
app.command()(inject.inject)
app.command()(trace.trace)
app.command()(watch.watch)
app.command()(demo.demo)
app.add_typer(bench.app, name="bench")
app.add_typer(campaign.app, name="campaign")
app.add_typer(policy.app, name="policy")
app.add_typer(vm.app, name="vm")


def _tell(error: NooksError) -> int:
    if isinstance(error, GuestError) and error.console:
        tail = error.console.splitlines()[-_CONSOLE_LINES:]
        print("console:", *tail, sep="\n  ", file=sys.stderr)
    print(f"pynooks: {error}", file=sys.stderr)
    print(f"hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def _bug(e: BaseException) -> int:
    traceback.print_exception(e)
    print("pynooks: this is a bug of pynooks; please report the lines above", file=sys.stderr)
    return BUG


def _end(number: int, _frame: object) -> NoReturn:
    """Whoever ends us, as CI systems and timeout(1) do, leaves no guest behind."""
    signal.signal(number, signal.SIG_IGN)  # what is closed now is closed once
    raise SystemExit(128 + number)


def _end_cleanly() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # else it is nohup(1)'s
            signal.signal(number, _end)


def run(command: Callable[[], object]) -> int:
    """Run something and give the exit status that its end means."""
    try:
        status = command()
    except NooksError as e:
        return _tell(e)
    except typer.Exit as e:
        return e.exit_code
    except (typer.Abort, KeyboardInterrupt) as e:
        if isinstance(e.__cause__, EOFError):  # click takes each for the end of what a user types
            return _bug(e.__cause__)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has enough
        return 0
    except Exception as e:
        if isinstance(e, _UsageError):
            e.show()  # type: ignore[attr-defined]
            return UsageError.exit_code
        return _bug(e)
    return status if isinstance(status, int) else 0


def main() -> int:
    """Console script."""
    _end_cleanly()
    return run(lambda: app(standalone_mode=False))


if __name__ == "__main__":
    sys.exit(main())
