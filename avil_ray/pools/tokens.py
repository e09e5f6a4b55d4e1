"""Ray's token: who knows it may give a cluster orders."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled

TOKEN = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@contextmanager
def token_for(address: str | None) -> Iterator[None]:
    """For the block, the token that Ray needs, unless the user chose one or none.

    A new Ray takes orders only from those who know a token that nobody else has, as other users of the machine reach
    its ports (Ray's own would stay in a file). A cluster on this machine that `ray start` has started, and one whose
    ports are forwarded to this machine, have the one in that file.
    """
    if address is None and not any(name in os.environ for name in TOKEN):
        chosen = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    elif address is not None and has_stored_token(address):
        chosen = {"RAY_AUTH_MODE": "token"}
    else:
        yield
        return
    os.environ |= chosen
    _read_token_again()
    try:
        yield
    finally:
        for name in chosen:
            os.environ.pop(name, None)
        _read_token_again()


def has_stored_token(address: str) -> bool:
    """Whether Ray's token of this machine is to be tried: as Ray itself does, for no address elsewhere."""
    here = address.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]", ray.util.get_node_ip_address())
    loader = AuthenticationTokenLoader.instance()
    return here and "RAY_AUTH_MODE" not in os.environ and bool(loader.has_token(ignore_auth_mode=True))


def _read_token_again() -> None:
    """Ray reads its environment once a process; as it does itself where it turns tokens on."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
