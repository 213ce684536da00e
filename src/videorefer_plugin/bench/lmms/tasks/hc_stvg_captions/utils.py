"""Functions that the task's file names."""

from typing import Any

from videorefer_plugin.bench.lmms.documents import caption_metric, caption_results, documents, text, visual  # noqa: F401


def docs(dataset: Any) -> Any:
    """The benchmark's items, in place of the line that the task's file comes with."""
    return documents("captions")


def answer(document: Any) -> str:
    """Nothing: answers are compared in the metrics."""
    return ""


bleu, meteor, rouge, cider, spice = (
    caption_metric(name) for name in ("BLEU_4", "METEOR", "ROUGE_L", "CIDEr", "SPICE")
)
