"""Sources of the data engine: tables, layouts, what is left out and why, and what is an error."""

import csv
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.media import numbered_frame, write_video
from videorefer_plugin.data_engine.folders import files_digest
from videorefer_plugin.data_engine.items import GivenObject, Source
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources import (
    Candidate,
    SourceList,
    layouts,
    read_sources,
    register_layout,
    registry,
)
from videorefer_plugin.errors import ConfigurationError, EngineError
from videorefer_plugin.regions import decode_rle, encode_rle
from videorefer_plugin.video import open_video
from videorefer_plugin.world import make_clip
from videorefer_plugin.world.clip import Clip

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
    "not utf-8": ("t.csv", b"video,caption\na.mp4,caf\xe9\n", "line 2: byte 0xe9 is not UTF-8"),
    "utf-16": ("t.csv", CSV.encode("utf-16"), "is in UTF-16"),
    "nul": ("t.csv", b"video,caption\na.mp4,A\0dog\n", "line 2 holds a NUL byte"),
    "doubled column": ("t.csv", b"video,caption,caption\na.mp4,x,y\n", "line 1: .* the column 'caption' twice"),
    "unnamed column": ("t.csv", b"video,,caption\na.mp4,x,y\n", "column 2 has no name"),
    "missing column": ("t.csv", b"Video,captions\na.mp4,x\n", "no column 'video'.*Did you mean 'Video'"),
    "missing caption": ("t.csv", b"video,Captions\na.mp4,x\n", "no column 'caption'.*Did you mean 'Captions'"),
    "same ids": ("t.csv", b"video,caption,id\na.mp4,x,1\nb.mp4,y,1\n", "line 2 and .*line 3 both have the id '1'"),
    "unsafe id": ("t.csv", b"video,caption,id\na.mp4,x,../../up\n", "line 2: the id '../../up' cannot be used"),
    "no json": ("t.json", b'[{"video": "a.mp4",]', "line 1: record 1: no JSON"),
    "cut json": ("t.json", b'[{"video": "a.mp4", "caption": "x"},\n{"vid', "line 2: record 2: no JSON"),
    "json object": ("t.json", b'{\n"clips": []}', "no JSON.* Expected a list of rows, or one row a line"),
    "doubled key": ("t.json", b'[\n{"video": "a.mp4", "video": "b.mp4", "caption": "x"}]', "line 2: .*twice"),
    "half character": ("t.json", b'[{"video": "a.mp4", "caption": "\\ud800"}]', "line 1: .*surrogate"),
    "nan": ("t.json", b'[{"video": "a.mp4", "caption": NaN}]', "line 1: NaN is not a number"),
    "list of texts": ("t.json", b'["a.mp4"]', "line 1, row 1 is 'a.mp4'; expected an object"),
    "integer caption": ("t.json", b'[{"video": "a.mp4", "caption": 7}]', "row 1: the caption is 7; expected a text"),
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
    "cut off": ({"video": "cut.mp4", "caption": "x"}, "unreadable"),
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
    (clips / "cut.mp4").write_bytes((clips / "b.mp4").read_bytes()[:-200])
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


@pytest.mark.parametrize("language", ["en", "en-US", "EN", "eng", "English", "English (US)", None])
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
        ({"layout": ".such:reader"}, "cannot be imported"),
        ({"layout": ":"}, "cannot be imported"),
        ({"files": []}, "source.files is empty"),
        ({"files": "t.csv"}, "source.files is 't.csv'; expected a list of files or folders"),
        ({"files": [None]}, r"source.files is \[None\]"),
        ({"exclude": "bench.json"}, "source.exclude is 'bench.json'; expected a list of files"),
        ({"media_root": "/no/such/folder"}, "source.media_root is '/no/such/folder', which is not a folder"),
        ({"min_score": 0.4}, "source.min_score has no effect in the layout 'table', only in panda-70m"),
        ({"columns": {"video": "clip"}, "layout": "mevis"}, "source.columns has no effect in the layout 'mevis'"),
        ({"min_score": "high"}, "source.min_score is 'high'; expected a number"),
        ({"min_score": float("nan")}, "source.min_score is nan"),
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


