"""The description of a category of questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from videorefer_plugin.world.facts import Facts
from videorefer_plugin.world.values import Label

__all__ = ["Category", "Subject"]

Subject = tuple[int, ...]


@dataclass(frozen=True)
class Category:
    """A category of questions.

    Attributes:
        type (`str`): one of the five types of VideoRefer-Bench-Q.
        phrasings (`tuple[str, ...]`): phrasings of the question, with `<region>` for each object.
        labels: function from facts to the true label of each object, or pair of objects, with a clear one.
        text: function from a label to the text of an option.
        answer (`str`): the whole answer, with `{}` for the option.
        fill: function that draws another plausible label, for options that no object of the clip has.
        also: further labels that are partly true of an object, and so are not used as wrong options.
        theme (`str`, *optional*): theme of scenes in which four objects are likely to have different labels.
        choice (`bool`): whether there are questions with options, too.
        since (`int`): the first version of the data with this category.
        by_masks (`bool`): whether masks alone give the answer. From version 7 on, benchmarks then use other categories
            of the type, if there are any.
    """

    type: str
    phrasings: tuple[str, ...]
    labels: Callable[[Facts], dict[Subject, Label]]
    text: Callable[[Facts, Label], str]
    answer: str
    fill: Callable[[Facts, np.random.Generator], Label]
    also: Callable[[Facts, Subject], set[Label]] = lambda facts, subject: set()
    theme: str | None = None
    choice: bool = True
    since: int = 0
    by_masks: bool = False
