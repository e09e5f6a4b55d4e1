import pickle

import numpy as np
import pytest
import torch

from avil_ray.errors import UserError
from avil_ray.suites import synthetic
from avil_ray.suites.synthetic import FREQUENCY, TARGET_UNITS, Teachers, draw_teachers, known_relatedness
from avil_ray.tasks.suite import Suite

SMALL = {"target_labels": 30, "train": 60, "select": 30, "test": 40}
SPLITS = ("train", "dev", "select", "test")


def teachers_of(suite: Suite, seed: int) -> Teachers:
    keywords = {name: suite.tasks.keywords[name] for name in ("head", "related", "inputs", "classes")}
    return draw_teachers(seed, **keywords)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((50_000, 20))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 4])
def test_known_relatedness_is_the_correlation_of_the_teachers_behind_a_shared_head(
    vectors: np.ndarray, seed: int, classes: int
) -> None:
    suite = synthetic(head="shared", helpful=3, neutral=2, harmful=3, noise=0, classes=classes)
    teachers = teachers_of(suite, seed)
    target = teachers.outputs("target", vectors).ravel()
    for name, known in known_relatedness(suite).items():
        measured = np.corrcoef(teachers.outputs(name, vectors).ravel(), target)[0, 1]
        assert measured == pytest.approx(known, abs=0.03), name


@pytest.mark.parametrize("seed", range(3))
def test_known_relatedness_is_what_the_targets_units_explain_behind_separate_heads(
    vectors: np.ndarray, seed: int
) -> None:
    suite = synthetic(head="separate", helpful=2, neutral=2, noise=0)
    teachers = teachers_of(suite, seed)
    seen = np.sin(FREQUENCY * vectors @ teachers.directions)[:, :TARGET_UNITS]
    for name, known in {"target": 1.0, **known_relatedness(suite)}.items():
        outputs = teachers.outputs(name, vectors)
        explained = seen @ np.linalg.lstsq(seen, outputs, rcond=None)[0]
        assert explained.var() / outputs.var() == pytest.approx(known**2, abs=0.02), name


def test_relatedness_runs_evenly_from_the_strongest_to_its_opposite() -> None:
    suite = synthetic(head="shared", helpful=3, neutral=1, harmful=3, noise=2, relatedness=0.9)
    assert known_relatedness(suite) == pytest.approx(
        {
            "helpful_1": 0.9,
            "helpful_2": 0.6,
            "helpful_3": 0.3,
            "neutral_1": 0.0,
            "harmful_1": -0.9,
            "harmful_2": -0.6,
            "harmful_3": -0.3,
            "noise_1": 0.0,
            "noise_2": 0.0,
        }
    )
    assert suite.task_names == ("target", *known_relatedness(suite))


def test_labels_are_the_teachers_largest_output() -> None:
    suite = synthetic(head="separate", helpful=1, neutral=1, noise=0, **SMALL)
    teachers = teachers_of(suite, 3)
    for name, task in suite.draw(3).items():
        for split in SPLITS if name == "target" else ("train",):
            examples = getattr(task, split)
            assert examples.labels.dtype == torch.int64
            assert examples.labels.tolist() == teachers.outputs(name, examples.inputs.numpy()).argmax(axis=1).tolist()


def test_related_tasks_agree_more_often_with_the_target() -> None:
    suite = synthetic(head="shared", helpful=2, neutral=1, harmful=2, noise=1, classes=2, target_labels=None)
    tasks = suite.draw(0)
    target = tasks["target"].train.labels
    agreement = {name: (tasks[name].train.labels[: len(target)] == target).float().mean() for name in suite.auxiliaries}
    # Two gaussian scores of correlation r have the same sign with probability 1 - arccos(r) / pi; ours are nearly so.
    for name, known in known_relatedness(suite).items():
        assert agreement[name] == pytest.approx(1 - np.arccos(known) / np.pi, abs=0.05), name


def test_a_task_does_not_depend_on_which_others_there_are() -> None:
    few = synthetic(helpful=1, neutral=0, harmful=0, noise=1, **SMALL).draw(0)
    many = synthetic(helpful=1, neutral=3, harmful=2, noise=4, **SMALL).draw(0)
    for name, task in few.items():
        assert torch.equal(task.train.labels, many[name].train.labels)
        assert torch.equal(task.train.inputs, many[name].train.inputs)


