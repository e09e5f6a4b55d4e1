"""How busy the machine is while a run is tracked, by MLflow's own monitor, where that is asked for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

ASKED = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
"""MLflow's own switch; `--system-metrics` sets it."""


class Monitor:
    """Logs processor, memory, disk, network and GPUs of this machine as `system/…` of a run, if MLflow's switch is on.

    A thread of MLflow's does it, every ten seconds (`MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`) until `finish`. A store
    that fails ends it, and nothing else.
    """

    def __init__(self, run_id: str, uri: str) -> None:
        from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING

        self._monitor: SystemMetricsMonitor | None = None
        if MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)
            self._monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
            self._monitor.start()

    def finish(self) -> None:
        """Log what is left, and end; again does nothing."""
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
