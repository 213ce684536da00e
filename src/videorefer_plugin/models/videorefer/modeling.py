"""VideoRefer: VideoLLaMA2.1 with an object encoder."""

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.errors import TensorError
from videorefer_plugin.models.cache import takes_cache
from videorefer_plugin.models.distinct import distinct_frames, take
from videorefer_plugin.models.videollama2.checks import LEADING, PIXELS, check_pixels, count_frames
from videorefer_plugin.models.videollama2.configuration import count_visual_tokens
from videorefer_plugin.models.videollama2.modeling import VideoLLaMA2ForConditionalGeneration
from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
from videorefer_plugin.models.videorefer.feature_rows import rows_by_sample
from videorefer_plugin.models.videorefer.region_inputs import (
    FlatRegions,
    RegionInputs,
    check_shown,
)
from videorefer_plugin.models.videorefer.regions import RegionMixin
from videorefer_plugin.models.videorefer.signature import region_forward

__all__ = ["VideoReferForConditionalGeneration"]


class VideoReferForConditionalGeneration(RegionMixin, VideoLLaMA2ForConditionalGeneration):
    """A Video LLM that answers questions about objects that are marked in a video.

    Example:

    ```python
    import videorefer_plugin as vr
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained("path/to/checkpoint")
    processor = AutoProcessor.from_pretrained("path/to/checkpoint")
    region = vr.Region.from_box((40, 30, 120, 200), frame=12)
    inputs = processor(
        text="<video>\\nWhat is <region> doing?", videos="dog.mp4", regions=[region], return_tensors="pt"
    )
    answer = model.generate(**inputs, max_new_tokens=64)
    ```
    """

    config: VideoReferConfig
    config_class = VideoReferConfig

    def __init__(self, config: VideoReferConfig):
        super().__init__(config)
        self.add_object_encoder(config.object_encoder_config)
        self.post_init()

    def check_visuals(
        self,
        input_ids: Tensor | None,
        inputs: dict[str, Any],
        regions: RegionInputs | None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None,
    ) -> None:
        """See [`RegionMixin.check_visuals`].

        Raises:
            PromptError: placeholders and visuals do not match.
            TensorError: tensors have the wrong shape or dtype, hold NaN or infinity, or point at frames that do not
                exist.
        """
        pixels = inputs.get("pixel_values"), inputs.get("pixel_values_videos")
        self.model.check_visuals(input_ids, *pixels, mm_encoder_outputs, inputs.get("video_lengths"))
        if regions is None:
            return
        assert regions.pixel_values is not None
        # `RegionInputs.collect` has looked for NaN and infinity.
        leading = ("batch", "max_frames")
        check_pixels(self.config, "region_pixel_values", regions.pixel_values, leading, values=False)
        if tuple(regions.masks.shape[2:]) != self.config.grid_size:
            rows, columns = self.config.grid_size
            raise TensorError(
                f"region_masks must have shape (batch, max_masks, {rows}, {columns}), with the grid of the vision "
                f"tower, but have shape {tuple(regions.masks.shape)}. resize_masks brings masks to a grid."
            )
        if input_ids is not None and not torch.compiler.is_compiling():
            self._check_frames(input_ids, inputs, regions, mm_encoder_outputs or {})

    def _check_frames(
        self,
        input_ids: Tensor,
        inputs: dict[str, Any],
        regions: RegionInputs,
        encoded: dict[str, BaseModelOutputWithPooling],
    ) -> None:
        """Check that masks lie on existing frames, by the shapes of visuals that are not encoded yet."""
        positions = {kind: (input_ids == self.placeholder_id(kind)).sum(dim=1) for kind in PIXELS}
        shown = torch.zeros_like(positions["video"])
        for kind, name in PIXELS.items():
            output = encoded.get(kind)
            if inputs.get(name) is not None:
                sizes = count_frames(self.config, kind, inputs[name], inputs.get("video_lengths"))
                rows, tokens = (torch.tensor(each, dtype=torch.long, device=shown.device) for each in sizes)
            elif output is not None and output.last_hidden_state is not None:
                rows, tokens = self.visual_rows(kind, output, inputs)
            else:
                continue
            shown = shown + rows_by_sample(positions[kind], tokens, rows)[1]
        flat = regions.for_samples((input_ids == self.region_token_id).sum(dim=1)).flatten()
        check_shown(flat, shown.to(flat.samples.device)[flat.samples])

    def check_pixels(
        self, inputs: dict[str, Any], mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None
    ) -> None:
        """See [`RegionMixin.check_pixels`]."""
        for kind, name in PIXELS.items():
            if inputs.get(name) is not None:
                check_pixels(self.config, name, inputs[name], LEADING[kind])

    def get_vision_tower(self) -> torch.nn.Module:
        """See [`RegionMixin.get_vision_tower`]."""
        return self.model.vision_tower

    def blank_visual(self, kind: str, device: torch.device) -> dict[str, Tensor]:
        """See [`RegionMixin.blank_visual`]."""
        size = self.config.vision_config.image_size
        leading = {"image": (1,), "video": (1, 2)}[kind]
        return {PIXELS[kind]: torch.zeros((*leading, 3, size, size), device=device)}

    def blank_region_features(self, device: torch.device) -> Tensor:
        """See [`RegionMixin.blank_region_features`]."""
        size = self.config.vision_config.image_size
        return self.model.get_frame_features(torch.zeros((1, 3, size, size), device=device))

    def encode_visuals(
        self, inputs: dict[str, Any], mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None
    ) -> dict[str, BaseModelOutputWithPooling]:
        """See [`RegionMixin.encode_visuals`]."""
        pixels = inputs.pop("pixel_values", None), inputs.pop("pixel_values_videos", None)
        return self.model.encode_visuals(*pixels, mm_encoder_outputs, inputs.get("video_lengths"))

    def visual_rows(
        self, kind: str, output: BaseModelOutputWithPooling, inputs: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """See [`RegionMixin.visual_rows`]. A row is a frame.

        Raises:
            TensorError: encoded videos have different lengths, and `video_lengths` is missing.
        """
        rows, tokens = super().visual_rows(kind, output, inputs)
        lengths = inputs.get("video_lengths") if kind == "video" else None
        if lengths is not None:
            return lengths.to(rows.device), tokens
        if kind == "video" and len(rows) and not torch.compiler.is_compiling():
            each = count_visual_tokens(int(rows[0]), self.config.grid_size, self.config.projector_type)
            if len(rows) * int(rows[0]) != len(output.last_hidden_state) or bool((tokens != each).any()):
                raise TensorError(
                    f"{len(output.last_hidden_state)} frame(s) of {len(rows)} encoded video(s) with {tokens.tolist()} "
                    "token(s) cannot be shared out evenly. Pass video_lengths, the number of frames of each video."
                )
        return rows, tokens

    def get_region_features(
        self,
        input_ids: Tensor,
        regions: RegionInputs,
        encoded: dict[str, BaseModelOutputWithPooling],
        inputs: dict[str, Any],
    ) -> tuple[Tensor, FlatRegions]:
        """See [`RegionMixin.get_region_features`]. Frames that no visual shows are encoded here, each once."""
        assert regions.pixel_values is not None
        flat = regions.flatten()
        row, known = self.place_rows(input_ids, flat, encoded, inputs)
        grids = [
            output.last_hidden_state.unflatten(1, self.config.grid_size)
            for output in (encoded.get("video"), encoded.get("image"))
            if output is not None and output.last_hidden_state is not None
        ]
        held = regions.pixel_values.shape[1]
        if held or not grids:
            # Frame -k of sample s is number s * held + k - 1 of all of them, some of which are padding.
            number = flat.samples * held - 1 - flat.frames
            fresh, place = self._encode_fresh(regions.pixel_values.flatten(0, 1), number, flat.frames < 0)
            grids.append(fresh.to(grids[0]) if grids else fresh)
            row = torch.where(flat.frames < 0, known + place, row)
        return grids[0] if len(grids) == 1 else torch.cat(grids), flat._replace(frames=row)

    def _encode_fresh(self, pixels: Tensor, number: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Encode frames that carry masks, and find for each wanted mask its row of the result."""
        if torch.compiler.is_compiling():
            return self.model.get_frame_features(pixels), number
        rows = torch.zeros_like(number)
        if not bool(wanted.any()):
            empty = torch.empty(
                (0, *self.config.grid_size, self.config.vision_config.hidden_size), device=number.device
            )
            return empty, rows
        used, place = number[wanted].unique(return_inverse=True)
        frames = pixels[used.to(pixels.device)]
        first, same = distinct_frames(frames)
        features = self.model.get_frame_features(take(frames, first))
        rows[wanted] = torch.tensor(same, dtype=rows.dtype, device=rows.device)[place]
        return features, rows

    forward = takes_cache(region_forward(RegionMixin, VideoLLaMA2ForConditionalGeneration, before="labels"))
    forward.__module__, forward.__qualname__ = __name__, "VideoReferForConditionalGeneration.forward"
    forward.__doc__ = """Predict the next token everywhere.

        Args:
            region_masks, region_frames, region_lengths, region_pixel_values:
                The regions of the batch, as the processor makes them; see [`RegionInputs`].
            object_tokens (`torch.FloatTensor` of shape `(batch, max_tokens, hidden_size)`, *optional*):
                Object tokens computed before, instead of the four above, padded at the end.
            object_token_counts (`torch.LongTensor` of shape `(batch,)`, *optional*):
                Number of object tokens of each sample; needed with `object_tokens`.

        The other arguments and the errors are those of [`VideoLLaMA2ForConditionalGeneration.forward`] and
        [`RegionMixin.check_regions`] and [`RegionInputs.collect`].
        """
