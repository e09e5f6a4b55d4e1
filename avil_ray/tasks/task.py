"""One task: its data, its loss and its metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avil_ray.choices import check_choices
from avil_ray.errors import unknown
from avil_ray.tasks.checks import SPLITS, check_joinable, check_split
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.heads import check_name
from avil_ray.tasks.objectives import LOSSES, METRICS


@dataclass(frozen=True)
class Task:
    """One task: its data, its loss and its metric. Only the target needs dev, select and test.

    A name is letters of any script, digits, `_`, `-` and spaces.

    `train` gives gradients, `dev` is what a method adapts to (alpha), `select` chooses the best round and
    configuration, `test` is read once, after selection. No source item may stand in two of them.

    Tasks may have different examples and very different numbers of them: a step sees as many of each. Examples come in
    passes over the split, each in an order of its own, and none comes again before all have come; a split smaller than
    a batch fills it with several passes. With `replacement` every example is drawn by itself from the whole split: one
    may come twice before another comes once.

    Raises
    ------
    UserError
        Inputs or labels that do not fit each other or the loss; the message names task, split and field.
    """

    name: str
    train: Examples
    dev: Examples | None = None
    select: Examples | None = None
    test: Examples | None = None
    loss: str = "cross_entropy"
    metric: str = "accuracy"
    replacement: bool = False

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Check everything that stands in the task, again where its tensors may have changed since it was made.

        Raises
        ------
        UserError
            Something is wrong; the message names task, split and field.
        """
        where = f"task {self.name!r}"
        check_name(where, self.name)
        if not isinstance(self.loss, str) or self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES, where)
        if not isinstance(self.metric, str) or self.metric not in METRICS:
            raise unknown("metric", self.metric, METRICS, where)
        check_choices(Task, vars(self), where)
        for split in SPLITS:
            examples = getattr(self, split)
            if examples is not None or split == "train":
                check_split(f"{where}: its {split} split", examples, self.loss)
        if self.dev is not None:
            check_joinable(where, self.train, self.dev)

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether a higher (`max`) or a lower (`min`) value of the task's metric is better."""
        return METRICS[self.metric].mode
