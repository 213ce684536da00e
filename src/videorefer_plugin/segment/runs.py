"""Runs a segmenter for the command line, and continues interrupted runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from videorefer_plugin._files import Ledger, LedgerError
from videorefer_plugin._text import short
from videorefer_plugin.errors import RegionError, SegmentError
from videorefer_plugin.regions import ABSENT, Rle
from videorefer_plugin.segment.base import Segmenter
from videorefer_plugin.segment.collecting import Collected, collect, masklets_of
from videorefer_plugin.segment.events import Note, Tracked
from videorefer_plugin.segment.jobs import Job
from videorefer_plugin.segment.masklet import Masklet, save_masklets
from videorefer_plugin.segment.registry import load_segmenter

__all__ = ["Interrupted", "run_job"]

Progress = Callable[[str, int, int], Any]
"""Called with the name of a step, the amount that is done, and the total amount."""

_REMEDIES = {
    "busy": "Wait for it, or give another --out.",
    "place": "Make room and repeat the same command, or give another --out.",
    "content": "Give --restart to start again, or another --out.",
}


class Interrupted(KeyboardInterrupt):
    """The user stopped a run. The message tells what the same job does next.

    Attributes:
        done (`int`): number of frames that are done.
    """

    def __init__(self, job: Job, done: int) -> None:
        if job.phrases:
            said = "The same command starts again."
        elif not done:
            said = "Nothing is done yet; the same command starts again."
        else:
            said = f"{done} of {job.frames} frames are done; the same command goes on from here."
        super().__init__(said)
        self.done = done


def run_job(job: Job, progress: Progress | None = None) -> list[Masklet]:
    """Run a job, and write its files. Until it is finished, its results are in a file beside the output.

    Args:
        job: the job.
        progress: called after each frame.

    Raises:
        Interrupted: the user stopped the job; running it again continues from there.
        SegmentError: another process runs the job, the output has unfinished results of another job, or the segmenter
            found nothing.
        ConfigurationError, CheckpointError: the segmenter cannot be loaded.
        VideoError: a frame cannot be read.
    """
    tell = progress or (lambda *_: None)
    tell("reading the video", 0, 0)
    with _writing(job), Ledger(job.ledger, job.identity(), restart=job.restart) as ledger:
        run = _Run(job, ledger, tell)
        try:
            tell(f"loading {job.segmenter}", 0, 0)
            segmenter = load_segmenter(job.segmenter, **job.loading)
            run.take_up(segmenter)
            masklets = run.find(segmenter) if job.phrases else run.follow(segmenter)
            save_masklets(job.out, masklets)
            if job.picture is not None:
                _draw(job, job.picture, masklets, tell)
        except KeyboardInterrupt:
            raise Interrupted(job, len(run.done)) from None
        ledger.remove()
    return masklets


@contextmanager
def _writing(job: Job) -> Iterator[None]:
    """Add a remedy to errors of the ledger."""
    try:
        yield
    except LedgerError as error:
        raise SegmentError(f"{error} {_REMEDIES[error.reason]}") from error


@dataclass
class _Run:
    """A running job: the results of its objects in memory, and the ledger with the same results.

    A line of the ledger has all events of one frame, so that frames are complete or missing.
    """

    job: Job
    ledger: Ledger
    tell: Progress
    known: list[Collected] = field(init=False)
    begun: bool = field(init=False)
    done: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.known = [Collected() for _ in self.job.objects]
        self.begun = bool(self.ledger.rows)

    def take_up(self, segmenter: Segmenter) -> None:
        """Read the results in the ledger, if a segmenter with the same settings wrote them."""
        if not self.ledger.rows:
            return
        settings, *lines = self.ledger.rows
        now = {"settings": json.loads(json.dumps(segmenter.settings))}
        if settings != now:
            raise LedgerError(
                f"{self.ledger.path} has results of {self.job.segmenter} with other settings: "
                f"{short(settings)} before, and {short(now)} now."
            )
        try:
            for event in (event for line in lines for event in line):
                self._learn(event)
        except (KeyError, TypeError, IndexError, RegionError) as error:
            raise LedgerError(f"{self.ledger.path} is damaged ({type(error).__name__}: {error}).") from error
        self.ledger.rows.clear()

    def _learn(self, event: dict[str, Any]) -> None:
        if "note" in event:
            own = range(len(self.known)) if event["object"] is None else [event["object"]]
            for number in own:
                self.known[number].add(Note(number=number, **event["note"]))
            return
        frame, one = event["frame"], self.known[event["object"]]
        one.shapes[frame] = ABSENT if event["rle"] is None else Rle.from_mapping(event["rle"])
        one.scores[frame] = event["score"]
        self.done.add(frame)

    def follow(self, segmenter: Segmenter) -> list[Masklet]:
        """Follow the objects, starting from the known results."""
        job, before = self.job, len(self.done)
        gathered = [Collected(dict(one.shapes), dict(one.scores), list(one.notes)) for one in self.known]
        self.tell("following", before, job.frames)
        events = segmenter.track(job.video, job.objects, job.start, job.end, self.known if before else ())
        try:
            collect(
                self._kept(events, segmenter, gathered),
                gathered,
                job.frames - before,
                lambda *_: self.tell("following", len(self.done), job.frames),
            )
        except SegmentError:
            self.ledger.remove()  # the same job would fail in the same way
            raise
        return masklets_of(gathered, job.objects, job.video, backend=segmenter.name, settings=segmenter.settings)

    def _kept(
        self, events: Iterable[Tracked | Note], segmenter: Segmenter, gathered: Sequence[Collected]
    ) -> Iterator[Tracked | Note]:
        """Yield the same events; those of a frame are in the ledger before the next frame begins."""
        for frame, group in groupby(events, lambda event: event.frame):
            line = []
            for event in group:
                yield event
                line.append(_written(event, gathered))  # by now it has been collected
            self._note(segmenter, line)
            if frame is not None and any("rle" in one for one in line):
                self.done.add(frame)

    def find(self, segmenter: Segmenter) -> list[Masklet]:
        """Find the objects of each phrase. A stopped run starts again."""
        job = self.job
        found: list[Masklet] = []
        for phrase in job.phrases:
            self.tell(f"finding {phrase!r}", 0, 0)
            masklets = segmenter.find(
                job.video,
                phrase,
                frame=job.frame,
                max_objects=job.max_objects,
                progress=partial(self.tell, f"finding {phrase!r}"),
            )
            found += cast(list[Masklet], masklets)
        self._note(segmenter, [])
        return found

    def _note(self, segmenter: Segmenter, line: list[dict[str, Any]]) -> None:
        if not self.begun:
            self.ledger.append({"settings": segmenter.settings})
            self.begun = True
        self.ledger.append(line)


def _written(event: Tracked | Note, gathered: Sequence[Collected]) -> dict[str, Any]:
    if isinstance(event, Note):
        return {"note": event.to_json(), "object": event.number}
    shape = gathered[event.number].shapes[event.frame]
    rle = shape.to_dict() if isinstance(shape, Rle) else None
    return {"frame": event.frame, "object": event.number, "rle": rle, "score": float(event.score)}


def _draw(job: Job, picture: Path, masklets: Sequence[Masklet], tell: Progress) -> None:
    from videorefer_plugin.pictures import save_overlay

    frames = range(job.start, job.end + 1)
    tell("drawing", 0, 0)
    save_overlay(
        job.video, masklets, picture, frames=frames, progress=lambda done, total: tell("drawing frames", done, total)
    )
