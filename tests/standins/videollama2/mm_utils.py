import torch

from .constants import MODAL_INDEX_MAP


def tokenizer_multimodal_token(prompt, tokenizer, multimodal_token, return_tensors=None):
    """Tokenise around a placeholder, which becomes one id."""
    ids = []
    for number, piece in enumerate(prompt.split(multimodal_token)):
        ids += [MODAL_INDEX_MAP[multimodal_token]] * (number > 0)
        ids += tokenizer(piece, add_special_tokens=False).input_ids
    return torch.tensor(ids) if return_tensors == "pt" else ids
