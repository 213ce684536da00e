"""The outputs of the VideoLLaMA2 models."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
    ModelOutput,
)

__all__ = ["VideoLLaMA2CausalLMOutputWithPast", "VideoLLaMA2ModelOutputWithPast"]


class _WithVisuals(ModelOutput):
    """An output that holds those of the vision tower and connector as well."""

    def to_tuple(self) -> tuple[Any, ...]:
        """Turn the output, and those that it holds, into tuples."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in super().to_tuple())


@dataclass
class VideoLLaMA2ModelOutputWithPast(_WithVisuals, BaseModelOutputWithPast):
    """Output of [`VideoLLaMA2Model`].

    Args:
        image_hidden_states (`torch.Tensor` of shape `(num_images, num_tokens, hidden_size)`, *optional*):
            Tokens that the connector made of the images.
        video_hidden_states (`torch.Tensor` of shape `(num_videos, num_tokens, hidden_size)`, *optional*):
            Tokens that the connector made of the videos.
        image_outputs, video_outputs (`BaseModelOutputWithPooling`, *optional*):
            What `get_image_features` and `get_video_features` return for them.
    """

    image_hidden_states: Tensor | None = None
    video_hidden_states: Tensor | None = None
    image_outputs: BaseModelOutputWithPooling | None = None
    video_outputs: BaseModelOutputWithPooling | None = None


@dataclass
class VideoLLaMA2CausalLMOutputWithPast(_WithVisuals, CausalLMOutputWithPast):
    """Output of [`VideoLLaMA2ForConditionalGeneration`], which has the cache under the name that transformers uses.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned with `labels`):
            Cross-entropy of the next token, averaged over supervised tokens.
        logits (`torch.FloatTensor` of shape `(batch, length, vocab_size)`):
            Scores of the next token.
        cache or, before transformers 5.24, past_key_values (`Cache`, *optional*): keys and values for fast decoding.
        hidden_states, attentions: as in every causal language model.
        image_hidden_states, video_hidden_states, image_outputs, video_outputs: as in
            [`VideoLLaMA2ModelOutputWithPast`].
    """

    image_hidden_states: Tensor | None = None
    video_hidden_states: Tensor | None = None
    image_outputs: BaseModelOutputWithPooling | None = None
    video_outputs: BaseModelOutputWithPooling | None = None
