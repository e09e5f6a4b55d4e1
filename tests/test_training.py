"""`train` from end to end: errors, resuming, and what a run may and may not look at."""

from __future__ import annotations

import dataclasses
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small
import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray import checkpoint, checkpoint_writer
from avil_ray.errors import UserError, WorkFailed
from avil_ray.locking import locked
from avil_ray.methods.method import Method
from avil_ray.pools.inline import InlinePool
from avil_ray.rounds import Round
from avil_ray.storage import LocalStorage

RUN: dict[str, Any] = {"rounds": 3, "steps_per_round": 3, "seed": 4}
METHODS: dict[str, Method] = {
    "robust": avil.AlphaVIL(),
    "paper": avil.AlphaVIL(variant="paper"),
    "equal-finetune": avil.EqualFineTune(),
    "static with adamw": avil.Static(weights={"right": 0.5}),
}


def suite_for(name: str) -> avil.Suite:
    if name.endswith("adamw"):
        return small.small_suite(small.dropout, optimizer="adamw", learning_rate=0.01)
    return small.small_suite(small.batch_norm)


def same(found: avil.Result, expected: avil.Result) -> None:
    """Equal to the last bit in all but the times."""
    assert found.theta.tobytes() == expected.theta.tobytes()
    assert (found.test, found.best_round, found.select) == (expected.test, expected.best_round, expected.select)
    columns = [name for name in expected.history if not name.startswith("time/")]
    pd.testing.assert_frame_equal(found.history[columns], expected.history[columns], check_exact=True)
    assert list(found.history) == list(expected.history)


class Stop(Exception):
    pass


@pytest.mark.parametrize("name", METHODS)
def test_a_run_stopped_after_any_round_ends_as_if_it_had_not_been(name: str, tmp_path: Path) -> None:
    suite, method = suite_for(name), METHODS[name]
    whole = avil.train(suite, method, **RUN)
    total = len(whole.rows)
    for last in range(total):

        def stop(done: Round, last: int = last) -> None:
            if done.number == last:
                raise Stop

        with pytest.raises(Stop):
            avil.train(suite, method, **RUN, output=tmp_path / str(last), on_round=stop)
        told: list[Round] = []
        rest = avil.train(suite, method, **RUN, output=tmp_path / str(last), resume=True, on_round=told.append)
        assert [done.number for done in told] == list(range(last + 1, total)), "no round is run twice"
        same(rest, whole)


def test_a_run_stopped_before_its_first_round_starts_from_the_beginning(tmp_path: Path) -> None:
    suite = small.small_suite()
    whole = avil.train(suite, avil.Equal(), **RUN)
    same(avil.train(suite, avil.Equal(), **RUN, output=tmp_path / "new", resume=True), whole)


def test_a_run_stopped_again_and_again_ends_the_same(tmp_path: Path) -> None:
    suite, method = suite_for("robust"), avil.AlphaVIL()

    def stop(done: Round) -> None:
        raise Stop

    for _ in range(2):
        with pytest.raises(Stop):
            avil.train(suite, method, **RUN, output=tmp_path, resume=True, on_round=stop)
    same(avil.train(suite, method, **RUN, output=tmp_path, resume=True), avil.train(suite, method, **RUN))


KILLED = """
import sys, time
import small, avil_ray as avil

def told(done):
    print(done.number, flush=True)
    time.sleep(0.02)

avil.train(small.small_suite(small.batch_norm), avil.AlphaVIL(), rounds=30, steps_per_round=3, seed=4,
           output=sys.argv[1], on_round=told)
"""


@cache
def whole_run() -> avil.Result:
    return avil.train(small.small_suite(small.batch_norm), avil.AlphaVIL(), **{**RUN, "rounds": 30})


