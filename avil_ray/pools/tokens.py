"""Ray's authentication token, which allows its owner to control a cluster."""

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
    """Set the token that Ray needs within the block, unless the user has configured authentication.

    A new Ray instance gets a secret token, as other users of the machine can reach its ports (Ray's own token would
    stay in a file). A cluster started on this machine by `ray start`, or one with ports forwarded to this machine, uses
    the token in that file.
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
    """Whether to try this machine's stored Ray token: like Ray, only for addresses on this machine."""
    here = address.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]", ray.util.get_node_ip_address())
    loader = AuthenticationTokenLoader.instance()
    return here and "RAY_AUTH_MODE" not in os.environ and bool(loader.has_token(ignore_auth_mode=True))


def _read_token_again() -> None:
    """Make Ray read its environment again, as Ray itself does when it enables tokens: it reads it once per process."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
