"""cluster.yaml is what Ray's own launcher accepts, and keeps its doors shut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).parents[1] / "cluster.yaml"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def test_rays_launcher_accepts_it_and_refuses_a_misspelt_key(config: dict[str, Any]) -> None:
    # private calls, but the only way to check the file without a cloud; pinned by the tested Ray
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config({**config, "max_worker": 3}))


def test_a_cpu_head_drives_and_gpu_workers_come_and_go_on_spot(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    assert "GPU" not in types["head"]["resources"]
    assert types["gpu_worker"]["min_workers"] == 0 < types["gpu_worker"]["max_workers"] == config["max_workers"]
    assert types["gpu_worker"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"


def test_token_authentication_is_on_and_the_dashboard_stays_on_the_head(config: dict[str, Any]) -> None:
    for command in (config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]):
        assert "RAY_AUTH_MODE=token" in command
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    assert "0.0.0.0" not in FILE.read_text()


def test_results_are_shared_and_mlflows_database_is_not(config: dict[str, Any]) -> None:
    start = config["head_start_ray_commands"][-1]
    assert "AVIL_STORAGE=/mnt/avil " in start
    assert "MLFLOW_TRACKING_URI=sqlite:////home/ubuntu/" in start


def test_no_secret_of_the_folder_is_copied_to_the_machines(config: dict[str, Any]) -> None:
    assert {".env", "*.pem", ".git"} <= set(config["rsync_exclude"])


def test_every_line_that_a_user_must_edit_is_marked(config: dict[str, Any]) -> None:
    lines = FILE.read_text().splitlines()
    for needle in ("ImageId: ami-0000", "region:", "availability_zone:", "fs-00000000"):
        for line in (line for line in lines if needle in line):
            assert "# EDIT:" in line
