"""What a result file has to hold for a report, so that an edited one is an error and no other figure."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.bench.captions import METRICS
from videorefer_plugin.bench.json_files import JsonError, parse_json, read_text
from videorefer_plugin.bench.judge_replies import DIMENSIONS
from videorefer_plugin.bench.question_scores import READERS
from videorefer_plugin.errors import BenchError

__all__ = ["BENCHMARKS", "read_result"]

Check = Callable[[Any, str], None]


class _WrongError(ValueError):
    """A value is not what it has to be; in words."""


def _wrong(value: Any, where: str, expected: str) -> _WrongError:
    return _WrongError(f"{where} is {short(value)}: expected {expected}")


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise _wrong(value, where, "a text")


def _count(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise _wrong(value, where, "a whole number from 0 up")


def _number(low: float = 0.0, high: float = math.inf) -> Check:
    def check(value: Any, where: str) -> None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not low <= value <= min(high, 1e300):
            raise _wrong(value, where, f"a number from {low:g}" + (f" to {high:g}" if high < math.inf else " up"))

    return check


def _or_none(inner: Check) -> Check:
    return lambda value, where: None if value is None else inner(value, where)


def _list(inner: Check, length: int | None = None) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise _wrong(value, where, "a list" if length is None else f"a list of {length}")
        for number, one in enumerate(value):
            inner(one, f"{where}[{number}]")

    return check


def _map(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(value, where, "an object")
        for key, one in value.items():
            inner(one, f"{where}.{key}")

    return check


def _object(**keys: Check) -> Check:
    """An object with these keys; others are left alone."""

    def check(value: Any, where: str) -> None:
        _map(lambda *_: None)(value, where)
        for key, inner in keys.items():
            if key not in value:
                raise _WrongError(f"{where} lacks {key!r}")
            inner(value[key], f"{where}.{key}")

    return check


def _share(value: Any, where: str) -> None:
    """Right answers among all."""
    keys = {"right": _count, "total": _count, "accuracy": _or_none(_number(0, 1)), "interval": _interval(1)}
    _object(**keys)(value, where)
    right, total = value["right"], value["total"]
    share = right / total if total else None
    if (
        right > total
        or (value["accuracy"] is None) != (share is None)
        or abs((value["accuracy"] or 0) - (share or 0)) > 1e-9
    ):
        raise _wrong(value["accuracy"], f"{where}.accuracy", f"what {right} right of {total} are")


def _interval(high: float) -> Check:
    return _or_none(_list(_number(0, high), 2))


_score = _number(0, 5)
_texts = _list(_text)
_READER = _object(
    types=_map(_share),
    overall=_share,
    mean_over_types=_number(0, 1),
    mean_interval=_interval(1),
    no_letter=_count,
)
_DIMENSION = _object(mean=_or_none(_score), count=_count, missing=_count, interval=_interval(5))
_COMPATIBLE = _object(
    dimensions=_map(_object(mean=_or_none(_number()), count=_count)), average=_or_none(_number()), dropped=_count
)
_DESCRIBED = _object(
    dimensions=_object(**dict.fromkeys(DIMENSIONS, _DIMENSION)),
    average=_or_none(_score),
    average_missing_as_zero=_score,
    not_described=_texts,
    not_judged=_texts,
    not_understood=_texts,
    compatible=_or_none(_COMPATIBLE),
)
_RUN = {
    "name": _text,
    "settings": _object(),
    "items": _count,
    "answered": _count,
    "failed": _map(_text),
}
BENCHMARKS: dict[str, Check] = {
    "q": _object(
        **_RUN,
        scores=_object(tables=_object(**dict.fromkeys(READERS, _READER)), differences=_texts, missing=_texts),
    ),
    "d": _object(
        **_RUN,
        scores=_or_none(_DESCRIBED),
        judge=_or_none(_object(name=_text)),
    ),
    "captions": _object(
        **_RUN, scores=_object(scores=_map(_number()), missing=_map(_text), tokenizer=_text, empty=_texts)
    ),
    "general": _object(name=_text, scores=_map(_map(_or_none(_number(-1e300))))),
}
_JUDGED = _object(judge=_object(name=_text, prompt_hash=_text), dates=_texts)


def read_result(path: Path) -> dict[str, Any]:
    """A result of `videorefer bench`.

    Raises:
        BenchError: the file is none, or a value in it is not what `videorefer bench` writes; names it.
    """
    try:
        result = parse_json(read_text(path))
    except JsonError as error:
        raise BenchError(f"{path} is no result of `videorefer bench`: {error}") from error
    if not isinstance(result, dict) or "benchmark" not in result:
        raise BenchError(f"{path} is no result of `videorefer bench`: it has no 'benchmark'")
    benchmark = result["benchmark"]
    if not isinstance(benchmark, str) or benchmark not in BENCHMARKS:
        raise BenchError(f"{path} is a result of the unknown benchmark {short(benchmark)}")
    try:
        BENCHMARKS[benchmark](result, "result")
        if benchmark == "d" and result["scores"] is not None:
            _JUDGED(result, "result")
        unknown = set(result["scores"]["scores"]) - set(METRICS) if benchmark == "captions" else ()
        if unknown:
            raise _WrongError(f"result.scores.scores has the unknown metric {short(min(unknown))}")
    except _WrongError as error:
        raise BenchError(f"{path} is no result as `videorefer bench` writes it: {error}") from error
    return result
