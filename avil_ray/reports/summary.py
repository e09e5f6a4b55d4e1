"""The comparison as `summary.json`: plain values, ready for strict JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avil_ray.reports.choosing import MethodSummary
    from avil_ray.reports.comparison import Comparison
    from avil_ray.reports.differences import PairedDifference
    from avil_ray.reports.statistics import BestOf, Estimate


def summary(comparison: Comparison) -> dict[str, Any]:
    """Every method, every comparison, what is recommended, and where it all ran."""
    from avil_ray.reports.advice import command, given
    from avil_ray.reports.equal_cost_table import as_json

    facts, best, alone = comparison.facts, comparison.best, comparison.alone
    told = {name: getattr(facts, name) for name in ("suite", "target", "metric", "mode", "tasks", "seeds")}
    recommended = None
    if best and best.chosen:
        recommended = {"label": best.label, "options": _plain(given(comparison, best)), "command": command(comparison)}
    return {
        "sweep": facts.name,
        **_plain(told),
        "reference": comparison.reference.label if comparison.reference else None,
        "target_alone": alone.label if alone else None,
        "recommended": recommended,
        "methods": [_method_json(method) for method in comparison.methods],
        "comparisons": [_difference_json(difference) for difference in comparison.differences],
        "against_target_alone": [_difference_json(difference) for difference in comparison.against_alone],
        "against_recommended": [_difference_json(difference) for difference in comparison.against_best],
        "equal_cost": _plain(as_json(comparison)),
        "starts": _plain([asdict(start) for start in facts.starts]),
    }


def _method_json(method: MethodSummary) -> dict[str, Any]:
    chosen = method.chosen
    return {
        "label": method.label,
        "method": method.method,
        "configurations": len(method.configurations),
        "trials": len(method.records),
        "failed": len(method.failures),
        "stopped": method.count("stopped"),
        "unfinished": method.count("unfinished"),
        "failures": [asdict(failure) for failure in method.failures],
        "chosen": _plain(chosen.options) if chosen else None,
        "chosen_configuration": chosen.index if chosen else None,
        "test": {**_estimate_json(chosen.test), "per_seed": _plain(chosen.per_seed)}
        if chosen and chosen.test
        else None,
        "select": _estimate_json(chosen.select) if chosen and chosen.select else None,
        "cost": {**asdict(method.cost), "busy": method.cost.busy},
    }


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    return {"mean": estimate.mean, "ci95": _plain(estimate.interval)}


def _difference_json(difference: PairedDifference) -> dict[str, Any]:
    estimate = difference.estimate
    return {
        "a": difference.a,
        "b": difference.b,
        "difference": estimate.difference if estimate else None,
        "ci95": _plain(estimate.interval) if estimate else None,
        "p_value": estimate.p_value if estimate else None,
        "p_holm": difference.corrected,
        "pairs": estimate.pairs if estimate else 0,
        "cost_ratio": difference.cost_ratio,
        "reserved_cost_ratio": difference.reserved_cost_ratio,
        "verdict": difference.verdict,
        "at_equal_cost": _best_json(difference.at_equal_cost),
        "at_equal_reserved_time": _best_json(difference.at_equal_reserved),
    }


def _best_json(best: BestOf | None) -> dict[str, Any] | None:
    return {"configurations": best.count, "expected_test": best.test} if best else None


def _plain(value: Any) -> Any:
    """The value as strict JSON has it: text for keys, lists for tuples, and text for an option that is not finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar, from a search's random draw
        return _plain(value.item())
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
