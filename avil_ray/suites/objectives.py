"""Losses and metrics by the names that tasks call them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

Array = npt.NDArray[Any]

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda outputs, labels: F.cross_entropy(outputs.float(), labels, reduction="none"),
    "binary_cross_entropy": lambda outputs, labels: F.binary_cross_entropy_with_logits(
        outputs.float(), labels.float(), reduction="none"
    ),
    "mean_squared_error": lambda outputs, labels: F.mse_loss(outputs.float(), labels.float(), reduction="none"),
}
"""name -> a function of outputs ([B, classes] or [B]) and labels [B]: one loss per example, [B], in float32."""


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


METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy, "max"),
    "f1": Metric(_f1, "max"),
    "matthews": Metric(_matthews, "max"),
    "auc": Metric(_auc, "max"),
    "pearson": Metric(_pearson, "max"),
    "spearman": Metric(_spearman, "max"),
    "mean_squared_error": Metric(lambda outputs, labels: float(np.square(outputs - labels).mean()), "min"),
    "mean_absolute_error": Metric(lambda outputs, labels: float(np.abs(outputs - labels).mean()), "min"),
}
"""name -> metric over outputs ([N, classes] or [N], before any softmax or sigmoid) and labels [N]."""
