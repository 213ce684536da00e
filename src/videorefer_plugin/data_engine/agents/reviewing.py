"""The texts that Reviewers compare."""

from __future__ import annotations

from videorefer_plugin.data_engine.items import ObjectItem, VideoItem
from videorefer_plugin.errors import EngineError

__all__ = ["both_texts"]


def both_texts(item: VideoItem, one: ObjectItem) -> tuple[str, str]:
    """Return the Annotator's description of an object, and the region caption.

    Raises:
        EngineError: one of the stages before was left out.
    """
    missing = [stage for stage, made in (("annotator", one.description), ("captioner", one.caption)) if made is None]
    if missing or one.description is None or one.caption is None:
        raise EngineError(
            f"Object {one.number} of {item.source.id!r} has nothing of the {' and of the '.join(missing)}, which the "
            "reviewer needs; add it to the recipe, or leave the reviewer out."
        )
    return one.description.text, one.caption.text
