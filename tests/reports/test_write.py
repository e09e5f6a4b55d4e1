"""A report's files: all there, the same each time, and made again from the folder alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from matplotlib import rc_context
from simulated import make_facts, make_record, make_sweep

from avil_ray.reports.facts import SweepFacts
from avil_ray.reports.records import TrialRecord, read_records, trial_folder, write_record
from avil_ray.reports.write import write_report

FILES = {
    "summary.json", "report.md", "report.html", "figures/seeds.png", "figures/differences.png", "figures/cost.png",
    "figures/spending.png", "figures/select.png", "figures/tracks-alpha-vil.png", "figures/grid-static.png",
    "figures/alpha-alpha-vil.png", "figures/alpha-alpha-vil-paper.png",
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_report_is_whole_and_the_same_from_the_stored_trials(tmp_path: Path) -> None:
    records, facts = make_sweep()
    first = write_report(tmp_path / "first", records, facts)
    written = contents(tmp_path / "first")
    assert set(written) == FILES
    assert json.loads(written["summary.json"]) == json.loads(json.dumps(first.summary()))
    for name in FILES:
        if name.startswith("figures/"):
            assert written[name].startswith(b"\x89PNG")
            assert f"({name})".encode() in written["report.md"]
    assert written["report.html"].count(b"<svg ") == len(FILES) - 3
    for record in records:
        write_record(trial_folder(tmp_path / "sweep", record.key), record)
    write_report(tmp_path / "second", read_records(tmp_path / "sweep"), facts)
    assert contents(tmp_path / "second") == written


def test_figures_of_an_earlier_report_are_removed(tmp_path: Path) -> None:
    write_report(tmp_path, *make_sweep())
    write_report(tmp_path, [make_record("equal")], make_facts(("equal",), seeds=(0,)))
    expected = {"summary.json", "report.md", "report.html", "figures/cost.png", "figures/spending.png"}
    assert set(contents(tmp_path)) == expected


def test_a_report_needs_neither_ray_nor_mlflow_nor_torch_nor_pyplot() -> None:
    code = "import sys, avil_ray.reports.write, avil_ray.reports.tables; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"ray", "mlflow", "torch", "matplotlib.pyplot"} & set(done.stdout.split())


def test_odd_names_and_a_matplotlibrc_of_ones_own_spoil_no_report(tmp_path: Path) -> None:
    odd = ("$x_{$ [/mnt/data]", "ä 标签 \x1b[2J")
    records = [make_record(label, seed=seed) for label in odd for seed in (0, 1)]
    facts = make_facts(odd, seeds=(0, 1), target="$x_{$")
    plain = contents_of_report(tmp_path / "plain", records, facts)
    with rc_context({"text.usetex": True, "text.parse_math": True}):
        assert contents_of_report(tmp_path / "own", records, facts) == plain


def contents_of_report(folder: Path, records: list[TrialRecord], facts: SweepFacts) -> dict[str, bytes]:
    write_report(folder, records, facts)
    return contents(folder)
