"""Rows of features that vision towers encode one by one, so that each can be cached."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.hosts.grids import FrameGrids
from videorefer_plugin.hosts.registry import Host
from videorefer_plugin.models.devices import device_of

__all__ = ["EncodedRows", "FrameHost", "RowHost", "TowerRow", "visual_modules"]


class TowerRow(NamedTuple):
    """The input of a vision tower for one row of features: a frame or tile, or a few consecutive frames fused into
    one.

    Attributes:
        pixels (`torch.Tensor`): preprocessed pixels.
        size (`tuple[int, ...]`): its size, which the tower takes besides the pixels.
        mask (`torch.Tensor`, *optional*): which pixels are real.
    """

    pixels: Tensor
    size: tuple[int, ...] = ()
    mask: Tensor | None = None

    def digest(self) -> str:
        """Equal for rows whose features are equal."""
        found = hashlib.blake2b(json.dumps(self.size).encode(), digest_size=16)
        for value in (self.pixels, self.mask):
            if value is not None:
                found.update(f"{value.dtype} {tuple(value.shape)}".encode())
                found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return found.hexdigest()

    @property
    def shape(self) -> tuple[Any, ...]:
        """Equal for rows that a tower can encode together."""
        return (self.size, tuple(self.pixels.shape), self.mask is None)

    def hollow(self) -> "TowerRow":
        """The same row without its pixels, which are not needed after it is encoded."""
        return TowerRow(self.pixels.to("meta"), self.size)


@dataclass
class EncodedRows(BaseModelOutputWithPooling):
    """A visual that was put together from rows encoded one by one, for the language model."""

    deepstack_features: list[Any] | None = None


class RowHost(Host):
    """A [`Host`] whose vision tower encodes rows of features one by one, independently of their visuals.

    For each row, `"features"` are cached, from which object tokens are made, and the other `row_parts`.
    """

    def row_parts(self, model: Any) -> tuple[str, ...]:
        """Names of the parts that [`RowHost.encode_rows`] returns for a row, the features first."""
        return ("features", "tokens")

    def joined_parts(self, model: Any) -> tuple[str, ...]:
        """Names of the parts that [`RowHost.join_rows`] needs of each row."""
        return self.row_parts(model)[1:]

    def cut_rows(self, model: Any, kind: str, inputs: dict[str, Any]) -> list[TowerRow] | None:
        """Cut one visual into its rows.

        Args:
            model (`PreTrainedModel`): the host.
            kind (`str`): `"video"` or `"image"`.
            inputs (`dict`): outputs of the host's processor for one prompt with that visual alone.

        Returns:
            `list[TowerRow] | None`: `None` if the tower encodes such a visual as a whole.
        """
        raise NotImplementedError

    def encode_rows(self, model: Any, kind: str, rows: Sequence[TowerRow]) -> list[dict[str, Tensor]]:
        """Run the vision tower over rows of the same size; returns the parts of each."""
        raise NotImplementedError

    def join_rows(self, model: Any, kind: str, parts: Sequence[dict[str, Tensor]]) -> Any:
        """Make the host's `mm_encoder_outputs` from all rows of a visual."""
        raise NotImplementedError

    def lay_out_rows(self, model: Any, kind: str, rows: Sequence[TowerRow], features: Sequence[Tensor]) -> FrameGrids:
        """Arrange the features of some rows of a visual on their grids; see [`Host.lay_out`]."""
        return FrameGrids.uniform(torch.stack(list(features)))


class FrameHost(RowHost):
    """A [`RowHost`] that encodes frame by frame, and tile by tile."""

    clips: bool = True  # whether frames are passed as those of a clip, in an extra dimension

    @property
    def square(self) -> bool:
        """Whether features of each frame lie on a square grid, as in [`Host.lay_out`]."""
        return type(self).lay_out is Host.lay_out

    def cut_rows(self, model: Any, kind: str, inputs: dict[str, Any]) -> list[TowerRow] | None:
        """See [`RowHost.cut_rows`]. A host that overrides `lay_out` encodes a visual as a whole."""
        pixels = inputs[self.encoders[kind][0]]
        if not isinstance(pixels, Tensor) or not self.square:
            return None
        return [TowerRow(frame) for frame in (pixels.flatten(0, 1) if pixels.ndim == 5 else pixels)]

    def encode_rows(self, model: Any, kind: str, rows: Sequence[TowerRow]) -> list[dict[str, Tensor]]:
        """See [`RowHost.encode_rows`]."""
        pixels, arguments = torch.stack([row.pixels for row in rows]), {}
        masks = [row.mask for row in rows if row.mask is not None]
        if masks:
            arguments["pixel_attention_mask"] = torch.stack(masks)[None].to(device_of(model))
        encode = getattr(model.base_model, self.encoders[kind][1])
        pixels = pixels.to(device_of(model))
        output = encode(pixels[None] if self.clips else pixels, **arguments, return_dict=True)
        tokens = output.pooler_output
        tokens = torch.cat(list(tokens)) if isinstance(tokens, (list, tuple)) else tokens.flatten(0, -2)
        tokens = self.without_ends(kind, tokens).unflatten(0, (len(rows), -1))
        features = self.select_features(model.config, output)
        return [{"features": one, "tokens": other} for one, other in zip(features, tokens, strict=True)]

    def without_ends(self, kind: str, tokens: Tensor) -> Tensor:
        """Tokens of rows, of shape `(num_tokens, hidden_size)`, without extra tokens after all rows of a visual."""
        return tokens

    def join_rows(self, model: Any, kind: str, parts: Sequence[dict[str, Tensor]]) -> Any:
        """See [`RowHost.join_rows`]."""
        return EncodedRows(pooler_output=torch.stack([each["tokens"] for each in parts]))


def visual_modules(model: Any) -> list[nn.Module]:
    """The vision tower and its connector, and no other modules."""
    decoder = model.get_decoder()
    return [module for module in model.base_model.children() if module is not decoder]
