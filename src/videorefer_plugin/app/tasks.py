"""The tasks of the paper (figures 1 and 12), each as one click."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from videorefer_plugin.app.things import Thing
from videorefer_plugin.errors import AppError
from videorefer_plugin.inputs.wording import REGION_TOKEN, description_prompt

__all__ = ["TASKS", "Task", "question_of"]


@dataclass(frozen=True)
class Task:
    """One of the paper's tasks.

    Attributes:
        name (`str`): name of the task on its button.
        least, most (`int`): smallest and largest number of its objects.
        text (`str`): the question, with `<region>` for each object, or once for all objects.
        shapes (`str`): the question in the small vocabulary of the embedded model.
    """

    name: str
    least: int
    most: int
    text: str
    shapes: str


TASKS = (
    Task("Describe", 1, 1, description_prompt(), description_prompt()),
    Task(
        "Relationship",
        2,
        2,
        "What is the relationship between <region> and <region>, and how do they act on each other?",
        "What happens between <region> and <region>?",
    ),
    Task(
        "Reasoning",
        1,
        1,
        "Why does <region> do what it does in the video? Explain step by step.",
        "What happens to <region>, and why?",
    ),
    Task("Future", 1, 1, "What will <region> most likely do next, and why?", "What will <region> do next?"),
    Task(
        "Retrieval",
        1,
        1,
        "Which other object in the video belongs to <region>, or acts on it? Say what it is and where it is.",
        "Which object does <region> meet?",
    ),
)


def question_of(task: Task, things: Sequence[Thing], selected: int | None, shapes: bool) -> str:
    """Return the question of a task, as it would be typed.

    Args:
        task ([`Task`]): the task.
        things (`Sequence[Thing]`): the objects.
        selected (`int`, *optional*): number of the selected object, which comes first in the question.
        shapes (`bool`): whether the question is for the embedded model.

    Raises:
        AppError: there are too few objects.
    """
    if len(things) < task.least:
        raise AppError(
            f"{task.name} takes {task.least} object(s), and there are {len(things)}; click on one more first."
        )
    numbers = sorted((thing.number for thing in things), key=lambda number: (number != selected, number))
    text = task.shapes if shapes else task.text
    for number in numbers[: task.most]:
        text = text.replace(REGION_TOKEN, f"<region{number}>", 1)
    return text
