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
from videorefer_plugin.inputs.wording import description_prompt
from videorefer_plugin.world import language
from videorefer_plugin.world.categories import CATEGORIES
from videorefer_plugin.world.clip import Clip
from videorefer_plugin.world.questions import open_questions
from videorefer_plugin.world.turns import (
    ALONE,
    FROM_PARTS,
    NAMED,
    SHEET,
    TURNS,
    Turn,
    choices,
    open_turns,
    sheet,
    verbal,
)
from videorefer_plugin.world.values import pick

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
BENCH_D_PROMPT = description_prompt()
DETAILED_PROMPTS = ("Please describe in detail the object <region> in the video.", BENCH_D_PROMPT)

_MASK_FRAMES = 16  # of an object in multi-frame mode, as in the paper
_SHEETS = 2  # lists of each clip
_CHOICES = {"stage3_facts": 2, "stage3": 3, "stage3_more": 5}  # conversations of questions with options of each clip
_SELDOM = 0.5  # of the clips have each other kind of stage 3, so that most of what is learnt there has options
_SHEET_PROMPT = "What is seen of <region>?"
_VERBAL = 4  # single questions in words for each clip, beside one conversation

Record = dict[str, Any]


class _Writer:
    """Makes the records of one clip."""

    def __init__(self, clip: Clip, name: str, video: str, image: str | None, rng: np.random.Generator):
        self.clip, self.facts, self.name, self.video, self.image, self.rng = clip, clip.facts, name, video, image, rng
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
    turns = [verbal(writer.facts, writer.rng, 1, plainly=False) for _ in range(_VERBAL)]
    return [writer.words(some) for some in [*turns, verbal(writer.facts, writer.rng, TURNS // 2, plainly=True)]]


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
    facts, rng = writer.facts, writer.rng
    turns = [(pick(rng, DETAILED_PROMPTS), language.detailed(facts, i, rng)) for i in objects]
    return writer.record("detailed", turns, [writer.object(i) for i in objects])


def _stage2_5(writer: _Writer) -> list[Record]:
    caption = writer.record("caption", [("Please describe the video.", _clip_caption(writer.clip))], [])
    return [caption, _details(writer, range(len(writer.clip)))]


def _stage3(writer: _Writer, stage: str = "stage3") -> list[Record]:
    rng = writer.rng
    records = _with_options(writer, stage)
    if rng.random() < _SELDOM:
        records.append(_asked(writer, "qa", open_turns(writer.facts, writer.rng)))
    if rng.random() < _SELDOM:
        records.append(_asked(writer, "frame", choices(writer.facts, writer.rng, without=FROM_PARTS), one_frame=True))
    if rng.random() < _SELDOM:
        records += _of_image(writer, ("color", "shape", "pattern"))
    if rng.random() < _SELDOM:
        records.append(_details(writer, [int(index) for index in rng.permutation(len(writer.clip))[:2]]))
    return records


def _stage3_more(writer: _Writer) -> list[Record]:
    return _stage3(writer, "stage3_more")


def _stage2_objects(writer: _Writer) -> list[Record]:
    order = [int(index) for index in writer.rng.permutation(len(writer.clip))]
    return [_sheets(writer, order, ALONE) for _ in range(_SHEETS)]


def _stage1_named(writer: _Writer) -> list[Record]:
    facts, turns = writer.facts, []
    for index in writer.rng.permutation(len(writer.clip)):
        question = _SHEET_PROMPT.replace("<region>", language.name(facts, int(index)))
        turns.append((question, sheet(writer.facts, writer.rng, int(index), NAMED, by_part=True)))
    return [writer.record("named", turns, [])]


def _stage3_facts(writer: _Writer) -> list[Record]:
    order = [int(index) for index in writer.rng.permutation(len(writer.clip))]
    lists = [_sheets(writer, order, SHEET, by_part=True) for _ in range(_SHEETS)]
    return [*lists, *_with_options(writer, "stage3_facts")]


def _with_options(writer: _Writer, stage: str) -> list[Record]:
    facts, rng = writer.facts, writer.rng
    return [_asked(writer, "choice", choices(facts, rng, stage)) for _ in range(_CHOICES[stage])]


def _sheets(
    writer: _Writer, objects: Sequence[int], groups: Sequence[tuple[str, ...]], by_part: bool = False
) -> Record:
    turns = [(_SHEET_PROMPT, sheet(writer.facts, writer.rng, index, groups, by_part)) for index in objects]
    return writer.record("facts", turns, [writer.object(index) for index in objects])


def _asked(writer: _Writer, kind: str, turns: Sequence[Turn], one_frame: bool = False) -> Record:
    """A conversation about objects in many frames, or each in one, where it can be seen well."""
    clip, known = writer.clip, {}
    for index in (i for _, _, subjects, _ in turns for i in subjects):
        if index not in known:
            frames = [pick(writer.rng, clip.clear_frames(index))] if one_frame else many_frames(clip)
            known[index] = clip.annotation(index, frames)
    regions = [known[i] for _, _, subjects, _ in turns for i in subjects]
    return writer.record(kind, [(question, answer) for question, answer, _, _ in turns], regions)


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
