"""Existing model cards: who wrote them, and which parts are kept."""

import hashlib
import json
import re
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from videorefer_plugin.errors import PublishError

__all__ = ["CARD_CHOICES", "compose", "is_ours", "is_untouched"]

CARD_CHOICES = ("auto", "overwrite", "keep")

# The digest of the text, and of each value of our metadata: a difference means that it was edited by hand.
_MARKER = re.compile(r"<!-- Written by videorefer-plugin; what you edit is kept\. (\w+)((?: [\w-]+=\w+)*) -->\n*")
_FORM_SENTENCE = "This model card has been automatically generated."
_UNION = ("tags", "datasets")


def compose(metadata: dict[str, Any], text: str, existing: list[str]) -> str:
    """Compose a card, keeping the metadata that was written by hand into earlier ones.

    Values that this library wrote are replaced, or dropped if the new card has none. All other values are kept; lists
    of tags and data sets are joined.

    Args:
        metadata (`dict`): metadata of the new card.
        text (`str`): its text.
        existing (`list[str]`): cards that it replaces, the most important last.

    Raises:
        PublishError: the metadata of an existing card cannot be read.
    """
    merged, by_hand = dict(metadata), set()
    for card in existing:
        old, _, marker = _split(card)
        written = dict(pair.split("=") for pair in marker.group(2).split()) if marker else {}
        form = _is_boilerplate(card)
        for key, value in old.items():
            if written.get(key) == _digest(value) or (form and key in metadata):
                continue
            by_hand.add(key)
            if key in _UNION and isinstance(value, list):
                value = list(dict.fromkeys([*merged.get(key, []), *value]))
            merged[key] = value
    head = f"---\n{ModelCardData(**merged, ignore_metadata_errors=True).to_yaml()}\n---\n"
    # Digests are computed from the parsed card, since that is what a later comparison sees.
    stored = ModelCard(head, ignore_metadata_errors=True).data.to_dict()
    digests = "".join(f" {key}={_digest(value)}" for key, value in stored.items() if key not in by_hand)
    text = text.strip() + "\n"
    return f"{head}\n<!-- Written by videorefer-plugin; what you edit is kept. {_digest(text)}{digests} -->\n\n{text}"


def is_ours(card: str) -> bool:
    """Whether this library wrote a card's text, and it was not changed since.

    Raises:
        PublishError: the metadata of the card cannot be read.
    """
    _, text, marker = _split(card)
    return marker is not None and marker.group(1) == _digest(text)


def is_untouched(card: str) -> bool:
    """Whether a card was not written by hand: it is ours, or a template that a library left empty.

    Raises:
        PublishError: the metadata of the card cannot be read.
    """
    return is_ours(card) or _is_boilerplate(card)


def _is_boilerplate(card: str) -> bool:
    """Whether a card is the template of transformers or PEFT, with no field filled in."""
    metadata, text, _ = _split(card)
    text = re.sub(r"### Framework versions\n+(- .*\n*)*$", "", text)
    # transformers fills in one sentence, PEFT the name of the base model.
    sentence = next((line for line in text.splitlines() if line.endswith(_FORM_SENTENCE)), None)
    given = {"model_description": sentence, "base_model": metadata.get("base_model")}
    names = [[], ["model_description"], ["base_model"]]
    forms = (ModelCard.from_template(ModelCardData(), **{name: given[name] for name in some}) for some in names)
    return any(_squeezed(form.text) == _squeezed(text) for form in forms)


def _split(card: str) -> tuple[dict[str, Any], str, "re.Match[str] | None"]:
    """Return metadata, text without our marker, and the marker of a card."""
    card = _normal(card)
    try:
        parsed = ModelCard(card, ignore_metadata_errors=True)
        metadata = parsed.data.to_dict() if card.startswith("---") else {}
    except Exception as error:  # the YAML reader's own errors, and ValueErrors
        raise PublishError(f"The metadata at the head of the existing README.md cannot be read: {error}") from error
    text = parsed.text.lstrip("\n")
    marker = _MARKER.match(text)
    if marker is not None:
        text = text[marker.end() :]
    return metadata, text.strip() + "\n", marker


def _normal(text: str) -> str:
    return text.replace("\r\n", "\n").lstrip("\ufeff")


def _squeezed(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _digest(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
