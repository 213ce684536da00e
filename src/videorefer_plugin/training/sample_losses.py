"""The sums of an evaluation: the loss of each sample, and the number of its tokens."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["losses_of_samples", "region_ids"]

_IGNORED = -100


def region_ids(model: Any) -> list[int]:
    """Return the ids of placeholders, which are never supervised."""
    names = ("image_token_id", "video_token_id")
    config = getattr(model, "config", None)  # parts that are trained from scratch have none
    ids = [getattr(model, "region_token_id", None), *(getattr(config, name, None) for name in names)]
    return [one for one in ids if isinstance(one, int)]


def losses_of_samples(outputs: Any, labels: Tensor | None, placeholders: list[int]) -> Tensor:
    """Return the sum of the losses of each sample's tokens, and the number of these tokens.

    Args:
        outputs (`ModelOutput`): outputs of the model, with logits of shape `(batch, length, vocabulary)`.
        labels (`torch.LongTensor` of shape `(batch, length)`): the labels, -100 for unsupervised positions.
        placeholders (`list[int]`): ids of placeholders.

    Returns:
        `torch.Tensor` of shape `(batch, 2)` and dtype float32; without rows if there are no logits.
    """
    logits = outputs.get("logits") if hasattr(outputs, "get") else None
    if logits is None or labels is None:
        return torch.zeros((0, 2), device=None if labels is None else labels.device)
    rows = []
    for said, wanted in zip(logits[:, :-1], labels[:, 1:].to(logits.device), strict=True):
        counted = (wanted != _IGNORED) & ~torch.isin(wanted, wanted.new_tensor(placeholders))
        loss = F.cross_entropy(said[counted].float(), wanted[counted].long(), reduction="sum")
        rows.append(torch.stack([loss, counted.sum().float()]))
    return torch.stack(rows).detach()
