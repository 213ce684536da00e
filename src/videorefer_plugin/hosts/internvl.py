"""InternVL: the frames of a video are images to it, frame by frame on a square grid behind a class token."""

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videorefer_plugin.hosts.registry import Visual, register_host
from videorefer_plugin.hosts.repeats import spread_output
from videorefer_plugin.hosts.smolvlm import FramesAsImagesHost
from videorefer_plugin.inputs.placeholders import placeholder_kinds
from videorefer_plugin.models.distinct import distinct_frames

__all__ = ["InternVLHost"]

_CLIPS = "pixel_values_videos"


class InternVLHost(FramesAsImagesHost):
    """See [`Host`]."""

    model_type = "internvl"
    processor_names = ("InternVLProcessor",)
    equal_frames = False
    clips = False

    def call_processor(
        self, processor: Any, text: list[str], visuals: dict[str, list[Any]], metadata: list[Any], settings: dict
    ) -> dict[str, Any]:
        """See [`Host.call_processor`]. This processor stacks clips of equal length, so shorter ones are padded.

        It does not return the positions of its placeholders either; they are recorded here.
        """
        own = copy.copy(processor)
        lengths = [len(video) for video in visuals["video"]]
        longest = max(lengths, default=0)
        ragged = any(length < longest for length in lengths)
        if ragged:

            def replace_video_token(video_inputs: Any, video_idx: int, **kwargs: Any) -> Any:
                clips = [clip[:length] for clip, length in zip(video_inputs[_CLIPS], lengths, strict=True)]
                return processor.replace_video_token({**video_inputs, _CLIPS: clips}, video_idx, **kwargs)

            own.replace_video_token = replace_video_token
            filled = [video[np.minimum(np.arange(longest), len(video) - 1)] for video in visuals["video"]]
            visuals = {**visuals, "video": filled}
        noted: list[Any] = []
        note = bool(settings.get("return_text_replacement_offsets"))
        if note:

            def get_text_with_replacements(*args: Any, **kwargs: Any) -> Any:
                expanded, offsets = processor.get_text_with_replacements(*args, **kwargs)
                noted.extend(offsets)
                return expanded, offsets

            own.get_text_with_replacements = get_text_with_replacements
            settings = {name: value for name, value in settings.items() if name != "return_text_replacement_offsets"}
        outputs = dict(super().call_processor(own if note or ragged else processor, text, visuals, metadata, settings))
        if note:
            outputs["text_replacement_offsets"] = noted
        if ragged:
            outputs["pixel_values"] = self._without_filling(processor, text, outputs, lengths)
        return outputs

    def _without_filling(self, processor: Any, text: list[str], outputs: dict[str, Any], lengths: list[int]) -> Tensor:
        tokens = {kind: getattr(processor, f"{kind}_token") for kind in ("video", "image")}
        left = iter(lengths)
        visuals = [
            Visual(kind, next(left) if kind == "video" else 1, sample)
            for sample, prompt in enumerate(text)
            for kind in placeholder_kinds(prompt, tokens)
        ]
        rows = self.image_rows(processor, outputs, visuals)
        shown = [visual.num_frames if count is None else count for visual, count in zip(visuals, rows, strict=True)]
        held = [max(lengths) if count is None else count for count in rows]
        parts = outputs["pixel_values"].split(held)
        return torch.cat([part[:count] for part, count in zip(parts, shown, strict=True)])

    def select_features(self, config: Any, output: Any) -> Tensor:
        """See [`Host.select_features`]."""
        layer = config.vision_feature_layer
        features = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
        return features[:, 1:] if config.vision_feature_select_strategy == "default" else features

    def image_rows(self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual]) -> list[int | None]:
        """See [`FramesAsImagesHost.image_rows`]. An image's tiles fill one run of positions, every frame another."""
        runs = [iter(_runs(torch.as_tensor(ids) == processor.image_token_id)) for ids in outputs["input_ids"]]
        rows: list[int | None] = []
        for visual in visuals:
            if visual.kind == "image":
                rows.append(next(runs[visual.sample], 0) // processor.image_seq_length)
            else:
                rows.append(None)
                list(itertools.islice(runs[visual.sample], visual.num_frames))
        return rows

    def encode_distinct(self, encode: Callable[..., Any], kind: str, pixels: Tensor, arguments: dict[str, Any]) -> Any:
        """See [`Host.encode_distinct`]."""
        first, place = distinct_frames(pixels)
        if len(first) == len(pixels):
            return super().encode_distinct(encode, kind, pixels, arguments)
        output = super().encode_distinct(encode, kind, pixels[first], arguments)
        return spread_output(output, place, len(first))


def _runs(places: Tensor) -> list[int]:
    """Lengths of the runs of positions that are true."""
    values, counts = torch.unique_consecutive(places, return_counts=True)
    return counts[values].tolist()


register_host(InternVLHost())
