"""`avil-ray run`: one run from the command line, its lines on the terminal and its files in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, cast

from avil_ray.catalog import (
    LEARNING,
    build_method,
    build_suite,
    learned,
    method_options,
    settled_options,
    suite_factory,
)
from avil_ray.config import flatten, nest, option_names, parse_setting, short
from avil_ray.errors import UserError, WorkFailed, unknown
from avil_ray.export import FACTS, WEIGHTS
from avil_ray.methods.method import Method
from avil_ray.plain import plain
from avil_ray.rounds import Round
from avil_ray.storage import Place, Storage, at
from avil_ray.tasks.suite import Suite
from avil_ray.training import Result, train

if TYPE_CHECKING:
    from avil_ray.tracking.single import Follower

HISTORY, RESULT = "history.csv", "result.json"
POOLS = ("inline", "ray", "train")


def run_once(
    suite_name: str,
    method_name: str,
    target: str | None,
    rounds: int,
    steps_per_round: int,
    seed: int,
    pool: str,
    workers: int | None,
    settings: Sequence[str],
    output: str | None,
    resume: bool,
    track: Place | None = None,
) -> None:
    """Train, print a line a round and the figures at the end, and write the results to `output`.

    With `track`, the folder that holds the tracking database unless `MLFLOW_TRACKING_URI` names a store, the run is
    logged to MLflow too.
    """
    if pool not in POOLS:
        raise unknown("pool", pool, POOLS, "--pool")
    of_learning, others = learning_settings(parse_setting(text) for text in settings)
    of_suite, of_method = divide(suite_name, method_name, others)
    suite = named_suite(suite_name, {**of_suite, LEARNING: of_learning}, target)
    method = build_method(method_name, of_method)
    if output is not None:
        require_writable(at(output))
    run = partial(
        train,
        suite,
        method,
        rounds=rounds,
        steps_per_round=steps_per_round,
        seed=seed,
        pool=cast(Literal["inline", "ray", "train"], pool),
        workers=workers,
        output=output,
        resume=resume,
    )
    if track is None:
        finished(run(on_round=print_round), output)
    else:
        facts = {"method": method_name, "seed": seed, "rounds": rounds, "steps_per_round": steps_per_round}
        run_tracked(run, suite, method, facts, track, output, resume)


def finished(result: Result, output: str | None) -> None:
    """Print a result's figures, and write it to `output`."""
    figures = ", ".join(f"{name} {value:.6f}" for name, value in result.test.items())
    steps = sum(int(row["cost/gradient_steps"]) for row in result.rows)
    target = plain(result.suite.target)
    print(f"test ({target}, best round {result.best_round} by select): {figures}; {steps} gradient steps")
    if output is not None:
        write_result(at(output), result)
        print(f"written to {plain(output)}")


def run_tracked(
    run: Callable[..., Result],
    suite: Suite,
    method: Method,
    told: Mapping[str, Any],
    storage: Place,
    output: str | None,
    resume: bool,
) -> None:
    """Train and print as without tracking, and log to MLflow; WorkFailed at the end where the store lacks something.

    Parameters
    ----------
    run
        Trains: `run(on_round=…)`.
    told
        The name of the method, the seed, `rounds` and `steps_per_round`.
    storage
        The folder of the tracking database, unless `MLFLOW_TRACKING_URI` names a store.
    """
    from avil_ray.sweeps.provenance import of_run
    from avil_ray.sweeps.storage import tracking_folder
    from avil_ray.tracking.single import Follower
    from avil_ray.tracking.store import experiment_name, tracking_uri
    from avil_ray.tracking.views import addresses

    name, seed, options = told["method"], told["seed"], settled_options(method)
    length = {"rounds": told["rounds"], "steps_per_round": told["steps_per_round"], "threads": 1}
    trial = {"key": name, "label": name, "method": name, "configuration": 0, "seed": seed, "options": options}
    facts = of_run(method.prepare(suite), name, options, length, seed)
    uri, experiment = tracking_uri(tracking_folder(storage)), experiment_name(suite.name)
    with Follower(uri, experiment, trial, facts, resume) as follower:

        def after(done: Round) -> None:
            print_round(done)
            follower.row(done.number, done.row)

        result = run(on_round=after)
        finished(result, output)
        _log(follower, trial, result)
    if follower.trouble:
        raise WorkFailed(f"the tracking store lacks something: {follower.trouble}")
    for line in addresses({"run": follower.link}, str(storage)):
        print(line)


