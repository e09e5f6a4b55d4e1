"""Losses against PyTorch's own reductions and closed forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.tasks.losses import LOSSES, AbsoluteError, BinaryCrossEntropy, CrossEntropy, example_losses, find_loss

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_one_float32_number_per_example(name: str, dtype: torch.dtype) -> None:
    labels = torch.tensor([0, 1, 1])
    outputs = normal(3, 2) if "cross_entropy" in name and "binary" not in name else normal(3)
    losses = LOSSES[name](outputs.to(dtype), labels)
    assert losses.shape == (3,)
    assert losses.dtype == torch.float32


def test_losses_are_what_their_names_say() -> None:
    labels, logits = torch.tensor([0, 1, 1]), torch.tensor([-1.0, 2.0, 0.5])
    probability = torch.sigmoid(logits)
    expected = -torch.where(labels == 1, probability, 1 - probability).log()
    two = torch.stack([torch.zeros(3), logits], dim=1)
    assert torch.allclose(LOSSES["binary_cross_entropy"](logits, labels), expected)
    assert torch.allclose(LOSSES["cross_entropy"](two, labels), expected)
    assert LOSSES["mean_squared_error"](logits, labels).tolist() == [1.0, 1.0, 0.25]
    assert LOSSES["mean_absolute_error"](logits, labels).tolist() == [1.0, 1.0, 0.5]


def test_pixels_and_tokens_give_the_mean_over_those_that_count() -> None:
    outputs, targets = normal(2, 3, 4, 5), torch.randint(-1, 3, (2, 4, 5), generator=GENERATOR)
    expected = torch.stack(
        [F.cross_entropy(o[None], t[None], ignore_index=-1) for o, t in zip(outputs, targets, strict=True)]
    )
    assert torch.allclose(CrossEntropy(ignore_index=-1)(outputs, targets), expected)
    tokens = outputs.flatten(2).movedim(1, -1)
    found = CrossEntropy(ignore_index=-1, class_dimension=-1)(tokens, targets.flatten(1))
    assert torch.allclose(found, expected)


def test_an_example_without_a_place_that_counts_has_loss_0_and_no_gradient() -> None:
    outputs = normal(2, 3, 4).requires_grad_()
    losses = CrossEntropy()(outputs, torch.full((2, 4), -100))
    losses.sum().backward()
    assert losses.tolist() == [0.0, 0.0]
    assert outputs.grad is not None
    assert not outputs.grad.any()


def test_class_weights_and_smoothing_are_pytorchs() -> None:
    outputs, targets = normal(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    weights = torch.tensor([1.0, 2.0, 0.5])
    expected = F.cross_entropy(outputs, targets, weight=weights, label_smoothing=0.2, reduction="none")
    assert torch.equal(CrossEntropy(weights=(1.0, 2.0, 0.5), smoothing=0.2)(outputs, targets), expected)
    assert torch.allclose(
        BinaryCrossEntropy(positive_weight=3.0)(outputs, targets[:, None].expand(-1, 3).clamp(max=1)),
        F.binary_cross_entropy_with_logits(
            outputs, targets[:, None].expand(-1, 3).clamp(max=1).float(), pos_weight=torch.tensor(3.0), reduction="none"
        ).mean(1),
    )


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: CrossEntropy(smoothing=1.0), "smoothing must be at least 0 and below 1, not 1.0"),
        (lambda: CrossEntropy(weights=(1.0, -1.0)), "weights must be numbers, at least 0"),
        (lambda: CrossEntropy(class_dimension=2), "class_dimension must be 1 or -1, not 2"),
        (lambda: find_loss("cross_entrpy", "task 'a'"), "unknown loss 'cross_entrpy'; did you mean 'cross_entropy'?"),
        (lambda: find_loss(CrossEntropy, "task 'a'"), "loss must be a name or a callable"),
        (lambda: find_loss(3, "task 'a'"), "loss must be a name or a callable loss.outputs, targets., not a int"),
    ],
)
def test_mistakes_are_one_line(made: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        made()


def test_a_batchs_mean_is_taken_as_it_is_and_other_shapes_are_refused() -> None:
    assert example_losses(torch.tensor(2.0), 5, "task 'a'").tolist() == [2.0]
    assert example_losses(torch.ones(5), 5, "task 'a'").shape == (5,)
    for wrong, said in ((torch.ones(5, 2), r"a tensor \[5, 2\]"), (torch.ones(1), r"a tensor \[1\]"), (1.0, "a float")):
        with pytest.raises(UserError, match=f"task 'a': the loss returned {said} for 5 examples"):
            example_losses(wrong, 5, "task 'a'")


def test_losses_compare_and_print_by_their_options() -> None:
    assert CrossEntropy(weights=[1.0, 2.0]) == CrossEntropy(weights=(1.0, 2.0))
    assert repr(AbsoluteError()) == "AbsoluteError()"
