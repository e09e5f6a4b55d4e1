"""Nodes of a cluster that are drained, die, or do not see the storage."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disturbed import WORKER, Sweep, until
from ray.cluster_utils import Cluster

pytestmark = pytest.mark.faults

Make = Callable[..., Sweep]

CPUS = 2
QUICK = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
RAY = str(Path(sys.executable).parent / "ray")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without CPUs; tests add the nodes that work."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    monkeypatch.setenv("RAY_TMPDIR", folder)  # where the cluster notes its address for `auto`, too
    head = {"num_cpus": 0, "_system_config": QUICK, "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.folder = Path(folder)
    yield cluster
    cluster.shutdown()
    signal.signal(signal.SIGTERM, before)
    shutil.rmtree(folder, ignore_errors=True)


def on(cluster: Cluster, one: Sweep) -> Sweep:
    one.address, one.temporary = cluster.address, cluster.folder
    return one


def host(cluster: Cluster, process: int) -> Any:
    """The node that a worker's process runs on."""
    raylet = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return next(
        node
        for node in cluster.list_all_nodes()
        if raylet in {one.process.pid for kind in node.all_processes.values() for one in kind}
    )


@pytest.mark.parametrize("drained", [False, True])
def test_a_node_that_dies_or_is_drained_changes_nothing(drained: bool, cluster: Cluster, sweep: Make) -> None:
    one = on(cluster, sweep())
    cluster.add_node(num_cpus=CPUS)
    process = one.started()
    one.reach(process, 1)
    node = host(cluster, until(lambda: one.processes(WORKER), 60)[0])
    cluster.add_node(num_cpus=CPUS)
    if drained:
        asked = [RAY, "drain-node", "--address", cluster.address, "--node-id", node.node_id, "--reason-message", "spot"]
        asked += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--deadline-remaining-seconds", "5"]
        subprocess.run(asked, check=True, capture_output=True, timeout=60)
        time.sleep(5)
    cluster.remove_node(node, allow_graceful=drained)
    assert one.ended(process) == 0, one.words()
    one.check()
    assert placement_groups(cluster) == []


def placement_groups(cluster: Cluster) -> list[str]:
    """The states of the cluster's placement groups but for those that were removed."""
    ask = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); "
    ask += "print(*(one['state'] for one in ray.util.placement_group_table().values()))"
    done = subprocess.run(
        [sys.executable, "-c", ask, cluster.address], capture_output=True, text=True, check=True, timeout=60
    )
    return [state for state in done.stdout.split() if state != "REMOVED"]


def test_a_node_that_does_not_see_the_storage_says_so_and_resume_goes_on_elsewhere(
    cluster: Cluster, sweep: Make
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root may give a process a file system of its own")
    one = on(cluster, sweep())
    hide = f"mount -t tmpfs none '{one.storage}' && exec {RAY} start --block --address {cluster.address}"
    command = ["unshare", "--mount", "bash", "-c", f"{hide} --num-cpus {CPUS}"]
    blind = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        assert one.run() == 2
        said = f"{one.folder} is not visible on this node: the storage must be mounted on every node"
        assert f"{said}; then continue with --resume" in one.words()
        assert one.records() == {}, "no training is wasted"
    finally:
        os.killpg(blind.pid, 9)
        blind.wait()
    cluster.add_node(num_cpus=CPUS)
    assert one.run("--resume") == 0, one.words()
    one.check()
