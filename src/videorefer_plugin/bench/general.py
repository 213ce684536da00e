"""General video understanding with lmms-eval, which runs in its own process."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videorefer_plugin._addresses import bare_address, names_server
from videorefer_plugin._json import read_json
from videorefer_plugin._text import short
from videorefer_plugin.bench.benchmarks.registry import benchmark_of
from videorefer_plugin.bench.lmms import MODEL_NAME
from videorefer_plugin.bench.lmms.tasks import OPTIONS, write_tasks
from videorefer_plugin.bench.lmms.tasks import tasks as own_tasks
from videorefer_plugin.bench.store import write_json
from videorefer_plugin.chat.choosing import OPENAI
from videorefer_plugin.errors import BenchError

__all__ = [
    "GENERAL_TASKS",
    "data_files",
    "general_command",
    "general_results",
    "run_general",
    "write_general_result",
]

GENERAL_TASKS = ("perceptiontest_val_mc", "mvbench", "videomme", "videomme_w_subtitle")  # those of the paper


def general_command(
    model: str,
    tasks: Sequence[str] = GENERAL_TASKS,
    *,
    out: str | os.PathLike,
    model_args: Mapping[str, Any] | None = None,
    batch_size: int = 1,
    limit: int | None = None,
    more: Sequence[str] = (),
) -> list[str]:
    """Write the folders of tasks, and return the command that runs lmms-eval with this package's model on tasks.

    Args:
        model (`str`): folder or Hub id of the model.
        tasks: names of tasks of lmms-eval, or of benchmarks of this package, such as `videorefer_bench_q`.
        out: folder for the results; the folders of tasks are written to `tasks` in it.
        model_args (*optional*): further settings of [`VideoReferLMMS`].
        batch_size (`int`): number of questions in a batch.
        limit (`int`, *optional*): number of questions of each task, from the first.
        more: further arguments of lmms-eval.

    Raises:
        BenchError: lmms-eval's list of settings cannot hold a setting, there is no task, or the folders cannot be
            written.
    """
    if not tasks:
        raise BenchError("there is no task to run: name some, such as mvbench")
    settings = {"pretrained": model, **{key: value for key, value in (model_args or {}).items() if value is not None}}
    for key, value in settings.items():
        if "," in str(value) or "=" in str(value):
            raise BenchError(f"{key} is {value!r}: lmms-eval cannot take a setting with a comma or an equals sign")
    command = [sys.executable, "-m", "lmms_eval", "--model", MODEL_NAME]
    command += ["--model_args", ",".join(f"{key}={value}" for key, value in settings.items())]
    command += ["--tasks", ",".join(tasks), "--include_path", str(write_tasks(Path(out) / "tasks"))]
    command += ["--batch_size", str(batch_size)]
    command += ["--output_path", os.fspath(out), "--log_samples"]
    return command + (["--limit", str(limit)] if limit is not None else []) + list(more)


def data_files(given: Sequence[str]) -> dict[str, str]:
    """Return a mapping from benchmark to file, from texts such as `"q=questions.json"`.

    Raises:
        BenchError: a text has no name or no file, or no task has the name.
    """
    files = {}
    for text in given:
        name, _, path = text.partition("=")
        if not name or not path:
            raise BenchError(f"--data is {text!r}: expected NAME=FILE, such as q=questions.json")
        _check_task(name)
        files[name] = path
    return files


def _check_task(name: Any) -> None:
    if name not in (known := own_tasks()):
        raise BenchError(f"{short(name)} is not a benchmark with a task: expected one of {', '.join(known)}")


def run_general(
    command: Sequence[str],
    *,
    data: Mapping[str, str | os.PathLike | None] | None = None,
    media_root: str | os.PathLike | None = None,
    mode: str = "single",
    judge: str | None = None,
    judge_url: str | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Run lmms-eval.

    Args:
        command: result of [`general_command`].
        data (*optional*): files of this package's tasks, by the names of their benchmarks, such as `"q"`.
        media_root (*optional*): folder of their videos.
        mode (`str`): `"single"` or `"multi"`, for the same tasks.
        judge, judge_url (*optional*): judge of descriptions: `"rule"`, or a chat model and the address of its
            endpoint.
        options (*optional*): options of benchmarks, by their names: `{"q": {"types": ["Color"]}}`.

    Raises:
        BenchError: a benchmark has no task or no such option, lmms-eval is not installed, a file of a task is missing,
            or lmms-eval failed.
    """
    if judge_url is not None and judge_url != OPENAI and not names_server(judge_url):
        raise BenchError(
            f"the judge's endpoint is {short(bare_address(judge_url))}: expected an address such as "
            "http://localhost:8000/v1, or 'openai' for that of OpenAI"
        )
    known = own_tasks()
    given: dict[str, Any] = {}
    for name, path in (data or {}).items():
        _check_task(name)
        if path is not None:
            given[known[name].variable] = path
    for name, values in (options or {}).items():
        benchmark_of(name).with_options(values)
    if importlib.util.find_spec("lmms_eval") is None:
        raise BenchError(
            "lmms-eval is not installed here: pip install 'videorefer-plugin[lmms-eval]', best into an environment of "
            "its own (it needs av < 16 and filelock < 4)"
        )
    for variable, path in given.items():
        if not Path(path).is_file():
            raise BenchError(f"{path} ({variable}) is not a file: expected the benchmark's JSON")
        given[variable] = Path(path).resolve()
    given |= {
        "VIDEOREFER_BENCH_MEDIA": None if media_root is None else Path(media_root).resolve(),
        "VIDEOREFER_BENCH_MODE": mode,
        "VIDEOREFER_JUDGE": judge,
        "VIDEOREFER_JUDGE_URL": judge_url,
        OPTIONS: json.dumps(options) if options else None,
    }
    environment = {**os.environ, **{key: str(value) for key, value in given.items() if value is not None}}
    done = subprocess.run(list(command), env=environment)
    if done.returncode:
        raise BenchError(f"lmms-eval ended with status {done.returncode}; its output is above")


def general_results(folder: str | os.PathLike) -> dict[str, dict[str, float | None]]:
    """Return task -> metric -> value of the newest results of lmms-eval in a folder.

    A value that is not a finite number, which lmms-eval writes if nothing was measured, is `None`.

    Raises:
        BenchError: a file does not have the form of lmms-eval's results.
    """
    found: dict[str, dict[str, float | None]] = {}
    for path in sorted(Path(folder).rglob("*results.json"), key=lambda path: path.stat().st_mtime):
        written = read_json(path, BenchError, constants=True)
        results = written.get("results", {}) if isinstance(written, dict) else None
        if not isinstance(results, dict) or not all(isinstance(values, dict) for values in results.values()):
            raise BenchError(f"{path} is not a result of lmms-eval: expected a dict of tasks under 'results'")
        for task, values in results.items():
            numbers = {
                key.split(",")[0]: float(value) if math.isfinite(value) else None
                for key, value in values.items()
                if isinstance(value, (int, float)) and not isinstance(value, bool) and "stderr" not in key
            }
            if numbers:
                found[task] = numbers
    return found


def write_general_result(out: str | os.PathLike, model: str, name: str | None = None) -> Path:
    """Write the results of lmms-eval to a result file for reports.

    Raises:
        BenchError: lmms-eval left no results.
    """
    scores = general_results(out)
    if not scores:
        raise BenchError(f"lmms-eval left no results in {out}")
    path = Path(out) / "results" / "general.json"
    label = name or Path(model).name
    write_json(path, {"benchmark": "general", "name": label, "settings": {"model": model}, "scores": scores})
    return path
