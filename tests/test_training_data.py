"""Training data: reading, checking, the frames of an epoch, and batches with labels."""

import copy
import gc
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, RandomSampler
from typer.testing import CliRunner

import videorefer_plugin as vr
from tests.conftest import CHECKPOINT, TINY
from tests.training_data import (
    HEIGHT,
    WIDTH,
    WRITERS,
    all_kinds,
    box_mask,
    compressed,
    polygon,
    run_lengths,
    turns,
    write_json,
    write_jsonl,
    write_media,
    write_parquet,
)
from videorefer_plugin.cli import app
from videorefer_plugin.errors import ConfigurationError, RecordError, RegionError
from videorefer_plugin.training import (
    DataSource,
    VideoReferCollator,
    VideoReferDataset,
    check_data,
    parse_record,
)
from videorefer_plugin.training.record_files import open_record_file
from videorefer_plugin.training.records import check_record

SOURCE = Path(__file__).parents[1] / "src"
KINDS = list(all_kinds())
PLACE = {name: number for number, name in enumerate(KINDS)}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return write_media(tmp_path_factory.mktemp("data") / "media")


@pytest.fixture(scope="module")
def data(media):
    """A JSON list with a record of each kind, in the folder that its media are in."""
    return write_json(media / "data.json", list(all_kinds().values()))


@pytest.fixture
def collator(processor):
    return VideoReferCollator(processor)


def items(dataset):
    return [dataset[index] for index in range(len(dataset))]


def same_batch(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name
    return True


def learnt(collator, batch, row=0):
    labels = batch["labels"][row]
    return collator.processor.tokenizer.decode(labels[labels != -100])


# --- file formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_other_formats_hold_the_same_as_json(data, media, kind):
    other = VideoReferDataset(WRITERS[kind](media / f"same.{kind}", list(all_kinds().values())))
    dataset = VideoReferDataset(data)
    assert other.modes == dataset.modes
    assert other.lengths == dataset.lengths
    for found, expected in zip(items(other), items(dataset), strict=True):
        assert {k: v for k, v in found.items() if k != "record"} == {
            k: v for k, v in expected.items() if k != "record"
        }
        for name in ("id", "video", "image", "conversations", "annotation", "height", "width", "unknown"):
            assert getattr(found["record"], name) == getattr(expected["record"], name), name


def test_parquet_with_nested_annotations(media):
    import pyarrow
    import pyarrow.parquet

    records = [all_kinds()["compressed"], {**all_kinds()["compressed"], "annotation": [{"3": compressed(1, 1)}]}]
    expected = items(VideoReferDataset(write_json(media / "flat.json", records), mode="multi"))
    plain = pyarrow.Table.from_pylist(records)  # a struct, in which both records have the frames of the other
    frame = pyarrow.struct([("segmentation", plain.schema.field("annotation").type.value_type.field(0).type[0].type)])
    kind = pyarrow.list_(pyarrow.map_(pyarrow.string(), frame))
    mapped = plain.drop_columns("annotation").append_column(
        "annotation",
        pyarrow.array([[list(one.items()) for one in record["annotation"]] for record in records], type=kind),
    )
    for table in (plain, mapped):
        pyarrow.parquet.write_table(table, media / "nested.parquet")
        found = items(VideoReferDataset(media / "nested.parquet", mode="multi"))
        assert [one["regions"] for one in found] == [one["regions"] for one in expected]
        assert [one["record"].annotation for one in found] == [one["record"].annotation for one in expected]


def test_lines_are_those_of_the_file(media):
    records = list(all_kinds().values())
    text = write_json(media / "lines.json", records).read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(text, 1) if line == " {"]
    assert len(starts) == len(records)
    assert [entry.line for entry in open_record_file(media / "lines.json").scan()] == starts

    with_gaps = media / "gaps.jsonl"
    with_gaps.write_text("".join(f"\n{json.dumps(record)}\n" for record in records))
    assert [entry.line for entry in open_record_file(with_gaps).scan()] == list(range(2, 2 * len(records) + 1, 2))
    rows = open_record_file(write_parquet(media / "rows.parquet", records)).scan()
    assert [entry.line for entry in rows] == list(range(1, len(records) + 1))


