"""The interface of all segmenters."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import short
from videorefer_plugin.errors import SegmentError, VideoError
from videorefer_plugin.inputs.matching import check_at_least_one, named
from videorefer_plugin.regions import Region
from videorefer_plugin.regions.places import VISUAL_KEY
from videorefer_plugin.segment.collecting import Collected, Progress, collect, masklets_of
from videorefer_plugin.segment.events import Candidate, FrameMask, Note, Tracked
from videorefer_plugin.segment.masklet import Masklet
from videorefer_plugin.segment.prompts import Prompt, read_prompts
from videorefer_plugin.segment.registry import refuse
from videorefer_plugin.segment.words import check_phrase
from videorefer_plugin.video import Video, load_image, open_video
from videorefer_plugin.video.images import as_array, is_pil

__all__ = ["Segmenter", "abilities_of", "check_frame", "check_words", "frame_range", "is_frame"]


class Segmenter(abc.ABC):
    """Cuts objects out of frames, and follows them through videos.

    A backend overrides the methods with a leading underscore for its abilities, and is registered with
    [`register_segmenter`]. Arguments of these methods are already checked.

    Attributes:
        name (`str`): the name under which it is registered.
        settings (`dict`): everything that its results depend on, such as the checkpoint, fit for JSON.
        defaults (`dict`): default values of those settings of `load` that name a checkpoint or another segmenter.
    """

    name: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Return everything that its results depend on, fit for JSON."""
        return {}

    @classmethod
    @abc.abstractmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> Segmenter:
        """Load the segmenter, as [`load_segmenter`] does."""

    # --- called by users ------------------------------------------------------------------------------------------

    def segment(self, frame: Any, prompts: Sequence[Prompt]) -> list[FrameMask]:
        """Cut objects out of one frame.

        Args:
            frame: uint8 (height, width, 3), RGB, or an image in any form that `load_image` takes.
            prompts: one prompt for each object.

        Returns:
            One mask for each prompt, with its score.

        Raises:
            SegmentError: the segmenter lacks this ability, or a prompt does not show where its object is.
            RegionError: a prompt does not fit the frame.
        """
        given = check_several(prompts, "segment", Prompt)
        pixels = load_image(frame)
        fitted = []
        for number, prompt in enumerate(given, 1):
            if not isinstance(prompt, Prompt):
                raise SegmentError(f"Prompt {number} is {short(prompt)}; expected a Prompt, such as Prompt(box=...).")
            with named(f"Prompt {number}") if len(given) > 1 else nullcontext():
                fitted.append(prompt.fitted(*pixels.shape[:2]))
            if not prompt.tells_where:
                raise SegmentError(
                    f"Prompt {number} does not say where the object is: give a point on it, a box or a mask."
                )
        found = self._segment(pixels, fitted) if fitted else []
        if len(found) != len(fitted):
            raise SegmentError(
                f"{self.name} returned {len(found)} mask(s) for {len(fitted)} prompt(s); expected one for each."
            )
        for one in found:
            self._check_mask(one.mask, pixels.shape[:2])
        return found

    def propagate(
        self,
        video: Any,
        prompts: Sequence[Region | Mapping[Any, Any]],
        start: int | None = None,
        end: int | None = None,
        progress: Progress | None = None,
    ) -> list[Masklet]:
        """Follow objects through a video in both directions, starting from the frames of their prompts.

        Args:
            video: the video, in any form that `open_video` takes.
            prompts: one for each object: a region, its JSON form, or a `dict` of frame -> [`Prompt`]. Prompts in later
                frames correct the result.
            start, end: first and last frame of the result; by default those of the video.
            progress: called after each frame; it stops the work by returning `False`.

        Returns:
            One masklet for each object.

        Raises:
            RegionError, VideoError: a prompt does not fit the video.
            SegmentError: the segmenter cannot follow objects, finds no object at a prompt, or was stopped before it
                reached an object. The attribute `masklets` of the error has the other objects.
        """
        prompts = check_several(prompts, "propagate", Region, Mapping)
        if progress is not None and not callable(progress):
            raise SegmentError(f"progress is {short(progress)}; expected a function of frames done and all frames.")
        video = open_video(video)
        first, last = frame_range(video, start, end)
        objects = read_several(prompts, video, first, last)
        gathered = [Collected() for _ in objects]
        if not objects:
            return []
        collect(self.track(video, objects, first, last), gathered, last - first + 1, progress)
        masklets = masklets_of(gathered, objects, video, backend=self.name, settings=self.settings)
        return [_on_visual(masklet, given) for masklet, given in zip(masklets, prompts, strict=True)]

    def track(
        self,
        video: Video,
        prompts: Sequence[Mapping[int, Prompt]],
        start: int,
        end: int,
        known: Sequence[Collected] = (),
    ) -> Iterator[Tracked | Note]:
        """Follow objects, and yield the result for each frame as soon as it is done.

        Memory does not grow with the length of the video. Closing the iterator stops the work.

        Args:
            video: the video.
            prompts: for each object a `dict` of frame -> prompt, as [`read_prompts`] makes it.
            start, end: first and last frame.
            known: for each object, the results of an interrupted run; those frames are not yielded again.

        Raises:
            SegmentError: the segmenter cannot follow objects, finds no object at a prompt, or yields a mask that
                does not fit the frame.
        """
        told = self._track(video, list(prompts), start, end, list(known) or [Collected() for _ in prompts])
        return self._checked(told, video, len(prompts))

    def _checked(self, told: Any, video: Video, objects: int) -> Iterator[Tracked | Note]:
        with closing(told) if hasattr(told, "close") else nullcontext():  # a generator, or any other iterator
            for event in told:
                if isinstance(event, Tracked):
                    if not 0 <= event.number < objects:
                        raise SegmentError(
                            f"{self.name} yielded a result for object {event.number}, but was given {objects} "
                            "object(s), numbered from 0."
                        )
                    if event.mask is not None:
                        self._check_mask(event.mask, (video.height, video.width))
                yield event

    def _check_mask(self, mask: Any, size: tuple[int, ...]) -> None:
        if isinstance(mask, np.ndarray) and mask.shape == size and mask.dtype == bool:
            return
        given = short(mask)
        if isinstance(mask, np.ndarray):
            given = f"an array of shape {mask.shape} and dtype {mask.dtype}"
        raise SegmentError(
            f"{self.name} made a mask that is {given}; expected a bool array of shape {tuple(size)}, the size of the "
            "frame."
        )

    def find(
        self,
        seen: Any,
        phrase: str,
        *,
        frame: int | None = None,
        max_objects: int | None = None,
        progress: Progress | None = None,
    ) -> list[Candidate] | list[Masklet]:
        """Find the objects that words mean: candidates in one frame, or masklets in a video, the surest first.

        Args:
            seen: one frame, uint8 (height, width, 3), RGB, or a PIL image; or a video, in any form that `open_video`
                takes.
            phrase: the words, such as "the man in red".
            frame: for a video, the frame to search; the segmenter chooses it by default.
            max_objects: largest number of objects to return; all by default.
            progress: for a video, called after each frame with the numbers of frames done and of all frames; it stops
                the work by returning `False`.

        Raises:
            SegmentError: the segmenter cannot find words, the phrase is not usable, or nothing is found.
            VideoError: the video cannot be read, or has no such frame.
            ConfigurationError: `max_objects` is not a number of objects.
        """
        words = check_words(phrase, max_objects)
        if not is_frame(seen):
            video = open_video(seen)
            return self._find_in_video(video, words, check_frame(video, frame), max_objects, progress)
        pixels = load_image(seen)
        if frame not in (None, 0):
            raise VideoError(f"Frame {short(frame)} was asked for, but a single frame was given; leave frame out.")
        return self._find(np.require(pixels, requirements="W"), words, max_objects)  # PIL's pixels are read-only

    # --- overridden by backends -----------------------------------------------------------------------------------

    def _segment(self, frame: NDArray[np.uint8], prompts: list[Prompt]) -> list[FrameMask]:
        raise refuse(self.name, "segment")

    def _track(
        self,
        video: Video,
        prompts: list[Mapping[int, Prompt]],
        start: int,
        end: int,
        known: list[Collected],
    ) -> Iterator[Tracked | Note]:
        raise refuse(self.name, "propagate")

    def _find(self, frame: NDArray[np.uint8], phrase: str, max_objects: int | None) -> list[Candidate]:
        raise refuse(self.name, "find")

    def _find_in_video(
        self, video: Video, phrase: str, frame: int | None, max_objects: int | None, progress: Progress | None
    ) -> list[Masklet]:
        raise refuse(self.name, "find")


