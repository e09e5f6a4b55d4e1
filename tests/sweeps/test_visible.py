"""A node that does not see a sweep's folder is told, with its address, before anything trains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import Server, served

from avil_ray.storage import at

ASK = """
import sys
import ray
from avil_ray.errors import UserError
from avil_ray.storage import at
from avil_ray.sweeps.visible import require_seen
ray.init(sys.argv[1], log_to_driver=False)
for uri in sys.argv[2:]:
    try:
        require_seen(at(uri))
        print("seen")
    except UserError as error:
        print(error)
"""
CLUSTER = """
import json, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1, env_vars=json.loads(sys.argv[1]))
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture
def other() -> Iterator[Server]:
    with served() as server:
        yield server


@pytest.mark.slow
def test_a_node_that_reaches_another_server_is_told_and_one_that_sees_the_sweep_is_not(
    s3: Server, other: Server, tmp_path: Path
) -> None:
    """Both nodes see what a URI names in full; where it leaves the server to the environment, they see two."""
    in_full, left_open = at(s3.uri("bucket/visible")), "s3://bucket/visible?region=us-east-1"
    in_full.write("space.yaml", b"name: visible\n")
    (tmp_path / "space.yaml").touch()
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # short, as Ray's sockets stand in there
    environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3.port}", "RAY_TMPDIR": folder}
    environment |= {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(Path(__file__).parents[2])}
    elsewhere = json.dumps({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{other.port}"})
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, elsewhere],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert cluster.stdout is not None
        address = next(line for line in cluster.stdout if ":" in line and " " not in line).strip()
        asked = [sys.executable, "-c", ASK, address, str(in_full), str(tmp_path), left_open]
        done = subprocess.run(asked, env=environment, text=True, capture_output=True, timeout=200)
    finally:
        cluster.communicate("", timeout=60)
        shutil.rmtree(folder, ignore_errors=True)
    *seen, said = done.stdout.splitlines()
    assert seen == ["seen", "seen"], done.stderr
    assert said.startswith("node ")
    assert said.endswith(
        f": {left_open} is not visible on this node: the store must be reachable, with credentials, on every node; "
        "then continue with --resume"
    )
