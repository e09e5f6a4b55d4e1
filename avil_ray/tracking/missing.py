"""What a sweep could not send to its tracking store before it ended, sent later from its folder."""

from __future__ import annotations

from contextlib import ExitStack

from avil_ray.errors import UserError, WorkFailed
from avil_ray.locking import locked
from avil_ray.reports.comparison import Comparison
from avil_ray.storage import Storage
from avil_ray.tracking import notes
from avil_ray.tracking.outbox import Outbox, unsent
from avil_ray.tracking.store import experiment_name


def send_missing(uri: str, folder: Storage, comparison: Comparison) -> str | None:
    """Send what the tracking store lacks of the sweep in `folder`, but for models; why that failed, or None.

    `uri` is the store's. Where the sweep sent all at its end it is not asked. A sweep that runs now sends for itself.
    """
    if unsent(folder) is None:
        return None
    facts = comparison.facts
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except UserError:  # the sweep runs
            return None
        try:
            outbox = stack.enter_context(Outbox(uri, experiment_name(facts.suite), facts.name, folder))
            return _send(outbox, comparison)
        except (UserError, WorkFailed) as error:
            return str(error)


def _send(outbox: Outbox, comparison: Comparison) -> str | None:
    status = unsent(outbox.folder) or "KILLED"
    outbox.reach()
    outbox.prepare(comparison.facts, status)
    outbox.finish(comparison.summary(), status, [one.key for one in comparison.best_trials], notes.outcome(comparison))
    outbox.settled()
    return outbox.trouble
