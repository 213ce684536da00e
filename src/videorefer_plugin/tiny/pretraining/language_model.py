"""Pretraining of a language model and its tokenizer on conversations without visuals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from videorefer_plugin.tiny.pretraining.processing import image_processor, processor_of, texts_of, train_tokenizer
from videorefer_plugin.training.collator import VideoReferCollator
from videorefer_plugin.training.dataset import VideoReferDataset
from videorefer_plugin.training.recipe import PretrainSettings

__all__ = ["LanguageModelPart"]


class LanguageModelPart:
    """A language model that learns to answer in conversations without a visual."""

    def __init__(self, settings: PretrainSettings, dataset: VideoReferDataset, max_length: int | None):
        sizes = dict(settings.sizes)
        vocab_size = int(sizes.pop("vocab_size", 1024))
        self.tokenizer = train_tokenizer(texts_of(dataset), vocab_size)
        ids = {f"{name}_token_id": getattr(self.tokenizer, f"{name}_token_id") for name in ("eos", "pad")}
        config = Qwen2Config(**{"vocab_size": -(-len(self.tokenizer) // 8) * 8, "bos_token_id": None, **ids, **sizes})
        self.model = Qwen2ForCausalLM(config)
        self.model.config.use_cache = False
        processor = processor_of(image_processor(64), self.tokenizer, 8)
        self.collate = VideoReferCollator(processor, max_length=max_length)

    def collator(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Join conversations."""
        inputs = self.collate(samples)
        # Padding comes last, where no supervised token attends to it. Without a mask, attention is causal only, which
        # is faster.
        return {name: inputs[name] for name in ("input_ids", "labels")}

    def save(self, folder: Path) -> None:
        """Save model and tokenizer."""
        self.model.config.use_cache = True
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
