"""Finds boxes for words with one of the open-vocabulary detectors of transformers."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from videorefer_plugin.errors import CheckpointError
from videorefer_plugin.segment.loading import load_part, load_part_processor, prepare
from videorefer_plugin.segment.words import check_tokens

__all__ = ["Detector", "Found"]

_DINO = ("grounding-dino", "mm-grounding-dino")
_OWL = ("owlv2", "owlvit")
_THRESHOLDS = {**dict.fromkeys(_DINO, 0.25), **dict.fromkeys(_OWL, 0.1)}  # defaults of their processors


class Found(NamedTuple):
    """All boxes of a detector for a phrase in one frame, whatever their score.

    Attributes:
        boxes: float64 (N, 4), x0, y0, x1, y1 in pixels, inside the frame.
        scores: float64 (N,), from 0 to 1, in descending order.
        matched: bool (N,), whether one of the words matches the box, not only a special token.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    matched: NDArray[np.bool_]

    @property
    def best(self) -> float | None:
        """The highest score; `None` without a box."""
        return float(self.scores[0]) if len(self.scores) else None


class Detector:
    """Grounding DINO, MM-Grounding-DINO or OWLv2, for one phrase at a time.

    Several phrases at once would get labels made of fragments of phrases, or of two phrases.

    Args:
        checkpoint: folder or Hub id; its model type selects the detector.
        device, dtype: as [`load_part`] takes them.
        threshold: lowest score of a box; by default that of the detector's processor.
        text_threshold: for Grounding DINO, lowest score with which one of the words matches a box.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or is of another kind.
    """

    def __init__(self, checkpoint: Any, device: Any, dtype: Any, threshold: float | None, text_threshold: float):
        self.processor = load_part_processor(AutoProcessor, checkpoint, "the detector")
        self.model = load_part(AutoModelForZeroShotObjectDetection, checkpoint, "the detector", device, dtype)
        self.kind = self.model.config.model_type
        if self.kind not in _THRESHOLDS:
            raise CheckpointError(
                f"{str(checkpoint)!r} is a detector of the kind {self.kind!r}; expected one of "
                f"{', '.join(_THRESHOLDS)}."
            )
        self.threshold = _THRESHOLDS[self.kind] if threshold is None else threshold
        self.text_threshold = text_threshold

    def check(self, phrase: str) -> str:
        """Return the words in the form that the detector takes.

        Raises:
            SegmentError: the detector cannot read all words.
        """
        config, tokenizer = self.model.config, self.processor.tokenizer
        if self.kind in _OWL:
            check_tokens(phrase, tokenizer, config.text_config.max_position_embeddings, "the detector")
            return phrase
        # Periods and question marks separate phrases, and the detector would look for each of them.
        words = " ".join(re.sub(r"[.?]", " ", phrase.lower()).split())
        most = min(config.max_text_len, config.text_config.max_position_embeddings)
        check_tokens(words, tokenizer, most, "the detector", end=".")
        return words

    @torch.inference_mode()
    def look(self, frame: NDArray[np.uint8], words: str) -> Found:
        """Return every box with its score; `words` come from [`Detector.check`]."""
        height, width = frame.shape[:2]
        inputs = prepare(self.processor, frame, "the detector", text=[[words]])
        inputs = inputs.to(self.model.device, dtype=self.model.dtype)
        outputs = self.model(**inputs)
        outputs.logits = torch.nan_to_num(outputs.logits.float(), nan=-torch.inf)
        outputs.pred_boxes = outputs.pred_boxes.float()
        settings: dict[str, Any] = {"threshold": -1.0, "target_sizes": [(height, width)]}
        if self.kind in _DINO:
            settings |= {"input_ids": inputs["input_ids"], "text_threshold": 1.0}  # labels are not needed
        made = self.processor.post_process_grounded_object_detection(outputs, **settings)[0]
        scores = made["scores"].double().cpu().numpy()
        matched = np.ones(len(scores), dtype=bool)
        if self.kind in _DINO:
            matched = self._matched(outputs.logits[0], inputs["input_ids"][0]).cpu().numpy()
        return _inside(Found(made["boxes"].double().cpu().numpy(), scores, matched), height, width)

    def _matched(self, logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return which boxes match one of the words, not only a special token."""
        tokenizer = self.processor.tokenizer
        around = {*tokenizer.all_special_ids, tokenizer.convert_tokens_to_ids(".")}
        around.discard(tokenizer.unk_token_id)
        words = [place for place, token in enumerate(ids.tolist()) if token not in around]
        return (logits[:, words].sigmoid() > self.text_threshold).any(-1)


def _inside(found: Found, height: int, width: int) -> Found:
    """Return the boxes clipped to the frame, the surest first, without those that are at most a pixel wide or high."""
    boxes = np.clip(found.boxes, 0, [width, height, width, height])
    sizes = boxes[:, 2:] - boxes[:, :2]
    kept = np.flatnonzero((sizes > 1).all(1))  # also false for NaN
    order = kept[np.argsort(-found.scores[kept], kind="stable")]
    return Found(boxes[order], found.scores[order], found.matched[order])
