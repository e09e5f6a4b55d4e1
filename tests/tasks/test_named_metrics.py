"""Every named metric agrees with scikit-learn, SciPy or a brute-force reference, however the split is cut."""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from avil_ray.tasks.named_metrics import METRICS

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(2, size=200)
LOGIT = (LABELS - 0.5 + RANDOM.standard_normal(200)).astype(np.float32)
TWO_LOGITS = np.stack([-LOGIT, LOGIT], axis=1) / 2
NUMBERS = (LABELS + RANDOM.standard_normal(200)).astype(np.float32)

CLASSIFICATION = {
    "accuracy": lambda: metrics.accuracy_score(LABELS, LOGIT > 0),
    "pixel_accuracy": lambda: metrics.accuracy_score(LABELS, LOGIT > 0),
    "balanced_accuracy": lambda: metrics.balanced_accuracy_score(LABELS, LOGIT > 0),
    "f1": lambda: metrics.f1_score(LABELS, LOGIT > 0),
    "f1_macro": lambda: metrics.f1_score(LABELS, LOGIT > 0, average="macro"),
    "macro_f1": lambda: metrics.f1_score(LABELS, LOGIT > 0, average="macro"),
    "matthews": lambda: metrics.matthews_corrcoef(LABELS, LOGIT > 0),
    "mcc": lambda: metrics.matthews_corrcoef(LABELS, LOGIT > 0),
    "miou": lambda: metrics.jaccard_score(LABELS, LOGIT > 0, average="macro"),
    "auc": lambda: metrics.roc_auc_score(LABELS, LOGIT),
    "roc_auc": lambda: metrics.roc_auc_score(LABELS, LOGIT),
    "average_precision": lambda: metrics.average_precision_score(LABELS, LOGIT),
    "accuracy_and_f1": lambda: (CLASSIFICATION["accuracy"]() + CLASSIFICATION["f1"]()) / 2,
    "accuracy_and_macro_f1": lambda: (CLASSIFICATION["accuracy"]() + CLASSIFICATION["f1_macro"]()) / 2,
}
REGRESSION = {
    "pearson": lambda: stats.pearsonr(NUMBERS, LABELS).statistic,
    "spearman": lambda: stats.spearmanr(NUMBERS, LABELS).statistic,
    "pearson_and_spearman": lambda: (REGRESSION["pearson"]() + REGRESSION["spearman"]()) / 2,
    "mean_squared_error": lambda: metrics.mean_squared_error(LABELS, NUMBERS),
    "mse": lambda: metrics.mean_squared_error(LABELS, NUMBERS),
    "rmse": lambda: metrics.root_mean_squared_error(LABELS, NUMBERS),
    "mean_absolute_error": lambda: metrics.mean_absolute_error(LABELS, NUMBERS),
    "mae": lambda: metrics.mean_absolute_error(LABELS, NUMBERS),
    "r2": lambda: metrics.r2_score(LABELS, NUMBERS),
}


def figure(name: str, outputs: np.ndarray, labels: np.ndarray, parts: int = 7, ignore: int = -100) -> float:
    """The figure of a split that comes in several batches."""
    metric = METRICS[name].make(1, ignore)
    for some, wanted in zip(np.array_split(outputs, parts), np.array_split(labels, parts), strict=True):
        metric.update(torch.from_numpy(some.copy()), torch.from_numpy(wanted.copy()))
    return metric.compute()


def test_every_metric_is_tested_here() -> None:
    assert set(METRICS) == set(CLASSIFICATION) | set(REGRESSION)


