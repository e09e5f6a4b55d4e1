"""News add up, and none is lost."""

from __future__ import annotations

from avil_ray.tracking.backlog import Backlog, Due
from avil_ray.tracking.items import Metrics, Tag


def row(step: int) -> Metrics:
    return Metrics(step, {"loss": float(step)})


def test_news_of_a_trial_are_sent_together_and_the_oldest_trial_first() -> None:
    backlog = Backlog()
    backlog.add("a", Due([Tag("x", "1")], status="RUNNING"))
    backlog.add("b", Due(rounds=[row(0)]))
    backlog.add("a", Due(rounds=[row(0)]))
    backlog.add("a", Due(rounds=[row(1)], status="FINISHED"))
    assert backlog.take() == ("a", Due([Tag("x", "1")], [row(0), row(1)], "FINISHED"))
    assert backlog.take() == ("b", Due([], [row(0)], None))
    assert not backlog


def test_what_could_not_be_sent_stays_before_what_came_since_and_others_are_tried_first() -> None:
    backlog = Backlog()
    backlog.add("a", Due(rounds=[row(0)], status="RUNNING"))
    backlog.add("b", Due(rounds=[row(7)]))
    key, news = backlog.take()
    backlog.add("a", Due(rounds=[row(1)]))
    backlog.put_back(key, news)
    assert backlog.take()[0] == "b"
    assert backlog.take() == ("a", Due([], [row(0), row(1)], "RUNNING"))


def test_a_record_takes_the_place_of_rounds() -> None:
    backlog = Backlog()
    backlog.add("a", Due(rounds=[row(0)], status="RUNNING"))
    backlog.replace("a", Due(status="FINISHED"))
    assert backlog.take() == ("a", Due(status="FINISHED"))
