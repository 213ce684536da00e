"""Runs the first positions that prompts share once, and continues every prompt from them."""

import inspect
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from videorefer_plugin.models.cache import CACHE
from videorefer_plugin.models.caches import (
    cache_bytes,
    can_crop,
    common_length,
    crop,
    new_cache,
    num_copies,
    repeated,
    sees_positions,
    uses_cache,
)
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.session.prompts import Computed, Prepared

__all__ = ["Prefix", "Runner"]

# Arguments with which `generate` takes no cache of earlier positions.
_WITHOUT = ("assistant_model", "cache_implementation", "prompt_lookup_num_tokens", "assistant_early_exit")


@dataclass(eq=False)
class Prefix:
    """The first positions of prompts, and their keys and values in a cache.

    Attributes:
        prompt ([`Prepared`]): these positions.
        cache (`Cache`): keys and values of the positions.
        rope_deltas (`torch.Tensor`, *optional*):
            Difference of position ids and indices after the prefix, for hosts that number visuals in another way. The
            host keeps it as an attribute, not in the cache.
    """

    prompt: Prepared
    cache: Cache
    rope_deltas: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompt.input_ids)

    def memory(self) -> int:
        """Return the bytes of the cache."""
        return cache_bytes(self.cache)


class Runner:
    """Runs prompts of a session on a model.

    Args:
        model: the model, without a wrapper.
        pad_token_id (`int`): id that pads shorter prompts of a batch.
        computed ([`Computed`]): counts positions.
    """

    def __init__(self, model: Any, pad_token_id: int, computed: Computed):
        self.model = model
        self.pad_token_id = pad_token_id
        self.computed = computed
        self.prefixes: OrderedDict[Hashable, Prefix] = OrderedDict()

    # ------------------------------------------------------------------ shared positions

    def after_visual(self, prompt: Prepared) -> int:
        """Return the number of positions up to the end of the visual."""
        places = self._visual_places(prompt)
        return int(places[-1]) + 1 if len(places) else 0

    def _visual_places(self, prompt: Prepared) -> Tensor:
        own = getattr(self.model, "placeholder_id", lambda kind: getattr(self.model.config, f"{kind}_token_id"))
        ids = torch.tensor([own(kind) for kind in prompt.shown.encoded])
        return torch.isin(prompt.input_ids, ids).nonzero().flatten()

    def common(self, first: Prepared, second: Prepared) -> int:
        """Return how many leading positions of two prompts are equal; 0 if they end before the end of the visual.

        Hosts differ in how they number the positions after a visual that is cut in two.
        """
        if first.shown.key != second.shown.key:
            return 0
        length = common_length(first.input_ids, second.input_ids)
        places = self._region_places(second)
        same = common_length(first.object_tokens, second.object_tokens)
        if same < len(places):
            length = min(length, int(places[same]))
        return length if length >= self.after_visual(second) else 0

    def _region_places(self, prompt: Prepared) -> Tensor:
        return (prompt.input_ids == getattr(self.model, "region_token_id", -1)).nonzero().flatten()

    def first_positions(self, prompt: Prepared, length: int) -> Prepared:
        """Return the first positions of a prompt as a prompt."""
        regions = int((self._region_places(prompt) < length).sum())
        inputs = {name: value[:length] for name, value in prompt.inputs.items()}
        return Prepared(prompt.input_ids[:length], prompt.shown, prompt.object_tokens[:regions], inputs)

    def tail_of(self, first: Prepared, second: Prepared) -> Tensor | None:
        """Return the ids that follow the visual in both prompts; `None` if the ids before it differ."""
        starts = [self._visual_places(one)[:1].tolist() for one in (first, second)]
        if not all(starts):
            return None
        before = [one.input_ids[: own[0]] for one, own in zip((first, second), starts, strict=True)]
        if not torch.equal(*before):
            return None
        rest = [one.input_ids[self.after_visual(one) :] for one in (first, second)]
        return rest[0][: common_length(*rest)]

    def prefix_of(self, prompts: Sequence[Prepared], tail: Tensor | None) -> Prefix | None:
        """Return the positions that prompts share, in a cache; `None` if they share too few.

        Args:
            prompts (`Sequence[Prepared]`): prompts that show the same frames.
            tail (`torch.LongTensor` of shape `(length,)`, *optional*):
                Ids that follow the visual in every prompt of the session; `None` if nothing is shared.
        """
        key = prompts[0].shown.key
        end = self.after_visual(prompts[0])
        if tail is None or not end:
            return None
        length = end + min(common_length(one.input_ids[end:], tail) for one in prompts)
        length = min(length, *(min(self.common(prompts[0], one), len(one.input_ids) - 1) for one in prompts))
        if length < end:
            return None
        known = self.prefixes.pop(key, None)  # and put back as the last one that was used
        if known is not None:
            shared = min(self.common(known.prompt, one) for one in prompts)
            if not shared or (shared < len(known) and not can_crop(known.cache)):
                known = None
        if known is None:
            known = self.run(self.first_positions(prompts[0], length))
        self.prefixes[key] = known
        return known

    @torch.no_grad()
    def run(self, prompt: Prepared) -> Prefix:
        """Run the positions of a prompt, and return them with their cache."""
        cache = new_cache(self.model)
        inputs = {name: value[None].to(device_of(self.model)) for name, value in prompt.inputs.items()}
        ids = prompt.input_ids[None].to(device_of(self.model))
        self.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            use_cache=True,
            logits_to_keep=1,
            **{CACHE: cache},
            **inputs,
            **self._visual_inputs(prompt),
            **self._object_inputs([prompt.object_tokens]),
        )
        self.computed.positions += len(prompt.input_ids)
        return Prefix(prompt, cache, self._rope_deltas(prompt))

    # ------------------------------------------------------------------ answers

    def generate(
        self, prompts: Sequence[Prepared], tail: Tensor | None, generate_kwargs: dict[str, Any]
    ) -> list[Tensor]:
        """Answer prompts that show the same frames, in one batch if they share their first positions.

        Args:
            prompts, tail: see `prefix_of`.
            generate_kwargs (`dict`): arguments of `generate`.

        Returns:
            generate_kwargs (`dict`): arguments of `generate`.[torch.LongTensor]`: ids of each answer.
        """
        prefix = self.prefix_of(prompts, tail) if self._takes_cache(generate_kwargs) else None
        if prefix is None:
            return [self._generate_whole(one, generate_kwargs) for one in prompts]
        if len(prompts) > 1 and not self._takes_batches(prefix.cache, generate_kwargs):
            return [self.generate([one], tail, generate_kwargs)[0] for one in prompts]
        shared = self._shared(prefix, prompts)
        cache = repeated(
            prefix.cache, shared, len(prompts) * num_copies(self._config(generate_kwargs), generate_kwargs)
        )
        return self._generate_after(prefix, cache, shared, prompts, generate_kwargs)

    def converse(
        self, prompt: Prepared, tail: Tensor | None, kept: Prefix | None, generate_kwargs: dict[str, Any]
    ) -> tuple[Tensor, Prefix | None]:
        """Answer the next question of a conversation.

        Args:
            prompt ([`Prepared`]): the conversation.
            tail: see `prefix_of`.
            kept ([`Prefix`], *optional*): prefix that the previous call returned. It is changed, and cannot be used
                again.
            generate_kwargs (`dict`): arguments of `generate`.

        Returns:
            `tuple[torch.LongTensor, Prefix | None]`: ids of the answer, and the conversation with its answer in a
            cache of its own; `None` if the model has no such cache.
        """
        copies = num_copies(self._config(generate_kwargs), generate_kwargs)
        alone = self._takes_cache(generate_kwargs) and copies == 1
        shared = 0 if kept is None or not alone else self._shared(kept, [prompt])
        if kept is not None and shared and (shared == len(kept) or can_crop(kept.cache)):
            crop(kept.cache, shared)
            prefix, cache = kept, kept.cache
        else:
            found = self.prefix_of([prompt], tail) if alone else None
            if found is None:
                return self.generate([prompt], tail, generate_kwargs)[0], None
            prefix, shared = found, self._shared(found, [prompt])
            cache = repeated(found.cache, shared)
        (answer,) = self._generate_after(prefix, cache, shared, [prompt], generate_kwargs)
        return answer, self._kept(prompt, answer, cache, prefix.rope_deltas)

    def rows_for(
        self, prompts: Sequence[Prepared], tail: Tensor | None, generate_kwargs: dict[str, Any], max_bytes: int
    ) -> int:
        """Return how many prompts fit into one batch, so that their keys and values take at most `max_bytes`."""
        prefix = self.prefix_of(prompts, tail) if self._takes_cache(generate_kwargs) else None
        if prefix is None:
            return 1
        longest = max(len(one.input_ids) for one in prompts) + generate_kwargs["max_new_tokens"]
        longest *= num_copies(self._config(generate_kwargs), generate_kwargs)
        return max(int(max_bytes / max(prefix.memory() / len(prefix) * longest, 1)), 1)

    def _takes_cache(self, generate_kwargs: dict[str, Any]) -> bool:
        known = self._config(generate_kwargs)
        if not uses_cache(known, generate_kwargs):
            return False
        return all(generate_kwargs.get(name, getattr(known, name, None)) in (None, False) for name in _WITHOUT)

    def _takes_batches(self, cache: Cache, generate_kwargs: dict[str, Any]) -> bool:
        """Tell whether a batch may have padding behind the shared positions, which would fill a sliding window."""
        return can_crop(cache) and not sees_positions(self._config(generate_kwargs), generate_kwargs)

    def _config(self, generate_kwargs: dict[str, Any]) -> Any:
        return generate_kwargs.get("generation_config") or self.model.generation_config

    def _shared(self, prefix: Prefix, prompts: Sequence[Prepared]) -> int:
        """Return how many positions of a prefix all prompts share. At least one position is left to be run."""
        return min(min(self.common(prefix.prompt, one), len(one.input_ids) - 1) for one in prompts)

    def _generate_after(
        self, prefix: Prefix, cache: Cache, shared: int, prompts: Sequence[Prepared], generate_kwargs: dict[str, Any]
    ) -> list[Tensor]:
        """Answer prompts whose first positions are in a cache. The cache is changed."""
        rest = [one.input_ids[shared:] for one in prompts]
        width = max(map(len, rest))
        ids = torch.full((len(prompts), shared + width), self.pad_token_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        ids[:, :shared] = prompts[0].input_ids[:shared]
        mask[:, :shared] = 1
        for row, own in enumerate(rest):  # padding stands behind the shared positions
            ids[row, shared + width - len(own) :] = own
            mask[row, shared + width - len(own) :] = 1
        done = len(self.first_positions(prompts[0], shared).object_tokens)
        self._set_rope_deltas(prefix.rope_deltas)
        self.computed.positions += len(prompts) * width
        objects = self._object_inputs([one.object_tokens[done:] for one in prompts])
        return self._generated(ids, mask, {CACHE: cache, **objects, **generate_kwargs})

    def _kept(self, prompt: Prepared, answer: Tensor, cache: Cache, rope_deltas: Tensor | None) -> Prefix | None:
        """Return a conversation with its answer in the cache of `generate`; `None` if that holds anything else."""
        length = int(cache.get_seq_length())
        ids = torch.cat([prompt.input_ids, answer])
        if not len(prompt.input_ids) <= length <= len(ids):
            return None
        inputs = {
            name: torch.cat([each, each.new_zeros(len(answer))])[:length] for name, each in prompt.inputs.items()
        }
        return Prefix(Prepared(ids[:length], prompt.shown, prompt.object_tokens, inputs), cache, rope_deltas)

    def _generate_whole(self, prompt: Prepared, generate_kwargs: dict[str, Any]) -> Tensor:
        """Answer one prompt from its first position on, with the encoded visual."""
        ids = prompt.input_ids[None]
        self.computed.positions += ids.shape[1]
        inputs = {name: value[None].to(device_of(self.model)) for name, value in prompt.inputs.items()}
        inputs |= {**self._visual_inputs(prompt), **self._object_inputs([prompt.object_tokens])}
        return self._generated(ids, torch.ones_like(ids), {**inputs, **generate_kwargs})[0]

    def _generated(self, ids: Tensor, mask: Tensor, inputs: dict[str, Any]) -> list[Tensor]:
        device = device_of(self.model)
        output = self.model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), **inputs)
        sequences = output if isinstance(output, Tensor) else output.sequences
        return [*sequences[:, ids.shape[1] :].cpu()]

    def _visual_inputs(self, prompt: Prepared) -> dict[str, Any]:
        inputs = {
            name: value.to(device_of(self.model)) if isinstance(value, Tensor) else value
            for name, value in prompt.shown.inputs.items()
        }
        return {**inputs, "mm_encoder_outputs": prompt.shown.encoded}

    def _object_inputs(self, tokens: Sequence[Tensor]) -> dict[str, Tensor]:
        counts = [len(own) for own in tokens]
        if not any(counts):
            return {}
        padded = torch.nn.utils.rnn.pad_sequence(list(tokens), batch_first=True)
        return {"object_tokens": padded, "object_token_counts": torch.tensor(counts, device=padded.device)}

    # ------------------------------------------------------------------ state of a host

    def _rope_deltas(self, prompt: Prepared) -> Tensor | None:
        """Return the difference of position ids and indices of text after a prompt.

        The host's own value is relative to its largest position, which may be that of a visual's last frame.
        """
        base = self.model.base_model
        if not hasattr(base, "rope_deltas"):
            return None
        given = {**self._visual_inputs(prompt), **prompt.inputs}
        taken = inspect.signature(base.get_rope_index).parameters
        ids = torch.cat([prompt.input_ids, prompt.input_ids.new_zeros(1)])
        beside = {
            name: torch.cat([value, value.new_zeros(1)])[None] if name in prompt.inputs else value
            for name, value in given.items()
            if name in taken
        }
        beside = {n: v.to(base.device) if isinstance(v, Tensor) else v for n, v in beside.items()}
        positions, _ = base.get_rope_index(ids[None].to(base.device), **beside)
        return positions[0, :, -1:] - len(prompt.input_ids)

    def _set_rope_deltas(self, value: Tensor | None) -> None:
        if hasattr(self.model.base_model, "rope_deltas"):
            self.model.base_model.rope_deltas = value

    # ------------------------------------------------------------------ memory

    def memory(self) -> int:
        """Return the bytes of all prefixes."""
        return sum(prefix.memory() for prefix in list(self.prefixes.values()))

    def forget(self) -> bool:
        """Drop the prefix that was not used for the longest time; returns `False` if there is none."""
        if self.prefixes:
            self.prefixes.popitem(last=False)
            return True
        return False
