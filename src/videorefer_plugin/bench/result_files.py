"""Reading of result files. An edited file is an error, and never another figure."""

from pathlib import Path
from typing import Any

from videorefer_plugin._json import JsonError, parse_json, read_text
from videorefer_plugin._text import short
from videorefer_plugin.bench import checks
from videorefer_plugin.bench.benchmarks.registry import benchmark_of, benchmarks
from videorefer_plugin.errors import BenchError

__all__ = ["GENERAL", "read_result"]

GENERAL = "general"  # results of lmms-eval, which is not a benchmark of this library
_GENERAL_CHECK = checks.object_of(
    name=checks.text, scores=checks.map_of(checks.map_of(checks.or_none(checks.number(-1e300))))
)


def read_result(path: Path) -> dict[str, Any]:
    """Read a result of `videorefer bench`.

    Raises:
        BenchError: the file is not a result, or has a value that `videorefer bench` does not write. The message names
            it.
    """
    try:
        result = parse_json(read_text(path, BenchError))
    except JsonError as error:
        raise BenchError(f"{path} is not a result of `videorefer bench`: {error}") from error
    if not isinstance(result, dict) or "benchmark" not in result:
        raise BenchError(f"{path} is not a result of `videorefer bench`: it has no 'benchmark'")
    name = result["benchmark"]
    if not isinstance(name, str) or name not in (*benchmarks(), GENERAL):
        raise BenchError(f"{path} is a result of the unknown benchmark {short(name)}")
    try:
        if name == GENERAL:
            _GENERAL_CHECK(result, "result")
        else:
            benchmark_of(name).check_result(result)
    except checks.WrongValueError as error:
        raise BenchError(f"{path} is not a result as `videorefer bench` writes it: {error}") from error
    return result
