"""Sources of the data engine: tables, layouts, what is left out and why, and what is an error."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.media import numbered_frame, write_video
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources import SourceList, read_sources
from videorefer_plugin.errors import EngineError

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A folder with three different clips."""
    folder = tmp_path_factory.mktemp("clips")
    for start, name in ((0, "a"), (300, "b"), (700, "c")):
        write_video(folder / f"{name}.mp4", [numbered_frame(number) for number in range(start, start + 6)])
    return folder


def read(layout: str = "table", *files: Path, **settings: Any) -> SourceList:
    return read_sources(SourceSettings(layout=layout, files=[str(file) for file in files], **settings))


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        lines = [mark.join(rows[0])] + [mark.join(str(value) for value in row.values()) for row in rows]
        path.write_text("\n".join(lines) + "\n")
    return path


ROWS = [{"video": "a.mp4", "caption": "A dog runs."}, {"video": "b.mp4", "caption": "Two cats sleep."}]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".tsv", ".parquet"])
def test_a_table_of_any_format_gives_the_same_sources(clips, tmp_path, suffix):
    table = write_table(tmp_path / f"captions{suffix}", ROWS)
    found = read("table", table, media_root=str(clips), license="CC-BY-4.0")
    assert [(one.id, one.path, one.caption, one.license) for one in found.sources] == [
        ("a", str(clips / "a.mp4"), "A dog runs.", "CC-BY-4.0"),
        ("b", str(clips / "b.mp4"), "Two cats sleep.", "CC-BY-4.0"),
    ]
    assert found.counts == {"read": 2, "kept": 2}


CSV = "video,caption\na.mp4,A dog.\n"

