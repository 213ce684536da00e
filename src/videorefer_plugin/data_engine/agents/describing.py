"""The questions of Annotators about an object, and the reading of the answers."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.bench.prompts import MARK_WORDS
from videorefer_plugin.data_engine.agents.chatting import prompt_identity
from videorefer_plugin.data_engine.agents.loading import check_choice
from videorefer_plugin.data_engine.agents.static_actions import part_static, sentences
from videorefer_plugin.data_engine.items import Description, Drop, Failure, Made, ObjectItem, Spent
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.questions import without_placeholders
from videorefer_plugin.inputs.wording import REGION_TOKEN

__all__ = ["PROMPT_VERSION", "Describing", "is_refusal", "says_not_seen"]

PROMPT_VERSION = 1  # raise it when one of the prompts changes
_RESERVED = (REGION_TOKEN, "<video>", "<image>")
_FIELDS = ("noun", "expression", "visual")

_OBJECT = {
    "noun": "the {noun}",
    "drawn": "the object that is {marked} red, the {noun}",
    "region": f"the object {REGION_TOKEN}, the {{noun}}",
}
_EXPRESSED = ' ("{expression}")'
_DYNAMIC = (
    "Look at {object}, in this {visual}. Describe its actions and movements in detail, in the order in which they "
    "happen. Speak of this object only, and say nothing that cannot be seen."
)
_APPEARANCE = (
    "Look at {object}, in this {visual}. Describe its appearance and state in detail, such as its colors, shape, "
    "clothes or parts. Speak of this object only, and say nothing that cannot be seen."
)


@dataclass(frozen=True)
class Describing:
    """The settings of an Annotator's questions, and the reading of the answers.

    Attributes:
        sees (`str`): form of the object: its `"noun"`, `"drawn"` on the frames, or a `"region"`.
        dynamic_prompt, appearance_prompt (`str`, *optional*): prompts that replace the default ones, with the fields
            "{noun}", "{expression}" and "{visual}" ("video" or "image").
        drop_static (`bool`): whether to drop objects that do nothing.
        style (`str`): style of the drawing.
    """

    sees: str
    dynamic_prompt: str | None = None
    appearance_prompt: str | None = None
    drop_static: bool = False
    style: str = "contour"

    def checked(self, choices: Sequence[str]) -> Describing:
        """Return the settings if all of them are valid.

        Raises:
            ConfigurationError: a setting has an unknown value, or a prompt cannot be filled in.
        """
        check_choice("annotator", "sees", self.sees, choices)
        check_prompt("annotator", "dynamic_prompt", self.dynamic_prompt, self.sees == "region")
        check_prompt("annotator", "appearance_prompt", self.appearance_prompt, self.sees == "region")
        if not isinstance(self.drop_static, bool):
            raise ConfigurationError(
                f"The annotator has drop_static={short(self.drop_static)}; expected true or false."
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return everything that the questions and the reading depend on."""
        prompts = [
            self._template(kind, expressed) for kind in ("dynamic", "appearance") for expressed in (False, True)
        ]
        return {
            "sees": self.sees,
            **({"style": self.style} if self.sees == "drawn" else {}),
            "prompt": prompt_identity(PROMPT_VERSION, *prompts),
            "drop_static": self.drop_static,
        }

    def questions(self, item: ObjectItem, kind: str) -> tuple[str, str]:
        """Return the two questions about an object of a video or image: its actions, and its appearance."""
        noun = _bare(without_placeholders(item.noun.text, _RESERVED))
        expression = without_placeholders(item.noun.expression or item.noun.text, _RESERVED)
        expressed = _bare(expression) != noun
        words = {"noun": noun, "expression": expression, "visual": kind}
        first, second = (self._template(about, expressed).format(**words) for about in ("dynamic", "appearance"))
        return first, second

    def _template(self, about: str, expressed: bool) -> str:
        given, default = {
            "dynamic": (self.dynamic_prompt, _DYNAMIC),
            "appearance": (self.appearance_prompt, _APPEARANCE),
        }[about]
        if given is not None:
            return given
        called = _OBJECT[self.sees].replace("{marked}", MARK_WORDS[self.style])
        return default.replace("{object}", called + (_EXPRESSED if expressed else ""))

    def read(self, item: ObjectItem, dynamic: str, appearance: str) -> Description | Drop | None:
        """Return the description from two answers; `None` if one of them is empty."""
        for answer in (dynamic, appearance):
            if says_not_seen(answer, item.noun.text):
                return Drop("not_seen", f"The annotator does not see {short(item.noun.text)}: {short(answer)}.")
            if is_refusal(answer):
                return Drop("refused", f"The annotator refused to describe {short(item.noun.text)}: {short(answer)}.")
        if not dynamic.strip() or not appearance.strip():
            return None
        parted = part_static(dynamic)
        if not parted.dynamic and self.drop_static:
            return Drop(
                "static", f"The annotator names only static actions of {short(item.noun.text)}: {short(dynamic)}."
            )
        return Description(parted.dynamic, " ".join(appearance.split()), parted.static)

    def made(self, objects: Sequence[ObjectItem], answers: Sequence[str], spent: Spent) -> Made | Failure:
        """Return the result for the answers about a video's objects; a failure if all of them are empty.

        Args:
            objects: the objects.
            answers: two for each object, in the order of `questions`.
            spent: cost of the answers.
        """
        read = [self.read(item, *answers[2 * place : 2 * place + 2]) for place, item in enumerate(objects)]
        if read and all(one is None for one in read):
            return Failure("reply", "The annotator gave empty answers.", spent)
        empty = Drop("empty", "The annotator gave an empty answer, beside others about this video that are not.")
        return Made(tuple(empty if one is None else one for one in read), spent)


