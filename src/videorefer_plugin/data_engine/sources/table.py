"""The layout `table`: a video and its caption in each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut, check_text, find_media, make_source
from videorefer_plugin.data_engine.sources.rows import Table, check_column, nearest
from videorefer_plugin.errors import EngineError

__all__ = ["COLUMNS", "caption_row", "column_names", "read_table"]

COLUMNS = ("video", "caption", "id", "license", "address", "language")


def read_table(settings: SourceSettings) -> Iterator[Candidate | LeftOut]:
    """Read the videos and captions of tables.

    Raises:
        EngineError: a file is not such a table.
    """
    names = column_names(settings)
    for file in map(Path, settings.files):
        table = Table(file)
        root = Path(settings.media_root) if settings.media_root is not None else file.parent
        for place, row in table.rows():
            values = {wanted: row.get(name) for wanted, name in names.items()}
            yield caption_row(settings, values, root, place)
        for wanted in ("video", "caption", *settings.columns):
            check_column(table, wanted, names[wanted])


def column_names(settings: SourceSettings) -> dict[str, str]:
    """Return the name of each column.

    Raises:
        EngineError: the settings name an unknown value.
    """
    for wanted, name in settings.columns.items():
        if wanted not in COLUMNS:
            raise EngineError(
                f"source.columns has {short(wanted)}; expected some of {listed(COLUMNS, 9)}.{nearest(wanted, COLUMNS)}"
            )
        if not isinstance(name, str) or not name:
            raise EngineError(f"source.columns.{wanted} is {short(name)}; expected the name of a column.")
    return {wanted: settings.columns.get(wanted, wanted) for wanted in COLUMNS}


def caption_row(settings: SourceSettings, values: Mapping[str, Any], root: Path, place: str) -> Candidate | LeftOut:
    """Return the source of a row with the values of [`COLUMNS`].

    Raises:
        EngineError: a value has the wrong type.
    """
    number = values.get("id")
    if isinstance(number, int) and not isinstance(number, bool):
        values = {**values, "id": str(number)}
    texts = {wanted: check_text(values.get(wanted), f"the {wanted}", place) for wanted in COLUMNS}
    if not texts["caption"]:
        return LeftOut("no_caption", place, "the caption is empty")
    media = find_media(texts["video"], root, place)
    if isinstance(media, LeftOut):
        return media
    given = {key: texts[key] for key in ("caption", "language", "license", "address") if texts[key]}
    name = texts["id"] or (media.name if media.is_dir() else media.stem)
    return Candidate(place, make_source(settings, name, media, given), named=bool(texts["id"]))
