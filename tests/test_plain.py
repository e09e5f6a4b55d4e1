"""Text from outside may be printed: one line, nothing that a terminal would obey."""

from __future__ import annotations

import pytest

from avil_ray.plain import plain

NASTY = "a\x1b[31mred\x1b[0m [/mnt/data] [red] $x_{$ <script> | ` * :smile:\nb\u202ec \udcff"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand  spaces", "two lines and spaces"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202eleft", r"\u202eleft"),
        ("\udcff", r"\udcff"),
        ("[/mnt/data] Äß 标签 :smile:", "[/mnt/data] Äß 标签 :smile:"),
    ],
)
def test_only_what_cannot_be_printed_changes(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_what_is_plain_can_be_encoded_and_stays_as_it_is() -> None:
    plain(NASTY).encode()
    assert plain(plain(NASTY)) == plain(NASTY)
    assert "\x1b" not in plain(NASTY)
