"""Generation with regions: in pieces, from a cache, with drafts, and with generated placeholders."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from videorefer_plugin.errors import PromptError
from videorefer_plugin.models.cache import CACHE, takes_cache
from videorefer_plugin.models.generate_checks import checked_prompt
from videorefer_plugin.models.placing import Placed, Prompt, cached_length, number_places
from videorefer_plugin.models.videorefer.crop_inputs import CropInputs
from videorefer_plugin.models.videorefer.region_inputs import RegionInputs

__all__ = ["RegionGeneration", "rows_beyond"]

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Host
else:
    _Host = object


class RegionGeneration(_Host):
    """The part of [`RegionMixin`] that generates."""

    # Whether mask-carrying frames are passed as separate pixels; see `RegionInputs.collect`.
    _regions_with_pixels = True

    # Names of the tensors of regions that `forward` takes, after `region_`.
    _region_fields: tuple[str, ...] = RegionInputs._fields

    # Whether `check_visuals` compares visuals with their placeholders.
    _counts_visuals = True

    def collect_regions(self, inputs: dict[str, Any]) -> Any:
        """Take the `region_...` tensors out of keyword arguments, in the form that the object encoder needs."""
        if self.object_encoder.config.kind == "crop":
            return CropInputs.collect(inputs)
        return RegionInputs.collect(inputs, self._regions_with_pixels)

    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate as every transformers model does; also takes the region tensors of [`RegionMixin.forward`].

        A conversation continues from its cache: positions that are in `cache` need no regions and no visuals, but
            those of
        the whole conversation may be passed as well.

        Placeholders are never generated, unless `suppress_tokens` is given (`suppress_tokens=[]` lifts the ban); a
        generated one is ordinary text.

        Raises:
            TensorError: region tensors are incomplete or do not fit.
            PromptError: the numbers of `<region>` positions and regions differ.
        """
        input_ids, inputs = checked_prompt(self, inputs, kwargs, placed="placed_objects")
        regions = self.collect_regions(kwargs)
        if kwargs.get("inputs_embeds") is not None:
            input_ids = None  # ids beside embeddings are not run
        if kwargs.get("placed_objects") is None:  # otherwise the model that this one drafts for has inserted them
            self._place_objects(input_ids, regions, kwargs)
        generation_config = kwargs.get("generation_config") or self.generation_config
        unset = "suppress_tokens" not in kwargs and generation_config.suppress_tokens is None
        if unset and self._bans_region_token(input_ids, kwargs):
            kwargs["suppress_tokens"] = [*getattr(self, "visual_token_ids", ()), self.region_token_id]
        return super().generate(inputs, **kwargs)

    def _bans_region_token(self, input_ids: Tensor | None, inputs: dict[str, Any]) -> bool:
        return True

    def _place_objects(self, input_ids: Tensor | None, regions: RegionInputs | None, inputs: dict[str, Any]) -> None:
        """Compute object tokens, and leave in `inputs` the arguments of `prepare_inputs_for_generation`."""
        prompt = Prompt.of(input_ids, inputs)
        tokens, counts = inputs.pop("object_tokens", None), inputs.pop("object_token_counts", None)
        if tokens is not None:
            seen = self._seen(prompt, lambda ids: self.check_object_tokens(ids, tokens, counts, regions))
        else:
            with torch.no_grad():
                seen, tokens, counts = self.object_tokens_of(prompt, regions, inputs, generating=True)
        if seen is None:
            return
        if tokens is None:
            tokens, counts = torch.zeros((len(seen), 0, 1), device=seen.device), seen.new_zeros(len(seen))
        inputs["object_places"] = self.object_places(seen, counts, tokens.shape[1])
        inputs["placed_objects"] = Placed(tokens.detach().flatten(0, 1), prompt.origin)

    def _seen(self, prompt: Prompt, check: Callable[[Any], None], *placeholders: int) -> Any:
        return prompt.seen_by(check, self.hide_region_ids, list(placeholders) or [self.region_token_id])

    def object_tokens_of(
        self, prompt: Prompt, regions: RegionInputs | None, inputs: dict[str, Any], generating: bool = False
    ) -> tuple[Any, Tensor | None, Tensor | None]:
        """Check regions and visuals, encode them, and leave in `inputs` the visuals that the host must insert.

        Args:
            prompt ([`Prompt`]): the ids, and the content of the cache.
            regions ([`RegionInputs`], *optional*): the regions.
            inputs (`dict`): the other keyword arguments.
            generating (`bool`, *optional*, defaults to `False`): whether the host generates, or runs once.

        Returns:
            `tuple`: the ids whose `<region>`s take object tokens, and these as in [`RegionMixin.get_object_tokens`];
            `None` without regions.
        """
        seen = self._seen(prompt, lambda ids: self.check_regions(ids, regions))
        if regions is None or seen is None:
            return seen, None, None
        encoded = inputs.pop("mm_encoder_outputs", None)
        placeholders = self._visual_placeholders()
        given = self.has_pixels(inputs) or any(output is not None for output in (encoded or {}).values())
        cached_visuals = bool(prompt.origin and given) and not _holds(seen, placeholders.values())
        if cached_visuals:
            self.check_pixels(inputs, encoded)
            encoded = self.encode_visuals(inputs, encoded)
            room = _cached_positions(seen, prompt.origin, inputs.get("attention_mask"))
            whole = _with_placeholders(seen, encoded, placeholders, room)
            self.check_visuals(whole, inputs, regions, encoded)
        else:
            whole = self._seen(
                Prompt(seen, prompt.cached if self._counts_visuals else 0),
                lambda ids: self.check_visuals(ids, inputs, regions, encoded),
                *placeholders.values(),
            )
            encoded = self.encode_visuals(inputs, encoded)
            if prompt.cached:
                whole = self.fit_visuals(Prompt(whole, prompt.cached), encoded)
        tokens, counts = self.get_object_tokens(whole, regions, encoded, inputs)
        if cached_visuals:
            encoded = {}
        elif generating and prompt.cached:
            encoded = self.visuals_beyond(whole, encoded, prompt.cached)
        inputs["mm_encoder_outputs"] = encoded or None
        return seen, tokens, counts

    def _visual_placeholders(self) -> dict[str, int]:
        names = {kind: getattr(self.config, f"{kind}_token_id", None) for kind in ("image", "video")}
        return {kind: number for kind, number in names.items() if number is not None}

    def check_pixels(self, inputs: dict[str, Any], mm_encoder_outputs: dict[str, Any] | None) -> None:
        """Check visuals whose placeholders are in the cache."""
        self.check_visuals(None, inputs, None, mm_encoder_outputs)

    def fit_visuals(self, prompt: Prompt, encoded: dict[str, Any]) -> Tensor:
        """Hide placeholders in the cache if encoded visuals are only those after it; checks may have done so."""
        return prompt.input_ids

    def visuals_beyond(self, input_ids: Tensor, encoded: dict[str, Any], cached: int) -> dict[str, Any]:
        """The part of encoded visuals that a host needs if its first `cached` columns are in the cache."""
        return encoded

    def object_places(self, input_ids: Tensor, counts: Tensor, width: int) -> Tensor:
        """For each column, return its row among object tokens of shape `(batch * width, hidden_size)`, or -1.

        A sample has as many positions as object tokens; further ids of `<region>` are part of an answer, which is
        text.
        """
        found = input_ids == self.region_token_id
        number = found.cumsum(dim=1)
        first = torch.arange(len(input_ids), device=input_ids.device)[:, None] * width
        return torch.where(found & (number <= counts.to(number.device)[:, None]), number - 1 + first, -1)

    def hide_region_ids(self, input_ids: Tensor, places: Tensor) -> Tensor:
        """Replace `<region>` ids by one that every embedding table has, since the id may be larger than it."""
        return input_ids.masked_fill(places.to(input_ids.device), 0)

    @takes_cache
    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        placed_objects: Placed | None = None,
        object_places: Tensor | None = None,
        placed_visuals: Placed | None = None,
        visual_places: Tensor | None = None,
        is_first_iteration: bool | None = False,
        use_cache: bool | None = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Pass on the object tokens of the positions that are run now."""
        if placed_visuals is not None:  # named here, since `generate` takes no arguments that it doesn't see named
            kwargs |= {"placed_visuals": placed_visuals, "visual_places": visual_places}
        past = cached_length(cache) if use_cache else 0
        if object_places is not None and placed_objects is not None and len(placed_objects.tokens):
            # A draft model begins with an empty cache as well, and needs visuals then.
            is_first_iteration = is_first_iteration or (not past and input_ids.shape[1] >= object_places.shape[1])
        model_inputs = super().prepare_inputs_for_generation(
            input_ids,
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            use_cache=use_cache,
            **{CACHE: cache},
            **kwargs,
        )
        ids = model_inputs.get("input_ids")
        if ids is not None and placed_objects is not None and object_places is not None:
            model_inputs["placed_objects"] = placed_objects.at(object_places, past, ids.shape[1])
        elif ids is not None and not is_first_iteration:
            model_inputs["placed_objects"] = ids.new_zeros((0, 1)), torch.full_like(ids, -1)  # generated: words
        return model_inputs


def _holds(input_ids: Tensor, placeholders: Any) -> bool:
    return any(bool((input_ids == each).any()) for each in placeholders)


def _with_placeholders(
    input_ids: Tensor, encoded: dict[str, Any], placeholders: dict[str, int], room: list[int]
) -> Tensor:
    """Prepend the placeholders of visuals in the cache to the ids, with equally many visuals in each sample.

    Args:
        input_ids (`torch.LongTensor` of shape `(batch, length)`): ids after the cache.
        encoded (`dict`): the visuals.
        placeholders (`dict[str, int]`): id of each kind of visual.
        room (`list[int]`): number of positions of each sample in the cache, padding aside.

    Raises:
        PromptError: it is unclear which sample a visual belongs to.
    """
    batch = len(input_ids)
    parts = [input_ids]
    for kind, token_id in placeholders.items():
        output = encoded.get(kind)
        lengths = [] if output is None else [len(visual) for visual in output.pooler_output]
        each, left = divmod(len(lengths), batch)
        totals = {sum(lengths[sample * each : (sample + 1) * each]) for sample in range(batch)}
        # If no sample has room for one more visual, all have equally many.
        several = bool(lengths) and batch > 1 and max(room) >= (each + 1) * min(lengths)
        if left or len(totals) > 1 or several:
            raise PromptError(
                f"The placeholders of {len(lengths)} {kind}(s) of {lengths} token(s) lie in the cache, so that it "
                f"cannot be told which of the {batch} samples they belong to. Call generate with the ids of the whole "
                "conversation, or go on with one sample at a time."
            )
        parts.insert(0, input_ids.new_full((batch, totals.pop()), token_id))
    return torch.cat(parts, dim=1)


def _cached_positions(input_ids: Tensor, past: int, attention_mask: Any) -> list[int]:
    """Number of positions of each sample in a cache, without padding if a mask is given."""
    if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2 and attention_mask.shape[1] >= past:
        return attention_mask[:, :past].sum(dim=1).tolist()
    return [past] * len(input_ids)


def rows_beyond(
    input_ids: Tensor, encoded: dict[str, Any], cached: int, placeholders: dict[str, int]
) -> dict[str, Any]:
    """The rows of encoded visuals whose placeholders lie after the first `cached` columns."""
    kept = {}
    for kind, output in encoded.items():
        numbers = number_places(input_ids == placeholders.get(kind, -1))
        late = numbers[:, cached:]
        rows = late[late >= 0]
        if output is None or not len(rows):
            continue
        if len(rows) == int(numbers.max()) + 1:
            kept[kind] = output
        else:
            kept[kind] = copy.copy(output)
            for name in ("pooler_output", "deepstack_features"):
                value = getattr(output, name, None)
                if value is not None:
                    several = name == "deepstack_features"
                    setattr(kept[kind], name, [_take(each, rows) for each in value] if several else _take(value, rows))
    return kept


def _take(features: Any, rows: Tensor) -> Any:
    flat = torch.cat([each.reshape(-1, each.shape[-1]) for each in features])
    taken = flat[rows.to(flat.device)]
    return taken.unsqueeze(0) if isinstance(features, Tensor) else [taken]
