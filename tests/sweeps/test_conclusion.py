"""The end of a sweep: what its trials left, be it damaged, and what tracking gets of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from simulated import make_facts, make_record
from text_files import all_texts, churn_rows, write_csv
from text_models import save_encoder
from tiny_suite import tiny_suite

import avil_ray as avil
from avil_ray.catalog import build_suite
from avil_ray.export import read_facts
from avil_ray.reports.comparison import compare
from avil_ray.reports.records import trial_folder, write_record
from avil_ray.sweeps.conclusion import conclude, pack, save_best
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
