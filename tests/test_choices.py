from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

import avil_ray as avil
from avil_ray.choices import check_choices, choices
from avil_ray.errors import UserError


@dataclass
class Options:
    kind: Literal["one", "two"] = "one"
    open: Annotated[Literal["three"] | None, "said"] = None
    flag: bool = False
    free: str = "any"


def function(kind: Literal["one", "two"], free: int) -> None: ...


def test_the_words_are_read_off_annotations() -> None:
    assert choices(Options) == {"kind": ("one", "two"), "open": ("three", None), "flag": (True, False)}
    assert choices(function) == {"kind": ("one", "two")}


def test_other_words_are_refused() -> None:
    right = {"kind": "two", "open": None, "flag": True, "free": 3}
    check_choices(Options, right)
    for name, value, said in [
        ("kind", "Two", "x: unknown kind 'Two'; did you mean 'two'?"),
        ("kind", None, "x: unknown kind 'None'; did you mean 'one'?"),
        ("open", 1, "x: unknown open '1'; available: three"),
        ("flag", "no", "x: flag must be true or false, not 'no'"),
        ("flag", 1, "x: flag must be true or false, not 1"),
    ]:
        with pytest.raises(UserError) as caught:
            check_choices(Options, right | {name: value}, "x")
        assert str(caught.value) == said


@pytest.mark.parametrize("name", sorted(avil.suites.__all__))
def test_every_suite_checks_its_words(name: str) -> None:
    factory = getattr(avil.suites, name)
    needed = {"target": {}} if name in ("images", "text") else {}  # which a mistake in a word comes before
    for option in choices(factory):
        with pytest.raises(UserError, match=f"^{name}: (unknown {option} 'nonsense'|{option} must be true or false)"):
            factory(**{**needed, option: "nonsense"})
