"""Which trials of a search space are trained as rows of stacked models: `search: {vectorize: auto | true | false}`."""

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
"""Maximum rows of a stack: beyond it, the cost per row of small models hardly decreases (`benchmarks/grid.py`)."""

LEAST = 16
"""`auto` does not stack fewer trials: they would save only seconds, and unstacked results are bit-identical to
`train`."""


@dataclass(frozen=True)
class Decision:
    """Whether trials with fixed weights are stacked, and why, in one line (empty if there is nothing to explain)."""

    on: bool
    line: str | None = None


class Stackable:
    """Determines which trials of a space can be rows of a stack."""

    def __init__(self, suite: Suite, tasks: Mapping[str, Task]) -> None:
        self._suite, self._tasks = suite, tasks
        self._known: dict[Any, str | None] = {}

    def why_not(self, method: str, options: Mapping[str, Any]) -> str | None:
        """Why a trial cannot be stacked; None if it can."""
        suite, built = build_trial(self._suite, method, options)
        if not of_fixed_weights(built):
            return "its method's weights are not fixed"
        learning = suite.learning
        key = (alike(learning), tuple(sorted(learning.optimizer_options)), learning.precision, learning.micro_batch)
        if key not in self._known:
            self._known[key] = why_not(suite, self._tasks)
        return self._known[key]


def of_fixed_weights(method: Method) -> bool:
    """Whether the method is `static` or equal to it for some weights; subclasses may do more and do not count."""
    return type(method) in (Static, Equal, EqualFineTune, TargetOnly)


def decide(space: SearchSpace, suite: Suite, tasks: Mapping[str, Task]) -> Decision:
    """Whether to stack a space's trials with fixed weights: as set, or by the architecture and size of its model."""
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
    """The stacks formed from a stage's trials, and the trials that run on their own.

    All trials must be given, including ended ones, so that the assignment to stacks does not depend on progress.

    Parameters
    ----------
    deal
        Distribute trials of the same kind evenly over its stacks, for comparison within stacks; otherwise neighbours
        share a seed and tasks as far as possible.
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
    """The items split into `count` consecutive parts of about equal length."""
    return [items[index * len(items) // count : (index + 1) * len(items) // count] for index in range(count)]
