"""Folders of tasks for lmms-eval, which are generated from the benchmarks."""

import json
import os
from pathlib import Path
from typing import Any

import yaml

from videorefer_plugin._json import JsonError, parse_json
from videorefer_plugin._places import check_folder_place, writing
from videorefer_plugin._text import short
from videorefer_plugin.bench.benchmarks.base import Benchmark, Task
from videorefer_plugin.bench.benchmarks.registry import benchmarks, path_of
from videorefer_plugin.errors import BenchError

__all__ = ["OPTIONS", "task_options", "tasks", "write_tasks"]

OPTIONS = "VIDEOREFER_BENCH_OPTIONS"  # the environment variable

_UTILS = '''"""Functions that the task's file names; written by `python -m videorefer_plugin.bench.lmms`."""

from videorefer_plugin.bench.lmms.documents import functions

docs, visual, text, answer, results, figures = functions({name}, {path})
'''
_PLACEHOLDER = "placeholder.jsonl"  # lmms-eval requires a file, whose contents `docs` replaces by the items


class _Function(str):
    """The name of a function in `utils.py`."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", f"utils.{name}"))


def tasks() -> dict[str, Task]:
    """Return name -> task of the benchmarks that have one."""
    return {name: benchmark.task for name, benchmark in benchmarks().items() if benchmark.task is not None}


def task_options(given: str | None) -> dict[str, dict[str, Any]]:
    """Return the options by name of benchmark, from JSON such as `{"q": {"types": ["Color"]}}`.

    Raises:
        BenchError: the text is not such JSON.
    """
    try:
        options = parse_json(given) if given else {}
    except JsonError as error:
        raise BenchError(f"the options of benchmarks are not JSON: {error}") from error
    if not isinstance(options, dict) or not all(isinstance(own, dict) for own in options.values()):
        raise BenchError(
            f"the options of benchmarks are {short(options)}: expected them by benchmark, such as "
            '{"q": {"types": ["Color"]}}'
        )
    return options


def write_tasks(folder: str | os.PathLike) -> Path:
    """Write a folder for each task, for lmms-eval's `--include_path`.

    Returns:
        The folder.

    Raises:
        BenchError: the folder cannot be written.
    """
    root = check_folder_place(folder, BenchError)
    for name, benchmark in benchmarks().items():
        if benchmark.task is None:
            continue
        own = root / benchmark.task.name
        with writing(own, BenchError):
            own.mkdir(parents=True, exist_ok=True)
            text = yaml.dump(_settings(benchmark, benchmark.task), Dumper=_Dumper, sort_keys=False)
            (own / f"{own.name}.yaml").write_text(f"# {benchmark.about}\n{text}", encoding="utf-8")
            (own / "utils.py").write_text(_utils(name, benchmark.task), encoding="utf-8")
            (own / _PLACEHOLDER).write_text(json.dumps({"id": "0"}) + "\n", encoding="utf-8")
    return root


def _utils(name: str, task: Task) -> str:
    figures = "".join(f"{_figure(place)} = figures[{place}]\n" for place, _ in enumerate(task.figures))
    return _UTILS.format(name=json.dumps(name), path=json.dumps(path_of(name))) + ("" if task.by_item else figures)


def _figure(place: int) -> str:
    return f"figure_{place}"


def _settings(benchmark: Benchmark[Any], task: Task) -> dict[str, Any]:
    return {
        "task": task.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": _PLACEHOLDER}},
        "test_split": "test",
        "output_type": "generate_until",
        "process_docs": _Function("docs"),
        "doc_to_visual": _Function("visual"),
        "doc_to_text": _Function("text"),
        "doc_to_target": _Function("answer"),
        "process_results": _Function("results"),
        "generation_kwargs": {"max_new_tokens": benchmark.max_new_tokens, "do_sample": False},
        "metric_list": [
            {
                "metric": figure,
                "aggregation": "mean" if task.by_item else _Function(_figure(place)),
                "higher_is_better": higher,
            }
            for place, (figure, higher) in enumerate(task.figures.items())
        ],
        "metadata": {"version": 1},
    }
