"""Inserting visual tokens at the positions of their placeholders."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.errors import PromptError
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.placing import insert, number_places
from videorefer_plugin.models.videollama2.checks import check_place_count, check_places
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config

__all__ = ["EmbedsVisuals"]

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Host
else:
    _Host = object


class EmbedsVisuals(_Host):
    """The part of [`VideoLLaMA2Model`] that makes embeddings from ids and visual tokens."""

    config: VideoLLaMA2Config

    def get_placeholder_mask(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None = None,
        image_features: Any = None,
        video_features: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """Find the positions of visual tokens, and check that there are as many as tokens.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*): ids with placeholders.
            inputs_embeds (`torch.Tensor` of shape `(batch, length, hidden_size)`, *optional*):
                Embeddings of the ids. Without ids, placeholders are found by the embedding of theirs.
            image_features, video_features (`torch.Tensor` of shape `(..., hidden_size)` or a list, *optional*):
                Visual tokens; the positions of a kind are counted if its tokens are given.

        Returns:
            `tuple[torch.BoolTensor, torch.BoolTensor]`: where the tokens of images and of videos belong, of shape
            `(batch, length, 1)`.

        Raises:
            PromptError: the numbers differ, or neither ids nor embeddings are given.
        """
        features = {"image": image_features, "video": video_features}
        masks = {}
        for what, given in features.items():
            mask = self._placeholders(input_ids, inputs_embeds, what)
            if given is not None:
                parts = given if isinstance(given, (list, tuple)) else [given]
                check_place_count(mask, sum(part.numel() // part.shape[-1] for part in parts), what)
            masks[what] = mask.unsqueeze(-1)
        return masks["image"], masks["video"]

    def _placeholders(self, input_ids: Tensor | None, inputs_embeds: Tensor | None, what: str) -> Tensor:
        token_id = {"image": self.config.image_token_id, "video": self.config.video_token_id}[what]
        if input_ids is not None:
            return input_ids == token_id
        if inputs_embeds is None:
            raise PromptError("Placeholders are found in input_ids or inputs_embeds, but neither is given.")
        table: Any = self.get_input_embeddings()
        if token_id >= table.num_embeddings:  # no embedding is that of an id beyond the table
            return inputs_embeds.new_zeros(inputs_embeds.shape[:2], dtype=torch.bool)
        own = table(torch.tensor(token_id, device=device_of(table)))
        return (inputs_embeds == own.to(inputs_embeds)).all(-1)

    def place_visuals(
        self, input_ids: Tensor, encoded: dict[str, BaseModelOutputWithPooling]
    ) -> tuple[Tensor, Tensor]:
        """Arrange visual tokens by column, so that a prompt can be run in pieces.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): ids with a placeholder for every token.
            encoded (`dict`): outputs of `get_image_features` and `get_video_features`.

        Returns:
            `tuple[torch.Tensor, torch.LongTensor]`: tokens of shape `(num_tokens, hidden_size)`, and for each column
            its token or -1, of shape `(batch, length)`.
        """
        places = torch.full_like(input_ids, -1)
        tokens = [torch.zeros((0, self.config.text_config.hidden_size), device=input_ids.device)]
        for name, token_id in (("image", self.config.image_token_id), ("video", self.config.video_token_id)):
            if encoded.get(name) is not None:
                numbers = number_places(input_ids == token_id)
                places = torch.where(numbers >= 0, numbers + sum(map(len, tokens)), places)
                tokens += [visual.flatten(0, -2) for visual in encoded[name].pooler_output]
        return torch.cat([part.to(tokens[-1]) for part in tokens]), places

    def _embed_placed(self, input_ids: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        hidden = places.to(input_ids.device) >= 0
        for token_id in (self.config.image_token_id, self.config.video_token_id):
            if token_id >= self.config.text_config.vocab_size:
                hidden = hidden | (input_ids == token_id)
        embeds = self.get_input_embeddings()(input_ids.masked_fill(hidden, 0))
        return insert(embeds, tokens, places) if len(tokens) else embeds

    def _embed(self, input_ids: Tensor, tokens: dict[str, Any]) -> Tensor:
        places = dict(zip(("image", "video"), self.get_placeholder_mask(input_ids), strict=True))
        # Placeholder ids may lie beyond the embedding table: look up any other word there, and overwrite it.
        ids = input_ids
        for name, place in places.items():
            check_places(place.squeeze(-1), [len(each) for each in tokens.get(name, ())], name)
            if name in tokens:
                ids = ids.masked_fill(place.squeeze(-1), 0)
        embeds = self.get_input_embeddings()(ids)
        for name, visuals in tokens.items():
            # One after the other in prompt order, also where visuals become different numbers of tokens.
            source = torch.cat([each.to(embeds.device, embeds.dtype) for each in visuals])
            embeds = embeds.masked_scatter(places[name].to(embeds.device), source)
        return embeds
