"""Checks from a model's parameters that it can be trained as a suite's model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from avil_ray.errors import UserError

WRAPPED = ("_orig_mod", "module")
"""Prefixes of parameter names in models wrapped by torch.compile or DataParallel, which hide the heads."""


def check_model(where: str, model: Any) -> None:
    """Raise `UserError` unless `model` is a module whose parameters are dense real numbers and can be trained."""
    if not isinstance(model, nn.Module):
        hint = "; it must return the model" if model is None else ""
        raise UserError(f"{where}: model() must return a torch.nn.Module, not {type(model).__name__}{hint}")
    for name, tensor in {**dict(model.named_parameters()), **dict(model.named_buffers())}.items():
        if is_lazy(tensor):
            module = type(model.get_submodule(name.rpartition(".")[0])).__name__
            hint = "give its sizes, or pass a batch through the model in model()"
            raise UserError(f"{where}: the model's {name} has no size yet ({module}); {hint}")
        if tensor.is_meta:
            raise UserError(f"{where}: the model's {name} is on the device meta, without values; give it values")
    persistent = model.state_dict()
    for name, buffer in model.named_buffers():
        if name in persistent and buffer.is_floating_point() and not bool(torch.isfinite(buffer).all()):
            hint = "give register_buffer persistent=False where it is a constant"
            raise UserError(f"{where}: the model's buffer {name} holds numbers that are not finite; {hint}")
    for name, parameter in model.named_parameters():
        kinds = {"sparse": parameter.layout != torch.strided, "complex": parameter.is_complex()}
        for kind in [kind for kind, found in kinds.items() if found]:
            raise UserError(f"{where}: the model's {name} is {kind}; parameters must be dense floating-point tensors")
        if not bool(torch.isfinite(parameter).all()):
            raise UserError(f"{where}: the model's {name} holds numbers that are not finite before training begins")
        if name.startswith(tuple(f"{wrapper}.heads." for wrapper in WRAPPED)):
            raise UserError(f"{where}: the model is wrapped in a {type(model).__name__}; give the module in it")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(f"{where}: the model has no parameter that can be trained; all are frozen, or there are none")
