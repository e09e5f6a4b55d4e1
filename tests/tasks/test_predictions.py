"""Where outputs have their classes: said by the loss, or told by their shape."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.tasks.metrics import find_measure
from avil_ray.tasks.predictions import predicted_classes

TARGETS = torch.tensor([[0, 2, 1, 0], [1, 1, 2, 2]])
TOKENS = torch.eye(3)[TARGETS]


@pytest.mark.parametrize("outputs", [TOKENS, TOKENS.movedim(-1, 1)])
def test_the_shape_tells(outputs: Tensor) -> None:
    assert torch.equal(predicted_classes(outputs, TARGETS, None), TARGETS)
    metric = find_measure("accuracy", None, lambda outputs, targets: outputs.sum(), "task 'a'").make()
    metric.update(outputs, TARGETS)
    assert metric.compute() == 1


def test_one_row_of_classes_and_one_logit_need_no_telling() -> None:
    assert predicted_classes(torch.eye(3), torch.arange(3), None).tolist() == [0, 1, 2]
    assert predicted_classes(torch.tensor([-1.0, 2.0]), torch.tensor([0, 1]), None).tolist() == [0, 1]


def test_as_many_places_as_classes_must_be_told() -> None:
    square = torch.zeros(2, 4, 4)
    with pytest.raises(UserError, match=r"outputs \[2, 4, 4\] may have their classes in dimension 1 or in the last"):
        predicted_classes(square, TARGETS, None)
    assert predicted_classes(square, TARGETS, -1).shape == TARGETS.shape
