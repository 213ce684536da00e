"""VideoLLaMA2.1, this library's port: frame by frame on a square grid."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.hosts.grids import FrameGrids, VisualGrid
from videorefer_plugin.hosts.registry import Visual, first_rows, register_host
from videorefer_plugin.hosts.rows import EncodedRows, FrameHost, TowerRow
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.videorefer.feature_rows import token_counts

__all__ = ["VideoLLaMA2Host"]


class VideoLLaMA2Host(FrameHost):
    """See [`Host`]. To train from scratch on this host, `VideoReferForConditionalGeneration` is an alternative."""

    model_type = "videollama2"
    processor_names = ("VideoLLaMA2Processor",)
    places_images = True
    equal_frames = False

    def settings(self, processor: Any) -> set[str]:
        """See [`Host.settings`]. Its own settings are about frames, which are already chosen and padded."""
        return set()

    def call_processor(
        self, processor: Any, text: list[str], visuals: dict[str, list[Any]], metadata: list[Any], settings: dict
    ) -> dict[str, Any]:
        """See [`Host.call_processor`]. This processor takes any frames, without metadata."""
        return processor(
            text=text,
            videos=visuals["video"] or None,
            images=visuals["image"] or None,
            do_sample_frames=False,
            return_tensors="pt",
            **settings,
        )

    def locate(
        self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual], patch_size: int
    ) -> list[VisualGrid | None]:
        """See [`Host.locate`]."""
        pad = processor.image_aspect_ratio == "pad"
        first = first_rows(visuals, [visual.num_frames for visual in visuals])
        return [None if row is None else VisualGrid(row, processor.grid_size, pad_to_square=pad) for row in first]

    def visual_rows(self, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """See [`Host.visual_rows`]. Frames that pad a clip to the longest of the batch have no rows."""
        lengths = inputs.get("video_lengths") if kind == "video" else None
        if lengths is None:
            return super().visual_rows(model, kind, output, inputs)
        return lengths, token_counts(output.pooler_output)

    @property
    def square(self) -> bool:
        """See [`FrameHost.square`]. Its `lay_out` only leaves out padding of batches."""
        return type(self).lay_out is VideoLLaMA2Host.lay_out

    def row_parts(self, model: Any) -> tuple[str, ...]:
        """See [`RowHost.row_parts`]. The connector makes tokens of whole clips."""
        return ("features",)

    def joined_parts(self, model: Any) -> tuple[str, ...]:
        """See [`RowHost.joined_parts`]."""
        return self.row_parts(model)

    def with_parts(self, processor: Any, wrap: Callable[[Any], Any]) -> Any:
        """See [`Host.with_parts`]."""
        own = copy.copy(processor)
        own.preprocess_frames = wrap(processor.preprocess_frames)
        return own

    def encode_rows(self, model: Any, kind: str, rows: Sequence[TowerRow]) -> list[dict[str, Tensor]]:
        """See [`RowHost.encode_rows`]."""
        pixels = torch.stack([row.pixels for row in rows]).to(device_of(model))
        return [{"features": grid.flatten(0, 1)} for grid in model.base_model.get_frame_features(pixels)]

    def join_rows(self, model: Any, kind: str, parts: Sequence[dict[str, Tensor]]) -> Any:
        """See [`RowHost.join_rows`]."""
        frames = torch.stack([each["features"] for each in parts])
        clip = frames.unflatten(1, model.config.grid_size)
        if kind == "image":
            clip = clip.expand(model.config.num_frames, -1, -1, -1)
        return EncodedRows(pooler_output=torch.stack(list(model.base_model.connector([clip]))))

    def lay_out(self, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> FrameGrids:
        """See [`Host.lay_out`]."""
        features = self.select_features(model.config, output)
        lengths = inputs.get("video_lengths") if kind == "video" else None
        if lengths is not None and len(features) != int(lengths.sum()):
            clips = features.unflatten(0, (len(lengths), -1))
            features = clips[torch.arange(clips.shape[1], device=clips.device) < lengths.to(clips.device)[:, None]]
        return FrameGrids.uniform(features)


register_host(VideoLLaMA2Host())
