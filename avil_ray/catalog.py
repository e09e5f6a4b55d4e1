"""The one list of names: suites and methods as the command line and YAML know them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from avil_ray.config import call, read_options
from avil_ray.errors import UserError, unknown
from avil_ray.methods.method import Method
from avil_ray.suites.suite import Suite

SUITES = {
    "multimnist": "avil_ray.suites.multimnist:multimnist",
    "synthetic": "avil_ray.suites.synthetic:synthetic",
}
"""name -> the factory that builds the suite from its options."""

METHODS = {
    "alpha-vil": "avil_ray.methods.alpha_vil:AlphaVIL",
    "static": "avil_ray.methods.static:Static",
    "equal": "avil_ray.methods.static:Equal",
    "target-only": "avil_ray.methods.static:TargetOnly",
    "equal-finetune": "avil_ray.methods.static:EqualFineTune",
}
"""name -> the method's class; its fields are its options."""


def load(reference: str) -> Any:
    """The object that "package.module:name" names.

    Raises
    ------
    UserError
        Where the module cannot be imported or has no such name.
    """
    module_name, _, name = reference.partition(":")
    if not name:
        raise UserError(f"{reference!r}: write a factory as 'package.module:function'")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"{reference!r}: {error}; is its folder on PYTHONPATH?") from error
    if not hasattr(module, name):
        raise unknown("name", name, [n for n in vars(module) if not n.startswith("_")], module_name)
    return getattr(module, name)


def suite_factory(name: str) -> Callable[..., Suite]:
    """The factory of a suite of the catalogue."""
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    factory: Callable[..., Suite] = load(SUITES[name])
    return factory


def method_class(name: str) -> type[Method]:
    """The class of a method of the catalogue."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    found: type[Method] = load(METHODS[name])
    return found


def build_suite(specification: Mapping[str, Any]) -> Suite:
    """A suite from `{name: …, options…}` or from `{factory: "package.module:function", arguments…}`."""
    options = dict(specification)
    if ("name" in options) == ("factory" in options):
        raise UserError("suite: give either a name or a factory ('package.module:function')")
    if "name" in options:
        name = str(options.pop("name"))
        factory, where = suite_factory(name), f"suite {name}"
    else:
        reference = str(options.pop("factory"))
        factory, where = load(reference), f"suite factory {reference}"
    suite = call(factory, options, where)
    if not isinstance(suite, Suite):
        raise UserError(f"{where}: it returned a {type(suite).__name__}, not an avil_ray.Suite")
    return dataclasses.replace(suite, options={**suite.options, **options})


def build_method(name: str, options: Mapping[str, Any]) -> Method:
    """A method of the catalogue with its options checked."""
    return read_options(method_class(name), options, f"method {name}")


def summary(described: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(described) or "").split("\n")[0]
