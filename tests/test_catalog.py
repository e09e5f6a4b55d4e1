from __future__ import annotations

import pytest

from avil_ray.catalog import METHODS, SUITES, build_method, build_suite, load, method_class, settled_options, summary
from avil_ray.errors import UserError
from avil_ray.methods.alpha_vil import AlphaVIL
from avil_ray.methods.static import Static


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_there_and_says_what_it_is(name):
    method = build_method(name, {})
    assert summary(type(method)).endswith(".")
    assert method.source


OWN_FILES = ("images", "text")
"""Suites of a user's own files, which must be given."""


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_is_there_and_says_what_it_is(name):
    if name not in OWN_FILES:
        assert build_suite({"name": name}).name == name
    assert summary(load(SUITES[name])).endswith((".", "?"))


def test_a_suite_remembers_its_options():
    suite = build_suite({"name": "multimnist", "target_labels": 300})
    assert suite.options["target_labels"] == 300


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ({"name": "multimist"}, "unknown suite 'multimist'; did you mean 'multimnist'?"),
        ({"name": ["multimnist"]}, "suite: name must be text, not ['multimnist']"),
        ({}, "suite: give either a name or a factory ('package.module:function')"),
        ({"name": "synthetic", "factory": "a:b"}, "suite: give either a name or a factory ('package.module:function')"),
        (
            {"name": "multimnist", "targetlabels": 3},
            "suite multimnist: unknown option 'targetlabels'; did you mean 'target_labels'?",
        ),
        ({"name": "multimnist", "size": "big"}, "suite multimnist: size should be a whole number, not 'big'"),
        ({"factory": "tiny_suite"}, "'tiny_suite': write a factory as 'package.module:function'"),
        ({"factory": ".tiny:suite"}, "'.tiny:suite': write a factory as 'package.module:function'"),
        ({"factory": "no_such:thing"}, "'no_such:thing': No module named 'no_such'; is its folder on PYTHONPATH?"),
        ({"factory": "tiny_suite:tiny_suit"}, "tiny_suite: unknown name 'tiny_suit'; did you mean 'tiny_suite'?"),
        ({"factory": "tiny_suite:TASKS"}, "suite factory tiny_suite:TASKS: it is a tuple, not a function"),
        (
            {"factory": "tiny_suite:draw", "seed": 0},
            "suite factory tiny_suite:draw: it returned a list, not an avil_ray.Suite",
        ),
        ({"factory": "tiny_suite:draw"}, "suite factory tiny_suite:draw: the argument 'seed' is missing"),
    ],
)
def test_each_wrong_suite_is_one_line(specification, message):
    with pytest.raises(UserError) as caught:
        build_suite(specification)
    assert str(caught.value) == message


def test_a_factory_of_the_user_makes_a_suite():
    suite = build_suite({"factory": "tiny_suite:tiny_suite", "delay": 0})
    assert suite.name == "tiny"
    assert suite.options["delay"] == 0


