"""Reads jobs for segmenters from a command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin import __version__
from videorefer_plugin._places import check_file_place
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.apart import check_apart
from videorefer_plugin.inputs.matching import named
from videorefer_plugin.regions.text import REGION_KINDS
from videorefer_plugin.segment.base import check_words, frame_range
from videorefer_plugin.segment.prompts import Prompt
from videorefer_plugin.segment.registry import entry_of, refuse
from videorefer_plugin.segment.written import read_frame, read_objects
from videorefer_plugin.video import Video, open_video

__all__ = ["Job", "read_job"]

_FOLLOWER, _FINDER = "classical", "sam3_video"  # the defaults of `propagate_many` and `find_regions`


@dataclass(frozen=True)
class Job:
    """A job for a segmenter, checked as far as possible before the segmenter is loaded. Made by [`read_job`].

    Attributes:
        video: the video with the objects.
        out: path of the masklet file.
        segmenter: name of the segmenter.
        loading: arguments for loading it: checkpoint, device and dtype.
        objects: for each object a `dict` of frame -> prompt; empty if words are to be found.
        phrases: phrases to find, one after the other.
        start, end: first and last frame to follow objects through.
        frame: the frame to search for words; if it is `None`, the segmenter chooses it.
        max_objects: largest number of objects for each phrase.
        picture: path of a picture or film of the result, if one is wanted.
        restart: whether the results of an interrupted run are dropped.
    """

    video: Video
    out: Path
    segmenter: str
    loading: dict[str, str | None]
    objects: list[dict[int, Prompt]]
    phrases: list[str]
    start: int
    end: int
    frame: int | None = None
    max_objects: int | None = None
    picture: Path | None = None
    restart: bool = False

    @property
    def ledger(self) -> Path:
        """The file beside the output that holds the results of an unfinished run."""
        return self.out.with_name(f"{self.out.name}.partial")

    @property
    def frames(self) -> int:
        """The number of frames to follow objects through."""
        return self.end - self.start + 1

    def identity(self) -> dict[str, Any]:
        """Return everything that the result depends on, except for settings of the loaded segmenter."""
        prompts = [{str(frame): prompt.to_json() for frame, prompt in own.items()} for own in self.objects]
        words = {"phrases": self.phrases, "frame": self.frame, "max_objects": self.max_objects}
        return {
            "version": __version__,
            "video": self.video.digest(),
            "segmenter": self.segmenter,
            "checkpoint": self.loading["checkpoint"],
            "dtype": self.loading["dtype"],
            "start": self.start,
            "end": self.end,
            **{f"object {number}": own for number, own in enumerate(prompts, 1)},
            **(words if self.phrases else {}),
        }


def read_job(
    video: str | os.PathLike,
    given: Sequence[tuple[str, str]],
    phrases: Sequence[str] = (),
    *,
    out: str | os.PathLike,
    segmenter: str | None = None,
    checkpoint: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    start: str | None = None,
    end: str | None = None,
    frame: str | None = None,
    max_objects: int | None = None,
    stream: int | None = None,
    picture: str | os.PathLike | None = None,
    force: bool = False,
    restart: bool = False,
) -> Job:
    """Read a job from the options of a command line, and check all of it before any expensive work.

    Args:
        video: path of the video.
        given: kind and text of each option that points at an object, as [`read_objects`] takes them.
        phrases: words to find, instead of objects.
        out: path of the file to write. It is an error if the file exists, unless an interrupted run is continued.
        segmenter: name of the segmenter; "classical" by default, or "sam3_video" for words.
        checkpoint, device, dtype: see [`load_segmenter`].
        start, end: first and last frame, as numbers or seconds ("1.5s"); by default those of the video.
        frame: the frame to search for words, in the same form.
        max_objects: largest number of objects for each phrase.
        stream: index of the video stream, for files with several.
        picture: path of a picture (such as .png) or film (.mp4) of the result to write. It is an error if the file
            exists.
        force: overwrite `out` and `picture` if they exist.
        restart: drop the results of an interrupted run, and start again.

    Raises:
        ConfigurationError: there is no such segmenter, a file cannot be written, or options exclude each other.
        RegionError, VideoError: an object is malformed, or does not fit the video.
        SegmentError: the segmenter lacks the needed ability.
    """
    _check_choice(given, phrases, {"--start": start, "--end": end}, {"--frame": frame, "--max-objects": max_objects})
    name = segmenter if segmenter is not None else _FINDER if phrases else _FOLLOWER
    ability = "find" if phrases else "propagate"
    if ability not in entry_of(name).abilities:
        raise refuse(name, ability)
    out, picture = Path(out), None if picture is None else Path(picture)
    _check_files(video, given, out, picture)
    opened = open_video(os.fspath(video), stream=stream)
    chosen = {"--start": start, "--end": end, "--frame": frame}
    at = {name: None if text is None else read_frame(text, opened, name) for name, text in chosen.items()}
    first, last = frame_range(opened, at["--start"], at["--end"])
    job = Job(
        video=opened,
        out=out,
        segmenter=name,
        loading={"checkpoint": checkpoint, "device": device, "dtype": dtype},
        objects=read_objects(given, opened, first, last),
        phrases=[check_words(phrase, max_objects) for phrase in phrases],
        start=first,
        end=last,
        frame=at["--frame"],
        max_objects=max_objects,
        picture=picture,
        restart=restart,
    )
    goes_on = job.ledger.exists()  # a run that was stopped while drawing has already written `out`
    for option, path, ours in (("--out", out, goes_on), ("--save", picture, False)):
        if path is not None and path.exists() and not force and not ours:
            raise ConfigurationError(
                f"{os.fspath(path)!r} is there already; give --force to overwrite it, or another {option}."
            )
    return job


# --- checks of a job -------------------------------------------------------------------------------------------------


def _check_choice(
    given: Sequence[Any], phrases: Sequence[str], of_points: Mapping[str, Any], of_words: Mapping[str, Any]
) -> None:
    """Check that options fit together: either objects that are pointed at, or words."""
    if not given and not phrases:
        raise ConfigurationError(
            f"There is nothing to follow. Give each object with --{', --'.join(REGION_KINDS)}, or words with --text."
        )
    if given and phrases:
        raise ConfigurationError(
            f"--{given[0][0]} and --text do not go together: point at objects, or find them by words, in two runs."
        )
    useless = [name for name, value in (of_points if phrases else of_words).items() if value is not None]
    if useless:
        where = "objects that are pointed at, not with --text" if phrases else "--text"
        raise ConfigurationError(f"{useless[0]} goes with {where}; leave it out.")


def _check_files(video: str | os.PathLike, given: Sequence[tuple[str, str]], out: Path, picture: Path | None) -> None:
    """Check that the output files can be written, and are not input files."""
    for option, path in (("--out", out), ("--save", picture)):
        if path is None:
            continue
        with named(option):
            check_file_place(path, ConfigurationError)
        check_apart(option, path, video, given)
    if picture is not None and picture.resolve() == out.resolve():
        raise ConfigurationError(f"--out and --save are both {os.fspath(out)!r}; give two files.")
    if picture is not None:
        from videorefer_plugin.pictures import check_overlay

        check_overlay(picture)
