"""VideoRefer-VideoLLaMA3: transformers' VideoLLaMA3 with an object encoder that looks at crops."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.video_llama_3.modeling_video_llama_3 import VideoLlama3ForConditionalGeneration

from videorefer_plugin.errors import PromptError, TensorError
from videorefer_plugin.models.gradients import no_grad_if_frozen
from videorefer_plugin.models.hub_arguments import hub_arguments, in_subfolder
from videorefer_plugin.models.videollama2.loading import OriginalCheckpointMixin
from videorefer_plugin.models.videorefer.crop_inputs import CropInputs
from videorefer_plugin.models.videorefer.generation import rows_beyond
from videorefer_plugin.models.videorefer.regions import RegionMixin
from videorefer_plugin.models.videorefer.signature import region_forward
from videorefer_plugin.models.videorefer_videollama3.configuration import VideoReferVideoLLaMA3Config
from videorefer_plugin.models.videorefer_videollama3.crop_features import crop_features
from videorefer_plugin.models.videorefer_videollama3.lora import base_of_lora, is_lora_output, merge_lora
from videorefer_plugin.models.videorefer_videollama3.original import ORIGINAL_KEY_MAPPING
from videorefer_plugin.object_encoder.checks import not_finite, whole_numbers

__all__ = ["VideoReferVideoLLaMA3ForConditionalGeneration"]

_PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}


class VideoReferVideoLLaMA3ForConditionalGeneration(
    OriginalCheckpointMixin, RegionMixin, VideoLlama3ForConditionalGeneration
):
    """A Video LLM that sees the objects in a question as crops of their frames.

    The layers are those of transformers' `VideoLlama3ForConditionalGeneration`. Original checkpoints of
    VideoRefer-VideoLLaMA3 load unconverted.

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

    config: VideoReferVideoLLaMA3Config
    config_class = VideoReferVideoLLaMA3Config
    original_key_mapping = ORIGINAL_KEY_MAPPING
    adapter_modules = {"mm_projector.bin": "model.projector", "region_encoder.bin": "object_encoder"}  # noqa: RUF012

    def __init__(self, config: VideoReferVideoLLaMA3Config):
        super().__init__(config)
        self.add_object_encoder(config.object_encoder_config)
        self.post_init()

    @classmethod
    def _load(
        cls,
        pretrained_model_name_or_path: Any,
        *model_args: Any,
        config: Any = None,
        vision_tower: Any = None,
        base_model: Any = None,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """See [`OriginalCheckpointMixin`]. What a LoRA run left goes onto its base, and is merged into it."""
        folder = in_subfolder(pretrained_model_name_or_path or "", hub_arguments(kwargs))
        if not is_lora_output(folder):
            return super()._load(
                pretrained_model_name_or_path,
                *model_args,
                config=config,
                vision_tower=vision_tower,
                base_model=base_model,
                **kwargs,
            )
        known = config if config is not None else pretrained_model_name_or_path
        config, kwargs = cls._load_config(known, vision_tower, kwargs)
        base = base_model if base_model is not None else base_of_lora(folder)
        model, info = cls._load_adapters(Path(folder), [], config, base, *model_args, **kwargs)
        info["missing_keys"] -= merge_lora(model, folder)
        return model, info

    def get_vision_tower(self) -> torch.nn.Module:
        """See [`RegionMixin.get_vision_tower`]."""
        return self.model.vision_model

    @property
    def visual_token_ids(self) -> list[int]:
        """Ids of the tokens of visuals, which are never generated."""
        return [self.config.image_token_id, self.config.video_token_id]

    def check_visuals(
        self,
        input_ids: Tensor | None,
        inputs: dict[str, Any],
        regions: Any,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None,
    ) -> None:
        """See [`RegionMixin.check_visuals`].

        Raises:
            PromptError: placeholders and visuals do not match.
            TensorError: tensors have the wrong shape or dtype, or hold NaN or infinity.
        """
        if not isinstance(mm_encoder_outputs, (dict, type(None))):
            raise TensorError(f"mm_encoder_outputs must be a dict, but is a {type(mm_encoder_outputs).__name__}.")
        if torch.compiler.is_compiling():
            return
        for kind, name in _PIXELS.items():
            if inputs.get(name) is None:
                continue
            tokens = _check_packed(kind, name, inputs)
            if input_ids is None:
                continue
            found = int((input_ids == self.placeholder_id(kind)).sum())
            if found != tokens:
                raise PromptError(
                    f"The batch has {found} {kind} position(s), but its {kind}s become {tokens} token(s). Use the "
                    "processor that belongs to this model, and pass all its outputs on."
                )

    def place_regions(self, inputs: dict[str, Any]) -> None:
        """See [`RegionMixin.place_regions`]."""
        if inputs.get("labels") is not None and inputs.get("use_cache") is None:
            # A training batch is never continued, and with a cache packed samples would attend to each other.
            inputs["use_cache"] = False
        super().place_regions(inputs)

    def encode_visuals(
        self, inputs: dict[str, Any], mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None
    ) -> dict[str, BaseModelOutputWithPooling]:
        """See [`RegionMixin.encode_visuals`]."""
        encoded = dict(mm_encoder_outputs or {})
        parameters = [*self.get_vision_tower().parameters(), *self.model.projector.parameters()]
        for kind, name in _PIXELS.items():
            pixels = inputs.pop(name, None)
            if pixels is None:
                continue
            if encoded.get(kind) is not None:
                raise TensorError(f"{name} and mm_encoder_outputs[{kind!r}] were both given. Leave one out.")
            encode = self.model.get_image_features if kind == "image" else self.model.get_video_features
            with no_grad_if_frozen(parameters, pixels):
                encoded[kind] = encode(
                    pixels, inputs[f"{kind}_grid_thw"], inputs[f"{kind}_merge_sizes"], return_dict=True
                )
        return encoded

    def get_crop_features(self, pixel_values: Tensor, grids: Tensor) -> Tensor:
        """See [`RegionMixin.get_crop_features`]."""
        return crop_features(self.model.vision_model, pixel_values, grids)

    def visuals_beyond(self, input_ids: Tensor, encoded: dict[str, Any], cached: int) -> dict[str, Any]:
        """See `RegionGeneration.visuals_beyond`."""
        return rows_beyond(input_ids, encoded, cached, self._visual_placeholders())

    forward = region_forward(RegionMixin, VideoLlama3ForConditionalGeneration, "labels", CropInputs._fields)
    forward.__module__ = __name__
    forward.__qualname__ = "VideoReferVideoLLaMA3ForConditionalGeneration.forward"
    forward.__doc__ = """Predict the next token everywhere.

        Args:
            region_pixel_values, region_masks, region_grids, region_mask_grids, region_lengths:
                The regions of the batch, as the processor makes them.
            region_initial_cells (`list` or `torch.LongTensor`, *optional*):
                For each mask of the batch, in order, the cells that k-means starts from, or `None`; see
                [`CropEncoder`].
            object_tokens (`torch.FloatTensor` of shape `(batch, max_tokens, hidden_size)`, *optional*):
                Object tokens computed before, instead of the above, padded at the end.
            object_token_counts (`torch.LongTensor` of shape `(batch,)`, *optional*):
                Number of object tokens of each sample; needed with `object_tokens`.

        The other arguments are those of transformers' `VideoLlama3ForConditionalGeneration.forward`; the errors are
        those of [`RegionMixin.check_regions`].
        """


def _check_packed(kind: str, name: str, inputs: dict[str, Any]) -> int:
    """Check packed visuals, and count their tokens."""
    pixels: Any = inputs[name]
    grid: Any = inputs.get(f"{kind}_grid_thw")
    merge: Any = inputs.get(f"{kind}_merge_sizes")
    for key, value in ((f"{kind}_grid_thw", grid), (f"{kind}_merge_sizes", merge)):
        if not isinstance(value, Tensor) or not whole_numbers(value) or value.ndim != (2 if value is grid else 1):
            given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise TensorError(f"{key} must hold whole numbers for each {kind}, but is {given}.")
    patches = int(grid.prod(dim=1).sum())
    if not isinstance(pixels, Tensor) or pixels.ndim != 2 or len(pixels) != patches or len(grid) != len(merge):
        given = f"has shape {tuple(pixels.shape)}" if isinstance(pixels, Tensor) else f"is a {type(pixels).__name__}"
        raise TensorError(
            f"{name} must have a row for each patch, {patches} by {kind}_grid_thw with {len(merge)} "
            f"{kind}_merge_sizes, but {given}. Pass all outputs of one call of the processor on."
        )
    what, rows = not_finite(pixels)
    if what:
        raise TensorError(f"{name} hold {what} in row(s) {rows[:3]}; the processor makes none.")
    tokens = int((grid.prod(dim=1) // merge**2).sum())
    kept = inputs.get(f"{kind}_compression_mask")
    if kept is None:
        return tokens
    if not isinstance(kept, Tensor) or kept.dtype != torch.bool or tuple(kept.shape) != (tokens,):
        raise TensorError(f"{kind}_compression_mask must be boolean of shape ({tokens},), a value for each token.")
    return int(kept.sum())