_METHODS = {"segment": ("_segment",), "propagate": ("_track", "track", "propagate"), "find": ("_find", "find")}


def abilities_of(kind: type[Segmenter]) -> tuple[str, ...]:
    """Return the abilities of a segmenter, also of an unregistered one, by the methods that it overrides."""
    return tuple(
        ability
        for ability, methods in _METHODS.items()
        if any(getattr(kind, method) is not getattr(Segmenter, method) for method in methods)
    )


def _on_visual(masklet: Masklet, given: Region | Mapping[Any, Any]) -> Masklet:
    """Return the masklet with the visual of its prompt, if its region names one."""
    visual = given.visual if isinstance(given, Region) else given.get(VISUAL_KEY)
    return masklet if visual is None else replace(masklet, region=masklet.region.on_visual(visual))


def check_words(phrase: Any, max_objects: Any) -> str:
    """Return the checked words to find, and check how many objects they may mean; see [`check_phrase`].

    Raises:
        SegmentError: the phrase is not usable.
        ConfigurationError: `max_objects` is not a number of objects.
    """
    words = check_phrase(phrase)
    if max_objects is not None:
        check_at_least_one(max_objects, "max_objects")
    return words


def check_frame(video: Video, frame: Any) -> int | None:
    """Return the checked index of a frame of a video, or `None`.

    Raises:
        VideoError: the video has no such frame.
    """
    return None if frame is None else video._check_indices([frame])[0]


