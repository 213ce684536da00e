"""Spatial-temporal convolution (STC) connector between the vision tower and the language model."""

import torch
from einops import rearrange
from torch import Tensor, nn

from videorefer_plugin.models.videollama2.configuration import PROJECTOR_TYPES, VideoLLaMA2Config

__all__ = ["STCConnector"]


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
        self.downsample = nn.Conv3d(
            width, width, kernel_size=2, stride=2, padding=PROJECTOR_TYPES[config.projector_type]
        )
        self.activation = nn.SiLU()
        self.second_stage = RegStage(in_chs=width, out_chs=width, **blocks)
        self.projector = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, features: Tensor) -> Tensor:
        """Connect clips.

        Args:
            features (`torch.Tensor` of shape `(num_clips, num_frames, grid_height, grid_width, vision_hidden_size)`):
                Feature grids of the frames.

        Returns:
            `torch.Tensor` of shape `(num_clips, num_tokens, hidden_size)`, ordered by frame, row and column.
        """
        clips = features.shape[0]
        hidden = self.first_stage(rearrange(features, "v t h w d -> (v t) d h w"))
        hidden = self.activation(self.downsample(rearrange(hidden, "(v t) d h w -> v d t h w", v=clips)))
        frames = hidden.shape[2]
        hidden = self.second_stage(rearrange(hidden, "v d t h w -> (v t) d h w"))
        return self.projector(rearrange(hidden, "(v t) d h w -> v (t h w) d", v=clips, t=frames))

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.downsample.weight.dtype
