"""Search spaces for tests, written as YAML files."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

BASE: dict[str, Any] = {
    "name": "demo",
    "suite": {"name": "multimnist", "target": "left", "target_labels": 300},
    "rounds": 20,
    "steps_per_round": 24,
    "seeds": [0, 1, 2],
    "methods": [
        {"method": "alpha-vil"},
        {"method": "target-only"},
        {"method": "static", "weights": {"right": {"grid": [0, 0.5, 1]}, "left_odd": {"grid": [0, 1]}}},
    ],
}
"""A search space without a mistake: 1 + 1 + 6 configurations."""

REMOVED = object()
"""Takes a key away in `changed`."""


def changed(**changes: Any) -> dict[str, Any]:
    """`BASE` with other top-level values."""
    document = {**copy.deepcopy(BASE), **changes}
    return {key: value for key, value in document.items() if value is not REMOVED}


def with_static(**options: Any) -> dict[str, Any]:
    """`BASE` with `static` as its only method, and these options."""
    return changed(methods=[{"method": "static", **options}])


def write(folder: Path, document: Mapping[str, Any] | str, name: str = "demo.yaml") -> Path:
    """A YAML file of the document, or of the text."""
    path = folder / name
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
    return path
