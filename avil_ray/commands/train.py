"""`avil-ray run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from avil_ray.commands.options import (
    DEFAULT_STORAGE,
    Json,
    Quiet,
    Settings,
    Storage,
    Suite,
    SystemMetrics,
    Target,
    parsed,
    watch_machine,
)
from avil_ray.plain import plain

if TYPE_CHECKING:
    from avil_ray.tracking.single import Follower
    from avil_ray.training import Result


def run(
    suite: Suite,
    method: Annotated[
        str, typer.Option(help="A method (`avil-ray list methods`), or your own class as package.module:Class.")
    ] = "alpha-vil",
    target: Target = None,
    rounds: Annotated[int, typer.Option(help="Number of rounds, not counting a final fine-tuning.")] = 20,
    steps_per_round: Annotated[int, typer.Option(help="Gradient steps per task and round.")] = 24,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    pool: Annotated[
        str, typer.Option(help="Where tasks train: inline (this process), ray (actors) or train (Ray Train).")
    ] = "inline",
    workers: Annotated[int | None, typer.Option(help="Number of workers in the pool. Default: one per task.")] = None,
    settings: Settings = None,
    output: Annotated[str | None, typer.Option(help="Folder or URI for checkpoints and results.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --output.")] = False,
    track: Annotated[bool, typer.Option("--track", help="Log the run to MLflow too, in --storage.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    system_metrics: SystemMetrics = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one method on one suite once and print its test metrics."""
    from avil_ray.commands.output import reserved_output
    from avil_ray.interruption import interrupted_with
    from avil_ray.running import Settings as Asked
    from avil_ray.running import document, run_once, write_result
    from avil_ray.storage import at

    plan = "this run has no --output, so nothing is kept"
    if output is not None:
        plan = f"the last checkpoint stays in {plain(output)}; continue later with --resume"
    where, options = storage if track else None, parsed(settings)
    asked = Asked(suite, method, target, rounds, steps_per_round, seed, pool, workers, options, output, resume, where)
    watch_machine(system_metrics)
    with reserved_output(as_json) as write:
        with interrupted_with(plan):
            result, follower = run_once(asked, quiet=quiet)
            if output is not None:
                write_result(at(output), result)
        if as_json:
            write({**document(asked, result), "mlflow": follower.link if follower else None})
    if not as_json:
        _say_end(result, output)
    if follower is not None:
        _say_tracked(follower, storage, as_json)


def _say_end(result: Result, output: str | None) -> None:
    figures = ", ".join(f"{name} {value:.6f}" for name, value in result.test.items())
    task, steps = plain(result.suite.target), result.gradient_steps
    print(f"test ({task}, round {result.best_round}, best on select): {figures}; {steps} gradient steps")
    if output is not None:
        print(f"written to {plain(output)}")


def _say_tracked(follower: Follower, storage: str, as_json: bool) -> None:
    """Where the run is in MLflow; exits with status 1 where MLflow could not take all of it."""
    from avil_ray.tracking.views import addresses

    if follower.trouble:
        print(f"some results are not in MLflow: {plain(follower.trouble)}", file=sys.stderr)
        raise typer.Exit(1)
    if not as_json:
        print("\n".join(addresses({"run": follower.link}, storage)))
