"""The examples in docstrings run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import avil_ray as avil

ROOT = Path(avil.__file__).parent
MODULES = sorted(
    ".".join(("avil_ray", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
SWEEPS = {"avil_ray.sweeps.conclusion", "avil_ray.sweeps.start"}


def run_examples(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("module", [module for module in MODULES if module not in SWEEPS])
def test_the_examples_of_a_module_run(module: str) -> None:
    run_examples(module)


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted(SWEEPS))
@pytest.mark.usefixtures("ray_session")
def test_the_examples_of_sweeps_run(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run_examples(module)


@pytest.mark.parametrize("name", avil.__all__)
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(getattr(avil, name)) or "")
