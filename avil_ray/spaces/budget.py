"""`budget` in a search space: what a search may cost, in gradient steps over all its configurations and seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ValidationInfo

from avil_ray.config import short
from avil_ray.errors import UserError
from avil_ray.reports.formats import counted
from avil_ray.spaces.entries import Entry
from avil_ray.spaces.fields import STRICT, Mistakes, read, whole
from avil_ray.spaces.work import Work

if TYPE_CHECKING:
    from avil_ray.spaces.search_space import SearchSpace

REFERENCE = "reference"
"""The word for: as many gradient steps as all trials of the reference take."""


@dataclass(frozen=True)
class Budget:
    """A budget as it is written in numbers."""

    __pydantic_config__ = STRICT

    gradient_steps: Annotated[int, whole(1, 10**15)]


def read_budget(document: Any, info: ValidationInfo) -> Any:
    """The word `reference`, or the number of gradient steps; for pydantic, which tells the fields read before."""
    if document != REFERENCE and not isinstance(document, Mapping):
        raise UserError(f"must be reference, or a mapping such as {{gradient_steps: 100000}}, not {short(document)}")
    entries: Iterable[Entry] = info.data.get("entries", ())
    first = next((entry.label for entry in entries), "")
    exempt = (info.data.get(REFERENCE) or first) if document == REFERENCE else None
    if entries and not any(entry.free and entry.label != exempt for entry in entries):
        others = " but the reference" if exempt else ""
        raise UserError(f"no method{others} has free options, so there is no search that it could limit")
    if document == REFERENCE:
        return document
    budget, lines = read(Budget, dict(document), "budget")
    if budget is None:
        raise Mistakes(lines)
    return budget.gradient_steps


def limits(space: SearchSpace, entry: Entry) -> bool:
    """Whether an entry's search stops where the budget is spent.

    A grid runs whole, and the reference is not held to what it takes itself.
    """
    if space.budget is None or space.search.algorithm == "grid" or not entry.free:
        return False
    return space.budget != REFERENCE or entry.label != space.reference


def require_payable(space: SearchSpace, entry: Entry, works: Sequence[Work]) -> None:
    """Raise `UserError` where a budget in numbers pays for no configuration of an entry that it is meant for.

    Parameters
    ----------
    works
        The work of a trial of each of the entry's configurations; of an example where they will be proposed.
    """
    if not isinstance(space.budget, int) or not entry.free:
        return
    least = min(work.gradient_steps + work.dev_steps for work in works)
    if entry.asked(space.search):  # a cheaper one may be proposed, but none that trains no task
        least = min(least, space.rounds * space.steps_per_round)
    if least * len(space.seeds) > space.budget:
        over = f"{least * len(space.seeds):,} gradient steps over {counted(len(space.seeds), 'seed')}"
        raise UserError(
            f"{space.file}: budget.gradient_steps: {space.budget:,} pays for no configuration of {entry.label!r}, of "
            f"which one takes at least {over}"
        )


def told(space: SearchSpace) -> list[str]:
    """What the budget means for the sweep, in a line; nothing where there is none."""
    if space.budget is None:
        return []
    much = (
        f"as many gradient steps as {space.reference} takes"
        if space.budget == REFERENCE
        else (f"{space.budget:,} gradient steps")
    )
    if space.search.algorithm == "grid":
        return [f"budget: {much}; the grid runs whole, and the report says what each search would find at that cost"]
    return [f"budget: {much} for each search, which ends there or after its trials"]
