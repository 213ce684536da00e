"""Text exercises that teach a small language model the letters of options.

To look up an option's letter, a model has to attach each letter to the words after it, and to match these with the
words of its answer. A small model learns this suddenly, after hundreds of steps at chance, and only if each step asks
for many letters. It learns single words first, and options of several words afterwards.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world.questions import LETTERS
from videorefer_plugin.world.values import COLORS, pick

__all__ = ["EXERCISES", "Exercise", "Exercises"]

EXERCISES = ("colors", "words", "options")
_QUESTION = re.compile(r"(?:\([A-Z]\) .*?){2,}\. Answer with")
_ASKED = 3  # letters of an exercise that is not a question
_IN_QUESTIONS = 0.4  # share of the last exercises that are whole questions
_WORDS = 3  # most words of an option that is made up
_KEPT_BACK = 8  # one of this many sets of options is kept for measuring


@dataclass(frozen=True)
class Exercise:
    """A text, and the letters in it that the model has to predict.

    Attributes:
        text (`str`): text of the exercise, or the answer to its question.
        question (`str`, *optional*): the question, as a user's message.
        letters (`tuple[int, ...]`): positions of the letters in the text.
    """

    text: str
    question: str | None
    letters: tuple[int, ...]


class Exercises:
    """Exercises by number, each a function of the seed and its number.

    Args:
        kind (`str`): `"colors"`: options are colors; `"words"`: options are words of options; `"options"`: whole
            options of questions in another order, and made-up ones that share words, some of them in questions.
        questions (`Sequence[str]`): questions of records. Those with options are used.
        seed (`int`): seed of all exercises.

    Raises:
        ConfigurationError: no question has four options.
    """

    def __init__(self, kind: str, questions: Sequence[str], seed: int):
        self.kind = kind
        self.seed = seed
        sets = sorted({(stem, options) for question in questions for stem, options in _options(question)})
        if not sets:
            raise ConfigurationError(
                "No question of these records has four options such as '(A) red', so that there is nothing to "
                "exercise letters with. Name the records of tiny/stage0_language."
            )
        order = np.random.default_rng(seed).permutation(len(sets))
        shuffled = [sets[place] for place in order]
        back = max(1, len(shuffled) // _KEPT_BACK) if len(shuffled) > 1 else 0
        self._kept_back, self._sets = shuffled[:back] or shuffled, shuffled[back:]
        self.words = sorted({word for _, options in sets for option in options for word in option.split()})

    def make(self, number: int, kept_back: bool = False) -> Exercise:
        """Return an exercise.

        Args:
            number (`int`): number of the exercise, from 0.
            kept_back (`bool`): whether it is one of those for measuring, which are not trained on.
        """
        rng = np.random.default_rng([self.seed, int(kept_back), number])
        stem = None
        if self.kind == "colors":
            options = _some(rng, tuple(COLORS))
        elif self.kind == "words":
            options = _some(rng, self.words)
        else:
            stem, real = pick(rng, self._kept_back if kept_back else self._sets)
            options = [real[i] for i in rng.permutation(len(real))] if rng.random() < 0.5 else self._made_up(rng)
            stem = stem if rng.random() < _IN_QUESTIONS else None
        listed = " ".join(f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=True))
        if stem is not None:
            said = int(rng.integers(len(options)))
            text = f"Answer: {options[said]} ({LETTERS[said]})"
            question = f"{stem} {listed}. Answer with the option's letter from the given choices directly."
            return Exercise(text, question, (len(text) - 2,))
        text, places = f"{listed}.", []
        for at in rng.permutation(len(options))[:_ASKED]:
            text += f" {options[at]} ({LETTERS[at]})"
            places.append(len(text) - 2)
        return Exercise(text, None, tuple(places))

    def _made_up(self, rng: np.random.Generator) -> list[str]:
        """Return options of one to three of the same few words."""
        few = [self.words[i] for i in rng.permutation(len(self.words))[: len(LETTERS) + 1]]
        made: list[str] = []
        while len(made) < len(LETTERS):
            option = " ".join(_some(rng, few, int(rng.integers(1, min(_WORDS, len(few)) + 1))))
            if option not in made:
                made.append(option)
        return made


def _some(rng: np.random.Generator, values: Sequence[str], count: int = len(LETTERS)) -> list[str]:
    return [values[i] for i in rng.permutation(len(values))[:count]]


def _options(question: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the question without its options, and the options in any order, if there are four."""
    found = _QUESTION.search(question)
    if found:
        listed = found[0].removesuffix(". Answer with")
        options = tuple(sorted(re.split(r" ?\([A-Z]\) ", listed)[1:]))
        if len(set(options)) == len(LETTERS):
            yield question[: found.start()].strip(), options
