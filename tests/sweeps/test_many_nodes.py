"""Sweeps on a real cluster of three nodes: where processes run, what they are called, and a node that must go."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

import avil_ray as avil
from avil_ray.reports.records import read_record, trial_folder
from avil_ray.sweeps.trial import load_theta

TESTS = Path(__file__).parents[1]
SPACE = """\
name: small
suite: {name: synthetic, target_labels: 40, train: 60}
rounds: ROUNDS
steps_per_round: 100
seeds: [0]
resources: RESOURCES
methods:
  - {method: alpha-vil}
"""
KEY = "alpha-vil/c000/s0"


@dataclass(frozen=True)
class Nodes:
    """A cluster: where its head is, zone -> a node's id and the process that all its others descend from."""

    address: str
    ids: Mapping[str, str]
    raylets: Mapping[str, int]
    process: subprocess.Popen[str]
    environment: Mapping[str, str]

    def drain(self, node: str) -> None:
        """Tell the cluster that a node will be taken away."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{node}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "True\n"


@pytest.fixture
def cluster() -> Iterator[Nodes]:
    files = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": str(files),
        "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(TESTS.parent),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "cluster_process.py")], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        yield Nodes(said["address"], said["ids"], said["raylets"], process, environment)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
        shutil.rmtree(files, ignore_errors=True)


def start(
    cluster: Nodes, folder: Path, rounds: int, resources: str, address: str | None = None
) -> subprocess.Popen[str]:
    (folder / "space.yaml").write_text(SPACE.replace("ROUNDS", str(rounds)).replace("RESOURCES", resources))
    command = [sys.executable, "-m", "avil_ray", "sweep", "space.yaml", "--address", address or cluster.address]
    return subprocess.Popen(
        command, cwd=folder, env=dict(cluster.environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def at_work(cluster: Nodes) -> set[tuple[str, str]]:
    """Of the cluster's processes that train or evaluate: what each is called, and the zone of its node."""
    found = set()
    for zone, raylet in cluster.raylets.items():
        with suppress(psutil.Error):  # one that has ended
            found |= {(" ".join(child.cmdline()).strip(), zone) for child in psutil.Process(raylet).children()}
    return {(title, zone) for title, zone in found if " round " in title}


def theta_of(folder: Path) -> np.ndarray:
    return load_theta(trial_folder(folder / "avil-results" / "small", KEY))


def undisturbed(rounds: int) -> avil.Result:
    suite = avil.suites.synthetic(target_labels=40, train=60)
    return avil.train(suite, avil.AlphaVIL(), rounds=rounds, steps_per_round=100, seed=0)


@pytest.mark.slow
def test_auto_joins_and_processes_run_where_the_space_says_under_their_names(cluster: Nodes, tmp_path: Path) -> None:
    per_task = "{cpu: 1, accelerator_type: H100, resources: {licence: 1}, label_selector: {zone: 'in(a, c)'}}"
    resources = (
        f"{{per_task: {per_task}, driver: {{cpu: 1, label_selector: {{zone: '!a'}}}}, strategy: SPREAD, slots: 2}}"
    )
    process = start(cluster, tmp_path, 20, resources, "auto")
    called: set[tuple[str, str]] = set()
    while process.poll() is None:
        called |= at_work(cluster)
        time.sleep(0.05)
    output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    assert f"using the Ray cluster at {cluster.address} (--address auto); --address local starts a local Ray" in errors
    assert {zone for _, zone in called} == {"a"}
    names = {name for name, _ in called}
    assert all(re.fullmatch(rf"ray::{KEY} round \d+: .+", name) for name in names), names


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ("{per_task: {accelerator_type: A100}}", "no node has accelerator_type A100; available: H100"),
        ("{per_task: {resources: {licence: 3}}}", "each trial needs 3 licence, but the cluster has 2"),
        (
            "{driver: {label_selector: {zone: c}}}",
            "resources.driver.label_selector: no node of the cluster has labels as in {zone: c}",
        ),
    ],
)
@pytest.mark.slow
def test_what_no_node_has_is_told_before_anything_starts(
    cluster: Nodes, tmp_path: Path, resources: str, said: str
) -> None:
    process = start(cluster, tmp_path, 1, resources)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (2, "")
    assert said in errors


@pytest.mark.faults
def test_a_trial_leaves_a_node_that_is_drained_and_loses_nothing(cluster: Nodes, tmp_path: Path) -> None:
    """With no retries, as moving is no failure."""
    process = start(
        cluster, tmp_path, 60, "{per_task: {cpu: 0.5}, driver: {cpu: 0.5}, retries: 0, strategy: STRICT_PACK, slots: 2}"
    )
    assert process.poll() is None
    checkpoint = trial_folder(tmp_path / "avil-results" / "small", KEY) / "checkpoint"
    while not list(checkpoint.glob("*.safetensors")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    zones: set[str] = set()
    while not zones:
        zones = {zone for _, zone in at_work(cluster)}
    (left,) = zones
    cluster.drain(cluster.ids[left])
    began = time.monotonic()
    while zones == {left}:
        zones |= {zone for _, zone in at_work(cluster)}
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < 50, "it is still there as the node goes"
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, output + errors
    record = read_record(trial_folder(tmp_path / "avil-results" / "small", KEY))
    assert record.status == "finished"
    expected = undisturbed(60)
    assert record.history["round"].tolist() == list(range(len(expected.rows)))
    assert np.array_equal(theta_of(tmp_path), expected.theta)
