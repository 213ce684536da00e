"""Overlays: objects drawn onto a video, as a video or as a sheet of some of its frames."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._files import write_whole
from videorefer_plugin._kinds import FUNCTION, INTEGER, MAPPING, PATH, TEXT, Kind, check_kind, lists
from videorefer_plugin._places import check_file_place, same_file
from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError, VideoError
from videorefer_plugin.pictures.answers import Line, check_picture, picture_lines
from videorefer_plugin.pictures.fonts import fitting
from videorefer_plugin.pictures.marks import color_of
from videorefer_plugin.pictures.sheets import (
    INK,
    Piece,
    beside,
    dark,
    framed,
    grid,
    marked_frames,
    stack,
    tiles,
    write,
)
from videorefer_plugin.regions import Region
from videorefer_plugin.video import Video, open_video, sample_frame_indices

__all__ = ["Followed", "check_overlay", "contact_sheet", "save_overlay", "write_overlay"]

_VIDEO = ".mp4"
_STYLES = ("mask", "contour")
_TICKS = 60_000  # per second; MPEG-4, the fallback codec, allows at most 65535
_WIDTH = 1600  # of a sheet without its words, in pixels, at most
_MOST_TILES = 400
_LEAST = 280  # pixels of the longer side of a frame in a sheet
_COLUMNS = 4
_CAPTION_SIZE = 13
_TRACK = (40, 40, 40)  # the background of a confidence's strip
_STRIP = 40  # a strip is as many times smaller than the shorter side of the frame
_LETTERS = 10  # pixels of a strip that holds letters

Scores = Sequence[Mapping[int, float]]


class Followed(Protocol):
    """An object that was followed through a video, such as a [`Masklet`]."""

    @property
    def region(self) -> Region:
        """The object."""

    @property
    def scores(self) -> Mapping[int, float]:
        """The segmenter's confidence, by frame, from 0 to 1."""

    @property
    def phrase(self) -> str | None:
        """The words by which it was found."""


def check_overlay(path: str | os.PathLike) -> None:
    """Make sure that an overlay can be written, before it is made.

    Raises:
        ConfigurationError: the name ends neither in .mp4 nor as that of a picture, or there is no such folder.
    """
    check_kind(ConfigurationError, PATH, path=path)
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending == _VIDEO:
        check_file_place(path, ConfigurationError)
        return
    try:
        check_picture(path)
    except ConfigurationError as error:
        if "is not the name of a picture" not in str(error):
            raise
        raise ConfigurationError(
            f"{os.fspath(path)!r} is not the name of an overlay; use .mp4 for a video, or an ending such as .png or "
            ".jpg for a sheet of frames."
        ) from error


