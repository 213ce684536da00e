"""A Reviewer that compares the meaning of two descriptions by the embeddings of their sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.agents.reviewing import both_texts
from videorefer_plugin.data_engine.items import Failure, Made, Verdict, VideoItem
from videorefer_plugin.errors import ConfigurationError, EngineError
from videorefer_plugin.models.fingerprint import fingerprint

if TYPE_CHECKING:
    import torch

__all__ = ["EmbeddingReviewer"]

_MOST_TOKENS = 8192  # of a text, for tokenizers without a limit
_DIGITS = 4  # of a similarity; further digits depend on the batch size


class EmbeddingReviewer(Agent):
    """Keeps an object if the cosine of the embeddings of its two descriptions is large enough.

    An embedding is the mean of the last hidden states over a text, as in sentence-transformers. The similarity of two
    descriptions of one object depends on the models. The default threshold was chosen on six pairs of sentences and
    one small model, and is not calibrated: look at the scores of your own data first, for instance with `videorefer
    data review`.

    Args:
        model (`str`): folder or Hub id of a text encoder of transformers.
        threshold (`float`): smallest cosine of descriptions of the same object, from -1 to 1.
        batch_size (`int`): number of texts in a batch.
        device (`str`, *optional*): device such as `"cuda"`. Default: a GPU if there is one.

    Raises:
        ConfigurationError: a setting has a wrong value.
    """

    stage = "reviewer"

    def __init__(self, model: str, *, threshold: float = 0.3, batch_size: int = 32, device: str | None = None):
        if not isinstance(model, str) or not model.strip():
            raise ConfigurationError(
                f"The model of the reviewer 'embedding' is {short(model)}; expected the folder or Hub id of a text "
                "encoder."
            )
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not -1 <= threshold <= 1:
            raise ConfigurationError(
                f"threshold of the reviewer 'embedding' is {short(threshold)}; expected a number from -1 to 1, the "
                "least cosine of two descriptions of the same object."
            )
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigurationError(
                f"batch_size of the reviewer 'embedding' is {short(batch_size)}; expected a whole number from 1 up."
            )
        self._model, self._threshold, self._batch_size, self._device = model, float(threshold), batch_size, device
        self._loaded: tuple[Any, Any] | None = None

    def identity(self) -> dict[str, Any]:
        """Return the settings, and a fingerprint of the model's files."""
        return {"model": self._model, "weights": fingerprint(self._model), "threshold": self._threshold}

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Return the verdicts on the objects of these videos; see [`Agent`]."""
        pairs = [[both_texts(item, one) for one in item.objects] for item in items]
        texts = list(dict.fromkeys(text for of_item in pairs for pair in of_item for text in pair))
        place = {text: row for row, text in enumerate(texts)}
        embedded, cut = self._embed(texts)
        return [
            Made(
                tuple(
                    self._verdict(
                        float(embedded[place[one]] @ embedded[place[other]]),
                        [name for name, text in (("description", one), ("region caption", other)) if text in cut],
                    )
                    for one, other in of_item
                )
            )
            for of_item in pairs
        ]

    def close(self) -> None:
        """Release the model."""
        self._loaded = None

    def _verdict(self, score: float, cut: Sequence[str]) -> Verdict:
        score = round(score, _DIGITS)
        same = score >= self._threshold
        reason = (
            f"The embeddings of both descriptions have a cosine of {score:.4f}, {'at least' if same else 'less than'} "
            f"the threshold of {self._threshold:g}."
        )
        if cut:
            reason += f" Of the {' and of the '.join(cut)}, only the beginning was read; the model takes no more."
        return Verdict(same, reason, score)

    def _embed(self, texts: Sequence[str]) -> tuple[torch.Tensor, set[str]]:
        """Return embeddings of length 1, one row for each text, and the texts that are too long for the model."""
        import torch

        tokenizer, model = self._load()
        most = _most_tokens(tokenizer, model)
        lengths = [len(tokenizer(text, verbose=False)["input_ids"]) for text in texts]
        cut = {text for text, length in zip(texts, lengths, strict=True) if length > most}
        rows: list[Any] = [None] * len(texts)
        # Texts of similar length share a batch, which needs little padding.
        order = sorted(range(len(texts)), key=lambda row: lengths[row])
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            inputs = tokenizer(
                [texts[row] for row in batch], padding=True, truncation=True, max_length=most, return_tensors="pt"
            ).to(model.device)
            with torch.inference_mode():
                states = model(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"][..., None].float()
            means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            for row, mean in zip(batch, torch.nn.functional.normalize(means, dim=-1).cpu(), strict=True):
                rows[row] = mean
        return torch.stack(rows) if rows else torch.zeros(0, 1), cut

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModel, AutoTokenizer

            device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
            try:
                tokenizer = AutoTokenizer.from_pretrained(self._model)
                model, info = AutoModel.from_pretrained(self._model, dtype=torch.float32, output_loading_info=True)
                model = (model.get_encoder() if model.config.is_encoder_decoder else model).eval().to(device)
            except (OSError, ValueError, RuntimeError) as error:
                raise EngineError(f"No text encoder can be loaded at {self._model!r}: {error}") from error
            # The pooler of BERT is not used, and many checkpoints lack it.
            missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
            if missing:
                raise EngineError(
                    f"The checkpoint {self._model!r} lacks weights of a {type(model).__name__}, which would be random "
                    f"numbers: {listed(missing)}. Choose one whose model can embed texts."
                )
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
            self._loaded = tokenizer, model
        return self._loaded


def _most_tokens(tokenizer: Any, model: Any) -> int:
    """Return the most tokens of a text that the model takes."""
    if tokenizer.model_max_length <= _MOST_TOKENS:
        return int(tokenizer.model_max_length)
    places = getattr(model.config, "max_position_embeddings", None)
    return min(places - 2, _MOST_TOKENS) if places else _MOST_TOKENS  # some models count positions from 2
