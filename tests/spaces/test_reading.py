# ruff: noqa: E501 (messages stand in one piece, so that they can be searched for)
"""Every mistake that a search space can hold, and the one line that tells it."""

from __future__ import annotations

import math

import pytest
from space_files import BASE, REMOVED, changed, with_static, write

from avil_ray.errors import UserError
from avil_ray.spaces.search_space import problems, read_search_space

WHOLE = "must be a whole number, 1 or more, not"
NAME = (
    "must be 1 to 64 letters, digits, '-', '_' or '.', beginning with a letter or digit, "
    "as folders and MLflow runs are named after it, not"
)
LIST = "must be a list with at least one value such as [0, 1], not"


def both(**documents):
    return [{"method": "alpha-vil", **documents}]


def resources(**values):
    return changed(resources=values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; a search space has at least name, suite, rounds, steps_per_round, seeds, methods"),
        ("# a comment\n", "is empty; a search space has at least name, suite, rounds, steps_per_round, seeds, methods"),
        ("- a\n- b\n", "must be a mapping such as {name: …, suite: …}, not ['a', 'b']"),
        ("just words", "must be a mapping such as {name: …, suite: …}, not 'just words'"),
        ("name: demo\nsuite:\n\tname: multimnist\n", "line 3: a tab; indent with spaces"),
        (
            "name: [demo\nrounds: 3\n",
            "line 2: not YAML: expected ',' or ']', but got ':' (while parsing a flow sequence)",
        ),
        ("name: demo\nname: demo\n", "line 2: the key 'name' is given twice"),
    ],
)
def test_files_that_are_no_search_space(tmp_path, text, message):
    assert problems(write(tmp_path, text)) == [f"demo.yaml: {message}"]


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "demo.yaml"
    path.write_bytes(b"name: \xff\xfe")
    assert problems(path) == ["demo.yaml: not YAML: it is not UTF-8 text"]


@pytest.mark.parametrize("key", ["name", "suite", "rounds", "steps_per_round", "seeds", "methods"])
def test_each_key_that_must_be_there(tmp_path, key):
    assert problems(write(tmp_path, changed(**{key: REMOVED}))) == [f"demo.yaml: the key {key!r} is missing"]


