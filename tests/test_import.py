"""What importing costs, and what each floor may not need."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("ray", "mlflow", "transformers", "datasets", "pandas", "sklearn", "matplotlib", "mlxtend")
ROOT = Path(__file__).parent.parent / "avil_ray"


def fresh(code: str) -> str:
    """What the code prints in a fresh interpreter, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT.parent).stdout


def loaded(code: str) -> set[str]:
    names = json.loads(fresh(f"{code}\nimport sys, json\nprint(json.dumps([n for n in sys.modules if '.' not in n]))"))
    return set(names)


def test_importing_the_package_loads_nothing_heavy() -> None:
    found = loaded("import avil_ray")
    assert not found & {*HEAVY, "torch", "numpy", "scipy"}


def test_a_run_in_this_process_needs_neither_ray_nor_mlflow_nor_transformers() -> None:
    found = loaded(
        "import avil_ray as avil\n"
        "suite = avil.suites.synthetic(train=50, target_labels=30, select=20, test=20)\n"
        "avil.train(suite, avil.AlphaVIL(), rounds=1, steps_per_round=1)"
    )
    assert "torch" in found
    assert not found & {"ray", "mlflow", "transformers", "datasets", "pandas", "matplotlib"}


BLOCKED = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None  # importing it raises ImportError
import importlib
for module in {modules!r}:
    importlib.import_module(module)
"""


@pytest.mark.parametrize("floor", ["tasks", "learning", "methods", "models", "suites"])
def test_the_lower_floors_import_without_ray_and_mlflow_and_all_but_suites_without_pydantic(floor: str) -> None:
    modules = [f"avil_ray.{floor}.{path.stem}" for path in (ROOT / floor).glob("*.py") if path.stem != "__init__"]
    assert modules
    blocked = ("ray", "mlflow") if floor == "suites" else ("ray", "mlflow", "pydantic")
    fresh(BLOCKED.format(modules=modules, blocked=blocked))


@pytest.mark.parametrize(("module", "blocked"), [("pools.ray_pool", "ray"), ("config", "pydantic")])
def test_the_block_blocks(module: str, blocked: str) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        fresh(BLOCKED.format(modules=[f"avil_ray.{module}"], blocked=(blocked,)))


FLOORS = [
    {"errors", "choices", "option_values", "plain", "randomness", "telemetry", "yaml_text"}
    | {"storage", "remote_storage", "storage_uri", "locking", "claims", "staging", "container", "interruption"},
    {"reports"},
    {"tracking"},
    {"tasks", "models"},
    {"learning"},
    {"pools"},
    {"methods"},
    {"config"},
    {"catalog", "contracts", "divergence", "rounds", "configuration"}
    | {"checkpoint", "checkpoint_vectors", "checkpoint_writer", "keeping"},
    {"launching"},
    {"arguments"},
    {"result", "training", "stacked", "diagnosis", "export"},
    {"suites"},
    {"spaces"},
    {"sweeps"},
    {"running", "run_tracking", "round_lines", "submitting", "listing", "checking", "predicting"},
    {"commands"},
    {"cli"},
]
"""From the ground up. A package may import from its own floor and from those below."""


def imported(path: Path) -> set[str]:
    """The rooms of the house that a module imports from, inside functions and for annotations too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("avil_ray.") and name[9] != "_"}


def test_no_module_imports_upward() -> None:
    height = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix in ("", ".py") and path.stem[0] != "_"}
    assert rooms <= set(height), "a room that has no floor"
    upward = [
        f"{path.relative_to(ROOT)} imports {room}"
        for path in ROOT.rglob("*.py")
        if path.stem not in ("__init__", "__main__")
        for room in imported(path)
        if height[room] > height[path.relative_to(ROOT).parts[0].removesuffix(".py")]
    ]
    assert upward == []


def test_every_promised_name_is_there_and_no_other() -> None:
    import avil_ray as avil

    for name in dir(avil):
        assert getattr(avil, name) is not None, name
    assert set(avil.__all__) == set(dir(avil)) - {"__version__"}
    promised = {"sweep", "trainable", "augmentation", "Learning", "CrossEntropy", "BinaryCrossEntropy", "SquaredError"}
    promised |= {"AbsoluteError", "MultitaskModel", "Method", "UserError", "WorkFailed", "affinity", "Result"}
    promised |= {"train", "Suite", "Task", "Examples", "AlphaVIL", "Static", "fit_alpha", "AlphaFit", "suites"}
    assert promised <= set(dir(avil))
    with pytest.raises(AttributeError, match="module 'avil_ray' has no attribute 'nothing'"):
        avil.nothing  # noqa: B018
