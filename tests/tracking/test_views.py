"""Addresses in the MLflow UI."""

from urllib.parse import parse_qs, urlsplit

import pytest

from avil_ray.tracking import views


def asked(place):
    assert place.startswith("#/")
    return {name: value for name, [value] in parse_qs(urlsplit(place[1:]).query).items()}


@pytest.mark.parametrize(
    "place",
    [
        views.experiment("7"),
        views.run("7", "f00"),
        views.trials("7", "f00"),
        views.comparison("7", ["a", "b"]),
        views.artifact("7", "f00", "report.html"),
    ],
)
def test_every_address_leads_to_the_view_of_training_runs(place):
    assert asked(place)["workflowType"] == "machine_learning"


@pytest.mark.parametrize(("mode", "ascending"), [("max", "false"), ("min", "true")])
def test_trials_are_listed_the_best_first(mode, ascending):
    found = asked(views.trials("7", "f00", mode=mode))
    assert found["searchFilter"] == "tags.mlflow.parentRunId = 'f00'"
    assert (found["orderByKey"], found["orderByAsc"]) == ("metrics.`best/select`", ascending)
    assert "compareRunsMode" not in found
    assert asked(views.trials("7", "f00", charts=True))["compareRunsMode"] == "CHART"


def test_lines_say_what_has_to_run_before_an_address_leads_anywhere():
    found = {"trials": "#/a", "report": "#/b"}
    assert views.addresses(found, "avil-results") == [
        "in MLflow, once `avil-ray ui` runs:",
        "  trials  http://127.0.0.1:5000/#/a",
        "  report  http://127.0.0.1:5000/#/b",
    ]
    assert views.addresses(found, "my results")[0] == "in MLflow, once `avil-ray ui --storage 'my results'` runs:"
    assert views.addresses({"run": "https://host/#/a"}, "x") == ["in MLflow:", "  run  https://host/#/a"]
    assert views.addresses({}, "x") == []
