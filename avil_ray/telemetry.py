"""No calls home: the libraries underneath report their use over the network unless they are told not to."""

from __future__ import annotations

import os

SILENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Hugging Face's libraries also count what is loaded, and ask a bot to convert checkpoints of an old format
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
}


def no_calls_home() -> None:
    """Turn off Ray's, MLflow's and Hugging Face's telemetry, each unless the user set its variable.

    Some of the variables are read when the library is imported, so this must run before any of them is.
    """
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
