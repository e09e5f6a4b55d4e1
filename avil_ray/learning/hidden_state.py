"""State that objects hold besides theta: plain values, arrays and generators, found attribute by attribute.

A snapshot maps the name of each to a checksum, so comparing two snapshots shows what changed in between.
"""

from __future__ import annotations

import functools
import itertools
import random
import sys
import zlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MANY = 10_000
"""A longer list counts as data, not state: only its length is compared."""

Snapshot = dict[str, object]
"""The path of a value, such as `trunk.0.steps` -> a mark that is equal as long as the value is."""

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, itertools.count)


def snapshot(roots: Mapping[str, object], known: Collection[Tensor] = (), largest: int | None = None) -> Snapshot:
    """All state that these objects hold.

    Parameters
    ----------
    roots
        Name -> object; "" for an object whose attributes need no prefix.
    known
        Tensors to leave out because they are tracked elsewhere.
    largest
        Arrays with more bytes are compared by shape only; if not given, every array is compared in full.
    """
    found: Snapshot = {}
    seen = {id(tensor) for tensor in known}
    held: list[object] = []  # keeps objects alive: the id of a freed one may be reused
    waiting = list(roots.items())
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, PLAIN):
            found[path] = repr(value)
        elif id(value) not in seen:
            seen.add(id(value))
            held.append(value)
            mark = _mark(value, largest)
            if mark is not None:
                found[path] = mark
            else:
                waiting += _parts(path, value)
    return found


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """The paths whose values differ, in order."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def checksum(tensor: Tensor) -> int:
    """A number that tells two tensors of one shape and type apart, bit by bit."""
    return zlib.crc32(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def _mark(value: object, largest: int | None) -> object:
    """The mark of a tensor, array or generator; None for anything else."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta or (largest and value.nbytes > largest):
            return tuple(value.shape), value._version  # noqa: SLF001 (the tensor's own count of in-place changes)
        return tuple(value.shape), value.dtype, checksum(value)
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject or isinstance(value, np.memmap) or (largest and value.nbytes > largest):
            return (value.shape,)
        return value.shape, str(value.dtype), zlib.crc32(value.tobytes())
    if isinstance(value, torch.Generator):
        return checksum(value.get_state())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state())
    if isinstance(value, random.Random):
        return None if isinstance(value, random.SystemRandom) else hash(value.getstate())
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    return None


def _parts(path: str, value: Any) -> Iterator[tuple[str, object]]:
    """The values that an object holds, with their paths."""
    if isinstance(value, nn.Module):
        held = {name: part for name, part in vars(value).items() if name != "training"}
        for kind in ("_modules", "_parameters", "_buffers"):
            held |= held.pop(kind, {})
        yield from _named(path, held.items())
        yield from _of_class(path, type(value))
    elif isinstance(value, Mapping):
        yield f"len({path})", len(value)
        if len(value) <= MANY:
            yield from ((f"{path}[{key!r}]", part) for key, part in list(value.items()))
    elif isinstance(value, list | tuple | deque):
        yield f"len({path})", len(value)
        if len(value) <= MANY:
            yield from ((f"{path}[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from ((path, value.func), (path, value.args), (path, value.keywords))
    elif isinstance(value, MethodType):
        yield path, value.__self__
    elif isinstance(value, FunctionType):
        yield from _named(path, _closure(value))
        yield from _named(path, vars(value).items())
    elif not isinstance(value, type | ModuleType) and not _foreign(type(value).__module__):
        yield from _named(path, getattr(value, "__dict__", {}).items())
        slots = {name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())}
        yield from _named(path, ((name, getattr(value, name)) for name in slots if hasattr(value, name)))
        yield from _of_class(path, type(value))


def _of_class(path: str, kind: type) -> Iterator[tuple[str, object]]:
    """The plain values and arrays stored on a user's class itself, such as a counter."""
    for one in kind.__mro__:
        if not _foreign(one.__module__) and not one.__module__.startswith(("torch.", "avil_ray.")):
            held = {name: part for name, part in vars(one).items() if not name.startswith("__")}
            kinds = (*PLAIN, list, dict, deque, Tensor, np.ndarray)
            yield from _named(path, ((name, part) for name, part in held.items() if isinstance(part, kinds)))


def _closure(function: FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # an empty cell raises it
            yield name, cell.cell_contents


def _named(path: str, held: Iterable[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    yield from ((f"{path}.{name}" if path else name, part) for name, part in list(held))


def _foreign(module: str) -> bool:
    """Whether this module's classes are infrastructure (locks, loggers, compilers) without such state."""
    return module.partition(".")[0] in sys.stdlib_module_names or module.startswith(("torch._", "ray."))
