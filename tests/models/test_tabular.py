import pytest
import torch
from torch import nn

from avil_ray.errors import UserError
from avil_ray.models.tabular import MLP


@pytest.mark.parametrize("hidden", [[7], [16, 7], [4, 32, 7]])
def test_the_last_width_is_what_heads_see(hidden: list[int]) -> None:
    trunk = MLP(3, hidden)
    assert trunk(torch.rand(5, 3)).shape == (5, 7)
    assert [layer.out_features for layer in trunk if isinstance(layer, nn.Linear)] == hidden


def test_features_are_rectified() -> None:
    torch.manual_seed(0)
    features = MLP(3, [16, 16])(torch.randn(50, 3))
    assert (features >= 0).all()
    assert (features > 0).any()


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    trunk, inputs = MLP(3, [64], dropout=0.5), torch.rand(4, 3)
    assert not torch.equal(trunk(inputs), trunk(inputs))
    trunk.eval()
    assert torch.equal(trunk(inputs), trunk(inputs))


def test_no_dropout_unless_asked() -> None:
    assert not any(isinstance(layer, nn.Dropout) for layer in MLP(3, [4, 4]))


@pytest.mark.parametrize(("inputs", "hidden"), [(3, []), (0, [4]), (3, [4, 0])])
def test_impossible_widths_are_refused(inputs: int, hidden: list[int]) -> None:
    with pytest.raises(UserError, match="at least one width is needed, and all must be 1 or more"):
        MLP(inputs, hidden)
