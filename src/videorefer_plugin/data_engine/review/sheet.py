"""The table of a check as CSV, which people edit in spreadsheets."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin._json import read_text
from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import EngineError

__all__ = ["ANSWER", "COLUMNS", "SHEET", "Sheet", "cell", "read_sheet", "text_digest", "write_sheet"]

SHEET = "review.csv"
ANSWER = "true"  # the column to fill in
COLUMNS = ("id", "text", "description", "region_caption", ANSWER, "kept", "reason")
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # the first characters of texts that a spreadsheet would compute
_SAID = {"y": True, "yes": True, "true": True, "t": True, "1": True}
_SAID |= {"n": False, "no": False, "false": False, "f": False, "0": False}
_DELIMITERS = ",;\t"
_LONGEST = 32_767  # characters of a cell, for spreadsheets
_CUT = " ... (cut)"


def cell(text: str) -> str:
    """Return a text that spreadsheets show unchanged, except for an apostrophe before texts that look like formulas.

    A text that is too long for a cell is cut; the page shows all of it.
    """
    text = text.encode(errors="backslashreplace").decode()
    text = f"'{text}" if text.startswith(_FORMULAS) else text
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - len(_CUT)]}{_CUT}"


def text_digest(text: str) -> str:
    """Return a digest of a text that does not depend on spaces, line breaks and apostrophes."""
    words = " ".join(cell(text).removeprefix("'").split())
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def write_sheet(path: str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Write the table. It begins with a byte-order mark, by which spreadsheets recognize UTF-8."""
    with open(path, "w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({column: cell(str(row[column])) for column in columns})


@dataclass
class Sheet:
    """The contents of a table.

    Attributes:
        columns (`list[str]`): names of the columns.
        rows (`list[dict[str, str]]`): lines, without those that have neither an id nor an answer.
        names (`list[str]`): item of each line.
        answers (`dict[str, bool | None]`): id of each drawn item -> answer, `None` if there is none.
    """

    columns: list[str]
    rows: list[dict[str, str]]
    names: list[str]
    answers: dict[str, bool | None]


def read_sheet(path: Path, known: Mapping[str, bool], texts: Mapping[str, str]) -> Sheet:
    """Read a table, which may be filled in.

    Args:
        path (`Path`): path of the CSV file, with commas, semicolons or tabs between its columns.
        known (`Mapping[str, bool]`): id of each drawn item -> whether it was kept.
        texts (`Mapping[str, str]`): id of each item -> digest of its text.

    Raises:
        EngineError: the table cannot be read, lacks a column, belongs to another drawing, or has an invalid answer.
            The message names the lines.
    """
    try:
        text = read_text(path, EngineError)
    except EngineError as error:
        raise EngineError(f"{error} Expected CSV in UTF-8: save it as CSV in UTF-8.") from error
    head = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=head.count), restval="")
    sheet, faults = Sheet([], [], [], dict.fromkeys(known)), []
    names = {cell(name): name for name in known}
    said: set[str | None] = set()
    try:
        sheet.columns = list(reader.fieldnames or ())
        _check_columns(path, sheet.columns)
        for row in reader:
            row.pop(None, None)  # cells beyond the header
            fault = _fault(row, names, said, known, texts)
            said.add(names.get(row["id"]))
            if fault:
                faults.append(f"line {reader.line_num}: {fault}")
            elif row["id"]:
                name = names[row["id"]]
                sheet.rows.append(row)
                sheet.names.append(name)
                sheet.answers[name] = _SAID.get(row[ANSWER].strip().lower())
    except csv.Error as error:
        raise EngineError(f"{path}, line {reader.line_num}: it is not a CSV that can be read ({error}).") from error
    if faults:
        raise EngineError(f"{path} cannot be used:\n" + listed(faults, 5, "\n"))
    return sheet


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [name for name in ("id", ANSWER) if name not in columns]
    if missing:
        raise EngineError(
            f"{path} has no column {' and '.join(map(repr, missing))}, but {listed(columns or ['nothing'], 9)}"
            "; expected the file that was drawn (review.csv), with its column 'true' filled in."
        )


def _fault(
    row: Mapping[str, str],
    names: Mapping[str, str],
    said: Container[str | None],
    known: Mapping[str, bool],
    texts: Mapping[str, str],
) -> str:
    """Return the fault of a line, if there is one; empty lines are left out."""
    name, answer = row["id"], row[ANSWER].strip().lower()
    if not name and not answer:
        return ""
    if name not in names:
        return f"no item {short(name)} was drawn; leave the column 'id' as it was."
    if names[name] in said:
        return f"the item {short(name)} stands here twice; keep one line of it."
    if answer and answer not in _SAID:
        return f"{short(row[ANSWER])} is not an answer; write yes or no (or true, false, 1, 0), or leave it empty."
    kept = row.get("kept", "").strip().lower()
    if kept and _SAID.get(kept) is not known[names[name]]:
        return f"its verdict was kept = {str(known[names[name]]).lower()}, but stands here as {short(row['kept'])}."
    if row.get("text") and text_digest(row["text"]) != texts[names[name]]:
        return (
            f"the text of {short(name)} is not the one that was drawn, so that the answer may be about another one. "
            "Give the table of this drawing, or leave its texts as they were."
        )
    return ""
