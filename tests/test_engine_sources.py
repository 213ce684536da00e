"""Sources of the data engine: tables, layouts, what is left out and why, and what is an error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.media import numbered_frame, write_video
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources import SourceList, read_sources
from videorefer_plugin.errors import EngineError
from videorefer_plugin.video import open_video
from videorefer_plugin.world import make_clip

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
    "empty file": ({"video": "empty.mp4", "caption": "x"}, "unreadable"),
    "no container": ({"video": "text.mp4", "caption": "x"}, "unreadable"),
    "same path": ({"video": "./a.mp4", "caption": "x"}, "duplicate_video"),
    "same caption": ({"video": "b.mp4", "caption": "a dog  runs"}, "duplicate_caption"),
    "other language": ({"video": "b.mp4", "caption": "Ein Hund.", "language": "de"}, "other_language"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_row_of_no_use_is_counted_with_its_place(clips, tmp_path, case):
    row, kind = LEFT_OUT[case]
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "text.mp4").write_text("no video at all")
    table = write_table(tmp_path / "t.jsonl", [ROWS[0], row])
    found = read("table", table, media_root=str(clips))
    assert [one.id for one in found.sources] == ["a"]
    assert found.counts == {"read": 2, "kept": 1, kind: 1}
    assert any(f"{table}, line 2" in note for note in found.notes)
    if kind.startswith("duplicate"):
        return
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


def copy_of(path: Path, clip: Path, scale: float, crf: int) -> Path:
    """Another encoding of a clip, in another size."""
    frames = open_video(clip).read(range(open_video(clip).num_frames))
    size = (int(frames.shape[2] * scale) // 2 * 2, int(frames.shape[1] * scale) // 2 * 2)
    pictures = [np.asarray(Image.fromarray(frame).resize(size)) for frame in frames]
    return write_video(path, pictures, options={"crf": str(crf)})


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with twelve clips of the shapes world."""
    folder = tmp_path_factory.mktemp("world")
    for seed in range(12):
        write_video(folder / f"clip{seed}.mp4", make_clip(seed).frames)
    return folder


@pytest.mark.parametrize(("scale", "crf"), [(1.0, 35), (1.5, 28), (0.75, 24), (2.0, 33)])
def test_a_copy_in_another_encoding_and_size_is_found_and_nothing_else(world, tmp_path, scale, crf):
    copy = copy_of(tmp_path / "copy.mp4", world / "clip3.mp4", scale, crf)
    rows = [{"video": str(clip), "caption": clip.stem} for clip in [*sorted(world.glob("*.mp4")), copy]]
    found = read("table", table := write_table(tmp_path / "t.jsonl", rows))
    assert found.counts == {"read": 13, "kept": 12, "duplicate_frames": 1}
    assert found.left_out[0].place == f"{table}, line 13"
    assert "line 6 was kept" in found.left_out[0].reason
    assert read("table", table, deduplicate=False).counts == {"read": 13, "kept": 13}


def test_plain_videos_of_different_colors_are_no_duplicates(tmp_path):
    for name, color in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        write_video(tmp_path / f"{name}.mp4", [np.full((64, 64, 3), color, dtype=np.uint8)] * 4)
    rows = [{"video": f"{name}.mp4", "caption": name} for name in ("red", "blue")]
    assert read("table", write_table(tmp_path / "t.json", rows)).counts["kept"] == 2


def test_without_deduplication_and_exclusion_no_video_is_opened(tmp_path):
    (tmp_path / "a.mp4").write_text("no video at all")
    table = write_table(tmp_path / "t.json", [ROWS[0]])
    assert read("table", table, deduplicate=False).counts == {"read": 1, "kept": 1}


def bench(path: Path, *videos: str) -> str:
    """A file with items of a benchmark."""
    path.write_text(json.dumps([{"id": number, "video": video} for number, video in enumerate(videos)]))
    return str(path)


def test_without_benchmark_files_the_notes_warn(clips, tmp_path):
    table = write_table(tmp_path / "t.json", ROWS)
    assert "Bench-D comes from Panda-70M" in read("table", table, media_root=str(clips)).notes[0]
    exclude = [bench(tmp_path / "b.json", "other.mp4")]
    found = read("table", table, media_root=str(clips), exclude=exclude)
    assert found.counts["kept"] == 2
    assert "excluded by their names alone" in found.notes[0]


# Name of the source's file, video of the benchmark.
SAME_NAME = {
    "same file": ("boat.mp4", "boat.mp4"),
    "folder of frames": ("boat.mp4", "DAVIS/JPEGImages/480p/boat"),
    "other suffix": ("boat.mp4", "videos/boat.webm"),
    "clip of Bench-D": ("rLlzmcp3J6s_0_01_09.633_0_01_14.333.mp4", "rLlzmcp3J6s_0_01_09.633_0_01_14.333.mp4"),
    "video of Bench-D": ("rLlzmcp3J6s.mp4", "rLlzmcp3J6s_0:01:09.633_0:01:14.333.mp4"),
    "other clip of it": ("rLlzmcp3J6s_2.mp4", "rLlzmcp3J6s_0:01:09.633_0:01:14.333.mp4"),
}
OTHER_NAME = {
    "beginning": ("boat2.mp4", "boat.mp4"),
    "numbered clips": ("shapes_clip_7.mp4", "shapes_clip_8.mp4"),
    "case": ("Boat.mp4", "boat.mp4"),
}


@pytest.mark.parametrize("case", SAME_NAME | OTHER_NAME)
def test_videos_of_benchmarks_are_left_out_by_name(clips, tmp_path, case):
    name, video = (SAME_NAME | OTHER_NAME)[case]
    (tmp_path / name).write_bytes((clips / "b.mp4").read_bytes())
    rows = [{"video": str(clips / "a.mp4"), "caption": "x"}, {"video": name, "caption": "y"}]
    exclude = [bench(tmp_path / "bench.json", video)]
    found = read("table", write_table(tmp_path / "t.json", rows), exclude=exclude, deduplicate=False)
    assert found.counts.get("excluded_by_id", 0) == (case in SAME_NAME)
    assert (
        found.counts["kept"] + found.counts.get("excluded_by_id", 0) + found.counts.get("excluded_by_frames", 0) == 2
    )


@pytest.mark.parametrize("folder", ["", "Panda-70M-part"])
def test_videos_of_benchmarks_are_left_out_by_frames(world, tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    copy_of(tmp_path / folder / "renamed.mp4", world / "clip5.mp4", 1.5, 33)
    rows = [{"video": str(clip), "caption": clip.stem} for clip in sorted(world.glob("*.mp4"))]
    exclude = [bench(tmp_path / "bench.json", "renamed.mp4")]
    found = read("table", write_table(tmp_path / "t.jsonl", rows), exclude=exclude)
    assert found.counts == {"read": 12, "kept": 11, "excluded_by_frames": 1}
    assert "clip5" not in {one.id for one in found.sources}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("b.json", '[{"id": 0}]', "line 1, given to exclude, has the keys id; expected a video"),
        ("b.json", "[]", "names no videos"),
        ("b.json", "[{]", "cannot be used: .*line 1"),
        ("gone.json", None, "gone.json is not there"),
        ("b.csv", "name\nx\n", "has the keys name; expected a video"),
    ],
)
def test_files_to_exclude_that_name_no_videos_are_refused(clips, tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_text(data)
    with pytest.raises(EngineError, match=message):
        read(
            "table",
            write_table(tmp_path / "t.json", ROWS),
            media_root=str(clips),
            exclude=[str(tmp_path / name)],
        )
