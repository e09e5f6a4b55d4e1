"""The configuration of a run as plain values: the settings that must match to resume a stored run."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import zlib
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.methods.method import Method
from avil_ray.tasks.suite import Suite

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe(suite: Suite, method: Method, rounds: int, steps: int, seed: int, threads: int) -> dict[str, Any]:
    """The configuration of a run as flat JSON values.

    Functions and classes are compared by module and name, arrays by content.

    Raises
    ------
    UserError
        An option is an object that another process could not compare with its own, as its only text is an address.
    """
    run = {"rounds": rounds, "steps_per_round": steps, "seed": seed, "threads": threads}
    named = {"suite": suite.name, "target": suite.target, "method": type(method).__name__}
    fields = dataclasses.fields(method)
    options = {f"method.{field.name}": plain(field.name, getattr(method, field.name)) for field in fields}
    learning = {f"learning.{name}": value for name, value in dataclasses.asdict(suite.learning).items()}
    data = {f"suite.{name}": plain(str(name), value) for name, value in suite.options.items()}
    return {**named, **run, **options, **learning, **data}


def plain(option: str, value: Any) -> Any:
    """An option's value in JSON, the same in every process; `UserError` if there is none."""
    try:
        return _plain(option, value)
    except RecursionError:
        raise UserError(f"option {option!r} refers to itself, so a stored run could not be resumed") from None


def _plain(option: str, value: Any) -> Any:
    each = functools.partial(_plain, option)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return str(value) if math.isnan(value) else float(value)  # NaN is not equal to itself
    if isinstance(value, np.generic):
        return each(value.item())
    if isinstance(value, Mapping):
        return {str(each(name)): each(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [each(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(map(each, value), key=lambda part: json.dumps(part, sort_keys=True))
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return each(value.tolist())
    if isinstance(value, Tensor | np.ndarray):
        array = np.asarray(value.detach().cpu().float() if isinstance(value, Tensor) else value)
        return f"array {list(value.shape)} of {value.dtype}, checksum {zlib.crc32(array.tobytes())}"
    return _of_object(option, value)


def _of_object(option: str, value: Any) -> Any:
    """A value for an object: its name, its parts or its text."""
    each = functools.partial(_plain, option)
    if isinstance(value, functools.partial):
        return {"function": each(value.func), "arguments": each(value.args), "named": each(value.keywords)}
    if isinstance(value, MethodType):
        return {"function": each(value.__func__), "of": each(value.__self__)}
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value):
        fields = {field.name: each(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": each(type(value)), **fields}
    text = str(value)
    if _ADDRESS.search(text):
        raise UserError(
            f"option {option!r} is {text}, which another process cannot compare with its own, so a stored run could "
            "not be resumed; give a plain value, a function, a class or a dataclass, or run without output"
        )
    return text
