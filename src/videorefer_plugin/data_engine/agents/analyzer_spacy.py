"""An Analyzer that parses captions with spaCy, without a language model."""

from __future__ import annotations

import importlib.util
import runpy
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from videorefer_plugin._json import read_json
from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.agents.nouns import SCENERY, NounRules, is_scenery, words_of
from videorefer_plugin.data_engine.items import Drop, Failure, Made, Noun, VideoItem
from videorefer_plugin.errors import ConfigurationError, EngineError
from videorefer_plugin.models.fingerprint import tree_fingerprint

__all__ = ["SpacyAnalyzer"]

_VERSION = 2  # of the rules below; raise it when a change of rules changes results
_LONGEST = 20_000  # characters of a caption, to bound time and memory

_SUBJECTS = frozenset(("nsubj", "nsubjpass", "nsubj:pass", "sb", "ROOT"))
_JOINED = frozenset(
    ("conj", "cc", "cj", "cd", "preconj", "appos")
)  # dependencies beside a noun that do not belong to it
_NOT_OF_THE_NOUN = frozenset(("det", "predet", "poss", "case", "nummod", "cc", "quantmod"))
_MANY = frozenset(("several", "many", "few", "some", "multiple", "various", "numerous", "other", "another", "more"))
_COLLECTIONS = frozenset(
    ("group", "crowd", "pair", "couple", "bunch", "row", "series", "set", "number", "lot", "team", "herd", "flock")
)
# Other languages that captions may be in, recognized by their stop words.
_LANGUAGES = ("da", "de", "en", "es", "fi", "fr", "id", "it", "nl", "pl", "pt", "ro", "sv", "tr")


class SpacyAnalyzer(Agent):
    """Finds the noun phrases of captions and their roles in the sentence.

    Objects are dropped if they cannot be pointed at (`"scenery"`), or if there are too many (`"surplus"`); in mode
    `"short"` also if they are several (`"plural"`) or not the subject (`"not_subject"`). A caption without objects
    gives one dropped object of kind `"no_noun"`, an empty one `"no_caption"`, and one in another language than the
    pipeline's `"other_language"`, if script or stop words such as "the" show it.

    Args:
        model (`str`): name of an installed spaCy pipeline with a parser, or its folder.
        mode (`str`): `"all"`, or `"short"` for single subjects only.
        max_objects (`int`): most objects of a caption.
        scenery (`Sequence[str]`): nouns that are not objects.

    Raises:
        ConfigurationError: a setting has a wrong value, or spaCy or the pipeline is not installed.
    """

    stage = "analyzer"

    def __init__(
        self,
        model: str = "en_core_web_sm",
        *,
        mode: str = "all",
        max_objects: int = 10,
        scenery: Sequence[str] = SCENERY,
    ):
        self._rules = NounRules(mode, max_objects, scenery)
        if importlib.util.find_spec("spacy") is None:
            raise ConfigurationError("The analyzer 'spacy' needs spaCy: pip install spacy")
        self._model, self._folder = model, _folder_of(model)
        self._meta = _meta_of(self._folder)
        self._nlp: Any = None

    def identity(self) -> dict[str, Any]:
        """Return the settings, and the versions of spaCy and of the pipeline."""
        meta = self._meta
        return {
            **self._rules.identity(),
            "rules": _VERSION,
            "spacy": version("spacy"),
            "model": f"{meta['lang']}_{meta.get('name', '')}",
            "version": meta.get("version", ""),
            "files": tree_fingerprint(self._folder),
        }

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Return the nouns of the videos' captions; see [`Agent`]."""
        nlp = self._loaded()
        captions = [" ".join(item.source.caption.split()) for item in items]
        docs = nlp.pipe(caption if len(caption) <= _LONGEST else "" for caption in captions)
        return [Made(tuple(self._nouns(caption, doc))) for caption, doc in zip(captions, docs, strict=True)]

    def close(self) -> None:
        """Release the pipeline."""
        self._nlp = None

    def _loaded(self) -> Any:
        if self._nlp is None:
            import spacy

            try:
                self._nlp = spacy.load(self._model, exclude=["ner", "lemmatizer"])
            except (OSError, ValueError, ImportError) as error:
                raise EngineError(f"The spaCy pipeline {self._model!r} cannot be loaded: {error}") from error
        return self._nlp

    def _nouns(self, caption: str, doc: Any) -> Sequence[Noun | Drop]:
        if not caption:
            return [Drop("no_caption", "There is no caption to find objects in.")]
        if len(caption) > _LONGEST:
            return [Drop("too_long", f"The caption has {len(caption)} characters; at most {_LONGEST} are read.")]
        other = _other_language(caption, self._nlp.lang)
        if other:
            return [Drop("other_language", f"The caption is in {other}, and not in {self._nlp.lang!r}.")]
        if not doc.has_annotation("DEP"):
            raise EngineError(
                f"The spaCy pipeline {self._model!r} has no parser, which tells subjects from other nouns; choose one "
                "that has, such as en_core_web_sm."
            )
        try:
            phrases = list(doc.noun_chunks)
        except NotImplementedError as error:
            raise EngineError(
                f"spaCy finds no noun phrases in the language {self._nlp.lang!r}; use the analyzer 'chat' instead."
            ) from error
        return self._rules.sift(caption, (noun for phrase in phrases for noun in _nouns_of(phrase)))


