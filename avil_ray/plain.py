"""Text from outside (reasons, names, paths), so that it can be printed: one line, and nothing a terminal would obey."""

from __future__ import annotations

import re

# Control characters (a terminal takes ANSI escapes for orders), marks that turn the direction of writing, and halves of
# characters, which cannot be encoded: Python writes a file's name that is no UTF-8 with them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: object) -> str:
    r"""`text` on one line, its unprintable characters as Python writes them in a string: `\x1b`."""
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], " ".join(str(text).split()))
