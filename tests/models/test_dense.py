import pickle

import pytest
import torch

from avil_ray.learning.parameters import ParameterSpace
from avil_ray.models.dense import SMALLEST_SIDE, EncoderDecoder, NormalsHead, dense_model

KINDS = {"segmentation": "segmentation", "depth": "depth", "normals": "normals"}


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 15), (24, 24), (31, 18), (36, 48)])
def test_every_pixel_gets_features_whatever_the_size(height: int, width: int) -> None:
    assert EncoderDecoder(3, 5)(torch.rand(2, 3, height, width)).shape == (2, 5, height, width)


def test_heads_answer_in_the_shapes_of_targets() -> None:
    model = dense_model(KINDS, classes=7, width=4)
    images = torch.rand(2, 3, 16, 20)
    shapes = {name: tuple(model(images, name).shape) for name in KINDS}
    assert shapes == {"segmentation": (2, 7, 16, 20), "depth": (2, 1, 16, 20), "normals": (2, 3, 16, 20)}


def test_normals_have_length_1() -> None:
    normals = NormalsHead(4)(100 * torch.randn(2, 4, 8, 8))
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(2, 8, 8))


def test_a_pixel_sees_far_beyond_one_convolution() -> None:
    torch.manual_seed(0)
    trunk = EncoderDecoder(3, 4)
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    trunk(images)[0, :, 16, 16].sum().backward()
    assert (images.grad[0].abs().sum(dim=0) > 0).float().mean() > 0.5


def test_all_parameters_learn_and_there_are_no_buffers() -> None:
    torch.manual_seed(0)
    model = dense_model(KINDS, classes=4, width=4)
    sum(model(torch.rand(2, 3, 16, 16), name).square().sum() for name in ("segmentation", "depth")).backward()
    model(torch.rand(2, 3, 16, 16), "normals")[:, 0].sum().backward()
    dead = [name for name, one in model.named_parameters() if one.grad is None or one.grad.abs().sum() == 0]
    assert not dead
    assert not list(model.buffers()), "a batch's statistics would belong to the task that saw it last"


def test_an_image_is_answered_alone_and_alike_in_training_and_evaluation() -> None:
    torch.manual_seed(0)
    model, images = dense_model(KINDS, classes=4, width=4), torch.rand(3, 3, 16, 16)
    together = model(images, "depth")
    torch.testing.assert_close(model.eval()(images[:1], "depth"), together[:1])


def test_heads_stand_under_their_tasks_name() -> None:
    space = ParameterSpace(dense_model(KINDS, classes=4, width=4))
    assert set(space.heads) == set(KINDS)
    assert space.trunk.stop > 0


def test_the_smallest_image_keeps_more_than_one_pixel_for_its_norm() -> None:
    torch.manual_seed(0)
    trunk = EncoderDecoder(3, 4)
    trunk(torch.rand(2, 3, SMALLEST_SIDE, SMALLEST_SIDE)).square().sum().backward()
    assert all(one.grad.abs().sum() > 0 for one in trunk.parameters())


def test_the_model_travels() -> None:
    model = dense_model(KINDS, classes=4, width=4)
    again = pickle.loads(pickle.dumps(model))
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(again(images, "normals"), model(images, "normals"))
