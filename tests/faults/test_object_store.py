"""An object store that cannot hold a round's vectors: Ray spills them to disk, and nothing changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paced import paced_suite

import avil_ray as avil

pytestmark = pytest.mark.faults

WIDTH, RUN = 500_000, {"rounds": 3, "steps_per_round": 2}
"""6.5 million parameters: three vectors of 26 MB are more than the store holds."""

SCRIPT = f"""
import hashlib, json
from paced import paced_suite
import avil_ray as avil
from avil_ray.pools.connection import connected
from ray._private.internal_api import memory_summary
if __name__ == "__main__":
    with connected("local", cpus=4):
        found = avil.train(paced_suite(width={WIDTH}), avil.AlphaVIL(), **{RUN}, pool="ray", workers=2)
        digest = hashlib.sha256(found.theta.tobytes()).hexdigest()
        print(json.dumps([digest, dict(found.test), memory_summary(stats_only=True)]))
"""


def test_vectors_that_the_store_cannot_hold_are_spilled_and_nothing_changes() -> None:
    tests = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (tests.parent, tests, Path(__file__).parent))),
        "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(80 * 10**6),
    }
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    digest, test, memory = json.loads(done.stdout.splitlines()[-1])
    expected = avil.train(paced_suite(width=WIDTH), avil.AlphaVIL(), **RUN)  # type: ignore[arg-type]
    assert digest == hashlib.sha256(expected.theta.tobytes()).hexdigest()
    assert test == dict(expected.test)
    assert re.search(r"Spilled \d+ MiB", memory), memory
