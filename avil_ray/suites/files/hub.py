"""Tables read by the library `datasets`: Parquet files, folders of `save_to_disk`, names on the hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from avil_ray.errors import UserError, unknown
from avil_ray.models.text import quiet_hub
from avil_ray.suites.files.table import Table, one_source

log = logging.getLogger(__name__)

USUAL_SPLIT = "train"
"""The default split of a dataset."""


def read_parquet(file: Path, columns: Sequence[str]) -> Table:
    """Read some columns of a Parquet file; classes written by `datasets` are converted to names.

    Raises
    ------
    UserError
        A column is missing, or the file is not a Parquet file.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as opened:
            schema = opened.schema_arrow
            _require(str(file), columns, schema.names)
            table = opened.read(columns=list(columns))
    except (ArrowException, OSError) as error:
        raise UserError(f"{file}: cannot be read as Parquet ({one_line_of(error)})") from error
    features: Mapping[str, Any] = {}
    if b"huggingface" in (schema.metadata or {}):
        with quiet_datasets(bars=False) as datasets:
            features = datasets.Features.from_arrow_schema(schema)
    return _table(str(file), table, columns, features)


def read_saved(folder: Path, split: str | None, columns: Sequence[str]) -> Table:
    """Read some columns of a dataset saved with `save_to_disk`."""
    with quiet_datasets(bars=False) as datasets:
        try:
            loaded = datasets.load_from_disk(str(folder))
        except Exception as error:
            raise UserError(f"{folder}: cannot be read as a saved dataset ({one_line_of(error)})") from error
    return _of_dataset(str(folder), loaded, split, columns)


def read_hub(name: str, split: str | None, columns: Sequence[str], configuration: str | None = None) -> Table:
    """Read some columns of a dataset on the hub; `configuration` names one of several parts."""
    with quiet_datasets() as datasets:
        try:
            loaded = datasets.load_dataset(name, configuration)
        except Exception as error:
            hint = "without internet access, pass a file or a save_to_disk folder"
            raise UserError(f"{name}: it cannot be loaded from the hub ({one_line_of(error)}); {hint}") from error
    return _of_dataset(name, loaded, split, columns)


def _of_dataset(name: str, loaded: Any, split: str | None, columns: Sequence[str]) -> Table:
    if isinstance(loaded, dict):
        chosen = split or (next(iter(loaded)) if len(loaded) == 1 else USUAL_SPLIT)
        if chosen not in loaded:
            raise unknown("split", chosen, loaded, name)
        if split is None and len(loaded) > 1:
            others = ", ".join(other for other in loaded if other != chosen)
            log.warning("%s: only its split %s is read; it also has %s", name, chosen, others)
        name, loaded = f"{name}:{chosen}", loaded[chosen]
    elif split is not None:
        raise UserError(f"{name}: it is one dataset without splits; name it without :{split}")
    _require(name, columns, loaded.column_names)
    return _table(name, loaded.select_columns(list(columns)).with_format("arrow")[:], columns, loaded.features)


def _table(name: str, table: Any, columns: Sequence[str], features: Mapping[str, Any]) -> Table:
    found = {column: _named(features.get(column), _values(name, table, column)) for column in columns}
    return one_source(name, found, np.arange(1, table.num_rows + 1))


def _values(name: str, table: Any, column: str) -> list[Any]:
    try:
        values: list[Any] = table.column(column).to_pylist()
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, or a date beyond the year 9999
        raise UserError(f"{name}: column {column!r} cannot be read ({one_line_of(error)})") from error
    return values


def _named(feature: Any, values: list[Any]) -> list[Any]:
    """The values, with class numbers replaced by names; -1 means unknown."""
    inner = getattr(feature, "feature", None)
    names = getattr(feature if inner is None else inner, "names", None)
    if names is None:
        return values

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(part) for part in value]
        return names[value] if isinstance(value, int) and 0 <= value < len(names) else None

    return [named(value) for value in values]


def _require(name: str, columns: Sequence[str], there: Sequence[str]) -> None:
    for column in columns:
        if column not in there:
            raise unknown("column", column, there, name)
        if there.count(column) > 1:
            raise UserError(f"{name}: it has two columns {column!r}; rename one")


@contextmanager
def quiet_datasets(bars: bool = True) -> Iterator[Any]:
    """The library `datasets`, with or without progress bars."""
    with quiet_hub():
        import datasets

        shown = not datasets.are_progress_bars_disabled()
        if not bars:
            datasets.disable_progress_bars()
        try:
            yield datasets
        finally:
            if shown:
                datasets.enable_progress_bars()


def one_line_of(error: Exception) -> str:
    """An error and its cause, in one line: readers wrap the cause in an uninformative error."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text if len(text) < 200 else text[:197] + '...'}"
