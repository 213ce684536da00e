"""Questions about objects, with four options of which exactly one is true.

A question of a benchmark must not be answerable without its region. So the options are the answers for four objects
(or pairs of objects) of the same clip, and the object of the question is drawn last: neither the text nor the whole
video gives away the answer. Other values of the same kind fill the options only if a clip has too few objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from videorefer_plugin.world import language
from videorefer_plugin.world.categories import CATEGORIES, Category, Subject
from videorefer_plugin.world.facts import Facts
from videorefer_plugin.world.values import Label, pick

__all__ = ["LETTERS", "Question", "ask", "holds", "open_questions"]

LETTERS = "ABCD"


@dataclass(frozen=True)
class Question:
    """A question with four options, one of which is true.

    Attributes:
        category (`str`): one of `CATEGORIES`.
        text (`str`): the question, with `<region>` for each subject.
        subjects (`tuple[int, ...]`): indices of the objects, in the order of their `<region>`.
        labels (`tuple[Label, ...]`): labels of the options.
        options (`tuple[str, ...]`): texts such as "(A) red".
        answer (`int`): index of the true option.
        spread (`int`): number of options that are true of some object of the clip; 4 is the fairest.
    """

    category: str
    text: str
    subjects: Subject
    labels: tuple[Label, ...]
    options: tuple[str, ...]
    answer: int
    spread: int

    @property
    def type(self) -> str:
        """The type of the question, one of the five of VideoRefer-Bench-Q."""
        return CATEGORIES[self.category].type

    @property
    def prompt(self) -> str:
        """The prompt in the format of VideoRefer-Bench-Q."""
        question = self.text.replace("<region>", "[<region>]")
        return f"{question} {' '.join(self.options)}. Answer with the option's letter from the given choices directly."


def holds(category: str, facts: Facts, subjects: Subject, label: Label) -> bool:
    """Return whether a label is true of an object, at least partly."""
    known = CATEGORIES[category].labels(facts).get(subjects)
    return label == known or label in CATEGORIES[category].also(facts, subjects)


def ask(
    category: str,
    facts: Facts,
    rng: np.random.Generator,
    full: bool = False,
    letter: int | None = None,
    subjects: Sequence[Subject] | None = None,
    reworded: bool = False,
) -> list[Question]:
    """Make a question with four options, or the same question about several objects.

    Args:
        category: one of `CATEGORIES`.
        facts: facts of the clip.
        rng: random generator.
        full: make no question unless each of the four options is true of some object of the clip.
        letter: index of the true option of the first question. Default: random.
        subjects: objects of the questions, whose answers must differ; the options are the same. Default: one random
            object.
        reworded: whether some randomly chosen options get another wording than answers without options.

    Returns:
        The questions; an empty list if the clip does not allow them.
    """
    kind = CATEGORIES[category]
    known = kind.labels(facts)
    if subjects and not all(subject in known for subject in subjects):
        return []
    true = {subject: {label, *kind.also(facts, subject)} for subject, label in known.items()}
    chosen = _options(kind, facts, rng, known, true, full, [known[subject] for subject in subjects or []])
    if chosen is None:
        return []
    if subjects is None:
        answer = chosen[0] if not full else pick(rng, chosen)
        subjects = [pick(rng, [subject for subject, label in known.items() if label == answer])]
    answers = [known[subject] for subject in subjects]
    rest = [label for label in chosen if label != answers[0]]
    order = [rest[i] for i in rng.permutation(3)]
    order.insert(int(rng.integers(4)) if letter is None else letter, answers[0])
    texts = [kind.text(facts, label) for label in order]
    if reworded:
        texts = [language.reworded(text) if rng.random() < 0.5 else text for text in texts]
    options = tuple(f"({letter}) {text}" for letter, text in zip(LETTERS, texts, strict=True))
    text = pick(rng, kind.phrasings)
    spread = len(set(order) & set(known.values()))
    return [
        Question(category, text, subject, tuple(order), options, order.index(known[subject]), spread)
        for subject in subjects
    ]


def _options(
    kind: Category,
    facts: Facts,
    rng: np.random.Generator,
    known: Mapping[Subject, Label],
    true: Mapping[Subject, set[Label]],
    full: bool,
    needed: list[Label],
) -> list[Label] | None:
    """Return four labels such that exactly one is true of every object which has one of them."""

    def fits(labels: Sequence[Label]) -> bool:
        return all(len(true[s].intersection(labels)) == 1 for s, label in known.items() if label in labels)

    present = sorted(set(known.values()), key=str)
    present = [present[i] for i in rng.permutation(len(present))]
    if len(present) < (4 if full else 1) or len(set(needed)) < len(needed) or (needed and not fits(needed)):
        return None
    chosen = list(needed)
    for label in present:
        if len(chosen) < 4 and label not in chosen and fits([*chosen, label]):
            chosen.append(label)
    if full:
        # The choice of four does not depend on the answer, which is drawn afterwards.
        return chosen if len(chosen) == 4 else None
    if not needed and chosen:
        chosen.insert(0, chosen.pop(int(rng.integers(len(chosen)))))
    said = {kind.text(facts, label) for label in chosen}
    for _ in range(50):
        if not chosen or len(chosen) == 4:
            break
        label = kind.fill(facts, rng)
        if kind.text(facts, label) not in said and fits([*chosen, label]):
            chosen.append(label)
            said.add(kind.text(facts, label))
    return chosen if len(chosen) == 4 else None


def open_questions(facts: Facts) -> list[tuple[str, Subject, str]]:
    """Return all questions about a clip without options, as (category, subjects, answer)."""
    return [
        (name, subject, language.sentence(kind.answer.format(kind.text(facts, label))))
        for name, kind in CATEGORIES.items()
        for subject, label in kind.labels(facts).items()
    ]
