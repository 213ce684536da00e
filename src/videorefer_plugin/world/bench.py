"""The held-out benchmark, in the formats of VideoRefer-Bench-Q and VideoRefer-Bench-D.

Clips of the benchmark have four objects that differ in shape, color and pattern, with combinations of shape, color and
motion that no training clip has. All four options of a question are true of some object of its clip, and the object of
the question is drawn last (see `questions.ask`). Letters of the answers are balanced within each type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from videorefer_plugin._kinds import INTEGER, check_kind
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world import language
from videorefer_plugin.world.categories import CATEGORIES, Subject, asked
from videorefer_plugin.world.clip import Clip, make_clip, seeded
from videorefer_plugin.world.judge import description_facts
from videorefer_plugin.world.questions import LETTERS, Question, ask
from videorefer_plugin.world.scene import CHANGES
from videorefer_plugin.world.values import QUESTION_TYPES, pick
from videorefer_plugin.world.versions import VERSION

__all__ = ["QUESTIONS_PER_CLIP", "bench_clip", "bench_d_item", "bench_q_items", "grounding_clip", "grounding_items"]

QUESTIONS_PER_CLIP = 2
_BENCH, _GROUNDING, _LETTERS, _DETAILS = 1, 2, 3, 4  # random streams, independent of each other

Item = dict[str, Any]


def bench_clip(
    seed: int, number: int, size: int = 64, frames: int = 16, version: int = VERSION
) -> tuple[Clip, list[Question]]:
    """Make a clip of the benchmark and its questions. All have one type; the types alternate from clip to clip.

    Args:
        seed: seed of the benchmark.
        number: number of the clip, from 0.
        size: side of the square frames in pixels.
        frames: length of the clip.
        version: version of the data. From version 7 on, questions about sequences are about colors and patterns, so
            that they need the video besides the masks, and some options are reworded.
    """
    check_kind(ConfigurationError, INTEGER, number=number)
    place = number % len(QUESTION_TYPES)
    turn = number // len(QUESTION_TYPES)
    names = [name for name, kind in asked(version, benchmark=True).items() if kind.type == QUESTION_TYPES[place]]
    letters = [_letter(seed, place, turn * QUESTIONS_PER_CLIP + i) for i in range(QUESTIONS_PER_CLIP)]
    # The second category is far from the first in the list, because neighbors rarely fit one clip.
    step = max(1, len(names) // 2)
    if all(CATEGORIES[name].theme in CHANGES for name in names):
        step = 0  # two of them would need clips that do not exist
    chosen = [names[(turn + i * step) % len(names)] for i in range(QUESTIONS_PER_CLIP)]
    # Clips of the theme that comes first by name fit both categories: goals before pairs.
    theme = min((CATEGORIES[name].theme or "" for name in chosen if CATEGORIES[name].theme), default=None)
    attempt = 0
    while True:
        numbers = (seed, _BENCH, number, attempt)
        clip = make_clip(numbers, "heldout", size, frames, objects=4, theme=theme, distinct=True)
        rng = seeded(*numbers, 0)
        questions: list[Question] = []
        for name, letter in zip(chosen, letters, strict=True):
            questions += ask(name, clip.facts, rng, full=True, letter=letter, reworded=version >= 7)
        alike = len({(question.category, question.subjects) for question in questions}) < len(questions)
        if len(questions) == QUESTIONS_PER_CLIP and not alike and all(_shared(clip, q.subjects) for q in questions):
            return clip, questions
        attempt += 1


def _letter(seed: int, place: int, number: int) -> int:
    """Return a letter from blocks of four, each a shuffle of all: balanced at any length, without a pattern."""
    return int(seeded(seed, _LETTERS, place, number // len(LETTERS)).permutation(len(LETTERS))[number % len(LETTERS)])


def _shared(clip: Clip, subjects: Subject) -> list[int]:
    """Return the frames in which all of these objects can be seen well."""
    frames = set(clip.clear_frames(subjects[0]))
    return sorted(frames.intersection(*(clip.clear_frames(i) for i in subjects)))


def _q_item(clip: Clip, question: Question, identity: str, video: str, rng: np.random.Generator) -> Item:
    return {
        "id": identity,
        "video": video,
        "Question": question.text.replace("<region>", "[<region>]"),
        "options": list(question.options),
        "Answer": question.options[question.answer],
        "type": question.type,
        "category": question.category,
        "frame_idx": str(pick(rng, _shared(clip, question.subjects))),
        "annotation": [clip.annotation(i) for i in question.subjects],
        "height": clip.scene.stage.size,
        "width": clip.scene.stage.size,
    }


def bench_q_items(clip: Clip, questions: list[Question], name: str, video: str) -> list[Item]:
    """Return items of Bench-Q with `video`, `Question`, `options`, `Answer`, `type`, `frame_idx` and `annotation`.

    `annotation` has all frames of each object; `frame_idx` is the frame for single-frame mode, in which all objects of
    the question can be seen. `category`, which the original format does not have, is the category of the question.
    """
    rng = seeded(clip.scene.paint_seed, _DETAILS)
    return [_q_item(clip, question, f"{name}/q/{i}", video, rng) for i, question in enumerate(questions)]


def bench_d_item(clip: Clip, name: str, video: str) -> Item:
    """Return an item of Bench-D: a description of a random object, and the facts that `judge` compares it with."""
    rng = seeded(clip.scene.paint_seed, _DETAILS, 1)
    index = int(rng.integers(len(clip)))
    return {
        "id": f"{name}/d",
        "video": video,
        "caption": language.detailed(clip.facts, index),
        "frame_idx": str(pick(rng, clip.clear_frames(index))),
        "annotation": [clip.annotation(index)],
        "facts": description_facts(clip.facts, index),
        "height": clip.scene.stage.size,
        "width": clip.scene.stage.size,
    }


def grounding_clip(
    seed: int, number: int, size: int = 64, frames: int = 16, version: int = VERSION
) -> tuple[Clip, list[Question]]:
    """Make a clip of two objects and a question about each of them, with the same options and different answers."""
    names = [name for name in asked(version) if name != "nearest"]  # needs a third object
    category = names[number % len(names)]
    attempt = 0
    while True:
        numbers = (seed, _GROUNDING, number, attempt)
        theme = CATEGORIES[category].theme
        clip = make_clip(numbers, "heldout", size, frames, objects=2, theme=theme, distinct=True)
        two = CATEGORIES[category].phrasings[0].count("<region>") == 2
        subjects: list[Subject] = [(0, 1), (1, 0)] if two else [(0,), (1,)]
        rng = seeded(*numbers, 0)
        order = [subjects[i] for i in rng.permutation(2)]
        questions = ask(category, clip.facts, rng, subjects=order, reworded=version >= 7)
        if questions and all(_shared(clip, question.subjects) for question in questions):
            return clip, questions
        attempt += 1


def grounding_items(clip: Clip, questions: list[Question], name: str, video: str) -> list[Item]:
    """Return two items in the format of Bench-Q for a clip; `pair` is the same for both."""
    rng = seeded(clip.scene.paint_seed, _DETAILS, 2)
    items = [_q_item(clip, question, f"{name}/q/{i}", video, rng) for i, question in enumerate(questions)]
    return [{**item, "pair": name} for item in items]
