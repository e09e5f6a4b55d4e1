"""The examples in CONTRIBUTING run as they stand there, and a run with them can be stopped."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
import small

import avil_ray as avil
from avil_ray.methods.method import Method
from avil_ray.spaces.work import work_of

EXAMPLES = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("name", ["PlainMean", "EqualLosses"])
def test_an_example_trains_and_costs_what_was_foretold(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (example,) = (text for text in EXAMPLES if f"class {name}" in text)
    module = types.ModuleType("contributed")
    monkeypatch.setitem(sys.modules, "contributed", module)  # dataclasses look their module up
    exec(example.replace("from dataclasses", "__name__ = 'contributed'\nfrom dataclasses", 1), vars(module))
    method: Method = getattr(module, name)()
    suite = small.small_suite()
    result = avil.train(suite, method, rounds=4, steps_per_round=5, output=tmp_path)
    assert result.select > 0.5
    foretold = work_of(method, suite, suite.draw(0), 4, 5)
    assert result.history["cost/gradient_steps"].sum() == foretold.gradient_steps == 60
