"""InternVL: the frames of a video are images to it, frame by frame on a square grid behind a class token."""

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.hosts.registry import Visual, register_host
from videorefer_plugin.hosts.repeats import spread_output
from videorefer_plugin.hosts.smolvlm import FramesAsImagesHost
from videorefer_plugin.models.distinct import distinct_frames

__all__ = ["InternVLHost"]


class InternVLHost(FramesAsImagesHost):
    """See [`Host`]."""

    model_type = "internvl"
    processor_names = ("InternVLProcessor",)

    def call_processor(
        self, processor: Any, text: list[str], visuals: dict[str, list[Any]], metadata: list[Any], settings: dict
    ) -> dict[str, Any]:
        """See [`Host.call_processor`]. This processor fails to return where its placeholders are; they are noted."""
        if not settings.get("return_text_replacement_offsets"):
            return super().call_processor(processor, text, visuals, metadata, settings)
        noted: list[Any] = []
        noting = copy.copy(processor)

        def get_text_with_replacements(*args: Any, **kwargs: Any) -> Any:
            expanded, offsets = processor.get_text_with_replacements(*args, **kwargs)
            noted.extend(offsets)
            return expanded, offsets

        noting.get_text_with_replacements = get_text_with_replacements
        others = {name: value for name, value in settings.items() if name != "return_text_replacement_offsets"}
        outputs = super().call_processor(noting, text, visuals, metadata, others)
        return {**outputs, "text_replacement_offsets": noted}

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
    """Lengths of the runs of places that are true."""
    values, counts = torch.unique_consecutive(places, return_counts=True)
    return counts[values].tolist()


register_host(InternVLHost())
