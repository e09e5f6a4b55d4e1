"""The single list of suites and methods, by their names in YAML and on the command line."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from avil_ray.config import call, flatten, nest, option_names, option_problems, read_options, said, short
from avil_ray.errors import UserError, one_line, unknown
from avil_ray.methods.method import Method
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite

SUITES = {
    "glue": "avil_ray.suites.glue:glue",
    "images": "avil_ray.suites.images:images",
    "multifashion": "avil_ray.suites.multifashion:multifashion",
    "multilabel": "avil_ray.suites.multilabel:multilabel",
    "multimnist": "avil_ray.suites.multimnist:multimnist",
    "nyuv2": "avil_ray.suites.nyuv2:nyuv2",
    "scenes": "avil_ray.suites.scenes:scenes",
    "sentiment": "avil_ray.suites.sentiment:sentiment",
    "synthetic": "avil_ray.suites.synthetic:synthetic",
    "text": "avil_ray.suites.text:text",
}
"""Name -> the factory that builds the suite from its options."""

FETCHES = {"sentiment": "avil_ray.suites.sentiment_data:fetch"}
"""Suite -> the function that `avil-ray data` calls to fetch and check its files, yielding a line for each;
idempotent."""

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
"""Name -> the method's class; its fields are its options."""


INNER = "options"
"""The key for the options of an inner method: `weighting: static, options: {weights: …}`."""


def load(reference: str, kind: str = "a factory as 'package.module:function'") -> Any:
    """The object referenced by "package.module:name".

    Raises
    ------
    UserError
        The module cannot be imported or has no such name.
    """
    module_name, _, name = reference.partition(":")
    if not (module_name and name) or module_name.startswith("."):
        raise UserError(f"{reference!r}: write {kind}")
    try:
        module = importlib.import_module(module_name)
        found = getattr(module, name, module)
    except ImportError as error:
        raise UserError(f"{reference!r}: {' '.join(str(error).split())}; is its folder on PYTHONPATH?") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's module may also exit
        raise UserError(f"{reference!r}: {module_name} cannot be imported: {_told(error)}") from error
    if found is module:
        raise unknown("name", name, [n for n in vars(module) if not n.startswith("_")], module_name)
    return found


def suite_factory(name: str) -> Callable[..., Suite]:
    """The factory of a suite in the catalogue, or the one referenced by "package.module:function"."""
    if ":" not in name and name not in SUITES:
        raise unknown("suite", name, SUITES)
    factory: Callable[..., Suite] = load(SUITES.get(name, name))
    if not callable(factory):
        raise UserError(f"suite factory {name}: it is a {type(factory).__name__}, not a function")
    return factory


def method_class(name: str) -> type[Method]:
    """The class of a method in the catalogue, or the one referenced by "package.module:Class"."""
    if not isinstance(name, str) or (":" not in name and name not in METHODS):
        raise unknown("method", name, METHODS)
    found: type[Method] = load(METHODS.get(name, name), "a method as 'package.module:Class'")
    if name not in METHODS:
        _require_method(name, found)
    return found


def _require_method(name: str, found: Any) -> None:
    """Raise `UserError` if the user's object is not a usable method class."""
    if not (inspect.isclass(found) and issubclass(found, Method)):
        kind = f"class {found.__name__}" if inspect.isclass(found) else type(found).__name__
        raise UserError(f"method {name}: it is a {kind}, not a class derived from avil_ray.Method")
    if inspect.isabstract(found):
        raise UserError(f"method {name}: {', '.join(sorted(found.__abstractmethods__))} must be defined")
    with one_line(f"method {name}"):
        get_type_hints(found, include_extras=True)


def label_of(name: str) -> str:
    """A method's default label in tables and figures; for a user's class, its name with unsafe characters replaced."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name.rpartition(":")[2])[:64].lstrip("._-")
    return name if name in METHODS else safe or "method"


def find_factory(specification: Mapping[str, Any]) -> tuple[Callable[..., Suite], str]:
    """The factory given by `{name: …}` or `{factory: "package.module:function"}`, and its name in messages."""
    if ("name" in specification) == ("factory" in specification):
        raise UserError("suite: give either a name or a factory ('package.module:function')")
    key = "name" if "name" in specification else "factory"
    reference = specification[key]
    if not isinstance(reference, str):
        raise UserError(f"suite: {key} must be text, not {reference!r}")
    if key == "name" and ":" not in reference:
        return suite_factory(reference), f"suite {reference}"
    load(reference)  # raises unless it is written as a reference
    return suite_factory(reference), f"suite factory {reference}"


def build_suite(specification: Mapping[str, Any]) -> Suite:
    """A suite from `{name: …, options…}` or from `{factory: "package.module:function", arguments…}`.

    Raises
    ------
    UserError
        The suite or an option is unknown or wrong, or a user's factory fails.
    """
    factory, where = find_factory(specification)
    options = {key: value for key, value in specification.items() if key not in ("name", "factory")}
    try:
        suite = call(factory, options, where)
        if not isinstance(suite, Suite):
            raise UserError(f"{where}: it returned a {type(suite).__name__}, not an avil_ray.Suite")
        return dataclasses.replace(suite, options={**suite.options, **options}, specification=dict(specification))
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's factory may also exit
        raise UserError(f"{where}: it failed: {_told(error)}") from error


def build_method(name: str, options: Mapping[str, Any]) -> Method:
    """A method with its options checked; options may be nested or dotted (`weights.right`)."""
    cls, where = method_class(name), f"method {name}"
    with one_line(where):  # a class of the user's may raise anything
        return read_options(cls, _with_inner(cls, options, where), where)


def with_options(method: Method, options: Mapping[str, Any], where: str) -> Method:
    """The method with some options replaced, nested or dotted; it need not be in the catalogue."""
    cls, given = type(method), nest(options, where)
    inner, kept = _inner(cls), _values(method)
    if inner is not None and inner not in given:
        kept[inner] = with_options(getattr(method, inner), given.pop(INNER, {}), where)
    elif inner is not None:
        given = dict(_with_inner(cls, given, where))
    with one_line(where):  # a class of the user's may raise anything
        return read_options(cls, {**flatten(kept), **flatten(given)}, where)


def build_trial(suite: Suite, method: str, options: Mapping[str, Any]) -> tuple[Suite, Method]:
    """A trial's suite and method; those of its flat options that start with `learning` change the suite's learning."""
    of_method, of_learning = learning_apart(options)
    return learned(suite, of_learning), build_method(method, of_method)


def method_problems(name: str, options: Mapping[str, Any]) -> list[str]:
    """All mistakes in a method's options, one line each, whereas `build_method` stops at the first."""
    cls = method_class(name)
    try:
        with one_line("it failed"):  # a class of the user's may raise anything
            return option_problems(cls, _with_inner(cls, options, ""))
    except UserError as error:
        return [str(error)]


