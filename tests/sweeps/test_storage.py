"""A sweep's folder: what is damaged is named in a line, and what can be written anew is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avil_ray.catalog import build_suite
from avil_ray.errors import UserError
from avil_ray.reports.comparison import SweepFacts
from avil_ray.spaces.search_space import SearchSpace, read_search_space
from avil_ray.sweeps.storage import read_facts, require_usable, store

SPACE = """\
name: small
suite: {name: synthetic, target_labels: 40, train: 60}
rounds: 2
steps_per_round: 2
seeds: [0]
methods:
  - {method: equal}
"""


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    (tmp_path / "space.yaml").write_text(SPACE)
    return read_search_space(tmp_path / "space.yaml")


def written(folder: Path, space: SearchSpace, *, fresh: bool = False) -> SweepFacts:
    folder.mkdir(exist_ok=True)
    suite = build_suite(space.suite)
    return store(folder, space, suite, suite.draw(0)[suite.target], fresh)


def another(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGE = [
    *(lambda path, content=content: path.write_bytes(content) for content in (b"", b"{", b"[]", b"null", b"\xff\xfe")),
    lambda path: path.write_bytes(b"[" * 100_000),
    another(lambda facts: {**facts, "seeds": ["0"]}),
    another(lambda facts: {**facts, "tasks": "abc"}),
    another(lambda facts: {**facts, "mode": "best"}),
    another(lambda facts: {**facts, "reference": "nobody"}),
    another(lambda facts: {name: value for name, value in facts.items() if name != "metric"}),
    folder,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_facts_are_a_line_and_are_written_anew(
    damage: Callable[[Path], None], space: SearchSpace, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    facts = written(sweep, space)
    assert read_facts(sweep) == facts
    assert facts.reference == space.reference
    damage(sweep / "sweep.json")
    with pytest.raises(UserError, match=r"sweep.json: cannot be read .* run the sweep again with --resume") as caught:
        read_facts(sweep)
    assert "\n" not in str(caught.value)
    require_usable(sweep, space, resume=True, fresh=False)
    written(sweep, space)
    assert read_facts(sweep) == facts


def test_the_full_grids_of_fixed_weights_are_stored_with_the_budget(space: SearchSpace, tmp_path: Path) -> None:
    weights = {"helpful_1": {"grid": [0, 0.5, 1]}, "noise_1": {"grid": [0, 1]}}
    document: dict[str, Any] = {
        **space.document,
        "budget": {"gradient_steps": 100_000},
        "methods": [
            {"method": "alpha-vil", "learning_rate": {"grid": [0.01, 0.1]}},
            {"method": "equal"},
            {"method": "static", "weights": weights},
            {"method": "static", "label": "drawn", "weights": {"helpful_1": {"uniform": [0, 1]}}},
        ],
    }
    facts = written(tmp_path / "grid", read_search_space(document))
    assert (facts.algorithm, facts.budget) == ("grid", 100_000)
    grid = {"weights.helpful_1": (0, 0.5, 1), "weights.noise_1": (0, 1)}
    assert facts.grids == {"equal": {}, "static": grid}
    assert read_facts(tmp_path / "grid") == facts
    proposing = {**document, "budget": "reference", "search": {"algorithm": "random", "trials": 4}}
    facts = written(tmp_path / "random", read_search_space(proposing))
    assert (facts.algorithm, facts.budget, facts.grids) == ("random", "reference", {"equal": {}})
    assert read_facts(tmp_path / "random") == facts


def test_where_no_sweep_is_stored_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sweep is stored there"):
        read_facts(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"name: [", SPACE.encode()[:40], None])
def test_a_damaged_space_is_a_line_and_fresh_starts_again(
    content: bytes | None, space: SearchSpace, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    written(sweep, space)
    path = sweep / "space.yaml"
    if content is None:
        folder(path)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"space.yaml: the stored search space cannot be read .* --fresh") as caught:
        require_usable(sweep, space, resume=True, fresh=False)
    assert "\n" not in str(caught.value)
    require_usable(sweep, space, resume=False, fresh=True)
    (sweep / ".lock").touch()
    (sweep / "trials" / "equal-c000-s0").mkdir(parents=True)
    written(sweep, space, fresh=True)
    assert sorted(path.name for path in sweep.iterdir()) == [".lock", "space.yaml", "sweep.json"]
    require_usable(sweep, space, resume=True, fresh=False)


def test_a_file_in_the_place_of_a_folder_is_refused_or_gives_way(space: SearchSpace, tmp_path: Path) -> None:
    (tmp_path / "sweep").touch()
    with pytest.raises(UserError, match="is not a folder; choose another --name or --storage"):
        require_usable(tmp_path / "sweep", space, resume=False, fresh=False)
    written(tmp_path / "other", space)
    (tmp_path / "other" / "trials").touch()
    written(tmp_path / "other", space)
    assert not (tmp_path / "other" / "trials").exists()


def test_the_lock_of_another_process_is_not_taken_for_something_else(space: SearchSpace, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / ".lock").touch()
    require_usable(tmp_path / "sweep", space, resume=False, fresh=False)
