from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from typing_extensions import Doc

from avil_ray.config import call, flatten, nest, option_names, option_problems, parse_setting, read_options
from avil_ray.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    rate: Annotated[float | None, Doc("a rate")] = None
    steps: int = 1
    kind: Literal["plain", "fancy"] = "plain"
    bounds: tuple[float, float] = (0.0, 1.0)
    weights: Mapping[str, float] = field(default_factory=dict)
    quick: bool = False
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"steps must be at least 1, not {self.steps}")


def test_values_are_converted_to_their_types():
    read = read_options(Options, {"rate": 1, "bounds": [0, 2], "weights": {"a": 1}, "kind": "fancy"}, "x")
    assert read == Options(rate=1.0, bounds=(0.0, 2.0), weights={"a": 1.0}, kind="fancy")
    assert isinstance(read.rate, float)
    assert isinstance(read.bounds, tuple)


def test_dotted_options_are_parts_of_a_mapping():
    assert read_options(Options, {"weights.a": 0.5, "weights.b": 2}, "x").weights == {"a": 0.5, "b": 2.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"staps": 3}, "method x: unknown option 'staps'; did you mean 'steps'?"),
        ({"made": 3}, "method x: unknown option 'made'; did you mean 'rate'?"),
        ({"rate": "fast"}, "method x: rate should be a number, not 'fast'"),
        ({"rate": True}, "method x: rate should be a number, not True"),
        ({"rate": [1]}, "method x: rate should be a number, not [1]"),
        ({"steps": 1.5}, "method x: steps should be a whole number, not 1.5"),
        ({"steps": 0}, "method x: steps must be at least 1, not 0"),
        ({"kind": "fancier"}, "method x: kind should be 'plain' or 'fancy', not 'fancier'"),
        ({"bounds": 3}, "method x: bounds should be a list such as [a, b], not 3"),
        ({"bounds": [1]}, "method x: bounds has too few items: item 2 is missing, not [1]"),
        ({"bounds": [1, 2, 3]}, "method x: bounds should have 2 items at most, not [1, 2, 3]"),
        ({"bounds": [1, "b"]}, "method x: bounds[1] should be a number, not 'b'"),
        ({"bounds": [1, True]}, "method x: bounds[1] should be a number, not True"),
        ({"weights": 3}, "method x: weights should be a mapping such as {name: value}, not 3"),
        ({"weights": {"a": "b"}}, "method x: weights.a should be a number, not 'b'"),
        ({"weights": {"a": False}}, "method x: weights.a should be a number, not False"),
        ({"weights": {1: 2}}, "method x: weights should have text as keys, not 1"),
        (
            {"weights": 1, "weights.a": 2},
            "method x: weights.a: weights is already 1; set it or its parts",
        ),
        ({"quick": "perhaps"}, "method x: quick should be true or false, not 'perhaps'"),
        ({1: 2}, "method x: an option's name must be text, not 1"),
        ({"weights..a": 2}, "method x: an option's name must be text, not 'weights..a'"),
    ],
)
def test_each_wrong_option_is_one_line(options, message):
    with pytest.raises(UserError) as caught:
        read_options(Options, options, "method x")
    assert str(caught.value) == message


def test_a_long_value_is_cut_short():
    with pytest.raises(UserError) as caught:
        read_options(Options, {"rate": "x" * 500}, "method x")
    assert len(str(caught.value)) < 150


def test_all_problems_of_the_options_are_found():
    assert option_problems(Options, {"staps": 3, "rate": "fast", "steps": 2}) == [
        "unknown option 'staps'; did you mean 'steps'?",
        "rate should be a number, not 'fast'",
    ]
    assert option_problems(Options, {"steps": 0}) == ["steps must be at least 1, not 0"]
    assert option_problems(Options, {"steps": 3}) == []


def factory(first: int, *, second: str = "b", several: Sequence[str] = ()) -> tuple[Any, ...]:
    return first, second, tuple(several)


def open_factory(first: int, **more: Any) -> tuple[Any, ...]:
    return first, more


def test_a_factory_is_called_with_checked_arguments():
    assert call(factory, {"first": 3, "several": ["x", "y"]}, "suite x") == (3, "b", ("x", "y"))
    assert call(open_factory, {"first": 3, "other": "o"}, "suite x") == (3, {"other": "o"})


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (factory, {}, "suite x: the argument 'first' is missing"),
        (factory, {"first": 1, "secnd": "b"}, "suite x: unknown option 'secnd'; did you mean 'second'?"),
        (factory, {"first": "one"}, "suite x: first should be a whole number, not 'one'"),
        (factory, {"first": 1, "several": "ab"}, "suite x: several should be a list such as [a, b], not 'ab'"),
        (factory, {"first": 1, "several": 3}, "suite x: several should be a list such as [a, b], not 3"),
        (factory, {"first": 1, "second": 3}, "suite x: second should be a word, not 3"),
        (open_factory, {"other": 1}, "suite x: the argument 'first' is missing"),
        (open_factory, {"first": "one"}, "suite x: first should be a whole number, not 'one'"),
    ],
)
def test_each_wrong_argument_is_one_line(function, options, message):
    with pytest.raises(UserError) as caught:
        call(function, options, "suite x")
    assert str(caught.value) == message


def test_what_the_factory_raises_passes_through():
    def refuses(first: int) -> None:
        raise UserError(f"no {first}, thank you")

    with pytest.raises(UserError, match=r"^no 3, thank you$"):
        call(refuses, {"first": 3}, "suite x")


def test_option_names_of_classes_and_functions():
    assert option_names(Options) == ("rate", "steps", "kind", "bounds", "weights", "quick")
    assert option_names(factory) == ("first", "second", "several")
    assert option_names(open_factory) == ("first",)


def test_nest_and_flatten_are_inverses():
    flat = {"a": 1, "b.c": 2, "b.d.e": [3], "f": {}}
    assert nest(flat) == {"a": 1, "b": {"c": 2, "d": {"e": [3]}}, "f": {}}
    assert flatten(nest(flat)) == flat
    assert nest({"b": {"c": 1}, "b.d": 2}) == nest({"b.d": 2, "b": {"c": 1}}) == {"b": {"c": 1, "d": 2}}


def test_nest_leaves_what_it_reads_unchanged():
    options = {"b": {"c": 1}, "b.d": 2}
    nest(options)
    assert options == {"b": {"c": 1}, "b.d": 2}


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("rounds=3", ("rounds", 3)),
        ("weights.right = 5e-1", ("weights.right", 0.5)),
        ("tasks=[a, b]", ("tasks", ["a", "b"])),
        ("note=a=b", ("note", "a=b")),
        ("empty=", ("empty", None)),
    ],
)
def test_settings_are_read_as_yaml(text, setting):
    assert parse_setting(text) == setting


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rounds", "--set rounds: write it as key=value"),
        ("=3", "--set =3: write it as key=value"),
        (
            "tasks=[a",
            "--set tasks: not YAML: expected ',' or ']', but got '<stream end>' (while parsing a flow sequence)",
        ),
    ],
)
def test_each_wrong_setting_is_one_line(text, message):
    with pytest.raises(UserError) as caught:
        parse_setting(text)
    assert str(caught.value) == message
