import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from avil_ray.tasks.objectives import LOSSES, METRICS

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(2, size=200)
LOGIT = LABELS - 0.5 + RANDOM.standard_normal(200)
TWO_LOGITS = np.stack([-LOGIT, LOGIT], axis=1) / 2
NUMBERS = LABELS + RANDOM.standard_normal(200)

CLASSIFICATION = {
    "accuracy": lambda: metrics.accuracy_score(LABELS, LOGIT > 0),
    "f1": lambda: metrics.f1_score(LABELS, LOGIT > 0),
    "matthews": lambda: metrics.matthews_corrcoef(LABELS, LOGIT > 0),
    "auc": lambda: metrics.roc_auc_score(LABELS, LOGIT),
    "accuracy_and_f1": lambda: (CLASSIFICATION["accuracy"]() + CLASSIFICATION["f1"]()) / 2,
    "accuracy_and_macro_f1": lambda: (
        (CLASSIFICATION["accuracy"]() + metrics.f1_score(LABELS, LOGIT > 0, average="macro")) / 2
    ),
}
REGRESSION = {
    "pearson": lambda: stats.pearsonr(NUMBERS, LABELS).statistic,
    "spearman": lambda: stats.spearmanr(NUMBERS, LABELS).statistic,
    "pearson_and_spearman": lambda: (REGRESSION["pearson"]() + REGRESSION["spearman"]()) / 2,
    "mean_squared_error": lambda: metrics.mean_squared_error(LABELS, NUMBERS),
    "mean_absolute_error": lambda: metrics.mean_absolute_error(LABELS, NUMBERS),
}


def test_every_metric_is_tested_here() -> None:
    assert set(METRICS) == set(CLASSIFICATION) | set(REGRESSION)


@pytest.mark.parametrize("name", CLASSIFICATION)
@pytest.mark.parametrize("outputs", [LOGIT, TWO_LOGITS], ids=["one logit", "two logits"])
def test_classification_metrics_agree_with_scikit_learn(name: str, outputs: np.ndarray) -> None:
    assert METRICS[name].function(outputs, LABELS) == pytest.approx(CLASSIFICATION[name]())


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_metrics_agree_with_scipy_and_scikit_learn(name: str) -> None:
    assert METRICS[name].function(NUMBERS, LABELS) == pytest.approx(REGRESSION[name]())


def test_accuracy_of_many_classes() -> None:
    outputs = np.eye(4)[[0, 1, 2, 3, 3]]
    assert METRICS["accuracy"].function(outputs, np.array([0, 1, 2, 3, 0])) == pytest.approx(0.8)


def test_macro_f1_of_many_classes() -> None:
    outputs, labels = np.eye(3)[[0, 1, 2, 2, 1]], np.array([0, 1, 2, 1, 1])
    expected = (0.8 + metrics.f1_score(labels, outputs.argmax(axis=1), average="macro")) / 2
    assert METRICS["accuracy_and_macro_f1"].function(outputs, labels) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
def test_the_mode_tells_perfect_outputs_from_reversed_ones(name: str) -> None:
    perfect, reversed_ = LABELS - 0.5, 0.5 - LABELS
    if METRICS[name].mode == "min":
        perfect, reversed_ = LABELS, 1 - LABELS
    good, bad = (METRICS[name].function(outputs, LABELS) for outputs in (perfect, reversed_))
    assert (good > bad) == (METRICS[name].mode == "max")
    assert good != bad


@pytest.mark.parametrize(
    ("name", "nothing_known"), [("matthews", 0.0), ("pearson", 0.0), ("spearman", 0.0), ("auc", 0.5), ("f1", 0.0)]
)
def test_constant_outputs_or_labels_are_no_error(name: str, nothing_known: float) -> None:
    same, different = np.zeros(6), np.array([0, 1, 0, 1, 1, 0])
    assert METRICS[name].function(same, different) == pytest.approx(nothing_known)
    assert METRICS[name].function(same - 1, same.astype(int)) == pytest.approx(nothing_known)
    assert METRICS[name].function(different - 0.5, same.astype(int)) == pytest.approx(nothing_known)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_are_one_float32_number_per_example(dtype: torch.dtype) -> None:
    labels = torch.tensor([0, 1, 1])
    outputs = {"cross_entropy": torch.tensor([[2.0, 0], [0, 1], [3, 0]]), None: torch.tensor([-1.0, 2, 0.5])}
    for name, loss in LOSSES.items():
        losses = loss(outputs.get(name, outputs[None]).to(dtype), labels)
        assert losses.shape == (3,)
        assert losses.dtype == torch.float32


def test_losses_are_what_their_names_say() -> None:
    labels = torch.tensor([0, 1, 1])
    logits = torch.tensor([-1.0, 2.0, 0.5])
    probability = torch.sigmoid(logits)
    expected = -torch.where(labels == 1, probability, 1 - probability).log()
    two = torch.stack([torch.zeros(3), logits], dim=1)
    assert torch.allclose(LOSSES["binary_cross_entropy"](logits, labels), expected)
    assert torch.allclose(LOSSES["cross_entropy"](two, labels), expected)
    assert LOSSES["mean_squared_error"](logits, labels).tolist() == [1.0, 1.0, 0.25]
