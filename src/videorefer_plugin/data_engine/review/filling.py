"""Reading what people, or the truth of a made-up world, say about the items of a check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videorefer_plugin._files import write_whole
from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.review.measures import ReviewTable
from videorefer_plugin.data_engine.review.sample import Sample, json_object, review_folder
from videorefer_plugin.data_engine.review.sheet import ANSWER, SHEET, read_sheet, write_sheet
from videorefer_plugin.errors import EngineError

__all__ = ["Checked", "fill_in", "read_filled"]


@dataclass(frozen=True)
class Checked:
    """What was found of the items that were drawn.

    Attributes:
        sample ([`Sample`]): what was drawn.
        true (`dict[str, bool | None]`): id of each item -> whether it is right; `None` where it was not checked.
    """

    sample: Sample
    true: dict[str, bool | None]

    @property
    def kept(self) -> dict[str, bool]:
        """Id of each item -> the Reviewer's verdict."""
        return self.sample.items

    @property
    def table(self) -> ReviewTable:
        """Table 8 of it."""
        return self._table({name for name, said in self.true.items() if said is not None})

    @property
    def of_people(self) -> ReviewTable:
        """Table 8 of what people said, and no file of truth."""
        told = self.sample.truth
        return self._table(
            {name for name, said in self.true.items() if said is not None and told.get(name) is not said}
        )

    def _table(self, counted: set[str]) -> ReviewTable:
        table = ReviewTable(population=self.sample.population)
        for name, kept in self.kept.items():
            table.add(kept, self.true[name] if name in counted else None)
        return table


def read_filled(folder: Path, path: Path | None = None) -> Checked:
    """Read a table that was filled in.

    Args:
        folder (`Path`): of the run that it was drawn from.
        path (`Path`, *optional*): of the table; the `review.csv` that was drawn by default.

    Raises:
        EngineError: nothing was drawn, the table cannot be read, is of another drawing, has an unknown item or answer,
            or is empty.
    """
    sample = Sample.read(Path(folder))
    path = path or review_folder(Path(folder)) / SHEET
    found = read_sheet(path, sample.items, sample.texts).answers
    if not any(said is not None for said in found.values()):
        raise EngineError(f"In {path}, nothing is filled in; write yes or no into its column 'true'.")
    return Checked(sample, found)


def fill_in(folder: Path, truth: Path, *, overwrite: bool = False) -> Checked:
    """Fill the table in from a file that knows what is right, as in the shapes world.

    Args:
        folder (`Path`): of the run that items were drawn from.
        truth (`Path`): JSON, id of a record -> whether it is right. It may know more items, or fewer; what it does not
            know stays as it is in the table.
        overwrite (`bool`): replace also answers that say something else.

    Raises:
        EngineError: nothing was drawn, the file cannot be read or knows none of the items, or the table says something
            else.
    """
    folder = Path(folder)
    sample, known = Sample.read(folder), json_object(truth, "id of a record -> true or false")
    wrong = [(name, said) for name, said in known.items() if not isinstance(said, bool)]
    if wrong:
        raise EngineError(f"{truth} says {short(wrong[0][1])} of {short(wrong[0][0])}; expected true or false.")
    told = {name: known[name] for name in sample.items if name in known}
    if not told:
        raise EngineError(
            f"{truth} knows none of the {len(sample.items)} item(s) that were drawn, such as "
            f"{next(iter(sample.items))!r}."
        )
    path = review_folder(folder) / SHEET
    sheet = read_sheet(path, sample.items, sample.texts)
    other = [name for name, said in told.items() if sheet.answers[name] not in (None, said)]
    if other and not overwrite:
        raise EngineError(
            f"{path} was filled in, and says something else than {truth} of {len(other)} item(s), such as "
            f"{listed(map(repr, other), 1)}. Move it away, or replace these answers with --overwrite."
        )
    by_people = {name for name, said in sheet.answers.items() if said is not None and name not in other}
    sample.truth |= {name: said for name, said in told.items() if name not in by_people}
    rows = [
        row | ({ANSWER: "yes" if told[name] else "no"} if name in told else {})
        for name, row in zip(sheet.names, sheet.rows, strict=True)
    ]
    try:
        sample.write(folder)  # first: no answer may count as one of people by chance
        write_whole(path, lambda name: write_sheet(name, rows, sheet.columns))
    except OSError as error:
        raise EngineError(f"{path} cannot be filled in ({error.strerror or error}).") from error
    return read_filled(folder)
