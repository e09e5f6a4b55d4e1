import os
import subprocess
import sys

from avil_ray.telemetry import SILENT, no_calls_home


def test_everything_is_off_unless_the_user_turned_it_on(monkeypatch):
    for name in SILENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    no_calls_home()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_the_libraries_understand_the_variables():
    # in a process of its own: they read them at import, and MLflow is always silent where it sees a test running
    question = """
from avil_ray.telemetry import no_calls_home
no_calls_home()
import datasets, huggingface_hub.constants, mlflow.environment_variables as mlflow
from ray._common.usage.usage_lib import usage_stats_enabled
print(usage_stats_enabled(), mlflow.MLFLOW_DISABLE_TELEMETRY.get(), huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY,
      datasets.config.HF_UPDATE_DOWNLOAD_COUNTS)
"""
    clean = {name: value for name, value in os.environ.items() if name not in SILENT}
    answer = subprocess.run([sys.executable, "-c", question], env=clean, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "True", "True", "False"]
