"""`docs/history.md` says what every column of a history holds, and rounds are numbered without gaps."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import small

import avil_ray as avil
from avil_ray.catalog import METHODS, build_method

PAGE = Path(__file__).parents[1] / "docs" / "history.md"
SETTINGS = {"fork-merge": {"top_k": [0, 1]}, "static": {"weights": {"right": 0.5}}}


def documented() -> dict[str, str]:
    """Column -> a pattern of the names that it stands for, such as `alpha/<task>`."""
    names = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), flags=re.MULTILINE)
    parts = {"<task>": f"({'|'.join(small.TASKS)}|main)", "<metric>": "(accuracy|loss)", "<size>": r"\d+"}
    return {name: re.sub("<[a-z]+>", lambda found: parts[found.group()], name) for name in names}


@cache
def history(name: str) -> pd.DataFrame:
    method = build_method(name, SETTINGS.get(name, {}))
    return avil.train(small.small_suite(), method, rounds=7, steps_per_round=3, seed=4).history


def columns(name: str) -> set[str]:
    """Those of a method's history, without the names of tracks."""
    found = list(history(name))
    tracks = [column.removesuffix("select/loss") for column in found if column.endswith("/select/loss")]
    return {next((column.removeprefix(one) for one in tracks if column.startswith(one)), column) for column in found}


@pytest.mark.parametrize("name", METHODS)
def test_rounds_are_numbered_without_gaps(name: str) -> None:
    rounds = history(name)["round"].tolist()
    assert rounds == list(range(len(rounds)))
    assert len(rounds) >= 4


@pytest.mark.parametrize("name", METHODS)
def test_every_column_is_documented(name: str) -> None:
    patterns = documented().values()
    assert [column for column in columns(name) if not any(re.fullmatch(one, column) for one in patterns)] == []


def test_every_documented_column_is_there() -> None:
    found = set().union(*map(columns, METHODS))
    assert [name for name, one in documented().items() if not any(re.fullmatch(one, column) for column in found)] == []
