"""Factories as users write them, from PyTorch's and other people's classes; runs in other processes import them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset
from torchmetrics.classification import MulticlassJaccardIndex

import avil_ray as avil

torch.set_num_threads(1)  # on tensors this small more threads only wait for each other

WIDTH, HIDDEN, CLASSES = 5, 8, 3
PARTS = {"train": range(24), "dev": range(24, 36), "select": range(36, 56), "test": range(56, 76)}
COUNT = 76


def points(seed: int) -> tuple[Tensor, Tensor]:
    """Inputs and their classes, which a model can learn."""
    inputs = torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :CLASSES].argmax(1)


def parts(dataset: Any) -> dict[str, Any]:
    """The four splits of a dataset."""
    return {name: Subset(dataset, list(rows)) for name, rows in PARTS.items()}


class Drawing(Dataset[Any]):
    """Reading an item draws from all three global generators."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, row: int) -> Any:
        drawn = float(torch.rand(())) + np.random.rand() + random.random()  # noqa: NPY002
        return self.inputs[row] + 0.1 * drawn, int(self.targets[row])


class Endless(IterableDataset[Any]):
    """A stream whose passes have an order of their own, which is drawn from a global generator."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __iter__(self) -> Iterator[Any]:
        order = torch.randperm(len(self.inputs)).tolist()
        return ((self.inputs[row], int(self.targets[row])) for row in order)


class Counted(Endless):
    """A stream that knows its length."""

    def __len__(self) -> int:
        return len(self.inputs)


def noisy(inputs: Tensor, target: Any) -> tuple[Tensor, Any]:
    return inputs + 0.1 * torch.randn(inputs.shape) + 0.1 * random.random() * np.random.rand(), target  # noqa: NPY002


AUXILIARIES: Mapping[str, Callable[[Tensor, Tensor], Any]] = {
    "dataset": TensorDataset,
    "drawing": Drawing,
    "stream": Endless,
    "counted": Counted,
    "hugging": lambda inputs, targets: datasets.IterableDataset.from_generator(
        rows_of, gen_kwargs={"inputs": inputs, "targets": targets}
    ),
}


def rows_of(inputs: Tensor, targets: Tensor) -> Iterator[dict[str, Any]]:
    for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        yield {"x": row, "label": target}


class Trunk(nn.Module):
    """A trunk that takes a tensor, or a mapping with one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, HIDDEN)

    def forward(self, inputs: Any) -> Tensor:
        return torch.tanh(self.layer(inputs["x"] if isinstance(inputs, Mapping) else inputs))


def classifier() -> nn.Module:
    return avil.MultitaskModel(Trunk(), {name: nn.Linear(HIDDEN, CLASSES) for name in ("goal", "aux")})


def pair(seed: int, *, auxiliary: str, target: str = "dataset", augment: Any = None) -> list[avil.Task]:
    goal = parts(AUXILIARIES[target](*points(seed)))
    return [avil.Task("goal", **goal, augment=augment), avil.Task("aux", AUXILIARIES[auxiliary](*points(seed + 1)))]


def classes(auxiliary: str = "dataset", target: str = "dataset", augment: Any = None, **learning: Any) -> avil.Suite:
    """Two classifications on datasets, the auxiliary's of a kind from `AUXILIARIES`."""
    tasks = partial(pair, auxiliary=auxiliary, target=target, augment=augment)
    return suite(tasks, classifier, **learning)


def suite(tasks: Any, model: Callable[[], nn.Module], **learning: Any) -> avil.Suite:
    return avil.Suite(
        name="own",
        target="goal",
        task_names=("goal", "aux"),
        tasks=tasks,
        model=model,
        learning=avil.Learning(**{"batch_size": 4, "learning_rate": 0.05, **learning}),
    )


# dense prediction: which of three kinds of ground, and how far away, for each pixel

SIDE, IGNORED = 6, 255


class Pictures(Dataset[Any]):
    """Pictures [3, SIDE, SIDE] with a class or a depth for each pixel; some pixels are of no class."""

    def __init__(self, seed: int, kind: str) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.pictures, self.kind = torch.rand(COUNT, 3, SIDE, SIDE, generator=generator), kind

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, row: int) -> Any:
        picture = self.pictures[row]
        if self.kind == "depth":
            return picture, {"depth": picture.mean(0), "valid": picture[0] > 0.2}
        classes = picture.argmax(0)
        classes[0, 0] = IGNORED
        return picture, classes


def ignoring(outputs: Tensor, targets: Tensor) -> Tensor:
    """One number for the batch."""
    return F.cross_entropy(outputs, targets, ignore_index=IGNORED)


