"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from simulated import make_facts, make_record

from avil_ray.reports import formats
from avil_ray.reports.comparison import compare
from avil_ray.reports.formats import MINUS, TIMES
from avil_ray.reports.statistics import Estimate


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.1, 3, "0.100"), (-0.25, 2, f"{MINUS}0.25"), (-0.0001, 2, "0.00"), (12345.6, 1, "12,345.6")],
)
def test_a_number_has_a_true_minus_and_no_negative_zero(value: float, decimals: int, text: str) -> None:
    assert formats.number(value, decimals) == text


def test_an_estimate_says_when_it_rests_on_one_seed_or_on_none() -> None:
    assert formats.estimate(Estimate(0.93, (0.92, 0.94), 5), 3) == "0.930 ± 0.010"
    assert formats.estimate(Estimate(0.93, None, 1), 3) == "0.930 (one seed)"
    assert formats.estimate(None, 3) == "none complete"


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "0.0 s"), (99.94, "99.9 s"), (100, "1.7 min"), (6000, "1.7 h"), (3.6e7, "10,000.0 h")]
)
def test_a_duration_has_the_unit_that_suits_it(value: float, text: str) -> None:
    assert formats.seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0004, "p < 0.001"), (0.0321, "p = 0.032"), (0.5, "p = 0.50")])
def test_a_probability_is_never_written_as_zero(value: float, text: str) -> None:
    assert formats.probability(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0712, "0.071"), (1.38, "1.4"), (9.96, "10"), (1234.5, "1,234")])
def test_a_ratio_has_two_digits_or_more(value: float, text: str) -> None:
    assert formats.times(value) == f"{text} {TIMES}"


@pytest.mark.parametrize(
    ("words", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_words_are_listed(words: list[str], text: str) -> None:
    assert formats.listed(words) == text


def test_options_read_as_they_were_given() -> None:
    values = {"dev": "train", "rate": 0.05, "free": True, "weights": {"a": 1}, "none": None, "clip": math.inf}
    text = 'dev = train, rate = 0.05, free = true, weights = {"a": 1}, none = null, clip = inf'
    assert formats.options(values) == text
    assert formats.options({}) == "no options"


@pytest.mark.parametrize(
    ("tests", "decimals"),
    [
        ([0.91, 0.93, 0.92], 3),  # ± 0.025
        ([0.9101, 0.9103, 0.9102], 5),  # ± 0.00025
        ([120.0, 180.0, 150.0], 2),  # ± 75, yet never fewer than two
        ([0.91], 4),
        ([1234.5], 0),
        ([0.0], 4),
    ],
)
def test_decimals_follow_the_intervals(tests: list[float], decimals: int) -> None:
    records = [make_record("equal", seed, test=test) for seed, test in enumerate(tests)]
    comparison = compare(records, make_facts(("equal",), seeds=tuple(range(len(tests)))))
    assert formats.decimals_for(comparison) == decimals
