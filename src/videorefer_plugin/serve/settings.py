"""Checks the other fields of a request: settings of visuals, and of the answer."""

import difflib
import math
from collections.abc import Collection, Mapping
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.errors import ServeError
from videorefer_plugin.serve.limits import Limits

__all__ = ["SETTINGS_NAMES", "check_answer_settings", "check_visual_settings", "known_fields"]

SETTINGS_NAMES = ("mm_processor_kwargs", "chat_template_kwargs")
"""Fields with settings of visuals: vLLM's name, and that of transformers."""

_FIELDS = (
    *("model", "messages", "regions", *SETTINGS_NAMES, "stream", "stream_options", "max_tokens"),
    *("max_completion_tokens", "temperature", "top_p", "seed", "n", "user", "metadata", "store"),
)
_COUNTS = ("num_frames", "max_frames", "max_frames_per_region")
_NUMBERS = ("fps", "video_start", "video_end")
_POLICIES = ("keep", "original")


def known_fields(more: Collection[str] = ()) -> tuple[str, ...]:
    """Return the fields that a request may have."""
    return (*_FIELDS, *more)


def check_visual_settings(settings: Mapping[str, Any], limits: Limits, name: str) -> None:
    """Check the settings of visuals.

    Args:
        settings (`Mapping[str, Any]`): the given settings.
        limits ([`Limits`]): limits of requests.
        name (`str`): name of their field in messages.

    Raises:
        ServeError: a setting is unknown, or has a wrong value.
    """
    known = (*_COUNTS, *_NUMBERS, "mask_policy")
    for key, value in settings.items():
        where = f"{name}.{key}"
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ServeError(
                f"{name} has {short(key)}, which requests may not set.{hint} They may set {', '.join(known)}, and "
                "regions.",
                parameter=where[:96],
            )
        if key == "mask_policy":
            if value not in _POLICIES:
                raise ServeError(f'{where} is {short(value)}; expected "keep" or "original".', parameter=where)
        elif key in _COUNTS:
            _check_number(where, value, 1, limits.frames, whole=True)
        else:
            _check_number(where, value, 0, None, above=key == "fps")


def check_answer_settings(answer: Mapping[str, Any], limits: Limits) -> None:
    """Check the settings of an answer. Engines check the fields that only they know.

    Raises:
        ServeError: a field has a wrong value.
    """
    for name in ("max_tokens", "max_completion_tokens"):
        if name in answer:
            _check_number(name, answer[name], 1, limits.tokens, whole=True)
    if "max_tokens" in answer and "max_completion_tokens" in answer:
        raise ServeError("The request has both max_tokens and max_completion_tokens, which mean the same. Keep one.")
    if "temperature" in answer:
        _check_number("temperature", answer["temperature"], 0, 2)
    if "top_p" in answer:
        _check_number("top_p", answer["top_p"], 0, 1, above=True)
        if answer["top_p"] < 1 and not answer.get("temperature"):
            raise ServeError(
                "The request has top_p, but no temperature above 0: answers are greedy then, and top_p would be "
                "ignored. Give a temperature, or leave it out.",
                parameter="top_p",
            )
    if "seed" in answer:
        _check_number("seed", answer["seed"], 0, 2**63 - 1, whole=True)
    if answer.get("n", 1) != 1 or isinstance(answer.get("n", 1), bool):
        raise ServeError(f"n is {short(answer['n'])}, but a request has one answer here. Ask several times.", 400, "n")
    for name in ("stream", "store"):
        if not isinstance(answer.get(name, False), bool):
            raise ServeError(f"{name} is {short(answer[name])}; expected true or false.", parameter=name)
    if answer.get("store"):
        raise ServeError("store is true, but this server keeps no answers. Leave it out.", parameter="store")
    model = answer.get("model")
    if model is not None and not isinstance(model, str):
        raise ServeError("model must be the name of a model, as GET /v1/models lists it.", parameter="model")
    _check_stream_options(answer)


def _check_stream_options(answer: Mapping[str, Any]) -> None:
    options = answer.get("stream_options")
    if options is None:
        return
    known = isinstance(options, Mapping) and set(options) <= {"include_usage"}
    if not known or not isinstance(options.get("include_usage", True), bool) or not answer.get("stream"):
        raise ServeError(
            'stream_options may be {"include_usage": true} with "stream": true, and nothing else.',
            parameter="stream_options",
        )


def _check_number(
    name: str, value: Any, least: float, most: float | None, *, whole: bool = False, above: bool = False
) -> None:
    right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    right = right and (whole or math.isfinite(value))
    if right and (value > least or (value == least and not above)) and (most is None or value <= most):
        return
    what = "a whole number" if whole else "a number"
    low = f"above {least:g}" if above else f"from {least:g}"
    high = "" if most is None else f" {'and at most' if above else 'to'} {most:.15g}"
    raise ServeError(f"{name} is {short(value)}; expected {what} {low}{high}.", parameter=name[:96])
