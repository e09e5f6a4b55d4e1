"""Points, slopes and losses along a round's deltas: by hand, and with the same bits whoever computes a piece."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import small
import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.learning.evaluation import DevObjective, Target
from avil_ray.learning.line import Dev, Line, LocalLine, Points, Row, shares
from avil_ray.learning.parameters import SUM_BLOCK, FlatModel, dots
from avil_ray.learning.passes import Source
from avil_ray.learning.splits import DevUse

SIZE = 2 * SUM_BLOCK + 4321
"""Two whole blocks and a part of one."""

LINE = Line(
    rows=(
        Row(0, (slice(0, SIZE - 100),)),
        Row(1, (slice(0, 70), slice(90, SUM_BLOCK + 5))),
        Row(1, (slice(SUM_BLOCK + 5, SIZE - 100),)),
        Row(2, ()),
    ),
    fixed=((slice(SIZE - 100, SIZE), 0), (slice(70, 90), 1)),
)
ALPHA = torch.tensor([0.7, -0.4, 1.3, 5.0], dtype=torch.float64)


def vectors(count: int = 3, size: int = SIZE) -> tuple[np.ndarray, list[np.ndarray]]:
    """A start and so many ends near it, float32 and read-only as in memory that processes share; the last is broken."""
    generator = np.random.default_rng(0)
    start = generator.standard_normal(size, dtype=np.float32)
    ends = [start + 0.01 * generator.standard_normal(size, dtype=np.float32) for _ in range(count)]
    ends[-1][::7] = np.nan
    for vector in (start, *ends):
        vector.flags.writeable = False
    return start, ends


def matrix(line: Line, start: np.ndarray, ends: Sequence[np.ndarray]) -> np.ndarray:
    """The rows that alpha scales, [n, P] in float64."""
    rows = np.zeros((len(line.rows), len(start)))
    for number, row in enumerate(line.rows):
        for part in row.parts:
            rows[number, part] = ends[row.update][part].astype(np.float64) - start[part]
    return rows


def test_a_point_is_start_plus_alpha_times_each_rows_delta_with_fixed_slices_unchanged() -> None:
    start, ends = vectors()
    out = torch.full((SIZE,), torch.nan)
    Points(LINE, start, ends).point(ALPHA, out)
    expected = start.astype(np.float64)
    for where, update in LINE.fixed:
        expected[where] = ends[update][where]
    expected += ALPHA.numpy() @ matrix(LINE, start, ends)
    assert out[SIZE - 100 :].numpy().tobytes() == ends[0][SIZE - 100 :].tobytes()
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)


def test_unscaled_or_unchanged_parameters_stay_bit_identical() -> None:
    start, ends = vectors()
    out = torch.empty(SIZE)
    Points(Line((Row(2, (slice(0, SIZE),)), Row(0, (slice(3, 9),)))), start, ends).point(torch.tensor([0.0, 1.0]), out)
    assert np.delete(out.numpy(), slice(3, 9)).tobytes() == np.delete(start, slice(3, 9)).tobytes()
    Points(Line((Row(0, (slice(0, SIZE),)),)), start, [start]).point(torch.tensor([0.3]), out)
    assert out.numpy().tobytes() == start.tobytes()


def test_ends_are_read_in_place() -> None:
    start, ends = vectors()
    points = Points(LINE, start, ends)
    assert [end.data_ptr() for end in points._ends] == [end.ctypes.data for end in ends]
    assert points._start.data_ptr() == start.ctypes.data


def test_slopes_and_lengths_are_those_of_the_matrix() -> None:
    start, ends = vectors()
    points, rows = Points(LINE, start, ends), matrix(LINE, start, ends)
    gradient = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    slopes = points.slopes(gradient)
    assert slopes.dtype == torch.float64
    np.testing.assert_allclose(slopes, rows @ gradient.double().numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(points.lengths(), np.linalg.norm(rows, axis=1), rtol=1e-6)


@pytest.mark.parametrize("number", range(4))
def test_a_rows_slope_does_not_depend_on_the_other_rows(number: int) -> None:
    start, ends = vectors()
    gradient = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    alone = Points(Line((LINE.rows[number],)), start, ends).slopes(gradient)
    assert alone.item() == Points(LINE, start, ends).slopes(gradient)[number].item()


def test_a_line_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(LINE)) == LINE


class Noisy(nn.Module):
    """Draws from the global generator in evaluation mode too."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + 0.1 * torch.randn_like(inputs)


def noisy() -> nn.Module:
    return nn.Sequential(small.plain(), Noisy())


