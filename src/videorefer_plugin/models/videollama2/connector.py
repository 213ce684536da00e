"""Spatial-temporal convolution (STC) connector between the vision tower and the language model."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from videorefer_plugin.models.videollama2.configuration import PROJECTOR_TYPES, VideoLLaMA2Config

__all__ = ["STCConnector"]


class BlockConv3d(nn.Conv3d):
    """A convolution whose blocks do not overlap, on channels in front, `(v, d, t, h, w)` to `(v, t', h', w', d)`.

    It is one matrix product, which rounds alike for any number of threads.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """Frames, rows and columns that fill no block are dropped."""
        kt, kh, kw = self.kernel_size
        frames, rows, columns = (
            size // kernel * kernel for size, kernel in zip(hidden.shape[2:], self.kernel_size, strict=True)
        )
        blocks = rearrange(
            hidden[:, :, :frames, :rows, :columns],
            "v d (t kt) (h kh) (w kw) -> v t h w (d kt kh kw)",
            kt=kt,
            kh=kh,
            kw=kw,
        )
        return F.linear(blocks, self.weight.flatten(1), self.bias)


class STCConnector(nn.Module):
    """Turn the feature grids of a clip's frames into tokens, halving time, height and width on the way.

    Four RegNet blocks, a strided 3D convolution, four more blocks and a two-layer MLP (VideoLLaMA 2, section 2.2).
    """

    def __init__(self, config: VideoLLaMA2Config):
        super().__init__()
        # Imported when a model is built: timm takes about a second to load.
        from timm.layers import LayerNorm2d
        from timm.models.regnet import RegStage

        width = config.text_config.hidden_size
        blocks = {"depth": 4, "stride": 1, "dilation": 1, "act_layer": nn.SiLU, "norm_layer": LayerNorm2d}
        self.first_stage = RegStage(in_chs=config.vision_config.hidden_size, out_chs=width, **blocks)
        self.padding = PROJECTOR_TYPES[config.projector_type]
        self.downsample = BlockConv3d(width, width, kernel_size=2, stride=2, padding=self.padding)
        self.activation = nn.SiLU()
        self.second_stage = RegStage(in_chs=width, out_chs=width, **blocks)
        self.projector = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, features: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Connect clips.

        Args:
            features (`torch.Tensor` of shape `(num_clips, num_frames, grid_height, grid_width, vision_hidden_size)`):
                Feature grids of the frames; or one tensor for each clip, whose numbers of frames may differ.

        Returns:
            `torch.Tensor` of shape `(num_clips, num_tokens, hidden_size)`, ordered by frame, row and column; for
            several tensors a list of tensors of shape `(num_tokens, hidden_size)`.
        """
        # One clip at a time: convolution kernels are chosen by batch size and round differently, which would make a
        # clip's tokens depend on what else is in the batch. A clip is large enough to keep a device busy.
        tokens = [self._connect(clip.unsqueeze(0).to(self.dtype)).squeeze(0) for clip in features]
        return torch.stack(tokens) if isinstance(features, Tensor) else tokens

    def _connect(self, features: Tensor) -> Tensor:
        clips = features.shape[0]
        hidden = self.first_stage(rearrange(features, "v t h w d -> (v t) d h w"))
        hidden = self.activation(self._downsample(rearrange(hidden, "(v t) d h w -> v d t h w", v=clips)))
        frames = hidden.shape[1]
        hidden = self.second_stage(rearrange(hidden, "v t h w d -> (v t) d h w"))
        return self.projector(rearrange(hidden, "(v t) d h w -> v (t h w) d", v=clips, t=frames))

    def _downsample(self, hidden: Tensor) -> Tensor:
        """Apply the strided convolution, `(v, d, t, h, w)` to `(v, t', h', w', d)`."""
        # Through the module, whose hooks bring weights that wait on another device.
        return self.downsample(F.pad(hidden, [self.padding] * 6) if self.padding else hidden)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.downsample.weight.dtype
