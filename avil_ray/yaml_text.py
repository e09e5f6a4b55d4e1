"""YAML as people mean it: safe, `1e-3` is a number, a key stands once, and every mistake is one line."""

from __future__ import annotations

import re
from typing import Any

import yaml

from avil_ray.errors import UserError


class _StandsTwice(yaml.MarkedYAMLError):
    """A mapping names a key twice."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, less two of its traps."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """As PyYAML, but a key that stands twice is a mistake: PyYAML would keep the last one without a word."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _StandsTwice(None, None, f"the key {key.value!r} stands twice", key.start_mark)
                seen.add(key.value)
        return node


# YAML 1.1, which PyYAML follows, reads 1e-3 as text: it wants a dot (1.0e-3)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(text: str, where: str) -> Any:
    """The one document in `text` as plain values; None where it is empty.

    Raises
    ------
    UserError
        Where it is not YAML: `where: line 3: a tab; indent with spaces`.
    """
    tab = _tab_indent(text)
    if tab:
        raise UserError(f"{where}: line {tab}: a tab; indent with spaces")
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{where}: {_place(error, text)}{_what(error)}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is not in the calendar
        raise UserError(f"{where}: not YAML: {' '.join(str(error).split())}") from None


def _tab_indent(text: str) -> int | None:
    """The number of the first line that is indented with a tab, from 1."""
    for number, line in enumerate(text.splitlines(), 1):
        content = line.lstrip()
        if content and not content.startswith("#") and "\t" in line[: len(line) - len(content)]:
            return number
    return None


def _place(error: yaml.MarkedYAMLError, text: str) -> str:
    """`line 3: ` where the text has lines to tell apart."""
    return f"line {error.problem_mark.line + 1}: " if error.problem_mark and "\n" in text.strip() else ""


def _what(error: yaml.MarkedYAMLError) -> str:
    problem, context = (" ".join((part or "").split()) for part in (error.problem, error.context))
    if isinstance(error, _StandsTwice):
        return problem
    if "\\t" in problem:
        return "a tab; indent with spaces"
    return f"not YAML: {problem}{context and f' ({context})'}"
