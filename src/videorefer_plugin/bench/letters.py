"""Which option an answer to a multiple-choice question names.

Two readers. The compatible one does what the released script does, for figures that can be compared with the paper's.
The strict one reads like a careful person: it takes letters only where they stand for an option, follows negation, and
takes nothing where two options are named or none is.
"""

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["compatible_correct", "compatible_letter", "gold_letter", "option_letters", "strict_letter"]


# --- as the released script ------------------------------------------------------------------------------------------


def compatible_letter(prediction: str) -> str | None:
    """The letter that the released script takes from an answer.

    That is the first of: a capital in parentheses anywhere, a capital directly before a closing parenthesis, the first
    character left when full stops are deleted. Where nothing is left the script stops with an error, and this gives
    `None`.
    """
    found = re.search(r"\(([A-Z])\)", prediction) or re.search(r"([A-Z])\)", prediction)
    if found:
        return found.group(1)
    return prediction.replace(".", "")[:1] or None


def compatible_gold(answer: str) -> str:
    """The right letter as the released script takes it: the first capital in parentheses, else the whole string."""
    found = re.search(r"\(([A-Z])\)", answer)
    return found.group(1) if found else answer


def compatible_correct(prediction: str, answer: str) -> bool:
    """Whether the released script counts an answer as right; where it stops with an error, the answer is wrong."""
    letter = compatible_letter(prediction)
    return letter is not None and letter.lower() == compatible_gold(answer).lower()


# --- strict ----------------------------------------------------------------------------------------------------------

