"""The end of a sweep: what its trials left becomes one comparison, on disk and in the tracking store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from avil_ray.catalog import build_trial
from avil_ray.errors import UserError, WorkFailed
from avil_ray.export import FACTS
from avil_ray.learning.passes import Source
from avil_ray.models.text import quiet_transformers
from avil_ray.models.text_export import TextExporter
from avil_ray.reports.comparison import Comparison, SweepFacts
from avil_ray.reports.records import TrialRecord, read_records, trial_folder
from avil_ray.reports.write import write_report
from avil_ray.spaces.entries import TrialPlan
from avil_ray.storage import Place, Storage, at
from avil_ray.sweeps.at_equal_cost import at_equal_cost
from avil_ray.sweeps.trial import load_theta, make_record
from avil_ray.tasks.suite import Suite
from avil_ray.tracking import notes
from avil_ray.tracking.exported import Packed, export_pipeline, pack_model
from avil_ray.training import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from avil_ray.tracking.outbox import Outbox
    from avil_ray.tracking.runs import RunStatus


MODEL = "model"
"""Where a sweep's folder holds the model of its best trial, if its suite knows a format of the outside world."""


@dataclass(frozen=True, repr=False)
class Outcome:
    """What a sweep came to.

    Attributes
    ----------
    comparison
        The table, the differences, the costs.
    folder
        Where everything stands: a path, or what stands for a folder at a URI.
    unfinished
        How many trials have no result: the sweep was interrupted.
    trouble
        What the tracking store lacks and why; None where it has everything.
    views
        Where the sweep is in the MLflow UI: `trials`, `charts`, `comparison` (of the best trial of each method) and
        `report`. Addresses from `#` on where no server is known; `avil-ray ui` serves them.

    Examples
    --------
    >>> import tempfile
    >>> import avil_ray as avil
    >>> suite = {"name": "synthetic", "train": 60, "target_labels": 30, "select": 30, "test": 30}
    >>> space = {"name": "small", "suite": suite, "rounds": 2, "steps_per_round": 2, "seeds": [0, 1]}
    >>> space["methods"] = [{"method": "equal"}, {"method": "target-only"}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     outcome = avil.sweep(space, storage=folder)
    >>> outcome.failed, outcome.unfinished, outcome.trouble
    (0, 0, None)
    """

    comparison: Comparison
    folder: Path | Storage
    unfinished: int
    trouble: str | None
    views: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, Any]:
        """The comparison as plain values: what stands in `summary.json`."""
        return self.comparison.summary()

    @property
    def failed(self) -> int:
        """How many trials failed."""
        return sum(method.count("failed") for method in self.comparison.methods)

    def __repr__(self) -> str:
        best, trials = self.comparison.best, sum(len(method.records) for method in self.comparison.methods)
        what = f"sweep={self.comparison.facts.name!r}, best={best and best.label!r}, trials={trials}"
        lacking = f"failed={self.failed}, unfinished={self.unfinished}"
        return f"Outcome({what}, {lacking}, folder={at(self.folder).where()!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: what to train with, a row for each method, and the learning curves."""
        from avil_ray.reports import advice, curves, page_tables
        from avil_ray.reports.cards import card
        from avil_ray.reports.drawing import LIGHT, own_look

        with own_look():
            drawn = curves.select_curves(self.comparison, LIGHT)
        lines = [advice.headline(self.comparison), f"report: {at(self.folder).where('report.html')}"]
        lines += [f"not in MLflow yet: {self.trouble}"] if self.trouble else []
        rows = [row.cells for row in page_tables.rows(self.comparison)]
        return card(f"Sweep {self.comparison.facts.name}", lines, rows, drawn)

    def plot(self) -> Figure:
        """The learning curves of the methods: select over gradient steps, for each method's chosen configuration.

        Raises
        ------
        UserError
            No method has a result yet.
        """
        from avil_ray.reports import curves
        from avil_ray.reports.drawing import LIGHT, own_look

        with own_look():
            drawn = curves.select_curves(self.comparison, LIGHT)
        if drawn is None:
            raise UserError("no method has finished on every seed, so there are no learning curves to plot")
        return drawn.figure


