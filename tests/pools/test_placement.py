"""What a trial asks and whether the nodes have it, against trying every placement."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest

from avil_ray.pools.placement import (
    CROWD,
    Bundle,
    at_once,
    bundles,
    describe,
    missing,
    most_slots,
    number,
    own_cpus,
    selects,
    total,
)

TINY = {"CPU": 1.0}


def test_the_driver_comes_first_and_zero_is_left_out() -> None:
    found = bundles({"CPU": 1, "GPU": 0}, {"CPU": 0.5, "GPU": 0.25}, 2)
    assert found == [{"CPU": 1.0}, {"CPU": 0.5, "GPU": 0.25}, {"CPU": 0.5, "GPU": 0.25}]
    assert bundles({"CPU": 0}, {"CPU": 1}, 2)[0] == {}, "a driver that asks for nothing keeps its place"
    assert bundles({"CPU": 1}, {"CPU": 2}, 1) == [{"CPU": 2.0}], "a single worker drives"


def test_a_total_sums_by_name() -> None:
    assert total([{"CPU": 1, "GPU": 0.5}, {"CPU": 2}, {}]) == {"CPU": 3, "GPU": 0.5}
    assert total([]) == {}


@pytest.mark.parametrize(
    ("parts", "nodes", "said"),
    [
        ([TINY] * 4, [{"CPU": 4}], None),
        ([TINY] * 4, [{"CPU": 2}, {"CPU": 2}], None),
        ([TINY] * 5, [{"CPU": 4}], "each trial needs 5 CPU, but the cluster has 4"),
        ([{"CPU": 1, "GPU": 1}], [{"CPU": 8}], "each trial needs 1 GPU, but the cluster has 0"),
        ([{"CPU": 0.1}] * 10, [{"CPU": 1}], None),
        ([{"CPU": 1 / 3}] * 3, [{"CPU": 1}], None),
        ([{"CPU": 3}, {"CPU": 3}], [{"CPU": 4}, {"CPU": 2}], "no node has 3 CPU free for one of a trial's 2 processes"),
        ([{"CPU": 1}, {"CPU": 3}], [{"CPU": 3}, {"CPU": 1}], None),
        (
            [{"CPU": 1, "GPU": 1}],
            [{"CPU": 1}, {"GPU": 1}],
            "no node has 1 CPU and 1 GPU free for one of a trial's 1 processes",
        ),
        ([{"licence": 2}], [{"CPU": 1, "licence": 1}], "each trial needs 2 licence, but the cluster has 1"),
        ([{"accelerator_type:H100": 0.001}] * 8, [{"CPU": 1, "accelerator_type:H100": 1}], None),
        (
            [{"CPU": 1, "accelerator_type:H100": 0.001}],
            [{"CPU": 1, "accelerator_type:A10G": 1}, {"CPU": 1, "accelerator_type:T4": 1}],
            "no node has accelerator_type H100; available: A10G, T4",
        ),
        ([{"CPU": 1, "accelerator_type:H100": 0.001}], [TINY], "no node has accelerator_type H100; available: none"),
        ([], [], None),
    ],
)
def test_missing_resources_are_named(parts: list[Bundle], nodes: list[Bundle], said: str | None) -> None:
    assert missing(parts, nodes) == said


def test_checking_does_not_consume_node_resources() -> None:
    nodes = [{"CPU": 2.0}]
    assert missing([TINY, TINY], nodes) is None
    assert nodes == [{"CPU": 2.0}]


@pytest.mark.parametrize("seed", range(40))
def test_it_never_promises_an_impossible_placement(seed: int) -> None:
    """Against all ways to place up to four bundles on two or three nodes."""
    generator = np.random.default_rng(seed)
    parts = [{"CPU": int(generator.integers(1, 4)), "GPU": int(generator.integers(0, 2))} for _ in range(4)]
    nodes = [{"CPU": int(generator.integers(1, 7)), "GPU": int(generator.integers(0, 3))} for _ in range(3)]

    def fits(places: tuple[int, ...]) -> bool:
        used = [total([part for part, place in zip(parts, places, strict=True) if place == node]) for node in range(3)]
        return all(use.get(name, 0) <= node[name] for use, node in zip(used, nodes, strict=True) for name in node)

    possible = any(fits(places) for places in itertools.product(range(3), repeat=4))
    if missing(parts, nodes) is None:
        assert possible


@pytest.mark.parametrize(
    ("cpus", "wanted", "slots"), [(1, 3, 1), (2, 3, 1), (3, 3, 2), (4, 3, 3), (100, 3, 3), (0.5, 1, 0), (9, 0, 0)]
)
def test_as_many_slots_as_fit_alongside_the_driver(cpus: float, wanted: int, slots: int) -> None:
    assert most_slots(TINY, TINY, [{"CPU": cpus}], wanted) == slots


def test_slots_are_placed_on_gpus_of_several_nodes() -> None:
    nodes = [{"CPU": 2, "GPU": 2}, {"CPU": 8, "GPU": 1}]
    assert most_slots(TINY, {"CPU": 1, "GPU": 1}, nodes, 8) == 3
    assert most_slots(TINY, {"CPU": 1, "GPU": 0.5}, nodes, 8) == 4


def test_how_many_bundles_fit_at_the_same_time() -> None:
    nodes = [{"CPU": 3.0}, {"CPU": 2.0}]
    assert at_once([{"CPU": 1.0}] * 2, nodes, 9) == 2
    assert at_once([{"CPU": 1.0}] * 2, nodes, 1) == 1
    assert at_once([{"CPU": 2.0}] * 2, nodes, 9) == 1
    assert at_once([{"CPU": 4.0}], nodes, 9) == 0


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        ({"CPU": 1.0}, "1 CPU"),
        ({"CPU": 1.0, "GPU": 0.5}, "1 CPU and 0.5 GPU"),
        ({}, "nothing"),
        ({"CPU": 1 / 3}, "0.3333 CPU"),
        ({"GPU": 1, "accelerator_type:H100": 0.001}, "1 GPU and an accelerator of type H100"),
    ],
)
def test_a_bundle_is_described_in_words(bundle: Bundle, words: str) -> None:
    assert describe(bundle) == words


@pytest.mark.parametrize(("amount", "text"), [(1.0, "1"), (0.25, "0.25"), (0.1 + 0.2, "0.3"), (128, "128")])
def test_amounts_have_no_trailing_zeros(amount: float, text: str) -> None:
    assert number(amount) == text


def test_a_local_ray_has_no_room_for_more_ranks_than_this_machine_supports() -> None:
    there = os.cpu_count() or 1
    assert [own_cpus(asked) for asked in (1, there + 1, 900 * there)] == [there, there + 1, CROWD * there]


@pytest.mark.parametrize(
    ("condition", "zones"),
    [("a", "a"), ("!a", "bc-"), ("in(a, b)", "ab"), ("!in(a,b)", "c-"), ("in(c)", "c"), ("d", "")],
)
def test_a_label_selector_selects_matching_nodes(condition: str, zones: str) -> None:
    """A node without the label, "-" here, is taken by denials alone."""
    nodes = {"-": {"kind": "a"}, **{zone: {"zone": zone, "kind": "x"} for zone in "abc"}}
    assert {zone for zone, labels in nodes.items() if selects({"zone": condition}, labels)} == set(zones)
    assert not any(selects({"zone": condition, "kind": "y"}, labels) for labels in nodes.values())
    assert all(selects({}, labels) for labels in nodes.values())
