"""Whatever stands in a search space, a `--set` option or a command line: it works, or one line says what is wrong."""

from __future__ import annotations

from pathlib import Path

import fuzzing
import pytest

from avil_ray import cli
from avil_ray.config import parse_setting
from avil_ray.errors import UserError
from avil_ray.spaces.preview import preview
from avil_ray.spaces.search_space import problems, read_search_space

FEW, SPACES, SETTINGS, COMMANDS = 15, 500, 300, 300


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def require_lines(lines: list[str], origin: object) -> None:
    for line in lines:
        assert line.strip(), origin
        assert len(line.splitlines()) == 1, (origin, line)


def space(number: int) -> None:
    """A space is right, and can be shown and written, or each mistake in it is a line."""
    text = fuzzing.mutated_space(number)
    Path("space.yaml").write_text(text, encoding="utf-8")
    found = problems("space.yaml")
    require_lines(found, text)
    if found:
        with pytest.raises(UserError):
            read_search_space("space.yaml").draw()
        return
    read = read_search_space("space.yaml")
    assert preview(read, {"CPU": 4.0}).lines()
    Path("again.yaml").write_text(read.dump(), encoding="utf-8")
    again = read_search_space("again.yaml")
    again.require_same(Path("space.yaml"))
    assert again.trials() == read.trials()


def setting(number: int) -> None:
    """As for spaces, with an option from the command line."""
    text = fuzzing.setting(number)
    Path("space.yaml").write_text(fuzzing.yaml.safe_dump(fuzzing.SPACES[0]))
    try:
        changes = [parse_setting(text)]
    except UserError as error:
        require_lines([str(error)], text)
        return
    found = problems("space.yaml", changes)
    require_lines(found, text)
    if not found:
        assert preview(read_search_space("space.yaml", changes), {"CPU": 4.0}).lines()


def command(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The status is 0, or one line says why not."""
    Path("broken.yaml").write_text("name: broken\nrounds: 0\n")
    arguments = fuzzing.command_line(number)
    status = cli._status(arguments)
    errors = capsys.readouterr().err.splitlines()
    assert status in (0, 1, 2), arguments
    if status:
        assert errors, arguments
        assert len(errors) == 1 or arguments[0] == "check", (arguments, errors)


@pytest.mark.parametrize("number", range(FEW))
def test_some_mutated_search_spaces(number: int) -> None:
    space(number)


@pytest.mark.parametrize("number", range(FEW))
def test_some_settings(number: int) -> None:
    setting(number)


@pytest.mark.parametrize("number", range(FEW))
def test_some_command_lines(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    command(number, capsys)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_mutated_search_spaces() -> None:
    for number in range(FEW, SPACES):
        space(number)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_settings() -> None:
    for number in range(FEW, SETTINGS):
        setting(number)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_command_lines(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(FEW, COMMANDS):
        command(number, capsys)
