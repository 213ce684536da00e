"""From settings, as a command line gives them, to who answers and who judges."""

import os
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.bench.answerers import Answerer, MarkedEndpoint, MarkedModel, RegionModel
from videorefer_plugin.bench.benchmarks.base import Benchmark
from videorefer_plugin.bench.benchmarks.descriptions import JUDGE_PROMPT
from videorefer_plugin.bench.benchmarks.registry import benchmark_of
from videorefer_plugin.bench.judge_prompts import JudgePrompt
from videorefer_plugin.bench.judges import ChatJudge, Judge, RuleJudge
from videorefer_plugin.bench.runner import Shard
from videorefer_plugin.chat.choosing import OPENAI, make_chat
from videorefer_plugin.errors import BenchError
from videorefer_plugin.video.sampling import check_sampled

__all__ = ["make_answerer", "make_judge", "make_shard"]

_JUDGES = ("endpoint", "local", "rule", "none")


def make_answerer(
    benchmark: str | Benchmark[Any],
    model: str,
    *,
    object_encoder: str | None = None,
    marks: str | None = None,
    endpoint: str | None = None,
    num_frames: int | None = None,
    max_frames_per_region: int | None = None,
    mask_policy: str | None = None,
    max_new_tokens: int | None = None,
    workers: int = 4,
) -> Answerer:
    """Who answers: a model with regions, or with `marks` one that sees these, here or behind an `endpoint`.

    Raises:
        BenchError: settings exclude each other.
        VideoError: `num_frames` is more than can be shown.
    """
    if num_frames is not None:
        check_sampled(num_frames, "num_frames")
    tokens = max_new_tokens or benchmark_of(benchmark).max_new_tokens
    if endpoint is not None and marks is None:
        raise BenchError("a model behind an endpoint takes no regions: choose --marks contour, mask or box")
    if marks is not None and object_encoder is not None:
        raise BenchError("--marks and --object-encoder exclude each other: a model sees marks, or takes regions")
    if marks is None:
        return RegionModel(
            model,
            object_encoder,
            num_frames=num_frames,
            max_frames_per_region=max_frames_per_region,
            mask_policy=mask_policy,
            max_new_tokens=tokens,
            device=_device(),
        )
    if endpoint is None:
        return MarkedModel(model, marks, num_frames=num_frames, max_new_tokens=tokens, device=_device())
    chat = make_chat(model, endpoint, max_tokens=tokens, workers=workers)
    return MarkedEndpoint(chat, marks, num_frames=num_frames)


def make_judge(
    kind: str,
    model: str | None = None,
    *,
    endpoint: str | None = None,
    prompt: JudgePrompt | None = None,
    **settings: Any,
) -> Judge | None:
    """Who judges: `"endpoint"`, `"local"`, `"rule"`, or `"none"`.

    Args:
        kind (`str`): as above.
        model (`str`, *optional*): of the first two, its name or folder.
        endpoint (`str`, *optional*): address; that of OpenAI by default.
        prompt ([`JudgePrompt`], *optional*): what the first two are asked; for the scores of Bench-D by default.
        settings: of [`ChatEndpoint`].

    Raises:
        BenchError: the kind is unknown, the model is missing, or there is a prompt that nobody would be asked.
    """
    if kind not in _JUDGES:
        raise BenchError(f"the judge is {short(kind)}: expected one of {', '.join(_JUDGES)}")
    if kind in ("none", "rule"):
        if prompt is not None:
            raise BenchError(
                f"the judge is {kind!r}, which is asked nothing: leave out --judge-prompt, or choose endpoint or local"
            )
        return None if kind == "none" else RuleJudge()
    if not model:
        raise BenchError(f"the judge is {kind!r}, but there is no --judge-model: name one")
    chat = make_chat(model) if kind == "local" else make_chat(model, endpoint or OPENAI, **settings)
    return ChatJudge(chat, prompt or JUDGE_PROMPT)


def make_shard(rank: int | None, size: int | None) -> Shard:
    """The part of this process; as the environment says where nothing is given.

    Raises:
        BenchError: only one of the two is given.
    """
    if (rank is None) != (size is None):
        raise BenchError("--rank and --world-size belong together: give both, or none")
    return Shard.from_environment() if rank is None or size is None else Shard(rank, size)


def _device() -> str | None:
    """The GPU of this process, where a launcher started several."""
    if "LOCAL_RANK" not in os.environ:
        return None
    import torch

    return f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else None
