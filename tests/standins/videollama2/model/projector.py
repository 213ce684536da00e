import os

import torch
from einops import rearrange
from torch import nn
from transformers import TRANSFORMERS_CACHE  # gone since transformers 5


def load_mm_projector(model_path, cache_dir=None, token=None):
    folder = model_path if os.path.isdir(model_path) else os.path.join(cache_dir or TRANSFORMERS_CACHE, model_path)
    return torch.load(os.path.join(folder, "mm_projector.bin"), map_location="cpu")


class Connector(nn.Module):
    """The connector of VideoLLaMA2.1, under the names of its weights."""

    def __init__(self, config):
        super().__init__()
        from timm.layers import LayerNorm2d
        from timm.models.regnet import RegStage

        width = config.hidden_size
        settings = {"depth": 4, "stride": 1, "dilation": 1, "act_layer": nn.SiLU, "norm_layer": LayerNorm2d}
        self.s1 = RegStage(in_chs=config.mm_hidden_size, out_chs=width, **settings)
        self.sampler = nn.Sequential(nn.Conv3d(width, width, 2, stride=2), nn.SiLU())
        self.s2 = RegStage(in_chs=width, out_chs=width, **settings)
        self.readout = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, features):
        clips, frames, cells, _ = features.shape
        hidden = self.s1(rearrange(features, "b t (h w) d -> (b t) d h w", h=int(cells**0.5)))
        hidden = self.sampler(rearrange(hidden, "(b t) d h w -> b d t h w", t=frames))
        frames = hidden.shape[2]
        hidden = self.s2(rearrange(hidden, "b d t h w -> (b t) d h w"))
        return self.readout(rearrange(hidden, "(b t) d h w -> b (t h w) d", b=clips, t=frames))


def build_vision_projector(config, delay_load=False, **kwargs):
    if config.mm_projector_type == "linear":
        return nn.Linear(config.mm_hidden_size, config.hidden_size)
    return Connector(config)
