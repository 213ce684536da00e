"""Checks of a question and its regions."""

from collections.abc import Iterable, Sequence
from typing import Any

from videorefer_plugin._text import listed
from videorefer_plugin.errors import PromptError, RegionError
from videorefer_plugin.inputs.conversations import check_text
from videorefer_plugin.inputs.matching import named, visual_of
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.regions import Region, as_region, is_one_region

__all__ = ["check_question", "hand_out", "question_regions", "without_placeholders"]


def check_question(question: Any, placeholders: Sequence[str] = ()) -> str:
    """Check a question and return it.

    Args:
        question (`str`): the question.
        placeholders (`Sequence[str]`, *optional*):
            Those of visuals, for functions that show the visual before the question anyway.

    Raises:
        PromptError: the question is not a string, cannot be read, or holds one of the placeholders.
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


def without_placeholders(text: str, placeholders: Sequence[str]) -> str:
    """Return a text with a space inserted into words that would be read as placeholders."""
    for token in placeholders:
        text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text


def question_pairs(questions: Any) -> list[tuple[Any, Any]]:
    """Return questions, each with its regions.

    Raises:
        PromptError: the values are not pairs.
    """
    if isinstance(questions, (str, bytes)) or not isinstance(questions, Iterable):
        raise PromptError(
            f"questions must be a list of pairs of a question and its regions, but is a {type(questions).__name__}."
        )
    questions = list(questions)
    for number, one in enumerate(questions):
        if isinstance(one, str) or not isinstance(one, Sequence) or len(one) != 2:
            raise PromptError(
                f"questions must be pairs of a question and its regions, but number {number} is a "
                f"{type(one).__name__}. Without regions write (question, [])."
            )
    return [tuple(one) for one in questions]


def question_regions(regions: Any) -> list[Region]:
    """Return the regions of a question about one visual; a single one may be given without a list.

    Args:
        regions: `None`, a [`Region`] or its JSON form, or several of them.

    Raises:
        RegionError: a value is not a region, or names another visual than the only one.
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


def hand_out(questions: Sequence[str], given: int, options: Sequence[str]) -> list[tuple[int, ...]]:
    """Distribute the regions on a command line to several questions about one visual.

    Questions take the regions in order, each as many as it has `<region>`. If every question with any `<region>` has
    as many as there are regions, all of them use the same regions.

    Args:
        questions (`Sequence[str]`): the questions.
        given (`int`): number of regions.
        options (`Sequence[str]`): the options for regions, for messages.

    Raises:
        PromptError: questions and regions do not match.
    """
    wanted = [question.count(REGION_TOKEN) for question in questions]
    if sum(wanted) == given:
        return [tuple(range(sum(wanted[:at]), sum(wanted[: at + 1]))) for at in range(len(wanted))]
    if given and set(wanted) <= {0, given} and any(wanted):
        return [tuple(range(count)) for count in wanted]
    option = f"{', '.join(options[:-1])} or {options[-1]}"
    if len(wanted) == 1:
        raise PromptError(
            f"The question has {wanted[0]} <region>, but {given} region(s) were given. Write one <region> for each "
            f"{option}, in the same order."
        )
    raise PromptError(
        f"The {len(wanted)} questions have {listed(wanted)} <region>, but {given} region(s) were given. Give one "
        f"{option} for each <region>, in the order of the questions. If all questions are about the same objects, "
        "give each object once, and write one <region> for each of them in every question that is about them."
    )
