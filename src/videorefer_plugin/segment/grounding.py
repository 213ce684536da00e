"""Turns words into masklets in three steps, as the paper's data engine: a detector, SAM-HQ and a propagator."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.matching import check_at_least_one, take_settings
from videorefer_plugin.segment.base import Segmenter, abilities_of
from videorefer_plugin.segment.cleaning import box_overlaps, keep_surest, mask_overlaps
from videorefer_plugin.segment.collecting import Collected, Progress
from videorefer_plugin.segment.detecting import Detector, Found
from videorefer_plugin.segment.events import Candidate, FrameMask, Note, Tracked
from videorefer_plugin.segment.loading import check_name, read_device
from videorefer_plugin.segment.masklet import Masklet
from videorefer_plugin.segment.prompts import Prompt
from videorefer_plugin.segment.registry import entry_of, load_segmenter, loadable, refuse, segmenters
from videorefer_plugin.segment.sam_hq import SamHQ
from videorefer_plugin.segment.words import nothing_found
from videorefer_plugin.video import Video

__all__ = ["Grounding"]

_MASKS = ("sam_hq", "propagator")
_DEFAULTS: dict[str, Any] = {
    "mask_checkpoint": "syscv-community/sam-hq-vit-base",
    "masks": "sam_hq",
    "propagator": "sam2_video",
    "propagator_checkpoint": None,
    "threshold": None,
    "text_threshold": 0.25,
    "most_overlap": 0.7,
    "frames": 5,
}


class Grounding(Segmenter):
    """See [`Segmenter`]: Grounding DINO -> SAM-HQ -> SAM 2 (paper section 3.1.1), or other models for these steps.

    [`load_segmenter`] takes these settings:

    - `checkpoint`: folder or Hub id of the detector: Grounding DINO, MM-Grounding-DINO or OWLv2.
    - `mask_checkpoint`: folder or Hub id of SAM-HQ.
    - `masks`: the model that makes masks of boxes: `"sam_hq"` (the default), or `"propagator"`, which does without
      SAM-HQ.
    - `propagator`: the segmenter that follows objects, by name or loaded; `"sam2_video"` by default.
      `propagator_checkpoint`: its weights, if it is given by name.
    - `threshold`: lowest score of the detector, from 0 to 1; by default that of its processor: 0.25, or 0.1 for OWLv2.
      `text_threshold`: for Grounding DINO, lowest score with which one of the words matches; 0.25 by default.
    - `most_overlap`: if candidates overlap more than this (intersection over union), only the surest is kept; 0.7 by
      default.
    - `frames`: number of frames of a video from which the frame to search is chosen; 5 by default.
    """

    name = "grounding"
    defaults = _DEFAULTS

    def __init__(self, detector: Detector, masks: SamHQ | None, propagator: Segmenter, settings: dict[str, Any]):
        self._detector = detector
        self._masks = masks
        self._propagator = propagator
        self._settings = settings

    @property
    def settings(self) -> dict[str, Any]:
        """See [`Segmenter.settings`]."""
        return {
            **self._settings,
            "propagator": self._propagator.name,
            "propagator_settings": self._propagator.settings,
        }

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> Grounding:
        """See [`Segmenter.load`]."""
        take_settings(settings, (), tuple(_DEFAULTS), "grounding")
        chosen = {**_DEFAULTS, **settings}
        _check(chosen)
        where = read_device(device)
        own_masks = chosen["masks"] == "sam_hq"
        detector = Detector(checkpoint, where, dtype, chosen["threshold"], chosen["text_threshold"])
        masks = SamHQ(chosen["mask_checkpoint"], where, dtype) if own_masks else None
        propagator = chosen["propagator"]
        if not isinstance(propagator, Segmenter):
            weights = entry_of(propagator).checkpoint is not None
            placed = {"device": where, "dtype": dtype} if weights else {}
            propagator = load_segmenter(propagator, chosen["propagator_checkpoint"], **placed)
        written = {name: chosen[name] for name in ("text_threshold", "most_overlap", "frames", "masks")}
        written |= {"checkpoint": os.fspath(checkpoint), "threshold": detector.threshold}
        written |= {"mask_checkpoint": os.fspath(chosen["mask_checkpoint"])} if own_masks else {}
        return cls(detector, masks, propagator, written)

    def _segment(self, frame: NDArray[np.uint8], prompts: list[Prompt]) -> list[FrameMask]:
        return self._propagator.segment(frame, prompts) if self._masks is None else [*self._masks.cut(frame, prompts)]

    def _track(
        self, video: Video, prompts: list[Mapping[int, Prompt]], start: int, end: int, known: list[Collected]
    ) -> Iterator[Tracked | Note]:
        return self._propagator.track(video, prompts, start, end, known)

    def _find(self, frame: NDArray[np.uint8], phrase: str, max_objects: int | None) -> list[Candidate]:
        found = self._detector.look(frame, self._detector.check(phrase))
        candidates = self._candidates(frame, found, phrase, max_objects)
        if not candidates:
            raise nothing_found(self.name, phrase, [0], self._detector.threshold, found.best)
        return candidates

    def _find_in_video(
        self, video: Video, phrase: str, frame: int | None, max_objects: int | None, progress: Progress | None
    ) -> list[Masklet]:
        words = self._detector.check(phrase)
        looked = _spread(video.num_frames, self._settings["frames"]) if frame is None else [frame]
        found = {index: self._detector.look(video.read([index])[0], words) for index in looked}
        for index in sorted(looked, key=lambda index: -(found[index].best or 0.0)):  # of equals, the central one
            candidates = self._candidates(video.read([index])[0], found[index], phrase, max_objects)
            if candidates:
                return self._follow(video, index, candidates, progress)
        best = max((one.best for one in found.values() if one.best is not None), default=None)
        raise nothing_found(self.name, phrase, sorted(looked), self._detector.threshold, best)

    def _follow(
        self, video: Video, frame: int, candidates: list[Candidate], progress: Progress | None
    ) -> list[Masklet]:
        prompts = [{frame: Prompt(mask=candidate.mask)} for candidate in candidates]
        masklets = self._propagator.propagate(video, prompts, progress=progress)
        return [
            replace(
                masklet,
                backend=self.name,
                settings=self.settings,
                phrase=candidate.phrase,
                scores={**masklet.scores, frame: candidate.score},  # in this frame, the score is that of the words
            )
            for masklet, candidate in zip(masklets, candidates, strict=True)
        ]

    def _candidates(
        self, frame: NDArray[np.uint8], found: Found, phrase: str, max_objects: int | None
    ) -> list[Candidate]:
        """Yield the masks of boxes with high enough scores, the surest first, without duplicates of one object."""
        sure = (found.scores > self._detector.threshold) & found.matched
        boxes, scores = found.boxes[sure], found.scores[sure]
        most = self._settings["most_overlap"]
        order = keep_surest(box_overlaps(boxes, boxes), scores, most)
        prompts = [Prompt(box=tuple(boxes[place].tolist())) for place in order]
        kept: list[Candidate] = []
        for place, prompt, mask in zip(order, prompts, self._cut(frame, prompts), strict=True):
            assert prompt.box is not None
            overlaps = mask_overlaps(mask[None], np.stack([one.mask for one in kept])) if kept else np.zeros((1, 0))
            if mask.any() and (overlaps <= most).all():
                kept.append(Candidate(mask, prompt.box, float(scores[place]), phrase))
            if max_objects is not None and len(kept) >= max_objects:
                break
        return kept

    def _cut(self, frame: NDArray[np.uint8], prompts: list[Prompt]) -> Iterator[NDArray[np.bool_]]:
        if self._masks is not None:
            cut: Iterator[FrameMask] = self._masks.cut(frame, prompts)
        else:
            cut = iter(self._propagator.segment(frame, prompts))
        return (one.mask for one in cut)


def _check(chosen: Mapping[str, Any]) -> None:
    """Check the settings before anything is loaded."""
    for name in ("threshold", "text_threshold", "most_overlap"):
        value = chosen[name]
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
        if not fits and not (name == "threshold" and value is None):
            raise ConfigurationError(f"{name} must be a number from 0 to 1, but is {short(value)}.")
    check_at_least_one(chosen["frames"], "frames")
    if chosen["masks"] not in _MASKS:
        raise ConfigurationError(f"masks is {short(chosen['masks'])}; expected one of {', '.join(_MASKS)}.")
    if chosen["masks"] == "sam_hq":
        check_name(chosen["mask_checkpoint"], "SAM-HQ")
    propagator = chosen["propagator"]
    if isinstance(propagator, Segmenter):
        if chosen["propagator_checkpoint"] is not None:
            raise ConfigurationError("propagator_checkpoint was given with a propagator that is loaded; leave it out.")
        name, able = propagator.name, segmenters().get(propagator.name) or abilities_of(type(propagator))
    elif propagator == Grounding.name:
        raise ConfigurationError("propagator is 'grounding', which needs one itself; name another one.")
    else:
        name, able = propagator, loadable(propagator, chosen["propagator_checkpoint"]).abilities
    for needed in ("propagate", "segment") if chosen["masks"] == "propagator" else ("propagate",):
        if needed not in able:
            raise refuse(name, needed)


def _spread(count: int, most: int) -> list[int]:
    """Return frames that are evenly spread over a video, those nearest to the middle first."""
    number = min(count, most)
    frames = sorted({int((place + 0.5) * count / number) for place in range(number)})
    return sorted(frames, key=lambda frame: (abs(frame - (count - 1) / 2), frame))