def save_overlay(
    video: Any,
    objects: Sequence[Region | Followed],
    path: str | os.PathLike,
    *,
    frames: range | None = None,
    title: str | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None:
    """Write objects on the frames of a video: as a video if the name ends in .mp4, otherwise as a sheet of frames.

    Args:
        video: the video, as [`open_video`] takes it.
        objects (`Sequence[Region | Masklet]`): the objects to draw. Masklets are shown with their confidence and
            words.
        path (`str` or `os.PathLike`): of the file, which is written as a whole or not at all.
        frames (`range`, *optional*): for a video: the frames to write, as in [`write_overlay`].
        title (`str`, *optional*): for a sheet: the title above the frames.
        progress (*optional*): as in [`write_overlay`].

    Raises:
        ConfigurationError: the name cannot be used; see [`check_overlay`].
        VideoError: the file cannot be written, or a frame cannot be read.
        RegionError: a region does not fit the frames.
    """
    check_overlay(path)
    _check_apart(video, path)
    _check_objects(objects)
    check_kind(ConfigurationError, TEXT, optional=True, title=title)
    regions = [one if isinstance(one, Region) else one.region for one in objects]
    scores = [{} if isinstance(one, Region) else one.scores for one in objects]
    names = ["" if isinstance(one, Region) else one.phrase or "" for one in objects]
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending == _VIDEO:
        write_overlay(video, regions, path, frames=frames, scores=scores, names=names, progress=progress)
        return
    from PIL import Image

    sheet = contact_sheet(video, regions, scores=scores, names=names, title=title)
    kind = Image.registered_extensions()[ending]
    _write(path, lambda name: sheet.save(name, format=kind))


def _check_apart(video: Any, path: str | os.PathLike) -> None:
    """Refuse to overwrite the video that the overlay is drawn on."""
    if same_file(path, video.path if isinstance(video, Video) else video):
        raise ConfigurationError(f"{os.fspath(path)!r} is the video itself; choose another file.")


def _write(path: str | os.PathLike, write_file: Callable[[str], None]) -> None:
    try:
        write_whole(Path(path), write_file)
    except OSError as error:
        raise VideoError(f"{os.fspath(path)!r} cannot be written ({error}); choose another path or ending.") from error


# --- videos ----------------------------------------------------------------------------------------------------------


def write_overlay(
    video: Any,
    regions: Sequence[Region],
    path: str | os.PathLike,
    *,
    frames: range | None = None,
    scores: Scores = (),
    names: Sequence[str] = (),
    numbers: Sequence[int] = (),
    progress: Callable[[int, int], Any] | None = None,
) -> None:
    """Write a video with objects filled and outlined in colors, numbered from 1, with the confidence in each.

    The frames are decoded in pieces, so that memory does not grow with the video, and keep their times. An odd side
    gets one more pixel, which the format requires. If there are scores, there is a strip for each object below the
    frame, whose length is the object's score; on frames that are large enough, it holds the object's number, name and
    score. There are no strips if they would be higher than the frame.

    Args:
        video: the video, as [`open_video`] takes it.
        regions (`Sequence[Region]`): the objects. Nothing is drawn in frames that a region does not have.
        path (`str` or `os.PathLike`): of the file, ending in .mp4. It is written as a whole or not at all.
        frames (`range`, *optional*): the frames to write; all of them by default.
        scores (`Sequence[Mapping[int, float]]`, *optional*): for each object, frame -> score from 0 to 1.
        names (`Sequence[str]`, *optional*): for each object, its name.
        numbers (`Sequence[int]`, *optional*): for each object, another number, which decides its color.
        progress (*optional*): a function that is called after each frame with the number of finished frames and the
            total.

    Raises:
        ConfigurationError: the name does not end in .mp4, there is no such folder, there are no frames, or scores,
            names or numbers are not one for each object.
        VideoError: the video does not have the frames, one cannot be read, or the file cannot be written.
        RegionError: a region does not fit the frames.
    """
    check_kind(ConfigurationError, PATH, path=path)
    check_kind(ConfigurationError, FUNCTION, optional=True, progress=progress)
    if os.path.splitext(os.fspath(path))[1].lower() != _VIDEO:
        raise ConfigurationError(f"{os.fspath(path)!r} is not the name of an overlay video; use the ending .mp4.")
    check_overlay(path)
    _check_apart(video, path)
    video = open_video(video)
    _check_objects(regions, scores=scores, names=names, numbers=numbers)
    numbers = numbers or range(1, len(regions) + 1)
    chosen = _chosen(video, frames)
    regions = [region.at_frames(video.frame_at) for region in regions]
    times = video.timestamps[list(chosen)]
    ticks = np.maximum.accumulate(np.round((times - times[0]) * _TICKS).astype(np.int64) - np.arange(len(chosen)))
    ticks += np.arange(len(chosen))  # each one is later than the one before it

    def encode(name: str) -> None:
        import av

        with av.open(name, "w", format="mp4") as container:
            high = _strip_height(video, len(scores))
            stream = _stream(container, video, video.height + high * len(scores))
            size = video.height, video.width
            for done, frame in enumerate(marked_frames(video, regions, chosen, size, *_STYLES, numbers=numbers)):
                if high:
                    frame = _with_strips(frame, high, chosen[done], scores, names, numbers)
                picture = av.VideoFrame.from_ndarray(_even(frame), format="rgb24")
                picture.pts, picture.time_base = int(ticks[done]), Fraction(1, _TICKS)
                container.mux(stream.encode(picture))
                if progress is not None:
                    progress(done + 1, len(chosen))
            container.mux(stream.encode(None))

    _write(path, encode)


def _chosen(video: Video, frames: range | None) -> range:
    chosen = range(video.num_frames) if frames is None else frames
    if not isinstance(chosen, range) or not chosen or chosen.step < 1:
        raise ConfigurationError(f"frames is {short(frames)}: expected a range of one frame or more that goes forward")
    if chosen[0] < 0 or chosen[-1] >= video.num_frames:
        raise VideoError(
            f"frames is {frames!r}, but {video.name} has {video.num_frames} frames (0 to {video.num_frames - 1})."
        )
    return chosen


_OBJECT = Kind("a Region or Masklet", lambda one: isinstance(one, Region) or hasattr(one, "region"))


def _check_objects(objects: Any, **given: Sequence[Any]) -> None:
    if not isinstance(objects, (list, tuple)):
        raise ConfigurationError(
            f"The objects to draw are {short(objects)}; give a list of them, also of a single one."
        )
    check_kind(ConfigurationError, lists(_OBJECT, "Regions or Masklets"), objects=objects)
    for what, values in given.items():
        kind = lists({"scores": MAPPING, "numbers": INTEGER}.get(what, TEXT), what)
        check_kind(ConfigurationError, kind, optional=False, **{what: values})
        if values and len(values) != len(objects):
            raise ConfigurationError(f"There are {len(values)} {what} for {len(objects)} object(s); give one each.")


def _stream(container: Any, video: Video, height: int) -> Any:
    """Add an H.264 stream if the build of PyAV has the codec, otherwise MPEG-4."""
    import av

    has_h264 = "libx264" in av.codecs_available
    rate = Fraction(video.fps).limit_denominator(1001)
    stream = container.add_stream("libx264" if has_h264 else "mpeg4", rate=max(rate, Fraction(1, 1001)))
    stream.height, stream.width = height + height % 2, video.width + video.width % 2
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, _TICKS)
    # Without frames that are held back for long, memory is bounded also for large ones.
    stream.options = (
        {"crf": "18", "preset": "veryfast", "bf": "0", "rc-lookahead": "8"} if has_h264 else {"qscale": "3"}
    )
    return stream


