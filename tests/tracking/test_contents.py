"""What stands in the runs of a sweep, as plain items."""

import json

import pandas as pd
import pytest
from simulated import SETUP, START, make_facts

from avil_ray.tracking import contents
from avil_ray.tracking.contents import (
    configuration,
    method_metrics,
    record_items,
    sweep_items,
    sweep_start,
    trial_items,
    trial_name,
)
from avil_ray.tracking.items import Data, File, Metrics, Note, Origin, Parameters, Table, Tag, Text, Totals

CONFIGURATION = {"suite.target_labels": 300, "learning_rate": 0.05, "batch_size": 32, "rounds": 20}
FACTS = make_facts(
    ("static",),
    setup=SETUP.__class__(
        **{
            **vars(SETUP),
            "configuration": CONFIGURATION,
            "searched": {"static": ("weights", "learning.learning_rate")},
            "digest": "abc",
        }
    ),
    starts=(START,),
)
TRIAL = {"key": "static/c002/s1", "label": "static", "method": "static", "configuration": 2, "seed": 1}


def trial(**options):
    return {**TRIAL, "options": options}


def only(items, kind):
    return [item for item in items if isinstance(item, kind)]


def test_trial_items_are_its_configuration_and_tags():
    items = trial_items(trial(weights={"a": 1}))
    assert only(items, Parameters) == [
        Parameters({"label": "static", "method": "static", "seed": "1", "weights.a": "1"})
    ]
    assert only(items, Tag) == [
        Tag("avil.label", "static"),
        Tag("avil.method", "static"),
        Tag("avil.configuration", "2"),
        Tag("avil.seed", "1"),
    ]
    assert not only(items, Data)


def test_a_trial_has_the_whole_configuration():
    found = configuration(trial(**{"weights.a": 0.5, "learning.batch_size": 8}), FACTS)
    assert found == {
        **CONFIGURATION,
        "batch_size": 8,
        "weights.a": 0.5,
        "method": "static",
        "label": "static",
        "seed": 1,
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0.05),
        ({"learning_rate": None}, 0.05),
        ({"learning_rate": 0.1}, 0.1),
        ({"learning.learning_rate": 0.2}, 0.2),
        ({"learning.learning_rate": 0.2, "learning_rate": 0.1}, 0.1),
    ],
)
def test_the_learning_rate_is_the_one_that_holds(options, expected):
    assert configuration(trial(**options), FACTS)["learning_rate"] == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"weights.right": 0.5, "dev": "train"}, "static right=0.5 · seed 1"),
        ({"weights.right": 0.123456789}, "static right=0.1235 · seed 1"),
        ({"weights.right": 1, "learning.learning_rate": 0.1}, "static right=1 learning_rate=0.1 · seed 1"),
        ({"dev": "train"}, "static · seed 1"),
    ],
)
def test_a_trial_is_called_by_what_the_search_chose(options, expected):
    assert trial_name(trial(**options), FACTS) == expected


def test_a_name_fits_whatever_was_searched():
    name = trial_name(trial(**{f"weights.{'x' * 40}{number}": 1 for number in range(20)}), FACTS)
    assert len(name) == 250
    assert name.endswith("… · seed 1")


def test_who_made_a_run_with_what(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "somebody")
    (made,) = only(trial_items(trial(), FACTS), Origin)
    assert made.tags == {
        "mlflow.user": "somebody",
        "mlflow.source.name": "avil-ray sweep",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": "0123abc",
    }
    changed = make_facts(("static",), starts=(START.__class__(**{**vars(START), "commit": "0123abc, with changes"}),))
    assert contents.origin(changed)["mlflow.source.git.commit"] == "0123abc"


