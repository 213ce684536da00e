"""Reading of the answers of people, or of the truth of the shapes world, about the items of a check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videorefer_plugin._files import write_whole
from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.review.measures import ReviewTable
from videorefer_plugin.data_engine.review.sample import MEDIA, SHOWN, Sample, json_object, review_folder
from videorefer_plugin.data_engine.review.sheet import ANSWER, SHEET, read_sheet, write_sheet
from videorefer_plugin.errors import EngineError

__all__ = ["Checked", "Drawn", "fill_in", "read_drawn", "read_filled", "write_answer"]


@dataclass(frozen=True)
class Checked:
    """The answers about the drawn items.

    Attributes:
        sample ([`Sample`]): the drawn items.
        true (`dict[str, bool | None]`): id of each item -> whether it is right; `None` if it was not checked.
    """

    sample: Sample
    true: dict[str, bool | None]

    @property
    def kept(self) -> dict[str, bool]:
        """The id of each item -> the Reviewer's verdict."""
        return self.sample.items

    @property
    def table(self) -> ReviewTable:
        """Table 8 of the answers."""
        return self._table({name for name, said in self.true.items() if said is not None})

    @property
    def of_people(self) -> ReviewTable:
        """Table 8 of the answers of people, without those of a file of truth."""
        told = self.sample.truth
        return self._table(
            {name for name, said in self.true.items() if said is not None and told.get(name) is not said}
        )

    def _table(self, counted: set[str]) -> ReviewTable:
        table = ReviewTable(population=self.sample.population)
        for name, kept in self.kept.items():
            table.add(kept, self.true[name] if name in counted else None)
        return table


@dataclass(frozen=True)
class Drawn:
    """The drawn items, and the answers so far.

    Attributes:
        names (`tuple[str, ...]`): ids in the order of the page.
        texts (`dict[str, str]`): id -> text of the record.
        files (`dict[str, Path]`): id -> its picture; items that cannot be shown are missing.
        answers (`dict[str, bool | None]`): id -> answer.
    """

    names: tuple[str, ...]
    texts: dict[str, str]
    files: dict[str, Path]
    answers: dict[str, bool | None]


def read_drawn(folder: Path) -> Drawn:
    """Read the items that were drawn from a run, some of which may be checked already.

    Args:
        folder (`Path`): folder of the run.

    Raises:
        EngineError: nothing was drawn, or the table cannot be read.
    """
    sample, out = Sample.read(Path(folder)), review_folder(Path(folder))
    sheet = read_sheet(out / SHEET, sample.items, sample.texts)
    files = {}
    for number, name in enumerate(sample.items, 1):
        found = [path for ending in SHOWN if (path := out / MEDIA / f"{number:04}{ending}").is_file()]
        if found:
            files[name] = found[0]
    texts = {name: row.get("text", "") for name, row in zip(sheet.names, sheet.rows, strict=True)}
    return Drawn(tuple(name for name in sample.items if name in texts), texts, files, sheet.answers)


def write_answer(folder: Path, name: str, is_right: bool | None) -> None:
    """Write a person's answer about one item to the table.

    Args:
        folder (`Path`): folder of the run.
        name (`str`): id of the item.
        is_right (`bool`, *optional*): whether the record is right; `None` removes an answer.

    Raises:
        EngineError: the item is unknown, or the table cannot be read or written.
    """
    sample, path = Sample.read(Path(folder)), review_folder(Path(folder)) / SHEET
    sheet = read_sheet(path, sample.items, sample.texts)
    if name not in sheet.names:
        raise EngineError(f"{path} has no line for {short(name)}.")
    said = {True: "yes", False: "no", None: ""}[is_right]
    rows = [row | ({ANSWER: said} if own == name else {}) for own, row in zip(sheet.names, sheet.rows, strict=True)]
    try:
        if sample.truth.pop(name, None) is not None:
            sample.write(folder)
        write_whole(path, lambda target: write_sheet(target, rows, sheet.columns))
    except OSError as error:
        raise EngineError(f"{path} cannot be filled in ({error.strerror or error}).") from error


def read_filled(folder: Path, path: Path | None = None) -> Checked:
    """Read a filled-in table.

    Args:
        folder (`Path`): of the run that it was drawn from.
        path (`Path`, *optional*): path of the table. Default: `review.csv` of the run.

    Raises:
        EngineError: nothing was drawn, or the table cannot be read, belongs to another drawing, has an unknown item or
            answer, or is empty.
    """
    sample = Sample.read(Path(folder))
    path = path or review_folder(Path(folder)) / SHEET
    found = read_sheet(path, sample.items, sample.texts).answers
    if not any(said is not None for said in found.values()):
        raise EngineError(f"In {path}, nothing is filled in; write yes or no into its column 'true'.")
    return Checked(sample, found)


def fill_in(folder: Path, truth: Path, *, overwrite: bool = False) -> Checked:
    """Fill the table in from a file with the truth, as in the shapes world.

    Args:
        folder (`Path`): of the run that items were drawn from.
        truth (`Path`): JSON, id of a record -> whether it is right. It may have more items, or fewer; the table keeps
            its answers about other items.
        overwrite (`bool`): also replace different answers.

    Raises:
        EngineError: nothing was drawn, the file cannot be read or has none of the items, or the table has different
            answers.
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
        sample.write(folder)  # first, so that no answer can count as one of people
        write_whole(path, lambda name: write_sheet(name, rows, sheet.columns))
    except OSError as error:
        raise EngineError(f"{path} cannot be filled in ({error.strerror or error}).") from error
    return read_filled(folder)
