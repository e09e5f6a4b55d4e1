"""What a run led to: figures, history, parameters, model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avil_ray.errors import UserError
from avil_ray.learning.parameters import Vector, initial_model
from avil_ray.learning.track import MAIN
from avil_ray.methods.method import Method
from avil_ray.models.multitask import SingleTask
from avil_ray.storage import Place
from avil_ray.tasks.suite import Suite

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Result:
    """What a run led to.

    Attributes
    ----------
    suite
        What was trained: the suite as the method prepares it.
    test
        The target's figures on test at the best round: its metric and `loss`. Read once.
    best_round, best_track
        The round with the best figure on select, and the track that it was reached on: the main one, or one that a
        method continued, whose figures stand in columns under its name.
    select
        That figure.
    theta
        The parameters of that round, float32 [P].

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.Equal(), rounds=3, steps_per_round=2)
    >>> result.best_round in (0, 1, 2), sorted(result.test)
    (True, ['accuracy', 'loss'])
    """

    suite: Suite
    method: Method
    seed: int
    test: Mapping[str, float]
    best_round: int
    select: float
    theta: Vector
    rows: tuple[Mapping[str, float], ...]
    best_track: str = MAIN

    def __repr__(self) -> str:
        what = f"suite={self.suite.name!r}, method={type(self.method).__name__}, seed={self.seed}"
        test = ", ".join(f"{name!r}: {value:.4g}" for name, value in self.test.items())
        return f"Result({what}, best_round={self.best_round}, select={self.select:.4g}, test={{{test}}})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the figures, what they cost, and the learning curves."""
        from avil_ray.reports.cards import card, run_curves

        best = f"round {self.best_round}{'' if self.best_track == MAIN else f' of {self.best_track}'}, best on select"
        rows = [{"": "test", **{name: f"{value:.4g}" for name, value in self.test.items()}}]
        drawing = run_curves(self.history, self.metric, self.best_round, self.best_track) if self.rows else None
        title = f"{type(self.method).__name__} on {self.suite.name}, target {self.suite.target}, seed {self.seed}"
        cost = f"; {self.gradient_steps:,} gradient steps" if self.rows else ""
        return card(title, [f"{best}{cost}"], rows, drawing)

    def plot(self) -> Figure:
        """The learning curves: the target's metric on select over gradient steps, a line for each track.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; `savefig` writes it to a file.

        Raises
        ------
        UserError
            The result has no history: it was read from what a sweep has stored.

        Examples
        --------
        >>> import avil_ray as avil
        >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
        >>> figure = avil.train(suite, avil.Equal(), rounds=3, steps_per_round=2).plot()
        >>> figure.axes[0].get_xlabel()
        'gradient steps of one run'
        """
        from avil_ray.reports.cards import run_curves

        if not self.rows:
            raise UserError("this result has no history, so there are no learning curves to plot")
        return run_curves(self.history, self.metric, self.best_round, self.best_track).figure

    @property
    def metric(self) -> str:
        """The target's metric, by which the best round is chosen."""
        return next(iter(self.test))

    @property
    def gradient_steps(self) -> int:
        """What the run cost: the gradient steps of all tasks, dev passes included."""
        return sum(int(row["cost/gradient_steps"]) for row in self.rows)

    @property
    def history(self) -> pd.DataFrame:
        """One row a round; `docs/history.md` says what each column holds."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))

    def explain(self) -> str:
        """Whose result it is, which tasks were used, turned down and kept, in words, with the evidence.

        Read the caveat at its end: alpha is not a task's importance.
        """
        from avil_ray.reports.alphas import explain

        return explain(self.history, self.suite.task_names, self.suite.target)

    def model(self) -> SingleTask:
        """The target's model at the best round, in evaluation mode: `model(inputs)` -> outputs."""
        flat = initial_model(self.suite, self.seed)
        flat.load(self.theta)
        return SingleTask(flat.model, self.suite.target).eval()

    def save(self, folder: Place) -> None:
        """Save the target's model at the best round, and what is needed to use it; see `export.save`."""
        from avil_ray import export

        export.save(self, folder)
