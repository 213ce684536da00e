"""The visual of a session with this library's own models."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.inputs.frames import pieces
from videorefer_plugin.inputs.masks import DrawnRegion
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.feature_store import FeatureKey, FeatureStore, preprocessing_digest, tower_revision
from videorefer_plugin.models.videollama2.preparing import PlannedBatch
from videorefer_plugin.object_encoder import pool_masks
from videorefer_plugin.regions import Region
from videorefer_plugin.session.prompts import Computed, Prepared, Shown
from videorefer_plugin.video import Video

__all__ = ["OwnVisuals"]

_FRAMES_AT_ONCE = 16  # frames of one run of the tower, whose features are in memory together


class OwnVisuals:
    """See [`Visuals`]. All prompts show the same frames; masks may lie on any other frames.

    Args:
        model: a VideoLLaMA2 or VideoRefer model.
        processor: its processor.
        kind (`str`): `"video"` or `"image"`.
        video ([`Video`]): the visual.
        store ([`FeatureStore`]): the store of the features of frames.
        shared (`bool`): whether other sessions use the store, so that keys must tell videos and towers apart.
        settings (`dict`): settings of the processor's call.
        computed ([`Computed`]): counts frames and positions.
    """

    at_once = 64

    def __init__(
        self,
        model: Any,
        processor: Any,
        kind: str,
        video: Video,
        store: FeatureStore,
        shared: bool,
        settings: dict[str, Any],
        computed: Computed,
    ):
        self._model = model
        self._processor = processor
        self._kind = kind
        self._video = video
        self._store = store
        self._shared = shared
        self._settings = settings
        self._computed = computed
        self._shown: Shown | None = None

    def prepare(self, texts: Sequence[str], regions: Sequence[Sequence[Region]]) -> list[Prepared]:
        """See [`Visuals.prepare`].

        Raises:
            PromptError: placeholders and regions do not match. The message names the prompt.
            RegionError: a region does not fit the video, or has no pixel in any frame. The message names the prompt.
            VideoError: a frame cannot be read.
        """
        plan = self._plan(texts, regions)
        ids = self._processor.tokenize_plan(plan, padding=False, return_tensors=None)["input_ids"]
        drawn = [region for own in plan.regions for region in own]
        sampled = plan.clips[0].sampled
        key = (self._kind, tuple(sampled), self._way(plan))
        shown = self._shown if self._shown is not None and self._shown.key == key else None
        grids, pooled = self._encode(plan, [] if shown else sampled, drawn)
        shown = self._shown = shown or self._show(key, [grids[frame] for frame in sampled])
        tokens = self._object_tokens(plan, drawn, pooled)
        return [
            Prepared(torch.tensor(own, dtype=torch.long), shown, objects)
            for own, objects in zip(ids, tokens, strict=True)
        ]

    def check(self, texts: Sequence[str], regions: Sequence[Sequence[Region]]) -> None:
        """See [`Visuals.check`]."""
        self._plan(texts, regions)

    def pooled(self, text: str, region: Region) -> tuple[Sequence[int], Tensor]:
        """See [`Visuals.pooled`]."""
        plan = self._plan([text], [[region]])
        ((drawn,),) = plan.regions
        return drawn.frames, self._encode(plan, [], [drawn])[1]

    def memory(self) -> int:
        """See [`Visuals.memory`]."""
        return 0 if self._shown is None else self._shown.memory()

    def forget(self) -> bool:
        """See [`Visuals.forget`]."""
        known, self._shown = self._shown, None
        return known is not None

    def _plan(self, texts: Sequence[str], regions: Sequence[Sequence[Region]]) -> PlannedBatch:
        settings = dict(self._settings)
        bos = self._processor.tokenizer.bos_token
        if bos is not None and texts[0].startswith(bos):  # as `apply_chat_template` does
            settings["add_special_tokens"] = False
        if (metadata := settings.get("video_metadata")) is not None:
            one = metadata if isinstance(metadata, (list, tuple)) else [metadata]
            settings["video_metadata"] = [*one] * len(texts)
        if any(regions):
            settings["regions"] = [list(own) for own in regions]
        return self._processor.plan(text=list(texts), **{f"{self._kind}s": [[self._video] for _ in texts]}, **settings)

    def _encode(
        self, plan: PlannedBatch, shown: Sequence[int], drawn: Sequence[DrawnRegion]
    ) -> tuple[dict[int, Tensor], Tensor]:
        """Return the features of the frames that are shown, and the features that masks pool.

        Only a few frames are in memory at once, since masks may lie on many frames.
        """
        width = self._model.config.vision_config.hidden_size
        frames = torch.tensor([frame for region in drawn for frame in region.frames], dtype=torch.long)
        grids: dict[int, Tensor] = {}
        pooled = [torch.zeros(width)] * len(frames)
        if drawn:
            masks = torch.cat([region.masks for region in drawn])
        wanted = sorted({*shown, *frames.tolist()})
        for first in range(0, len(wanted), _FRAMES_AT_ONCE):
            piece = wanted[first : first + _FRAMES_AT_ONCE]
            features = self._features(plan, piece)
            grids |= {frame: grid for frame, grid in zip(piece, features, strict=True) if frame in shown}
            on = torch.isin(frames, torch.tensor(piece)).nonzero().flatten()
            if not len(on):
                continue
            used = torch.searchsorted(torch.tensor(piece), frames[on])
            stacked = torch.stack(features)
            values = pool_masks(stacked, masks[on].to(stacked.device), used.to(stacked.device), values=False)
            for place, value in zip(on.tolist(), values, strict=True):
                pooled[place] = value
        return grids, torch.stack(pooled) if pooled else torch.zeros((0, width))

    def _features(self, plan: PlannedBatch, frames: Sequence[int]) -> list[Tensor]:
        content, way, tower = self._keys(plan)
        model = self._model.model
        weight, device = next(model.vision_tower.parameters()), device_of(model.vision_tower)

        def compute(keys: list[FeatureKey]) -> list[Tensor]:
            grids: list[Tensor] = []
            for piece in pieces(self._video, [key.frame for key in keys]):
                pixels = plan.preprocess(self._video.read(piece), self._kind)
                self._computed.frames_read += len(piece)
                # Copies, since all views of one tensor stay in memory as long as one of them is kept.
                grids += [grid.clone() for grid in model.get_frame_features(pixels.to(device, weight.dtype))]
                self._computed.frames_encoded += len(piece)
            return grids

        rows = plan.clips[0].rows_of(frames)  # of a video whose frames were taken out of a longer one
        found = self._store.fetch([FeatureKey(content, row, way, tower) for row in rows], compute)
        return [grid.to(device) for grid in found]

    def _keys(self, plan: PlannedBatch) -> tuple[str, str, str]:
        """Return the parts of a key of the store: the video, how frames are preprocessed, and the tower."""
        if not self._shared:
            return "", self._way(plan), ""
        model = self._model.model
        tower = tower_revision(model.vision_tower, model.config.vision_feature_layer)
        return self._video.digest(), self._way(plan), tower

    def _way(self, plan: PlannedBatch) -> str:
        """Return how frames are preprocessed, which a caller may change on the processor between questions."""
        settings = plan.settings
        ways = {"image_aspect_ratio": settings["image_aspect_ratio"], **settings["frame_settings"][self._kind]}
        return preprocessing_digest(self._processor, **ways)

    def _show(self, key: Hashable, grids: Sequence[Tensor]) -> Shown:
        sampled = torch.stack(list(grids))
        (tokens,) = self._model.model.connect(self._kind, [sampled])
        output = BaseModelOutputWithPooling(last_hidden_state=sampled.flatten(1, 2), pooler_output=tokens[None])
        inputs = {} if self._kind == "image" else {"video_lengths": torch.tensor([len(sampled)])}
        return Shown(key, {self._kind: output}, inputs)

    def _object_tokens(self, plan: PlannedBatch, drawn: Sequence[DrawnRegion], pooled: Tensor) -> list[Tensor]:
        width = self._model.config.text_config.hidden_size
        if not drawn:
            return [torch.zeros((0, width))] * len(plan.samples)
        encoder = self._model.object_encoder
        lengths = torch.tensor([len(region.frames) for region in drawn], device=device_of(encoder))
        output = encoder.from_pooled(pooled.to(device_of(encoder)), lengths)
        by_region = iter(output.split())
        own = [[next(by_region) for _ in regions] for regions in plan.regions]
        return [torch.cat(tokens) if tokens else output.tokens[:0] for tokens in own]
