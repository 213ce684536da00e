"""Writers of files of records: a JSON list with one record per line, or Parquet."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Protocol

from videorefer_plugin.errors import ConfigurationError

__all__ = ["FORMATS", "RecordOutput", "record_output"]

FORMATS = ("json", "parquet")
_GROUP = 256  # records that are held in memory and written together


class RecordOutput(Protocol):
    """The interface of writers of records."""

    def write(self, record: dict[str, Any]) -> None:
        """Add a record."""


@contextlib.contextmanager
def record_output(path: str, form: str) -> Iterator[RecordOutput]:
    """Open a file for records, which [`open_record_file`] reads.

    Args:
        path (`str`): path of the file.
        form (`str`): one of `FORMATS`.

    Raises:
        ConfigurationError: Parquet needs pyarrow, which is not installed.
    """
    output = _JsonOutput(path) if form == "json" else _ParquetOutput(path)
    try:
        yield output
    finally:
        output.close()


class _JsonOutput:
    def __init__(self, path: str):
        self._stream = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        self._started = False

    def write(self, record: dict[str, Any]) -> None:
        self._stream.write(",\n" if self._started else "[\n")
        self._stream.write(json.dumps(record, ensure_ascii=False))
        self._started = True

    def close(self) -> None:
        self._stream.write("\n]\n" if self._started else "[]\n")
        self._stream.close()


class _ParquetOutput:
    """A writer of Parquet. `annotation` is JSON text, since columns would give all objects the same frames."""

    def __init__(self, path: str):
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ConfigurationError(
                "Records as Parquet need pyarrow: pip install 'videorefer-plugin[engine]'."
            ) from error
        text, side = pyarrow.string(), pyarrow.int32()
        turns = pyarrow.list_(pyarrow.struct([("from", text), ("value", text)]))
        columns = [("id", text), ("video", text), ("image", text), ("height", side), ("width", side)]
        self._table = pyarrow.Table
        self._schema = pyarrow.schema([*columns, ("conversations", turns), ("annotation", text)])
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, record: dict[str, Any]) -> None:
        self._rows.append({**record, "annotation": json.dumps(record["annotation"])})
        if len(self._rows) == _GROUP:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(self._table.from_pylist(self._rows, schema=self._schema))
        self._rows = []
