"""The makers of training records in the format of VideoRefer-700K, one for each kind.

A maker takes a [`Source`] and returns records without ids. `stages` lists the kinds of each stage, how often each is
made, and their names in ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videorefer_plugin.inputs.wording import description_prompt
from videorefer_plugin.world import language
from videorefer_plugin.world.categories import CATEGORIES
from videorefer_plugin.world.clip import Clip
from videorefer_plugin.world.questions import open_questions
from videorefer_plugin.world.turns import FROM_PARTS, NAMED, TURNS, Mix, Turn, choices, open_turns, sheet, verbal
from videorefer_plugin.world.values import pick
from videorefer_plugin.world.versions import VERSION

__all__ = [
    "BENCH_D_PROMPT",
    "DETAILED_PROMPTS",
    "SHORT_PROMPT",
    "Record",
    "Source",
    "asked_caption",
    "choice",
    "choice_in_one_frame",
    "clip_caption",
    "detailed",
    "image_caption",
    "image_frame",
    "many_frames",
    "named",
    "names",
    "of_image",
    "qa",
    "sheets",
    "short",
    "words",
]

SHORT_PROMPT = "Please describe the object <region> in the video in brief."
BENCH_D_PROMPT = description_prompt()
DETAILED_PROMPTS = ("Please describe in detail the object <region> in the video.", BENCH_D_PROMPT)

_MASK_FRAMES = 16  # frames of an object in multi-frame mode, as in the paper
_SHEETS = 2  # lists for each clip
_SHEET_PROMPT = "What is seen of <region>?"
_VERBAL = 4  # single questions in words for each clip, beside one conversation

Record = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """The input of makers of records.

    Attributes:
        clip: the clip.
        video: path of its video for records.
        image: path of a picture of its frame `image_frame(clip)`, if there is one.
        rng: random generator.
        version: version of the data.
    """

    clip: Clip
    video: str
    image: str | None
    rng: np.random.Generator
    version: int = VERSION

    def record(self, turns: Sequence[tuple[str, str]], regions: Sequence[dict] = (), image: bool = False) -> Record:
        """Return a conversation about the video, or about the image."""
        medium, path = ("image", self.image) if image else ("video", self.video)
        record: Record = {medium: path, "conversations": _conversations(turns, f"<{medium}>\n")}
        if regions:
            size = self.clip.scene.stage.size
            record |= {"annotation": list(regions), "height": size, "width": size}
        return record

    def object(self, index: int) -> dict:
        """Return an annotation of many frames; training takes one or all of them."""
        return self.clip.annotation(index, many_frames(self.clip))

    def shuffled(self) -> list[int]:
        """Return the objects in random order."""
        return [int(index) for index in self.rng.permutation(len(self.clip))]


def _conversations(turns: Sequence[tuple[str, str]], head: str = "") -> list[dict[str, str]]:
    conversations = []
    for index, (question, answer) in enumerate(turns):
        conversations.append({"from": "human", "value": f"{head if index == 0 else ''}{question}".strip()})
        conversations.append({"from": "gpt", "value": answer})
    return conversations


def image_frame(clip: Clip) -> int:
    """Return the frame that is the image of a clip: the first of those in which the most objects can be seen."""
    return int(np.argmax((clip.areas > 0).sum(0)))


def many_frames(clip: Clip) -> list[int]:
    """Return the frames of objects in multi-frame mode: 16 evenly spaced ones, or all if there are fewer."""
    frames = clip.scene.stage.frames
    return sorted({int(frame) for frame in np.linspace(0, frames - 1, min(frames, _MASK_FRAMES)).round()})


def _from_left(clip: Clip, frame: int) -> list[int]:
    """Return the objects that can be seen in a frame, from left to right."""
    seen = [i for i in range(len(clip)) if frame in clip.clear_frames(i)]
    return sorted(seen, key=lambda i: float(clip.scene.centers[i, frame, 0]))


def _clip_caption(clip: Clip) -> str:
    order = sorted(range(len(clip)), key=lambda i: float(clip.scene.centers[i, 0, 0]))
    return language.scene_caption(clip.facts, order)


def _image_caption(clip: Clip) -> str:
    frame = image_frame(clip)
    return language.image_caption([(clip.facts.objects[i], clip.quarter(i, frame)) for i in _from_left(clip, frame)])


# --- without regions -------------------------------------------------------------------------------------------------


def words(source: Source) -> list[Record]:
    """Return conversations without a visual."""
    facts, rng = source.clip.facts, source.rng
    # Mostly single questions with short descriptions: a model learns to look things up from them many times sooner.
    turns = [verbal(facts, rng, 1, False, source.version) for _ in range(_VERBAL)]
    turns.append(verbal(facts, rng, TURNS // 2, True, source.version))
    return [{"conversations": _conversations(some)} for some in turns]


def clip_caption(source: Source) -> list[Record]:
    """Return a caption of the clip, without a question."""
    return [source.record([("", _clip_caption(source.clip))])]


def asked_caption(source: Source) -> list[Record]:
    """Return a caption of the clip, with a question for it."""
    return [source.record([("Please describe the video.", _clip_caption(source.clip))])]


def image_caption(source: Source) -> list[Record]:
    """Return a caption of the image, without a question; empty without an image."""
    return [source.record([("", _image_caption(source.clip))], image=True)] if source.image else []


def named(source: Source) -> list[Record]:
    """Return a list of facts about each object, which the question names."""
    facts, turns = source.clip.facts, []
    for index in source.shuffled():
        question = _SHEET_PROMPT.replace("<region>", language.name(facts, index))
        turns.append((question, sheet(facts, source.rng, index, NAMED, by_part=True)))
    return [source.record(turns)]


# --- about regions ---------------------------------------------------------------------------------------------------


def names(source: Source) -> list[Record]:
    """Return the name of each object."""
    clip = source.clip
    looks = [(CATEGORIES["look"].phrasings[0], language.look(item)) for item in clip.facts.objects]
    return [source.record(looks, [source.object(i) for i in range(len(clip))])]


def short(source: Source) -> list[Record]:
    """Return a short caption of each object."""
    clip = source.clip
    turns = [(SHORT_PROMPT, language.short(clip.facts, i)) for i in range(len(clip))]
    return [source.record(turns, [source.object(i) for i in range(len(clip))])]


def detailed(source: Source, most: int | None = None) -> list[Record]:
    """Return a detailed caption of each object, or of some random ones."""
    facts, rng = source.clip.facts, source.rng
    objects = range(len(source.clip)) if most is None else source.shuffled()[:most]
    turns = [(pick(rng, DETAILED_PROMPTS), language.detailed(facts, i, rng)) for i in objects]
    return [source.record(turns, [source.object(i) for i in objects])]


def of_image(source: Source, categories: Sequence[str]) -> list[Record]:
    """Return a question about an object of the image; empty without an image."""
    if not source.image:
        return []
    clip, rng, frame = source.clip, source.rng, image_frame(source.clip)
    index = pick(rng, _from_left(clip, frame))
    category = pick(rng, categories)
    answers = [a for name, subject, a in open_questions(clip.facts) if (name, subject) == (category, (index,))]
    if not answers:  # a color that changes is none
        return []
    (answer,) = answers
    turn = (pick(rng, CATEGORIES[category].phrasings), answer)
    segmentation = clip.annotation(index, [frame])[str(frame)]
    return [source.record([turn], [{"0": segmentation}], image=True)]


def sheets(source: Source, groups: Sequence[tuple[str, ...]], by_part: bool = False) -> list[Record]:
    """Return lists of facts about all objects, in the same order."""
    facts, rng, order = source.clip.facts, source.rng, source.shuffled()
    regions = [source.object(index) for index in order]
    turns = [[(_SHEET_PROMPT, sheet(facts, rng, index, groups, by_part)) for index in order] for _ in range(_SHEETS)]
    return [source.record(some, regions) for some in turns]


def qa(source: Source) -> list[Record]:
    """Return a conversation with questions of different categories."""
    return [_asked(source, open_turns(source.clip.facts, source.rng))]


def choice(source: Source, count: int, mix: Mix) -> list[Record]:
    """Return conversations with multiple-choice questions about objects in many frames."""
    facts, rng = source.clip.facts, source.rng
    return [_asked(source, choices(facts, rng, mix, version=source.version)) for _ in range(count)]


def choice_in_one_frame(source: Source) -> list[Record]:
    """Return a conversation with multiple-choice questions, not about motion, about objects in one frame each."""
    turns = choices(source.clip.facts, source.rng, without=FROM_PARTS, version=source.version)
    return [_asked(source, turns, one_frame=True)]


def _asked(source: Source, turns: Sequence[Turn], one_frame: bool = False) -> Record:
    """Return a conversation about objects in many frames, or in one frame each, where they can be seen well."""
    clip, known = source.clip, {}
    for index in (i for _, _, subjects, _ in turns for i in subjects):
        if index not in known:
            frames = [pick(source.rng, clip.clear_frames(index))] if one_frame else many_frames(clip)
            known[index] = clip.annotation(index, frames)
    regions = [known[i] for _, _, subjects, _ in turns for i in subjects]
    return source.record([(question, answer) for question, answer, _, _ in turns], regions)
