"""Joining samples that were prepared one by one into a batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.feature_extraction_utils import BatchFeature

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.inputs.matching import check_at_least_one

__all__ = ["JoinsSamples", "PreparedBatch", "collates_prepared", "is_by_position", "join_samples"]

_FILL = {"labels": -100, "special_tokens_mask": 1}  # 0 elsewhere
# Prefixes of tensors of visuals and regions, whose layout these names decide.
_NOT_BY_POSITION = ("pixel_", "image_", "video_", "region_", "object_")


class PreparedBatch(BatchFeature):
    """The output of the processors of this library: a `BatchFeature` that pipelines join with [`join_samples`]."""


def collates_prepared(collate: Callable[..., Any], pad_token_id: int | None) -> Callable[..., Any]:
    """A pipeline's own function for joining samples, except for those that a processor of this library prepared."""

    def join(items: Sequence[Any]) -> Any:
        if not all(isinstance(item, PreparedBatch) for item in items):
            return collate(items)
        # Answers are generated at the end, so padding goes to the front.
        return join_samples(items, pad_token_id=pad_token_id, padding_side="left")

    return join


class JoinsSamples:
    """A processor whose samples can be joined after they were prepared one by one."""

    tokenizer: Any

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = "pt",
        verbose: bool = True,
    ) -> BatchFeature:
        """Join samples into a batch, as `pad` of a tokenizer does.

        Args:
            encoded_inputs (`list[BatchFeature]`): the outputs of this processor for each sample, as tensors.
            padding (`bool` or `str`, *optional*): `True` or `"longest"`, or `"max_length"` for at least `max_length`.
            max_length (`int`, *optional*): with `padding="max_length"`, the length to pad to.
            pad_to_multiple_of (`int`, *optional*): divisor of the length of the batch.
            padding_side (`str`, *optional*): `"left"` or `"right"`; overrides the processor's.
            return_attention_mask (`bool`, *optional*): `False` leaves `attention_mask` out.
            return_tensors (`str`, *optional*): `"pt"`.
            verbose (`bool`, *optional*): accepted because tokenizers accept it, and ignored.

        Returns:
            `BatchFeature` with the tensors of all samples: `input_ids` and other tensors by position of shape
            `(batch, length)`, `region_...` with a row for each sample, and concatenated visuals.

        Raises:
            TensorError: there are no samples, or their tensors do not fit together.
            ConfigurationError: a setting has an unknown value.
        """
        if return_tensors not in (None, "pt"):
            raise ConfigurationError(f"return_tensors must be 'pt', but is {short(return_tensors)}.")
        if padding not in (True, "longest", "max_length"):
            raise ConfigurationError(
                f"padding must be True, 'longest' or 'max_length', but is {short(padding)}: samples of a batch need "
                "one length."
            )
        side = padding_side or getattr(self, "padding_side", "left")
        if side not in ("left", "right"):
            raise ConfigurationError(f"padding_side must be 'left' or 'right', but is {short(side)}.")
        for name, number in (("max_length", max_length), ("pad_to_multiple_of", pad_to_multiple_of)):
            if number is not None:
                check_at_least_one(number, name)
        joined = join_samples(
            [encoded_inputs] if isinstance(encoded_inputs, Mapping) else encoded_inputs,
            pad_token_id=self.tokenizer.pad_token_id,
            padding_side=side,
            min_length=(max_length or 0) if padding == "max_length" else 0,
            multiple_of=pad_to_multiple_of or 1,
        )
        if return_attention_mask is False:
            joined.pop("attention_mask", None)
        return PreparedBatch(joined)


