"""Storage without a local path: an object store or a file server, accessed through pyarrow and fsspec."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import SplitResult

from avil_ray.errors import UserError
from avil_ray.storage import PART, Content, Unreachable

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

READING, WRITING, REMOVING = "cannot be reached", "cannot be written", "cannot be removed"
NEXT = ".next"
"""The suffix of a file's new version until the old one is removed, on stores that cannot replace files atomically."""

Answer = TypeVar("Answer")


def joined(parts: SplitResult) -> str:
    """The URI, with two slashes even if the host is empty."""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{f'?{parts.query}' if parts.query else ''}"


def reason(error: Exception) -> str:
    """Why a store's operation failed, in a few words."""
    text = str(error).partition("\n")[0] if str(error).strip() else type(error).__name__
    text = re.sub(r"^.*(?=AWS Error )", "", text)
    return " ".join(re.sub(r"\(Request ID: [^)]*\)", "", text).split())


@dataclass(frozen=True)
class RemoteStorage:
    """A folder of an object store: files are replaced atomically, and a folder exists if there is a file in it.

    Parameters
    ----------
    filesystem
        The store.
    path
        The folder's path in the store, starting with the bucket.
    parts
        The folder's URI.
    """

    filesystem: FileSystem
    path: str
    parts: SplitResult

    @property
    def local(self) -> Path | None:
        """See `Storage`: there is no local path."""
        return None

    def __truediv__(self, name: str) -> RemoteStorage:
        return replace(self, path=f"{self.path}/{name}", parts=self.parts._replace(path=f"{self.parts.path}/{name}"))

    def __str__(self) -> str:
        return joined(self.parts)

    def where(self, name: str = "") -> str:
        """See `Storage`: the URI, without its options."""
        path = f"{self.parts.path}/{name}" if name else self.parts.path
        return joined(self.parts._replace(path=path, query=""))

    def require_writable(self) -> None:
        """See `Storage`."""
        bucket = self.path.partition("/")[0]
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            if self._lacks(bucket):
                raise UserError(f"{self.where()}: there is no bucket {bucket!r}; create it first, or choose another")
            self.make()
            self.write(probe, b"")
            self.delete(probe)
        except Unreachable as error:
            cause = error.__cause__
            assert isinstance(cause, Exception)
            advice = "check the store, its address and your credentials, or choose another one"
            raise UserError(f"{self.where()}: cannot be written ({reason(cause)}); {advice}") from error

    def _lacks(self, bucket: str) -> bool:
        """Whether the store reports the bucket as missing; without permission to ask, writing may still be allowed."""
        from pyarrow.fs import FileType

        with suppress(Unreachable):
            return bool(self._ask("", lambda: self.filesystem.get_file_info(bucket)).type == FileType.NotFound)
        return False

    def make(self) -> None:
        """See `Storage`: nothing to do."""

    def is_there(self) -> bool:
        """See `Storage`."""
        from pyarrow.fs import FileType

        return bool(self._kind("") == FileType.Directory)

    def read(self, name: str) -> bytes:
        """See `Storage`."""

        def read() -> bytes:
            with self.filesystem.open_input_file(self._at(name)) as file:
                content: bytes = file.read()
                return content

        return self._ask(name, read)

    def write(self, name: str, *content: Content) -> None:
        """See `Storage`."""
        self._put(name, *content)

    def _put(self, name: str, *content: Content) -> None:
        def put() -> None:
            with self.filesystem.open_output_stream(self._at(name)) as file:
                for piece in content:
                    file.write(piece)

        # In a separate thread, which signals do not interrupt: a stream left half-written would store that half.
        with ThreadPoolExecutor(1, thread_name_prefix="storage") as thread:
            self._ask(name, thread.submit(put).result, WRITING)

    def move(self, name: str, to: str) -> None:
        """See `Storage`."""
        self._ask(to, lambda: self.filesystem.move(self._at(name), self._at(to)), WRITING)

    def exists(self, name: str) -> bool:
        """See `Storage`."""
        return self._kind(name) is not None

    def delete(self, name: str) -> None:
        """See `Storage`."""
        from pyarrow.fs import FileType

        kind = self._kind(name)
        if kind is None:
            return
        remove = self.filesystem.delete_dir if kind == FileType.Directory else self.filesystem.delete_file
        with suppress(FileNotFoundError):  # another process was faster
            self._ask(name, lambda: remove(self._at(name)), REMOVING)

    def names(self, folder: str = "") -> list[str]:
        """See `Storage`."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._at(folder), allow_not_found=True)
        found = self._ask(folder, lambda: self.filesystem.get_file_info(selector))
        return sorted(one.base_name for one in found)

    def _kind(self, name: str) -> object:
        """The type of what exists there, a file or a folder; None if nothing does."""
        from pyarrow.fs import FileType

        kind = self._ask(name, lambda: self.filesystem.get_file_info(self._at(name))).type
        return None if kind == FileType.NotFound else kind

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path

    def _ask(self, name: str, request: Callable[[], Answer], what: str = READING) -> Answer:
        with _answered(self.where(name), what):
            return request()


@dataclass(frozen=True)
class RenamingStorage(RemoteStorage):
    """A folder of a store that cannot replace files atomically, or is not known to, such as a server's disk.

    A file is written in full under a temporary name and then renamed to its next version, which is valid as soon as it
    exists. The old version is then removed, and the next one gets its name.
    """

    def make(self) -> None:
        """See `Storage`."""
        self._ask("", lambda: self.filesystem.create_dir(self.path, recursive=True), WRITING)

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        for version in (f"{name}{NEXT}", name, f"{name}{NEXT}"):  # it may be renamed in the meantime
            with suppress(FileNotFoundError):
                return super().read(version)
        return super().read(name)

    def write(self, name: str, *content: Content) -> None:
        """See `Storage`."""
        folder, _, _ = name.rpartition("/")
        if folder:
            (self / folder).make()
        part = f"{name}.{uuid.uuid4().hex}{PART}"
        try:
            self._put(part, *content)
            self._install(part, name)
        except BaseException:
            with suppress(Unreachable):
                super().delete(part)
            raise

    def move(self, name: str, to: str) -> None:
        """See `Storage`."""
        self._settle(name)
        self._install(name, to)

    def exists(self, name: str) -> bool:
        """See `Storage`."""
        return any(super(RenamingStorage, self).exists(version) for version in (name, f"{name}{NEXT}", name))

    def delete(self, name: str) -> None:
        """See `Storage`."""
        super().delete(name)
        super().delete(f"{name}{NEXT}")

    def names(self, folder: str = "") -> list[str]:
        """See `Storage`."""
        return sorted({name.removesuffix(NEXT) for name in super().names(folder)})

    def _install(self, source: str, name: str) -> None:
        """Rename a complete file to replace another."""
        self._settle(name)
        super().move(source, f"{name}{NEXT}")
        self._settle(name)

    def _settle(self, name: str) -> None:
        """Rename the next version of a file, if an earlier process did not get that far."""
        if super().exists(f"{name}{NEXT}"):
            super().delete(name)
            super().move(f"{name}{NEXT}", name)


@contextmanager
def _answered(where: str, what: str) -> Iterator[None]:
    """A context for operations on a store: failures become one line, except for a missing file."""
    try:
        yield
    except Exception as error:  # a store's client may raise anything
        if isinstance(error, FileNotFoundError) and what != WRITING:
            raise
        raise Unreachable(f"{where}: {what} ({reason(error)}); earlier data is kept") from error
