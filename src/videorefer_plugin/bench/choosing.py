"""Choice of the answerer and the judge by settings, such as those of a command line."""

import os
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.bench.answerers import Answerer, BoxText, MarkedEndpoint, MarkedModel, RegionModel
from videorefer_plugin.bench.benchmarks.base import Benchmark
from videorefer_plugin.bench.benchmarks.registry import benchmark_of
from videorefer_plugin.bench.frame_by_frame import FramesThenSummary
from videorefer_plugin.bench.judge_prompts import JudgePrompt
from videorefer_plugin.bench.judges import ChatJudge, Judge, RuleJudge
from videorefer_plugin.bench.region_endpoint import RegionEndpoint
from videorefer_plugin.bench.runner import Shard
from videorefer_plugin.bench.seeing import FrameEndpoint, FrameModel, Seer
from videorefer_plugin.chat.choosing import OPENAI, make_chat
from videorefer_plugin.chat.regions import visual_settings
from videorefer_plugin.errors import BenchError
from videorefer_plugin.video.sampling import check_sampled

__all__ = ["ANSWERERS", "make_answerer", "make_judge", "make_shard"]

REGIONS, BOXES, SUMMARY = "regions", "box-text", "frames-then-summary"
ANSWERERS = (REGIONS, "marks", SUMMARY, BOXES)
_JUDGES = ("endpoint", "local", "rule", "none")


def make_answerer(
    benchmark: str | Benchmark[Any],
    model: str,
    *,
    answerer: str | None = None,
    object_encoder: str | None = None,
    marks: str | None = None,
    box_format: str | None = None,
    endpoint: str | None = None,
    regions: bool = False,
    summary_model: str | None = None,
    summary_endpoint: str | None = None,
    num_frames: int | None = None,
    max_frames_per_region: int | None = None,
    mask_policy: str | None = None,
    max_new_tokens: int | None = None,
    workers: int = 4,
) -> Answerer:
    """Return the answerer for some settings.

    Args:
        benchmark: the benchmark, or its name.
        model (`str`): folder or Hub id; with `endpoint`, its name there.
        answerer (`str`, *optional*): one of `ANSWERERS`. Default: `"marks"` if `marks` is given, `"box-text"` if
            `box_format` is given, and `"regions"` otherwise.
        object_encoder (`str`, *optional*): folder of the saved object encoder, for a host that takes regions.
        marks (`str`, *optional*): style of marks. Default: contours.
        box_format (`str`, *optional*): format of boxes. Default: from 0 to 1.
        endpoint (`str`, *optional*): address of an OpenAI-compatible endpoint.
        regions (`bool`, *optional*, defaults to `False`): whether the endpoint is one of `videorefer serve`, which
            takes regions.
        summary_model (`str`, *optional*): model that merges the answers about single frames. Default: the same model.
        summary_endpoint (`str`, *optional*): address of that model. Default: it is loaded here.
        num_frames (`int`, *optional*): see the classes of answerers.
        max_frames_per_region (`int`, *optional*): see [`RegionModel`]. Default: the benchmark's value.
        mask_policy (`str`, *optional*): see [`RegionModel`].
        max_new_tokens (`int`, *optional*): most tokens of an answer. Default: the benchmark's value.
        workers (`int`): concurrent requests to an endpoint.

    Raises:
        BenchError: settings exclude each other, or have an unknown value.
        VideoError: `num_frames` is more than can be shown.
    """
    if num_frames is not None:
        check_sampled(num_frames, "num_frames")
    benchmark = benchmark_of(benchmark)
    tokens = max_new_tokens or benchmark.max_new_tokens
    kind = _kind_of_answerer(answerer, marks, box_format)
    if regions and (kind != REGIONS or endpoint is None or object_encoder is not None):
        raise BenchError(
            "--regions says that an endpoint takes regions: give --endpoint, the address of a model behind videorefer "
            "serve, and leave out --object-encoder and other ways to show objects"
        )
    if kind != REGIONS and object_encoder is not None:
        given = "--marks" if marks is not None else f"--answerer {kind}"
        sees = "marks" if kind == "marks" else "no regions"
        raise BenchError(f"{given} and --object-encoder exclude each other: a model sees {sees}, or takes regions")
    if kind != REGIONS:
        _refuse_region_settings(kind, marks, max_frames_per_region=max_frames_per_region, mask_policy=mask_policy)
    if kind != SUMMARY and (summary_model is not None or summary_endpoint is not None):
        raise BenchError(f"only --answerer {SUMMARY} has a summary: leave out --summary-model and --summary-endpoint")
    if summary_endpoint is not None and summary_model is None:
        raise BenchError("there is a --summary-endpoint, but no --summary-model: name the model there")
    if kind == REGIONS:
        if endpoint is not None:
            if not regions:
                raise BenchError(
                    "a model behind an endpoint takes no regions, unless videorefer serve runs there, which --regions "
                    "says: choose --marks contour, mask or box, or another --answerer "
                    f"({', '.join(one for one in ANSWERERS if one != REGIONS)})"
                )
            shown = visual_settings(
                num_frames=num_frames,
                max_frames_per_region=max_frames_per_region or benchmark.max_frames_per_region,
                mask_policy=mask_policy,
            )
            return RegionEndpoint(make_chat(model, endpoint, max_tokens=tokens, workers=workers, extra=shown))
        return RegionModel(
            model,
            object_encoder,
            num_frames=num_frames,
            max_frames_per_region=max_frames_per_region or benchmark.max_frames_per_region,
            mask_policy=mask_policy,
            max_new_tokens=tokens,
            device=_device(),
        )
    chat = None if endpoint is None else make_chat(model, endpoint, max_tokens=tokens, workers=workers)
    if kind == "marks":
        style = marks or "contour"
        if chat is not None:
            return MarkedEndpoint(chat, style, num_frames=num_frames)
        return MarkedModel(model, style, num_frames=num_frames, max_new_tokens=tokens, device=_device())
    seer: Seer = FrameModel(model, max_new_tokens=tokens, device=_device()) if chat is None else FrameEndpoint(chat)
    if kind == BOXES:
        return BoxText(seer, box_format or "0-1", num_frames=num_frames)
    summary = None
    if summary_model is not None:
        if summary_endpoint is None:
            _refuse_embedded("--summary-model", summary_model, "leave it out, and the model itself sums up")
        summary = make_chat(summary_model, summary_endpoint, max_tokens=tokens, workers=workers, device=_device())
    return FramesThenSummary(seer, summary, style=marks, box_format=box_format, num_frames=num_frames)


