"""VideoLLaMA2.1 as a transformers model."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin, LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import can_return_tuple

from videorefer_plugin.models.cache import CACHE, takes_cache
from videorefer_plugin.models.videollama2.backbone import VideoLLaMA2Model, VideoLLaMA2PreTrainedModel
from videorefer_plugin.models.videollama2.checks import PIXELS
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
from videorefer_plugin.models.videollama2.outputs import VideoLLaMA2CausalLMOutputWithPast

__all__ = ["VideoLLaMA2ForConditionalGeneration", "VideoLLaMA2Model", "VideoLLaMA2PreTrainedModel"]


class VideoLLaMA2ForConditionalGeneration(VideoLLaMA2PreTrainedModel, GenerationMixin):
    """VideoLLaMA2.1 with its language-modelling head."""

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

    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate as every transformers model does.

        Raises:
            PromptError: placeholders and visuals do not match.
            TensorError: tensors have the wrong shape or hold NaN or infinity.
        """
        pixels = kwargs.pop(PIXELS["image"], None), kwargs.pop(PIXELS["video"], None)
        lengths = kwargs.pop("video_lengths", None)
        encoded = kwargs.pop("mm_encoder_outputs", None)
        kwargs.pop("mm_token_type_ids", None)  # placeholders say the same, and nothing here depends on types
        if any(values is not None for values in pixels):
            input_ids = inputs if inputs is not None else kwargs.get("input_ids")
            ids = None if kwargs.get("inputs_embeds") is not None else input_ids
            self.model.check_visuals(ids, *pixels, encoded, lengths)
            with torch.no_grad():
                encoded = self.model.encode_visuals(*pixels, encoded, lengths)
        if encoded is not None:
            kwargs["mm_encoder_outputs"] = encoded
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
