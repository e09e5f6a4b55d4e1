"""The preprocessed NYUv2 folder: its layout, a dataset of its images, and their augmentation.

Images are read on access and not kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from avil_ray.errors import UserError
from avil_ray.models.dense import SMALLEST_SIDE, Kind
from avil_ray.suites.dense_objectives import UNKNOWN

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]

IMAGE = "image"
"""The folder of the images."""

FOLDERS: dict[Kind, str] = {"segmentation": "label", "depth": "depth", "normals": "normal"}
"""Task -> the folder of its labels."""

CHANNELS = {IMAGE: (3,), "label": (), "depth": (1,), "normal": (3,)}
"""Folder -> the array dimensions after height and width."""

LEAST = 3
"""The minimum number of images in train/: one each for train, dev and select."""

SCALES = (1.0, 1.2, 1.5)
"""Scale factors of augmented training images."""


def read_layout(folder: Path, answers: Iterable[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The number of images in train/ and val/, and their height and width; no image is fully read.

    Parameters
    ----------
    answers
        The folders of the labels that are needed; others may be missing.

    Raises
    ------
    UserError
        A folder or a file is missing, or the first images of train/ and val/ have wrong shapes.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; data_dir must be the preprocessed folder that holds train/ and val/"
        )
    names = [IMAGE, *answers]
    train, val = (_count(folder / part, names) for part in ("train", "val"))
    if train < LEAST:
        raise UserError(f"{folder / 'train' / IMAGE}: it has {train} images, but train, dev and select need {LEAST}")
    first = folder / "train" / IMAGE / "0.npy"
    shape = _load(first).shape
    if len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < SMALLEST_SIDE:
        needed = f"[height, width, 3], {SMALLEST_SIDE} pixels or more each way"
        raise UserError(f"{first}: an image must be {needed}, not {list(shape)}")
    for part in ("train", "val"):
        for name in names:
            _checked(folder / part / name / "0.npy", (*shape[:2], *CHANNELS[name]))
    return (train, val), (shape[0], shape[1])


def _count(part: Path, names: Sequence[str]) -> int:
    """The number of images in a part: files 0.npy, 1.npy and so on, the same in each of its folders."""
    counts = {}
    for name in names:
        if not (part / name).is_dir():
            raise UserError(f"{part / name}: no such folder; {part.name}/ must hold {', '.join(names)}")
        there = {path.name for path in (part / name).iterdir() if re.fullmatch(r"\d+\.npy", path.name)}
        counts[name] = len(there)
        missing = next((f"{number}.npy" for number in range(max(len(there), 1)) if f"{number}.npy" not in there), None)
        if missing is not None:
            raise UserError(f"{part / name / missing}: no such file; files are numbered from 0.npy without a gap")
        if counts[name] != counts[IMAGE]:
            found = f"{counts[name]} files, but {IMAGE}/ has {counts[IMAGE]}"
            raise UserError(f"{part / name}: it has {found}; each image needs one, of the same number")
    return counts[IMAGE]


def _load(path: Path) -> Array:
    """A file's array, memory-mapped."""
    try:
        array: Array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path}: cannot be read as an array ({' '.join(str(error).split())}); copy it again"
        ) from error
    return array


def _checked(path: Path, shape: tuple[int, ...]) -> Array:
    """A file's array, checked to be numeric and of this shape."""
    array = _load(path)
    if array.shape != shape:
        hint = "all images, and their answers, must be of one height and width"
        raise UserError(f"{path}: its shape must be {list(shape)}, not {list(array.shape)}; {hint}")
    label = path.parent.name == FOLDERS["segmentation"]
    if array.dtype.kind != "f" and not (label and array.dtype.kind in "iu"):
        needed = (
            "whole numbers" if label else f"floating-point numbers{', 0 to 1' if path.parent.name == IMAGE else ''}"
        )
        raise UserError(f"{path}: it must hold {needed}, not {array.dtype}")
    return array


class DenseImages(Dataset[tuple[Tensor, Tensor]]):
    """Images of one part with one task's labels: (image [3, H, W] float32, labels), read on access.

    Labels are int64 [H, W] for segmentation, float32 [1, H, W] for depth and [3, H, W] for normals.

    Parameters
    ----------
    part
        The folder, train/ or val/.
    numbers
        The numbers of the images, [N].
    shape
        Their height and width.
    classes
        Classes of the segmentation.
    """

    def __init__(self, part: Path, kind: Kind, numbers: Integers, shape: tuple[int, int], classes: int) -> None:
        self.part, self.kind, self.numbers, self.shape, self.classes = part, kind, numbers, shape, classes

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """An image and its labels.

        Raises
        ------
        UserError
            A file is damaged, has a different shape than the first, or contains invalid values.
        """
        number = self.numbers[index]
        image, answers = (self._read(number, folder) for folder in (IMAGE, FOLDERS[self.kind]))
        return image, answers.long() if self.kind == "segmentation" else answers

    def _read(self, number: int, folder: str) -> Tensor:
        """An array with channels first, as float32."""
        path = self.part / folder / f"{number}.npy"
        numbers = torch.from_numpy(np.array(_checked(path, (*self.shape, *CHANNELS[folder])), dtype=np.float32))
        if not bool(torch.isfinite(numbers).all()):
            raise UserError(f"{path}: it holds numbers that are not finite; mark unknown answers with 0 or -1")
        if folder == FOLDERS["segmentation"]:
            whole_numbers = bool((numbers == numbers.round()).all())
            low, high = numbers.min().item(), numbers.max().item()
            if not whole_numbers or low < UNKNOWN or high >= self.classes:
                found = f"{low:g} to {high:g}" if whole_numbers else "fractions"
                raise UserError(f"{path}: classes must be whole numbers, -1 to {self.classes - 1}, not {found}")
            return numbers
        return numbers.movedim(-1, 0).contiguous()


@dataclass(frozen=True)
class ScaleCropFlip:
    """Randomly scale an image up, crop it to its old size, and flip it with probability 1/2, together with its labels.

    Source: Xu, Ouyang, Wang and Sebe, "PAD-Net" (CVPR 2018, https://arxiv.org/abs/1805.04409). An image scaled by s
    appears s times closer, so depths are divided by s; a flipped normal points to the other side. Labels are taken from
    the nearest pixel, so that none is interpolated or invented at unknown pixels.

    Parameters
    ----------
    kind
        The task, which determines the kind of labels.
    """

    kind: Kind

    def __call__(self, image: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Image [3, H, W] and labels [..., H, W]; random numbers come from PyTorch's generator."""
        scale = SCALES[int(torch.randint(len(SCALES), ()))]
        height, width = image.shape[-2:]
        tall, wide = int(height / scale), int(width / scale)
        top, left = (int(torch.randint(room + 1, ())) for room in (height - tall, width - wide))
        cut = image[None, :, top : top + tall, left : left + wide]
        image = F.interpolate(cut, size=(height, width), mode="bilinear")[0]
        rows, columns = (
            start + ((torch.arange(size) + 0.5) * part / size).long()
            for start, part, size in ((top, tall, height), (left, wide, width))
        )
        answers = answers[..., rows[:, None], columns]
        if self.kind == "depth":
            answers = answers / scale
        if torch.rand(()) < 0.5:
            image, answers = image.flip(-1), answers.flip(-1)
            if self.kind == "normals":
                answers = answers * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
        return image, answers
