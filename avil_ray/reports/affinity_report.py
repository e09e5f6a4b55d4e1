"""A diagnosis as people read it: a table on a terminal, a few sentences, and files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from avil_ray.plain import plain
from avil_ray.reports import drawing, formats
from avil_ray.reports.affinity import Affinity, Floats
from avil_ray.reports.heat_map import affinity_map
from avil_ray.reports.statistics import mean_interval
from avil_ray.storage import replace_file

CAVEAT = (
    "One round from the initial parameters is short-sighted: what slows the start may help later, and what only keeps "
    "the target from over-fitting (noise does) may look like a help. It is evidence on what to try first, not a "
    "verdict: that takes a sweep."
)

Verdict = Literal["lowered", "raised", "unclear"]


def verdict(affinity: Affinity, auxiliary: str) -> Verdict:
    """What an auxiliary did to the dev loss; unclear where the 95 % interval of the change holds 0, or is not there."""
    low, high = mean_interval(affinity.of(auxiliary)["loss_change"].tolist()).interval or (0.0, 0.0)
    return "lowered" if high < 0 else "raised" if low > 0 else "unclear"


def terminal_table(affinity: Affinity) -> Table:
    """One row an auxiliary, the lowest change of the dev loss first."""
    target, seeds = plain(affinity.target), formats.counted(len(affinity.seeds), "seed")
    spread = "one seed, so no interval" if len(affinity.seeds) == 1 else f"mean ± 95 % interval over {seeds}"
    table = Table(
        title=Text(f"{plain(affinity.suite)}: one round of {affinity.steps} steps", style="bold"),
        caption=Text(
            f"dev loss and metric: of {target} after a round beside the auxiliary, minus those after a round alone; "
            f"cosine: of the two tasks' steps over the shared parameters; {spread}"
        ),
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title_justify="left",
        caption_justify="left",
    )
    metric = affinity.metric.replace("_", " ")
    names = ["auxiliary", "change of\ndev loss", "", f"change of\ndev {metric}", "cosine"]
    names += [] if affinity.scores is None else ["similarity\nof inputs"]
    for name in names:
        justify = "left" if name in ("auxiliary", "") else "right"
        table.add_column(name, justify=justify, overflow="fold", vertical="bottom")  # type: ignore[arg-type]
    for auxiliary in affinity.ranked:
        found = affinity.of(auxiliary)
        cells = [plain(auxiliary), _figure(found["loss_change"], 3), verdict(affinity, auxiliary)]
        cells += [_figure(found["metric_change"], 3), _figure(found["cosine"], 2)]
        cells += [formats.number(float(found["input_similarity"].mean()), 2)] if "input_similarity" in found else []
        table.add_row(*map(Text, cells))
    return table


def sentences(affinity: Affinity) -> list[str]:
    """The outcome in words, what is to be said of the inputs, and what all this cannot tell."""
    found: dict[Verdict, list[str]] = {}
    for auxiliary in affinity.ranked:
        found.setdefault(verdict(affinity, auxiliary), []).append(auxiliary)
    why = "one seed gives no interval" if len(affinity.seeds) == 1 else "the 95 % interval includes 0"
    said: dict[Verdict, tuple[str, str]] = {
        "lowered": ("lowered", ""),
        "raised": ("raised", ""),
        "unclear": ("made no clear difference to", f" ({why})"),
    }
    parts: list[str] = []
    for word, (does, more) in said.items():
        if word in found:
            what = "it" if parts else f"the dev loss of {affinity.target}"
            parts.append(f"{formats.listed(found[word])} {does} {what}{more}")
    outcome = f"In this round {'; '.join(parts)}."
    return [outcome, *([affinity.inputs] if affinity.inputs else []), CAVEAT]


def write_affinity(folder: Path, affinity: Affinity) -> list[Path]:
    """Write `affinity.csv` (a row an auxiliary), `cosines.csv` (a row a task) and `affinity.png`; where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    cosines = pd.DataFrame(affinity.cosine_matrix, columns=list(affinity.tasks))
    cosines.insert(0, "task", affinity.tasks)
    with drawing.own_look():
        drawn = affinity_map(affinity, drawing.LIGHT)
        picture = drawing.png(drawn.figure)
    contents = {
        "affinity.csv": affinity.frame().to_csv(index=False).encode(),
        "cosines.csv": cosines.to_csv(index=False).encode(),
        f"{drawn.name}.png": picture,
    }
    for name, content in contents.items():
        replace_file(folder / name, content)
    return [folder / name for name in contents]


def _figure(values: Floats, decimals: int) -> str:
    if not np.isfinite(values).all():
        return "none"
    return formats.estimate(mean_interval(values.tolist()), decimals).removesuffix(" (one seed)")
