"""A suite and a method in one's own Tuner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_suite import breaks_once, tiny_suite

import avil_ray as avil
from avil_ray.errors import UserError


def fitted(folder: Path, trainable: Any, space: dict[str, Any], **more: Any) -> Any:
    from ray import tune

    run = tune.RunConfig(name="own", storage_path=str(folder), verbose=0, **more)
    asked = tune.with_resources(trainable, {"cpu": 1})
    config = tune.TuneConfig(metric="select/accuracy", mode="max")
    return tune.Tuner(asked, param_space=space, tune_config=config, run_config=run).fit()


@pytest.mark.usefixtures("ray_session")
class TestInATuner:
    def test_every_trial_is_the_run_that_its_configuration_describes(self, tmp_path: Path) -> None:
        from ray import tune

        method = avil.Static(weights={"b": 0.5}, finish="none")
        trainable = avil.trainable(tiny_suite(), method, rounds=2, steps_per_round=3)
        space = {"weights": {"c": 1.0}, "learning": {"batch_size": tune.grid_search([8, 16])}, "seed": 1}
        found = fitted(tmp_path, trainable, space)
        assert found.num_errors == 0
        for one in found:
            suite = tiny_suite().learned_with(one.config["learning"])
            weighted = avil.Static(weights={"b": 0.5, "c": 1.0}, finish="none")
            result = avil.train(suite, weighted, rounds=2, steps_per_round=3, seed=1)
            assert one.metrics["test/accuracy"] == result.test["accuracy"]
            assert one.metrics["select/loss"] == result.rows[-1]["select/loss"]
            assert one.metrics["best_round"] == result.best_round

    def test_a_trial_that_failed_once_goes_on_from_its_checkpoint(self, tmp_path: Path) -> None:
        from ray import tune

        suite = breaks_once(str(tmp_path / "flag"), after=30)
        method = avil.Equal()
        retried = tune.FailureConfig(max_failures=1)
        (one,) = fitted(
            tmp_path, avil.trainable(suite, method, rounds=4, steps_per_round=3), {}, failure_config=retried
        )
        assert one.error is None
        assert (tmp_path / "flag").exists()
        whole = avil.train(tiny_suite(), method, rounds=4, steps_per_round=3)
        assert one.metrics["test/accuracy"] == whole.test["accuracy"]
        assert one.metrics["select/loss"] == whole.rows[-1]["select/loss"]
        assert one.metrics["training_iteration"] < 6, "the rounds before the failure are not trained again"

    def test_a_wrong_option_is_one_line(self, tmp_path: Path) -> None:
        trainable = avil.trainable(tiny_suite(), avil.Equal(), rounds=1, steps_per_round=1)
        (one,) = fitted(tmp_path, trainable, {"learning": {"batch_sise": 3}})
        assert "unknown option 'batch_sise'; did you mean 'batch_size'?" in str(one.error)


def test_what_is_no_suite_or_method_is_refused_before_any_trial() -> None:
    with pytest.raises(UserError, match=r"suite must be an avil_ray.Suite"):
        avil.trainable(tiny_suite, avil.Equal())
    with pytest.raises(UserError, match=r"method must be an avil_ray.Method"):
        avil.trainable(tiny_suite(), avil.Equal)