def method_options(name: str) -> tuple[str, ...]:
    """The names of a method's options."""
    cls = method_class(name)
    return (*option_names(cls), *([INNER] if _inner(cls) else []))


def _inner(cls: type[Method]) -> str | None:
    """The option of a method that is itself a method, if any."""
    hints = get_type_hints(cls)
    return next((field.name for field in dataclasses.fields(cls) if hints[field.name] is Method and field.init), None)


def _with_inner(cls: type[Method], options: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The options, with a method replacing its name and options; in Python, the method itself is given."""
    inner = _inner(cls)
    if inner is None:
        return options
    options = nest(options, where)
    name, parts = options.pop(inner, method_name(getattr(cls(), inner))), options.pop(INNER, {})
    if not isinstance(parts, Mapping):
        raise UserError(said(where, f"{INNER} should be a mapping such as {{name: value}}, not {short(parts)}"))
    try:
        if name == method_name(cls()):
            raise UserError(f"{name} cannot weight the tasks; choose another, such as equal")
        return {**options, inner: build_method(name, parts)}
    except UserError as error:
        raise UserError(said(where, f"{inner}: {error}")) from None


def method_name(method: Method) -> str:
    """A method's name in the catalogue, or "package.module:Class" if it has none."""
    cls = type(method)
    same = (name for name in METHODS if METHODS[name].endswith(f":{cls.__qualname__}") and load(METHODS[name]) is cls)
    return next(same, f"{cls.__module__}:{cls.__qualname__}")


def settled_options(method: Method) -> dict[str, Any]:
    """A method's effective options, flat (`weights.right`) and as plain values; the inverse of `build_method`.

    Options left open have the values that the method decides itself (`Method.in_force`); those that the suite decides
    are left out.
    """
    values = dict(method.in_force())
    inner = _inner(type(method))
    if inner is not None:
        other: Method = getattr(method, inner)
        values |= {inner: method_name(other), INNER: settled_options(other)}
    return {name: _plain(value) for name, value in flatten(values).items() if value is not None}


LEARNING = "learning"
"""The prefix of `Learning`'s options among those of a method: `learning.batch_size`, `learning.groups.trunk…`."""


def learning_apart(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split options, flat or nested: the method's, then those of `learning`, flat and without the prefix."""
    flat = flatten(options)
    mine = {key.removeprefix(f"{LEARNING}."): value for key, value in flat.items() if key.startswith(f"{LEARNING}.")}
    rest = {key: value for key, value in flat.items() if not key.startswith(f"{LEARNING}.")}
    return {key: value for key, value in rest.items() if (key, value) != (LEARNING, {})}, mine


def learned(suite: Suite, options: Mapping[str, Any]) -> Suite:
    """The suite with these (flat) options replacing those of its learning.

    A group's name may contain dots: `groups.trunk.0.learning_rate`. `groups` and `optimizer_options` are replaced as a
    whole.

    Raises
    ------
    UserError
        An option is wrong: `learning.batch_size must be …`.
    """
    nested: dict[str, Any] = {}
    for key, value in options.items():
        name, _, rest = key.partition(".")
        if not rest:
            nested[name] = value
            continue
        inner = nested.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UserError(f"{LEARNING}.{key}: {name} is already {inner!r}; set it or its parts")
        group, dot, option = rest.rpartition(".")
        if name == "groups" and dot and not isinstance(value, Mapping):
            inner = inner.setdefault(group, {})
            rest = option
        inner[rest] = value
    if not nested:
        return suite
    try:
        return suite.learned_with(nested)
    except UserError as error:
        raise UserError(learning_line(str(error))) from None


def learning_line(text: str) -> str:
    """A message of `Learning` with the option's place: `learning.batch_size must be …`."""
    line = text.removeprefix(f"{LEARNING}: ")
    names = [field.name for field in dataclasses.fields(Learning)]
    line = re.sub(r"^torch\.optim has no", "optimizer: torch.optim has no", line)
    line = re.sub(rf"^unknown ({'|'.join(names)}) ", r"\1: unknown \1 ", line)
    option = re.match(r"\w*", line)
    return f"{LEARNING}.{line}" if option and option.group() in names else f"{LEARNING}: {line}"


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
