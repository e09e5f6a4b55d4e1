"""Numbers as people read them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # pandas and SciPy take seconds to import, and `avil-ray check` needs neither
    from avil_ray.reports.comparison import Comparison
    from avil_ray.reports.statistics import Estimate, Interval

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"


def decimals_for(comparison: Comparison) -> int:
    """How many decimals the metric gets everywhere in a report: two digits of the median interval, 2 to 5 decimals.

    Without any interval the largest mean gets four digits. One number of decimals for all, or a column cannot be read
    down.
    """
    tests = [method.test for method in comparison.methods if method.test]
    halves = sorted(test.half_width for test in tests if test.half_width)
    if halves:
        return _within(1 - math.floor(math.log10(halves[len(halves) // 2])), 2, 5)
    largest = max((abs(test.mean) for test in tests), default=0.0)
    return _within(3 - math.floor(math.log10(largest)), 0, 5) if largest else 4


def number(value: float, decimals: int) -> str:
    """A number with a true minus sign and thousands kept apart; never a negative zero."""
    text = f"{value:,.{decimals}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)


def signed(value: float, decimals: int) -> str:
    """A difference with its sign: `+0.012`, `−0.003`, `0.000`."""
    text = number(value, decimals)
    return text if text.startswith(MINUS) or not any(digit in text for digit in "123456789") else f"+{text}"


def estimate(value: Estimate | None, decimals: int) -> str:
    """`0.930 ± 0.010`, `0.930 (one seed)` where one value gives no interval, or `none complete`."""
    if value is None:
        return "none complete"
    half = value.half_width
    spread = "(one seed)" if half is None else f"± {number(half, decimals)}"
    return f"{number(value.mean, decimals)} {spread}"


def interval(value: Interval, decimals: int) -> str:
    """`[−0.001, 0.009]`."""
    return f"[{number(value[0], decimals)}, {number(value[1], decimals)}]"


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it: `51.2 s`, `12.5 min`, `3.1 h`; `n/a` where there is none."""
    if value is None:
        return "n/a"
    for limit, unit, divisor in ((100, "s", 1), (6000, "min", 60)):
        if value < limit:
            return f"{value / divisor:.1f} {unit}"
    return f"{value / 3600:,.1f} h"


def share(value: float | None) -> str:
    """`23 %`; `n/a` where there is none."""
    return "n/a" if value is None else f"{100 * value:.0f} %"


def probability(value: float) -> str:
    """A p-value: `p = 0.032`, or `p < 0.001`."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def times(ratio: float) -> str:
    """A ratio in two digits: `0.07 ×`, `13 ×`."""
    return f"{ratio:,.0f} {TIMES}" if ratio >= 9.95 else f"{ratio:.2g} {TIMES}"


def options(values: Mapping[str, Any]) -> str:
    """`dev = train, weights.right = 0.5`; what is not a word or a number as JSON has it."""
    return ", ".join(f"{name} = {value(one)}" for name, one in values.items()) or "no options"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(count: int, noun: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def value(one: Any) -> str:
    """An option's value: a word or a number as it is, anything else as JSON has it."""
    if isinstance(one, str):
        return one
    return str(one).removesuffix(".0") if isinstance(one, float) else json.dumps(one, ensure_ascii=False, default=str)


def _within(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