@pytest.mark.spread(2)
@pytest.mark.parametrize(("scale", "crf"), [(1.0, 35), (1.5, 28), (0.75, 24), (2.0, 33)])
def test_a_copy_in_another_encoding_and_size_is_found_and_nothing_else(world, tmp_path, scale, crf):
    copy = copy_of(tmp_path / "copy.mp4", world / "clip3.mp4", scale, crf)
    rows = [{"video": str(clip), "caption": clip.stem} for clip in [*sorted(world.glob("*.mp4")), copy]]
    found = read("table", table := write_table(tmp_path / "t.jsonl", rows))
    assert found.counts == {"read": 13, "kept": 12, "duplicate_frames": 1}
    assert found.left_out[0].place == f"{table}, line 13"
    assert "line 6 was kept" in found.left_out[0].reason
    assert read("table", table, deduplicate=False).counts == {"read": 13, "kept": 13}


@pytest.mark.slow
def test_of_many_clips_that_look_alike_all_copies_are_found_and_nothing_else(tmp_path):
    """Moving shapes before one background, each clip with another encoding of it in another size."""
    for seed in range(150):
        clip = Clip(replace(make_clip(seed).scene, paint_seed=7, cluttered=False))
        write_video(tmp_path / f"{seed}.mp4", clip.frames)
        copy_of(tmp_path / f"{seed}_copy.mp4", tmp_path / f"{seed}.mp4", (0.75, 1.5)[seed % 2], 30)
    rows = [{"video": f"{seed}{end}.mp4", "caption": f"{seed}{end}"} for end in ("", "_copy") for seed in range(150)]
    found = read("table", write_table(tmp_path / "t.jsonl", rows))
    assert found.counts == {"read": 300, "kept": 150, "duplicate_frames": 150}
    for one in found.left_out:
        line = int(one.place.rsplit(" ", 1)[1])
        assert f"line {line - 150} was kept" in one.reason


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
    "number of a row": ("other.mp4", "2.mp4"),
}


