"""`avil-ray check`, `affinity`, `list` and `data`: what one may look at before a sweep is paid for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from avil_ray.commands.options import (
    DEFAULT_STORAGE,
    Address,
    Json,
    Settings,
    Storage,
    Suite,
    Target,
    parsed,
    seeds_of,
)
from avil_ray.plain import plain
from avil_ray.storage import at


def check(
    space: Annotated[
        str, typer.Argument(help="A search space (YAML), or a suite: its name, or package.module:function.")
    ],
    address: Address = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Show what a sweep would run and whether the cluster has room for it, and list every error in the file.

    For a suite: check everything that a run checks before it trains, and show its tasks, data and model.
    """
    from rich.console import Console

    from avil_ray.checking import facts_of, lines_of, names_suite
    from avil_ray.commands.output import reserved_output
    from avil_ray.running import named_suite
    from avil_ray.spaces.preview import preview
    from avil_ray.spaces.search_space import problems, read_search_space
    from avil_ray.telemetry import no_calls_home

    changes = parsed(settings)
    with reserved_output(as_json) as write:
        if names_suite(space):
            facts = facts_of(named_suite(space, dict(changes)))
            if as_json:
                return write(facts)
            return print("\n".join(" " * (len(line) - len(line.lstrip())) + plain(line) for line in lines_of(facts)))
        if found := problems(space, changes):
            if as_json:
                write({"problems": found})
            else:
                print("\n".join(map(plain, found)), file=sys.stderr)
            raise typer.Exit(2)
        no_calls_home()
        from avil_ray.sweeps.cluster import nodes_at

        seen = preview(read_search_space(space, changes), nodes_at(address))
        return write({"problems": [], **seen.summary()}) if as_json else Console().print(seen)


def affinity(
    suite: Suite,
    target: Target = None,
    steps: Annotated[int, typer.Option(help="Gradient steps per task.")] = 60,
    seeds: Annotated[str, typer.Option(help="Seeds to average over.")] = "0,1,2,3",
    settings: Settings = None,
    output: Annotated[str | None, typer.Option(help="Folder or URI for the tables (CSV) and the figure.")] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Estimate from one short round which auxiliary tasks look promising."""
    import tempfile

    from rich.console import Console
    from rich.text import Text

    from avil_ray.diagnosis import affinity as diagnose
    from avil_ray.reports.affinity_report import sentences, terminal_table, write_affinity
    from avil_ray.running import named_suite, require_writable
    from avil_ray.staging import staged
    from avil_ray.sweeps.storage import tracking_folder
    from avil_ray.tracking.affinity import log_affinity
    from avil_ray.tracking.store import experiment_name, require_usable, shown, tracking_uri

    built = named_suite(suite, dict(parsed(settings)), target)
    uri, experiment = tracking_uri(tracking_folder(storage)), experiment_name(built.name)
    if output is not None:
        require_writable(at(output))
    require_usable(uri)
    found = diagnose(built, steps=steps, seeds=seeds_of(seeds))
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


def list_(
    what: Annotated[str, typer.Argument(help="suites, methods, or your own as package.module:name.")],
    name: Annotated[str | None, typer.Argument(help="One of them, to show its options and source.")] = None,
) -> None:
    """List suites or methods, one per line, or the options of one."""
    from avil_ray.listing import listing

    for line in listing(what, name):
        print(line)


def data(
    suite: Suite,
    settings: Settings = None,
) -> None:
    """Download a suite's data if needed, and show its size."""
    from avil_ray.catalog import FETCHES, load
    from avil_ray.checking import sizes
    from avil_ray.running import named_suite

    built = named_suite(suite, dict(parsed(settings)))
    for line in load(FETCHES[suite])(built) if suite in FETCHES else ():
        print(plain(line))
    for task in built.draw(0).values():
        print(f"{plain(task.name)}: {sizes(task)} ({plain(task.measure.name)})")
