"""The heat map shows the diagnosis' own numbers, in colours that mean the same everywhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from simulated_affinity import make_affinity

from avil_ray.reports import drawing
from avil_ray.reports.affinity import Affinity
from avil_ray.reports.drawing import DARK, LIGHT, Theme
from avil_ray.reports.formats import MINUS
from avil_ray.reports.heat_map import affinity_map


def panel(affinity: Affinity, theme: Theme = LIGHT) -> Axes:
    found = affinity_map(affinity, theme)
    drawing.png(found.figure)
    [axes] = found.figure.axes
    return axes


def cells(axes: Axes) -> list[tuple[str, str]]:
    """Every rectangle's colour and the number that stands in it, from left to right in each row."""
    boxes = sorted(
        (one for one in axes.patches if isinstance(one, Rectangle)), key=lambda one: (one.get_y(), one.get_x())
    )
    texts = {tuple(np.round(text.get_position(), 6)): text.get_text() for text in axes.texts}
    found = []
    for box in boxes:
        middle = (round(box.get_x() + box.get_width() / 2, 6), round(box.get_y() + 0.5, 6))
        found.append((to_hex(box.get_facecolor()), texts.get(middle, "")))
    return found


def test_rows_and_columns_are_the_target_then_the_auxiliaries_best_first() -> None:
    axes = panel(make_affinity())
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["goal", "good", "odd", "bad"]
        assert [label.get_fontweight() == "bold" for label in labels] == [True, False, False, False]


def test_every_cell_has_its_number() -> None:
    numbers = [text for _, text in cells(panel(make_affinity()))]
    assert numbers[:4] == ["1", "0.25", "0.00", f"{MINUS}0.50"]
    assert numbers[4:10] == ["0.25", "1", "0.00", "0.12", f"{MINUS}0.500 ± 0.130", "0.050 ± 0.013"]
    assert len(numbers) == 4 * 4 + 3 * 2
    assert all(numbers)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_blue_speaks_for_an_auxiliary_and_orange_against_it(theme: Theme, mode: str) -> None:
    affinity = make_affinity(mode=mode)
    colours = [colour for colour, _ in cells(panel(affinity, theme))]
    blue, orange = theme.series[:2]
    assert colours[0] == theme.grid
    assert colours[2] == theme.paper, "0 is white"
    assert colours[3] == orange, "the largest cosine, against"
    good = colours[4:10]
    assert good[4] == blue, "the dev loss fell"
    assert good[5] == (blue if mode == "max" else orange), "the metric rose"


def test_differences_that_are_small_stay_pale() -> None:
    small = make_affinity(loss_changes=np.full((4, 3), 0.001), metric_changes=np.zeros((4, 3)))
    colours = [colour for colour, _ in cells(panel(small))]
    assert colours[9] == LIGHT.paper
    assert LIGHT.series[1] != colours[8] != LIGHT.paper


def wide(tasks: int, name: str) -> Affinity:
    generator = np.random.default_rng(0)
    cosines = np.tile(np.eye(tasks), (4, 1, 1))
    changes = generator.standard_normal((4, tasks - 1)) / 9
    names = tuple(f"{name}_{index}" for index in range(tasks))
    return make_affinity(
        tasks=names, target=names[-1], cosines=cosines, loss_changes=changes, metric_changes=changes, scores=None
    )


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize(("tasks", "name"), [(2, "x"), (5, "left"), (7, "helpful"), (15, "label"), (15, "x" * 40)])
def test_nothing_stands_on_another_or_leaves_the_figure(tasks: int, name: str, theme: Theme) -> None:
    axes = panel(wide(tasks, name), theme)
    labels = [*axes.texts, *axes.get_yticklabels()]
    straight = axes.get_xticklabels()[0].get_rotation() == 0
    labels += axes.get_xticklabels() if straight else []
    boxes = [text.get_window_extent() for text in labels]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    figure = axes.figure.bbox
    boxes += [text.get_window_extent() for text in axes.get_xticklabels()]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.x1 and box.y1 <= figure.y1 for box in boxes)


def test_columns_that_have_no_room_for_names_are_numbered() -> None:
    axes = panel(wide(15, "x" * 40))
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(number) for number in range(1, 16)]
    assert axes.get_yticklabels()[3].get_text().endswith("…  4")


def test_one_seed_has_no_interval() -> None:
    found = affinity_map(make_affinity(1), LIGHT)
    assert "interval" not in found.caption
    assert "±" not in "".join(text for _, text in cells(panel(make_affinity(1))))


def test_a_metric_that_is_no_number_has_no_colour() -> None:
    found = cells(panel(make_affinity(metric_changes=np.full((4, 3), np.nan))))
    assert found[9] == (LIGHT.grid, "none")
