"""VideoLLaMA2.1 without its language-modeling head: vision tower, connector and decoder."""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import can_return_tuple

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.cache import CACHE, takes_cache
from videorefer_plugin.models.call_checks import check_call, whole_ids
from videorefer_plugin.models.distinct import distinct_frames, take
from videorefer_plugin.models.placing import cached_length, written_step
from videorefer_plugin.models.videollama2.checks import (
    LEADING,
    PIXELS,
    check_pixels,
    check_visuals,
    clip_lengths,
)
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
from videorefer_plugin.models.videollama2.connector import STCConnector
from videorefer_plugin.models.videollama2.embedding import EmbedsVisuals
from videorefer_plugin.models.videollama2.loading import OriginalCheckpointMixin
from videorefer_plugin.models.videollama2.outputs import VideoLLaMA2ModelOutputWithPast
from videorefer_plugin.models.videollama2.recording import recorded_attentions
from videorefer_plugin.models.videollama2.tower import as_grids, frame_features, run_tower

__all__ = ["VideoLLaMA2Model", "VideoLLaMA2PreTrainedModel"]


class VideoLLaMA2PreTrainedModel(OriginalCheckpointMixin, PreTrainedModel):
    """Loading, saving and initialization shared by the VideoLLaMA2 classes."""

    config: VideoLLaMA2Config
    config_class = VideoLLaMA2Config
    base_model_prefix = "model"
    input_modalities = ("image", "video", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["SiglipEncoderLayer", "CLIPEncoderLayer", "Qwen2DecoderLayer", "STCConnector"]  # noqa: RUF012
    _skip_keys_device_placement = ("cache", "past_key_values")
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def post_init(self) -> None:
        """Exclude the connector and the object encoder from quantization, unless modules to skip are named.

        They are small, and every token about a video or an object passes through them.
        """
        super().post_init()
        if getattr(self.config, "quantization_config", None) is not None:
            self._keep_in_fp32_modules |= {"model.connector", "connector", "object_encoder"}
            if self.config.tie_word_embeddings:  # a head that is the word embeddings, which are not quantized
                self._keep_in_fp32_modules.add("lm_head")

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoModel") -> None:
        """Do nothing: published checkpoints name this package instead of carrying copies of its files."""


class VideoLLaMA2Model(EmbedsVisuals, VideoLLaMA2PreTrainedModel):
    """Vision tower, connector and decoder, without the language-modeling head."""

    def __init__(self, config: VideoLLaMA2Config):
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.connector = STCConnector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embeddings of the language model."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embeddings of the language model."""
        self.language_model.set_input_embeddings(value)

    def get_frame_features(self, pixel_values: Tensor) -> Tensor:
        """Encode frames one by one with the vision tower; see [`frame_features`].

        Args:
            pixel_values (`torch.Tensor` of shape `(num_frames, 3, image_size, image_size)`): preprocessed frames.

        Returns:
            `torch.Tensor` of shape `(num_frames, grid_height, grid_width, vision_hidden_size)`.
        """
        return frame_features(self.vision_tower, self.config, pixel_values)

    def _tower(self) -> Any:
        return getattr(self.vision_tower, "vision_model", self.vision_tower)

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Encode images. An image acts as a clip that shows it `config.num_frames` times.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(num_images, 3, image_size, image_size)`): preprocessed images.
            output_hidden_states (`bool`, *optional*):
                Whether to return the vision tower's embeddings and what each layer up to `config.vision_feature_layer`
                makes of them, of shape `(num_images, num_patches, vision_hidden_size)`, in `hidden_states`; by
                default what `config.output_hidden_states` says.
            output_attentions (`bool`, *optional*):
                Whether to return the attention weights of these layers, of shape
                `(num_images, num_heads, num_patches, num_patches)`, in `attentions`, which only the implementation
                `"eager"` returns; by default what `config.output_attentions` says.
            return_dict (`bool`, *optional*): whether to return a `ModelOutput` instead of a tuple.

        Returns:
            `BaseModelOutputWithPooling` with the tower's features in `last_hidden_state`, of shape
            `(num_images, grid_height * grid_width, vision_hidden_size)`, and the connector's tokens in
            `pooler_output`, of shape `(num_images, num_tokens, hidden_size)`.

        Raises:
            TensorError: the pixel values have another shape or hold NaN or infinity.
            ConfigurationError: another argument was given, or the tower's attention returns no weights.
        """
        check_pixels(self.config, PIXELS["image"], pixel_values, LEADING["image"])
        _check_unknown("get_image_features", kwargs)
        return self._with_asked(self._encode_images, pixel_values, output_hidden_states, output_attentions)

    def _encode_images(
        self, pixel_values: Tensor, every_layer: bool = False
    ) -> tuple[BaseModelOutputWithPooling, list[int]]:
        first, place = distinct_frames(pixel_values)
        states = run_tower(self.vision_tower, self.config, take(pixel_values, first), every_layer)
        tokens = self.connect("image", [*as_grids(self.config, states[-1]).unsqueeze(1)])
        return self._laid_out(states, place, [tokens[frame] for frame in place], every_layer)

    @can_return_tuple
    def get_video_features(
        self,
        pixel_values_videos: Tensor,
        video_lengths: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Encode clips.

        Args:
            pixel_values_videos (`torch.FloatTensor` of shape `(num_videos, num_frames, 3, image_size, image_size)`):
                Preprocessed frames; clips that are shorter than the longest are filled up at the end.
            video_lengths (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
                Number of frames of each clip; all by default. Not looked at while a model is compiled or exported.
            output_hidden_states, output_attentions, return_dict (`bool`, *optional*):
                As in [`VideoLLaMA2Model.get_image_features`].

        Returns:
            `BaseModelOutputWithPooling` with the tower's features in `last_hidden_state`, of shape
            `(total_frames, grid_height * grid_width, vision_hidden_size)`, those of all clips one after the other, and
            the connector's tokens in `pooler_output`, of shape `(num_videos, num_tokens, hidden_size)`, or a list of
            tensors of shape `(num_tokens, hidden_size)` where clips become different numbers of tokens.

        Raises:
            TensorError: the pixel values have another shape or hold NaN or infinity.
            ConfigurationError: another argument was given.
        """
        check_pixels(self.config, PIXELS["video"], pixel_values_videos, LEADING["video"])
        _check_unknown("get_video_features", kwargs)
        encode = partial(self._encode_clips, video_lengths=video_lengths)
        return self._with_asked(encode, pixel_values_videos, output_hidden_states, output_attentions)

    def _encode_clips(
        self, pixel_values_videos: Tensor, video_lengths: Tensor | None = None, every_layer: bool = False
    ) -> tuple[BaseModelOutputWithPooling, list[int]]:
        lengths = clip_lengths(pixel_values_videos, video_lengths)
        if (
            min(lengths, default=0) == pixel_values_videos.shape[1]
        ):  # nothing fills clips up, so that nothing is copied
            frames = pixel_values_videos.flatten(0, 1)
        else:
            frames = torch.cat([clip[:length] for clip, length in zip(pixel_values_videos, lengths, strict=True)])
        first, place = distinct_frames(frames)
        states = run_tower(self.vision_tower, self.config, take(frames, first), every_layer)
        ends = [*accumulate(lengths)]
        clips = [tuple(place[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
        distinct = list(dict.fromkeys(clips))  # clips of the same frames are connected once
        grids = as_grids(self.config, states[-1])
        tokens = dict(zip(distinct, self.connect("video", [take(grids, clip) for clip in distinct]), strict=True))
        return self._laid_out(states, place, [tokens[clip] for clip in clips], every_layer)

    def connect(self, kind: str, grids: Sequence[Tensor]) -> list[Tensor]:
        """Run the connector over features of visuals. An image acts as a clip that shows it `config.num_frames` times.

        Args:
            kind (`str`): `"video"` or `"image"`.
            grids (`Sequence[torch.Tensor]`):
                For each visual, features of shape `(num_frames, grid_height, grid_width, vision_hidden_size)`; those
                of an image have one frame.

        Returns:
            `list[torch.Tensor]`: tokens of shape `(num_tokens, hidden_size)` of each visual.
        """
        if kind == "image":
            grids = [grid.expand(self.config.num_frames, -1, -1, -1) for grid in grids]
        return self.connector(list(grids))

    def _with_asked(
        self, encode: Any, pixels: Tensor, output_hidden_states: bool | None, output_attentions: bool | None
    ) -> BaseModelOutputWithPooling:
        """Encode, and return what the tower made on the way as the caller or the configuration asks."""
        asked = (output_hidden_states, "output_hidden_states"), (output_attentions, "output_attentions")
        states, attentions = (getattr(self.config, name) if given is None else given for given, name in asked)
        with recorded_attentions(self._tower(), bool(attentions)) as weights:
            output, place = encode(pixels, every_layer=bool(states))
        output.attentions = tuple(take(each, place) for each in weights) or None
        return output

    def _laid_out(
        self, states: tuple[Tensor, ...], place: list[int], tokens: list[Tensor], every_layer: bool
    ) -> tuple[BaseModelOutputWithPooling, list[int]]:
        """Expand the results for distinct frames to all frames and visuals, with the index of each among these."""
        alike = len({len(each) for each in tokens}) < 2
        output = BaseModelOutputWithPooling(
            last_hidden_state=take(as_grids(self.config, states[-1]).flatten(1, 2), place),
            pooler_output=torch.stack(tokens) if alike else tokens,
            hidden_states=tuple(take(state, place) for state in states) if every_layer else None,
        )
        return output, place

    def check_visuals(
        self,
        input_ids: Tensor | None,
        pixel_values: Tensor | None,
        pixel_values_videos: Tensor | None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None,
        video_lengths: Tensor | None = None,
    ) -> None:
        """Check before the vision tower runs that visuals are well-formed and fill their placeholders.

        The arguments are those of [`VideoLLaMA2Model.forward`].

        Raises:
            PromptError: placeholders and visuals do not match, visuals come both as pixels and encoded, or there are
                visuals but no `input_ids`.
            TensorError: tensors have the wrong shape or dtype, hold NaN or infinity, or are not tensors.
        """
        pixels = {"image": pixel_values, "video": pixel_values_videos}
        check_visuals(self.config, input_ids, pixels, mm_encoder_outputs, video_lengths)

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        video_lengths: Tensor | None = None,
        use_cache: bool | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        placed_visuals: tuple[Tensor, Tensor] | None = None,
        **kwargs: Any,
    ) -> VideoLLaMA2ModelOutputWithPast:
        """Run the decoder over text, with visual tokens at the positions of their placeholders.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*): ids with placeholders.
            attention_mask (`torch.Tensor` of shape `(batch, length)`, *optional*): 1 for real positions.
            position_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*): positions.
            cache (`Cache`, *optional*):
                Keys and values of earlier positions; also taken as `past_key_values`, see `takes_cache`.
            inputs_embeds (`torch.FloatTensor` of shape `(batch, length, hidden_size)`, *optional*):
                Embeddings instead of `input_ids`; visuals cannot be placed then.
            pixel_values (`torch.FloatTensor` of shape `(num_images, 3, image_size, image_size)`, *optional*): images.
            pixel_values_videos (`torch.FloatTensor`, *optional*):
                Clips of shape `(num_videos, num_frames, 3, image_size, image_size)`; those that are shorter than the
                longest are filled up at the end.
            video_lengths (`torch.LongTensor` of shape `(num_videos,)`, *optional*):
                Number of frames of each clip; all by default.
            use_cache (`bool`, *optional*): whether to return keys and values.
            mm_encoder_outputs (`dict`, *optional*):
                Outputs of `get_image_features` and `get_video_features` under `"image"` and `"video"`, instead of
                pixel values. In training an empty one says that tower and connector are not to be run.
            placed_visuals (`tuple[torch.Tensor, torch.LongTensor]`, *optional*):
                Visual tokens of the whole batch and, for each column of `input_ids`, its token or -1, as
                [`VideoLLaMA2Model.place_visuals`] returns them. Placeholders without a token are words then, as are
                single ids after a `cache`.

        Raises:
            PromptError: placeholders and visuals do not match.
            TensorError: tensors have the wrong shape or hold NaN or infinity.
        """
        if placed_visuals is None:  # else `generate` has looked at what it was given
            given = {"attention_mask": attention_mask, "position_ids": position_ids, "inputs_embeds": inputs_embeds}
            check_call(self, input_ids, {**given, "cache": cache, **kwargs})
            input_ids = whole_ids(input_ids)
        if any(visuals is not None for visuals in (pixel_values, pixel_values_videos, mm_encoder_outputs)):
            self.check_visuals(input_ids, pixel_values, pixel_values_videos, mm_encoder_outputs, video_lengths)
        encoded = self.encode_visuals(pixel_values, pixel_values_videos, mm_encoder_outputs, video_lengths)
        tokens = {name: output.pooler_output for name, output in encoded.items() if output is not None}
        if placed_visuals is None and not tokens and written_step(input_ids, cache):
            assert input_ids is not None
            placed_visuals = input_ids.new_zeros((0, 1)), torch.full_like(input_ids, -1)
        if placed_visuals is not None and input_ids is not None:
            inputs_embeds = self._embed_placed(input_ids, *placed_visuals)
        elif input_ids is not None:
            inputs_embeds = self._embed(input_ids, tokens)
        if self.training and not tokens and inputs_embeds is not None and mm_encoder_outputs is None:
            inputs_embeds = inputs_embeds + self._no_visuals(inputs_embeds)
        if position_ids is None and inputs_embeds is not None:
            position_ids = _positions(attention_mask, inputs_embeds.shape[1], cache)
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **{CACHE: cache},
            **kwargs,
        )
        return VideoLLaMA2ModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            **{CACHE: getattr(outputs, CACHE)},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=tokens.get("image"),
            video_hidden_states=tokens.get("video"),
            image_outputs=encoded.get("image"),
            video_outputs=encoded.get("video"),
        )

    def _no_visuals(self, inputs_embeds: Tensor) -> Tensor:
        # A training batch of nothing but text still runs the connector, over two black frames that count for
        # nothing, so that every process of a distributed run has (zero) gradients for the same parameters.
        if not any(p.requires_grad for part in (self.connector, self.vision_tower) for p in part.parameters()):
            return inputs_embeds.new_zeros(())
        size = self.config.vision_config.image_size
        frames = torch.zeros((1, 2, 3, size, size), device=inputs_embeds.device)
        return self._encode_clips(frames)[0].pooler_output.to(inputs_embeds).sum() * 0

    def encode_visuals(
        self,
        pixel_values: Tensor | None,
        pixel_values_videos: Tensor | None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None,
        video_lengths: Tensor | None = None,
    ) -> dict[str, BaseModelOutputWithPooling]:
        """Encode images and videos that were checked; visuals that are already encoded are kept."""
        encoded = dict(mm_encoder_outputs or {})
        if pixel_values is not None:
            encoded["image"], _ = self._encode_images(pixel_values)
        if pixel_values_videos is not None:
            encoded["video"], _ = self._encode_clips(pixel_values_videos, video_lengths)
        return encoded


def _positions(attention_mask: Tensor | None, length: int, cache: Cache | None) -> Tensor | None:
    """Positions of the last `length` columns of a mask; `None` for those that the decoder gives by itself."""
    if attention_mask is None or attention_mask.ndim != 2:
        return None
    # Padding on the left must not shift positions, else rounding makes a batch differ from single runs; after a cache,
    # positions go on from there.
    if cache is None or attention_mask.shape[1] > length:
        return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
    if not torch.compiler.is_compiling() and not cached_length(cache):
        return _positions(attention_mask, length, None)
    return None


def _check_unknown(method: str, settings: dict[str, Any]) -> None:
    """Refuse what a method would ignore."""
    if settings:
        raise ConfigurationError(
            f"{method} has no argument {', '.join(map(repr, settings))}; beside the pixels it takes "
            "output_hidden_states, output_attentions and return_dict."
        )
