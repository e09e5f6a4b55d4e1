"""Trials as a sweep leaves them, made from numbers rather than from training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from avil_ray.reports.facts import Setup, Start, SweepFacts
from avil_ray.reports.records import Cost, TrialRecord, trial_key

TASKS = ("left", "right", "left_odd", "noise")
SEEDS = (0, 1, 2, 3, 4)
ALPHAS = {"left": 1.3, "right": 1.1, "left_odd": 1.6, "noise": 0.1}
"""Where n · alpha goes, task by task."""


def history(
    best: float,
    generator: np.random.Generator,
    *,
    metric: str = "accuracy",
    tasks: tuple[str, ...] = TASKS,
    rounds: int = 20,
    fine_tuning: int = 0,
    steps: int = 96,
    alpha: Mapping[str, float] | None = None,
    trained: tuple[str, ...] = TASKS,
) -> pd.DataFrame:
    """A trial's rounds: select climbs to about `best`, n · alpha drifts from 1 to what `alpha` says, w follows it."""
    number = np.arange(rounds + fine_tuning)
    climb = best - (best - 0.5) * np.exp(-number / 4) + generator.normal(0, 0.004, len(number))
    columns: dict[str, Any] = {
        "round": number,
        "fine_tuning": np.where(number >= rounds, 1.0, np.nan),
        f"select/{metric}": climb,
        "select/loss": 2.3 - 2 * climb,
        "time/round": generator.uniform(0.4, 0.6, len(number)),
        "cost/gradient_steps": np.full(len(number), steps),
        **{f"train_loss/{task}": 2.3 - 2 * climb for task in trained},
    }
    main = number < rounds
    if fine_tuning:
        columns[f"target-only/select/{metric}"] = np.where(main, climb - 0.02, np.nan)
        columns["time/combine"] = 0.001 * steps
        columns |= {f"kept/{task}": np.where(number > 4, float(task != "noise"), np.nan) for task in trained[1:]}
    for task, end in (alpha or {}).items():
        settle = 1 + (end - 1) * (1 - np.exp(-number / 5))
        scaled = np.clip(settle + generator.normal(0, 0.12, len(number)), 0, 4)
        columns[f"alpha/{task}"] = np.where(main, scaled / len(tasks), np.nan)
        columns[f"weight/{task}"] = np.where(main, np.clip(1 + (end - 1) * number / rounds, 0.05, 4), np.nan)
        columns[f"cosine/{task}"] = np.where(main, 0.3 * end + generator.normal(0, 0.02, len(number)), np.nan)
    return pd.DataFrame(columns)


SETUP = Setup(
    suite={"name": "multimnist", "target": "left", "target_labels": 300},
    rounds=20,
    steps_per_round=24,
    given={"alpha-vil": (), "static": ("weights", "momentum")},
    learning={"learning_rate": 0.05, "batch_size": 32, "optimizer": "sgd", "schedule": "constant"},
    examples={"left": {"train": 200, "dev": 100, "select": 1000, "test": 2000}, "noise": {"train": None}},
    space="name: digits\nseeds: [0, 1, 2, 3, 4]\n",
)
START = Start(
    date="2026-01-02T03:04:05Z",
    commit="0123abc",
    versions={"avil_ray": "0.1.0", "torch": "2.13.0"},
    hardware=("Some CPU, Linux 6.1", "Ray had 2 CPUs and 0 GPUs on 1 node"),
    mlflow="#/experiments/1/runs/f00",
)


def make_facts(labels: tuple[str, ...], **changes: Any) -> SweepFacts:
    """The facts of a sweep over MultiMNIST, with changes."""
    facts: dict[str, Any] = {
        "name": "digits",
        "suite": "multimnist",
        "target": "left",
        "metric": "accuracy",
        "mode": "max",
        "tasks": TASKS,
        "seeds": SEEDS,
        "labels": labels,
        "setup": SETUP,
        "starts": (START,),
    }
    return SweepFacts(**{**facts, **changes})


