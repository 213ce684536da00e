"""VideoRefer: VideoLLaMA2.1 with an object encoder."""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.errors import TensorError
from videorefer_plugin.models.cache import takes_cache
from videorefer_plugin.models.videollama2.checks import check_pixels
from videorefer_plugin.models.videollama2.modeling import (
    VideoLLaMA2CausalLMOutputWithPast,
    VideoLLaMA2ForConditionalGeneration,
)
from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
from videorefer_plugin.models.videorefer.regions import RegionInputs, RegionMixin

__all__ = ["VideoReferForConditionalGeneration"]


class VideoReferForConditionalGeneration(RegionMixin, VideoLLaMA2ForConditionalGeneration):  # type: ignore[misc]
    """A Video LLM that can be pointed at objects.

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
        self.model.check_visuals(input_ids, *pixels, mm_encoder_outputs)
        if regions is None:
            return
        assert regions.pixel_values is not None
        # `RegionInputs.collect` has looked for NaN and infinity.
        check_pixels(self.config, "region_pixel_values", regions.pixel_values, ("num_frames",), values=False)
        if tuple(regions.masks.shape[1:]) != self.config.grid_size:
            rows, columns = self.config.grid_size
            raise TensorError(
                f"region_masks must have shape (num_masks, {rows}, {columns}), the grid of the vision tower, but have "
                f"shape {tuple(regions.masks.shape)}. resize_masks brings masks to a grid."
            )
        known = sum(values.shape[:-3].numel() for values in pixels if values is not None)
        for output in (mm_encoder_outputs or {}).values():
            if output is not None and output.last_hidden_state is not None:
                known += len(output.last_hidden_state)
        _check_clip_frames(regions.clip_frames, len(regions.pixel_values), known)

    def get_vision_tower(self) -> torch.nn.Module:
        """See [`RegionMixin.get_vision_tower`]."""
        return self.model.vision_tower

    def encode_visuals(
        self, inputs: dict[str, Any], mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None
    ) -> dict[str, BaseModelOutputWithPooling]:
        """See [`RegionMixin.encode_visuals`]."""
        pixels = inputs.pop("pixel_values", None), inputs.pop("pixel_values_videos", None)
        return self.model.encode_visuals(*pixels, mm_encoder_outputs)

    def get_region_features(self, regions: RegionInputs, encoded: dict[str, BaseModelOutputWithPooling]) -> Tensor:
        """Encode mask-carrying frames, except those that were encoded as part of an image or clip."""
        pixels, clip_frames = regions.pixel_values, regions.clip_frames
        assert pixels is not None
        grids = [
            output.last_hidden_state.unflatten(1, self.config.grid_size)
            for output in (encoded.get("image"), encoded.get("video"))
            if output is not None and output.last_hidden_state is not None
        ]
        if clip_frames is None or not grids:
            return self.model.get_frame_features(pixels)
        known = torch.cat(grids)
        _check_clip_frames(clip_frames, len(pixels), len(known))
        fresh = clip_frames < 0
        features = known[clip_frames.clamp(min=0).to(known.device)]
        if bool(fresh.any()):
            new = self.model.get_frame_features(pixels[fresh.to(pixels.device)])
            features = features.index_put((fresh.nonzero().squeeze(1).to(features.device),), new.to(features))
        return features

    @takes_cache
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        region_pixel_values: Tensor | None = None,
        region_masks: Tensor | None = None,
        region_frames: Tensor | None = None,
        region_lengths: Tensor | None = None,
        region_clip_frames: Tensor | None = None,
        object_tokens: Tensor | None = None,
        object_token_counts: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> VideoLLaMA2CausalLMOutputWithPast:
        """Predict the next token everywhere.

        Args:
            region_pixel_values, region_masks, region_frames, region_lengths, region_clip_frames:
                The regions of the batch, as the processor makes them; see [`RegionInputs`].
            object_tokens (`torch.FloatTensor` of shape `(batch, max_tokens, hidden_size)`, *optional*):
                Object tokens computed before, instead of the five above, padded at the end.
            object_token_counts (`torch.LongTensor` of shape `(batch,)`, *optional*):
                Number of object tokens of each sample; needed with `object_tokens`.

        The other arguments and the errors are those of [`VideoLLaMA2ForConditionalGeneration.forward`] and
        [`RegionMixin.check_regions`] and [`RegionInputs.collect`].
        """
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            region_pixel_values=region_pixel_values,
            region_masks=region_masks,
            region_frames=region_frames,
            region_lengths=region_lengths,
            region_clip_frames=region_clip_frames,
            object_tokens=object_tokens,
            object_token_counts=object_token_counts,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )


def _check_clip_frames(places: Tensor | None, frames: int, known: int) -> None:
    """Check that mask-carrying frames are found among the `known` frames of the batch's images and videos."""
    if places is None or not known or torch.compiler.is_compiling():
        return
    if places.shape[0] != frames or not all(-1 <= place < known for place in places.tolist()):
        raise TensorError(
            f"region_clip_frames must hold, for each of the {frames} mask-carrying frame(s), its place among the "
            f"{known} frame(s) of the images and videos or -1, but is {places.tolist()}."
        )
