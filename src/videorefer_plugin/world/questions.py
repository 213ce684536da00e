"""Questions about objects: what is asked, what is true, and four options of which exactly one is.

A question of a benchmark must not be answerable without its region. So the options are the answers that four objects
(or pairs of objects) of the same clip would have, and which of them is asked about is drawn last: neither the text nor
the whole video says anything about the answer. Only where a clip has too few objects do other values of the same kind
fill the options.
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
        category (`str`): of `CATEGORIES`.
        text (`str`): the question, with `<region>` for each subject.
        subjects (`tuple[int, ...]`): indices of the objects, in the order of their `<region>`.
        labels (`tuple[Label, ...]`): of the options.
        options (`tuple[str, ...]`): e.g. "(A) red".
        answer (`int`): index of the true option.
        spread (`int`): how many of the options are true of some object of the clip; 4 is the fairest.
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
        """One of the five types of VideoRefer-Bench-Q."""
        return CATEGORIES[self.category].type

    @property
    def prompt(self) -> str:
        """The question as VideoRefer-Bench-Q puts it to a model."""
        question = self.text.replace("<region>", "[<region>]")
        return f"{question} {' '.join(self.options)}. Answer with the option's letter from the given choices directly."


def holds(category: str, facts: Facts, subjects: Subject, label: Label) -> bool:
    """Whether a label is true of an object, in any way."""
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
    """Make a question with four options, or the same one of several objects.

    Args:
        category: of `CATEGORIES`.
        facts: of the clip.
        rng: source of chance.
        full: make none unless all four options are true of some object of the clip.
        letter: index of the true option of the first question; by default as chance has it.
        subjects: ask it of each of these, whose answers must differ, with the same options; by default of one object
            drawn by chance.
        reworded: some of the options, drawn by chance, say what they do in other words than answers without options.

    Returns:
        The questions; none when the clip does not have what it takes.
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
    """Four labels such that exactly one is true of every object which has one of them."""

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
        # Which four of more were taken does not depend on the answer, for that is drawn afterwards.
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
    """Everything that can be asked of a clip without options: (category, subjects, answer)."""
    return [
        (name, subject, language.sentence(kind.answer.format(kind.text(facts, label))))
        for name, kind in CATEGORIES.items()
        for subject, label in kind.labels(facts).items()
    ]
