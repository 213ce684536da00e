"""Prompts of a batch with the same beginning, such as questions about one video: the shared part is run once."""

from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.models.cache import CACHE
from videorefer_plugin.models.caches import can_crop, new_cache, num_copies, repeated, sees_positions, uses_cache
from videorefer_plugin.models.placing import Placed
from videorefer_plugin.models.sharded import is_sharded

__all__ = ["restore_prompts", "share_prefix"]

_WORTH = 32  # positions; fewer are run quicker than shared
_PLACES = {"placed_visuals": "visual_places", "placed_objects": "object_places"}
# With any of these, prompts do not begin in an empty cache of the usual kind, or more is returned than ids.
_ARGUMENTS = (
    *("past_key_values", "cache", "position_ids", "inputs_embeds", "streamer", "assistant_model", "custom_generate"),
    *("token_type_ids", "synced_gpus"),
)
_SETTINGS = (
    *("return_dict_in_generate", "cache_implementation", "prompt_lookup_num_tokens", "assistant_early_exit"),
    *("output_scores", "output_logits", "output_attentions", "output_hidden_states"),
)


def share_prefix(model: Any, input_ids: Tensor, inputs: dict[str, Any]) -> Tensor | None:
    """Run the first positions of a batch once, if all prompts begin alike.

    Args:
        model: the model.
        input_ids (`torch.LongTensor` of shape `(batch, length)`): ids, padded on the left.
        inputs (`dict`): the other arguments of `generate`, with visuals and regions placed; changed if this is done.

    Returns:
        `torch.LongTensor` of shape `(batch, length)`: the ids, with padding after the shared part and not in front
        of it; `None` if nothing is shared, or if a setting makes a difference.
    """
    if not _may_share(model, input_ids, inputs):
        return None
    mask = inputs["attention_mask"].to(input_ids.device).long()
    starts = mask.shape[1] - mask.sum(dim=1)
    length = _shared_length(input_ids, starts, inputs)
    if length < _WORTH:
        return None
    head = {"input_ids": input_ids[:1, starts[0] : starts[0] + length]}
    for name, places in _PLACES.items():
        if inputs.get(name) is not None:
            own = inputs[places][:1, starts[0] : starts[0] + length]
            head[name] = inputs[name].at(own, 0, length)
    cache = new_cache(model)
    if not can_crop(cache):  # padding would fill the windows of its layers
        return None
    with torch.no_grad():
        model(**head, attention_mask=torch.ones_like(head["input_ids"]), logits_to_keep=1, **{CACHE: cache})
    inputs[CACHE] = repeated(cache, length, len(input_ids) * num_copies(_config(model, inputs), inputs))
    inputs["attention_mask"] = _moved(mask, starts, length, 0)
    for places in _PLACES.values():
        if inputs.get(places) is not None:
            inputs[places] = _moved(inputs[places], starts.to(inputs[places].device), length, -1)
    return _moved(input_ids, starts, length, None)


def restore_prompts(output: Tensor, input_ids: Tensor) -> Tensor:
    """Move the ids of the prompts in `generate`'s output back to their original columns."""
    prompts = input_ids.repeat_interleave(len(output) // len(input_ids), dim=0)
    return torch.cat([prompts.to(output.device), output[:, input_ids.shape[1] :]], dim=1)


def _may_share(model: Any, input_ids: Tensor, inputs: dict[str, Any]) -> bool:
    config = _config(model, inputs)
    mask = inputs.get("attention_mask")
    if torch.compiler.is_compiling() or not isinstance(mask, Tensor) or mask.shape != input_ids.shape:
        return False
    if len(input_ids) < 2 or input_ids.shape[1] <= _WORTH or model.training:
        return False
    if any(inputs.get(name) is not None for name in _ARGUMENTS) or sees_positions(config, inputs):
        return False
    if any(inputs.get(name, getattr(config, name, None)) for name in _SETTINGS) or not uses_cache(config, inputs):
        return False
    if any(_has_origin(inputs.get(name)) for name in _PLACES) or is_sharded(model):
        return False
    return bool((mask[:, 1:] >= mask[:, :-1]).all()) and bool(mask[:, -1].all())  # padded on the left


def _has_origin(placed: Placed | None) -> bool:
    return placed is not None and bool(placed.origin)


def _config(model: Any, inputs: dict[str, Any]) -> Any:
    return inputs.get("generation_config") or model.generation_config


def _shared_length(input_ids: Tensor, starts: Tensor, inputs: dict[str, Any]) -> int:
    """How many positions are alike in all prompts, padding aside; at least one is left to each."""
    width = input_ids.shape[1]
    length = width - int(starts.max()) - 1
    columns = starts[:, None] + torch.arange(length, device=starts.device)
    ids = input_ids.gather(1, columns)
    length = _first(ids != ids[:1], length)
    for name, kept in _PLACES.items():
        if inputs.get(name) is None or not len(inputs[name].tokens):
            continue
        tokens, places = inputs[name].tokens, inputs[kept]
        own = places.gather(1, columns.to(places.device))[:, :length]
        first, filled = own[0], (own >= 0).any(dim=0)
        for row in own[1:]:
            differs = (row >= 0) != (first >= 0)
            at = (filled & (row != first) & ~differs).nonzero().flatten()
            differs[at] = (
                (tokens[row[at].to(tokens.device)] != tokens[first[at].to(tokens.device)]).any(1).to(at.device)
            )
            length = _first(differs[None], length)
    return length


def _first(differs: Tensor, length: int) -> int:
    """The first column in which something differs."""
    columns = differs[:, :length].any(dim=0).nonzero()
    return int(columns[0]) if len(columns) else length


def _moved(values: Tensor, starts: Tensor, length: int, fill: int | None) -> Tensor:
    """Columns with the shared part first, and padding after it; the following columns are not moved.

    Args:
        values (`torch.Tensor` of shape `(batch, width)`): values of all columns.
        starts (`torch.LongTensor` of shape `(batch,)`): number of columns of padding on the left.
        length (`int`): number of columns that are shared.
        fill (`int`, *optional*): what stands in padding; what stood in it before by default.
    """
    column = torch.arange(values.shape[1], device=values.device).expand_as(values)
    start = starts.to(values.device)[:, None]
    shared = column < length
    moved = values.gather(1, torch.where(shared, column + start, column))
    padding = ~shared & (column < start + length)
    return torch.where(padding, values[:, :1] if fill is None else torch.full_like(values, fill), moved)
