from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from avil_ray.errors import UserError
from avil_ray.models.multitask import MultitaskModel
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task


def examples(count: int = 4, offset: int = 0) -> Examples:
    numbers = torch.arange(offset, offset + count)
    return Examples(numbers.float()[:, None], numbers % 2)


def task(name: str, *splits: str, **options: str) -> Task:
    given = {split: examples(offset=4 * place) for place, split in enumerate(splits, start=1)}
    return Task(name, examples(), **given, **options)


def suite(*tasks: Task, target: str = "goal", names: tuple[str, ...] = ("goal", "other")) -> Suite:
    model = partial(MultitaskModel, nn.Linear(1, 2), {})
    return Suite(name="own", target=target, task_names=names, tasks=lambda seed: tasks, model=model)


GOAL = task("goal", "dev", "select", "test")


@dataclass(frozen=True)
class Words:
    """Inputs that are no tensor."""

    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: Tensor) -> list[str]:
        return [self.words[row] for row in rows.tolist()]

    def join(self, other: "Words") -> "Words":
        return Words(self.words + other.words)


def test_a_batch_is_the_rows_asked_for() -> None:
    inputs, labels = examples(5, offset=10).batch(torch.tensor([4, 0, 4]))
    assert inputs.tolist() == [[14.0], [10.0], [14.0]]
    assert labels.tolist() == [0, 0, 0]


def test_joined_examples_keep_their_order() -> None:
    both = examples(2).join(examples(3, offset=7))
    assert both.inputs.ravel().tolist() == [0, 1, 7, 8, 9]
    assert both.labels.tolist() == [0, 1, 1, 0, 1]


def test_inputs_need_not_be_a_tensor() -> None:
    first = Examples(Words(("a", "b")), torch.tensor([0, 1]))
    both = first.join(Examples(Words(("c",)), torch.tensor([1])))
    inputs, labels = both.batch(torch.tensor([2, 0]))
    assert (len(both), inputs, labels.tolist()) == (3, ["c", "a"], [1, 0])


@pytest.mark.parametrize("name", ["", "a.b", " a", "a ", "a/b", "a:b", "a\nb", "[a]", "a\tb", "a\u00a0b"])
def test_a_tasks_name_is_letters_digits_underscores_hyphens_and_spaces(name: str) -> None:
    with pytest.raises(UserError, match=r"a name must be letters, digits, '_', '-' and spaces"):
        task(name)
    with pytest.raises(UserError, match="suite 'own': task"):
        suite(names=("goal", name))


@pytest.mark.parametrize("name", ["two words", "1st", "a-b", "größe", "目标", "नमस्ते", "_", "type", "class"])
def test_a_tasks_name_may_be_of_any_script(name: str) -> None:
    assert task(name).name == name


def test_an_unknown_loss_or_metric_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="task 'goal': unknown loss 'crossentropy'; did you mean 'cross_entropy'"):
        task("goal", loss="crossentropy")
    with pytest.raises(UserError, match="task 'goal': unknown metric 'acuracy'; did you mean 'accuracy'"):
        task("goal", metric="acuracy")


@pytest.mark.parametrize("split", ["train", "dev", "select", "test"])
def test_an_empty_split_is_refused(split: str) -> None:
    with pytest.raises(UserError, match=f"task 'goal': its {split} split is empty"):
        Task("goal", **({"train": examples()} | {split: examples(0)}))


@pytest.mark.parametrize(("metric", "mode"), [("accuracy", "max"), ("auc", "max"), ("mean_absolute_error", "min")])
def test_a_task_knows_which_direction_is_better(metric: str, mode: str) -> None:
    assert task("goal", metric=metric).measure.mode == mode


@pytest.mark.parametrize("name", ["learning_rate", "batch_size", "clip"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_learning_needs_numbers_above_0(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"learning: {name} must be a "):
        Learning(**{name: value})


def test_draw_gives_the_tasks_in_the_suites_order() -> None:
    assert list(suite(task("other"), GOAL).draw(0)) == ["goal", "other"]
    assert suite(task("other"), GOAL).auxiliaries == ("other",)


def test_draw_passes_the_seed_on() -> None:
    seeds = []

    def tasks(seed: int) -> list[Task]:
        seeds.append(seed)
        return [GOAL]

    Suite(name="own", target="goal", task_names=("goal",), tasks=tasks, model=nn.Identity).draw(5)
    assert seeds == [5]


def test_draw_refuses_other_tasks_than_promised() -> None:
    with pytest.raises(UserError, match=r"tasks\(\) gave \['goal'\], task_names says \['goal', 'other'\]"):
        suite(GOAL).draw(0)


@pytest.mark.parametrize(
    ("tasks", "shown"), [({"goal": GOAL}, "a dict"), (None, "a NoneType"), ([GOAL, "other"], "a list with a str in it")]
)
def test_draw_refuses_what_is_no_list_of_tasks(tasks: object, shown: str) -> None:
    own = Suite(name="own", target="goal", task_names=("goal",), tasks=lambda seed: tasks, model=nn.Identity)
    with pytest.raises(
        UserError, match=f"suite 'own': tasks\\(\\) gave {shown}, but must give a list of avil_ray.Task"
    ):
        own.draw(0)


def test_the_target_needs_all_its_splits() -> None:
    with pytest.raises(UserError, match="the target 'goal' has no dev, test split"):
        suite(task("goal", "select"), task("other")).draw(0)


def test_an_unknown_target_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="suite 'own': unknown target 'gaol'; did you mean 'goal'"):
        suite(target="gaol")


def test_a_task_may_stand_once_only() -> None:
    with pytest.raises(UserError, match="task 'other' is listed twice"):
        suite(names=("goal", "other", "other"))
