"""The page is whole in itself, says what the Markdown says, and shows text as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from simulated import failed, make_facts, make_record

from avil_ray.reports import advice, findings, page_tables
from avil_ray.reports.alphas import CAVEAT
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.drawing import DARK, LIGHT, css_colours
from avil_ray.reports.html import Picture, html_report
from avil_ray.reports.provenance import provenance

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Collects text, addresses and tags, and fails where a tag is closed that is not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.labels: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "action")]
        self.labels += [value or "" for name, value in attrs if name == "aria-label"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += " ".join(data.split()) + " "


@pytest.fixture(scope="module")
def page(comparison: Comparison) -> Page:
    return Page(
        html_report(comparison, [Picture("Test against cost.", "<svg viewBox='0 0 1 1'><text>a name</text></svg>")])
    )


def test_every_tag_is_closed(page: Page) -> None:
    assert page.open == []


def test_nothing_is_fetched_and_no_script_runs(page: Page, comparison: Comparison) -> None:
    assert page.addresses == ["http://127.0.0.1:5000/#/experiments/1/runs/f00"], "a link that is followed on a click"
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)
    assert not re.search(r"url\(|@import", html_report(comparison, []))


def test_figures_stand_in_the_page_and_are_described(page: Page, comparison: Comparison) -> None:
    assert page.labels == ["Test against cost."]
    assert "a name" in page.text
    text = html_report(comparison, [])
    for theme in (LIGHT, DARK):
        assert all(f"{name}: {colour};" in text for name, colour in css_colours(theme).items())


def test_a_page_is_dark_on_dark_screens_alone_and_light_in_print(comparison: Comparison) -> None:
    text = html_report(comparison, [])
    assert "@media screen and (prefers-color-scheme: dark)" in text
    assert len(re.findall("prefers-color-scheme", text)) == 1


def test_cells_have_their_column_for_narrow_screens(comparison: Comparison) -> None:
    names = set(re.findall(r'<td data-name="([^"]+)"', html_report(comparison, [])))
    assert {"test", "against target-only", "gradient steps", "kept by alpha-vil", "cosine to the target"} <= names


def test_the_page_says_it_all(page: Page, comparison: Comparison) -> None:
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    for one in findings.statements(comparison):
        assert one.lead in text
        assert one.text in text
    for row in (
        *page_tables.standings(comparison),
        *page_tables.auxiliary_rows(comparison),
        *page_tables.rows(comparison),
    ):
        assert " ".join(row.cells.values()) in text
    for answer in advice.answers(comparison):
        assert " ".join([answer.question, answer.short, *answer.sentences]) in text
    for name, value in provenance(comparison.facts):
        assert f"{name} {value}" in text
    command = advice.command(comparison)
    assert command is not None
    for expected in (
        advice.headline(comparison), findings.setting(comparison), CAVEAT, "alpha almost switched off: noise",
        "the loss was not finite in round 3", "crossfit: each round", "searched: weights.right = 1",
        " ".join(command.split()), "name: digits seeds: [0, 1, 2, 3, 4]", *findings.COLUMNS.values(),
    ):  # fmt: skip
        assert expected in text


def test_the_answers_stand_first_in_the_users_order(page: Page) -> None:
    order = ["Train left with static", "Do auxiliary tasks help left?", "Which ones?", "What should I train with?"]
    order += [
        "How sure is that?",
        "Every method on test",
        "The auxiliary tasks",
        "at equal cost",
        "Test and cost",
        "Figures",
    ]
    places = [page.text.index(one) for one in order]
    assert places == sorted(places)


def test_labels_and_reasons_are_text_and_never_markup() -> None:
    evil = '"><script>alert(1)</script>'
    records = [make_record(evil, options={"dev": evil, "x": evil}), failed(make_record("alpha-vil"), evil)]
    facts = make_facts(("alpha-vil", evil), name=evil, suite=evil, target=evil, seeds=(0,))
    found = Page(html_report(compare(records, facts), [Picture(evil, "")]))
    assert "script" not in found.tags
    assert found.text.count("alert(1)") > 6
    assert found.labels == [evil]


def test_an_empty_sweep_still_gives_a_page() -> None:
    found = Page(html_report(compare([], make_facts(())), []))
    assert "There is no trial yet" in found.text
    assert "No trial failed." in found.text
    assert found.open == []
