"""Find out which auxiliary tasks help your target task, and by how much: αVIL in parallel on Ray, compared and tracked.

Names are loaded on first use, so that `import avil_ray` is cheap and needs neither Ray nor MLflow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avil_ray import suites as suites
    from avil_ray.diagnosis import affinity as affinity
    from avil_ray.errors import UserError as UserError
    from avil_ray.errors import WorkFailed as WorkFailed
    from avil_ray.export import load as load
    from avil_ray.learning.assignment import Assignment as Assignment
    from avil_ray.learning.assignment import Update as Update
    from avil_ray.learning.track import Track as Track
    from avil_ray.methods.alpha_fit import AlphaFit as AlphaFit
    from avil_ray.methods.alpha_fit import fit_alpha as fit_alpha
    from avil_ray.methods.alpha_vil import AlphaVIL as AlphaVIL
    from avil_ray.methods.method import Memory as Memory
    from avil_ray.methods.method import Method as Method
    from avil_ray.methods.method import Run as Run
    from avil_ray.methods.method import Setting as Setting
    from avil_ray.methods.static import Equal as Equal
    from avil_ray.methods.static import EqualFineTune as EqualFineTune
    from avil_ray.methods.static import Static as Static
    from avil_ray.methods.static import TargetOnly as TargetOnly
    from avil_ray.models.multitask import MultitaskModel as MultitaskModel
    from avil_ray.reports.affinity import Affinity as Affinity
    from avil_ray.result import Result as Result
    from avil_ray.sweeps.conclusion import Outcome as Outcome
    from avil_ray.sweeps.start import sweep as sweep
    from avil_ray.sweeps.trainable import trainable as trainable
    from avil_ray.tasks import augmentation as augmentation
    from avil_ray.tasks.examples import Examples as Examples
    from avil_ray.tasks.learning import Learning as Learning
    from avil_ray.tasks.losses import AbsoluteError as AbsoluteError
    from avil_ray.tasks.losses import BinaryCrossEntropy as BinaryCrossEntropy
    from avil_ray.tasks.losses import CrossEntropy as CrossEntropy
    from avil_ray.tasks.losses import SquaredError as SquaredError
    from avil_ray.tasks.suite import Suite as Suite
    from avil_ray.tasks.task import Task as Task
    from avil_ray.training import train as train

__version__ = "0.1.0"

_MODULES = {"augmentation": "tasks.augmentation", "suites": "suites"}

_HOMES = {
    "AbsoluteError": "tasks.losses",
    "Affinity": "reports.affinity",
    "AlphaFit": "methods.alpha_fit",
    "AlphaVIL": "methods.alpha_vil",
    "Assignment": "learning.assignment",
    "BinaryCrossEntropy": "tasks.losses",
    "CrossEntropy": "tasks.losses",
    "Equal": "methods.static",
    "EqualFineTune": "methods.static",
    "Examples": "tasks.examples",
    "Learning": "tasks.learning",
    "Memory": "methods.method",
    "Method": "methods.method",
    "MultitaskModel": "models.multitask",
    "Outcome": "sweeps.conclusion",
    "Result": "result",
    "Run": "methods.method",
    "Setting": "methods.method",
    "SquaredError": "tasks.losses",
    "Static": "methods.static",
    "Suite": "tasks.suite",
    "TargetOnly": "methods.static",
    "Task": "tasks.task",
    "Track": "learning.track",
    "Update": "learning.assignment",
    "UserError": "errors",
    "WorkFailed": "errors",
    "affinity": "diagnosis",
    "fit_alpha": "methods.alpha_fit",
    "load": "export",
    "sweep": "sweeps.start",
    "train": "training",
    "trainable": "sweeps.trainable",
}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return [name for name in __dir__() if name != "__version__"]
    if name in _MODULES:
        return importlib.import_module(f"avil_ray.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"avil_ray.{_HOMES[name]}"), name)
    if name in _methods():
        return getattr(importlib.import_module(_methods()[name]), name)
    raise AttributeError(f"module 'avil_ray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*_HOMES, *_MODULES, *_methods(), "__version__"})


def _methods() -> dict[str, str]:
    """Every method of the catalogue: the name of its class -> its module."""
    from avil_ray.catalog import METHODS

    return {name: module for module, _, name in (reference.partition(":") for reference in METHODS.values())}
