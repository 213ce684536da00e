"""The parts of pictures: frames with marks, words in colors, and layout."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.inputs.frames import pieces
from videorefer_plugin.pictures.fonts import fitting
from videorefer_plugin.pictures.marks import color_of, draw_marks
from videorefer_plugin.regions import Region
from videorefer_plugin.video import Video

__all__ = [
    "INK",
    "Piece",
    "beside",
    "dark",
    "framed",
    "grid",
    "marked_frames",
    "resized_mask",
    "stack",
    "tiles",
    "write",
]

Color = tuple[int, int, int]
Piece = tuple[str, Color]
"""Words and their color."""

INK = (30, 30, 30)
_MARGIN = 14
_FONT_SIZE = 15
_NUMBERS = 12  # pixels of the objects' numbers
_ROWS = 200  # of words, at most
_DARKER = 0.7  # so that a bright color is legible on white


def dark(number: int) -> Color:
    """Return the color of an object, numbered from 1, for words on white."""
    red, green, blue = (round(_DARKER * value) for value in color_of(number))
    return red, green, blue


def marked_frames(
    video: Video,
    regions: Sequence[Region],
    frames: Sequence[int],
    size: tuple[int, int],
    *styles: str,
    letters: int = 8,
    numbers: Sequence[int] = (),
) -> Iterator[NDArray[np.uint8]]:
    """Yield frames with the objects drawn on them, numbered from 1; they are decoded in pieces, each one once.

    Args:
        video (`Video`): the video.
        regions (`Sequence[Region]`): the objects, without times. Nothing is drawn in frames that a region does not
            have.
        frames (`Sequence[int]`): the frames, in this order.
        size: height and width of the result.
        styles, letters: as in [`draw_marks`].
        numbers (`Sequence[int]`, *optional*): other numbers of the objects.
    """
    from PIL import Image

    height, width = size
    numbers = numbers or range(1, len(regions) + 1)
    known = [frozenset(region.frames) for region in regions]
    for piece in pieces(video, frames):
        for index, frame in zip(piece, video.read(piece), strict=True):
            masks = {
                number: resized_mask(region.mask(index, video.height, video.width), size)
                for number, region, has in zip(numbers, regions, known, strict=True)
                if index in has
            }
            if frame.shape[:2] != size:
                frame = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
            yield draw_marks(frame, masks, *styles, letters=letters)
        del frame  # it would keep this piece in memory beside the next one


def resized_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize a mask to another frame size; a pixel counts if any pixel that it covers does, so no object is lost."""
    from PIL import Image

    if mask.shape == size:
        return mask
    large = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(large.resize((size[1], size[0]), Image.Resampling.BOX)) > 0


def _size_between(height: int, width: int, least: int, most: int) -> tuple[int, int]:
    """Return the size to show frames with, so that the longer side is between `least` and `most` pixels.

    Small frames are enlarged by whole factors, so that thin lines do not hide small objects.
    """
    longer = max(height, width)
    factor: float = max(1, -(-least // longer))
    if longer * factor > most:
        factor = most / longer
    return max(1, round(height * factor)), max(1, round(width * factor))


def tiles(
    video: Video, regions: Sequence[Region], frames: Sequence[int], least: int, most: int, *styles: str
) -> list[Any]:
    """Frames with the objects drawn on them as pictures of a size that suits a sheet; see [`_size_between`]."""
    from PIL import Image

    size = _size_between(video.height, video.width, least, most)
    return [Image.fromarray(frame) for frame in marked_frames(video, regions, frames, size, *styles, letters=_NUMBERS)]


def grid(pictures: Sequence[Any], columns: int) -> Any:
    """Pictures row by row, with a margin between them."""
    rows = [pictures[first : first + columns] for first in range(0, len(pictures), columns)]
    return stack([_row(row, max(picture.width for picture in pictures)) for row in rows])


def beside(left: Any, right: Any) -> Any:
    """Two pictures beside each other on a white sheet with margins all around."""
    from PIL import Image

    height = max(left.height, right.height) + 2 * _MARGIN
    sheet = Image.new("RGB", (left.width + right.width + 3 * _MARGIN, height), "white")
    sheet.paste(left, (_MARGIN, _MARGIN))
    sheet.paste(right, (left.width + 2 * _MARGIN, _MARGIN))
    return sheet


def framed(picture: Any) -> Any:
    """A picture on a white sheet with margins all around."""
    from PIL import ImageOps

    return ImageOps.expand(picture, _MARGIN, "white")


def stack(pictures: Sequence[Any], gap: int = _MARGIN) -> Any:
    """Pictures one below the other."""
    from PIL import Image

    height = sum(picture.height for picture in pictures) + gap * (len(pictures) - 1)
    sheet = Image.new("RGB", (max(picture.width for picture in pictures), height), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height + gap
    return sheet


def _row(pictures: Sequence[Any], width: int) -> Any:
    from PIL import Image

    height = max(picture.height for picture in pictures)
    row = Image.new("RGB", ((width + _MARGIN) * len(pictures) - _MARGIN, height), "white")
    for place, picture in enumerate(pictures):
        row.paste(picture, (place * (width + _MARGIN), 0))
    return row


def write(lines: Sequence[Sequence[Piece]], width: int, font_size: int = _FONT_SIZE) -> Any:
    """Draw lines of words in colors on white; those that are too long continue in the next line.

    Letters that no available font has are written as escapes such as `\\u6f22`.
    """
    from PIL import Image, ImageDraw

    font, escapes = fitting((text for line in lines for text, _ in line), font_size)
    lines = [[(text.translate(escapes), color) for text, color in line] for line in lines] if escapes else lines
    step = round(1.4 * font_size)
    placed = list(itertools.takewhile(lambda one: one[1] < _ROWS, _placed(lines, font, width)))
    rows = placed[-1][1] + 1 if placed else 1
    if rows == _ROWS:  # longer than anyone reads
        placed = [*(one for one in placed if one[1] < rows - 1), (0.0, rows - 1, "(and so on)", INK)]
    image = Image.new("RGB", (width, step * rows), "white")
    draw = ImageDraw.Draw(image)
    for at, row, word, color in placed:
        draw.text((at, row * step), word, font=font, fill=color)
    return image


def _placed(lines: Sequence[Sequence[Piece]], font: Any, width: int) -> Iterator[tuple[float, int, str, Color]]:
    """Every word with its position, a column and a row; a line begins with an empty one."""
    space = font.getlength(" ")
    row = -1
    for line in lines:
        row, at = row + 1, 0.0
        yield at, row, "", INK
        for word, color in ((word, color) for text, color in line for word in _words(text, font, width)):
            long = font.getlength(word)
            if at and at + long > width:
                row, at = row + 1, 0.0
            yield at, row, word, color
            at += long + space


def _words(text: str, font: Any, width: int) -> Iterator[str]:
    """The words of a text; those that are longer than a line, as in languages without spaces, in parts."""
    for word in text.split():
        while len(word) > 1 and (len(word) > width or font.getlength(word) > width):
            fits = 1
            while font.getlength(word[: fits + 1]) <= width and fits < width:
                fits += 1
            yield word[:fits]
            word = word[fits:]
        yield word
