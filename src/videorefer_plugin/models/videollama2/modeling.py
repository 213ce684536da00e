"""VideoLLaMA2.1 as a transformers model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin, LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import can_return_tuple

from videorefer_plugin.errors import PromptError, TensorError
from videorefer_plugin.models.cache import CACHE, takes_cache
from videorefer_plugin.models.gradients import no_grad_if_frozen
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config, count_visual_tokens
from videorefer_plugin.models.videollama2.connector import STCConnector
from videorefer_plugin.models.videollama2.loading import OriginalCheckpointMixin

__all__ = ["VideoLLaMA2ForConditionalGeneration", "VideoLLaMA2Model", "VideoLLaMA2PreTrainedModel"]


@dataclass
class VideoLLaMA2ModelOutputWithPast(BaseModelOutputWithPast):
    """Output of [`VideoLLaMA2Model`].

    Args:
        image_hidden_states (`torch.Tensor` of shape `(num_images, num_tokens, hidden_size)`, *optional*):
            Tokens that the connector made of the images.
        video_hidden_states (`torch.Tensor` of shape `(num_videos, num_tokens, hidden_size)`, *optional*):
            Tokens that the connector made of the videos.
    """

    image_hidden_states: Tensor | None = None
    video_hidden_states: Tensor | None = None


@dataclass
class VideoLLaMA2CausalLMOutputWithPast(CausalLMOutputWithPast):
    """Output of [`VideoLLaMA2ForConditionalGeneration`], which has the cache under the name that transformers uses.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned with `labels`):
            Cross-entropy of the next token, averaged over supervised tokens.
        logits (`torch.FloatTensor` of shape `(batch, length, vocab_size)`):
            Scores of the next token.
        cache or, before transformers 5.24, past_key_values (`Cache`, *optional*): keys and values for fast decoding.
        hidden_states, attentions: as in every causal language model.
        image_hidden_states, video_hidden_states: as in [`VideoLLaMA2ModelOutputWithPast`].
    """

    image_hidden_states: Tensor | None = None
    video_hidden_states: Tensor | None = None


class VideoLLaMA2PreTrainedModel(OriginalCheckpointMixin, PreTrainedModel):
    """Loading, saving and initialisation shared by the VideoLLaMA2 classes."""

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

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoModel") -> None:
        """Do nothing: published checkpoints name this package instead of carrying copies of its files."""


class VideoLLaMA2Model(VideoLLaMA2PreTrainedModel):
    """Vision tower, connector and decoder, without the language-modelling head."""

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
        """Encode frames one by one with the vision tower.

        The features are the hidden states at `config.vision_feature_layer`, without the tower's last normalisation
        and without a class token. Layers above that one are not run.

        Args:
            pixel_values (`torch.Tensor` of shape `(num_frames, 3, image_size, image_size)`): preprocessed frames.

        Returns:
            `torch.Tensor` of shape `(num_frames, grid_height, grid_width, vision_hidden_size)`.
        """
        tower = getattr(self.vision_tower, "vision_model", self.vision_tower)
        layers = tower.encoder.layers
        depth = self.config.vision_feature_layer % (len(layers) + 1)
        with no_grad_if_frozen(tower.parameters(), pixel_values):
            hidden = tower.embeddings(pixel_values.to(tower.embeddings.patch_embedding.weight.dtype))
            if hasattr(tower, "pre_layrnorm"):  # CLIP's own spelling
                hidden = tower.pre_layrnorm(hidden)
            for layer in layers[:depth]:
                hidden = layer(hidden, attention_mask=None)
        rows, columns = self.config.grid_size
        return hidden[:, hidden.shape[1] - rows * columns :].unflatten(1, (rows, columns))

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Encode images. An image acts as a clip that shows it `config.num_frames` times.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(num_images, 3, image_size, image_size)`): preprocessed images.

        Returns:
            `BaseModelOutputWithPooling` with the tower's features in `last_hidden_state`, of shape
            `(num_images, grid_height * grid_width, vision_hidden_size)`, and the connector's tokens in
            `pooler_output`, of shape `(num_images, num_tokens, hidden_size)`.

        Raises:
            TensorError: the pixel values have another shape or hold NaN.
        """
        self.check_pixels("pixel_values", pixel_values, ("num_images",))
        features = self.get_frame_features(pixel_values)
        clips = features.unsqueeze(1).expand(-1, self.config.num_frames, -1, -1, -1)
        return self._connect(features, clips)

    def get_video_features(self, pixel_values_videos: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Encode clips.

        Args:
            pixel_values_videos (`torch.FloatTensor` of shape `(num_videos, num_frames, 3, image_size, image_size)`):
                Preprocessed frames.

        Returns:
            `BaseModelOutputWithPooling` with the tower's features in `last_hidden_state`, of shape
            `(num_videos * num_frames, grid_height * grid_width, vision_hidden_size)`, and the connector's tokens in
            `pooler_output`, of shape `(num_videos, num_tokens, hidden_size)`.

        Raises:
            TensorError: the pixel values have another shape or hold NaN.
        """
        self.check_pixels("pixel_values_videos", pixel_values_videos, ("num_videos", "num_frames"))
        features = self.get_frame_features(pixel_values_videos.flatten(0, 1))
        return self._connect(features, features.unflatten(0, pixel_values_videos.shape[:2]))

    def _connect(self, features: Tensor, clips: Tensor) -> BaseModelOutputWithPooling:
        tokens = self.connector(clips.to(self.connector.dtype))
        return BaseModelOutputWithPooling(last_hidden_state=features.flatten(1, 2), pooler_output=tokens)

    def check_pixels(self, name: str, pixels: Tensor, leading: tuple[str, ...]) -> None:
        """Check the shape and dtype of preprocessed frames and that no value is NaN.

        Raises:
            TensorError: no tensor, another shape, a dtype that is not floating point, or NaN.
        """
        size = self.config.vision_config.image_size
        if not isinstance(pixels, Tensor) or not pixels.is_floating_point():
            what = f"dtype {pixels.dtype}" if isinstance(pixels, Tensor) else f"a {type(pixels).__name__}"
            raise TensorError(
                f"{name} must be a floating-point tensor of preprocessed frames, but is {what}. Let the processor "
                "make it, with return_tensors='pt'."
            )
        if pixels.ndim != len(leading) + 3 or tuple(pixels.shape[-3:]) != (3, size, size):
            raise TensorError(
                f"{name} must have shape ({', '.join(leading)}, 3, {size}, {size}), "
                f"but has shape {tuple(pixels.shape)}. Use the processor that belongs to this model."
            )
        if not torch.compiler.is_compiling() and bool(pixels.isnan().any()):
            bad = pixels.isnan().flatten(1).any(1).nonzero().flatten().tolist()
            raise TensorError(
                f"{name} holds NaN at index {', '.join(map(str, bad))} of its first dimension; "
                "the processor makes none."
            )

    def check_visuals(
        self,
        input_ids: Tensor | None,
        pixel_values: Tensor | None,
        pixel_values_videos: Tensor | None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None,
    ) -> None:
        """Check before the vision tower runs that visuals are well-formed and fill their placeholders.

        The arguments are those of [`VideoLLaMA2Model.forward`].

        Raises:
            PromptError: placeholders and visuals do not match, visuals come both as pixels and encoded, or there are
                visuals but no `input_ids`.
            TensorError: tensors have the wrong shape or dtype, hold NaN, or are no tensors.
        """
        if input_ids is not None and (not isinstance(input_ids, Tensor) or input_ids.ndim != 2):
            raise TensorError(
                "input_ids must be a tensor of shape (batch, length), but have "
                f"{f'shape {tuple(input_ids.shape)}' if isinstance(input_ids, Tensor) else type(input_ids).__name__}. "
                "Call the processor with return_tensors='pt'."
            )
        encoded = {} if mm_encoder_outputs is None else mm_encoder_outputs
        self._check_encoded(encoded)
        for what, name, pixels, leading, token_id in (
            ("image", "pixel_values", pixel_values, ("num_images",), self.config.image_token_id),
            (
                "video",
                "pixel_values_videos",
                pixel_values_videos,
                ("num_videos", "num_frames"),
                self.config.video_token_id,
            ),
        ):
            visuals = each = 0
            if pixels is not None:
                if encoded.get(what) is not None:
                    raise PromptError(
                        f"You cannot pass both raw pixels ({name}) and mm_encoder_outputs for {what}s. Leave one out."
                    )
                self.check_pixels(name, pixels, leading)
                frames = pixels.shape[1] if what == "video" else self.config.num_frames
                visuals, each = (
                    len(pixels),
                    count_visual_tokens(frames, self.config.grid_size, self.config.projector_type),
                )
                if each == 0:
                    raise TensorError(
                        f"{name} of shape {tuple(pixels.shape)} makes no token: the connector joins two frames into "
                        f"one, but a clip has {frames}. Use at least 2 frames."
                    )
            elif encoded.get(what) is not None:
                visuals, each = encoded[what].pooler_output.shape[:2]
            if input_ids is not None:
                _check_places(input_ids == token_id, visuals, each, what)
            elif visuals:
                raise PromptError(
                    "Visual inputs need input_ids, since their places cannot be found in inputs_embeds. "
                    "Pass input_ids, or put the visual tokens into inputs_embeds yourself."
                )

    def _check_encoded(self, encoded: dict[str, BaseModelOutputWithPooling]) -> None:
        if not isinstance(encoded, dict):
            raise TensorError(f"mm_encoder_outputs must be a dict, but is a {type(encoded).__name__}.")
        for what, output in encoded.items():
            if what not in ("image", "video"):
                raise TensorError(f"mm_encoder_outputs holds {what!r}; known are 'image' and 'video'.")
            tokens = getattr(output, "pooler_output", None)
            width = self.config.text_config.hidden_size
            if output is not None and (tokens is None or tokens.ndim != 3 or tokens.shape[2] != width):
                given = f"is a {type(output).__name__}" if tokens is None else f"has shape {tuple(tokens.shape)}"
                raise TensorError(
                    f"mm_encoder_outputs must hold under {what!r} what get_{what}_features returns, with tokens of "
                    f"shape (num_{what}s, num_tokens, {width}), but that {given}."
                )

    def get_placeholder_mask(
        self, input_ids: Tensor, features: Tensor | None, token_id: int, what: str
    ) -> Tensor | None:
        """Find the positions that visual tokens take, and check that there are as many as tokens.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): ids with placeholders.
            features (`torch.Tensor` of shape `(num_visuals, num_tokens, hidden_size)`, *optional*): visual tokens.
            token_id (`int`): id of the placeholder.
            what (`str`): name of the modality, for messages.

        Raises:
            PromptError: the numbers differ.
        """
        mask = input_ids == token_id
        visuals, each = (0, 0) if features is None else features.shape[:2]
        _check_places(mask, visuals, each, what)
        return mask if features is not None else None

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
        use_cache: bool | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> VideoLLaMA2ModelOutputWithPast:
        """Run the decoder over text with visual tokens in the places of their placeholders.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*): ids with placeholders.
            attention_mask (`torch.Tensor` of shape `(batch, length)`, *optional*): 1 for real positions.
            position_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*): positions.
            cache (`Cache`, *optional*):
                Keys and values of earlier positions; also taken as `past_key_values`, see [`takes_cache`].
            inputs_embeds (`torch.FloatTensor` of shape `(batch, length, hidden_size)`, *optional*):
                Embeddings instead of `input_ids`; visuals cannot be placed then.
            pixel_values (`torch.FloatTensor` of shape `(num_images, 3, image_size, image_size)`, *optional*): images.
            pixel_values_videos
                (`torch.FloatTensor` of shape `(num_videos, num_frames, 3, image_size, image_size)`, *optional*):
                Clips.
            use_cache (`bool`, *optional*): whether to return keys and values.
            mm_encoder_outputs (`dict`, *optional*):
                Outputs of `get_image_features` and `get_video_features` under `"image"` and `"video"`, instead of
                pixel values.

        Raises:
            PromptError: placeholders and visuals do not match.
            TensorError: tensors have the wrong shape or hold NaN.
        """
        if (input_ids is None) == (inputs_embeds is None):
            given = "neither was" if input_ids is None else "both were"
            raise PromptError(f"You must specify exactly one of input_ids or inputs_embeds, but {given} given.")
        if any(visuals is not None for visuals in (pixel_values, pixel_values_videos, mm_encoder_outputs)):
            self.check_visuals(input_ids, pixel_values, pixel_values_videos, mm_encoder_outputs)
        encoded = self.encode_visuals(pixel_values, pixel_values_videos, mm_encoder_outputs)
        tokens = {name: output.pooler_output for name, output in encoded.items() if output is not None}
        if input_ids is not None:
            inputs_embeds = self._embed(input_ids, tokens)
        if self.training and not tokens and inputs_embeds is not None:
            inputs_embeds = inputs_embeds + self._no_visuals(inputs_embeds)
        if position_ids is None and cache is None and attention_mask is not None and attention_mask.ndim == 2:
            # Padding on the left must not shift positions, else rounding makes a batch differ from single runs.
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
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
        )

    def _no_visuals(self, inputs_embeds: Tensor) -> Tensor:
        # A training batch of nothing but text still runs the connector, over two black frames that count for
        # nothing, so that every process of a distributed run has (zero) gradients for the same parameters.
        if not any(p.requires_grad for part in (self.connector, self.vision_tower) for p in part.parameters()):
            return inputs_embeds.new_zeros(())
        size = self.config.vision_config.image_size
        frames = torch.zeros((1, 2, 3, size, size), device=inputs_embeds.device)
        return self.get_video_features(frames).pooler_output.to(inputs_embeds).sum() * 0

    def encode_visuals(
        self,
        pixel_values: Tensor | None,
        pixel_values_videos: Tensor | None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None,
    ) -> dict[str, BaseModelOutputWithPooling]:
        """Encode images and videos that come as pixels, and keep what was encoded before."""
        encoded = dict(mm_encoder_outputs or {})
        for name, pixels, encode in (
            ("image", pixel_values, self.get_image_features),
            ("video", pixel_values_videos, self.get_video_features),
        ):
            if pixels is not None:
                encoded[name] = encode(pixels)
        return encoded

    def _embed(self, input_ids: Tensor, tokens: dict[str, Tensor]) -> Tensor:
        # Placeholder ids may lie beyond the embedding table: look up any other word there, and overwrite it.
        places = {
            "image": self.get_placeholder_mask(input_ids, tokens.get("image"), self.config.image_token_id, "image"),
            "video": self.get_placeholder_mask(input_ids, tokens.get("video"), self.config.video_token_id, "video"),
        }
        ids = input_ids
        for place in places.values():
            if place is not None:
                ids = ids.masked_fill(place, 0)
        embeds = self.get_input_embeddings()(ids)
        for name, place in places.items():
            if place is not None:
                source = tokens[name].to(embeds.device, embeds.dtype)
                embeds = embeds.masked_scatter(place.unsqueeze(-1), source)
        return embeds


class VideoLLaMA2ForConditionalGeneration(VideoLLaMA2PreTrainedModel, GenerationMixin):
    """VideoLLaMA2.1 with its language-modelling head."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: VideoLLaMA2Config):
        super().__init__(config)
        self.model = VideoLLaMA2Model(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embeddings of the language model."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embeddings of the language model."""
        self.model.set_input_embeddings(value)

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """See [`VideoLLaMA2Model.get_image_features`]."""
        return self.model.get_image_features(pixel_values, **kwargs)

    def get_video_features(self, pixel_values_videos: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """See [`VideoLLaMA2Model.get_video_features`]."""
        return self.model.get_video_features(pixel_values_videos, **kwargs)

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
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> VideoLLaMA2CausalLMOutputWithPast:
        """Predict the next token everywhere.

        Args:
            labels (`torch.LongTensor` of shape `(batch, length)`, *optional*):
                Ids to learn, -100 where nothing is to be learnt. Visual positions are never learnt.
            logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0):
                Number of last positions (or indices of positions) to compute logits for; 0 for all.

        The other arguments and the errors are those of [`VideoLLaMA2Model.forward`].
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            use_cache=use_cache,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            if input_ids is not None:
                visual = (input_ids == self.config.image_token_id) | (input_ids == self.config.video_token_id)
                labels = labels.masked_fill(visual, -100)
            loss = self.loss_function(logits, labels, vocab_size=self.config.text_config.vocab_size, **kwargs)
        return VideoLLaMA2CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            **{CACHE: getattr(outputs, CACHE)},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
            video_hidden_states=outputs.video_hidden_states,
        )

    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate as every transformers model does.

        Raises:
            PromptError: placeholders and visuals do not match.
            TensorError: tensors have the wrong shape or hold NaN.
        """
        names = ("pixel_values", "pixel_values_videos", "mm_encoder_outputs")
        kwargs = {name: value for name, value in kwargs.items() if value is not None or name not in names}
        visuals = [kwargs.get(name) for name in names]
        input_ids = inputs if inputs is not None else kwargs.get("input_ids")
        if any(visual is not None for visual in visuals):
            self.model.check_visuals(input_ids if kwargs.get("inputs_embeds") is None else None, *visuals)
        return super().generate(inputs, **kwargs)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        is_first_iteration: bool | None = False,
        use_cache: bool | None = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Leave visuals out once they are in the cache."""
        model_inputs = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, use_cache=use_cache, **kwargs
        )
        if is_first_iteration or not use_cache:
            model_inputs["pixel_values"] = pixel_values
            model_inputs["pixel_values_videos"] = pixel_values_videos
            model_inputs["mm_encoder_outputs"] = mm_encoder_outputs
        return model_inputs

    def _get_logits_processor(
        self,
        generation_config: Any,
        input_ids_seq_length: int | None = None,
        *args: Any,
        logits_processor: LogitsProcessorList | None = None,
        **kwargs: Any,
    ) -> LogitsProcessorList:
        # The original hands the prompt over as embeddings, so its repetition penalty sees generated tokens only;
        # placeholder ids beyond the vocabulary could not be penalised anyway.
        processors = super()._get_logits_processor(
            generation_config, input_ids_seq_length, *args, logits_processor=logits_processor, **kwargs
        )
        for processor in processors:
            given = any(processor is own for own in logits_processor or [])
            if isinstance(processor, RepetitionPenaltyLogitsProcessor) and not given:
                processor.prompt_ignore_length = input_ids_seq_length
        return processors


def _check_places(places: Tensor, visuals: int, each: int, what: str) -> None:
    """Compare the positions of a placeholder, `(batch, length)`, with `visuals` visuals of `each` tokens."""
    if torch.compiler.is_compiling():
        return
    found = places.sum(dim=1).tolist()
    odd = next((sample for sample, count in enumerate(found) if count % max(each, 1)), None)
    if odd is None and sum(found) == visuals * each:
        return
    named = "" if odd is None else f"; sample {odd} has no whole number of {what}s"
    raise PromptError(
        f"input_ids hold {sum(found)} <{what}> position(s) (by sample: {found}{named}), but {visuals} {what}(s) of "
        f"{each} token(s) each were handed over. Use the processor that belongs to this model, and pass all its "
        "outputs on."
    )
