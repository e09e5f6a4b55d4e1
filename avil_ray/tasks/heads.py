"""Valid names of tasks, and which parameters of a model belong to which head.

The parameters of task t's head are named `heads.t.…`. A parameter that appears under two tasks, or under a task and
elsewhere in the model, is shared: it belongs to the trunk, like all parameters elsewhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator

from torch import nn

from avil_ray.errors import UserError, nearest

ESCAPE = "task:"
"""The prefix of a task's name in a module that has an attribute of that name; task names contain no colon."""


def check_name(where: str, name: object) -> None:
    """Raise `UserError` unless `name` consists of letters of any script, digits, `_`, `-` and spaces."""
    if not isinstance(name, str):
        raise UserError(f"{where}: a task's name must be text, not {name!r}")
    # letters may include combining marks, such as Hindi's vowels
    rest = [sign for sign in name if not (sign.isalnum() or sign in "_- " or unicodedata.category(sign)[0] == "M")]
    if rest or name != name.strip() or not name:
        found = f"; {rest[0]!r} is not allowed" if rest else ", and neither begin nor end with a space"
        raise UserError(f"{where}: a name must be letters, digits, '_', '-' and spaces{found}")


def owner(name: str) -> str:
    """The task whose head has a parameter of this name, or "" for the trunk."""
    first, _, rest = name.partition(".")
    return rest.split(".")[0].removeprefix(ESCAPE) if first == "heads" else ""


def owned_parameters(model: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Each parameter once, in the model's order: its name, the only task whose head has it (or ""), and itself.

    A shared parameter gets its name in the trunk, if it has one.
    """
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    for parameter, aliases in names.items():
        owners = {owner(name) for name in aliases}
        first = next((name for name in aliases if not owner(name)), aliases[0])
        yield first, owners.pop() if len(owners) == 1 else "", parameter


def heads_of(model: nn.Module) -> set[str]:
    """The names of a model's heads, including those without parameters."""
    named = [*model.named_modules(remove_duplicate=False), *model.named_parameters(remove_duplicate=False)]
    return {owner(name) for name, _ in named} - {""}


def check_heads(where: str, model: nn.Module, tasks: Collection[str]) -> None:
    """Raise `UserError` if only some tasks have a head, or a head belongs to no task.

    A model without any heads is valid: the tasks share one, which is part of the trunk.
    """
    there = heads_of(model)
    if not there:
        return
    for task in tasks:
        if task not in there:
            raise UserError(f"{where}: task {task!r} has no head; available: {_listed(task, there)}")
    for head in sorted(there.difference(tasks)):
        hint = "leave it out, or keep what tasks share outside of heads"
        raise UserError(f"{where}: the head {head!r} belongs to no task; tasks are: {_listed(head, tasks)}; {hint}")


def _listed(name: str, names: Collection[str]) -> str:
    near = nearest(name, names)
    return f"{', '.join(sorted(names, key=str.casefold))}" + (f" (did you mean {near!r}?)" if near else "")
