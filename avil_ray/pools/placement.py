"""What a trial asks of a cluster, and whether the cluster has it: pure arithmetic on resources, no Ray."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence

Bundle = Mapping[str, float]
"""Resources that must be on one node: {"CPU": 1.0, "GPU": 0.5}."""

TOLERANCE = 1e-9
ACCELERATOR = "accelerator_type:"
"""What Ray calls the resource that stands for a kind of accelerator begins so; its name follows."""
CONDITION = re.compile(r"(!?)(?:in\(([\w. ,-]+)\)|([\w.-]+))")
"""What a label must say: `value`, `!value`, `in(a, b)` or `!in(a, b)`, as Ray writes it."""

CROWD = 4
"""So many workers may share a CPU of this machine: each is a process with a copy of the libraries."""


def bundles(driver: Bundle, per_task: Bundle, slots: int) -> list[dict[str, float]]:
    """One bundle for the driver, then one for each slot; resources of which nothing is asked are left out.

    A single slot has no driver beside it: the trial's own process is its worker then.
    """
    parts = [per_task] if slots == 1 else [driver, *[per_task] * slots]
    return [{name: float(amount) for name, amount in part.items() if amount > 0} for part in parts]


def total(parts: Sequence[Bundle]) -> dict[str, float]:
    """The sum of bundles."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


def missing(parts: Sequence[Bundle], nodes: Sequence[Bundle]) -> str | None:
    """What the nodes lack for all bundles at once, in words; None where they fit.

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
    """How many of the wanted slots fit beside the driver; 0 where not even one does."""
    for slots in range(wanted, 0, -1):
        if missing(bundles(driver, per_task, slots), nodes) is None:
            return slots
    return 0


def at_once(parts: Sequence[Bundle], nodes: Sequence[Bundle], most: int) -> int:
    """How many times the nodes have room for all bundles side by side, at most `most`; 0 where not even once."""
    asked, there = total(parts), total(nodes)
    rough = min((math.floor(there.get(name, 0.0) / amount + TOLERANCE) for name, amount in asked.items()), default=0)
    fitting = (count for count in range(min(rough, most), 0, -1) if missing([*parts] * count, nodes) is None)
    return next(fitting, 0)


def own_cpus(asked: float) -> int:
    """The CPUs of a Ray of our own: more than there are where more are asked, but only so many as can share them."""
    there = os.cpu_count() or 1
    return max(there, min(math.ceil(asked), CROWD * there))


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels is one that a label selector asks for; a label that is not there says nothing.

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
    """An amount without needless digits."""
    return f"{amount:.4g}"


def _fits(part: Bundle, node: Bundle) -> bool:
    return all(node.get(name, 0.0) + TOLERANCE >= amount for name, amount in part.items())
