"""The target task on the driver: the dev objective that methods adapt to, and evaluation on select and test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Literal, Protocol

import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.learning.judging import Figures, Judged, Piece, Question, divided, evaluated, figures, joined, judge_all
from avil_ray.learning.line import Dev, Line, LineLoss, LocalLine, Points
from avil_ray.learning.optimizers import check_groups
from avil_ray.learning.outputs import check_outputs
from avil_ray.learning.parameters import FlatModel, ParameterSpace, Vector, backward_in_evaluation, initial_model
from avil_ray.learning.passes import Source, total_loss
from avil_ray.learning.repeatable import check_repeatable
from avil_ray.learning.splits import DevUse, pieces
from avil_ray.randomness import drawn, seeded
from avil_ray.tasks.checks import tensors_of
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task


class Objective(Protocol):
    """A loss and its gradient as functions of theta: what `fit_alpha` minimises."""

    def __call__(self, theta: Tensor, /) -> tuple[float, Tensor]:
        """Theta [P] -> (loss, gradient [P]); the gradient may be overwritten by the next call."""
        ...


class DevObjective:
    """The target's mean loss on the examples at `rows`, in evaluation mode: no dropout, BatchNorm's running statistics.

    Batches (`Learning.evaluation_batches`) are accumulated, so memory does not grow with the number of examples. Random
    numbers that the model or the data draw from global generators derive from `seed`, so every call sees the same.

    Attributes
    ----------
    buffer
        [P], the model's own parameters. A caller that writes theta into this tensor and passes it saves a copy.
    examples_seen
        Number of examples passed forward and backward so far: the cost.
    """

    def __init__(
        self, flat: FlatModel, source: Source, rows: Tensor, learning: Learning | None = None, seed: int = 0
    ) -> None:
        self.flat, self.learning = flat, learning or Learning()
        self._source, self._rows, self._seed = source, rows, seed
        self.buffer = flat.values
        self.examples_seen = 0

    def __call__(self, theta: Tensor, /) -> tuple[float, Tensor]:
        """The loss at theta [P] and its gradient [P]; the gradient is overwritten by the next call."""
        flat, value = self.flat, 0.0
        flat.load(theta)
        flat.model.eval()
        flat.zero_gradient()
        with seeded(self._seed, "dev objective"), backward_in_evaluation(flat.model):
            for rows in pieces(self._rows, self.learning):
                loss = total_loss(flat, self._source.batch(rows), self.learning) / len(self._rows)
                loss.backward()
                value += loss.item()
        flat.pull()
        self.examples_seen += len(self._rows)
        return value, flat.gradient

    def figures(self, theta: Tensor | Vector) -> dict[str, float]:
        """The target's metric and mean loss at theta [P] on the same examples; forward only, but counted in full."""
        self.flat.load(theta)
        self.examples_seen += len(self._rows)
        return figures(self.flat, self._source, self._rows, self.learning, self._seed)


class Evaluator(Protocol):
    """Evaluates on behalf of the driver, as a pool does with its workers."""

    def judge(self, pieces: Sequence[Piece], /) -> list[Judged]:
        """The results of the pieces, in their order."""
        ...

    def line(self, line: Line, start: Vector, ends: Sequence[Vector], dev: Dev, /) -> LineLoss | None:
        """The loss along a line, as in `Target.line`; None if the driver itself is as fast."""
        ...