_LABEL = re.compile(r"\s*\(?\s*([A-Za-z])\s*(?:[).:]|$)")
_DECORATION = "*_\"'`<>{}[]“”‘’«»"
_BRACKETS = str.maketrans("[<{]>}", "((()))")
_REJECTED_BEFORE = re.compile(
    r"(?:\bnot|n't|\bnever|\bneither|\bnor|\brather than|\binstead of|\bexcept|\brule[sd]? out|\bexclud\w+)"
    r"(?:\s+(?:be|the|an?|is|it|it's|option|choice|answer|letter))*\s*[:(\"']*\s*$",
    re.I,
)
_REJECTED_AFTER = re.compile(
    r"^\)?[^.;,(]{0,20}?\b(?:is|are|was|seems?)\b\s*(?:clearly|also|definitely)?\s*"
    r"(?:not\b|n't|wrong|incorrect|false|ruled out|impossible)",
    re.I,
)
_INTRODUCTION = re.compile(
    r"^\W*(?:the\s+)?(?:(?:correct|right|best)\s+)?(?:answer|option|choice)\s*(?::|\bis\b(?:\s*:)?)"
    r"(?!\s*\(?[A-Za-z]\s*[).:])",
    re.I,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_ALTERNATIVE = re.compile(r"^\)?\s*(?:or|and|/|,|&)\s*\(?([A-Za-z])(?:\)|\b(?!\s+[a-z]))")


def option_letters(options: Sequence[str]) -> list[str] | None:
    """Letters of options such as `"(A) a red car"`; `None` if one has none, or two have the same."""
    letters = []
    for option in options:
        found = re.match(r"\s*\(\s*([A-Za-z])\s*\)|\s*([A-Za-z])\s*[).:]", option)
        if not found:
            return None
        letters.append((found.group(1) or found.group(2)).upper())
    return letters if len(set(letters)) == len(letters) else None


def gold_letter(answer: str) -> str | None:
    """The right letter of `"(A) a car"`, `"A. a car"`, `"A) a car"`, `"a"` or `"a car (A)"`."""
    found = re.search(r"\(([A-Z])\)", answer) or _LABEL.match(answer) or re.search(r"\(([a-z])\)", answer)
    return found.group(1).upper() if found else None


def strict_letter(prediction: str, options: Sequence[str] | None = None) -> str | None:
    """The option that an answer names, or `None` if it names none, or several.

    Args:
        prediction (`str`): the answer.
        options (`Sequence[str]`, *optional*): the question's options. Given, letters of no option are not taken, and
            an answer that repeats the text of one option names it, also behind "Answer:" or "The answer is", and so
            does a last sentence that begins like this, if no other letter was named before.

    Examples:
        >>> [strict_letter(text) for text in ("The answer is B.", "Not (A), it is (C)", "(A) or (B)", "Both of them")]
        ['B', 'C', None, None]
    """
    text = unicodedata.normalize("NFKC", prediction).translate(_BRACKETS)
    plain = text.strip(_DECORATION + " \t\r\n.,;:!?()")
    allowed = set(option_letters(options) or "") if options else None
    if not plain:
        return None
    if len(plain) == 1:
        return _known(plain, allowed)
    if options:
        *reasons, conclusion = _SENTENCE_END.split(text.strip())
        said = {_bare(text), _bare(_INTRODUCTION.sub("", text))}
        said |= {_bare(_INTRODUCTION.sub("", conclusion))} if _INTRODUCTION.match(conclusion) else set()
        repeated = [gold_letter(option) for option in options if _bare(option) in said]
        if len(repeated) == 1:
            return repeated[0] if _among(" ".join(reasons), allowed) in (None, *repeated) else None
    leading = re.match(r"[\s.\"'*_`]*\(?\s*([A-Za-z])\s*[\"'*_`]*\s*(\)|[.:,](?=\s|$)|\.(?=[a-z])|\n)", text)
    if leading and _known(leading.group(1), allowed):
        rest = text[leading.end(1) :]
        other = _ALTERNATIVE.match(rest)
        if other and _known(other.group(1), allowed) not in (None, leading.group(1).upper()):
            return None
        if not _REJECTED_AFTER.match(rest):
            return leading.group(1).upper()
    return _among(text, allowed)


def _known(letter: str, allowed: set[str] | None) -> str | None:
    letter = letter.upper()  # of some letters, such as the German sharp s, that is two
    return letter if len(letter) == 1 and "A" <= letter <= "Z" and (allowed is None or letter in allowed) else None


def _bare(text: str) -> str:
    """An option's text or an answer, without its letter, case and marks around it."""
    text = re.sub(r"^\s*\(?\s*[A-Za-z]\s*[).:]\s*", "", text)
    return re.sub(r"\W+", " ", text).strip().lower()


# From the surest to the least sure way of naming an option. The last are capitals that stand alone, but for the
# article and the pronoun.
_WAYS = (
    re.compile(
        r"\b(?:answer|option|choice|letter)\b(?:\s+(?:is|would be|should be|must be))?\s*[:=]?\s*[*_\"']*\(?\s*"
        r"([A-Za-z])\s*(?:\)|[\"'*_]|(?=[\s.,;:!?]*$)|(?=[.,;:!?])|(?=\s+(?:because|since|as|or|and|not|but|is)\b))",
        re.I,
    ),
    re.compile(r"\(\s*([A-Za-z])\s*\)"),
    re.compile(r"(?<![\w'(])([A-Z])(?![\w'])(?!(?<=[AI])\s+(?!(?:or|and|is|not|but|because|since)\b)[a-z])"),
)


def _among(text: str, allowed: set[str] | None) -> str | None:
    """The one option that is named by the surest way in which any is named."""
    rejected: set[str] = set()
    named: list[set[str]] = []
    for way in _WAYS:
        found = set()
        for match in way.finditer(text):
            letter = _known(match.group(1), allowed)
            if letter is None:
                continue
            before, after = text[: match.start(1)], text[match.end(1) :]
            if _REJECTED_BEFORE.search(before.rstrip("( ")) or _REJECTED_AFTER.match(after):
                rejected.add(letter)
            else:
                found.add(letter)
                other = _ALTERNATIVE.match(after)
                if other and _known(other.group(1), allowed):
                    found.add(other.group(1).upper())
        named.append(found)
    for found in named:
        left = found - rejected
        if left:
            return left.pop() if len(left) == 1 else None
    return None