def local(
    trunk: object = small.plain, dtype: type = np.float64, **learning: object
) -> tuple[FlatModel, Points, Dev, np.ndarray, list[np.ndarray]]:
    """A model, three deltas of its parameters and 20 dev examples."""
    torch.manual_seed(2)
    real = torch.from_numpy(np.zeros(0, dtype)).dtype
    flat = FlatModel(small.build(trunk).to(real), dtype=real)
    start, space = flat.values.numpy().copy(), flat.space
    generator = np.random.default_rng(3)
    ends = [start + (0.05 * generator.standard_normal(space.size)).astype(dtype) for _ in range(3)]
    line = Line(tuple(Row(update, (space.parameters,)) for update in range(3)), ((space.buffers, 0),))
    inputs = torch.randn(20, small.WIDTH, generator=torch.Generator().manual_seed(4)).to(real)
    source = Source(avil.Task("left", avil.Examples(inputs, torch.arange(20) % small.CLASSES)), "train")
    return flat, Points(line, start, ends), Dev(source, torch.arange(20), avil.Learning(**learning), 0), start, ends


@pytest.mark.parametrize("trunk", [small.plain, small.batch_norm, small.dropout, noisy])
@pytest.mark.parametrize("batch", [1, 7, 20])
def test_the_slopes_equal_central_differences(trunk: object, batch: int) -> None:
    flat, points, dev, _, _ = local(trunk, evaluation_batch=batch)
    if trunk is small.batch_norm:
        flat.model.trunk[2] = nn.Tanh()  # a ReLU may turn within a step
    with LocalLine(flat, points, dev) as along:
        alpha, step = torch.tensor([0.4, -0.3, 0.2], dtype=torch.float64), 1e-5
        _, slope = along.evaluate(alpha)
        for index, direction in enumerate(torch.eye(3, dtype=torch.float64) * step):
            difference = (along.loss(alpha + direction) - along.loss(alpha - direction)) / (2 * step)
            assert slope[index].item() == pytest.approx(difference, rel=1e-5)


@pytest.mark.parametrize("batch", [6, 512])
def test_loss_and_slope_are_those_of_the_dev_objective(batch: int) -> None:
    flat, points, dev, start, ends = local(dtype=np.float32, evaluation_batch=batch)
    along = LocalLine(flat, points, dev)
    alpha = torch.tensor([0.4, -0.3, 0.2], dtype=torch.float64)
    loss, slope = along.evaluate(alpha)
    forward_only = along.loss(alpha)
    assert along.examples_seen == 40
    deltas = torch.from_numpy(np.stack(ends) - start)
    deltas[:, flat.space.buffers] = 0
    objective = DevObjective(flat, dev.source, dev.rows, dev.learning)
    expected, gradient = objective(torch.from_numpy(start) + alpha.float() @ deltas)
    assert (loss, forward_only) == pytest.approx((expected, expected), rel=1e-6)
    torch.testing.assert_close(slope, dots(deltas, gradient), rtol=1e-4, atol=1e-6)


def test_pieces_have_the_same_bits_on_any_worker_in_any_order() -> None:
    flat, points, dev, _, _ = local(noisy, np.float32, evaluation_batch=3)
    alpha = torch.tensor([0.4, -0.3, 0.2], dtype=torch.float64)
    assert [len(rows) for rows in dev.pieces] == [3, 3, 3, 3, 3, 3, 2], "even parts"
    here = shares(flat, points, alpha, dev, range(7), slope=True)
    other = copy.deepcopy(flat)
    torch.manual_seed(99)
    there = {number: shares(other, points, alpha, dev, [number], slope=True)[0] for number in (6, 2, 0, 4, 1, 5, 3)}
    for number, share in enumerate(here):
        assert share.loss == there[number].loss
        assert torch.equal(share.slopes, there[number].slopes)
    loss, slope = LocalLine(flat, points, dev).evaluate(alpha)
    assert loss == pytest.approx(sum(share.loss for share in here), rel=1e-15)
    torch.testing.assert_close(slope, torch.stack([share.slopes for share in here]).sum(0), rtol=1e-14, atol=0)


def test_a_targets_line_uses_the_adaptation_rows_and_its_cost_is_counted() -> None:
    suite = small.small_suite()
    target = Target(suite, suite.draw(5), 5)
    start = target.flat.vector()
    line = Line((Row(0, (target.space.parameters,)),))
    objective = target.objective(DevUse("crossfit"), 3)
    expected = objective(torch.from_numpy(start * np.float32(1.5)))[0]
    assert target.take_examples_adapted() == 18
    with target.line(DevUse("crossfit"), 3, line, start, [2 * start]) as along:
        assert along.evaluate(torch.tensor([0.5]))[0] == pytest.approx(expected, rel=1e-6)
        along.loss(torch.tensor([0.0]))
    assert target.take_examples_adapted() == 36


def test_a_recurrent_trunk_trains_under_alpha_vil() -> None:
    suite = small.small_suite(small.Recurrent)
    result = avil.train(suite, avil.AlphaVIL(finish="none"), rounds=3, steps_per_round=4, seed=0)
    assert (result.history["dev/loss"] < result.history["dev/loss_zero"]).all()
