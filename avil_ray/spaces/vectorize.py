"""Which trials of a search space train as rows of stacked models: `search: {vectorize: auto | true | false}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avil_ray.catalog import build_trial
from avil_ray.learning.stack.stackable import alike, pays, why_not
from avil_ray.methods.joint import FixedWeights
from avil_ray.methods.method import Method
from avil_ray.methods.static import Equal, EqualFineTune, Static, TargetOnly
from avil_ray.reports.formats import counted
from avil_ray.spaces.entries import TrialPlan
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

if TYPE_CHECKING:
    from avil_ray.spaces.search_space import SearchSpace

ROWS = 32
"""Rows of a stack: with more of them, steps of small models hardly get cheaper by the row (`benchmarks/grid.py`)."""

LEAST = 16
"""`auto` leaves fewer trials alone: they would save seconds, and their last bits are those of `train` as they are."""


@dataclass(frozen=True)
class Decision:
    """Whether trials of fixed weights are stacked, and why, on one line; no line where that was not asked."""

    on: bool
    line: str | None = None


class Stackable:
    """Tells which trials of a space can be rows of a stack."""

    def __init__(self, suite: Suite, tasks: Mapping[str, Task]) -> None:
        self._suite, self._tasks = suite, tasks
        self._known: dict[Any, str | None] = {}

    def why_not(self, method: str, options: Mapping[str, Any]) -> str | None:
        """Why a trial cannot, None where it can."""
        suite, built = build_trial(self._suite, method, options)
        if not of_fixed_weights(built):
            return "its method's weights are not fixed"
        learning = suite.learning
        key = (alike(learning), tuple(sorted(learning.optimizer_options)), learning.precision, learning.micro_batch)
        if key not in self._known:
            self._known[key] = why_not(suite, self._tasks)
        return self._known[key]


def of_fixed_weights(method: Method) -> bool:
    """Whether the method is `static`, or equals it with some weights; one that is derived from these may do more."""
    return type(method) in (Static, Equal, EqualFineTune, TargetOnly)


def decide(space: SearchSpace, suite: Suite, tasks: Mapping[str, Task]) -> Decision:
    """Whether to stack a space's trials of fixed weights: as it says, or by the kind and the size of its model."""
    asked = space.search.vectorize
    if asked is False:
        return Decision(False)
    examples = [
        (one, entry.count(space.search) * len(space.seeds) / len(known))
        for entry in space.entries
        for known in [entry.examples(space.search)]
        for one in known
        if of_fixed_weights(build_trial(suite, one.method, one.options)[1])
    ]
    if asked == "auto":
        if sum(trials for _, trials in examples) < LEAST:
            return Decision(False)
        reason = pays(suite)
        if reason is not None:
            return Decision(False, f"vectorize: auto is false here: {reason}")
    stackable = Stackable(suite, tasks)
    reasons = [stackable.why_not(one.method, one.options) for one, _ in examples]
    able = round(sum(trials for (_, trials), why in zip(examples, reasons, strict=True) if why is None))
    refused = [why for why in reasons if why is not None]
    if not able:
        why = refused[0] if refused else "no method has fixed weights"
        return Decision(False, f"vectorize: no trial can train in a stack: {why}")
    said = f"vectorize: {counted(able, 'trial')} of fixed weights train in stacks of up to {ROWS}"
    if refused:
        said += f"; {counted(len(refused), 'configuration')} cannot, and run one by one: {refused[0]}"
    return Decision(True, said)


def chunks(
    plans: Sequence[TrialPlan], suite: Suite, tasks: Mapping[str, Task], *, deal: bool = False
) -> tuple[list[list[TrialPlan]], list[TrialPlan]]:
    """The stacks that a stage's trials make, and the trials that run by themselves.

    It is asked for all trials, those that have ended too: who stands beside whom does not depend on them.

    Parameters
    ----------
    deal
        Deal the trials out to the stacks of their kind, as where those of a stack are compared with one another;
        otherwise neighbours have one seed, and train the same tasks, as far as that goes.
    """
    stackable, alone = Stackable(suite, tasks), []
    groups: dict[Any, list[tuple[TrialPlan, tuple[bool, ...]]]] = {}
    for plan in plans:
        if stackable.why_not(plan.method, plan.options) is not None:
            alone.append(plan)
            continue
        learned, method = build_trial(suite, plan.method, plan.options)
        assert isinstance(method, FixedWeights)
        trained = tuple(bool(weight) for weight in method.task_weights(learned).values())
        groups.setdefault(alike(learned.learning), []).append((plan, trained))
    made: list[list[TrialPlan]] = []
    for group in groups.values():
        if not deal:
            group.sort(key=lambda one: (one[0].seed, one[1]))
        count = -(-len(group) // ROWS)
        parts = [group[index::count] for index in range(count)] if deal else _even(group, count)
        made += [[plan for plan, _ in part] for part in parts]
    return made, alone


def _even(items: list[Any], count: int) -> list[list[Any]]:
    """The items in so many runs of about the same length."""
    return [items[index * len(items) // count : (index + 1) * len(items) // count] for index in range(count)]
