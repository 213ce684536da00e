"""The base of `sam2_video`, `sam3_tracker_video` and `edgetam_video`: models of the SAM 2 family in transformers.

The first prompt that shows where an object is, and every later box or mask, conditions all other frames. Further
clicks, and frames in which the object is declared absent, correct the result up to there with the model's memory, as
in the demo of SAM 2. Each object is followed from its first prompt to the end, and then from the first prompt back to
the start, with the memory of the way forward.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.errors import CheckpointError, SegmentError
from videorefer_plugin.inputs.matching import take_settings
from videorefer_plugin.models.hub_arguments import HUB_ARGUMENTS, hub_arguments
from videorefer_plugin.models.local_paths import without_local_path
from videorefer_plugin.regions import Shape
from videorefer_plugin.segment.base import Segmenter
from videorefer_plugin.segment.collecting import Collected
from videorefer_plugin.segment.events import FrameMask, Note, Tracked
from videorefer_plugin.segment.frames import walk
from videorefer_plugin.segment.loading import load_part, load_part_processor
from videorefer_plugin.segment.prompts import Prompt
from videorefer_plugin.segment.sam_sessions import Followed, FrameAtWork, ScoreReader
from videorefer_plugin.video import Video

__all__ = ["SamVideo"]

_MOST_CONDITIONS = 16  # boxes and masks that condition all frames; further ones correct


class SamVideo(Segmenter):
    """See [`Segmenter`]: cuts out and follows objects with a video model of the SAM family.

    Attributes:
        model (`PreTrainedModel`): the model.
        processor (`ProcessorMixin`): the processor of frames and prompts.
    """

    model_types: ClassVar[tuple[str, ...]]

    def __init__(self, model: Any, processor: Any, checkpoint: str | None = None) -> None:
        self.model = model.eval()
        self.processor = processor
        self._checkpoint = checkpoint
        self._reader = ScoreReader(model)

    @property
    def settings(self) -> dict[str, Any]:
        """See [`Segmenter.settings`]."""
        known = {
            "checkpoint": without_local_path(self._checkpoint),
            "revision": getattr(self.model.config, "_commit_hash", None),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }
        return {name: value for name, value in known.items() if value is not None}

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        """Return the classes of the model and the processor; importing them takes long, so it is done here."""
        raise NotImplementedError

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> SamVideo:
        """See [`Segmenter.load`]. Its settings are those for the Hub, such as `revision` and `token`."""
        _, given = take_settings(settings, (), HUB_ARGUMENTS, f"load_segmenter({cls.name!r})")
        what = f"the model of {cls.name}"
        kind, processor_kind = cls.classes()
        hub = hub_arguments(given)
        if isinstance(checkpoint, (str, os.PathLike)):
            cls._check_kind(checkpoint, kind, hub)
        processor = load_part_processor(processor_kind, checkpoint, what, **hub)
        return cls(load_part(kind, checkpoint, what, device, dtype, **hub), processor, os.fspath(checkpoint))

    @classmethod
    def _check_kind(cls, checkpoint: Any, kind: Any, hub: dict[str, Any]) -> None:
        """Refuse a checkpoint of another kind, which transformers would complete with random weights."""
        try:
            found = kind.config_class.get_config_dict(checkpoint, **hub)[0].get("model_type")
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"There is no checkpoint that can be loaded at {os.fspath(checkpoint)!r}: {error}"
            ) from error
        if found not in cls.model_types:
            raise CheckpointError(
                f"The checkpoint {os.fspath(checkpoint)!r} is of type {found!r}, but {cls.name} needs one of type "
                f"{' or '.join(map(repr, cls.model_types))}."
            )

    # --- one frame ------------------------------------------------------------------------------------------------

    def _segment(self, frame: NDArray[np.uint8], prompts: list[Prompt]) -> list[FrameMask]:
        frames = self._frames(1)
        frames.show(0, frame)
        found: list[FrameMask] = []
        beside: Followed | None = None
        for prompt in prompts:
            beside = self._followed(frames, frame.shape[:2], beside)
            found.append(beside.condition(0, prompt))
        return found

    def _frames(self, count: int) -> FrameAtWork:
        return FrameAtWork(self.processor, count, self.model.device, self.model.dtype)

    def _followed(self, frames: FrameAtWork, size: Any, beside: Followed | None) -> Followed:
        return Followed(self.model, self.processor, self._reader, frames, (int(size[0]), int(size[1])), beside)

    # --- videos ---------------------------------------------------------------------------------------------------

    def _track(
        self,
        video: Video,
        prompts: list[Mapping[int, Prompt]],
        start: int,
        end: int,
        known: list[Collected],
    ) -> Iterator[Tracked | Note]:
        frames = self._frames(video.num_frames)
        objects: list[_Object] = []
        for number, own in enumerate(prompts):
            beside = objects[0].followed if objects else None
            followed = self._followed(frames, (video.height, video.width), beside)
            objects.append(_Object.of(number, own, followed, dict(known[number].shapes), start, end))
        look_back = self.model.config.num_maskmem - 1
        _condition(video, frames, [one for one in objects if one.unfinished])
        for reverse in (False, True):
            for one in objects:
                if one.unfinished:
                    yield from _take_up(video, frames, one, reverse, look_back)
            yield from _one_way(video, frames, objects, reverse)


@dataclass
class _Object:
    """The state of one object.

    Attributes:
        number: index of the object, from 0.
        prompts: its prompts by frame.
        followed: its session.
        known: results of an interrupted run, by frame.
        first: the frame that it is followed from.
        conditions: frames whose prompts condition all frames; the other prompts correct.
        begins: by direction (`reverse`), the first frame without a known result, or the end of that direction.
        ends: by direction, the frame after the last one.
    """

    number: int
    prompts: Mapping[int, Prompt]
    followed: Followed
    known: Mapping[int, Shape]
    first: int
    conditions: list[int]
    begins: dict[bool, int] = field(default_factory=dict)
    ends: dict[bool, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        number: int,
        prompts: Mapping[int, Prompt],
        followed: Followed,
        known: Mapping[int, Shape],
        start: int,
        end: int,
    ) -> _Object:
        telling = [frame for frame in sorted(prompts) if prompts[frame].tells_where]
        whole = [frame for frame in telling[1:] if prompts[frame].box is not None or prompts[frame].mask is not None]
        chosen = np.linspace(0, len(whole) - 1, min(len(whole), _MOST_CONDITIONS - 1)).round().astype(int)
        one = cls(number, prompts, followed, known, telling[0], [telling[0], *(whole[place] for place in chosen)])
        for reverse, way in ((False, range(one.first, end + 1)), (True, range(one.first - 1, start - 1, -1))):
            one.ends[reverse] = way.stop
            one.begins[reverse] = next((frame for frame in way if frame not in known), way.stop)
        return one

    @property
    def unfinished(self) -> bool:
        return any(self.begins[reverse] != self.ends[reverse] for reverse in (False, True))

    def is_due(self, frame: int, reverse: bool) -> bool:
        return frame <= self.begins[reverse] if reverse else frame >= self.begins[reverse]

    def step(self, frame: int, reverse: bool) -> Iterator[Tracked]:
        if frame in self.prompts and frame not in self.conditions:
            found = self.followed.correct(frame, self.prompts[frame], reverse)
        else:
            found = self.followed.follow(frame, reverse)
        if frame not in self.known:
            yield Tracked(self.number, frame, found.mask if found.mask.any() else None, found.score)


def _condition(video: Video, frames: FrameAtWork, objects: list[_Object]) -> None:
    """Give the model the conditioning prompts; each frame is read once."""
    for frame in sorted({frame for one in objects for frame in one.conditions}):
        frames.show(frame, video.read([frame])[0])
        for one in objects:
            if frame in one.conditions:
                found = one.followed.condition(frame, one.prompts[frame])
                if frame == one.first and not found.mask.any():
                    raise SegmentError(
                        f"Object {one.number + 1} was not found in frame {frame}, where it was pointed at, so there "
                        "is nothing to follow. Point at it elsewhere, with a box or more points, or in another frame."
                    )


def _take_up(
    video: Video, frames: FrameAtWork, one: _Object, reverse: bool, look_back: int
) -> Iterator[Tracked | Note]:
    """Rebuild an object's memory of the frames of an interrupted run, as far as the model reads them."""
    begin = one.begins[reverse]
    if reverse:
        done = [*range(begin + 1, min(begin + 1 + look_back, one.first))]
    else:
        near = range(one.first + 1, min(one.first + 1 + look_back, begin))  # memory of the way back
        done = sorted({*near, *range(max(begin - look_back, one.first + 1), begin)})
    for frame in done:
        if frame not in one.conditions:
            frames.show(frame, video.read([frame])[0])
            shape = one.known[frame]
            one.followed.correct(frame, Prompt.of(shape, video.height, video.width), reverse)
    fresh = (one.begins[False] != one.ends[False] and begin == one.first - 1) if reverse else begin == one.first
    if not fresh and begin != one.ends[reverse]:
        way = " backward" if reverse else ""
        yield Note("resumed", f"It was followed on{way} from frame {begin}.", begin, one.number)


def _one_way(video: Video, frames: FrameAtWork, objects: list[_Object], reverse: bool) -> Iterator[Tracked | Note]:
    begins = [one.begins[reverse] for one in objects if one.begins[reverse] != one.ends[reverse]]
    if not begins:
        return
    step, first = (-1, max(begins)) if reverse else (1, min(begins))
    # The frame before the first one is read only to notice a cut between them.
    before = first - step if reverse or first > min(one.first for one in objects) else first
    last = objects[0].ends[reverse] - step
    for seen in walk(video, before, last):
        if seen.is_cut:
            shot = seen.frame + 1 if reverse else seen.frame
            yield Note("cut", f"The shot changes at frame {shot}.", shot)
        frames.show(seen.frame, seen.pixels)
        for one in objects:
            if one.is_due(seen.frame, reverse):
                yield from one.step(seen.frame, reverse)
