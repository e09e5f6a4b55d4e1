"""What all methods share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
import small
from typing_extensions import Doc

from avil_ray.errors import UserError
from avil_ray.learning.assignment import Update
from avil_ray.learning.splits import DevUse
from avil_ray.methods.method import Method, Phase, delta_norms


@dataclass(frozen=True, kw_only=True)
class Words(Method):
    source: ClassVar[str] = "this test"

    must: Literal["a", "b"] = "a"
    may: Annotated[Literal["x", "y"] | None, Doc("left open or one of two")] = None
    free: Annotated[str, Doc("any word")] = "z"

    def start(self, *_: Any) -> dict[str, Any]:
        return {}

    def assign(self, *_: Any) -> list[Any]:
        return []

    def combine(self, state: Any, theta: Any, *_: Any) -> Any:
        return theta, state, {}


def test_options_of_a_few_words_are_checked() -> None:
    assert Words(may="y", free="anything").may == "y"
    for options, said in (
        ({"must": "c"}, "unknown must 'c'; there are: a, b"),
        ({"must": None}, "unknown must 'None'; there are: a, b"),
        ({"may": "xx"}, "unknown may 'xx'; did you mean 'x'?"),
    ):
        with pytest.raises(UserError) as caught:
            Words(**options)
        assert str(caught.value) == said


def test_left_to_itself_a_method_has_one_phase_fits_any_suite_and_never_adapts_to_dev() -> None:
    method = Words()
    assert method.phases(7) == (Phase(method, 7),)
    assert method.dev_passes(3) == (DevUse(), 0)
    method.check(small.small_suite())


def test_norms_are_of_the_parameters_alone_and_exact_at_any_scale() -> None:
    start = np.array([1, 1, 1, 1], np.float32)
    ends = {"a": [4, 5, 1, 100], "b": [1, 1e30, 1, 1]}
    updates = [
        Update(assignment=name, theta=np.array(end, np.float32), losses={}, gradient_steps=0, seconds=0)
        for name, end in ends.items()
    ]
    norms = delta_norms(start, updates, slice(0, 3))
    assert norms == {"delta_norm/a": 5.0, "delta_norm/b": pytest.approx(1e30, rel=1e-6)}
