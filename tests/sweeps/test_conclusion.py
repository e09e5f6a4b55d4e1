"""The end of a sweep, where what its trials left is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from simulated import make_facts, make_record
from tiny_suite import tiny_suite

from avil_ray.reports.records import trial_folder, write_record
from avil_ray.sweeps.conclusion import conclude
from avil_ray.sweeps.trial import save_theta
from avil_ray.tracking.writer import Tracker


def test_damaged_parameters_cost_a_model_and_not_the_report(migrated_store: Path) -> None:
    folder, record = migrated_store.parent / "tiny", make_record("equal")
    write_record(trial_folder(folder, record.key), record)
    theta = trial_folder(folder, record.key) / "theta.safetensors"
    save_theta(theta, np.zeros(3, np.float32))
    theta.write_bytes(theta.read_bytes()[:-1] + b"\1")
    tracker = Tracker(f"sqlite:///{migrated_store}", "tiny", "tiny")
    outcome = conclude(folder, make_facts(("equal",), seeds=(0,)), [], tiny_suite(), tracker)
    assert outcome.trouble == f"the model of {record.key}, as {theta}: unreadable (the checksum is wrong)"
    assert (folder / "report.html").exists()
