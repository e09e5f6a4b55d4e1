"""Values that a sweep searches: `{grid: […]}`, `{choice: […]}`, `{uniform: [a, b]}`, `{loguniform: [a, b]}`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from avil_ray.errors import UserError, unknown

Kind = Literal["grid", "choice", "uniform", "loguniform"]
KINDS: tuple[Kind, ...] = ("grid", "choice", "uniform", "loguniform")


@dataclass(frozen=True)
class Distribution:
    """What one option may be.

    Attributes
    ----------
    kind
        `grid`: each of the values; `choice`: one of them, drawn; `uniform`, `loguniform`: a number between two, drawn.
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
        """One value; of a grid, any of its values with equal chance."""
        if not self.continuous:
            return self.values[int(generator.integers(len(self.values)))]
        low, high = map(float, self.values)
        if self.kind == "uniform":
            return float(generator.uniform(low, high))
        drawn = math.exp(generator.uniform(math.log(low), math.log(high)))
        return min(max(drawn, low), high)  # exp(log(a)) may miss a by the last bit


def split(options: Mapping[str, Any], place: str) -> tuple[dict[str, Any], dict[str, Distribution], list[str]]:
    """The options of an entry apart: those that are fixed and those that are free.

    Parameters
    ----------
    options
        Option -> a value, a distribution, or a mapping of such.
    place
        Where the options stand, for messages: "methods[2]".

    Returns
    -------
    tuple
        The fixed options as they were given; dotted option -> its distribution; a line for each mistake.
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
    """The distribution that a value describes; None where it is an ordinary value.

    Raises
    ------
    UserError
        Where it means to be a distribution and is none.
    """
    if not isinstance(value, Mapping):
        return None
    kinds = [key for key in value if key in KINDS]
    if not kinds:
        _require_no_misspelling(value, place)
        return None
    if len(value) > 1:
        raise UserError(f"{place}: {', '.join(map(str, value))} stand together; give one of {', '.join(KINDS)}")
    kind = cast(Kind, kinds[0])
    values = value[kind]
    place = f"{place}.{kind}"
    if kind in ("uniform", "loguniform"):
        _require_range(kind, values, place)
    else:
        _require_values(values, place)
    return Distribution(kind, tuple(values))


def _require_no_misspelling(value: Mapping[Any, Any], place: str) -> None:
    """Raise where `value` is `{gird: [0, 1]}`: one key, a list, and nearly the name of a distribution."""
    key, inside = next(iter(value.items()), ("", None))
    if len(value) == 1 and isinstance(inside, list) and difflib.get_close_matches(str(key), KINDS, 1, 0.6):
        raise unknown("distribution", key, KINDS, place)


def _require_range(kind: str, values: Any, place: str) -> None:
    example = "[0.001, 0.1]" if kind == "loguniform" else "[0, 1]"
    if not (isinstance(values, Sequence) and len(values) == 2 and all(map(_number, values))):
        raise UserError(f"{place} must be two numbers such as {example}, not {values!r}")
    low, high = values
    if not low < high:
        raise UserError(f"{place}: the first number must be below the second, not {values!r}")
    if kind == "loguniform" and low <= 0:
        raise UserError(f"{place}: both numbers must be above 0, not {values!r}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require_values(values: Any, place: str) -> None:
    if not isinstance(values, list) or not values:
        raise UserError(f"{place} must be a list with at least one value such as [0, 1], not {values!r}")
    for index, value in enumerate(values):
        if any(value == earlier and isinstance(value, bool) == isinstance(earlier, bool) for earlier in values[:index]):
            raise UserError(f"{place}: {value!r} stands twice")
        if any(key in KINDS for mapping in _mappings(value) for key in mapping):
            raise UserError(f"{place}[{index}]: a distribution cannot stand inside another")


def _mappings(value: Any) -> Iterator[Mapping[Any, Any]]:
    """Every mapping in a value, itself included."""
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _mappings(item)
