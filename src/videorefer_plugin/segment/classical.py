"""Following objects without weights: regions of color, and optical flow of OpenCV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import ConfigurationError, SegmentError
from videorefer_plugin.segment.base import Segmenter
from videorefer_plugin.segment.classical_check import BESIDE, settled, witnessed
from videorefer_plugin.segment.classical_cut import corrected, cut_out, leave_out
from videorefer_plugin.segment.classical_follow import Follower, Sight
from videorefer_plugin.segment.classical_motion import Motion, Mover
from videorefer_plugin.segment.classical_pixels import Look, Mask, look_at
from videorefer_plugin.segment.classical_scale import Scale
from videorefer_plugin.segment.collecting import Collected
from videorefer_plugin.segment.cuts import CutFinder
from videorefer_plugin.segment.events import FrameMask, Note, Tracked
from videorefer_plugin.segment.frames import walk
from videorefer_plugin.segment.prompts import Prompt
from videorefer_plugin.video import Video

__all__ = ["Classical"]

_SIDE = 480
_SIDES = 32, 1920  # time and memory grow with the square of it


class Classical(Segmenter):
    """Cuts an object out of a frame by its colors, and follows it by them and by optical flow.

    It runs on the CPU, without weights. It distinguishes objects from their surroundings by their colors, their hue in
    light and shadow, and their expected position. Objects that look like their surroundings get low scores.

    Args:
        side (`int`): longest side, in pixels, to which frames are scaled down for the work; from 32 to 1920, by
            default 480. Masks have the size of the original frames.
    """

    name = "classical"

    def __init__(self, side: int = _SIDE):
        if not isinstance(side, int) or isinstance(side, bool) or not _SIDES[0] <= side <= _SIDES[1]:
            raise ConfigurationError(
                f"The segmenter classical has side={short(side)}; expected a whole number of pixels from "
                f"{_SIDES[0]} to {_SIDES[1]}."
            )
        self.side = side

    @property
    def settings(self) -> dict[str, Any]:
        """See [`Segmenter.settings`]."""
        return {"side": self.side}

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> Classical:
        """See [`Segmenter.load`]. The only setting is `side`; there are no weights, and the only device is the CPU."""
        if device is not None and str(device) not in ("cpu", "cpu:0"):  # also of `torch.device`
            raise ConfigurationError(
                f"The segmenter classical runs on the CPU, but the device is {short(device)}; leave the device out, "
                "or choose a segmenter with weights, such as sam2_video."
            )
        if dtype is not None:
            raise ConfigurationError(
                f"The segmenter classical has no weights, but their dtype is {short(dtype)}; leave the dtype out, or "
                "choose a segmenter with weights, such as sam2_video."
            )
        unknown = sorted(set(settings) - {"side"})
        if unknown:
            raise ConfigurationError(f"The segmenter classical has no setting {listed(unknown)}; it takes side.")
        return cls(**settings)

    def _segment(self, frame: NDArray[np.uint8], prompts: list[Prompt]) -> list[FrameMask]:
        scale = Scale(frame.shape[0], frame.shape[1], self.side)
        look = look_at(scale.smaller(frame))
        return [self._cut(scale, look, prompt) for prompt in prompts]

    def _cut(self, scale: Scale, look: Look, prompt: Prompt) -> FrameMask:
        small = scale.prompt(prompt)
        mask, score = settled(look, small, *cut_out(look, small))
        return FrameMask(scale.enlarged(mask), score)

    def _track(
        self, video: Video, prompts: list[Mapping[int, Prompt]], start: int, end: int, known: list[Collected]
    ) -> Iterator[Tracked | Note]:
        objects = [_Object(self, video, *each) for each in zip(range(len(prompts)), prompts, known, strict=True)]
        first = min(one.first for one in objects)
        yield from self._walk(video, objects, first, end)
        tops = [one.turn(start) for one in objects]
        top = max((frame for frame in tops if frame is not None), default=start)
        if top > start:
            yield from self._walk(video, objects, top, start)

    def _walk(self, video: Video, objects: list[_Object], first: int, last: int) -> Iterator[Tracked | Note]:
        """Follow all objects in one direction."""
        mover, scale = Mover(), Scale(video.height, video.width, self.side)
        backward = first > last
        begun = min(one.first for one in objects)
        for index, pixels, is_cut in walk(video, first, last):
            look = look_at(scale.smaller(pixels))
            motion = mover.to(look.rgb)
            if is_cut and (not backward or index < begun):
                behind = index + 1 if backward else index
                yield Note("cut", f"The shot changes with frame {behind}.", behind)
            for one in objects:
                yield from one.step(index, look, None if is_cut else motion, is_cut, backward)
        for one in objects:
            yield from one.missed(backward)


class _Object:
    """One of the followed objects, with its prompts."""

    def __init__(
        self, segmenter: Classical, video: Video, number: int, prompts: Mapping[int, Prompt], known: Collected
    ):
        self.number, self.video, self.prompts, self.known = number, video, prompts, known
        self.scale = Scale(video.height, video.width, segmenter.side)
        self.places = [frame for frame, prompt in prompts.items() if prompt.tells_where]
        self.first = self.places[0]
        self.follower: Follower | None = None
        self.gaps: list[tuple[int, int]] = []  # from a loss to the prompt that resumed it
        self.tops: set[int] = set()
        self.lost_at: int | None = None
        self.last_seen = 0
        self.cut_off: tuple[int, int] | None = None  # last frame in which it was seen, and the first one after a cut

    def turn(self, start: int) -> int | None:
        """Prepare the way backward, and return the frame to begin at, or `None` if there is nothing to do."""
        self.follower, self.lost_at, self.cut_off = None, None, None
        if self.first > start:
            self.gaps.append((start, self.first))
        self.tops = {top for _, top in self.gaps}
        return max(self.tops, default=None)

    def step(
        self, frame: int, look: Look, motion: Motion | None, is_cut: bool, backward: bool
    ) -> Iterator[Tracked | Note]:
        """Find the object in the next frame."""
        if backward and not any(low <= frame <= top for low, top in self.gaps):
            yield from self.missed(backward)
            self.follower = None
            return
        prompt = self.prompts.get(frame)
        given = prompt is not None and prompt.tells_where
        told, mask = self._told(frame)
        if self.follower is None and not given:
            return
        if not given and not told and self._was_lost(frame, backward):
            self.follower, self.lost_at = None, frame
            return
        sight = Sight(None, 0.0)
        if prompt is not None or not told:  # the score of a prompt counts for the frames after it
            sight = self._see(frame, look, motion, is_cut, prompt)
        if sight.lost is not None:
            self.follower, self.lost_at = None, frame
            yield Note("lost", f"It was lost at frame {frame}: {sight.lost}.", frame, self.number, backward)
            return
        if not told:
            mask = None if sight.mask is None else self.scale.enlarged(sight.mask)
        begins_anew = prompt is not None and not prompt.absent
        self._go_on(frame, look, motion, is_cut, mask, sight.score if begins_anew else None)
        self._remember(frame, mask, is_cut, prompt)
        if not (told or (backward and frame in self.tops)):
            yield Tracked(self.number, frame, mask, sight.score)

    def _remember(self, frame: int, mask: Mask | None, is_cut: bool, prompt: Prompt | None) -> None:
        """Remember where the object was seen last before a cut."""
        if mask is not None:
            self.last_seen, self.cut_off = frame, None
        elif prompt is not None:
            self.cut_off = None
        elif is_cut and abs(frame - self.last_seen) == 1:
            self.cut_off = self.last_seen, frame

    def missed(self, backward: bool) -> Iterator[Note]:
        """Yield a note at the end of a direction, if the object was not found again after a cut."""
        if self.cut_off is None:
            return
        (seen, first), self.cut_off = self.cut_off, None
        where = f"after the cut at frame {seen}" if backward else f"before the cut at frame {first}"
        text = f"It was last seen in frame {seen}, {where}, and not found again."
        yield Note("lost", text, first, self.number, backward)

    def _go_on(
        self, frame: int, look: Look, motion: Motion | None, is_cut: bool, mask: Mask | None, given: float | None
    ) -> None:
        """Continue from the mask that was found, or is known."""
        small = None if mask is None else self.scale.smaller_mask(mask)
        if given is None or small is None:
            if self.follower is not None:
                self.follower.take(look, motion, small, is_cut)
            return
        self.follower = Follower(look, small, given)
        if self.lost_at is not None and self.lost_at < frame:
            self.gaps.append((self.lost_at, frame))
        self.lost_at = None

    def _told(self, frame: int) -> tuple[bool, Mask | None]:
        """Return whether an interrupted run has a result for this frame, and its mask."""
        shape = self.known.shapes.get(frame)
        if shape is None:
            return False, None
        mask = shape.silhouette(self.scale.height, self.scale.width).mask()
        return True, mask if mask.any() else None

    def _was_lost(self, frame: int, backward: bool) -> bool:
        return any(
            note.kind == "lost" and note.frame == frame and bool(note.reverse) == backward for note in self.known.notes
        )

    def _see(self, frame: int, look: Look, motion: Motion | None, is_cut: bool, prompt: Prompt | None) -> Sight:
        if prompt is None:
            assert self.follower is not None
            return self.follower.look(look, motion, is_cut)
        if prompt.absent and not prompt.tells_where:
            return Sight(None, 0.0)
        small = self.scale.prompt(prompt)
        if not prompt.tells_where:
            assert self.follower is not None
            sight = self.follower.look(look, motion, is_cut)
            if sight.mask is None:
                return sight
            mask = leave_out(look, sight.mask, small)
            return Sight(mask if mask.any() else None, sight.score)
        if small.mask is not None and not len(small.points) and small.box is None:
            return Sight(small.mask, 1.0)  # a mask is taken as it is
        if small.box is None and small.mask is None and self.follower is not None:
            sight = self.follower.look(look, motion, is_cut)
            better = None if sight.mask is None else corrected(look, sight.mask, small)
            if better is not None:  # else the points mean something else, which is the object from now on
                return Sight(better[0], min(sight.score, better[1]))
        mask, score = settled(look, small, *cut_out(look, small))
        if not mask.any():
            raise SegmentError(
                f"Nothing can be cut out where object {self.number + 1} is pointed at in frame {frame}: nothing there "
                "stands out from its surroundings. Point at another part of it, draw a box around it, or give a mask."
            )
        return Sight(mask, score * witnessed(look, small, mask, self._beside(frame)))

    def _beside(self, frame: int) -> list[Look]:
        """Return neighboring frames of the same shot."""
        near = [frame + step for step in BESIDE if 0 <= frame + step < self.video.num_frames]
        here, *others = self.video.read([frame, *near])
        return [look_at(self.scale.smaller(each)) for each in others if not _is_cut(here, each)]


def _is_cut(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    finder = CutFinder()
    finder.is_cut(one)
    return finder.is_cut(other)
