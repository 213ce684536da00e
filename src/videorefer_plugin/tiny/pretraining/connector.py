"""Pretraining of a small model's connector to identify and locate objects in a clip, and to tell their motion.

Stage 1 trains a connector on captions of whole clips, which takes very many of them. If objects and their masks are
known, each clip teaches more: the connector's tokens at the positions of an object have to predict the object's name
in the language model's own words, its position and its motion. The heads that predict these are discarded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.regions import Region
from videorefer_plugin.tiny.pretraining.naming import naming_loss, object_names
from videorefer_plugin.training.building import build
from videorefer_plugin.training.dataset import VideoReferDataset
from videorefer_plugin.training.recipe import Recipe
from videorefer_plugin.training.records import frames_with_object
from videorefer_plugin.video import Video, open_video

__all__ = ["ClipReader", "ConnectorPart"]

_JOINED = 2  # frames, rows and columns that the connector merges into one
_MOTION = (
    0.05  # of the frame's side: about the motion between two frames of a clip, to give it the same weight as positions
)


class ClipReader(nn.Module):
    """A connector, with heads that predict names, positions and motions of objects from its tokens.

    Names are predicted with the embeddings of the language model, so that tokens of clips become similar to its words.

    Args:
        connector (`nn.Module`): the connector.
        embeddings (`torch.Tensor` of shape `(vocab_size, hidden_size)`): embeddings of the language model.
    """

    def __init__(self, connector: nn.Module, embeddings: Tensor):
        super().__init__()
        self.connector = connector
        self.register_buffer("embeddings", embeddings.detach().clone())
        width = embeddings.shape[1]
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Parameter(torch.tensor(width**-0.5 / float(embeddings.std())))
        self.place = nn.Linear(width, 2)
        self.motion = nn.Linear(width, 2)

    def forward(
        self, features: Tensor, shares: Tensor, clips: Tensor, places: Tensor, motions: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Compute the loss.

        Args:
            features (`torch.Tensor` of shape `(num_clips, num_frames, grid_height, grid_width, vision_hidden_size)`):
                features of the frames from the vision tower.
            shares (`torch.Tensor` of shape `(num_sights, num_tokens)`): share of each token's area that an object
                covers in one time step; zero in other steps.
            clips (`torch.LongTensor` of shape `(num_sights,)`): index of the clip.
            places, motions (`torch.Tensor` of shape `(num_sights, 2)`): position of the object (x, y, in halves of the
                frame, from its middle), and its motion from one frame to the next; NaN if it is not in both.
            labels (`torch.LongTensor` of shape `(num_sights, num_names)`): tokens that name it, padded with -100.
        """
        tokens = self.connector(features)[clips]
        pooled = self.norm((shares[:, None] @ tokens).squeeze(1) / shares.sum(1, keepdim=True))
        seen = ~motions.isnan().any(1)
        losses = {
            "names": naming_loss(pooled @ self.embeddings.T * self.scale, labels),
            "place": F.l1_loss(self.place(pooled), places),
            "motion": F.l1_loss(self.motion(pooled)[seen], motions[seen] / _MOTION)
            if seen.any()
            else pooled.sum() * 0,
        }
        weights = {"names": 1.0, "place": 2.0, "motion": 2.0}
        return {"loss": torch.stack([weights[name] * loss for name, loss in losses.items()]).sum(), **losses}


