"""Two kinds of errors, and hints that help."""

import pytest

from avil_ray.errors import UserError, WorkFailed, unknown


def test_the_nearest_name_is_suggested() -> None:
    error = unknown("suite", "multimnits", ["synthetic", "multimnist"], "--suite")
    assert str(error) == "--suite: unknown suite 'multimnits'; did you mean 'multimnist'?"


def test_where_nothing_is_near_all_names_are_listed_in_order() -> None:
    assert str(unknown("method", "xyz", ["static", "equal"])) == "unknown method 'xyz'; there are: equal, static"
    assert str(unknown("task", "xyz", [])) == "unknown task 'xyz'; there are: none"


@pytest.mark.parametrize("name", [3, None, True])
def test_a_name_need_not_be_a_word(name: object) -> None:
    assert f"unknown suite {str(name)!r}" in str(unknown("suite", name, ["multimnist"]))


def test_the_kinds_are_told_apart() -> None:
    assert isinstance(unknown("suite", "x", []), UserError)
    assert issubclass(UserError, ValueError)
    assert issubclass(WorkFailed, RuntimeError)
    assert not issubclass(WorkFailed, UserError)
