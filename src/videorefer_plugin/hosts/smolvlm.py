"""SmolVLM2: the frames of a video are images to it, frame by frame on a square grid."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.errors import PromptError
from videorefer_plugin.hosts.grids import VisualGrid
from videorefer_plugin.hosts.registry import Visual, first_rows, register_host
from videorefer_plugin.hosts.repeats import distinct_by, spread_output
from videorefer_plugin.hosts.rows import FrameHost, TowerRow
from videorefer_plugin.models.distinct import distinct_frames
from videorefer_plugin.models.videorefer.feature_rows import token_counts

__all__ = ["FramesAsImagesHost", "SmolVLMHost"]


class FramesAsImagesHost(FrameHost):
    """See [`Host`]. Videos and images share one tensor, in prompt order, and so do the rows of a sample."""

    encoders = {"image": ("pixel_values", "get_image_features")}  # noqa: RUF012 - read only

    def visual_rows(self, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """See [`Host.visual_rows`]. Every frame and every tile fills equally many positions."""
        rows, tokens = len(output.last_hidden_state), int(token_counts(output.pooler_output).sum())
        ones = torch.ones(rows, dtype=torch.long)
        return ones, ones * (tokens // max(rows, 1))

    def image_rows(self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual]) -> list[int | None]:
        """The number of tiles of each visual that is an image; `None` if it is unknown, and for videos."""
        return [None] * len(visuals)

    def locate(
        self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual], patch_size: int
    ) -> list[VisualGrid | None]:
        """See [`Host.locate`]."""
        height, width = outputs["pixel_values"].shape[-2:]
        tiles = self.image_rows(processor, outputs, visuals)
        rows = [
            visual.num_frames if visual.kind == "video" else count
            for visual, count in zip(visuals, tiles, strict=True)
        ]
        return [
            None
            if row is None or visual.kind == "image"
            else VisualGrid(row, (height // patch_size, width // patch_size))
            for visual, row in zip(visuals, first_rows(visuals, rows, prompt_order=True), strict=True)
        ]


class SmolVLMHost(FramesAsImagesHost):
    """See [`Host`]. The host drops frames that only pad a batch, so rows count real frames."""

    model_type = "smolvlm"
    processor_names = ("SmolVLMProcessor",)
    tower_name = "vision_model"
    equal_frames = False

    def call_processor(
        self, processor: Any, text: list[str], visuals: dict[str, list[Any]], metadata: list[Any], settings: dict
    ) -> dict[str, Any]:
        """See [`Host.call_processor`]. This processor counts visuals prompt by prompt.

        Raises:
            PromptError: there are videos and images, of which it would silently keep the videos alone.
        """
        if visuals["video"] and visuals["image"]:
            raise PromptError(
                f"{len(visuals['video'])} video(s) and {len(visuals['image'])} image(s) were given, but processors of "
                "smolvlm hosts take either in one call. Show images as videos of one frame, videos=[[image]], prepare "
                "prompts with videos and those with images in calls of their own, or use another host: all others "
                "take both."
            )
        lengths = [len(video) for video in visuals["video"]]
        own = copy.copy(processor)
        if len(set(lengths)) > 1:  # it would give every video as many frames as the longest

            def replace_video_token(video_inputs: Any, video_idx: int, **kwargs: Any) -> Any:
                frames = video_inputs["pixel_values"][:, : lengths[video_idx]]
                return processor.replace_video_token({**video_inputs, "pixel_values": frames}, video_idx, **kwargs)

            own.replace_video_token = replace_video_token
        nested: dict[str, list[Any]] = {}
        for kind, token in (("video", processor.video_token), ("image", processor.image_token)):
            left = iter(visuals[kind])
            by_prompt = [[next(left) for _ in range(prompt.count(token))] for prompt in text]
            nested[kind] = by_prompt if visuals[kind] else []
        return super().call_processor(own, text, nested, metadata, settings)

    def cut_rows(self, model: Any, kind: str, inputs: dict[str, Any]) -> list[TowerRow] | None:
        """See [`RowHost.cut_rows`]. The host leaves out frames of zeros."""
        rows = super().cut_rows(model, kind, inputs)
        if rows is None or not all(bool(row.pixels.any()) for row in rows):
            return None
        mask = inputs.get("pixel_attention_mask")
        if mask is None:
            return rows
        return [row._replace(mask=own) for row, own in zip(rows, mask.flatten(0, 1), strict=True)]

    def encode_distinct(self, encode: Callable[..., Any], kind: str, pixels: Tensor, arguments: dict[str, Any]) -> Any:
        """See [`Host.encode_distinct`]. Frames of zeros are padding, which the host leaves out."""
        frames = pixels.flatten(0, 1)
        real = frames.flatten(1).ne(0).any(dim=1)
        frames, counts = frames[real], real.view(pixels.shape[:2]).sum(dim=1).tolist()
        mask = arguments.get("pixel_attention_mask")
        if mask is None:
            first, place = distinct_frames(frames)
        else:
            mask = mask.flatten(0, 1)[real.to(mask.device)]
            first, place = distinct_by(frames, mask)
        if len(first) == len(frames):
            return super().encode_distinct(encode, kind, pixels, arguments)
        if mask is not None:
            arguments = {**arguments, "pixel_attention_mask": mask[first].unsqueeze(0)}
        output = super().encode_distinct(encode, kind, frames[first].unsqueeze(0), arguments)
        tokens = output.pooler_output
        output = spread_output(output, place, len(first))
        if not isinstance(tokens, Tensor):  # from transformers 5.19, a list with the visuals of each sample
            rows = torch.cat(list(tokens)).unflatten(0, (len(first), -1))[place]
            output.pooler_output = [each.flatten(0, 1) for each in rows.split(counts)]
        return output


register_host(SmolVLMHost())
