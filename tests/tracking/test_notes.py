"""Descriptions of runs."""

from dataclasses import replace

import numpy as np
from simulated import SETUP, make_facts, make_record

from avil_ray.reports.comparison import compare
from avil_ray.tracking import notes

LABELS = ("alpha-vil", "target-only")
FACTS = make_facts(LABELS, setup=replace(SETUP, searched={"static": ("weights",)}), seeds=(0, 1))


def comparison():
    found = [make_record(label, seed=seed) for label in LABELS for seed in (0, 1)]
    return compare(found, FACTS)


def test_a_sweep_is_described_by_its_verdict_table_filter_and_links():
    outcome = notes.outcome(comparison())
    note = notes.sweep(FACTS, "7", "f00", outcome, ["a1", "b2"])
    first, *_ = note.split("\n")
    assert first.startswith("**Train left with ")
    header = next(line for line in note.split("\n") if line.startswith("| method"))
    assert header.endswith("| gradient steps | reserved device time |")
    assert all(f"\n| {label} | " in note for label in LABELS)
    assert "\n```\ntags.mlflow.parentRunId = 'f00'\n```" in note
    assert "avil-ray run multimnist" in note
    assert "[the report](#/experiments/7/runs/f00/artifacts/report.html" in note
    assert "a1%22%2C%20%22b2" in note


def test_a_sweep_that_runs_says_what_and_how_to_find_its_trials():
    note = notes.sweep(FACTS, "7", "f00", "", [])
    assert note.startswith("The sweep is running: alpha-vil and target-only, over 2 seeds, for the target left.")
    assert "tags.mlflow.parentRunId = 'f00'" in note
    assert "report" not in note
    assert notes.sweep(None, "7", "f00", "", []).startswith("The sweep is running.")


def trial(record):
    facts = {name: getattr(record, name) for name in ("label", "method", "options", "seed")}
    return notes.trial(record, facts, FACTS)


def test_a_trial_is_described_by_what_was_tried_and_what_came_of_it(record):
    done = record(label="static", options={"weights": {"right": 0.5}, "dev": "train"}, seed=3)
    flat = replace(done, options={"weights.right": 0.5, "dev": "train"})
    first, _, ending = trial(flat).split("\n")
    assert first == "**static** with right = 0.5, seed 3."
    assert ending.startswith("On test: accuracy 0.65. These are the parameters after round 1, ")
    assert ending.endswith("It took 300 gradient steps and 5.0 s of reserved device time.")


def test_a_trial_that_failed_says_why(record):
    failed = record(status="failed", reason="diverged in <round> 3", select=None, test=None)
    assert trial(failed).endswith("It failed: diverged in \\<round> 3.")
    assert trial(replace(failed, status="stopped", reason=None)).endswith("It was stopped early.")
    assert trial(replace(failed, status="unfinished", reason=None)).endswith("It has not finished.")


def test_a_label_of_another_name_says_its_method(record):
    assert "**mine**, seed 0 (method static)." in trial(record(label="mine", options={}))


def test_numbers_of_numpy_read_as_numbers(record):
    assert trial(replace(record(label="static"), options={"weights.a": np.float64(0.5)})).startswith(
        "**static** with a = 0.5"
    )
