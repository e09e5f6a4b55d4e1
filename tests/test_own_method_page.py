"""The methods on the page about own methods train, at the estimated cost, and their runs can be resumed."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
import small

import avil_ray as avil
from avil_ray.methods.method import Method
from avil_ray.rounds import Round
from avil_ray.spaces.work import work_of

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "own-method.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(("name", "most"), [("PlainMean", 60), ("BetterHalf", 70), ("EqualLosses", 60)])
def test_an_example_trains_at_the_cost_that_was_estimated_and_can_be_resumed(
    name: str, most: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (example,) = (text for text in EXAMPLES if f"class {name}" in text)
    module = types.ModuleType("contributed")
    monkeypatch.setitem(sys.modules, "contributed", module)  # dataclasses look their module up
    exec(example.replace("from dataclasses", "__name__ = 'contributed'\nfrom dataclasses", 1), vars(module))
    method: Method = getattr(module, name)()
    suite = small.small_suite()
    result = avil.train(suite, method, rounds=4, steps_per_round=5)
    assert result.select > 0.5
    assert work_of(method, suite, suite.draw(0), 4, 5).gradient_steps == most
    assert result.history["cost/gradient_steps"].sum() in (most, 50)  # fewer where the target alone goes on

    def stop(done: Round) -> None:
        raise InterruptedError

    for _ in range(4):
        with pytest.raises(InterruptedError):
            avil.train(suite, method, rounds=4, steps_per_round=5, output=tmp_path, resume=True, on_round=stop)
    resumed = avil.train(suite, method, rounds=4, steps_per_round=5, output=tmp_path, resume=True)
    assert resumed.theta.tobytes() == result.theta.tobytes()
