"""What the task folders call: documents of the benchmarks, and what becomes of answers.

The files are named in the environment: `VIDEOREFER_BENCH_Q`, `VIDEOREFER_BENCH_D` and `VIDEOREFER_CAPTIONS`. Videos
lie in `VIDEOREFER_BENCH_MEDIA`, beside the file if it is not set. `VIDEOREFER_BENCH_MODE` is `single` or `multi` (the
former if it is not set). Descriptions are judged as `VIDEOREFER_JUDGE` says: `rule`, or the name of a model behind
`VIDEOREFER_JUDGE_URL`.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from videorefer_plugin.bench.captions import score_captions
from videorefer_plugin.bench.description_scores import score_descriptions
from videorefer_plugin.bench.items import Item, read_captions, read_descriptions, read_questions
from videorefer_plugin.bench.judge_replies import DIMENSIONS
from videorefer_plugin.bench.judges import ChatJudge, Judge, RuleJudge
from videorefer_plugin.bench.question_scores import score_questions
from videorefer_plugin.bench.runner import ItemError
from videorefer_plugin.chat.replies import ReplyError
from videorefer_plugin.errors import BenchError
from videorefer_plugin.regions import Region

__all__ = ["ENVIRONMENT", "RegionVideo"]

ENVIRONMENT = {"q": "VIDEOREFER_BENCH_Q", "d": "VIDEOREFER_BENCH_D", "captions": "VIDEOREFER_CAPTIONS"}
_READERS: dict[str, Callable[..., Sequence[Any]]] = {
    "q": read_questions,
    "d": read_descriptions,
    "captions": read_captions,
}

Document = dict[str, Any]


class RegionVideo(str):
    """A video's path that carries the regions of a question; to other models it is a path.

    Attributes:
        regions (`list[Region]`): in the order of the question.
    """

    regions: list[Region]


@cache
def _items(benchmark: str) -> dict[str, Any]:
    variable = ENVIRONMENT[benchmark]
    path = os.environ.get(variable)
    if not path:
        raise BenchError(
            f"{variable} is not set: let it name the file of the benchmark, or use `videorefer bench general`"
        )
    items = _READERS[benchmark](path, os.environ.get("VIDEOREFER_BENCH_MEDIA"), _mode())
    return {item.id: item for item in items}


def _mode() -> str:
    return os.environ.get("VIDEOREFER_BENCH_MODE", "single")


def documents(benchmark: str) -> Any:
    """A data set of the items' names and prompts. The items themselves stay here: their frames are no columns."""
    from datasets import Dataset

    rows = [{"benchmark": benchmark, "id": name, "prompt": item.prompt} for name, item in _items(benchmark).items()]
    return Dataset.from_list(rows)


def item_of(document: Document) -> Item:
    """The item that a document stands for."""
    return _items(document["benchmark"])[document["id"]]


def visual(document: Document) -> list[RegionVideo]:
    """The video of a document, with its regions."""
    item = item_of(document)
    video = RegionVideo(os.fspath(item.video))
    video.regions = item.regions(_mode())
    return [video]


def text(document: Document) -> str:
    """What the model is asked."""
    return document["prompt"]


# --- Bench-Q ---------------------------------------------------------------------------------------------------------


def question_results(document: Document, results: Sequence[str]) -> dict[str, float]:
    """Whether an answer is right, by both readers."""
    item: Any = item_of(document)
    (row,) = score_questions([item], {item.id: results[0]}).items
    return {"accuracy": float(row["correct"]["compatible"]), "strict_accuracy": float(row["correct"]["strict"])}


# --- Bench-D ---------------------------------------------------------------------------------------------------------


@cache
def _judge() -> Judge:
    name = os.environ.get("VIDEOREFER_JUDGE")
    if not name:
        raise BenchError("VIDEOREFER_JUDGE is not set: `rule` for the shapes world, or the name of a chat model")
    if name == "rule":
        return RuleJudge()
    from videorefer_plugin.chat.choosing import OPENAI, make_chat

    return ChatJudge(make_chat(name, os.environ.get("VIDEOREFER_JUDGE_URL") or OPENAI))


def description_results(document: Document, results: Sequence[str]) -> dict[str, Any]:
    """What a description is given in each dimension."""
    item: Any = item_of(document)
    try:
        reply = _judge().judge(item, results[0])["reply"]
    except (ItemError, ReplyError):
        reply = None
    return {name: {"id": item.id, "reply": reply} for name in (*DIMENSIONS, "average", "not_understood")}


def dimension(name: str) -> Callable[[Sequence[Any]], float | None]:
    """An aggregation: the mean of a dimension over the replies that give it."""

    def aggregate(cells: Sequence[Any]) -> float | None:
        items = [_items("d")[cell["id"]] for cell in cells]
        replies = {cell["id"]: cell["reply"] for cell in cells}
        scores = score_descriptions(items, dict.fromkeys(replies, ""), replies)
        if name == "average":
            return scores.average
        if name == "not_understood":
            return float(len(scores.not_understood) + len(scores.not_judged))
        return scores.dimensions[name]["mean"]

    return aggregate


# --- captions --------------------------------------------------------------------------------------------------------

_CAPTION_METRICS = {"BLEU_4": "BLEU@4", "METEOR": "METEOR", "ROUGE_L": "ROUGE-L", "CIDEr": "CIDEr", "SPICE": "SPICE"}


def caption_results(document: Document, results: Sequence[str]) -> dict[str, Any]:
    """A caption, for every metric."""
    return {name: {"id": document["id"], "caption": results[0]} for name in _CAPTION_METRICS}


def caption_metric(name: str) -> Callable[[Sequence[Any]], float | None]:
    """An aggregation: a caption metric over all items; `None` where its programs are missing."""

    def aggregate(cells: Sequence[Any]) -> float | None:
        metric = _CAPTION_METRICS[name]
        references = {cell["id"]: _items("captions")[cell["id"]].references for cell in cells}
        said = {cell["id"]: cell["caption"] for cell in cells}
        return score_captions(references, said, [metric]).scores.get(metric)

    return aggregate
