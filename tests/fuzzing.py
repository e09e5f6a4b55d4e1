"""Odd inputs, the same ones for the same seed: mutated search spaces, `--set` options and command lines."""

from __future__ import annotations

import copy
import datetime
import math
import random
from collections.abc import Iterator
from typing import Any

import yaml

from avil_ray.catalog import METHODS, method_options
from avil_ray.config import option_names
from avil_ray.tasks.learning import Learning

SUITE = {"name": "synthetic", "target_labels": 12, "train": 20, "select": 12, "test": 12, "helpful": 1, "harmful": 0}
LEARNING = option_names(Learning)
TINY = {"factory": "tiny_suite:tiny_suite"}
COMMON = {"rounds": 3, "steps_per_round": 2, "seeds": [0, 1]}
STATIC = {"method": "static", "weights": {"helpful_1": {"grid": [0, 0.5, 1]}, "noise_1": 1}}

SPACES: list[dict[str, Any]] = [
    {"name": "grid", "suite": SUITE, **COMMON, "methods": [{"method": "alpha-vil"}, {"method": "equal"}, STATIC]},
    {
        "name": "random",
        "suite": SUITE,
        **COMMON,
        "resources": {"per_task": {"cpu": 0.5, "gpu": "auto"}, "driver": {"cpu": 0.1}, "slots": 2, "timeout": 60},
        "methods": [
            {"method": "static", "samples": 3, "weights": {"helpful_1": {"uniform": [0, 2]}, "noise_1": 0.5}},
            {"method": "alpha-vil", "label": "paper", "variant": "paper", "alpha_bounds": [0, 4], "safeguard": True},
            {"method": "equal", "label": "rates", "learning_rate": {"loguniform": [0.001, 0.1]}},
        ],
        "search": {"algorithm": "random", "scheduler": "asha", "trials": 4},
        "budget": {"gradient_steps": 5000},
    },
    {
        "name": "nested",
        "suite": TINY,
        **COMMON,
        "methods": [
            {"method": "alignment", "weighting": "static", "options": {"weights": {"b": {"choice": [0, 1]}}}},
            {"method": "alpha-vil", "alpha_steps": {"grid": [1, 5]}, "learn_weights": {"grid": [True, False]}},
            {"method": "target-only", "dev": {"grid": ["train", "hold"]}, "learning_rate": {"choice": [None, 0.1]}},
        ],
    },
    {"name": "all", "suite": TINY, **COMMON, "methods": [{"method": method} for method in METHODS]},
    {
        "name": "learned",
        "suite": TINY,
        **COMMON,
        "learning": {
            "batch_size": {"grid": [16, 32]},
            "optimizer": "adamw",
            "optimizer_options": {"betas": [0.9, 0.99]},
            "groups": {"trunk": {"learning_rate": {"loguniform": [0.001, 0.1]}}},
            "schedule": {"choice": ["linear", "cosine"]},
        },
        "methods": [{"method": "alpha-vil"}, {"method": "equal", "learning_rate": 0.1}],
    },
    {
        "name": "proposed",
        "suite": TINY,
        **COMMON,
        "methods": [{"method": "static", "weights": {"b": {"uniform": [0, 1]}, "c": {"choice": [0, 1, 2]}}}],
        "search": {"algorithm": "optuna", "trials": 3},
    },
]

WORDS = [
    "",
    "auto",
    "none",
    "grid",
    "equal",
    "1",
    "1e3",
    "é",
    "任务",
    "a b",
    "a.b",
    "a\nb",
    "\x1b[31m",
    "[/b]",
    "x" * 300,
]
WORDS += [
    "method",
    "label",
    "samples",
    "weights",
    "name",
    "factory",
    "options",
    "null",
    "../..",
    "{}",
    "\u2028",
    "👩‍🔬",
]
NUMBERS = [
    0,
    -1,
    1,
    2,
    7,
    0.0,
    -0.0,
    0.5,
    1.5,
    -2.5,
    1e-320,
    1e38,
    1e300,
    math.inf,
    -math.inf,
    math.nan,
    10**30,
    -(10**30),
]
PLAIN: list[Any] = [None, True, False, datetime.date(2020, 1, 1), b"\x00\xff", {1, 2}, [], {}, [[]], {None: 1}, {2: 3}]
DISTRIBUTIONS: list[Any] = [
    {"grid": []},
    {"grid": [1, "1"]},
    {"grid": [True, 1, 1.0]},
    {"grid": [None, 1, "a", [1], {"a": 1}]},
    {"grid": [math.nan, math.nan]},
    {"grid": list(range(300))},
    {"grid": {"grid": [1]}},
    {"choice": [[1, 2], [1.0, 2.0]]},
    {"choice": [{"b": 1}, {"b": 1.0}]},
    {"choice": ["a", "b"], "grid": [1]},
    {"uniform": [0, 1]},
    {"uniform": [1, 0]},
    {"uniform": [-1e300, 1e300]},
    {"uniform": [10**30, 10**31]},
    {"uniform": ["0", "1"]},
    {"loguniform": [1e-300, 1e300]},
    {"loguniform": [0, 1]},
    {"lognormal": [0, 1]},
]
ODD = [*WORDS, *NUMBERS, *PLAIN, *DISTRIBUTIONS]
HARD = ["train", "select", "test", "inputs", "classes", "width", "helpful", "harmful", "neutral", "noise"]
HARD += ["batch_size", "loader_processes", "prefetch"]
"""Options that say how much data or model there is: a large number there is work rather than a mistake."""

