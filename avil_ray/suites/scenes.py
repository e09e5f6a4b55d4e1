"""Rendered scenes, with exactly known class, depth and surface normal at each pixel.

A few bodies in front of a tilted wall, seen in parallel projection, lit by one lamp, in light fog. Colours are random,
so classes must be recognised by shape and shading, like normals; fog indicates depth. Tasks are thus related, but none
is equivalent to another.

Coordinates: x to the right and y down, from -1 to 1 across the image; depth away from the viewer. A normal's third
component points to the viewer, so it is (dz/dx, dz/dy, 1) scaled to length 1, where z is the depth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avil_ray.errors import whole
from avil_ray.models.dense import Kind, dense_model
from avil_ray.randomness import numpy_generator
from avil_ray.suites.dense_objectives import objectives
from avil_ray.suites.options import Sizes, auxiliary_names, checked_sizes
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

Floats = npt.NDArray[np.float32]

NOISE = "noise"
"""Segmentation with random classes, an auxiliary only on request."""

KINDS: dict[str, Kind] = {"segmentation": "segmentation", "depth": "depth", "normals": "normals", NOISE: "segmentation"}
"""Task -> its kind of output."""

CLASSES = 4
"""The wall (0), spheres, boxes and cones."""

BODIES = 2
"""The number of bodies in a scene."""

GRAIN = 0.03
"""The standard deviation of a pixel's noise."""

AMBIENT = 0.2
"""Ambient light."""

FOG, FOG_COLOUR = 0.8, (0.1, 0.2, 0.6)
"""The fog's density with depth, and its colour."""

CHUNK = 256
"""The number of scenes rendered together, to limit memory."""


def scenes(
    *,
    target: str = "segmentation",
    auxiliaries: Sequence[str] | None = None,
    target_labels: int | None = None,
    auxiliary_labels: int | None = None,
    dev_fraction: float = 1 / 3,
    size: int = 24,
    width: int = 16,
    train: int = 600,
    select: int = 150,
    test: int = 300,
) -> Suite:
    """Rendered scenes of spheres, boxes and cones: segmentation, depth and surface normals of each pixel.

    Parameters
    ----------
    target
        The target task: segmentation, depth, normals or noise (random classes).
    auxiliaries
        The tasks that may help it. Default: all the others but noise.
    target_labels
        How many labelled scenes the target has, train and dev together, up to `train`. Default: `train`.
    auxiliary_labels
        How many labelled scenes each auxiliary has, up to `train`. Default: `train`.
    dev_fraction
        The fraction of the target's labelled scenes used as its dev split, above 0 and below 1.
    size
        Height and width of the images in pixels, 16 to 256.
    width
        Channels of the trunk at full resolution; two and four times as many at lower ones.
    train
        The number of training scenes, shared by all tasks.
    select
        The number of scenes for choosing the best round and configuration.
    test
        The number of test scenes, used once after selection.

    Raises
    ------
    UserError
        A task is unknown, or a number is out of range.
    """
    usual = [task for task in KINDS if task != NOISE]
    names = (target, *auxiliary_names("scenes", target, auxiliaries, KINDS, usual))
    sizes = checked_sizes(
        "scenes",
        target_labels=target_labels,
        auxiliary_labels=auxiliary_labels,
        dev_fraction=dev_fraction,
        train=train,
        select=select,
        test=test,
    )
    whole("scenes: size", size, 16, 256)
    whole("scenes: width", width, 1)
    return Suite(
        name="scenes",
        target=target,
        task_names=names,
        tasks=partial(draw, names=names, size=size, sizes=sizes),
        model=partial(dense_model, {name: KINDS[name] for name in names}, CLASSES, width),
        learning=Learning(optimizer="adamw", learning_rate=5e-3, batch_size=16),
        options={"target": target, "auxiliaries": list(names[1:]), "size": size, "width": width, **asdict(sizes)},
    )


def draw(seed: int, *, names: Sequence[str], size: int, sizes: Sizes) -> list[Task]:
    """The tasks' data for one seed, the target's first. All tasks share their train images, in the same order."""
    target, *auxiliaries = names
    counts = {"train": sizes.target_train, "dev": sizes.dev, "select": sizes.select, "test": sizes.test}
    drawn = {split: draw_scenes(seed, split, count, size) for split, count in (counts | {"train": sizes.train}).items()}

    def task(name: str, **counts: int) -> Task:
        splits = {split: drawn[split].examples(name, seed, split, count) for split, count in counts.items()}
        arguments: dict[str, Any] = {**splits, **objectives(KINDS[name])}
        return Task(name, **arguments)

    return [task(target, **counts), *(task(name, train=sizes.auxiliary_labels) for name in auxiliaries)]