def _even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if height % 2 or width % 2 else frame


def _strip_height(video: Video, count: int) -> int:
    """Rows of the strip of each object; 0 if all of them together would be higher than the frame."""
    high = max(3, min(video.height, video.width) // _STRIP)
    return min(high, video.height // count) if count else 0


def _with_strips(
    frame: NDArray[np.uint8], high: int, index: int, scores: Scores, names: Sequence[str], numbers: Sequence[int]
) -> NDArray[np.uint8]:
    """Add the confidence in each object below a frame, so that nothing of the frame is covered."""
    from PIL import Image, ImageDraw

    height, width = frame.shape[:2]
    picture = Image.new("RGB", (width, height + high * len(scores)), _TRACK)
    picture.paste(Image.fromarray(frame), (0, 0))
    draw = ImageDraw.Draw(picture)
    for place, (number, own) in enumerate(zip(numbers, scores, strict=True)):
        score = own.get(index)
        top = height + high * place
        share = score if score is not None and math.isfinite(score) else 0.0
        long = round(min(max(share, 0.0), 1.0) * width)
        if long:
            draw.rectangle([0, top, long - 1, top + high - 1], fill=color_of(number))
        if high >= _LETTERS:
            told = [str(number), *(names[place].split() if names else []), _score(score)]
            words = " ".join(filter(None, told))  # in one line
            font, escapes = fitting([words], high - 2)
            middle = (2, top + high / 2)
            draw.text(
                middle,
                words.translate(escapes)[:width],  # more cannot be seen
                fill="white",
                font=font,
                anchor="lm",
                stroke_width=1,
                stroke_fill="black",
            )
    return np.asarray(picture)


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


# --- sheets ----------------------------------------------------------------------------------------------------------


def contact_sheet(
    video: Any,
    regions: Sequence[Region],
    *,
    most: int = 12,
    frames: Sequence[int] = (),
    scores: Scores = (),
    names: Sequence[str] = (),
    title: str | None = None,
    lines: Sequence[Line] = (),
) -> Any:
    """Draw some frames of a video with the objects filled and outlined in colors and numbered from 1.

    The frames are spread over those in which an object is seen; if these are few, frames in which the objects are
    known to be absent are added. Without objects, they are spread over the video. Under each frame there are its
    number and its time, and for each object its score, or that it is absent.

    Args:
        video: the video, as [`open_video`] takes it.
        regions (`Sequence[Region]`): the objects.
        most (`int`, *optional*, defaults to 12): the most frames to show.
        frames (`Sequence[int]`, *optional*): frames to show in any case; the first `most` count.
        scores (`Sequence[Mapping[int, float]]`, *optional*): for each object, frame -> score from 0 to 1.
        names (`Sequence[str]`, *optional*): for each object, its name.
        title (`str`, *optional*): the title above the frames, in one line or several.
        lines (`Sequence[Line]`, *optional*): questions and answers, which are written beside the frames.

    Returns:
        `PIL.Image.Image`: the sheet.

    Raises:
        ConfigurationError: `most` is not from 1 to 400, or scores or names are not one for each object.
        VideoError: a frame cannot be read.
        RegionError: a region does not fit the frames.
    """
    if not isinstance(most, int) or not 1 <= most <= _MOST_TILES:
        raise ConfigurationError(f"most is {short(most)}: expected how many frames to show, from 1 to {_MOST_TILES}")
    video = open_video(video)
    _check_objects(regions, scores=scores, names=names)
    check_kind(ConfigurationError, lists(INTEGER, "frames"), frames=frames)
    regions = [region.at_frames(video.frame_at) for region in regions]
    chosen = _telling(video, regions, most, frames)
    columns = min(_COLUMNS, len(chosen)) if len(chosen) != 4 else 2
    shown = tiles(video, regions, chosen, _LEAST, max(_WIDTH // columns, _LEAST), *_STYLES)
    for place, index in enumerate(chosen):
        said = _caption(video, regions, scores, index)
        shown[place] = stack([shown[place], write([said], max(shown[place].width, 120), _CAPTION_SIZE)], gap=2)
    sheet = grid(shown, columns)
    head: list[list[Piece]] = [[(line, INK)] for line in (title or "").splitlines()]
    called = [(f"{number} {name}", dark(number)) for number, name in enumerate(names, 1) if name]
    head += [called] if called else []
    if head:
        sheet = stack([write(head, max(sheet.width, 400)), sheet])
    return beside(sheet, picture_lines(lines)) if lines else framed(sheet)


def _telling(video: Video, regions: Sequence[Region], most: int, wanted: Sequence[int]) -> list[int]:
    """Choose the frames of a sheet."""
    chosen = set(wanted[:most])
    seen = {frame for region in regions for frame in region.present}
    known = {frame for region in regions for frame in region.frames}
    for frames in (seen, known - seen):
        chosen.update(_spread(sorted(frames - chosen), most - len(chosen)))
    return sorted(chosen) or _spread(range(video.num_frames), most)


def _spread(frames: Sequence[int], most: int) -> list[int]:
    if not frames or most < 1:
        return []
    return [frames[place] for place in sample_frame_indices(len(frames), num_frames=min(most, len(frames)))]


def _caption(video: Video, regions: Sequence[Region], scores: Scores, index: int) -> list[Piece]:
    said: list[Piece] = [] if video.num_frames == 1 else [(f"frame {index}, {video.timestamps[index]:.2f} s", INK)]
    for number, region in enumerate(regions, 1):
        score = _score(scores[number - 1].get(index)) if scores else ""
        if index not in region.frames:
            continue
        words = "absent" if region.is_absent(index) else score
        if words:
            said.append((f"{number}: {words}", dark(number)))
    return said
