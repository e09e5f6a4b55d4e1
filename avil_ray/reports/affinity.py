"""What a diagnosis of a suite found: the numbers alone, so that a report needs neither the suite nor a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Affinity:
    """How the tasks of a suite get on with one another in one round from the initial parameters.

    Attributes
    ----------
    suite, target
        Their names.
    tasks
        Every task, the target included: the order of the matrices.
    metric, mode
        The target's metric, and whether a higher (`max`) or a lower (`min`) value is better.
    steps, seeds
        Gradient steps of the round; what everything random derives from.
    cosines
        [seeds, tasks, tasks]: the cosine of two tasks' deltas over the shared parameters.
    loss_changes, metric_changes
        [seeds, auxiliaries]: the target's dev loss and dev metric after a round beside the auxiliary, minus those after
        a round alone. A loss change below 0 speaks for the auxiliary.
    scores
        [seeds, tasks, tasks]: the covariance similarity score of two tasks' train inputs; None where it is not defined.
    inputs
        What is to be said of the scores, in a sentence; empty where nothing is.
    gradient_steps
        The cost, over all seeds, dev passes included.
    configuration
        What was asked for: the suite's options, target, steps and seeds, as plain values.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(target_labels=30, helpful=1, neutral=0, harmful=1, noise=0)
    >>> found = avil.affinity(suite, steps=2, seeds=[0])
    >>> found.tasks
    ('target', 'helpful_1', 'harmful_1')
    >>> found.cosines.shape
    (1, 3, 3)
    """

    suite: str
    target: str
    tasks: tuple[str, ...]
    metric: str
    mode: Literal["max", "min"]
    steps: int
    seeds: tuple[int, ...]
    cosines: Floats
    loss_changes: Floats
    metric_changes: Floats
    scores: Floats | None
    inputs: str
    gradient_steps: int
    configuration: Mapping[str, Any]

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """All tasks but the target, in the order of the changes' columns."""
        return tuple(task for task in self.tasks if task != self.target)

    @property
    def ranked(self) -> tuple[str, ...]:
        """The auxiliaries, that with the lowest mean change of the dev loss first."""
        means = self.loss_changes.mean(axis=0)
        return tuple(self.auxiliaries[place] for place in np.argsort(means, kind="stable"))

    @property
    def cosine_matrix(self) -> Floats:
        """[tasks, tasks]: the cosines, their mean over the seeds."""
        return np.asarray(self.cosines.mean(axis=0))

    @property
    def similarities(self) -> Floats | None:
        """[seeds, tasks, tasks]: the scores over the geometric mean of the two tasks' scores with themselves.

        1 where the two covariances are equal up to a factor, and 0 where their directions are orthogonal. The score as
        published is below 1 for a task with itself, by as much as its covariance has more than one direction.
        """
        if self.scores is None:
            return None
        own = np.sqrt(np.diagonal(self.scores, axis1=1, axis2=2))
        both = own[:, :, None] * own[:, None, :]
        return np.asarray(np.divide(self.scores, both, out=np.zeros_like(both), where=both > 0))

    @property
    def similarity_matrix(self) -> Floats | None:
        """[tasks, tasks]: the similarities of inputs, their mean over the seeds; None where they are not defined."""
        return None if self.similarities is None else np.asarray(self.similarities.mean(axis=0))

    def of(self, auxiliary: str) -> dict[str, Floats]:
        """An auxiliary's figures against the target, each [seeds]: loss_change, metric_change, cosine and so on."""
        column, own = self.auxiliaries.index(auxiliary), self.tasks.index(self.target)
        other = self.tasks.index(auxiliary)
        found = {
            "loss_change": self.loss_changes[:, column],
            "metric_change": self.metric_changes[:, column],
            "cosine": self.cosines[:, own, other],
        }
        if self.scores is not None and self.similarities is not None:
            found["covariance_score"] = self.scores[:, own, other]
            found["input_similarity"] = self.similarities[:, own, other]
        return found

    def frame(self) -> pd.DataFrame:
        """One row an auxiliary, the lowest change of the dev loss first.

        Each figure is a mean over the seeds, with its standard error in the column `<figure>_error` (NaN for one seed).
        """
        import pandas as pd

        rows = []
        for auxiliary in self.ranked:
            row: dict[str, Any] = {"auxiliary": auxiliary}
            for name, values in self.of(auxiliary).items():
                row |= {name: float(values.mean()), f"{name}_error": _standard_error(values)}
            rows.append(row)
        return pd.DataFrame(rows)


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
