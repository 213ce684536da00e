"""Turns words into masklets with SAM 3, which looks for a concept in every frame and follows the detections."""

from __future__ import annotations

import importlib.util
import os
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import Sam3VideoProcessor

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.matching import take_settings
from videorefer_plugin.segment.base import Segmenter
from videorefer_plugin.segment.cleaning import box_around
from videorefer_plugin.segment.collecting import Collected, Progress
from videorefer_plugin.segment.events import Candidate, Note, Tracked
from videorefer_plugin.segment.frames import walk
from videorefer_plugin.segment.loading import load_part, load_part_processor
from videorefer_plugin.segment.masklet import Masklet
from videorefer_plugin.segment.prompts import Prompt
from videorefer_plugin.segment.sam3_model import CLEANERS, CleaningSam3, LeanSession
from videorefer_plugin.segment.words import check_tokens, nothing_found
from videorefer_plugin.video import Video, open_video

__all__ = ["Sam3Video"]

_SETTINGS = ("threshold", "new_threshold", "post_processing")
_SKIPPED = "Several masks of one object, holes and sprinkles were not cleaned up (post_processing={!r})."


class Sam3Video(Segmenter):
    """See [`Segmenter`]: `Sam3VideoModel` of transformers.

    It finds words, but takes no points, boxes or masks: it follows the detections of its detector. [`load_segmenter`]
    takes these settings:

    - `threshold`: lowest score of a detection, from 0 to 1; by default that of the checkpoint.
    - `new_threshold`: lowest score of objects that appear while others are followed; by default `threshold`.
    - `post_processing`: implementation of the removal of duplicate masks, holes and sprinkles, which SAM 3 leaves to
      compiled kernels: `"scipy"`, the default; `"kernels"`, which are downloaded when they are first used; or
      `"none"`.
    """

    name = "sam3_video"

    def __init__(self, model: CleaningSam3, processor: Any, settings: dict[str, Any]):
        self._model = model
        self._processor = processor
        self._settings = settings

    @property
    def settings(self) -> dict[str, Any]:
        """See [`Segmenter.settings`]."""
        return dict(self._settings)

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> Sam3Video:
        """See [`Segmenter.load`]."""
        chosen, _ = take_settings(settings, _SETTINGS, (), cls.name)
        cleaner = chosen["post_processing"] or CLEANERS[0]
        _check(chosen["threshold"], chosen["new_threshold"], cleaner)
        processor = load_part_processor(Sam3VideoProcessor, checkpoint, "SAM 3")
        model = load_part(CleaningSam3, checkpoint, "SAM 3", device, dtype)
        model.clean_with(cleaner)
        if chosen["threshold"] is not None:
            model.score_threshold_detection = chosen["threshold"]
        if chosen["new_threshold"] is not None:
            model.new_det_thresh = chosen["new_threshold"]
        written = {
            "checkpoint": os.fspath(checkpoint),
            "threshold": model.score_threshold_detection,
            "new_threshold": model.new_det_thresh,
            "post_processing": cleaner,
        }
        return cls(model, processor, written)

    def _find(self, frame: NDArray[np.uint8], phrase: str, max_objects: int | None) -> list[Candidate]:
        run = _Run(self._model, self._processor, open_video([frame]), phrase, 0)
        (seen,) = run.go(0)
        found = [Candidate(mask, box_around(mask), run.sure[number], phrase) for number, mask in seen.masks.items()]
        if not found:
            raise self._nothing(run, phrase, [0])
        return sorted(found, key=lambda candidate: -candidate.score)[:max_objects]

    def _find_in_video(
        self, video: Video, phrase: str, frame: int | None, max_objects: int | None, progress: Progress | None
    ) -> list[Masklet]:
        run = _Run(self._model, self._processor, video, phrase, frame or 0)
        gathered = _gather(run, frame is not None, progress)
        if not gathered.objects:
            raise self._nothing(run, phrase, sorted(gathered.told) if frame is None else [frame])
        surest = sorted(gathered.objects, key=lambda number: (-run.sure[number], number))[:max_objects]
        if not self._model.cleans:
            gathered.notes.append(Note("skipped", _SKIPPED.format(self._settings["post_processing"])))
        return [self._masklet(gathered, run, number, place) for place, number in enumerate(surest)]

    def _masklet(self, gathered: _Gathered, run: _Run, number: int, place: int) -> Masklet:
        """Return the masklet of one object, which is absent in frames with results for other objects only."""
        one, given_up = gathered.objects[number], number in run.given_up
        for frame in gathered.told:
            if frame not in one.shapes and not (given_up and frame < run.start):
                one.add(Tracked(place, frame, None, 0.0))
        one.notes.extend(replace(note, number=place) for note in gathered.notes)
        if given_up:
            lost = run.start - 1
            text = f"It was lost at frame {lost}: no detection up to there confirms that the words mean it."
            one.notes.append(Note("lost", text, lost, place, reverse=True))
        visible = gathered.visible[number]
        first = run.start if run.start in visible else min(visible)
        prompt = Prompt.of(one.shapes[first], run.video.height, run.video.width)
        details = {"backend": self.name, "settings": self.settings, "phrase": run.phrase}
        return one.masklet({first: prompt}, run.video, **details)

    def _nothing(self, run: _Run, phrase: str, frames: list[int]) -> Exception:
        return nothing_found(self.name, phrase, frames, self._settings["threshold"], run.best)


class _Seen(NamedTuple):
    """One frame: the masks of the visible objects, and the scores of all followed objects."""

    frame: int
    masks: dict[int, NDArray[np.bool_]]
    scores: dict[int, float]
    cut: int | None


