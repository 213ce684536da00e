"""What a segmenter is to do, as it is written on a command line."""

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

_FOLLOWER, _FINDER = "classical", "sam3_video"  # by default, as of `propagate_many` and `find_regions`


@dataclass(frozen=True)
class Job:
    """What a segmenter is to do, with everything that can be checked before it is loaded. Made by [`read_job`].

    Attributes:
        video: which the objects are in.
        out: file of the masklets.
        segmenter: its name.
        loading: what it is loaded with: checkpoint, device and dtype.
        objects: for each object, frame -> prompt; empty if words are to be found.
        phrases: words to find, one after the other.
        start, end: first and last frame to follow objects through.
        frame: in which words are looked for; chosen by the segmenter if it is `None`.
        max_objects: the most objects for each phrase.
        picture: where a picture or a film of the result goes, if anywhere.
        restart: whether what an interrupted run has done is dropped.
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
        """The file beside the result that holds what is done, while it is not finished."""
        return self.out.with_name(f"{self.out.name}.partial")

    @property
    def frames(self) -> int:
        """How many frames objects are followed through."""
        return self.end - self.start + 1

    def identity(self) -> dict[str, Any]:
        """What the result depends on, but for the settings that are known when the segmenter is loaded."""
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
    """Read a job as it is written on a command line; nothing expensive is done before all of it is checked.

    Args:
        video: path of the video.
        given: kind and text of each option that says where an object is, as [`read_objects`] takes them.
        phrases: words to find, in place of objects.
        out: file to write. Where it is there already, and is not that of the run that goes on, it is an error.
        segmenter: its name; "classical" by default, or "sam3_video" for words.
        checkpoint, device, dtype: as of [`load_segmenter`].
        start, end: first and last frame, as numbers or seconds ("1.5s"); those of the video by default.
        frame: in which words are looked for, written the same way.
        max_objects: the most objects for each phrase.
        stream: of a file with several films, the index of its stream.
        picture: file of a picture (such as .png) or of a film (.mp4) of the result. Where it is there already, it is
            an error.
        force: write `out` and `picture` anew where they are there already.
        restart: begin anew, whatever an interrupted run has done.

    Raises:
        ConfigurationError: there is no such segmenter, a file cannot be written, or options do not go together.
        RegionError, VideoError: an object cannot be read, or does not fit the video.
        SegmentError: the segmenter lacks the ability.
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
    goes_on = job.ledger.exists()  # a run that was stopped while it drew has written `out`
    for option, path, ours in (("--out", out, goes_on), ("--save", picture, False)):
        if path is not None and path.exists() and not force and not ours:
            raise ConfigurationError(
                f"{os.fspath(path)!r} is there already; give --force to write it anew, or another {option}."
            )
    return job


# --- what can be wrong with a job ------------------------------------------------------------------------------------


def _check_choice(
    given: Sequence[Any], phrases: Sequence[str], of_points: Mapping[str, Any], of_words: Mapping[str, Any]
) -> None:
    """Make sure that options go together: objects that are pointed at, or words."""
    if not given and not phrases:
        raise ConfigurationError(
            f"Nothing says what to follow. Give each object with --{', --'.join(REGION_KINDS)}, or words with --text."
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
    """Make sure that the files can be written, and are not those that are read."""
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
