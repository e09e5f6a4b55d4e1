"""One flat vector for all parameters of a model, and the map from names to slices of it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from avil_ray.errors import UserError
from avil_ray.randomness import seeded
from avil_ray.tasks.heads import owned_parameters
from avil_ray.tasks.suite import Suite

Vector = npt.NDArray[np.float32]
"""Theta or a delta on the wire: flat, contiguous, float32, [P]."""

SUM_BLOCK, GPU_SUM_BLOCK = 1 << 17, 1 << 22
"""How many numbers are added in one go: as many as a CPU's cache holds; on a GPU so many that starting the next block
costs nothing beside it."""


COMPILED = 1000
"""How many variants of a model are compiled (tasks, modes, shapes); PyTorch alone goes back to plain code after 8."""


@dataclass(frozen=True)
class Entry:
    """Where one parameter or buffer stands in the flat vector."""

    name: str
    shape: torch.Size
    where: slice


class ParameterSpace:
    """The layout of theta [P]: the trunk, then each task's head, then the buffers.

    Trainable parameters stand in it once each, tied ones too; frozen ones do not, as no delta can move them. What two
    heads share, or a head and the trunk, is part of the trunk. Persistent buffers of floating-point numbers, and single
    counts (BatchNorm's running statistics, and the batches behind them), stand at the end: training changes them, so
    they travel with theta, but they have no gradient and no alpha.
    """

    def __init__(self, model: nn.Module) -> None:
        trainable = [(name, task, p.shape) for name, task, p in owned_parameters(model) if p.requires_grad]
        persistent = model.state_dict(keep_vars=True)
        buffers = [(n, b.shape) for n, b in model.named_buffers() if n in persistent and _trained(b)]
        owners = list(dict.fromkeys(task for _, task, _ in trainable))
        owners.sort(key=lambda owner: owner != "")  # the trunk first; heads keep the model's order
        self.entries: list[Entry] = []
        self.heads: dict[str, slice] = {}
        self.trunk = slice(0, 0)
        for owner in owners:
            part = self._append([(name, shape) for name, task, shape in trainable if task == owner])
            if owner:
                self.heads[owner] = part
            else:
                self.trunk = part
        self.buffers = self._append(buffers)
        self.size = self.buffers.stop
        self.parameters = slice(0, self.buffers.start)

    def _append(self, named: list[tuple[str, torch.Size]]) -> slice:
        start = end = self.entries[-1].where.stop if self.entries else 0
        for name, shape in named:
            self.entries.append(Entry(name, shape, slice(end, end + prod(shape))))
            end += prod(shape)
        return slice(start, end)

    @property
    def layers(self) -> dict[str, slice]:
        """Module -> the slice of its own parameters, in the order of theta. They cover all parameters and no buffer.

        Where some of a module's parameters are shared, what is apart from its first ones has a slice by itself.
        """
        found: dict[str, slice] = {}
        for entry in self.entries:
            if entry.where.start < self.parameters.stop:
                module = entry.name.rpartition(".")[0]
                if module not in found:
                    found[module] = entry.where
                elif found[module].stop == entry.where.start:
                    found[module] = slice(found[module].start, entry.where.stop)
                else:
                    found[entry.name] = entry.where
        return found

    def head(self, task: str) -> slice:
        """The slice of the task's own head; empty where the task has none (a shared head belongs to the trunk)."""
        return self.heads.get(task, slice(0, 0))


def _trained(buffer: Tensor) -> bool:
    """Whether training may change the buffer; larger ones of whole numbers are tables."""
    return buffer.is_floating_point() or buffer.ndim == 0


class FlatModel:
    """A model whose parameters and buffers are views into one flat vector, and whose gradients are views into another.

    Loading theta is one copy and one backward pass leaves the whole gradient in `gradient`: no gather, no scatter.
    Parameters of another type than `dtype` (bfloat16 weights, say) cannot be views; they are cast on the way in and
    out.

    Attributes
    ----------
    values, gradient
        [P], of `dtype`, on `device`. `gradient` is zero at the buffers. With `values` given, the model takes its values
        from there; each model has its own gradient.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        values: Tensor | None = None,
    ) -> None:
        self.model = model.to(device)
        self.space = ParameterSpace(model)
        self.values = torch.zeros(self.space.size, dtype=dtype, device=device) if values is None else values
        self.gradient = torch.zeros_like(self.values)
        self._casts: list[tuple[Tensor, Entry]] = []
        self._gradients: list[tuple[nn.Parameter, Tensor, str]] = []
        self._tensors = _named_tensors(model)
        for entry in self.space.entries:
            tensor, view = self._tensors[entry.name], self.values[entry.where].view(entry.shape)
            if values is None:
                view.copy_(tensor.detach())
            if tensor.dtype == dtype:
                tensor.data = view
                if isinstance(tensor, nn.Parameter):
                    tensor.grad = self.gradient[entry.where].view(entry.shape)
                    self._gradients.append((tensor, tensor.grad, entry.name))
            else:
                self._casts.append((tensor, entry))

    def __deepcopy__(self, memo: dict[int, Any]) -> FlatModel:
        """A copy with vectors of its own: copied one by one, its parameters would be views of nothing."""
        return FlatModel(copy.deepcopy(self.model, memo), self.device, self.values.dtype)

    @property
    def device(self) -> torch.device:
        """Where the vectors and the model are."""
        return self.values.device

    @cached_property
    def compiled(self) -> Callable[..., Any]:
        """The model, compiled for each task and mode when it is first called so; its parameters are the same."""
        compiler: Any = torch.compile  # its types lack the limit
        found: Callable[..., Any] = compiler(self.model, recompile_limit=COMPILED)
        return found

    @property
    def all_views(self) -> bool:
        """Whether every parameter and buffer in theta is a view of `values`: none must be cast."""
        return not self._casts

    def load(self, theta: Tensor | Vector) -> None:
        """Set every parameter and buffer from theta [P]; a no-op copy where theta is `values` itself."""
        source = torch.from_numpy(np.array(theta)) if isinstance(theta, np.ndarray) else theta
        if source.shape != self.values.shape:
            raise ValueError(f"theta has {tuple(source.shape)} numbers, the model {tuple(self.values.shape)}")
        if source is not self.values:
            self.values.copy_(source)
        self.push()

    def push(self) -> None:
        """Bring parameters that are not views up to date with `values`."""
        for tensor, entry in self._casts:
            value = self.values[entry.where].view(entry.shape)
            tensor.data.copy_(
                value if tensor.is_floating_point() else value.round()
            )  # a mean of counts may be just below

    def pull(self) -> None:
        """Add the gradients of parameters that are not views to `gradient`, and bring buffers in `values` up to date.

        Raises
        ------
        UserError
            A gradient has not arrived, as something in the model has put another tensor, or none, in its place.
        """
        for parameter, gradient, name in self._gradients:
            if parameter.grad is not gradient:
                hint = "leave .grad of its parameters as it is: no zero_grad(), no optimizer of its own"
                raise UserError(f"the model replaces the gradient of {name!r}, so it does not arrive; {hint}")
        for tensor, entry in self._casts:
            if isinstance(tensor, nn.Parameter):
                if tensor.grad is not None:
                    self.gradient[entry.where] += tensor.grad.reshape(-1).to(self.gradient.dtype)
                    tensor.grad = None
            else:
                self.values[entry.where] = tensor.reshape(-1).to(self.values.dtype)

    @property
    def tensors(self) -> list[Tensor]:
        """The parameters and buffers that stand in theta."""
        return [self._tensors[entry.name] for entry in self.space.entries]

    def gradient_marks(self) -> tuple[object, ...]:
        """Something that is equal before and after a forward pass unless that pass has changed a gradient."""
        # the gradients are views, so they share the version of the whole
        marks = [id(parameter.grad) for parameter, _, _ in self._gradients]
        casts = [(id(tensor.grad), getattr(tensor.grad, "_version", 0)) for tensor, _ in self._casts]
        return (self.gradient._version, marks, casts)  # noqa: SLF001 (all there is)

    def replaced(self) -> str | None:
        """The name of a parameter or buffer that the model has put in another's place, so that theta misses it."""
        now = _named_tensors(self.model)
        for entry in self.space.entries:
            tensor, view = self._tensors[entry.name], self.values[entry.where]
            lost = now.get(entry.name) is not tensor
            if lost or (tensor.dtype == view.dtype and tensor.data_ptr() != view.data_ptr() and tensor.numel()):
                return entry.name
        known = {id(tensor) for tensor in self._tensors.values()}  # a shared one goes by several names
        return next((name for name, tensor in now.items() if tensor.requires_grad and id(tensor) not in known), None)

    def changed(self, theta: Vector) -> str | None:
        """The name of the first parameter or buffer that is not as in theta [P], bit by bit; None where all are."""
        self.pull()
        places = (self.vector().view(np.int32) != theta.view(np.int32)).nonzero()[0]
        entries = self.space.entries
        return next((entry.name for entry in entries if len(places) and places[0] < entry.where.stop), None)

    def zero_gradient(self) -> None:
        """Set the gradient to zero, in place, where backward passes add to it."""
        self.gradient.zero_()
        for parameter, gradient, _ in self._gradients:
            parameter.grad = gradient
        for tensor, _ in self._casts:
            tensor.grad = None

    def vector(self) -> Vector:
        """A copy of theta as it stands, in wire form."""
        return self.values.detach().to("cpu", torch.float32).numpy().copy()


def initial_model(
    suite: Suite, seed: int, device: str | torch.device = "cpu", values: Tensor | None = None
) -> FlatModel:
    """The suite's model as a run with this seed starts: the same in every process, frozen parameters too.

    With `values` [P] it is a twin of the model that they belong to: both always have the same parameters.
    """
    with seeded(seed, "initial parameters"):
        return FlatModel(suite.build(), device, values=values)


def _named_tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}


