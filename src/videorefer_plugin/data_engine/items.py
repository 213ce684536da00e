"""The inputs and results of agents: plain values, which are written to the ledger as JSON and read back."""

from __future__ import annotations

import functools
import hashlib
import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from videorefer_plugin.errors import VideoReferError
from videorefer_plugin.regions import Region

__all__ = [
    "Description",
    "Drop",
    "Failure",
    "Found",
    "GivenObject",
    "Made",
    "Noun",
    "ObjectItem",
    "Question",
    "Refined",
    "RegionCaption",
    "Source",
    "Spent",
    "Verdict",
    "VideoItem",
    "seed_of",
    "token_words",
]


def seed_of(*parts: Any) -> int:
    """Return a seed, from 0 to 2^32 - 1, that depends on these values alone, and is the same on every machine."""
    text = json.dumps(parts, ensure_ascii=False)
    return int(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8], 16)


# --- sources ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GivenObject:
    """An object of a source with masks and an expression.

    Attributes:
        expression (`str`): expression such as "the man in red".
        annotation (`dict`): frame of the source video, as a string of digits -> {"segmentation": COCO RLE, polygons or
            None}, in the format of VideoRefer-700K.
    """

    expression: str
    annotation: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A video or an image that data is made from.

    Attributes:
        id (`str`): unique name in the run.
        path (`str`): path of the file.
        caption (`str`): caption of the whole video; may be empty if objects are given.
        kind (`str`): "video" or "image".
        objects (`tuple[GivenObject, ...]`): objects with given masks.
        height, width (`int`, *optional*): size of the frames that polygons of given objects were drawn on, in pixels.
        language (`str`, *optional*): language of the caption, a code such as "en", if the table names it.
        license, address (`str`, *optional*): license and origin of the video.
    """

    id: str
    path: str
    caption: str = ""
    kind: str = "video"
    objects: tuple[GivenObject, ...] = ()
    height: int | None = None
    width: int | None = None
    language: str | None = None
    license: str | None = None
    address: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the source in the form that `from_json` reads."""
        said = {item.name: getattr(self, item.name) for item in fields(self)}
        said["objects"] = [{"expression": one.expression, "annotation": one.annotation} for one in self.objects]
        return {key: value for key, value in said.items() if value not in (None, [], "")}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Source:
        """Read the result of `to_json`, also after a round trip through JSON."""
        objects = tuple(GivenObject(**given) for given in value.get("objects", ()))
        return cls(**{**value, "objects": objects})

    @functools.cached_property
    def digest(self) -> str:
        """A digest of all values."""
        return _digest(self.to_json())

    @functools.cached_property
    def work_digest(self) -> str:
        """A digest of the values that agents use; if it changes, their work is done again.

        License and address are not part of it, since only records have them.
        """
        return _digest({key: value for key, value in self.to_json().items() if key not in _NOT_WORKED_ON})


_NOT_WORKED_ON = ("language", "license", "address")


