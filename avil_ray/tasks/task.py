"""One task: its data, its loss and its metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, one_line, shown
from avil_ray.tasks.augmentation import Augment, find_augment
from avil_ray.tasks.checks import SPLITS, check_joinable, check_split
from avil_ray.tasks.data import Collate, Rows, Stream, find_source
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.heads import check_name
from avil_ray.tasks.losses import LOSSES, CrossEntropy, LossFunction, example_losses, find_loss
from avil_ray.tasks.metrics import Measure, MetricLike, find_measure


@dataclass(frozen=True)
class Task:
    """One task: its data, its loss and its metric. Only the target needs dev, select and test.

    A name consists of letters of any script, digits, `_`, `-` and spaces.

    `train` is used for gradients, `dev` for a method's adaptation (alpha), `select` to choose the best round and
    configuration; `test` is read once, after selection. No source item may be in two of them.

    Tasks may have different examples and very different numbers of them; a step uses the same number of each. Examples
    come in passes over the split, each in a new random order; a split smaller than a batch fills it with several
    passes. With `replacement`, every example is drawn independently from the whole split.

    Parameters
    ----------
    train, dev, select, test
        `Examples`, or any map-style `torch.utils.data.Dataset` or `datasets.Dataset` (see `tasks.data`); the training
        data of an auxiliary may be an `IterableDataset`, which determines its own order.
    loss
        A name in `tasks.losses.LOSSES`, or a callable `loss(outputs, targets)` that returns a loss for each example
        [B], or their mean.
    metric, mode
        A name in `tasks.named_metrics.METRICS`, an object with `update`, `compute` and `reset` (all of torchmetrics),
        or a function `f(outputs, targets)` of a whole split; `mode` gives the direction ("max" or "min") if the metric
        itself does not.
    also
        Further metrics, only reported; selection uses the first one.
    collate
        A list of a dataset's items -> a batch, as for PyTorch's `DataLoader`.
    augment
        `augment(inputs, target)` for training examples only: see `tasks.augmentation`.

    Raises
    ------
    UserError
        Data do not fit each other or the loss; the message names task, split and field.

    Examples
    --------
    >>> import torch
    >>> examples = Examples(torch.rand(8, 3), torch.arange(8) % 2)
    >>> Task("churn", examples, metric="f1").measure.name
    'f1'
    """

    name: str
    train: Any
    dev: Any = None
    select: Any = None
    test: Any = None
    loss: str | LossFunction = "cross_entropy"
    metric: MetricLike = "accuracy"
    replacement: bool = False
    mode: Literal["max", "min"] | None = None
    also: Sequence[MetricLike] = ()
    collate: Collate | None = None
    augment: str | Augment | Sequence[str | Augment] | None = None

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Check everything in the task again, as its tensors may have changed since it was made.

        Raises
        ------
        UserError
            Something is wrong; the message names task, split and field.
        """
        where = f"task {self.name!r}"
        check_name(where, self.name)
        find_loss(self.loss, where)
        names = [measure.name for measure in self.measures]
        twice = next((name for name in names if names.count(name) > 1 or name == "loss"), None)
        if twice is not None:
            raise UserError(f"{where}: the metric name {twice!r} is already used; give each metric its own name")
        check_choices(Task, {**vars(self), "mode": self.measure.mode}, where)
        find_augment(self.augment, where)
        if self.collate is not None and not callable(self.collate):
            raise UserError(f"{where}: collate must be a function of a list of items, not {shown(self.collate)}")
        if self.collate is not None and all(isinstance(getattr(self, split), Examples | None) for split in SPLITS):
            raise UserError(f"{where}: collate is for datasets; avil_ray.Examples makes its batches itself")
        for split in SPLITS:
            if getattr(self, split) is not None or split == "train":
                source = self.source(split)
                if isinstance(source, Stream) and split != "train":
                    raise UserError(f"{where}: its {split} split must have len(); a stream can only train")
                if self.replacement and isinstance(source, Stream):
                    raise UserError(f"{where}: replacement needs a dataset with len(), but train is a stream")
                check_split(f"{where}: its {split} split", source, self.loss)
        if self.dev is not None:
            check_joinable(where, self.source("train"), self.source("dev"))

    def source(self, split: str) -> Examples | Rows | Stream:
        """The source of a split's examples."""
        return find_source(getattr(self, split), self.collate, f"task {self.name!r}: its {split} split")

    @property
    def measure(self) -> Measure:
        """The metric used for selection."""
        return self.measures[0]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The metric used for selection, followed by those of `also`."""
        where = f"task {self.name!r}"
        if isinstance(self.also, str) or not isinstance(self.also, Sequence):
            raise UserError(f"{where}: also must be a list of metrics, not {self.also!r}")
        first = find_measure(self.metric, self.mode, self.loss, where)
        return first, *(find_measure(metric, None, self.loss, where, beside=True) for metric in self.also)

    @property
    def augmentation(self) -> Augment | None:
        """The augmentation of training examples; None if there is none."""
        return find_augment(self.augment, f"task {self.name!r}")

    def losses(self, outputs: Any, targets: Any, count: int) -> Tensor:
        """The loss of each of `count` examples [B], or [1] if the loss gives the batch's mean."""
        where = f"task {self.name!r}"
        with one_line(f"{where}: the loss failed"):
            losses = find_loss(self.loss, where)(outputs, targets)
        return example_losses(losses, count, where)

    def total_loss(self, outputs: Any, targets: Any, count: int) -> Tensor:
        """The sum [] of the losses of `count` examples."""
        loss = LOSSES.get(self.loss) if isinstance(self.loss, str) else self.loss
        if isinstance(loss, CrossEntropy):
            with one_line(f"task {self.name!r}: the loss failed"):
                return loss.total(outputs, targets)
        losses = self.losses(outputs, targets, count)
        return losses.sum() if len(losses) == count else losses[0] * count
