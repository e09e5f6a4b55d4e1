"""The named metrics. Each is streaming: it holds counts or sums, and rank metrics one number per item."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avil_ray.tasks.predictions import predicted_classes

Counts = npt.NDArray[np.int64]
"""A confusion matrix [classes, classes] with labels as rows and predictions as columns."""

Kind = Literal["classes", "two classes", "numbers"]


class Streaming(Protocol):
    """A metric over batches that can be distributed: see `metrics.Metric` and `metrics.Mergeable`."""

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        """Take in one batch."""

    def merge(self, other: Any, /) -> None:
        """Append what another one has seen."""

    def compute(self) -> float:
        """The figure."""

    def reset(self) -> None:
        """Forget all batches."""


Make = Callable[[int | None, int], Streaming]
"""Makes a metric, given the outputs' class dimension (None: inferred from the shape) and the targets to ignore."""


class Accuracy:
    """The fraction of positions at which the predicted class equals the label."""

    def __init__(self, class_dimension: int | None, ignore_index: int) -> None:
        self._class_dimension, self._ignore_index = class_dimension, ignore_index
        self.reset()

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        """Count one batch."""
        predicted = predicted_classes(outputs, targets, self._class_dimension)
        counted = targets != self._ignore_index
        self._right += int(((predicted == targets) & counted).sum())
        self._all += int(counted.sum())

    def merge(self, other: Accuracy, /) -> None:
        """Add what another one has counted."""
        self._right += other._right
        self._all += other._all

    def compute(self) -> float:
        """Correct positions over all; NaN if none count."""
        return self._right / self._all if self._all else float("nan")

    def reset(self) -> None:
        """Forget all batches."""
        self._right: int = 0
        self._all: int = 0


class Confusion:
    """A figure of the confusion matrix; for multiple labels per example [N, L], the mean over labels."""

    def __init__(self, figure: Callable[[Counts], float], class_dimension: int | None, ignore_index: int) -> None:
        self._figure, self._class_dimension, self._ignore_index = figure, class_dimension, ignore_index
        self._matrices: list[Counts] = []

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        """Count one batch."""
        predicted = predicted_classes(outputs, targets, self._class_dimension)
        columns = targets.shape[-1] if outputs.shape == targets.shape and targets.ndim > 1 else 1
        self._matrices = self._matrices or [np.zeros((2, 2), np.int64) for _ in range(columns)]
        for index, (found, labels) in enumerate(
            zip(predicted.reshape(-1, columns).T, targets.reshape(-1, columns).T, strict=True)
        ):
            kept = labels != self._ignore_index
            self._matrices[index] = _counted(self._matrices[index], labels[kept].long(), found[kept].long())

    def merge(self, other: Confusion, /) -> None:
        """Add what another one has counted."""
        if other._matrices:
            own = self._matrices or [np.zeros((2, 2), np.int64) for _ in other._matrices]
            self._matrices = [_sum(*pair) for pair in zip(own, other._matrices, strict=True)]

    def compute(self) -> float:
        """The figure."""
        return float(np.mean([self._figure(matrix) for matrix in self._matrices]))

    def reset(self) -> None:
        """Forget all batches."""
        self._matrices = []


class Errors:
    """A figure computed from sums of errors and targets over all positions."""

    def __init__(self, figure: Callable[[dict[str, float]], float]) -> None:
        self._figure = figure
        self._sums: dict[str, float] = {}

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        """Add one batch."""
        outputs, targets = outputs.double(), targets.double()
        error = outputs - targets
        found = {
            "count": float(error.numel()),
            "absolute": float(error.abs().sum()),
            "squared": float(error.square().sum()),
            "targets": float(targets.sum()),
            "targets_squared": float(targets.square().sum()),
        }
        self._sums = {name: self._sums.get(name, 0.0) + value for name, value in found.items()}

    def merge(self, other: Errors, /) -> None:
        """Add another one's sums."""
        self._sums |= {name: self._sums.get(name, 0.0) + value for name, value in other._sums.items()}

    def compute(self) -> float:
        """The figure."""
        return self._figure(self._sums)

    def reset(self) -> None:
        """Forget all batches."""
        self._sums = {}


