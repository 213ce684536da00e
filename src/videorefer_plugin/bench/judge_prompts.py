"""What a chat model that judges is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from videorefer_plugin.bench.store import text_hash

__all__ = ["JudgePrompt"]

_FIELD = re.compile(r"\{([a-z_]+)\}")

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class JudgePrompt:
    """What a judge is told of every answer.

    Attributes:
        system (`str`): who it is, and how it replies; nothing is put into this text.
        user (`str`): about one answer, with `{name}` for each value of `fields`.
        fields (`Callable`): from an item and the answer to it, to these values.
    """

    system: str
    user: str
    fields: Callable[[Any, str], Mapping[str, str]]

    @property
    def hash(self) -> str:
        """A short name for the wording."""
        return text_hash(self.system + self.user)

    def conversations(self, item: Any, answer: str) -> list[Messages]:
        """What to ask about an answer; the replies to several conversations are kept together."""
        values = self.fields(item, answer)
        user = _FIELD.sub(lambda match: values.get(match[1], match[0]), self.user)
        return [[{"role": "system", "content": self.system}, {"role": "user", "content": user}]]
