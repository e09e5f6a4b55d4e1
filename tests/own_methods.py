"""Methods as a user writes them; in a module of its own, as Ray's workers must be able to import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from typing_extensions import Doc

import avil_ray as avil


@dataclass(frozen=True, kw_only=True)
class Halved(avil.Equal):
    """Equal weights, and a method of one's own."""

    source = "this test"
    strength: Annotated[float, Doc("does nothing")] = 0.5


@dataclass(frozen=True, kw_only=True)
class Demanding(avil.Equal):
    """A method with an option that must be given."""

    strength: float


@dataclass(frozen=True, kw_only=True)
class Raising(avil.Equal):
    """A method that cannot be made."""

    def __post_init__(self) -> None:
        raise KeyError("strength")


class Unfinished(avil.Method):
    """A method that lacks what every method has."""


class Unreadable(avil.Equal):
    """A method whose annotations cannot be read."""

    strength: NoSuchType = None  # type: ignore[name-defined]  # noqa: F821


class Überall(avil.Equal):
    """A name that is no label."""


def function() -> Any:
    """Not a method."""