TEXTS = [
    "\t",
    ":",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "*a ",
    "!!binary ",
    "!!set ",
    "!!python/name:os.system ",
    "!x ",
]
TEXTS += [
    "'",
    '"',
    "#",
    "|",
    ">",
    "%",
    "@",
    "`",
    "?",
    ",",
    "\n",
    "\n---\n",
    "\n...\n",
    "<<: ",
    "\x00",
    "\x07",
    "\ufeff",
]
TEXTS += [
    "\\",
    '"\\ud800"',
    "1e400",
    "9" * 400,
    "0x" + "f" * 400,
    "[" * 200,
    "{a: " * 60,
    "1:30",
    "0b_",
    "=",
    "~",
    ".nan",
]
TEXTS += ["!!bool maybe", "!!int ''", "!!timestamp x", "!!float x", "- - - -", "é", "\u2028", "\x85", "2020-13-45"]


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, as the keys that lead there."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*above, key)
        yield from places(inner, (*above, key))


def mutated_space(number: int) -> str:
    """A search space with some mistakes, in YAML that may be broken too."""
    chance = random.Random(f"space {number}")
    document = copy.deepcopy(chance.choice(SPACES))
    for _ in range(chance.choice([0, 1, 1, 1, 2, 4])):
        _change(document, chance)
    text = yaml.dump(
        document, sort_keys=False, allow_unicode=True, default_flow_style=chance.choice([None, False, True])
    )
    for _ in range(chance.choice([0, 0, 0, 1, 1, 3])):
        at = chance.randrange(len(text) + 1)
        cut = chance.choice([0, 0, 0, 1, 3, 30])
        text = text[:at] + chance.choice(["", *TEXTS]) + text[at + cut :]
    return text


def _change(document: dict[str, Any], chance: random.Random) -> None:
    there = list(places(document))
    if not there:
        return
    *above, last = chance.choice(there)
    inner: Any = document
    for key in above:
        inner = inner[key]
    value = _odd(chance, last)
    kind = chance.choice(["value", "value", "value", "remove", "add", "key", "repeat", "wrap", "swap"])
    if kind == "remove":
        del inner[last]
    elif kind == "wrap":
        inner[last] = chance.choice([[inner[last]], {"grid": [inner[last]]}, {last: inner[last]}])
    elif kind == "swap":
        other: Any = document
        for key in chance.choice(there):
            other = other[key]
        inner[last] = copy.deepcopy(other)
    elif isinstance(inner, list):
        new = copy.deepcopy(inner[last]) if kind == "repeat" else value
        inner.insert(last, new)
    elif kind == "key":
        inner[_key(chance, last)] = inner.pop(last)
    elif kind == "add":
        inner[_key(chance, last)] = value
    else:
        inner[last] = value


def _odd(chance: random.Random, key: Any) -> Any:
    if key in HARD:
        return chance.choice([one for one in ODD if not (isinstance(one, int) and one > 100)])
    return copy.deepcopy(chance.choice(ODD))


def _key(chance: random.Random, key: Any) -> Any:
    text = str(key)
    at = chance.randrange(len(text) + 1)
    near = text[:at] + chance.choice("abz_-. ") + text[at + chance.choice([0, 1]) :]
    return chance.choice([near, near, chance.choice(WORDS), chance.choice(NUMBERS), None, True])


