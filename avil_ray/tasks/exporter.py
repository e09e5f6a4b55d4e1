"""How a suite's trained target is written so that others can load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import nn


class Exporter(Protocol):
    """Writes the target's model in a format of the outside world. It travels with its suite: plain values.

    Attributes
    ----------
    reader
        What loads the folder again: a name of `avil_ray.export.READERS`.
    """

    reader: ClassVar[str]

    def save(self, model: nn.Module, target: str, folder: Path) -> Mapping[str, Any]:
        """Write the target's model into `folder`, which is empty; `model` is the one of all tasks.

        Returns
        -------
        Mapping[str, Any]
            What else must be known to use it, in plain values (JSON): columns of text, lengths, names of labels.

        Raises
        ------
        UserError
            The format has no place for what a method has made of the model.
        """
