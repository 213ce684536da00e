"""Boxes as text, for models that read coordinates in the question."""

from collections.abc import Callable, Sequence

from videorefer_plugin.bench.marks import MarkedClip, show_item
from videorefer_plugin.bench.prompts import boxed_prompt
from videorefer_plugin.bench.reading import Item
from videorefer_plugin.errors import BenchError
from videorefer_plugin.inputs.clips import Clip
from videorefer_plugin.regions import Region

__all__ = ["FORMATS", "box_item", "box_text", "frame_words", "known_format", "words_of"]

Write = Callable[[int], str]

# The number of steps across a frame (`None`: its pixels), the format of a number, and the description in the prompt.
FORMATS: dict[str, tuple[int | None, Write, str]] = {
    "0-1": (1000, lambda step: f"{step / 1000:.3f}", "as parts of the frame's width and height, from 0 to 1"),
    "0-100": (100, str, "from 0 to 100 across the frame and down it"),
    "0-999": (999, str, "from 0 to 999 across the frame and down it"),
    "0-1000": (1000, str, "from 0 to 1000 across the frame and down it"),
    "pixels": (None, str, "in pixels of the frame, which is {width} wide and {height} high"),
}


def known_format(name: str) -> str:
    """Return the name of a format if it is known.

    Raises:
        BenchError: the format is unknown.
    """
    if name not in FORMATS:
        raise BenchError(f"boxes are {name!r}: expected one of {', '.join(FORMATS)}")
    return name


def words_of(box_format: str, size: tuple[int, int]) -> str:
    """Return the description of a format for the prompt, for frames of this height and width."""
    return FORMATS[box_format][2].format(height=size[0], width=size[1])


def box_text(region: Region, frame: int, size: tuple[int, int], box_format: str) -> str | None:
    """Return the smallest box around an object as `[x0, y0, x1, y1]`; `None` if it is not on the frame.

    The coordinates are those of the lines around the pixels, so that an object that fills the frame has the box
    `[0.000, 0.000, 1.000, 1.000]`. They are rounded outward, so that the object is within its box, and no box is
    empty.

    Args:
        region ([`Region`]): the object.
        frame (`int`): the frame.
        size (`tuple[int, int]`): height and width of the frame, in pixels.
        box_format (`str`): one of `FORMATS`.
    """
    if frame not in region.frames:
        return None
    ((_, silhouette),) = region.silhouettes(*size, frames=[frame])
    top, left, pixels = silhouette.box()
    if not pixels.size:
        return None
    height, width = size
    down, across = pixels.shape
    steps, write, _ = FORMATS[box_format]
    before = [(steps or side) * at // side for at, side in ((left, width), (top, height))]
    behind = [-((steps or side) * -at // side) for at, side in ((left + across, width), (top + down, height))]
    return f"[{', '.join(map(write, (*before, *behind)))}]"


def box_item(item: Item, mode: str, box_format: str, num_frames: int) -> MarkedClip:
    """Sample an item's video as [`show_item`] does, and write the boxes of its objects into the prompt.

    Raises:
        RegionError: an object does not fit its video.
        VideoError: the video cannot be read.
    """
    clip, objects = show_item(item, mode, num_frames)
    boxes = [_boxes(clip, region, box_format) for region in objects]
    said = boxed_prompt(item.prompt, boxes, words_of(box_format, clip.size))
    return MarkedClip(clip.read().copy(), clip.describe(), said, item.kind)


def _boxes(clip: Clip, region: Region, box_format: str) -> Sequence[tuple[str, str]]:
    """Return the boxes of an object: a name for each shown frame that has it, and the box."""
    found = []
    for frame, place in sorted(clip.place.items()):
        box = box_text(region, frame, clip.size, box_format)
        if box is not None:
            found.append((frame_words(clip, place, frame), box))
    return found


def frame_words(clip: Clip, place: int, frame: int) -> str:
    """Return the number of a shown frame, from 1, and its time if the video has a clock; empty for a picture."""
    if clip.kind == "image":
        return ""
    at = f", at {frame / clip.fps:.2f} s" if clip.video.has_clock else ""
    return f"frame {place + 1} of {len(clip.sampled)}{at}"
