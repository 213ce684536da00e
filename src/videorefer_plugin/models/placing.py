"""The columns of a prompt in which tokens are inserted, for generation in pieces or from a cache."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from videorefer_plugin.errors import PromptError

__all__ = [
    "Placed",
    "Prompt",
    "cached_length",
    "columns",
    "given_cache",
    "insert",
    "number_places",
    "written_step",
]


class Placed(NamedTuple):
    """Tokens of a whole batch, which the beams of a search share.

    Attributes:
        tokens (`torch.Tensor` of shape `(num_tokens, hidden_size)`): tokens of all samples.
        origin (`int`): position, in the sequence, of the first column of the ids that the tokens were placed in.
    """

    tokens: Tensor
    origin: int = 0

    def at(self, places: Tensor, past: int, length: int) -> tuple[Tensor, Tensor]:
        """The arguments of `forward` for `length` columns that begin at position `past`.

        Args:
            places (`torch.LongTensor` of shape `(batch, prompt_length)`): for each column its row of `tokens`, or -1.
            past (`int`): positions before, which are in the cache.
            length (`int`): number of columns; those beyond the prompt were generated, and are words.

        Returns:
            `tuple[torch.Tensor, torch.LongTensor]`: tokens, none where no column can need one, and places.
        """
        start = max(past - self.origin, 0)
        tokens = self.tokens if start < places.shape[1] else self.tokens[:0]
        return tokens, columns(places, start, length)


class Prompt(NamedTuple):
    """Ids passed to `generate`, with a cache that may hold the first of them, or earlier ones.

    Attributes:
        input_ids (`torch.LongTensor` of shape `(batch, length)`): the ids.
        cached (`int`): how many of their columns are in the cache.
        origin (`int`): how many positions lie before the first column.
    """

    input_ids: Any
    cached: int = 0
    origin: int = 0

    @classmethod
    def of(cls, input_ids: Any, inputs: dict[str, Any]) -> "Prompt":
        """Decide from the attention mask whether the ids include those in the cache.

        transformers does: ids as long as the mask are the whole sequence, shorter ones are its end.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): the ids.
            inputs (`dict`): the other keyword arguments of `generate`.
        """
        past = cached_length(given_cache(inputs))
        if not past or not isinstance(input_ids, Tensor) or input_ids.ndim != 2:
            return cls(input_ids)
        mask = inputs.get("attention_mask")
        if mask is None or mask.shape[1] == input_ids.shape[1]:
            return cls(input_ids, min(past, input_ids.shape[1]))
        return cls(input_ids, origin=past)

    def seen_by(
        self, check: Callable[[Any], None], hide: Callable[[Tensor, Tensor], Tensor], placeholders: list[int]
    ) -> Any:
        """Return the ids that contain the placeholders of an argument: all ids, or those that are not in the cache.

        Args:
            check (`Callable`): raises `PromptError` if the argument does not fill the placeholders of the ids.
            hide (`Callable`): replaces ids where a mask says so.
            placeholders (`list[int]`): ids of the placeholders that count.

        Returns:
            `torch.LongTensor` of shape `(batch, length)`: the ids, without placeholders in the cache if so.

        Raises:
            PromptError: neither fits.
        """
        if not self.cached:
            check(self.input_ids)
            return self.input_ids
        earlier = torch.arange(self.input_ids.shape[1], device=self.input_ids.device) < self.cached
        known = torch.isin(self.input_ids, torch.tensor(placeholders, device=earlier.device)) & earlier
        new = hide(self.input_ids, known)
        try:
            check(new)
        except PromptError as error:
            try:
                check(self.input_ids)
            except PromptError:
                raise PromptError(
                    f"{error} The first {self.cached} position(s) are in the cache, and their placeholders were not "
                    "counted here; what fills all placeholders would fit as well."
                ) from None
            return self.input_ids
        return new


def given_cache(inputs: Mapping[str, Any]) -> Any:
    """Return the cache among keyword arguments, under its current or its previous name."""
    cache = inputs.get("cache")
    return inputs.get("past_key_values") if cache is None else cache


def cached_length(cache: Any) -> int:
    """Number of positions in a cache; 0 for none."""
    return 0 if cache is None or not hasattr(cache, "get_seq_length") else int(cache.get_seq_length())


def written_step(input_ids: Any, cache: Any) -> bool:
    """Whether these are single ids after a cache: a step of decoding, whose ids the model generated."""
    if torch.compiler.is_compiling() or not isinstance(input_ids, Tensor) or input_ids.ndim != 2:
        return False
    return input_ids.shape[1] == 1 and cached_length(cache) > 0


def number_places(mask: Tensor) -> Tensor:
    """Number the positions that a mask marks, sample by sample and from left to right; -1 elsewhere."""
    return torch.where(mask, mask.flatten().cumsum(0).view_as(mask) - 1, -1)


def columns(places: Tensor, start: int, length: int) -> Tensor:
    """Take columns out of `places`, `(batch, prompt_length)`; columns beyond the prompt are empty."""
    part = places[:, start : start + length]
    return torch.nn.functional.pad(part, (0, length - part.shape[1]), value=-1)


def insert(embeds: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
    """Replace embeddings by tokens.

    Args:
        embeds (`torch.Tensor` of shape `(batch, length, hidden_size)`): embeddings.
        tokens (`torch.Tensor` of shape `(num_tokens, hidden_size)`): tokens.
        places (`torch.LongTensor` of shape `(batch, length)`): for each column its row of `tokens`, or -1.
    """
    places = places.to(tokens.device)
    source = tokens[places.clamp(min=0)].to(embeds.device, embeds.dtype)
    return torch.where((places >= 0).unsqueeze(-1).to(embeds.device), source, embeds)