_ARTICLE = re.compile(r"^(?:the|an?)\s+(?=\S)", re.IGNORECASE)


def _bare(words: str) -> str:
    """Return the words without an article before them, since prompts have their own."""
    return _ARTICLE.sub("", words.strip())


def check_prompt(stage: str, name: str, prompt: Any, wants_region: bool, fields: Sequence[str] = _FIELDS) -> None:
    """Refuse a prompt that cannot be filled in.

    Raises:
        ConfigurationError: the prompt is not a text, has unknown fields, or lacks the one `<region>` that it needs.
    """
    if prompt is None:
        return
    expected = f"expected a text in which {', '.join('{' + field + '}' for field in fields)} may stand"
    if not isinstance(prompt, str) or not prompt.strip():
        raise ConfigurationError(f"The {stage} has {name}={short(prompt)}; {expected}.")
    try:
        found = [field for _, field, _, _ in string.Formatter().parse(prompt) if field is not None]
        unknown = [field for field in found if field not in fields]
        if unknown:
            raise ConfigurationError(f"The {stage} has '{{{unknown[0]}}}' in {name}; {expected}.")
        prompt.format(**dict.fromkeys(fields, "a"))
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise ConfigurationError(
            f"The {stage} has {name}={short(prompt)}, which cannot be filled in ({error}); {expected}, with nothing "
            "else between the braces."
        ) from error
    regions = prompt.count(REGION_TOKEN)
    if regions != wants_region:
        needed = "one, since the model sees a region" if wants_region else "none, since the model sees no region"
        raise ConfigurationError(f"The {stage} has {regions} {REGION_TOKEN} in {name}; expected {needed}.")


_TASKS = (
    r"help|assist|comply|answer|respond|reply|describe|provide|fulfill?|continue|discuss|identify|do (?:that|this|so)"
    r"|with (?:that|this)|(?:view|watch|see|access|open|play|process|analy[sz]e) (?:the |this |these |any )?"
    r"(?:videos?|images?|pictures?|frames?|clips?|media|files?)"
)
_UNABLE = (
    r"(?:can['’]?t|cannot|can not|won['’]t|will not|must decline(?: to)?|(?:do not|don['’]t) have the ability to"
    r"|(?:am|are|['’]m|['’]re)\s+(?:\w+\s+)?(?:unable to|not able to|not allowed to|not permitted to))"
)
_REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]?m|i am|we are|we['’]re)\s+(?:very\s+|so\s+|really\s+)?sorry\b|sorry\b|(?:my )?apologies\b"
    r"|i apologi[sz]e|(?:i|we)(?:['’]m| am| are) (?:not comfortable|uncomfortable)\b|i must decline\b"
    r"|(?:(?:unfortunately|regrettably|i['’]?m afraid|i am afraid)(?: that)?,?\s+|as an? [^.]{0,60}?,\s+)?"
    rf"(?:i|we)\s*{_UNABLE}\s+(?:\w+ly\s+)?(?:{_TASKS})\b"
    r"|[^.]{0,60}?\b(?:my|our|the|safety) (?:\w+ )?(?:guidelines|polic(?:y|ies)|rules|programming)\b"
    r"[^.]{0,20}?\b(?:not|n['’]t|prevent|prohibit|forbid|prohibits|forbids|prevents)"
    r"|[^.]{0,60}?\bagainst (?:my|our) (?:\w+ )?(?:guidelines|polic(?:y|ies)|rules|programming))",
    re.IGNORECASE,
)
# A description that follows an apology.
_AFTER_ALL = re.compile(
    r"[;:]\s*(?:it|he|she|they|the|its|his|her)\b"
    r"|\bbut\s+(?!(?:i['’]?m|i am|i can['’]?t|i cannot|i['’]d|please|feel|if|let|you)\b)(?!i can (?:help|assist|try))",
    re.IGNORECASE,
)
_WHERE = (
    r"(?:in|within|from|throughout) (?:the|this|these|any of the) (?:(?:whole|entire|given|provided) )?"
    r"(?:video|clip|scene|footage|image|picture|photo|frames?)"
)
_PLURALS = {"person": "people", "man": "men", "woman": "women", "child": "children", "mouse": "mice"}
_HUMANS = frozenset(["man", "woman", "boy", "girl", "child", "kid", "lady", "gentleman", "guy", "player", "person"])
_ANY_HUMAN = ("person", "people", "one", "human", "humans", "individual", "individuals")
_PLAIN = (
    r"such|visible|clear|discernible|actual|obvious|apparent|single|specific|real|identifiable|distinct|particular"
    r"|red|blue|green|yellow|orange|brown|black|white|gray|grey|pink|purple|small|large|big|little"
)
_SHOWN = r"(?:visible|present|shown|seen|featured|depicted|found|detected|identified|appearing|pictured)"
# After the name of a missing thing, the clause ends, or a location follows.
_ENDS = (
    rf"(?:\s+(?:{_WHERE}|here|there|anywhere|at all|to be seen|to describe|{_SHOWN}|on (?:the )?screen"
    r"|matching [^.,;]*|that (?:matches|fits|corresponds|is described)[^.,;]*))*"
    r"(?:\s*[.!]*$|\s*[,;:](?!\s*(?:but|though|although|until)\s+(?:it|he|she|they|its|his|her|their|the)\b)"
    r"|\s+(?:but|so|and)\s+(?!it\b|he\b|she\b|they\b|its\b|his\b|her\b|their\b))"
)


