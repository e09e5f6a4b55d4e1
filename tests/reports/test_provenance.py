"""A report says where its figures come from, and of a later start only what changed."""

from __future__ import annotations

from dataclasses import replace

from simulated import START, make_facts

from avil_ray.reports.provenance import mlflow_link, mlflow_served_here, provenance


def test_everything_that_was_stored_is_told() -> None:
    found = dict(provenance(make_facts(("equal",))))
    assert found == {
        "seeds": "0, 1, 2, 3, 4",
        "examples of left": "train 200, dev 100, select 1,000, test 2,000",
        "examples of noise": "train a stream",
        "length of a run": "20 rounds of 24 steps",
        "learning": "learning rate = 0.05, batch size = 32, optimizer = sgd, schedule = constant, unless a method's "
        "options say otherwise",
        "started": "2026-01-02T03:04:05Z",
        "commit": "0123abc",
        "versions": "avil_ray 0.1.0, torch 2.13.0",
        "hardware": "Some CPU, Linux 6.1; Ray had 2 CPUs and 0 GPUs on 1 node",
    }


def test_of_a_later_start_only_what_changed_is_told() -> None:
    later = replace(START, date="2026-01-03T00:00:00Z", commit=None)
    found = provenance(make_facts(("equal",), starts=(START, later)))
    assert found[-2:] == [("resumed", "2026-01-03T00:00:00Z"), ("commit", "not in a git repository")]


def test_a_sweep_of_an_earlier_version_says_so() -> None:
    found = provenance(make_facts(("equal",), setup=None, starts=()))
    assert found[1] == ("the rest", "not stored: the sweep was run by an earlier version of avil_ray")


def test_the_link_leads_to_the_server_or_to_our_own_ui() -> None:
    here, there = make_facts(("equal",)), replace(START, mlflow="http://server:5000/#/experiments/1/runs/f00")
    assert mlflow_link(here) == "http://127.0.0.1:5000/#/experiments/1/runs/f00"
    assert mlflow_served_here(here)
    served = make_facts(("equal",), starts=(START, there))
    assert mlflow_link(served) == "http://server:5000/#/experiments/1/runs/f00"
    assert not mlflow_served_here(served)
    assert mlflow_link(make_facts(("equal",), starts=())) is None
