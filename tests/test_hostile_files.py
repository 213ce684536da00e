"""The matrix of hostile files: whatever stands in one, its reader says so in the error of its room, or reads it."""

import codecs
import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from tests.hostile import in_time, refuses
from tests.training_data import turns
from videorefer_plugin.bench.benchmarks.dlc import DetailedCaptions
from videorefer_plugin.bench.benchmarks.registry import benchmark_of
from videorefer_plugin.bench.general import general_results
from videorefer_plugin.bench.items import read_captions, read_questions
from videorefer_plugin.bench.result_files import read_result
from videorefer_plugin.bench.store import Store
from videorefer_plugin.data_engine.folders import RunFolder
from videorefer_plugin.data_engine.recipe import load_engine_recipe
from videorefer_plugin.data_engine.records import read_report
from videorefer_plugin.data_engine.sources.expressions import read_object
from videorefer_plugin.data_engine.sources.folder import beside
from videorefer_plugin.data_engine.sources.rows import Table
from videorefer_plugin.errors import (
    BenchError,
    ConfigurationError,
    EngineError,
    PublishError,
    RecordError,
    RegionError,
    SegmentError,
    VideoReferError,
)
from videorefer_plugin.hub.run_summary import RUN_FILE, RunSummary
from videorefer_plugin.regions.text import read_region
from videorefer_plugin.segment.masklet import load_masklets
from videorefer_plugin.training.check import check_data
from videorefer_plugin.training.dataset import VideoReferDataset
from videorefer_plugin.training.recipe import load_recipe
from videorefer_plugin.world.dataset import write_dataset

RECORDS = [{"id": f"r{number}", "conversations": turns(f"A{number}?", "B")} for number in range(3)]
ITEM = {
    "id": 1,
    "video": "a.mp4",
    "type": "Basic Questions",
    "Question": "What is <region>?",
    "options": ["(A) a dog", "(B) a cat"],
    "Answer": "(A) a dog",
    "caption": "A dog.",
    "frame_idx": 3,
    "annotation": [{"3": {"box": [1, 2, 30, 40]}}],
}
REGION = {"3": {"box": [1, 2, 30, 40]}}
RLE = {"size": [48, 80], "counts": [10, 20, 48 * 80 - 30]}
ROWS = [{"video": "a.mp4", "caption": "A dog."}, {"video": "b.mp4", "caption": "A cat."}]
QUESTION = {"kind": "recognition", "question": "Is it a dog?", "choices": [["Yes", 1], ["No", 0]]}


class Door(NamedTuple):
    """A file that is read: its name, what may stand there, who reads it, and the error of the room."""

    name: str
    text: str
    read: Callable[[Path], Any]
    error: type[VideoReferError]


def answers(path: Path) -> Any:
    with Store(path.parent, "answers", {"model": "a"}) as store:
        return store.done()


def of_region(path: Path) -> Any:
    return read_region("region", str(path)).to_json()


def said(items: Any) -> list[str]:
    return [item.prompt for item in items]


def dlc(path: Path) -> Any:
    return said(DetailedCaptions().read(path).items)


def of_records(path: Path) -> Any:
    return said(benchmark_of("records").read(path).items)


def a_world(path: Path) -> Any:
    return write_dataset(path.parent, 0)


def reason_of(path: Path) -> Any:
    """`train check`, in which records that cannot be used are counted, and are no error."""
    report = check_data(path)
    if report.bad:
        raise RecordError(report.bad[0].reason)
    return report.records


