"""Export of trained models: a folder with named weights and everything needed to use them.

If a suite has an exporter, the folder can be loaded by other tools: `transformers` for texts and images. Otherwise it
contains `model.safetensors`, with the weights by their names in `Result.model()`. In addition, `avil.json` describes
the model, its training data and its scores, with a checksum of every file; `load` needs it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from avil_ray import __version__
from avil_ray.catalog import SUITES, build_method, build_suite, method_name, settled_options
from avil_ray.catalog import load as find
from avil_ray.configuration import plain
from avil_ray.errors import UserError
from avil_ray.methods.method import Method
from avil_ray.models.multitask import SingleTask
from avil_ray.staging import copied, upload
from avil_ray.storage import Place, Storage, at, cannot_write, why
from avil_ray.tasks.heads import owner
from avil_ray.tasks.suite import Suite

if TYPE_CHECKING:
    from avil_ray.training import Result

FORMAT = 1
"""The version of `avil.json` that this library reads and writes."""
FACTS, WEIGHTS = "avil.json", "model.safetensors"

READERS = {"image": "avil_ray.models.image_export:load_images", "text": "avil_ray.models.text_export:load_text"}
"""An exporter's format -> the import path of the function `(folder, facts)` that loads it."""
MODULE = "module"
"""The format used without an exporter."""


