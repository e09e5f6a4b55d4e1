"""What all methods share."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
import small
from typing_extensions import Doc

from avil_ray.errors import UserError
from avil_ray.learning.assignment import Update
from avil_ray.learning.splits import DevUse
from avil_ray.methods.method import Memory, Method, delta_norms, dropped_facts


@dataclass(frozen=True, kw_only=True)
class Words(Method):
    source: ClassVar[str] = "this test"

    must: Literal["a", "b"] = "a"
    may: Annotated[Literal["x", "y"] | None, Doc("left open or one of two")] = None
    free: Annotated[str, Doc("any word")] = "z"

    def assign(self, *_: Any) -> list[Any]:
        return []

    def combine(self, run: Any, *_: Any) -> Any:
        return run, {}


def test_options_with_fixed_values_are_checked() -> None:
    assert Words(may="y", free="anything").may == "y"
    for options, said in (
        ({"must": "c"}, "unknown must 'c'; available: a, b"),
        ({"must": None}, "unknown must 'None'; available: a, b"),
        ({"may": "xx"}, "unknown may 'xx'; did you mean 'x'?"),
    ):
        with pytest.raises(UserError) as caught:
            Words(**options)
        assert str(caught.value) == said


def test_by_default_a_method_runs_the_requested_rounds_fits_any_suite_and_never_adapts_to_dev() -> None:
    method, suite = Words(), small.small_suite()
    run = small.new_run(suite, method, 0, rounds=7)
    assert method.rounds(run.setting) == 7
    assert not method.plans_ahead
    assert method.begin(run, 3) is run
    assert method.dev_passes(run, 3) == (DevUse(), 0)
    assert run.memory == Memory()
    assert method.in_force() == {"learning_rate": None, "must": "a", "may": None, "free": "z"}
    assert method.prepare(suite) is suite
    method.check(suite)


@dataclass(frozen=True)
class Remembered(Memory):
    order: list[str]
    matrix: np.ndarray
    shares: dict[str, float]


def test_a_memory_is_stored_as_arrays_and_json_and_restored_the_same_in_the_same_order() -> None:
    matrix = np.array([[1.5, np.nan]], np.float32)
    arrays, values = Remembered(["b", "a"], matrix, {"b": 0.1, "a": 1 / 3}).stored()
    assert set(arrays) == {"matrix"}
    found = Remembered.restored(arrays, json.loads(json.dumps(values)))
    assert found.matrix.tobytes() == matrix.tobytes()
    assert (found.order, list(found.shares.items())) == (["b", "a"], [("b", 0.1), ("a", 1 / 3)])
    for wrong in ({}, {**values, "more": 1}):
        with pytest.raises(TypeError, match=r"order|more"):
            Remembered.restored(arrays, wrong)


@pytest.mark.parametrize("value", [(1, 2), {1: 2.0}, {"a": {3}}, [np.float32(1)], Memory()])
def test_a_memory_that_cannot_be_restored_unchanged_is_rejected(value: Any) -> None:
    with pytest.raises(UserError) as caught:
        Remembered(value, np.zeros(1), {}).stored()
    kinds = "it must be a NumPy array, or numbers, text, lists and mappings from text"
    assert str(caught.value) == f"Remembered.order cannot be stored: {kinds}, not {value!r}"


def test_a_run_needs_a_main_track_and_a_memory() -> None:
    run = small.new_run(small.small_suite(), Words(), 0)
    with pytest.raises(UserError, match=r"^a run must have a track 'main', beside other$"):
        replace(run, tracks={"other": run.main})
    with pytest.raises(UserError, match=r"^a method's memory must be an avil_ray\.Memory, not a dict$"):
        replace(run, memory={})
    with pytest.raises(UserError, match=r"^a track's name must not be empty or hold a '/', such as 'a/b'$"):
        run.with_tracks({"a/b": run.main})


def test_norms_are_of_the_parameters_alone_and_exact_at_any_scale() -> None:
    start = np.array([1, 1, 1, 1], np.float32)
    ends = {"a": [4, 5, 1, 100], "b": [1, 1e30, 1, 1]}
    updates = [Update(assignment=name, theta=np.array(end, np.float32)) for name, end in ends.items()]
    norms = delta_norms(start, updates, slice(0, 3))
    assert norms == {"delta_norm/a": 5.0, "delta_norm/b": pytest.approx(1e30, rel=1e-6)}


def test_a_task_whose_training_is_kept_in_another_update_is_not_to_blame_for_one_that_is_dropped() -> None:
    fine, broken = np.zeros(2, np.float32), np.array([0, np.nan], np.float32)
    together = {"left": 0.0, "noise": 0.0}
    updates = [
        Update(assignment="with 1", theta=broken, losses=together),
        Update(assignment="target-only", theta=fine, losses={"left": 0.0}),
    ]
    assert dropped_facts(updates) == {"dropped": 1.0, "dropped/left": 0.0, "dropped/noise": 1.0}
    assert dropped_facts(updates[:1]) == {"dropped": 1.0, "dropped/left": 1.0, "dropped/noise": 1.0}
    assert dropped_facts(updates, dropped=[]) == {"dropped": 0.0, "dropped/left": 0.0, "dropped/noise": 0.0}
