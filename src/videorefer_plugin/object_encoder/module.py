"""The object encoder: it turns masks over frame features into object tokens."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.object_encoder.checks import check_tensors
from videorefer_plugin.object_encoder.configuration import ObjectEncoderConfig
from videorefer_plugin.object_encoder.masks import pool_masks
from videorefer_plugin.object_encoder.merge import merge_tokens

__all__ = ["EncoderBase", "ObjectEncoder", "ObjectEncoderOutput"]


class ObjectEncoderOutput(NamedTuple):
    """Object tokens of a batch.

    Attributes:
        tokens (`torch.Tensor` of shape `(sum(counts), hidden_size)`): object tokens, region by region.
        counts (`torch.LongTensor` of shape `(num_regions,)`): number of tokens of each region.
    """

    tokens: Tensor
    counts: Tensor

    def split(self) -> list[Tensor]:
        """The tokens of each region, of shape `(num_tokens, hidden_size)` each."""
        return list(self.tokens.split(self.counts.tolist()))


class EncoderBase(nn.Module):
    """The base class of object encoders of all kinds: a projector to the width of the language model."""

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [nn.Linear(config.vision_hidden_size, config.hidden_size)]
        for _ in range(config.projector_depth - 1):
            layers += [nn.GELU(), nn.Linear(config.hidden_size, config.hidden_size)]
        self.projector = nn.Sequential(*layers)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the projector computes in: that of its weights, or of its unquantized parameters."""
        for each in self.parameters():  # a loop, which every supported version of torch compiles
            if each.is_floating_point():
                return each.dtype
        return torch.float32

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        for each in self.parameters():
            return each.device
        return torch.device("cpu")


class ObjectEncoder(EncoderBase):
    """Spatial Token Extractor and Temporal Token Merge of VideoRefer (paper, section 3.2.2).

    Every mask pools the features of its frame into one vector, the vectors of one object are merged over time into at
    most `config.max_tokens_per_region` unions, and a small MLP projects them to the width of the language model.
    """

    def __init__(self, config: ObjectEncoderConfig):
        if not isinstance(config, ObjectEncoderConfig):
            raise ConfigurationError(
                f"config must be an ObjectEncoderConfig, but {short(config)} was given. Make one with "
                "ObjectEncoderConfig(vision_hidden_size, hidden_size)."
            )
        super().__init__(config)

    def forward(
        self,
        features: Tensor,
        masks: Tensor,
        mask_frames: Tensor,
        region_lengths: Tensor,
        *,
        values: bool = True,
        static: bool = False,
    ) -> ObjectEncoderOutput:
        """Turn regions into object tokens.

        Args:
            features (`torch.Tensor` of shape `(num_frames, grid_height, grid_width, vision_hidden_size)`):
                Features of the mask-carrying frames of the whole batch, each frame once.
            masks (`torch.Tensor` of shape `(num_masks, grid_height, grid_width)`):
                Masks on that grid, region by region, and within a region in the order in which they are merged.
            mask_frames (`torch.LongTensor` of shape `(num_masks,)`):
                Row of `features` that each mask lies on.
            region_lengths (`torch.LongTensor` of shape `(num_regions,)`):
                Number of masks of each region.
            values (`bool`, *optional*, defaults to `True`):
                Whether to look for NaN and infinity, which reads every feature one more time. The models of this
                package check the pixels and masks that they are given, and switch this off.
            static (`bool`, *optional*, defaults to `False`): pad the tokens to one per mask; see [`merge_tokens`].

        Returns:
            [`ObjectEncoderOutput`] with the tokens in the dtype of the projector's weights (or of autocast).

        Raises:
            TensorError: shapes, widths or numbers do not fit together, or features or masks hold NaN or infinity.
        """
        check_tensors(features=features, masks=masks, region_lengths=region_lengths)
        if features.ndim == 4 and features.shape[-1] != self.config.vision_hidden_size:
            raise TensorError(
                f"features are {features.shape[-1]} wide, but this object encoder was built for a vision tower of "
                f"width {self.config.vision_hidden_size}."
            )
        if region_lengths.is_floating_point() or region_lengths.dtype == torch.bool:
            raise TensorError(f"region_lengths must be of an integer dtype, but are {region_lengths.dtype}.")
        if not torch.compiler.is_compiling() and int(region_lengths.sum()) != masks.shape[0]:
            raise TensorError(
                f"region_lengths add up to {int(region_lengths.sum())}, but there are {masks.shape[0]} masks."
            )
        pooled = pool_masks(features, masks, mask_frames, values=values)
        return self.from_pooled(pooled, region_lengths, values=False, static=static)

    def from_pooled(
        self, pooled: Tensor, lengths: Tensor, *, values: bool = True, static: bool = False
    ) -> ObjectEncoderOutput:
        """Turn pooled features into object tokens: the part of `forward` after [`pool_masks`].

        Args:
            pooled (`torch.Tensor` of shape `(num_masks, vision_hidden_size)`):
                One vector per mask, region by region, in the order in which they are merged.
            lengths (`torch.LongTensor` of shape `(num_regions,)`): number of masks of each region.
            values (`bool`, *optional*, defaults to `True`): whether to look for NaN and infinity.
            static (`bool`, *optional*, defaults to `False`): pad the tokens to one per mask; see [`merge_tokens`].

        Returns:
            [`ObjectEncoderOutput`], as `forward`.

        Raises:
            TensorError: shapes or numbers do not fit together, or there is NaN or infinity.
        """
        unions = self.config.max_tokens_per_region
        merged, counts = merge_tokens(pooled, lengths, unions, values=values, static=static)
        return ObjectEncoderOutput(self.projector(merged.to(self.dtype)), counts)
