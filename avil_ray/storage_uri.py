"""Resolves a URI to its storage in the same way as Ray: S3, Google and Azure by pyarrow, others by fsspec."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from avil_ray.errors import UserError
from avil_ray.remote_storage import RemoteStorage, RenamingStorage, joined, reason
from avil_ray.storage import LocalStorage, Storage, why

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss")
"""The protocols of stores that replace files atomically and have no folders."""

DEFAULTS = {"s3": "allow_delayed_open=true", "gs": "retry_limit_seconds=60", "gcs": "retry_limit_seconds=60"}
"""Additional options for pyarrow: one request for a small file instead of three, and a timeout below 15 minutes."""

_SECRET = re.compile(r"(?i)(?:^|[&;])[\w-]*(?:password|passwd|pwd|token|secret|key)[\w-]*=")


@cache
def opened(uri: str) -> Storage:
    """The storage at a URI; see `storage.at`, also for errors. A process uses one client."""
    from pyarrow.fs import LocalFileSystem

    try:
        parts = urlsplit(uri)
        secret = parts.password is not None or _SECRET.search(parts.query) is not None
    except ValueError as error:
        raise UserError(f"{uri!r}: is not a URI ({error})") from error
    if secret:
        shown = f"{parts.scheme}://…{parts.path}"
        advice = "URIs appear in files and logs; use the store's environment variables, files or roles instead"
        raise UserError(f"{shown}: holds credentials; {advice}")
    filesystem, path = _resolved(parts)
    if isinstance(filesystem, LocalFileSystem):
        return LocalStorage(Path(path))
    path = path.rstrip("/")
    if not path:
        raise UserError(f"{uri}: names no bucket or folder; write it as {parts.scheme}://bucket/folder")
    protocol = parts.scheme.removeprefix("fsspec+")
    kind = RemoteStorage if protocol in OBJECT_STORES else RenamingStorage
    return kind(filesystem, path, parts._replace(path=parts.path.rstrip("/")))


def _resolved(parts: SplitResult) -> tuple[FileSystem, str]:
    """The store and the path in it: by pyarrow, or by fsspec for protocols that pyarrow does not know."""
    from pyarrow.fs import FileSystem

    name, _, _ = (default := DEFAULTS.get(parts.scheme, "")).partition("=")
    query = parts.query if not default or f"{name}=" in parts.query else "&".join(filter(None, [parts.query, default]))
    uri, where = joined(parts._replace(query=query)), joined(parts)
    try:
        try:
            filesystem, path = FileSystem.from_uri(uri)
        except ValueError as error:
            if "Unrecognized filesystem type" not in str(error):
                raise
            filesystem, path = FileSystem.from_uri(f"fsspec+{uri}")
    except ImportError as error:
        advice = "install it with pip, in the environment of every node"
        raise UserError(f"{where}: a package for {parts.scheme}:// is missing ({why(error)}); {advice}") from error
    except Exception as error:  # a store's client may raise anything
        known = "there are s3://, gs://, abfs:// and those that fsspec knows"
        advice = f"; {known}" if "Protocol not known" in str(error) else ""
        raise UserError(f"{where}: cannot be opened ({reason(error)}){advice}") from error
    return filesystem, path
