"""Items of a check, which are drawn from a run's records."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin.data_engine.records import record_files
from videorefer_plugin.errors import EngineError
from videorefer_plugin.training.record_files import open_record_file

__all__ = ["ReviewItem", "drawn_items", "reviewed_items"]


@dataclass(frozen=True)
class ReviewItem:
    """A record that the Reviewer has seen.

    Attributes:
        kept (`bool`): the Reviewer's verdict.
        record (`dict`): the record.
        provenance (`dict`): its line of the provenance.
    """

    kept: bool
    record: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def id(self) -> str:
        """The id of the record."""
        return str(self.record["id"])

    @property
    def text(self) -> str:
        """The text of the record about the object: its answers."""
        return "\n".join(turn["value"] for turn in self.record["conversations"][1::2])

    @property
    def description(self) -> str:
        """The Annotator's text, which the Reviewer compared with the region caption; empty without one."""
        made = self._made("annotator")
        return " ".join(filter(None, (made.get("appearance"), made.get("dynamic"))))

    @property
    def caption(self) -> str:
        """The region caption of the mask; empty without one."""
        return str(self._made("captioner").get("text") or "")

    @property
    def reason(self) -> str:
        """The Reviewer's."""
        return str(self._made("reviewer").get("reason") or "")

    def _made(self, stage: str) -> dict[str, Any]:
        """Return a stage's result for the object of the verdict; for a discarded one, if there are several."""
        objects = self.provenance["objects"]
        discarded = [one for one in objects if not one.get("reviewer", {"same": True})["same"]]
        return (discarded or objects)[0].get(stage) or {}


def reviewed_items(folder: Path, kept: bool) -> Iterator[ReviewItem]:
    """Yield the items that the Reviewer kept, or those that it discarded, in the order of the records.

    Raises:
        EngineError: the files of the run cannot be read, or do not belong together.
    """
    records, provenance = record_files(folder, kept)
    with open(provenance, encoding="utf-8") as lines:
        for entry in open_record_file(records).scan():
            line = lines.readline()
            try:
                origin = json.loads(line)
                seen = all("reviewer" in one for one in origin["objects"])
                item = ReviewItem(kept, entry.value, origin)
                fits = origin["record"] == entry.value["id"]
                # The table and the pictures need these values.
                _ = item.text, entry.value["annotation"], seen and (item.description, item.caption, item.reason)
            except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
                fits = False
            if not fits:
                raise EngineError(
                    f"{provenance} does not fit the record in {records}, {entry.line}; write the records again "
                    "(videorefer data run)."
                )
            if seen:
                yield item


def drawn_items(folder: Path, kept: bool, count: int, seed: int) -> tuple[list[ReviewItem], int]:
    """Return some items without replacement, or all if there are fewer, and the number of all items.

    The same seed draws the same items from the same records. They are read twice, so that memory holds only drawn
    ones.
    """
    total = sum(1 for _ in reviewed_items(folder, kept))
    chosen = set(random.Random(f"{seed}/{kept}").sample(range(total), min(count, total)))
    return [item for place, item in enumerate(reviewed_items(folder, kept)) if place in chosen], total
