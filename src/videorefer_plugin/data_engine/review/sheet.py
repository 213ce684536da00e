"""The table of a check as CSV: what spreadsheets make of it, and what people write into it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import EngineError

__all__ = ["ANSWER", "COLUMNS", "answers", "cell", "write_sheet"]

ANSWER = "true"  # the column to fill in
COLUMNS = ("id", "text", "description", "region_caption", ANSWER, "kept", "reason")
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute instead of showing it
_SAID = {"y": True, "yes": True, "true": True, "t": True, "1": True}
_SAID |= {"n": False, "no": False, "false": False, "f": False, "0": False}
_DELIMITERS = ",;\t"


def cell(text: str) -> str:
    """A text that spreadsheets show as it is, apart from an apostrophe before what they would take for a formula."""
    return f"'{text}" if text.startswith(_FORMULAS) else text


def write_sheet(path: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the table. It begins with a mark by which spreadsheets know that it is UTF-8."""
    with open(path, "w", encoding="utf-8-sig", errors="backslashreplace", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow({column: cell(str(row[column])) for column in COLUMNS})


def answers(path: Path, known: Mapping[str, bool]) -> dict[str, bool | None]:
    """Read what was filled in.

    Args:
        path (`Path`): of the CSV; commas, semicolons or tabs between its columns.
        known (`Mapping[str, bool]`): id of each item that was drawn -> whether it was kept.

    Returns:
        Id of each item -> what was said, `None` where nothing was.

    Raises:
        EngineError: it cannot be read, lacks a column, or says something that is no answer; names the lines.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise EngineError(f"{path} cannot be read ({error}); save it as CSV in UTF-8.") from error
    head = text.split("\n", 1)[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=head.count))
    missing = [name for name in ("id", ANSWER) if name not in (rows.fieldnames or ())]
    if missing:
        raise EngineError(
            f"{path} has no column {' and '.join(map(repr, missing))}, but {listed(rows.fieldnames or ['nothing'], 9)}"
            "; expected the file that was drawn (review.csv), with its column 'true' filled in."
        )
    names = {cell(name): name for name in known}
    found: dict[str, bool | None] = dict.fromkeys(known)
    faults: list[str] = []
    said: set[str] = set()
    try:
        for row in rows:
            fault = _fault(row, names, said, known)
            if fault:
                faults.append(f"line {rows.line_num}: {fault}")
            elif row["id"]:
                name = names[row["id"]]
                said.add(name)
                found[name] = _SAID.get((row[ANSWER] or "").strip().lower())
    except csv.Error as error:
        raise EngineError(f"{path}, line {rows.line_num}: it is no CSV that can be read ({error}).") from error
    if faults:
        raise EngineError(f"{path} cannot be used:\n" + "\n".join(faults[:5] + ["..."] * (len(faults) > 5)))
    return found


def _fault(row: Mapping[str, Any], names: Mapping[str, str], said: set[str], known: Mapping[str, bool]) -> str:
    """What is wrong with a line; empty lines are left out."""
    name, answer = row["id"] or "", (row[ANSWER] or "").strip().lower()
    if not name and not answer:
        return ""
    if name not in names:
        return f"no item {short(name)} was drawn; leave the column 'id' as it was."
    if names[name] in said:
        return f"the item {short(name)} stands here twice; keep one line of it."
    if answer and answer not in _SAID:
        return f"{short(row[ANSWER])} is no answer; write yes or no (or true, false, 1, 0), or leave it empty."
    kept = (row.get("kept") or "").strip().lower()
    if kept and _SAID.get(kept) is not known[names[name]]:
        return f"its verdict was kept = {str(known[names[name]]).lower()}, but stands here as {short(row['kept'])}."
    return ""
