"""VideoLLaMA2.1 as a transformers model."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin, LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import can_return_tuple

from videorefer_plugin.models.cache import CACHE, takes_cache
from videorefer_plugin.models.call_checks import check_labels, whole_ids
from videorefer_plugin.models.generate_checks import checked_prompt
from videorefer_plugin.models.placing import Placed, Prompt, cached_length
from videorefer_plugin.models.videollama2.backbone import VideoLLaMA2Model, VideoLLaMA2PreTrainedModel
from videorefer_plugin.models.videollama2.checks import PIXELS
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
from videorefer_plugin.models.videollama2.outputs import VideoLLaMA2CausalLMOutputWithPast
from videorefer_plugin.models.videollama2.sharing import restore_prompts, share_prefix

__all__ = ["VideoLLaMA2ForConditionalGeneration", "VideoLLaMA2Model", "VideoLLaMA2PreTrainedModel"]


class VideoLLaMA2ForConditionalGeneration(VideoLLaMA2PreTrainedModel, GenerationMixin):
    """VideoLLaMA2.1 with its language-modeling head."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # noqa: RUF012
    _tp_plan = {"lm_head": "colwise_gather_output"}  # noqa: RUF012

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

    def get_video_features(
        self, pixel_values_videos: Tensor, video_lengths: Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """See [`VideoLLaMA2Model.get_video_features`]."""
        return self.model.get_video_features(pixel_values_videos, video_lengths, **kwargs)

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
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> VideoLLaMA2CausalLMOutputWithPast:
        """Predict the next token everywhere.

        Args:
            labels (`torch.LongTensor` of shape `(batch, length)`, *optional*):
                Ids to learn, -100 where nothing is to be learned. Visual positions are never learned.
            logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0):
                Number of last positions (or indices of positions) to compute logits for; 0 for all.

        The other arguments and the errors are those of [`VideoLLaMA2Model.forward`].
        """
        check_labels(self, labels, inputs_embeds if input_ids is None else input_ids)
        labels = whole_ids(labels)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            video_lengths=video_lengths,
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
            image_outputs=outputs.image_outputs,
            video_outputs=outputs.video_outputs,
        )

    @property
    def visual_token_ids(self) -> list[int]:
        """Ids of visual tokens in `input_ids`."""
        return [self.config.image_token_id, self.config.video_token_id]

    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate as every transformers model does.

        If all prompts of a batch begin alike, as questions about one video do, the shared part is run once. Visuals
        whose placeholders are in `cache` may be left out. Placeholders are never generated, unless
        `suppress_tokens` is given (`suppress_tokens=[]` lifts the ban); a generated one is ordinary text.

        Raises:
            PromptError: placeholders and visuals do not match.
            TensorError: tensors have the wrong shape or hold NaN or infinity.
        """
        kwargs.pop("mm_token_type_ids", None)  # redundant with the placeholders, and not used here
        input_ids, inputs = checked_prompt(self, inputs, kwargs, placed="placed_visuals")
        drafts = kwargs.get("placed_visuals") is not None
        if not drafts:  # otherwise the model that this one drafts for has inserted them
            self._place_visuals(input_ids, kwargs)
        generation_config = kwargs.get("generation_config") or self.generation_config
        if "suppress_tokens" not in kwargs and generation_config.suppress_tokens is None:
            kwargs["suppress_tokens"] = self.visual_token_ids
        shared = None
        if input_ids is not None and not drafts and kwargs.get("placed_visuals") is not None:
            shared = share_prefix(self, input_ids, kwargs)
        if input_ids is None or shared is None:
            return super().generate(inputs, **kwargs)
        kwargs.pop("input_ids", None)
        return restore_prompts(super().generate(shared, **kwargs), input_ids)

    def _place_visuals(self, input_ids: Tensor | None, inputs: dict[str, Any]) -> None:
        """Encode visuals, and leave in `inputs` the arguments of `prepare_inputs_for_generation`."""
        pixels = inputs.pop(PIXELS["image"], None), inputs.pop(PIXELS["video"], None)
        encoded = inputs.pop("mm_encoder_outputs", None)
        lengths = inputs.pop("video_lengths", None)
        if input_ids is None or inputs.get("inputs_embeds") is not None:
            self.model.check_visuals(None, *pixels, encoded, lengths)
            return
        prompt = Prompt.of(input_ids, inputs)
        seen = prompt.seen_by(
            lambda ids: self.model.check_visuals(ids, *pixels, encoded, lengths),
            lambda ids, places: ids.masked_fill(places, 0),
            self.visual_token_ids,
        )
        with torch.no_grad():
            tokens, inputs["visual_places"] = self.model.place_visuals(
                seen, self.model.encode_visuals(*pixels, encoded, lengths)
            )
        inputs["placed_visuals"] = Placed(tokens, prompt.origin)

    @takes_cache
    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        placed_visuals: Placed | None = None,
        visual_places: Tensor | None = None,
        is_first_iteration: bool | None = False,
        use_cache: bool | None = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Pass on the visuals of the positions that are run now."""
        model_inputs = super().prepare_inputs_for_generation(
            input_ids,
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            use_cache=use_cache,
            **{CACHE: cache},
            **kwargs,
        )
        ids = model_inputs.get("input_ids")
        if ids is not None and placed_visuals is not None and visual_places is not None:
            past = cached_length(cache) if use_cache else 0
            model_inputs["placed_visuals"] = placed_visuals.at(visual_places, past, ids.shape[1])
        elif is_first_iteration or not use_cache:
            model_inputs["pixel_values"] = pixel_values
            model_inputs["pixel_values_videos"] = pixel_values_videos
            model_inputs["mm_encoder_outputs"] = mm_encoder_outputs
        elif ids is not None:
            model_inputs["placed_visuals"] = ids.new_zeros((0, 1)), torch.full_like(ids, -1)  # generated: words
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
