"""`avil-ray sweep`, `avil-ray submit` and `avil-ray report`: many trials, and what they come to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avil_ray.commands.options import (
    DEFAULT_STORAGE,
    Address,
    Json,
    Quiet,
    Register,
    Settings,
    Storage,
    SystemMetrics,
    parsed,
    seeds_of,
    watch_machine,
)
from avil_ray.errors import UserError, unknown
from avil_ray.plain import plain
from avil_ray.storage import at

if TYPE_CHECKING:
    from avil_ray.reports.comparison import Comparison
    from avil_ray.sweeps.conclusion import Outcome

LONGEST_NAME = 64
"""What a sweep may be called at most, in characters."""


def sweep(
    space: Annotated[Path, typer.Argument(help="A search space (YAML).")],
    name: Annotated[str | None, typer.Option(help="Name of the sweep, overriding the file.")] = None,
    storage: Storage = DEFAULT_STORAGE,
    address: Address = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds such as 0,1,2, overriding the file.")] = None,
    max_concurrent: Annotated[int | None, typer.Option(help="Maximum number of concurrent trials.")] = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the sweep of this name.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the sweep of this name and start over.")] = False,
    register: Register = None,
    system_metrics: SystemMetrics = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run every trial of a search space and compare the methods."""
    from avil_ray.commands.output import reserved_output
    from avil_ray.sweeps import start

    if max_concurrent is not None and max_concurrent < 1:
        raise UserError(f"--max-concurrent must be at least 1, not {max_concurrent}")
    watch_machine(system_metrics)
    with reserved_output(as_json) as write:
        outcome = start.sweep(
            space,
            storage=storage,
            name=name,
            seeds=None if seeds is None else seeds_of(seeds),
            address=address,
            resume=resume,
            fresh=fresh,
            max_concurrent=max_concurrent,
            quiet=quiet,
            settings=parsed(settings),
            register=register,
        )
        if as_json:
            write(_document(outcome.comparison, at(outcome.folder).where("report.html"), outcome))
    if not as_json:
        _say_end(outcome, storage)
    if outcome.failed or outcome.unfinished or outcome.trouble:
        raise typer.Exit(1)


def _say_end(outcome: Outcome, storage: str) -> None:
    """The table, and where the rest is; what is lacking, on stderr."""
    from avil_ray.tracking.views import addresses

    _show(outcome.comparison)
    print(f"report: {plain(at(outcome.folder).where('report.html'))}")
    print("\n".join(addresses(outcome.views, storage)))
    if outcome.unfinished:
        have = "trial has" if outcome.unfinished == 1 else "trials have"
        print(f"{outcome.unfinished} {have} no result yet: continue with --resume", file=sys.stderr)
    if outcome.trouble:
        print(f"some results are not in MLflow yet: {plain(outcome.trouble)}; --resume sends them", file=sys.stderr)


def _show(comparison: Comparison) -> None:
    from rich.console import Console

    from avil_ray.commands.output import say_failures
    from avil_ray.reports.tables import terminal_table

    Console().print(terminal_table(comparison))
    say_failures(comparison)


def _document(comparison: Comparison, report: str, ended: Outcome | None = None, trouble: str | None = None) -> Any:
    """`summary.json`, and what only this command knows."""
    from avil_ray.commands.output import failures

    return {
        **comparison.summary(),
        "report": report,
        "failures": failures(comparison),
        "unfinished": ended.unfinished if ended else sum(method.count("unfinished") for method in comparison.methods),
        "not_in_mlflow": ended.trouble if ended else trouble,
        "mlflow": dict(ended.views) if ended else {},
    }


def submit(
    space: Annotated[Path, typer.Argument(help="A search space (YAML), in --working-dir.")],
    address: Annotated[str, typer.Option(help="The cluster's dashboard: http://HEAD:8265.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="-- OPTIONS", help="Options of `avil-ray sweep`.", show_default=False)
    ] = None,
    working_dir: Annotated[
        Path, typer.Option(help="Folder to copy to the job: the search space, and a suite's code and data.")
    ] = Path(),
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="KEY=VALUE", help="Environment variable of the job (no secrets); repeatable."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return as soon as the job is submitted.")] = False,
) -> None:
    """Run a sweep as a job on a Ray cluster, follow its log, and exit with its status. Ctrl-C only stops following."""
    from avil_ray.submitting import submit as submitted

    # what the sweep would not understand is told here, before anything is uploaded
    alone = typer.Typer()
    alone.command()(sweep)
    typer.main.get_command(alone).make_context("sweep", [str(space), *(options or [])])
    status = submitted(space, address, working_dir=working_dir, env=env or [], options=options or [], detach=detach)
    raise typer.Exit(status)


def report(
    name: Annotated[str, typer.Argument(help="Name of the sweep.")],
    storage: Storage = DEFAULT_STORAGE,
    as_json: Json = False,
) -> None:
    """Rebuild the comparison from the stored results, and send MLflow what it is missing."""
    from avil_ray.commands.output import reserved_output
    from avil_ray.reports.records import read_records
    from avil_ray.reports.write import write_report
    from avil_ray.sweeps.at_equal_cost import at_equal_cost
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
    comparison = write_report(folder, read_records(folder), facts, at_equal_cost)
    with reserved_output(as_json) as write:
        if not as_json:
            _show(comparison)
            print(f"report: {plain(folder.where('report.html'))}")
        trouble = send_missing(tracking_uri(tracking_folder(storage)), folder, comparison)
        if as_json:
            write(_document(comparison, folder.where("report.html"), trouble=trouble))
    if trouble and not as_json:
        print(f"some results are not in MLflow yet: {plain(trouble)}; run this again to send them", file=sys.stderr)
    if trouble:
        raise typer.Exit(1)
