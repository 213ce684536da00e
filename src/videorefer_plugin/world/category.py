"""What a category of questions is."""

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
    """One thing that can be asked.

    Attributes:
        type (`str`): one of the five types of VideoRefer-Bench-Q.
        phrasings (`tuple[str, ...]`): of the question, with `<region>` for each object.
        labels: what is true of each object, or pair of objects, of which it is clear.
        text: what a label says, as an option.
        answer (`str`): the whole answer, with the option in place of `{}`.
        fill: another label that could be true, for options that no object of the clip has.
        also: further labels that are true of an object in a way, and so are no wrong options.
        theme (`str`, *optional*): of the scenes where four objects are likely to differ in it.
        choice (`bool`): whether it is asked with options, too.
        since (`int`): the first version of the data that it is asked in.
        by_masks (`bool`): whether masks alone tell it, so that benchmarks ask something else from version 7 on, where
            its type has any.
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
