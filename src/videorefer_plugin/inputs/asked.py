"""Questions about a file from a command line: read and checked before any model is loaded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from videorefer_plugin.errors import PromptError, VideoError
from videorefer_plugin.inputs.clips import Sampling, open_clip
from videorefer_plugin.inputs.conversations import check_text
from videorefer_plugin.inputs.masks import region_frames
from videorefer_plugin.inputs.matching import Source, named, visual_of
from videorefer_plugin.inputs.questions import hand_out
from videorefer_plugin.regions import Region
from videorefer_plugin.regions.text import REGION_KINDS, read_region
from videorefer_plugin.video import Video, open_video

__all__ = ["Question", "open_stream", "read_question", "read_questions"]


@dataclass(frozen=True)
class Question:
    """A question about a file, after all checks. Made by [`read_questions`].

    Attributes:
        path (`str`): of the video or image.
        video (`Video`): the opened file; an image is a video of one frame.
        text (`str`): the question, with one `<region>` for each region.
        regions (`list[Region]`): the regions, in the order of the question.
        written (`list[str]`): the regions as they were given, each with its kind in front.
        image (`bool`, *optional*, defaults to `False`): whether the file is an image.
        objects (`tuple[int, ...]`, *optional*): indices of the regions among those of all questions.
    """

    path: str
    video: Video
    text: str
    regions: list[Region]
    written: list[str]
    image: bool = False
    objects: tuple[int, ...] = ()


def read_question(
    visual: str | os.PathLike, question: str, regions: Sequence[tuple[str, str]], **settings: Any
) -> Question:
    """Open a file and read the regions of one question; see [`read_questions`]."""
    return read_questions(visual, [question], regions, **settings)[0]


def read_questions(
    visual: str | os.PathLike,
    questions: Sequence[str],
    regions: Sequence[tuple[str, str]],
    *,
    image: bool = False,
    stream: int | None = None,
) -> list[Question]:
    """Open a file and read its regions and questions from a command line, before any model is loaded.

    Questions take their regions in order, each as many as it has `<region>`. If every question with any `<region>` has
    as many as there are regions, all of them use the same regions.

    Args:
        visual (`str` or `os.PathLike`): path of the video or image.
        questions (`Sequence[str]`): the questions, with one `<region>` for each region.
        regions (`Sequence[tuple[str, str]]`): kind and text of each, as [`read_region`] takes them.
        image (`bool`, *optional*, defaults to `False`): whether the file is an image.
        stream (`int`, *optional*): of a file with several films, the index of its stream.

    Raises:
        PromptError: there is no question, questions and regions do not match, or a question cannot be read.
        RegionError: a region cannot be read, or does not fit the video.
        VideoError: the file cannot be read.
    """
    if not questions:
        raise PromptError("There is no question. Give one after the file, or several with --question.")
    for number, question in enumerate(questions, 1):
        check_text(question, "The question" if len(questions) == 1 else f"Question {number}")
    given = [read_region(kind, text) for kind, text in regions]
    objects = hand_out(questions, len(given), [f"--{kind}" for kind in REGION_KINDS])
    path = os.fspath(visual)
    source = path if stream is None else open_stream(None if image else path, stream)
    clip = open_clip(Source("image" if image else "video", source, 0), 0, Sampling(num_frames=1))
    for (kind, text), region in zip(regions, given, strict=True):
        with named(f"--{kind} {text!r}"):
            visual_of(region, 0, visuals=1)
            region_frames(region, clip, "keep", None)
    written = [f"{kind} {text}" for kind, text in regions]
    return [
        Question(path, clip.video, question, [given[at] for at in own], [written[at] for at in own], image, own)
        for question, own in zip(questions, objects, strict=True)
    ]


def open_stream(video: Any, stream: int) -> Video:
    """Open one of the films of a file that has several.

    Raises:
        VideoError: the visual is an image, or the file has no such stream.
    """
    if video is None:
        raise VideoError(f"stream={stream} was given for an image, but only video files have streams.")
    return open_video(video, stream=stream)
