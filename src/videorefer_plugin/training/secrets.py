"""What an environment holds may be secret: it is neither in messages nor in logs."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from videorefer_plugin.errors import ConfigurationError

__all__ = ["without_secrets"]

_NAMES = re.compile(r"\$\{\s*oc\.env\s*:\s*([A-Za-z_][A-Za-z0-9_]*)")
_SHORTEST = 4  # characters of what can be told apart from other words
_PIECE = 6  # characters at either end that a shortened message may still show


@contextmanager
def without_secrets(texts: Iterable[str]) -> Iterator[None]:
    """Errors of settings that refer to the environment name the variable in the place of what it holds.

    Args:
        texts (`Iterable[str]`): the references, such as `"${oc.env:TOKEN}"`.

    Raises:
        ConfigurationError: what is raised within.
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
        raise ConfigurationError(hidden) from None  # the cause says it as well


def _hidden(said: str, secret: str, instead: str) -> str:
    if len(secret) < _SHORTEST:
        return said
    said = said.replace(secret, instead)
    # Long values are shown by their ends, "abcdef...uvwxyz": with as much of the secret as there was room for.
    for size in range(len(secret) - 1, _PIECE - 1, -1):
        said = said.replace(f"{secret[:size]}...", f"{instead}...").replace(f"...{secret[-size:]}", f"...{instead}")
    return said
