"""The end of a sweep: what its trials left, be it damaged, and what tracking gets of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulated import history, make_facts, make_record
from text_files import all_texts, churn_rows, write_csv
from text_models import save_encoder
from tiny_suite import tiny_suite

import avil_ray as avil
from avil_ray.catalog import build_suite
from avil_ray.export import read_facts
from avil_ray.reports.advice import headline
from avil_ray.reports.comparison import compare
from avil_ray.reports.records import trial_folder, write_record
from avil_ray.sweeps.conclusion import Outcome, conclude, pack, save_best
from avil_ray.sweeps.trial import save_theta
from avil_ray.tracking.outbox import Outbox


def test_damaged_parameters_cost_a_model_and_not_the_report(migrated_store: Path) -> None:
    folder, record = migrated_store.parent / "tiny", make_record("equal")
    write_record(trial_folder(folder, record.key), record)
    theta = trial_folder(folder, record.key) / "theta.safetensors"
    save_theta(theta.parent, np.zeros(3, np.float32))
    theta.write_bytes(theta.read_bytes()[:-1] + b"\1")
    with Outbox(f"sqlite:///{migrated_store}", "tiny", "tiny", folder) as outbox:
        outbox.prepare()
        outcome = conclude(folder, make_facts(("equal",), seeds=(0,)), [], tiny_suite(), outbox)
    assert outcome.trouble == f"the model of {record.key}, as {theta}: unreadable (the checksum is wrong)"
    assert (folder / "report.html").exists()


def test_texts_become_a_pipeline_with_their_adapters_in_it(tmp_path: Path) -> None:
    churn = write_csv(tmp_path / "churn.csv", churn_rows(60))
    target = {"data": str(churn), "text": "body", "label": "churned", "name": "target"}
    encoder = save_encoder(tmp_path / "encoder", all_texts())
    suite = build_suite({"name": "text", "model": str(encoder), "target": target, "peft": "lora", "merge": False})
    result = avil.train(suite, avil.TargetOnly(), rounds=1, steps_per_round=1)
    packed = pack(result, tmp_path)
    assert packed.model is not None
    assert (packed.model / "model" / "model.safetensors").exists(), "the whole model"
    assert [path.name for path in packed.files] == ["avil.json"]


def test_the_best_model_of_texts_is_left_where_predict_finds_it(tmp_path: Path) -> None:
    churn = write_csv(tmp_path / "churn.csv", churn_rows(60))
    target = {"data": str(churn), "text": "body", "label": "churned"}
    suite = build_suite(
        {"name": "text", "model": str(save_encoder(tmp_path / "encoder", all_texts())), "target": target}
    )
    records = []
    for method, select in (("equal", 0.6), ("target-only", 0.7)):
        records.append(make_record(method, select=select))
        write_record(trial_folder(tmp_path, records[-1].key), records[-1])
        theta = avil.train(suite, avil.Equal(), rounds=1, steps_per_round=1).theta
        save_theta(trial_folder(tmp_path, records[-1].key), theta)
    comparison = compare(records, make_facts(("equal", "target-only"), seeds=(0,)))
    save_best(suite, tmp_path, comparison)
    assert read_facts(tmp_path / "model")["method"]["name"] == "target-only"
    assert avil.load(tmp_path / "model").predict(["a late order"])[0]["prediction"] in ("no", "yes")
    save_best(tiny_suite(), tmp_path / "other", comparison)
    assert not (tmp_path / "other").exists()


def test_other_models_become_a_graph_beside_their_named_weights(tmp_path: Path) -> None:
    packed = pack(avil.train(tiny_suite(), avil.TargetOnly(), rounds=1, steps_per_round=1), tmp_path)
    assert packed.model is not None
    assert (packed.model / "MLmodel").exists()
    assert [path.name for path in packed.files] == ["avil.json", "model.safetensors"]


def test_an_outcome_is_one_line_and_a_notebook_shows_the_table_and_the_curves(tmp_path: Path) -> None:
    rounds = history(0.8, np.random.default_rng(0))
    records = [make_record(label, seed, history=rounds) for label in ("equal", "static") for seed in (0, 1)]
    comparison = compare(records, make_facts(("equal", "static"), seeds=(0, 1)))
    outcome = Outcome(comparison, tmp_path / "digits", 0, None)
    best = comparison.best.label if comparison.best else None
    folder = str(tmp_path / "digits")
    assert repr(outcome) == (
        f"Outcome(sweep='{comparison.facts.name}', best={best!r}, trials=4, failed=0, unfinished=0, folder={folder!r})"
    )
    shown = outcome._repr_html_()
    for part in (headline(comparison), "<svg", "reserved device time", str(tmp_path / "digits" / "report.html")):
        assert part in shown
    [axes] = outcome.plot().axes
    assert len([line for line in axes.lines if line.get_transform() == axes.transData]) == 2


def test_an_outcome_without_results_has_no_curves_and_says_so(tmp_path: Path) -> None:
    outcome = Outcome(compare([], make_facts(("equal",), seeds=(0,))), tmp_path, 1, None)
    assert "nothing to compare" in outcome._repr_html_()
    with pytest.raises(avil.UserError, match="no method has finished on every seed"):
        outcome.plot()
