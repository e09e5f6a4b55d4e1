"""A suite's tasks for one seed, each made only on access."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from weakref import WeakValueDictionary

from avil_ray.tasks.task import Task


class DrawnTasks(Mapping[str, Task]):
    """Name -> task. A task is made on first access, and again if it is no longer referenced anywhere.

    So iterating over all tasks without keeping them needs memory for only one at a time.

    Parameters
    ----------
    names
        The tasks, in order.
    make
        A name -> its task.
    """

    def __init__(self, names: Sequence[str], make: Callable[[str], Task]) -> None:
        self._names, self._make = tuple(names), make
        self._held: WeakValueDictionary[str, Task] = WeakValueDictionary()

    def __getitem__(self, name: str) -> Task:
        if name not in self._names:
            raise KeyError(name)
        task = self._held.get(name)
        if task is None:
            self._held[name] = task = self._make(name)
        return task

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