@pytest.mark.parametrize("case", SAME_NAME | OTHER_NAME)
def test_videos_of_benchmarks_are_left_out_by_name(clips, tmp_path, case):
    name, video = (SAME_NAME | OTHER_NAME)[case]
    (tmp_path / name).write_bytes((clips / "b.mp4").read_bytes())
    rows = [{"video": str(clips / "a.mp4"), "caption": "x", "id": 1}, {"video": name, "caption": "y", "id": 2}]
    exclude = [bench(tmp_path / "bench.json", video)]
    found = read("table", write_table(tmp_path / "t.json", rows), exclude=exclude, deduplicate=False)
    assert found.counts.get("excluded_by_id", 0) == (case in SAME_NAME)
    assert (
        found.counts["kept"] + found.counts.get("excluded_by_id", 0) + found.counts.get("excluded_by_frames", 0) == 2
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("b.json", '[{"video": "boat.mp4"}, {"image": "c.jpg"}, {"conversations": []}]'),
        ("b.jsonl", '{"video": "boat.mp4", "annotation": []}\n'),
        ("b.csv", "video,caption\nboat.mp4,x\n"),
        ("b.json", '{"boat.mp4": {"caption": "x"}}'),
    ],
    ids=["records", "lines", "table", "HC-STVG"],
)
def test_any_file_that_names_videos_can_be_excluded(clips, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (tmp_path / "boat.mp4").write_bytes((clips / "b.mp4").read_bytes())
    rows = [{"video": str(clips / "a.mp4"), "caption": "x"}, {"video": "boat.mp4", "caption": "y"}]
    found = read("table", write_table(tmp_path / "t.jsonl", rows), exclude=[str(tmp_path / name)])
    assert found.counts == {"read": 2, "kept": 1, "excluded_by_id": 1}


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
        ("gone.json", None, "gone.json', which is not there"),
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


# --- folders of clips ------------------------------------------------------------------------------------------------


def test_a_folder_gives_clips_with_the_captions_beside_them(clips, tmp_path):
    (tmp_path / "day" / "frames").mkdir(parents=True)
    for name in ("one.mp4", "day/two.mp4", "day/none.mp4"):
        (tmp_path / name).write_bytes((clips / f"{'abc'[len(name) % 3]}.mp4").read_bytes())
    (tmp_path / "one.txt").write_text("\ufeffA dog runs.\n", encoding="utf-8")
    (tmp_path / "day" / "two.json").write_text(
        json.dumps({"caption": "A cat sleeps.", "license": "CC0", "url": "https://example.org/two"})
    )
    for number in range(3):
        Image.fromarray(numbered_frame(number + 40)).save(tmp_path / "day" / "frames" / f"{number}.png")
    (tmp_path / "day" / "frames.txt").write_text("A bird flies.")
    found = read("folder", tmp_path, deduplicate=False)
    assert [(one.id, one.caption, one.kind) for one in found.sources] == [
        ("day_frames", "A bird flies.", "video"),
        ("day_two", "A cat sleeps.", "video"),
        ("one", "A dog runs.", "video"),
    ]
    assert (found.sources[1].license, found.sources[1].address) == ("CC0", "https://example.org/two")
    assert found.counts == {"read": 4, "kept": 3, "no_caption": 1}


def test_links_within_a_folder_are_followed_but_not_in_circles(clips, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.mp4").write_bytes((clips / "a.mp4").read_bytes())
    (tmp_path / "elsewhere" / "a.txt").write_text("A dog.")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder" / "circle").symlink_to(tmp_path / "folder")
    assert [one.id for one in read("folder", tmp_path / "folder").sources] == ["linked_a"]


def test_a_folder_may_have_one_table_of_captions(clips, tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.mp4", "sub/a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes((clips / Path(name).name).read_bytes())
    rows = [{"video": "a.mp4", "caption": "x"}, {"video": "sub/a.mp4", "caption": "y"}]
    write_table(tmp_path / "captions.csv", rows)
    found = read("folder", tmp_path, deduplicate=False)
    assert [one.id for one in found.sources] == ["a", "sub_a"]
    assert found.counts == {"read": 3, "kept": 2, "no_caption": 1}


@pytest.mark.parametrize("table", [False, True])
def test_a_clip_of_a_folder_whose_name_no_record_can_hold_is_left_out(clips, tmp_path, table):
    strange = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        shutil.copy(clips / "a.mp4", strange + b".mp4")
    except OSError:
        pytest.skip("names are UTF-8 on this file system")
    Path(os.fsdecode(strange + b".txt")).write_text("A cat.")
    with pytest.raises(
        EngineError, match=r"None of 1 entries .* not UTF-8.*caf.udce9\.mp4: the name is not UTF-8; rename"
    ):
        read("folder", tmp_path)
    shutil.copy(clips / "b.mp4", tmp_path / "b.mp4")
    (tmp_path / "b.txt").write_text("A dog.")
    if table:
        (tmp_path / "captions.csv").write_text("video,caption\nb.mp4,A dog.\n")
    found = read("folder", tmp_path)
    assert [one.id for one in found.sources] == ["b"]
    assert found.counts == {"read": 2, "kept": 1, "bad_name": 1}
    " ".join(found.notes).encode()
    settings = SourceSettings(layout="folder", files=[str(tmp_path)])
    before = files_digest(settings)
    os.rename(strange + b".mp4", strange + b"\xe9.mp4")
    assert files_digest(settings) != before


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no clips"),
        ({"a.mp4": "", "captions.csv": "", "captions.json": ""}, "keep one file of captions"),
        ({"a.mp4": "x", "a.json": "[]"}, "a.json is .*; expected an object"),
        ({"a.mp4": "x", "a.json": '{"caption": 3}'}, "a.json: the caption is 3; expected a text"),
        ({"a.mp4": "x", "a.json": '{"caption": "x"'}, "a.json, line 1: no JSON"),
        ({"a.mp4": "x"}, "None of 1 entries"),
    ],
)
def test_a_folder_of_no_use_is_refused(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(EngineError, match=message):
        read("folder", tmp_path)


# --- Panda-70M -------------------------------------------------------------------------------------------------------

ONE, TWO = "--C66yU3LjM", "rLlzmcp3J6s"
PANDA = [
    {
        "videoID": video,
        "url": f"https://www.youtube.com/watch?v={video}",
        "timestamp": "[['0:00:01.100', '0:00:04.200'], ['0:00:05.000', '0:00:09.000']]",
        "caption": f"['{words}, first.', \"{words}'s second.\"]",
        "matching_score": "[0.41, 0.56]",
    }
    for video, words in ((ONE, "A dog"), (TWO, "A cat"))
]


def write_panda(path: Path, rows: list[dict[str, Any]] = PANDA) -> Path:
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(
    "name",
    ["00000/0000001_00001.mp4", f"{TWO}_1.mp4", f"clips/{TWO}_0:00:05.000_0:00:09.000.mp4"],
    ids=["downloader", "number", "times"],
)
def test_clips_of_panda_70m_get_what_its_table_says(clips, tmp_path, name):
    path = tmp_path / "media" / name
    path.parent.mkdir(parents=True)
    path.write_bytes((clips / "a.mp4").read_bytes())
    table = write_panda(tmp_path / "panda.csv")
    (source,) = read("panda-70m", table, media_root=str(tmp_path / "media")).sources
    assert source.id == f"{TWO}_1"
    assert source.caption == "A cat's second."
    assert source.address == f"https://www.youtube.com/watch?v={TWO}"
    assert source.license is None


def download(folder: Path, clips: Path) -> Path:
    """Two clips of one video as the downloader of Panda-70M writes them."""
    (folder / "00000").mkdir(parents=True)
    for number, clip in enumerate("ab"):
        stem = folder / "00000" / f"0000007_0000{number}"
        stem.with_suffix(".mp4").write_bytes((clips / f"{clip}.mp4").read_bytes())
        stem.with_suffix(".txt").write_text(f"Caption {number}.")
        said = {"url": f"https://www.youtube.com/watch?v={ONE}", "matching_score": str(0.4 + number / 10), "key": "x"}
        stem.with_suffix(".json").write_text(json.dumps(said))
    return folder


def test_a_download_of_panda_70m_needs_no_table(clips, tmp_path):
    found = read("panda-70m", download(tmp_path, clips))
    assert [(one.id, one.caption) for one in found.sources] == [(f"{ONE}_0", "Caption 0."), (f"{ONE}_1", "Caption 1.")]
    found = read("panda-70m", tmp_path, min_score=0.45)
    assert found.counts == {"read": 2, "kept": 1, "low_score": 1}


@pytest.mark.parametrize("score", ["nan", " NaN "])
def test_a_score_that_is_no_number_passes_no_limit(clips, tmp_path, score):
    for file in download(tmp_path, clips).rglob("*_00000.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "matching_score": score}))
    assert read("panda-70m", tmp_path, min_score=0.1).counts == {"read": 2, "kept": 1, "low_score": 1}


def test_captions_that_differ_in_signs_of_vowels_are_different(clips, tmp_path):
    rows = [
        {"video": f"{name}.mp4", "caption": caption} for name, caption in (("a", "काली किताब"), ("b", "कुला कोताबे"))
    ]
    table = write_table(tmp_path / "t.jsonl", rows)
    assert read("table", table, media_root=str(clips)).counts == {"read": 2, "kept": 2}


def test_other_clips_of_a_benchmark_video_are_excluded_from_panda_70m(clips, tmp_path):
    exclude = [bench(tmp_path / "bench.json", f"{ONE}_0:00:01.100_0:00:04.200.mp4")]
    with pytest.raises(EngineError, match="of a benchmark by their name"):
        read("panda-70m", download(tmp_path / "clips", clips), exclude=exclude)
    exclude = [bench(tmp_path / "bench.json", f"{ONE}_7.mp4")]
    with pytest.raises(EngineError, match="of a benchmark by their name"):
        read("panda-70m", tmp_path / "clips", exclude=exclude)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption": "A cat"}, "line 2: caption is 'A cat'; expected a list"),
        ({"caption": "__import__('os').system('true')"}, "line 2: caption is .*; expected a list"),
        ({"caption": "['one']"}, "line 2: the lists are of different lengths"),
        ({"caption": "[1, 2]"}, "line 2: the caption is [12]; expected a text"),
        ({"videoID": "other_video", "url": ""}, "None of 1 clips"),
    ],
)
def test_tables_that_are_not_of_panda_70m_are_refused(clips, tmp_path, change, message):
    (tmp_path / f"{ONE}_0.mp4").write_bytes((clips / "a.mp4").read_bytes())
    table = write_panda(tmp_path / "panda.csv", [{**PANDA[0], **change}])
    with pytest.raises(EngineError, match=message):
        read("panda-70m", table, media_root=str(tmp_path))


# --- layouts with masks and expressions ------------------------------------------------------------------------------

HEIGHT, WIDTH = 48, 80
NAMES = ["00000", "00005", "00010"]


def square(place: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[4:12, 6 * place : 6 * place + 8] = True
    return mask


def write_frames(folder: Path, first: int, names: list[str] = NAMES) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.fromarray(numbered_frame(first + number)).save(folder / f"{name}.jpg")


def masks_of(given: GivenObject) -> dict[str, np.ndarray | None]:
    return {frame: one["segmentation"] and decode_rle(one["segmentation"]) for frame, one in given.annotation.items()}


def write_mevis(root: Path, **changes: Any) -> Path:
    write_frames(root / "JPEGImages" / "v1", 30)
    expressions = {
        "0": {"exp": "the dog that runs", "obj_id": [0], "anno_id": [7]},
        "1": {"exp": "The running dog", "obj_id": [0], "anno_id": [7]},
        "2": {"exp": "two dogs", "obj_id": [0, 1], "anno_id": [7, 8]},
    } | changes
    meta = {"videos": {"v1": {"vid_id": 1, "expressions": expressions, "frames": NAMES}}}
    (root / "meta_expressions.json").write_text(json.dumps(meta))
    masks = {
        "7": [encode_rle(square(0)), None, encode_rle(square(2))],
        "8": [encode_rle(square(5))] * 3,
        "9": [None] * 3,
    }
    (root / "mask_dict.json").write_text(json.dumps(masks))
    return root


def test_mevis_gives_a_video_with_all_expressions_of_single_objects(tmp_path):
    found = read("mevis", write_mevis(tmp_path / "train"))
    (source,) = found.sources
    assert (source.id, source.path, source.height, source.width) == (
        "v1", str(tmp_path / "train" / "JPEGImages" / "v1"), HEIGHT, WIDTH,
    )  # fmt: skip
    assert [one.expression for one in source.objects] == ["the dog that runs", "The running dog"]
    masks = masks_of(source.objects[0])
    assert list(masks) == ["0", "1", "2"]
    assert masks["1"] is None
    assert np.array_equal(masks["2"], square(2))
    assert found.counts == {"read": 1, "kept": 1, "several_objects": 1}
    assert any("1 expression(s) mean several objects" in note for note in found.notes)
    assert Source.from_json(json.loads(json.dumps(source.to_json()))) == source


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ({"exp": " ", "anno_id": [7]}, "no_expression"),
        ({"exp": "a cat", "anno_id": [9]}, "no_mask"),
        ({"exp": "a cat", "anno_id": [5]}, "bad_mask"),
        ({"exp": "a cat", "anno_id": [6]}, "bad_mask"),
        ({"exp": "a cat", "anno_id": [4]}, "bad_mask"),
    ],
)
def test_expressions_of_no_use_are_counted(tmp_path, expression, kind):
    found = read("mevis", write_mevis(tmp_path, **{"2": expression}))
    assert found.counts == {"read": 1, "kept": 1, kind: 1}


