from __future__ import annotations

import pytest

from avil_ray.spaces.resources import Resources, Share, read_resources, shares


def read(document):
    problems: list[str] = []
    found = read_resources(document, problems)
    assert problems == []
    return found


def test_defaults():
    assert read({}) == Resources()
    assert Resources() == Resources(
        per_task=Share(cpu=1, gpu="auto"), driver=Share(cpu=1, gpu=0), slots="auto", threads=1, timeout=1800, retries=1
    )


def test_what_is_given_and_defaults_for_the_rest():
    found = read({"per_task": {"cpu": 0.4}, "driver": {"cpu": 0, "gpu": 0.25}, "slots": 3, "timeout": 60, "retries": 0})
    assert found.per_task == Share(cpu=0.4, gpu="auto")
    assert found.driver == Share(cpu=0, gpu=0.25)
    assert (found.slots, found.timeout, found.retries, found.threads) == (3, 60.0, 0, 1)


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


def test_all_mistakes_are_told_and_the_rest_is_read():
    problems: list[str] = []
    found = read_resources({"slots": 0, "threads": 2, "driver": {"cpu": "one"}, "spead": 1}, problems)
    assert [problem.split(" ")[0] for problem in problems] == ["resources:", "resources.driver.cpu", "resources.slots"]
    assert found.threads == 2