class Ranked:
    """A figure of one score per item and its label, kept until the end; for multiple labels [N, L], the mean."""

    def __init__(self, figure: Callable[[Any, Any], float]) -> None:
        self._figure = figure
        self.reset()

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        """Keep one batch."""
        if outputs.ndim == targets.ndim + 1:  # two logits: use their difference
            outputs = outputs[:, 1] - outputs[:, 0]
        self._scores.append(_columns(outputs))
        self._labels.append(_columns(targets))

    def merge(self, other: Ranked, /) -> None:
        """Append another one's items."""
        self._scores += other._scores
        self._labels += other._labels

    def compute(self) -> float:
        """The figure."""
        scores, labels = np.concatenate(self._scores), np.concatenate(self._labels)
        return float(np.mean([self._figure(scores[:, one], labels[:, one]) for one in range(scores.shape[1])]))

    def reset(self) -> None:
        """Forget all batches."""
        self._scores: list[npt.NDArray[Any]] = []
        self._labels: list[npt.NDArray[Any]] = []


class MeanOf:
    """The mean of several figures, as GLUE combines two metrics into one score."""

    def __init__(self, *parts: Streaming) -> None:
        self._parts = parts

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        """Take in one batch."""
        for part in self._parts:
            part.update(outputs, targets)

    def merge(self, other: MeanOf, /) -> None:
        """Merge part by part."""
        for part, another in zip(self._parts, other._parts, strict=True):
            part.merge(another)

    def compute(self) -> float:
        """The mean of the parts' figures."""
        return sum(part.compute() for part in self._parts) / len(self._parts)

    def reset(self) -> None:
        """Forget all batches."""
        for part in self._parts:
            part.reset()


def _columns(values: Tensor) -> npt.NDArray[Any]:
    """Values [N] or [N, …] as [N, columns]."""
    return (values[:, None] if values.ndim == 1 else values.flatten(1)).numpy()


def _counted(matrix: Counts, labels: Tensor, predicted: Tensor) -> Counts:
    """The matrix with a batch added; it grows as new classes are seen."""
    highest = max((int(one.max()) for one in (labels, predicted) if len(one)), default=-1)
    size = max(len(matrix), highest + 1)
    added = torch.bincount(labels * size + predicted, minlength=size * size).reshape(size, size).numpy()
    added[: len(matrix), : len(matrix)] += matrix
    found: Counts = added
    return found


def _sum(one: Counts, other: Counts) -> Counts:
    """The sum of two matrices; the smaller one is padded with 0."""
    large, small = (one, other) if len(one) >= len(other) else (other, one)
    found = large.copy()
    found[: len(small), : len(small)] += small
    return found


def _f1(matrix: Counts) -> float:
    """F1 of class 1 out of two; 0 if it appears in neither labels nor predictions."""
    right, predicted, labelled = matrix[1, 1], matrix[:, 1].sum(), matrix[1].sum()
    return float(2 * right / (predicted + labelled)) if predicted + labelled else 0.0


def _macro_f1(matrix: Counts) -> float:
    """The mean F1 over the classes that appear in labels or predictions."""
    right, both = np.diag(matrix), matrix.sum(0) + matrix.sum(1)
    return float((2 * right[both > 0] / both[both > 0]).mean())


def _matthews(matrix: Counts) -> float:
    """Matthews correlation coefficient for any number of classes; 0 if all predictions are equal."""
    counts = matrix.astype(np.float64)
    total, right, predicted, labelled = counts.sum(), np.trace(counts), counts.sum(0), counts.sum(1)
    spread = (total**2 - predicted @ predicted) * (total**2 - labelled @ labelled)
    return float((right * total - predicted @ labelled) / np.sqrt(spread)) if spread > 0 else 0.0


def _mean_iou(matrix: Counts) -> float:
    """Mean intersection over union of the classes that appear in labels or predictions."""
    right = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - right
    return float((right[union > 0] / union[union > 0]).mean())


def _balanced_accuracy(matrix: Counts) -> float:
    """The mean recall of the classes that appear in labels."""
    labelled = matrix.sum(1)
    return float((np.diag(matrix)[labelled > 0] / labelled[labelled > 0]).mean())


