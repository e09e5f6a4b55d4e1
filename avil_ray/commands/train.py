"""`avil-ray run`."""

from __future__ import annotations

from typing import Annotated

import typer

from avil_ray.commands.options import Json, Quiet, Settings, Suite, Target, parsed
from avil_ray.plain import plain


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
    asked = Asked(suite, method, target, rounds, steps_per_round, seed, pool, workers, parsed(settings), output, resume)
    with reserved_output(as_json) as write:
        with interrupted_with(plan):
            result = run_once(asked, quiet=quiet)
            if output is not None:
                write_result(at(output), result)
        if as_json:
            write(document(asked, result))
            return
    figures = ", ".join(f"{name} {value:.6f}" for name, value in result.test.items())
    task, steps = plain(result.suite.target), result.gradient_steps
    print(f"test ({task}, round {result.best_round}, best on select): {figures}; {steps} gradient steps")
    if output is not None:
        print(f"written to {plain(output)}")