def test_a_user_without_a_name_is_left_out(monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.setattr("getpass.getuser", nobody)
    assert set(contents.made_by("avil-ray run", None)) == {"mlflow.source.name", "mlflow.source.type"}


def test_the_data_of_each_seed_and_split():
    found = only(trial_items(trial(), FACTS), Data)
    assert [(one.split, dict(one.sizes)) for one in found] == [
        ("train", {"left": 200, "noise": None}),
        ("dev", {"left": 100}),
        ("select", {"left": 1000}),
        ("test", {"left": 2000}),
    ]
    assert {one.name for one in found} == {"multimnist"}
    assert json.loads(found[0].source) == {"suite": dict(SETUP.suite), "seed": 1}
    other = only(trial_items({**trial(), "seed": 2}, FACTS), Data)
    assert len({one.digest for one in (*found, *other)}) == 8
    assert found == only(trial_items(trial(), FACTS), Data)


def test_a_sweep_shows_what_holds_for_all_its_trials():
    items = sweep_start(FACTS)
    assert only(items, Parameters)[0].entries["suite.target_labels"] == "300"
    assert only(items, Parameters)[0].entries["seeds"] == "[0, 1, 2, 3, 4]"
    assert only(items, Origin)[0].name == "digits"
    assert sweep_start(None) == []


def test_each_methods_figures_are_metrics_of_the_sweep():
    summary = {
        "methods": [
            {
                "label": "equal",
                "test": {"mean": 0.9},
                "select": {"mean": 0.8},
                "cost": {"gradient_steps": 7, "reserved_device_seconds": 1.5},
            },
            {"label": "broken", "test": None, "select": None, "cost": {"gradient_steps": 2}},
        ]
    }
    assert list(method_metrics(summary).entries.items()) == [
        ("test/equal", 0.9),
        ("select/equal", 0.8),
        ("gradient_steps/equal", 7.0),
        ("gradient_steps/broken", 2.0),
        ("reserved_device_seconds/equal", 1.5),
    ]


def test_the_note_of_a_trial_that_has_ended_takes_the_place_of_the_first(record):
    (note,) = only(record_items(record(), "abc", FACTS), Note)
    assert "On test: accuracy 0.65" in note.content


def test_a_record_gives_every_round_and_why_it_failed(record):
    items = record_items(record(status="failed", reason="diverged"))
    assert [item.step for item in items if isinstance(item, Metrics)] == [0, 1, 2]
    assert Metrics(1, {"select/accuracy": 0.7, "round": 1.0}) in items
    assert Tag("avil.status", "failed") in items
    assert Tag("avil.reason", "diverged") in items
    unstarted = record_items(record(history=pd.DataFrame()))
    assert not any(isinstance(item, Metrics) for item in unstarted)


def test_a_sweep_gives_its_tables_and_the_files_that_are_there(tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("report.md", "space.yaml", "figures/curves.png", "tuner.pkl"):
        (tmp_path / name).write_text("content")
    methods = [
        {
            "label": "equal",
            "chosen": {"w": 1},
            "test": {"mean": 0.9, "ci95": [0.8, 1.0], "per_seed": {"0": 0.9}},
            "cost": {"steps": 4},
        },
        {"label": "broken", "chosen": None, "test": None, "cost": {"steps": 0}},
    ]
    summary = {"methods": methods, "comparisons": []}
    items = sweep_items(summary, tmp_path)
    table = next(item for item in items if isinstance(item, Table))
    assert table.name == "comparison.json"
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert rows[0] == {
        "label": "equal",
        "chosen": '{"w": 1}',
        "test.mean": 0.9,
        "test.ci95": [0.8, 1.0],
        "cost.steps": 4,
        "test": None,
    }
    assert rows[1]["cost.steps"] == 0
    assert only(items, Totals)[0].entries == {"test/equal": 0.9}
    assert [(item.path.name, item.folder) for item in items if isinstance(item, File)] == [
        ("report.md", ""),
        ("space.yaml", ""),
        ("curves.png", "figures"),
    ]
    assert json.loads(next(item for item in items if isinstance(item, Text)).content) == summary