def test_a_module_or_factory_that_breaks_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("def (\n")
    (tmp_path / "broken_factory.py").write_text("def make():\n    return 1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"^'broken_module:make': broken_module cannot be imported: SyntaxError: "):
        build_suite({"factory": "broken_module:make"})
    with pytest.raises(UserError) as caught:
        build_suite({"factory": "broken_factory:make"})
    assert str(caught.value) == "suite factory broken_factory:make: it failed: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("SystemExit(3)", "SystemExit: 3"),
        ("SystemExit", "SystemExit"),
        ("GeneratorExit", "GeneratorExit"),
        ("type('Own', (BaseException,), {})('no\\nway')", "Own: no way"),
        ("RecursionError('deep')", "RecursionError: deep"),
        ("MemoryError", "MemoryError"),
        ("UnicodeDecodeError('utf-8', b'', 0, 1, 'odd')", "UnicodeDecodeError: 'utf-8' codec can't decode bytes"),
    ],
)
def test_whatever_a_module_or_factory_raises_is_one_line(raised, told, tmp_path, monkeypatch):
    name = f"raising_{abs(hash(raised))}"
    (tmp_path / f"{name}_module.py").write_text(f"raise {raised}\n")
    (tmp_path / f"{name}_factory.py").write_text(f"def make():\n    raise {raised}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for kind, where in (("module", "cannot be imported"), ("factory", "it failed")):
        with pytest.raises(UserError) as caught:
            build_suite({"factory": f"{name}_{kind}:make"})
        assert f"{where}: {told}" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_ctrl_c_in_a_factory_ends_the_command(tmp_path, monkeypatch):
    (tmp_path / "interrupted_factory.py").write_text("def make():\n    raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        build_suite({"factory": "interrupted_factory:make"})


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("builtins:dict", "suite factory builtins:dict: it returned a dict, not an avil_ray.Suite"),
        ("builtins:print", "suite factory builtins:print: it returned a NoneType, not an avil_ray.Suite"),
        ("math:sin", "suite factory math:sin: it failed: TypeError: "),
        ("math:pi", "suite factory math:pi: it is a float, not a function"),
        ("odd_factory:quoted", "suite factory odd_factory:quoted: it returned a int, not an avil_ray.Suite"),
        ("odd_factory:number", "suite factory odd_factory:number: it returned a int, not an avil_ray.Suite"),
        ("a b:c", "'a b:c': No module named 'a b'; is its folder on PYTHONPATH?"),
        ("a..b:c", "'a..b:c': No module named 'a'; is its folder on PYTHONPATH?"),
        ("sys:", "'sys:': write a factory as 'package.module:function'"),
    ],
)
def test_odd_factories_are_one_line(reference, message, tmp_path, monkeypatch):
    (tmp_path / "odd_factory.py").write_text(
        "def quoted(size: 'no such type' = 1):\n    return size\n\ndef number(size: 3 = 1):\n    return size\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as caught:
        build_suite({"factory": reference, **({"size": 2} if "odd" in reference else {})})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("alphavil", {}, "unknown method 'alphavil'; did you mean 'alpha-vil'?"),
        ("static", {"wieghts": {}}, "method static: unknown option 'wieghts'; did you mean 'weights'?"),
        ("alpha-vil", {"variant": "papper"}, "method alpha-vil: variant should be 'robust' or 'paper', not 'papper'"),
        ("alpha-vil", {"alpha_steps": 0}, "method alpha-vil: alpha_steps must be at least 1, not 0"),
        ("equal", {"learning_rate": -1}, "method equal: learning_rate must be above 0, not -1.0"),
    ],
)
def test_each_wrong_method_is_one_line(name, options, message):
    with pytest.raises(UserError) as caught:
        build_method(name, options)
    assert str(caught.value) == message


def test_options_may_be_dotted_or_nested():
    assert build_method("static", {"weights.right": 0.5}) == build_method("static", {"weights": {"right": 0.5}})


def test_settled_options_say_what_the_variant_decides():
    robust, paper = settled_options(AlphaVIL()), settled_options(AlphaVIL(variant="paper", alpha_steps=3))
    assert (robust["variant"], robust["dev"], robust["alpha_steps"]) == ("robust", "crossfit", 10)
    assert (paper["variant"], paper["dev"], paper["alpha_steps"]) == ("paper", "hold", 3)
    assert robust["alpha_bounds"] == [0.0, 4.0]  # a list, as JSON and YAML have it
    assert "learning_rate" not in robust  # the suite decides it
    assert settled_options(Static(weights={"right": 0.5})) == {"dev": "train", "weights.right": 0.5, "finish": "none"}


@pytest.mark.parametrize(
    "method", [AlphaVIL(variant="paper"), AlphaVIL(learning_rate=0.1), Static(weights={"right": 2.0})]
)
def test_settled_options_build_a_method_that_does_the_same(method):
    name = next(name for name in METHODS if method_class(name) is type(method))
    again = build_method(name, settled_options(method))
    assert settled_options(again) == settled_options(method)
    assert getattr(again, "recipe", again) == getattr(method, "recipe", method)