def _kind_of_answerer(answerer: str | None, marks: str | None, box_format: str | None) -> str:
    if marks is not None and box_format is not None:
        raise BenchError("--marks and --box-format exclude each other: objects are drawn, or their boxes are in words")
    if answerer is None:
        return "marks" if marks is not None else BOXES if box_format is not None else REGIONS
    if answerer not in ANSWERERS:
        raise BenchError(f"the answerer is {short(answerer)}: expected one of {', '.join(ANSWERERS)}")
    if marks is not None and answerer not in ("marks", SUMMARY):
        raise BenchError(f"--answerer {answerer} sees no marks: leave out --marks, or choose --answerer marks")
    if box_format is not None and answerer not in (BOXES, SUMMARY):
        raise BenchError(
            f"--answerer {answerer} has no boxes in words: leave out --box-format, or choose --answerer {BOXES}"
        )
    return answerer


def _refuse_region_settings(kind: str, marks: str | None, **given: Any) -> None:
    """Refuse settings of regions for answerers that do not take regions."""
    for name, value in given.items():
        if value is not None:
            answerer = "--marks" if marks is not None and kind == "marks" else f"--answerer {kind}"
            raise BenchError(
                f"{answerer} uses no --{name.replace('_', '-')}, which is about how regions are used: leave it out, "
                f"or choose --answerer {REGIONS}"
            )


def _refuse_embedded(option: str, model: str, remedy: str) -> None:
    """Refuse the embedded model where a chat model is needed, unless there is a folder of that name."""
    if model == "embedded" and not os.path.isdir(model):
        raise BenchError(
            f"{option} is 'embedded', the model that comes with the package, which answers about videos and is not a "
            f"chat model: name the folder or Hub id of one; {remedy}"
        )


def make_judge(
    kind: str,
    model: str | None = None,
    *,
    endpoint: str | None = None,
    prompt: JudgePrompt | None = None,
    **settings: Any,
) -> Judge | None:
    """Return the judge of a kind: `"endpoint"`, `"local"`, `"rule"`, or `"none"`.

    Args:
        kind (`str`): the kind.
        model (`str`, *optional*): name or folder of the model, for the first two kinds.
        endpoint (`str`, *optional*): address of the endpoint. Default: OpenAI's.
        prompt ([`JudgePrompt`], *optional*): prompt for the first two kinds. Default: the benchmark's.
        settings: settings of [`ChatEndpoint`].

    Raises:
        BenchError: the kind is unknown, the model is missing, or the judge takes no prompt.
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
    if kind == "local":
        _refuse_embedded("--judge-model", model, "--judge rule judges the shapes world")
        return ChatJudge(make_chat(model, device=_device()), prompt)
    chat = make_chat(model, endpoint or OPENAI, **settings)
    return ChatJudge(chat, prompt)


def make_shard(rank: int | None, size: int | None) -> Shard:
    """Return the share of this process, from the environment if nothing is given.

    Raises:
        BenchError: only one of the two is given.
    """
    if (rank is None) != (size is None):
        raise BenchError("--rank and --world-size belong together: give both, or none")
    return Shard.from_environment() if rank is None or size is None else Shard(rank, size)


def _device() -> str | None:
    """Return the GPU of this process if a launcher started several."""
    if "LOCAL_RANK" not in os.environ:
        return None
    import torch

    said = os.environ["LOCAL_RANK"]
    if not said.isascii() or not said.isdigit():
        raise BenchError(
            f"The environment says LOCAL_RANK={short(said)}: expected a whole number from 0 up, which launchers set; "
            "unset it for a single process"
        )
    return f"cuda:{said}" if torch.cuda.is_available() else None
