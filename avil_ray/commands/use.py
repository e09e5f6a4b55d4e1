"""`avil-ray predict` and `avil-ray ui`: what one has of a run or sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avil_ray.commands.options import DEFAULT_STORAGE, Storage
from avil_ray.plain import plain


def predict(
    folder: Annotated[
        str, typer.Argument(help="Folder or URI of a model saved by `avil-ray run --output` or `result.save`.")
    ],
    file: Annotated[str, typer.Argument(help="A CSV, TSV, JSONL or Parquet file with the training columns.")],
    output: Annotated[Path | None, typer.Option(help="File to write, .csv or .jsonl. Default: print them.")] = None,
) -> None:
    """Predict every row of a file with a trained model: labels and their probabilities."""
    from avil_ray.predicting import predict as predicted

    text = predicted(folder, file, output)
    print(f"written to {plain(output)}" if text is None else text, end="\n" if text is None else "")


def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 5000,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Serve the MLflow UI for the stored sweeps on 127.0.0.1."""
    from avil_ray.sweeps.storage import tracking_folder
    from avil_ray.tracking.ui import open_ui

    open_ui(tracking_folder(storage), port, print)