def dot(a: Tensor, b: Tensor) -> float:
    """The inner product of two vectors [P], in float64 throughout: for norms and cosines, at any scale."""
    return sum(float(a[block].double() @ b[block].double()) for block in _blocks(a))


def dots(matrix: Tensor, vector: Tensor) -> Tensor:
    """The inner products of the rows of `matrix` [n, P] with `vector` [P]: float64 [n], on the CPU.

    Blocks of columns are multiplied in the vectors' own type, at the speed of memory, and added in float64: the error
    is about 1e-5 of the sum of the products' sizes where all have one sign, and 1e-8 where signs vary, whatever P (one
    float32 sum over P = 25M loses up to 1e-4, and stands still beyond).
    """
    total = torch.zeros(len(matrix), dtype=torch.float64, device=matrix.device)
    for block in _blocks(vector):
        total += matrix[:, block] @ vector[block]
    return total.cpu()


def _blocks(vector: Tensor) -> Iterator[slice]:
    step = SUM_BLOCK if vector.device.type == "cpu" else GPU_SUM_BLOCK
    for start in range(0, len(vector), step):
        yield slice(start, start + step)


def reading(vector: Vector) -> Tensor:
    """The vector as a tensor to be read only: no copy, and no warning where it lies in memory that others share."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.from_numpy(vector)


def backward_in_evaluation(model: nn.Module) -> AbstractContextManager[Any]:
    """A block in which a backward pass may follow a forward pass in evaluation mode.

    cuDNN's recurrent layers refuse that, so a model on a GPU that has some computes without cuDNN.
    """
    layers = (module for module in model.modules() if isinstance(module, nn.RNNBase))
    recurrent = any(parameter.is_cuda for layer in layers for parameter in layer.parameters())
    return torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()


def autocast(device: torch.device, precision: Literal["fp32", "bf16"]) -> AbstractContextManager[Any]:
    """A block in which a model computes in that precision; with fp32 it changes nothing."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, torch.bfloat16)


def to_device(values: Any, device: torch.device) -> Any:
    """A batch's inputs or targets on the device: a tensor, or a mapping of such (a tokenizer's output)."""
    if isinstance(values, Tensor):
        return values.to(device, non_blocking=True)
    return {name: to_device(value, device) for name, value in values.items()}
