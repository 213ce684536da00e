"""Features of the clips and objects of a data set from a frozen vision tower, computed once.

A tower that is not trained computes the same features of a clip and an object in every step. If they are kept, later
steps need neither the tower nor the decoded clip. The looks and motion of an object can even be learned without the
clip: then prompts are short, and training sees many times more objects in the same time.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from transformers.utils import logging

from videorefer_plugin.errors import ConfigurationError, TrainingError
from videorefer_plugin.models.feature_store import FeatureKey, FeatureStore, remove_features
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.training.dataset import VideoReferDataset
from videorefer_plugin.training.encoding import VisualEncoder, digest_of
from videorefer_plugin.training.feature_keys import Visual, Ways, object_digests, object_key, visual_of
from videorefer_plugin.training.records import Record
from videorefer_plugin.training.visual_table import VisualTable

__all__ = ["KeptFeatures", "compute_features", "remove_features"]

_BYTES_HELD = 2 << 30  # of features; others are read from the folder when they are needed
_OBJECTS_AT_ONCE, _CLIPS_AT_ONCE = 2048, 8  # numbers that are read from the folder together
_SAVED = 64  # number of videos and images after which their table is saved

logger = logging.get_logger(__name__)


def compute_features(
    model: VideoReferForConditionalGeneration,
    processor: Any,
    dataset: VideoReferDataset,
    folder: str | os.PathLike,
    clips: bool = False,
) -> "KeptFeatures":
    """Compute the vision tower's features of the objects of a data set, and of its clips and images, once.

    Features in the folder of the same contents, tower and preprocessing are not computed again. They may be of this
    run before it was interrupted, of other runs, or of sessions whose [`FeatureStore`] has the same folder. Records
    that show the same video are processed together, so that each of its frames is decoded and encoded once. With
    several processes, each computes its share and writes it to the folder, where all processes find it.

    Args:
        model ([`VideoReferForConditionalGeneration`]): the model.
        processor ([`VideoReferProcessor`]): its processor.
        dataset ([`VideoReferDataset`]): the records, which need objects if `clips` is `False`.
        folder (`str` or `os.PathLike`): folder of the features.
        clips (`bool`, *optional*, defaults to `False`): whether to keep features of clips and images as well.

    Returns:
        [`KeptFeatures`]: the features of the objects, and with `clips` those of clips and images.

    Raises:
        ConfigurationError: a record has no objects, and clips are not kept either; or the folder cannot be used.
        VideoError: a video or image cannot be read. The message names the record.
        RegionError: an object does not fit its video or image. The message names the record.
    """
    dataset = dataset.whole()
    store = FeatureStore(0, device="cpu", folder=folder)
    table = VisualTable(Path(folder))
    ways = Ways.of(model, processor, dataset)
    found = _Found(dataset, clips)
    jobs = [(visual, own) for visual in found.records if (own := found.unknown(visual, ways, store, table, processor))]
    state = PartialState()
    model.to(state.device)
    state.wait_for_everyone()  # until all processes have read the folder
    encoder = VisualEncoder(model, processor, ways, store, table, clips)
    share = jobs[state.process_index :: state.num_processes]
    with store.together():
        for number, (visual, own) in enumerate(
            logging.tqdm(share, desc="Features", disable=not state.is_main_process), 1
        ):
            encoder.encode(visual, (dataset[index] for index in own))
            if number % _SAVED == 0:
                table.save()
    table.save()
    state.wait_for_everyone()
    table.load()
    contents = {visual: table.content(*visual) or digest_of(visual) for visual in found.records}
    shown = {one: table.shown(one, processor.num_frames) or () for one in contents.values()} if clips else {}
    return KeptFeatures(ways, Path(folder), contents, found.objects, shown)


class _Found:
    """The videos and images of a data set, each with its records and objects.

    Raises:
        ConfigurationError: a record has no objects, and clips are not kept either.
    """

    def __init__(self, dataset: VideoReferDataset, clips: bool):
        self.records: dict[Visual, list[int]] = {}
        self.objects: dict[Visual, dict[str, None]] = {}
        self._by_record: dict[int, list[str]] = {}
        self._clips = clips
        for index in range(len(dataset)):
            record = dataset.record(index)
            digests = object_digests(record)
            if not digests and not clips:
                raise ConfigurationError(
                    f"{record.place}: it has no objects, so that without its clip nothing is left to learn "
                    "from. Leave it out, or set data.clip: true."
                )
            visual = visual_of(record)
            if visual is not None:
                self.records.setdefault(visual, []).append(index)
                self.objects.setdefault(visual, {}).update(dict.fromkeys(digests))
                self._by_record[index] = digests

    def unknown(
        self, visual: Visual, ways: Ways, store: FeatureStore, table: VisualTable, processor: Any
    ) -> list[int]:
        """Return the records of a video or image whose features are not all in the store."""
        content = table.content(*visual)
        if content is None:
            return self.records[visual]
        if self._clips:
            shown = table.shown(content, processor.num_frames)
            frames = {ways.frame(content, frame) for frame in shown or ()}
            if not shown or frames - store.known(frames):
                return self.records[visual]
        keys = {one: ways.pooled_object(object_key(content, one)) for one in self.objects[visual]}
        known = store.known(keys.values())
        lacking = {one for one, key in keys.items() if key not in known}
        return [index for index in self.records[visual] if not lacking.isdisjoint(self._by_record[index])]


class KeptFeatures(Mapping[str, Tensor]):
    """Features of the objects, clips and images of a data set.

    A mapping of the key of an object to a float tensor `(num_masks, vision_hidden_size)`, and of the key of a clip or
    image to a tensor `(num_frames, grid_height, grid_width, vision_hidden_size)` in half precision, on the CPU.
    Objects, and then clips, are held in memory up to 2 GiB; the others are read when they are needed.

    Args:
        ways ([`Ways`]): how features are computed.
        folder (`Path`): folder of the features.
        contents (`Mapping[Visual, str]`): digest of the content of each video and image.
        objects (`Mapping[Visual, Iterable[str]]`): digests of the objects on each.
        shown (`Mapping[str, Sequence[int]]`): the shown frames of each content; empty without clips.
    """

    def __init__(
        self,
        ways: Ways,
        folder: Path,
        contents: Mapping[Visual, str],
        objects: Mapping[Visual, Iterable[str]],
        shown: Mapping[str, Sequence[int]],
    ):
        self._ways = ways
        self._store = FeatureStore(0, folder=folder)
        self._contents = contents
        self._shown = shown
        self._objects = dict.fromkeys(object_key(contents[on], one) for on, own in objects.items() for one in own)
        self._held: dict[str, Tensor] = {}
        self._fill()

    def __getitem__(self, key: str) -> Tensor:
        """Return the features of an object, a clip or an image.

        Raises:
            KeyError: the data set has no such object, clip or image.
            TrainingError: the features were removed from the folder.
        """
        return self._held[key] if key in self._held else self._read([key])[0]

    def __iter__(self) -> Iterator[str]:
        yield from self._objects
        yield from self._shown

    def __len__(self) -> int:
        return len(self._objects) + len(self._shown)

    def object_keys(self, record: Record) -> list[str]:
        """Return the keys of the objects of a record."""
        visual = visual_of(record)
        return [] if visual is None else [object_key(self._contents[visual], one) for one in object_digests(record)]

    def clip_key(self, record: Record) -> str | None:
        """Return the key of the clip or image of a record; `None` if it has none."""
        visual = visual_of(record)
        return None if visual is None else self._contents[visual]

    def _read(self, keys: Sequence[str]) -> list[Tensor]:
        parts = [self._parts(key) for key in keys]
        found = iter(self._store.fetch([one for own in parts for one in own], self._missing))
        read = []
        for key, own in zip(keys, parts, strict=True):
            features = [next(found) for _ in own]
            read.append(_halved(torch.stack(features)) if key in self._shown else features[0])
        return read

    def _parts(self, key: str) -> list[FeatureKey]:
        if key in self._shown:
            return [self._ways.frame(key, frame) for frame in self._shown[key]]
        if key not in self._objects:
            raise KeyError(key)
        return [self._ways.pooled_object(key)]

    def _missing(self, keys: list[FeatureKey]) -> list[Tensor]:
        raise TrainingError(
            f"{len(keys)} feature(s) that were computed are not in the folder for features any more. Leave its files "
            "alone while a run uses them; start the run again to compute them."
        )

    def _fill(self) -> None:
        room = _BYTES_HELD
        for keys, at_once in ((list(self._objects), _OBJECTS_AT_ONCE), (list(self._shown), _CLIPS_AT_ONCE)):
            for first in range(0, len(keys), at_once):
                some = keys[first : first + at_once]
                for key, feature in zip(some, self._read(some), strict=True):
                    room -= feature.nbytes
                    if room < 0:
                        return
                    self._held[key] = feature


def _halved(features: Tensor) -> Tensor:
    """Return features in half precision; 16-bit features are unchanged."""
    return features.half() if features.element_size() > 2 else features
