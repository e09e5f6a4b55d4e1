"""The resources that a trial needs, and whether a cluster has them: pure arithmetic, without Ray."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence

Bundle = Mapping[str, float]
"""Resources that must be on one node: {"CPU": 1.0, "GPU": 0.5}."""

TOLERANCE = 1e-9
ACCELERATOR = "accelerator_type:"
"""The prefix of Ray's resource for a kind of accelerator, followed by its name."""
CONDITION = re.compile(r"(!?)(?:in\(([\w. ,-]+)\)|([\w.-]+))")
"""A condition on a label, in Ray's syntax: `value`, `!value`, `in(a, b)` or `!in(a, b)`."""

CROWD = 4
"""The maximum number of workers per CPU of this machine; each is a process with its own copy of the libraries."""


def bundles(driver: Bundle, per_task: Bundle, slots: int) -> list[dict[str, float]]:
    """One bundle for the driver, then one for each slot; resources with an amount of 0 are left out.

    With a single slot there is no separate driver: the trial's own process is the worker.
    """
    parts = [per_task] if slots == 1 else [driver, *[per_task] * slots]
    return [{name: float(amount) for name, amount in part.items() if amount > 0} for part in parts]


def total(parts: Sequence[Bundle]) -> dict[str, float]:
    """The sum of bundles."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


def missing(parts: Sequence[Bundle], nodes: Sequence[Bundle]) -> str | None:
    """What the nodes lack to hold all bundles at once, in words; None if they fit.

    Bundles are placed largest first on the first node with room, as a packing scheduler would.
    """
    asked, there = total(parts), total(nodes)
    for name, amount in asked.items():
        if name.startswith(ACCELERATOR) and not there.get(name):
            known = ", ".join(one.removeprefix(ACCELERATOR) for one in there if one.startswith(ACCELERATOR))
            return f"no node has accelerator_type {name.removeprefix(ACCELERATOR)}; available: {known or 'none'}"
        if amount > there.get(name, 0.0) + TOLERANCE:
            return f"each trial needs {number(amount)} {name}, but the cluster has {number(there.get(name, 0.0))}"
    room = [dict(node) for node in nodes]
    for part in sorted(parts, key=lambda part: sum(part.values()), reverse=True):
        node = next((node for node in room if _fits(part, node)), None)
        if node is None:
            return f"no node has {describe(part)} free for one of a trial's {len(parts)} processes"
        for name, amount in part.items():
            node[name] -= amount
    return None


def most_slots(driver: Bundle, per_task: Bundle, nodes: Sequence[Bundle], wanted: int) -> int:
    """How many of the wanted slots fit alongside the driver; 0 if none does."""
    for slots in range(wanted, 0, -1):
        if missing(bundles(driver, per_task, slots), nodes) is None:
            return slots
    return 0


def at_once(parts: Sequence[Bundle], nodes: Sequence[Bundle], most: int) -> int:
    """How many copies of all bundles fit on the nodes at the same time, at most `most`."""
    asked, there = total(parts), total(nodes)
    rough = min((math.floor(there.get(name, 0.0) / amount + TOLERANCE) for name, amount in asked.items()), default=0)
    fitting = (count for count in range(min(rough, most), 0, -1) if missing([*parts] * count, nodes) is None)
    return next(fitting, 0)


def own_cpus(asked: float) -> int:
    """The CPUs of a new Ray instance: more than the machine has if requested, up to the limit for sharing."""
    there = os.cpu_count() or 1
    return max(there, min(math.ceil(asked), CROWD * there))


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels matches a label selector; a missing label has no value.

    Examples
    --------
    >>> selects({"zone": "in(a, b)", "kind": "!spot"}, {"zone": "b"})
    True
    """
    return all(_says(labels.get(name), condition) for name, condition in selector.items())


def _says(value: str | None, condition: str) -> bool:
    found = CONDITION.fullmatch(condition)
    assert found is not None
    denied, several, one = found.groups()
    wanted = [one] if several is None else [each.strip() for each in several.split(",")]
    return (value in wanted) != bool(denied)


def describe(bundle: Bundle) -> str:
    """A bundle in words: "1 CPU and 0.5 GPU"."""
    parts = [
        f"an accelerator of type {name.removeprefix(ACCELERATOR)}"
        if name.startswith(ACCELERATOR)
        else f"{number(amount)} {name}"
        for name, amount in bundle.items()
    ]
    return " and ".join(parts) or "nothing"


def number(amount: float) -> str:
    """An amount without trailing zeros."""
    return f"{amount:.4g}"


def _fits(part: Bundle, node: Bundle) -> bool:
    return all(node.get(name, 0.0) + TOLERANCE >= amount for name, amount in part.items())
