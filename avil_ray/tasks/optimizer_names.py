"""PyTorch's optimizers by name, with their options checked before training."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from avil_ray.errors import UserError, shown, unknown

if TYPE_CHECKING:
    from avil_ray.tasks.learning import Learning

BY_ELEMENT = ("SGD", "AdamW", "Adam", "Adagrad", "Adadelta", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop")
"""Elementwise optimizers: one slice may hold many parameters, with fewer calls and the same bits."""

MATRICES_ONLY = ("Muon",)
"""Optimizers that reject vectors; a vector is passed to them as a matrix with one row."""

REFUSED = {
    "LBFGS": "it evaluates the loss several times in a step",
    "SparseAdam": "it takes sparse gradients only",
}
OWN = ("params", "lr", "weight_decay")
"""Arguments that `Learning` sets through its own fields."""


SWITCHES = ("foreach", "fused")
"""Boolean arguments whose default in PyTorch is None."""


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """PyTorch's class of that name, ignoring case.

    Raises
    ------
    UserError
        There is none, or it is not suitable for training in rounds.
    """
    known = {
        found.__name__.lower(): found
        for found in vars(torch.optim).values()
        if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer) and found is not torch.optim.Optimizer
    }
    found = known.get(name.lower()) if isinstance(name, str) else None
    usable = [one.__name__ for one in known.values() if one.__name__ not in REFUSED]
    if found is None:
        raise UserError(f"learning: torch.optim has no optimizer {name!r}; available: {', '.join(sorted(usable))}")
    if found.__name__ in REFUSED:
        raise UserError(
            f"learning: optimizer {found.__name__}: {REFUSED[found.__name__]}; choose another such as AdamW"
        )
    return found


def by_element(name: str) -> bool:
    """Whether the optimizer of this name works elementwise."""
    return name in BY_ELEMENT


def make_optimizer(learning: Learning, groups: Mapping[str, Sequence[nn.Parameter]]) -> torch.optim.Optimizer:
    """The optimizer over parameter groups; "" holds the parameters in none of `learning.groups`."""
    made = optimizer_class(learning.optimizer)
    takes = inspect.signature(made).parameters
    given: dict[str, Any] = {"lr": learning.learning_rate, **learning.optimizer_options}
    if "weight_decay" in takes:
        given["weight_decay"] = learning.weight_decay
    if made is torch.optim.SGD:
        given.setdefault("momentum", learning.momentum)
    options = [_group_options(learning.groups.get(name, {})) for name in groups]
    return made(
        [{"params": list(parameters), **own} for parameters, own in zip(groups.values(), options, strict=True)], **given
    )


def check_optimizer(learning: Learning) -> None:
    """Raise `UserError` if PyTorch has no such optimizer or rejects an option."""
    made = optimizer_class(learning.optimizer)
    takes = [name for name in inspect.signature(made).parameters if name not in OWN]
    for name in learning.optimizer_options:
        if name in OWN:
            field = {"lr": "learning_rate", "weight_decay": "weight_decay"}.get(name, name)
            raise UserError(f"learning: optimizer_options.{name}: set learning.{field} instead")
        if name not in takes:
            raise unknown("option", name, takes, f"learning: optimizer_options of {made.__name__}")
        value, usual = learning.optimizer_options[name], inspect.signature(made).parameters[name].default
        if (isinstance(usual, bool) or name in SWITCHES) and not isinstance(value, bool):
            raise UserError(f"learning: optimizer_options.{name} must be true or false, not {shown(value)}")
    if not learning.optimizer_options and not learning.groups:
        return  # `Learning` has checked the rest, and PyTorch's first optimizer takes seconds to import a compiler
    try:
        _try_out(learning)
    except LookupError as error:  # such as too few betas
        given = f"optimizer_options of {made.__name__}: {dict(learning.optimizer_options)!r}"
        raise UserError(f"learning: {given} has too few values, or none by that name") from error
    except (ArithmeticError, AssertionError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"learning: optimizer {made.__name__}: {' '.join(str(error).split())}") from error


def _try_out(learning: Learning) -> None:
    """Take one step with a zero gradient, as PyTorch checks some options only then."""
    parameters = {name: [nn.Parameter(torch.zeros(1, 1))] for name in ("", *learning.groups)}
    optimizer = make_optimizer(learning, parameters)
    for (parameter,) in parameters.values():
        parameter.grad = torch.zeros(1, 1)
    optimizer.step()


def _group_options(own: Mapping[str, Any]) -> dict[str, Any]:
    return {{"learning_rate": "lr"}.get(name, name): value for name, value in own.items()}
