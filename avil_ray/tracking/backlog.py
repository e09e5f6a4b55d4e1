"""What the tracking store still has to be told, trial by trial: news of a trial add up until they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from avil_ray.tracking.items import Item, Metrics
from avil_ray.tracking.runs import RunStatus


@dataclass(frozen=True)
class Due:
    """News of one trial.

    Parameters
    ----------
    items
        What is known of it from its start.
    rounds
        Its rounds, in order.
    status
        How it stands, if that is news.
    """

    items: Sequence[Item] = ()
    rounds: Sequence[Metrics] = ()
    status: RunStatus | None = None

    def then(self, later: Due) -> Due:
        """These news and later ones, as one."""
        return Due([*self.items, *later.items], [*self.rounds, *later.rounds], later.status or self.status)


@dataclass
class Backlog:
    """News by trial, the one that waits longest first.

    >>> backlog = Backlog()
    >>> backlog.add("equal/c000/s0", Due(status="RUNNING"))
    >>> backlog.add("equal/c000/s0", Due(status="FINISHED"))
    >>> backlog.take()
    ('equal/c000/s0', Due(items=[], rounds=[], status='FINISHED'))
    """

    waiting: dict[str, Due] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.waiting)

    def add(self, key: str, news: Due) -> None:
        """Something happened to a trial."""
        self.waiting[key] = self.waiting.get(key, Due()).then(news)

    def replace(self, key: str, news: Due) -> None:
        """These news alone: they say all that others said."""
        self.waiting.pop(key, None)
        self.waiting[key] = news

    def ends(self, key: str) -> bool:
        """Whether the news say how a trial ended."""
        return self.waiting.get(key, Due()).status not in (None, "RUNNING")

    def take(self) -> tuple[str, Due]:
        """The news that wait longest."""
        key = next(iter(self.waiting))
        return key, self.waiting.pop(key)

    def put_back(self, key: str, news: Due) -> None:
        """They could not be sent; others are tried before them."""
        self.waiting[key] = news.then(self.waiting.pop(key, Due()))
