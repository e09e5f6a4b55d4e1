"""Lines of a text file, gzipped or not: UTF-8, with or without a byte order mark, with a limited length."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from avil_ray.errors import UserError

MOST_BYTES = 1 << 24
"""The maximum length of a line: 16 MiB hold a long book, and a file without line breaks is rejected in time."""

MARK = b"\xef\xbb\xbf"


def lines(file: Path) -> Iterator[str]:
    """The lines of a file, including line breaks.

    Raises
    ------
    UserError
        It is empty, cannot be read, is not UTF-8, or has a line that is too long; the message names the row.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            number = 0
            while line := opened.readline(MOST_BYTES + 1):
                number += 1
                yield _text(file, number, line.removeprefix(MARK) if number == 1 else line)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if number == 0:
        raise UserError(f"{file}: the file is empty")


def _text(file: Path, number: int, line: bytes) -> str:
    where = f"{file}, row {number}"
    if len(line) > MOST_BYTES:
        raise UserError(f"{where}: the line is longer than {MOST_BYTES >> 20} MiB; end each row with a newline")
    if b"\0" in line:
        raise UserError(f"{where}: holds a zero byte, so it is not UTF-8 text; save the file as UTF-8")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        byte = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
        raise UserError(f"{where}: {byte} is not UTF-8; save the file as UTF-8") from None
