"""The page is whole in itself, says what the Markdown says, and shows text as text."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest
from simulated import failed, make_facts, make_record

from avil_ray.reports import findings
from avil_ray.reports.alphas import CAVEAT
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.html import Picture, html_report

VOID = {"meta", "img", "source", "br"}


class Page(HTMLParser):
    """Collects text, addresses and tags, and fails where a tag is closed that is not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.alternatives: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "action")]
        self.alternatives += [value or "" for name, value in attrs if name == "alt"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += " ".join(data.split()) + " "


@pytest.fixture(scope="module")
def page(comparison: Comparison) -> Page:
    return Page(html_report(comparison, [Picture("Test against cost.", b"light", b"dark")]))


def test_every_tag_is_closed(page: Page) -> None:
    assert page.open == []


def test_nothing_is_fetched(page: Page, comparison: Comparison) -> None:
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?:", html_report(comparison, []))


def test_figures_are_embedded_for_light_and_dark(page: Page) -> None:
    images = [base64.b64decode(address.partition(",")[2]) for address in page.addresses]
    assert images == [b"dark", b"light"]
    assert page.alternatives == ["Test against cost."]


def test_the_page_says_it_all(page: Page, comparison: Comparison) -> None:
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    for one in findings.statements(comparison):
        assert one.lead in text
        assert one.text in text
    for row in findings.rows(comparison):
        assert " ".join(row.cells.values()) in text
    for expected in (
        findings.headline(comparison), findings.setting(comparison), CAVEAT, "alpha almost switched off: noise",
        "the loss was not finite in round 3", "crossfit: each round", "searched: weights.right = 1.0",
        *findings.COLUMNS.values(),
    ):  # fmt: skip
        assert expected in text


def test_losses_stand_before_the_table(page: Page) -> None:
    assert page.text.index("Ties with equal") < page.text.index("Beats target-only") < page.text.index("Test and cost")


def test_labels_and_reasons_are_text_and_never_markup() -> None:
    evil = '"><script>alert(1)</script>'
    records = [make_record(evil, options={"dev": evil, "x": evil}), failed(make_record("alpha-vil"), evil)]
    facts = make_facts(("alpha-vil", evil), name=evil, suite=evil, target=evil, seeds=(0,))
    found = Page(html_report(compare(records, facts), [Picture(evil, b"", b"")]))
    assert "script" not in found.tags
    assert found.text.count("alert(1)") > 6
    assert found.alternatives == [evil]


def test_an_empty_sweep_still_gives_a_page() -> None:
    found = Page(html_report(compare([], make_facts(())), []))
    assert "There is no trial yet" in found.text
    assert "No trial failed." in found.text
    assert found.open == []
