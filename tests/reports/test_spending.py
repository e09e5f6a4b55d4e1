"""Reserved device time is all accounted for."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from simulated import make_facts, make_record

from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.drawing import LIGHT
from avil_ray.reports.records import Cost
from avil_ray.reports.spending import spending, spent

HISTORY = pd.DataFrame({"round": [0, 1], "time/combine": [0.5, 1.5]})


def test_the_parts_add_up_to_what_was_reserved_over_all_trials() -> None:
    records = [make_record("alpha-vil", seed, history=HISTORY, cost=Cost(1, 6.0, 1.0, 10.0)) for seed in (0, 1)]
    found = spent(compare(records, make_facts(("alpha-vil",), seeds=(0, 1))).methods[0])
    assert found is not None
    assert (found.training, found.combining, found.waiting, found.total) == (8.0, 4.0, 8.0, 20.0)


def test_what_no_history_tells_is_not_made_up() -> None:
    records = [make_record("equal", cost=Cost(1, 6.0, 1.0, 10.0)), make_record("static", cost=Cost(1, 6.0, 1.0))]
    comparison = compare(records, make_facts(("equal", "static"), seeds=(0,)))
    found = spent(comparison.methods[0])
    assert found is not None
    assert (found.training, found.combining, found.waiting) == (6.0, None, 4.0)
    assert spent(comparison.methods[1]) is None
    drawn = spending(comparison, LIGHT)
    assert drawn is not None
    assert "at work and waiting" in drawn.caption


def test_bars_are_shares_and_methods_are_named_with_their_time(comparison: Comparison) -> None:
    found = spending(comparison, LIGHT)
    assert found is not None
    [axes] = found.figure.axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(bars) == 3 * len(comparison.methods)
    for row in range(len(comparison.methods)):
        assert sum(bar.get_width() for bar in bars[3 * row : 3 * row + 3]) == pytest.approx(1.0)
    assert "alpha-vil · 2.2 min" in [text.get_text() for text in axes.texts]


def test_without_reserved_time_there_is_no_figure() -> None:
    records = [make_record("equal", cost=Cost(1, 6.0, 1.0))]
    assert spending(compare(records, make_facts(("equal",), seeds=(0,))), LIGHT) is None
