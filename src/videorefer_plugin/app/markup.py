"""Parts of the page that are written as HTML. All texts of visitors, files and models are escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from videorefer_plugin.app.jobs import Job
from videorefer_plugin.app.things import Thing
from videorefer_plugin.app.workspace import Workspace
from videorefer_plugin.pictures.marks import color_of
from videorefer_plugin.regions import Absent

__all__ = ["about", "progress", "strip", "told"]

_BINS = 240  # largest number of bars of a strip
_HIGH = 16  # pixels, of the strip of one object
_DOING = {"follow": "Following objects", "answer": "Answering", "draw": "Drawing the video"}


def about(lines: Sequence[str]) -> str:
    """Return the list of what the page can do, and its limits."""
    return "<ul class='vr-about'>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def told(message: str, is_fault: bool = False) -> str:
    """Return the message about the last action."""
    if not message:
        return "<div class='vr-told' role='status' aria-live='polite'></div>"
    kind, role = ("vr-fault", "alert") if is_fault else ("vr-note", "status")
    return f"<div class='vr-told {kind}' role='{role}'>{escape(message)}</div>"


def progress(job: Job | None) -> str:
    """Return the progress of the current job."""
    if job is None or job.is_over:
        return ""
    said = _DOING.get(job.kind, "Working")
    if not job.started:
        return f"<div class='vr-progress' role='status'>{said}: waiting for others ...</div>"
    if job.is_stopped:
        said = f"{said}: stopping"
    if not job.total:
        return f"<div class='vr-progress' role='status'>{said} ...</div>"
    return (
        f"<div class='vr-progress'><label>{said}: {job.done} of {job.total} frames"
        f"<progress max='{job.total}' value='{job.done}'></progress></label></div>"
    )


def strip(room: Workspace, frame: int) -> str:
    """Return a bar chart of the segmenter's scores of each object, by frame."""
    if room.video is None or not room.things:
        return ""
    count = room.video.num_frames
    step = -(-count // _BINS)
    bins = -(-count // step)
    rows = "".join(_row(thing, place, step, bins) for place, thing in enumerate(room.things))
    high = len(room.things) * (_HIGH + 3)
    now = (frame // step) + 0.5
    said = ". ".join(_words(thing) for thing in room.things)
    return (
        f"<svg class='vr-strip' role='img' aria-label='{escape(said, quote=True)}' viewBox='0 0 {bins} {high}' "
        f"preserveAspectRatio='none' style='height:{high}px'>{rows}"
        f"<line x1='{now}' x2='{now}' y1='0' y2='{high}' class='vr-now' vector-effect='non-scaling-stroke'/></svg>"
    )


def _row(thing: Thing, place: int, step: int, bins: int) -> str:
    scores, shapes = thing.scores(), thing.shapes()
    top, color = place * (_HIGH + 3), "rgb({},{},{})".format(*color_of(thing.number))
    drawn = [f"<rect x='0' y='{top}' width='{bins}' height='{_HIGH}' class='vr-track'/>"]
    lowest: dict[int, float] = {}
    for frame, score in scores.items():
        seen = 0.0 if isinstance(shapes[frame], Absent) else max(score, 0.05)
        lowest[frame // step] = min(lowest.get(frame // step, 1.0), seen)
    for at, score in lowest.items():
        high = max(round(score * _HIGH, 1), 1.0)
        fill = "#888" if score == 0 else color
        drawn.append(f"<rect x='{at}' y='{top + _HIGH - high}' width='1' height='{high}' fill='{fill}'/>")
    for frame in thing.marks:
        if thing.holds(frame):
            drawn.append(f"<rect x='{frame // step}' y='{top}' width='1' height='3' class='vr-mark'/>")
    return "".join(drawn)


def _words(thing: Thing) -> str:
    scores = thing.scores()
    seen = [frame for frame, shape in thing.shapes().items() if not isinstance(shape, Absent)]
    if not seen:
        return f"Object {thing.number}, {thing.called}: seen in no frame"
    worst = min(seen, key=lambda frame: scores[frame])
    lost = "".join(f", lost at frame {note.frame}" for note in (thing.masklet.lost if thing.masklet else ()))
    return (
        f"Object {thing.number}, {thing.called}: seen in {len(seen)} frame(s), from {seen[0]} to {seen[-1]}; least "
        f"sure in frame {worst} ({scores[worst]:.2f}){lost}"
    )
