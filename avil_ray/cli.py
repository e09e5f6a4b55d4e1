"""The command line: thin. Every command reads its input, calls one function, and says what came of it.

Exit status: 0 done; 1 the work failed; 2 the input was wrong (one line on stderr).
"""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from avil_ray import __version__
from avil_ray.errors import UserError, WorkFailed, unknown
from avil_ray.interruption import SIGNALS, end_the_command
from avil_ray.plain import plain
from avil_ray.storage import at

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

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set an option; may be repeated.")
]
Suite = Annotated[
    str, typer.Argument(help="A suite (`avil-ray list suites`), or your own factory as package.module:function.")
]
Storage = Annotated[
    str, typer.Option(help="The folder that holds sweeps, or a URI such as s3://bucket/sweeps.", envvar="AVIL_STORAGE")
]
Address = Annotated[
    str | None,
    typer.Option(help="auto, local or HOST:PORT of a Ray cluster; not given: what RAY_ADDRESS names, else local."),
]
SystemMetrics = Annotated[
    bool, typer.Option("--system-metrics", help="Log processor, memory and GPUs of this machine to MLflow too.")
]
DEFAULT_STORAGE = "avil-results"
LONGEST_NAME = 64
"""What a sweep may be called at most, in characters."""
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


@app.command(epilog="avil-ray run multimnist --method equal --pool ray --set size=18 --set target_labels=300")
def run(
    suite: Suite,
    method: Annotated[
        str, typer.Option(help="A method (`avil-ray list methods`), or your own class as package.module:Class.")
    ] = "alpha-vil",
    target: Annotated[
        str | None, typer.Option(help="The task that counts; the suite's usual one if not given.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds; a fine-tuning at the end comes on top.")] = 20,
    steps_per_round: Annotated[int, typer.Option(help="Gradient steps of each task in a round.")] = 24,
    seed: Annotated[int, typer.Option(help="Everything random derives from it.")] = 0,
    pool: Annotated[str, typer.Option(help="inline (this process), ray (actors) or train (Ray Train).")] = "inline",
    workers: Annotated[int | None, typer.Option(help="Workers of that pool; one per task if not given.")] = None,
    settings: Settings = None,
    output: Annotated[str | None, typer.Option(help="A folder for the checkpoint and the results, or a URI.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")] = False,
    track: Annotated[bool, typer.Option("--track", help="Log the run to MLflow too, in --storage.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    system_metrics: SystemMetrics = False,
) -> None:
    """Train one method on one suite, once, and print its figures."""
    from avil_ray.running import run_once

    _watch_the_machine(system_metrics)
    where = storage if track else None
    run_once(suite, method, target, rounds, steps_per_round, seed, pool, workers, settings or [], output, resume, where)


@app.command(epilog="avil-ray sweep search_spaces/multimnist_demo.yaml")
def sweep(
    space: Annotated[Path, typer.Argument(help="A search space (YAML).")],
    name: Annotated[str | None, typer.Option(help="The sweep's name, in place of the file's.")] = None,
    storage: Storage = DEFAULT_STORAGE,
    address: Address = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds in place of the file's, such as 0,1,2.")] = None,
    max_concurrent: Annotated[int | None, typer.Option(help="Most trials at a time.")] = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the sweep of this name.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove the sweep of this name and start again.")] = False,
    register: Annotated[
        str | None, typer.Option(help="Make the recommended model a version of this registered model in MLflow.")
    ] = None,
    system_metrics: SystemMetrics = False,
) -> None:
    """Run every trial of a search space and compare the methods."""
    from rich.console import Console

    from avil_ray.config import parse_setting
    from avil_ray.reports.tables import terminal_table
    from avil_ray.sweeps import start
    from avil_ray.tracking.views import addresses

    if max_concurrent is not None and max_concurrent < 1:
        raise UserError(f"--max-concurrent must be at least 1, not {max_concurrent}")
    _watch_the_machine(system_metrics)
    outcome = start.sweep(
        space,
        storage=storage,
        name=name,
        seeds=None if seeds is None else _seeds(seeds),
        address=address,
        resume=resume,
        fresh=fresh,
        max_concurrent=max_concurrent,
        settings=[parse_setting(text) for text in settings or []],
        register=register,
    )
    Console().print(terminal_table(outcome.comparison))
    for failure in (failure for method in outcome.comparison.methods for failure in method.failures):
        print(f"failed: {plain(failure.key)}: {plain(failure.reason)}", file=sys.stderr)
    print(f"report: {plain(at(outcome.folder).where('report.html'))}")
    for line in addresses(outcome.views, storage):
        print(line)
    if outcome.unfinished:
        print(f"{outcome.unfinished} trials have no result yet: go on with --resume", file=sys.stderr)
    if outcome.trouble:
        print(f"the tracking store lacks something: {plain(outcome.trouble)}; --resume sends it again", file=sys.stderr)
    if outcome.failed or outcome.unfinished or outcome.trouble:
        raise typer.Exit(1)


@app.command(epilog="avil-ray submit space.yaml --address http://127.0.0.1:8265 -- --storage /mnt/avil --resume")
def submit(
    space: Annotated[Path, typer.Argument(help="A search space (YAML), in --working-dir.")],
    address: Annotated[str, typer.Option(help="The cluster's dashboard: http://HEAD:8265.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="-- OPTIONS", help="Options of `avil-ray sweep`.", show_default=False)
    ] = None,
    working_dir: Annotated[
        Path, typer.Option(help="The folder that the job gets a copy of: the space, and a suite's code and data.")
    ] = Path(),
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="KEY=VALUE", help="A variable for the job, no secret; may be repeated."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once the job is submitted.")] = False,
) -> None:
    """Run a sweep as a job on a Ray cluster, show its log, and exit with its status; Ctrl-C only ends the showing."""
    from avil_ray.submitting import submit as submitted

    # what the sweep would not understand is told here, before anything is uploaded
    typer.main.get_command(app).commands["sweep"].make_context("sweep", [str(space), *(options or [])])  # type: ignore[attr-defined]
    status = submitted(space, address, working_dir=working_dir, env=env or [], options=options or [], detach=detach)
    raise typer.Exit(status)


@app.command(epilog="avil-ray check search_spaces/multimnist_demo.yaml")
def check(
    space: Annotated[
        str, typer.Argument(help="A search space (YAML), or a suite: its name, or package.module:function.")
    ],
    address: Address = None,
    settings: Settings = None,
) -> None:
    """Say what a sweep would run and whether the resources are there, and find every error in the file.

    Of a suite: say what its tasks, data and model are, once everything is checked that a run checks before it trains.
    """
    from rich.console import Console

    from avil_ray.checking import described, names_suite
    from avil_ray.config import parse_setting
    from avil_ray.running import named_suite
    from avil_ray.spaces.preview import preview
    from avil_ray.spaces.search_space import problems, read_search_space
    from avil_ray.telemetry import no_calls_home

    changes = [parse_setting(text) for text in settings or []]
    if names_suite(space):
        for line in described(named_suite(space, dict(changes))):
            print(" " * (len(line) - len(line.lstrip())) + plain(line))
        return
    found = problems(space, changes)
    if found:
        for line in found:
            print(plain(line), file=sys.stderr)
        raise typer.Exit(2)
    no_calls_home()
    from avil_ray.sweeps.cluster import nodes_at

    Console().print(preview(read_search_space(space, changes), nodes_at(address)))


@app.command(epilog="avil-ray affinity multimnist --set size=18 --set target_labels=300")
def affinity(
    suite: Suite,
    target: Annotated[
        str | None, typer.Option(help="The task that counts; the suite's usual one if not given.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Gradient steps of the round.")] = 60,
    seeds: Annotated[str, typer.Option(help="Seeds to average over.")] = "0,1,2,3",
    settings: Settings = None,
    output: Annotated[str | None, typer.Option(help="A folder for the tables (CSV) and the figure, or a URI.")] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Say which auxiliaries look promising, from one round, before a sweep is paid for."""
    import tempfile

    from rich.console import Console
    from rich.text import Text

    from avil_ray.config import parse_setting
    from avil_ray.diagnosis import affinity as diagnose
    from avil_ray.reports.affinity_report import sentences, terminal_table, write_affinity
    from avil_ray.running import named_suite, require_writable
    from avil_ray.staging import staged
    from avil_ray.sweeps.storage import tracking_folder
    from avil_ray.tracking.affinity import log_affinity
    from avil_ray.tracking.store import experiment_name, require_usable, shown, tracking_uri

    built = named_suite(suite, dict(parse_setting(text) for text in settings or []), target)
    uri, experiment = tracking_uri(tracking_folder(storage)), experiment_name(built.name)
    if output is not None:
        require_writable(at(output))
    require_usable(uri)
    found = diagnose(built, steps=steps, seeds=_seeds(seeds))
    console = Console()
    console.print(terminal_table(found))
    for sentence in sentences(found):
        console.print(Text(plain(sentence)))
    print(f"cost: {found.gradient_steps:,} gradient steps, dev passes included")
    with tempfile.TemporaryDirectory() as spare, staged(output or spare) as folder:
        run = log_affinity(found, write_affinity(folder, found), uri, experiment)
    if output is not None:
        print(f"written to {plain(output)}")
    print(f"tracked: run affinity ({run}) of experiment {plain(experiment)} in {plain(shown(uri))}")


@app.command(epilog="avil-ray report multimnist-demo")
def report(
    name: Annotated[str, typer.Argument(help="A sweep's name.")],
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Make the comparison again from what is stored, and send to MLflow what a broken-off sweep could not."""
    from rich.console import Console

    from avil_ray.reports.records import read_records
    from avil_ray.reports.tables import terminal_table
    from avil_ray.reports.write import write_report
    from avil_ray.sweeps.storage import FACTS, read_facts, tracking_folder
    from avil_ray.tracking.missing import send_missing
    from avil_ray.tracking.store import tracking_uri

    sweeps = at(storage)
    folder = sweeps / name
    if sweeps.local is None:  # a bucket that is not there has no sweeps either, but that is not what is wrong
        sweeps.require_writable()
    if len(name) > LONGEST_NAME or not folder.is_there():
        there = [sweep for sweep in sweeps.names() if (sweeps / sweep).exists(FACTS)]
        raise unknown("sweep", name, there, storage)
    facts = read_facts(folder)
    comparison = write_report(folder, read_records(folder), facts)
    Console().print(terminal_table(comparison))
    for failure in (failure for method in comparison.methods for failure in method.failures):
        print(f"failed: {plain(failure.key)}: {plain(failure.reason)}", file=sys.stderr)
    print(f"report: {plain(folder.where('report.html'))}")
    if trouble := send_missing(tracking_uri(tracking_folder(storage)), folder, comparison):
        print(f"the tracking store lacks something: {plain(trouble)}; report and --resume send it", file=sys.stderr)
        raise typer.Exit(1)


@app.command(epilog="avil-ray predict churn new.csv --output predictions.csv")
def predict(
    folder: Annotated[
        str, typer.Argument(help="A model that `avil-ray run --output` or `result.save` has written, or its URI.")
    ],
    file: Annotated[str, typer.Argument(help="A CSV, TSV, JSONL or Parquet file with the columns of training.")],
    output: Annotated[Path | None, typer.Option(help="A .csv or .jsonl file; not given: they are printed.")] = None,
) -> None:
    """Predict each row of a file with a trained model: labels by name, and their probabilities."""
    from avil_ray.predicting import predict as predicted

    text = predicted(folder, file, output)
    print(f"written to {plain(output)}" if text is None else text, end="\n" if text is None else "")


@app.command(name="list", epilog="avil-ray list methods alpha-vil")
def list_(
    what: Annotated[str, typer.Argument(help="suites or methods, or your own as package.module:name.")],
    name: Annotated[str | None, typer.Argument(help="One of them, for its options and source.")] = None,
) -> None:
    """List suites or methods, a line each; with a name, its options."""
    from avil_ray.listing import listing

    for line in listing(what, name):
        print(line)


@app.command(epilog="avil-ray data multimnist")
def data(
    suite: Suite,
    settings: Settings = None,
) -> None:
    """Fetch or check a suite's data."""
    from avil_ray.catalog import FETCHES, load
    from avil_ray.checking import sizes
    from avil_ray.config import parse_setting
    from avil_ray.running import named_suite

    built = named_suite(suite, dict(parse_setting(text) for text in settings or []))
    for line in load(FETCHES[suite])(built) if suite in FETCHES else ():
        print(plain(line))
    for task in built.draw(0).values():
        print(f"{plain(task.name)}: {sizes(task)} ({plain(task.measure.name)})")


@app.command(epilog="avil-ray ui --port 5000")
def ui(
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.", min=1, max=65535)] = 5000,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Open the MLflow UI on the sweeps' tracking store, on 127.0.0.1."""
    from avil_ray.sweeps.storage import tracking_folder
    from avil_ray.tracking.ui import open_ui

    open_ui(tracking_folder(storage), port, print)


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
        sys.path.insert(0, str(Path.cwd()))  # a suite's factory may stand in the current folder
    except OSError as error:
        sys.exit(_say(f"the current folder cannot be read ({error.strerror}); start in one that exists", 2))
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
        return _say("interrupted; what was done is kept", 1)
    except MemoryError:
        return _say("out of memory; what was done is kept", 1)
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror}; what was done is kept", 1)
    return status if isinstance(status, int) else 0


def _say(message: object, status: int) -> int:
    print(f"avil-ray: {plain(message)}", file=sys.stderr)
    return status


def _watch_the_machine(asked: bool) -> None:
    """Turn on MLflow's own switch, which the process that writes to the tracking store looks at."""
    if asked:
        os.environ["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] = "true"


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text}: write whole numbers with commas between, such as 0,1,2") from None
