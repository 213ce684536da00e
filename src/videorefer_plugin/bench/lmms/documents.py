"""The functions that folders of tasks call: documents of the benchmarks, and scores of answers.

The environment variable of a task, such as `VIDEOREFER_BENCH_Q`, names its benchmark's file. `VIDEOREFER_BENCH_MEDIA`
is the folder of the videos (default: the file's folder). `VIDEOREFER_BENCH_MODE` is `single` (the default) or `multi`.
`VIDEOREFER_JUDGE` names the judge: `rule`, or a model behind `VIDEOREFER_JUDGE_URL`. `VIDEOREFER_BENCH_OPTIONS` holds
options of benchmarks in JSON, such as `{"q": {"types": ["Color"]}}`.
"""

import json
import os
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from videorefer_plugin.bench.benchmarks.base import Benchmark, Task
from videorefer_plugin.bench.benchmarks.registry import benchmark_of, register_benchmark
from videorefer_plugin.bench.items import Item
from videorefer_plugin.bench.judges import ChatJudge, Judge, RuleJudge
from videorefer_plugin.bench.lmms.tasks import OPTIONS, task_options
from videorefer_plugin.bench.runner import ItemError
from videorefer_plugin.chat.replies import ReplyError
from videorefer_plugin.errors import BenchError
from videorefer_plugin.regions import Region

__all__ = ["Functions", "RegionVideo", "documents_of", "functions"]

Document = dict[str, Any]


class RegionVideo(str):
    """A video's path with the regions of a question. For other models, it is a path.

    Attributes:
        regions (`list[Region]`): the regions in the order of the question.
        kind (`str`): `"video"` or `"image"`.
    """

    regions: list[Region]
    kind: str = "video"


class Functions(NamedTuple):
    """The functions that the file of a task names.

    Attributes:
        docs (`Callable`): returns the items, which replace the placeholder in the task's folder.
        visual (`Callable`): returns the video of a document, with its regions.
        text (`Callable`): returns the prompt of a document.
        answer (`Callable`): returns an empty text, since `results` compares the answers.
        results (`Callable`): returns the figures of a document and its answer, or the values that they are computed
            from.
        figures (`list[Callable]`): for each figure of the task, computes its value from the outputs of `results`.
    """

    docs: Callable[[Any], Any]
    visual: Callable[[Document], list[RegionVideo]]
    text: Callable[[Document], str]
    answer: Callable[[Document], str]
    results: Callable[[Document, Sequence[str]], dict[str, Any]]
    figures: list[Callable[[Sequence[Any]], float | None]]


def functions(name: str, path: str) -> Functions:
    """Return the functions of a benchmark's task.

    Args:
        name (`str`): name of the benchmark.
        path (`str`): path of its class, as in [`register_benchmark`], since it may not be registered in this process.
    """
    register_benchmark(name, path)

    def figure(wanted: str) -> Callable[[Sequence[Any]], float | None]:
        return lambda cells: _figures(name, json.dumps(cells))[wanted]

    return Functions(
        docs=lambda dataset: _data_set(name),
        visual=_visual,
        text=lambda document: str(document["prompt"]),
        answer=lambda document: "",
        results=_results,
        figures=[figure(wanted) for wanted in _task(name).figures],
    )


def item_of(document: Document) -> Item:
    """Return the item of a document."""
    return _items(document["benchmark"])[document["id"]]


def _task(name: str) -> Task:
    task = benchmark_of(name).task
    assert task is not None  # there are no folders for others
    return task


@cache
def _benchmark(name: str) -> Benchmark[Any]:
    """Return the benchmark of a name, with the options of the environment."""
    own = task_options(os.environ.get(OPTIONS)).get(name, {})
    return benchmark_of(name).with_options(own)


@cache
def _items(name: str) -> dict[str, Any]:
    variable = _task(name).variable
    path = os.environ.get(variable)
    if not path:
        raise BenchError(
            f"{variable} is not set: let it name the file of the benchmark, or use `videorefer bench general`"
        )
    items = _benchmark(name).read(path, os.environ.get("VIDEOREFER_BENCH_MEDIA"), _mode()).items
    return {item.id: item for item in items}


def _mode() -> str:
    return os.environ.get("VIDEOREFER_BENCH_MODE", "single")


def documents_of(name: str) -> list[Document]:
    """Return the items' names and prompts. The items stay in this process, since a data set cannot hold them."""
    benchmark = _benchmark(name)
    return [{"benchmark": name, "id": key, "prompt": benchmark.prompt(item)} for key, item in _items(name).items()]


def _data_set(name: str) -> Any:
    from datasets import Dataset  # installed with lmms-eval

    return Dataset.from_list(documents_of(name))


def _visual(document: Document) -> list[RegionVideo]:
    item = item_of(document)
    video = RegionVideo(os.fspath(item.video))
    video.regions = item.regions(_mode())
    video.kind = item.kind
    return [video]


def _results(document: Document, results: Sequence[str]) -> dict[str, Any]:
    name = document["benchmark"]
    cell = {"id": document["id"], "answer": results[0]}
    if _benchmark(name).needs_judge():
        cell["reply"] = _reply(name, item_of(document), results[0])
    task = _task(name)
    if task.by_item:
        figures = _figures(name, json.dumps([cell]))
        return {figure: figures[figure] for figure in task.figures}
    return dict.fromkeys(task.figures, cell)


@lru_cache(maxsize=8)
def _figures(name: str, cells: str) -> dict[str, float | None]:
    """Return all figures of some answers; cached, because lmms-eval asks for one after another."""
    benchmark, said = _benchmark(name), json.loads(cells)
    items = [_items(name)[cell["id"]] for cell in said]
    answers = {cell["id"]: cell["answer"] for cell in said}
    replies = {cell["id"]: cell["reply"] for cell in said if "reply" in cell}
    return benchmark.figures(benchmark.score(items, answers, replies))


def _reply(name: str, item: Item, answer: str) -> str | None:
    """Return the judge's reply; `None` if there is none about this item."""
    try:
        return str(_judge(name).judge(item, answer)["reply"])
    except (ItemError, ReplyError):
        return None


@cache
def _judge(name: str) -> Judge:
    benchmark, judge = _benchmark(name), os.environ.get("VIDEOREFER_JUDGE")
    kinds = {"rule": "`rule` for the shapes world", "endpoint": "the name of a chat model"}
    expected = " or ".join(said for kind, said in kinds.items() if kind in benchmark.judges)
    if not judge:
        raise BenchError(f"VIDEOREFER_JUDGE is not set: expected {expected}, for {benchmark.title}")
    if judge == "rule":
        if "rule" not in benchmark.judges:
            raise BenchError(f"VIDEOREFER_JUDGE is 'rule': expected {expected}, for {benchmark.title}")
        return RuleJudge()
    from videorefer_plugin.chat.choosing import OPENAI, make_chat

    chat = make_chat(judge, os.environ.get("VIDEOREFER_JUDGE_URL") or OPENAI)
    return ChatJudge(chat) if benchmark.judge_prompt is None else ChatJudge(chat, benchmark.judge_prompt)