MISTAKES = [
    # the whole
    (changed(rounds=REMOVED, roudns=3), "unknown key 'roudns'; did you mean 'rounds'?"),
    (changed(colour="red"), "unknown key 'colour'; available: budget, learning, methods, name, reference, resources, rounds, search, seeds, steps_per_round, suite"),
    (changed(**{"5": 1}), "unknown key '5'; available: budget, learning, methods, name, reference, resources, rounds, search, seeds, steps_per_round, suite"),
    # numbers and names
    (changed(name="my demo"), f"name {NAME} 'my demo'"),
    (changed(name="../demo"), f"name {NAME} '../demo'"),
    (changed(name=3), f"name {NAME} 3"),
    (changed(name="n" * 65), f"name {NAME} '{'n' * 65}'"),
    (changed(rounds=0), f"rounds {WHOLE} 0"),
    (changed(rounds=-1), f"rounds {WHOLE} -1"),
    (changed(rounds=2.5), f"rounds {WHOLE} 2.5"),
    (changed(rounds="many"), f"rounds {WHOLE} 'many'"),
    (changed(rounds=True), f"rounds {WHOLE} True"),
    (changed(rounds=None), f"rounds {WHOLE} None"),
    (changed(steps_per_round=0), f"steps_per_round {WHOLE} 0"),
    # seeds
    (changed(seeds=[]), "seeds must be a list with at least one seed such as [0, 1, 2], not []"),
    (changed(seeds=3), "seeds must be a list with at least one seed such as [0, 1, 2], not 3"),
    (changed(seeds=[0, -1]), "seeds[1] must be a whole number, 0 or more, not -1"),
    (changed(seeds=[0.5]), "seeds[0] must be a whole number, 0 or more, not 0.5"),
    (changed(seeds=[3, 1, 3]), "seeds: 3 is given twice; give each seed once"),
    # suite
    (changed(suite="multimnist"), "suite must be a mapping such as {name: multimnist}, not 'multimnist'"),
    (changed(suite={"name": "multimist"}), "suite: unknown suite 'multimist'; did you mean 'multimnist'?"),
    (changed(suite={"nam": "multimnist"}), "suite: give either a name or a factory ('package.module:function')"),
    (changed(suite={"name": "multimnist", "target": "lefft"}), "suite: unknown target 'lefft'; did you mean 'left'?"),
    (changed(suite={"name": "multimnist", "target_lables": 3}), "suite: unknown option 'target_lables'; did you mean 'target_labels'?"),
    (changed(suite={"name": "multimnist", "size": "big"}), "suite.size should be a whole number, not 'big'"),
    (changed(suite={"name": "multimnist", "size": 3}), "suite.size must be a whole number, 16 to 36, not 3"),
    (changed(suite={"name": "multimnist", "auxiliaries": ["right", "riht"]}), "suite: unknown auxiliary 'riht'; did you mean 'right'?"),
    (changed(suite={"factory": "tiny_suite:tiny_suit"}), "suite: tiny_suite: unknown name 'tiny_suit'; did you mean 'tiny_suite'?"),
    (changed(suite={"factory": "tiny_suite:tiny_suite", "dely": 3}), "suite: unknown option 'dely'; did you mean 'delay'?"),
    # resources
    (changed(resources=3), "resources must be a mapping such as {pool: …, per_task: …}, not 3"),
    (resources(slot=3), "resources: unknown key 'slot'; did you mean 'slots'?"),
    (resources(slots=0), "resources.slots must be 'auto' or a whole number, 1 or more, not 0"),
    (resources(slots="all"), "resources.slots must be 'auto' or a whole number, 1 or more, not 'all'"),
    (resources(threads=0), f"resources.threads {WHOLE} 0"),
    (resources(timeout=0), "resources.timeout must be a number of seconds above 0, not 0"),
    (resources(timeout="long"), "resources.timeout must be a number of seconds above 0, not 'long'"),
    (resources(retries=-1), "resources.retries must be a whole number, 0 or more, not -1"),
    (resources(driver=1), "resources.driver must be a mapping such as {cpu: …, gpu: …}, not 1"),
    (resources(driver={"cpus": 1}), "resources.driver: unknown key 'cpus'; did you mean 'cpu'?"),
    (resources(driver={"cpu": -1}), "resources.driver.cpu must be a number, at least 0, not -1"),
    (resources(driver={"gpu": "auto"}), "resources.driver.gpu must be a number, at least 0, not 'auto'"),
    (resources(per_task={"cpu": "auto"}), "resources.per_task.cpu must be a number, at least 0, not 'auto'"),
    (resources(per_task={"gpu": "all"}), "resources.per_task.gpu must be 'auto' or a number, at least 0, not 'all'"),
    (resources(per_task={"gpu": 1.5}), "resources.per_task.gpu must be a whole number above 1, as Ray gives whole GPUs there, not 1.5"),
    (resources(per_task={"cpu": 0}), "resources.per_task.cpu must be above 0; a small fraction such as 0.1 will do"),
    (resources(per_task={"cpu": True}), "resources.per_task.cpu must be a number, at least 0, not True"),
    # methods
    (changed(methods=[]), "methods must be a list with at least one {method: …}, not []"),
    (changed(methods={"method": "equal"}), "methods must be a list with at least one {method: …}, not {'method': 'equal'}"),
    (changed(methods=["equal"]), "methods[0] must be a mapping such as {method: equal}, not 'equal'"),
    (changed(methods=[{"label": "a"}]), "methods[0]: the key 'method' is missing"),
    (changed(methods=[{"metod": "equal"}]), "methods[0]: unknown key 'metod'; did you mean 'method'?"),
    (changed(methods=[{"method": "statik"}]), "methods[0]: unknown method 'statik'; did you mean 'static'?"),
    (changed(methods=[{"method": ["equal"]}]), "methods[0]: unknown method \"['equal']\"; did you mean 'equal'?"),
    (with_static(wieghts={}), "methods[0]: unknown option 'wieghts'; did you mean 'weights'?"),
    (with_static(sampels=3), "methods[0]: unknown option 'sampels'; did you mean 'samples'?"),
    (with_static(lable="a"), "methods[0]: unknown option 'lable'; did you mean 'label'?"),
    (with_static(label="my label"), f"methods[0].label {NAME} 'my label'"),
    (with_static(label="équal"), f"methods[0].label {NAME} 'équal'"),
    (with_static(label=None), f"methods[0].label {NAME} None"),
    (with_static(samples=0), f"methods[0].samples {WHOLE} 0"),
    (
        changed(methods=[{"method": "equal"}, {"method": "alpha-vil"}, {"method": "equal", "dev": "hold"}]),
        "methods[2]: the label 'equal' is also that of methods[0]; entries of the same method need different labels",
    ),
    (
        changed(methods=[{"method": "equal"}, {"method": "alpha-vil", "label": "Equal"}]),
        "methods[1]: the label 'Equal' is also that of methods[0]; entries of the same method need different labels",
    ),
    # options
    (with_static(weights={"rigth": 1}), "methods[0].weights: unknown task 'rigth'; did you mean 'right'?"),
    (with_static(weights={"rigth": {"grid": [0, 1]}}), "methods[0].weights: unknown task 'rigth'; did you mean 'right'?"),
    (with_static(weights={"right": "much"}), "methods[0].weights.right should be a number, not 'much'"),
    (with_static(weights={"right": -1}), "methods[0].weights: right: a weight must be a number, at least 0, and finite, not -1.0"),
    (with_static(weights={"left": 0}), "methods[0].weights: all are 0, so nothing would train; give one task a weight above 0"),
    (with_static(weights=3), "methods[0].weights should be a mapping such as {name: value}, not 3"),
    (with_static(learning_rate=True), "methods[0].learning_rate should be a number, not True"),
    (with_static(learning_rate={"grid": [0.1, -1]}), "methods[0].learning_rate must be above 0, not -1.0"),
    (
        with_static(weights={"left": {"grid": [0, 1]}, "right": {"grid": [0, 1]}}),
        "methods[0].weights: all are 0, so nothing would train; give one task a weight above 0 (where weights.left = 0, weights.right = 0)",
    ),
    (
        changed(methods=both(alpha_steps={"uniform": [5, 20]})),
        "methods[0].alpha_steps should be a whole number, not 12.5; draw whole numbers with choice",
    ),
    (changed(methods=both(alpha_bounds=[2, 1])), "methods[0].alpha_bounds: the lower bound exceeds the upper one in [2.0, 1.0]"),
    # distributions
    (with_static(learning_rate={"grid": []}), f"methods[0].learning_rate.grid {LIST} []"),
    (with_static(weights={"right": {"choice": []}}), f"methods[0].weights.right.choice {LIST} []"),
    (with_static(learning_rate={"uniform": [2, 1]}), "methods[0].learning_rate.uniform: the first number must be below the second, not [2, 1]"),
    (with_static(learning_rate={"loguniform": [0, 1]}), "methods[0].learning_rate.loguniform: both numbers must be above 0, not [0, 1]"),
    (with_static(weights={"right": {"gird": [0, 1]}}), "methods[0].weights.right: unknown distribution 'gird'; did you mean 'grid'?"),
    (
        with_static(weights={"right": {"grid": [0, 1]}}, samples=3),
        "methods[0].samples: nothing is drawn here, so more than 1 would only repeat the grid",
    ),
    (with_static(learning_rate={"grid": [1, "1"]}), "methods[0].learning_rate.grid: 1 and '1' mean the same"),
    (with_static(weights={"right": {"choice": ["0.5", 1, 0.5]}}), "methods[0].weights.right.choice: '0.5' and 0.5 mean the same"),
    (changed(methods=both(alpha_steps={"grid": [None, 10]})), "methods[0].alpha_steps.grid: None and 10 mean the same"),
    (changed(methods=both(dev={"grid": ["hold", 1]})), "methods[0].dev should be 'crossfit' or 'hold', not 1"),
    (with_static(learning_rate={"grid": [math.nan, 0.1]}), "methods[0].learning_rate must be a finite number, not nan"),
    (with_static(learning_rate=math.inf), "methods[0].learning_rate must be a finite number, not inf"),
    (with_static(learning_rate={2: 3}), "methods[0].learning_rate should be a number, not {'2': 3}"),
    (with_static(weights={None: 1}), "methods[0].weights: unknown task 'None'; available: left, left_large, left_odd, right"),
    # too much of anything
    (changed(rounds=10**30), "rounds must be at most 100,000, not 1000000000000000000000000000000"),
    (changed(rounds=math.inf), f"rounds {WHOLE} inf"),
    (changed(steps_per_round=10**30), "steps_per_round must be at most 10,000,000, not 1000000000000000000000000000000"),
    (changed(seeds=[10**30]), "seeds[0] must be at most 9,223,372,036,854,775,807, not 1000000000000000000000000000000"),
    (resources(timeout=1e300), "resources.timeout must be at most 100,000,000, not 1e+300"),
    (resources(driver={"cpu": 1e30}), "resources.driver.cpu must be at most 100,000,000, not 1e+30"),
    (with_static(samples=10**30), "methods[0].samples must be at most 10,000, not 1000000000000000000000000000000"),
    (changed(search={"algorithm": "random", "trials": 10**30}), "search.trials must be at most 10,000, not 1000000000000000000000000000000"),
    (changed(methods=both(alpha_steps=10**18)), "methods[0].alpha_steps must be a whole number, at most 1,000,000, not 1000000000000000000"),
    # search
    (changed(search="grid"), "search must be a mapping such as {algorithm: …, scheduler: …}, not 'grid'"),
    (changed(search={"algoritm": "grid"}), "search: unknown key 'algoritm'; did you mean 'algorithm'?"),
    (changed(search={"algorithm": "gird"}), "search.algorithm: unknown algorithm 'gird'; did you mean 'grid'?"),
    (changed(search={"scheduler": "ashe"}), "search.scheduler: unknown scheduler 'ashe'; did you mean 'asha'?"),
    (changed(search={"algorithm": "random", "trials": 0}), f"search.trials {WHOLE} 0"),
    (changed(search={"trials": 3}), "search.trials: a grid runs every combination; leave trials out, or use random, optuna or surrogate"),
    (
        changed(search={"algorithm": "random"}),
        "search: the key 'trials' is missing: how many configurations random tries of each entry with free options",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("document", "message"), MISTAKES)
def test_each_mistake_is_one_line_with_file_and_place(tmp_path, document, message):
    path = write(tmp_path, document)
    found = problems(path)
    if "12.5" in message:  # whatever number was drawn
        start, _, rest = message.partition("12.5")
        assert found[0].startswith(f"demo.yaml: {start}")
        assert found[0].endswith(rest)
    else:
        assert found == [f"demo.yaml: {message}"]
    assert "\n" not in found[0]
    with pytest.raises(UserError) as caught:
        read_search_space(path)
    assert str(caught.value) == found[0]


def test_every_mistake_in_the_suites_options_is_told(tmp_path):
    suite = {"name": "multimnist", "size": "big", "target_lables": 3, "dev_fraction": []}
    assert problems(write(tmp_path, changed(suite=suite))) == [
        "demo.yaml: suite.size should be a whole number, not 'big'",
        "demo.yaml: suite: unknown option 'target_lables'; did you mean 'target_labels'?",
        "demo.yaml: suite.dev_fraction should be a number, not []",
    ]


def test_too_many_target_labels(tmp_path):
    suite = {"name": "multimnist", "target_labels": 9999}
    (found,) = problems(write(tmp_path, changed(suite=suite)))
    assert found.startswith("demo.yaml: suite.target_labels must be a whole number, 2 to 3000")
    assert found.endswith("not 9999")


def test_what_optuna_may_propose_is_checked_at_its_ends(tmp_path):
    pytest.importorskip("optuna")
    search = {"algorithm": "optuna", "trials": 1}
    document = {**with_static(weights={"right": {"uniform": [-0.001, 5]}}), "search": search}
    (found,) = problems(write(tmp_path, document))
    assert found.startswith(
        "demo.yaml: methods[0].weights: right: a weight must be a number, at least 0, and finite, not -0.001"
    )


def test_the_base_of_these_tests_is_right(tmp_path):
    assert problems(write(tmp_path, BASE)) == []
