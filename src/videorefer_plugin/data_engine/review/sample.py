"""The drawn items of a check, as `review.json` stores them."""

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
"""The folder of the check's pictures, which have the numbers of the items."""
SHOWN = (".mp4", ".png")


def review_folder(folder: Path) -> Path:
    """Return the folder of a run's check."""
    return folder / "review"


@dataclass
class Sample:
    """The drawn items.

    Attributes:
        seed (`int`): seed of the choice.
        population (`dict[str, int]`): `"kept"` and `"discarded"` -> objects of the run with this verdict.
        items (`dict[str, bool]`): id of each item -> whether it was kept.
        texts (`dict[str, str]`): id of each item -> digest of its text.
        records (`str`): digest of all records at the time.
        truth (`dict[str, bool]`): id -> answer that came from a file of truth.
    """

    seed: int
    population: dict[str, int]
    items: dict[str, bool]
    texts: dict[str, str]
    records: str
    truth: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Sample:
        """Read the drawn items of a run.

        Raises:
            EngineError: nothing was drawn, or the file holds something else.
        """
        path = review_folder(folder) / SAMPLE
        if not path.is_file():
            raise EngineError(
                f"{path} is not there: nothing was drawn yet. Draw first: videorefer data review {folder}"
            )
        value = json_object(path, "the drawn items")
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
            raise EngineError(f"{path} does not hold the drawn items; draw again with --overwrite.")
        return sample

    def write(self, folder: Path) -> None:
        """Write `review.json`."""
        write_json(review_folder(folder) / SAMPLE, asdict(self))


def records_digest(items: Iterable[ReviewItem]) -> str:
    """Return a digest of all records' texts and objects, and of the verdicts."""
    digest = hashlib.sha256()
    for item in items:
        told = [item.id, item.kept, item.record["conversations"], item.record["annotation"]]
        digest.update(json.dumps(told, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def is_of(sample: Sample, folder: Path) -> bool:
    """Return whether the records of a run are still those that a check was drawn from."""
    return records_digest(item for kept in (True, False) for item in reviewed_items(folder, kept)) == sample.records


def json_object(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object without repeated keys.

    Raises:
        EngineError: the file holds something else; `what` describes the expected contents.
    """
    return read_object(path, EngineError, f"an object: {what}")
