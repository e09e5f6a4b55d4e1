"""Makes docs/results.md from the search spaces in SWEEPS, on ten seeds: `make results`.

Sweeps that are done are not run again and one that was interrupted goes on, so this may be stopped at any time. What
stands between the markers in docs/results.md is written here; what stands around it is written by hand.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from avil_ray.reports.comparison import Comparison, MethodSummary, compare
from avil_ray.reports.records import read_records
from avil_ray.sweeps.storage import read_facts

ROOT = Path(__file__).parents[1]
PAGE, FIGURES = ROOT / "docs" / "results.md", ROOT / "docs" / "figures"
BEGIN, END = "<!-- made by `make results`: begin -->", "<!-- made by `make results`: end -->"
POINTS = 0.02
SEEDS = "0,1,2,3,4,5,6,7,8,9"
SWEEPS = (
    "results_multimnist",
    "results_synthetic_shared",
    "results_synthetic_separate",
    "results_sentiment",
    "results_yeast",
    "methods_synthetic",
    "methods_multimnist",
    "results_random_labels",
    "results_segments",
    "results_phishing",
)
"""In the order of the page; the suites of the last two stand in `benchmarks/outside.py`. `results_sentiment` needs
`avil-ray data sentiment` once.
"""


def main() -> None:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", type=Path, default=Path("avil-results"))
    parser.add_argument("--page-only", action="store_true", help="run nothing; write the page from what is stored")
    chosen = parser.parse_args()
    spaces = [ROOT / "search_spaces" / f"{name}.yaml" for name in SWEEPS]
    names = [f"results-{yaml.safe_load(space.read_text())['name'].removeprefix('results-')}" for space in spaces]
    for space, name in [] if chosen.page_only else list(zip(spaces, names, strict=True)):
        command = [sys.executable, "-m", "avil_ray", "sweep", str(space), "--storage", str(chosen.storage)]
        command += ["--address", "local", "--resume", "--name", name, "--seeds", SEEDS]
        subprocess.run(command, check=True)  # noqa: S603
    found = [chosen.storage / name for name in names if (chosen.storage / name / "report.md").exists()]
    text = "\n\n".join(section(folder) for folder in found)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def section(folder: Path) -> str:
    """One sweep: its outcome and table as in its own report, failures, the worst runs, and the figure of cost."""
    comparison = compare(read_records(folder), read_facts(folder))
    name = comparison.facts.name
    FIGURES.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "figures" / "cost.png", FIGURES / f"{name}-cost.png")
    report = (
        (folder / "report.md").read_text().partition("## Figures")[0].replace("\n## ", "\n### ").replace("# ", "## ", 1)
    )
    lines = [
        report.rstrip(),
        "",
        *worst(comparison),
        "",
        f"![Test against cost](figures/{name}-cost.png)",
        "",
        *chosen(comparison),
    ]
    return "\n".join(lines)


def worst(comparison: Comparison) -> list[str]:
    """How many runs of each method's choice ended two points below target-only with the same seed, or failed."""
    alone = comparison.by_label.get("target-only")
    if alone is None or alone.chosen is None:
        return []
    others = [method for method in comparison.methods if method.chosen is not None and method is not alone]
    lines = [
        f"- {method.label}: {below(method, alone)} of {len(comparison.facts.seeds)} ({method.count('failed')})"
        for method in others
    ]
    title = "Runs more than two points below target-only with the same seed (failed trials, of all configurations):"
    return [title, "", *lines]


def below(method: MethodSummary, alone: MethodSummary) -> int:
    """Runs of the chosen configuration that ended more than two points below target-only with the same seed."""
    assert method.chosen is not None
    assert alone.chosen is not None
    return sum(figure < alone.chosen.per_seed[seed] - POINTS for seed, figure in method.chosen.per_seed.items())


def chosen(comparison: Comparison) -> list[str]:
    """The learning rate, and the weights of a grid, that select chose for each method."""
    lines = []
    for label, options in ((method.label, method.chosen.options) for method in comparison.methods if method.chosen):
        shown = [f"{key} {value}" for key, value in options.items() if key.startswith(("learning_rate", "weights"))]
        lines += [f"- {label}: {', '.join(shown)}"] if shown else []
    return ["Chosen by select:", "", *lines] if lines else []


if __name__ == "__main__":
    main()
