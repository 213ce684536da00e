"""The Segmentor of the paper: from a noun to a box, a mask, and a masklet in both directions (section 3.1.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.agents.loading import (
    check_choice,
    check_device,
    check_share,
    each,
    free_memory,
    open_source,
)
from videorefer_plugin.data_engine.agents.locating import ON_SEVERAL, Located, Locator, random_frames
from videorefer_plugin.data_engine.agents.masklet_checks import Limits, covered_share, quality_figures, same_share
from videorefer_plugin.data_engine.agents.segmenting import Choice
from videorefer_plugin.data_engine.items import Drop, Failure, Found, Made, VideoItem, seed_of
from videorefer_plugin.errors import ConfigurationError, RegionError, SegmentError
from videorefer_plugin.inputs.matching import check_at_least_one
from videorefer_plugin.regions import encode_rle
from videorefer_plugin.segment import Masklet, Prompt, Segmenter
from videorefer_plugin.segment.cleaning import mask_overlaps
from videorefer_plugin.segment.registry import refuse
from videorefer_plugin.video import Video

__all__ = ["MaskletSegmentor"]

_CHECKS = ("quality", "exhaustiveness")
_ON_LOST = ("keep", "drop")
_SAME_PLACE = 0.5
_PROPAGATOR = ("propagator", "propagator_checkpoint")  # settings that "grounding" needs for videos
_NOTED = ("lost", "cut", "skipped")


class MaskletSegmentor(Agent):
    """Finds nouns in a random frame, and follows the objects through the video.

    All objects of a video are followed together, so that each frame is decoded once. In an image, objects are
    segmented only. Objects that have masks already keep them.

    Args:
        finder (`str`): registered segmenter that finds words, or "package.module:Class" of a `Segmenter`.
        follower (`str`): segmenter that follows objects, in the same form. If it is also the finder and takes no
            masks, as `"sam3_video"`, it follows the objects that it finds itself.
        finder_settings, follower_settings (`Mapping`, *optional*): arguments of `load_segmenter`, such as
            `checkpoint`. The finder `"grounding"` uses the loaded follower, unless it is given a `propagator`.
        device, dtype (*optional*): device and data type of both, if their settings do not name them.
        tries (`int`): most random frames to look in until the noun is found.
        on_several (`str`): choice among several things that the noun may mean in a frame: `"expression"` decides by
            the whole expression, `"drop"` drops the object, and `"best"` takes the surest.
        margin (`float`): required margin between the best score and the next one.
        min_score (`float`): required score of the finder, besides its own threshold.
        on_lost (`str`): treatment of an object that is lost: `"keep"` keeps the frames before, with a note, and
            `"drop"` drops the object.
        min_frames (`int`): number of frames in which an object of a video has to be visible.
        same_overlap (`float`, *optional*): overlap (intersection over union) of two masklets from which on the later
            one is dropped as a duplicate; `None` keeps both.
        checks (`Sequence[str]`): `"quality"` stores the figures of `quality_figures`, and the number of candidates;
            `"exhaustiveness"` looks for the noun in a second random frame, and stores the share of the findings that
            the masklets cover.
        min_mean_score, min_lowest_score, max_jump, min_share, max_share, min_exhaustive (`float`, *optional*): limits
            of these figures; see [`Limits`].
    """

    stage = "segmentor"

    def __init__(
        self,
        finder: str = "grounding",
        follower: str = "sam2_video",
        *,
        finder_settings: Mapping[str, Any] | None = None,
        follower_settings: Mapping[str, Any] | None = None,
        device: str | None = None,
        dtype: str | None = None,
        tries: int = 3,
        on_several: str = "expression",
        margin: float = 0.1,
        min_score: float = 0.0,
        on_lost: str = "keep",
        min_frames: int = 1,
        same_overlap: float | None = 0.8,
        checks: Sequence[str] = ("quality",),
        min_mean_score: float | None = None,
        min_lowest_score: float | None = None,
        max_jump: float | None = None,
        min_share: float | None = None,
        max_share: float | None = None,
        min_exhaustive: float | None = None,
    ):
        for name, number in (("tries", tries), ("min_frames", min_frames)):
            check_at_least_one(number, name)
        check_choice("segmentor", "on_several", on_several, ON_SEVERAL)
        check_choice("segmentor", "on_lost", on_lost, _ON_LOST)
        for name, share in (("margin", margin), ("min_score", min_score)):
            check_share("segmentor", name, share)
        check_share("segmentor", "same_overlap", same_overlap, optional=True)
        check_device("segmentor", device)
        self._checks = _read_checks(checks)
        self._limits = Limits(min_mean_score, min_lowest_score, max_jump, min_share, max_share, min_exhaustive)
        _check_limits(self._limits, self._checks)
        self._finder = Choice(finder, finder_settings or {})
        self._follower = self._finder
        if follower != finder or follower_settings:
            self._follower = Choice(follower, follower_settings or {})
        if "find" not in self._finder.abilities:
            raise refuse(finder, "find")
        self._at_once = self._follower is self._finder and "propagate" not in self._follower.abilities
        if "propagate" not in self._follower.abilities and not self._at_once:
            raise refuse(follower, "propagate")
        given = set(self._finder.settings) & set(_PROPAGATOR)
        self._lends = self._finder is not self._follower and finder == "grounding" and not given
        self._device, self._dtype = device, dtype
        self._settings: dict[str, Any] = {
            "tries": tries,
            "on_several": on_several,
            "margin": margin,
            "min_score": min_score,
        }
        self._on_lost, self._min_frames, self._same_overlap = on_lost, min_frames, same_overlap
        self._loaded: tuple[Segmenter, Segmenter] | None = None

    def identity(self) -> dict[str, Any]:
        """See [`Agent.identity`]."""
        return {
            "backend": "masklets",
            "finder": self._finder.identity(_PROPAGATOR if self._lends else ()),
            "follower": self._follower.identity(),
            "dtype": None if self._dtype is None else str(self._dtype),
            **self._settings,
            "on_lost": self._on_lost,
            "min_frames": self._min_frames,
            "same_overlap": self._same_overlap,
            "checks": list(self._checks),
            "limits": {name: value for name, value in vars(self._limits).items() if value is not None},
        }

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Return a [`Found`] for each object; see [`Agent.run`]."""
        return each(items, self._segment)

    def close(self) -> None:
        """See [`Agent.close`]."""
        self._loaded = None
        free_memory()

    def _segmenters(self) -> tuple[Segmenter, Segmenter]:
        if self._loaded is None:
            follower = self._follower.placed(self._device, self._dtype).load()
            finder = follower
            if self._finder is not self._follower:
                more = {"propagator": follower} if self._lends else {}
                finder = self._finder.placed(self._device, self._dtype).load(**more)
            self._loaded = finder, follower
        return self._loaded

    def _segment(self, item: VideoItem) -> Made:
        video = open_source(item)
        locator = Locator(self._segmenters()[0], **self._settings)
        outcomes: dict[int, Found | Located | Drop] = {
            one.number: one.found or locator.locate(video, one, item.seed) for one in item.objects
        }
        located = {number: one for number, one in outcomes.items() if isinstance(one, Located)}
        outcomes |= self._follow(video, located, is_image=item.source.kind == "image")
        self._check_exhaustive(video, item, locator, located, outcomes)
        for number in located:
            found = outcomes[number]
            if isinstance(found, Found):
                outcomes[number] = self._limits.drop(found.checks) or found
        return Made(tuple(self._without_same(outcomes, located).values()))

    # --- following ------------------------------------------------------------------------------------------------

    def _follow(self, video: Video, located: Mapping[int, Located], is_image: bool) -> dict[int, Found | Drop]:
        if is_image or video.num_frames == 1:
            return {number: self._cut(video, one) for number, one in located.items()}
        if self._at_once:
            followed = {number: self._find_again(video, one) for number, one in located.items()}
        else:
            followed = dict(zip(located, self._propagate(video, list(located.values())), strict=True))
        return {
            number: one if isinstance(one, Drop) else self._found(one, located[number])
            for number, one in followed.items()
        }

    def _propagate(self, video: Video, located: Sequence[Located]) -> list[Masklet | Drop]:
        """Follow objects together, or each on its own if one of them cannot be followed."""
        prompts = [{one.frame: Prompt(mask=one.candidate.mask)} for one in located]
        try:
            return list(self._segmenters()[1].propagate(video, prompts))
        except (SegmentError, RegionError) as error:
            if len(located) > 1:
                return [made for one in located for made in self._propagate(video, [one])]
            return [Drop("lost", f"It cannot be followed from frame {located[0].frame}: {error}")]

    def _find_again(self, video: Video, located: Located) -> Masklet | Drop:
        """Return the chosen object among the masklets of a segmenter that finds and follows in one step."""
        try:
            found = self._segmenters()[1].find(video, located.phrase, frame=located.frame)
        except SegmentError as error:
            return Drop("lost", f"It cannot be followed from frame {located.frame}: {error}")
        best, most = None, _SAME_PLACE
        for masklet in found:
            if isinstance(masklet, Masklet) and located.frame in masklet.region.present:
                mask = masklet.region.mask(located.frame, *masklet.size)
                overlap = float(mask_overlaps(mask[None], located.candidate.mask[None])[0, 0])
                if overlap >= most:
                    best, most = masklet, overlap
        return best or Drop(
            "lost", f"None of the followed objects is the one that was found in frame {located.frame}."
        )

    def _found(self, masklet: Masklet, located: Located) -> Found | Drop:
        lost = masklet.lost
        if lost and self._on_lost == "drop":
            return Drop("lost", lost[0].text)
        visible = len(masklet.region.present)
        if visible < self._min_frames:
            return Drop("too_short", f"It is visible in {visible} frame(s), fewer than {self._min_frames}.")
        annotation = masklet.region.to_annotation(*masklet.size)
        scores = {str(frame): round(float(score), 4) for frame, score in masklet.scores.items()}
        notes = dict.fromkeys(note.text for note in masklet.notes if note.kind in _NOTED)
        return self._made(located, annotation, masklet.size, scores, tuple(notes))

    def _cut(self, video: Video, located: Located) -> Found | Drop:
        annotation = {str(located.frame): {"segmentation": encode_rle(located.candidate.mask)}}
        scores = {str(located.frame): round(float(located.candidate.score), 4)}
        return self._made(located, annotation, (video.height, video.width), scores, ())

    def _made(
        self,
        located: Located,
        annotation: dict[str, Any],
        size: tuple[int, int],
        scores: dict[str, float],
        notes: tuple[str, ...],
    ) -> Found:
        quality: dict[str, float] = {}
        if "quality" in self._checks:
            quality = quality_figures(annotation, scores, size[0] * size[1])
            quality["candidates"] = float(located.count)
        return Found(
            annotation=annotation,
            height=size[0],
            width=size[1],
            frame=located.frame,
            box=tuple(round(float(side), 2) for side in located.candidate.box),
            score=round(float(located.candidate.score), 4),
            scores=scores,
            checks=quality,
            notes=notes,
        )

    # --- checks ---------------------------------------------------------------------------------------------------

    def _check_exhaustive(
        self,
        video: Video,
        item: VideoItem,
        locator: Locator,
        located: Mapping[int, Located],
        outcomes: dict[int, Found | Located | Drop],
    ) -> None:
        """Look for the words in a second frame, and store the share of the findings that is covered."""
        if "exhaustiveness" not in self._checks or video.num_frames == 1:
            return
        masklets = [one for one in outcomes.values() if isinstance(one, Found)]
        for number, where in located.items():
            found = outcomes[number]
            if not isinstance(found, Found):
                continue
            frames = random_frames(video, 2, seed_of(item.seed, number, "exhaustiveness"))
            frame = next(one for one in frames if one != where.frame)
            candidates, _ = locator.candidates(video.read([frame])[0], where.phrase)
            found.checks["exhaustive"] = covered_share(candidates, frame, masklets)

    def _without_same(self, outcomes: Mapping[int, Any], located: Mapping[int, Located]) -> dict[int, Found | Drop]:
        """Drop the later one of two equal objects, unless it came with masks."""
        kept = {number: one for number, one in outcomes.items() if number not in located and isinstance(one, Found)}
        made: dict[int, Found | Drop] = dict(outcomes)
        for number in located:
            found = outcomes[number]
            if not isinstance(found, Found):
                continue
            drop = self._same(found, kept)
            if drop is None:
                kept[number] = found
            else:
                made[number] = drop
        return made

    def _same(self, found: Found, kept: Mapping[int, Found]) -> Drop | None:
        if self._same_overlap is None or not found.width:
            return None
        for other, earlier in kept.items():
            share = same_share(found, earlier)
            if share > self._same_overlap:
                said = f"It is the same as object {other}: their masklets overlap by {share:.2f}."
                return Drop("same_object", said)
        return None


def _read_checks(checks: Any) -> tuple[str, ...]:
    given = [checks] if isinstance(checks, str) else checks
    if not isinstance(given, Sequence) or any(one not in _CHECKS for one in given):
        raise ConfigurationError(f"The segmentor has checks={short(checks)}; expected some of {', '.join(_CHECKS)}.")
    return tuple(name for name in _CHECKS if name in given)


def _check_limits(limits: Limits, checks: Sequence[str]) -> None:
    for name, value in vars(limits).items():
        check = "exhaustiveness" if name == "min_exhaustive" else "quality"
        if value is None:
            continue
        if name == "max_jump":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 1:
                raise ConfigurationError(f"The segmentor has max_jump={short(value)}; expected a number from 1 up.")
        else:
            check_share("segmentor", name, value)
        if check not in checks:
            raise ConfigurationError(f"The segmentor has {name}, which needs a check; add {check} to checks.")