def make_record(label: str, seed: int = 0, configuration: int = 0, **changes: Any) -> TrialRecord:
    """A finished trial with changes; `test` and `select` may be given as plain accuracies."""
    values: dict[str, Any] = {
        "key": trial_key(label, configuration, seed),
        "label": label,
        "method": label,
        "configuration": configuration,
        "options": {"dev": "train"},
        "seed": seed,
        "status": "finished",
        "select": 0.8,
        "test": 0.8,
        "best_round": 3,
        "cost": Cost(100, 2.0, 1.0, 4.0),
    }
    values.update(changes)
    if isinstance(values["test"], float):
        values["test"] = {"accuracy": values["test"], "loss": 0.5}
    return TrialRecord(**values)


def failed(record: TrialRecord, reason: str) -> TrialRecord:
    """The same trial, had it failed."""
    return make_record(
        record.label, record.seed, record.configuration, method=record.method, options=record.options, status="failed",
        reason=reason, select=None, test=None, best_round=None, cost=Cost(30, 0.5, 0.3, 0.6),
    )  # fmt: skip


def _trials(
    label: str, method: str, configuration: int, options: Mapping[str, Any], centre: float, steps: int, **rounds: Any
) -> list[TrialRecord]:
    """One configuration over all seeds: figures scattered around `centre`, the seeds' luck shared by all methods."""
    trials = []
    for seed in SEEDS:
        luck = np.random.default_rng(seed).normal(0, 0.008)
        generator = np.random.default_rng([seed, configuration, sum(map(ord, label))])
        test, select = centre + luck + generator.normal(0, 0.006, 2)
        found = history(float(select), generator, steps=steps, **rounds)
        total = steps * len(found)
        trial = make_record(
            label, seed, configuration, method=method, options=options, select=float(select), test=float(test),
            best_round=int(found["select/accuracy"].idxmax()), history=found,
            cost=Cost(total, total * 0.005, total * 0.003, total * 0.01),
        )  # fmt: skip
        trials.append(trial)
    return trials


def make_sweep() -> tuple[list[TrialRecord], SweepFacts]:
    """Two αVIL labels, three plain baselines, a static grid of twelve, and a method of which one seed fails."""
    labels = ("alpha-vil", "alpha-vil-paper", "target-only", "equal", "equal-then-target", "static", "fork-merge")
    paper = {"left": 1.02, "right": 0.98, "left_odd": 1.0, "noise": 1.05}
    robust = {"variant": "robust", "dev": "crossfit"}
    records = _trials("alpha-vil", "alpha-vil", 0, robust, 0.931, 96, alpha=ALPHAS, fine_tuning=7)
    records += _trials("alpha-vil-paper", "alpha-vil", 0, {"variant": "paper", "dev": "hold"}, 0.868, 96, alpha=paper)
    records += _trials("target-only", "target-only", 0, {"dev": "train"}, 0.906, 24, trained=("left",))
    records += _trials("equal", "equal", 0, {"dev": "train"}, 0.931, 96)
    records += _trials("equal-then-target", "equal-then-target", 0, {"dev": "train"}, 0.929, 96)
    grid = [(right, odd) for right in (0.0, 0.25, 0.5, 1.0) for odd in (0.0, 0.5, 1.0)]
    for index, (right, odd) in enumerate(grid):
        options = {"dev": "train", "weights.right": right, "weights.left_odd": odd, "momentum": 0.9}
        trained = ("left", *(["right"] if right else []), *(["left_odd"] if odd else []))
        centre = 0.90 + 0.03 * right + 0.022 * odd - 0.012 * right**2
        records += _trials("static", "static", index, options, centre, 96, trained=trained)
    fork = _trials("fork-merge", "fork-merge", 0, {"dev": "hold"}, 0.92, 200)
    records += [*fork[:4], failed(fork[4], "the loss was not finite in round 3")]
    return records, make_facts(labels)
