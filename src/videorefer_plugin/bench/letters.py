"""Readers of answers to multiple-choice questions, which find the option that an answer names.

There are two readers. The compatible one does the same as the released script, for figures that can be compared with
the paper's. The strict one reads like a careful person: it takes only letters that stand for an option, follows
negation, and takes no option if an answer names none or several. It ignores a model's thoughts before the answer, and
knows the Chinese, Japanese and Korean words for an answer.
"""

import re
import unicodedata
from collections.abc import Sequence

from videorefer_plugin.chat.reasoning import without_reasoning

__all__ = ["compatible_correct", "compatible_letter", "gold_letter", "option_letters", "strict_letter"]


# --- compatible ------------------------------------------------------------------------------------------------------


def compatible_letter(prediction: str) -> str | None:
    """Return the letter that the released script takes from an answer.

    The script takes the first of these: a capital in parentheses anywhere, a capital directly before a closing
    parenthesis, the first character after periods are deleted. If nothing is left, the script stops with an error, and
    this function returns `None`.
    """
    found = re.search(r"\(([A-Z])\)", prediction) or re.search(r"([A-Z])\)", prediction)
    if found:
        return found.group(1)
    return prediction.replace(".", "")[:1] or None


def compatible_gold(answer: str) -> str:
    """Return the right letter as the released script does: the first capital in parentheses, else the whole string."""
    found = re.search(r"\(([A-Z])\)", answer)
    return found.group(1) if found else answer


def compatible_correct(prediction: str, answer: str) -> bool:
    """Return whether the released script counts an answer as right. If the script stops with an error, it is wrong."""
    letter = compatible_letter(prediction)
    return letter is not None and letter.lower() == compatible_gold(answer).lower()


# --- strict ----------------------------------------------------------------------------------------------------------

