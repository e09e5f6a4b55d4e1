"""`--set key=value` on a search space: dotted keys change the document before it is read."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from avil_ray.catalog import METHODS, find_factory, method_class
from avil_ray.config import option_names
from avil_ray.errors import UserError, unknown
from avil_ray.spaces import resources

TOP = ("name", "suite", "rounds", "steps_per_round", "seeds", "resources", "methods", "search")
ENTRY = ("method", "label", "samples")
SEARCH = ("algorithm", "scheduler", "trials")

_KEYS = {
    "": TOP,
    "resources": resources.KEYS,
    "resources.per_task": resources.SHARE_KEYS,
    "resources.driver": resources.SHARE_KEYS,
    "search": SEARCH,
}
"""place -> the keys that may stand there, where they are the same in every search space."""


def apply(document: Mapping[str, Any], settings: Sequence[tuple[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """A copy of the document with the settings in place.

    Returns
    -------
    tuple
        The new document; the place of each setting in it -> the setting's key, so that messages can name the setting
        where its value is wrong: {"methods[0].alpha_steps": "methods.alpha-vil.alpha_steps"}.

    Raises
    ------
    UserError
        Where a key is unknown, with the nearest right one.
    """
    changed = copy.deepcopy(dict(document))
    places: dict[str, str] = {}
    for key, value in settings:
        where, parts = f"--set {key}", key.split(".")
        if "" in parts:
            raise UserError(f"{where}: write a key as words between dots, such as suite.target_labels")
        if parts[0] == "methods" and len(parts) > 1:
            index, parts = _entry(changed, key.removeprefix("methods."), where)
            _put(changed["methods"][index], parts, value, where)
            place = f"methods[{index}]"
        else:
            _require_known(changed, parts, where)
            _put(changed, parts, value, where)
            place, parts = parts[0], parts[1:]
        places[".".join([place, *parts])] = key
    return changed, places


def _entry(document: Mapping[str, Any], rest: str, where: str) -> tuple[int, list[str]]:
    """The index of the entry whose label `rest` begins with, and the option's parts after it."""
    entries = document.get("methods")
    labels = [
        str(entry.get("label", entry.get("method"))) if isinstance(entry, Mapping) else ""
        for entry in (entries if isinstance(entries, list) else [])
    ]
    # labels may hold dots: the longest that fits is meant
    fitting = [label for label in labels if rest.startswith(f"{label}.")]
    if rest in labels:
        raise UserError(f"{where}: name an option too, such as methods.{rest}.learning_rate")
    if not fitting:
        raise unknown("label", rest.split(".")[0], filter(None, labels), f"{where}: methods")
    label = max(fitting, key=len)
    index = labels.index(label)
    parts = rest.removeprefix(f"{label}.").split(".")
    method = entries[index].get("method") if entries else None
    if isinstance(method, str) and method in METHODS:
        names = (*option_names(method_class(method)), *ENTRY)
        if parts[0] not in names:
            raise unknown("option", parts[0], names, where)
    return index, parts


def _require_known(document: Mapping[str, Any], parts: Sequence[str], where: str) -> None:
    for depth, part in enumerate(parts):
        place = ".".join(parts[:depth])
        names = _KEYS.get(place)
        if place == "suite":
            names = _suite_options(document.get("suite"))
        if names is not None and part not in names:
            raise unknown("option" if place == "suite" else "key", part, names, where)


def _suite_options(specification: Any) -> tuple[str, ...] | None:
    """The options of the suite, None where it cannot be told yet: reading the document will say why."""
    try:
        return (*option_names(find_factory(specification)[0]), "name", "factory")
    except (UserError, TypeError):
        return None


def _put(document: dict[str, Any], parts: Sequence[str], value: Any, where: str) -> None:
    for depth, part in enumerate(parts[:-1]):
        inner = document.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UserError(f"{where}: {'.'.join(parts[: depth + 1])} is {inner!r}, which has no parts to set")
        document = inner
    document[parts[-1]] = value
