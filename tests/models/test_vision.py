import pytest
import torch

from avil_ray.errors import UserError
from avil_ray.models.vision import LeNet


@pytest.mark.parametrize(
    ("channels", "height", "width"), [(1, 16, 16), (1, 17, 17), (1, 18, 18), (3, 18, 31), (1, 28, 28), (1, 36, 36)]
)
def test_gives_features_for_every_size_from_16(channels: int, height: int, width: int) -> None:
    trunk = LeNet(channels, height, width, features=24)
    assert trunk(torch.rand(5, channels, height, width)).shape == (5, 24)


def test_every_pixel_of_the_smallest_image_counts() -> None:
    torch.manual_seed(0)
    images = torch.rand(64, 1, 16, 16, requires_grad=True)
    LeNet(1, 16, 16)(images).sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().sum(dim=(0, 1)) > 0).all()


def test_all_parameters_learn() -> None:
    torch.manual_seed(0)
    trunk = LeNet(1, 18, 18)
    trunk(torch.rand(8, 1, 18, 18)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in trunk.parameters())


@pytest.mark.parametrize(("height", "width"), [(15, 36), (36, 15)])
def test_smaller_images_are_refused(height: int, width: int) -> None:
    with pytest.raises(UserError, match=f"16 x 16 or larger, not {height} x {width}"):
        LeNet(1, height, width)
