"""Cropping an object from its frame: the box, the size at which it is shown, and the cells that are the object's."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from videorefer_plugin._text import short
from videorefer_plugin.errors import TensorError
from videorefer_plugin.object_encoder.grids import GridRule, check_policy

__all__ = ["Crop", "CropRule", "fit_size", "resize_crop"]

_WEIGHT = 2048  # one, in the 8-bit arithmetic of the resize


class Crop(NamedTuple):
    """The part of a frame that is shown for an object.

    Attributes:
        box (`tuple[int, int, int, int]`): first row, first column, end row and end column, ends excluded.
        resized (`tuple[int, int]`): height and width that the box is resized to, in pixels.
        shown (`tuple[int, int]`):
            Height and width that the vision tower sees, in pixels. With the mask policy `"keep"` these are `resized`;
            with `"original"` the image processor may resize once more.
        cells (`torch.Tensor` of shape `(rows, columns)` and dtype `bool`): cells of `resized` that are the object's.
    """

    box: tuple[int, int, int, int]
    resized: tuple[int, int]
    shown: tuple[int, int]
    cells: Tensor


@dataclass(frozen=True)
class CropRule:
    """The rule that cuts out masks: the box around the object and a margin, scaled so that enough cells see it.

    Args:
        patch_size (`int`): side of a cell, in pixels.
        wanted_cells (`int`): the number of cells that an object should cover at least.
        margin (`int`): pixels around the object.
        most_cells (`int`): an object that covers more cells than this is shown smaller.
        min_pixels, max_pixels (`int`): the fewest and the most pixels of a crop.
        max_enlargement (`int`): the largest factor by which an object is enlarged, with the mask policy `"keep"`.
    """

    patch_size: int = 14
    wanted_cells: int = 10
    margin: int = 28
    most_cells: int = 100
    min_pixels: int = 3136
    max_pixels: int = 1003520
    max_enlargement: int = 8

    def crop(
        self, mask: Any, frame_size: tuple[int, int], policy: str = "keep", max_pixels: int | None = None
    ) -> Crop:
        """Find the crop of a mask.

        Args:
            mask (array or `torch.Tensor` of shape `(height, width)`): every positive value counts.
            frame_size (`tuple[int, int]`): height and width of the frame, in pixels.
            policy (`str`, *optional*, defaults to `"keep"`):
                With `"keep"` enlargement is limited, and an object that no cell sees gets the cell that it covers
                most. With `"original"`, both follow the released code, and an object may have no cell.
            max_pixels (`int`, *optional*): replaces the rule's `max_pixels`.

        Raises:
            TensorError: the mask has no pixel, or another size than the frame.
        """
        check_policy(policy)
        pixels = _read_mask(mask, frame_size)
        top, bottom = _ends(pixels.any(dim=1))
        left, right = _ends(pixels.any(dim=0))
        margin, (height, width) = self.margin, frame_size
        box = (
            max(0, top - margin),
            max(0, left - margin),
            max(min(height - 1, bottom + margin), 1),
            max(min(width - 1, right + margin), 1),
        )
        sides = box[2] - box[0], box[3] - box[1]
        scale = self._scale(int(pixels.sum()), policy)
        cell = self.patch_size
        resized = math.ceil(sides[0] * scale / cell) * cell, math.ceil(sides[1] * scale / cell) * cell
        shown = fit_size(*resized, cell, self.min_pixels, max_pixels or self.max_pixels)
        if policy == "keep":
            resized = shown
        cut = pixels[box[0] : box[2], box[1] : box[3]]
        return Crop(box, resized, shown, self._cells(cut, resized, policy))

    def cells(self, mask: Any, frame_size: tuple[int, int], policy: str = "keep") -> Tensor:
        """The cells of the crop that are the object's, of shape `(rows, columns)`; see `crop`."""
        return self.crop(mask, frame_size, policy).cells

    def _scale(self, pixels: int, policy: str) -> float:
        cell = self.patch_size**2
        scale = math.ceil(math.sqrt(self.wanted_cells * cell / pixels))
        if scale > 1:
            return min(scale, self.max_enlargement) if policy == "keep" else scale
        return 1 / math.sqrt(pixels / cell / self.most_cells) if pixels / cell > self.most_cells else 1

    def _cells(self, cut: Tensor, resized: tuple[int, int], policy: str) -> Tensor:
        grid = resized[0] // self.patch_size, resized[1] // self.patch_size
        # On bytes, which PyTorch rounds to 0 or 1 in a particular way; rounding afterwards gives other cells.
        seen = F.interpolate(cut[None, None].byte(), size=grid, mode="bilinear", align_corners=False)[0, 0] > 0
        if policy == "keep" and not bool(seen.any()):
            fullest = GridRule((cut.shape[0], cut.shape[1]), grid).fullest(cut, 0, 0) if bool(cut.any()) else 0
            seen.view(-1)[fullest] = True
        return seen


