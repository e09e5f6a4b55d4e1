"""What commands print, for people and, with `--json`, for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from avil_ray.plain import plain
from avil_ray.reports.comparison import Comparison


@contextmanager
def reserved_output(as_json: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """With `--json`, keep stdout for one document: what else the block prints (a user's suite may) goes to stderr.

    Yields
    ------
    Callable
        Prints a document on stdout: strict JSON, with null for figures that are not finite.
    """
    stdout = sys.stdout

    def write(document: Mapping[str, Any]) -> None:
        print(json.dumps(strict(document), indent=1, allow_nan=False, default=str), file=stdout)

    if not as_json:
        yield write
        return
    with redirect_stdout(sys.stderr):
        yield write


def strict(value: Any) -> Any:
    """The value as strict JSON has it: text for keys, lists for tuples, null for what is not finite.

    Examples
    --------
    >>> strict({1: (0.5, float("nan"))})
    {'1': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(name): strict(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar
        return strict(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say_failures(comparison: Comparison) -> None:
    """A line on stderr for every trial that failed."""
    for failure in failures(comparison):
        print(f"failed: {plain(failure['trial'])}: {plain(failure['reason'])}", file=sys.stderr)


def failures(comparison: Comparison) -> list[dict[str, str]]:
    """Every trial that failed, and why."""
    failed = [failure for method in comparison.methods for failure in method.failures]
    return [{"trial": failure.key, "reason": failure.reason or ""} for failure in failed]
