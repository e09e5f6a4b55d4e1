"""The command line: every command, and what its exit status means.

Exit status: 0 done; 1 the work failed; 2 the input was wrong (one line on stderr).
"""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from avil_ray import __version__
from avil_ray.commands import compare, look, train, use
from avil_ray.errors import UserError, WorkFailed
from avil_ray.interruption import SIGNALS, end_the_command
from avil_ray.plain import plain

# Typer brings a click of its own, at a private path; this is the base of all errors in how a command is written.
UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Learn how much each auxiliary task should count for your target task, and see whether it is worth it.",
    epilog="Start with: avil-ray run multimnist --set size=18 --set target_labels=300",
)

INTERRUPTED = 130
"""What Typer makes of a KeyboardInterrupt."""
OF_THE_MACHINE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE,
    errno.ENAMETOOLONG, errno.EIO, errno.ENOTDIR, errno.ESTALE,
}  # fmt: skip
"""Errors of files that no program can prevent: a full disk, a folder that may not be written to."""


def _print_version(asked: bool) -> None:
    if asked:
        print(f"avil-ray {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What comes before any command."""


EXAMPLES: dict[Callable[..., None], str] = {
    train.run: "avil-ray run multimnist --method equal --pool ray --set size=18 --set target_labels=300",
    compare.sweep: "avil-ray sweep search_spaces/multimnist_demo.yaml",
    compare.submit: "avil-ray submit space.yaml --address http://127.0.0.1:8265 -- --storage /mnt/avil --resume",
    look.check: "avil-ray check search_spaces/multimnist_demo.yaml",
    look.affinity: "avil-ray affinity multimnist --set size=18 --set target_labels=300",
    compare.report: "avil-ray report multimnist-demo",
    use.predict: "avil-ray predict churn new.csv --output predictions.csv",
    look.list_: "avil-ray list methods alpha-vil",
    look.data: "avil-ray data multimnist",
    use.ui: "avil-ray ui --port 5000",
}
"""Every command, with the example that its help ends with."""

for _command, _example in EXAMPLES.items():
    app.command(name=_command.__name__.rstrip("_"), epilog=_example)(_command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal need not have every letter
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as in the background of a script
            signal.signal(number, end_the_command)
    try:
        sys.path.insert(0, str(Path.cwd()))  # a suite's factory may be in the current folder
    except OSError as error:
        sys.exit(_say(f"cannot read the current folder ({error.strerror}); change to one that exists", 2))
    try:
        status = _status(arguments)
    except BrokenPipeError:  # whoever read the output has gone (`avil-ray list suites | head -1`)
        os._exit(1)
    sys.exit(status)


def _status(arguments: list[str] | None) -> int:
    try:
        status: Any = app(arguments, standalone_mode=False)
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        if sys.stdout is not None:
            sys.stdout.flush()
    except UserError as error:
        return _say(error, 2)
    except UsageError as error:
        return _say(getattr(error, "format_message", error.__str__)(), 2)
    except WorkFailed as error:
        return _say(error, 1)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", 1)
    except MemoryError:
        return _say("out of memory", 1)
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror}", 1)
    return status if isinstance(status, int) else 0


def _say(message: object, status: int) -> int:
    print(f"avil-ray: {plain(message)}", file=sys.stderr)
    return status
