"""Prompts of chat models that judge: those of benchmarks, or of a file.

```yaml
name: the wording of the released script
system: |
  You compare two descriptions of an object. Reply with {"SC": number, ...}.
user: |
  Truth: {reference}
  To be scored: {description}
```
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import JsonError, decode
from videorefer_plugin._places import read_file
from videorefer_plugin._text import listed, short, text_fault
from videorefer_plugin._yaml import nearest, parse_yaml
from videorefer_plugin.bench.store import text_hash
from videorefer_plugin.errors import BenchError, ConfigurationError

__all__ = ["JudgePrompt"]

_FIELD = re.compile(r"\{([a-z_]+)\}")
_KEYS = ("system", "user", "name")
_MOST_BYTES = 1 << 20  # of a file; the longest prompts have a few thousand
# Prompts of this library whose hash is that of both texts without the boundary between them.
_CALLED = {"823d7494df20": "e1d290834396", "83fa26438359": "103dea919741", "5083944b4d68": "f19395348c87"}

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class JudgePrompt:
    """The prompt of a judge.

    Attributes:
        system (`str`): the judge's task and the form of replies. It has no fields.
        user (`str`): the text about one answer, with `{name}` for each value of `fields`.
        fields (`Callable`): function from an item and its answer to these values.
        name (`str`, *optional*): name of your own prompt, for reports.
    """

    system: str
    user: str
    fields: Callable[[Any, str], Mapping[str, str]]
    name: str | None = None

    @property
    def hash(self) -> str:
        """A hash of the prompt."""
        found = text_hash(f"{self.system}\0{self.user}")
        return _CALLED.get(found, found)

    def conversations(self, item: Any, answer: str) -> list[Messages]:
        """Return the conversations about an answer. The replies to several ones are kept together."""
        values = self.fields(item, answer)
        user = _FIELD.sub(lambda match: values.get(match[1], match[0]), self.user)
        return [[{"role": "system", "content": self.system}, {"role": "user", "content": user}]]

    def from_file(self, path: str | os.PathLike) -> JudgePrompt:
        """Return the prompt with the texts of a file: YAML (or JSON) with `system` and `user`.

        The user's text has this prompt's fields in braces, such as `{reference}`. Other braces, as in JSON, are left
        unchanged. A third text, `name`, names the prompt in reports.

        Raises:
            BenchError: the file cannot be read or is not such YAML, or a text or a field is missing or misplaced.
        """
        where = f"The judge's prompt {os.fspath(path)!r}"
        values = _read(Path(path), where)
        if not isinstance(values, Mapping):
            raise BenchError(
                f"{where} is {short(values)}: expected YAML with a text under 'system' and another one under 'user'."
            )
        for key in values:
            if key not in _KEYS:
                raise BenchError(f"{where} has the unknown key {short(key)}{nearest(key, _KEYS)}")
        for key in _KEYS:
            text = values.get(key)
            if key in values or key != "name":
                _check_text(text, key, where)
        self._check_fields(values, where)
        name = " ".join(values["name"].split()) if "name" in values else None
        return replace(self, system=values["system"], user=values["user"], name=name)

    def save(self, folder: Path) -> Path:
        """Save the prompt to the folder of its judgments, as a file that [`from_file`] reads.

        Raises:
            BenchError: the folder cannot be written.
        """
        texts = {"system": self.system, "user": self.user}
        kept = yaml.safe_dump(texts, default_style="|", allow_unicode=True, width=1 << 20, sort_keys=False)
        path = folder / f"judge_prompt-{self.hash}.yaml"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda name: Path(name).write_text(kept, encoding="utf-8"))
        except OSError as error:
            raise BenchError(f"{folder} cannot be written: {error}") from error
        return path

    def _check_fields(self, values: Mapping[str, str], where: str) -> None:
        """Make sure that the user's text has all fields that the judge needs."""
        known = dict.fromkeys(_FIELD.findall(self.user))
        found = set(_FIELD.findall(values["user"]))
        missing = [name for name in known if name not in found]
        if missing:
            others = sorted(found - set(known))
            raise BenchError(
                f"{where} lacks {_braced(missing)} in its user's text{f', but has {_braced(others)}' * bool(others)}: "
                f"write each of {_braced(known)} where the value belongs."
            )
        misplaced = next((name for name in _FIELD.findall(values["system"]) if name in known), None)
        if misplaced is not None:
            raise BenchError(
                f"{where} has {{{misplaced}}} in its system text, which takes no fields: move it to the user's."
            )


def _braced(names: Iterable[str]) -> str:
    return listed(f"{{{name}}}" for name in names)


def _read(path: Path, where: str) -> Any:
    data = read_file(path, BenchError, _MOST_BYTES)
    if not data.strip():
        raise BenchError(f"{where} is empty: expected YAML with a text under 'system' and another one under 'user'.")
    try:
        return parse_yaml(decode(data), where)
    except JsonError as problem:
        raise BenchError(f"{where}, {problem}") from problem
    except ConfigurationError as error:
        raise BenchError(str(error)) from error


def _check_text(text: Any, key: str, where: str) -> None:
    if not isinstance(text, str) or not text.strip():
        raise BenchError(
            f"{where} has {short(text)} under {key!r}: expected a text, indented below a line '{key}: |'."
        )
    fault = "it has a zero byte" if "\0" in text else text_fault(text)
    if fault:
        raise BenchError(f"{where} has a text under {key!r} that cannot be sent: {fault}.")
