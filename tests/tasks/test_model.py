"""A model that cannot be trained is refused in one line, before anything trains."""

from collections.abc import Callable

import pytest
import small
import torch
from torch import nn

import avil_ray as avil
from avil_ray.catalog import build_method
from avil_ray.errors import UserError
from avil_ray.learning.parameters import initial_model
from avil_ray.tasks.suite import require_suite


def trunk_of(trunk: nn.Module) -> Callable[[], nn.Module]:
    return lambda: avil.MultitaskModel(trunk, {name: nn.Linear(8, 3) for name in small.TASKS})


def broken() -> nn.Module:
    raise RuntimeError("no\nmodel")


def leaving() -> nn.Module:
    raise SystemExit(3)


def with_weight(weight: torch.Tensor) -> Callable[[], nn.Module]:
    layer = nn.Linear(small.WIDTH, 8)
    layer.weight = nn.Parameter(weight)
    return trunk_of(layer)


def with_mask() -> nn.Module:
    layer = nn.Linear(small.WIDTH, 8)
    layer.register_buffer("mask", torch.full((3,), -torch.inf))
    return trunk_of(layer)()


def suite(model: object) -> avil.Suite:
    return avil.Suite(name="x", target="left", task_names=small.TASKS, tasks=small.draw, model=model)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (broken, "model() failed: RuntimeError: no model (in test_model.py, line "),
        (leaving, "model() failed: SystemExit: 3 (in test_model.py, line "),
        (lambda: None, "model() must return a torch.nn.Module, not NoneType; it must return the model"),
        (lambda: small.build, "model() must return a torch.nn.Module, not function"),
        (
            trunk_of(nn.LazyLinear(8)),
            "the model's trunk.weight has no size yet (LazyLinear); give its sizes, or pass a",
        ),
        (trunk_of(nn.LazyBatchNorm1d()), "the model's trunk.weight has no size yet (LazyBatchNorm1d); give its sizes"),
        (trunk_of(nn.Linear(5, 8, device="meta")), "the model's trunk.weight is on the device meta, without values"),
        (with_weight(torch.zeros(8, 5).to_sparse()), "the model's trunk.weight is sparse; parameters must be dense"),
        (with_weight(torch.zeros(8, 5, dtype=torch.complex64)), "the model's trunk.weight is complex; parameters must"),
        (with_weight(torch.full((8, 5), torch.nan)), "the model's trunk.weight holds numbers that are not finite befo"),
        (with_mask, "the model's buffer trunk.mask holds numbers that are not finite; give register_buffer persis"),
        (lambda: small.build(small.plain).requires_grad_(False), "the model has no parameter that can be trained; all"),
        (lambda: nn.DataParallel(small.build(small.plain)), "the model is wrapped in a DataParallel; give the module"),
    ],
)
def test_the_model_is_checked_wherever_it_is_built(model: Callable[[], nn.Module], said: str) -> None:
    for build in (suite(model).build, lambda: initial_model(suite(model), 0)):
        with pytest.raises(UserError) as caught:
            build()
        assert str(caught.value).startswith(f"suite 'x': {said}")
        assert "\n" not in str(caught.value)


def test_a_model_that_is_frozen_in_part_or_has_tables_is_right() -> None:
    layer = nn.Linear(small.WIDTH, 8).requires_grad_(False)
    layer.register_buffer("angles", torch.zeros(3, dtype=torch.complex64))
    assert suite(trunk_of(layer)).build() is not None


def test_the_heads_are_those_of_the_tasks() -> None:
    heads = {name: nn.Linear(8, 3) for name in ("left", "right", "Noise")}
    misspelt = suite(lambda: avil.MultitaskModel(small.plain(), heads))
    for method in (avil.Equal(), build_method("alignment", {})):
        with pytest.raises(
            UserError, match=r"^suite 'x': task 'noise' has no head; available: left, Noise, right \(did"
        ):
            avil.train(misspelt, method, rounds=1, steps_per_round=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_names": "left"}, "task_names must be a tuple of names, not 'left'"),
        (
            {"task_names": ("left", "a.b")},
            "task 'a.b': a name must be letters, digits, '_', '-' and spaces; '.' is not",
        ),
        ({"task_names": ("left", 3)}, "task 3: a task's name must be text, not 3"),
        ({"options": [1]}, "options must be a mapping, not a list"),
        ({"tasks": [1]}, "tasks must be a function that makes the tasks of a seed, not a list"),
        ({"model": nn.Linear(1, 1)}, "model must be a function that makes the model, not a Linear"),
        ({"learning": {"batch_size": 3}}, "learning must be an avil_ray.Learning, not a dict"),
    ],
)
def test_a_suite_of_other_things_is_one_line(options: dict[str, object], said: str) -> None:
    given = {"name": "x", "target": "left", "task_names": small.TASKS, "tasks": small.draw, "model": nn.Identity}
    with pytest.raises(UserError) as caught:
        avil.Suite(**(given | options))
    assert str(caught.value).startswith(f"suite 'x': {said}")


def test_tasks_that_fail_or_come_twice_are_one_line() -> None:
    def failing(seed: int) -> list[avil.Task]:
        raise SystemExit("bye")

    with pytest.raises(UserError, match=r"^suite 'x': tasks\(\) failed: SystemExit: bye \(in test_model.py, line "):
        avil.Suite(name="x", target="a", task_names=("a",), tasks=failing, model=nn.Identity).draw(0)

    twice = avil.Suite(
        name="x", target="left", task_names=small.TASKS, tasks=lambda seed: small.draw(0) * 2, model=nn.Identity
    )
    with pytest.raises(UserError, match=r"tasks\(\) gave \['left', 'left', 'noise', 'noise'"):
        twice.draw(0)


def test_the_function_that_makes_a_suite_is_no_suite() -> None:
    said = r"^suite must be an avil_ray.Suite, not a function; call synthetic\(…\), which makes one$"
    with pytest.raises(UserError, match=said):
        avil.train(avil.suites.synthetic, avil.Equal())
    with pytest.raises(UserError, match=r"call synthetic\(…\), which makes one$"):
        avil.affinity(avil.suites.synthetic)
    with pytest.raises(UserError, match=r"^suite must be an avil_ray.Suite, not a str; avil_ray.suites makes some$"):
        require_suite("multimnist")
    assert require_suite(small.small_suite()) is not None