def test_records_longer_than_what_is_read_at_once(tmp_path):
    """Also with characters of several bytes, a byte-order mark, and no line breaks at all."""
    values = [{"a": "ä€😀" * size, "b": [size] * size} for size in (0, 1, 300_000, 2, 900_000, 3)]
    path = tmp_path / "long.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(values, ensure_ascii=False).encode())
    file = open_record_file(path)
    entries = list(file.scan())
    assert [entry.value for entry in entries] == values
    assert [file.read(entry.position) for entry in reversed(entries)] == values[::-1]
    assert entries[-1].done == file.total - 1  # all but the closing bracket


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('[{"a": 1},\n {"a": 2}', 2, "expected a comma or the end of the list, got 'the end'"),
        ('[{"a": 1},\n\n {"a": }]', 3, "Expecting value"),
        ('[{"a": 1}\n {"a": 2}]', 2, "expected a comma"),
        ('[{"a": 1},]', 1, "Expecting value"),
        ('[{"a": 1}]\n\n{"a": 2}', 3, "the list has ended"),
        ("[", 1, "Expecting value"),
        (b'[{"a": "\xff"}]', 1, "not UTF-8"),
        ('[{"a": 1},\n' + "[" * 100_000, 2, "no JSON that can be read"),
        ('[{"a": 1},\n{"a": 1' + "0" * 5000 + "}]", 2, "no JSON that can be read"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_list_is_refused_with_its_line(tmp_path, text, line, reason):
    path = tmp_path / "data.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecordError, match=f"data.json, line {line}: .*{reason}"):
        list(open_record_file(path).scan())


def test_files_that_cannot_be_data(tmp_path):
    for name, content, reason in (("a.json", " \n", "is empty"), ("b.parquet", "PAR1 and no more", "as Parquet")):
        (tmp_path / name).write_text(content)
        with pytest.raises(RecordError, match=reason):
            open_record_file(tmp_path / name)
    with pytest.raises(RecordError, match="not there"):
        open_record_file(tmp_path / "missing.json")
    with pytest.raises(RecordError, match="a folder"):
        open_record_file(tmp_path)


def test_a_file_that_changes_meanwhile_is_noticed(media):
    path = write_jsonl(media / "changing.jsonl", list(all_kinds().values()))
    dataset = VideoReferDataset(path)
    path.write_text(path.read_text()[100:])
    with pytest.raises(RecordError, match=r"changing.jsonl, line 2: .*was changed"):
        dataset[1]


def test_little_is_kept_of_a_large_file(media):
    path = write_jsonl(media / "large.jsonl", [all_kinds()["compressed"]] * 400)
    assert path.stat().st_size > 300_000
    assert len(pickle.dumps(VideoReferDataset(path))) < 60_000


# --- records ---------------------------------------------------------------------------------------------------------


def changed(name, **changes):
    record = copy.deepcopy(all_kinds()[name])
    return {key: value for key, value in {**record, **changes}.items() if value != "left out"}


BAD = {
    "no object": ([1, 2], "a record is a JSON object"),
    "no conversations": (changed("text", conversations="left out"), "it has no conversations"),
    "empty conversations": (changed("text", conversations=[]), "it has no conversations"),
    "unknown speaker": (changed("text", conversations=[{"from": "dog", "value": "wow"}]), "turn 0 is from 'dog'"),
    "a turn of nothing": (changed("text", conversations=turns("A?", " ")), "turn 1 says ' '"),
    "a turn that is a string": (changed("text", conversations=["A?", "B"]), "turn 0 is from None"),
    "no answer": (changed("text", conversations=turns("A?", "B", "C?")), "ending with an answer"),
    "answer first": (changed("text", conversations=turns("A?", "B")[::-1]), "user and assistant in turn"),
    "system message only": (changed("text", conversations=[{"from": "system", "value": "A"}]), "in turn"),
    "missing video": (changed("compressed", video="clips/none.mp4"), r"its video is not there: .*clips.none\.mp4"),
    "missing image": (changed("image", image="clips/none.png"), "its image is not there"),
    "video that is a list": (changed("compressed", video=["a"]), "expected a path"),
    "video and image": (changed("compressed", image="images/c.png"), "both a video and an image"),
    "no placeholder": (changed("first stage", conversations=turns("A?", "B")), "have 0 <image>.*expected 1"),
    "two placeholders": (
        changed("first stage", conversations=turns("<image><image>", "B")),
        "have 2 <image>.*expected 1",
    ),
    "other placeholder": (changed("first stage", conversations=turns("<image><video>", "B")), "have 1 <video>"),
    "placeholder in text": (changed("text", conversations=turns("<video>", "B")), "neither video nor image"),
    "placeholder in an answer": (changed("first stage", conversations=turns("A?", "<image>")), "not in a question"),
    "more objects": (changed("compressed", annotation=[{"1": compressed(0, 0)}] * 2), "have 1 <region>, .*2 object"),
    "no objects": (changed("compressed", annotation="left out"), "have 1 <region>, .*0 object"),
    "objects of nothing": (changed("compressed", video="left out", conversations=turns("<region>", "B")), "neither"),
    "annotation that is no list": (changed("compressed", annotation={"1": compressed(0, 0)}), "annotation is"),
    "object without frames": (changed("compressed", annotation=[{}]), "object 0 is {}"),
    "frame that is no number": (changed("compressed", annotation=[{"-1": compressed(0, 0)}]), "has frame '-1'"),
    "frame twice": (changed("compressed", annotation=[{"1": compressed(0, 0), "01": {}}]), "object 0: .*1 twice"),
    "cut RLE": (
        changed("compressed", annotation=[{"3": {"segmentation": {"size": [48, 80], "counts": [3, 4]}}}]),
        "object 0: frame 3: RLE counts add up to 7",
    ),
    "polygon of two points": (
        changed("polygons", annotation=[{"3": {"segmentation": [[1, 2, 3, 4]]}}]),
        "object 0: frame 3: ",
    ),
    "no pixel": (
        changed(
            "compressed", annotation=[{"3": {"segmentation": vr.regions.encode_rle(np.zeros((48, 80)))}, "4": {}}]
        ),
        r"object 0 has no pixel in any of its 2 frame\(s\)",
    ),
    "no pixel in run lengths": (
        changed("compressed", annotation=[{"3": {"segmentation": {"size": [48, 80], "counts": [48 * 80]}}}]),
        "no pixel",
    ),
    "polygon without area": (changed("polygons", annotation=[{"3": {"segmentation": [[5, 5] * 3]}}]), "no pixel"),
    "second frame of an image": (changed("image", annotation=[{"1": compressed(0, 0)}]), "an image has only frame 0"),
    "size beyond any frame": (changed("polygons", height=32768, width=32768), "object 0: a frame of 32768x32768"),
    "RLE beyond any frame": (
        changed("compressed", annotation=[{"3": {"segmentation": {"size": [32768, 32768], "counts": [1 << 30]}}}]),
        "object 0: frame 3: RLE of 32768x32768",
    ),
    "dense mask": (
        changed("compressed", annotation=[{"3": {"segmentation": [[0, 1] * 40] * 48}}]),
        "object 0: frame 3: .* rows of a mask",
    ),
    "path of a mask": (changed("compressed", annotation=[{"3": {"segmentation": "3.npy"}}]), "'3.npy' is not a shape"),
    "relative polygon": (
        changed("polygons", annotation=[{"3": {"segmentation": [[0.1, 0.1, 0.9, 0.1, 0.5, 0.9]]}}]),
        "object 0: frame 3: .*width .*height",
    ),
    "box instead of a segmentation": (
        changed("compressed", annotation=[{"3": {"bbox": [1, 2, 3, 4], "area": 12}}]),
        r"object 0: frame 3: its keys are \['bbox', 'area'\]",
    ),
    "misspelt segmentation": (
        changed("compressed", annotation=[{"1": compressed(0, 0), "3": {"segmentatoin": [[1, 1, 5, 1, 5, 5]]}}]),
        r"object 0: frame 3: its keys are \['segmentatoin'\]",
    ),
    "frames under a time": (
        changed("compressed", annotation=[{"time:0.5": {"3": {"box": [1, 2, 30, 40]}}}]),
        r"object 0: time 0.5 s: its keys are \['3'\]",
    ),
    "frames under a name": (changed("compressed", annotation=[{"dog": {"3": compressed(0, 0)}}]), "has frame 'dog'"),
    "times under a frame": (
        changed("compressed", annotation=[{"0": {"time:0.5": {"box": [1, 2, 30, 40]}}}]),
        r"object 0: frame 0: its keys are \['time:0.5'\]",
    ),
    "frame twice in the file": (
        changed("compressed", annotation=[{"3": compressed(0, 0), 3: None}]),  # both are "3" in JSON
        "one object has the key '3' twice",
    ),
    "Arabic digits as a frame": (
        changed("compressed", annotation=[{"\u0663": compressed(0, 0)}]),
        "has frame '\u0663'",
    ),
    "height of truth": (changed("compressed", height=True), "its height is True"),
    "half a character in a question": (changed("text", conversations=turns("A\ud83d?", "B")), r"turn 0 .*'\\ud83d'"),
    "half a character in an answer": (
        changed("text", conversations=turns("A?", "\ude00")),
        r"turn 1 .*lone surrogate",
    ),
    "half a character in an id": (changed("text", id="a\udfff"), r"id cannot be read: character 1 is '\\udfff'"),
    "half a character in a path": (changed("compressed", video="a\ud800.mp4"), r"its video is not there: .*\\ud800"),
    "half a character in an RLE": (
        changed("compressed", annotation=[{"3": {"segmentation": {"size": [48, 80], "counts": "\ud800"}}}]),
        "object 0: frame 3: RLE counts hold the byte",
    ),
    "half a character in a frame": (changed("compressed", annotation=[{"3\ud800": None}]), r"has frame '3\\ud800'"),
    "NUL in a path": (changed("compressed", video="a\0.mp4"), r"its video is not there: .*a\\x00\.mp4"),
    "unknown shape": (
        changed("compressed", annotation=[{"3": {"box": [1, 2, 30, 40], "score": 1}}]),
        "object 0: frame 3 has the key 'score' beside 'box'",
    ),
    "time beyond the end": (
        changed("compressed", annotation=[{"time:99": {"box": [1, 2, 30, 40]}}]),
        "object 0: .*99 s",
    ),
    "time of an image": (
        changed("image", annotation=[{"time:0": {"box": [1, 2, 30, 40]}}]),
        "an image has only frame 0",
    ),
    "time twice": (
        changed("compressed", annotation=[{"0": compressed(0, 0), "time:0": {"box": [1, 2, 30, 40]}}]),
        "object 0: time 0 s and frame 0 both fall on frame 0",
    ),
    "only points beside the object": (
        changed("compressed", annotation=[{"3": {"points": [[1, 2]], "labels": [0]}}]),
        "object 0 has no pixel",
    ),
    "height of nothing": (changed("compressed", height=0), "its height is 0"),
    "height in words": (changed("compressed", height="48"), "its height is '48'"),
}


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
def test_records_take_the_json_form_of_regions(media, kind):
    seconds = float(vr.open_video(media / "clips" / "a.mp4").timestamps[5])
    shapes = {
        "3": {"box": [4, 4, 24, 24]},
        "4": {"segmentation": None},
        f"time:{seconds}": {"points": [[14, 14]], "radius": 5},
        "7": {"scribble": [[1, 1], [40, 40]]},
    }
    value = changed("compressed", annotation=[shapes], height=HEIGHT // 2, width=WIDTH // 2)
    path = WRITERS[kind](media / f"shapes.{kind}", [value])
    (region,) = VideoReferDataset(path, mode="multi")[0]["regions"]
    assert region.order == (3, 4, 7, 5)
    assert region.is_absent(4)
    # They were drawn on frames of half the size.
    np.testing.assert_array_equal(region.mask(3, HEIGHT, WIDTH), box_mask(8, 8, side=40))
    report = check_data(path, deep=True)
    assert report.bad == []
    assert {form: count for form, count in report.segmentations.items() if count} == {
        "box": 1,
        "null": 1,
        "points": 1,
        "scribble": 1,
    }


@pytest.mark.spread(19)
@pytest.mark.parametrize("name", BAD)
def test_bad_records_are_told_with_line_and_reason(media, name):
    value, reason = BAD[name]
    path = write_jsonl(media / "bad.jsonl", [all_kinds()["text"], value, all_kinds()["image"]])
    report = check_data(path)
    assert (report.records, [bad.line for bad in report.bad]) == (3, [2])
    assert re.search(reason, report.bad[0].reason), report.bad[0].reason
    assert [bad.line for bad in check_data(path, deep=True).bad] == [2]
    with pytest.raises(RecordError, match=r"bad\.jsonl, line 2: .*train check .*on_bad_sample='skip'"):
        VideoReferDataset(path)
    kept = VideoReferDataset(path, on_bad_sample="skip")
    assert [item["record"].line for item in items(kept)] == [1, 3]
    assert [f"line 2: {report.bad[0].reason}" in reason for reason in kept.skipped] == [True]


def test_a_line_that_is_no_json_is_one_bad_record(media):
    path = media / "broken.jsonl"
    bad = [b'{"a": ', b"\xff\xfe", b"[" * 100_000, b'{"id": 1' + b"0" * 5000 + b"}"]
    path.write_bytes(b"\n".join([json.dumps(all_kinds()["text"]).encode(), *bad]))
    assert [(bad.line, bad.reason.split("(")[0]) for bad in check_data(path).bad] == [
        (line, "there is no JSON in the line ") for line in (2, 3, 4, 5)
    ]


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("length", [0, 1_500_000])  # of less and of more than is read of a file at once
def test_a_key_that_stands_twice_is_one_bad_record(media, kind, length):
    twice = {"3": {**compressed(0, 0), "note": " " * length}, 3: None}  # both are "3" in JSON
    records = [all_kinds()["text"], changed("compressed", annotation=[twice]), all_kinds()["image"]]
    path = WRITERS[kind](media / f"twice.{kind}", records)
    (bad,) = check_data(path).bad
    assert bad.reason == "one object has the key '3' twice: keep one"
    kept = VideoReferDataset(path, on_bad_sample="skip")
    assert [item["kind"] for item in items(kept)] == ["text", "image"]
    place = f"{path}, {'row' if kind == 'parquet' else 'line'} {bad.line}"
    assert kept.skipped[0] in (f"{place}: {bad.reason}", f"{place}: record 2: {bad.reason}")


def test_a_column_that_is_no_json_is_one_bad_record(media):
    import pyarrow
    import pyarrow.parquet

    rows = [{"conversations": json.dumps(turns("A?", "B"))}, {"conversations": "{"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), media / "broken.parquet")
    report = check_data(media / "broken.parquet")
    assert (report.unit, report.records, [bad.line for bad in report.bad]) == ("row", 2, [2])
    with pytest.raises(RecordError, match=r"broken\.parquet, row 2: "):
        VideoReferDataset(media / "broken.parquet")
    half = pyarrow.array([b"\xed\xa0\x80"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"id": half}), media / "half.parquet")
    with pytest.raises(RecordError, match=r"half\.parquet, row 1 to 1: a column cannot be read"):
        check_data(media / "half.parquet")


def test_media_are_looked_for_from_the_media_root(data, media, tmp_path):
    moved = tmp_path / "elsewhere.json"
    moved.write_bytes(data.read_bytes())
    assert len(check_data(moved).bad) == len(KINDS) - 1  # all but text
    assert not check_data(moved, media_root=media).bad
    dataset = VideoReferDataset(DataSource(moved, media_root=media))
    assert dataset[0]["visual"] == str(media / "clips" / "a.mp4")
    assert items(VideoReferDataset(moved, media_root=media))[4]["visual"] == str(media / "images" / "c.png")
    record = parse_record(changed("compressed", video=str(media / "clips" / "b.mp4")), "other/d.json", 1)
    assert record.video == str(media / "clips" / "b.mp4")


def test_unknown_keys_are_counted(data):
    assert check_data(data).unknown_keys == {"ratio": 1, "frame_idx": 1}
    assert parse_record(all_kinds()["one level deeper"]).unknown == ("frame_idx",)


def test_the_placeholder_goes_to_the_head_of_its_message():
    record = parse_record(all_kinds()["regions in several turns"])
    assert record.messages[0] == {"role": "user", "content": "<video>\nWhat is <region>?"}
    assert record.conversations[0]["content"] == "What is <region>?\n<video>"
    assert parse_record(all_kinds()["first stage"]).messages[0]["content"] == "<image>"


def test_objects_one_level_deeper_are_found():
    (region,) = parse_record(all_kinds()["one level deeper"]).regions()
    assert region.frames == (2, 4)
    assert region.mask(4, HEIGHT, WIDTH).sum() == 400


@pytest.mark.parametrize("segmentation", [compressed(20, 8), run_lengths(20, 8), run_lengths(0, 0), polygon(20, 8)])
def test_masks_follow_videos_that_were_scaled(segmentation):
    record = parse_record(changed("polygons", annotation=[{"3": segmentation}]))
    (region,) = record.regions()
    drawn = region.mask(3, HEIGHT, WIDTH)
    assert drawn.sum() == 400
    assert np.array_equal(region.mask(3, 2 * HEIGHT, 2 * WIDTH), drawn.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(region.mask(3, HEIGHT // 2, WIDTH // 2), drawn[::2, ::2])
    with pytest.raises(RegionError, match=r"48 x 80 .*but the frames of the video have 80 x 48"):
        region.mask(3, WIDTH, HEIGHT)


def test_scaling_loses_no_object():
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[5, 7] = True
    record = parse_record(changed("polygons", annotation=[{"3": {"segmentation": vr.regions.encode_rle(mask)}}]))
    (region,) = record.regions()
    assert np.argwhere(region.mask(3, 12, 20)).tolist() == [[1, 1]]


def test_polygons_without_height_and_width_are_drawn_on_the_video(data):
    (region,) = VideoReferDataset(data)[PLACE["polygons without size"]]["regions"]
    assert np.array_equal(region.mask(3, HEIGHT, WIDTH), box_mask(50, 20))
    assert region.mask(3, 2 * HEIGHT, 2 * WIDTH).sum() == 400  # in pixels of whatever the video has


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (changed("compressed", annotation=[{"11": compressed(0, 0), "12": compressed(0, 0)}]), "frame 12, .*has 12"),
        (changed("image", image="clips/a.mp4"), "cannot be read as an image"),
        (changed("video without objects", video="images/c.png"), "is a single image"),
        (changed("polygons without size", annotation=[{"3": polygon(500, 500)}]), "no pixel"),
        (
            changed("compressed", annotation=[{"1": {"segmentation": vr.regions.encode_rle(np.ones((80, 48)))}}]),
            "same proportions",
        ),
    ],
)
def test_a_deep_check_finds_what_only_the_media_tell(media, value, reason):
    path = write_jsonl(media / "deep.jsonl", [value])
    assert not check_data(path).bad
    (bad,) = check_data(path, deep=True).bad
    assert re.search(reason, bad.reason), bad.reason


def test_a_deep_check_passes_all_kinds(data):
    report = check_data(data, deep=True)
    assert (report.records, report.bad, report.deep) == (len(KINDS), [], True)


def test_a_cut_off_video_fails_the_deep_check(media):
    path = media / "clips" / "cut.mp4"
    whole = (media / "clips" / "a.mp4").read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    data = write_jsonl(media / "cut.jsonl", [changed("compressed", video="clips/cut.mp4")])
    assert not check_data(data).bad
    assert len(check_data(data, deep=True).bad) == 1


# --- the report ------------------------------------------------------------------------------------------------------


def test_the_report_counts_everything(data):
    report = check_data(data)
    assert report.records == 12
    assert report.kinds == {"video": 9, "image": 2, "text": 1}
    assert (report.with_regions, report.without_regions) == (9, 3)
    assert (report.single_frame, report.multi_frame) == (2, 7)
    assert (report.turns, report.objects, report.masks) == (16, 13, 25)
    assert report.segmentations == {
        "compressed RLE": 20,
        "run lengths": 2,
        "polygons": 3,
        "null": 2,
        "missing": 1,
    }
    assert json.loads(json.dumps(report.to_dict()))["objects"] == 13


def test_progress_and_interruption(data):
    seen = []
    check_data(data, progress=lambda done, total: seen.append(done / total))
    assert len(seen) == len(KINDS)
    assert seen == sorted(seen)
    assert 0.98 < seen[-1] <= 1

    def interrupt(done, total):
        if done > total / 2:
            os.kill(os.getpid(), signal.SIGINT)

    # Started in the background of a shell, Python leaves the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        report = check_data(data, progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert report.interrupted
    assert 0 < report.records < len(KINDS)


def run_cli(*arguments):
    return CliRunner().invoke(app, ["train", "check", *map(str, arguments)], env={"COLUMNS": "200"})


def test_the_command_prints_a_table(data):
    result = run_cli(data, "--deep")
    assert result.exit_code == 0, result.output
    counts = dict(re.findall(r"│ (.*?) +│ +(\d+) │", result.stdout))
    assert (counts["records"], counts["bad"], counts["objects in several frames"]) == ("12", "0", "7")
    assert counts["ignored key 'ratio'"] == "1"


def test_the_command_fails_with_a_table_of_bad_records(media):
    path = write_jsonl(media / "some bad.jsonl", [all_kinds()["text"], changed("image", image="no[bold]ne.png")])
    result = run_cli(path)
    assert result.exit_code == 1
    assert re.search(r"│ +2 │ 4 +│ its image is not there: .*no\[bold\]ne\.png", result.stdout)
    report = json.loads(run_cli(path, "--json").stdout)
    assert report["bad"][0]["line"] == 2
    assert run_cli(path, "--json").exit_code == 1


def test_the_command_names_a_file_that_it_cannot_read(tmp_path):
    result = run_cli(tmp_path / "none.json")
    assert result.exit_code == 1
    assert "none.json is not there" in result.stderr.replace("\n", "")
    assert not isinstance(result.exception, RecordError)


def test_the_command_in_a_process_of_its_own(data):
    """With an option for another folder, and without loading what only models need."""
    code = (
        "import sys; from videorefer_plugin.cli import app\n"
        "try: app()\n"
        "finally: print(sorted({'torch', 'transformers'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "train", "check", str(data), "--media-root", str(data.parent), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SOURCE)})
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["records"] == len(KINDS)
    assert result.stderr.strip().endswith("[]")


# --- the data set ----------------------------------------------------------------------------------------------------


def test_items_are_light(data, media):
    dataset = VideoReferDataset(data, mode="multi")
    for name, item in zip(KINDS, items(dataset), strict=True):
        assert set(item) == {"record", "messages", "visual", "kind", "regions", "mode", "index"}
        assert len(pickle.dumps(item)) < 10_000, name
        assert item["index"] == PLACE[name]
    assert dataset.modalities == [item["kind"] for item in items(dataset)]
    assert Counter(dataset.modalities) == {"video": 9, "image": 2, "text": 1}
    assert [len(item["regions"]) for item in items(dataset)] == [1, 2, 1, 1, 1, 0, 0, 0, 2, 3, 1, 1]
    assert dataset[-1]["index"] == len(dataset) - 1
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_lengths_are_near_the_truth(data, collator):
    processor = collator.processor
    batch = collator(items(VideoReferDataset(data, mode="multi")))
    visual = int((batch["input_ids"][0] == processor.video_token_id).sum())
    lengths = VideoReferDataset(data, mode="multi", visual_tokens=visual).lengths
    true = batch["attention_mask"].sum(dim=1).tolist()
    # The tiny tokenizer knows few words and makes up to a token of every character.
    assert all(found < real < 4 * found for found, real in zip(lengths, true, strict=True)), (lengths, true)
    assert lengths.index(min(lengths)) == PLACE["text"]


def test_single_mode_takes_a_frame_with_all_objects(data):
    dataset = VideoReferDataset(data, mode="single")
    frames = {name: set() for name in KINDS}
    for epoch in range(60):
        dataset.set_epoch(epoch)
        for name, item in zip(KINDS, items(dataset), strict=True):
            assert item["mode"] == "single"
            assert all(len(region.frames) == 1 for region in item["regions"])
            frames[name].add(tuple(region.frames[0] for region in item["regions"]))
    assert frames["compressed"] == {(frame,) for frame in (0, 2, 5, 7, 9, 11)}
    assert frames["two objects"] == {(8, 8)}
    assert frames["never together"] == {(0, 9), (1, 9)}
    assert frames["one level deeper"] == {(2,), (4,)}
    assert frames["image"] == {(0,)}
    assert frames["text"] == {()}


def test_multi_mode_takes_all_frames_or_some_evenly(data):
    (region,) = VideoReferDataset(data, mode="multi")[0]["regions"]
    assert region.frames == (0, 2, 5, 7, 9, 11)
    limited = VideoReferDataset(data, mode="multi", max_frames_per_region=3)
    assert limited[0]["regions"][0].frames == (2, 7, 9)
    assert limited[PLACE["two objects"]]["regions"][0].frames == (1, 4, 8)
    tight = VideoReferDataset(data, mode="multi", max_frames_per_region=1)
    assert tight[PLACE["two objects"]]["regions"][1].frames == (8,)  # the only one in which the object is seen


@settings(max_examples=40, deadline=None)
@given(many=st.integers(0, 13), one=st.integers(0, 4), seed=st.integers(0, 2**63), epoch=st.integers(0, 1000))
def test_half_of_the_records_are_single(tmp_path_factory, many, one, seed, epoch):
    folder = tmp_path_factory.mktemp("mixing")
    (folder / "clips").mkdir()
    (folder / "clips" / "a.mp4").touch()  # nothing is decoded
    records = [changed("compressed", id=number) for number in range(many)]
    records += [changed("polygons without size", id=number) for number in range(one)]
    random.Random(seed).shuffle(records)
    records.append(all_kinds()["text"])
    path = write_jsonl(folder / "data.jsonl", records)
    dataset = VideoReferDataset(path, seed=seed)
    dataset.set_epoch(epoch)
    choice = [len(record.get("annotation", [{}])[0]) > 1 for record in records]
    single = [mode for mode, has_choice in zip(dataset.modes, choice, strict=True) if has_choice]
    assert Counter(single) == {k: v for k, v in (("single", many // 2), ("multi", many - many // 2)) if v}
    for item, mode, has_choice in zip(items(dataset), dataset.modes, choice, strict=True):
        assert item["mode"] == mode
        if has_choice:
            assert len(item["regions"][0].frames) == (1 if mode == "single" else 6)
        else:
            assert mode == "multi"
    again = VideoReferDataset(path, seed=seed)
    again.set_epoch(epoch + 1)
    again.set_epoch(epoch)
    assert again.modes == dataset.modes
    assert [item["regions"] for item in items(again)] == [item["regions"] for item in items(dataset)]


def test_choices_differ_by_epoch_and_seed(media):
    path = write_jsonl(media / "many.jsonl", [changed("compressed", id="same") for _ in range(40)])
    dataset = VideoReferDataset(path)
    modes, frames = [dataset.modes], [[item["regions"][0].frames for item in items(dataset)]]
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        modes.append(dataset.modes)
        frames.append([item["regions"][0].frames for item in items(dataset)])
    modes.append(VideoReferDataset(path, seed=1).modes)
    assert len(set(map(tuple, modes))) == 4
    assert len({frames[0][place] for place, mode in enumerate(modes[0]) if mode == "single"}) > 1  # not one for all
    assert len(set(map(tuple, frames))) == 3


def test_several_files_with_limits_and_weights(media):
    for name in ("text", "image", "compressed"):
        write_jsonl(media / f"part {name}.jsonl", [changed(name, id=number) for number in range(8)])
    sources = [
        DataSource(media / "part text.jsonl", limit=3),
        DataSource(media / "part image.jsonl", weight=2.5),
        DataSource(media / "part compressed.jsonl", limit=6, weight=0.5),
    ]
    dataset = VideoReferDataset(sources)
    ids = [item["record"].id for item in items(dataset)]
    assert dataset.modalities == ["text"] * 3 + ["image"] * 20 + ["video"] * 3
    assert len(set(ids[:3])) == len(set(ids[23:])) == 3
    assert sorted(Counter(ids[3:23]).values()) == [2] * 4 + [3] * 4
    assert [item["record"].id for item in items(VideoReferDataset(sources))] == ids
    other = [item["record"].id for item in items(VideoReferDataset(sources, seed=1))]
    assert other != ids
    plain = VideoReferDataset([media / "part text.jsonl", str(media / "part image.jsonl")])
    assert len(plain) == 16


def test_a_part_of_a_weight_is_drawn_anew_every_epoch(media):
    path = write_jsonl(media / "half.jsonl", [changed("text", id=number) for number in range(20)])
    dataset, other = (VideoReferDataset(DataSource(path, limit=12, weight=1.5)) for _ in range(2))
    epochs, limited = [], set()
    for epoch in range(3):
        dataset.set_epoch(epoch)
        other.set_epoch(2 - epoch)  # epochs do not depend on those before
        ids = [item["record"].id for item in items(dataset)]
        assert len(ids) == len(dataset) == 18
        assert set(Counter(ids).values()) == {1, 2}
        limited.add(frozenset(ids))
        epochs.append((ids, [item["record"].id for item in items(other)]))
    assert len(limited) == 1
    assert len({tuple(sorted(ids)) for ids, _ in epochs}) == 3
    assert [ids for ids, _ in epochs] == [ids for _, ids in reversed(epochs)]
    numbers = {item["index"]: item["record"].id for item in items(dataset.whole())}
    assert len(numbers) == 24
    assert all(numbers[item["index"]] == item["record"].id for item in items(dataset))


def test_copies_of_a_record_choose_for_themselves(media):
    path = write_jsonl(media / "one.jsonl", [all_kinds()["compressed"]])
    dataset = VideoReferDataset(DataSource(path, weight=20))
    assert Counter(dataset.modes) == {"single": 10, "multi": 10}
    single = [item["regions"][0].frames for item in items(dataset) if item["mode"] == "single"]
    assert len(set(single)) > 1


def test_bad_records_are_left_out_counted_and_never_replaced(media, caplog):
    names = ["text", "compressed", "image", "polygons"]
    records = [all_kinds()[name] for name in names]
    records[1:1] = [value for value, _ in list(BAD.values())[:7]]
    path = write_jsonl(media / "skip.jsonl", records)
    dataset = VideoReferDataset(path, on_bad_sample="skip")
    assert [item["record"].id for item in items(dataset)] == [str(all_kinds()[name]["id"]) for name in names]
    assert [int(re.search(r"line (\d+)", reason)[1]) for reason in dataset.skipped] == [2, 3, 4, 5, 6, 7, 8]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("7 bad record(s) were left out, 4 are used:")
    assert "and 2 more" in message
    with pytest.raises(RecordError, match=r"No record is left to train on: 1 were bad, the first: .*line 1"):
        VideoReferDataset(write_jsonl(media / "all bad.jsonl", [1]), on_bad_sample="skip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "both"}, "mode is 'both'; expected one of 'single', 'multi', 'mixed'"),
        ({"on_bad_sample": "ignore"}, "expected one of 'error', 'skip'"),
        ({"max_frames_per_region": 0}, "max_frames_per_region is 0"),
        ({"data": []}, "data is empty"),
        ({"data": 3}, "data must be a list of files"),
        ({"data": DataSource("x", limit=0)}, "limit is 0"),
        ({"data": DataSource("x", weight=-1)}, "weight is -1"),
        ({"data": DataSource("x", weight=float("nan"))}, "weight is nan"),
        ({"data": DataSource("x", weight=1e9)}, "at most 1000"),
        ({"data": DataSource("x", weight="2")}, "weight is '2'"),
    ],
)
def test_settings_that_make_no_sense(data, change, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        VideoReferDataset(**{"data": data, **change})


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden(tmp_path_factory, visuals):
    """The reference batch as a file of records, with its media as pictures, which lose nothing."""
    folder = tmp_path_factory.mktemp("golden")
    batch = json.loads((TINY / "train_batch_mixed.json").read_text())
    for name in ("vid_a", "vid_b"):
        (folder / name).mkdir()
        for number, frame in enumerate(visuals[f"{name}.frames"].numpy()):
            Image.fromarray(frame).save(folder / name / f"{number:03}.png")
    Image.fromarray(visuals["img_c.frames"][0].numpy()).save(folder / "img_c.png")
    path = write_json(folder / "batch.json", batch["samples"])
    return batch, path, load_file(TINY / "train_batch_mixed.safetensors")


def test_the_reference_batch(golden, processor, model):
    from videorefer_plugin.models.videollama2.loading import rename_original

    reference, path, tensors = golden
    collator = VideoReferCollator(processor, mask_policy="original")
    batch = collator(items(VideoReferDataset(path, mode="multi")))
    length = batch["input_ids"].shape[1]
    assert torch.equal(batch["labels"], tensors["spliced_labels"][:, :length])
    assert torch.equal(batch["attention_mask"], tensors["spliced_attention_mask"][:, :length])
    assert not tensors["spliced_attention_mask"][:, length:].any()
    assert int((batch["labels"] != -100).sum()) == reference["num_supervised_tokens"]
    loss = model(**batch).loss
    loss.backward()
    assert loss.item() == pytest.approx(reference["loss"], rel=1e-5)
    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters() if "tower" not in name}
    expected = {rename_original(name): norm for name, norm in reference["grad_norms"].items()}
    assert norms == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_every_answer_is_learnt_and_nothing_else(data, collator):
    batch = collator(items(VideoReferDataset(data)))
    for row, record in enumerate(all_kinds().values()):
        answers = [turn["value"] for turn in record["conversations"] if turn["from"] == "gpt"]
        assert learnt(collator, batch, row) == "".join(f"{answer}<|im_end|>\n" for answer in answers)
    known = batch["labels"] != -100
    assert torch.equal(batch["labels"][known], batch["input_ids"][known])
    assert not known[batch["attention_mask"] == 0].any()
    assert (batch["attention_mask"].diff(dim=1) <= 0).all()  # padding goes to the right


def test_questions_are_asked_as_the_model_will_be_asked(data, collator, processor):
    item = VideoReferDataset(data, mode="multi")[0]
    asked = processor.apply_chat_template(item["messages"][:1], regions=item["regions"], add_generation_prompt=True)
    expected = processor(text=asked, videos=item["visual"], regions=item["regions"], return_tensors="pt")
    batch = collator([item])
    length = expected["input_ids"].shape[1]
    assert torch.equal(batch["input_ids"][:, :length], expected["input_ids"])
    assert (batch["labels"][:, :length] == -100).all()
    assert batch["labels"][0, length] != -100


def test_regions_in_answers_are_not_learnt(media, collator):
    record = changed("compressed", conversations=turns("<video>\nWhere is the dog?", "Here: <region>, see?"))
    path = write_jsonl(media / "answer.jsonl", [record])
    batch = collator(items(VideoReferDataset(path, mode="multi")))
    assert learnt(collator, batch) == "Here: , see?<|im_end|>\n"


def test_plain_batches_learn_all_but_the_placeholder(data, processor):
    collator = VideoReferCollator(processor, template="plain")
    dataset = VideoReferDataset(data)
    batch = collator([dataset[PLACE["first stage"]], dataset[PLACE["image"]]])
    assert learnt(collator, batch) == " a texture below black and white bars"
    assert learnt(collator, batch, 1) == "\nWhat colour is ? Blue."
    assert batch["input_ids"][0, 0] == processor.image_token_id
    with pytest.raises(RecordError, match=r"data\.json, line \d+: .*4 messages, but the plain template takes one"):
        collator([dataset[PLACE["text"]]])


@pytest.mark.parametrize("names", [["text"], ["image", "text"], ["text", "compressed", "image", "two objects"]])
def test_a_batch_is_its_records_side_by_side(data, collator, names, model):
    dataset = VideoReferDataset(data)
    samples = [dataset[PLACE[name]] for name in names]
    together, alone = collator(samples), [collator([sample]) for sample in samples]
    for row, one in enumerate(alone):
        length = one["input_ids"].shape[1]
        assert torch.equal(together["input_ids"][row, :length], one["input_ids"][0])
        assert torch.equal(together["labels"][row, :length], one["labels"][0])
        assert (together["labels"][row, length:] == -100).all()
    with torch.no_grad():
        counts = [int((one["labels"][:, 1:] != -100).sum()) for one in alone]
        losses = [model(**one).loss.item() for one in alone]
        mean = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
        assert model(**together).loss.item() == pytest.approx(mean, rel=1e-5)


def test_settings_reach_the_processor(data, processor):
    sample = VideoReferDataset(data, mode="multi")[0]
    batch = VideoReferCollator(processor, num_frames=4, max_frames_per_region=2)([sample])
    assert batch["pixel_values_videos"].shape[:2] == (1, 4)
    assert batch["region_lengths"].tolist() == [[2]]
    absent = VideoReferDataset(data, mode="multi")[PLACE["two objects"]]
    assert VideoReferCollator(processor)([absent])["region_lengths"].tolist() == [[2, 1]]
    assert VideoReferCollator(processor, mask_policy="original")([absent])["region_lengths"].tolist() == [[3, 3]]
    with pytest.raises(ConfigurationError, match="Unknown mask_policy 'none'"):
        VideoReferCollator(processor, mask_policy="none")([sample])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"template": "llama"}, "template is 'llama'"), ({"on_bad_sample": "x"}, "'x'"), ({"max_length": 0}, "is 0")],
)
def test_settings_of_the_collator(processor, change, message):
    with pytest.raises(ConfigurationError, match=message):
        VideoReferCollator(processor, **change)


def test_a_template_that_does_not_mark_answers_is_refused(processor):
    unmarked = copy.copy(processor)
    unmarked.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with pytest.raises(ConfigurationError, match="generation"):
        VideoReferCollator(unmarked)
    VideoReferCollator(unmarked, template="plain")


# --- length ----------------------------------------------------------------------------------------------------------


def first_turns(item, number, regions):
    return {**item, "messages": item["messages"][: 2 * number], "regions": item["regions"][:regions]}


def test_truncation_leaves_out_whole_turns(data, processor):
    """Exactly as if the record had ended there."""
    item = VideoReferDataset(data, mode="multi")[PLACE["regions in several turns"]]
    other = VideoReferDataset(data, mode="multi")[PLACE["text"]]
    plain = VideoReferCollator(processor)
    wholes = [plain([first_turns(item, number, regions)]) for number, regions in ((1, 1), (2, 3), (3, 3))]
    lengths = [whole["input_ids"].shape[1] for whole in wholes]
    assert lengths == sorted(set(lengths))
    for length in sorted({whole + near for whole in lengths for near in (-1, 0, 1)}):
        collator = VideoReferCollator(processor, max_length=length)
        if length < lengths[0]:
            with pytest.raises(
                RecordError, match=rf"data\.json, line \d+: .*first turn has {lengths[0]} tokens.*{length};"
            ):
                collator([item])
            continue
        turns_kept = sum(fits <= length for fits in lengths)
        assert same_batch(collator([item]), wholes[turns_kept - 1])
        assert collator.truncated_turns == 3 - turns_kept
    beside = VideoReferCollator(processor, max_length=lengths[1])
    regions = {1: 1, 2: 3}
    assert same_batch(beside([other, item, other]), plain([other, first_turns(item, 2, regions[2]), other]))
    assert beside.truncated_turns == 1
    beside([item])
    assert beside.truncated_turns == 2


def test_truncation_keeps_the_regions_of_the_other_records(data, processor):
    dataset = VideoReferDataset(data, mode="multi")
    item, others = dataset[PLACE["regions in several turns"]], [dataset[PLACE["two objects"]], dataset[PLACE["image"]]]
    plain = VideoReferCollator(processor)
    limit = plain([first_turns(item, 1, 1)])["input_ids"].shape[1]
    limit = max(limit, plain(others)["input_ids"].shape[1])
    collator = VideoReferCollator(processor, max_length=limit)
    expected = plain([others[0], first_turns(item, 1, 1), others[1]])
    assert same_batch(collator([others[0], item, others[1]]), expected)


def test_truncation_to_no_region_at_all(media, processor):
    record = changed("compressed", conversations=turns("<video>\nWhat happens?", "A.", "And <region>?", "B."))
    item = VideoReferDataset(write_jsonl(media / "late.jsonl", [record]), mode="multi")[0]
    plain = VideoReferCollator(processor)
    expected = plain([first_turns(item, 1, 0)])
    found = VideoReferCollator(processor, max_length=expected["input_ids"].shape[1])([item])
    assert same_batch(found, expected)


def test_a_visual_is_not_cut_off(media, processor):
    record = changed("first stage", conversations=turns("Hello?", "Hi.", "<image>\nWhat is it?", "Bars."))
    item = VideoReferDataset(write_jsonl(media / "late visual.jsonl", [record]))[0]
    length = VideoReferCollator(processor)([item])["input_ids"].shape[1]
    with pytest.raises(RecordError, match=r"line 1: only 1 of its turns fit .*visual stands in a later one"):
        VideoReferCollator(processor, max_length=length - 1)([item])


# --- records that turn out unusable ----------------------------------------------------------------------------------


@pytest.fixture
def partly_broken(media):
    (media / "clips" / "broken.mp4").write_bytes(b"no video at all" * 100)
    records = [
        all_kinds()["compressed"],
        changed("video without objects", video="clips/broken.mp4"),
        all_kinds()["text"],
        changed("polygons", annotation=[{"99": polygon(0, 0)}]),
    ]
    return VideoReferDataset(write_jsonl(media / "partly broken.jsonl", records), mode="multi")


def test_an_unreadable_record_stops_training(partly_broken, collator):
    with pytest.raises(RecordError, match=r"partly broken\.jsonl, line 2: .*broken\.mp4.* cannot be opened"):
        collator(items(partly_broken))
    with pytest.raises(RecordError, match=r"line 4: region 0: it lies on frame 99, but .*12 frame"):
        collator([partly_broken[0], partly_broken[3]])


def test_an_unreadable_record_is_left_out_of_its_batch(partly_broken, processor, caplog):
    collator = VideoReferCollator(processor, on_bad_sample="skip")
    found = collator(items(partly_broken))
    messages = [record.getMessage() for record in caplog.records if "left out of its batch" in record.getMessage()]
    assert same_batch(found, VideoReferCollator(processor)([partly_broken[0], partly_broken[2]]))
    assert collator.dropped_records == 2
    assert [int(re.search(r"jsonl, line (\d+): ", message)[1]) for message in messages] == [2, 4]
    with pytest.raises(RecordError, match=r"None of the 2 record\(s\) of a batch can be used, the first: .*line 2"):
        collator([partly_broken[1], partly_broken[3]])
    assert collator.dropped_records == 4
    with pytest.raises(RecordError, match="at least one record"):
        collator([])


def test_a_record_too_long_is_left_out_of_its_batch(data, processor):
    dataset = VideoReferDataset(data)
    short, long = dataset[PLACE["text"]], dataset[PLACE["compressed"]]
    plain = VideoReferCollator(processor)([short])
    collator = VideoReferCollator(processor, max_length=plain["input_ids"].shape[1], on_bad_sample="skip")
    assert same_batch(collator([long, short]), plain)
    assert (collator.dropped_records, collator.truncated_turns) == (1, 0)


# --- workers ---------------------------------------------------------------------------------------------------------


def test_workers_make_the_same_batches(data, processor):
    longest = 4 + max(
        VideoReferCollator(processor)([first_turns(item, 1, len(item["regions"]))])["input_ids"].shape[1]
        for item in items(VideoReferDataset(data))
        if item["record"].id != "9"
    )
    batches, truncated = {}, []
    for workers in (0, 2):
        dataset = VideoReferDataset(data)
        collator = VideoReferCollator(processor, max_length=longest)
        loader = DataLoader(
            dataset,
            batch_size=4,
            sampler=RandomSampler(dataset, generator=torch.Generator().manual_seed(0)),
            num_workers=workers,
            collate_fn=collator,
            persistent_workers=workers > 0,
        )
        batches[workers] = []
        for epoch in range(2):
            dataset.set_epoch(epoch)
            batches[workers] += list(loader)
        truncated.append(collator.truncated_turns)
        del loader
    assert truncated[0] == truncated[1] > 0
    assert len(batches[0]) == 6
    for found, expected in zip(batches[2], batches[0], strict=True):
        assert same_batch(found, expected)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed by Linux only")
def test_reading_leaves_nothing_for_a_fork_to_stumble_over(media):
    """Threads of a decoder that garbage collection stops crash a worker, which has the garbage but not the threads."""
    gc.collect()
    gc.disable()
    try:
        before = set(os.listdir("/proc/self/task"))
        assert len(vr.open_video(media / "clips" / "a.mp4").read([1, 5, 9])) == 3
        assert set(os.listdir("/proc/self/task")) <= before
    finally:
        gc.enable()


def test_a_worker_says_which_record_it_was(partly_broken, collator):
    with pytest.raises(RecordError, match="line 2: "):
        list(DataLoader(partly_broken, batch_size=4, num_workers=1, collate_fn=collator))


@pytest.mark.slow
def test_data_set_and_collator_can_be_pickled(data, collator):
    dataset = VideoReferDataset(data)
    copied, again = pickle.loads(pickle.dumps((dataset, collator)))
    assert same_batch(again(items(copied)), collator(items(dataset)))


def test_the_checkpoint_is_the_one_of_the_reference_batch(golden):
    assert json.loads((CHECKPOINT / "config.json").read_text())["num_frames"] == 8
    for sample in golden[0]["samples"]:
        check_record(parse_record(sample, str(golden[1]), 1))
