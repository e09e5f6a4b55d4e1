"""What a sweep could not send to its tracking store before it ended, sent later from its folder."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from avil_ray.errors import UserError, WorkFailed
from avil_ray.reports.comparison import Comparison
from avil_ray.storage import locked
from avil_ray.tracking.outbox import Outbox, unsent
from avil_ray.tracking.store import experiment_name, tracking_uri


def send_missing(storage: Path, folder: Path, comparison: Comparison) -> str | None:
    """Send what the tracking store lacks of the sweep in `folder`, but for models; why that failed, or None.

    Where the sweep sent all at its end the store is not asked. One that runs now sends for itself.
    """
    if unsent(folder) is None:
        return None
    facts, folder = comparison.facts, folder.absolute()
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except UserError:  # the sweep runs
            return None
        try:
            uri, experiment = tracking_uri(storage), experiment_name(facts.suite)
            outbox = stack.enter_context(Outbox(uri, experiment, facts.name, folder))
            return _send(outbox, comparison)
        except (UserError, WorkFailed) as error:
            return str(error)


def _send(outbox: Outbox, comparison: Comparison) -> str | None:
    status = unsent(outbox.folder) or "KILLED"
    outbox.reach()
    outbox.prepare(status=status)
    outbox.finish(comparison.summary(), status)
    outbox.settled()
    return outbox.trouble
