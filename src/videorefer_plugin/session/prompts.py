"""Conversations that are ready to run, and the encoded visuals in them."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from videorefer_plugin.regions import Region

__all__ = ["Computed", "Keeps", "Prepared", "Shown", "Visuals", "tensor_bytes"]


@dataclass(eq=False)
class Shown:
    """The encoded visual of a prompt.

    Attributes:
        key (`Hashable`): equal for prompts that show the same frames in the same way.
        encoded (`dict[str, ModelOutput]`): the argument `mm_encoder_outputs` of `forward`, for a batch of one.
        inputs (`dict[str, Any]`): the other visual arguments of `forward` for a batch of one, such as grids.
    """

    key: Hashable
    encoded: dict[str, Any]
    inputs: dict[str, Any] = field(default_factory=dict)

    def memory(self) -> int:
        """Return the bytes of the tensors."""
        return tensor_bytes([self.encoded, self.inputs])


@dataclass(eq=False)
class Prepared:
    """One conversation, ready to run.

    Attributes:
        input_ids (`torch.LongTensor` of shape `(length,)`): ids without padding, with all placeholders.
        shown ([`Shown`]): the visual.
        object_tokens (`torch.Tensor` of shape `(num_tokens, hidden_size)`): the object tokens that replace `<region>`.
        inputs (`dict[str, torch.Tensor]`): arguments of `forward` with one value for each position, `(length,)`.
    """

    input_ids: Tensor
    shown: Shown
    object_tokens: Tensor
    inputs: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Computed:
    """Counts the work of a session so far.

    Attributes:
        frames_read (`int`): frames that were decoded.
        frames_encoded (`int`): frames, or rows of features, that went through the vision tower.
        positions (`int`): positions of prompts that went through the language model, padding included.
    """

    frames_read: int = 0
    frames_encoded: int = 0
    positions: int = 0


class Keeps(Protocol):
    """A cache of values that can be computed again."""

    def memory(self) -> int:
        """Return the bytes that are kept."""
        ...

    def forget(self) -> bool:
        """Drop the value that was not used for the longest time; returns `False` if nothing is kept."""
        ...


class Visuals(Keeps, Protocol):
    """The visual of a session, which prepares prompts about it. `memory` leaves the store of features out.

    Attributes:
        at_once (`int`): how many prompts may be prepared together without filling the memory.
    """

    at_once: int

    def check(self, texts: Sequence[str], regions: Sequence[Sequence[Region]]) -> None:
        """Check prompts without reading a frame. The arguments and errors are those of `prepare`."""
        ...

    def prepare(self, texts: Sequence[str], regions: Sequence[Sequence[Region]]) -> list[Prepared]:
        """Prepare prompts, so that they are ready to run.

        Args:
            texts (`Sequence[str]`): the conversations, formatted by the chat template.
            regions (`Sequence[Sequence[Region]]`): the regions of each, in prompt order.
        """
        ...

    def pooled(self, text: str, region: Region) -> tuple[Sequence[int], Tensor]:
        """Return the vectors that the object encoder pools of a region, before it merges them.

        Args:
            text (`str`): a prompt with one `<region>`, formatted by the chat template.
            region ([`Region`]): the region.

        Returns:
            `tuple[Sequence[int], torch.Tensor]`: the frames in the order in which they are merged, and a vector for
            each, `(num_frames, vision_hidden_size)`.
        """
        ...


def tensor_bytes(value: Any) -> int:
    """Return the bytes of all tensors in nested containers, each counted once."""
    return sum({id(each): each.numel() * each.element_size() for each in _tensors(value)}.values())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from (tensor for each in value.values() for tensor in _tensors(each))
    elif isinstance(value, (list, tuple)):
        yield from (tensor for each in value for tensor in _tensors(each))