def _log(follower: Follower, trial: Mapping[str, Any], result: Result) -> None:
    """Send what the store lacks of a result, and its model."""
    from avil_ray.sweeps.conclusion import pack
    from avil_ray.sweeps.trial import make_record
    from avil_ray.tracking.exported import Packed

    found = {"select": result.select, "test": dict(result.test), "best_round": result.best_round}
    with TemporaryDirectory() as spare:
        folder = Path(spare)
        (folder / "result").mkdir()
        write_result(at(folder / "result"), result)
        try:
            packed = pack(result, folder)
        except (UserError, WorkFailed) as error:
            packed = Packed(None, trouble=str(error))
        follower.finish(make_record(trial, "finished", result.rows, **found), folder / "result", packed)


def named_suite(name: str, options: Mapping[str, Any], target: str | None = None) -> Suite:
    """A suite with options from the command line, those of `learning` too; `target` comes before the option of it."""
    for key in ("name", "factory"):
        if key in options:
            raise unknown("option", key, option_names(suite_factory(name)), "--set")
    of_learning, of_suite = learning_settings(options.items())
    key = "factory" if ":" in name else "name"
    suite = build_suite({**dict(of_suite), **({} if target is None else {"target": target}), key: name})
    try:
        return learned(suite, of_learning)
    except UserError as error:
        raise UserError(f"--set {error}") from None


def learning_settings(settings: Iterable[tuple[str, Any]]) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """`--set` options apart: those of `learning`, without that word, and the others."""
    of_learning: dict[str, Any] = {}
    others: list[tuple[str, Any]] = []
    for key, value in settings:
        if key.startswith(f"{LEARNING}."):
            of_learning[key.removeprefix(f"{LEARNING}.")] = value
        elif key == LEARNING and isinstance(value, Mapping):
            of_learning |= flatten(value)
        elif key == LEARNING:
            raise UserError(f"--set {LEARNING} must be a mapping such as {{batch_size: 16}}, not {short(value)}")
        else:
            others.append((key, value))
    return of_learning, others


def divide(suite: str, method: str, settings: Sequence[tuple[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort `--set` options into the suite's and the method's; `suite.` or `method.` before a name says which.

    Raises
    ------
    UserError
        For an option that neither has, or that both have and no prefix tells apart.
    """
    of_suite, of_method = option_names(suite_factory(suite)), method_options(method)
    chosen: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for key, value in settings:
        prefix, _, rest = key.partition(".") if key.startswith(("suite.", "method.")) else ("", "", key)
        name = rest.partition(".")[0]
        homes = [which for which, names in enumerate((of_suite, of_method)) if name in names]
        if prefix:
            homes = [("suite", "method").index(prefix)]
        if not homes:
            raise unknown("option", name, [*of_suite, *of_method], f"--set {key}")
        if len(homes) > 1:
            raise UserError(f"--set {key}: suite and method both have it; write suite.{name} or method.{name}")
        chosen[homes[0]][rest] = value
    return nest(chosen[0]), nest(chosen[1])


def print_round(done: Round) -> None:
    """One plain line: the round, its figures on select, alpha where there is one."""
    row: Mapping[str, Any] = done.row
    figures = [f"{name.removeprefix('select/')} {row[name]:.4f}" for name in row if name.startswith("select/")]
    alphas = [f"{plain(name.removeprefix('alpha/'))} {row[name]:.3f}" for name in row if name.startswith("alpha/")]
    line = f"round {done.number:3d}  select: {', '.join(figures)}"
    print(f"{line}  alpha: {', '.join(alphas)}" if alphas else line, flush=True)


def write_result(storage: Storage, result: Result) -> None:
    """The history as CSV, the figures as JSON, and the target's model with what is needed to use it."""
    figures = {"test": dict(result.test), "best_round": result.best_round, "select": result.select, "seed": result.seed}
    storage.write(HISTORY, result.history.to_csv(index=False).encode())
    storage.write(RESULT, (json.dumps(figures, indent=1) + "\n").encode())
    result.save(storage)


def require_writable(storage: Storage) -> None:
    """Refuse an output folder that cannot be written to, before anything is computed."""
    try:
        storage.require_writable()
    except UserError as error:
        raise UserError(f"--output {error}") from error
    for name in (HISTORY, RESULT, FACTS, WEIGHTS):
        if (storage / name).is_there():
            advice = f"cannot be written ({storage.where(name)} is a folder); choose another folder"
            raise UserError(f"--output {storage.where()}: {advice}")
