"""Functions that the task's file names."""

from typing import Any

from videorefer_plugin.bench.lmms.documents import description_results, dimension, documents, text, visual  # noqa: F401


def docs(dataset: Any) -> Any:
    """The benchmark's items, in place of the line that the task's file comes with."""
    return documents("d")


def answer(document: Any) -> str:
    """Nothing: answers are compared in `description_results`."""
    return ""


subject, appearance, time, hallucination = (dimension(name) for name in ("SC", "AD", "TD", "HD"))
average, not_understood = dimension("average"), dimension("not_understood")