@pytest.mark.parametrize("name", CLASSIFICATION)
@pytest.mark.parametrize("outputs", [LOGIT, TWO_LOGITS], ids=["one logit", "two logits"])
def test_classification_metrics_agree_with_scikit_learn(name: str, outputs: np.ndarray) -> None:
    assert figure(name, outputs, LABELS) == pytest.approx(CLASSIFICATION[name](), rel=1e-6)


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_metrics_agree_with_scipy_and_scikit_learn(name: str) -> None:
    assert figure(name, NUMBERS, LABELS) == pytest.approx(REGRESSION[name](), rel=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_a_split_gives_the_same_figure_however_it_is_cut_and_after_a_reset(name: str) -> None:
    outputs = NUMBERS if name in REGRESSION else LOGIT
    assert figure(name, outputs, LABELS, parts=1) == pytest.approx(figure(name, outputs, LABELS, parts=200), rel=1e-12)
    metric = METRICS[name].make(1, -100)
    for _ in range(2):
        metric.reset()
        metric.update(torch.from_numpy(outputs), torch.from_numpy(LABELS))
    assert metric.compute() == pytest.approx(figure(name, outputs, LABELS, parts=1), rel=1e-12)


def merged(name: str, outputs: np.ndarray, labels: np.ndarray, cuts: list[int], ignore: int = -100) -> float:
    """The figure of a split whose parts are seen by a metric each, in other processes as it were."""
    whole = METRICS[name].make(1, ignore)
    for some, wanted in zip(np.split(outputs, cuts), np.split(labels, cuts), strict=True):
        part = METRICS[name].make(1, ignore)
        part.update(torch.from_numpy(some.copy()), torch.from_numpy(wanted.copy()))
        whole.merge(pickle.loads(pickle.dumps(part)))
    return whole.compute()


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_metrics_that_saw_a_part_each_are_merged_into_one_that_saw_all(name: str, parts: int) -> None:
    """To the last bit: each part was one batch, and sums are added in the order of the parts."""
    outputs = NUMBERS if name in REGRESSION else TWO_LOGITS
    cuts = [len(part) for part in np.array_split(LABELS, parts)][:-1]
    assert merged(name, outputs, LABELS, np.cumsum(cuts).tolist()) == figure(name, outputs, LABELS, parts)


@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "mcc", "miou", "balanced_accuracy", "accuracy_and_macro_f1"])
def test_parts_that_have_seen_other_classes_are_merged(name: str) -> None:
    labels = np.array([0, 1, 1, 4, 4, 3, -1, 0, 1, 2])
    outputs = RANDOM.standard_normal((10, 5)).astype(np.float32)
    expected = figure(name, outputs, labels, parts=1, ignore=-1)
    assert merged(name, outputs, labels, [3, 6, 7], ignore=-1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_one_that_has_seen_nothing_adds_nothing(name: str) -> None:
    metric = METRICS[name].make(1, -100)
    metric.update(torch.from_numpy(NUMBERS if name in REGRESSION else LOGIT), torch.from_numpy(LABELS))
    expected = metric.compute()
    metric.merge(METRICS[name].make(1, -100))
    assert metric.compute() == expected


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("accuracy", metrics.accuracy_score),
        ("f1_macro", lambda labels, found: metrics.f1_score(labels, found, average="macro")),
        ("mcc", metrics.matthews_corrcoef),
        ("miou", lambda labels, found: metrics.jaccard_score(labels, found, average="macro")),
        ("balanced_accuracy", metrics.balanced_accuracy_score),
    ],
)
def test_many_classes_in_pixel_maps_with_ignored_ones(name: str, reference: object) -> None:
    outputs = RANDOM.standard_normal((6, 5, 4, 3)).astype(np.float32)
    labels = RANDOM.integers(-1, 5, size=(6, 4, 3))
    kept = labels != -1
    expected = reference(labels[kept], outputs.argmax(1)[kept])
    assert figure(name, outputs, labels, parts=3, ignore=-1) == pytest.approx(expected)


def test_several_labels_an_example_give_the_mean_of_their_figures() -> None:
    labels = RANDOM.integers(2, size=(60, 3))
    outputs = (labels - 0.5 + RANDOM.standard_normal((60, 3))).astype(np.float32)
    for name, one in (("f1", metrics.f1_score), ("auc", metrics.roc_auc_score), ("mcc", metrics.matthews_corrcoef)):
        scores = outputs if name == "auc" else outputs > 0
        expected = np.mean([one(labels[:, column], scores[:, column]) for column in range(3)])
        assert figure(name, outputs, labels) == pytest.approx(expected), name
    assert figure("accuracy", outputs, labels) == pytest.approx((labels == (outputs > 0)).mean())


@pytest.mark.parametrize("name", METRICS)
def test_the_mode_tells_perfect_outputs_from_reversed_ones(name: str) -> None:
    perfect, reversed_ = (LABELS - 0.5, 0.5 - LABELS) if name in CLASSIFICATION else (LABELS * 1.0, 1.0 - LABELS)
    good, bad = (figure(name, outputs, LABELS) for outputs in (perfect, reversed_))
    assert (good > bad) == (METRICS[name].mode == "max")
    assert good != bad


@pytest.mark.parametrize("name", ["matthews", "pearson", "spearman", "f1"])
def test_outputs_that_are_all_the_same_give_0(name: str) -> None:
    assert figure(name, np.full(6, -1.0), np.array([0, 1, 0, 1, 1, 0])) == 0.0


def test_accuracy_of_nothing_is_undefined() -> None:
    assert math.isnan(figure("accuracy", np.zeros((4, 2)), np.full(4, -100), parts=1))
