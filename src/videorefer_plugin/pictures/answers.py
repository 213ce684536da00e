"""Pictures of what was asked: frames with the objects outlined, and the answers beside them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.pictures.marks import COLORS, draw_marks
from videorefer_plugin.regions import Region
from videorefer_plugin.video import Video, sample_frame_indices

__all__ = ["Line", "check_picture", "picture_answers"]

_FRAMES = 4  # shown at most
_SIDE = 280  # pixels of the longer side of a frame, at least
_TEXT_WIDTH = 460
_FONT_SIZE = 15
_MARGIN = 14
_RIGHT, _WRONG, _INK = (20, 130, 60), (190, 40, 40), (30, 30, 30)


@dataclass(frozen=True)
class Line:
    """One thing that was asked.

    Attributes:
        question (`str`): with `<region>` for each object.
        answer (`str`): of the model.
        objects (`tuple[int, ...]`): indices of the objects, in the order of the question.
        truth (`str`, *optional*): the right answer, where it is known.
        right (`bool`, *optional*): whether the answer is.
    """

    question: str
    answer: str
    objects: tuple[int, ...]
    truth: str | None = None
    right: bool | None = None

    @property
    def numbered(self) -> str:
        """The question with the objects' numbers in the picture, from 1."""
        text = self.question
        for index in self.objects:
            text = text.replace("<region>", f"[{index + 1}]", 1)
        return text


def check_picture(path: str | os.PathLike) -> None:
    """Make sure that a picture can be written.

    Raises:
        ConfigurationError: the name has an ending that is no kind of picture, or there is no such folder.
    """
    from PIL import Image

    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in Image.registered_extensions() or Image.registered_extensions()[ending] not in Image.SAVE:
        raise ConfigurationError(f"{os.fspath(path)!r} is no name of a picture; use an ending such as .png or .jpg.")
    folder = os.path.dirname(os.fspath(path)) or "."
    if not os.path.isdir(folder):
        raise ConfigurationError(f"There is no folder {folder!r} to write {os.fspath(path)!r} into; make it first.")


def picture_answers(video: Video, regions: Sequence[Region], lines: Sequence[Line]) -> Any:
    """Draw frames of a video with objects outlined in colours and numbered, and what was asked and answered.

    Args:
        video (`Video`): the video.
        regions (`Sequence[Region]`): the objects. Frames are shown in which some of them are given, if there are any.
        lines (`Sequence[Line]`): what was asked.

    Returns:
        `PIL.Image.Image`: the picture.
    """
    from PIL import Image

    regions = [region.at_frames(video.frame_at) for region in regions]
    given = sorted({frame for region in regions for frame in region.present}) or range(video.num_frames)
    chosen = [given[place] for place in sample_frame_indices(len(given), num_frames=min(_FRAMES, len(given)))]
    tiles = [_tile(frame, index, regions) for frame, index in zip(video.read(chosen), chosen, strict=True)]
    text = _text(lines)
    columns = 2 if len(tiles) > 1 else 1
    rows = -(-len(tiles) // columns)
    wide, high = tiles[0].size
    left = columns * (wide + _MARGIN) + _MARGIN
    height = max(rows * (high + _MARGIN), text.height) + 2 * _MARGIN
    sheet = Image.new("RGB", (left + text.width + _MARGIN, height), "white")
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        sheet.paste(tile, (_MARGIN + column * (wide + _MARGIN), _MARGIN + row * (high + _MARGIN)))
    sheet.paste(text, (left, _MARGIN))
    return sheet


def _tile(frame: NDArray[np.uint8], index: int, regions: Sequence[Region]) -> Any:
    """One frame, enlarged so that thin lines do not hide small objects."""
    from PIL import Image

    height, width = frame.shape[:2]
    scale = max(1, -(-_SIDE // max(height, width)))
    masks = {
        number: region.mask(index, height, width).repeat(scale, 0).repeat(scale, 1)
        for number, region in enumerate(regions, 1)
        if index in region.frames
    }
    large = Image.fromarray(frame).resize((width * scale, height * scale), Image.Resampling.BICUBIC)
    tile = Image.fromarray(draw_marks(np.asarray(large), masks, "contour"))
    limit = 3 * _SIDE  # frames of large videos are shown smaller
    if max(tile.size) > limit:
        tile.thumbnail((limit, limit))
    return tile


def _text(lines: Sequence[Line]) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_FONT_SIZE)
    colors = list(COLORS.values())
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    parts: list[tuple[str, Any]] = []
    for line in lines:
        color = colors[line.objects[0] % len(colors)] if line.objects else _INK
        parts += [
            (part, tuple(round(0.7 * value) for value in color)) for part in _wrapped(ruler, font, line.numbered)
        ]
        ink = {True: _RIGHT, False: _WRONG, None: _INK}[line.right]
        parts += [(part, ink) for part in _wrapped(ruler, font, line.answer or "(no answer)")]
        if line.right is False:
            parts += [(part, _INK) for part in _wrapped(ruler, font, f"(truth: {line.truth})")]
        parts.append(("", _INK))
    step = round(1.4 * _FONT_SIZE)
    image = Image.new("RGB", (_TEXT_WIDTH, max(step, step * len(parts))), "white")
    draw = ImageDraw.Draw(image)
    for row, (part, color) in enumerate(parts):
        draw.text((0, row * step), part, font=font, fill=color)
    return image


def _wrapped(ruler: Any, font: Any, text: str) -> list[str]:
    """A text in lines that are not too long."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and ruler.textlength(longer, font=font) > _TEXT_WIDTH:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
