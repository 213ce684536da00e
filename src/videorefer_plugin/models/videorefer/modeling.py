"""VideoRefer: VideoLLaMA2.1 with an object encoder."""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.errors import TensorError
from videorefer_plugin.models.videollama2.modeling import (
    VideoLLaMA2CausalLMOutputWithPast,
    VideoLLaMA2ForConditionalGeneration,
)
from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
from videorefer_plugin.models.videorefer.regions import RegionMixin

__all__ = ["VideoReferForConditionalGeneration"]


class VideoReferForConditionalGeneration(RegionMixin, VideoLLaMA2ForConditionalGeneration):
    """A Video LLM that can be pointed at objects.

    Example:

    ```python
    import videorefer_plugin as vr
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained("path/to/checkpoint")
    processor = AutoProcessor.from_pretrained("path/to/checkpoint")
    region = vr.Region.from_box((40, 30, 120, 200), frame=12)
    inputs = processor(text="<video>\\nWhat is <region> doing?", videos="dog.mp4", regions=[region], return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=64)
    ```
    """

    config: VideoReferConfig
    config_class = VideoReferConfig

    def __init__(self, config: VideoReferConfig):
        super().__init__(config)
        self.add_object_encoder(config.object_encoder_config)
        self.post_init()

    def encode_visuals(
        self, inputs: dict[str, Any], mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None
    ) -> dict[str, BaseModelOutputWithPooling]:
        """See [`RegionMixin.encode_visuals`]."""
        pixels = inputs.pop("pixel_values", None), inputs.pop("pixel_values_videos", None)
        return self.model.encode_visuals(*pixels, mm_encoder_outputs)

    def get_region_features(
        self,
        region_pixel_values: Tensor,
        region_clip_frames: Tensor | None,
        encoded: dict[str, BaseModelOutputWithPooling],
    ) -> Tensor:
        """Encode mask-carrying frames, except those that were encoded as part of an image or clip."""
        self.model.check_pixels("region_pixel_values", region_pixel_values, ("num_frames",))
        grids = [
            output.last_hidden_state.unflatten(1, self.config.grid_size)
            for output in (encoded.get("image"), encoded.get("video"))
            if output is not None and output.last_hidden_state is not None
        ]
        if region_clip_frames is None or not grids:
            return self.model.get_frame_features(region_pixel_values)
        known = torch.cat(grids)
        if region_clip_frames.shape != region_pixel_values.shape[:1] or int(region_clip_frames.max()) >= len(known):
            raise TensorError(
                f"region_clip_frames must hold a number below {len(known)} for each of the "
                f"{len(region_pixel_values)} mask-carrying frames, but is {region_clip_frames.tolist()}."
            )
        fresh = region_clip_frames < 0
        features = known[region_clip_frames.clamp(min=0).to(known.device)]
        if bool(fresh.any()):
            new = self.model.get_frame_features(region_pixel_values[fresh])
            features = features.index_put((fresh.nonzero().squeeze(1).to(features.device),), new)
        return features

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_values_videos: torch.FloatTensor | None = None,
        region_pixel_values: torch.FloatTensor | None = None,
        region_masks: torch.BoolTensor | None = None,
        region_frames: torch.LongTensor | None = None,
        region_lengths: torch.LongTensor | None = None,
        region_clip_frames: torch.LongTensor | None = None,
        object_tokens: torch.FloatTensor | None = None,
        object_token_counts: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> VideoLLaMA2CausalLMOutputWithPast:
        """Predict the next token everywhere.

        Args:
            region_pixel_values, region_masks, region_frames, region_lengths, region_clip_frames:
                The regions of the batch, as the processor makes them; see [`RegionMixin.get_object_tokens`].
            object_tokens (`torch.FloatTensor` of shape `(batch, max_tokens, hidden_size)`, *optional*):
                Object tokens computed before, instead of the five above, padded at the end.
            object_token_counts (`torch.LongTensor` of shape `(batch,)`, *optional*):
                Number of object tokens of each sample; needed with `object_tokens`.

        The other arguments and the errors are those of [`VideoLLaMA2ForConditionalGeneration.forward`] and
        [`RegionMixin.check_regions`].
        """
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
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
