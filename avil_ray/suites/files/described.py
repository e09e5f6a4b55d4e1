"""What was found in a user's files, in lines for `avil-ray check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from avil_ray.suites.files.labels import Labels
from avil_ray.suites.files.table import Integers, Table
from avil_ray.suites.tokens import Tokens
from avil_ray.tasks.checks import SPLITS
from avil_ray.tasks.named_metrics import METRICS

UNWIELDY = 10.0
"""Numbers that spread by more than this, or by less than its inverse, take an encoder long to learn."""

MOST_SHOWN = 8
"""So many labels are shown with their shares; the others are counted."""


def rows_line(table: Table) -> str:
    """How many rows there are, and the files that they are from."""
    return f"{len(table):,} rows of {', '.join(dict.fromkeys(table.sources))}"


def labels_line(labels: Labels) -> str:
    """What a task's head answers, how often there is which label, and what kind they were taken for."""
    taken = f"; taken for {labels.note}" if labels.note else ""
    return f"head of {head(labels)}: {_spread(labels)}{_alike(labels.names)}{taken}"


def head(labels: Labels) -> str:
    """What the head of a task with such labels answers."""
    count = len(labels.names)
    of_kind: Mapping[str, str] = {
        "classes": f"{count} classes",
        "multi-label": f"{count} labels, several at once",
        "regression": "a number",
        "tokens": f"{count} classes of each word",
    }
    return of_kind[labels.kind]


def positive_line(labels: Labels, metric: str) -> list[str]:
    """Which of two classes a metric is about, where it is about one of them."""
    if labels.kind != "classes" or len(labels.names) != 2 or METRICS[metric].kind != "two classes":
        return []
    return [f"{metric} is that of {labels.names[1]!r}"]


def lengths_line(tokens: Tokens) -> str:
    """How long texts are in tokens, and how many of them are cut."""
    cut, longest = int(tokens.cut.sum()), int(tokens.lengths.max())
    share = f"{cut:,} of {len(tokens):,} texts ({100 * cut / len(tokens):.1f} %) are cut" if cut else "none is cut"
    return f"tokens: {int(np.median(tokens.lengths))} in the median, {longest} at most; {share}"


def splits_line(parts: Mapping[str, Integers], given: Integers | None) -> str:
    """How many rows each split has, and what decided that."""
    sizes = ", ".join(f"{split} {len(parts[split]):,}" for split in SPLITS)
    told = set() if given is None else {SPLITS[index] for index in given}
    drawn = [split for split in SPLITS[1:] if split not in told]
    return f"{sizes}; " + (f"{', '.join(drawn)} by share and seed" if drawn else "as given")


def _alike(names: Sequence[str]) -> str:
    """Two labels that differ in case alone, which may be meant as one."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            return f"; {other!r} and {name!r} differ only in case, but are two labels"
    return ""


def _spread(labels: Labels) -> str:
    """How labels, or numbers, are spread."""
    if labels.kind == "regression":
        values = labels.values.astype(np.float64)
        spread = f"from {values.min():g} to {values.max():g}, mean {values.mean():.4g}, deviation {values.std():.4g}"
        usual = 1 / UNWIELDY < values.std() < UNWIELDY and abs(values.mean()) < 10 * UNWIELDY
        return spread if usual else f"{spread} (learned faster in units in which they spread by about 1)"
    each = labels.counts(np.arange(labels.rows))
    order = np.argsort(-each, kind="stable")
    shown = [f"{labels.names[index]} {100 * each[index] / len(labels.values):.1f} %" for index in order[:MOST_SHOWN]]
    others = [f"{len(order) - MOST_SHOWN} others"] if len(order) > MOST_SHOWN else []
    return ", ".join([*shown, *others])