_BEHIND = frozenset(
    (
        "in",
        "on",
        "at",
        "with",
        "of",
        "from",
        "to",
        "by",
        "near",
        "behind",
        "under",
        "over",
        "beside",
        "between",
        "that",
        "which",
        "who",
        "whose",
        "is",
        "are",
        "was",
        "were",
        "and",
        "not",
    )
)


def _head(noun: str) -> str:
    """Return the word that names the thing: the last one, or the one before an addition, as in "man in red"."""
    words = re.findall(r"\w+", noun.lower())
    ends = (place for place, word in enumerate(words) if place and (word in _BEHIND or word.endswith("ing")))
    return words[next(ends, len(words)) - 1] if words else ""


def is_refusal(answer: str) -> bool:
    """Return whether a model refuses to answer, or says that it cannot.

    Examples:
        >>> is_refusal("I'm sorry, but I can't help with that."), is_refusal("The man is sorry.")
        (True, False)
    """
    found = _REFUSAL.match(answer.strip())
    return found is not None and not _AFTER_ALL.search(answer.strip(), found.end())


def says_not_seen(answer: str, noun: str) -> bool:
    """Return whether a model says, in its first sentence, that an object is not in the video.

    Examples:
        >>> says_not_seen("There is no red car in the video.", "red car")
        True
        >>> says_not_seen("There is no movement of the red car.", "red car")
        False
    """
    first = next(iter(sentences(answer)), "").lower().replace("’", "'")
    head = _head(noun)
    if not head:
        return False
    names = [rf"{re.escape(head)}(?:e?s)?", *([_PLURALS[head]] if head in _PLURALS else [])]
    names += _ANY_HUMAN if head in _HUMANS else ()
    words = re.findall(r"\w+", noun.lower())
    before, behind = words[: words.index(head)], words[words.index(head) + 1 :]
    own = "".join(rf"{re.escape(word)}|" for word in before)
    tail = rf"(?:\s+{r'[^a-z]+'.join(map(re.escape, behind))})?" if behind else ""
    name = rf"(?:{'|'.join(names)}|such (?:thing|object)s?)"
    thing = rf"(?:(?:{own}{_PLAIN})\s+){{0,5}}{name}\b{tail}(?!')"
    patterns = (
        rf"\bthere(?:'s|\s+(?:is|are|was|were|appears? to be|seems? to be))\s+(?:no|not (?:a|an|any))\s+"
        rf"{thing}{_ENDS}",
        rf"\bthere\s+(?:isn't|aren't|wasn't|weren't)\s+(?:a|an|any)\s+{thing}{_ENDS}",
        rf"\bno (?:sign|trace) of (?:a|an|any|the) {thing}{_ENDS}",
        rf"^(?:sorry,?\s+)?no\s+{thing}\s+(?:(?:is|are|was|were|can be|could be)\s+(?:{_SHOWN}|there|{_WHERE})"
        rf"|appears?){_ENDS}",
        rf"\b(?:does not|doesn't|do not|don't|did not|didn't)\s+(?:actually\s+)?"
        rf"(?:show|contain|include|feature|depict|have|see)\s+(?:a|an|any|the)\s+{thing}{_ENDS}",
        rf"\b(?:shows?|contains?|includes?|features?|depicts?|has|have|see|find|detect)\s+no\s+{thing}{_ENDS}",
        rf"\bi\s+(?:cannot|can't|can not|could not|couldn't|am unable to|was unable to)\s+"
        rf"(?:see|find|identify|locate|detect)\s+(?:a|an|any|the)\s+{thing}{_ENDS}",
        rf"\b(?:{names[0]})\s+(?:is|are|was|were|does|do)(?:\s+not|n't)\s+(?:actually\s+)?"
        rf"(?:visible|present|shown|seen|appear|depicted|exist)(?:\s+{_WHERE})?\s*[.!,]?$",
        rf"\b(?:{names[0]})\s+(?:cannot|can't|can not)\s+be\s+(?:seen|found|identified)(?:\s+{_WHERE})?\s*[.!,]?$",
    )
    return any(re.search(pattern, first) for pattern in patterns)
