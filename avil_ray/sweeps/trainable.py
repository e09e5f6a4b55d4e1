"""One method on one suite as a function for one's own `ray.tune.Tuner`, with any scheduler, searcher and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from avil_ray.catalog import learned, learning_apart, with_options
from avil_ray.config import short
from avil_ray.errors import UserError
from avil_ray.methods.method import Method
from avil_ray.tasks.suite import Suite, require_suite
from avil_ray.training import train

RUN = ("rounds", "steps_per_round", "seed", "threads")
"""What a configuration may set of the run itself."""

FOLDER, WHERE = "avil-ray", "the trial's configuration"


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
    columns as in `Result.history`; one report more, at the end, has `test/<metric>` and `best_round` too: choose by
    `select/<metric>`, not by those. The trial keeps a checkpoint in its own folder: where Tune starts it again on the
    same node, it continues from there. It trains in one process, so give it as many CPUs as `threads`.

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
    require_suite(suite)
    if not isinstance(method, Method):
        raise UserError(f"method must be an avil_ray.Method such as avil_ray.AlphaVIL(), not {short(method)}")
    run = {"rounds": rounds, "steps_per_round": steps_per_round, "seed": seed, "threads": threads}

    def train_once(config: Mapping[str, Any]) -> None:
        from ray import tune

        of_method, of_learning = learning_apart(config)
        of_run = {name: of_method.pop(name) for name in RUN if name in of_method}
        folder = Path(tune.get_context().get_trial_dir()) / FOLDER
        result = train(
            learned(suite, of_learning),
            with_options(method, of_method, WHERE),
            **{**run, **of_run},
            output=folder,
            resume=True,
            on_round=lambda done: tune.report(dict(done.row)),
        )
        test = {f"test/{name}": value for name, value in result.test.items()}
        tune.report({**result.rows[-1], **test, "best_round": result.best_round})

    return train_once
