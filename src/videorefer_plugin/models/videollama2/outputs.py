"""What the VideoLLaMA2 models return."""

from dataclasses import dataclass

from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

__all__ = ["VideoLLaMA2CausalLMOutputWithPast", "VideoLLaMA2ModelOutputWithPast"]


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