@pytest.mark.parametrize("last", [0, 6, 13, 30, 39])
def test_a_run_that_is_killed_goes_on_in_another_process_as_if_nothing_had_been(last: int, tmp_path: Path) -> None:
    """Killed in the rounds after `last`: while it warms up, fits alpha, races, trains the best set, fine-tunes."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == str(last):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    told: list[Round] = []
    again = {**RUN, "rounds": 30, "output": tmp_path, "resume": True, "on_round": told.append}
    rest = avil.train(small.small_suite(small.batch_norm), avil.AlphaVIL(), **again)
    assert told[0].number >= last, "that round's own checkpoint may still have been being written"
    assert [done.number for done in told] == list(range(told[0].number, len(whole_run().rows)))
    same(rest, whole_run())


def test_a_run_that_is_done_is_told_again_and_not_run_again(tmp_path: Path) -> None:
    suite = small.small_suite()
    whole = avil.train(suite, avil.TargetOnly(), **RUN, output=tmp_path)

    def never(done: Round) -> None:
        raise AssertionError

    same(avil.train(suite, avil.TargetOnly(), **RUN, output=tmp_path, resume=True, on_round=never), whole)


def refused(**options: Any) -> str:
    given = {"suite": small.small_suite(), "method": avil.TargetOnly(), **RUN, **options}
    with pytest.raises(UserError) as caught:
        avil.train(**given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rounds": 0}, "rounds must be a whole number, 1 or more, not 0"),
        ({"rounds": 2.5}, "rounds must be a whole number, 1 or more, not 2.5"),
        ({"rounds": True}, "rounds must be a whole number, 1 or more, not True"),
        ({"steps_per_round": 0}, "steps_per_round must be a whole number, 1 or more, not 0"),
        ({"threads": 0}, "threads must be a whole number, 1 or more, not 0"),
        ({"seed": -1}, "seed must be a whole number, 0 or more, not -1"),
        ({"pool": "rai"}, "pool must be 'inline', 'ray' or 'train', not 'rai'"),
        ({"pool": 3}, "pool must be 'inline', 'ray' or 'train', not 3"),
        ({"pool": lambda: 5}, "pool must be a function that gives a context manager, but gave 5 (int)"),
        ({"pool": lambda: nullcontext(5)}, "pool must open something with a method run(), not 5 (int)"),
        (
            {"pool": lambda: nullcontext(Silent())},
            "pool: run() must give one Update for each assignment, in their order (main)",
        ),
        ({"seed": 1.5}, "seed must be a whole number, 0 or more, not 1.5"),
        ({"seed": 2**63}, "seed must be at most 9,223,372,036,854,775,807"),
        ({"rounds": 10**12}, "rounds must be at most 1,000,000"),
        ({"steps_per_round": 10**4000}, "steps_per_round must be at most 1,000,000,000"),
        ({"threads": 10**6}, "threads must be at most 1,024"),
        ({"workers": "2"}, "workers must be a whole number, 1 or more, not '2'"),
        ({"output": 5}, "output must be the path of a folder or a URI, not 5 (int)"),
        ({"output": ""}, "output must be the path of a folder or a URI, not '' (str)"),
        ({"resume": "yes"}, "resume must be True or False, not 'yes' (str)"),
        ({"on_round": 5}, "on_round must be a function of a round, not 5 (int)"),
        (
            {"method": "alpha-vil"},
            "method must be an avil_ray.Method, not 'alpha-vil' (str); avil_ray.AlphaVIL() is one",
        ),
        ({"method": avil.Equal}, "method must be an avil_ray.Method, not the class Equal; Equal() makes one"),
        (
            {"suite": "multimnist"},
            "suite must be an avil_ray.Suite, not a str; avil_ray.suites makes some",
        ),
        (
            {"suite": avil.suites.multimnist},
            "suite must be an avil_ray.Suite, not a function; call multimnist(…), which makes one",
        ),
        ({"method": avil.Static(weights={"x": 1.0})}, "weights: unknown task 'x'; there are: left, noise, right"),
        ({"resume": True, "output": None}, "resume needs the output folder of the run to go on with"),
        ({"checkpoint_every": 0}, "checkpoint_every must be a number above 0 and below 86400, not 0"),
        ({"checkpoint_every": "5"}, "checkpoint_every must be a number above 0 and below 86400, not '5'"),
        ({"checkpoint_every": math.nan}, "checkpoint_every must be a number above 0 and below 86400, not nan"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert refused(**{"output": tmp_path / "run", **options}) == said
    assert list(tmp_path.iterdir()) == []


def test_another_run_is_not_overwritten_and_another_configuration_not_gone_on_with(tmp_path: Path) -> None:
    avil.train(small.small_suite(), avil.TargetOnly(), **RUN, output=tmp_path)
    before = (tmp_path / checkpoint.FILE).read_bytes()
    assert refused(output=tmp_path) == f"{tmp_path}: already holds a run; resume it, or choose another output folder"
    again = {"output": tmp_path, "resume": True}
    for options, said in (
        ({"seed": 5}, "seed = 4, but this run uses seed = 5"),
        ({"rounds": 4}, "rounds = 3, but this run uses rounds = 4"),
        ({"threads": 2}, "threads = 1, but this run uses threads = 2"),
        ({"method": avil.Equal()}, "method = 'TargetOnly', but this run uses method = 'Equal'"),
        ({"method": avil.TargetOnly(dev="hold")}, "method.dev = 'train', but this run uses method.dev = 'hold'"),
    ):
        assert f"was saved with {said}" in refused(**again, **options)
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


def test_another_model_is_not_gone_on_with(tmp_path: Path) -> None:
    avil.train(small.small_suite(), avil.TargetOnly(), **RUN, output=tmp_path)
    said = refused(suite=small.small_suite(small.batch_norm), output=tmp_path, resume=True)
    assert said.startswith(f"{tmp_path}: holds a run with 129 parameters, the suite's model has 162")


def test_a_damaged_checkpoint_costs_a_round_and_two_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = avil.train(small.small_suite(), avil.TargetOnly(), **RUN, output=tmp_path)
    last, previous = (tmp_path / name for name in (checkpoint.FILE, checkpoint.PREVIOUS))
    last.write_bytes(last.read_bytes()[:-1])
    again = avil.train(small.small_suite(), avil.TargetOnly(), **RUN, output=tmp_path, resume=True)
    assert f"{last}: the checkpoint is damaged" in caplog.text
    assert again.theta.tobytes() == whole.theta.tobytes()
    assert again.test == whole.test
    for path in (last, previous):
        path.write_bytes(path.read_bytes()[:-1])
    assert "and the previous one too; remove both to start again" in refused(output=tmp_path, resume=True)


def test_an_output_folder_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        said = refused(output=tmp_path / "run")
    assert said.startswith(f"{tmp_path / 'run'}: in use by process {os.getpid()} on ")
    (tmp_path / "file").touch()
    assert refused(output=tmp_path / "file").startswith(f"{tmp_path / 'file'}: cannot be written")


def wait_for_checkpoint(folder: Path) -> None:
    """Until the round's checkpoint, which is written beside the run, is there."""
    while not (folder / checkpoint.FILE).exists():
        time.sleep(0.001)