class ConnectorPart:
    """The connector of a checkpoint, and records of clips in which each turn names an object."""

    def __init__(self, recipe: Recipe, dataset: VideoReferDataset):
        model, self.processor = build(recipe.model)
        if not isinstance(model, VideoReferForConditionalGeneration):
            raise ConfigurationError(
                f"A connector is pretrained in a VideoRefer model, but {recipe.model.checkpoint} holds a "
                f"{type(model).__name__}."
            )
        self.whole = model.requires_grad_(False)
        if recipe.data.num_frames is not None:
            self.processor.num_frames = model.config.num_frames = recipe.data.num_frames
        self.processor.max_frames_per_region = None  # the data set has chosen the frames
        connector = model.model.connector.requires_grad_(True)
        embeddings: Any = model.get_input_embeddings()
        self.model = ClipReader(connector, embeddings.weight)
        self.seen: dict[int, dict[str, Tensor]] = {}

    def collator(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Join the inputs of records. Each record is read once and kept."""
        for sample in samples:
            if sample["index"] not in self.seen:
                self.seen[sample["index"]] = self._read(sample)
        parts = [self.seen[sample["index"]] for sample in samples]
        names = [row for part in parts for row in part["labels"]]
        joined = {name: torch.cat([part[name] for part in parts]) for name in ("shares", "places", "motions")}
        counts = torch.tensor([len(part["shares"]) for part in parts])
        return {
            **joined,
            "features": torch.stack([part["features"] for part in parts]).float(),
            "clips": torch.arange(len(parts)).repeat_interleave(counts),
            "labels": nn.utils.rnn.pad_sequence(names, True, -100),
        }

    @torch.no_grad()
    def _read(self, sample: dict[str, Any]) -> dict[str, Any]:
        if sample["kind"] != "video":
            raise ConfigurationError(f"{sample['record'].place}: a connector learns motion from videos.")
        names = object_names(sample, self.processor.region_token, self.processor.tokenizer)
        inputs = self.processor(
            text=["<video>\n" + self.processor.region_token * len(names)],
            videos=[sample["visual"]],
            regions=[sample["regions"]],
            return_tensors="pt",
        )
        pixels = inputs["pixel_values_videos"][0]
        device = next(self.whole.parameters()).device
        features = self.whole.model.get_frame_features(pixels.to(device)).half().cpu()
        lengths = inputs["region_lengths"][0].tolist()
        shown = inputs["region_frames"][0].clamp(min=0) - 1  # the frame of each mask in the clip, or -1
        video = open_video(sample["visual"])
        covered, places, labels = [], [], []
        parts = zip(inputs["region_masks"][0].split(lengths), names, strict=True)
        owners = shown.split(lengths)
        # This policy takes the masks of a region in the order given, the other one in order of time.
        as_given = self.processor.mask_policy == "original"
        for (masks, name), frames, region in zip(parts, owners, sample["regions"], strict=True):
            grid = torch.zeros(len(pixels), *masks.shape[1:])
            center = torch.full((len(pixels), 2), torch.nan)
            grid[frames[frames >= 0]] = masks[frames >= 0].float()
            exact = _centers(region, region.order if as_given else frames_with_object(region), video)
            center[frames[frames >= 0]] = exact[frames >= 0]
            covered.append(grid)
            places.append(center)
            labels.append(name)
        return {"features": features, **_sights(torch.stack(covered), torch.stack(places), labels)}

    def save(self, folder: Path) -> None:
        """Save the whole model."""
        self.whole.requires_grad_(True)
        self.whole.save_pretrained(folder)
        self.processor.save_pretrained(folder)


def _centers(region: Region, frames: Sequence[int], video: Video) -> Tensor:
    """Return an object's center in each frame (x, y, in halves of the frame), `(num_masks, 2)`; NaN without it."""
    found = []
    for _, drawn in region.masks(video.height, video.width, frames):
        mask = torch.from_numpy(drawn).float()
        x, y = (torch.arange(side).float() + 0.5 for side in (mask.shape[1], mask.shape[0]))
        middle = torch.stack([mask.sum(0) @ x / mask.shape[1], mask.sum(1) @ y / mask.shape[0]])
        found.append(middle / mask.sum() * 2 - 1)
    return torch.stack(found)


def _sights(covered: Tensor, places: Tensor, names: list[Tensor]) -> dict[str, Any]:
    """Return the inputs of the loss for each object and time step.

    Args:
        covered (`torch.Tensor` of shape `(num_objects, num_frames, grid_height, grid_width)`): masks of the objects.
        places (`torch.Tensor` of shape `(num_objects, num_frames, 2)`): positions; NaN where objects are not seen.
        names (`list[torch.Tensor]`): tokens of their names.
    """
    steps = covered.shape[1] // _JOINED
    blocks = F.avg_pool3d(covered[:, None], _JOINED)[:, 0]  # (num_objects, steps, rows, columns)
    by_step = rearrange(places[:, : steps * _JOINED], "n (t j) d -> n t j d", j=_JOINED)
    shares, where, motions, labels = [], [], [], []
    for index in range(len(covered)):
        for step in range(steps):
            if not blocks[index, step].any():
                continue
            alone = torch.zeros_like(blocks[index])
            alone[step] = blocks[index, step]
            shares.append(alone.flatten())
            where.append(by_step[index, step].nanmean(0))
            motions.append((by_step[index, step, -1] - by_step[index, step, 0]) / (_JOINED - 1))
            labels.append(names[index])
    return {
        "shares": torch.stack(shares),
        "places": torch.stack(where),
        "motions": torch.stack(motions),
        "labels": labels,
    }
