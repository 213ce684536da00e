"""Runs a frozen vision tower once on each frame of the videos and images of a data set."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.inputs.clips import open_image
from videorefer_plugin.inputs.frames import pieces
from videorefer_plugin.inputs.masks import DrawnRegion
from videorefer_plugin.inputs.matching import named
from videorefer_plugin.models.feature_store import FeatureKey, FeatureStore
from videorefer_plugin.models.videollama2.preparing import PlannedBatch
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.object_encoder import pool_masks
from videorefer_plugin.training.feature_keys import Visual, Ways, object_digests, object_key
from videorefer_plugin.training.visual_table import VisualTable
from videorefer_plugin.video import Video, open_video

__all__ = ["VisualEncoder", "digest_of"]

_FRAMES_AT_ONCE = 16  # through the tower, and in memory
_MASKS_AT_ONCE = 8192  # of the objects of one video; more are done after these


def digest_of(visual: Visual) -> str:
    """Return a digest of the content of a video or image.

    Raises:
        VideoError: the visual cannot be read.
    """
    return _open(visual).digest()


def _open(visual: Visual) -> Video:
    return open_image(visual.path) if visual.kind == "image" else open_video(visual.path)


@dataclass
class _Job:
    """The features to compute of one video or image.

    Attributes:
        plan ([`PlannedBatch`], *optional*): the plan of one of its records; all records preprocess frames alike.
        shown (`set[int]`): frames whose features are to be kept.
        objects (`dict[str, DrawnRegion]`): objects whose features are to be kept, by their keys.
    """

    plan: PlannedBatch | None = None
    shown: set[int] = field(default_factory=set)
    objects: dict[str, DrawnRegion] = field(default_factory=dict)

    @property
    def masks(self) -> int:
        return sum(len(drawn.frames) for drawn in self.objects.values())


class VisualEncoder:
    """Computes features of objects, and of frames that clips and images show, and puts them into a store.

    Args:
        model ([`VideoReferForConditionalGeneration`]): the model.
        processor ([`VideoReferProcessor`]): its processor.
        ways ([`Ways`]): how features are computed.
        store ([`FeatureStore`]): the store of the features.
        table ([`VisualTable`]): the table of digests of files, and of the frames that are shown.
        clips (`bool`): whether features of frames are kept as well.
    """

    def __init__(
        self,
        model: VideoReferForConditionalGeneration,
        processor: Any,
        ways: Ways,
        store: FeatureStore,
        table: VisualTable,
        clips: bool,
    ):
        self._model = model
        self._processor = processor
        self._ways = ways
        self._store = store
        self._table = table
        self._clips = clips

    @torch.no_grad()
    def encode(self, visual: Visual, samples: Iterable[dict[str, Any]]) -> None:
        """Compute the features of a video or image that the store lacks.

        Args:
            visual ([`Visual`]): the video or image.
            samples (`Iterable[dict]`): items of the data set that show it.

        Raises:
            VideoError: the visual cannot be read. The message names the record.
            RegionError: an object does not fit the visual. The message names the record.
        """
        opened: tuple[Video, str] | None = None
        job = _Job()
        for sample in samples:
            with named(sample["record"].place):
                opened = opened or self._look(visual)
                self._add(job, *opened, sample)
            if job.masks >= _MASKS_AT_ONCE:
                self._finish(job, *opened)
                job = _Job()
        if opened is not None and job.plan is not None:
            self._finish(job, *opened)

    def _look(self, visual: Visual) -> tuple[Video, str]:
        """Open a video or image, and return it with the digest of its content."""
        video, content = _open(visual), self._table.content(*visual)
        if content is None:
            content = video.digest()
            self._table.set_content(*visual, content)
        return video, content

    def _add(self, job: _Job, video: Video, content: str, sample: dict[str, Any]) -> None:
        """Add the frames and objects of a record to a job."""
        keys = [object_key(content, one) for one in object_digests(sample["record"])]
        known = self._store.known(map(self._ways.pooled_object, keys))
        new = {
            key: region
            for key, region in zip(keys, sample["regions"], strict=True)
            if key not in job.objects and self._ways.pooled_object(key) not in known
        }
        kind = sample["kind"]
        plan = self._processor.plan(
            text=[f"<{kind}>\n" + self._processor.region_token * len(new)],
            **{f"{kind}s": [video]},
            regions=[list(new.values())],
        )
        job.plan = plan
        job.objects |= dict(zip(new, plan.regions[0], strict=True))
        if self._clips:
            shown = plan.clips[0].sampled
            self._table.set_shown(content, self._processor.num_frames, shown)
            frames = {self._ways.frame(content, frame) for frame in shown}
            job.shown |= {key.frame for key in frames - self._store.known(frames)}

    def _finish(self, job: _Job, video: Video, content: str) -> None:
        pooled = {key: [torch.empty(0)] * len(drawn.frames) for key, drawn in job.objects.items()}
        frames = {frame for drawn in job.objects.values() for frame in drawn.frames}
        wanted = sorted(job.shown | frames)
        for first in range(0, len(wanted), _FRAMES_AT_ONCE):
            piece = wanted[first : first + _FRAMES_AT_ONCE]
            features = self._features(job, video, content, piece)
            _pool(job.objects, piece, features, pooled)
        made = {self._ways.pooled_object(key): torch.stack(rows) for key, rows in pooled.items()}
        self._store.fetch(list(made), lambda keys: [made[key] for key in keys])

    def _features(self, job: _Job, video: Video, content: str, frames: Sequence[int]) -> Tensor:
        """Return the features of frames, from the store or computed. Those of shown frames are added to the store."""
        keys = [self._ways.frame(content, frame) for frame in frames]
        known = self._store.known(keys)

        def compute(some: Sequence[FeatureKey]) -> list[Tensor]:
            return [*self._encode(job, video, [key.frame for key in some])]

        new = [key for key in keys if key not in known]
        made = dict(zip(new, compute(new), strict=True))
        kept = [key for key in new if key.frame in job.shown]
        self._store.fetch(kept, lambda some: [made[key] for key in some])
        made |= zip(known, self._store.fetch(list(known), compute), strict=True)
        device = self._model.object_encoder.device
        return torch.stack([made[key].to(device) for key in keys])

    def _encode(self, job: _Job, video: Video, frames: Sequence[int]) -> Iterator[Tensor]:
        assert job.plan is not None
        device, dtype = self._model.object_encoder.device, next(self._model.model.vision_tower.parameters()).dtype
        for piece in pieces(video, frames):
            pixels = job.plan.preprocess(video.read(piece), job.plan.clips[0].kind)
            yield from self._model.model.get_frame_features(pixels.to(device, dtype))


def _pool(
    objects: Mapping[str, DrawnRegion], frames: Sequence[int], features: Tensor, pooled: Mapping[str, list[Tensor]]
) -> None:
    """Pool the features of these frames below the masks of objects."""
    rows = {frame: row for row, frame in enumerate(frames)}
    places = [
        (key, place, rows[frame])
        for key, one in objects.items()
        for place, frame in enumerate(one.frames)
        if frame in rows
    ]
    if not places:
        return
    masks = torch.stack([objects[key].masks[place] for key, place, _ in places]).to(features.device)
    used = torch.tensor([row for _, _, row in places], device=features.device)
    values = pool_masks(features, masks, used).float().cpu()
    for (key, place, _), value in zip(places, values, strict=True):
        pooled[key][place] = value