def lines(values: list[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


DLC_ITEM = {
    "id": 0,
    "image": "a.mp4",
    "annotation": [{"0": REGION["3"]}],
    "questions": [QUESTION, {**QUESTION, "kind": "positive"}],
}
RECORD = {**RECORDS[0], "video": "a.mp4", "conversations": turns("<video>\nA?", "B")}
WORLD = json.dumps({"seed": 0, "size": 64, "frames": 16, "version": 6})
JSON_DOORS = {
    "records": Door("a.json", json.dumps(RECORDS), lambda path: len(VideoReferDataset(path)), RecordError),
    "record lines": Door("a.jsonl", lines(RECORDS), lambda path: len(VideoReferDataset(path)), RecordError),
    "train check": Door("a.json", json.dumps(RECORDS, indent=1), reason_of, RecordError),
    "train check of lines": Door("a.jsonl", lines(RECORDS), reason_of, RecordError),
    "questions": Door("a.json", json.dumps([ITEM]), lambda path: said(read_questions(path)), BenchError),
    "captions": Door("a.jsonl", lines([ITEM]), lambda path: said(read_captions(path)), BenchError),
    "benchmark of records": Door("a.json", json.dumps([RECORD]), of_records, BenchError),
    "detailed captions": Door("a.json", json.dumps([DLC_ITEM]), dlc, BenchError),
    "answers": Door(
        "answers-0.jsonl", lines([{"id": "1", "prediction": "A", "configuration": "x"}]), answers, BenchError
    ),
    "lmms-eval": Door(
        "a_results.json",
        json.dumps({"results": {"mvbench": {"acc": 1}}}),
        lambda p: general_results(p.parent),
        BenchError,
    ),
    "region": Door("a.json", json.dumps(REGION), of_region, RegionError),
    "rle": Door("a.json", json.dumps(RLE), lambda path: read_region("rle", f"3:{path}").to_json(), RegionError),
    "table": Door("a.json", json.dumps(ROWS), lambda path: [row for _, row in Table(path).rows()], EngineError),
    "table of lines": Door("a.jsonl", lines(ROWS), lambda path: [row for _, row in Table(path).rows()], EngineError),
    "caption": Door("a.json", json.dumps(ROWS[0]), lambda path: beside(path.with_suffix(".mp4"))[0], EngineError),
    "instances": Door("a.json", json.dumps({"images": []}), read_object, EngineError),
    "run": Door(
        "run.json",
        json.dumps({"recipe": {}, "identities": {}, "keys": {}, "read": {}}),
        lambda path: RunFolder(path.parent).read(),
        EngineError,
    ),
    "world": Door("world.json", WORLD, a_world, ConfigurationError),
    "run summary": Door(RUN_FILE, json.dumps({"steps": 3}), lambda p: RunSummary.load(p.parent).steps, PublishError),
}
REFUSING = {
    "masklets": Door("a.json", json.dumps({"annotation": []}), load_masklets, SegmentError),
    "result": Door("a.json", "{}", read_result, BenchError),
    "report": Door("report.json", "{}", lambda path: read_report(path.parent), EngineError),
}
"""Readers whose whole files would be long; the damage is the same."""


def damages(text: str) -> dict[str, bytes]:
    """What no reader may take, made of what it does take."""
    data = text.encode()
    first = data[:1].replace(b"[", b"{")
    return {
        "nested lists": b"[" * 5000 + b"]" * 5000,
        "nested objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
        "nested beyond the end": b"[" * 100_000,
        "a long number": b'{"a": ' + b"1" * 6000 + b"}",
        "a long number in a list": b"[1, " + b"1" * 6000 + b"]",
        "a long negative number": b"[-" + b"7" * 5000 + b"]",
        "NaN": b"NaN",
        "a list of NaN": b"[NaN, Infinity]",
        "1e999": b"[1e999]",
        "Latin-1": data[:-1] + b'"\xe9"' + data[-1:],
        "bytes": bytes(range(128, 256)),
        "UTF-16": text.encode("utf-16"),
        "UTF-16 without a mark": text.encode("utf-16-le"),
        "UTF-32": text.encode("utf-32"),
        "NUL bytes": bytes(100),
        "a NUL byte": data[:2] + b"\0" + data[2:],
        "empty": b"",
        "white space": b" \n\t\r\n" * 9,
        "only a mark": codecs.BOM_UTF8,
        "gzip": gzip.compress(data, mtime=0),
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(40),
        "a pickle": b"\x80\x04\x95" + bytes(30) + b".",
        "half": data[: len(data.rstrip()) // 2],
        "doubled keys": b'{"a": 1, "a": 2}',
        "doubled keys in a list": b'[{"a": {"b": 1, "b": 2}}]',
        "half a character": b'{"a": "\\ud800"}',
        "two values": first + b"1 2",
        "words": b"hello world",
        "YAML": b"a: 1\nb: [2]\n",
        "Python": b"{'a': None}",
        "a comment": b"// no\n" + data[:1] + b"}",
        "a number": b"5",
        "a text": b'"hello"',
        "null": b"null",
        "true": b"true",
        "a list of lists": b"[[[]]]",
        "a list of null": b"[null]",
        "U+2028 between values": "\u2028".join(["[1]", "[2]"]).encode(),
    }


def harmless(text: str) -> dict[str, bytes]:
    """What editors make of a file, which changes nothing."""
    data = text.encode()
    found = {
        "a mark": codecs.BOM_UTF8 + data,
        "CRLF": data.replace(b"\n", b"\r\n"),
        "a long line": data.rstrip(b"\n") + b" " * 300_000,
        "white space at the end": data + b"\n \t\n",
        "no line end": data.rstrip(b"\n"),
    }
    return found


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video; nothing here opens it")
    return tmp_path


def door_of(name: str) -> Door:
    return (JSON_DOORS | REFUSING)[name]


# What is no mistake for a door. The end of a file of answers that has no line end was torn, and is done again.
TORN = ("a long number", "empty", "half", "NUL bytes", "only a mark", "Python", "two values", "white space")
TAKEN = {
    "answers": (*TORN, "nested beyond the end"),
    "caption": ("NaN",),
    "lmms-eval": ("NaN",),
    "region": ("UTF-16", "UTF-16 without a mark", "UTF-32"),  # as JSON may be told from them; the value is the same
    "rle": ("UTF-16", "UTF-16 without a mark", "UTF-32"),
    "table of lines": ("half",),  # one of two rows
}


@pytest.mark.spread(30)
@pytest.mark.parametrize("damage", damages("[]"))
@pytest.mark.parametrize("name", [*JSON_DOORS, *REFUSING])
def test_damaged_files_are_refused_by_name(name, damage, folder):
    door = door_of(name)
    path = folder / door.name
    path.write_bytes(damages(door.text)[damage])
    error = error_of(door, path)
    if error is None:
        assert damage in TAKEN.get(name, ()), "read as if nothing were wrong"
    else:
        # Of a record that is none, `train check` has the reason alone, since it names the file itself.
        assert door.name in error or str(folder) in error or "train check" in name


def error_of(door: Door, path: Path) -> str | None:
    """What a door says; `None` if it reads the file."""
    try:
        with in_time():
            door.read(path)
    except door.error as error:
        said = str(error)
    else:
        return None
    assert 10 < len(said) < 3000
    assert said.encode()
    return said


@pytest.mark.spread(30)
@pytest.mark.parametrize("change", harmless("[]"))
@pytest.mark.parametrize("name", JSON_DOORS)
def test_what_editors_do_changes_nothing(name, change, folder):
    door = door_of(name)
    path = folder / door.name
    path.write_text(door.text)
    expected = door.read(path)
    path.write_bytes(harmless(door.text)[change])
    with in_time():
        assert door.read(path) == expected


NO_FILES: dict[str, Callable[[Path], Any]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}
BY_PATH = ["records", "train check", "questions", "captions", "detailed captions", "region", "rle", "table"]
BY_PATH += ["masklets", "instances", "result"]


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", BY_PATH)
def test_what_is_no_file_is_refused(name, kind, folder):
    door = door_of(name)
    path = folder / door.name
    NO_FILES[kind](path)
    refuses(door.error, door.read)(path)


@pytest.mark.parametrize("name", BY_PATH)
def test_names_that_no_file_has_are_refused(name, folder):
    door = door_of(name)
    for odd in (folder / "missing", folder / ("x" * 300), folder / "a\0b", folder / "a.mp4" / "b", Path("\udcff")):
        refuses(door.error, door.read)(odd)


# --- YAML ------------------------------------------------------------------------------------------------------------

RECIPE = "model:\n  checkpoint: a\ntrain:\n  max_steps: 3\n  learning_rate: 1.0e-4\n"
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{letter}: &{letter} [{', '.join(['*' + before] * 10)}]\n"
    for before, letter in zip("abcdefgh", "bcdefghi", strict=True)
)
YAML_DAMAGES: dict[str, bytes] = {
    "a Python object": b"train: !!python/object/apply:os.system ['true']\n",
    "a Python name": b"train: !!python/name:os.system\n",
    "an unknown tag": b"train: !what 3\n",
    "no number": b"train: {max_steps: !!int x}\n",
    "no whole number": b"train: {max_steps: !!int ''}\n",
    "no truth": b"train: {max_steps: !!bool maybe}\n",
    "no time": b"train: {max_steps: !!timestamp x}\n",
    "no date": b"train: {max_steps: 2024-13-45}\n",
    "no bytes": b"train: {max_steps: !!binary '?'}\n",
    "a set": b"train: !!set {a, b}\n",
    "pairs": b"train: !!omap [a: 1]\n",
    "a bomb": BOMB.encode(),
    "itself": b"train: &a [*a]\n",
    "an unknown anchor": b"train: *nothing\n",
    "a merge with a number": b"train: {<<: 5}\n",
    "a date": b"train: {learning_rate: 2024-01-01}\n",
    "yes": b"train: {learning_rate: yes}\n",
    "a time of day": b"train: {batch_size: 12:30:45.5}\n",
    "a long number": b"train: {max_steps: " + b"1" * 6000 + b"}\n",
    "infinity": b"train: {learning_rate: .inf}\n",
    "no number at all": b"train: {learning_rate: .nan}\n",
    "doubled keys": b"train: {seed: 1, seed: 2}\n",
    "a list as a key": b"? [1, 2]\n: 3\n",
    "an object as a key": b"? {a: 1}\n: 3\n",
    "a number as a key": b"1: 2\n",
    "null as a key": b"null: 2\n",
    "a date as a key": b"2024-01-01: 2\n",
    "nested": b"a: " + b"[" * 5000 + b"]" * 5000,
    "nested deeper than open": b"{a: " * 3000,
    "a tab": b"train:\n\tseed: 1\n",
    "a list": b"- 1\n- 2\n",
    "a text": b"hello\n",
    "two documents": b"seed: 1\n---\nseed: 2\n",
    "NUL": b"name: a\0b\n",
    "a bell": b"name: a\x07b\n",
    "half a character": b'name: "\\ud800"\n',
    "half a character as a key": b'"\\ud800": 1\n',
    "Latin-1": b"name: caf\xe9\n",
    "UTF-16": RECIPE.encode("utf-16"),
    "gzip": gzip.compress(RECIPE.encode(), mtime=0),
    "an open quote": b"name: 'a\n",
    "an open list": b"name: [1, 2\n",
    "a directive": b"%YAML 9.9\n---\nname: a\n",
}


@pytest.mark.spread(9)
@pytest.mark.parametrize("damage", YAML_DAMAGES)
@pytest.mark.parametrize("load", [load_recipe, load_engine_recipe])
def test_recipes_that_are_none_are_refused(load, damage, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(YAML_DAMAGES[damage])
    refuses(ConfigurationError, load)(path)


@pytest.mark.parametrize("damage", [name for name in YAML_DAMAGES if name not in ("UTF-16", "gzip", "a directive")])
def test_prompts_of_judges_that_are_none_are_refused(damage, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(YAML_DAMAGES[damage])
    refuses(BenchError, benchmark_of("d").judge_prompt.from_file)(path)


@pytest.mark.parametrize("change", ["a mark", "CRLF", "CR", "a long comment", "octal", "quoted"])
def test_recipes_read_as_they_are_meant(change, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(
        {
            "a mark": codecs.BOM_UTF8 + RECIPE.encode(),
            "CRLF": RECIPE.replace("\n", "\r\n").encode(),
            "CR": RECIPE.replace("\n", "\r").encode(),
            "a long comment": b"# " + b"x" * 100_000 + b"\n" + RECIPE.encode(),
            "octal": RECIPE.replace(" 3\n", " 0o3\n").replace("0o3", "03").encode(),
            "quoted": RECIPE.replace("max_steps", "'max_steps'").encode(),
        }[change]
    )
    recipe = load_recipe(path)
    assert (recipe.train.max_steps, recipe.train.learning_rate) == (3, 1e-4)


VALUES = [
    "!!python/name:os",
    "[1",
    "{a",
    "'x",
    "*a",
    "&a [*a]",
    "!!int x",
    "1" * 6000,
    "\0",
    '"\\ud800"',
    "2024-13-99",
]


@pytest.mark.spread(3)
@pytest.mark.parametrize("value", VALUES)
def test_values_on_a_command_line_that_are_none_are_refused(value):
    refuses(ConfigurationError, lambda v: load_recipe("videollama2.1-7b/stage1", [f"train.max_steps={v}"]))(value)


@pytest.mark.parametrize(
    "override",
    [
        "data.files[0].weight=2",
        "data.files[x].weight=2",
        "data.files[0=2",
        "data.files.0.weight=2",
        "data..seed=1",
        "=3",
        ".=3",
        "train.=1",
        "[0]=1",
    ],
)
def test_settings_that_are_no_names_are_refused(override):
    refuses(ConfigurationError, lambda given: load_recipe("videollama2.1-7b/stage1", ["data.files=[a.json]", given]))(
        override
    )


# --- Parquet ---------------------------------------------------------------------------------------------------------

TYPES = {
    "integers": pyarrow.array([1, 2]),
    "structs": pyarrow.array([{"a": 1}, {"a": 2}]),
    "nulls": pyarrow.nulls(2),
    "bytes": pyarrow.array([b"\xff", b"a"]),
    "lists": pyarrow.array([[1], [2]]),
    "floats": pyarrow.array([float("nan"), float("inf")]),
    "dates": pyarrow.array([10**18, 1], pyarrow.timestamp("us")),
    "truths": pyarrow.array([True, False]),
    "halves": pyarrow.array([b"\xed\xa0\x80", b"a"]).view(pyarrow.string()),
    "texts that are not JSON": pyarrow.array(["{", "["]),
    "texts of other JSON": pyarrow.array(["5", "null"]),
    "deep texts": pyarrow.array(["[" * 5000, "[" * 5000]),
    "long numbers": pyarrow.array(["1" * 6000, "1" * 6000]),
}
COLUMNS = {"conversations": json.dumps(turns("<video>\nA?", "B")), "video": "a.mp4", "annotation": "[]"}


@pytest.mark.spread(13)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("column", COLUMNS)
def test_columns_of_other_types_are_bad_records(column, kind, folder):
    columns = {name: pyarrow.array([value] * 2) for name, value in COLUMNS.items()}
    path = folder / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({**columns, column: TYPES[kind]}), path)
    for read in (reason_of, VideoReferDataset):
        if error_of(Door("", "", read, RecordError), path) is None:
            assert (column, kind) == ("annotation", "nulls")  # a record without objects


def whole_table(path: Path) -> bytes:
    rows = [{**COLUMNS, "id": f"r{number}"} for number in range(40)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path.read_bytes()


@pytest.mark.spread(20)
@pytest.mark.parametrize("seed", range(60))
def test_flipped_bits_of_parquet_are_refused_or_read(seed, folder):
    path = folder / "a.parquet"
    data, chance = bytearray(whole_table(path)), random.Random(seed)
    for _ in range(1 + seed % 3):
        data[chance.randrange(4, len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    doors: list[tuple[Callable[[Path], Any], type[VideoReferError]]] = [
        (check_data, RecordError),
        (VideoReferDataset, RecordError),
        (lambda one: benchmark_of("records").read(one), BenchError),
        (lambda one: list(Table(one).rows()), EngineError),
    ]
    for read, error in doors:
        said = error_of(Door("", "", read, error), path)
        assert said is None or "a.parquet" in said


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_parquet_that_is_cut_off_is_refused(share, folder):
    path = folder / "a.parquet"
    data = whole_table(path)
    path.write_bytes(data[: int(len(data) * share)])
    refuses(RecordError, check_data)(path)
    refuses(BenchError, read_questions)(path)
    refuses(EngineError, lambda one: list(Table(one).rows()))(path)


# --- places ----------------------------------------------------------------------------------------------------------


def test_records_on_one_line_are_told_apart(folder):
    bad = {"id": "the bad one", "conversations": []}
    path = folder / "a.json"
    path.write_text(json.dumps([*RECORDS, bad]))
    (found,) = check_data(path).bad
    assert (found.line, found.number, found.id) == (1, 4, "the bad one")
    for keep in (True, True, False):  # with a kept scan and without
        with pytest.raises(RecordError, match=r"line 1: record 4 \(id 'the bad one'\): it has no conversations"):
            VideoReferDataset(path, keep_scan=keep)
    path.write_text(json.dumps(RECORDS)[:-1] + ', {"a": 1e}]')
    with pytest.raises(RecordError, match="line 1: record 4: no JSON"):
        check_data(path)
    path.write_text(json.dumps(RECORDS))
    assert VideoReferDataset(path).record(2).place == f"{path}, line 1: record 3 (id 'r2')"


@pytest.mark.parametrize(
    "broken", [b"{", b"[1", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"1" * 6000, b"[" * 5000, b"\0"]
)
def test_broken_lines_of_benchmarks_are_skipped_and_counted(broken, folder):
    path = folder / "a.jsonl"
    path.write_bytes(lines([ITEM]).encode() + broken + b"\n" + lines([{**ITEM, "id": 2}]).encode())
    refuses(BenchError, read_questions)(path)
    read = benchmark_of("q").read(path, on_bad_item="skip")
    assert [item.id for item in read.items] == ["1", "2"]
    assert list(read.skipped) == [f"{path}, line 2"]


def test_the_words_of_a_judge_are_read_with_a_mark(tmp_path):
    prompt = benchmark_of("d").judge_prompt
    path = tmp_path / "a.yaml"
    path.write_bytes(codecs.BOM_UTF8 + yaml.safe_dump({"system": prompt.system, "user": prompt.user}).encode())
    assert prompt.from_file(path).hash == prompt.hash


SEPARATED = {
    "a NUL byte": b"video,caption\na.mp4,\0\n",
    "UTF-16": "video,caption\na,b\n".encode("utf-16"),
    "Latin-1": b"video,caption\na.mp4,caf\xe9\n",
    "too many values": b"video,caption\na,b,c\n",
    "an open quote": b'video,caption\na.mp4,"b\n',
    "doubled columns": b"video,video\na,b\n",
    "a column without a name": b"video,\na,b\n",
    "empty": b"",
    "gzip": gzip.compress(b"video,caption\na,b\n", mtime=0),
}


@pytest.mark.parametrize("damage", SEPARATED)
def test_separated_values_that_are_none_are_refused(damage, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(SEPARATED[damage])
    refuses(EngineError, lambda one: list(Table(one).rows()))(path)


@pytest.mark.parametrize("data", [b"\xff", "a".encode("utf-16"), gzip.compress(b"a", mtime=0)])
def test_captions_that_are_no_text_are_refused(data, tmp_path):
    (tmp_path / "a.txt").write_bytes(data)
    refuses(EngineError, beside)(tmp_path / "a.mp4")
