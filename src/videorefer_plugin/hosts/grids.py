"""The layout of the features of a batch: one grid of cells for every frame that a vision tower saw."""

from typing import NamedTuple

import torch
from torch import Tensor

from videorefer_plugin.errors import TensorError

__all__ = ["FrameGrids", "VisualGrid"]


class FrameGrids(NamedTuple):
    """Features of all frames of a batch, whose grids may differ in size.

    A row is one picture for the tower: a frame, or in some hosts a few consecutive frames fused into one.

    Attributes:
        cells (`torch.Tensor` of shape `(num_cells, vision_hidden_size)`): features, row by row.
        sizes (`torch.LongTensor` of shape `(num_rows, 2)`): height and width of each row's grid, in cells.
        order (`torch.LongTensor` of shape `(num_cells,)`, *optional*):
            For each position, counted row by row and within a row from left to right and top to bottom, the index of
            its features in `cells`. `None` if `cells` are in that order already.
        of_any_size (`bool`, *optional*, defaults to `False`):
            Whether grids depend on the sizes of visuals, so that masks may be padded to a larger grid of another
            sample.
    """

    cells: Tensor
    sizes: Tensor
    order: Tensor | None = None
    of_any_size: bool = False

    @classmethod
    def uniform(cls, features: Tensor, size: tuple[int, int] | None = None) -> "FrameGrids":
        """Make grids from features that are in order, with all rows of one size.

        Args:
            features (`torch.Tensor` of shape `(num_rows, height * width, vision_hidden_size)`): features.
            size (`tuple[int, int]`, *optional*): height and width; square by default.

        Raises:
            TensorError: the number of cells is not that of such a grid.
        """
        rows, cells = features.shape[:2]
        height, width = size or (round(cells**0.5),) * 2
        if height * width != cells:
            raise TensorError(f"{cells} feature(s) a frame do not make a grid of {height} x {width} cells.")
        sizes = torch.tensor([[height, width]], device=features.device).expand(rows, -1)
        return cls(features.reshape(rows * cells, -1), sizes)

    @classmethod
    def join(cls, grids: "list[FrameGrids]") -> "FrameGrids":
        """Concatenate grids."""
        if len(grids) == 1:
            return grids[0]
        device = grids[0].cells.device
        orders, first = [], 0
        for grid in grids:
            own = torch.arange(len(grid.cells), device=device) if grid.order is None else grid.order.to(device)
            orders.append(own + first)
            first += len(grid.cells)
        return cls(
            torch.cat([grid.cells.to(device) for grid in grids]),
            torch.cat([grid.sizes.to(device) for grid in grids]),
            torch.cat(orders),
            any(grid.of_any_size for grid in grids),
        )

    def gather(self, masks: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Select the rows that masks lie on, padded to the size of the masks.

        Args:
            masks (`torch.Tensor` of shape `(num_masks, height, width)`):
                Masks on the grids; height and width are those of the largest grid used, or larger.
            frames (`torch.LongTensor` of shape `(num_masks,)`): row of each mask.

        Returns:
            `tuple[torch.Tensor, torch.LongTensor]`: features of shape `(rows_used, height, width, D)`, each row once,
                and for each mask its row among these. No mask covers the padding of a smaller grid.

        Raises:
            TensorError: a row does not exist, or masks are of another size than the grids below them.
        """
        device = self.cells.device
        used, frames = torch.unique(frames.to(device), return_inverse=True)
        self._check_rows(used)
        areas = self.sizes.prod(dim=1)
        starts = (areas.cumsum(0) - areas)[used]
        heights, widths = self.sizes[used].unbind(dim=1)
        height, width = masks.shape[1:]
        row = torch.arange(height, device=device).expand(len(used), -1)
        column = torch.arange(width, device=device).expand(len(used), -1)
        _check_masks(masks.to(device), frames, (heights, widths), (row, column), self.of_any_size)
        row, column = torch.minimum(row, heights[:, None] - 1), torch.minimum(column, widths[:, None] - 1)
        place = starts[:, None, None] + row[:, :, None] * widths[:, None, None] + column[:, None, :]
        return self.cells[place if self.order is None else self.order[place]], frames

    def _check_rows(self, used: Tensor) -> None:
        if torch.compiler.is_compiling() or not used.numel():
            return
        if int(used[0]) < 0 or int(used[-1]) >= len(self.sizes):
            raise TensorError(
                f"Masks lie on rows {int(used[0])} to {int(used[-1])}, but the visuals of this batch have "
                f"{len(self.sizes)} feature grid(s), numbered from 0. Pass all outputs of one RegionProcessor call on."
            )


def _check_masks(
    masks: Tensor, frames: Tensor, sizes: tuple[Tensor, Tensor], places: tuple[Tensor, Tensor], of_any_size: bool
) -> None:
    (heights, widths), (row, column) = sizes, places
    if torch.compiler.is_compiling() or not len(heights):
        return
    largest, given = (int(heights.max()), int(widths.max())), tuple(masks.shape[1:])
    if given[0] < largest[0] or given[1] < largest[1] or (given != largest and not of_any_size):
        raise TensorError(
            f"region_masks are {masks.shape[1]} x {masks.shape[2]}, but the features below them form grids of "
            f"{largest[0]} x {largest[1]} cells. Use the RegionProcessor made for this model."
        )
    beyond = (row >= heights[:, None])[:, :, None] | (column >= widths[:, None])[:, None, :]
    if bool((beyond[frames] & (masks > 0)).any()):
        raise TensorError(
            "region_masks cover cells beyond the feature grid of their frame. Use the RegionProcessor made for this "
            "model, and pass all outputs of one call on."
        )


class VisualGrid(NamedTuple):
    """The position of a video or image among the rows of its sample, for processors.

    Attributes:
        first_row (`int`): row of its first frame, among those of its sample, counted from 0.
        size (`tuple[int, int]`): height and width of its grid, in cells.
        frames_per_row (`int`): consecutive frames that share a row.
        pad_to_square (`bool`): whether frames were centered on a square before they were resized.
    """

    first_row: int
    size: tuple[int, int]
    frames_per_row: int = 1
    pad_to_square: bool = False