def save(result: Result, place: Place) -> None:
    """Save a result's target model. Files of an earlier export in the folder are replaced; other files are kept.

    Parameters
    ----------
    place
        A folder, or its URI.

    Raises
    ------
    UserError
        The format cannot represent the model.
    WorkFailed
        The folder cannot be written to.
    """
    storage, suite = at(place), result.suite
    facts = {
        "format": FORMAT,
        "reader": suite.exporter.reader if suite.exporter else MODULE,
        "target": suite.target,
        "suite": {"name": suite.name, "specification": _specification(suite)},
        "learning": plain("learning", asdict(suite.learning)),
        "method": {
            "name": method_name(result.method),
            "options": _options(result.method),
            "prepares": type(result.method).prepare is not Method.prepare,
        },
        "seed": result.seed,
        "metric": next(iter(result.test)),
        "figures": {"test": dict(result.test), "select": result.select, "best_round": result.best_round},
        "versions": {"avil_ray": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    storage.make()
    try:
        with tempfile.TemporaryDirectory(dir=storage.local, prefix=".export-") as spare:
            written = Path(spare)
            facts["model"] = _write(result, written)
            facts["files"] = {path.name: _checksum(path) for path in sorted(written.iterdir())}
            _clear(storage)
            if storage.local is None:
                upload(written, storage)
            else:
                for path in written.iterdir():
                    path.replace(storage.local / path.name)
    except OSError as error:
        raise cannot_write(storage.where(), error) from error
    storage.write(FACTS, (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())


def load(place: Place, suite: Suite | None = None) -> nn.Module:
    """Load the model written by `Result.save` or `avil-ray run --output`, in evaluation mode, on the CPU.

    Parameters
    ----------
    place
        The folder, or its URI.
    suite
        The trained suite, if the folder does not describe how to build it: for a user's own suite, made in Python.

    Returns
    -------
    nn.Module
        `model(inputs)` -> outputs, as `Result.model()`. For texts and images it also has `model.predict(…)`.

    Raises
    ------
    UserError
        The folder contains no such model, it was written by another version, or a file has been changed.

    Examples
    --------
    >>> import tempfile
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.Equal(), rounds=2, steps_per_round=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result.save(folder)
    ...     model = avil.load(folder)
    >>> model.training
    False
    """
    storage = at(place)
    if storage.local is None:
        with copied(storage, storage.names()) as copy:
            return _load(copy, suite)
    return _load(storage.local, suite)


def _load(folder: Path, suite: Suite | None) -> nn.Module:
    facts = read_facts(folder)
    if facts["reader"] == MODULE:
        return _module(folder, facts, suite)
    reader: Callable[[Path, Mapping[str, Any]], nn.Module] = find(READERS[facts["reader"]])
    try:
        return reader(folder, facts["model"])
    except (OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{folder}: the model cannot be loaded ({' '.join(str(error).split())})") from error


def read_facts(folder: Path) -> dict[str, Any]:
    """The content of `avil.json`, after verifying that every file is unchanged.

    Raises
    ------
    UserError
        See `load`.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
        version, files, reader = facts["format"], dict(facts["files"]), facts["reader"]
    except (FileNotFoundError, NotADirectoryError):
        hint = "result.save(folder) and `avil-ray run --output FOLDER` write one"
        raise UserError(f"{folder}: holds no exported model (no {FACTS}); {hint}") from None
    except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{folder / FACTS}: cannot be read ({why(error)}); save the model again") from error
    if version != FORMAT or reader not in (*READERS, MODULE):
        raise UserError(
            f"{folder / FACTS}: was written by another avil_ray (format {version}, {reader}); this one reads format "
            f"{FORMAT}"
        )
    for name, checksum in files.items():
        try:
            found = _checksum(folder / name)
        except OSError as error:
            raise UserError(f"{folder / name}: cannot be read ({why(error)}); save the model again") from error
        if found != checksum:
            raise UserError(f"{folder / name}: is not what was written (the checksum is wrong); save the model again")
    return facts


def _write(result: Result, folder: Path) -> Mapping[str, Any]:
    """Write the model's files; returns the other facts needed to load it."""
    model, suite = result.model(), result.suite
    if suite.exporter is not None:
        return suite.exporter.save(model.model, suite.target, folder)
    from safetensors.torch import save_file

    # all parameters are views of one vector, which safetensors would take for shared memory
    save_file({name: values.clone() for name, values in _own_state(model).items()}, folder / WEIGHTS, {"format": "pt"})
    return {}


def _own_state(model: SingleTask) -> dict[str, torch.Tensor]:
    """The values of the trunk and of the task's head."""
    state: dict[str, torch.Tensor] = model.state_dict()
    return {name: value for name, value in state.items() if owner(name.removeprefix("model.")) in ("", model.task)}


def _module(folder: Path, facts: Mapping[str, Any], suite: Suite | None) -> SingleTask:
    from safetensors.torch import load_file

    if suite is None:
        specification = facts["suite"]["specification"]
        if specification is None:
            name = facts["suite"]["name"]
            raise UserError(f"{folder}: suite {name!r} was made in Python; pass it: load(folder, suite=…)")
        suite = build_suite(specification)
    method = facts["method"]
    if method["prepares"] and method["options"] is None:
        raise UserError(f"{folder}: method {method['name']} changed the model, but no file can hold its options")
    if method["prepares"]:
        suite = build_method(method["name"], method["options"]).prepare(suite)
    model = SingleTask(suite.build(), facts["target"])
    stored, wanted = load_file(folder / WEIGHTS), _own_state(model)
    for name in sorted({*stored, *wanted}):
        if name not in stored or name not in wanted or stored[name].shape != wanted[name].shape:
            raise UserError(f"{folder / WEIGHTS}: {name} does not match suite {suite.name!r}; has the suite changed?")
    model.load_state_dict(stored, strict=False)
    return model.eval()


def _specification(suite: Suite) -> dict[str, Any] | None:
    """The specification from which `build_suite` makes the suite; None if it is not made by a catalogue factory."""
    if suite.specification is not None:
        return {key: plain(key, value) for key, value in suite.specification.items()}
    return {"name": suite.name, **plain("suite", suite.options)} if suite.name in SUITES else None


def _options(method: Method) -> dict[str, Any] | None:
    """A method's effective options; None if one is an object without a plain value."""
    try:
        return {name: plain(name, value) for name, value in settled_options(method).items()}
    except UserError:
        return None


def _clear(storage: Storage) -> None:
    """Remove the files of an earlier export, `avil.json` first, so that a partial one is not taken for complete."""
    try:
        earlier = list(json.loads(storage.read(FACTS))["files"])
    except (OSError, LookupError, TypeError, ValueError):
        earlier = []
    for name in (FACTS, *earlier):
        if Path(name).name == name:
            storage.delete(name)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