@dataclass(frozen=True)
class Scenes:
    """N scenes: images [N, 3, H, W] from about 0 to 1, and each task's labels for every pixel."""

    images: Tensor
    answers: Mapping[Kind, Tensor]

    def examples(self, task: str, seed: int, split: str, count: int) -> Examples:
        """The first `count` scenes with the labels of a task."""
        answers = self.answers[KINDS[task]][:count]
        if task == NOISE:
            random = numpy_generator(seed, "scenes", NOISE, split).integers(CLASSES, size=answers.shape)
            answers = torch.from_numpy(random)
        return Examples(self.images[:count], answers)


def draw_scenes(seed: int, split: str, count: int, size: int) -> Scenes:
    """Scenes for a seed and split; fewer scenes are the first ones of a larger set.

    Parameters
    ----------
    size
        Height and width in pixels. Scenes at another size differ only in image noise.
    """
    purpose = ("scenes", split)
    walls = numpy_generator(seed, *purpose, "walls").random((count, 8), dtype=np.float32)
    bodies = numpy_generator(seed, *purpose, "bodies").random((count, BODIES, 11), dtype=np.float32)
    lamps = numpy_generator(seed, *purpose, "lamps").random((count, 2), dtype=np.float32)
    grains = numpy_generator(seed, *purpose, "grain", size)
    parts = []
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        view = stand(walls[part], bodies[part], size)
        grain = grains.standard_normal(view.colours.shape, dtype=np.float32)
        parts.append((light(view, lamps[part]) + GRAIN * grain, view.classes, view.depth[..., None], view.normals))

    def maps(number: int) -> Tensor:
        return torch.from_numpy(np.concatenate([one[number] for one in parts]).reshape(count, size, size, -1))

    def channels_first(number: int) -> Tensor:
        return maps(number).movedim(-1, 1).contiguous()

    answers: dict[Kind, Tensor] = {
        "segmentation": maps(1)[..., 0],
        "depth": channels_first(2),
        "normals": channels_first(3),
    }
    return Scenes(channels_first(0), answers)


@dataclass
class View:
    """The nearest surface in N scenes at each of P pixels."""

    depth: Floats
    """[N, P]."""
    normals: Floats
    """[N, P, 3]."""
    classes: npt.NDArray[np.int64]
    """[N, P]."""
    colours: Floats
    """[N, P, 3]."""

    def add(self, depth: Floats, normals: Floats, kinds: npt.NDArray[np.int64], colours: Floats) -> None:
        """Add a body to each scene, with kinds [N] and colours [N, 3]; depth is infinite where it is not."""
        nearer = depth < self.depth
        self.depth = np.where(nearer, depth, self.depth)
        self.classes = np.where(nearer, kinds[:, None], self.classes)
        self.normals = np.where(nearer[..., None], normals, self.normals)
        self.colours = np.where(nearer[..., None], colours[:, None], self.colours)