def is_frame(seen: Any) -> bool:
    """Tell whether a value is a single picture in memory rather than a video."""
    if is_pil(seen):
        return True
    array = None if isinstance(seen, (str, bytes, list, tuple)) else as_array(seen)
    return array is not None and array.ndim == 3


def read_several(
    given: Sequence[Region | Mapping[Any, Any]], video: Video, start: int, end: int
) -> list[dict[int, Prompt]]:
    """Call [`read_prompts`] for several objects. Errors name the object."""
    objects = []
    for number, one in enumerate(given, 1):
        with named(f"Object {number}") if len(given) > 1 else nullcontext():
            objects.append(read_prompts(one, video, start, end))
    return objects


def check_several(given: Any, method: str, *kinds: type) -> list[Any]:
    """Return a list of regions or prompts, one for each object.

    Raises:
        SegmentError: the value is a single one, or cannot be iterated over.
    """
    if isinstance(given, (*kinds, str, bytes)) or not isinstance(given, Iterable):
        raise SegmentError(
            f"{method} takes a list with one region or prompt for each object, got {short(given)}: "
            "use [region] for a single one."
        )
    return list(given)


def frame_range(video: Video, start: int | None, end: int | None) -> tuple[int, int]:
    """Return the first and the last frame; by default those of the video.

    Raises:
        VideoError: the video has no such frame, or the last one comes before the first.
    """
    given = [frame for frame in (start, end) if frame is not None]
    video._check_indices(given)
    first = 0 if start is None else int(start)
    last = video.num_frames - 1 if end is None else int(end)
    if first > last:
        raise VideoError(
            f"Frames {first} to {last} were asked for, but there are none; give a start that is not after end."
        )
    return first, last