class _Run:
    """Runs one phrase on one video, frame after frame.

    Attributes:
        start: the first frame.
        sure: for each object, its detection score when it was first seen.
        given_up: objects that were lost on the way backward.
    """

    def __init__(self, model: CleaningSam3, processor: Any, video: Video, phrase: str, start: int):
        self.video, self.phrase, self.start = video, phrase, start
        self.sure: dict[int, float] = {}
        self.given_up: set[int] = set()
        self._model, self._processor = model, processor
        most = model.config.detector_config.text_config.max_position_embeddings
        check_tokens(phrase, processor.tokenizer, most, "SAM 3")
        self._session = LeanSession(
            video.num_frames,
            start,
            video_height=video.height,
            video_width=video.width,
            inference_device=model.device,
            inference_state_device=model.device,
            video_storage_device=model.device,
            dtype=model.dtype,
        )
        processor.add_text_prompt(self._session, phrase)

    @property
    def best(self) -> float | None:
        """The highest score of the detector."""
        return self._session.best

    def go(self, last: int, only_there: bool = False) -> Iterator[_Seen]:
        """Yield the results from the start to the last frame. Backward, the start is not yielded again.

        A result is held back as long as SAM 3 may still reject one of its objects (its hot start).
        """
        session, reverse = self._session, last < self.start
        held: deque[tuple[Any, int | None]] = deque()
        removed = set(session.hotstart_removed_obj_ids)
        if reverse:
            session.turn()
        for seen in walk(self.video, self.start, last):
            if reverse and seen.frame == self.start:  # it is read so that a cut next to it is noticed
                continue
            cut = seen.frame + reverse if seen.is_cut else None
            held.append((self._step(seen.frame, seen.pixels, reverse), cut))
            session.closed = only_there
            self.given_up |= (session.hotstart_removed_obj_ids - removed) if reverse else set()
            if len(held) >= self._model.hotstart_delay:
                yield self._told(*held.popleft())
        yield from (self._told(*one) for one in held)

    def _step(self, frame: int, pixels: NDArray[np.uint8], reverse: bool) -> Any:
        session = self._session
        made = self._processor.video_processor(
            videos=pixels[None],
            device=self._model.device,
            return_tensors="pt",
            input_data_format="channels_last",
        )
        session.add_new_frame(made.pixel_values_videos[0], frame)
        out = self._model(session, frame_idx=frame, reverse=reverse)
        session.hotstart_removed_obj_ids.update(out.removed_obj_ids)
        session.forget(frame, self._model)
        for number, score in out.obj_id_to_score.items():
            self.sure.setdefault(number, min(max(float(score), 0.0), 1.0))
        return out

    def _told(self, out: Any, cut: int | None) -> _Seen:
        made = self._processor.postprocess_outputs(self._session, out)
        told = zip(made["object_ids"].tolist(), made["masks"].cpu().numpy(), strict=True)
        masks = {number: mask for number, mask in told if mask.any()}  # other objects may cover all of an object
        gone = self._session.hotstart_removed_obj_ids
        scores = {number: score for number, score in out.obj_id_to_tracker_score.items() if number not in gone}
        return _Seen(out.frame_idx, masks, scores, cut)


class _Gathered:
    """The results for a video's objects so far, in compact form."""

    def __init__(self) -> None:
        self.objects: dict[int, Collected] = defaultdict(Collected)
        self.visible: dict[int, set[int]] = defaultdict(set)
        self.told: set[int] = set()
        self.notes: list[Note] = []

    def add(self, seen: _Seen) -> None:
        self.told.add(seen.frame)
        if seen.cut is not None:
            self.notes.append(Note("cut", f"A new shot begins at frame {seen.cut}.", seen.cut))
        for number in {*seen.masks, *seen.scores}:
            score = min(max(seen.scores.get(number, 0.0), 0.0), 1.0)
            self.objects[number].add(Tracked(number, seen.frame, seen.masks.get(number), score))
        for number in seen.masks:
            self.visible[number].add(seen.frame)

    def keep(self, numbers: set[int]) -> None:
        """Drop all objects except these."""
        self.objects = {number: one for number, one in self.objects.items() if number in numbers}


def _gather(run: _Run, only_there: bool, progress: Progress | None) -> _Gathered:
    """Follow the detections to the end of the video, and then back to its beginning.

    Args:
        run: the run of the phrase on the video.
        only_there: whether objects that are not visible in the first frame of the run are left out.
        progress: called after every frame; it stops the work by returning `False`.
    """
    gathered = _Gathered()
    length = run.video.num_frames
    for seen in _both_ways(run, only_there):
        gathered.add(seen)
        if only_there and not gathered.visible:
            return _Gathered()
        if progress is not None and progress(len(gathered.told), length) is False:
            gathered.notes.append(Note("cancelled", f"The work was stopped at frame {seen.frame}.", seen.frame))
            break
    there = {number for number, frames in gathered.visible.items() if not only_there or run.start in frames}
    gathered.keep(there)
    return gathered


def _both_ways(run: _Run, only_there: bool) -> Iterator[_Seen]:
    yield from run.go(run.video.num_frames - 1, only_there)
    if run.start:
        yield from run.go(0, only_there)


def _check(threshold: Any, new_threshold: Any, cleaner: Any) -> None:
    """Check the settings before anything is loaded."""
    for name, value in (("threshold", threshold), ("new_threshold", new_threshold)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and 0 <= value <= 1):
            raise ConfigurationError(f"{name} must be a number from 0 to 1, but is {short(value)}.")
    if cleaner not in CLEANERS:
        raise ConfigurationError(f"post_processing is {short(cleaner)}; expected one of {', '.join(CLEANERS)}.")
    if cleaner == "kernels" and importlib.util.find_spec("kernels") is None:
        raise ConfigurationError(
            "post_processing='kernels' needs the package kernels: pip install kernels, or leave it out for SciPy."
        )