def _meta_of(folder: Path) -> dict[str, Any]:
    """Return the metadata of a pipeline."""
    path = folder / "meta.json"
    meta = read_json(path, ConfigurationError)
    if not isinstance(meta, dict) or not isinstance(meta.get("lang"), str):
        raise ConfigurationError(
            f'{path} is {short(meta)}; expected what spaCy writes there, with the language of the pipeline as "lang".'
        )
    return meta


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a NUL byte
        return False


def _folder_of(model: Any) -> Path:
    """Return the folder of a pipeline's files, without importing spaCy or the pipeline."""
    if isinstance(model, str) and model:
        folder = Path(model)
        if _is_file(folder / "meta.json"):
            return folder
        spec = importlib.util.find_spec(model) if model.isidentifier() else None
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if _is_file(Path(place) / "meta.json"):
                return Path(place)
    raise ConfigurationError(
        f"There is no spaCy pipeline {short(model)} installed, and no folder of one: python -m spacy download "
        "en_core_web_sm, or give the name or folder of another one under analyzer.settings.model."
    )


# --- from noun phrases to nouns --------------------------------------------------------------------------------------


def _nouns_of(phrase: Any) -> Iterator[Noun]:
    head = phrase.root
    if head.pos_ not in ("NOUN", "PROPN") or _is_counted_by(head):
        return
    counted = _counted(head)
    for owner in (token for token in phrase if token.dep_ == "poss" and token.pos_ in ("NOUN", "PROPN")):
        yield Noun(_text(owner), _text(owner), "other", _single(owner))  # the owner, as in "the man's dog"
    noun = counted if counted is not None else head
    several = counted is not None or head.lower_ in _COLLECTIONS
    yield Noun(_text(noun), _expression(head), _role(head), _single(noun) and not several)


def _text(noun: Any) -> str:
    """Return the noun with the adjectives and nouns right before it."""
    left = (
        token
        for child in noun.lefts
        if child.dep_ not in _NOT_OF_THE_NOUN and child.lower_ not in _MANY
        for token in child.subtree
    )
    return "".join(token.text_with_ws for token in [*left, noun] if token.pos_ not in ("PRON", "DET", "NUM")).strip()


def _expression(noun: Any) -> str:
    """Return all words of the caption about the noun, without other nouns of a list."""
    beside = {token.i for child in noun.children if child.dep_ in _JOINED for token in child.subtree}
    return "".join(token.text_with_ws for token in noun.subtree if token.i not in beside).strip(" ,.;")


def _role(noun: Any) -> str:
    first = noun
    while first.dep_ in ("conj", "cj", "appos") and first.head != first:
        first = first.head
    # "A video of a man", "there is a man": the man is what the caption is about.
    if first.dep_ == "pobj" and first.head.lower_ == "of" and is_scenery(_text(first.head.head)):
        return _role(first.head.head)
    there = first.dep_ in ("attr", "dobj") and any(child.dep_ == "expl" for child in first.head.children)
    return "subject" if there or first.dep_ in _SUBJECTS else "other"


def _single(noun: Any) -> bool:
    many = any(child.dep_ == "nummod" and child.lower_ not in ("one", "1") for child in noun.children)
    return not many and "Plur" not in noun.morph.get("Number")


def _counted(noun: Any) -> Any:
    """Return the people in "a group of people"."""
    if noun.lower_ not in _COLLECTIONS:
        return None
    inner = (grand for child in noun.children if child.lower_ == "of" for grand in child.children)
    return next((one for one in inner if one.pos_ in ("NOUN", "PROPN")), None)


def _is_counted_by(noun: Any) -> bool:
    return noun.dep_ == "pobj" and noun.head.lower_ == "of" and _counted(noun.head.head) == noun


# --- language --------------------------------------------------------------------------------------------------------


def _other_language(caption: str, language: str) -> str:
    """Return the other language that a caption is in, or its script; empty if there is no sign of another language."""
    letters = [unicodedata.name(letter, "").split(" ")[0] for letter in caption if letter.isalpha()]
    foreign = [script for script in letters if script not in ("LATIN", "FEMININE", "MASCULINE", "FULLWIDTH")]
    if language not in _LANGUAGES:
        return ""
    if 2 * len(foreign) > len(letters):
        return f"the script {max(foreign, key=foreign.count)}"
    words = words_of(caption)
    counts = {code: sum(map(_small_words(code).__contains__, words)) for code in _LANGUAGES}
    likeliest = max(_LANGUAGES, key=lambda code: counts[code])
    return repr(likeliest) if counts[likeliest] >= max(2, counts[language] + 2) else ""


@cache
def _small_words(language: str) -> frozenset[str]:
    """Return stop words such as "the". Only their file is read, since an import of a whole language takes seconds."""
    import spacy

    path = Path(spacy.__file__).parent / "lang" / language / "stop_words.py"
    return frozenset(runpy.run_path(str(path))["STOP_WORDS"])
