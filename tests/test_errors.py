"""Two kinds of errors, and hints that help."""

import pytest

from avil_ray.errors import UserError, WorkFailed, between, unknown, whole


def test_the_nearest_name_is_suggested() -> None:
    error = unknown("suite", "multimnits", ["synthetic", "multimnist"], "--suite")
    assert str(error) == "--suite: unknown suite 'multimnits'; did you mean 'multimnist'?"


def test_where_nothing_is_near_all_names_are_listed_in_order() -> None:
    assert str(unknown("method", "xyz", ["static", "equal"])) == "unknown method 'xyz'; available: equal, static"
    assert str(unknown("task", "xyz", [])) == "unknown task 'xyz'; available: none"


@pytest.mark.parametrize("name", [3, None, True])
def test_a_name_need_not_be_a_word(name: object) -> None:
    assert f"unknown suite {str(name)!r}" in str(unknown("suite", name, ["multimnist"]))


def test_the_kinds_are_told_apart() -> None:
    assert isinstance(unknown("suite", "x", []), UserError)
    assert issubclass(UserError, ValueError)
    assert issubclass(WorkFailed, RuntimeError)
    assert not issubclass(WorkFailed, UserError)


@pytest.mark.parametrize("value", [16, 20, 36])
def test_whole_numbers_within_the_bounds_pass(value: int) -> None:
    assert whole("suite: size", value, 16, 36) == value


@pytest.mark.parametrize("value", [15, 37, 18.0, "18", True, None])
def test_whole_says_what_is_allowed(value: object) -> None:
    with pytest.raises(UserError) as caught:
        whole("suite: size", value, 1 if value is True else 16, 36, "the canvas")
    assert "suite: size must be a whole number, " in str(caught.value)
    assert "to 36 (the canvas)" in str(caught.value)
    assert repr(value) in str(caught.value)


def test_whole_without_an_upper_bound() -> None:
    assert whole("suite: train", 10**9, 2) == 10**9
    with pytest.raises(UserError, match="2 or more, not 1"):
        whole("suite: train", 1, 2)


@pytest.mark.parametrize("value", [0, 1, -0.5, 1.5, "0.5", None, float("nan")])
def test_between_excludes_its_bounds(value: object) -> None:
    with pytest.raises(UserError, match="above 0 and below 1"):
        between("suite: dev_fraction", value, 0, 1)
