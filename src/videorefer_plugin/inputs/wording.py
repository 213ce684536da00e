"""Words that have to be the same wherever they are written: the placeholder of an object, and those of the benchmark.

This module imports nothing, so that whoever only reads records or benchmarks need not wait for it.
"""

__all__ = ["QUESTION_TYPES", "REGION_TOKEN", "description_prompt"]

REGION_TOKEN = "<region>"
"""What stands for an object in a prompt. A processor may have another one, as its `region_token`."""

QUESTION_TYPES = (
    "Basic Questions",
    "Sequential Questions",
    "Relationship Questions",
    "Reasoning Questions",
    "Future Predictions",
)
"""Types of questions in VideoRefer-Bench-Q."""


def description_prompt(kind: str = "video") -> str:
    """What the benchmark released with the paper asks for a description, of a `"video"` or an `"image"`."""
    return f"Please give a detailed description of the highlighted object [{REGION_TOKEN}] in the {kind}."
