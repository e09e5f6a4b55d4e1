"""What `avil-ray ui` says before it serves."""

from simulated import make_facts

from avil_ray.tracking.ui import addresses
from avil_ray.tracking.writer import Tracker


def test_experiments_and_sweeps_are_told_with_their_addresses(store, record):
    tracker = Tracker(store.uri, store.experiment, store.sweep)
    tracker.prepare(make_facts(("equal",), name=store.sweep))
    tracker.bring_record(record())
    info = store.run(None).info
    place = f"http://127.0.0.1:5001/#/experiments/{info.experiment_id}/runs"
    assert list(addresses(store.uri, "http://127.0.0.1:5001/")) == [
        f"experiment {store.experiment}: {place}?workflowType=machine_learning",
        f"sweep {store.sweep}: {place}/{info.run_id}?workflowType=machine_learning",
    ]


def test_a_store_without_runs_has_none(store):
    assert list(addresses(store.uri, "http://127.0.0.1:5001/")) == []