def depth_loss(outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
    error = (outputs[:, 0] - targets["depth"]).abs() * targets["valid"]
    return error.flatten(1).sum(1) / targets["valid"].flatten(1).sum(1)


def depth_error(outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
    return ((outputs[:, 0] - targets["depth"]).abs() / (targets["depth"] + 0.1))[targets["valid"]].mean()


def dense_tasks(seed: int, *, target: str) -> list[avil.Task]:
    ground = {"loss": ignoring, "metric": MulticlassJaccardIndex(3, ignore_index=IGNORED)}
    depth = {"loss": depth_loss, "metric": depth_error, "mode": "min"}
    kinds = {"ground": ground, "depth": depth}
    other = "depth" if target == "ground" else "ground"
    return [
        avil.Task("goal", **parts(Pictures(seed, target)), **kinds[target], also=(mean_size,)),
        avil.Task("aux", Pictures(seed + 1, other), **kinds[other]),
    ]


def mean_size(outputs: Tensor, targets: Any) -> float:
    return float(outputs.abs().mean())


def dense_model(*, target: str) -> nn.Module:
    heads = {"ground": nn.Conv2d(HIDDEN, 3, 1), "depth": nn.Conv2d(HIDDEN, 1, 1)}
    other = "depth" if target == "ground" else "ground"
    trunk = nn.Sequential(nn.Conv2d(3, HIDDEN, 3, padding=1), nn.ReLU())
    return avil.MultitaskModel(trunk, {"goal": heads[target], "aux": heads[other]})


def dense(target: str = "ground", **learning: Any) -> avil.Suite:
    return suite(partial(dense_tasks, target=target), partial(dense_model, target=target), **learning)


# tagging beside classification: sentences of different lengths


class Sentences(Dataset[Any]):
    """Words as lists, and a tag for each, or a class for all of them."""

    def __init__(self, seed: int, *, tags: bool) -> None:
        self.generator_seed, self.tags = seed, tags

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, row: int) -> Any:
        generator = np.random.default_rng([self.generator_seed, row])
        words = generator.integers(1, 20, size=generator.integers(2, 9))
        label = (words % 4).tolist() if self.tags else int(words.sum() % 2)
        return {"words": words.tolist(), "label": label}


def padded(items: list[dict[str, Any]]) -> tuple[dict[str, Tensor], Tensor]:
    """A batch as wide as its longest sentence: what is no word has the tag -100."""
    longest = max(len(item["words"]) for item in items)
    words = torch.tensor([item["words"] + [0] * (longest - len(item["words"])) for item in items])
    labels = [item["label"] for item in items]
    if isinstance(labels[0], list):
        labels = [label + [-100] * (longest - len(label)) for label in labels]
    return {"words": words, "mask": words > 0}, torch.tensor(labels)


class Reader(nn.Module):
    """Words -> a vector for each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, HIDDEN)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        vectors: Tensor = self.embedding(inputs["words"]) * inputs["mask"][..., None]
        return vectors


class Whole(nn.Linear):
    """A head on the mean of a sentence's words."""

    def forward(self, vectors: Tensor) -> Tensor:
        return super().forward(vectors.mean(1))


def reading_tasks(seed: int, *, target: str) -> list[avil.Task]:
    tagging = {"loss": "token_cross_entropy", "metric": "accuracy", "also": ("f1_macro",)}
    kinds: dict[str, dict[str, Any]] = {"tags": tagging, "kind": {}}
    other = "kind" if target == "tags" else "tags"
    goal = parts(Sentences(seed, tags=target == "tags"))
    auxiliary = Sentences(seed + 1, tags=other == "tags")
    return [
        avil.Task("goal", **goal, **kinds[target], collate=padded),
        avil.Task("aux", auxiliary, **kinds[other], collate=padded),
    ]


def reading_model(*, target: str) -> nn.Module:
    tags, kind = nn.Linear(HIDDEN, 4), Whole(HIDDEN, 2)
    goal, auxiliary = (tags, kind) if target == "tags" else (kind, tags)
    return avil.MultitaskModel(Reader(), {"goal": goal, "aux": auxiliary})


def reading(target: str = "tags", **learning: Any) -> avil.Suite:
    return suite(partial(reading_tasks, target=target), partial(reading_model, target=target), **learning)


# several labels each, beside numbers, from `datasets`


def table_tasks(seed: int, *, form: str | None) -> list[avil.Task]:
    inputs, _ = points(seed)
    columns = {"x": inputs.tolist(), "labels": (inputs[:, :2] > 0).float().tolist()}
    table = datasets.Dataset.from_dict(columns).with_format(form)
    numbers = datasets.Dataset.from_dict({"x": inputs.tolist(), "label": inputs.sum(1).tolist()}).with_format(form)
    return [
        avil.Task(
            "goal",
            **{name: table.select(rows) for name, rows in PARTS.items()},
            loss="binary_cross_entropy",
            metric="auc",
            also=("f1_macro", "accuracy"),
        ),
        avil.Task("aux", numbers, loss="mean_absolute_error", metric="rmse"),
    ]


def table_model() -> nn.Module:
    heads = {"goal": nn.Linear(HIDDEN, 2), "aux": nn.Sequential(nn.Linear(HIDDEN, 1), nn.Flatten(0))}
    return avil.MultitaskModel(Trunk(), heads)


def table(form: str | None = None, **learning: Any) -> avil.Suite:
    return suite(partial(table_tasks, form=form), table_model, **learning)
