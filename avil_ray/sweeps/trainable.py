"""One method on one suite as a function for one's own `ray.tune.Tuner`, with any scheduler, searcher and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from avil_ray.catalog import settled_options
from avil_ray.config import flatten, nest, read_options
from avil_ray.methods.method import Method
from avil_ray.rounds import Round
from avil_ray.tasks.suite import Suite
from avil_ray.training import train

RUN = ("rounds", "steps_per_round", "seed", "threads")
"""What a configuration may set of the run itself."""


def trainable(
    suite: Suite,
    method: Method,
    *,
    rounds: int = 20,
    steps_per_round: int = 24,
    seed: int = 0,
    threads: int = 1,
) -> Callable[[Mapping[str, Any]], None]:
    """A function for `ray.tune.Tuner` that trains `suite` with `method` and reports every round.

    A trial's configuration may set any option of the method (`weights.right`, or nested), any of `learning`
    (`learning.learning_rate`), and `seed`, `rounds`, `steps_per_round` and `threads`. Each round is reported with its
    columns as in `Result.history`; the last report has `test/<metric>` and `best_round` too. The trial keeps a
    checkpoint in its own folder: where Tune starts it again, it goes on from there.

    Raises
    ------
    UserError
        In the trial, for an option that is unknown or wrong.

    Examples
    --------
    >>> import avil_ray as avil
    >>> from ray import tune
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> tuner = tune.Tuner(
    ...     avil.trainable(suite, avil.Static(weights={}), rounds=2, steps_per_round=2),
    ...     param_space={"learning_rate": tune.loguniform(0.01, 0.3)},
    ...     tune_config=tune.TuneConfig(metric="select/accuracy", mode="max", num_samples=4),
    ... )
    """
    run = {"rounds": rounds, "steps_per_round": steps_per_round, "seed": seed, "threads": threads}

    def train_once(config: Mapping[str, Any]) -> None:
        from ray import tune

        chosen, options, learning = _divided(config)
        made = read_options(type(method), {**settled_options(method), **options}, "the trial's configuration")
        whole = suite.learned_with(learning)
        last: dict[str, Any] = {}

        def after_round(done: Round) -> None:
            last.update(done.row)
            tune.report(dict(done.row))

        folder = Path(tune.get_context().get_trial_dir()) / "avil"
        result = train(whole, made, **{**run, **chosen}, output=folder, resume=True, on_round=after_round)
        test = {f"test/{name}": value for name, value in result.test.items()}
        tune.report({**last, **test, "best_round": result.best_round})

    return train_once


def _divided(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A configuration's values for the run, for the method, and for learning."""
    flat = flatten(nest(config))
    chosen = {name: value for name, value in flat.items() if name in RUN}
    learning = {name.removeprefix("learning."): value for name, value in flat.items() if name.startswith("learning.")}
    rest = {name: value for name, value in flat.items() if name not in RUN and not name.startswith("learning.")}
    return chosen, rest, learning