def setting(number: int) -> str:
    """A `--set` option on the first of the search spaces."""
    chance = random.Random(f"setting {number}")
    known = [".".join(map(str, place)) for place in places(SPACES[0]) if place[0] != "methods"]
    known += [
        f"methods.{one['method']}.{name}" for one in SPACES[0]["methods"] for name in method_options(one["method"])
    ]
    known += ["methods.static.weights.helpful_1", "methods.static.label", "methods.equal.samples", "search.trials"]
    known += ["resources.slots", "resources.per_task.gpu", "methods", "methods.static", "suite.target_labels"]
    known += [f"learning.{name}" for name in LEARNING] + ["learning", "learning.groups.trunk.learning_rate"]
    key = chance.choice(known)
    value = yaml.dump(_odd(chance, key.split(".")[-1]), default_flow_style=True, width=10**6).removesuffix("\n...\n")
    value = chance.choice([value, value, chance.choice(TEXTS), chance.choice(WORDS)])
    key = chance.choice([key, key, key, str(_key(chance, key)), f"{key}.{chance.choice(WORDS)}", f"{key}.0"])
    return chance.choice([f"{key}={value}", f"{key}={value}", f"{key}={value}", f" {key} = {value} ", key, f"={value}"])


def command_line(number: int) -> list[str]:
    """Arguments of the command line; none that trains for long, starts Ray or opens a page."""
    chance = random.Random(f"command {number}")
    command = chance.choice(["run", "run", "run", "sweep", "check", "affinity", "report", "list", "data", "odd"])
    # the others' data may have to be fetched
    suite, method = _name(chance, ["synthetic", "synthetic", "multimnist"]), _name(chance, METHODS)
    if command == "run":
        words = ["run", suite, "--method", method, "--rounds", "1", "--steps-per-round", "1"]
        words += _small(suite)
        for _ in range(chance.choice([1, 1, 2, 3])):
            words += _run_option(chance, method)
    elif command in ("sweep", "check"):
        words = [
            command,
            "broken.yaml",
            *_some(chance, ["--name", "--seeds", "--storage", "--max-concurrent", "--resume"]),
        ]
    elif command == "affinity":
        words = [
            "affinity",
            suite,
            "--steps",
            chance.choice(["0", "-1", "x", "1e3", ""]),
            "--seeds",
            chance.choice(WORDS),
        ]
    elif command == "report":
        words = ["report", chance.choice(WORDS), *_some(chance, ["--storage"])]
    elif command == "list":
        words = [
            "list",
            chance.choice(["suites", "methods", "suite", ""]),
            *chance.choice([[], [suite], [method], ["x"]]),
        ]
    elif command == "data":
        words = ["data", suite, *_small(suite), *_some(chance, ["--set"])]
    else:
        words = [chance.choice([*WORDS, "--versoin", "--help", "-h", "runs"]), *_some(chance, ["--set", "--storage"])]
    if chance.random() < 0.2:
        words.insert(chance.randrange(len(words) + 1), chance.choice([*WORDS, "--", "-", "--x=y", "--rounds"]))
    return words if words[:1] != ["ui"] else ["ux"]


def _small(suite: str) -> list[str]:
    options = {**SUITE, "name": None} if suite == "synthetic" else {}
    return [word for name, value in options.items() if value is not None for word in ("--set", f"{name}={value}")]


def _name(chance: random.Random, names: Any) -> str:
    name = chance.choice(list(names))
    return chance.choice([name, name, str(_key(chance, name)), chance.choice(WORDS)]) if chance.random() < 0.4 else name


def _run_option(chance: random.Random, method: str) -> list[str]:
    plain = ["--target", "--output", "--pool", "--workers", "--seed", "--method", "--resume", "--rounds", "--set"]
    options = method_options(method) if method in METHODS else ("learning_rate",)
    name = chance.choice([*options, f"method.{chance.choice(options)}", *SUITE, f"suite.{chance.choice(list(SUITE))}"])
    if chance.random() < 0.2:
        name = f"learning.{chance.choice([one for one in LEARNING if one != 'loader_processes'])}"
    value = yaml.dump(_odd(chance, name.split(".")[-1]), default_flow_style=True, width=10**6).removesuffix("\n...\n")
    return chance.choice([["--set", f"{name}={value}"], ["--set", f"{name}={value}"], _some(chance, plain)])


def _some(chance: random.Random, options: list[str]) -> list[str]:
    option = chance.choice(options)
    words = [
        *WORDS,
        "0",
        "-1",
        "1.5",
        "1e400",
        str(10**30),
        "nan",
        "ray ",
        "rya",
        "inlin",
        "a=b",
        "/dev/null/x",
        "0,0",
        "0,x",
    ]
    return [option, chance.choice(words)] if chance.random() < 0.9 else [option]
