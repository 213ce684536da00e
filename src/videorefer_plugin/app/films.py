"""Draws the objects of a visitor on the video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videorefer_plugin.app.jobs import Job
from videorefer_plugin.app.things import Thing
from videorefer_plugin.pictures import write_overlay
from videorefer_plugin.regions import Absent
from videorefer_plugin.video import Video

__all__ = ["draw_film"]


class _StoppedError(Exception):
    """The job was stopped."""


def draw_film(video: Video, things: Sequence[Thing], path: Path, job: Job) -> None:
    """Write a video with objects drawn on it, and the segmenter's scores of each below it.

    Args:
        video ([`Video`]): the video.
        things (`Sequence[Thing]`): the objects; those that are visible in no frame are left out.
        path (`Path`): path of the .mp4 file, which is not written if the job is stopped.
        job ([`Job`]): the job, which gets the progress.

    Raises:
        VideoError: a frame cannot be read, or the file cannot be written.
    """
    seen = [thing for thing in things if any(not isinstance(shape, Absent) for shape in thing.shapes().values())]

    def tell(done: int, total: int) -> None:
        if not job.tell(done, total):
            raise _StoppedError

    try:
        write_overlay(
            video,
            [thing.region() for thing in seen],
            path,
            scores=[thing.scores() for thing in seen],
            names=[thing.name for thing in seen],
            numbers=[thing.number for thing in seen],
            progress=tell,
        )
    except _StoppedError:
        return
