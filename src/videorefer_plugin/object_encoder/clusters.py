"""K-means that gives the same result every time: the cells of an object become a handful of centers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from videorefer_plugin._text import short
from videorefer_plugin.errors import TensorError

__all__ = ["cluster_cells", "read_initial_cells"]

_ABSOLUTE, _RELATIVE = 1e-6, 1e-5  # a center that moved by no more than this has not moved


def cluster_cells(cells: Tensor, counts: Tensor, centers: int, rounds: int, initial: Tensor | None = None) -> Tensor:
    """Reduce the cells of every mask to at most so many vectors.

    A mask with at most `centers` cells keeps them unchanged. The cells of any other mask are clustered by
    squared Euclidean distance, in float32; a tie goes to the lower center, a cluster without cells keeps its center.
    Rounds end as soon as no center of the mask moves, and the centers before that round are the result. All masks are
    clustered at once, and gradients flow into the cells.

    Args:
        cells (`torch.Tensor` of shape `(num_masks, max_cells, dim)`):
            The cells of each mask, those that count first.
        counts (`torch.LongTensor` of shape `(num_masks,)`): number of cells of each mask.
        centers (`int`): the most vectors of a mask, at least 1.
        rounds (`int`): the most rounds.
        initial (`torch.LongTensor` of shape `(num_masks, centers)`, *optional*):
            Cells that the centers start from, as [`read_initial_cells`] returns them; -1 for the fixed rule, which
            cuts the cells into equal stretches and takes the middle of each.

    Returns:
        `torch.Tensor` of shape `(num_masks, centers, dim)` in the dtype of `cells`, of which `min(count, centers)`
        rows of each mask count.
    """
    static = torch.compiler.is_compiling()
    masks, most, width = cells.shape
    if most < centers:
        cells = torch.cat([cells, cells.new_zeros((masks, centers - most, width))], dim=1)
    kept = cells[:, :centers]
    many = counts > centers
    if most <= centers or not (static or bool(many.any())):
        return kept
    chosen = torch.arange(masks, device=cells.device) if static else many.nonzero().flatten()
    start = _start(counts, centers)
    if initial is not None:
        start = torch.where(initial >= 0, initial.to(start.device), start)
    with torch.autocast(cells.device.type, enabled=False):
        found = _settle(cells[chosen].float(), counts[chosen], start[chosen], rounds).to(cells.dtype)
    if static:
        return torch.where(many[:, None, None], found, kept)
    return kept.index_copy(0, chosen, found)


def _start(counts: Tensor, centers: int) -> Tensor:
    """Middles of equal stretches of cells, `(num_masks, centers)`."""
    return (2 * torch.arange(centers, device=counts.device) + 1) * counts[:, None] // (2 * centers)


def _settle(cells: Tensor, counts: Tensor, start: Tensor, rounds: int) -> Tensor:
    centers = cells.gather(1, start[:, :, None].expand(-1, -1, cells.shape[2]))
    real = torch.arange(cells.shape[1], device=cells.device) < counts[:, None]
    number = torch.arange(start.shape[1], device=cells.device)[:, None]
    for _ in range(rounds):
        with torch.no_grad():
            distances = torch.cdist(centers, cells, compute_mode="donot_use_mm_for_euclid_dist")
            nearest = distances.argmin(dim=1, keepdim=True)
            members = ((nearest == number) & real[:, None]).to(cells.dtype)
            sizes = members.sum(dim=2, keepdim=True)
        # A product of matrices, since sums by index change from run to run on a GPU.
        updated = torch.where(sizes > 0, torch.bmm(members, cells) / sizes.clamp(min=1), centers)
        with torch.no_grad():
            still = (updated - centers).abs() <= _ABSOLUTE + _RELATIVE * centers.abs()
            moved = ~still.flatten(1).all(dim=1)
        # A mask that has settled would settle in the same way again, so there is no need to skip it.
        centers = torch.where(moved[:, None, None], updated, centers)
        if not torch.compiler.is_compiling() and not bool(moved.any()):
            break
    return centers


def read_initial_cells(
    given: Sequence[Sequence[int] | None] | Tensor | None, counts: Tensor, centers: int
) -> Tensor | None:
    """Read and check the cells that k-means is to start from.

    Args:
        given (`Sequence` or `torch.LongTensor` of shape `(num_masks, centers)`, *optional*):
            For each mask as many different numbers of its cells as there are centers, counted among the object's cells
            in row-major order; `None` (in a tensor, -1 throughout) for the fixed rule.
        counts (`torch.LongTensor` of shape `(num_masks,)`): number of cells of each mask.
        centers (`int`): number of centers.

    Returns:
        `torch.LongTensor` of shape `(num_masks, centers)`, or `None` without any.

    Raises:
        TensorError: they do not fit the masks.
    """
    if given is None:
        return None
    if isinstance(given, Tensor) and torch.compiler.is_compiling():
        return given
    rows = given.tolist() if isinstance(given, Tensor) else given
    sizes = counts.tolist()
    if not isinstance(rows, Sequence) or isinstance(rows, str) or len(rows) != len(sizes):
        held = len(rows) if isinstance(rows, Sequence) else short(rows)
        raise TensorError(
            f"region_initial_cells must have one list of cells, or None, for each of the {len(sizes)} mask(s), but "
            f"{held} were given."
        )
    read = torch.full((len(sizes), centers), -1, dtype=torch.long)
    for mask, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        if row is None or size <= centers or (isinstance(given, Tensor) and set(row) == {-1}):
            continue
        whole = isinstance(row, Sequence) and all(type(cell) is int and 0 <= cell < size for cell in row)
        if not whole or len(row) != centers or len(set(row)) != centers:
            raise TensorError(
                f"region_initial_cells of mask {mask} must be {centers} different numbers of its {size} cells, from 0 "
                f"to {size - 1}, but are {short(row)}."
            )
        read[mask] = torch.tensor(row)
    return read.to(counts.device)
