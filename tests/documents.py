"""The code blocks of README and docs, and what runs them.

A block runs unless a comment just above it says otherwise:

    <!-- file: churn.yaml -->                 it is written to that file
    <!-- fragment of a search space -->       it takes its place in a small search space, which is then checked
    <!-- not run: needs a cluster -->         the reason why it cannot run in a test
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from image_files import class_folders, drawn_rows, write_table
from markdown_it import MarkdownIt
from text_files import churn_rows, star_rows, topic_rows, write_csv, write_jsonl, write_parquet

from avil_ray.spaces.search_space import problems

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"docs/how-to/aws.md", "docs/how-to/kubernetes.md"}
"""Pages whose commands need an account or a cluster; `test_cluster_yaml.py` and `test_kuberay.py` check their files."""

LANGUAGES = ("python", "sh", "yaml", "text")
"""`text` shows what a command prints."""

REASONS = ("needs a cluster", "needs a GPU", "needs a server")


@dataclass(frozen=True)
class Block:
    """One code block: where it is, its language, its text, and what the comment above it says."""

    page: str
    line: int
    language: str
    text: str
    note: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """README, CONTRIBUTING and every page of docs that is written by hand."""
    found = (path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md"))
    written = sorted(str(path) for path in found if "_generated" not in path.parts)
    return ["README.md", "CONTRIBUTING.md", *(page for page in written if page not in ELSEWHERE)]


def blocks(page: str) -> Iterator[Block]:
    """The code blocks of a page; MyST's directives, such as a table of contents, are none."""
    note = ""
    for token in MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8")):
        if token.type == "html_block":
            note = token.content.strip().removeprefix("<!--").removesuffix("-->").strip()
            continue
        if token.type == "fence" and not token.info.startswith("{"):
            assert token.map is not None
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, note)
        note = ""


def mistakes(block: Block) -> str | None:
    """What is wrong with how a block is marked."""
    reason = block.note.removeprefix("not run: ")
    if block.language not in LANGUAGES:
        return f"{block}: its language is {block.language!r}; say one of {', '.join(LANGUAGES)}"
    if block.note.startswith("not run") and reason not in REASONS:
        return f"{block}: {block.note!r}; the reason must be one of {', '.join(REASONS)}"
    if block.language == "yaml" and not block.note:
        return f"{block}: say which file this is, or that it is a fragment of a search space"
    return None


def furnish(folder: Path) -> None:
    """Put the files into a folder that pages speak of, and commands that stand for long or installed ones."""
    for name in ("search_spaces", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_csv(folder / "churn.csv", churn_rows(100))
    write_jsonl(folder / "topics.jsonl", topic_rows(60))
    write_parquet(folder / "reviews.parquet", star_rows(60))
    write_csv(folder / "new.csv", churn_rows(20, seed=9))
    class_folders(folder / "pets", 60, seed=0)
    write_table(folder / "photos.csv", drawn_rows(folder, 60, seed=1))
    programs = folder / "bin"
    programs.mkdir()
    for name in ("avil-ray", "make", "python"):
        program = programs / name
        program.write_text(
            f"#!{sys.executable}\nimport runpy, sys\nsys.path[:0] = {[str(ROOT), str(ROOT / 'tests')]}\n"
        )
        with program.open("a") as file:
            file.write(f"from documents import stand_in\nstand_in({name!r}, sys.argv[1:])\n")
        program.chmod(0o755)


def stand_in(program: str, arguments: list[str]) -> None:
    """Run a command of a page as the reader would, but shorter; of make, see that the target is there."""
    if program == "make":
        done = subprocess.run(
            ["/usr/bin/make", "--dry-run", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=False
        )
        sys.exit(done.returncode)
    if program == "python":
        os.execv(sys.executable, [sys.executable, *arguments])
    small = ["--set", "rounds=2", "--set", "steps_per_round=2", "--set", "seeds=[0]"]
    shorter = {
        "sweep": [*small, "--address", "local"],
        "check": ["--address", "local"],
        "run": ["--rounds", "2", "--steps-per-round", "2"],
        "affinity": ["--steps", "2", "--seeds", "0"],
    }
    command = [sys.executable, "-m", "avil_ray", *arguments, *shorter.get(arguments[0], [])]
    if arguments[0] == "ui":
        sys.exit(_answers(command, int(arguments[arguments.index("--port") + 1]) if "--port" in arguments else 5000))
    os.execv(command[0], command)


def _answers(command: list[str], port: int) -> int:
    """Start a server, wait until it answers, and end it: 0 where it did."""
    import time
    from urllib.error import URLError
    from urllib.request import urlopen

    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(120):
            try:
                return 0 if urlopen(f"http://127.0.0.1:{port}/", timeout=5).status == 200 else 1
            except (URLError, TimeoutError, ConnectionError):
                time.sleep(1)
        return 1
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def run_page(page: str, folder: Path) -> None:
    """Run the blocks of a page in a furnished folder, which is the current one, in their order."""
    module = types.ModuleType(re.sub(r"\W", "_", page))
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        for block in blocks(page):
            run_block(block, module, folder)
    finally:
        del sys.modules[module.__name__]


def run_block(block: Block, module: types.ModuleType, folder: Path) -> None:
    """Run one block, as its comment says."""
    if block.language == "text" or block.note.startswith("not run"):
        return
    if block.note.startswith("file: "):
        (folder / block.note.removeprefix("file: ")).write_text(block.text, encoding="utf-8")
    elif block.note.startswith("fragment"):
        assert problems(merged(yaml.safe_load(block.text))) == [], block
    elif block.language == "python":
        exec(compile(block.text, str(block), "exec"), vars(module))
    else:
        environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        shell = ["bash", "-euc", block.text]
        done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def merged(fragment: Mapping[str, Any]) -> Any:
    """A search space with the fragment's keys in place of its own."""
    space = yaml.safe_load((ROOT / "search_spaces" / "multimnist_demo.yaml").read_text())
    if "suite" in fragment:  # the demo's weights are of other tasks
        space |= {"methods": [{"method": "equal"}], "reference": "equal"}
    space["resources"] = {}
    reference = fragment["methods"][0]["method"] if "methods" in fragment else space["reference"]
    return {**space, "reference": reference, **fragment}
