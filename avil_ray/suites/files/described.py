"""Descriptions of a user's files, as lines for `avil-ray check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from avil_ray.suites.files.labels import Labels
from avil_ray.suites.files.table import Integers, Table
from avil_ray.suites.tokens import Tokens
from avil_ray.tasks.checks import SPLITS
from avil_ray.tasks.named_metrics import METRICS

UNWIELDY = 10.0
"""Numbers with a larger spread than this, or a smaller one than its inverse, take an encoder long to learn."""

MOST_SHOWN = 8
"""The number of labels shown with their frequencies; the others are counted."""


def rows_line(table: Table) -> str:
    """The number of rows, and their files."""
    return f"{len(table):,} rows of {', '.join(dict.fromkeys(table.sources))}"


def labels_line(labels: Labels) -> str:
    """The output of a task's head, the labels' frequencies, and the kind they were taken for."""
    taken = f"; taken for {labels.note}" if labels.note else ""
    return f"head of {head(labels)}: {_spread(labels)}{_alike(labels.names)}{taken}"


def head(labels: Labels) -> str:
    """The output of the head of a task with such labels."""
    count = len(labels.names)
    of_kind: Mapping[str, str] = {
        "classes": f"{count} classes",
        "multi-label": f"{count} labels, several at once",
        "regression": "a number",
        "tokens": f"{count} classes of each word",
    }
    return of_kind[labels.kind]


def positive_line(labels: Labels, metric: str) -> list[str]:
    """The positive class of a metric that treats one of two classes as positive."""
    if labels.kind != "classes" or len(labels.names) != 2 or METRICS[metric].kind != "two classes":
        return []
    return [f"{metric} is that of {labels.names[1]!r}"]


def lengths_line(tokens: Tokens) -> str:
    """The lengths of texts in tokens, and the number truncated."""
    cut, longest = int(tokens.cut.sum()), int(tokens.lengths.max())
    share = f"{cut:,} of {len(tokens):,} texts ({100 * cut / len(tokens):.1f} %) are cut" if cut else "none is cut"
    return f"tokens: {int(np.median(tokens.lengths))} in the median, {longest} at most; {share}"


def splits_line(parts: Mapping[str, Integers], given: Integers | None) -> str:
    """The number of rows in each split, and how it was determined."""
    sizes = ", ".join(f"{split} {len(parts[split]):,}" for split in SPLITS)
    told = set() if given is None else {SPLITS[index] for index in given}
    drawn = [split for split in SPLITS[1:] if split not in told]
    return f"{sizes}; " + (f"{', '.join(drawn)} by share and seed" if drawn else "as given")


def _alike(names: Sequence[str]) -> str:
    """Two labels that differ only in case, which may be meant to be the same."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            return f"; {other!r} and {name!r} differ only in case, but are two labels"
    return ""


def _spread(labels: Labels) -> str:
    """The distribution of labels or numbers."""
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
