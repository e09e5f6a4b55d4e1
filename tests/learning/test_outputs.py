"""The model's outputs are looked at before anything trains."""

import pytest
import small
import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.learning.outputs import check_outputs

CPU = torch.device("cpu")
INPUTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 2, 1, 0, 2])


def task(labels: Tensor = CLASSES, loss: str = "cross_entropy") -> avil.Task:
    return avil.Task("tone", avil.Examples(INPUTS, labels), loss=loss)


def model(head: nn.Module, trunk: nn.Module | None = None) -> avil.MultitaskModel:
    return avil.MultitaskModel(trunk or nn.Identity(), {"tone": head})


def refused(task: avil.Task, model: nn.Module) -> str:
    with pytest.raises(avil.UserError) as caught:
        check_outputs(model, [task], CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_more_classes_than_outputs_are_refused() -> None:
    assert refused(task(), model(nn.Linear(3, 2))) == (
        "task 'tone': train labels go up to 2, but its head has 2 outputs (classes 0 to 1)"
    )
    check_outputs(model(nn.Linear(3, 3)), [task()], CPU)


def test_every_split_counts() -> None:
    low = avil.Examples(INPUTS, CLASSES.clamp(max=1))
    high = avil.Examples(INPUTS, CLASSES)
    whole = avil.Task("tone", low, low, low, high)
    assert refused(whole, model(nn.Linear(3, 2))).startswith("task 'tone': test labels go up to 2")


@pytest.mark.parametrize("loss", ["mean_squared_error", "binary_cross_entropy"])
def test_one_output_per_example_is_required_if_the_loss_needs_it(loss: str) -> None:
    numbers = task(torch.rand(5), loss)
    assert refused(numbers, model(nn.Linear(3, 1))) == (
        f"task 'tone': the model's outputs for 2 examples have shape [2, 1], but {loss} needs one number each, [2]; "
        "a head of nn.Sequential(nn.Linear(…, 1), nn.Flatten(0)) gives that"
    )
    check_outputs(model(nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))), [numbers], CPU)


def test_classes_need_a_row_of_outputs_each() -> None:
    flat = model(nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)))
    assert refused(task(), flat).endswith("have shape [2], but cross_entropy needs [2, classes]")


def test_a_model_that_fails_is_reported_with_the_task() -> None:
    line = refused(task(), model(nn.Linear(4, 3)))
    assert line.startswith("task 'tone': the model fails on its train inputs (RuntimeError: mat1 and mat2 shapes")


def test_nothing_is_changed() -> None:
    trunk = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    whole = model(nn.Linear(3, 3), trunk).train()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    state = torch.random.get_rng_state()
    check_outputs(whole, [task()], CPU)
    assert whole.training
    assert trunk[1].training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())


def test_a_run_rejects_wrong_input_before_writing(tmp_path) -> None:
    examples = avil.Examples(INPUTS, CLASSES)
    suite = avil.Suite(
        name="own",
        target="tone",
        task_names=("tone",),
        tasks=lambda seed: [avil.Task("tone", *small.apart(examples))],
        model=lambda: model(nn.Linear(3, 2)),
    )
    with pytest.raises(avil.UserError, match="task 'tone': train labels go up to 2"):
        avil.train(suite, avil.TargetOnly(), rounds=1, steps_per_round=1, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_metric_of_two_classes_needs_two_outputs() -> None:
    labels = torch.tensor([0, 1, 0, 1, 1])
    goal = avil.Task("tone", *small.apart(avil.Examples(INPUTS, labels)), metric="f1")
    assert refused(goal, model(nn.Linear(3, 3))) == (
        "task 'tone': metric 'f1' supports only classes 0 and 1, but its head has 3 outputs; give the head 2, or the "
        "metric f1_macro or matthews"
    )
    check_outputs(model(nn.Linear(3, 2)), [goal], CPU)
    check_outputs(model(nn.Linear(3, 3)), [avil.Task("tone", goal.train, metric="f1")], CPU)


class Wrong(nn.Module):
    """A head that gives what it is made of, whatever its inputs."""

    def __init__(self, outputs: object) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs: Tensor) -> object:
        return self.outputs


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (
            torch.full((2, 3), torch.nan),
            "the model's outputs for its train inputs are not finite before training begins",
        ),
        (torch.zeros(2, 3, dtype=torch.int64), "the model's outputs must be floating-point numbers, not torch.int64"),
        ({"logits": 1}, "the model must return a tensor, not a int"),
    ],
)
def test_outputs_of_another_type_are_rejected(outputs: object, said: str) -> None:
    assert refused(task(), model(Wrong(outputs))) == f"task 'tone': {said}"


@pytest.mark.parametrize("split", ["dev", "select", "test"])
def test_every_split_goes_through_the_model_but_select_and_test_are_not_read(split: str) -> None:
    splits = dict(zip(("train", "dev", "select", "test"), small.apart(avil.Examples(INPUTS, CLASSES)), strict=True))
    if split != "dev":  # which must be of train's shape anyway
        wide = splits | {split: avil.Examples(torch.ones(5, 4), CLASSES)}
        assert refused(avil.Task("tone", **wide), model(nn.Linear(3, 3))).startswith(
            f"task 'tone': the model fails on its {split} inputs (RuntimeError: mat1 and mat2 shapes"
        )
    seen: list[Tensor] = []
    trunk = nn.Identity()
    trunk.register_forward_hook(lambda module, given, outputs: seen.append(given[0]))
    check_outputs(model(nn.Linear(3, 3), trunk), [avil.Task("tone", **splits)], CPU)
    assert [inputs.abs().sum() > 0 for inputs in seen] == [True, True, False, False]


class Column:
    """Inputs that are no tensor, and give what they are made of."""

    def __init__(self, batch: object) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 5

    def __getitem__(self, rows: Tensor) -> object:
        if isinstance(self.batch, Exception):
            raise self.batch
        return self.batch

    def join(self, other: object) -> object:
        return self


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ([1, 2], "inputs must be a tensor or a mapping of tensors, not a list"),
        ({"ids": [1, 2]}, "inputs must be a tensor or a mapping of tensors, not a dict with a list in it"),
        (torch.full((2, 3), torch.inf), "inputs[0, 0] is inf; leave out such examples"),
    ],
)
def test_batches_of_another_type_are_rejected(batch: object, said: str) -> None:
    whole = avil.Task("tone", avil.Examples(Column(batch), CLASSES))
    assert refused(whole, model(nn.Linear(3, 3))).startswith(f"task 'tone': its train split: {said}")


def test_inputs_that_cannot_be_read_are_one_line() -> None:
    whole = avil.Task("tone", avil.Examples(Column(KeyError("no rows")), CLASSES))
    said = "task 'tone': its inputs cannot be read, in a batch of 2 that begins with row 0 of its train split (KeyError"
    assert refused(whole, model(nn.Linear(3, 3))).startswith(said)


def test_inputs_that_cannot_be_joined_are_one_line() -> None:
    column = avil.Examples(Column(INPUTS), CLASSES)
    with pytest.raises(avil.UserError, match=r"inputs.join\(other\) of a Column: 5 and 5 examples gave 5; it must"):
        column.join(column)
    with pytest.raises(avil.UserError, match=r"inputs.join\(other\) of a list fails \(AttributeError: "):
        avil.Examples([1] * 5, CLASSES).join(column)
