"""Makes batches from stored features of a frozen vision tower."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from videorefer_plugin.models.videollama2.configuration import count_visual_tokens
from videorefer_plugin.object_encoder import ObjectEncoderConfig
from videorefer_plugin.training.kept_features import KeptFeatures
from videorefer_plugin.training.prompts import check_template, make_prompt

__all__ = ["FeatureCollator"]

_IGNORED = -100


class FeatureCollator:
    """Converts items of a [`VideoReferDataset`] to batches of stored features. For a `DataLoader`.

    Labels are those of [`VideoReferCollator`]. Each `<region>` is expanded to the number of the object's tokens, and
    each `<video>` or `<image>` to the number of tokens from the connector. Without clips, these are removed. Every
    record is read once; items may come from [`ReadOnce`].

    Args:
        processor ([`VideoReferProcessor`]): the processor, whose chat template and tokenizer are used.
        features ([`KeptFeatures`]): the features from [`compute_features`].
        config ([`ObjectEncoderConfig`]): configuration of the object encoder, which sets the number of object tokens.
        clips (`bool`, *optional*, defaults to `False`): whether conversations show their clips and images.
        connector (`nn.Module`, *optional*):
            The model's connector if it is not trained either. Then its outputs for each clip are kept as well.

    Raises:
        ConfigurationError: the processor's chat template cannot be used.
    """

    def __init__(
        self,
        processor: Any,
        features: KeptFeatures,
        config: ObjectEncoderConfig,
        clips: bool = False,
        connector: nn.Module | None = None,
    ):
        check_template("chat", processor)
        self.processor = processor
        self.features = features
        self.config = config
        self.clips = clips
        self.connector = connector
        self._connected: dict[str, Tensor] = {}
        self._read: dict[int, tuple[list[str], tuple[str, str] | None, Tensor, Tensor]] = {}

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a batch.

        Args:
            samples (`list[dict]`): items of the data set.

        Returns:
            `dict` with `input_ids` and `labels` of shape `(batch, length)`, padded on the right, `region_pooled` of
            shape `(num_masks, vision_hidden_size)`, and `region_lengths` of shape `(num_regions,)`; with clips also
            `video_features` of shape `(num_videos, num_frames, grid_height, grid_width, vision_hidden_size)` and
            `image_features` of the same shape with one frame, where there are some; with a connector instead of these
            `video_tokens` of shape `(num_videos, num_tokens, hidden_size)` and `image_tokens`.
        """
        for sample in samples:
            if sample["index"] not in self._read:
                self._read[sample["index"]] = self._prepare(sample)
        rows = [self._read[sample["index"]] for sample in samples]
        pad = nn.utils.rnn.pad_sequence
        batch = {
            # Padding is at the end, where no supervised token attends to it: a mask would only slow attention down.
            "input_ids": pad([ids for _, _, ids, _ in rows], True, self.processor.tokenizer.pad_token_id),
            "labels": pad([labels for _, _, _, labels in rows], True, _IGNORED),
        }
        pooled = [self.features[key] for keys, _, _, _ in rows for key in keys]
        if pooled:
            batch["region_pooled"] = torch.cat(pooled)
            batch["region_lengths"] = torch.tensor([len(one) for one in pooled])
        for kind in ("image", "video"):
            shown = [visual[1] for _, visual, _, _ in rows if visual and visual[0] == kind]
            if shown and self.connector is not None:
                batch[f"{kind}_tokens"] = torch.stack([self._connect(self.connector, kind, key) for key in shown])
            elif shown:
                batch[f"{kind}_features"] = torch.stack([self.features[key] for key in shown]).float()
        return batch

    @torch.no_grad()
    def _connect(self, connector: nn.Module, kind: str, key: str) -> Tensor:
        """Return the connector's tokens of a clip or image, `(num_tokens, hidden_size)`."""
        if key not in self._connected:
            features = self.features[key]
            frames = self.processor.num_frames if kind == "image" else len(features)
            one = next(connector.parameters())
            clip = features.expand(frames, -1, -1, -1)[None].to(one.device, one.dtype)
            self._connected[key] = connector(clip)[0].cpu()
        return self._connected[key]

    def _prepare(self, sample: dict[str, Any]) -> tuple[list[str], tuple[str, str] | None, Tensor, Tensor]:
        """Return keys of the objects, kind and key of the visual, ids, and labels of one record."""
        kind = sample["kind"]
        messages = sample["messages"]
        visual = None
        if self.clips and (key := self.features.clip_key(sample["record"])) is not None:
            visual = kind, key
        elif kind in ("image", "video"):
            head = f"<{kind}>\n"
            messages = [{**one, "content": one["content"].removeprefix(head)} for one in messages]
        prompt = make_prompt("chat", self.processor, {**sample, "messages": messages})
        keys = self.features.object_keys(sample["record"])
        counts = [self.config.num_tokens(len(self.features[key])) for key in keys]
        places = iter([self.config.placeholder(self.processor.region_token, count) for count in counts])
        ids: list[int] = []
        labels: list[int] = []
        # Questions and answers alternate; they meet at special tokens, so that they can be tokenized one by one.
        bounds = [0, *(place for span in prompt.learned for place in span), len(prompt.text)]
        for number, (start, stop) in enumerate(pairwise(bounds)):
            text = prompt.text[start:stop]
            text = re.sub(re.escape(self.processor.region_token), lambda _: next(places), text)
            new = self._tokenize(text, visual)
            ids += new
            labels += new if number % 2 else [_IGNORED] * len(new)
        learned = torch.tensor(labels)
        learned[learned == self.processor.region_token_id] = _IGNORED
        return keys, visual, torch.tensor(ids), learned

    def _tokenize(self, text: str, visual: tuple[str, str] | None) -> list[int]:
        parts = [text] if visual is None else text.split(f"<{visual[0]}>")
        ids: list[int] = []
        for number, part in enumerate(parts):
            if number and visual is not None:
                ids += self._placeholders(*visual)
            ids += self.processor.tokenizer(part, add_special_tokens=False).input_ids if part else []
        return ids

    def _placeholders(self, kind: str, key: str) -> list[int]:
        shown, rows, columns = self.features[key].shape[:3]
        frames = self.processor.num_frames if kind == "image" else shown
        count = count_visual_tokens(frames, (rows, columns), self.processor.projector_type)
        return [getattr(self.processor, f"{kind}_token_id")] * count