def write_youtube(root: Path) -> Path:
    """The split `train`, in which the folder of frames also has those between the annotated ones."""
    write_frames(root / "train" / "JPEGImages" / "v2", 60, [f"{number:05d}" for number in range(11)])
    (root / "train" / "Annotations" / "v2").mkdir(parents=True)
    for place, name in enumerate(NAMES):
        labels = square(place) * np.uint8(1) + (square(7) & (place == 1)) * np.uint8(2)
        image = Image.fromarray(labels, mode="P")
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        image.save(root / "train" / "Annotations" / "v2" / f"{name}.png")
    expressions = {"0": {"exp": "a person", "obj_id": "1"}, "1": {"exp": "a horse", "obj_id": "2"}}
    meta = {"videos": {"v2": {"expressions": expressions, "frames": NAMES}}}
    (root / "meta_expressions" / "train").mkdir(parents=True)
    (root / "meta_expressions" / "train" / "meta_expressions.json").write_text(json.dumps(meta))
    return root / "train"


@pytest.mark.parametrize("given", ["train", "meta_expressions/train/meta_expressions.json"])
def test_ref_youtube_vos_has_masks_at_the_places_of_their_frames(tmp_path, given):
    write_youtube(tmp_path)
    (source,) = read("ref-youtube-vos", tmp_path / given).sources
    person, horse = source.objects
    assert list(masks_of(person)) == ["0", "5", "10"]
    assert np.array_equal(masks_of(person)["5"], square(1))
    assert masks_of(horse)["0"] is None
    assert np.array_equal(masks_of(horse)["5"], square(7))
    frames = open_video(source.path).read([5])
    assert np.abs(frames[0].astype(int) - numbered_frame(65)).mean() < 12


