"""The letters of options in answers: their positions, and a loss with a separate weight for them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LetterLoss", "letter_places"]

_IGNORED = -100
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class LetterLoss:
    """The mean loss of all other tokens, plus that of the letters of options, such as the A of "Answer: red (A)".

    A letter is one token of many, so that it has little weight in the mean of all tokens, though it is the answer. For
    `compute_loss_func` of a [`VideoReferTrainer`]; batches of one step are weighted by their supervised tokens.

    Args:
        tokenizer: the model's tokenizer.
        weight (`float`): weight of the letters' mean loss.
    """

    def __init__(self, tokenizer: Any, weight: float):
        self.weight = weight
        self.openers, self.letters, self.whole = _ids(tokenizer)

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        """Compute the loss.

        Args:
            outputs (`ModelOutput`): outputs of the model, with logits of shape `(batch, length, vocabulary)`.
            labels (`torch.LongTensor` of shape `(batch, length)`): the labels, -100 for unsupervised positions.
            num_items_in_batch (*optional*): number of supervised tokens in all batches of the step, in all processes.
        """
        wanted = labels[:, 1:].to(outputs.logits.device)
        counted = wanted != _IGNORED
        here = letter_places(labels, self.openers, self.letters, self.whole)[:, 1:].to(wanted.device)[counted]
        losses = F.cross_entropy(outputs.logits[:, :-1][counted].float(), wanted[counted], reduction="none")
        total = losses.sum() * 0
        if bool((~here).any()):
            total = total + losses[~here].mean()
        if bool(here.any()):
            total = total + self.weight * losses[here].mean()
        return total if num_items_in_batch is None else total * len(losses) / num_items_in_batch


def letter_places(ids: Tensor, openers: Tensor, letters: Tensor, whole: Tensor) -> Tensor:
    """Return the positions of the letters of options in sequences of tokens, bool of shape `(batch, length)`."""
    ids = ids.cpu()
    found = torch.isin(ids, whole)
    found[:, 1:] |= torch.isin(ids[:, 1:], letters) & torch.isin(ids[:, :-1], openers)
    return found


def _ids(tokenizer: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens that end in an opening parenthesis, tokens of capitals after one, and tokens that are both."""
    openers, letters, whole = set(), set(), set()
    for before in ("", "red "):
        for letter in _LETTERS:
            text = f"{before}({letter})"
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            place = text.index(letter, len(before))
            (at,) = (i for i, (start, end) in enumerate(encoded["offset_mapping"]) if start <= place < end)
            if encoded["offset_mapping"][at][0] < place:
                whole.add(encoded["input_ids"][at])
            else:
                letters.add(encoded["input_ids"][at])
                openers.add(encoded["input_ids"][at - 1])
    return tuple(torch.tensor(sorted(found), dtype=torch.long) for found in (openers, letters, whole))  # type: ignore[return-value]
