"""The parts of the reference that come from the code: the command line's help and each method's options."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

from sphinx.pycode import ModuleAnalyzer
from typing_extensions import Doc

from avil_ray.catalog import METHODS, build_method, method_class, settled_options
from avil_ray.errors import UserError
from avil_ray.tasks.learning import Learning


def write(folder: Path) -> None:
    """Write every generated part into `folder`, which pages include."""
    folder.mkdir(exist_ok=True)
    (folder / "command-line.md").write_text(command_line(), encoding="utf-8")
    (folder / "learning.md").write_text("\n".join(learning_table()) + "\n", encoding="utf-8")
    for name in METHODS:
        (folder / f"{name}.md").write_text("\n".join(options_table(name)) + "\n", encoding="utf-8")


def command_line() -> str:
    """The help of every command in Markdown, by typer itself, without the heading of the whole."""
    command = [sys.executable, "-m", "typer", "avil_ray.cli", "utils", "docs", "--name", "avil-ray"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]).stdout  # noqa: S603
    commands = re.sub(r"\A.*?(?=^## )", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^(avil-ray .*)$", r"Example: `\1`", commands, flags=re.MULTILINE)


def options_table(name: str) -> Iterator[str]:
    """A method's options as the rows of a table: name, the value in force where none is given, and meaning."""
    cls = method_class(name)
    hints, values = get_type_hints(cls, include_extras=True), defaults(name)
    yield from ("| option | default | meaning |", "| --- | --- | --- |")
    for field in (field for field in dataclasses.fields(cls) if field.init):
        notes = getattr(hints[field.name], "__metadata__", ())
        meaning = "; ".join(note.documentation for note in notes if isinstance(note, Doc))
        value = values.get(field.name)
        shown = "–" if value is None else f"`{value}`"
        yield f"| `{field.name}` | {shown} | {meaning} |"


def learning_table() -> Iterator[str]:
    """The fields of `Learning` as the rows of a table, with the texts that stand below them in the code."""
    texts = ModuleAnalyzer.for_module(Learning.__module__).find_attr_docs()
    yield from ("| option | default | meaning |", "| --- | --- | --- |")
    for field in dataclasses.fields(Learning):
        value = (
            "`{}`" if field.default is dataclasses.MISSING else "–" if field.default is None else f"`{field.default}`"
        )
        yield f"| `{field.name}` | {value} | {' '.join(texts.get(('Learning', field.name), [])).strip()} |"


def defaults(name: str) -> dict[str, object]:
    """Option -> its value where nothing is given; those that the suite decides are left out."""
    try:
        return settled_options(build_method(name, {}))
    except UserError:  # it needs an option
        return {}
