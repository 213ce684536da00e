"""Reading what people, or the truth of a made-up world, say about the items of a check."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import each_once
from videorefer_plugin._text import short
from videorefer_plugin.data_engine.review.drawing import SAMPLE, SHEET, review_folder
from videorefer_plugin.data_engine.review.measures import ReviewTable
from videorefer_plugin.data_engine.review.sheet import ANSWER, answers, write_sheet
from videorefer_plugin.errors import EngineError

__all__ = ["Checked", "fill_in", "read_filled"]


@dataclass(frozen=True)
class Checked:
    """What was found of the items that were drawn.

    Attributes:
        kept (`dict[str, bool]`): id of each item -> the Reviewer's verdict.
        true (`dict[str, bool | None]`): id of each item -> whether it is right; `None` where it was not checked.
        population (`dict[str, int]`): `"kept"` and `"discarded"` -> all items of the run.
    """

    kept: dict[str, bool]
    true: dict[str, bool | None]
    population: dict[str, int]

    @property
    def table(self) -> ReviewTable:
        """Table 8 of it."""
        table = ReviewTable(population=self.population)
        for name, kept in self.kept.items():
            table.add(kept, self.true[name])
        return table


def read_filled(folder: Path, path: Path | None = None) -> Checked:
    """Read a table that was filled in.

    Args:
        folder (`Path`): of the run that it was drawn from.
        path (`Path`, *optional*): of the table; the `review.csv` that was drawn by default.

    Raises:
        EngineError: nothing was drawn, the table cannot be read, has an unknown item or answer, or is empty.
    """
    sample, population = _sample(Path(folder))
    path = path or review_folder(Path(folder)) / SHEET
    found = answers(path, sample)
    if not any(said is not None for said in found.values()):
        raise EngineError(f"In {path}, nothing is filled in; write yes or no into its column 'true'.")
    return Checked(sample, found, population)


def fill_in(folder: Path, truth: Path) -> Checked:
    """Fill the table in from a file that knows what is right, as in the shapes world.

    Args:
        folder (`Path`): of the run that items were drawn from.
        truth (`Path`): JSON, id of a record -> whether it is right. It may know more items, or fewer.

    Raises:
        EngineError: nothing was drawn, or the file cannot be read or knows none of the items.
    """
    sample, population = _sample(Path(folder))
    known = _object(truth, "id of a record -> true or false")
    wrong = [(name, said) for name, said in known.items() if not isinstance(said, bool)]
    if wrong:
        raise EngineError(f"{truth} says {short(wrong[0][1])} of {short(wrong[0][0])}; expected true or false.")
    found = {name: known.get(name) for name in sample}
    if not any(said is not None for said in found.values()):
        raise EngineError(
            f"{truth} knows none of the {len(sample)} item(s) that were drawn, such as {next(iter(sample))!r}."
        )
    path = review_folder(Path(folder)) / SHEET
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            said = found.get(row["id"], found.get(row["id"].removeprefix("'")))
            row[ANSWER] = "" if said is None else "yes" if said else "no"
        write_whole(path, lambda name: write_sheet(name, rows))
    except (OSError, KeyError, csv.Error) as error:
        raise EngineError(f"{path} cannot be filled in ({error}); draw the items again.") from error
    return Checked(sample, found, population)


def _sample(folder: Path) -> tuple[dict[str, bool], dict[str, int]]:
    path = review_folder(folder) / SAMPLE
    if not path.is_file():
        raise EngineError(f"{path} is not there: nothing was drawn yet. Draw first: videorefer data review {folder}")
    value = _object(path, "what was drawn")
    try:
        return dict(value["items"]), dict(value["population"])
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{path} does not hold what was drawn; draw again.") from error


def _object(path: Path, what: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=each_once)
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(value, dict):
        raise EngineError(f"{path} holds {short(value)}; expected an object: {what}.")
    return value
