"""Keys of the features of a data set's frames and objects from a frozen vision tower."""

import json
import os
from typing import Any, NamedTuple

from videorefer_plugin.models.feature_store import FeatureKey, preprocessing_digest, text_digest, tower_revision
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.training.dataset import VideoReferDataset
from videorefer_plugin.training.records import Record

__all__ = ["Visual", "Ways", "object_digests", "object_key", "visual_of"]


class Visual(NamedTuple):
    """A video or image of a data set.

    Attributes:
        kind (`str`): `"video"` or `"image"`.
        path (`str`): its absolute path.
    """

    kind: str
    path: str


def visual_of(record: Record) -> Visual | None:
    """Return the video or image of a record, if it has one."""
    return None if record.visual is None else Visual(record.kind, os.path.abspath(record.visual))


def object_digests(record: Record) -> list[str]:
    """Return digests of a record's objects, which distinguish them from others in the same video or image."""
    size = [record.height, record.width]
    return [text_digest(json.dumps([one, size], sort_keys=True)) for one in record.annotation or []]


def object_key(content: str, digest: str) -> str:
    """Return the key of an object, from the digest of the visual's content and its own digest."""
    return text_digest(f"{content} {digest}")


class Ways(NamedTuple):
    """How features are computed; see [`FeatureKey`].

    Attributes:
        preprocessing, tower (`str`): how features of frames are computed.
        pooled (`str`): how features of objects are pooled from them.
    """

    preprocessing: str
    tower: str
    pooled: str

    @classmethod
    def of(cls, model: VideoReferForConditionalGeneration, processor: Any, dataset: VideoReferDataset) -> "Ways":
        """Return the ways of a model, its processor and a data set."""
        tower = tower_revision(model.model.vision_tower, model.config.vision_feature_layer)
        chance = None if dataset.mode == "multi" else dataset.seed
        ways = [processor.mask_policy, processor.max_frames_per_region]
        ways += [dataset.mode, chance, dataset.max_frames_per_region]
        return cls(preprocessing_digest(processor), tower, f"{tower}/pooled {text_digest(json.dumps(ways))}")

    def frame(self, content: str, frame: int) -> FeatureKey:
        """Return the key of a frame of a video or image."""
        return FeatureKey(content, frame, self.preprocessing, self.tower)

    def pooled_object(self, key: str) -> FeatureKey:
        """Return the key of the features below the masks of an object."""
        return FeatureKey(key, 0, self.preprocessing, self.pooled)
