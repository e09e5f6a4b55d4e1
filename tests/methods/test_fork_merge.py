"""ForkMerge on a model of one parameter, where the best merge is known, and its rounds and branches."""

from __future__ import annotations

import numpy as np
import pytest
import small
from sharing import Sharing

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.splits import DevUse
from avil_ray.methods.fork_merge import ForkMerge, Judge
from avil_ray.rounds import Round

SEED, STEPS = 1, 4


def merged(ends: dict[str, float], **options: object) -> tuple[float, dict[str, float]]:
    """Where branches with these parameters merge; the dev loss is the parameter's square, and the metric too."""
    suite, method = small.constant_suite(), ForkMerge(**options)
    run = small.new_run(suite, method, 0)
    run = run.with_main(run.main.moved(np.array([9], np.float32), 0))
    updates = [
        Update(assignment=f"top {name}", theta=np.array([end], np.float32), losses={"goal": 0}, steps=STEPS)
        for name, end in ends.items()
    ]
    after, facts = method.combine(run, updates, Target(suite, run.setting.tasks, 0), 0)
    assert (after.main.steps, after.main.optimizer) == (STEPS, {})
    return float(after.main.theta[0]), {name: facts[f"lambda/{name}"] for name in ends} | {"dropped": facts["dropped"]}


def test_the_best_branch_is_merged_with_the_share_of_the_next_that_is_best_on_dev() -> None:
    """-.5 is best alone; (1 - a)(-.5) + a 1 is nearest to 0 at a = .4, where it is .1."""
    theta, shares = merged({"0": 1.0, "3": -0.5})
    assert theta == pytest.approx(0.1)
    assert shares == pytest.approx({"0": 0.4, "3": 0.6, "dropped": 0})


def test_a_third_branch_is_mixed_into_the_merge_of_the_first_two() -> None:
    """.1 as above, then (1 - a) .1 - a 3 is nearest to 0 at a = 0: all shares tried make it worse than .1."""
    theta, shares = merged({"0": 1.0, "3": -0.5, "5": -3.0})
    assert theta == pytest.approx(0.1)
    assert shares == pytest.approx({"0": 0.4, "3": 0.6, "5": 0.0, "dropped": 0})
    # with a share of 1/31 it is 0, and the others' shares shrink by the rest
    theta, shares = merged({"0": 1.0, "3": -0.5, "5": -3.0}, coefficients=[0.4, 1 / 31])
    assert theta == pytest.approx(0.0, abs=1e-6)
    assert shares == pytest.approx({"0": 0.4 * 30 / 31, "3": 0.6 * 30 / 31, "5": 1 / 31, "dropped": 0})


def test_branches_and_the_shares_of_each_are_evaluated_at_once() -> None:
    suite, method = small.constant_suite(), ForkMerge()
    run = small.new_run(suite, method, 0)
    updates = [
        Update(assignment=f"top {name}", theta=np.array([end], np.float32), losses={"goal": 0}, steps=STEPS)
        for name, end in {"0": 1.0, "3": -0.5, "5": -3.0}.items()
    ]
    target = Target(suite, run.setting.tasks, 0)
    target.evaluator = Sharing(suite, 0)
    after, _ = method.combine(run, updates, target, 0)
    assert after.main.theta == pytest.approx(0.1)
    asked = [[float(theta[0]) for theta in call] for call in target.evaluator.calls]
    assert asked == [
        [1.0, -0.5, -3.0],
        pytest.approx([-0.5 + share * 1.5 for share in (0.2, 0.4, 0.6, 0.8, 1.0)]),
        pytest.approx([0.1 - share * 3.1 for share in (0.2, 0.4, 0.6, 0.8, 1.0)], abs=1e-6),
    ]
    assert target.take_examples_adapted() == 13 * len(DevUse("crossfit").rows(4, 4, 0, 0)[1])


def test_two_branches_may_merge_at_any_share_up_to_the_whole_of_the_weaker_one() -> None:
    theta, shares = merged({"0": 1.0, "9": -1.0}, coefficients=[0.5])
    assert (theta, shares["0"], shares["9"]) == (0.0, 0.5, 0.5)
    assert merged({"0": 1.0, "9": 3.0})[0] == 1.0, "a branch that only makes it worse gets nothing"


def test_branches_that_diverge_are_left_out_and_if_all_do_theta_stays() -> None:
    theta, shares = merged({"0": np.nan, "3": 0.5})
    assert (theta, shares["3"], shares["dropped"]) == (0.5, 1.0, 1)
    assert merged({"0": np.inf, "3": np.nan})[0] == 9.0


