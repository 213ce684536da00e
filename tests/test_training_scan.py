"""Scans of record files that are kept beside them: quick starts that find the same as a first one."""

import json
import logging
import multiprocessing
import os
import resource
import shutil
from pathlib import Path

import pytest

from tests.training_data import WRITERS, all_kinds, compressed, turns, write_json, write_jsonl, write_media
from videorefer_plugin.errors import RecordError
from videorefer_plugin.training import DataSource, VideoReferDataset

GOOD = list(all_kinds().values())
BAD = {
    "no object": {"conversations": turns("What?", "That.")} | {"id": "x", "annotation": "none"},
    "no pixel": {**all_kinds()["compressed"], "annotation": [{"3": {"segmentation": None}}]},
    "no such media": {**all_kinds()["image"], "image": "images/none.png"},
    "no such time": {**all_kinds()["compressed"], "annotation": [{"time:99": {"box": [1, 2, 30, 40]}}]},
    "damaged mask": {**all_kinds()["compressed"], "annotation": [{"0": {"segmentation": {"size": [1, 2]}}}]},
}
TIMED = {**all_kinds()["compressed"], "annotation": [{"0": compressed(3, 3), "time:0.4": {"box": [1, 2, 30, 40]}}]}


@pytest.fixture
def media(tmp_path):
    return write_media(tmp_path / "media")


@pytest.fixture
def log(caplog):
    """What the log says about scans, since it was last asked."""
    caplog.set_level(logging.INFO, "videorefer_plugin.training.scan")

    def said():
        text = " ".join(record.getMessage() for record in caplog.records if record.name.endswith("training.scan"))
        caplog.clear()
        return text

    return said


def found(path, **settings):
    """All that a data set makes of a file."""
    try:
        dataset = VideoReferDataset(path, **{"on_bad_sample": "skip", **settings})
    except RecordError as error:
        return str(error)
    items = [dataset[index] for index in range(len(dataset))]
    records = [item.pop("record") for item in items]
    return dataset.skipped, dataset.modes, dataset.lengths, dataset.modalities, items, records


def scan_of(path):
    return Path(f"{path}.scan")


@pytest.mark.spread(2)
@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "settings", [{}, {"on_bad_sample": "error"}, {"max_tokens_per_region": 1}, {"mode": "single"}]
)
def test_a_second_start_finds_the_same_as_the_first(media, log, kind, settings):
    path = WRITERS[kind](media / f"data.{kind}", [GOOD[0], TIMED, *GOOD])
    first = found(path, **settings)
    assert "is kept in" in log()
    assert scan_of(path).is_file()
    assert found(path, **settings) == first == found(path, keep_scan=False, **settings)
    assert "is taken from" in log()


@pytest.mark.parametrize("kind", WRITERS)
def test_bad_records_are_found_in_the_same_words(media, log, kind):
    records = [record for pair in zip(BAD.values(), GOOD, strict=False) for record in pair]
    if kind == "parquet":  # a column has one type
        records = [record for record in records if record is not BAD["no object"]]
    path = WRITERS[kind](media / f"data.{kind}", records)
    first, strictly = found(path), found(path, on_bad_sample="error")
    assert len(first[0]) == len(records) // 2
    assert isinstance(strictly, str)
    log()
    assert (found(path), found(path, on_bad_sample="error")) == (first, strictly)
    assert log().count("is taken from") == 2
    assert (found(path, keep_scan=False), found(path, on_bad_sample="error", keep_scan=False)) == (first, strictly)


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "line", ['{"id": 1, "id": 2}', "{", "17", "null", '"\\ud800"', '{"id": "\\ud800"}', "[" * 100_000, "\x00"]
)
def test_lines_that_are_no_records_are_found_in_the_same_words(media, line):
    path = media / "lines.jsonl"
    path.write_text(f"{json.dumps(GOOD[0])}\n\n{line}\n{json.dumps(GOOD[6])}\n")
    first = found(path)
    assert len(first[0]) == 1
    assert "line 3" in first[0][0]
    assert scan_of(path).is_file()
    assert found(path) == first
    assert found(path, on_bad_sample="error") == found(path, on_bad_sample="error", keep_scan=False)


def test_a_file_that_breaks_off_has_no_scan(media):
    path = media / "broken.json"
    path.write_text(f"[{json.dumps(GOOD[0])}, {json.dumps(GOOD[1])[:-3]}")
    assert found(path) == found(path) != ()
    assert not scan_of(path).exists()
    path.write_text("[]")
    assert found(path) == found(path) == found(path, keep_scan=False)
    assert "No record is left" in found(path)


