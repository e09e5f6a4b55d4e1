"""The options of alphaVIL: those of the variant unless given, each with a meaning of its own, all of them safe."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import small

import avil_ray as avil
from avil_ray.catalog import build_method, settled_options
from avil_ray.errors import UserError
from avil_ray.listing import listing
from avil_ray.methods.alpha_round import PAPER as PAPER_RECIPE
from avil_ray.methods.alpha_round import ROBUST as ROBUST_RECIPE
from avil_ray.methods.alpha_round import Recipe
from avil_ray.rounds import Round

SEED, STEPS, ROUNDS = 2, 4, 3
TASKS = small.TASKS
PAPER = avil.AlphaVIL(variant="paper")
ROBUST = avil.AlphaVIL(finish="none")


def rounds_of(suite: avil.Suite, method: avil.AlphaVIL, rounds: int = ROUNDS) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    return done


def columns(done: Round, prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in done.row.items() if name.startswith(prefix)}


def test_weights_stay_constant_if_not_learned() -> None:
    for done in rounds_of(small.small_suite(), replace(ROBUST, learn_weights=False)):
        assert columns(done, "weight/") == dict.fromkeys(TASKS, 1.0)


@pytest.mark.parametrize("bounds", [(0.05, 4.0), (0.0, 1.2), (0.9, 1.0), (-math.inf, math.inf)])
def test_robust_weights_stay_inside_their_bounds_and_sum_to_n_where_they_can(bounds: tuple[float, float]) -> None:
    for done in rounds_of(small.small_suite(), replace(ROBUST, weight_bounds=bounds), 6):
        weights = np.array(list(columns(done, "weight/").values()))
        assert np.isfinite(weights).all()
        assert ((bounds[0] <= weights) & (weights <= bounds[1])).all()
        if bounds == (0.05, 4.0):
            assert weights.sum() == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("bounds", [(0.0, 4.0), (0.0, 0.1), (-2.0, 2.0), (1.0, 1.0)])
def test_alpha_stays_inside_its_bounds_in_units_of_its_neutral_value(bounds: tuple[float, float]) -> None:
    for method, unit in ((ROBUST, 1 / 3), (PAPER, 1.0)):
        for done in rounds_of(small.small_suite(), replace(method, alpha_bounds=bounds, safeguard=False)):
            alpha = np.array(list(columns(done, "alpha/").values()))
            assert ((bounds[0] * unit - 1e-12 <= alpha) & (alpha <= bounds[1] * unit + 1e-12)).all()


OPTIONS = {
    "dev": "hold",
    "crossfit_fraction": 0.5,
    "alpha_optimizer": "lbfgs",
    "alpha_steps": 3,
    "alpha_bounds": (0.0, 1.0),
    "learn_weights": False,
    "weight_bounds": (0.95, 1.05),
    "auxiliary_heads": "scaled",
    "safeguard": False,
    "finish": "fine-tune",
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("variant", ["robust", "paper"])
def test_an_option_overrides_only_itself_in_the_variant(option: str, variant: str) -> None:
    plain = avil.AlphaVIL(variant=variant).recipe
    changed = avil.AlphaVIL(variant=variant, **{option: OPTIONS[option]}).recipe
    assert getattr(changed, option) == OPTIONS[option]
    assert replace(changed, **{option: getattr(plain, option)}) == plain


def test_every_option_takes_effect_in_a_run() -> None:
    """Each option on its own makes another run than the recipe, so none is a name without a meaning."""
    suite = small.small_suite()
    plain = rounds_of(suite, avil.AlphaVIL(finish="none", safeguard=False, alpha_steps=2))[-1].theta.tobytes()
    for option, value in OPTIONS.items():
        if option == "safeguard":
            continue  # tested above: it only acts where steps are turned down
        given = {"finish": "none", "safeguard": False, "alpha_steps": 2, option: value}
        assert rounds_of(suite, avil.AlphaVIL(**given))[-1].theta.tobytes() != plain, option


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"variant": "letter"}, "unknown variant 'letter'; available: paper, robust"),
        ({"dev": "train"}, "unknown dev 'train'; available: crossfit, hold"),
        ({"crossfit_fraction": 1.0}, "crossfit_fraction must lie between 0 and 1, not 1.0"),
        ({"crossfit_fraction": 0.0}, "crossfit_fraction must lie between 0 and 1, not 0.0"),
        ({"alpha_optimizer": "adma"}, "unknown alpha_optimizer 'adma'; did you mean 'adam'?"),
        ({"alpha_steps": 0}, "alpha_steps must be at least 1, not 0"),
        (
            {"alpha_bounds": (2.0, 1.0)},
            "alpha_bounds: the lower bound exceeds the upper one in [2.0, 1.0]",
        ),
        (
            {"weight_bounds": (2, 1)},
            "weight_bounds: the lower bound exceeds the upper one in [2, 1]",
        ),
        (
            {"weight_bounds": (0, math.nan)},
            "weight_bounds: the lower bound exceeds the upper one in [0, nan]",
        ),
        ({"auxiliary_heads": "half"}, "unknown auxiliary_heads 'half'; available: full, scaled"),
        ({"finish": "best"}, "unknown finish 'best'; available: fine-tune, joint, none"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0, not -1.0"),
    ],
)
@pytest.mark.parametrize("variant", ["robust", "paper"])
def test_wrong_options_are_rejected(options: dict[str, object], said: str, variant: str) -> None:
    with pytest.raises(UserError) as caught:
        avil.AlphaVIL(**{"variant": variant, **options})
    assert str(caught.value) == said


@pytest.mark.parametrize(("variant", "recipe"), [("robust", ROBUST_RECIPE), ("paper", PAPER_RECIPE)])
def test_omitted_options_are_shown_with_the_variants_values(variant: str, recipe: Recipe) -> None:
    found = avil.AlphaVIL(variant=variant).in_force()
    own = {field.name for field in fields(Recipe)} - {"even"}
    assert {name: found[name] for name in own} == {name: getattr(recipe, name) for name in own}
    assert set(found) - own == {"variant", "granularity", "learning_rate"}
    assert avil.AlphaVIL(variant=variant, alpha_steps=3).in_force() == {**found, "alpha_steps": 3}


@pytest.mark.parametrize("variant", ["robust", "paper"])
def test_the_options_of_a_trial_are_the_effective_ones_and_build_the_same_run(variant: str) -> None:
    method = avil.AlphaVIL(variant=variant, alpha_steps=3)
    settled = settled_options(method)
    assert (settled["alpha_steps"], settled["dev"]) == (3, "crossfit" if variant == "robust" else "hold")
    again = build_method("alpha-vil", settled)
    assert isinstance(again, avil.AlphaVIL)
    assert (again.recipe, again.granularity) == (method.recipe, method.granularity)
    assert settled_options(again) == settled


def test_a_listing_shows_the_effective_values() -> None:
    lines = "\n".join(listing("methods", "alpha-vil"))
    for shown in (
        "dev = crossfit",
        "alpha_steps = 10",
        "alpha_bounds = [0.0, 4.0]",
        "safeguard = True",
        "finish = joint",
    ):
        assert f"  {shown}:" in lines


WILD = [
    avil.AlphaVIL(variant=variant, alpha_optimizer=optimizer, safeguard=safeguard, finish=finish, learning_rate=rate)
    for (variant, optimizer), safeguard, finish, rate in itertools.product(
        [("robust", "adam"), ("robust", "lbfgs"), ("paper", "sgd")], [True, False], ["joint", "none"], [5.0, 1e4, 1e30]
    )
]


@pytest.mark.parametrize("method", WILD)
def test_whatever_the_options_theta_alpha_and_weights_stay_finite(method: avil.AlphaVIL) -> None:
    suite, done = small.small_suite(regression=True), []
    run = {"rounds": 4, "steps_per_round": STEPS, "seed": SEED, "on_round": done.append}
    if method.learning_rate == 1e30:
        with pytest.raises(avil.WorkFailed, match=r"the target's update .'left'. was dropped in every round so far"):
            avil.train(suite, method, **run)
    else:
        avil.train(suite, method, **run)
    for each in done:
        assert np.isfinite(each.theta).all()
        for kind in ("alpha/", "weight/"):
            assert all(math.isfinite(value) for value in columns(each, kind).values())
    if method.learning_rate == 1e30:
        assert [each.row["dropped/left"] for each in done] == [1.0] * 3
