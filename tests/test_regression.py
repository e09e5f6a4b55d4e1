"""Tasks may be regression, metrics lower-is-better: from training to the comparison, less error wins."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import avil_ray as avil
from avil_ray.reports.comparison import SweepFacts
from avil_ray.reports.records import Cost, TrialRecord, trial_key
from avil_ray.reports.write import write_report

TASKS = ("price", "size", "sold")
SEEDS = (0, 1, 2, 3, 4)
METRIC = "mean_squared_error"


def tasks(seed: int) -> list[avil.Task]:
    """A house's price and size are linear in its six facts, with noise; whether it is sold is a class."""
    generator = torch.Generator().manual_seed(seed)

    def examples(count: int, task: str = "price") -> avil.Examples:
        inputs = torch.randn(count, 6, generator=generator)
        signal = inputs @ torch.tensor([1.0, -2, 3, 0, 1, 0])
        if task == "sold":
            return avil.Examples(inputs, (signal > 0).long())
        scale = 1.0 if task == "price" else 0.5
        return avil.Examples(inputs, scale * signal + 0.3 * torch.randn(count, generator=generator))

    regression = {"loss": METRIC, "metric": METRIC}
    return [
        avil.Task("price", examples(30), examples(15), examples(200), examples(300), **regression),
        avil.Task("size", examples(200, "size"), **regression),
        avil.Task("sold", examples(200, "sold")),
    ]


def model() -> nn.Module:
    heads = {task: nn.Sequential(nn.Linear(8, 1), nn.Flatten(0)) for task in ("price", "size")}
    return avil.MultitaskModel(nn.Linear(6, 8), {**heads, "sold": nn.Linear(8, 2)})


def houses() -> avil.Suite:
    return avil.Suite(name="houses", target="price", task_names=TASKS, tasks=tasks, model=model)


SLOW, FAST = 0.0003, 0.02
METHODS = {
    "alpha-vil": [avil.AlphaVIL(learning_rate=FAST)],
    "target-only": [avil.TargetOnly(learning_rate=FAST)],
    "slow": [avil.TargetOnly(learning_rate=SLOW)],
    "static": [avil.Static(learning_rate=rate, weights={"size": 1.0}) for rate in (SLOW, FAST)],
}


@cache
def trained(label: str, configuration: int, seed: int) -> avil.Result:
    return avil.train(houses(), METHODS[label][configuration], rounds=6, steps_per_round=12, seed=seed)


@pytest.mark.parametrize("label", METHODS)
def test_the_best_round_has_the_least_error_on_select(label: str) -> None:
    result = trained(label, 0, 0)
    main, tracks = f"select/{METRIC}", [name for name in result.history if name.endswith(f"select/{METRIC}")]
    errors = result.history[tracks]
    assert result.select in errors.loc[result.best_round].tolist(), "the main track may have gone on from another one"
    assert result.select <= errors[main].min() < errors[main].max()
    if tracks == [main]:
        assert result.best_round == errors[main].idxmin()


@pytest.mark.parametrize("label", METHODS)
def test_the_figure_on_test_is_that_of_the_best_theta(label: str) -> None:
    result = trained(label, 0, 1)
    test = houses().draw(1)["price"].test
    with torch.no_grad():
        error = torch.square(result.model()(test.inputs) - test.labels).mean().item()
    assert result.test[METRIC] == pytest.approx(error, rel=1e-5)
    assert result.test["loss"] == pytest.approx(error, rel=1e-5)


def test_regression_is_learned_by_every_kind_of_method() -> None:
    variance = houses().draw(0)["price"].test.labels.var().item()
    for label, configuration in (("alpha-vil", 0), ("target-only", 0), ("static", 1)):
        assert trained(label, configuration, 0).test[METRIC] < 0.02 * variance
    assert trained("slow", 0, 0).test[METRIC] > 0.3 * variance


def record(label: str, configuration: int, seed: int) -> TrialRecord:
    result = trained(label, configuration, seed)
    method = METHODS[label][configuration]
    return TrialRecord(
        key=trial_key(label, configuration, seed),
        label=label,
        method=label if label == "alpha-vil" else "static",
        configuration=configuration,
        options={name: value for name, value in asdict(method).items() if value is not None},
        seed=seed,
        status="finished",
        select=result.select,
        test=result.test,
        best_round=result.best_round,
        cost=Cost(gradient_steps=int(result.history["cost/gradient_steps"].sum())),
        history=result.history,
    )


def test_the_comparison_honours_the_direction(tmp_path: Path) -> None:
    facts = SweepFacts("houses", "houses", "price", METRIC, "min", TASKS, SEEDS, tuple(METHODS))
    records = [
        record(label, index, seed) for label in METHODS for index in range(len(METHODS[label])) for seed in SEEDS
    ]
    comparison = write_report(tmp_path, records, facts)
    static = comparison.by_label["static"]
    slow_rate, fast_rate = static.configurations
    assert slow_rate.select.mean > fast_rate.select.mean
    assert static.chosen.index == 1, "the configuration with less error on select"
    verdicts = {difference.b: difference.verdict for difference in comparison.differences}
    assert verdicts["slow"] == "ahead", "less error is ahead"
    (slow,) = (difference for difference in comparison.differences if difference.b == "slow")
    assert slow.estimate.difference < 0
    searched = static.best_of("min")
    assert searched[0].test > searched[1].test, "a longer search is expected to find less error"
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["metric"], summary["mode"]) == (METRIC, "min")
    assert "lower is better" in (tmp_path / "report.md").read_text().lower()


def test_a_metric_may_differ_from_the_loss() -> None:
    def ranked(seed: int) -> list[avil.Task]:
        price, *others = tasks(seed)
        return [avil.Task("price", price.train, price.dev, price.select, price.test, METRIC, "spearman"), *others]

    suite = avil.Suite(name="houses", target="price", task_names=TASKS, tasks=ranked, model=model)
    result = avil.train(suite, avil.Equal(learning_rate=FAST), rounds=3, steps_per_round=12)
    assert result.best_round == np.argmax(result.history["select/spearman"])
    assert result.test["spearman"] > 0.9
