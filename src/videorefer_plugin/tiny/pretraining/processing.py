"""Tokenizers and processors of pretrained parts."""

from collections.abc import Iterator
from typing import Any

from transformers import Qwen2Tokenizer, SiglipImageProcessor

from videorefer_plugin.models.videorefer.processing import VideoReferProcessor
from videorefer_plugin.training.dataset import VideoReferDataset

__all__ = ["image_processor", "processor_of", "texts_of", "train_tokenizer"]

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # those of Qwen2
_TEMPLATE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|im_start|>assistant\n"


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Qwen2Tokenizer:
    """Train a byte-level tokenizer of Qwen2's kind.

    Args:
        texts (`Iterator[str]`): training texts.
        vocab_size (`int`): most tokens of the vocabulary, special ones included.
    """
    empty = Qwen2Tokenizer(vocab={_SPECIAL[0]: 0}, merges=[])
    tokenizer = empty.train_new_from_iterator(texts, vocab_size=vocab_size, new_special_tokens=list(_SPECIAL[1:]))
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    return tokenizer


def texts_of(dataset: VideoReferDataset) -> Iterator[str]:
    """Yield the training texts of a tokenizer: all conversations, and the text between their turns."""
    yield _TEMPLATE
    for index in range(len(dataset)):
        yield "\n".join(turn["content"] for turn in dataset[index]["record"].conversations)


def image_processor(size: int) -> Any:
    """Return SigLIP's image processor for frames of this side."""
    return SiglipImageProcessor(size={"height": size, "width": size}, resample=3)


def processor_of(images: Any, tokenizer: Any, patch_size: int) -> VideoReferProcessor:
    """Return the processor of a model with these parts."""
    return VideoReferProcessor(images, tokenizer, patch_size=patch_size)
