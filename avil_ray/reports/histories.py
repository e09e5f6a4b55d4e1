"""A trial's rounds as CSV, which reads back to the last bit."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def history_content(history: pd.DataFrame) -> bytes:
    """One line a round below the names of the columns; nothing where there is no round."""
    return b"" if history.empty else _in_float64(history).to_csv(index=False).encode()


def _in_float64(history: pd.DataFrame) -> pd.DataFrame:
    """The same numbers in double precision: the shortest text of a float32 reads back as another float64."""
    narrow = [name for name in history.columns if history[name].dtype in (np.float16, np.float32)]
    return history.astype(dict.fromkeys(narrow, np.float64))


def read_history(content: bytes) -> pd.DataFrame:
    """A history to the last bit: not every version of pandas parses numbers exactly, Python does, and sooner."""
    names, *rows = csv.reader(io.StringIO(content.decode()))
    if "round" not in names:
        raise ValueError("the history has no column round")
    columns = zip(*(row for row in rows if row), strict=True)
    return pd.DataFrame(dict(zip(names, map(_numbers, columns), strict=True)), columns=names)


def _numbers(column: Sequence[str]) -> Sequence[Any]:
    """Whole numbers, or else numbers with NaN where nothing stands, or else the text as it is."""
    for convert in (int, lambda value: float(value or "nan")):
        try:
            return [convert(value) for value in column]
        except ValueError:
            continue
    return column
