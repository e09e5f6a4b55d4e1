# ruff: noqa: E501 (messages stand in one piece, so that they can be searched for)
from __future__ import annotations

import pytest

from avil_ray.errors import UserError
from avil_ray.yaml_text import read_yaml


@pytest.mark.parametrize(
    ("text", "number"), [("1e-3", 0.001), ("-2E+4", -20000.0), ("3.e1", 30.0), ("1.5e3", 1500.0), ("7", 7)]
)
def test_numbers_are_read_as_numbers(text, number):
    found = read_yaml(f"a: {text}", "f.yaml")["a"]
    assert found == number
    assert type(found) is type(number)


@pytest.mark.parametrize("text", ["1e", "e3", "v1e3", "1e3x"])
def test_words_that_look_a_little_like_numbers_stay_words(text):
    assert read_yaml(text, "f.yaml") == text


def test_nothing_at_all_is_none():
    assert read_yaml("", "f.yaml") is None
    assert read_yaml("# only a comment\n", "f.yaml") is None


def test_merged_mappings_may_override_a_key():
    text = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\n"
    assert read_yaml(text, "f.yaml")["other"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nsuite:\n\tname: b\n", "f.yaml: line 3: a tab; indent with spaces"),
        ("suite:\n  \tname: b\n", "f.yaml: line 2: a tab; indent with spaces"),
        ("name: a\nsuite:\tb\nseeds: 1\n", "f.yaml: line 2: a tab; indent with spaces"),
        ("name: a\nname: b\n", "f.yaml: line 2: the key 'name' is given twice"),
        ("a:\n  b: {c: 1, c: 2}\n", "f.yaml: line 2: the key 'c' is given twice"),
        ("a: b: c", "f.yaml: not YAML: mapping values are not allowed here"),
        (
            "a:\n  - b\n - c\n",
            "f.yaml: line 3: not YAML: expected <block end>, but found '<block sequence start>' (while parsing a block mapping)",
        ),
        (
            "a:\n  b: [1\n",
            "f.yaml: line 3: not YAML: expected ',' or ']', but got '<stream end>' (while parsing a flow sequence)",
        ),
        ("a: 2020-13-45", "f.yaml: not YAML: month must be in 1..12"),
        (
            "a: 1\n---\nb: 2\n",
            "f.yaml: line 2: not YAML: but found another document (expected a single document in the stream)",
        ),
    ],
)
def test_each_mistake_is_one_line_with_its_place(text, message):
    with pytest.raises(UserError) as caught:
        read_yaml(text, "f.yaml")
    assert str(caught.value) == message


def test_python_objects_are_refused(tmp_path):
    with pytest.raises(UserError, match="not YAML: could not determine a constructor"):
        read_yaml(f"a: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]", "f.yaml")
    assert not (tmp_path / "made").exists()


LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "an alias inside what it refers to"),
        ("a: &a {b: [1, *a]}", "an alias inside what it refers to"),
        ("[" * 5000, "nests deeper than 40 levels"),
        ("[" * 41 + "]" * 41, "nests deeper than 40 levels"),
        ("a: &a " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 30 + "*a" + "]" * 30, "line 2: nests deeper than 40 levels"),
        (LAUGHS, "line 5: more than 100,000 values once its aliases are written out"),
        ("a: " + "9" * 5000, "a number of more than 250 digits"),
        ("a: 0x" + "f" * 5000, "a number of more than 250 digits"),
        ("a: !!bool perhaps", "not YAML: not of the type 'tag:yaml.org,2002:bool'"),
        ("a: !!int ''", "not YAML: not of the type 'tag:yaml.org,2002:int'"),
        ("a: !!timestamp soon", "not YAML: not of the type 'tag:yaml.org,2002:timestamp'"),
        ("a: !!float much", "not YAML: could not convert string to float: 'much'"),
        ("a: !own 3", "not YAML: could not determine a constructor for the tag '!own'"),
        ("{[1]: 2}", "not YAML: found unhashable key (while constructing a mapping)"),
        ('"a\\nb": 1', "the key 'a\\nb' holds a character that cannot be printed"),
        ('a: "\\ud800"', "'\\ud800' holds half a character (a surrogate)"),
        ("a: \x00", 'not YAML: unacceptable character #x0000: special characters are not allowed in "<unicode string>", position 3'),
    ],
)  # fmt: skip
def test_what_would_end_in_a_traceback_or_never_is_one_line(text, message):
    with pytest.raises(UserError) as caught:
        read_yaml(text, "f.yaml")
    assert str(caught.value) == f"f.yaml: {message}"


def test_aliases_and_depth_within_bounds_are_right():
    assert read_yaml("[" * 40 + "]" * 40, "f.yaml")
    assert read_yaml("a: &a {b: 1}\nc: [*a, *a]", "f.yaml")["c"] == [{"b": 1}, {"b": 1}]
