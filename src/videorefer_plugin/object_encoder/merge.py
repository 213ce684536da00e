"""Temporal Token Merge: the frames of one object are merged into a handful of tokens."""

import torch
from torch import Tensor
from torch.nn import functional as F

from videorefer_plugin._kinds import INTEGER, check_kind
from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.object_encoder.checks import FEATURE_VALUES, check_finite, check_tensors

__all__ = ["adjacent_similarity", "merge_tokens"]


def merge_tokens(
    tokens: Tensor, lengths: Tensor, max_tokens: int, *, values: bool = True, static: bool = False
) -> tuple[Tensor, Tensor]:
    """Merge the most similar neighbors of every region until at most `max_tokens` are left.

    For a region of k > u tokens, the k - u neighboring pairs of highest cosine similarity (paper, equation 2) are
    joined, the earlier pair first where similarities are equal; each run of joined tokens, a union, is replaced by
    its average. A region of k <= u tokens is left alone. All regions are merged at once.

    Args:
        tokens (`torch.Tensor` of shape `(sum(lengths), dim)`):
            Tokens of all regions one after the other, within a region in the order in which neighbors are compared:
            that of time, or with the mask policy `"original"` that of the annotation.
        lengths (`torch.LongTensor` of shape `(num_regions,)`):
            Number of tokens k of each region.
        max_tokens (`int`):
            Number of unions u.
        values (`bool`, *optional*, defaults to `True`):
            Whether to look for NaN and infinity.
        static (`bool`, *optional*, defaults to `False`):
            Whether shapes must not depend on values, as in one graph: the result is padded with zeros to the number of
            tokens that were given.

    Returns:
        `tuple[torch.Tensor, torch.LongTensor]`: the merged tokens of shape `(sum(counts), dim)` in the dtype of
        `tokens`, and `counts` of shape `(num_regions,)`, which is exactly `min(k, u)` for each region.

    Raises:
        TensorError: shapes do not fit, a length is negative, or there is NaN or infinity.
        ConfigurationError: `max_tokens` is less than 1.
    """
    lengths = _checked(tokens, lengths, max_tokens, values)
    counts = lengths.clamp(max=max_tokens)
    num_tokens = tokens.shape[0]
    if num_tokens < 2:
        return tokens, counts
    wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    joined = _pairs(wide, lengths, max_tokens)[1]

    union = F.pad((~joined).long().cumsum(0), (1, 0))
    num_merged = num_tokens if static else int(counts.sum())
    merged = wide.new_zeros((num_merged, tokens.shape[1])).index_add(0, union, wide)
    sizes = torch.zeros(merged.shape[0], dtype=wide.dtype, device=tokens.device).index_add(
        0, union, torch.ones(num_tokens, dtype=wide.dtype, device=tokens.device)
    )
    return (merged / sizes.clamp(min=1)[:, None]).to(tokens.dtype), counts


def adjacent_similarity(tokens: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
    """Compare neighbors as [`merge_tokens`] does, and return which of them it joins (paper, equation 2 and figure 7).

    Args:
        tokens (`torch.Tensor` of shape `(sum(lengths), dim)`):
            Tokens of all regions before they are merged, such as [`pool_masks`] returns: one per mask, region by
                region,
            within a region in the order in which neighbors are compared.
        lengths (`torch.LongTensor` of shape `(num_regions,)`):
            Number of tokens k of each region.
        max_tokens (`int`):
            Number of unions u.

    Returns:
        `tuple[torch.Tensor, torch.BoolTensor]` of shape `(num_pairs,)` each, region by region, where a region of k
        tokens has k - 1 pairs, and none if it has a single token or no token: the cosine similarity of each pair, from
        -1 to 1, in float32 (float64 for float64 tokens) and without a gradient; and whether the pair is joined into
        one union, which holds for `max(k - u, 0)` pairs of the region.

    Raises:
        TensorError: shapes do not fit, a length is negative, or there is NaN or infinity.
        ConfigurationError: `max_tokens` is less than 1.

    Examples:
        >>> tokens = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> similarities, joined = adjacent_similarity(tokens, torch.tensor([3]), max_tokens=2)
        >>> similarities.tolist(), joined.tolist()
        ([1.0, 0.0], [True, False])
    """
    lengths = _checked(tokens, lengths, max_tokens, values=True)
    wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    similarity, joined = _pairs(wide, lengths, max_tokens)
    inside = similarity != -torch.inf
    return similarity[inside], joined[inside]


def _checked(tokens: Tensor, lengths: Tensor, max_tokens: int, values: bool) -> Tensor:
    """Return the lengths as int64, after checking that the arguments fit together."""
    check_kind(ConfigurationError, INTEGER, max_tokens=max_tokens)
    if max_tokens < 1:
        raise ConfigurationError(f"max_tokens must be at least 1, but {max_tokens!r} was given.")
    check_tensors(tokens=tokens, lengths=lengths)
    if tokens.ndim != 2 or lengths.ndim != 1:
        raise TensorError(
            "tokens must have shape (sum(lengths), dim) and lengths (num_regions,), "
            f"but have shapes {tuple(tokens.shape)} and {tuple(lengths.shape)}."
        )
    if lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise TensorError(f"lengths must be of an integer dtype, but are {lengths.dtype}.")
    lengths = lengths.long()
    if not torch.compiler.is_compiling():
        if lengths.numel() and int(lengths.min()) < 0:
            raise TensorError(f"lengths must not be negative, but are {lengths.tolist()}.")
        if int(lengths.sum()) != tokens.shape[0]:
            raise TensorError(f"lengths add up to {int(lengths.sum())}, but there are {tokens.shape[0]} tokens.")
    if values:
        check_finite("tokens", tokens, FEATURE_VALUES)
    return lengths


def _pairs(wide: Tensor, lengths: Tensor, max_tokens: int) -> tuple[Tensor, Tensor]:
    """Similarity of each token to the next, minus infinity across regions, and whether the two are joined."""
    num_tokens = wide.shape[0]
    region = torch.repeat_interleave(torch.arange(len(lengths), device=wide.device), lengths, output_size=num_tokens)
    left = region[:-1]  # the pair (i, i + 1) belongs to the region of token i
    similarity = F.cosine_similarity(wide[:-1].detach(), wide[1:].detach(), dim=-1)
    similarity = similarity.masked_fill(left != region[1:], -torch.inf)  # never joined across regions

    # Rank of each pair within its region; both sorts are stable, so ties keep the order of the tokens.
    order = similarity.argsort(descending=True, stable=True)
    order = order[left[order].argsort(stable=True)]
    rank = torch.empty_like(order)
    first = lengths.cumsum(0) - lengths
    rank[order] = torch.arange(len(order), device=wide.device) - first[left[order]]
    return similarity, rank < (lengths - max_tokens)[left]
