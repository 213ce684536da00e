"""Addresses and texts without their secrets: user names, passwords, tokens and keys.

Everything that is shown, stored or hashed is passed through this module first.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

__all__ = ["bare_address", "find_secrets", "names_server", "without_secrets"]

_HIDDEN = "***"
_USER = re.compile(r"(?<=://)[^\s/?#@'\"<>]*@")
# A password may contain a slash, although it should be escaped: then the text in front of the @ is not a host.
_USER_WITH_SLASH = re.compile(r"(?<=://)(?=[^\s/?#@'\"<>]*:(?!\d{1,5}(?:[/?#]|$)))[^\s@'\"<>]*@")
_PARAMETER = re.compile(
    r"(?<=[?&;])((?:[\w.-]*(?:token|secret|password|passwd|signature|credential|api[-_]?key)[\w.-]*|key|sig|pw|auth)=)"
    r"[^\s&#;'\"<>]+",
    re.I,
)
_HEADER = re.compile(
    r"(?<=Bearer )(?=[\w.~+/-]*\d)[\w.~+/-]{16,}=*|(?<=Authorization: Basic )[A-Za-z0-9+/]{8,}=*", re.I
)
_KEYS = {
    "an access token of the Hub": re.compile(r"\bhf_[A-Za-z0-9]{16,}"),
    "a key of an API": re.compile(r"\b(?:sk|gsk|xai|pk|rk)-[\w-]{16,}|\bAIza[\w-]{35}"),
    "a token of GitHub": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"),
    "a key of Amazon's": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an address with a password": re.compile(r"://[^\s/?#@'\"<>:]*:[^\s/?#@'\"<>]+@"),
    "an address with a token": _PARAMETER,
    "the header of a request": _HEADER,
}
_PLACEHOLDER = re.compile(r"\$|\.\.\.|x{8,}|\*{3}|your|<|\{|token:token|user:pass", re.I)


def bare_address(address: str) -> str:
    """Return an address without user name and password, and without the part after its path, which may hold a key."""
    shown = _USER_WITH_SLASH.sub("", address)
    try:
        parts = urlsplit(shown)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:  # not an address
        return re.split("[?#]", _USER.sub("", shown))[0]


def names_server(address: str) -> bool:
    """Whether this is an http(s) address with a valid host name."""
    try:
        parts = urlsplit(address)
        host = (parts.hostname or "").encode("idna")  # as clients write it
        return parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:  # an invalid port or host name
        return False


def without_secrets(value: Any) -> Any:
    """Return a text without the passwords and tokens in its addresses and headers; lists and mappings are walked."""
    if isinstance(value, dict):
        return {without_secrets(name): without_secrets(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(without_secrets(one) for one in value) if type(value) in (list, tuple) else value
    if not isinstance(value, str):
        return value
    if "://" in value:
        value = _PARAMETER.sub(rf"\1{_HIDDEN}", _USER.sub("", _USER_WITH_SLASH.sub("", value)))
    return _HEADER.sub(_HIDDEN, value) if " " in value else value


def find_secrets(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text, counted from 1, that seem to hold a secret, with the kind of secret."""
    for number, line in enumerate(text.splitlines(), 1):
        for kind, pattern in _KEYS.items():
            if any(not _PLACEHOLDER.search(found.group()) for found in pattern.finditer(line)):
                yield number, kind
                break
