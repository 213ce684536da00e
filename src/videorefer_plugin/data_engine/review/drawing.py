"""The drawing of items for people to check, as a table and as a page."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from videorefer_plugin._files import write_whole
from videorefer_plugin._places import check_folder_place
from videorefer_plugin._text import short
from videorefer_plugin.data_engine.records import read_report, record_files
from videorefer_plugin.data_engine.review.items import ReviewItem, drawn_items, reviewed_items
from videorefer_plugin.data_engine.review.pictures import show_item
from videorefer_plugin.data_engine.review.sample import MEDIA, SAMPLE, Sample, records_digest, review_folder
from videorefer_plugin.data_engine.review.sheet import (
    ANSWER,
    COLUMNS,
    SHEET,
    cell,
    read_sheet,
    text_digest,
    write_sheet,
)
from videorefer_plugin.errors import ConfigurationError, EngineError

__all__ = ["Review", "draw_review"]

PAGE = "review.html"
_SHOWN = re.compile(r"\d{4,}\.(mp4|png)")  # the names of pictures


@dataclass
class Review:
    """The items that were drawn for people to check.

    Attributes:
        folder (`str`): folder of `review.csv`, `review.html` and `review.json`.
        seed (`int`): seed of the choice.
        kept, discarded (`int`): number of drawn items of each kind.
        all_kept, all_discarded (`int`): number of all items of each kind.
        hidden (`dict[str, str]`): items that cannot be shown -> reason.
    """

    folder: str
    seed: int
    kept: int
    discarded: int
    all_kept: int
    all_discarded: int
    hidden: dict[str, str] = field(default_factory=dict)


def draw_review(
    folder: Path,
    kept: int = 100,
    discarded: int = 100,
    seed: int = 0,
    media_root: Path | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Review:
    """Draw kept and discarded items, and write the files that people need to check them.

    In `FOLDER/review`, `review.csv` has a line for each item and an empty column `true` to fill in: whether the record
    is right. `review.html` shows the same items with their pictures in the same order, which does not disclose the
    verdicts, and exports the filled table. It needs no network. `review.json` stores the choice.

    Args:
        folder (`Path`): folder of a finished run.
        kept, discarded (`int`): number of items of each kind; all of them if there are fewer.
        seed (`int`): seed of the choice.
        media_root (`Path`, *optional*): folder that paths of videos are relative to. Default: `folder`.
        overwrite (`bool`): replace a check that was filled in.
        progress (*optional*): called after each picture with the number of finished pictures, and their total.

    Raises:
        ConfigurationError: a number is negative, or both are 0.
        EngineError: the run has no verdicts, a filled table would be lost, or the files cannot be read or written.
    """
    for name, count in (("kept", kept), ("discarded", discarded)):
        if not isinstance(count, int) or count < 0:
            raise ConfigurationError(f"{name} is {short(count)}; expected how many items to draw, 0 or more.")
    if not kept + discarded:
        raise ConfigurationError("Nothing is to be drawn: kept and discarded are both 0.")
    folder = Path(folder)
    out = review_folder(folder)
    check_folder_place(out, EngineError)
    if not overwrite:
        _refuse_to_overwrite(folder)
    mine, all_kept = drawn_items(folder, True, kept, seed)
    others, all_discarded = drawn_items(folder, False, discarded, seed)
    if not mine and not others:
        raise EngineError(
            f"{record_files(folder)[1]} has no verdict of a Reviewer; there is nothing to check. Products with a "
            "Reviewer are made by recipes that have a reviewer, such as those of the product 'detailed'."
        )
    items = [*mine, *others]
    random.Random(f"{seed}/order").shuffle(items)
    review = Review(str(out), seed, len(mine), len(others), all_kept, all_discarded)
    try:
        (out / MEDIA).mkdir(parents=True, exist_ok=True)
        rows = []
        for number, item in enumerate(items, 1):
            name, fault = show_item(item.record, media_root or folder, out / MEDIA / f"{number:04}")
            if fault:
                review.hidden[item.id] = fault
            rows.append(_row(item) | {"number": number, "file": name and f"{MEDIA}/{name}", "fault": fault})
            if progress is not None:
                progress(number, len(items))
        _write(folder, review, items, rows)
        shown = {row["file"] for row in rows}
        for path in (out / MEDIA).iterdir():  # of an earlier drawing of other items
            if _SHOWN.fullmatch(path.name) and f"{MEDIA}/{path.name}" not in shown:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(f"The check cannot be written into {out} ({error.strerror or error}).") from error
    return review


def _row(item: ReviewItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "text": item.text,
        "description": item.description,
        "region_caption": item.caption,
        ANSWER: "",
        "kept": str(item.kept).lower(),
        "reason": item.reason,
    }


def _write(folder: Path, review: Review, items: Sequence[ReviewItem], rows: Sequence[dict[str, Any]]) -> None:
    out, verdicts = review_folder(folder), read_report(folder).verdicts
    everything = (item for kept in (True, False) for item in reviewed_items(folder, kept))
    sample = Sample(
        review.seed,
        {name: verdicts.get(name, 0) for name in ("kept", "discarded")},
        {item.id: item.kept for item in items},
        {item.id: text_digest(item.text) for item in items},
        records_digest(everything),
    )
    template = importlib.resources.files("videorefer_plugin.data_engine.review").joinpath("page.html.jinja")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template.read_text(encoding="utf-8")).render(
        title=out.absolute().parent.name,
        rows=rows,
        columns=COLUMNS,
        answer=ANSWER,
        sheet=[[cell(row[column]) for column in COLUMNS] for row in rows],
        video=".mp4",
        drawn=hashlib.sha256(json.dumps([rows, sample.records]).encode()).hexdigest()[:16],
    )
    write_whole(out / SHEET, lambda name: write_sheet(name, rows))
    sample.write(folder)
    # A lone surrogate, which a model may write, is shown escaped.
    write_whole(out / PAGE, page.encode(errors="backslashreplace"))


def _refuse_to_overwrite(folder: Path) -> None:
    out = review_folder(folder)
    if not (out / SHEET).is_file() or not (out / SAMPLE).is_file():
        return
    try:
        sample = Sample.read(folder)
        sheet = read_sheet(out / SHEET, sample.items, sample.texts)
        filled = any(said is not None for said in sheet.answers.values())
    except EngineError:
        filled = True  # it was edited
    if filled:
        raise EngineError(
            f"{out / SHEET} was filled in or edited, which would be lost. Move it away, or draw with --overwrite."
        )
