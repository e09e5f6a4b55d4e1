"""Losses and metrics by the names that tasks call them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Array = npt.NDArray[Any]


def _full(outputs: Tensor) -> Tensor:
    """Outputs in float32 at least: a loss in half precision would be too coarse to compare."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(_full(outputs), labels, reduction="none")


def _binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    outputs = _full(outputs)
    return F.binary_cross_entropy_with_logits(outputs, labels.to(outputs), reduction="none")


def _mean_squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    outputs = _full(outputs)
    return F.mse_loss(outputs, labels.to(outputs), reduction="none")


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
    "mean_squared_error": _mean_squared_error,
}
"""name -> a function of outputs ([B, classes] or [B]) and labels [B]: one loss per example, [B], float32 or finer."""


@dataclass(frozen=True)
class Metric:
    """A figure of merit over a whole split, and the direction in which it is better."""

    function: Callable[[Array, Array], float]
    mode: Literal["max", "min"]


def _classes(outputs: Array) -> Array:
    """The predicted class: the largest of [N, classes], or the sign of one logit [N]."""
    return outputs.argmax(axis=1) if outputs.ndim == 2 else (outputs > 0).astype(np.int64)


def _vary(outputs: Array, labels: Array) -> bool:
    """Whether neither is all the same; otherwise they do not correlate, and 0 is the figure."""
    return bool(np.ptp(outputs) > 0 and np.ptp(labels) > 0)


def _accuracy(outputs: Array, labels: Array) -> float:
    return float((_classes(outputs) == labels).mean())


def _f1(outputs: Array, labels: Array) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, _classes(outputs), zero_division=0.0))


def _matthews(outputs: Array, labels: Array) -> float:
    from sklearn.metrics import matthews_corrcoef

    classes = _classes(outputs)
    return float(matthews_corrcoef(labels, classes)) if _vary(classes, labels) else 0.0


def _auc(outputs: Array, labels: Array) -> float:
    """The area under the ROC curve; 0.5 where the labels are all the same, as no ranking can then be wrong or right."""
    from sklearn.metrics import roc_auc_score

    scores = outputs[:, 1] - outputs[:, 0] if outputs.ndim == 2 else outputs
    return float(roc_auc_score(labels, scores)) if len(np.unique(labels)) == 2 else 0.5


def _pearson(outputs: Array, labels: Array) -> float:
    from scipy.stats import pearsonr

    return float(pearsonr(outputs, labels).statistic) if _vary(outputs, labels) else 0.0


def _spearman(outputs: Array, labels: Array) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(outputs, labels).statistic) if _vary(outputs, labels) else 0.0


def _macro_f1(outputs: Array, labels: Array) -> float:
    """The mean of the classes' F1, each against the rest."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, _classes(outputs), average="macro", zero_division=0.0))


def _mean_of(*figures: Callable[[Array, Array], float]) -> Callable[[Array, Array], float]:
    """The mean of several figures of merit: how GLUE makes one score of two metrics."""
    return lambda outputs, labels: sum(figure(outputs, labels) for figure in figures) / len(figures)


METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy, "max"),
    "f1": Metric(_f1, "max"),
    "matthews": Metric(_matthews, "max"),
    "accuracy_and_f1": Metric(_mean_of(_accuracy, _f1), "max"),
    "accuracy_and_macro_f1": Metric(_mean_of(_accuracy, _macro_f1), "max"),
    "auc": Metric(_auc, "max"),
    "pearson": Metric(_pearson, "max"),
    "spearman": Metric(_spearman, "max"),
    "pearson_and_spearman": Metric(_mean_of(_pearson, _spearman), "max"),
    "mean_squared_error": Metric(lambda outputs, labels: float(np.square(outputs - labels).mean()), "min"),
    "mean_absolute_error": Metric(lambda outputs, labels: float(np.abs(outputs - labels).mean()), "min"),
}
"""name -> metric over outputs ([N, classes] or [N], before any softmax or sigmoid) and labels [N]."""