def _read_mask(mask: Any, frame_size: tuple[int, int]) -> Tensor:
    mask = torch.as_tensor(mask)
    if tuple(mask.shape) != tuple(frame_size):
        raise TensorError(
            f"A mask has shape {tuple(mask.shape)}, but its frame is {frame_size[0]} high and {frame_size[1]} wide. "
            "Draw masks at the size of the frames."
        )
    pixels = mask if mask.dtype == torch.bool else mask > 0
    if not bool(pixels.any()):
        raise TensorError("A mask has no pixel, so there is nothing to crop. Leave out frames without the object.")
    return pixels.cpu()


def _ends(used: Tensor) -> tuple[int, int]:
    """First and last index with a nonzero value."""
    places = used.nonzero().flatten()
    return int(places[0]), int(places[-1])


def fit_size(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Return height and width of a picture for a tower that takes any size, in multiples of `factor`.

    A side shorter than `factor` is first enlarged to it, with the other in proportion; then the sides are rounded, and
    scaled together if there are fewer pixels than `min_pixels` or more than `max_pixels`.
    """
    if min(height, width) < factor:
        scale = factor / min(height, width)
        height, width = round(height * scale), round(width * scale)
    sides = [round(side / factor) * factor for side in (height, width)]
    if sides[0] * sides[1] > max_pixels:
        scale = math.sqrt(height * width / max_pixels)
        sides = [max(factor, math.floor(side / scale / factor) * factor) for side in (height, width)]
    elif sides[0] * sides[1] < min_pixels:
        scale = math.sqrt(min_pixels / (height * width))
        sides = [math.ceil(side * scale / factor) * factor for side in (height, width)]
    return sides[0], sides[1]


def resize_crop(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a picture bilinearly in the integer arithmetic of OpenCV, with bit-exact results.

    Args:
        picture (`torch.Tensor` of shape `(height, width, channels)` and dtype `uint8`): the picture.
        size (`tuple[int, int]`): height and width of the result.

    Returns:
        `torch.Tensor` of shape `(*size, channels)` and dtype `uint8`.

    Raises:
        TensorError: the picture is of another shape or dtype, or empty.
    """
    if picture.ndim != 3 or picture.dtype != torch.uint8 or not picture.numel():
        raise TensorError(
            "A picture to be cropped must be uint8 of shape (height, width, channels), but is of shape "
            f"{tuple(picture.shape)} and dtype {picture.dtype}."
        )
    if min(size) < 1:
        raise TensorError(f"A picture cannot be resized to {short(size)}, which has no pixel.")
    height, width = picture.shape[:2]
    if (height, width) == tuple(size):
        return picture.clone()
    (above, below), (upper, lower) = _taps(height, size[0], edge_alone=False)
    (before, after), (left, right) = _taps(width, size[1], edge_alone=True)
    rows, place = torch.cat([above, below]).unique(return_inverse=True)  # each row is resized once
    wide = picture[rows].int()
    sums = (wide[:, before] * left[:, None] + wide[:, after] * right[:, None]) >> 4
    first, second = sums[place[: size[0]]], sums[place[size[0] :]]
    upper, lower = upper[:, None, None], lower[:, None, None]
    return ((((upper * first) >> 16) + ((lower * second) >> 16) + 2) >> 2).clamp(0, 255).byte()


def _taps(size: int, wanted: int, edge_alone: bool) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two pixels that each new one is made of, and their weights in 2048ths, along one axis."""
    position = ((torch.arange(wanted, dtype=torch.float64) + 0.5) / (wanted / size) - 0.5).float()
    first = position.floor()
    fraction = position - first
    first = first.int()
    if edge_alone:
        outside = (first < 0) | (first >= size - 1)
        fraction = fraction.masked_fill(outside, 0)
    weights = (((1 - fraction) * _WEIGHT).round().int(), (fraction * _WEIGHT).round().int())
    return (first.clamp(0, size - 1), (first + 1).clamp(0, size - 1)), weights
