"""Words that must be the same everywhere: the placeholder of an object, and those of the benchmark.

This module imports nothing, so that programs that only read records or benchmarks start quickly.
"""

__all__ = ["QUESTION_TYPES", "REGION_TOKEN", "description_prompt"]

REGION_TOKEN = "<region>"
"""The placeholder of an object in a prompt. A processor may have another one, as its `region_token`."""

QUESTION_TYPES = (
    "Basic Questions",
    "Sequential Questions",
    "Relationship Questions",
    "Reasoning Questions",
    "Future Predictions",
)
"""Types of questions in VideoRefer-Bench-Q."""


def description_prompt(kind: str = "video") -> str:
    """Return the question for a description of the released benchmark, for a `"video"` or an `"image"`."""
    return f"Please give a detailed description of the highlighted object [{REGION_TOKEN}] in the {kind}."
