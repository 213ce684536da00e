"""Names of objects, which are the targets of the parts of a small model."""

from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.errors import ConfigurationError

__all__ = ["naming_loss", "object_names"]


def naming_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy with all tokens of a name at once, each with an equal share."""
    real = labels >= 0
    chosen = scores.log_softmax(-1).gather(1, labels.clamp(min=0))
    return -((chosen * real).sum(1) / real.sum(1).clamp(min=1)).mean()


def object_names(sample: dict[str, Any], region_token: str, tokenizer: Any) -> list[Tensor]:
    """Return the names of a record's objects, which are the answers of its turns, as tokens.

    Raises:
        ConfigurationError: a turn is not about exactly one object.
    """
    turns = sample["record"].conversations
    names = []
    for question, answer in zip(turns[::2], turns[1::2], strict=True):
        if question["content"].count(region_token) != 1:
            raise ConfigurationError(
                f"{sample['record'].place}: names of objects are learned from records with one object in each "
                f"question, but this one asks {question['content']!r}."
            )
        names.append(torch.tensor(tokenizer(" " + answer["content"], add_special_tokens=False).input_ids))
    return names
