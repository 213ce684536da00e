"""Reads replies and errors of servers with OpenAI's chat API, which differ in many details."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, get_args

from videorefer_plugin._text import cut, short
from videorefer_plugin.chat.base import Completion, Finish

__all__ = ["error_code", "parse_reply", "redacted", "said_in", "unsupported_parameter"]

_LONGEST = 300  # characters of a server's message that are shown
_MOST_TOKENS = 1 << 40  # of a reply; a server that counts more does not count tokens
_FINISHES: dict[str, Finish] = {each: each for each in get_args(Finish)} | {"max_tokens": "length", "eos": "stop"}
_KEYS = re.compile(r"\b(sk|pk|key|gsk|xai|hf)[-_][\w*.-]{8,}|(?<=Bearer )[^\s'\",;]+", re.I)
_UNSUPPORTED = re.compile(
    r"unsupported|not.{0,20}support|only the default|unrecogni[sz]ed|unknown|unexpected|deprecated"
    r"|not (?:permitted|allowed|accepted)|extra",
    re.I,
)


def parse_reply(data: bytes) -> Completion:
    """Read the reply of a server.

    Raises:
        ValueError: the data holds no reply; the message gives the reason.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError(f"it is not JSON, and begins with {short(data[:100])}") from None
    choices = body.get("choices") if isinstance(body, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        said = said_in(body)
        raise ValueError(f"it has no message{f', but says: {said}' if said else ''}")
    refusal = message.get("refusal")
    refusal = refusal if isinstance(refusal, str) and refusal else None
    finish = _FINISHES.get(str(choice.get("finish_reason")))
    used = body.get("usage")
    used = used if isinstance(used, Mapping) else {}
    return Completion(
        _text(message.get("content")),
        _count(used.get("prompt_tokens")),
        _count(used.get("completion_tokens")),
        "content_filter" if refusal else finish,
        refusal,
    )


def said_in(body: Any) -> str:
    """Return a server's message about an error, whichever field holds it; empty if there is no message."""
    if isinstance(body, Mapping):
        for name in ("message", "error", "detail", "msg"):
            if body.get(name):
                return said_in(body[name])
        return ""
    if isinstance(body, str):
        said = " ".join(body.split())
        return "" if said.startswith("<") else said  # an HTML page
    return json.dumps(body) if isinstance(body, list) else ""


def error_code(body: Any) -> str:
    """Return the short name that a server gives an error; empty if it gives none."""
    if isinstance(body, Mapping):
        code = body.get("code") or body.get("type")
        return code if isinstance(code, str) else error_code(body.get("error"))
    return ""


def redacted(text: str, key: str | None) -> str:
    """Return a server's message without keys, even partial ones, and short enough for a message of ours."""
    if key:
        text = text.replace(key, "[key]")
    text = _KEYS.sub("[key]", text)
    return cut(text, _LONGEST)


def unsupported_parameter(status: int, said: str, parameters: Collection[str]) -> str | None:
    """Return the parameter that a server does not accept at all, by its message; `None` if only a value is wrong."""
    if status not in (400, 422):
        return None
    if "max_tokens" in parameters and "max_completion_tokens" in said:
        return "max_tokens"
    named = (name for name in parameters if re.search(rf"\b{name}\b", said))
    return next(named, None) if _UNSUPPORTED.search(said) else None


def _text(content: Any) -> str:
    if isinstance(content, list):  # parts, as some servers send them
        return "".join(_text(part.get("text")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _count(value: Any) -> int | None:
    right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return value if right else None
