"""The one list of names: suites and methods as the command line and YAML know them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from avil_ray.config import call, flatten, nest, option_names, option_problems, read_options, said, short
from avil_ray.errors import UserError, unknown
from avil_ray.methods.method import Method
from avil_ray.tasks.suite import Suite

SUITES = {
    "glue": "avil_ray.suites.glue:glue",
    "multifashion": "avil_ray.suites.multifashion:multifashion",
    "multilabel": "avil_ray.suites.multilabel:multilabel",
    "multimnist": "avil_ray.suites.multimnist:multimnist",
    "nyuv2": "avil_ray.suites.nyuv2:nyuv2",
    "scenes": "avil_ray.suites.scenes:scenes",
    "sentiment": "avil_ray.suites.sentiment:sentiment",
    "synthetic": "avil_ray.suites.synthetic:synthetic",
}
"""name -> the factory that builds the suite from its options."""

FETCHES = {"sentiment": "avil_ray.suites.sentiment_data:fetch"}
"""Suite -> what `avil-ray data` calls with it to fetch and check its files: a line for each; again does nothing."""

METHODS = {
    "alpha-vil": "avil_ray.methods.alpha_vil:AlphaVIL",
    "static": "avil_ray.methods.static:Static",
    "equal": "avil_ray.methods.static:Equal",
    "target-only": "avil_ray.methods.static:TargetOnly",
    "equal-finetune": "avil_ray.methods.static:EqualFineTune",
    "alignment": "avil_ray.methods.alignment:Alignment",
    "arml": "avil_ray.methods.arml:ARML",
    "auto-lambda": "avil_ray.methods.auto_lambda:AutoLambda",
    "aux-ts": "avil_ray.methods.aux_ts:AuxTS",
    "diw": "avil_ray.methods.diw:DIW",
    "fork-merge": "avil_ray.methods.fork_merge:ForkMerge",
    "gcs": "avil_ray.methods.gcs:GCS",
    "meta-tartan": "avil_ray.methods.meta_tartan:MetaTartan",
    "mt-tartan": "avil_ray.methods.mt_tartan:MTTartan",
    "ol-aux": "avil_ray.methods.ol_aux:OLAux",
    "svd-reweighting": "avil_ray.methods.svd_reweighting:SVDReweighting",
    "taps": "avil_ray.methods.taps:TAPS",
}
"""name -> the method's class; its fields are its options."""


INNER = "options"
"""Where a method that is another one's option has its own options: `weighting: static, options: {weights: …}`."""


def load(reference: str) -> Any:
    """The object that "package.module:name" names.

    Raises
    ------
    UserError
        Where the module cannot be imported or has no such name.
    """
    module_name, _, name = reference.partition(":")
    if not (module_name and name) or module_name.startswith("."):
        raise UserError(f"{reference!r}: write a factory as 'package.module:function'")
    try:
        module = importlib.import_module(module_name)
        found = getattr(module, name, module)
    except ImportError as error:
        raise UserError(f"{reference!r}: {' '.join(str(error).split())}; is its folder on PYTHONPATH?") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module of the user's may also exit
        raise UserError(f"{reference!r}: {module_name} cannot be imported: {_told(error)}") from error
    if found is module:
        raise unknown("name", name, [n for n in vars(module) if not n.startswith("_")], module_name)
    return found


def suite_factory(name: str) -> Callable[..., Suite]:
    """The factory of a suite of the catalogue."""
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    factory: Callable[..., Suite] = load(SUITES[name])
    return factory


def method_class(name: str) -> type[Method]:
    """The class of a method of the catalogue."""
    if not isinstance(name, str) or name not in METHODS:
        raise unknown("method", name, METHODS)
    found: type[Method] = load(METHODS[name])
    return found


