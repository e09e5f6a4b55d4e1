"""Reads YAML safely and as users expect: `1e-3` is a number, duplicate keys are errors, every mistake is one line."""

from __future__ import annotations

import re
from typing import Any

import yaml

from avil_ray.errors import UserError

DEEPEST, MOST_VALUES = 40, 100_000
"""The maximum nesting depth of a document, and its maximum number of values with aliases expanded."""


_HALVES = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _Refused(yaml.MarkedYAMLError):
    """An error for input that YAML allows and this project does not."""

    def __init__(self, problem: str, node: yaml.Node) -> None:
        super().__init__(None, None, problem, node.start_mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without its pitfalls."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """As PyYAML, but a duplicate key is an error: PyYAML would silently keep the last one."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if _CONTROLS.search(key.value):
                    raise _Refused(f"the key {key.value!r} holds a character that cannot be printed", key)
                if key.value in seen:
                    raise _Refused(f"the key {key.value!r} is given twice", key)
                seen.add(key.value)
        return node

    def construct_document(self, node: yaml.Node) -> Any:
        """As PyYAML, unless the document is too large once expanded."""
        _measure(node, {})
        return super().construct_document(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As PyYAML, but a value that does not fit its tag (`!!bool perhaps`) is an error with its position."""
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            why = " ".join(str(error).split()) if isinstance(error, ValueError) else f"not of the type {node.tag!r}"
            raise _Refused(f"not YAML: {why}", node) from None

    def construct_yaml_str(self, node: yaml.ScalarNode) -> str:
        """As PyYAML, but lone surrogates, which no file can contain, are errors."""
        if _HALVES.search(node.value):
            raise _Refused(f"{node.value!r} holds half a character (a surrogate)", node)
        return super().construct_yaml_str(node)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """As PyYAML, but integers beyond a float's range, which Python may refuse to print, are errors."""
        if len(node.value) > 250:
            raise _Refused("a number of more than 250 digits", node)
        return int(super().construct_yaml_int(node))


# YAML 1.1, which PyYAML follows, reads 1e-3 as text: it requires a dot (1.0e-3)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_yaml_str)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(text: str, where: str) -> Any:
    """The single document in `text` as plain values; None if it is empty.

    Raises
    ------
    UserError
        It is not valid YAML: `where: line 3: a tab; indent with spaces`.
    """
    tab = _tab_indent(text)
    if tab:
        raise UserError(f"{where}: line {tab}: a tab; indent with spaces")
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{where}: {_place(error, text)}{_what(error)}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{where}: nests deeper than {DEEPEST} levels") from None


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """The number of values and the nesting depth of a node, with aliases expanded; None marks enclosing nodes."""
    if id(node) not in known:
        known[id(node)] = None
        inside = [one for pair in node.value for one in pair] if isinstance(node, yaml.MappingNode) else node.value
        sizes = [_measure(one, known) for one in inside] if isinstance(node, yaml.CollectionNode) else []
        known[id(node)] = (1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0))
    found = known[id(node)]
    if found is None:
        raise _Refused("an alias inside what it refers to", node)
    if found[0] > MOST_VALUES:
        raise _Refused(f"more than {MOST_VALUES:,} values once its aliases are written out", node)
    if found[1] > DEEPEST:
        raise _Refused(f"nests deeper than {DEEPEST} levels", node)
    return found


def _tab_indent(text: str) -> int | None:
    """The number (from 1) of the first line indented with a tab."""
    for number, line in enumerate(text.splitlines(), 1):
        content = line.lstrip()
        if content and not content.startswith("#") and "\t" in line[: len(line) - len(content)]:
            return number
    return None


def _place(error: yaml.MarkedYAMLError, text: str) -> str:
    """`line 3: `, if the text has more than one line."""
    return f"line {error.problem_mark.line + 1}: " if error.problem_mark and "\n" in text.strip() else ""


def _what(error: yaml.MarkedYAMLError) -> str:
    problem, context = (" ".join((part or "").split()) for part in (error.problem, error.context))
    if isinstance(error, _Refused):
        return problem
    if "\\t" in problem:
        return "a tab; indent with spaces"
    return f"not YAML: {problem}{context and f' ({context})'}"