def write_refcoco(root: Path, name: str = "refs(unc).json") -> Path:
    (root / "images").mkdir(parents=True)
    Image.fromarray(numbered_frame(3)).save(root / "images" / "COCO_7.jpg")
    instances = {
        "licenses": [{"id": 4, "name": "Attribution License", "url": "https://example.org/by"}],
        "images": [
            {"id": 7, "file_name": "COCO_7.jpg", "height": HEIGHT, "width": WIDTH, "license": 4, "flickr_url": "https://f"},
            {"id": 8, "file_name": "COCO_8.jpg", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "segmentation": [[1, 1, 20, 1, 20, 20]]},
            {"id": 2, "image_id": 8, "segmentation": [[1, 1, 20, 1, 20, 20]]},
        ],
    }  # fmt: skip
    said = [{"raw": "Left man", "sent": "left man"}, {"sent": "man in red"}]
    refs = [
        {"ref_id": 0, "ann_id": 1, "image_id": 7, "split": "train", "sentences": said},
        {"ref_id": 1, "ann_id": 2, "image_id": 8, "split": "train", "sentences": [{"sent": "dog"}]},
    ]
    (root / "instances.json").write_text(json.dumps(instances))
    (root / name).write_text(json.dumps(refs))
    return root


def test_refcoco_gives_images_with_polygons_license_and_address(tmp_path):
    found = read("refcoco", write_refcoco(tmp_path))
    (source,) = found.sources
    assert (source.id, source.kind, source.height, source.width) == ("COCO_7", "image", HEIGHT, WIDTH)
    assert [one.expression for one in source.objects] == ["Left man", "man in red"]
    assert source.objects[0].annotation == {"0": {"segmentation": [[1, 1, 20, 1, 20, 20]]}}
    assert source.license == "Attribution License, https://example.org/by"
    assert source.address == "https://f"
    assert found.counts == {"read": 2, "kept": 1, "missing": 1}


