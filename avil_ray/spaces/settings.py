"""`--set key=value` for search spaces: dotted keys change the document before it is read."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from avil_ray.catalog import LEARNING, find_factory, label_of, method_options
from avil_ray.config import option_names, short
from avil_ray.errors import UserError, unknown
from avil_ray.spaces.fields import keys, written
from avil_ray.spaces.reading import ENTRY
from avil_ray.tasks.learning import Learning


def apply(
    document: Mapping[str, Any], settings: Sequence[tuple[str, Any]], kind: type
) -> tuple[dict[str, Any], dict[str, str]]:
    """A copy of the document with the settings applied; `kind` is the dataclass that it will be read as.

    Returns
    -------
    tuple
        The new document; and the place of each setting -> its key, so that messages can name a setting with a wrong
        value: {"methods[0].alpha_steps": "methods.alpha-vil.alpha_steps"}.

    Raises
    ------
    UserError
        A key is unknown; the nearest valid one is suggested.
    """
    changed = copy.deepcopy(dict(document))
    places: dict[str, str] = {}
    for key, value in settings:
        where = f"--set {key}"
        parts: list[int | str] = [*key.split(".")]
        if "" in parts:
            raise UserError(f"{where}: write a key as names separated by dots, such as suite.target_labels")
        if parts[0] == "methods" and len(parts) > 1:
            parts = _below_label(changed.get("methods"), key.removeprefix("methods."), where)
        _put(changed, parts, value, kind, where)
        places[written("", parts)] = key
    return changed, places


def _below_label(entries: Any, rest: str, where: str) -> list[int | str]:
    """The parts of a key, with the entry's label (at the start of `rest`) replaced by its number."""
    entries = entries if isinstance(entries, list) else []
    labels = [
        str(one.get("label", label_of(str(one.get("method"))))) if isinstance(one, Mapping) else "" for one in entries
    ]
    if rest in labels:
        raise UserError(f"{where}: name an option too, such as methods.{rest}.learning_rate")
    # labels may contain dots: use the longest match
    label = max((label for label in labels if label and rest.startswith(f"{label}.")), key=len, default=None)
    if label is None:
        raise unknown("label", rest.split(".")[0], filter(None, labels), f"{where}: methods")
    return ["methods", labels.index(label), *rest.removeprefix(f"{label}.").split(".")]


def _put(document: dict[str, Any], parts: Sequence[int | str], value: Any, kind: type, where: str) -> None:
    inner: Any = document
    last = inner
    for depth, part in enumerate(parts):
        above, place = parts[:depth], written("", parts[:depth])
        if {int: list, str: dict}[type(part)] is not type(inner):
            raise UserError(f"{where}: {place} is {short(inner)}, which has no parts to set")
        options = _options(document, above)
        names = options or keys(kind, above)
        if names and part not in names:
            raise unknown("option" if options else "key", part, names, where)
        last, inner = inner, inner[part] if isinstance(part, int) else inner.setdefault(part, {})
    last[parts[-1]] = value


def _options(document: Mapping[str, Any], above: Sequence[int | str]) -> tuple[str, ...]:
    """The options of the suite, of learning or of a method, at their places; empty if reading will report a mistake."""
    if above == [LEARNING]:
        return option_names(Learning)
    try:
        if above == ["suite"]:
            return (*option_names(find_factory(document["suite"])[0]), "name", "factory")
        if len(above) == 2 and above[0] == "methods":
            return (*method_options(document["methods"][above[1]]["method"]), *ENTRY)
    except (UserError, TypeError, KeyError):
        pass
    return ()
