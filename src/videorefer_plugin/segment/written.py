"""Reads prompts from the options of a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from videorefer_plugin.errors import RegionError, VideoError
from videorefer_plugin.inputs.matching import named, visual_of
from videorefer_plugin.regions import Points, Shape
from videorefer_plugin.regions.text import REGION_KINDS, read_region
from videorefer_plugin.segment.prompts import Prompt, read_prompts
from videorefer_plugin.video import Video

__all__ = ["NEGATIVE", "read_frame", "read_objects"]

NEGATIVE = "negative"
"""The option for points that are not on the object of the option before it."""

_FRAME = re.compile(r"(?P<frame>[0-9]{1,18})|(?P<time>[0-9]+(?:\.[0-9]+)?)s")


def read_objects(given: Sequence[tuple[str, str]], video: Video, start: int, end: int) -> list[dict[int, Prompt]]:
    """Return the prompts of each object by frame, checked against the video.

    Args:
        given: kind and text of each option, in the order of the command line. Each option is one object, except for
            those of the kind [`NEGATIVE`], whose points belong to the object before them. In a frame with a prompt of
            that object, they are added to its points or box; in another frame, they correct the result up to there.
        video: the video with the objects.
        start, end: first and last frame to follow the objects through.

    Raises:
        RegionError: an option is malformed or does not fit the video, or negative points come before any object.
        VideoError: there is no such frame, or it is not between start and end.
    """
    objects: list[tuple[str, dict[int, Prompt]]] = []
    for kind, text in given:
        option = f"--{kind} {text!r}"
        if kind != NEGATIVE:
            objects.append((option, _prompts(kind, text, video, start, end)))
        elif objects:
            with named(option):
                _add_negatives(objects[-1][1], _negatives(text, video))
        else:
            raise RegionError(
                f"{option} comes before any object: give {_options()} first, and after it the points that are not "
                "on that object"
            )
    checked = []
    for option, prompts in objects:
        with named(option):
            checked.append(read_prompts(prompts, video, start, end))
    return checked


def read_frame(text: str, video: Video, option: str) -> int:
    """Return the frame of a text that is its number, or its time in seconds ("1.5s").

    Raises:
        VideoError: the text is neither, or the video has no such frame.
    """
    match = _FRAME.fullmatch(text.strip())
    if not match:
        raise VideoError(f"{option} {text!r} is not a frame: expected a number, such as 12, or seconds, such as 1.5s.")
    with named(f"{option} {text!r}"):
        frame = int(match["frame"]) if match["frame"] else video.frame_at(float(match["time"]))
        return video._check_indices([frame])[0]


def _prompts(kind: str, text: str, video: Video, start: int, end: int) -> dict[int, Prompt]:
    region = read_region(kind, text)
    with named(f"--{kind} {text!r}"):
        visual_of(region, 0, visuals=1)
        return read_prompts(region, video, start, end)


def _negatives(text: str, video: Video) -> dict[int, Shape]:
    """Return points that are not on an object, by frame."""
    region = read_region("point", text, option=NEGATIVE).at_frames(video.frame_at)
    frames = video._check_indices(list(region.frames))
    return {frame: region.shape(frame) for frame in frames}


def _add_negatives(prompts: dict[int, Prompt], negatives: dict[int, Shape]) -> None:
    for frame, shape in negatives.items():
        assert isinstance(shape, Points)
        before = prompts.get(frame)
        labels = (0,) * len(shape.points)
        if before is None:
            prompts[frame] = Prompt(points=shape.points, labels=labels)
        elif before.mask is not None:
            raise RegionError(
                f"the object has a mask in frame {frame}, which excludes all other pixels: give negative points "
                "for objects with a point, a box or a scribble there, or in another frame as a correction"
            )
        else:
            points = np.concatenate([before.points, shape.points])
            prompts[frame] = replace(before, points=points, labels=(*before.labels, *labels))


def _options() -> str:
    *first, last = (f"--{kind}" for kind in REGION_KINDS)
    return f"{', '.join(first)} or {last}"
