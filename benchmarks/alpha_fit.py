"""What one evaluation of alpha's objective costs, beside a plain training step of the same batch: `make bench`.

A 22.6M-parameter encoder (the size of MiniLM-L6), n = 8 deltas, a batch of 16 or 64 texts of 64 tokens: what deltas add
depends on P and n alone, so it weighs less beside a larger batch. Times are medians of ratios taken side by side in one
process, in turn, so that a machine that slows down slows all of them; each variant runs once unmeasured before it is
measured, as what ran before it leaves caches behind. Memory is the peak of a fresh process for each variant. Where
there is a GPU, all of it is measured there.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from avil_ray.learning.evaluation import DevObjective
from avil_ray.learning.parameters import FlatModel, dots
from avil_ray.learning.passes import Source
from avil_ray.models.multitask import MultitaskModel
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.task import Task

DELTAS, BATCHES, LENGTH, REPEATS = 8, (16, 64), 64, 15
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Batch = tuple[Tensor, Tensor]
Evaluate = Callable[[], Any]


class Encoder(nn.Module):
    """A transformers encoder that reads token ids [B, L] and gives its first token's state [B, 384]."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        size = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
        self.encoder = BertModel(size, add_pooling_layer=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """The first token's state."""
        states: Tensor = self.encoder(input_ids=tokens).last_hidden_state
        return states[:, 0]


def batch(size: int) -> Batch:
    """Token ids [size, 64] and binary labels [size]."""
    return torch.randint(1000, 30000, (size, LENGTH), device=DEVICE), torch.randint(0, 2, (size,), device=DEVICE)


def network() -> MultitaskModel:
    """The encoder with one task's head, on the device."""
    return MultitaskModel(Encoder(), {"a": nn.Linear(384, 2)}).to(DEVICE)


def plain(texts: Batch) -> Evaluate:
    """An ordinary module: forward and backward, gradients kept and zeroed in place, as a training loop has it."""
    model, (tokens, labels) = network().eval(), texts

    def evaluate() -> None:
        model.zero_grad(set_to_none=False)
        nn.functional.cross_entropy(model(tokens, "a"), labels).backward()

    return evaluate


def ours(texts: Batch) -> Evaluate:
    """One evaluation as `fit_alpha` makes it: theta' by one product, one backward pass, n inner products."""
    flat, examples = FlatModel(network(), DEVICE), Examples(*texts)
    objective = DevObjective(flat, Source(Task("a", examples), "train"), torch.arange(len(examples)))
    theta = flat.values.clone()
    deltas = torch.empty(DELTAS, len(theta), device=DEVICE).normal_(std=1e-3)
    alpha = torch.full((DELTAS,), 1 / DELTAS, device=DEVICE)

    def evaluate() -> Tensor:
        torch.addmv(theta, deltas.T, alpha, out=objective.buffer)
        _, gradient = objective(objective.buffer)
        return dots(deltas, gradient)

    return evaluate


def autograd(texts: Batch) -> Evaluate:
    """The way that comes to mind first: theta + sum alpha delta in the graph, through `functional_call`."""
    model, (tokens, labels) = network().eval(), texts
    theta = {name: parameter.detach() for name, parameter in model.named_parameters()}
    deltas = {name: torch.empty(DELTAS, *value.shape, device=DEVICE).normal_(std=1e-3) for name, value in theta.items()}
    alpha = torch.full((DELTAS,), 1 / DELTAS, device=DEVICE, requires_grad=True)

    def evaluate() -> Tensor:
        moved = {name: value + torch.tensordot(alpha, deltas[name], 1) for name, value in theta.items()}
        loss = nn.functional.cross_entropy(functional_call(model, moved, (tokens, "a")), labels)
        return torch.autograd.grad(loss, alpha)[0]

    return evaluate


VARIANTS: dict[str, Callable[[Batch], Evaluate]] = {"plain": plain, "ours": ours, "autograd": autograd}


def parameters() -> int:
    """P, the number of parameters of the model."""
    return sum(parameter.numel() for parameter in network().parameters())


def now() -> float:
    """Seconds, once the device has done all that it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def times(texts: Batch) -> dict[str, float]:
    """Seconds of an evaluation of each variant over those of the plain step beside it: medians of ratios."""
    variants = {name: build(texts) for name, build in VARIANTS.items()}
    ratios: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(REPEATS + 1):
        seconds = {}
        for name, evaluate in variants.items():
            evaluate()
            started = now()
            evaluate()
            seconds[name] = now() - started
        if repeat:  # the first round warms up
            for name in variants:
                ratios[name].append(seconds[name] / seconds["plain"])
    return {name: statistics.median(values) for name, values in ratios.items()}


def peak(name: str) -> float:
    """Peak memory in bytes of a fresh process that makes three evaluations of a variant."""
    command = [sys.executable, __file__, "--peak", name]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))  # noqa: S603


def measured_peak(name: str) -> float:
    """Peak memory in bytes of this process, or of the GPU, after three evaluations."""
    evaluate = VARIANTS[name](batch(BATCHES[0]))
    for _ in range(3):
        evaluate()
    if DEVICE == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def main() -> None:
    """Print the ratios, and the memory that the fit's vectors take in units of 4P bytes."""
    torch.set_num_threads(2)
    if sys.argv[1:2] == ["--peak"]:
        print(json.dumps(measured_peak(sys.argv[2])))
        return
    # first, as a process starts with the peak of the one that made it
    size = parameters()
    vectors = (peak("ours") - peak("plain")) / (4 * size) + 2
    place = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"P = {size:,} parameters, n = {DELTAS} deltas, {place}")
    for count in BATCHES:
        print(f"a batch of {count} texts of {LENGTH} tokens")
        for name, ratio in times(batch(count)).items():
            print(f"{name:9} {ratio:5.2f} x a plain forward and backward pass")
    # a plain step holds the weights and their gradients (2 vectors) besides activations, which both variants share
    print(f"memory    {vectors:5.2f} vectors of P floats; n + 3 = {DELTAS + 3}, ratio {vectors / (DELTAS + 3):.2f}")


if __name__ == "__main__":
    main()
