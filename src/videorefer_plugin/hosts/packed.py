"""Hosts that encode frames of any size, packed one after the other, with their grids in a `..._grid_thw` tensor."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from videorefer_plugin.errors import TensorError
from videorefer_plugin.hosts.grids import FrameGrids, VisualGrid
from videorefer_plugin.hosts.registry import Visual, first_rows
from videorefer_plugin.hosts.rows import EncodedRows, RowHost, TowerRow
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.distinct import distinct_frames
from videorefer_plugin.models.videorefer.feature_rows import token_counts
from videorefer_plugin.object_encoder.checks import whole_numbers

__all__ = ["MergeBlockHost", "PackedHost", "merge_block_order"]

_BY_VISUAL = ("pooler_output", "deepstack_features")  # what hosts split by visuals


class PackedHost(RowHost):
    """See [`Host`]. `merge_size` is the factor by which the tower's output is coarser than `..._grid_thw`."""

    equal_frames = False
    places_images = True

    def grid_sizes(self, kind: str, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the rows of each visual, `(num_visuals,)`, and the size of its grid, `(num_visuals, 2)`.

        Raises:
            TensorError: the tensor with the grids is missing.
        """
        grid = inputs.get(f"{kind}_grid_thw")
        if grid is None:
            raise TensorError(f"Regions need {kind}_grid_thw. Pass all outputs of the processor on.")
        return grid[:, 0], grid[:, 1:]

    def check_pixels(self, kind: str, pixels: Any, inputs: dict[str, Any]) -> None:
        """See [`Host.check_pixels`]. The grids must add up to the number of patches."""
        super().check_pixels(kind, pixels, inputs)
        name, grid = f"{kind}_grid_thw", inputs.get(f"{kind}_grid_thw")
        if torch.compiler.is_compiling() or not isinstance(pixels, Tensor):
            return
        if not isinstance(grid, Tensor) or grid.ndim != 2 or grid.shape[1] != 3 or not whole_numbers(grid):
            given = f"is a {type(grid).__name__}"
            if isinstance(grid, Tensor):
                given = f"has shape {tuple(grid.shape)} and dtype {grid.dtype}"
            raise TensorError(
                f"{name} must be whole numbers of shape (num_{kind}s, 3), frames, rows and columns of each {kind}, "
                f"but {given}. Pass all outputs of the processor on."
            )
        patches = sum(frames * height * width for frames, height, width in grid.tolist())
        if pixels.ndim != 2 or len(pixels) != patches or bool((grid < 1).any()):
            raise TensorError(
                f"{self.encoders[kind][0]} must have a row for each patch, {patches} by {name}, but has shape "
                f"{tuple(pixels.shape)}. Pass all outputs of one call of the processor on."
            )

    def lay_out(self, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> FrameGrids:
        """See [`Host.lay_out`]."""
        rows, sizes = self.grid_sizes(kind, inputs)
        cells = output.last_hidden_state
        sizes = sizes.to(cells.device).repeat_interleave(rows.to(cells.device), dim=0)
        return FrameGrids(cells, sizes, self.order(model, kind, cells, inputs), of_any_size=True)

    def visual_rows(self, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """See [`Host.visual_rows`]."""
        return self.grid_sizes(kind, inputs)[0], token_counts(output.pooler_output)

    def encode_distinct(self, encode: Callable[..., Any], kind: str, pixels: Tensor, arguments: dict[str, Any]) -> Any:
        """See [`Host.encode_distinct`]. Rows of features are encoded one by one, each of them packed patches."""
        grid, merge = arguments.get(f"{kind}_grid_thw"), arguments.get(f"{kind}_merge_sizes")
        plain = super().encode_distinct
        if grid is None or (merge is not None and len(set(merge.tolist())) > 1):
            return plain(encode, kind, pixels, arguments)
        rows = _Rows.of(grid)
        if sum(rows.patches) != len(pixels):  # for the host to refuse
            return plain(encode, kind, pixels, arguments)
        first, place = rows.distinct(pixels)
        if len(first) == len(rows.patches):
            return plain(encode, kind, pixels, arguments)
        arguments = {**arguments, f"{kind}_grid_thw": grid.new_tensor([(1, *rows.sizes[row]) for row in first])}
        if merge is not None:
            arguments[f"{kind}_merge_sizes"] = merge[:1].expand(len(first))
        parts = pixels.split(rows.patches)
        return rows.spread(plain(encode, kind, torch.cat([parts[row] for row in first]), arguments), first, place)

    def row_parts(self, model: Any) -> tuple[str, ...]:
        """See [`RowHost.row_parts`]."""
        layers = getattr(model.config.vision_config, "deepstack_visual_indexes", None) or ()
        return ("features", "tokens", *(f"deepstack {number}" for number in range(len(layers))))

    def cut_rows(self, model: Any, kind: str, inputs: dict[str, Any]) -> list[TowerRow] | None:
        """See [`RowHost.cut_rows`]."""
        pixels, (grid,) = inputs[self.encoders[kind][0]], inputs[f"{kind}_grid_thw"].tolist()
        merge = inputs.get(f"{kind}_merge_sizes")
        size = (*grid[1:], *([] if merge is None else merge.tolist()))
        return [TowerRow(patches, size) for patches in pixels.split(grid[1] * grid[2])]

    def encode_rows(self, model: Any, kind: str, rows: Sequence[TowerRow]) -> list[dict[str, Tensor]]:
        """See [`RowHost.encode_rows`]."""
        encode = getattr(model.base_model, self.encoders[kind][1])
        pixels = torch.cat([row.pixels for row in rows]).to(device_of(model))
        output = encode(pixels, **self._row_grids(model, kind, rows, merged=False), return_dict=True)
        features = output.last_hidden_state.chunk(len(rows))
        deepstack = getattr(output, "deepstack_features", None) or []
        parts = [features, output.pooler_output, *deepstack]
        return [dict(zip(self.row_parts(model), row, strict=True)) for row in zip(*parts, strict=True)]

    def _row_grids(self, model: Any, kind: str, rows: Sequence[TowerRow], merged: bool) -> dict[str, Tensor]:
        """The arguments with the sizes of rows: each is a visual, or (`merged`) all are frames of one."""
        sizes = [(1, *row.size[:2]) for row in rows]
        if merged:
            sizes = [(len(rows), *rows[0].size[:2])]
        grids = {f"{kind}_grid_thw": torch.tensor(sizes, device=device_of(model))}
        merges = [row.size[2:] for row in rows][: len(sizes)]
        if merges[0]:
            grids[f"{kind}_merge_sizes"] = torch.tensor(merges, device=device_of(model)).flatten()
        return grids

    def join_rows(self, model: Any, kind: str, parts: Sequence[dict[str, Tensor]]) -> Any:
        """See [`RowHost.join_rows`]."""
        joined = [(torch.cat([each[name] for each in parts]),) for name in self.joined_parts(model)]
        return EncodedRows(pooler_output=joined[0], deepstack_features=joined[1:] or None)

    def lay_out_rows(self, model: Any, kind: str, rows: Sequence[TowerRow], features: Sequence[Tensor]) -> FrameGrids:
        """See [`RowHost.lay_out_rows`]."""
        output = EncodedRows(last_hidden_state=torch.cat(list(features)))
        return self.lay_out(model, kind, output, self._row_grids(model, kind, rows, merged=True))

    def order(self, model: Any, kind: str, cells: Tensor, inputs: dict[str, Any]) -> Tensor | None:
        """The index of each feature, as in [`FrameGrids`]; in order by default."""
        return None

    def locate(
        self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual], patch_size: int
    ) -> list[VisualGrid | None]:
        """See [`Host.locate`]."""
        found: list[tuple[int, tuple[int, int]]] = [(0, (0, 0))] * len(visuals)
        for kind in ("video", "image"):
            places = [place for place, visual in enumerate(visuals) if visual.kind == kind]
            if not places:
                continue
            rows, sizes = self.grid_sizes(kind, outputs)
            for place, count, (height, width) in zip(places, rows.tolist(), sizes.tolist(), strict=True):
                found[place] = count, (height, width)
        first = first_rows(visuals, [count for count, _ in found])
        return [
            # The last frame is repeated if the number of frames is odd, hence rounded up.
            None if row is None else VisualGrid(row, size, -(-visual.num_frames // count))
            for visual, row, (count, size) in zip(visuals, first, found, strict=True)
        ]


class _Rows(NamedTuple):
    """The rows of features of packed visuals, which a tower does not mix.

    Attributes:
        sizes (`list[tuple[int, int]]`): height and width of each, in patches.
        patches (`list[int]`): number of patches of each.
        visuals (`list[int]`): how many rows each visual has.
    """

    sizes: list[tuple[int, int]]
    patches: list[int]
    visuals: list[int]

    @classmethod
    def of(cls, grid: Tensor) -> "_Rows":
        sizes = [(height, width) for rows, height, width in grid.tolist() for _ in range(rows)]
        return cls(sizes, [height * width for height, width in sizes], grid[:, 0].tolist())

    def distinct(self, pixels: Tensor) -> tuple[list[int], list[int]]:
        """Rows that are not equal to an earlier one, and for each row its index among these."""
        if len(set(self.sizes)) == 1:
            return distinct_frames(pixels.unflatten(0, (len(self.sizes), -1)))
        parts = pixels.split(self.patches)
        same: dict[int, int] = {}
        for size in set(self.sizes):
            alike = [row for row, own in enumerate(self.sizes) if own == size]
            first, place = distinct_frames(torch.stack([parts[row] for row in alike]))
            same |= {row: alike[first[one]] for row, one in zip(alike, place, strict=True)}
        kept = sorted(set(same.values()))
        return kept, [kept.index(same[row]) for row in range(len(self.sizes))]

    def spread(self, output: Any, first: list[int], place: list[int]) -> Any:
        """Expand the tower's output for the distinct rows to all visuals."""
        total = sum(self.patches[row] for row in first)

        def by_row(value: Any) -> Any:
            if isinstance(value, Tensor):
                parts = value.split([self.patches[row] * len(value) // total for row in first])
                return torch.cat([parts[one] for one in place])
            return type(value)([by_row(each) for each in value]) if isinstance(value, (list, tuple)) else value

        def by_visual(parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
            rows = iter(place)
            return tuple(torch.cat([parts[next(rows)] for _ in range(count)]) for count in self.visuals)

        laid_out = {name: by_row(value) for name, value in output.items() if name not in _BY_VISUAL}
        laid_out["pooler_output"] = by_visual(output.pooler_output)
        if "deepstack_features" in output:
            laid_out["deepstack_features"] = [by_visual(layer) for layer in output.deepstack_features]
        return type(output)(**laid_out)


class MergeBlockHost(PackedHost):
    """See [`Host`]. Patches are ordered in blocks that the tower's merger joins, two consecutive frames are fused."""

    def order(self, model: Any, kind: str, cells: Tensor, inputs: dict[str, Any]) -> Tensor | None:
        """See [`PackedHost.order`]."""
        merge = model.config.vision_config.spatial_merge_size
        return merge_block_order(inputs[f"{kind}_grid_thw"], merge).to(cells.device)


def merge_block_order(grid_thw: Tensor, merge: int) -> Tensor:
    """Return the index of each position in features that are ordered in blocks of `merge * merge` cells.

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
