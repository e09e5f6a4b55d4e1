"""One whole sweep, made from numbers rather than from training; read-only, so one for the session is enough."""

from __future__ import annotations

import pytest
from simulated import make_sweep

from avil_ray.reports.comparison import Comparison, compare


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    """The comparison of the simulated sweep."""
    return compare(*make_sweep())