def test_a_disk_that_fills_up_ends_the_run_in_a_line_and_it_is_resumed_later(tmp_path: Path) -> None:
    def fill_up(_: Round) -> None:  # files may not grow from now on: writing fails as on a full disk
        wait_for_checkpoint(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(WorkFailed, match=r"checkpoint.* cannot be written .File too large."):
            avil.train(small.small_suite(), avil.Equal(), **RUN, output=tmp_path, on_round=fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]
    assert len(checkpoint.rows(LocalStorage(tmp_path))) == 1
    resumed = avil.train(small.small_suite(), avil.Equal(), **RUN, output=tmp_path, resume=True)
    same(resumed, avil.train(small.small_suite(), avil.Equal(), **RUN))


def test_an_output_folder_that_is_removed_ends_the_run_in_a_line(tmp_path: Path) -> None:
    def take_away(done: Round) -> None:
        if done.number:
            return
        wait_for_checkpoint(tmp_path / "run")
        shutil.rmtree(tmp_path / "run")

    with pytest.raises(WorkFailed, match=r"run/checkpoint.* cannot be written .No such file or directory."):
        avil.train(
            small.small_suite(),
            avil.Equal(),
            **RUN,
            output=tmp_path / "run",
            on_round=take_away,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", [avil.TargetOnly(learning_rate=1e30), avil.Equal(learning_rate=1e30)])
def test_a_run_that_diverges_fails_and_says_why(method: Method, tmp_path: Path) -> None:
    with pytest.raises(WorkFailed, match="diverged in round 0: the loss of task 'left' is not finite"):
        avil.train(small.small_suite(regression=True), method, **RUN, output=tmp_path)
    assert checkpoint.rows(LocalStorage(tmp_path)) == []


class Silent:
    def run(self, *_: Any) -> None:
        """It gives back nothing."""


def test_a_result_is_shown_on_one_short_line() -> None:
    result = avil.train(small.small_suite(), avil.Equal(), **RUN)
    assert repr(result) == (
        f"Result(suite='small', method=Equal, seed=4, best_round={result.best_round}, select={result.select}, "
        f"test={dict(result.test)})"
    )


class Overflowing(nn.Module):
    """Theta is finite, the outputs are not."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(1))

    def forward(self, inputs: Tensor, task: str) -> Tensor:
        return self.value * inputs[:, 0] * 1e38 * 1e38


def test_a_run_without_a_figure_fails_rather_than_reading_test() -> None:
    def tasks(seed: int) -> list[avil.Task]:
        splits = [avil.Examples(torch.full((count, 1), 0.0), torch.zeros(count)) for count in (4, 5, 6, 7)]
        splits[2].inputs[5] = 1.0  # beyond those that are looked at before training
        return [avil.Task("goal", *splits, loss="mean_squared_error", metric="mean_squared_error")]

    suite = avil.Suite(name="x", target="goal", task_names=("goal",), tasks=tasks, model=Overflowing)
    said = "task 'goal': the model's outputs for row 5 of its select split are not finite, before anything has trained"
    with pytest.raises(UserError, match=said):
        avil.train(suite, avil.TargetOnly(), **RUN)


class Guarded(Tensor):
    """Inputs that tell when they are read."""

    reads: list[int]

    def __getitem__(self, rows: Any) -> Tensor:
        self.reads.append(len(rows))
        return self.as_subclass(Tensor)[rows]


@pytest.mark.parametrize("name", METHODS)
def test_test_is_read_once_at_the_end(name: str) -> None:
    plain = suite_for(name)
    rounds_when_read, told = [], []

    def tasks(seed: int) -> list[avil.Task]:
        drawn = plain.tasks(seed)
        examples = drawn[0].test
        assert examples is not None
        examples.inputs.__class__ = Guarded
        examples.inputs.reads = reads
        return list(drawn)

    class Reads(list):
        def append(self, count: int) -> None:
            rounds_when_read.append(len(told))
            super().append(count)

    reads = Reads()
    suite = avil.Suite(
        name="x", target="left", task_names=small.TASKS, tasks=tasks, model=plain.model, learning=plain.learning
    )
    result = avil.train(suite, METHODS[name], **RUN, on_round=lambda done: told.append(done.number))
    assert reads == [10, 10, 10], "each example once, in the batches of an evaluation"
    assert set(rounds_when_read) == {len(result.rows)}


def test_the_history_has_the_columns_that_were_promised() -> None:
    history = avil.train(small.small_suite(), avil.AlphaVIL(finish="none"), **RUN).history
    per_task = {f"{kind}/{task}" for kind in ("alpha", "weight", "delta_norm", "cosine") for task in small.TASKS}
    fixed = {"round", "select/accuracy", "select/loss", "dev/loss", "cost/gradient_steps"}
    assert per_task | fixed | {"time/round", "time/device", "time/reserved"} <= set(history)
    assert history["round"].tolist() == [0, 1, 2]
    assert not history.isna().any().any()
    static = avil.train(small.small_suite(), avil.Equal(), **RUN).history
    assert not [name for name in static if name.startswith(("alpha/", "dev/"))]


def test_the_figures_are_those_of_the_model_at_the_best_round() -> None:
    suite = small.small_suite(small.batch_norm)
    result = avil.train(suite, avil.AlphaVIL(finish="none"), **RUN)
    history = result.history
    assert result.select == history["select/accuracy"].max()
    assert result.best_round == history["select/accuracy"].idxmax()
    model, left = result.model(), suite.draw(4)["left"]
    assert not model.training
    for examples, accuracy in ((left.select, result.select), (left.test, result.test["accuracy"])):
        assert examples is not None
        with torch.no_grad():
            found = (model(examples.inputs).argmax(1) == examples.labels).float().mean()
        assert float(found) == pytest.approx(accuracy)
    assert result.theta.dtype == np.float32
    assert result.theta.flags.writeable


class HalfFrozen(nn.Module):
    """What is trained sits on a random projection that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(small.WIDTH, 8)
        self.projection.requires_grad_(False)
        self.out = nn.Linear(8, small.CLASSES)

    def forward(self, inputs: Tensor, task: str) -> Tensor:
        return self.out(torch.tanh(self.projection(inputs)))


def test_a_model_with_frozen_parameters_comes_back_whole() -> None:
    suite = avil.Suite(name="x", target="left", task_names=small.TASKS, tasks=small.draw, model=HalfFrozen)
    result = avil.train(suite, avil.AlphaVIL(), rounds=4, steps_per_round=10, seed=4)
    torch.manual_seed(123)
    examples = suite.draw(4)["left"].test
    assert examples is not None
    found = (result.model()(examples.inputs).argmax(1) == examples.labels).float().mean()
    assert float(found) == pytest.approx(result.test["accuracy"])


def test_only_configuration_and_seed_count() -> None:
    suite, results = small.small_suite(small.dropout), []
    for before in (1, 2):
        torch.manual_seed(before)
        np.random.seed(before)  # noqa: NPY002 (global state must not count)
        state = torch.get_rng_state()
        results.append(avil.train(suite, avil.AlphaVIL(), **RUN))
        assert torch.equal(torch.get_rng_state(), state), "and is left alone"
    same(*results)
    other = avil.train(suite, avil.AlphaVIL(), **{**RUN, "seed": 5})
    assert other.theta.tobytes() != results[0].theta.tobytes()


def test_threads_are_used_and_given_back() -> None:
    before = torch.get_num_threads()
    seen = []
    avil.train(
        small.small_suite(),
        avil.TargetOnly(),
        **RUN,
        threads=before + 1,
        on_round=lambda _: seen.append(torch.get_num_threads()),
    )
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_a_function_may_open_the_pool() -> None:
    suite, opened = small.small_suite(), []

    class Closing(InlinePool):
        def __exit__(self, *error: Any) -> None:
            opened.append(error)

    result = avil.train(suite, avil.Equal(), **RUN, pool=lambda: Closing(suite, suite.draw(4), 4))
    assert opened == [(None, None, None)]
    same(result, avil.train(suite, avil.Equal(), **RUN))
    with pytest.raises(KeyError, match="mine"):
        avil.train(suite, avil.Equal(), **RUN, pool=lambda: nullcontext(Broken(suite, suite.draw(4), 4)))


class Broken(InlinePool):
    def run(self, *_: Any) -> Any:
        raise KeyError("mine")


def test_a_round_is_told_while_it_is_being_stored(tmp_path: Path) -> None:
    def look(done: Round) -> None:
        assert done.number <= len(checkpoint.rows(LocalStorage(tmp_path))) <= done.number + 1

    avil.train(small.small_suite(), avil.Equal(), **RUN, output=tmp_path, on_round=look)
    assert len(checkpoint.rows(LocalStorage(tmp_path))) == RUN["rounds"]


def test_a_large_run_is_stored_now_and_then_and_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_writer, "SMALL", 0)
    stored: list[int] = []

    def look(done: Round) -> None:
        wait_for_checkpoint(tmp_path)
        stored.append(len(checkpoint.rows(LocalStorage(tmp_path))))

    whole = avil.train(small.small_suite(), avil.Equal(), **RUN, output=tmp_path, on_round=look, checkpoint_every=9999)
    assert stored == [1] * RUN["rounds"], "the first one, and no other while it runs"
    assert len(checkpoint.rows(LocalStorage(tmp_path))) == RUN["rounds"]
    same(avil.train(small.small_suite(), avil.Equal(), **RUN, output=tmp_path, resume=True), whole)


def test_times_add_up_to_the_run() -> None:
    started = time.perf_counter()
    history = avil.train(small.small_suite(), avil.AlphaVIL(), **RUN).history
    elapsed = time.perf_counter() - started
    assert 0 < history["time/round"].sum() < elapsed
    assert (history["time/device"] > 0).all()
    assert (history["time/device"] <= history["time/round"] + 1e-3).all(), "one process: no more than the clock"
    assert history["time/reserved"].tolist() == pytest.approx(history["time/round"].tolist(), abs=1e-3)


def test_a_metric_that_is_never_finite_is_to_blame_and_not_the_learning_rate() -> None:
    suite = small.small_suite()

    def nothing(outputs: Any, targets: Any) -> float:
        return math.nan

    def tasks(seed: int) -> list[avil.Task]:
        target, *rest = suite.tasks(seed)
        return [dataclasses.replace(target, metric=nothing, mode="max"), *rest]

    with pytest.raises(WorkFailed, match=r"^task 'left': the metric nothing is not finite on select in any round"):
        avil.train(dataclasses.replace(suite, tasks=tasks), avil.Equal(), rounds=1, steps_per_round=1)
