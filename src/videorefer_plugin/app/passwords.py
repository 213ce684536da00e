"""The name and password of a page, which are never given on a command line."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

from videorefer_plugin._json import read_text
from videorefer_plugin.errors import ConfigurationError

__all__ = ["VARIABLE", "check_host", "read_auth"]

VARIABLE = "VIDEOREFER_APP_AUTH"
_SHORTEST = 8  # characters of a password


def read_auth(path: Path | None) -> tuple[str, str] | None:
    """Read name and password from a file, or else from the environment; returns None if there are none.

    Args:
        path (`Path`, *optional*): path of a file with one line, `name:password`.

    Raises:
        ConfigurationError: the file cannot be read, or has other contents, which the message does not repeat.
    """
    if path is not None:
        place, text = f"The file {str(path)!r}", read_text(path, ConfigurationError)
    elif VARIABLE in os.environ:
        place, text = f"The environment variable {VARIABLE}", os.environ[VARIABLE]
    else:
        return None
    name, colon, password = text.strip("\r\n").partition(":")
    if not colon or not name.strip() or "\n" in password or len(password) < _SHORTEST:
        raise ConfigurationError(
            f"{place} holds no name and password: expected one line, name:password, with a password of {_SHORTEST} "
            "characters or more."
        )
    return name.strip(), password


def check_host(host: str, auth: tuple[str, str] | None) -> None:
    """Refuse to serve to other machines without a password.

    Raises:
        ConfigurationError: other machines can reach the page, and there is no password.
    """
    if not _is_loopback(host) and auth is None:
        raise ConfigurationError(
            f"On {host}, others can reach the page, so it needs a name and a password: put name:password into the "
            "environment variable VIDEOREFER_APP_AUTH, or into a file that --auth-file names. Without --host, only "
            "this computer can reach it."
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
