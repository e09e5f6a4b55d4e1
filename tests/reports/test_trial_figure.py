"""One trial's curves."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
from simulated import ALPHAS, history

from avil_ray.reports.trial_figure import trial_figure


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_every_track_task_and_alpha_is_named() -> None:
    found = history(0.9, np.random.default_rng(0), fine_tuning=3, alpha=ALPHAS)
    drawn = trial_figure(found, "accuracy", 7)
    assert drawn is not None
    assert {"accuracy on select", "training loss", "alpha", "main", "target-only"} <= set(words(drawn))
    assert words(drawn).count("left") == 2, "its loss and its alpha"
    assert drawn == trial_figure(found, "accuracy", 7)


def test_a_trial_without_alpha_has_no_panel_of_it() -> None:
    drawn = trial_figure(history(0.9, np.random.default_rng(0)), "accuracy", None)
    assert drawn is not None
    assert "alpha" not in words(drawn)


def test_a_trial_without_rounds_has_no_figure() -> None:
    assert trial_figure(pd.DataFrame(), "accuracy", None) is None
    assert trial_figure(pd.DataFrame({"round": [0], "time/round": [1.0]}), "accuracy", 0) is None