class Target:
    """The target task on the driver: one model replica, the dev objective, and evaluation.

    Raises
    ------
    UserError
        The model does not fit the tasks (`check_outputs`), or its passes are not repeatable (`check_repeatable`).
    """

    def __init__(self, suite: Suite, tasks: Mapping[str, Task], seed: int, device: str = "cpu") -> None:
        self.suite, self.seed = suite, seed
        self.task = tasks[suite.target]
        self.flat = initial_model(suite, seed, device)
        check_groups(self.flat.space, suite.learning)
        assert self.task.dev is not None
        self._counts = len(self.task.train), len(self.task.dev)
        self._pool = Source(self.task, "train", "dev")
        whole = isinstance(tasks, dict)  # otherwise each task is drawn on access and released after its checks
        for names in [list(tasks)] if whole else [[name] for name in tasks]:
            self._check({name: tasks[name] for name in names})
        self._sources = {self._pool.splits: self._pool}
        self._objectives: list[DevObjective | LineLoss] = []
        self._examples_judged = 0
        self.evaluator: Evaluator | None = None

    def _check(self, tasks: Mapping[str, Task]) -> None:
        """Check that the model can be trained on these tasks, and evaluated on dev."""
        start = self.flat.vector()
        if len({self._try_out(tasks) for _ in range(2)}) > 1:
            hint = "draw them in model(), which is seeded, or redraw them in every pass"
            raise UserError(
                f"suite {self.suite.name!r}: the model or the data keep random numbers drawn on first use; {hint}"
            )
        self.flat.zero_gradient()
        changed = self.flat.changed(start)
        if changed is not None:
            hint = "what it learns from its first batch would differ from worker to worker; only training may change it"
            raise UserError(f"suite {self.suite.name!r}: the model changes {changed!r} when it is evaluated; {hint}")
        trained = [self._pool if task is self.task else Source(task, "train") for task in tasks.values()]
        evaluated = [Source(self.task, "dev")] if self.suite.target in tasks else []
        check_repeatable(self.flat, trained, evaluated, self.suite.learning, self.seed)

    def _try_out(self, tasks: Mapping[str, Task]) -> int:
        """Check the model's outputs, and return how far that advanced the global generators."""
        with seeded(self.seed, "outputs"):
            check_outputs(self.flat.model, tasks.values(), self.flat.device)
            return drawn()

    @property
    def space(self) -> ParameterSpace:
        """The layout of theta."""
        return self.flat.space

    @property
    def device(self) -> torch.device:
        """The driver's device."""
        return self.flat.device

    def objective(self, dev: DevUse, number: int) -> DevObjective:
        """The loss on the examples used for adaptation in round `number`, according to `dev`."""
        _, rows = dev.rows(*self._counts, self.seed, number)
        objective = DevObjective(self.flat, self._pool, rows, self.suite.learning, self.seed)
        self._objectives.append(objective)
        return objective

    def line(self, dev: DevUse, number: int, line: Line, start: Vector, ends: Sequence[Vector]) -> LineLoss:
        """The loss along a line from `start` [P] to each of `ends` [P], on round `number`'s adaptation examples.

        An evaluator's workers compute it, if there is an evaluator and it expects a gain.
        """
        _, rows = dev.rows(*self._counts, self.seed, number)
        where = Dev(self._pool, rows, self.suite.learning, self.seed)
        along = self.evaluator.line(line, start, ends, where) if self.evaluator else None
        along = along or LocalLine(self.flat, Points(line, start, ends, self.device), where)
        self._objectives.append(along)
        return along

    def take_examples_adapted(self) -> int:
        """The number of examples passed through the model for adaptation since the last call of this method."""
        seen = self._examples_judged + sum(objective.examples_seen for objective in self._objectives)
        self._objectives.clear()
        self._examples_judged = 0
        return seen

    def figures(self, dev: DevUse, number: int, thetas: Sequence[Vector]) -> list[Figures]:
        """The figures at each theta [P] on round `number`'s adaptation examples: forward only, counted as full passes.

        All are requested at once, so that an evaluator's workers can share them.
        """
        _, rows = dev.rows(*self._counts, self.seed, number)
        self._examples_judged += len(rows) * len(thetas)
        return self.answer([Question(self._pool.splits, rows, theta) for theta in thetas])

    def evaluate(self, split: Literal["select", "test"], theta: Vector) -> Figures:
        """The target's metric and mean loss at theta [P] on a whole split: {"accuracy": …, "loss": …}."""
        return self.answer([Question((split,), None, theta)])[0]

    def answer(self, questions: Sequence[Question]) -> list[Figures]:
        """The figures that answer the questions, from the evaluator's workers if there is one, otherwise from here."""
        parts = self.divided(questions)
        if self.evaluator and questions:
            return self.joined(parts, self.evaluator.judge([piece for part in parts for piece in part]))
        return [joined(self.task, self._judged(part)) for part in parts]

    def divided(self, questions: Sequence[Question]) -> list[list[Piece]]:
        """The pieces of each question."""
        return [divided(one, self._source(*one.splits), self.suite.learning) for one in questions]

    def joined(self, parts: Sequence[Sequence[Piece]], judged: Iterable[Judged]) -> list[Figures]:
        """The figures of each question, given the results of all pieces in order."""
        coming = iter(judged)
        return [joined(self.task, list(islice(coming, len(part)))) for part in parts]

    def _judged(self, part: Sequence[Piece]) -> list[Judged]:
        return judge_all(self.flat, self._source(*part[0].splits), part, self.suite.learning, self.seed)

    def _source(self, *splits: str) -> Source:
        """The target's examples of some splits; joining several makes a copy."""
        if splits not in self._sources:
            self._sources[splits] = Source(self.task, *splits)
        return self._sources[splits]

    def check_evaluation(self, theta: Vector) -> None:
        """Check evaluation before a run starts: on dev and select, at its initial theta [P]. Test is not read.

        Raises
        ------
        UserError
            An output is not finite, or the same examples give different outputs when read again.
        """
        check_repeatable(self.flat, [], [Source(self.task, "select")], self.suite.learning, self.seed)
        for split in ("dev", "select"):
            where = self.not_finite(theta, split)
            if where:
                hint = "look for a division, a root or a logarithm at 0 in the model, and at the example"
                raise UserError(f"{where}, before anything has trained; {hint}")

    def not_finite(self, theta: Vector, *splits: str) -> str:
        """Names the first example of these splits whose outputs at theta [P] are not finite; "" if there is none."""
        self.flat.load(theta)
        source, learning = self._source(*splits), self.suite.learning
        batches = pieces(torch.arange(len(source)), learning)
        with seeded(self.seed, "evaluation"):
            for part, outputs, _, _ in evaluated(self.flat, source, batches, learning, self.seed):
                for _, values in tensors_of("", outputs):
                    broken = (~torch.isfinite(values)).reshape(len(part), -1).any(1).nonzero()
                    if len(broken):
                        where = source.place(int(part[int(broken[0])]))
                        return f"task {self.task.name!r}: the model's outputs for {where} are not finite"
        return ""