def _digest(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


# --- results of agents -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noun:
    """An object that a caption names; made by the Analyzer.

    Attributes:
        text (`str`): the noun with the words that distinguish it from others of its kind, such as "red car".
        expression (`str`): all words of the caption about it, such as "a red car with a trailer"; `text` if there are
            no more.
        role (`str`): "subject", or "other" for other things in the scene.
        singular (`bool`): whether it is a single object.
    """

    text: str
    expression: str = ""
    role: str = "subject"
    singular: bool = True


@dataclass(frozen=True)
class Found:
    """The masks of an object; made by the Segmentor.

    Attributes:
        annotation (`dict`): frame of the source video, as a string of digits -> {"segmentation": COCO RLE, or None
            where it is absent}.
        height, width (`int`): size of the frames in pixels.
        frame (`int`): the frame in which it was first found.
        box (`tuple[float, ...]`): box around it in that frame, (x0, y0, x1, y1) in pixels.
        score (`float`): score of the finder, from 0 to 1.
        scores (`dict`): frame, as a string -> score of the follower, from 0 to 1.
        checks (`dict`): name of a check of the masklet -> its figure; empty without checks.
        notes (`tuple[str, ...]`): notes about it, such as the frame in which it was lost.
    """

    annotation: dict[str, Any]
    height: int
    width: int
    frame: int
    box: tuple[float, ...]
    score: float = 1.0
    scores: dict[str, float] = field(default_factory=dict)
    checks: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def region(self) -> Region:
        """The object as a [`Region`]."""
        return Region.from_annotation(self.annotation)


@dataclass(frozen=True)
class Description:
    """The description of an object by a Video LLM; made by the Annotator.

    Attributes:
        dynamic (`str`): its actions and movements; empty if there are only static ones.
        appearance (`str`): its look and state.
        filtered (`tuple[str, ...]`): sentences about static "actions" that were removed from `dynamic`.
    """

    dynamic: str
    appearance: str
    filtered: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Both texts, the look first."""
        return " ".join(filter(None, (self.appearance, self.dynamic)))


@dataclass(frozen=True)
class RegionCaption:
    """The caption of a mask by a model that does not know the object's name; made for the Reviewer.

    Attributes:
        text (`str`): the caption.
        frame (`int`): frame of the source video in which the mask was shown.
    """

    text: str
    frame: int


@dataclass(frozen=True)
class Verdict:
    """The verdict whether description and region caption mean the same object; made by the Reviewer.

    Attributes:
        same (`bool`): the verdict.
        reason (`str`): reason in words.
        score (`float`, *optional*): confidence or similarity, if the Reviewer gives one.
    """

    same: bool
    reason: str
    score: float | None = None


@dataclass(frozen=True)
class Question:
    """A question about an object, with its answer.

    Attributes:
        kind (`str`): "basic", "reasoning" or "future" (paper, section 3.1.2).
        question (`str`): the question, with one `<region>` for each object.
        answer (`str`): the answer.
        objects (`tuple[int, ...]`): numbers of the objects ([`ObjectItem`]) of each `<region>`, in order.
    """

    kind: str
    question: str
    answer: str
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Refined:
    """The contents of a record; made by the Refiner.

    Attributes:
        description (`str`): one coherent description; empty if the product is questions.
        questions (`tuple[Question, ...]`): questions in the order of the conversation. Questions about several objects
            belong to the first of them only.
        conversation (`bool`): whether the questions are rounds of one conversation; otherwise they are independent.
        new_words (`float`, *optional*): share of words of the description that are in none of its source texts, from 0
            to 1; a rough measure of invention.
    """

    description: str = ""
    questions: tuple[Question, ...] = ()
    conversation: bool = True
    new_words: float | None = None


@dataclass(frozen=True)
class Drop:
    """The reason to drop an object. It is not a failure: the same agent would drop the object again.

    Attributes:
        kind (`str`): kind for counts: "not_found", "ambiguous", "lost", "plural", "refused", "static" and others.
        reason (`str`): reason in a sentence.
    """

    kind: str
    reason: str


@dataclass(frozen=True)
class Spent:
    """The cost of a piece of work.

    Attributes:
        calls (`int`): number of calls of a model.
        input_tokens, output_tokens (`int`): tokens, as the server counts them.
        cost (`float`): cost in the currency of the prices; 0 without prices.
        uncounted (`int`): calls without a count of tokens by the server; their tokens are unknown, and not included.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    uncounted: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost + other.cost,
            self.uncounted + other.uncounted,
        )


def token_words(tokens: float, calls: float, uncounted: float) -> str:
    """Return the number of tokens of calls as text, with a note if some were not counted."""
    if calls and uncounted >= calls:
        return "unknown"
    return f"{tokens:,.0f}" + " + unknown" * bool(uncounted)


@dataclass(frozen=True)
class Made:
    """The result of an agent for one video.

    Attributes:
        objects (`tuple`): for each input object, in order, its result or a [`Drop`]. The Analyzer, which has no input
            objects, returns nouns.
        spent ([`Spent`]): cost of the work.
    """

    objects: tuple[Any, ...]
    spent: Spent = Spent()


@dataclass(frozen=True)
class Failure:
    """The reason why an agent has no result for a video. It goes to the dead letters, and can be tried again.

    Attributes:
        kind (`str`): kind for counts, such as "video", "endpoint" or "reply".
        reason (`str`): reason in a sentence.
        spent ([`Spent`]): cost of the work.
    """

    kind: str
    reason: str
    spent: Spent = Spent()

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return the failure for an error, with a kind such as "video".

        An error of another library has the kind "unexpected", and its reason names the code that raised it.
        """
        if isinstance(error, VideoReferError):
            return cls(type(error).__name__.removesuffix("Error").lower(), str(error))
        where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
        return cls("unexpected", f"{type(error).__name__}: {error} ({where})")


# --- inputs of agents ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObjectItem:
    """An object of a video, with the results of agents so far.

    Attributes:
        number (`int`): number among the objects of its video, from 0, in the order of the Analyzer or the source.
            Dropped objects keep their numbers.
        noun ([`Noun`]): noun of the object.
        found, description, caption, verdict, refined (*optional*): results of agents.
    """

    number: int
    noun: Noun
    found: Found | None = None
    description: Description | None = None
    caption: RegionCaption | None = None
    verdict: Verdict | None = None
    refined: Refined | None = None

    @property
    def is_discarded(self) -> bool:
        """Whether the Reviewer found that its description does not fit its mask; such objects are kept apart."""
        return self.verdict is not None and not self.verdict.same

    def having(self, made: Any) -> ObjectItem:
        """Return the object with the result of one more agent."""
        return replace(self, **{_FIELD_OF[type(made)]: made})


_FIELD_OF = {
    Noun: "noun",
    Found: "found",
    Description: "description",
    RegionCaption: "caption",
    Verdict: "verdict",
    Refined: "refined",
}


@dataclass(frozen=True)
class VideoItem:
    """One source, as an input of agents.

    Attributes:
        source ([`Source`]): the video or image.
        seed (`int`): seed of random choices, which depends on this source and the run alone.
        objects (`tuple[ObjectItem, ...]`): objects that were not dropped.
    """

    source: Source
    seed: int
    objects: tuple[ObjectItem, ...] = ()