def test_what_several_data_sets_say_of_an_image_is_put_together(tmp_path):
    one, two = write_refcoco(tmp_path / "refcoco"), write_refcoco(tmp_path / "refcocog", "refs(umd).json")
    refs = [{"ann_id": 1, "image_id": 7, "sentences": [{"sent": "a man who stands"}, {"sent": "man in red"}]}]
    (two / "refs(umd).json").write_text(json.dumps(refs))
    found = read("refcoco", one, two)
    assert [[said.expression for said in source.objects] for source in found.sources] == [
        ["Left man", "man in red", "a man who stands"]
    ]


def test_a_pickle_of_references_is_not_read(tmp_path):
    with pytest.raises(EngineError, match=r"refs\(unc\)\.p is a pickle, which can run any program"):
        read("refcoco", write_refcoco(tmp_path, "refs(unc).p"))


def write_a2d(root: Path) -> Path:
    h5py = pytest.importorskip("h5py")
    (root / "Release" / "clips320H").mkdir(parents=True)
    write_video(root / "Release" / "clips320H" / "vid1.mp4", 6)
    masks = root / "text_annotations" / "a2d_annotation_with_instances" / "vid1"
    masks.mkdir(parents=True)
    rows = 'video_id,instance_id,query\nvid1,0,a man walks\nvid1,1,"a dog, running"\nvid1,9,a ghost\n'
    (root / "text_annotations" / "a2d_annotation.txt").write_text(rows)
    with h5py.File(masks / "00003.h5", "w") as file:
        file["instance"] = [0, 1]
        file["reMask"] = np.stack([square(0).T, square(3).T]).astype(np.uint8)
    with h5py.File(masks / "00006.h5", "w") as file:
        file["instance"] = [1]
        file["reMask"] = square(4).T.astype(np.uint8)
    return root


