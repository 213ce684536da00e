"""The similarity of the tokens of one region from frame to frame, and which of them are merged (paper, figure 7)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from videorefer_plugin._kinds import check_kind, instances
from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.pictures.answers import check_picture, save_picture
from videorefer_plugin.pictures.marks import COLORS
from videorefer_plugin.regions import Region
from videorefer_plugin.video import Video, sample_frame_indices

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TokenSimilarity", "picture_similarity"]

_Color = tuple[int, int, int]

# Sizes are in fine pixels: the picture is drawn at twice its final size, so that lines and circles are smooth.
_FINE = 2
_TILES = 16  # frames shown at most
_READ = 4  # frames held at a time, since those of large videos take much memory
_SLOT = 360  # width for one token, where there are few
_NARROW, _WIDE = 1600, 3000  # width of the curve
_LEFT, _MARGIN = 130, 40
_TILE_HEIGHT, _CURVE, _BAND = 420, 380, 44
_TITLE, _TEXT = 40, 26
_LINE, _GAP = 4, 2  # around objects
_INK, _GREY, _PALE, _WHITE = (30, 30, 30), (120, 120, 120), (222, 222, 222), (255, 255, 255)


@dataclass(frozen=True, eq=False)
class TokenSimilarity:
    """The similarity of the tokens of one region from frame to frame, before they are merged.

    Attributes:
        frames (`tuple[int, ...]`): frames of the source video, one per token, in the order in which tokens are
            compared.
        similarities (`torch.FloatTensor` of shape `(len(frames) - 1,)`): cosine similarity of each token to the next
            (paper, equation 2), on the CPU.
        unions (`tuple[tuple[int, ...], ...]`): the frames of each union, which becomes one object token.
        video (`Video`): the video of the frames in the picture.
        region (`Region`): the region whose masks are drawn.
    """

    frames: tuple[int, ...]
    similarities: Tensor
    unions: tuple[tuple[int, ...], ...]
    video: Video = field(repr=False)
    region: Region = field(repr=False)

    @classmethod
    def of(
        cls, video: Video, region: Region, frames: Sequence[int], pooled: Tensor, max_tokens: int
    ) -> TokenSimilarity:
        """Compare the tokens of one region.

        Args:
            video (`Video`): the video that the region is in.
            region (`Region`): the region.
            frames (`Sequence[int]` of length k): its frames, in the order in which tokens are merged.
            pooled (`torch.Tensor` of shape `(k, vision_hidden_size)`): its tokens before they are merged, as
                `object_encoder.pool_masks` returns them.
            max_tokens (`int`): number of unions, `max_tokens_per_region` of the object encoder's configuration.

        Raises:
            TensorError: there is not one token per frame, there is no frame, or there is NaN or infinity.
            ConfigurationError: `max_tokens` is less than 1.
        """
        import torch

        from videorefer_plugin.object_encoder import adjacent_similarity
        from videorefer_plugin.object_encoder.checks import check_tensors

        check_tensors(pooled=pooled)
        frames = tuple(int(frame) for frame in frames)
        lengths = torch.tensor([len(pooled)], device=pooled.device)
        similarities, joined = adjacent_similarity(pooled, lengths, max_tokens)
        if len(frames) != len(pooled) or not frames:
            raise TensorError(
                f"pooled must hold one token for each frame of the region, but there are {len(pooled)} tokens and "
                f"{len(frames)} frames."
            )
        unions = [[frames[0]]]
        for frame, is_joined in zip(frames[1:], joined.tolist(), strict=True):
            if is_joined:
                unions[-1].append(frame)
            else:
                unions.append([frame])
        return cls(frames, similarities.float().cpu(), tuple(tuple(union) for union in unions), video, region)

    @property
    def joined(self) -> tuple[bool, ...]:
        """Whether each pair of neighbors is joined into one union; `len(frames) - 1` values."""
        starts = {sum(map(len, self.unions[:number])) for number in range(len(self.unions))}
        return tuple(place not in starts for place in range(1, len(self.frames)))

    def picture(self) -> Any:
        """Draw the similarity; see `picture_similarity`."""
        return picture_similarity(self)

    def save(self, path: str | os.PathLike) -> None:
        """Draw the similarity into a file.

        Raises:
            ConfigurationError: the ending of the name is not that of a picture, or the folder does not exist.
        """
        check_picture(path)
        save_picture(self.picture(), path)


def picture_similarity(similarity: TokenSimilarity) -> Any:
    """Draw frames of a region with its outline, and below them the similarity of neighbors and the unions.

    Every token has its position along the curve, in the order of merging. Of more than 16 frames, 16 are shown, with
    lines to their positions. Colors are those of the unions; between two unions there is a dashed line.

    Args:
        similarity (`TokenSimilarity`): the similarity to draw.

    Returns:
        `PIL.Image.Image`: the picture.
    """
    check_kind(ConfigurationError, instances(TokenSimilarity), similarity=similarity)
    return _Picture(similarity).drawn()


class _Picture:
    """A sheet, from top to bottom: a summary, frames, the curve, the unions, and frame numbers."""

    def __init__(self, similarity: TokenSimilarity):
        from PIL import Image, ImageDraw

        self.similarity = similarity
        self.count = len(similarity.frames)
        self.union_of = [number for number, union in enumerate(similarity.unions) for _ in union]
        self.width = min(max(self.count * _SLOT, _NARROW), _WIDE)
        self.step = self.width / self.count
        self.tiles_top = 2 * _MARGIN + _TITLE + 2 * _TEXT
        shown = min(self.count, _TILES)
        video = similarity.video
        scale = min((self.width / shown - 12) / video.width, _TILE_HEIGHT / video.height, _SLOT / video.width)
        self.tile_size = max(1, round(video.width * scale)), max(1, round(video.height * scale))
        self.curve_top = self.tiles_top + self.tile_size[1] + 3 * _TEXT
        if self.count > _TILES:
            self.curve_top += 2 * _TEXT  # room for lines from frames to their positions
        self.band_top = self.curve_top + (_CURVE if self.count > 1 else 0) + _MARGIN
        size = (
            _LEFT + self.width + _MARGIN,
            self.band_top + _BAND + (2 * _TEXT if self.count > _TILES else 0) + _MARGIN,
        )
        self.sheet = Image.new("RGB", size, "white")
        self.draw = ImageDraw.Draw(self.sheet)

    def drawn(self) -> Any:
        self._say()
        if self.count > 1:
            self._draw_grid()
            self._draw_cuts()
            self._draw_curve()
        self._draw_unions()
        self._draw_frames()
        return self.sheet.reduce(_FINE)

    # --- positions and text ------------------------------------------------------------------------------------------

    def _place(self, token: float) -> float:
        """The horizontal position of a token; a half stands for the pair of two."""
        return _LEFT + (token + 0.5) * self.step

    def _color(self, token: int) -> _Color:
        return list(COLORS.values())[self.union_of[token] % len(COLORS)]

    def _write(
        self, place: tuple[float, float], text: str, ink: _Color = _INK, size: int = _TEXT, anchor: str = "la"
    ) -> None:
        from PIL import ImageFont

        self.draw.text(place, text, font=ImageFont.load_default(size), fill=ink, anchor=anchor)

    def _text_width(self, text: str) -> float:
        from PIL import ImageFont

        return self.draw.textlength(text, font=ImageFont.load_default(_TEXT))

    def _say(self) -> None:
        values, unions = self.similarity.similarities, len(self.similarity.unions)
        joined = self.count - unions
        said = (
            f"{self.count} frame{'s become' if self.count > 1 else ' becomes'} {unions} object "
            f"token{'s' if unions > 1 else ''}: "
        )
        if self.count == 1:
            said += "there is no pair to compare"
        else:
            said += f"{joined or 'none'} of {len(values)} pair{'s' if len(values) > 1 else ''} joined; "
            said += f"cosine similarity {values.mean():.3f}"
        if self.count > 2:
            said += f" on average, {values.min():.3f} to {values.max():.3f}"
        self._write((_LEFT, _MARGIN), "Similarity of adjacent object tokens", size=_TITLE)
        self._write((_LEFT, _MARGIN + 1.5 * _TITLE), said, _GREY)
        if self.count > 1:
            self._draw_key()

    def _draw_key(self) -> None:
        """Draw the legend of the curve's points, from the right."""
        right, middle = float(_LEFT + self.width), _MARGIN + _TITLE / 2
        for text, fill in (("apart", _WHITE), ("joined", _INK)):
            self._write((right, middle), text, _GREY, anchor="rm")
            right -= self._text_width(text) + 24
            self.draw.circle((right, middle), 10, fill=fill, outline=_INK, width=3)
            right -= 40

    # --- frames ------------------------------------------------------------------------------------------------------

    def _draw_frames(self) -> None:
        shown = sample_frame_indices(self.count, num_frames=min(self.count, _TILES))
        wide, high = self.tile_size
        bottom = self.tiles_top + high
        for slot, (token, tile) in enumerate(zip(shown, self._tiles(shown), strict=True)):
            middle = _LEFT + (slot + 0.5) * self.width / len(shown)
            left = round(middle - wide / 2)
            self.sheet.paste(tile, (left, self.tiles_top))
            self.draw.rectangle([left, bottom, left + wide - 1, bottom + 7], fill=self._color(token))
            self._write((middle, bottom + 14), str(self.similarity.frames[token]), anchor="ma")
            if self.count > _TILES:
                ends = [(middle, bottom + 14 + 1.4 * _TEXT), (self._place(token), self.curve_top - 6)]
                self.draw.line(ends, fill=self._color(token), width=2)

    def _tiles(self, shown: Sequence[int]) -> Iterator[Any]:
        frames = [self.similarity.frames[token] for token in shown]
        video = self.similarity.video
        region = self.similarity.region.at_frames(video.frame_at)
        for start in range(0, len(shown), _READ):
            some = slice(start, start + _READ)
            for token, frame, pixels in zip(shown[some], frames[some], video.read(frames[some]), strict=True):
                yield self._tile(pixels, region.mask(frame, video.height, video.width), self._color(token))

    def _tile(self, pixels: Any, mask: Any, color: _Color) -> Any:
        """One frame, with a line in the color of the union around the object, set off from it by a white one."""
        import numpy as np
        from PIL import Image, ImageFilter

        tile = Image.fromarray(pixels).resize(self.tile_size, Image.Resampling.BICUBIC)
        # With this filter a pixel is 0 only where no pixel of the mask is under it: small objects do not vanish.
        shrunk = Image.fromarray(mask.astype(np.uint8) * 255).resize(self.tile_size, Image.Resampling.BOX)
        inside = shrunk.point(lambda value: 255 * (value > 0))
        marked = tile.copy()
        for ink, reach in ((color, _LINE + _GAP), (_WHITE, _GAP)):
            marked.paste(ink, mask=inside.filter(ImageFilter.MaxFilter(2 * reach + 1)))
        marked.paste(tile, mask=inside)
        return marked

    # --- curve -------------------------------------------------------------------------------------------------------

    def _draw_grid(self) -> None:
        self.low, step = _ticks(float(self.similarity.similarities.min()))
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        for number in range(round((1 - self.low) / step) + 1):
            value = self.low + number * step
            high = self._height(value)
            self.draw.line([(_LEFT, high), (_LEFT + self.width, high)], fill=_PALE, width=2)
            self._write((_LEFT - 14, high), f"{value:.{digits}f}", _GREY, anchor="rm")

    def _height(self, value: float) -> float:
        return self.curve_top + (1 - min(value, 1.0)) / (1 - self.low) * _CURVE

    def _draw_cuts(self) -> None:
        for pair, joined in enumerate(self.similarity.joined):
            if not joined:
                place = self._place(pair + 0.5)
                for top in range(self.curve_top, self.band_top, 20):
                    self.draw.line([(place, top), (place, top + 10)], fill=_GREY, width=2)

    def _draw_curve(self) -> None:
        values = self.similarity.similarities.tolist()
        points = [(self._place(pair + 0.5), self._height(value)) for pair, value in enumerate(values)]
        self.draw.line(points, fill=_GREY, width=4, joint="curve")
        radius = min(max(self.step / 3, 4), 12)
        for pair, (point, joined) in enumerate(zip(points, self.similarity.joined, strict=True)):
            fill = self._color(pair) if joined else _WHITE
            self.draw.circle(point, radius, fill=fill, outline=_INK, width=3)

    # --- unions ------------------------------------------------------------------------------------------------------

    def _draw_unions(self) -> None:
        first = 0
        for number, union in enumerate(self.similarity.unions, 1):
            left, right = _LEFT + first * self.step, _LEFT + (first + len(union)) * self.step
            fill = tuple((value + 255) // 2 for value in self._color(first))
            self.draw.rectangle([left + 2, self.band_top, right - 3, self.band_top + _BAND], fill=fill)
            if self._text_width(str(number)) + 6 < right - left:
                self._write(((left + right) / 2, self.band_top + _BAND / 2), str(number), anchor="mm")
            first += len(union)
        self._write((_LEFT - 14, self.band_top + _BAND / 2), "union", _GREY, anchor="rm")
        if self.count <= _TILES:
            return  # the numbers are below the frames already, which have the positions of their tokens
        below = self.band_top + _BAND + 12
        labels = [str(frame) for frame in self.similarity.frames]
        every = math.ceil(1.4 * max(map(self._text_width, labels)) / self.step)
        for token in range(0, self.count, every):
            self._write((self._place(token), below), labels[token], _GREY, anchor="ma")
        self._write((_LEFT - 14, below), "frame", _GREY, anchor="ra")


def _ticks(lowest: float) -> tuple[float, float]:
    """The start of the axis that ends at 1, and the step between its lines: 1, 2 or 5 of some digit."""
    span = max(1 - lowest, 0.001)
    digit = 10.0 ** math.floor(math.log10(span / 5))
    step = next(digit * factor for factor in (1, 2, 5, 10) if span / (digit * factor) <= 5)
    return 1 - math.ceil(span / step - 1e-9) * step, step
