"""Tasks that are made one by one: when, how often, and what is checked."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import small
import torch

import avil_ray as avil
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.evaluation import Target
from avil_ray.learning.learner import Learner
from avil_ray.learning.track import Track
from avil_ray.tasks.drawn import DrawnTasks


class Factory:
    """The small suite's tasks one by one; it knows which were made, and which are still held."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.alive: set[str] = set()

    def task(self, name: str, seed: int) -> avil.Task:
        self.made.append(name)
        self.alive.add(name)
        return next(task for task in small.draw(seed) if task.name == name)

    def functions(self) -> dict[str, Callable[[int], avil.Task]]:
        return {name: partial(self.task, name) for name in small.TASKS}


def suite(functions: Any, **options: Any) -> avil.Suite:
    whole = small.small_suite()
    return avil.Suite(
        name="small", target="left", task_names=small.TASKS, tasks=functions, model=whole.model, learning=whole.learning
    )


def test_a_task_is_made_when_it_is_asked_for_and_again_when_nobody_holds_it() -> None:
    factory = Factory()
    tasks = suite(factory.functions()).draw(1)
    assert isinstance(tasks, DrawnTasks)
    assert list(tasks) == list(small.TASKS)
    assert "left" in tasks
    assert "other" not in tasks
    assert factory.made == []
    held = tasks["right"]
    assert tasks["right"] is held
    assert factory.made == ["right"]
    del held
    gc.collect()
    assert tasks["right"].name == "right"
    assert factory.made == ["right", "right"]
    with pytest.raises(KeyError):
        tasks["other"]


def test_a_learner_loads_only_the_tasks_that_it_trains() -> None:
    factory = Factory()
    lazy = suite(factory.functions())
    learner = Learner(lazy, lazy.draw(1), 1)
    assert factory.made == []
    alone = Assignment(name="right", weights={"right": 1.0}, steps=2, learning=lazy.learning)
    for number in range(2):
        learner.train(alone, Track(learner.flat.vector()), number)
    assert factory.made == ["right"]


def test_the_driver_holds_the_target_alone_after_its_checks() -> None:
    lazy = suite(Factory().functions())
    tasks = lazy.draw(1)
    target = Target(lazy, tasks, 1)
    gc.collect()
    assert list(tasks._held) == ["left"]
    assert target.task.name == "left"


@pytest.mark.parametrize("method", [avil.AlphaVIL(), avil.Equal()])
def test_a_run_has_the_bits_of_tasks_that_are_drawn_at_once(method: avil.Method) -> None:
    run = {"rounds": 3, "steps_per_round": 2, "seed": 1}
    one = avil.train(suite(Factory().functions()), method, **run)
    whole = avil.train(small.small_suite(), method, **run)
    assert one.theta.tobytes() == whole.theta.tobytes()
    assert one.test == whole.test


def test_global_generators_are_seeded_for_each_task() -> None:
    def drawing(name: str, seed: int) -> avil.Task:
        task = next(task for task in small.draw(seed) if task.name == name)
        return avil.Task(name, avil.Examples(torch.rand(9, small.WIDTH), torch.arange(9) % 3), *_others(task))

    tasks = suite({name: partial(drawing, name) for name in small.TASKS})
    found = [tasks.draw(1)[name].train.inputs for name in ("left", "right", "right", "left")]
    assert torch.equal(found[0], found[3])
    assert torch.equal(found[1], found[2])
    assert not torch.equal(found[0], found[1])


def _others(task: avil.Task) -> tuple[Any, ...]:
    return task.dev, task.select, task.test


def failing(seed: int) -> avil.Task:
    raise FileNotFoundError("no\nfolder")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"right": failing}, r"suite 'small': tasks\['right'\] failed: FileNotFoundError: no folder"),
        ({"right": lambda seed: 3}, r"tasks\['right'\] gave a int, but must give an avil_ray.Task"),
        ({"right": lambda seed: small.draw(seed)[2]}, r"gave the task 'noise'; it must be called 'right'"),
        ({"left": lambda seed: avil.Task("left", small.draw(seed)[0].train)}, "'left' has no dev, select, test split"),
        ({"right": small.draw(1)[1]}, r"tasks\['right'\] must be a function that makes the task of a seed, not a Task"),
        ({"more": failing}, r"suite 'small': tasks has \['left', 'more', 'noise', 'right'\], task_names says"),
    ],
)
def test_mistakes_are_one_line(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(avil.UserError, match=said):
        avil.train(suite({**Factory().functions(), **changed}), avil.Equal(), rounds=1, steps_per_round=1)
