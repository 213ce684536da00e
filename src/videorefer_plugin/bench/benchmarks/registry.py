"""The registry of benchmarks."""

from __future__ import annotations

import importlib
import re
from typing import Any

from videorefer_plugin._plugins import load_plugins
from videorefer_plugin._text import short
from videorefer_plugin.bench.benchmarks.base import Benchmark
from videorefer_plugin.errors import BenchError, ConfigurationError

__all__ = ["benchmark_names", "benchmark_of", "benchmarks", "path_of", "register_benchmark"]

_OTHERS = ("general", "report", "fetch", "ablate")  # commands of `videorefer bench` that are not benchmarks

_PATHS: dict[str, str] = {}
_LOADED: dict[str, Benchmark[Any]] = {}


def register_benchmark(name: str, path: str) -> None:
    """Register a benchmark under a name.

    An installed package calls it from an entry point of the group `videorefer_plugin.plugins`.

    Args:
        name (`str`): name of the benchmark and of its command, `videorefer bench NAME`.
        path (`str`): path of its class, `"package.module:Class"`, a subclass of [`Benchmark`], which is imported on
            use.

    Raises:
        ConfigurationError: the path has no class, or the name is invalid or taken.
    """
    if not isinstance(name, str) or not re.fullmatch("[a-z0-9][a-z0-9_-]*", name):
        raise ConfigurationError(
            f"The name of a benchmark is {name!r}; expected small letters and digits, since a command and files bear "
            "it."
        )
    if name in _OTHERS:
        raise ConfigurationError(f"`videorefer bench {name}` is not a benchmark; choose another name for this one.")
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", str(path)):
        raise ConfigurationError(f"The benchmark {name!r} is at {path!r}; expected 'package.module:Class'.")
    if _PATHS.get(name, path) != path:
        raise ConfigurationError(f"A benchmark {name!r} is registered already; register this one under another name.")
    _PATHS[name] = path


def benchmark_names() -> list[str]:
    """Return the names of all benchmarks in the order of their registration, without importing them."""
    load_plugins()
    return list(_PATHS)


def path_of(name: str) -> str:
    """Return the path of a benchmark's class, `"package.module:Class"`."""
    return _PATHS[name]


def benchmarks() -> dict[str, Benchmark[Any]]:
    """Return all benchmarks by name, in the order of their registration."""
    return {name: benchmark_of(name) for name in benchmark_names()}


def benchmark_of(name: str | Benchmark[Any]) -> Benchmark[Any]:
    """Return the benchmark of a name, with default options. A [`Benchmark`] is returned unchanged.

    Raises:
        BenchError: there is no benchmark of that name.
        ConfigurationError: its class cannot be found, or is not a benchmark.
    """
    if isinstance(name, Benchmark):
        return name
    if not isinstance(name, str) or (name not in _PATHS and name not in benchmark_names()):
        raise BenchError(f"unknown benchmark {short(name)}: expected {', '.join(_PATHS)}")
    if name not in _LOADED:
        module, _, attribute = _PATHS[name].partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(f"The benchmark {name!r} cannot be found at {_PATHS[name]!r}: {error}") from error
        if not (isinstance(found, type) and issubclass(found, Benchmark)):
            raise ConfigurationError(f"{_PATHS[name]!r} is not a subclass of Benchmark.")
        try:
            benchmark: Benchmark[Any] = found()
        except (TypeError, ValueError) as error:  # it lacks a method or the default of a field, or refuses a default
            raise ConfigurationError(f"The benchmark {name!r} cannot be made: {error}") from error
        if getattr(benchmark, "name", None) != name:
            raise ConfigurationError(
                f"{_PATHS[name]!r} is registered as {name!r}, and has to have this as its `name`."
            )
        _LOADED[name] = benchmark
    return _LOADED[name]


_HERE = "videorefer_plugin.bench.benchmarks"
register_benchmark("q", f"{_HERE}.questions:Questions")
register_benchmark("d", f"{_HERE}.descriptions:Descriptions")
register_benchmark("captions", f"{_HERE}.captions:Captions")
register_benchmark("dlc", f"{_HERE}.dlc:DetailedCaptions")
register_benchmark("records", f"{_HERE}.records:Records")
