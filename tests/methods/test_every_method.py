"""What every method of the catalogue promises: the same bits everywhere, a cost foretold, and no harm but what is said.

A new method is tested here by standing in the catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small

import avil_ray as avil
from avil_ray.catalog import METHODS, build_method
from avil_ray.methods.method import Method
from avil_ray.pools.crew import Slots
from avil_ray.pools.ray_pool import RayPool
from avil_ray.rounds import Round
from avil_ray.spaces.work import work_of

RUN = {"rounds": 7, "steps_per_round": 3, "seed": 4}

UNGUARDED = {
    "arml": "the auxiliaries' weights keep their sum, whatever they do",
    "equal": "weights that are equal, whatever the task",
    "equal-finetune": "the same, and a fine-tuning that makes up for a part of it",
    "fork-merge": "it loses about as much with no auxiliary at all: see its docstring",
    "mt-tartan": "weights that are equal, whatever the task",
    "ol-aux": "weights start at 1, and take a good part of so short a run to fall",
    "svd-reweighting": "a norm has no sign: a reversed task counts as a related one",
}
"""Methods that a harmful task harms, as in the papers, and why; each says so in its docstring."""

HARM = 0.02
SEEDS = (0, 1, 2)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return build_method(request.param, {"weights": {"right": 0.5}} if request.param == "static" else {})


def same(found: avil.Result, expected: avil.Result) -> None:
    """Equal to the last bit in all but the times."""
    assert found.theta.tobytes() == expected.theta.tobytes()
    columns = [name for name in expected.history if not name.startswith("time/")]
    pd.testing.assert_frame_equal(found.history[columns], expected.history[columns], check_exact=True)


class Stop(Exception):
    pass


def test_a_run_interrupted_after_every_round_ends_with_the_same_result(method: Method, tmp_path: Path) -> None:
    suite = small.small_suite(small.batch_norm)
    whole = avil.train(suite, method, **RUN)

    def stop(done: Round) -> None:
        raise Stop

    for _ in whole.rows:
        with pytest.raises(Stop):
            avil.train(suite, method, **RUN, output=tmp_path, resume=True, on_round=stop)
    same(avil.train(suite, method, **RUN, output=tmp_path, resume=True), whole)


def test_a_methods_memory_after_any_round_is_restored_from_arrays_and_json(method: Method) -> None:
    done: list[Round] = []
    avil.train(small.small_suite(), method, **RUN, on_round=done.append)
    for memory in (each.run.memory for each in done):
        arrays, values = memory.stored()
        again_arrays, again_values = type(memory).restored(arrays, json.loads(json.dumps(values))).stored()
        assert json.dumps(again_values) == json.dumps(values), "in the same order too"
        assert {name: array.tobytes() for name, array in again_arrays.items()} == {
            name: array.tobytes() for name, array in arrays.items()
        }


@pytest.fixture(scope="module")
def workers(ray_session: None) -> Iterator[RayPool]:
    """Two, for all methods: they keep nothing that a result depends on, and take seconds to start."""
    with RayPool(small.small_suite(small.dropout), RUN["seed"], 1, Slots(2, {"CPU": 0.5})) as pool:
        yield pool


def test_on_ray_a_run_gives_the_same_bits_as_inline(method: Method, workers: RayPool) -> None:
    suite = small.small_suite(small.dropout)
    pool = "ray" if method.prepare(suite) is not suite else partial(nullcontext, workers)
    same(avil.train(suite, method, **RUN, pool=pool, workers=2), avil.train(suite, method, **RUN))


def test_a_run_costs_no_more_than_predicted(method: Method) -> None:
    suite = small.small_suite()
    foretold = work_of(method, suite, suite.draw(RUN["seed"]), RUN["rounds"], RUN["steps_per_round"])
    spent = avil.train(suite, method, **RUN).history["cost/gradient_steps"].sum()
    assert 0 < spent <= foretold.gradient_steps + foretold.dev_steps


@pytest.mark.parametrize("name", ["arml", "gcs", "ol-aux"])
def test_a_rule_on_the_steps_own_gradients_costs_no_extra_passes(name: str) -> None:
    suite, rule = small.small_suite(), build_method(name, {})
    foretold = work_of(rule, suite, suite.draw(1), 2, 5)
    spent = avil.train(suite, rule, rounds=2, steps_per_round=5, seed=1).history["cost/gradient_steps"].sum()
    assert spent == foretold.gradient_steps == 2 * 5 * 3
    assert foretold.dev_steps == 0


@cache
def accuracies(name: str) -> list[float]:
    suite = avil.suites.synthetic(head="shared", helpful=1, neutral=0, harmful=1, noise=0)
    method = build_method(name, {})
    return [avil.train(suite, method, rounds=10, steps_per_round=20, seed=s).test["accuracy"] for s in SEEDS]


@pytest.mark.parametrize("name", METHODS)
def test_a_harmful_task_does_no_harm_unless_the_method_says_so(name: str) -> None:
    lost = np.mean(accuracies("target-only")) - np.mean(accuracies(name))
    if name in UNGUARDED:
        assert lost > HARM / 2, f"{name} is said to be harmed: {UNGUARDED[name]}"
    else:
        assert lost <= HARM
