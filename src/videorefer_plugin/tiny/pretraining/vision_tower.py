"""Pretraining of a vision tower that names the objects of masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SiglipVisionConfig, SiglipVisionModel

from videorefer_plugin.models.videorefer.region_inputs import frames_with_masks
from videorefer_plugin.object_encoder import pool_masks
from videorefer_plugin.tiny.pretraining.naming import naming_loss, object_names
from videorefer_plugin.tiny.pretraining.processing import image_processor, processor_of, texts_of, train_tokenizer
from videorefer_plugin.training.dataset import VideoReferDataset
from videorefer_plugin.training.recipe import PretrainSettings

__all__ = ["RegionNamer", "VisionTowerPart"]

_NAME_TOKENS = 1024  # most different tokens of names


class RegionNamer(nn.Module):
    """A vision tower with heads that predict name, position and nearest neighbor of the object of a mask.

    The names of an object are the tokens of its answer, which are learned as labels that are all true at once. The
    position of an object, and the direction to the nearest other one, come from the masks. The heads are discarded
    after training.

    Args:
        tower (`SiglipVisionModel`): the tower.
        feature_layer (`int`): index of the hidden state that is used.
        vocab_size (`int`): size of the tokenizer's vocabulary.
    """

    def __init__(self, tower: SiglipVisionModel, feature_layer: int, vocab_size: int):
        super().__init__()
        self.tower = tower
        self.feature_layer = feature_layer
        width = tower.config.hidden_size
        self.norm = nn.LayerNorm(width)
        self.names = nn.Linear(width, vocab_size)
        self.place = nn.Linear(width, 3)
        self.other_names = nn.Linear(width, vocab_size)
        self.other_place = nn.Linear(width, 2)

    def forward(
        self, region_pixel_values: Tensor, region_masks: Tensor, region_frames: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Compute the loss.

        Args:
            region_pixel_values (`torch.Tensor` of shape `(num_frames, 3, image_size, image_size)`): frames.
            region_masks (`torch.Tensor` of shape `(num_masks, grid_height, grid_width)`): masks on the feature grid.
            region_frames (`torch.LongTensor` of shape `(num_masks,)`): frame of each mask.
            labels (`torch.LongTensor` of shape `(num_masks, num_names)`): tokens that name each object, padded with
                -100.
        """
        rows, columns = region_masks.shape[1:]
        states = self.tower(pixel_values=region_pixel_values, output_hidden_states=True).hidden_states
        grid = states[self.feature_layer].unflatten(1, (rows, columns))
        pooled = self.norm(pool_masks(grid, region_masks, region_frames, values=False))
        place = _places(region_masks)
        other = _nearest(place, region_frames)
        known = other >= 0
        losses = {
            "names": naming_loss(self.names(pooled), labels),
            "place": F.l1_loss(self.place(pooled), place),
        }
        if bool(known.any()):
            losses["other_names"] = naming_loss(self.other_names(pooled[known]), labels[other[known]])
            way = (place[other] - place)[known, :2]
            losses["other_place"] = F.l1_loss(self.other_place(pooled[known]), way)
        weights = {"names": 1.0, "place": 2.0, "other_names": 0.5, "other_place": 1.0}
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        return {"loss": total, **losses}


def _places(masks: Tensor) -> Tensor:
    """Return center (x, y, in halves of the frame) and extent (square root of area) of each mask, `(num_masks, 3)`."""
    rows, columns = masks.shape[1:]
    weights = masks.float()
    area = weights.sum((1, 2)).clamp(min=1)
    y = torch.linspace(-1 + 1 / rows, 1 - 1 / rows, rows, device=masks.device)
    x = torch.linspace(-1 + 1 / columns, 1 - 1 / columns, columns, device=masks.device)
    return torch.stack([(weights.sum(1) @ x) / area, (weights.sum(2) @ y) / area, (area / (rows * columns)).sqrt()], 1)


def _nearest(places: Tensor, frames: Tensor) -> Tensor:
    """Return the index of the nearest other mask of the same frame, -1 if there is none."""
    distance = torch.cdist(places[:, :2], places[:, :2])
    distance.masked_fill_(frames[:, None] != frames, float("inf")).fill_diagonal_(float("inf"))
    nearest, index = distance.min(1)
    return index.masked_fill(nearest.isinf(), -1)


class VisionTowerPart:
    """A vision tower that learns to name objects. Each turn of a record names one object."""

    def __init__(self, settings: PretrainSettings, dataset: VideoReferDataset):
        self.tokenizer = train_tokenizer(texts_of(dataset), _NAME_TOKENS)
        config = SiglipVisionConfig(**{"vision_use_head": False, **settings.sizes})
        self.image_processor = image_processor(config.image_size)
        self.model = RegionNamer(SiglipVisionModel(config), settings.feature_layer, len(self.tokenizer))
        self.processor = processor_of(self.image_processor, self.tokenizer, config.patch_size)
        self.seen: dict[int, dict[str, Any]] = {}
        self.processor.num_frames = 2  # of the clip, which is not used here; fewer give no token

    def collator(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Join the inputs of records. Each record is read once and kept, since decoding takes longer than training."""
        for sample in samples:
            if sample["index"] not in self.seen:
                self.seen[sample["index"]] = self._read(sample)
        parts = [self.seen[sample["index"]] for sample in samples]
        counts = torch.tensor([len(part["region_pixel_values"]) for part in parts])
        first = (counts.cumsum(0) - counts).tolist()
        names = [name for part in parts for name in part["names"]]
        return {
            "region_pixel_values": torch.cat([part["region_pixel_values"] for part in parts]),
            "region_masks": torch.cat([part["region_masks"] for part in parts]),
            "region_frames": torch.cat([part["region_frames"] + at for part, at in zip(parts, first, strict=True)]),
            "labels": nn.utils.rnn.pad_sequence(names, True, -100),
        }

    def _read(self, sample: dict[str, Any]) -> dict[str, Any]:
        names = object_names(sample, self.processor.region_token, self.tokenizer)
        inputs = self.processor(
            text=["<video>\n" + self.processor.region_token * len(names)],
            videos=[sample["visual"]],
            regions=[sample["regions"]],
            return_tensors="pt",
        )
        lengths = inputs["region_lengths"][0].tolist()
        pixels, frames = frames_with_masks(inputs)
        return {
            "region_pixel_values": pixels,
            "region_masks": inputs["region_masks"][0],
            "region_frames": frames,
            "names": [name for name, length in zip(names, lengths, strict=True) for _ in range(length)],
        }

    def save(self, folder: Path) -> None:
        """Save the tower alone, and its image processor."""
        self.model.tower.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
