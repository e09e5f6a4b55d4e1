"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from avil_ray.errors import UserError

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set an option; may be repeated.")
]
Suite = Annotated[
    str, typer.Argument(help="A suite (`avil-ray list suites`), or your own factory as package.module:function.")
]
Storage = Annotated[
    str,
    typer.Option(help="Folder of sweeps, or a URI such as s3://bucket/sweeps.", envvar="AVIL_STORAGE"),
]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster: auto, local or HOST:PORT. Default: RAY_ADDRESS if set, otherwise local."),
]
Target = Annotated[str | None, typer.Option(help="Target task. Default: the suite's own.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress, only the result.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
Register = Annotated[
    str | None, typer.Option(help="Make the recommended model a version of this registered model in MLflow.")
]
SystemMetrics = Annotated[
    bool, typer.Option("--system-metrics", help="Log this machine's CPU, memory and GPU use to MLflow too.")
]
DEFAULT_STORAGE = "avil-results"


def parsed(settings: Sequence[str] | None) -> list[tuple[str, Any]]:
    """The options of `--set`, as (key, value)."""
    from avil_ray.config import parse_setting

    return [parse_setting(text) for text in settings or []]


def watch_machine(asked: bool) -> None:
    """Turn on MLflow's own switch, which the process that writes to the tracking store looks at."""
    if asked:
        os.environ["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] = "true"


def seeds_of(text: str) -> list[int]:
    """`0,1,2` as whole numbers.

    Raises
    ------
    UserError
        They are none.

    Examples
    --------
    >>> seeds_of("0,1,2")
    [0, 1, 2]
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text}: expected whole numbers separated by commas, such as 0,1,2") from None
