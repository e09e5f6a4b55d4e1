"""What holds on a GPU: every method's run is the CPU's but for rounding. Skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import small
import torch
from torch import nn

import avil_ray as avil
from avil_ray.catalog import METHODS, build_method
from avil_ray.learning.evaluation import DevObjective, Target
from avil_ray.learning.line import Line, Points, Row
from avil_ray.learning.parameters import GPU_SUM_BLOCK, FlatModel, dot, dots
from avil_ray.learning.passes import Source
from avil_ray.learning.track import MAIN, Track
from avil_ray.methods.alpha_fit import fit_alpha
from avil_ray.methods.method import Run, Setting
from avil_ray.pools.inline import InlinePool
from avil_ray.rounds import run_rounds

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

SEED, STEPS = 4, 3


def run(suite: avil.Suite, method: avil.Method, device: str, rounds: int = 5) -> Run:
    tasks = suite.draw(SEED)
    target, pool = Target(suite, tasks, SEED, device), InlinePool(suite, tasks, SEED, device)
    setting = Setting(suite, tasks, rounds, STEPS)
    start = Run(setting, {MAIN: Track(target.flat.vector())}, method.start(setting))
    return run_rounds(start, method, pool, target, lambda _: None)


@pytest.mark.parametrize("name", METHODS)
def test_a_run_is_the_cpus_but_for_rounding(name: str) -> None:
    method = build_method(name, {"weights": {"right": 0.5}} if name == "static" else {})
    method.check(small.small_suite())
    suite = method.prepare(small.small_suite())
    on_cpu, on_gpu = (run(suite, method, device) for device in ("cpu", "cuda"))
    assert np.allclose(on_gpu.main.theta, on_cpu.main.theta, rtol=1e-3, atol=1e-4)
    assert len(on_gpu.rows) == len(on_cpu.rows)
    for ours, theirs in zip(on_gpu.rows, on_cpu.rows, strict=True):
        assert ours["cost/gradient_steps"] == theirs["cost/gradient_steps"]


@pytest.mark.parametrize("name", ["alpha-vil", "equal"])
@pytest.mark.parametrize("trunk", [small.batch_norm, small.dropout])
def test_the_same_seed_gives_the_same_bits(name: str, trunk: object) -> None:
    suite, method = small.small_suite(trunk), build_method(name, {})
    torch.manual_seed(1)
    first = run(suite, method, "cuda")
    torch.manual_seed(2)
    assert run(suite, method, "cuda").main.theta.tobytes() == first.main.theta.tobytes()


def test_training_calculates_in_bfloat16_if_asked() -> None:
    method = avil.AlphaVIL()
    single, half = (
        run(small.small_suite(precision=precision), method, "cuda").main.theta for precision in ("fp32", "bf16")
    )
    assert np.isfinite(half).all()
    assert 1e-5 < np.abs(half - single).max() < 0.5


def test_the_slope_of_alpha_is_that_of_central_differences() -> None:
    torch.manual_seed(0)
    model = avil.MultitaskModel(nn.Sequential(nn.Linear(6, 16), nn.Tanh()), {"a": nn.Linear(16, 3)}).double()
    flat = FlatModel(model, "cuda", torch.float64)
    examples = avil.Examples(torch.randn(50, 6, dtype=torch.float64), torch.randint(3, (50,)))
    objective = DevObjective(flat, Source(avil.Task("a", examples), "train"), torch.arange(50))
    theta, deltas = flat.values.clone(), torch.randn(4, flat.space.size, dtype=torch.float64, device="cuda")
    alpha, step = torch.full((4,), 0.25, dtype=torch.float64), 1e-5

    def loss(at: torch.Tensor) -> float:
        return objective(theta + at.cuda() @ deltas)[0]

    slope = dots(deltas, objective(theta + alpha.cuda() @ deltas)[1])
    different = [(loss(alpha + step * one) - loss(alpha - step * one)) / (2 * step) for one in torch.eye(4).double()]
    assert torch.allclose(slope, torch.tensor(different, dtype=torch.float64), rtol=1e-6)


def test_sums_over_many_parameters_keep_their_digits() -> None:
    matrix = torch.rand(3, 20_000_001, device="cuda")
    expected = matrix.double() @ matrix[0].double()
    assert torch.allclose(dots(matrix, matrix[0]), expected.cpu(), rtol=1e-5)
    assert dot(matrix[1], matrix[0]) == pytest.approx(float(expected[1]), rel=1e-12)
    ones = torch.ones(1 << 25, device="cuda")
    assert dots(ones.unsqueeze(0), ones).item() == dot(ones, ones) == 1 << 25


def test_a_fit_takes_little_more_memory_than_its_vectors() -> None:
    count, size = 8, 20_000_000
    model = nn.Sequential(nn.Linear(size, 1, bias=False), nn.Flatten(0))
    flat = FlatModel(avil.MultitaskModel(model, {}), "cuda")
    examples = avil.Examples(torch.ones(1, size), torch.zeros(1))
    kinds = {"loss": "mean_squared_error", "metric": "mean_squared_error"}
    objective = DevObjective(flat, Source(avil.Task("a", examples, **kinds), "train"), torch.arange(1))
    theta, deltas = flat.values.clone(), torch.full((count, size), 1e-9, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    fit = fit_alpha(objective, theta, deltas)
    assert fit.converged
    input_and_its_copy = 2
    vectors = torch.cuda.max_memory_allocated() / (4 * size) - input_and_its_copy
    assert vectors < 1.1 * (count + 3)


@pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous chunk of memory")
@pytest.mark.parametrize("name", ["alpha-vil", "auto-lambda", "diw"])
def test_methods_that_go_backward_in_evaluation_mode_train_a_recurrent_trunk(name: str) -> None:
    done = run(small.small_suite(small.Recurrent), build_method(name, {}), "cuda")
    assert np.isfinite(done.main.theta).all()
    assert torch.backends.cudnn.enabled


def test_points_and_slopes_are_the_cpus_but_for_rounding() -> None:
    size = GPU_SUM_BLOCK + 12_345
    generator = np.random.default_rng(0)
    start = generator.standard_normal(size, dtype=np.float32)
    ends = [start + np.float32(0.01) * generator.standard_normal(size, dtype=np.float32) for _ in range(3)]
    line = Line(tuple(Row(update, (slice(0, size - 9),)) for update in range(3)), ((slice(size - 9, size), 1),))
    alpha, found = torch.tensor([0.5, -0.2, 1.5], dtype=torch.float64), []
    for device in ("cpu", "cuda"):
        points, out = Points(line, start, ends, device), torch.empty(size, device=device)
        points.point(alpha, out)
        found.append((out.cpu(), points.slopes(out)))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-4, atol=1e-2)
