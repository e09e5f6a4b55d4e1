"""The tables and the figure of `docs/explanation/scaling.md`, from what `benchmarks/scaling.py` has measured."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from avil_ray.reports.drawing import LIGHT, own_look

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FIGURE = DOCS / "explanation" / "scaling.md", DOCS / "figures" / "scaling.svg"

Point = Mapping[str, Any]

MODELS = {
    # parameters that train, and that are frozen; LoRA of rank 8 on queries and values, as peft places it
    "100M, full": (110e6, 0.0),
    "100M, LoRA": (12 * 2 * 8 * (768 + 768), 110e6),
    "1B, full": (1.24e9, 0.0),
    "1B, LoRA": (16 * 8 * (2048 + 2048 + 2048 + 512), 1.24e9),
    "8B, full": (8.03e9, 0.0),
    "8B, LoRA": (32 * 8 * (4096 + 4096 + 4096 + 1024), 8.03e9),
}
"""BERT-base; Llama 3.2 1B and Llama 3.1 8B."""
EXAMPLE_TASKS = EXAMPLE_WORKERS = 5
EXAMPLE_TRACKS = 2
LINKS = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}
"""Bytes a second of the networks that the example reckons with."""


def write_page(stored: Mapping[str, Any]) -> None:
    """Draw the figure, and put the tables of all parts that were measured between their marks in the page."""
    points = {part: found["points"] for part, found in stored.items()}
    makers = {"ray": ray_table, "moves": moves_table, "train": train_table, "size": size_table}
    makers |= {"teams": teams_table, "trials": trials_table, "check": check_table}
    tables = {
        name: make(points["ray" if name == "moves" else name]) for name, make in makers.items() if _there(name, points)
    }
    tables["memory"], tables["network"] = memory_table(), network_table(points.get("size", []))
    tables["where"] = "\n".join(f"- {part}: {found['where']}" for part, found in stored.items())
    text = PAGE.read_text()
    for name, table in tables.items():
        mark = f"<!-- measured: {name} -->"
        before, found, after = text.partition(mark)
        text = before + (f"{mark}\n{table}\n<!-- end -->{after.partition('<!-- end -->')[2]}" if found else "")
    PAGE.write_text(text)
    if {"ray", "train", "size", "trials"} <= set(points):
        FIGURE.write_bytes(figure(points))


def _there(name: str, points: Mapping[str, Any]) -> bool:
    return ("ray" if name == "moves" else name) in points


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table: the first column to the left, figures to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _of(points: Sequence[Point], **wanted: object) -> list[Point]:
    return [point for point in points if all(point[name] == value for name, value in wanted.items())]


def _pair(point: Point) -> str:
    """CPU seconds, and elapsed ones."""
    return f"{point['cpu']:.2f} ({point['wall']:.2f})"


def _kilo(size: float) -> str:
    return f"{size / 1e3:,.0f} kB"


def ray_table(points: Sequence[Point]) -> str:
    """Seconds of the driver by the number of workers."""
    head = ["workers", "equal: CPU (elapsed) s", "calls", "alpha-vil: CPU (elapsed) s", "calls"]
    sides = [_of(points, method=method) for method in ("equal", "alpha-vil")]
    rows = [
        [one["workers"], _pair(one), f"{one['calls']:,.0f}", _pair(two), f"{two['calls']:,.0f}"]
        for one, two in zip(*sides, strict=True)
    ]
    return _table(head, rows)


def moves_table(points: Sequence[Point]) -> str:
    """What a round moves in a `ray` pool."""
    head = [
        "method, workers",
        "vectors that workers read",
        "vectors that workers write",
        "small, to workers",
        "small, back",
    ]
    rows = [
        [
            f"{one['method']}, {one['workers']}",
            f"{one['vectors_to_workers']:.0f}",
            f"{one['vectors_to_driver']:.0f}",
            _kilo(one["to_workers"]),
            _kilo(one["to_driver"]),
        ]
        for one in points
        if one["workers"] in (8, 64, 256)
    ]
    return _table(head, rows)


def train_table(points: Sequence[Point]) -> str:
    """Seconds of the first rank by the number of ranks, and what it sends and receives."""
    head = ["method, ranks", "CPU (elapsed) s", "told to each rank", "sent by the first", "received by the first"]
    rows = []
    for one in points:
        told = one["sent"] / math.ceil(math.log2(one["workers"]))
        sizes = [_kilo(size) for size in (told, one["sent"], one["received"])]
        rows.append([f"{one['method']}, {one['workers']}", _pair(one), *sizes])
    return _table(head, rows)


def size_table(points: Sequence[Point]) -> str:
    """Seconds of the driver by the number of parameters, and vectors on the wire in `train`."""
    head = ["parameters", "ray, equal", "ray, alpha-vil", "train, equal", "train, alpha-vil"]
    sizes = sorted({point["size"] for point in points})
    pairs = [(pool, method) for pool in ("ray", "train") for method in ("equal", "alpha-vil")]
    rows = [
        [f"{size:,}", *(_pair(_of(points, pool=pool, method=method, size=size)[0]) for pool, method in pairs)]
        for size in sizes
    ]
    largest = [_of(points, pool="train", method=method, size=sizes[-1])[0] for method in ("equal", "alpha-vil")]
    for name, share in (("told to each rank", 3), ("received by the first rank", 1)):
        key = "sent" if share == 3 else "received"
        vectors = [f"{one[key] / share / 4 / one['size']:.1f}" for one in largest]
        rows.append([f"vectors {name}, at {sizes[-1]:,}", "", "", *vectors])
    return _table(head, rows)


def teams_table(points: Sequence[Point]) -> str:
    """Vectors between workers in a step."""
    head = ["workers on one assignment", "vectors received by one of them", "by all together"]
    return _table(head, [[one["members"], one["most"], one["all"]] for one in points])


def trials_table(points: Sequence[Point]) -> str:
    """Rounds a second that a sweep takes."""
    head = ["concurrent trials", "rounds a second", "CPU of the sweep's process, ms a round"]
    return _table(head, [[one["trials"], f"{one['rate']:.0f}", f"{1000 * one['cpu']:.1f}"] for one in points])


def check_table(points: Sequence[Point]) -> str:
    """Simulated workers beside real ones."""
    head = ["method", "simulated: CPU s", "real: CPU s"]
    pairs = [
        [_of(points, method=method, pool=pool)[0] for pool in ("ray", "ray, real")] for method in ("equal", "alpha-vil")
    ]
    return _table(head, [[one["method"], f"{one['cpu']:.3f}", f"{two['cpu']:.3f}"] for one, two in pairs])


def _bytes(size: float) -> str:
    unit, name = next((pair for pair in ((1e9, "GB"), (1e6, "MB")) if size >= pair[0]), (1e3, "kB"))
    return f"{size / unit:.3g} {name}"


def memory_table() -> str:
    """Memory of an αVIL trial of five tasks on five workers."""
    head = ["model", "one vector", "driver", "a worker", "object stores, together"]
    rows = []
    for name, (trained, frozen) in MODELS.items():
        vector, base = 4 * trained, 4 * frozen
        driver = (3 * EXAMPLE_TRACKS + 2) * vector + base
        store = (EXAMPLE_TASKS + EXAMPLE_TRACKS) * vector
        rows.append([name, *map(_bytes, (vector, driver, 6 * vector + base, store))])
    return _table(head, rows)


def network_table(points: Sequence[Point]) -> str:
    """What a round that fits α brings to each node and to the driver, and how long that takes."""
    links = [f"{name}: seconds" for name in LINKS]
    head = ["model", "to each node", "to the driver", *links, "driver's own passes: CPU s"]
    each = _per_parameter(points)
    rows = []
    for name, (trained, _) in MODELS.items():
        vector = 4 * trained
        node, driver = (EXAMPLE_TASKS + 1) * vector, EXAMPLE_TASKS * vector
        times = [f"{driver / speed + node / speed:.2g}" for speed in LINKS.values()]
        rows.append([name, _bytes(node), _bytes(driver), *times, "" if each is None else f"{each * trained:.2g}"])
    return _table(head, rows)


def _per_parameter(points: Sequence[Point]) -> float | None:
    """CPU seconds of the driver for each parameter and round of the example, from the two largest sizes."""
    found = sorted(_of(points, pool="ray", method="alpha-vil"), key=lambda point: point["size"])
    if len(found) < 2:
        return None
    one, two = found[-2:]
    return float((two["cpu"] - one["cpu"]) / (two["size"] - one["size"])) * EXAMPLE_TASKS / 8


def figure(points: Mapping[str, Sequence[Point]]) -> bytes:
    """Three panels as SVG: by workers, by parameters, by concurrent trials."""
    with own_look():
        drawn = Figure(figsize=(10, 3.6), facecolor=LIGHT.paper)
        FigureCanvasSVG(drawn)
        by_workers, by_size, by_trials = drawn.subplots(1, 3)
        lines = [(pool, method) for pool in ("ray", "train") for method in ("equal", "alpha-vil")]
        for colour, (pool, method) in zip(LIGHT.series, lines, strict=False):
            look = {"color": colour, "marker": "o", "markersize": 3.5, "label": f"{pool}, {method}"}
            part = points[pool]
            for axes, key, found in ((by_workers, "workers", part), (by_size, "size", points["size"])):
                shown = _of(found, pool=pool, method=method)
                axes.plot([one[key] for one in shown], [one["cpu"] for one in shown], **look)
        rates = points["trials"]
        by_trials.plot(
            [one["trials"] for one in rates], [one["rate"] for one in rates], color=LIGHT.series[4], marker="o"
        )
        by_trials.set_ylim(0)
        _dress(by_workers, "workers", "driver's CPU seconds a round", log="both")
        _dress(by_size, "parameters, 8 workers", "", log="both")
        _dress(by_trials, "concurrent trials", "rounds a second of a sweep", log="x")
        by_workers.legend(frameon=False, fontsize=8)
        drawn.tight_layout()
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _dress(axes: Axes, x: str, y: str, *, log: str) -> None:
    """Names, scales and a grid."""
    axes.set_xscale("log", base=2 if "parameters" not in x else 10)
    if log == "both":
        axes.set_yscale("log")
    axes.set_xlabel(x, color=LIGHT.muted, fontsize=9)
    axes.set_ylabel(y, color=LIGHT.muted, fontsize=9)
    axes.grid(visible=True, color=LIGHT.grid, linewidth=0.8)
    axes.tick_params(colors=LIGHT.muted, labelsize=8)