def test_media_are_looked_up_at_every_start(media, log):
    path = write_json(media / "data.json", GOOD)
    before = found(path)
    clip = media / "clips" / "b.mp4"
    clip.rename(media / "moved.mp4")
    without = found(path)
    assert "is taken from" in log()
    assert without == found(path, keep_scan=False) != before
    assert all("is not there" in reason for reason in without[0])
    scan_of(path).unlink()
    assert found(path) == without  # and what is kept now does not take the clip for lost
    (media / "moved.mp4").rename(clip)
    assert found(path) == before


def test_one_scan_serves_every_media_root(media, tmp_path, log):
    records = write_json(tmp_path / "records.json", GOOD)
    assert "is not there" in found(records, on_bad_sample="error")
    there = found(records, media_root=media)
    assert "is kept in" in log()
    assert found(DataSource(records, media_root=media)) == there
    assert found(records) == found(records, keep_scan=False)
    assert log().count("is taken from") == 2


def test_a_changed_file_is_scanned_anew(media, log):
    path = write_jsonl(media / "data.jsonl", GOOD)
    first = found(path)
    state = path.stat()
    text = path.read_text()
    changed = text.replace("A car.", "A cat.").replace("clips/b.mp4", "clips/a.mp4")
    assert len(changed) == len(text) != 0
    path.write_text(changed)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    log()
    assert found(path) == found(path, keep_scan=False) != first
    assert "is scanned again" in log()
    path.write_text(text)  # another time, but nothing else
    found(path)
    assert "is scanned again" in log()
    os.utime(path, (1, 1))
    assert found(path) == first
    assert "is taken from" in log()
    path.write_text(text + json.dumps(GOOD[6]) + "\n")
    assert len(found(path)[1]) == len(first[1]) + 1


def damages(path, other):
    whole = scan_of(path).read_bytes()
    yield b""
    yield b"x"
    yield b"\x80\x04K*."  # a pickle
    yield other
    yield whole + b"\0"
    for cut in (10, 30, 60, len(whole) // 2, len(whole) - 1):
        yield whole[:cut]
    for place in range(0, len(whole), len(whole) // 40):
        yield whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def test_a_scan_that_is_damaged_or_of_another_file_is_ignored_and_written_again(media, log):
    path = write_json(media / "data.json", GOOD)
    other = write_json(media / "other.json", GOOD[:3])
    first = found(path)
    found(other)
    kept = scan_of(path).read_bytes()
    for number, damaged in enumerate(damages(path, scan_of(other).read_bytes())):
        scan_of(path).write_bytes(damaged)
        log()
        assert VideoReferDataset(path).lengths == first[2], number
        assert "is scanned again" in log(), number
        assert scan_of(path).read_bytes() == kept, number
    scan_of(path).unlink()
    os.mkfifo(scan_of(path))
    assert found(path) == first
    assert scan_of(path).read_bytes() == kept


def test_where_nothing_can_be_written_nothing_is_kept(media, log):
    path = write_json(media / "data.json", GOOD)
    expected = found(path, keep_scan=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a full disk would
    try:
        assert found(path) == expected
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "is not kept" in log()
    assert not scan_of(path).exists()
    assert not list(media.glob(".*"))
    scan_of(path).mkdir()
    (scan_of(path) / "something").touch()
    assert found(path) == expected
    assert "is not kept" in log()
    shutil.rmtree(scan_of(path))
    media.chmod(0o555)
    try:
        assert found(path) == expected
    finally:
        media.chmod(0o755)


def test_it_can_be_turned_off(media, log):
    path = write_json(media / "data.json", GOOD)
    found(path, keep_scan=False)
    assert not scan_of(path).exists()
    found(path)
    log()
    kept = scan_of(path).stat().st_mtime_ns
    found(path, keep_scan=False)
    assert not log()
    assert scan_of(path).stat().st_mtime_ns == kept


def lengths(path):
    return VideoReferDataset(path).lengths


def test_processes_that_start_at_once_do_not_disturb_each_other(media):
    path = write_json(media / "data.json", GOOD * 20)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        both = pool.map(lengths, [path] * 12, chunksize=1)
    assert both == [both[0]] * 12
    assert scan_of(path).is_file()
    assert not list(media.glob(".*"))