def test_a2d_sentences_has_masks_in_some_frames(tmp_path):
    found = read("a2d-sentences", write_a2d(tmp_path))
    (source,) = found.sources
    man, dog = source.objects
    assert (man.expression, list(masks_of(man))) == ("a man walks", ["2"])
    assert (dog.expression, list(masks_of(dog))) == ("a dog, running", ["2", "5"])
    assert np.array_equal(masks_of(dog)["5"], square(4))
    assert found.counts == {"read": 1, "kept": 1, "no_mask": 1}


@pytest.mark.skipif(importlib.util.find_spec("h5py") is not None, reason="needs an environment without h5py")
def test_a2d_sentences_says_what_it_needs(tmp_path):
    with pytest.raises(ConfigurationError, match="pip install h5py"):
        read("a2d-sentences", tmp_path)


def remove(*names: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for name in names:
            path = root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return change


def rewrite(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


META = '{"videos": {"v1": {"frames": ["00000"], "expressions": {"0": {"exp": %s}}}}}'

# Layout, what is changed in its folder, and what the error says.
WRONG_LAYOUTS = {
    "mevis without a meta file": ("mevis", remove("meta_expressions.json"), "has no meta_expressions.json"),
    "mevis without masks": ("mevis", remove("mask_dict.json"), "mask_dict.json is not there"),
    "mevis without frames": ("mevis", remove("JPEGImages"), "has no folder JPEGImages"),
    "mevis without a video": ("mevis", remove("JPEGImages/v1"), "there is no folder"),
    "mevis without a frame": ("mevis", remove("JPEGImages/v1/00005.jpg"), "lacks the frames 00005"),
    "mevis of no masks": (
        "mevis",
        rewrite("meta_expressions.json", META % '"a"'),
        "'anno_id' is None",
    ),
    "mevis with another expression": ("mevis", rewrite("meta_expressions.json", META % "3"), "the expression is 3"),
    "mevis with a list": ("mevis", rewrite("meta_expressions.json", "[]"), "expected an object"),
    "mevis with masks of another form": ("mevis", rewrite("mask_dict.json", '{"7": 3, "8": []}'), "mask 7 has 3"),
    "mevis as a file": ("mevis", remove("."), "is not there; expected the folder of a split"),
    "youtube without masks": ("ref-youtube-vos", remove("Annotations"), "has no folder Annotations"),
    "youtube with damaged masks": (
        "ref-youtube-vos",
        rewrite("Annotations/v2/00005.png", "x"),
        "cannot be read as an",
    ),
    "refcoco without instances": ("refcoco", remove("instances.json"), "has no instances.json"),
    "refcoco without references": ("refcoco", remove("refs(unc).json"), "has no refs"),
    "refcoco of another object": (
        "refcoco",
        rewrite("refs(unc).json", '[{"ann_id": 99}]'),
        "ann_id is 99, which is",
    ),
    "refcoco of a list": ("refcoco", rewrite("refs(unc).json", '[{"ann_id": [1]}]'), r"ann_id is \[1\]"),
    "refcoco with an object": ("refcoco", rewrite("refs(unc).json", "{}"), "expected a list of references"),
    "refcoco without images": ("refcoco", remove("images"), "None of 2 entries"),
}
WRITERS = {"mevis": write_mevis, "ref-youtube-vos": write_youtube, "refcoco": write_refcoco}


@pytest.mark.parametrize("case", WRONG_LAYOUTS)
def test_a_layout_that_lacks_something_is_refused(tmp_path, case):
    layout, change, message = WRONG_LAYOUTS[case]
    root = WRITERS[layout](tmp_path / "data")
    change(root)
    with pytest.raises(EngineError, match=message):
        read(layout, root)


def test_a_layout_of_ones_own_can_be_registered(clips):
    register_layout("my-own", f"{__name__}:my_layout")
    try:
        assert "my-own" in layouts()
        assert [one.id for one in read("my-own", clips / "a.mp4").sources] == ["mine"]
        with pytest.raises(ConfigurationError, match="There is a layout 'my-own' already"):
            register_layout("my-own", "elsewhere:read")
    finally:
        registry._PATHS.pop("my-own")


def my_layout(settings: SourceSettings) -> Iterator[Candidate]:
    yield Candidate("here", Source("mine", settings.files[0], "A caption."), named=True)
