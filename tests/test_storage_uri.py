"""From a URI to its storage: what cannot be opened is a line, and no secret stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from avil_ray.errors import UserError
from avil_ray.storage import LocalStorage, at

WRONG = {
    "foo://bucket/x": r"foo://bucket/x: cannot be opened .*foo.*; there are s3://, gs://, abfs:// and those",
    "s3://": r"s3://: names no bucket or folder; write it as s3://bucket/folder",
    "s3a://bucket/x": r"s3a://bucket/x: a package for s3a:// is missing .*s3fs.*; install it with pip, in the env",
    "sftp://host/x": r"sftp://host/x: a package for sftp:// is missing .*paramiko.*; install it with pip",
    "s3://KEY:planted@bucket/x": r"s3://…/x: holds credentials; URIs appear in files and logs",
    "abfs://b@a.dfs.core.windows.net/x?client_secret=planted": r"abfs://…/x: holds credentials",
    "s3://bucket/x?nonsense=1": r"s3://bucket/x\?nonsense=1: cannot be opened .*nonsense",
    "s3://[bucket/x": r"is not a URI",
}


@pytest.mark.parametrize("uri", WRONG)
def test_a_uri_that_cannot_be_opened_is_a_line(uri: str) -> None:
    with pytest.raises(UserError, match=WRONG[uri]) as caught:
        at(uri)
    assert "\n" not in str(caught.value)
    assert "planted" not in str(caught.value)


def test_a_path_of_a_uri_is_refused_and_a_file_uri_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pass a URI as text"):
        at(Path("s3://bucket/x"))
    assert at(f"file://{tmp_path}/x") == LocalStorage(tmp_path / "x")
    assert at(tmp_path) == LocalStorage(tmp_path)
