"""Data larger than memory stay on disk: three million rows, in processes whose own memory is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, random_split

import avil_ray as avil
from avil_ray.rounds import Round

ROWS, WIDTH = 3_000_000, 256
LIMIT = 1.5e9


class Mapped(Dataset[tuple[torch.Tensor, int]]):
    """Rows of a file, which is mapped, not read."""

    def __init__(self, path: str) -> None:
        self.rows = np.memmap(path, np.float32, "r", shape=(ROWS, WIDTH))

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        if row % 64 == 0:
            measure()  # of the process that reads, a loader's or the run's own
        return torch.tensor(self.rows[row]) + row % 3, row % 3


def measure(done: Round | None = None) -> None:
    process = psutil.Process()
    print(process.pid, process.memory_full_info().uss, flush=True)


def model() -> nn.Module:
    return avil.MultitaskModel(nn.Linear(WIDTH, 8), {"goal": nn.Linear(8, 3), "aux": nn.Linear(8, 3)})


def main(path: str, name: str, processes: int) -> None:
    """A run whose target has nearly all rows, or, where a method fits alpha to a part of them, few."""
    method = {"equal": avil.Equal(), "alpha-vil": avil.AlphaVIL()}[name]

    def tasks(seed: int) -> list[avil.Task]:
        sizes = [ROWS - 900, 300, 300, 300] if name == "equal" else [300, 300, 300, 300, ROWS - 1200]
        train, dev, select, test = random_split(Mapped(path), sizes, torch.Generator().manual_seed(seed))[:4]
        return [avil.Task("goal", train, dev, select, test), avil.Task("aux", Mapped(path))]

    learning = avil.Learning(loader_processes=processes)
    suite = avil.Suite(
        name="large", target="goal", task_names=("goal", "aux"), tasks=tasks, model=model, learning=learning
    )

    avil.train(suite, method, rounds=3, steps_per_round=10, on_round=measure)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "processes"), [("equal", 0), ("equal", 2), ("alpha-vil", 0)])
def test_three_million_rows_on_disk_take_little_memory(name: str, processes: int, tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    with path.open("wb") as file:
        file.truncate(4 * ROWS * WIDTH)  # zeros, which take no place
    command = [sys.executable, __file__, str(path), name, str(processes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    used = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len({line.split()[0] for line in done.stdout.splitlines()}) > processes, "loader processes are measured too"
    assert max(used) < LIMIT, f"{max(used) / 1e9:.2f} GB"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
