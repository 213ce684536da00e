"""The rule that brings masks to a feature grid: the pixels that it reads, and the cells that follow from them."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError

__all__ = ["MASK_POLICIES", "GridRule"]

MASK_POLICIES = ("keep", "original")
"""How masks come to the feature grid: `"keep"` never loses a small object, `"original"` is the released code."""

_MOST_CELLS = 4096  # a side; those of towers have tens


class GridRule:
    """How masks of one size become cells of a feature grid: the rule of `resize_masks`, for masks stored anywhere.

    Args:
        size (`tuple[int, int]`): height and width of the masks, in pixels.
        grid, policy, pad_to_square: as in `resize_masks`.

    Attributes:
        grid (`tuple[int, int]`): rows and columns of the grid.
        rows (`torch.LongTensor` of shape `(2 * grid_rows,)`): rows of a mask that the rule reads, on the CPU.
        columns (`torch.LongTensor` of shape `(2 * grid_columns,)`): the same for columns. Only the pixels where one of
            these rows crosses one of these columns decide which cells belong to a mask that is not lost.
        keeps (`bool`): whether a mask that no cell sees gets the cell that it covers most.

    Raises:
        ConfigurationError: the policy or the grid is unknown.
    """

    def __init__(
        self, size: tuple[int, int], grid: int | tuple[int, int], policy: str = "keep", pad_to_square: bool = False
    ) -> None:
        check_policy(policy)
        self.grid = read_grid(grid)
        self.keeps = policy == "keep"
        self._size = height, width = size
        side = max(height, width)
        self._full = (side, side) if pad_to_square else (height, width)
        self._offset = ((self._full[0] - height) // 2, (self._full[1] - width) // 2)
        self.rows, self._row_used = _taps(self._full[0], self.grid[0], self._offset[0], height)
        self.columns, self._column_used = _taps(self._full[1], self.grid[1], self._offset[1], width)

    def cells(self, seen: Tensor) -> Tensor:
        """Return the cells in which masks are seen.

        Args:
            seen (`torch.Tensor` of shape `(num_masks, 2 * grid_rows, 2 * grid_columns)` and dtype `bool`):
                The pixels of each mask at `rows` and `columns`.

        Returns:
            `torch.Tensor` of shape `(num_masks, grid_rows, grid_columns)` and dtype `bool`. A mask without a cell is
            lost; see `fullest`.
        """
        used = (self._row_used[:, None] & self._column_used).to(seen.device)
        seen = (seen & used).view(-1, 2, self.grid[0], 2, self.grid[1])
        seen = seen[:, 0] | seen[:, 1]
        return seen[:, :, 0] | seen[:, :, 1]

    def fullest(self, box: Tensor, top: int, left: int) -> int:
        """Return the cell that a mask covers most, counted row by row.

        Args:
            box (`torch.Tensor` of shape `(height, width)` and dtype `bool`):
                The smallest box that holds all of the mask: sums over further zeros might be rounded differently,
                    which
                decides between cells that are covered equally.
            top, left (`int`): the offset of the box in the mask.
        """
        places = zip(self._full, self.grid, self._offset, self._size, (top, left), box.shape, strict=True)
        rows, columns = (_shares(*axis)[:, first : first + length] for *axis, first, length in places)
        return int((rows @ box.to("cpu", rows.dtype) @ columns.T).argmax())


def check_policy(policy: str) -> None:
    """Refuse an unknown mask policy."""
    if not isinstance(policy, str) or policy not in MASK_POLICIES:
        raise ConfigurationError(
            f"Unknown mask policy {short(policy)}; known are {', '.join(map(repr, MASK_POLICIES))}."
        )


def read_grid(grid: int | tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of a grid; a single number stands for a square one."""
    size = (grid, grid) if isinstance(grid, int) else tuple(grid) if isinstance(grid, Sequence) else ()
    if len(size) != 2 or any(
        isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= _MOST_CELLS for side in size
    ):
        raise ConfigurationError(
            f"A feature grid is one whole number of cells, or a row and a column count, each at most {_MOST_CELLS}, "
            f"but {short(grid)} was given."
        )
    return size


@lru_cache(maxsize=64)
def _taps(size: int, cells: int, offset: int, length: int) -> tuple[Tensor, Tensor]:
    """Pixels that bilinear interpolation weighs along one axis: their index, and whether they count, `(2 * cells,)`.

    `size` is the padded length, of which `length` pixels from `offset` on exist; the others are zero.
    Computed on the CPU, in double precision where needed, which not every accelerator supports.
    """
    cell = torch.arange(cells, dtype=torch.float32)
    if size == cells:
        first, fraction = cell.long(), torch.zeros_like(cell)
    else:
        # The interpolation's own arithmetic, a float32 scale and a fused multiply-add (exact in float64, rounded
        # once): whether a weight is exactly zero decides a cell.
        scale = torch.tensor(size, dtype=torch.float32) / cells
        position = (scale.double() * (cell.double() + 0.5) - 0.5).float().clamp(min=0)
        first = position.long().clamp(max=size - 1)
        fraction = position - first
    pixel = torch.cat([first, (first + 1).clamp(max=size - 1)]) - offset
    used = torch.cat([fraction < 1, fraction > 0]) & (pixel >= 0) & (pixel < length)
    return pixel.clamp(0, length - 1), used


@lru_cache(maxsize=8)  # of half a megabyte each, where frames are large
def _shares(size: int, cells: int, offset: int, length: int) -> Tensor:
    """Share of every pixel in every cell along one axis, `(cells, length)`; arguments as in `_taps`."""
    edge = torch.arange(length, dtype=torch.float64) + offset
    low = torch.arange(cells, dtype=torch.float64)[:, None] * size / cells
    high = low + size / cells
    return (torch.minimum(high, edge + 1) - torch.maximum(low, edge)).clamp(min=0).float()
