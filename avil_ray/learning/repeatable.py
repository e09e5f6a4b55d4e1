"""Checks, before training, that passes are repeatable: the same parameters and seeds give the same bits.

Any worker may run any assignment, and a run can stop after any round and resume in another process. So a pass must
depend on theta, the batch and the seed alone. Other state (a counter, a buffer that is not persistent, a private
generator) would change unnoticed, and results would differ between processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.learning.hidden_state import Snapshot, changes, checksum, snapshot
from avil_ray.learning.loading import tried
from avil_ray.learning.parameters import FlatModel
from avil_ray.learning.passes import NO_MEMORY, Batch, Source, forward, told
from avil_ray.randomness import drawn, seeded
from avil_ray.tasks.checks import tensors_of
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning

EXAMPLES = 8
"""The size of the trial batches; smaller if the batch size is."""

LARGEST = 1 << 20
"""Larger arrays (in bytes) among the inputs are the data themselves: not compared, as what is read from them is."""

ON_GPU = 1e-2
"""The relative tolerance on GPUs, which add in no fixed order."""

ADVICE = (
    "make it a persistent buffer (of floating-point numbers, or a single count) that is changed in place, or draw "
    "random numbers from the global generators of PyTorch, NumPy or Python, which are seeded around every pass"
)

Marks = dict[str, Tensor | int]
"""The results of a pass: the name of what is compared -> its values or their checksum."""


def check_repeatable(
    flat: FlatModel, trained: Sequence[Source], evaluated: Sequence[Source], learning: Learning, seed: int
) -> None:
    """Run every pass twice from the current theta, and compare bit by bit; theta is left unchanged.

    Parameters
    ----------
    trained, evaluated
        What the model is trained and evaluated on. A few examples are read from both ends of each.

    Raises
    ------
    UserError
        A pass fails, its second run differs from the first, or it changes state that neither theta nor seeds cover.
    """
    theta, training = flat.values.clone(), flat.model.training
    try:
        first = _passes(flat, trained, evaluated, learning, seed, theta)
        lost = flat.replaced()
        if lost is not None:
            hint = "change parameters and buffers in place (copy_, lerp_, add_)"
            raise UserError(f"the model's training pass replaces the tensor of {lost!r}; {hint}")
        before = _remembered(flat, [*trained, *evaluated])
        one_more = _passes(flat, trained[:1], evaluated[:1], learning, seed, theta)  # shifts alternating state
        between = _remembered(flat, [*trained, *evaluated])
        second = _passes(flat, trained, evaluated, learning, seed, theta)
        after = _remembered(flat, [*trained, *evaluated])
        changed = sorted({*changes(before, between), *changes(before, after)})
    finally:
        flat.load(theta)
        flat.zero_gradient()
        flat.model.train(training)
    named = f" (changed: {', '.join(changed[:3])})" if changed else ""
    for task, marks in first.items():
        for what, mark in marks.items():
            if not all(_same(mark, found[task][what]) for found in (one_more, second) if task in found):
                raise UserError(f"{task} is not repeatable: {_said_of(what)}{named}; {ADVICE}")
    if changed:
        raise UserError(
            f"training passes change {changed[0]!r}, which is neither a parameter nor a persistent buffer of "
            f"floating-point numbers, so it does not travel with them: training is not repeatable; {ADVICE}"
        )


def _said_of(what: str) -> str:
    if what in ("inputs", "labels"):
        return "the same examples, read twice with the same seed, differ; the data or their augmentation keep state"
    if what == "random numbers":
        return (
            "from the same parameters and seed, a second one draws other random numbers, so it keeps some of the "
            "first one's (in a cache, say), which another process would draw anew"
        )
    return (
        f"from the same parameters and seed, a second one has other {what}, so it depends on state outside its "
        "parameters and buffers: a counter, a buffer that is not persistent, or a generator of its own"
    )


def _passes(
    flat: FlatModel,
    trained: Sequence[Source],
    evaluated: Sequence[Source],
    learning: Learning,
    seed: int,
    theta: Tensor,
) -> dict[str, Marks]:
    """The results of each pass: forward and backward in training mode, forward only in evaluation mode."""
    count, found = min(learning.batch_size, EXAMPLES), {}
    flat.model.train()
    for source in trained:
        flat.load(theta)
        with seeded(seed, "repeatable", source.task.name):
            marks = {**_step(flat, source, count, learning, seed), "random numbers": drawn()}
        found[f"task {source.task.name!r}: the model's training pass"] = marks
    flat.load(theta)
    flat.model.eval()
    for source in evaluated:
        with seeded(seed, "repeatable", *source.splits), torch.no_grad():
            marks, *_ = _forward(flat, source.sample(count), learning)
            marks["random numbers"] = drawn()
        found[f"task {source.task.name!r}: the model's evaluation on {source.splits[0]}"] = marks
    return found


def _forward(flat: FlatModel, batch: Batch, learning: Learning) -> tuple[Marks, Any, Any]:
    """The marks of a batch and of its outputs, those outputs, and the targets."""
    outputs, targets = forward(flat, batch, learning)
    marks = {"inputs": _mark_of(batch.inputs), "labels": _mark_of(batch.targets), "outputs": _mark_of(outputs)}
    return marks, outputs, targets


def _step(flat: FlatModel, source: Source, count: int, learning: Learning, seed: int) -> Marks:
    """A training pass, forward and backward, on augmented examples as in training."""
    flat.zero_gradient()
    batch = tried(source, count, seed, learning)
    marks, outputs, targets = _forward(flat, batch, learning)
    loss = source.task.losses(outputs, targets, batch.count).mean()
    try:
        loss.backward()
    except NO_MEMORY:
        raise
    except Exception as error:
        raise UserError(f"task {source.task.name!r}: the model's backward pass fails ({told(error)})") from error
    flat.pull()
    if flat.device.type == "cpu":
        return {**marks, "gradients": checksum(flat.gradient), "buffers": checksum(flat.values[flat.space.buffers])}
    norms = [flat.gradient[entry.where].norm() for entry in flat.space.entries]
    return {**marks, "gradients": torch.stack(norms).cpu(), "buffers": flat.values[flat.space.buffers].cpu()}


def _mark_of(values: Any) -> Tensor | int:
    """What is compared of a tensor or a mapping of tensors: values or a checksum."""
    if isinstance(values, Mapping):
        return hash(tuple(checksum(value) for _, value in tensors_of("", values)))
    return checksum(values) if values.device.type == "cpu" else values.detach().float().cpu()


def _same(one: Tensor | int, other: Tensor | int) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        room = ON_GPU * float(one.abs().max()) if one.numel() else 0.0
        return bool(torch.isclose(one, other, rtol=ON_GPU, atol=room, equal_nan=True).all())
    return bool(one == other)


def _remembered(flat: FlatModel, sources: Sequence[Source]) -> Snapshot:
    """The model's state besides theta, and the data's besides the examples."""
    data = {f"{'/'.join(source.splits)} inputs of {source.task.name}": _object(source.data) for source in sources}
    plain = {name: found for name, found in data.items() if not isinstance(found, Tensor)}
    tasks = {source.task.name: source.task for source in sources}
    for name, task in tasks.items():
        plain |= {f"{what} of {name}": getattr(task, what) for what in ("augment", "collate", "loss")}
    return snapshot({"": flat.model}, flat.tensors) | snapshot(plain, (), LARGEST)


def _object(data: Any) -> Any:
    """The part of the data that may hold state."""
    return data.inputs if isinstance(data, Examples) else data