def _mean_squared(sums: dict[str, float]) -> float:
    return sums["squared"] / sums["count"]


def _root_mean_squared(sums: dict[str, float]) -> float:
    return float(_mean_squared(sums) ** 0.5)


def _mean_absolute(sums: dict[str, float]) -> float:
    return sums["absolute"] / sums["count"]


def _r_squared(sums: dict[str, float]) -> float:
    spread = sums["targets_squared"] - sums["targets"] ** 2 / sums["count"]
    return 1 - sums["squared"] / spread if spread > 0 else float("nan")


def _auc(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores))


def _average_precision(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores))


def _pearson(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    from scipy.stats import pearsonr

    return float(pearsonr(scores, labels).statistic) if np.ptp(scores) > 0 else 0.0


def _spearman(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(scores, labels).statistic) if np.ptp(scores) > 0 else 0.0


@dataclass(frozen=True)
class NamedMetric:
    """A named metric.

    Attributes
    ----------
    mode
        Which way is better.
    kind
        What it applies to: classes, two classes only (0 and 1), or numbers.
    varied
        Whether it is undefined if all labels of a split are equal.
    make
        Makes a fresh metric.
    """

    mode: Literal["max", "min"]
    kind: Kind
    varied: bool
    make: Make


def _confusion(figure: Callable[[Counts], float]) -> Make:
    return partial(Confusion, figure)


def _errors(figure: Callable[[dict[str, float]], float]) -> Make:
    return lambda *_: Errors(figure)


def _ranked(figure: Callable[[Any, Any], float]) -> Make:
    return lambda *_: Ranked(figure)


def _mean_of(makes: Iterable[Make]) -> Make:
    return lambda *conventions: MeanOf(*[make(*conventions) for make in makes])


_MATTHEWS = NamedMetric("max", "classes", True, _confusion(_matthews))
_AUC = NamedMetric("max", "two classes", True, _ranked(_auc))
_MACRO_F1 = NamedMetric("max", "classes", True, _confusion(_macro_f1))
_SQUARED = NamedMetric("min", "numbers", False, _errors(_mean_squared))
_ABSOLUTE = NamedMetric("min", "numbers", False, _errors(_mean_absolute))

METRICS: dict[str, NamedMetric] = {
    "accuracy": NamedMetric("max", "classes", False, Accuracy),
    "balanced_accuracy": NamedMetric("max", "classes", True, _confusion(_balanced_accuracy)),
    "f1": NamedMetric("max", "two classes", True, _confusion(_f1)),
    "f1_macro": _MACRO_F1,
    "macro_f1": _MACRO_F1,
    "matthews": _MATTHEWS,
    "mcc": _MATTHEWS,
    "miou": NamedMetric("max", "classes", False, _confusion(_mean_iou)),
    "pixel_accuracy": NamedMetric("max", "classes", False, Accuracy),
    "auc": _AUC,
    "roc_auc": _AUC,
    "average_precision": NamedMetric("max", "two classes", True, _ranked(_average_precision)),
    "accuracy_and_f1": NamedMetric("max", "two classes", True, _mean_of([Accuracy, _confusion(_f1)])),
    "accuracy_and_macro_f1": NamedMetric("max", "classes", True, _mean_of([Accuracy, _confusion(_macro_f1)])),
    "pearson": NamedMetric("max", "numbers", True, _ranked(_pearson)),
    "spearman": NamedMetric("max", "numbers", True, _ranked(_spearman)),
    "pearson_and_spearman": NamedMetric("max", "numbers", True, _mean_of([_ranked(_pearson), _ranked(_spearman)])),
    "mean_squared_error": _SQUARED,
    "mse": _SQUARED,
    "rmse": NamedMetric("min", "numbers", False, _errors(_root_mean_squared)),
    "mean_absolute_error": _ABSOLUTE,
    "mae": _ABSOLUTE,
    "r2": NamedMetric("max", "numbers", True, _errors(_r_squared)),
}
"""Name -> metric over outputs (before any softmax or sigmoid) and targets; some have two common names."""
