"""Makes external text (reasons, names, paths) printable: one line, without terminal control sequences."""

from __future__ import annotations

import re

# Control characters (terminals execute ANSI escapes), marks that change the direction of writing, and lone surrogates,
# which cannot be encoded: Python uses them in file names that are not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: object) -> str:
    r"""`text` on one line, with unprintable characters escaped as in Python: `\x1b`."""
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], " ".join(str(text).split()))
