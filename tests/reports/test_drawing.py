"""Colours that all readers can tell apart, and images that are the same each time."""

from __future__ import annotations

import io
import itertools

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from avil_ray.reports import drawing
from avil_ray.reports.drawing import DARK, LIGHT, Theme

# How colours look without one kind of cone, on linear RGB (Machado, Oliveira and Fernandes 2009, severity 1)
SIGHT = {
    "all cones": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
    "no blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]
    ),
}
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(light: np.ndarray) -> np.ndarray:
    """Björn Ottosson's Oklab, in which equal distances look about equally large."""
    return TO_OKLAB @ np.cbrt(TO_CONES @ np.clip(light, 0, 1))


def contrast(a: str, b: str) -> float:
    """The contrast ratio of the WCAG."""
    dark, bright = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (a, b))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_colours_can_be_told_apart_by_all(theme: Theme, sight: str) -> None:
    seen = [oklab(SIGHT[sight] @ linear(colour)) for colour in theme.series]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > 0.07


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_every_colour_stands_out_from_the_paper(theme: Theme) -> None:
    assert min(contrast(colour, theme.paper) for colour in theme.series) > 3
    assert contrast(theme.muted, theme.paper) > 4.5
    assert contrast(theme.ink, theme.paper) > 7


def test_colours_that_come_again_have_another_line() -> None:
    looks = drawing.styles([f"task_{index}" for index in range(20)], LIGHT)
    assert len(set(looks.values())) == 20


def test_a_figure_is_the_same_each_time_and_leaves_no_trace() -> None:
    before = dict(mpl.rcParams)

    def image() -> bytes:
        figure, [axes] = drawing.new_figure(3, 1, DARK)
        drawing.title(axes, "a $title$", "and more", DARK)
        drawing.axis_names(axes, "x", "y", DARK)
        drawing.pad(axes, 1.0, 1.0)
        drawing.margins(figure, 0.8, 0.3)
        return drawing.png(figure)

    assert image() == image()
    with Image.open(io.BytesIO(image())) as opened:
        assert opened.size == (1200, 450)
        assert opened.convert("RGB").getpixel((2, 2)) == (0x16, 0x19, 0x1D)
    assert dict(mpl.rcParams) == before


def test_a_sheet_is_as_high_as_its_panels_need_and_breaks_long_titles() -> None:
    figure, panels = drawing.sheet("a title " * 8, "and more " * 12, [1.0, 2.0], LIGHT, left=0.5, right=0.5)
    heights = [panel.get_position().height * figure.get_size_inches()[1] for panel in panels]
    assert heights == pytest.approx([1.0, 2.0])
    drawing.png(figure)
    boxes = [text.get_window_extent() for text in figure.texts]
    assert len(boxes) > 3
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 > panels[0].bbox.y1 for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_an_svg_is_the_same_each_time_has_text_and_takes_its_colours_from_the_page() -> None:
    def image() -> str:
        figure, [axes] = drawing.sheet("a <title>", "and $more$", [1.0], LIGHT, left=0.5, right=0.5)
        drawing.dot(axes, 1.0, 2.0, drawing.Style(LIGHT.series[3], "-"), LIGHT)
        with drawing.own_look():
            return drawing.svg(figure, "name", LIGHT)

    found = image()
    assert found == image()
    assert found.startswith('<svg viewBox="0 0 ')
    assert "a &lt;title&gt;" in found
    assert "and $more$" in found
    assert "var(--series-3)" in found
    assert not any(colour in found for colour in drawing.css_colours(LIGHT).values())
    assert "Matplotlib" not in found


def test_limits_hold_the_values_and_no_interval_that_is_far_longer() -> None:
    low, high = drawing.limits([0.8, 0.9], [0.75, 0.95])
    assert 0.7 < low < 0.75
    assert 0.95 < high < 1.0
    low, high = drawing.limits([0.8, 0.9], [-1.0, 3.0])
    assert 0.6 < low < 0.8
    assert 0.9 < high < 1.1


@pytest.mark.parametrize(("value", "text"), [(950, "950"), (20_000, "20 k"), (1.5e6, "1.5 M"), (2e9, "2 G")])
def test_a_large_number_is_short(value: float, text: str) -> None:
    assert drawing.short_number(value) == text
