"""Values that a sweep searches over: `{grid: […]}`, `{choice: […]}`, `{uniform: [a, b]}`, `{loguniform: [a, b]}`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import AfterValidator

from avil_ray.errors import UserError, unknown
from avil_ray.spaces.fields import Rule, distinct, filled, must, number, read

Kind = Literal["grid", "choice", "uniform", "loguniform"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Distribution:
    """The possible values of one option.

    Attributes
    ----------
    kind
        `grid`: each of the values; `choice`: one of them at random; `uniform`, `loguniform`: a random number in a
        range.
    values
        The values, or the two bounds.
    """

    kind: Kind
    values: tuple[Any, ...]

    @property
    def continuous(self) -> bool:
        """Whether it is a range of numbers rather than a list of values."""
        return self.kind in ("uniform", "loguniform")

    def draw(self, generator: np.random.Generator) -> Any:
        """Draw one value; from a grid, uniformly."""
        if not self.continuous:
            return self.values[int(generator.integers(len(self.values)))]
        low, high = map(float, self.values)
        if self.kind == "uniform":
            return float(generator.uniform(low, high))
        drawn = math.exp(generator.uniform(math.log(low), math.log(high)))
        return min(max(drawn, low), high)  # exp(log(a)) may differ from a in the last bit


def _mappings(value: Any) -> Iterator[Mapping[Any, Any]]:
    """Every mapping in a value, including itself."""
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _mappings(item)


def _plain(value: Any) -> Any:
    if any(key in KINDS for mapping in _mappings(value) for key in mapping):
        raise UserError("distributions cannot be nested")
    return value


def _range(example: str) -> tuple[Rule, ...]:
    return (
        (
            f"must be two numbers such as {example}",
            lambda values: isinstance(values, list | tuple) and len(values) == 2 and all(map(number, values)),
        ),
        ("the first number must be below the second", lambda values: values[0] < values[1]),
    )


Values = Annotated[list[Annotated[Any, AfterValidator(_plain)]], filled("value such as [0, 1]"), distinct()]


@dataclass(frozen=True)
class Written:
    """A distribution as written; exactly one of the keys is given."""

    grid: Values = field(default_factory=list)
    choice: Values = field(default_factory=list)
    uniform: Annotated[list[Any], must(*_range("[0, 1]"))] = field(default_factory=list)
    loguniform: Annotated[
        list[Any],
        must(*_range("[0.001, 0.1]"), ("both numbers must be above 0", lambda values: values[0] > 0)),
    ] = field(default_factory=list)


def split(options: Mapping[str, Any], place: str) -> tuple[dict[str, Any], dict[str, Distribution], list[str]]:
    """Split the options of an entry into fixed and free ones.

    Parameters
    ----------
    options
        Option -> a value, a distribution, or a mapping of such.
    place
        The place of the options, for messages: "methods[2]".

    Returns
    -------
    tuple
        The fixed options as given; dotted option -> its distribution; a line for each mistake.
    """
    fixed: dict[str, Any] = {}
    free: dict[str, Distribution] = {}
    problems: list[str] = []
    for name, value in options.items():
        inside = f"{place}.{name}"
        try:
            distribution = read_distribution(value, inside)
        except UserError as error:
            problems.append(str(error))
            continue
        if distribution is not None:
            free[name] = distribution
        elif isinstance(value, Mapping):
            inner_fixed, inner_free, inner_problems = split(value, inside)
            if inner_fixed or not inner_free:
                fixed[name] = inner_fixed
            free.update({f"{name}.{key}": found for key, found in inner_free.items()})
            problems += inner_problems
        else:
            fixed[name] = value
    return fixed, free, problems


def read_distribution(value: Any, place: str) -> Distribution | None:
    """The distribution that a value describes; None for an ordinary value.

    Raises
    ------
    UserError
        It looks like a distribution but is not valid.
    """
    if not isinstance(value, Mapping):
        return None
    kinds = [key for key in value if key in KINDS]
    if not kinds:
        key, inside = next(iter(value.items()), ("", None))
        if len(value) == 1 and isinstance(inside, list) and difflib.get_close_matches(str(key), KINDS, 1, 0.6):
            raise unknown("distribution", key, KINDS, place)
        return None
    if len(value) > 1:
        raise UserError(f"{place}: {', '.join(map(str, value))} conflict; use one of {', '.join(KINDS)}")
    written, mistakes = read(Written, value, place)
    if written is None:
        raise UserError(mistakes[0])
    return Distribution(kinds[0], tuple(getattr(written, kinds[0])))
