"""Hosts that encode frames of any size, packed one after the other, with their grids in a `..._grid_thw` tensor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.errors import TensorError
from videorefer_plugin.hosts.grids import FrameGrids, VisualGrid
from videorefer_plugin.hosts.registry import Host, Visual

__all__ = ["MergeBlockHost", "PackedHost", "merge_block_order"]


class PackedHost(Host):
    """See [`Host`]. `merge_size` says by how much the tower's output is coarser than `..._grid_thw`."""

    equal_frames = False

    def grid_sizes(self, kind: str, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Rows of each visual, of shape `(num_visuals,)`, and the size of its grid, of shape `(num_visuals, 2)`.

        Raises:
            TensorError: the tensor with the grids is missing.
        """
        grid = inputs.get(f"{kind}_grid_thw")
        if grid is None:
            raise TensorError(f"Regions need {kind}_grid_thw. Pass all outputs of the processor on.")
        return grid[:, 0], grid[:, 1:]

    def lay_out(self, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> FrameGrids:
        """See [`Host.lay_out`]."""
        rows, sizes = self.grid_sizes(kind, inputs)
        cells = output.last_hidden_state
        sizes = sizes.to(cells.device).repeat_interleave(rows.to(cells.device), dim=0)
        return FrameGrids(cells, sizes, self.order(model, kind, cells, inputs))

    def order(self, model: Any, kind: str, cells: Tensor, inputs: dict[str, Any]) -> Tensor | None:
        """Place of each feature, as in [`FrameGrids`]; in order by default."""
        return None

    def locate(
        self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual], patch_size: int
    ) -> list[VisualGrid | None]:
        """See [`Host.locate`]."""
        row = 0
        grids: list[VisualGrid | None] = [None] * len(visuals)
        for kind in ("video", "image"):
            places = [place for place, visual in enumerate(visuals) if visual.kind == kind]
            if not places:
                continue
            rows, sizes = self.grid_sizes(kind, outputs)
            for place, count, (height, width) in zip(places, rows.tolist(), sizes.tolist(), strict=True):
                # The last frame is repeated where the number of frames is odd, hence rounded up.
                fused = -(-visuals[place].num_frames // count)
                grids[place] = VisualGrid(row, (height, width), fused)
                row += count
        return grids


class MergeBlockHost(PackedHost):
    """See [`Host`]. Patches are ordered in blocks that the tower's merger joins, two consecutive frames are fused."""

    def order(self, model: Any, kind: str, cells: Tensor, inputs: dict[str, Any]) -> Tensor | None:
        """See [`PackedHost.order`]."""
        merge = model.config.vision_config.spatial_merge_size
        return merge_block_order(inputs[f"{kind}_grid_thw"], merge).to(cells.device)


def merge_block_order(grid_thw: Tensor, merge: int) -> Tensor:
    """Find each place in features that are ordered in blocks of `merge * merge` cells.

    Args:
        grid_thw (`torch.LongTensor` of shape `(num_visuals, 3)`): rows, height and width of each visual.
        merge (`int`): side of a block in cells.

    Returns:
        `torch.LongTensor` of shape `(num_cells,)`, as in [`FrameGrids`].
    """
    orders, first = [], 0
    for rows, height, width in grid_thw.tolist():
        cells = torch.arange(rows * height * width) + first
        blocks = cells.view(rows, height // merge, width // merge, merge, merge)
        orders.append(blocks.permute(0, 1, 3, 2, 4).reshape(-1))
        first += len(cells)
    return torch.cat(orders)
