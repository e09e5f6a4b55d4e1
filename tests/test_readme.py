"""README's code for tasks of one's own runs as it stands, and what it points to is there."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

import avil_ray as avil
from avil_ray.tasks.augmentation import AUGMENTATIONS
from avil_ray.tasks.losses import LOSSES
from avil_ray.tasks.named_metrics import METRICS

ROOT = Path(__file__).parents[1]


def section() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split("## Your own tasks")[1].split("\n## ")[0]


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