_LABEL = re.compile(r"[\s*_\"'`(]*([A-Za-z])(?:\*\*|__|[\s*_\"'`]*(?:[).:、]|\s[-–—](?=\s)|$|\n))")
_DECORATION = "*_\"'`<>{}[]“”‘’«»"
_BRACKETS = str.maketrans("[<{【「『〔〖]>}】」』〕〗", "((((((((" + "))))))))")
_REJECTED_BEFORE = re.compile(
    r"(?:\bnot|\bcannot|n't|\bnever|\bneither|\bnor|\brather than|\binstead of|\bexcept|\brule[sd]? out|\bexclud\w+)"
    r"(?:\s+(?:be|the|an?|is|it|it's|option|choice|answer|letter))*\s*[:(\"']*\s*$"
    r"|(?:不|并非|並非|而非|排除|除了)(?:应该?|應該?|能|会|會|可能|是|为|為|选择?|選擇?|选项|選項)*\s*[:(\"']*\s*$",
    re.I,
)
_REJECTED_AFTER = re.compile(
    r"^\)?[^.;,(\n]{0,20}?\b(?:is|are|was|seems?)\b\s*(?:clearly|also|definitely)?\s*"
    r"(?:not\b|n't|wrong|incorrect|false|ruled out|impossible)"
    r"|^\)?\s*(?:选项|選項|项|項)?\s*(?:是|可以|可|被|都|也|明显|显然)*(?:错|錯|不|排除|有误)",
    re.I,
)
_NEAR = 200  # characters around a letter that can reject it
_INTRODUCTION = re.compile(
    r"^\W*(?:(?:the\s+)?(?:(?:correct|right|best)\s+)?(?:answer|option|choice)\s*(?::|\bis\b(?:\s*:)?)"
    r"|(?:正确|正確|最佳)?的?(?:答案|选项|選項)(?:应该?|應該?)?\s*(?:是|为|為|:))"
    r"(?!\s*\(?[A-Za-z]\s*[).:])",
    re.I,
)
_LEADING = re.compile(
    r"[\s.\"'*_`]*(?:\(\s*)?([A-Za-z])[\s\"'*_`]*"
    r"(?:\)|[.:,](?=\s|$)|\.(?=[a-z])|\n|(?<=[A-Z]\s)(?=(?:because|since)\b))"
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_ALTERNATIVE = re.compile(
    r"^\)?\s*(?:or|and|/|,|&|、|还是|還是|或者?|和|与|與|及|以及|と|또는)\s*\(?([A-Za-z])(?:\)|(?![A-Za-z0-9_])(?!\s+[a-z]))"
)


def option_letters(options: Sequence[str]) -> list[str] | None:
    """Return the letters of options such as `"(A) a red car"`; `None` if one has none, or two have the same."""
    letters = []
    for option in options:
        found = re.match(r"\s*\(\s*([A-Za-z])\s*\)|\s*([A-Za-z])\s*[).:、]", _plain(option))
        if not found:
            return None
        letters.append((found.group(1) or found.group(2)).upper())
    return letters if len(set(letters)) == len(letters) else None


def gold_letter(answer: str) -> str | None:
    """Return the letter of `"(A) a car"`, `"[A] a car"`, `"A. a car"`, `"A) a car"`, `"a"` or `"a car (A)"`."""
    text = _plain(answer)
    found = (
        re.search(r"\(([A-Z])\)", unicodedata.normalize("NFKC", answer))
        or _LABEL.match(text)
        or re.search(r"\(([A-Za-z])\)", text)
    )
    return found.group(1).upper() if found else None


def _plain(text: str) -> str:
    """Return the text with letters and marks in their usual width, and all brackets as round ones."""
    return unicodedata.normalize("NFKC", text).translate(_BRACKETS)


def strict_letter(prediction: str, options: Sequence[str] | None = None) -> str | None:
    """Return the letter of the option that an answer names, or `None` if it names none, or several.

    Args:
        prediction (`str`): the answer.
        options (`Sequence[str]`, *optional*): the question's options. If given, letters of no option are not taken. An
            answer that repeats the text of one option names it, also after "Answer:" or "The answer is", and so does a
            last sentence that begins like this, if no other letter was named before.

    Examples:
        >>> [strict_letter(text) for text in ("The answer is B.", "Not (A), it is (C)", "(A) or (B)", "Both of them")]
        ['B', 'C', None, None]
    """
    said = without_reasoning(prediction)
    if said is None:
        return None
    text = _plain(said)
    bare = text.strip(_DECORATION + " \t\r\n.,;:!?()。、")
    letters = option_letters(options) if options else None
    allowed = set(letters or "") if options else None
    if not bare:
        return None
    if len(bare) == 1:
        return _known(bare, allowed)
    if options and letters:
        *reasons, conclusion = _SENTENCE_END.split(text.strip())
        claims = {_bare(text), _bare(_INTRODUCTION.sub("", text))}
        claims |= {_bare(_INTRODUCTION.sub("", conclusion))} if _INTRODUCTION.match(conclusion) else set()
        repeated = [letter for letter, option in zip(letters, options, strict=True) if _bare(_plain(option)) in claims]
        if len(repeated) == 1:
            return repeated[0] if _among(" ".join(reasons), allowed) in (None, *repeated) else None
    leading = _LEADING.match(text)
    if leading and _known(leading.group(1), allowed) and not any(way.search(text) for way in _WAYS[0]):
        rest = text[leading.end(1) :]
        other = _ALTERNATIVE.match(rest)
        if other and _known(other.group(1), allowed) not in (None, leading.group(1).upper()):
            return None
        if not _REJECTED_AFTER.match(rest):
            return leading.group(1).upper()
    return _among(text, allowed)


def _known(letter: str, allowed: set[str] | None) -> str | None:
    letter = letter.upper()  # some letters, such as the German sharp s, become two
    return letter if len(letter) == 1 and "A" <= letter <= "Z" and (allowed is None or letter in allowed) else None


def _bare(text: str) -> str:
    """Return an option's text or an answer without its letter, case and the marks around it."""
    text = re.sub(r"^[\s(]*[A-Za-z]\s*[).:、]\s*", "", text)
    return re.sub(r"\W+", " ", text).strip().lower()


_TAIL = r"(?![A-Za-z0-9_'])(?=\W|$|选项|選項|[项項吧呢啊哦的是因所或和与與及还還だでが]|입니다|이다|번)"
# From the surest to the least sure ways of naming an option. The last ones are capitals that stand alone, except the
# article and the pronoun. In Chinese, Japanese and Korean, no space separates a letter from the words around it.
_WAYS = (
    (
        re.compile(r"\\(?:boxed|fbox)\s*\((?:[\s(]|\\\w+\s*\()*([A-Za-z])\s*\)"),
        re.compile(r"\(answer\)[\s(]*([A-Za-z])[\s).]*\(/answer\)", re.I),
    ),
    (
        re.compile(
            r"\b(?:answer|option|choice|letter)\b[\"'*_]*(?:\s+(?:is|would be|should be|must be)\b)?\s*(?:[:=]\s*)?"
            r"(?:[*_\"']+\s*)?(?:\(\s*)?([A-Za-z])(?:\s*[)\"'*_]|(?=[\s.,;:!?]*$)|(?=\s*[.,;:!?])"
            r"|(?=\s+(?:because|since|as|or|and|not|but|is)\b))",
            re.I,
        ),
        re.compile(
            r"(?:答案|正解|答え|정답|选项|選項|选择|選擇|选|選)(?:\s*(?:应该?|應該?|应当|應當|就|只能|[是为為係は은는이])){0,3}"
            r"(?:[\s:=*_\"'(]|选项|選項){0,30}([A-Za-z])" + _TAIL
        ),
    ),
    (re.compile(r"\(\s*([A-Za-z])\s*\)"),),
    (
        re.compile(r"(?<![\w'(])([A-Z])(?![\w'])(?!(?<=[AI])\s+(?!(?:or|and|is|not|but|because|since)\b)[a-z])"),
        re.compile(r"[是为為][\s(]*([A-Z])" + _TAIL),
        re.compile(
            r"(?<![A-Za-z0-9_'(])([A-Z])\s*(?=(?:选项|選項|项|項|です|입니다|이다)|是?(?:正确|正確|对|對|错|錯|不对|不對|不正))"
        ),
    ),
)


def _among(text: str, allowed: set[str] | None) -> str | None:
    """Return the option that is named in the surest way; `None` if there are several, or none."""
    rejected: set[str] = set()
    named: list[set[str]] = []
    for ways in _WAYS:
        found = set()
        for match in (match for way in ways for match in way.finditer(text)):
            letter = _known(match.group(1), allowed)
            if letter is None:
                continue
            before = text[max(match.start(1) - _NEAR, 0) : match.start(1)]
            after = text[match.end(1) : match.end(1) + _NEAR]
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
