"""The interface for exporting a suite's trained target to other tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import nn


class Exporter(Protocol):
    """Writes the target's model in a third-party format. It is sent with its suite, so it holds plain values only.

    Attributes
    ----------
    reader
        The loader for the folder: a name in `avil_ray.export.READERS`.
    """

    reader: ClassVar[str]

    def save(self, model: nn.Module, target: str, folder: Path) -> Mapping[str, Any]:
        """Write the target's model to the empty `folder`; `model` is the model of all tasks.

        Returns
        -------
        Mapping[str, Any]
            Other facts needed to use it, as plain (JSON) values: text columns, lengths, label names.

        Raises
        ------
        UserError
            The format cannot represent a method's changes to the model.
        """
