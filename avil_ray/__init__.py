"""Which auxiliary tasks help your target task, and by how much: alphaVIL in parallel on Ray, compared and tracked.

Names load where they are first used, so that `import avil_ray` costs little and needs neither Ray nor MLflow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avil_ray import suites as suites
    from avil_ray.diagnosis import affinity as affinity
    from avil_ray.errors import UserError as UserError
    from avil_ray.errors import WorkFailed as WorkFailed
    from avil_ray.methods.alpha_fit import AlphaFit as AlphaFit
    from avil_ray.methods.alpha_fit import fit_alpha as fit_alpha
    from avil_ray.methods.alpha_vil import AlphaVIL as AlphaVIL
    from avil_ray.methods.method import Method as Method
    from avil_ray.methods.static import Equal as Equal
    from avil_ray.methods.static import EqualFineTune as EqualFineTune
    from avil_ray.methods.static import Static as Static
    from avil_ray.methods.static import TargetOnly as TargetOnly
    from avil_ray.models.multitask import MultitaskModel as MultitaskModel
    from avil_ray.reports.affinity import Affinity as Affinity
    from avil_ray.tasks.examples import Examples as Examples
    from avil_ray.tasks.learning import Learning as Learning
    from avil_ray.tasks.suite import Suite as Suite
    from avil_ray.tasks.task import Task as Task
    from avil_ray.training import Result as Result
    from avil_ray.training import train as train

__version__ = "0.1.0"

_HOMES = {
    "Affinity": "reports.affinity",
    "AlphaFit": "methods.alpha_fit",
    "AlphaVIL": "methods.alpha_vil",
    "Equal": "methods.static",
    "EqualFineTune": "methods.static",
    "Examples": "tasks.examples",
    "Learning": "tasks.learning",
    "Method": "methods.method",
    "MultitaskModel": "models.multitask",
    "Result": "training",
    "Static": "methods.static",
    "Suite": "tasks.suite",
    "TargetOnly": "methods.static",
    "Task": "tasks.task",
    "UserError": "errors",
    "WorkFailed": "errors",
    "affinity": "diagnosis",
    "fit_alpha": "methods.alpha_fit",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name == "suites":
        return importlib.import_module("avil_ray.suites")
    if name in _HOMES:
        return getattr(importlib.import_module(f"avil_ray.{_HOMES[name]}"), name)
    if name in _methods():
        return getattr(importlib.import_module(_methods()[name]), name)
    raise AttributeError(f"module 'avil_ray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*_HOMES, *_methods(), "suites", "__version__"})


def _methods() -> dict[str, str]:
    """Every method of the catalogue: its class -> the module that it stands in."""
    from avil_ray.catalog import METHODS

    return {name: module for module, _, name in (reference.partition(":") for reference in METHODS.values())}
