"""Training records in the format of VideoRefer-700K, for each stage of training.

The kinds of data are the paper's (section 3.1.2): short captions, detailed captions, and conversations of several
questions; beside them captions of whole clips and images for the first stage, and questions with options in the words
of VideoRefer-Bench-Q. The id of a record tells its clip and its kind: "train-000012/short/1".

A model that starts from nothing needs more: names of all objects in all frames, for its vision tower ("stage0_tower"),
the same conversations in words alone, for its language model, in which a description stands for each object
("stage0_language"), and lists of facts about each object, which say the most in the fewest words: after the captions
of stage 2 such that need no clip beside the object ("stage2_objects"), and to begin stage 3 with, of all kinds
("stage3_facts"); before any object, such about objects that are called by their names ("stage1_named"). It ends with
new questions about the same clips, more of them of those kinds that were still answered worst ("stage3_more").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world import language
from videorefer_plugin.world.categories import CATEGORIES, Subject
from videorefer_plugin.world.clip import Clip
from videorefer_plugin.world.facts import Facts
from videorefer_plugin.world.questions import ask, open_questions
from videorefer_plugin.world.values import QUESTION_TYPES, pick

__all__ = [
    "BENCH_D_PROMPT",
    "DETAILED_PROMPTS",
    "SHORT_PROMPT",
    "STAGES",
    "image_frame",
    "many_frames",
    "stage_records",
]

SHORT_PROMPT = "Please describe the object <region> in the video in brief."
BENCH_D_PROMPT = "Please give a detailed description of the highlighted object [<region>] in the video."
DETAILED_PROMPTS = ("Please describe in detail the object <region> in the video.", BENCH_D_PROMPT)

_MASK_FRAMES = 16  # of an object in multi-frame mode, as in the paper
_TURNS = 6  # of a conversation
_LOOKS = ("color", "shape", "pattern", "size", "look")  # what a name answers
_MOTIONS = ("doing", "order", "first", "last")  # what a short caption answers
_SHEET = (  # what a list of facts has one of each of: what says nearly the same is not said twice
    ("color", "shape", "pattern", "size"),
    ("start", "end"),
    ("doing", "order", "first", "last", "goal", "cause"),
    ("partner", "nearest"),
    ("next",),
)
_KEYS = {"partner": "meet", "cause": "why"}  # in a list of facts; the others are called as their categories
_ALONE = (  # the same for lists that have to do without the clip
    ("color", "shape", "pattern", "size", "start", "end"),
    ("doing", "order", "first", "last"),
    ("goal", "cause"),
    ("next",),
)
_NAMED = (  # the same for lists about objects that are called by colour and shape
    ("pattern", "size", "start", "end"),
    ("doing", "order", "first", "last", "goal", "cause"),
    ("next",),
)
_PARTS = 4  # of a clip; a list that goes with it says what the object does in each: where it turns, comes and stops
# Before the answers of such questions with options, what the objects do in each part: what follows from how an object
# moves is learnt far sooner when that is said first.
_FROM_PARTS = ("doing", "order", "first", "last", "deed", "goal", "cause", "next")
_SHEETS = 2  # lists of each clip
_CHOICES = {"stage3_facts": 2, "stage3": 3, "stage3_more": 5}  # conversations of questions with options of each clip
_SELDOM = 0.5  # of the clips have each other kind of stage 3, so that most of what is learnt there has options
_SHEET_PROMPT = "What is seen of <region>?"
# How often questions of each type are tried; with these weights, all five are about as frequent in the end.
_CHOICE_WEIGHTS = dict(zip(QUESTION_TYPES, (0.6, 4.0, 1.0, 2.0, 1.0), strict=True))
# The same where only one question about the motion of each object is asked; to end with, more about two objects, of
# which most clips have few.
_PARTS_WEIGHTS = {
    "stage3_facts": dict(zip(QUESTION_TYPES, (0.25, 8.0, 0.3, 1.3, 0.4), strict=True)),
    "stage3": dict(zip(QUESTION_TYPES, (0.3, 6.0, 1.5, 1.0, 0.3), strict=True)),
    "stage3_more": dict(zip(QUESTION_TYPES, (0.5, 6.0, 0.9, 2.0, 1.0), strict=True)),
}
_TRIES = 60  # for such a conversation; of clips with few objects, it may have less turns than others
_OFTEN = {  # there, so many times as often as others of their type: the hardest to learn
    "stage3_facts": {"doing": 2, "deed": 2},
    "stage3": {"doing": 2, "deed": 6, "partner": 3},
    "stage3_more": {"shape": 2, "start": 2, "end": 3, "doing": 3, "deed": 6, "partner": 2},
}
# Where not all options are true of objects of the clip, these answers would be right far more often than one time in
# four that they are offered, and be learnt instead of looked for. So many of such questions are kept.
_KEPT = {
    ("doing", "still"): 0.6,
    ("goal", "stay"): 0.35,
    ("goal", "leave"): 0.5,
    ("cause", "leave"): 0.25,
    ("next", "still"): 0.4,
}
_VERBAL = 4  # single questions in words for each clip, beside one conversation

Record = dict[str, Any]


class _Writer:
    """Makes the records of one clip."""

    def __init__(self, clip: Clip, name: str, video: str, image: str | None, rng: np.random.Generator):
        self.clip, self.name, self.video, self.image, self.rng = clip, name, video, image, rng
        self._counts: dict[str, int] = {}

    def record(
        self, kind: str, turns: Sequence[tuple[str, str]], regions: Sequence[dict], image: bool = False
    ) -> Record:
        number = self._counts[kind] = self._counts.get(kind, -1) + 1
        medium, path = ("image", self.image) if image else ("video", self.video)
        conversations = _conversations(turns, f"<{medium}>\n")
        record: Record = {"id": f"{self.name}/{kind}/{number}", medium: path, "conversations": conversations}
        if regions:
            size = self.clip.scene.stage.size
            record |= {"annotation": list(regions), "height": size, "width": size}
        return record

    def words(self, turns: Sequence[tuple[str, str]]) -> Record:
        """A record without a visual."""
        number = self._counts["words"] = self._counts.get("words", -1) + 1
        return {"id": f"{self.name}/words/{number}", "conversations": _conversations(turns)}

    def object(self, index: int) -> dict:
        """An annotation of many frames; training takes one or all of them."""
        return self.clip.annotation(index, many_frames(self.clip))


def _conversations(turns: Sequence[tuple[str, str]], head: str = "") -> list[dict[str, str]]:
    conversations = []
    for index, (question, answer) in enumerate(turns):
        conversations.append({"from": "human", "value": f"{head if index == 0 else ''}{question}".strip()})
        conversations.append({"from": "gpt", "value": answer})
    return conversations


def stage_records(
    clip: Clip, stage: str, name: str, video: str, image: str | None, rng: np.random.Generator
) -> list[Record]:
    """Make the records that a clip gives to a stage of training.

    Args:
        clip: the clip.
        stage: "stage0_tower" (names of objects), "stage0_language" (conversations in words), "stage1" (captions
            without regions), "stage1_named" (lists of facts about objects that are called by their names), "stage2"
            (short captions of objects), "stage2_objects" (lists of facts that can be seen in an object alone),
            "stage2_5" (detailed captions), "stage3_facts" (lists of facts about objects, and questions with options),
            "stage3" (questions of all kinds, some about objects in one frame, and detailed captions) or "stage3_more"
            (the same, with more questions).
        name: of the clip, with which ids begin.
        video: path of its video, as records are to have it.
        image: path of a picture of its frame `image_frame(clip)`, for records about images; none without it.
        rng: source of chance.

    Raises:
        ConfigurationError: there is no such stage.
    """
    if stage not in STAGES:
        raise ConfigurationError(f"stage is {stage!r}: expected one of {', '.join(STAGES)}")
    return STAGES[stage](_Writer(clip, name, video, image, rng))


def image_frame(clip: Clip) -> int:
    """The frame of a clip that stands for it as an image: the first of those in which the most objects can be seen."""
    return int(np.argmax((clip.areas > 0).sum(0)))


def many_frames(clip: Clip) -> list[int]:
    """The frames in which objects are given in multi-frame mode: 16 evenly spaced ones, or all if they are fewer."""
    frames = clip.scene.stage.frames
    return sorted({int(frame) for frame in np.linspace(0, frames - 1, min(frames, _MASK_FRAMES)).round()})


def _from_left(clip: Clip, frame: int) -> list[int]:
    """The objects that can be seen in a frame, from left to right."""
    seen = [i for i in range(len(clip)) if frame in clip.clear_frames(i)]
    return sorted(seen, key=lambda i: float(clip.scene.centres[i, frame, 0]))


def _clip_caption(clip: Clip) -> str:
    order = sorted(range(len(clip)), key=lambda i: float(clip.scene.centres[i, 0, 0]))
    return language.scene_caption(clip.facts, order)


def _image_caption(clip: Clip) -> str:
    frame = image_frame(clip)
    return language.image_caption([(clip.facts.objects[i], clip.quarter(i, frame)) for i in _from_left(clip, frame)])


def _stage1(writer: _Writer) -> list[Record]:
    records = [writer.record("plain", [("", _clip_caption(writer.clip))], [])]
    if writer.image:
        records.append(writer.record("plain-image", [("", _image_caption(writer.clip))], [], image=True))
    return records


def _stage0_tower(writer: _Writer) -> list[Record]:
    clip = writer.clip
    looks = [(CATEGORIES["look"].phrasings[0], language.look(item)) for item in clip.facts.objects]
    return [writer.record("name", looks, [writer.object(i) for i in range(len(clip))])]


def _stage0_language(writer: _Writer) -> list[Record]:
    # Mostly single questions with short descriptions: looking something up is learnt from them many times sooner.
    turns = [_verbal(writer, 1, plainly=False) for _ in range(_VERBAL)]
    return [writer.words(some) for some in [*turns, _verbal(writer, _TURNS // 2, plainly=True)]]


def _stage2(writer: _Writer) -> list[Record]:
    clip = writer.clip
    turns = [(SHORT_PROMPT, language.short(clip.facts, i)) for i in range(len(clip))]
    captions = writer.record("short", turns, [writer.object(i) for i in range(len(clip))])
    return [captions, *_of_image(writer, ("look",))]


def _of_image(writer: _Writer, categories: Sequence[str]) -> list[Record]:
    """A question about an object of the image, none if there is no image."""
    if not writer.image:
        return []
    clip, rng, frame = writer.clip, writer.rng, image_frame(writer.clip)
    index = pick(rng, _from_left(clip, frame))
    category = pick(rng, categories)
    (answer,) = (a for name, subject, a in open_questions(clip.facts) if (name, subject) == (category, (index,)))
    turn = (pick(rng, CATEGORIES[category].phrasings), answer)
    segmentation = clip.annotation(index, [frame])[str(frame)]
    return [writer.record("image", [turn], [{"0": segmentation}], image=True)]


def _details(writer: _Writer, objects: Sequence[int]) -> Record:
    facts, rng = writer.clip.facts, writer.rng
    turns = [(pick(rng, DETAILED_PROMPTS), language.detailed(facts, i, rng)) for i in objects]
    return writer.record("detailed", turns, [writer.object(i) for i in objects])


def _stage2_5(writer: _Writer) -> list[Record]:
    caption = writer.record("caption", [("Please describe the video.", _clip_caption(writer.clip))], [])
    return [caption, _details(writer, range(len(writer.clip)))]


def _stage3(writer: _Writer, stage: str = "stage3") -> list[Record]:
    rng = writer.rng
    records = [_asked(writer, "choice", _choices(writer, stage)) for _ in range(_CHOICES[stage])]
    if rng.random() < _SELDOM:
        records.append(_asked(writer, "qa", _open(writer)))
    if rng.random() < _SELDOM:
        records.append(_asked(writer, "frame", _choices(writer, without=_FROM_PARTS), one_frame=True))
    if rng.random() < _SELDOM:
        records += _of_image(writer, ("color", "shape", "pattern"))
    if rng.random() < _SELDOM:
        records.append(_details(writer, [int(index) for index in rng.permutation(len(writer.clip))[:2]]))
    return records


def _stage3_more(writer: _Writer) -> list[Record]:
    return _stage3(writer, "stage3_more")


def _stage2_objects(writer: _Writer) -> list[Record]:
    order = [int(index) for index in writer.rng.permutation(len(writer.clip))]
    return [_sheets(writer, order, _ALONE) for _ in range(_SHEETS)]


def _stage1_named(writer: _Writer) -> list[Record]:
    facts, turns = writer.clip.facts, []
    for index in writer.rng.permutation(len(writer.clip)):
        question = _SHEET_PROMPT.replace("<region>", language.name(facts, int(index)))
        turns.append((question, _sheet(writer, int(index), _NAMED, by_part=True)))
    return [writer.record("named", turns, [])]


def _stage3_facts(writer: _Writer) -> list[Record]:
    order = [int(index) for index in writer.rng.permutation(len(writer.clip))]
    lists = [_sheets(writer, order, _SHEET, by_part=True) for _ in range(_SHEETS)]
    asked = [_asked(writer, "choice", _choices(writer, "stage3_facts")) for _ in range(_CHOICES["stage3_facts"])]
    return [*lists, *asked]


def _sheets(
    writer: _Writer, objects: Sequence[int], groups: Sequence[tuple[str, ...]], by_part: bool = False
) -> Record:
    turns = [(_SHEET_PROMPT, _sheet(writer, index, groups, by_part)) for index in objects]
    return writer.record("facts", turns, [writer.object(index) for index in objects])


def _sheet(writer: _Writer, index: int, groups: Sequence[tuple[str, ...]], by_part: bool) -> str:
    """A list of facts about an object, one of each group, in any order: "next: it will move left. color: red."."""
    facts, rng, said = writer.clip.facts, writer.rng, []
    for names in groups:
        known = [
            (name, CATEGORIES[name].text(facts, labels[index,]))
            for name in names
            if (index,) in (labels := CATEGORIES[name].labels(facts))
        ]
        if known:
            name, text = pick(rng, known)
            said.append(f"{_KEYS.get(name, name)}: {text}.")
    if by_part:
        said.append(_parts(facts, index))
    return " ".join(said[place] for place in rng.permutation(len(said)))


def _parts(facts: Facts, index: int) -> str:
    """What an object does in the middle of each part of the clip: "part: up, up, still, still."."""
    middles = [(2 * part + 1) * facts.frames // (2 * _PARTS) for part in range(_PARTS)]
    phases = facts.objects[index].phases
    actions = [phase.action for at in middles for phase in phases if phase.start <= at < phase.stop]
    return f"part: {', '.join(language.part(action) for action in actions)}."


def _asked(writer: _Writer, kind: str, turns: Sequence[Turn], one_frame: bool = False) -> Record:
    """A conversation about objects in many frames, or each in one, where it can be seen well."""
    clip, known = writer.clip, {}
    for index in (i for _, _, subjects, _ in turns for i in subjects):
        if index not in known:
            frames = [pick(writer.rng, clip.clear_frames(index))] if one_frame else many_frames(clip)
            known[index] = clip.annotation(index, frames)
    regions = [known[i] for _, _, subjects, _ in turns for i in subjects]
    return writer.record(kind, [(question, answer) for question, answer, _, _ in turns], regions)


Turn = tuple[str, str, Subject, str]  # question, answer, objects, category
Asked = tuple[str, Subject, str]  # category, objects, answer


def _open(writer: _Writer) -> list[Turn]:
    """Questions about objects of a clip, of different categories."""
    by_category: dict[str, list[Asked]] = {}
    for asked in open_questions(writer.clip.facts):
        by_category.setdefault(asked[0], []).append(asked)
    groups, rng = list(by_category.values()), writer.rng
    turns = []
    for place in rng.permutation(len(groups))[:_TURNS]:
        category, subject, answer = pick(rng, groups[place])
        turns.append((pick(rng, CATEGORIES[category].phrasings), answer, subject, category))
    return turns


def _choices(writer: _Writer, parts: str | None = None, without: Sequence[str] = ()) -> list[Turn]:
    """Questions with options, of some categories not; of types that few clips have, more where they are.

    With `parts`, which is a stage, answers that follow from how objects move come after what these do in each part. Of
    each object, one such question is asked: in others, that would be copied from above.
    """
    facts, rng = writer.clip.facts, writer.rng
    turns: list[Turn] = []
    asked: set[tuple[str, Subject]] = set()  # again, the answer would be copied from above
    names: dict[str, list[str]] = {}
    for name, kind in CATEGORIES.items():
        if kind.choice and name not in without:
            names.setdefault(kind.type, []).extend([name] * (_OFTEN[parts].get(name, 1) if parts else 1))
    often = _PARTS_WEIGHTS[parts] if parts else _CHOICE_WEIGHTS
    weights = np.array([often[wanted] for wanted in names])
    tries = 0
    while not turns or (len(turns) < _TURNS and not (parts and tries >= _TRIES)):
        tries += 1
        category = pick(rng, names[str(rng.choice(list(names), p=weights / weights.sum()))])
        in_parts = parts and category in _FROM_PARTS
        for question in ask(category, facts, rng, full=True) or ask(category, facts, rng):
            kept = _KEPT.get((category, str(question.labels[question.answer][0])), 1)
            if question.spread < len(question.options) and rng.random() > kept:
                continue
            told = (
                {("parts", (index,)) for index in question.subjects} if in_parts else {(category, question.subjects)}
            )
            if told & asked:
                continue
            asked |= told
            # In words: which letter an option has is not learnt by a model of this size in the time that it has.
            answer = f"Answer: {question.options[question.answer].split(' ', 1)[1]}"
            if in_parts:
                answer = " ".join([*(_parts(facts, index) for index in question.subjects), answer])
            turns.append((question.prompt, answer, question.subjects, category))
    return turns


def _verbal(writer: _Writer, count: int, plainly: bool) -> list[tuple[str, str]]:
    """A conversation in words: a description stands where an object would, a detailed one if `plainly`."""
    facts, rng = writer.clip.facts, writer.rng
    asked = [*_open(writer), *_choices(writer)]
    turns = []
    for place in rng.permutation(len(asked))[:count]:
        question, answer, subjects, category = asked[place]
        for index in subjects:
            region = "[<region>]" if "[<region>]" in question else "<region>"
            said = language.detailed(facts, index, rng)
            if not plainly and category in _LOOKS:
                said = pick(rng, (language.look(facts.objects[index]), language.short(facts, index)))
            elif not plainly and category in _MOTIONS:
                said = language.short(facts, index)
            question = question.replace(region, f"[{said}]", 1)
        turns.append((question, answer))
    return turns


STAGES: dict[str, Callable[[_Writer], list[Record]]] = {
    "stage0_tower": _stage0_tower,
    "stage0_language": _stage0_language,
    "stage1": _stage1,
    "stage2": _stage2,
    "stage2_5": _stage2_5,
    "stage3": _stage3,
    "stage3_facts": _stage3_facts,
    "stage2_objects": _stage2_objects,
    "stage1_named": _stage1_named,
    "stage3_more": _stage3_more,
}
