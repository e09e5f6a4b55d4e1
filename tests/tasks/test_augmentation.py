"""Augmentations by name, of one's own, and one after another."""

from __future__ import annotations

import pytest
import torch

from avil_ray.errors import UserError
from avil_ray.tasks.augmentation import AUGMENTATIONS, Flip, Noise, Shift, batched, find_augment, is_batched

IMAGE = torch.arange(12.0).view(1, 3, 4)


def test_a_flip_mirrors_half_of_the_images_and_leaves_the_target() -> None:
    found = [Flip()(IMAGE, 7) for _ in range(200)]
    flipped = sum(torch.equal(image, IMAGE.flip(-1)) for image, _ in found)
    assert all(torch.equal(image, IMAGE) or torch.equal(image, IMAGE.flip(-1)) for image, _ in found)
    assert 60 < flipped < 140
    assert {target for _, target in found} == {7}


def test_a_shift_moves_by_no_more_than_asked() -> None:
    image = torch.zeros(1, 7, 7)
    image[0, 3, 3] = 1.0
    places = {tuple(Shift(1)(image, 0)[0].nonzero()[0].tolist()) for _ in range(300)}
    assert places == {(0, row, column) for row in (2, 3, 4) for column in (2, 3, 4)}


def test_noise_has_the_deviation_asked() -> None:
    noisy, _ = Noise(0.5)(torch.zeros(20_000), 0)
    assert float(noisy.std()) == pytest.approx(0.5, rel=0.05)


def test_a_list_is_one_after_another() -> None:
    augment = find_augment([lambda x, y: (x + 1, y), lambda x, y: (2 * x, y + 1)], "task 'a'")
    assert augment is not None
    assert augment(1, 0) == (4, 1)


def test_what_an_augmentation_may_be() -> None:
    assert find_augment(None, "task 'a'") is None
    assert find_augment("flip", "task 'a'") is AUGMENTATIONS["flip"]
    on_batches = batched(lambda inputs, targets: (inputs, targets))
    assert is_batched(on_batches)
    for wrong, said in (
        ("flp", "did you mean 'flip'"),
        (Flip, "augment must be a name"),
        (["flip", on_batches], "list"),
    ):
        with pytest.raises(UserError, match=said):
            find_augment(wrong, "task 'a'")
