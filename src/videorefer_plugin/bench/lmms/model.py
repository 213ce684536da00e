"""The model of lmms-eval for models of this library, and for hosts with an object encoder."""

import os
from collections.abc import Sequence
from typing import Any

from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms

from videorefer_plugin.asking import answer
from videorefer_plugin.bench.answerers import RegionModel
from videorefer_plugin.bench.lmms.documents import RegionVideo
from videorefer_plugin.bench.runner import Shard
from videorefer_plugin.embedded import checkpoint
from videorefer_plugin.errors import BenchError

__all__ = ["VideoReferLMMS"]

# Settings of `generate` that tasks may give; their other settings concern other models.
_GENERATION = ("do_sample", "temperature", "top_p", "top_k", "num_beams", "repetition_penalty")


class VideoReferLMMS(lmms):
    """The model that lmms-eval runs with `--model videorefer --model_args pretrained=...`.

    Args:
        pretrained (`str`): folder or Hub id, or "embedded" for the embedded model.
        object_encoder (`str`, *optional*): for a host, folder of the saved object encoder.
        num_frames (`int`, *optional*): frames to sample. Default: the checkpoint's number.
        max_frames_per_region (`int`, *optional*): most frames of an object to use.
        mask_policy (`str`, *optional*): `"keep"` or `"original"`.
        batch_size (`int`): number of requests in a batch.
        device (`str`, *optional*): device of the model.
    """

    def __init__(
        self,
        pretrained: str,
        object_encoder: str | None = None,
        num_frames: int | str | None = None,
        max_frames_per_region: int | str | None = None,
        mask_policy: str | None = None,
        batch_size: int | str = 1,
        device: str | None = None,
        max_batch_size: Any = None,
    ):
        super().__init__()
        shard = Shard.from_environment()
        self._rank, self._world_size = shard.rank, shard.size
        if self._world_size > 1:
            from accelerate import Accelerator

            self.accelerator = Accelerator()
            device = str(self.accelerator.device)
        self.batch_size = int(batch_size)
        self._answerer = RegionModel(
            checkpoint(pretrained),
            object_encoder,
            num_frames=None if num_frames is None else int(num_frames),
            max_frames_per_region=None if max_frames_per_region is None else int(max_frames_per_region),
            mask_policy=mask_policy,
            device=device,
        )

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Answer requests in their order, in batches; see lmms-eval."""
        answers: list[str] = []
        batch: list[tuple[Any, list[Any]]] = []
        settings: dict[str, Any] = {}
        for request in requests:
            text, kwargs, doc_to_visual, number, task, split = request.args
            visuals = [
                visual for visual in doc_to_visual(self.task_dict[task][split][number]) or [] if visual is not None
            ]
            if batch and (len(batch) == self.batch_size or kwargs != settings):
                answers += self._answer(batch, settings)
                batch = []
            settings = kwargs
            batch.append(_conversation(text, visuals))
        return answers + (self._answer(batch, settings) if batch else [])

    def _answer(self, batch: list[tuple[Any, list[Any]]], settings: dict[str, Any]) -> list[str]:
        model, processor = self._answerer.load()
        generation = {name: settings[name] for name in _GENERATION if settings.get(name) is not None}
        if not generation.get("do_sample", False):
            # Sampling settings have no effect in greedy decoding, and transformers would warn each time.
            generation = {
                name: value for name, value in generation.items() if name not in ("temperature", "top_p", "top_k")
            }
        texts = answer(
            model,
            processor,
            [conversation for conversation, _ in batch],
            [regions for _, regions in batch],
            max_new_tokens=int(settings.get("max_new_tokens", self._answerer.max_new_tokens)),
            processor_kwargs=self._answerer.processor_kwargs,
            **generation,
        )
        until = settings.get("until") or []
        return [_cut(text, [until] if isinstance(until, str) else until) for text in texts]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Raise an error: tasks that compare likelihoods are not supported."""
        raise BenchError(
            "videorefer answers questions; tasks that compare likelihoods are not supported: choose others"
        )

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Raise an error: tasks with several rounds of questions are not supported."""
        raise BenchError("videorefer has no tasks in several rounds: choose others")


def _conversation(text: str, visuals: list[Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return one user message, and its regions."""
    regions = [region for visual in visuals if isinstance(visual, RegionVideo) for region in visual.regions]
    content: list[dict[str, Any]] = []
    if len(visuals) > 1:
        content.append({"type": "video", "video": visuals})  # frames
    elif visuals:
        kind = "video" if isinstance(visuals[0], (str, os.PathLike, list)) else "image"
        kind = visuals[0].kind if isinstance(visuals[0], RegionVideo) else kind
        content.append({"type": kind, kind: visuals[0]})
    # Texts of other benchmarks may hold placeholders, which would be taken for visuals here.
    for token in ("<image>", "<video>", *(() if regions else ("<region>",))):
        text = text.replace(token, "")
    content.append({"type": "text", "text": text})
    return [{"role": "user", "content": content}], regions


def _cut(text: str, ends: Sequence[str]) -> str:
    """Return a text up to the first of some endings. The default of tasks, blank lines, may be part of answers."""
    for end in ends:
        if end.strip():
            text = text.split(end)[0]
    return text.strip()
