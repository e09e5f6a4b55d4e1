"""`avil-ray predict`: an exported model's predictions for the texts or images in a file, one per row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from avil_ray.errors import UserError
from avil_ray.export import load
from avil_ray.models.image_export import IMAGES_AT_A_TIME, ImagePredictor
from avil_ray.models.text_export import Answer, TextPredictor
from avil_ray.storage import Place, replace_file
from avil_ray.suites.files.image_store import opened
from avil_ray.suites.files.reading import find_source
from avil_ray.suites.files.several_labels import SEPARATOR
from avil_ray.suites.files.tags import read_words
from avil_ray.suites.files.texts import read_texts
from avil_ray.suites.image_tasks import find_images, read_paths


def predict(folder: Place, data: str, output: Path | None) -> str | None:
    """Predict each row of a file with the columns of training; write the predictions, or return them as CSV.

    Parameters
    ----------
    folder
        The folder written by `Result.save` or `avil-ray run --output`, or its URI.
    data
        A CSV, TSV, JSONL or Parquet file, or any other source for a suite of texts or images.
    output
        A `.csv` or `.jsonl` file; if None, the predictions are returned.

    Raises
    ------
    UserError
        The folder contains no model of texts or images; a column, a text or an image is missing; or the output is
        another kind of file or in a missing folder.
    """
    if output is not None and output.suffix not in WRITERS:
        raise UserError(f"--output {output}: the file must end in {' or '.join(WRITERS)}")
    if output is not None and not output.absolute().parent.is_dir():
        raise UserError(f"--output {output}: there is no folder {output.absolute().parent}")
    model = load(folder)
    if isinstance(model, ImagePredictor):
        answers = _of_images(model, data)
    elif isinstance(model, TextPredictor):
        answers = _of_texts(model, data)
    else:
        raise UserError(f"{folder}: this model does not read files; use it from Python with avil_ray.load(folder)")
    if output is None:
        return _as_csv(answers)
    replace_file(output, WRITERS[output.suffix](answers).encode())
    return None


def _of_texts(model: TextPredictor, data: str) -> list[Answer]:
    first, *second = model.columns
    table = find_source(data).read([column for group in model.columns for column in group])
    if model.output.kind == "tokens":
        return model.predict(read_words(table, first[0]))
    return model.predict(read_texts(table, first), read_texts(table, second[0]) if second else None)


def _of_images(model: ImagePredictor, data: str) -> list[Answer]:
    paths, places = read_paths(find_images(data).read([model.column]), model.column)
    found: list[Answer] = []
    for start in range(0, len(paths), IMAGES_AT_A_TIME):
        part = slice(start, start + IMAGES_AT_A_TIME)
        found += model.predict(list(map(_image, paths[part], places[part])))
    return found


def _image(path: Path, place: str) -> Any:
    with opened(path, place) as image:
        return image.convert("RGB")


def _as_csv(answers: Sequence[Answer]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(answers[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value, len(answer) > 1) for name, value in answer.items()} for answer in answers)
    return text.getvalue()


def _cell(value: Any, several: bool) -> str:
    """A value as text, in the format in which labels are read: joined by `|` for a row, by spaces for words."""
    if isinstance(value, list):
        return (SEPARATOR if several else " ").join(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _as_json_lines(answers: Sequence[Answer]) -> str:
    return "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)


WRITERS: dict[str, Callable[[Sequence[Answer]], str]] = {".csv": _as_csv, ".jsonl": _as_json_lines}
"""The suffix of an output file -> the function that formats its content."""
