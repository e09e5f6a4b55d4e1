"""Disables telemetry: libraries we use report their use over the network unless told not to."""

from __future__ import annotations

import os

SILENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Hugging Face's libraries also report what is loaded, and ask a bot to convert checkpoints in an old format
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
}


def no_calls_home() -> None:
    """Turn off the telemetry of Ray, MLflow and Hugging Face, each unless the user has set its variable.

    Some of the variables are read on import, so this must run before any of these libraries is imported.
    """
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
