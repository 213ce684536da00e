"""A question and its regions, as callers give them."""

from collections.abc import Iterable, Sequence
from typing import Any

from videorefer_plugin.errors import PromptError, RegionError
from videorefer_plugin.inputs.conversations import check_text
from videorefer_plugin.inputs.matching import named, visual_of
from videorefer_plugin.regions import Region, as_region, is_one_region

__all__ = ["check_question", "description_prompt", "question_regions"]


def description_prompt(kind: str = "video") -> str:
    """What the benchmark released with the paper asks for a description, of a `"video"` or an `"image"`."""
    return f"Please give a detailed description of the highlighted object [<region>] in the {kind}."


def check_question(question: Any, placeholders: Sequence[str] = ()) -> str:
    """The question, if it is one.

    Args:
        question (`str`): the question.
        placeholders (`Sequence[str]`, *optional*):
            Those of visuals, where a visual is shown before the question anyway.

    Raises:
        PromptError: it is no string, cannot be read, or holds one of the placeholders.
    """
    if not isinstance(question, str):
        raise PromptError(f"The question must be a string, but is a {type(question).__name__}.")
    check_text(question, "The question")
    for token in placeholders:
        if token in question:
            raise PromptError(
                f"The question has {token} in its text, but the visual is shown before the question anyway. Leave it "
                "out; if the word is meant literally, write it without the angle brackets."
            )
    return question


def question_regions(regions: Any) -> list[Region]:
    """The regions of a question about one visual, of which there may be one that stands for itself.

    Args:
        regions: `None`, a [`Region`] or its JSON form, or several of them.

    Raises:
        RegionError: one is no region, or names another visual than the only one.
    """
    if regions is None:
        return []
    if is_one_region(regions):
        regions = [regions]
    if isinstance(regions, (str, bytes)) or not isinstance(regions, Iterable):
        raise RegionError(
            f"regions must be a list of Regions, one for each <region>, but is a {type(regions).__name__}."
        )
    checked = []
    for number, region in enumerate(regions):
        with named(f"region {number}"):
            checked.append(as_region(region))
            visual_of(checked[-1], 0, visuals=1)
    return checked
