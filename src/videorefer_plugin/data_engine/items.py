"""What agents are given, and what they make: plain values, which are written to the ledger as JSON and read back."""

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
    """A seed, from 0 to 2^32 - 1, that depends on these values alone; the same on every machine and in every order."""
    text = json.dumps(parts, ensure_ascii=False)
    return int(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8], 16)


# --- what comes in ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GivenObject:
    """An object that comes with its masks and an expression for it.

    Attributes:
        expression (`str`): such as "the man in red".
        annotation (`dict`): frame of the source video, as a string of digits -> {"segmentation": COCO RLE, polygons or
            None}, as records of VideoRefer-700K have it.
    """

    expression: str
    annotation: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A video or an image that data is made from.

    Attributes:
        id (`str`): its name in the run; no two sources share one.
        path (`str`): of the file.
        caption (`str`): what was written about it as a whole; may be empty where objects are given.
        kind (`str`): "video" or "image".
        objects (`tuple[GivenObject, ...]`): objects whose masks are given.
        height, width (`int`, *optional*): of the frames that polygons of given objects were drawn on, in pixels.
        language (`str`, *optional*): of the caption, a code such as "en", where the table says it.
        license, address (`str`, *optional*): under which terms it may be used, and where it comes from.
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
        """As `from_json` reads it."""
        said = {item.name: getattr(self, item.name) for item in fields(self)}
        said["objects"] = [{"expression": one.expression, "annotation": one.annotation} for one in self.objects]
        return {key: value for key, value in said.items() if value not in (None, [], "")}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Source:
        """Read what `to_json` gave, also after it went through JSON."""
        objects = tuple(GivenObject(**given) for given in value.get("objects", ()))
        return cls(**{**value, "objects": objects})

    @functools.cached_property
    def digest(self) -> str:
        """A short name for all that it says."""
        return _digest(self.to_json())

    @functools.cached_property
    def work_digest(self) -> str:
        """A short name for what agents work on; what they made is made again when that changes.

        Under which terms it may be used and where it comes from stand in records alone.
        """
        return _digest({key: value for key, value in self.to_json().items() if key not in _NOT_WORKED_ON})


_NOT_WORKED_ON = ("language", "license", "address")