def test_one_seed_gives_the_same_data_and_another_seed_others() -> None:
    suite = synthetic(**SMALL)
    first, again, other = suite.draw(0), pickle.loads(pickle.dumps(suite)).draw(0), suite.draw(1)
    for name in suite.task_names:
        assert torch.equal(first[name].train.inputs, again[name].train.inputs)
        assert torch.equal(first[name].train.labels, again[name].train.labels)
        assert not torch.equal(first[name].train.inputs, other[name].train.inputs)
        assert not torch.equal(first[name].train.labels, other[name].train.labels)


def test_splits_share_no_example() -> None:
    target = synthetic(**SMALL).draw(0)["target"]
    rows = torch.cat([getattr(target, split).inputs for split in SPLITS])
    assert len(rows) == 30 + 30 + 40
    assert len(torch.unique(rows, dim=0)) == len(rows)


def test_the_target_has_exactly_its_labels() -> None:
    target = synthetic(**SMALL).draw(0)["target"]
    assert (len(target.train), len(target.dev), len(target.select), len(target.test)) == (20, 10, 30, 40)


def test_random_labels_differ_from_task_to_task() -> None:
    tasks = synthetic(noise=2).draw(0)
    one, two = tasks["noise_1"].train.labels, tasks["noise_2"].train.labels
    assert (one == two).float().mean() == pytest.approx(0.25, abs=0.05)


def test_a_shared_head_is_part_of_the_trunk() -> None:
    suite = synthetic(head="shared", classes=3)
    model, inputs = suite.model(), torch.rand(5, 20)
    assert all(name.startswith("trunk.") for name, _ in model.named_parameters())
    assert model(inputs, "target").shape == (5, 3)
    assert all(torch.equal(model(inputs, "target"), model(inputs, name)) for name in suite.auxiliaries)


def test_separate_heads_stand_on_a_narrow_trunk() -> None:
    suite = synthetic(head="separate", width=8, inputs=20, classes=3)
    shapes = {name: tuple(parameter.shape) for name, parameter in suite.model().named_parameters()}
    assert shapes["trunk.0.weight"] == (8, 20)
    for task in suite.task_names:
        assert shapes[f"heads.{task}.weight"] == (3, 8)


def test_the_suite_travels_light() -> None:
    assert len(pickle.dumps(synthetic(helpful=5, neutral=5, noise=5))) < 10_000


@pytest.mark.parametrize("head", ["shared", "separate"])
def test_options_are_the_factorys_arguments(head: str) -> None:
    suite = synthetic(head=head, target_labels=None, relatedness=0.5)
    again = synthetic(**suite.options)
    assert (again.options, again.task_names) == (suite.options, suite.task_names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "shard"}, "synthetic: unknown head 'shard'; did you mean 'shared'?"),
        (
            {"head": "separate", "harmful": 1},
            "synthetic: no task is harmful behind a head of its own; give head: shared, or harmful: 0",
        ),
        ({"helpful": -1}, "synthetic: helpful must be a whole number, 0 to 1000, not -1"),
        ({"relatedness": 1.0}, "synthetic: relatedness must be a number above 0 and below 1, not 1.0"),
        ({"inputs": 4}, "synthetic: inputs must be a whole number, 5 or more, not 4"),
        ({"classes": 1}, "synthetic: classes must be a whole number, 2 or more, not 1"),
        ({"width": 0}, "synthetic: width must be a whole number, 1 or more, not 0"),
        (
            {"train": 200},
            "synthetic: target_labels must be a whole number, 2 to 200 (the largest is option train), not 300",
        ),
    ],
)
def test_wrong_options_are_one_line_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        synthetic(**options)
    assert str(caught.value) == message


def test_helpful_tasks_help_and_harmful_ones_ruin_a_shared_head(learn) -> None:
    suite = synthetic(head="shared", helpful=2, neutral=0, harmful=2, noise=0)

    def mean(*auxiliaries: str) -> float:
        return float(np.mean([learn(suite, seed, ["target", *auxiliaries]) for seed in range(3)]))

    alone, helped, harmed = mean(), mean("helpful_1", "helpful_2"), mean("harmful_1", "harmful_2")
    assert alone > 0.6
    assert helped > alone
    assert harmed < alone - 0.3


def test_helpful_tasks_help_behind_separate_heads(learn) -> None:
    suite = synthetic(head="separate", helpful=2, neutral=0, noise=0)
    helped = np.mean([learn(suite, seed, suite.task_names) for seed in range(3)])
    alone = np.mean([learn(suite, seed, ["target"]) for seed in range(3)])
    assert helped > alone + 0.01
