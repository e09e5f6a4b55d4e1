"""How a sweep's trials ended, known without reading their histories: `index.jsonl` in the sweep's folder.

The records are the truth. The index remembers what they said, with the sizes and times of the files that it was read
from; of a trial whose files are others now, or that it lacks, the record is read again. In storage at a URI there is no
index: there, each look reads the record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from avil_ray.errors import WorkFailed
from avil_ray.reports.records import HISTORY, RESULT, Status, checked, read_without_history, trial_folder
from avil_ray.storage import Place, Storage, at, why
from avil_ray.sweeps.trial import THETA

INDEX = "index.jsonl"
FILES = (RESULT, HISTORY, THETA)


@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Parameters
    ----------
    key, status, select
        See `TrialRecord`.
    stamp
        Sizes and times of modification of the files that say so, `FILES`; -1 where there is no such file.
    """

    key: str
    status: Status
    select: float | None
    stamp: tuple[int, ...]

    @property
    def well(self) -> bool:
        """Whether it came to a result, or was stopped on purpose."""
        return self.status in ("finished", "stopped")


class Index:
    """The index of a sweep's folder; a line is added for each trial that it did not know yet.

    Parameters
    ----------
    folder
        The sweep's. Its index may be missing, old or damaged: what it lacks is read from the records.
    """

    def __init__(self, folder: Place) -> None:
        self.folder = at(folder)
        text = "" if self.folder.local is None else _text(self.folder.local / INDEX)
        self._known = {one.key: one for one in _entries(text)}
        self._cut_off = not text.endswith("\n") and text != ""

    def look(self, key: str) -> Ended | None:
        """How the trial ended; None where it has not. WorkFailed where its files are damaged.

        Of the parameters, only whether the file is there and as long as it says.
        """
        place = trial_folder(self.folder, key)
        if not place.exists(RESULT):
            return None
        stamp = () if place.local is None else _stamp(place.local)
        known = self._known.get(key)
        if known is None or known.stamp != stamp or not stamp:
            record, _ = read_without_history(place)
            known = Ended(key, record.status, record.select, stamp)
            if known.status == "finished":
                _require_whole(place)
            self._add(known)
        return known

    def write(self) -> None:
        """Write the file anew, as small as it can be."""
        if self.folder.local is not None:
            self.folder.write(INDEX, "".join(map(_line, self._known.values())).encode())

    def _add(self, one: Ended) -> None:
        """A line at the end, on a line of its own: one before it may have been cut off by a crash."""
        self._known[one.key] = one
        if self.folder.local is None:
            return
        with (self.folder.local / INDEX).open("a") as file:
            file.write("\n" * self._cut_off + _line(one))
        self._cut_off = False


def _stamp(place: Path) -> tuple[int, ...]:
    found = []
    for name in FILES:
        try:
            about = (place / name).stat()
            found += [about.st_size, about.st_mtime_ns]
        except OSError:
            found += [-1, -1]
    return tuple(found)


def _require_whole(place: Storage) -> None:
    try:
        if place.local is None and not place.exists(THETA):  # a store has all of a file or none
            raise FileNotFoundError(f"there is no {THETA}")
        if place.local is not None:
            with safe_open(place.local / THETA, "numpy"):
                pass
    except (SafetensorError, OSError) as error:
        raise WorkFailed(f"{place.where(THETA)}: unreadable ({why(error)})") from error


def _line(one: Ended) -> str:
    return json.dumps(asdict(one)) + "\n"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _entries(text: str) -> Iterator[Ended]:
    """What each line says; one that says nothing, as it was cut off or spoilt, is left out."""
    for line in text.splitlines():
        try:
            yield checked(Ended, json.loads(line))
        except (ValueError, RecursionError):
            continue
