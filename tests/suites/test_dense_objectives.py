"""Losses and metrics of dense tasks against plain loops over pixels."""

import copy
import math
import pickle
from collections.abc import Callable
from statistics import mean, median

import pytest
import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.suites.dense_objectives import (
    AbsoluteError,
    DepthLoss,
    MeanAngle,
    MedianAngle,
    NormalsLoss,
    RelativeError,
    WithinAngle,
    objectives,
)
from avil_ray.tasks.metrics import find_measure

KINDS = ("segmentation", "depth", "normals")
METRICS = [AbsoluteError(), RelativeError(), MeanAngle(), MedianAngle(), WithinAngle(22.5)]
Pixels = list[tuple[list[float], list[float]]]


def batch(kind: str, examples: int = 4, side: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Outputs and targets in float64 with a third of the pixels unknown."""
    g = torch.Generator().manual_seed(seed)
    unknown = torch.rand(examples, side, side, generator=g) < 1 / 3
    if kind == "segmentation":
        targets = torch.randint(5, (examples, side, side), generator=g)
        return torch.randn(examples, 5, side, side, dtype=torch.float64, generator=g), targets.masked_fill(unknown, -1)
    channels = 1 if kind == "depth" else 3
    outputs = torch.randn(examples, channels, side, side, dtype=torch.float64, generator=g)
    targets = outputs + 0.7 * torch.randn(outputs.shape, dtype=torch.float64, generator=g)
    targets = targets.abs() + 0.1 if kind == "depth" else targets / targets.norm(dim=1, keepdim=True)
    return outputs, targets.masked_fill(unknown[:, None], 0)


def kind_of(metric: object) -> str:
    every = {kind: [objectives(kind)["metric"], *objectives(kind)["also"]] for kind in ("depth", "normals")}
    return next(kind for kind, metrics in every.items() if type(metric) in map(type, metrics))


def pixels(outputs: Tensor, targets: Tensor) -> Pixels:
    """The known pixels as lists of numbers."""
    if targets.ndim == 3:
        targets = targets[:, None]
    rows = zip(
        outputs.movedim(1, -1).flatten(0, 2).tolist(), targets.movedim(1, -1).flatten(0, 2).tolist(), strict=True
    )
    segmentation = not targets.is_floating_point()
    return [(output, target) for output, target in rows if (target != [-1] if segmentation else any(target))]


def angle(output: list[float], target: list[float]) -> float:
    dot = math.sumprod(output, target) if hasattr(math, "sumprod") else sum(map(float.__mul__, output, target))
    return math.degrees(math.acos(max(-1.0, min(1.0, dot / math.hypot(*output) / math.hypot(*target)))))


def cross_entropy(output: list[float], target: list[float]) -> float:
    return math.log(sum(map(math.exp, output))) - output[int(target[0])]


def right(output: list[float], target: list[float]) -> bool:
    return output.index(max(output)) == target[0]


REFERENCES: dict[str, Callable[[Pixels], float]] = {
    "pixel_accuracy": lambda found: mean(float(right(*pair)) for pair in found),
    "absolute_error": lambda found: mean(abs(output[0] - target[0]) for output, target in found),
    "relative_error": lambda found: mean(abs(output[0] - target[0]) / target[0] for output, target in found),
    "mean_angle": lambda found: mean(angle(*pair) for pair in found),
    "median_angle": lambda found: median(angle(*pair) for pair in found),
    "within_22_5": lambda found: mean(float(angle(*pair) < 22.5) for pair in found),
}


def miou(found: Pixels, classes: int = 5) -> float:
    pairs = [(output.index(max(output)), int(target[0])) for output, target in found]
    shares = []
    for one in range(classes):
        either = sum(one in pair for pair in pairs)
        if either:
            shares.append(sum(pair == (one, one) for pair in pairs) / either)
    return mean(shares)


@pytest.mark.parametrize(
    ("kind", "loss", "one"),
    [
        ("segmentation", objectives("segmentation")["loss"], cross_entropy),
        ("depth", DepthLoss(), lambda output, target: abs(output[0] - target[0])),
        ("normals", NormalsLoss(), lambda output, target: 1 - math.cos(math.radians(angle(output, target)))),
    ],
)
def test_a_loss_is_the_mean_over_each_examples_known_pixels(kind, loss, one) -> None:
    outputs, targets = batch(kind)
    targets[2] = -1 if kind == "segmentation" else 0
    losses = loss(outputs, targets)
    for example in (0, 1, 3):
        found = pixels(outputs[example : example + 1], targets[example : example + 1])
        assert losses[example].item() == pytest.approx(mean(one(*pair) for pair in found), rel=1e-12)
    assert losses[2] == 0, "nothing is known of this one"


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_pixels_have_no_gradient_and_known_ones_have(kind: str) -> None:
    outputs, targets = batch(kind)
    targets[2] = -1 if kind == "segmentation" else 0
    outputs.requires_grad_()
    objectives(kind)["loss"](outputs, targets).sum().backward()
    known = (targets != -1) if kind == "segmentation" else (targets != 0).any(dim=1)
    moved = (outputs.grad != 0).any(dim=1)
    assert torch.equal(moved, known)


@pytest.mark.parametrize("kind", KINDS)
def test_a_losss_gradient_is_right(kind: str) -> None:
    outputs, targets = batch(kind, examples=2, side=3)
    loss = objectives(kind)["loss"]
    assert torch.autograd.gradcheck(lambda given: loss(given, targets), outputs.requires_grad_())


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_half_precision_are_float32(kind: str) -> None:
    outputs, targets = batch(kind)
    targets = targets.float() if targets.is_floating_point() else targets
    loss = objectives(kind)["loss"]
    losses = loss(outputs.bfloat16(), targets)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, loss(outputs.bfloat16().float(), targets))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_what_a_loop_over_pixels_finds_however_batches_are_cut(metric) -> None:
    outputs, targets = batch(kind_of(metric), examples=7)
    expected = REFERENCES[metric.name](pixels(outputs, targets))
    exact = 0.005 if metric.name == "median_angle" else 1e-9
    for sizes in ([7], [3, 4], [1] * 7):
        metric.reset()
        for part in zip(outputs.split(sizes), targets.split(sizes), strict=True):
            metric.update(*part)
        assert metric.compute() == pytest.approx(expected, abs=exact)


@pytest.mark.parametrize(("name", "reference"), [("miou", miou), ("pixel_accuracy", REFERENCES["pixel_accuracy"])])
def test_segmentations_metrics_are_what_a_loop_over_pixels_finds(name: str, reference: object) -> None:
    outputs, targets = batch("segmentation", examples=7)
    found = objectives("segmentation")
    assert name in (found["metric"], *found["also"])
    metric = find_measure(name, None, found["loss"], "a task").make()
    for part in zip(outputs.split([3, 4]), targets.split([3, 4]), strict=True):
        metric.update(*part)
    assert metric.compute() == pytest.approx(reference(pixels(outputs, targets)), abs=1e-9)


def test_the_median_of_an_even_number_of_angles_is_the_mean_of_the_middle_two() -> None:
    metric = MedianAngle()
    degrees = torch.tensor([10.0, 20.0, 50.0, 170.0], dtype=torch.float64).deg2rad()
    outputs = torch.stack([degrees.cos(), degrees.sin(), 0 * degrees])[None, :, None]
    targets = torch.zeros_like(outputs)
    targets[:, 0] = 1
    metric.update(outputs, targets)
    assert metric.compute() == pytest.approx(35, abs=0.01)


def test_small_angles_are_not_lost_in_float32() -> None:
    metric = MeanAngle()
    small = torch.tensor(0.01).deg2rad()
    metric.update(
        torch.stack([small.cos(), small.sin(), 0 * small])[None, :, None, None], torch.eye(3)[:1, :, None, None]
    )
    assert metric.compute() == pytest.approx(0.01, rel=0.01)


def test_a_vector_whose_numbers_add_up_to_0_is_known() -> None:
    targets = torch.tensor([1.0, -1.0, 0.0])[None, :, None, None] / math.sqrt(2)
    assert NormalsLoss()(-targets, targets).tolist() == pytest.approx([2.0])


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_no_known_pixel_is_one_line(metric) -> None:
    outputs, targets = batch(kind_of(metric))
    metric.reset()
    metric.update(outputs, torch.zeros_like(targets))
    with pytest.raises(UserError, match=f"^metric {metric.name}: no pixel of the split has a known target; "):
        metric.compute()


@pytest.mark.parametrize("kind", KINDS)
def test_objectives_travel_and_keep_their_names(kind: str) -> None:
    found = objectives(kind)
    names = [getattr(metric, "name", metric) for metric in (found["metric"], *found["also"])]
    assert len(set(names)) == len(names)
    assert "0x" not in repr(found)
    again = pickle.loads(pickle.dumps(found))
    assert (again, repr(again)) == (found, repr(found))


def test_a_copy_and_a_fresh_metric_say_the_same_of_themselves_and_share_nothing() -> None:
    for metric in (*METRICS, WithinAngle(30)):
        metric.reset()
        used = copy.deepcopy(metric)
        used.update(*batch(kind_of(metric)))
        assert repr(used) == repr(metric)
        with pytest.raises(UserError):
            metric.compute()


def test_which_way_is_better() -> None:
    better = {type(metric).__name__: metric.higher_is_better for metric in METRICS}
    assert {name for name, higher in better.items() if higher} == {"WithinAngle"}
    assert [WithinAngle(degrees).name for degrees in (11.25, 30)] == ["within_11_25", "within_30"]
