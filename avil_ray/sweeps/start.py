"""`sweep`: a search space, from a file or from Python, run as a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from rich.console import Console

from avil_ray.errors import UserError, whole
from avil_ray.spaces.search_space import read_search_space
from avil_ray.storage import Place
from avil_ray.sweeps.conclusion import Outcome
from avil_ray.sweeps.sweep import run_sweep
from avil_ray.tracking.models import require_name


def sweep(
    space: Mapping[str, Any] | PathLike[str] | str,
    *,
    storage: Place = "avil-results",
    name: str | None = None,
    seeds: Sequence[int] | None = None,
    address: str | None = "local",
    resume: bool = False,
    fresh: bool = False,
    max_concurrent: int | None = None,
    quiet: bool = False,
    settings: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    register: str | None = None,
) -> Outcome:
    """Run every trial of a search space that has no result yet, and compare the methods, as `avil-ray sweep` does.

    Parameters
    ----------
    space
        The path of a YAML file, or its contents as plain values.
    storage
        The folder that holds sweeps and their tracking store, or a URI such as `s3://bucket/sweeps`, where the tracking
        store stands in `avil-results` instead; on a cluster every node must see it.
    name, seeds
        In place of the search space's own.
    address
        `local` (a new Ray on this machine), HOST:PORT of a cluster, or `auto`: see `pools.connection.connected`. A Ray
        that this process is connected to already is used as it is.
    resume, fresh
        Go on with the sweep of this name, or remove it and start again; without either its name must be new.
    max_concurrent
        Maximum number of concurrent trials; as many as fit where not given.
    quiet
        Whether no progress is shown on stderr.
    settings
        Changes of the search space, dotted: `{"learning.batch_size": 16, "methods.static.weights.right": 1}`.
    register
        The registered model in MLflow of which the recommended model becomes a new version; none where not given.

    Returns
    -------
    Outcome
        `comparison`, `summary` (the same as plain values), `folder`, and what is missing: `failed`, `unfinished`,
        `trouble`.

    Raises
    ------
    UserError
        Where the input is wrong, or asks for more than the cluster has. Nothing is written then.

    Examples
    --------
    >>> import tempfile
    >>> import avil_ray as avil
    >>> suite = {"name": "synthetic", "train": 60, "target_labels": 30, "select": 30, "test": 30}
    >>> space = {"name": "small", "suite": suite, "rounds": 2, "steps_per_round": 2, "seeds": [0, 1]}
    >>> space["methods"] = [{"method": "equal"}, {"method": "target-only"}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     outcome = avil.sweep(space, storage=folder)
    >>> [method["label"] for method in outcome.summary["methods"]]
    ['equal', 'target-only']
    """
    if register is not None:
        require_name(register)
    if max_concurrent is not None:
        whole("max_concurrent", max_concurrent, 1)
    changes: list[Any] = list(settings.items() if isinstance(settings, Mapping) else settings)
    for change in changes:
        if not (isinstance(change, tuple) and len(change) == 2 and isinstance(change[0], str)):
            raise UserError(f"settings must be a mapping such as {{'learning.batch_size': 16}}, not {settings!r}")
    changes += [("name", name)] if name is not None else []
    changes += [("seeds", list(seeds))] if seeds is not None else []
    return run_sweep(
        read_search_space(space, changes),
        storage,
        address=address,
        max_concurrent=max_concurrent,
        console=Console(stderr=True, quiet=quiet),
        resume=resume,
        fresh=fresh,
        register=register,
    )
