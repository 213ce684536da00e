"""What was drawn for a check, as `review.json` keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from videorefer_plugin._json import read_object, write_json
from videorefer_plugin.data_engine.review.items import ReviewItem, reviewed_items
from videorefer_plugin.errors import EngineError

__all__ = ["MEDIA", "SAMPLE", "SHOWN", "Sample", "is_of", "json_object", "records_digest", "review_folder"]

SAMPLE = "review.json"
MEDIA = "media"
"""The folder in that of the check with what is to be seen of its items, by their numbers."""
SHOWN = (".mp4", ".png")


def review_folder(folder: Path) -> Path:
    """Where the check of a run is kept."""
    return folder / "review"


@dataclass
class Sample:
    """What was drawn.

    Attributes:
        seed (`int`): that it was drawn with.
        population (`dict[str, int]`): `"kept"` and `"discarded"` -> objects of the run of which the Reviewer said so.
        items (`dict[str, bool]`): id of each item -> whether it was kept.
        texts (`dict[str, str]`): id of each item -> digest of its text.
        records (`str`): digest of all records that there were.
        truth (`dict[str, bool]`): id -> the answer that a file of truth gave, and no person.
    """

    seed: int
    population: dict[str, int]
    items: dict[str, bool]
    texts: dict[str, str]
    records: str
    truth: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Sample:
        """Read what was drawn from a run.

        Raises:
            EngineError: nothing was, or the file holds something else.
        """
        path = review_folder(folder) / SAMPLE
        if not path.is_file():
            raise EngineError(
                f"{path} is not there: nothing was drawn yet. Draw first: videorefer data review {folder}"
            )
        value = json_object(path, "what was drawn")
        kinds = {"items": bool, "texts": str, "population": int, "truth": bool}
        try:
            sample = cls(**value)
            held = [(one, kind) for name, kind in kinds.items() for one in dict(getattr(sample, name)).values()]
            fits = all(isinstance(one, kind) for one, kind in held) and isinstance(sample.records, str)
            fits = (
                fits and sample.items.keys() == sample.texts.keys() and {"kept", "discarded"} <= {*sample.population}
            )
        except (TypeError, ValueError, AttributeError):
            fits = False
        if not fits:
            raise EngineError(f"{path} does not hold what was drawn; draw again with --overwrite.")
        return sample

    def write(self, folder: Path) -> None:
        """Write `review.json`."""
        write_json(review_folder(folder) / SAMPLE, asdict(self))


def records_digest(items: Iterable[ReviewItem]) -> str:
    """A short name for what all records say of which objects, and what the Reviewer said."""
    digest = hashlib.sha256()
    for item in items:
        told = [item.id, item.kept, item.record["conversations"], item.record["annotation"]]
        digest.update(json.dumps(told, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def is_of(sample: Sample, folder: Path) -> bool:
    """Whether the records of a run are still those that a check was drawn from."""
    return records_digest(item for kept in (True, False) for item in reviewed_items(folder, kept)) == sample.records


def json_object(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object, each of whose keys stands there once.

    Raises:
        EngineError: the file holds something else; `what` says what was expected.
    """
    return read_object(path, EngineError, f"an object: {what}")