def stand(walls: Floats, bodies: Floats, size: int) -> View:
    """The view of N scenes at size x size pixels.

    Parameters
    ----------
    walls, bodies
        Numbers from 0 to 1 that parametrise them: [N, 8] and [N, BODIES, 11].
    """
    centres = (np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1
    y, x = (grid.ravel()[None] for grid in np.meshgrid(centres, centres, indexing="ij"))
    away, slope_x, slope_y = 2 + walls[:, :1], *(walls[:, 1:3].T[..., None] - 0.5)
    depth = away + slope_x * x + slope_y * y
    normals = _unit(np.broadcast_to(slope_x, depth.shape), np.broadcast_to(slope_y, depth.shape))
    colours = np.broadcast_to(_colours(walls[:, None, 3:6]), normals.shape)
    view = View(depth, normals, np.zeros(depth.shape, dtype=np.int64), colours)
    for body in bodies.transpose(1, 0, 2):
        radius = 0.25 + 0.3 * body[:, :1]
        middle_x, middle_y = (1.6 * body[:, 1:3] - 0.8).T[..., None]
        behind = away + slope_x * middle_x + slope_y * middle_y
        seen = [form(x - middle_x, y - middle_y, radius, body[:, 3:6]) for form in (_sphere, _box, _cone)]
        kinds = np.minimum((3 * body[:, 6]).astype(np.int64), 2)
        rows = np.arange(len(body))
        heights, bodys_normals = (np.stack(one)[kinds, rows] for one in zip(*seen, strict=True))
        view.add(behind - 0.5 * body[:, 7:8] - heights, bodys_normals, kinds + 1, _colours(body[:, 8:11]))
    return view


def light(view: View, lamps: Floats) -> Floats:
    """The images [N, P, 3] of scenes under lamps [N, 2], given by numbers from 0 to 1 for their positions."""
    towards = np.concatenate([0.8 * lamps - 0.9, np.ones_like(lamps[:, :1])], axis=1)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    direct = np.maximum(np.einsum("npc,nc->np", view.normals, towards), 0)
    lit = view.colours * (AMBIENT + (1 - AMBIENT) * direct)[..., None]
    clear = np.exp(-FOG * (view.depth - 1))[..., None]
    return np.asarray(clear * lit + (1 - clear) * np.array(FOG_COLOUR, dtype=np.float32))


def _colours(numbers: Floats) -> Floats:
    """Bright colours, distinct from the fog's."""
    return 0.6 + 0.4 * numbers


def _unit(slope_x: Floats, slope_y: Floats) -> Floats:
    """The normals [N, P, 3] of a surface with these slopes of depth to the right and down."""
    normals = np.stack([slope_x, slope_y, np.ones_like(slope_x)], axis=-1)
    return np.asarray(normals / np.linalg.norm(normals, axis=-1, keepdims=True))


# A shape function receives the pixels' positions relative to its centre, x and y [N, P], its radius [N, 1] and three
# numbers from 0 to 1 [N, 3] for its rotation or form. It returns its height above the centre [N, P], minus infinity
# outside it, and its normals [N, P, 3].


def _sphere(x: Floats, y: Floats, radius: Floats, shape: Floats) -> tuple[Floats, Floats]:
    height = np.sqrt(np.maximum(radius**2 - x**2 - y**2, 1e-6))
    there = x**2 + y**2 < radius**2
    return np.where(there, height, -np.inf), _unit(x / height, y / height)


def _cone(x: Floats, y: Floats, radius: Floats, shape: Floats) -> tuple[Floats, Floats]:
    distance = np.sqrt(x**2 + y**2)
    steepness = 0.6 + 0.9 * shape[:, :1]
    height = steepness * (radius - distance)
    outwards = steepness / np.maximum(distance, 1e-6)
    return np.where(distance < radius, height, -np.inf), _unit(outwards * x, outwards * y)


def _box(x: Floats, y: Floats, radius: Floats, shape: Floats) -> tuple[Floats, Floats]:
    """A rotated cube: a ray first crosses the planes of the three nearer faces, and enters at the last of them."""
    turned = _rotations(shape)
    half = (radius / np.sqrt(1.5).astype(np.float32))[..., None]
    # in the cube's coordinates: each ray's position at the height of the centre, and its direction to the viewer
    places = np.stack([x, y, np.zeros_like(x + y)], axis=-1) @ turned
    runs = turned[:, 2][:, None]
    runs = np.where(np.abs(runs) < 1e-6, 1e-6, runs).astype(np.float32)
    far, near = (-half - places) / runs, (half - places) / runs
    enter, leave = np.maximum(far, near), np.minimum(far, near)
    height = enter.min(axis=-1)
    faces = enter.argmin(axis=-1)
    signs = np.sign(runs)[:, 0]
    normals = np.swapaxes(turned * signs[:, None], 1, 2)[np.arange(len(x))[:, None], faces]
    there = height > leave.max(axis=-1)
    return np.where(there, height, -np.inf), normals


def _rotations(shape: Floats) -> Floats:
    """Rotations [N, 3, 3] by three angles: around the viewing direction, then forwards, then around it again."""
    first, tilt, last = (shape * np.array([2 * np.pi, 0.3 * np.pi, 2 * np.pi], dtype=np.float32)).T
    zeros, ones = np.zeros_like(first), np.ones_like(first)

    def about_view(angle: Floats) -> Floats:
        c, s = np.cos(angle), np.sin(angle)
        return np.stack([c, -s, zeros, s, c, zeros, zeros, zeros, ones], axis=-1).reshape(-1, 3, 3)

    c, s = np.cos(tilt), np.sin(tilt)
    forwards = np.stack([ones, zeros, zeros, zeros, c, -s, zeros, s, c], axis=-1).reshape(-1, 3, 3)
    return np.asarray(about_view(first) @ forwards @ about_view(last))