def find_factory(specification: Mapping[str, Any]) -> tuple[Callable[..., Suite], str]:
    """The factory that `{name: …}` or `{factory: "package.module:function"}` names, and what messages call it."""
    if ("name" in specification) == ("factory" in specification):
        raise UserError("suite: give either a name or a factory ('package.module:function')")
    key = "name" if "name" in specification else "factory"
    reference = specification[key]
    if not isinstance(reference, str):
        raise UserError(f"suite: {key} must be a word, not {reference!r}")
    if key == "name":
        return suite_factory(reference), f"suite {reference}"
    factory = load(reference)
    if not callable(factory):
        raise UserError(f"suite factory {reference}: it is a {type(factory).__name__}, not a function")
    return factory, f"suite factory {reference}"


def build_suite(specification: Mapping[str, Any]) -> Suite:
    """A suite from `{name: …, options…}` or from `{factory: "package.module:function", arguments…}`.

    Raises
    ------
    UserError
        Where the suite or an option is unknown or wrong, and where a user's own factory fails.
    """
    factory, where = find_factory(specification)
    options = {key: value for key, value in specification.items() if key not in ("name", "factory")}
    try:
        suite = call(factory, options, where)
        if not isinstance(suite, Suite):
            raise UserError(f"{where}: it returned a {type(suite).__name__}, not an avil_ray.Suite")
        return dataclasses.replace(suite, options={**suite.options, **options})
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a factory of the user's may also exit
        raise UserError(f"{where}: it failed: {_told(error)}") from error


def build_method(name: str, options: Mapping[str, Any]) -> Method:
    """A method of the catalogue with its options checked; options may be nested or dotted (`weights.right`)."""
    cls, where = method_class(name), f"method {name}"
    return read_options(cls, _with_inner(cls, options, where), where)


def method_problems(name: str, options: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a method's options, a line each, where `build_method` stops at the first."""
    cls = method_class(name)
    try:
        return option_problems(cls, _with_inner(cls, options, ""))
    except UserError as error:
        return [str(error)]


def method_options(name: str) -> tuple[str, ...]:
    """The options of a method of the catalogue, by name."""
    cls = method_class(name)
    return (*option_names(cls), *([INNER] if _inner(cls) else []))


def _inner(cls: type[Method]) -> str | None:
    """The option of a method that is a method itself, where it has one."""
    hints = get_type_hints(cls)
    return next((field.name for field in dataclasses.fields(cls) if hints[field.name] is Method and field.init), None)


def _with_inner(cls: type[Method], options: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The options, with a method in place of one's name and its own options; in Python the method stands there."""
    inner = _inner(cls)
    if inner is None:
        return options
    options = nest(options, where)
    name, parts = options.pop(inner, method_name(getattr(cls(), inner))), options.pop(INNER, {})
    if not isinstance(parts, Mapping):
        raise UserError(said(where, f"{INNER} should be a mapping such as {{name: value}}, not {short(parts)}"))
    try:
        if name == method_name(cls()):
            raise UserError(f"{name} cannot weigh the tasks; name another method, such as equal")
        return {**options, inner: build_method(name, parts)}
    except UserError as error:
        raise UserError(said(where, f"{inner}: {error}")) from None


def method_name(method: Method) -> str:
    """What the catalogue calls a method."""
    for name in METHODS:
        if method_class(name) is type(method):
            return name
    raise UserError(f"{type(method).__name__} is not in the catalogue; name one of {', '.join(METHODS)}")


def settled_options(method: Method) -> dict[str, Any]:
    """A method's options in force, flat (`weights.right`) and in plain values; `build_method` reads them back.

    What a variant decides (alphaVIL's `recipe`) stands in the place of options that were left open; options that are
    still open then, as they are the suite's to decide, are left out.
    """
    recipe = getattr(method, "recipe", None)
    decided = dataclasses.asdict(recipe) if recipe is not None else {}
    values = {name: decided.get(name) if value is None else value for name, value in _values(method).items()}
    inner = _inner(type(method))
    if inner is not None:
        other: Method = getattr(method, inner)
        values |= {inner: method_name(other), INNER: settled_options(other)}
    return {name: _plain(value) for name, value in flatten(values).items() if value is not None}


def _values(method: Method) -> dict[str, Any]:
    return {field.name: getattr(method, field.name) for field in dataclasses.fields(method) if field.init}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _told(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


def summary(described: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(described) or "").split("\n")[0]