# What the file holds -> what the error says.
WRONG_FILES = {
    "empty": ("t.csv", b"", "t.csv is empty"),
    "header only": ("t.csv", b"video,caption\n", "There is nothing in"),
    "ragged": ("t.csv", b"video,caption\na.mp4,A dog, running\n", "line 2 has 3 values, but the header names 2"),
    "short row": ("t.csv", b"video,caption\na.mp4,x\nb.mp4\n", "line 3 has 1 values"),
    "open quote": ("t.csv", b'video,caption\na.mp4,"A dog\n', "line 2: the table cannot be read"),
    "not utf-8": ("t.csv", b"video,caption\na.mp4,caf\xe9\n", "line 2: byte 0xe9 is no UTF-8"),
    "utf-16": ("t.csv", CSV.encode("utf-16"), "is in UTF-16"),
    "nul": ("t.csv", b"video,caption\na.mp4,A\0dog\n", "line 2 holds a NUL byte"),
    "doubled column": ("t.csv", b"video,caption,caption\na.mp4,x,y\n", "line 1: .* the column 'caption' twice"),
    "unnamed column": ("t.csv", b"video,,caption\na.mp4,x,y\n", "column 2 has no name"),
    "missing column": ("t.csv", b"Video,captions\na.mp4,x\n", "no column 'video'.*Did you mean 'Video'"),
    "missing caption": ("t.csv", b"video,Captions\na.mp4,x\n", "no column 'caption'.*Did you mean 'Captions'"),
    "same ids": ("t.csv", b"video,caption,id\na.mp4,x,1\nb.mp4,y,1\n", "line 2 and .*line 3 both have the id '1'"),
    "unsafe id": ("t.csv", b"video,caption,id\na.mp4,x,../../up\n", "line 2: the id '../../up' cannot be used"),
    "no json": ("t.json", b'[{"video": "a.mp4",]', "line 1: no JSON"),
    "cut json": ("t.json", b'[{"video": "a.mp4", "caption": "x"},\n{"vid', "line 2: no JSON"),
    "json object": ("t.json", b'{\n"clips": []}', "no JSON.* Expected a list of rows, or one row a line"),
    "doubled key": ("t.json", b'[\n{"video": "a.mp4", "video": "b.mp4", "caption": "x"}]', "line 2: .*twice"),
    "half character": ("t.json", b'[{"video": "a.mp4", "caption": "\\ud800"}]', "line 1: .*surrogate"),
    "nan": ("t.json", b'[{"video": "a.mp4", "caption": NaN}]', "line 1: NaN is no number"),
    "list of texts": ("t.json", b'["a.mp4"]', "line 1 is 'a.mp4'; expected an object"),
    "integer caption": ("t.json", b'[{"video": "a.mp4", "caption": 7}]', "line 1: the caption is 7; expected a text"),
    "captions in a list": ("t.json", b'[{"video": "a.mp4", "caption": ["x"]}]', "the caption is .*; expected a text"),
    "broken line": ("t.jsonl", b'{"video": "a.mp4", "caption": "x"}\n{"video"\n', "line [23]: .*no JSON"),
    "cut parquet": ("t.parquet", b"PAR1PAR1PAR1", "cannot be read as Parquet"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_wrong_file_is_an_error_that_names_the_place(clips, tmp_path, case):
    name, data, message = WRONG_FILES[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EngineError, match=f"(?s){message}"):
        read("table", tmp_path / name, media_root=str(clips))


def test_an_integer_column_of_parquet_is_refused_with_its_row(clips, tmp_path):
    table = write_table(tmp_path / "t.parquet", [{"video": 3, "caption": "x"}])
    with pytest.raises(EngineError, match=r"t\.parquet, row 1: the video is 3; expected a text"):
        read("table", table)


# A row beside a good one -> how it is counted.
LEFT_OUT = {
    "empty caption": ({"video": "b.mp4", "caption": " "}, "no_caption"),
    "no caption": ({"video": "b.mp4", "caption": None}, "no_caption"),
    "no video": ({"video": "", "caption": "x"}, "no_video"),
    "missing file": ({"video": "z.mp4", "caption": "x"}, "missing"),
    "address": ({"video": "https://example.org/a.mp4", "caption": "x"}, "address"),
    "name too long": ({"video": "z" * 5000, "caption": "x"}, "missing"),
    "other language": ({"video": "b.mp4", "caption": "Ein Hund.", "language": "de"}, "other_language"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_row_of_no_use_is_counted_with_its_place(clips, tmp_path, case):
    row, kind = LEFT_OUT[case]
    table = write_table(tmp_path / "t.jsonl", [ROWS[0], row])
    found = read("table", table, media_root=str(clips))
    assert [one.id for one in found.sources] == ["a"]
    assert found.counts == {"read": 2, "kept": 1, kind: 1}
    assert any(f"{table}, line 2" in note for note in found.notes)
    with pytest.raises(EngineError, match="None of 1 entries"):
        read("table", write_table(tmp_path / "u.jsonl", [row]), media_root=str(clips))


@pytest.mark.parametrize("language", ["en", "en-US", "EN", "English", None])
def test_a_caption_of_the_wanted_language_or_an_unknown_one_is_kept(clips, tmp_path, language):
    table = write_table(tmp_path / "t.jsonl", [{**ROWS[0], "language": language}])
    assert read("table", table, media_root=str(clips)).counts["kept"] == 1


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        (b"\xef\xbb\xbfvideo,caption\na.mp4,A dog runs.\n", {}),
        (b"\n\nvideo;caption\r\na.mp4;A dog runs.\r\n", {}),
        (b'video,caption\r\n"a.mp4","A dog runs."\r\n\r\n', {}),
        (b"path,text,more\na.mp4,A dog runs.,1\n", {"columns": {"video": "path", "caption": "text"}}),
    ],
    ids=["byte-order mark", "semicolons", "quotes", "named columns"],
)
def test_tables_as_programs_write_them_are_read(clips, tmp_path, data, settings):
    (tmp_path / "t.csv").write_bytes(data)
    (source,) = read("table", tmp_path / "t.csv", media_root=str(clips), **settings).sources
    assert (source.id, source.caption) == ("a", "A dog runs.")


def test_ids_that_are_not_given_come_from_the_files_and_are_made_unique(clips, tmp_path):
    (tmp_path / "more").mkdir()
    write_video(tmp_path / "more" / "a.mp4", [numbered_frame(number) for number in range(900, 906)])
    rows = [ROWS[0], {"video": str(tmp_path / "more" / "a.mp4"), "caption": "x"}]
    found = read("table", write_table(tmp_path / "t.json", rows), media_root=str(clips))
    assert [one.id for one in found.sources] == ["a", "a-2"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "tables"}, "no layout 'tables'.*Did you mean table"),
        ({"layout": "no.such:reader"}, "cannot be imported"),
        ({"files": []}, "source.files is"),
        ({"files": ["/no/such.csv"]}, "such.csv is not there"),
        ({"columns": {"captoin": "text"}}, "source.columns has 'captoin'.*Did you mean 'caption'"),
        ({"columns": {"license": "terms"}}, "no column 'terms'"),
    ],
)
def test_wrong_settings_are_refused(clips, tmp_path, settings, message):
    table = write_table(tmp_path / "t.json", ROWS)
    with pytest.raises(EngineError, match=message):
        read_sources(SourceSettings(**{"files": [str(table)], "media_root": str(clips), **settings}))
