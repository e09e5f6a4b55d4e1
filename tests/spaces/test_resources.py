from __future__ import annotations

import pytest

from avil_ray.spaces import fields
from avil_ray.spaces.resources import Resources, Share, WorkerShare, shares


def read(document):
    found, problems = fields.read(Resources, document, "resources")
    assert problems == []
    return found


def test_defaults():
    assert read({}) == Resources()
    assert Resources() == Resources(
        per_task=WorkerShare(cpu=None, gpu="auto"),
        driver=Share(cpu=1, gpu=0),
        slots="auto",
        threads=1,
        timeout=1800,
        checkpoint_every=30,
        retries=1,
    )


def test_what_is_given_and_defaults_for_the_rest():
    found = read({"per_task": {"cpu": 0.4}, "driver": {"cpu": 0, "gpu": 0.25}, "slots": 3, "timeout": 60, "retries": 0})
    assert found.per_task == WorkerShare(cpu=0.4, gpu="auto")
    assert found.driver == Share(cpu=0, gpu=0.25)
    assert (found.slots, found.timeout, found.retries, found.threads) == (3, 60.0, 0, 1)


def test_where_a_trial_runs():
    assert read({"pool": "train"}).pool == "train"
    assert shares(read({"pool": "train"}), {"CPU": 4.0, "GPU": 2.0}) == ({"CPU": 0, "GPU": 0}, {"CPU": 1, "GPU": 1})
    _, problems = fields.read(Resources, {"pool": "trian"}, "resources")
    assert problems == ["resources.pool must be one of ray, train, inline, not 'trian'"]


def test_the_document_reads_back_equal():
    found = read({"per_task": {"cpu": 0.4, "gpu": 2}, "slots": 3})
    assert read(found.document()) == found


@pytest.mark.parametrize(
    ("there", "gpu"), [({"CPU": 2.0}, 0.0), ({"CPU": 2.0, "GPU": 0.0}, 0.0), ({"CPU": 2.0, "GPU": 4.0}, 1.0)]
)
def test_auto_is_one_gpu_where_there_are_any(there, gpu):
    driver, per_task = shares(read({"per_task": {"cpu": 0.5}, "driver": {"cpu": 0.1}}), there)
    assert per_task == {"CPU": 0.5, "GPU": gpu}
    assert driver == {"CPU": 0.1, "GPU": 0.0}


def test_a_number_of_gpus_is_asked_whatever_is_there():
    _, per_task = shares(read({"per_task": {"gpu": 0.25}}), {"CPU": 2.0})
    assert per_task["GPU"] == 0.25


def test_all_mistakes_are_told():
    document = {"slots": 0, "threads": 2, "driver": {"cpu": "one"}, "spead": 1, "per_task": {"gpus": 1, "cpu": -1}}
    found, problems = fields.read(Resources, document, "resources")
    assert found is None
    assert problems == [
        "resources.per_task.cpu must be a number, at least 0, not -1",
        "resources.per_task: unknown key 'gpus'; did you mean 'gpu'?",
        "resources.driver.cpu must be a number, at least 0, not 'one'",
        "resources.slots must be 'auto' or a whole number, 1 or more, not 0",
        "resources: unknown key 'spead'; did you mean 'threads'?",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "must be a number of seconds above 0"),
        ("5", "must be a number of seconds above 0"),
        (86400, "must be below 86,400 seconds, a day"),
    ],
)
def test_checkpoints_are_written_more_often_than_daily(seconds, said):
    assert read({"checkpoint_every": 0.5}).checkpoint_every == 0.5
    _, problems = fields.read(Resources, {"checkpoint_every": seconds}, "resources")
    assert problems == [f"resources.checkpoint_every {said}, not {seconds!r}"]


def test_custom_resources_and_kinds_of_accelerators_are_asked_of_ray():
    document = {
        "per_task": {"gpu": 1, "accelerator_type": "H100", "resources": {"licence": 0.5}},
        "driver": {"label_selector": {"ray.io/node-group": "!spot", "zone": "in(a, b)"}},
        "strategy": "STRICT_PACK",
    }
    found = read(document)
    driver, per_task = shares(found, {"CPU": 8.0, "GPU": 1.0, "accelerator_type:H100": 1.0})
    assert per_task == {"CPU": 1.0, "GPU": 1, "licence": 0.5, "accelerator_type:H100": 0.001}
    assert driver == {"CPU": 1.0, "GPU": 0.0}
    assert found.driver.label_selector == {"ray.io/node-group": "!spot", "zone": "in(a, b)"}
    assert read(found.document()) == found
    assert read({}).document()["strategy"] == "PACK"
    assert "label_selector" not in read({}).document()["per_task"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"strategy": "SPREED"}, "resources.strategy: unknown strategy 'SPREED'; did you mean 'SPREAD'?"),
        (
            {"per_task": {"resources": {"GPU": 1}}},
            "resources.per_task.resources must map names of resources, other than",
        ),
        ({"per_task": {"resources": {"licence": 0}}}, "resources.per_task.resources must map names of resources"),
        ({"driver": {"resources": ["licence"]}}, "resources.driver.resources must map names of resources"),
        ({"per_task": {"accelerator_type": 100}}, "resources.per_task.accelerator_type must be one of"),
        ({"driver": {"label_selector": {"zone": "in()"}}}, "resources.driver.label_selector must map node labels"),
        ({"driver": {"label_selector": {"zone": 1}}}, "resources.driver.label_selector must map node labels"),
        ({"driver": {"label_selector": "zone"}}, "resources.driver.label_selector must map node labels"),
    ],
)
def test_a_place_that_cannot_be_is_one_line(document, said):
    found, (line,) = fields.read(Resources, document, "resources")
    assert found is None
    assert line.startswith(said)
