"""JSONL files: one object per line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avil_ray.errors import UserError, unknown
from avil_ray.suites.files.lines import lines
from avil_ray.suites.files.table import Table, one_source

HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""An escaped half of a surrogate pair, which is a character only together with its other half."""


def read_json_lines(file: Path, columns: Sequence[str]) -> Table:
    """Read some keys of a JSONL file's objects; None if a row lacks one.

    Raises
    ------
    UserError
        No row has one of the keys, or a line is not a JSON object.
    """
    found: list[list[Any]] = [[] for _ in columns]
    numbers, keys = [], dict[str, None]()
    for number, line in enumerate(lines(file), start=1):
        if line.isspace():
            continue
        row = _object(file, number, line)
        numbers.append(number)
        keys.update(dict.fromkeys(row))
        for values, column in zip(found, columns, strict=True):
            values.append(row.get(column))
    for column in columns:
        if numbers and column not in keys:
            raise unknown("column", column, keys, str(file))
    return one_source(str(file), dict(zip(columns, found, strict=True)), np.array(numbers, dtype=np.int64))


def _object(file: Path, number: int, line: str) -> dict[str, Any]:
    needed = 'each line must be an object such as {"text": "…", "label": "…"}'
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = f"{error.msg}, at character {error.colno}" if isinstance(error, json.JSONDecodeError) else "too large"
        raise UserError(f"{file}, row {number}: no valid JSON ({why}); {needed}") from None
    if not isinstance(row, dict):
        kind = {list: "a list", str: "text", type(None): "null", bool: "true or false"}.get(type(row), "a number")
        raise UserError(f"{file}, row {number}: holds {kind}; {needed}")
    if HALF.search(line):  # nearly all lines need no further check
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise UserError(f"{file}, row {number}: {half} is half a character; write both halves") from None
    return row
