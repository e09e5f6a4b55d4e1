"""Checks the arguments of `train` before anything starts."""

from __future__ import annotations

from os import PathLike
from types import FunctionType
from typing import Any

from avil_ray.errors import UserError, whole
from avil_ray.launching import Ranks
from avil_ray.methods.method import Method
from avil_ray.storage import Storage
from avil_ray.tasks.suite import require_suite

MOST = {"rounds": 10**6, "steps_per_round": 10**9, "threads": 1024, "workers": 10**4, "seed": 2**63 - 1}
"""The largest values of arguments; with larger ones no run would ever end, or start."""


def check_kinds(suite: Any, method: Any, pool: Any, output: Any, resume: Any, on_round: Any) -> None:
    """Raise `UserError` if an argument has the wrong type."""
    require_suite(suite)
    if not isinstance(method, Method):
        hint = f"{method.__name__}() makes one" if isinstance(method, type) else "avil_ray.AlphaVIL() is one"
        raise UserError(f"method must be an avil_ray.Method, not {kind_of(method)}; {hint}")
    if not (callable(pool) or isinstance(pool, Ranks) or pool in ("inline", "ray", "train")):
        raise UserError(f"pool must be 'inline', 'ray' or 'train', not {pool!r}")
    if output is not None and not (isinstance(output, str | PathLike | Storage) and str(output)):
        raise UserError(f"output must be the path of a folder or a URI, not {kind_of(output)}")
    if not isinstance(resume, bool):
        raise UserError(f"resume must be True or False, not {kind_of(resume)}")
    if on_round is not None and not callable(on_round):
        raise UserError(f"on_round must be a function that takes a round, not {kind_of(on_round)}")


def check_numbers(**numbers: int) -> None:
    """Raise `UserError` if one of a run's numbers is not an integer within its bounds."""
    for name, value in numbers.items():
        if whole(name, value, 0 if name == "seed" else 1) > MOST[name]:
            raise UserError(f"{name} must be at most {MOST[name]:,}")


def check_workers(workers: Any, pool: Any) -> None:
    """Raise `UserError` if `workers` is not a possible number of workers for the pool."""
    if workers is None:
        return
    for one in workers if isinstance(workers, tuple) and pool == "train" else (workers,):
        check_numbers(workers=one)
    if pool == "inline":
        raise UserError("workers: pool 'inline' runs in this process only; omit workers, or use pool 'ray' or 'train'")


def kind_of(value: Any) -> str:
    """A description of a wrong argument, in one line."""
    if isinstance(value, type | FunctionType):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__name__}"
    text = " ".join(repr(value).split())
    return f"{text if len(text) < 60 else f'{text[:57]}...'} ({type(value).__name__})"
