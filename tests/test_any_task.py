"""Tasks of kinds that the library knows nothing of: they train, are judged, and can be stopped and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import own_tasks
import pytest
import torch
from torch import nn
from torchmetrics.classification import MulticlassJaccardIndex

import avil_ray as avil
from avil_ray.catalog import METHODS, build_method
from avil_ray.pools.crew import Slots
from avil_ray.pools.ray_pool import RayPool

RUN = {"rounds": 5, "steps_per_round": 3, "seed": 2}

SUITES: dict[str, Callable[[], avil.Suite]] = {
    "ground": own_tasks.dense,
    "depth": partial(own_tasks.dense, "depth"),
    "tags": own_tasks.reading,
    "kind": partial(own_tasks.reading, "kind"),
    "lists": own_tasks.table,
    "tensors": partial(own_tasks.table, "torch"),
    "arrays": partial(own_tasks.table, "numpy"),
    "drawing": partial(own_tasks.classes, target="drawing"),
    "counted": partial(own_tasks.classes, "counted"),
    "hugging": partial(own_tasks.classes, "hugging"),
}


class Stop(Exception):
    pass


def same(found: avil.Result, expected: avil.Result) -> None:
    assert found.theta.tobytes() == expected.theta.tobytes()
    assert found.test == expected.test


def stopped_and_resumed(suite: Callable[[], avil.Suite], method: avil.Method, folder: Path, **run: int) -> avil.Result:
    """A run that is killed after its first and its third round."""

    def stop(done: object) -> None:
        if getattr(done, "number", None) in (0, 2):
            raise Stop

    for _ in range(2):
        with pytest.raises(Stop):
            avil.train(suite(), method, **run, output=folder, resume=True, on_round=stop)
    return avil.train(suite(), method, **run, output=folder, resume=True)


@pytest.mark.parametrize("kind", SUITES)
def test_tasks_of_every_kind_train_and_resume_with_equal_bits(kind: str, tmp_path: Path) -> None:
    whole = avil.train(SUITES[kind](), avil.Equal(), **RUN)
    assert all(map(math.isfinite, whole.test.values()))
    losses = whole.history["train_loss/goal"]
    assert losses.iloc[1:].min() < losses.iloc[0]
    same(stopped_and_resumed(SUITES[kind], avil.Equal(), tmp_path, **RUN), whole)


def test_torchmetrics_and_functions_judge_as_they_do_outside() -> None:
    suite = own_tasks.dense()
    result = avil.train(suite, avil.Equal(), **RUN)
    held = suite.draw(RUN["seed"])["goal"].test
    pictures, targets = (torch.stack(column) for column in zip(*held, strict=True))
    with torch.no_grad():
        outputs = result.model()(pictures)
    metric = MulticlassJaccardIndex(3, ignore_index=own_tasks.IGNORED)
    assert result.test["MulticlassJaccardIndex"] == pytest.approx(float(metric(outputs, targets)))
    assert result.test["mean_size"] == pytest.approx(float(outputs.abs().mean()))
    assert result.test["loss"] == pytest.approx(float(own_tasks.ignoring(outputs, targets)), rel=1e-5)


def test_a_function_with_a_mode_chooses_the_round() -> None:
    result = avil.train(own_tasks.dense("depth"), avil.Equal(), **RUN)
    assert result.select == result.history["select/depth_error"].min()


def test_tags_are_judged_without_padding() -> None:
    suite = own_tasks.reading()
    result = avil.train(suite, avil.Equal(), **RUN)
    right = words = 0
    for item in suite.draw(RUN["seed"])["goal"].test:
        inputs, tags = own_tasks.padded([item])
        with torch.no_grad():
            right += int((result.model()(inputs).argmax(-1) == tags).sum())
        words += tags.numel()
    assert result.test["accuracy"] == right / words


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_datasets_and_streams_or_says_why_not(name: str) -> None:
    method = build_method(name, {"weights": {"aux": 0.5}} if name == "static" else {})
    suite = own_tasks.classes("stream")
    if name == "svd-reweighting":
        with pytest.raises(avil.UserError, match=r"needs avil_ray\.Examples with one label each"):
            avil.train(suite, method, **RUN)
        return
    assert math.isfinite(avil.train(suite, method, **RUN).test["loss"])


@pytest.mark.parametrize("auxiliary", ["stream", "hugging"])
def test_a_stream_resumes_where_it_was(auxiliary: str, tmp_path: Path) -> None:
    suite = partial(own_tasks.classes, auxiliary)
    whole = avil.train(suite(), avil.AlphaVIL(), **RUN)
    same(stopped_and_resumed(suite, avil.AlphaVIL(), tmp_path, **RUN), whole)


@pytest.mark.parametrize("processes", [0, 2])
def test_augmentation_and_drawing_items_repeat(processes: int, tmp_path: Path) -> None:
    suite = partial(own_tasks.classes, "drawing", "drawing", augment=own_tasks.noisy, loader_processes=processes)
    run = {**RUN, "rounds": 4 if processes else 6}
    whole = avil.train(suite(), avil.AlphaVIL(), **run)
    plain = partial(own_tasks.classes, "drawing", "drawing", augment=own_tasks.noisy)
    same(avil.train(plain(), avil.AlphaVIL(), **run), whole)
    same(stopped_and_resumed(suite, avil.AlphaVIL(), tmp_path, **run), whole)


@pytest.mark.parametrize("kind", ["augmented", *(pytest.param(kind, marks=pytest.mark.slow) for kind in SUITES)])
def test_on_ray_the_bits_are_the_same(ray_session: None, kind: str) -> None:
    if kind == "augmented":  # a stream beside it, and a loader process
        suite = own_tasks.classes("hugging", "drawing", augment=own_tasks.noisy, loader_processes=1)
    else:
        suite = SUITES[kind]()
    run = {**RUN, "rounds": 2}

    def workers() -> RayPool:
        return RayPool(avil.AlphaVIL().prepare(suite), RUN["seed"], 1, Slots(2, {"CPU": 0.5}))

    same(avil.train(suite, avil.AlphaVIL(), **run, pool=workers), avil.train(suite, avil.AlphaVIL(), **run))


def test_a_mistake_in_a_dataset_is_one_line_with_and_without_processes() -> None:
    class Broken(own_tasks.Drawing):
        def __getitem__(self, row: int) -> object:
            if row == 13:
                raise OSError("13.npy\nis not there")
            return super().__getitem__(row)

    said = []
    for processes in (0, 2):
        suite = own_tasks.suite(
            lambda seed: [
                avil.Task("goal", **own_tasks.parts(Broken(*own_tasks.points(0)))),
                avil.Task("aux", own_tasks.Drawing(*own_tasks.points(1))),
            ],
            own_tasks.classifier,
            loader_processes=processes,
        )
        with pytest.raises(avil.UserError, match=r"cannot be read: OSError: 13\.npy is not there") as error:
            avil.train(suite, avil.TargetOnly(), rounds=1, steps_per_round=9)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert "\n" not in said[0]


def test_scalar_losses_train_but_single_examples_cannot_be_weighed() -> None:
    suite = own_tasks.dense()
    avil.train(suite, avil.AlphaVIL(), rounds=1, steps_per_round=2)
    with pytest.raises(avil.UserError, match="this method weights single examples, but the loss is a mean"):
        avil.train(suite, build_method("aux-ts", {}), rounds=1, steps_per_round=2)


class Shaky:
    """An augmentation with a generator of its own."""

    def __init__(self) -> None:
        self.own = torch.Generator().manual_seed(1)

    def __call__(self, inputs: torch.Tensor, target: object) -> tuple[torch.Tensor, object]:
        return inputs + torch.randn(inputs.shape, generator=self.own), target


@pytest.mark.parametrize("auxiliary", ["dataset", "stream"])
def test_an_augmentation_with_a_generator_of_its_own_is_refused(auxiliary: str) -> None:
    def tasks(seed: int) -> list[avil.Task]:
        goal, other = own_tasks.pair(seed, auxiliary=auxiliary)
        return [goal, avil.Task("aux", other.train, augment=Shaky())]

    with pytest.raises(avil.UserError, match=r"task 'aux': .* data or their augmentation keep state"):
        avil.train(own_tasks.suite(tasks, own_tasks.classifier), avil.Equal(), **RUN)


def test_the_models_head_may_give_a_mapping() -> None:
    class Both(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
            return {"class": super().forward(inputs), "size": inputs.abs().mean(1)}

    def loss(outputs: dict[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs["class"], targets, reduction="none") + outputs["size"]

    def right(outputs: dict[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        return (outputs["class"].argmax(1) == targets).float().mean()

    def tasks(seed: int) -> list[avil.Task]:
        data = own_tasks.parts(own_tasks.Drawing(*own_tasks.points(seed)))
        return [
            avil.Task("goal", **data, loss=loss, metric=right, mode="max"),
            own_tasks.pair(1, auxiliary="stream")[1],
        ]

    def model() -> nn.Module:
        return avil.MultitaskModel(own_tasks.Trunk(), {"goal": Both(8, 3), "aux": nn.Linear(8, 3)})

    assert set(avil.train(own_tasks.suite(tasks, model), avil.Equal(), **RUN).test) == {"right", "loss"}
