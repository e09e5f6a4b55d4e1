"""Names stand near what they name and never on one another."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from avil_ray.reports import drawing, labelling
from avil_ray.reports.drawing import LIGHT
from avil_ray.reports.labelling import End, Point


@pytest.mark.parametrize("seed", range(20))
def test_spreading_keeps_the_gap_and_the_order(seed: int) -> None:
    generator = np.random.default_rng(seed)
    positions = generator.uniform(0, 100, generator.integers(1, 12)).tolist()
    moved = labelling.spread(positions, 7.0)
    places = sorted(zip(positions, moved, strict=True))
    assert all(b - a >= 7.0 - 1e-9 for (_, a), (_, b) in itertools.pairwise(places))


def test_spreading_moves_no_more_than_it_must() -> None:
    assert labelling.spread([0.0, 50.0, 100.0], 10.0) == [0.0, 50.0, 100.0]
    assert labelling.spread([50.0, 50.0, 50.0], 10.0) == pytest.approx([40.0, 50.0, 60.0])
    assert labelling.spread([54.0, 46.0], 10.0) == pytest.approx([55.0, 45.0])
    assert labelling.spread([], 10.0) == []


@pytest.mark.parametrize("seed", range(5))
def test_no_other_spreading_is_nearer(seed: int) -> None:
    generator = np.random.default_rng(seed)
    positions = generator.uniform(0, 20, 5)
    best = float(np.square(np.array(labelling.spread(positions.tolist(), 6.0)) - positions).sum())
    for _ in range(2000):
        other = positions + generator.normal(0, 6, 5)
        if np.diff(np.sort(other)).min() >= 6.0 and (np.argsort(other) == np.argsort(positions)).all():
            assert float(np.square(other - positions).sum()) >= best


def test_spreading_stays_within_its_limits_where_there_is_room() -> None:
    assert labelling.spread([0.0, 1.0], 10.0, low=0.0, high=100.0) == [0.0, 10.0]
    assert labelling.spread([99.0, 100.0], 10.0, low=0.0, high=100.0) == [90.0, 100.0]
    assert labelling.spread([5.0, 5.0, 5.0], 10.0, low=0.0, high=10.0) == [0.0, 10.0, 20.0]


def panel(right: float = 2.0) -> Axes:
    figure, [axes] = drawing.new_figure(4, 1, LIGHT)
    axes.set_xlim(0, 10)
    axes.set_ylim(0, 10)
    drawing.margins(figure, 0.8, right)
    return axes


def boxes(axes: Axes) -> list[Bbox]:
    return [text.get_window_extent() for text in axes.texts if text.get_text()]


def apart(found: list[Bbox]) -> bool:
    return not any(a.overlaps(b) for a, b in itertools.combinations(found, 2))


def test_names_of_line_ends_stand_apart_and_inside_the_figure() -> None:
    axes = panel()
    labelling.name_ends(axes, [End(f"task_{index}", 10, 5 + index / 50, "#000000") for index in range(12)])
    found = boxes(axes)
    assert len(found) == 12
    assert apart(found)
    assert all(box.x0 > axes.get_window_extent().x1 and box.x1 < axes.figure.bbox.x1 for box in found)


def test_names_of_points_stand_apart_near_them_and_on_no_obstacle() -> None:
    axes = panel(right=0.3)
    places = [drawing.pixels(axes, 5 + index / 4, 5 + (-1) ** index * 0.2) for index in range(6)]
    points = [Point(f"method-{index}", x, y, y - 30, y + 30, "#000000") for index, (x, y) in enumerate(places)]
    obstacles = [Bbox([[point.x - 8, point.low], [point.x + 8, point.high]]) for point in points]
    labelling.name_points(axes, points, obstacles)
    found = boxes(axes)
    assert len(found) == 6
    assert apart(found)
    assert not any(box.overlaps(obstacle) for box in found for obstacle in obstacles)
    for box, point in zip(found, points, strict=True):
        away = math.hypot(max(box.x0 - point.x, 0, point.x - box.x1), max(box.y0 - point.y, 0, point.y - box.y1))
        assert away < 50 * drawing.POINT
        assert axes.get_window_extent().containsx(box.x1)


def test_a_name_at_the_edge_stays_inside_the_panel() -> None:
    axes = panel(right=0.3)
    x, y = drawing.pixels(axes, 9.9, 9.9)
    labelling.name_points(axes, [Point("a-rather-long-name", x, y, y, y, "#000000")], [])
    [box] = boxes(axes)
    assert box.x1 <= axes.get_window_extent().x1
    assert box.y1 <= axes.get_window_extent().y1


def test_long_names_are_cut_and_dollars_are_no_mathematics() -> None:
    assert labelling.shorten("x" * 40) == "x" * 25 + "…"
    assert labelling.shorten("short") == "short"
    assert labelling.widest(["$a$"]) > labelling.widest(["a"])
    assert labelling.widest([]) == 0.0


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("static", ["static"]),
        ("equal-then-target", ["equal-then-", "target"]),
        ("a" * 20, ["a" * 16, "a" * 4]),
        ("target digits of the left", ["target digits of", "the left"]),
        ("", [""]),
    ],
)
def test_a_long_name_is_broken_and_never_cut(name: str, lines: list[str]) -> None:
    assert labelling.wrap(name).split("\n") == lines
    assert labelling.line_count([name]) == len(lines)


@pytest.mark.parametrize("seed", range(10))
def test_spreading_leaves_larger_things_more_room(seed: int) -> None:
    generator = np.random.default_rng(seed)
    positions, sizes = generator.uniform(0, 40, 8).tolist(), generator.uniform(2, 12, 8).tolist()
    moved = labelling.spread(positions, sizes)
    placed = sorted(zip(moved, sizes, strict=True))
    assert all(b - a >= (one + other) / 2 - 1e-9 for (a, one), (b, other) in itertools.pairwise(placed))
    assert np.argsort(moved).tolist() == np.argsort(positions).tolist()
