"""All measurements in one run, as one table: `make bench`, or `python -m benchmarks step memory` to print some."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.measured import Row

PARTS = ("step", "grid", "alpha_fit", "workers", "memory", "startup")
TABLE = Path(__file__).with_name("README.md")
BEFORE = """# What it costs

`make bench` has measured this table in one run; ratios are of what ran side by side. "Met" says **no** where a value is
not what it should be.

"""


def machine() -> str:
    """The date, the processor and the commit."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    processor = f"{len(names)} cores of {names[0]}" if names else platform.processor()
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"  # noqa: S603
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    return f"{time.strftime('%Y-%m-%d')}; {processor}; {versions}; commit {commit}"


def main() -> None:
    """Measure, print as it goes, and write the table where all was measured."""
    found: list[Row] = []
    for part in sys.argv[1:] or PARTS:
        for row in importlib.import_module(f"benchmarks.{part}").rows():
            found.append(row)
            print(row.markdown(), flush=True)
    if not sys.argv[1:]:
        lines = ["| | measured | should be | met |", "|---|---|---|---|", *(row.markdown() for row in found)]
        TABLE.write_text(f"{BEFORE}{machine()}.\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