def test_auxiliaries_are_ranked_by_the_dev_metric_from_the_initial_theta_which_stays() -> None:
    suite, method = small.small_suite(), ForkMerge(top_k=[0, 1], pruning_rounds=3, dev="hold")
    run = small.new_run(suite, method, SEED)
    target = Target(suite, run.setting.tasks, SEED)
    work = method.assign(run, 0)
    assert [(one.name, set(one.weights), one.steps) for one in work] == [
        ("right", {"left", "right"}, 12),
        ("noise", {"left", "noise"}, 12),
    ]
    far = run.main.theta + np.random.default_rng(0).normal(size=len(run.main.theta)).astype(np.float32)
    updates = [Update(assignment=name, theta=end) for name, end in (("right", far), ("noise", run.main.theta))]
    figures = target.figures(DevUse("hold"), 0, [update.theta for update in updates])
    scores = {update.assignment: found for update, found in zip(updates, figures, strict=True)}
    best = max(scores, key=lambda name: (scores[name]["accuracy"], -scores[name]["loss"]))
    after, facts = method.combine(run, updates, target, 0)
    assert after.main is run.main
    assert after.memory.order[0] == best
    assert facts[f"rank/{best}"] == 0
    assert [set(one.weights) for one in method.assign(after, 1)] == [{"left"}, {"left", best}]


def test_nothing_is_ranked_if_the_order_does_not_matter() -> None:
    method = ForkMerge(top_k=[0, 9])
    run = small.new_run(small.small_suite(), method, SEED)
    assert method.rounds(run.setting) == 20 // 2
    assert [one.name for one in method.assign(run, 0)] == ["top 0", "top 2"]


def test_a_run_has_a_merge_every_few_rounds_and_branches_of_that_length() -> None:
    suite = small.small_suite()
    method = ForkMerge(top_k=[0, 1, 5, 7], interval=3, pruning_rounds=2, dev="hold")
    assert method.plans_ahead
    history = avil.train(suite, method, rounds=10, steps_per_round=STEPS, seed=SEED).history
    evaluations = [2, *[3 + 2 * 5] * 3]  # the ranking's; branches and the shares tried
    dev = [-(-20 * count // suite.learning.batch_size) for count in evaluations]
    trained = [2 * 2 * 2 * STEPS, *[(1 + 2 + 3) * 3 * STEPS] * 3]
    assert history["cost/gradient_steps"].tolist() == [a + b for a, b in zip(trained, dev, strict=True)]
    np.testing.assert_allclose(history.filter(like="lambda/").iloc[1:].sum(axis=1), 1)


def test_ties_in_the_metric_are_broken_by_the_dev_loss() -> None:
    suite = small.constant_suite(binary=True)
    target = Target(suite, suite.draw(0), 0)
    judge = Judge(target, DevUse("hold"), 0)
    right, surer, wrong = judge([np.array([value], np.float32) for value in (1.0, 2.0, -1.0)])
    assert right[0] == surer[0] > wrong[0]
    assert surer > right > wrong


def test_branches_restart_from_the_last_merge_and_continue_its_order_of_examples() -> None:
    done: list[Round] = []
    avil.train(small.small_suite(), ForkMerge(interval=3), rounds=9, steps_per_round=STEPS, on_round=done.append)
    assert [(each.run.main.steps, each.run.main.optimizer) for each in done] == [(n * 3 * STEPS, {}) for n in (1, 2, 3)]
    work = ForkMerge(interval=3).assign(done[-1].run, 3)
    assert {(one.track, one.continues, one.steps) for one in work} == {("main", False, 3 * STEPS)}


@pytest.mark.parametrize(("rounds", "merges", "length"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (7, 2, 3), (9, 3, 3)])
def test_no_branch_trains_longer_than_the_budget(rounds: int, merges: int, length: int) -> None:
    method = ForkMerge(interval=3, top_k=[1])
    run = small.new_run(small.small_suite(), method, SEED, rounds=rounds, steps=STEPS)
    assert method.rounds(run.setting) == 1 + merges, "the first one ranks"
    assert {one.steps for one in method.assign(run, 1)} == {length * STEPS}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": []}, "top_k must be whole numbers, at least 0, such as [0, 3, 5], not []"),
        ({"top_k": [-1]}, "top_k must be whole numbers, at least 0, such as [0, 3, 5], not [-1]"),
        ({"coefficients": [0, 2]}, "coefficients must be fractions from 0 to 1, such as [0, 0.5, 1], not [0, 2]"),
        ({"interval": 0}, "interval must be at least 1, not 0"),
        ({"pruning_rounds": 0}, "pruning_rounds must be at least 1, not 0"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        ForkMerge(**options)
    assert str(caught.value) == said
