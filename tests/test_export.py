"""Trained models out of the house and in again."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_suite import tiny_suite

import avil_ray as avil
from avil_ray.catalog import build_method, build_suite
from avil_ray.errors import UserError, WorkFailed
from avil_ray.training import Result

SIZES = {"train": 50, "target_labels": 30, "select": 20, "test": 20}


def trained(suite: avil.Suite | None = None, method: avil.Method | None = None) -> Result:
    suite = suite or avil.suites.synthetic(**SIZES)
    return avil.train(suite, method or avil.TargetOnly(), rounds=1, steps_per_round=2)


@pytest.fixture(scope="module")
def result() -> Result:
    return trained()


def inputs_of(result: Result) -> torch.Tensor:
    inputs: torch.Tensor = result.suite.draw(0)[result.suite.target].test.inputs[:5]
    return inputs


def test_a_saved_model_is_the_results_model(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path / "out")
    loaded = avil.load(tmp_path / "out")
    assert not loaded.training
    assert torch.equal(loaded(inputs_of(result)), result.model()(inputs_of(result)))


def test_another_process_loads_it(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path / "out")
    torch.save(inputs_of(result), tmp_path / "inputs.pt")
    code = "import torch, avil_ray; print(avil_ray.load('out')(torch.load('inputs.pt')).flatten().tolist())"
    environment = {**os.environ, "PYTHONPATH": str(Path(avil.__file__).parent.parent)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == result.model()(inputs_of(result)).flatten().tolist()


def test_weights_have_the_names_of_the_model_and_only_the_targets_head(tmp_path: Path) -> None:
    result = trained(tiny_suite())
    result.save(tmp_path)
    stored, state = load_file(tmp_path / "model.safetensors"), result.model().state_dict()
    assert sorted(stored) == sorted(name for name in state if not name.startswith(("model.heads.b", "model.heads.c")))
    assert all(torch.equal(stored[name], state[name]) for name in stored)


def test_avil_json_says_what_the_model_is(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "avil.json").read_text())
    assert facts["suite"]["specification"].items() >= {"name": "synthetic", **SIZES}.items()
    assert (facts["format"], facts["target"], facts["seed"]) == (1, "target", 0)
    assert facts["method"]["name"] == "target-only"
    assert facts["metric"] == "accuracy"
    assert facts["figures"] == {"test": result.test, "select": result.select, "best_round": result.best_round}
    assert facts["versions"]["avil_ray"] == avil.__version__
    assert facts["versions"]["torch"] == torch.__version__


def test_the_suite_is_built_as_it_was_asked_for(tmp_path: Path) -> None:
    suite = build_suite({"factory": "tiny_suite:tiny_suite", "delay": 0.0})
    trained(suite).save(tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "avil.json").read_text())
    assert facts["suite"]["specification"] == {"factory": "tiny_suite:tiny_suite", "delay": 0.0}
    avil.load(tmp_path / "out")


def test_a_suite_that_was_made_in_python_is_given_again(tmp_path: Path) -> None:
    result = trained(tiny_suite())
    result.save(tmp_path / "out")
    with pytest.raises(UserError, match=r"suite 'tiny' was made in Python; pass it: load\(folder, suite=…\)"):
        avil.load(tmp_path / "out")
    loaded = avil.load(tmp_path / "out", tiny_suite())
    assert torch.equal(loaded(inputs_of(result)), result.model()(inputs_of(result)))
    with pytest.raises(UserError, match=r"model\.safetensors: model\.heads\.a\.bias does not match suite 'synthetic'"):
        avil.load(tmp_path / "out", avil.suites.synthetic(**SIZES))


def test_a_method_that_changes_the_model_is_remembered(tmp_path: Path) -> None:
    result = trained(method=build_method("alignment", {}))
    result.save(tmp_path / "out")
    loaded = avil.load(tmp_path / "out")
    assert torch.equal(loaded(inputs_of(result)), result.model()(inputs_of(result)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfAnObject(avil.TargetOnly):
    """A method with an option that no file can hold."""

    thing: object = dataclasses.field(default_factory=object)


def test_options_that_no_file_can_hold_are_left_out(tmp_path: Path) -> None:
    result = trained(method=OfAnObject())
    result.save(tmp_path)
    assert json.loads((tmp_path / "avil.json").read_text())["method"]["options"] is None
    assert torch.equal(avil.load(tmp_path)(inputs_of(result)), result.model()(inputs_of(result)))


def test_saving_again_replaces_the_earlier_export_and_nothing_else(result: Result, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result.save(folder)
    facts = json.loads((folder / "avil.json").read_text())
    facts["files"]["adapter_config.json"] = ""
    (folder / "avil.json").write_text(json.dumps(facts))
    (folder / "adapter_config.json").write_text("of the earlier export")
    (folder / "notes.txt").write_text("mine")
    result.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["avil.json", "model.safetensors", "notes.txt"]
    avil.load(folder)


def test_a_folder_that_cannot_be_written_is_one_line(result: Result, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkFailed, match="file/out: cannot be written"):
        result.save(tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.safetensors", lambda old: old[:-1] + b"\1", "model.safetensors: is not what was written"),
        ("model.safetensors", lambda old: old[:100], "model.safetensors: is not what was written"),
        ("model.safetensors", None, "model.safetensors: cannot be read .No such file"),
        ("avil.json", None, "holds no exported model .no avil.json.; result.save"),
        ("avil.json", lambda old: old[:50], "avil.json: cannot be read"),
        ("avil.json", lambda old: b"[1]", "avil.json: cannot be read"),
        ("avil.json", lambda old: b"\xff", "avil.json: cannot be read"),
        ("avil.json", lambda old: old.replace(b'"format": 1', b'"format": 2'), "avil.json: was written by another"),
        ("avil.json", lambda old: old.replace(b'"module"', b'"sound"'), "avil.json: was written by another"),
    ],
)
def test_what_is_damaged_is_one_line(result: Result, tmp_path: Path, name, change, message) -> None:
    result.save(tmp_path)
    path = tmp_path / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message) as error:
        avil.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: holds no exported model"):
        avil.load(tmp_path / "nowhere")