def conclude(
    place: Place, facts: SweepFacts, plans: list[TrialPlan], suite: Suite, outbox: Outbox, register: str | None = None
) -> Outcome:
    """Compare what there is, write the report, then bring the tracking store up to date, models last.

    The model of the recommended configuration's best trial becomes a version of the registered model `register`.
    """
    folder = at(place)
    records = read_records(folder)
    there = {record.key for record in records}
    lacking = [make_record(asdict(plan), "unfinished", []) for plan in plans if plan.key not in there]
    comparison = write_report(folder, [*records, *lacking], facts, at_equal_cost)
    failed = any(record.status == "failed" for record in records)
    status: RunStatus = "KILLED" if lacking else "FAILED" if failed else "FINISHED"
    best = {record.key: record for record in comparison.best_trials}
    lost: list[str] = []
    for key in outbox.finish(comparison.summary(), status, list(best), notes.outcome(comparison)):
        try:
            log_model(outbox, suite, folder, best[key])
        except WorkFailed as error:
            lost.append(f"the model of {key}, as {error}")
    if register is not None and (recommended := _recommended(comparison)) is not None:
        outbox.register(recommended.key, register)
    outbox.settled()
    try:
        save_best(suite, folder, comparison)
    except (UserError, WorkFailed) as error:
        lost.append(f"the folder {MODEL}, as {error}")
    told = "; ".join(filter(None, [outbox.trouble, *lost])) or None
    return Outcome(comparison, folder.local or folder, len(lacking), told, outbox.views(list(best)))


def log_model(outbox: Outbox, suite: Suite, folder: Place, record: TrialRecord) -> None:
    """Log the target's model of one trial: in MLflow's format, and its named weights."""
    result = result_of(suite, folder, record)
    with TemporaryDirectory() as place:
        try:
            packed = pack(result, Path(place))
        except (UserError, WorkFailed) as error:
            packed = Packed(None, trouble=str(error))
        outbox.log_model(record.key, packed.model, packed.files, packed.trouble)


def _recommended(comparison: Comparison) -> TrialRecord | None:
    """Of the method that is best on select, the trial that is best there."""
    best = comparison.best
    return None if best is None else next(one for one in comparison.best_trials if one.label == best.label)


def save_best(suite: Suite, folder: Place, comparison: Comparison) -> None:
    """Save the target's model of one trial for `avil-ray predict`: the best on select of the method that is best there.

    A suite without an exporter has its models in the tracking store alone.
    """
    record = _recommended(comparison)
    if suite.exporter is None or record is None:
        return
    result_of(suite, folder, record).save(at(folder) / MODEL)


def result_of(suite: Suite, folder: Place, record: TrialRecord) -> Result:
    """What a trial came to, as `train` gives it, but for its history."""
    assert record.test is not None, "a configuration is chosen only where every trial has its figures"
    assert record.best_round is not None
    assert record.select is not None
    suite, method = build_trial(suite, record.method, record.options)
    return Result(
        method.prepare(suite),
        method,
        record.seed,
        record.test,
        record.best_round,
        record.select,
        load_theta(trial_folder(at(folder), record.key)),
        (),
    )


def pack(result: Result, folder: Path) -> Packed:
    """What a run gets of a result: of texts a pipeline, of others a traced graph and the named weights."""
    suite, saved = result.suite, folder / "saved"
    if isinstance(suite.exporter, TextExporter):
        exporter = replace(suite.exporter, merge=True)  # MLflow has no place for adapters alone
        replace(result, suite=replace(suite, exporter=exporter)).save(saved)
        with quiet_transformers(bars=False):
            export_pipeline(saved, exporter.output.kind == "tokens", len(exporter.columns) > 1, folder / "model")
        return Packed(folder / "model", (saved / FACTS,))
    result.save(saved)
    test = Source(suite.draw(result.seed)[suite.target], "test")
    inputs = test.batch(torch.arange(min(2, len(test)))).inputs
    return pack_model(result.model(), inputs, folder, sorted(saved.iterdir()))