def _digest(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


# --- what agents make ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noun:
    """An object that a caption speaks of; made by the Analyzer.

    Attributes:
        text (`str`): the bare noun with what tells it apart from others of its kind, such as "red car".
        expression (`str`): the whole words of the caption about it, such as "a red car with a trailer"; `text` if the
            caption says no more.
        role (`str`): "subject", or "other" of what else is in the scene.
        singular (`bool`): whether it is a single object.
    """

    text: str
    expression: str = ""
    role: str = "subject"
    singular: bool = True


@dataclass(frozen=True)
class Found:
    """Where an object is; made by the Segmentor.

    Attributes:
        annotation (`dict`): frame of the source video, as a string of digits -> {"segmentation": COCO RLE, or None
            where it is absent}.
        height, width (`int`): of the frames in pixels.
        frame (`int`): the frame in which it was found first.
        box (`tuple[float, ...]`): around it there, (x0, y0, x1, y1) in pixels.
        score (`float`): of the finder, from 0 to 1.
        scores (`dict`): frame, as a string -> score of the follower, from 0 to 1.
        checks (`dict`): name of a check of the masklet -> its figure; empty if none was made.
        notes (`tuple[str, ...]`): what is to be known about it, such as where it was lost.
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
        """The object as a `Region`."""
        return Region.from_annotation(self.annotation)


@dataclass(frozen=True)
class Description:
    """What a Video LLM says of an object; made by the Annotator.

    Attributes:
        dynamic (`str`): its actions and movements; empty if it has none but static ones.
        appearance (`str`): its look and state.
        filtered (`tuple[str, ...]`): sentences about static "actions" that were taken out of `dynamic`.
    """

    dynamic: str
    appearance: str
    filtered: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Both, the look first."""
        return " ".join(filter(None, (self.appearance, self.dynamic)))


@dataclass(frozen=True)
class RegionCaption:
    """What a region captioner says of a mask, of which it is not told whose it is; made for the Reviewer.

    Attributes:
        text (`str`): its words.
        frame (`int`): of the source video, in which it was shown.
    """

    text: str
    frame: int


@dataclass(frozen=True)
class Verdict:
    """Whether description and region caption mean the same object; made by the Reviewer.

    Attributes:
        same (`bool`): the verdict.
        reason (`str`): in words.
        score (`float`, *optional*): how sure it is or how similar they are, where it says so.
    """

    same: bool
    reason: str
    score: float | None = None


@dataclass(frozen=True)
class Question:
    """A question about an object, with its answer.

    Attributes:
        kind (`str`): "basic", "reasoning" or "future" (paper, section 3.1.2).
        question (`str`): with one `<region>` for each object that it is about.
        answer (`str`): the answer.
        objects (`tuple[int, ...]`): numbers of the objects ([`ObjectItem`]) that `<region>` stands for, in order.
    """

    kind: str
    question: str
    answer: str
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Refined:
    """What becomes a record; made by the Refiner.

    Attributes:
        description (`str`): one coherent description; empty if only questions were asked for.
        questions (`tuple[Question, ...]`): in the order of the conversation. Of questions about several objects, only
            the first of them has them.
        conversation (`bool`): whether the questions are rounds of one conversation; else each stands alone.
        new_words (`float`, *optional*): share of words of the description that stand in none of the texts that it was
            made from, from 0 to 1; roughly what may be invented.
    """

    description: str = ""
    questions: tuple[Question, ...] = ()
    conversation: bool = True
    new_words: float | None = None


@dataclass(frozen=True)
class Drop:
    """Why an object is left out from here on, which is no failure: the same agent would say the same again.

    Attributes:
        kind (`str`): by which it is counted: "not_found", "ambiguous", "lost", "plural", "refused", "static" or such.
        reason (`str`): in a sentence.
    """

    kind: str
    reason: str


@dataclass(frozen=True)
class Spent:
    """What a piece of work took.

    Attributes:
        calls (`int`): how often a model was asked.
        input_tokens, output_tokens (`int`): as its side counts them.
        cost (`float`): in the currency of the prices; 0 without prices.
        uncounted (`int`): calls whose tokens the model's side does not count, so that they are unknown, and not among
            these.
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
    """How many tokens calls took, and that this is unknown of those whose tokens nobody counts."""
    if calls and uncounted >= calls:
        return "unknown"
    return f"{tokens:,.0f}" + " + unknown" * bool(uncounted)


@dataclass(frozen=True)
class Made:
    """What an agent made of one video.

    Attributes:
        objects (`tuple`): for each object that it was given, in order, what it made of it, or [`Drop`]. The Analyzer,
            which is given none, makes the objects: their nouns.
        spent ([`Spent`]): what it took.
    """

    objects: tuple[Any, ...]
    spent: Spent = Spent()


@dataclass(frozen=True)
class Failure:
    """Why an agent could make nothing of a video this time; it goes to the dead letters and can be tried again.

    Attributes:
        kind (`str`): by which it is counted, such as "video", "endpoint" or "reply".
        reason (`str`): in a sentence.
        spent ([`Spent`]): what it took all the same.
    """

    kind: str
    reason: str
    spent: Spent = Spent()

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The failure that an error stands for, counted by what it is about, such as "video".

        What is none of our errors is "unexpected", and also says where it came from, since nobody else would know.
        """
        if isinstance(error, VideoReferError):
            return cls(type(error).__name__.removesuffix("Error").lower(), str(error))
        where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
        return cls("unexpected", f"{type(error).__name__}: {error} ({where})")


# --- what agents are given -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObjectItem:
    """An object of a video, with what agents have made of it so far.

    Attributes:
        number (`int`): among the objects of its video, from 0, in the order in which the Analyzer or the source has
            them; those that were dropped keep theirs.
        noun ([`Noun`]): what it is called.
        found, description, caption, verdict, refined (*optional*): what agents made.
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
        """Whether the Reviewer found that its description and its mask do not belong together; it is kept apart."""
        return self.verdict is not None and not self.verdict.same

    def having(self, made: Any) -> ObjectItem:
        """This object with what one more agent has made of it."""
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
    """One source, as an agent is given it.

    Attributes:
        source ([`Source`]): the video or image.
        seed (`int`): for what is left to chance; of this source and the run alone.
        objects (`tuple[ObjectItem, ...]`): those that were not dropped.
    """

    source: Source
    seed: int
    objects: tuple[ObjectItem, ...] = ()
