# ruff: noqa: E501 (messages stand in one piece, so that they can be searched for)
from __future__ import annotations

import pytest
from space_files import BASE, REMOVED, changed

from avil_ray.errors import UserError
from avil_ray.spaces import settings
from avil_ray.spaces.search_space import Contents


def apply(document, changes):
    return settings.apply(document, changes, Contents)


def test_settings_change_a_copy():
    document, _ = apply(BASE, [("rounds", 3), ("suite.target_labels", 100)])
    assert (document["rounds"], document["suite"]["target_labels"]) == (3, 100)
    assert (BASE["rounds"], BASE["suite"]["target_labels"]) == (20, 300)


def test_an_entry_is_named_by_its_label():
    methods = [{"method": "alpha-vil"}, {"method": "alpha-vil", "label": "alpha-vil.2"}]
    document, places = apply(
        changed(methods=methods), [("methods.alpha-vil.2.alpha_steps", 5), ("methods.alpha-vil.alpha_steps", 7)]
    )
    assert [entry["alpha_steps"] for entry in document["methods"]] == [7, 5]
    assert places == {
        "methods[1].alpha_steps": "methods.alpha-vil.2.alpha_steps",
        "methods[0].alpha_steps": "methods.alpha-vil.alpha_steps",
    }


def test_a_part_of_a_mapping_is_set_alone():
    document, _ = apply(BASE, [("methods.static.weights.right", 0.5)])
    assert document["methods"][2]["weights"] == {"right": 0.5, "left_odd": {"grid": [0, 1]}}


def test_parts_that_are_not_there_are_made():
    document, _ = apply(changed(resources=REMOVED), [("resources.driver.cpu", 0.5), ("search.algorithm", "random")])
    assert document["resources"] == {"driver": {"cpu": 0.5}}
    assert document["search"] == {"algorithm": "random"}


def test_later_settings_win():
    document, _ = apply(BASE, [("rounds", 3), ("rounds", 4)])
    assert document["rounds"] == 4


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("ronds", "--set ronds: unknown key 'ronds'; did you mean 'rounds'?"),
        ("suite.target_lables", "--set suite.target_lables: unknown option 'target_lables'; did you mean 'target_labels'?"),
        ("resources.slot", "--set resources.slot: unknown key 'slot'; did you mean 'slots'?"),
        ("resources.driver.cpus", "--set resources.driver.cpus: unknown key 'cpus'; did you mean 'cpu'?"),
        ("search.algoritm", "--set search.algoritm: unknown key 'algoritm'; did you mean 'algorithm'?"),
        ("methods.alpha-vli.alpha_steps", "--set methods.alpha-vli.alpha_steps: methods: unknown label 'alpha-vli'; did you mean 'alpha-vil'?"),
        ("methods.static.wieghts.right", "--set methods.static.wieghts.right: unknown option 'wieghts'; did you mean 'weights'?"),
        ("methods.static", "--set methods.static: name an option too, such as methods.static.learning_rate"),
        ("rounds.more", "--set rounds.more: rounds is 20, which has no parts to set"),
        ("suite..size", "--set suite..size: write a key as names separated by dots, such as suite.target_labels"),
    ],
)  # fmt: skip
def test_each_wrong_key_is_one_line(key, message):
    with pytest.raises(UserError) as caught:
        apply(BASE, [(key, 1)])
    assert str(caught.value) == message
