"""Which figures a report has."""

from __future__ import annotations

from simulated import make_facts, make_record

from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.drawing import DARK
from avil_ray.reports.figures import draw_all


def test_a_whole_sweep_has_every_figure(comparison: Comparison) -> None:
    expected = ["seeds", "differences", "cost", "spending", "select", "tracks-alpha-vil", "grid-static"]
    expected += ["alpha-alpha-vil", "alpha-alpha-vil-paper"]
    assert [one.name for one in draw_all(comparison)] == expected
    assert [one.name for one in draw_all(comparison, DARK)] == expected
    assert all(len(one.caption) > 20 for one in draw_all(comparison))


def test_what_has_nothing_to_show_is_left_out() -> None:
    assert draw_all(compare([], make_facts(()))) == []
    lone = compare([make_record("equal")], make_facts(("equal",), seeds=(0,)))
    assert [one.name for one in draw_all(lone)] == ["cost", "spending"]
