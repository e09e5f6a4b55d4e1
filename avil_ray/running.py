"""`avil-ray run`: one run from the command line, and its files in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
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
from avil_ray.config import flatten, nest, option_names, short
from avil_ray.errors import UserError, unknown
from avil_ray.export import FACTS, WEIGHTS
from avil_ray.methods.method import Method, Setting
from avil_ray.round_lines import Rounds
from avil_ray.rounds import Round
from avil_ray.storage import Storage, at
from avil_ray.tasks.suite import Suite
from avil_ray.training import Result, train

if TYPE_CHECKING:
    from avil_ray.tracking.single import Follower

HISTORY, RESULT = "history.csv", "result.json"
POOLS = ("inline", "ray", "train")


@dataclass(frozen=True)
class Settings:
    """What `avil-ray run` was asked for.

    Attributes
    ----------
    settings
        The options of `--set`, as (key, value).
    track
        The folder with the tracking database, if the run is to be logged to MLflow.
    """

    suite: str
    method: str
    target: str | None
    rounds: int
    steps_per_round: int
    seed: int
    pool: str
    workers: int | None
    settings: Sequence[tuple[str, Any]]
    output: str | None
    resume: bool
    track: str | None = None


def run_once(asked: Settings, *, quiet: bool = False) -> tuple[Result, Follower | None]:
    """Train, and show each round as it ends unless that should be `quiet`; the result, and what has logged it."""
    if asked.pool not in POOLS:
        raise unknown("pool", asked.pool, POOLS, "--pool")
    of_learning, others = learning_settings(asked.settings)
    of_suite, of_method = divide(asked.suite, asked.method, others)
    suite = named_suite(asked.suite, {**of_suite, LEARNING: of_learning}, asked.target)
    method = build_method(asked.method, of_method)
    if asked.output is not None:
        require_writable(at(asked.output))
    total = method.rounds(Setting(suite, {}, asked.rounds, asked.steps_per_round))
    with ExitStack() as stack:
        shown = stack.enter_context(Rounds(total, quiet))
        follower = stack.enter_context(_follower(asked, suite, method)) if asked.track is not None else None

        def after(done: Round) -> None:
            shown.show(done)
            if follower is not None:
                follower.row(done.number, done.row)

        result = train(
            suite,
            method,
            rounds=asked.rounds,
            steps_per_round=asked.steps_per_round,
            seed=asked.seed,
            pool=cast(Literal["inline", "ray", "train"], asked.pool),
            workers=asked.workers,
            output=asked.output,
            resume=asked.resume,
            on_round=after,
        )
        if follower is not None:
            from avil_ray.run_tracking import finish

            finish(follower, asked, result)
    return result, follower


def _follower(asked: Settings, suite: Suite, method: Method) -> Follower:
    from avil_ray.run_tracking import follower_of  # it imports MLflow

    return follower_of(asked, suite, method)


def document(asked: Settings, result: Result) -> dict[str, Any]:
    """A run as plain values, for `--json`."""
    return {
        "suite": result.suite.name,
        "target": result.suite.target,
        "method": asked.method,
        "options": settled_options(result.method),
        "seed": asked.seed,
        "rounds": asked.rounds,
        "steps_per_round": asked.steps_per_round,
        "best_round": result.best_round,
        "select": result.select,
        "test": dict(result.test),
        "gradient_steps": result.gradient_steps,
        "output": asked.output,
        "history": [dict(row) for row in result.rows],
    }


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
            raise UserError(f"--set {key}: both the suite and the method have it; write suite.{name} or method.{name}")
        chosen[homes[0]][rest] = value
    return nest(chosen[0]), nest(chosen[1])


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
