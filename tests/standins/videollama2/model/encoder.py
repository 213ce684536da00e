import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel


class _Tower(nn.Module):
    first_cell = 0

    def __init__(self, vision_tower, args, load_pretrained=False):
        super().__init__()
        self.select_layer = args.mm_vision_select_layer
        config = self.make_config(vision_tower)
        config._attn_implementation = "flash_attention_2"  # whatever is installed
        # Through the module's globals, where the patch puts its factories.
        model_class = self.model_class()
        self.vision_tower = (
            model_class.from_pretrained(vision_tower) if load_pretrained else model_class(config=config)
        )

    @torch.no_grad()
    def forward(self, images):
        hidden = self.vision_tower(images, output_hidden_states=True).hidden_states[self.select_layer]
        return hidden[:, self.first_cell :].to(images.dtype)

    @property
    def config(self):
        return self.vision_tower.config

    @property
    def dtype(self):
        return self.vision_tower.dtype

    @property
    def device(self):
        return self.vision_tower.device

    @property
    def hidden_size(self):
        return self.config.hidden_size

    @property
    def num_patches_per_side(self):
        return self.config.image_size // self.config.patch_size


class CLIPVisionTower(_Tower):
    first_cell = 1

    def make_config(self, name):
        return CLIPVisionConfig.from_pretrained(name)

    def model_class(self):
        return CLIPVisionModel


class SiglipVisionTower(_Tower):
    def make_config(self, name):
        return SiglipVisionConfig.from_pretrained(name)

    def model_class(self):
        return SiglipVisionModel


def build_vision_tower(vision_tower_cfg, **kwargs):
    name = vision_tower_cfg.mm_vision_tower
    return (CLIPVisionTower if "clip" in name else SiglipVisionTower)(name, args=vision_tower_cfg, **kwargs)