def join_samples(
    samples: Sequence[Mapping[str, Any]],
    *,
    pad_token_id: int | None,
    padding_side: str = "left",
    min_length: int = 0,
    multiple_of: int = 1,
) -> dict[str, Any]:
    """Join samples into one batch.

    Tensors with a value for each position of the prompt are padded to the longest prompt. Tensors of regions get a row
    for each sample, also if a sample has none. All others are concatenated along their first dimension, and padded
    with zeros at the end of their other dimensions. Lists are joined, single numbers become a tensor, and all other
    values become a list.

    Args:
        samples (`Sequence[Mapping]`):
            The outputs of a processor for each sample, with `return_tensors="pt"`; one may hold several prompts.
        pad_token_id (`int`, *optional*): the padding of `input_ids`.
        padding_side (`str`, *optional*, defaults to `"left"`): where prompts are padded.
        min_length, multiple_of (`int`, *optional*): lower bound and divisor of the length of the batch.

    Raises:
        TensorError: there are no samples, one has no `input_ids`, or tensors do not fit together.
        ConfigurationError: padding is needed, and the tokenizer has no padding token.
    """
    if not isinstance(samples, Sequence) or not samples or not all(isinstance(one, Mapping) for one in samples):
        raise TensorError(
            "A batch is made of a list of samples as the processor returns them, one call for each, but got "
            f"{'an empty list' if isinstance(samples, Sequence) and not samples else type(samples).__name__}."
        )
    prompts = [_prompt(sample, number) for number, sample in enumerate(samples)]
    length = max(min_length, *(ids.shape[1] for ids in prompts))
    length += -length % multiple_of
    if pad_token_id is None:
        if any(ids.shape[1] != length for ids in prompts):
            raise ConfigurationError(
                "The prompts have different lengths, but the tokenizer has no padding token. Set "
                "tokenizer.pad_token = tokenizer.eos_token."
            )
        pad_token_id = 0
    joined: dict[str, Any] = {}
    for name in dict.fromkeys(name for sample in samples for name in sample):
        values = [sample.get(name) for sample in samples]
        if name == "input_ids" or is_by_position(name, values, prompts):
            fill = pad_token_id if name == "input_ids" else _FILL.get(name, 0)
            like = next(value for value in values if value is not None)
            rows = [_at_positions(name, value, ids, like) for value, ids in zip(values, prompts, strict=True)]
            joined[name] = torch.cat([_pad_prompt(row, length, fill, padding_side) for row in rows])
        elif name.startswith("region_") and any(isinstance(value, Tensor) for value in values):
            joined[name] = _cat(name, _with_rows(values, prompts))
        elif all(isinstance(value, Tensor) for value in values if value is not None):
            joined[name] = _cat(name, [value for value in values if value is not None])
        elif all(isinstance(value, (list, tuple)) for value in values if value is not None):
            joined[name] = [one for value in values if value is not None for one in value]
        elif all(isinstance(value, (bool, int, float)) for value in values):
            joined[name] = torch.tensor(values)
        else:
            joined[name] = values
    return joined


def _prompt(sample: Mapping[str, Any], number: int) -> Tensor:
    ids = sample.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        given = f"have shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else f"are a {type(ids).__name__}"
        raise TensorError(
            f"Sample {number}: input_ids must be a tensor of shape (1, length), but {given}. Call the processor with "
            "return_tensors='pt' and keep the first dimension."
        )
    return ids


def is_by_position(name: str, values: list[Any], prompts: list[Tensor]) -> bool:
    """Whether there is a value for each position of the prompts."""
    return not name.startswith(_NOT_BY_POSITION) and all(
        value is None or (isinstance(value, Tensor) and value.shape[:2] == ids.shape)
        for value, ids in zip(values, prompts, strict=True)
    )


def _at_positions(name: str, value: Tensor | None, ids: Tensor, like: Tensor) -> Tensor:
    if value is not None:
        return value
    fill = 1 if name == "attention_mask" else _FILL.get(name, 0)
    return like.new_full((*ids.shape, *like.shape[2:]), fill)


def _pad_prompt(value: Tensor, length: int, fill: int, side: str) -> Tensor:
    missing = length - value.shape[1]
    beside = [0, 0] * (value.ndim - 2)
    return F.pad(value, [*beside, *((missing, 0) if side == "left" else (0, missing))], value=fill)


def _with_rows(values: list[Tensor | None], prompts: list[Tensor]) -> list[Tensor]:
    """Return the same with empty rows for samples without regions."""
    example = next(value for value in values if value is not None)
    empty = [0] * (example.ndim - 1)
    return [
        example.new_zeros((len(ids), *empty)) if value is None else value
        for value, ids in zip(values, prompts, strict=True)
    ]


def _cat(name: str, values: list[Tensor]) -> Tensor:
    if len({value.ndim for value in values}) > 1:
        shapes = ", ".join(str(tuple(value.shape)) for value in values)
        raise TensorError(
            f"{name} of the samples have shapes {shapes}, which cannot be joined. Prepare all samples with the same "
            "processor."
        )
    if not values[0].ndim:
        return torch.stack(values)
    largest = [max(sizes) for sizes in zip(*(value.shape[1:] for value in values), strict=True)]
    padded = []
    for value in values:
        missing = [size - own for size, own in zip(largest, value.shape[1:], strict=True)]
        padded.append(
            F.pad(value, [part for size in reversed(missing) for part in (0, size)]) if any(missing) else value
        )
    return torch.cat(padded)
