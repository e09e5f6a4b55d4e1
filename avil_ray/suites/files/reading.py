"""A user's data as a table: CSV, TSV, JSONL and Parquet files, folders of `save_to_disk`, names on the hub.

The split of a dataset with several is given after a colon: `folder:validation`, `owner/name:test`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from avil_ray.errors import UserError, nearest
from avil_ray.suites.files.delimited import read_delimited
from avil_ray.suites.files.hub import read_hub, read_parquet, read_saved
from avil_ray.suites.files.json_lines import read_json_lines
from avil_ray.suites.files.table import Table
from avil_ray.suites.options import absolute

READERS: dict[str, Callable[[Path, Sequence[str]], Table]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": read_json_lines,
    ".parquet": read_parquet,
}
"""A file's suffix -> its reader."""

SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")
"""Files of which a folder of `save_to_disk` contains one."""

HUB_NAME = re.compile(r"[\w-]+/[\w.-]+")


@dataclass(frozen=True)
class Source:
    """The source of a table.

    Parameters
    ----------
    name
        An absolute path, or a name on the hub.
    split
        The split of a dataset with several; None: see `hub.USUAL_SPLIT`.
    on_hub
        Whether it is a name on the hub.
    """

    name: str
    split: str | None = None
    on_hub: bool = False

    def __str__(self) -> str:
        return self.name if self.split is None else f"{self.name}:{self.split}"

    def read(self, columns: Sequence[str]) -> Table:
        """Read some columns; from memory if nothing has changed since they were read.

        Raises
        ------
        UserError
            It cannot be read, has no rows, or lacks a column.
        """
        return _read(self, tuple(dict.fromkeys(columns)), self.version())

    def files(self) -> list[Path]:
        """The files with its rows; empty for the hub."""
        path = Path(self.name)
        return [] if self.on_hub else [path] if path.is_file() else sorted(path.rglob("*.arrow"))

    def version(self) -> tuple[int, ...]:
        """A value that changes with a file: its size and modification time; empty for the hub."""
        if self.on_hub:
            return ()
        path = Path(self.name)
        marks = [path] if path.is_file() else [path / name for name in SAVED if (path / name).is_file()]
        return tuple(number for mark in marks for number in (mark.stat().st_size, mark.stat().st_mtime_ns))


def find_source(text: object) -> Source:
    """The source specified by a user's text; paths are made absolute, as workers may run in another folder.

    Raises
    ------
    UserError
        There is no such file, or its format is not supported.
    """
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise UserError(f"data must name a file, a folder of save_to_disk or a dataset on the hub, not {text!r}")
    try:
        return _found(text)
    except OSError as error:
        raise UserError(f"{text}: cannot be read ({error.strerror or error})") from error


def _found(text: str) -> Source:
    whole, _, split = text.rpartition(":")
    name, part = (whole, split) if whole and "/" not in split and not absolute(text).exists() else (text, None)
    path = absolute(name)
    if path.is_dir():
        if not any((path / mark).is_file() for mark in SAVED):
            raise UserError(f"{path}: is a folder; name a file in it, or a folder of save_to_disk")
        return Source(str(path), part)
    if not path.exists():
        if HUB_NAME.fullmatch(name) and path.suffix.lower() not in READERS and not path.parent.is_dir():
            return Source(name, part, on_hub=True)
        raise _not_there(path)
    if part is not None:
        raise UserError(f"{path}: a file has no splits; name it without :{part}")
    if not path.is_file():
        raise UserError(f"{path}: is not a regular file")
    if path.suffix.lower() not in READERS:
        hint = "; write one object per line and call it .jsonl" if path.suffix.lower() == ".json" else ""
        raise UserError(f"{path}: unknown extension {path.suffix!r}; available: {', '.join(READERS)}{hint}")
    return Source(str(path))


def _not_there(path: Path) -> UserError:
    if path.is_symlink():
        return UserError(f"{path}: is a link to {path.readlink()}, which is not there")
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest(path.name, beside)
    return UserError(f"{path}: no such file" + (f"; did you mean {near!r}?" if near else ""))


@lru_cache(maxsize=16)
def _read(source: Source, columns: tuple[str, ...], version: tuple[int, ...]) -> Table:
    del version  # part of the cache key
    if source.on_hub:
        return read_hub(source.name, source.split, columns)
    path = Path(source.name)
    if path.is_dir():
        return read_saved(path, source.split, columns)
    return READERS[path.suffix.lower()](path, columns)
