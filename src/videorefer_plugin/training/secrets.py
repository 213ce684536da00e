"""Keeps values of the environment, which may be secret, out of messages and logs."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from videorefer_plugin.errors import ConfigurationError

__all__ = ["without_secrets"]

_NAMES = re.compile(r"\$\{\s*oc\.env\s*:\s*([A-Za-z_][A-Za-z0-9_]*)")
_SHORTEST = 4  # characters of a value that can be distinguished from other words
_PIECE = 6  # characters at either end that a shortened value may still show


@contextmanager
def without_secrets(texts: Iterable[str]) -> Iterator[None]:
    """Replace values of environment variables in errors by references to the variables.

    Args:
        texts (`Iterable[str]`): the references, such as `"${oc.env:TOKEN}"`.

    Raises:
        ConfigurationError: a `ConfigurationError` of the block, without the values.
    """
    try:
        yield
    except ConfigurationError as error:
        names = {name for text in texts for name in _NAMES.findall(text)}
        said = str(error)
        hidden = said
        for name in names:
            hidden = _hidden(hidden, os.environ.get(name, ""), f"${{oc.env:{name}}}")
        if hidden == said:
            raise
        raise ConfigurationError(hidden) from None  # the cause has the value as well


def _hidden(said: str, secret: str, instead: str) -> str:
    if len(secret) < _SHORTEST:
        return said
    said = said.replace(secret, instead)
    # Long values are shortened to their ends, "abcdef...uvwxyz", which show parts of the secret.
    for size in range(len(secret) - 1, _PIECE - 1, -1):
        said = said.replace(f"{secret[:size]}...", f"{instead}...").replace(f"...{secret[-size:]}", f"...{instead}")
    return said
