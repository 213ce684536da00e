"""Files of work that goes on where it was stopped: what is appended stays, and others may read it meanwhile."""

import json
import os
import subprocess
import sys
import threading
import tracemalloc
from contextlib import contextmanager

import pytest

from videorefer_plugin._files import Ledger, LedgerError, read_ledger, read_row, write_whole
from videorefer_plugin.bench.store import Store
from videorefer_plugin.errors import BenchError, ConfigurationError

HEADER = {"stage": "analyzer", "key": "abc"}

# Appends long rows and says so, until it is killed; its arguments are the folder, who writes, and the first number.
APPENDING = """
import sys
from pathlib import Path
from videorefer_plugin._files import Ledger
from videorefer_plugin.bench.store import Store

folder, kind, start = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if kind == "ledger":
    ledger = Ledger(folder / "work.jsonl", {"stage": "analyzer", "key": "abc"})
    append = lambda number: ledger.append({"number": number, "text": "x" * 300_000})
else:
    store = Store(folder, "answers", {"model": "m"})
    append = lambda number: store.append([{"id": str(number), "prediction": "x" * 300_000}])
for number in range(start, 10_000):
    append(number)
    print(number, flush=True)
"""


def numbers_there(folder, kind):
    """Numbers of the rows, as whoever goes on finds them."""
    if kind == "ledger":
        with Ledger(folder / "work.jsonl", HEADER) as ledger:
            return [row["number"] for row in ledger.rows]
    with Store(folder, "answers", {"model": "m"}) as store:
        return [int(name) for name in store.done()]


@pytest.mark.parametrize("kind", ["ledger", "store"])
def test_a_kill_loses_nothing_that_was_appended(tmp_path, kind):
    there: list[int] = []
    for rows in (1, 4):
        command = [sys.executable, "-c", APPENDING, str(tmp_path), kind, str(len(there))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(rows)]
            process.kill()
            said += map(int, process.stdout.read().split())
        there = numbers_there(tmp_path, kind)
        assert there == list(range(len(there)))  # those of the process before, and none twice
        assert len(there) - len(said) - said[0] in (0, 1)  # the last one may have been written and not said


# --- reading while another process writes ----------------------------------------------------------------------------


def test_a_ledger_can_be_read_while_it_grows(tmp_path):
    path = tmp_path / "work.jsonl"
    with Ledger(path, HEADER) as ledger:
        for number in range(3):
            ledger.append({"number": number, "text": "é"})
            rows = list(read_ledger(path, HEADER))
            assert [row["number"] for _, row in rows] == list(range(number + 1))
        with path.open("ab") as file:
            file.write(b'{"number": 3')  # what the other process is just writing
        before = path.read_bytes()
        assert list(read_ledger(path)) == rows
        assert path.read_bytes() == before
    for offset, row in rows:
        assert read_row(path, offset) == row
    with pytest.raises(LedgerError, match="no row at byte 5"):
        read_row(path, 5)


def test_reading_a_ledger_holds_a_row_at_a_time(tmp_path):
    path = tmp_path / "work.jsonl"
    with Ledger(path, HEADER) as ledger:
        for number in range(200):
            ledger.append([number, "x" * 100_000])
    tracemalloc.start()
    assert sum(row[0] for _, row in read_ledger(path)) == sum(range(200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000 < path.stat().st_size / 5


@pytest.mark.parametrize(
    ("data", "said", "reason"),
    [
        (None, r"cannot be read \(No such file", "place"),
        (b'{"ledger":{"stage":"refiner","key":"abc"}}\n', "stage was 'refiner' and is 'analyzer'", "content"),
        (b'{"annotation": []}\n', "holds something else", "content"),
        (b'{"annotation": []}', "holds something else", "content"),
        (b"a letter to my mother", "holds something else", "content"),
        (b'{"ledger":{"stage":"analyzer","key":"abc"}}\n{oops}\n', "Line 2 of .* is damaged", "content"),
        (b"[" * 100_000 + b"\n", "Line 1 of .* is damaged", "content"),
    ],
)
def test_what_is_no_ledger_is_left_alone(tmp_path, data, said, reason):
    path = tmp_path / "work.jsonl"
    if data is not None:
        path.write_bytes(data)
        with pytest.raises(LedgerError, match=said):
            Ledger(path, HEADER)
        assert path.read_bytes() == data
    with pytest.raises(LedgerError, match=said) as caught:
        list(read_ledger(path, HEADER))
    assert caught.value.reason == reason
    assert [each.name for each in tmp_path.iterdir()] == ([] if data is None else [path.name])


@pytest.mark.parametrize("data", [b"", b'{"led', b'{"ledger":{"stage":"ana', b"\0\0\0"])
def test_a_ledger_of_which_nothing_was_finished_is_empty(tmp_path, data):
    path = tmp_path / "work.jsonl"
    path.write_bytes(data)
    assert list(read_ledger(path, HEADER)) == []
    with Ledger(path, HEADER) as ledger:
        assert ledger.rows == []
        ledger.append(1)
    assert [row for _, row in read_ledger(path, HEADER)] == [1]


# --- writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def disk_full_at(size):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_leaves_no_part_of_a_line(tmp_path):
    """On a full disk, a write ends in the middle; what is written later must not continue that line."""
    with Ledger(tmp_path / "work.jsonl", HEADER) as ledger, Store(tmp_path, "answers", {"model": "m"}) as store:
        ledger.append("a")
        store.append([{"id": "a", "prediction": "a"}])
        with disk_full_at(2000):
            with pytest.raises(LedgerError, match="cannot be written"):
                ledger.append("x" * 5000)
            with pytest.raises(BenchError, match=r"answers-0.jsonl cannot be written .* Make room there"):
                store.append([{"id": "b", "prediction": "b"}, {"id": "c", "prediction": "x" * 5000}])
        ledger.append("d")
        store.append([{"id": "d", "prediction": "d"}])
        assert list(store.done()) == ["a", "d"]
    assert [row for _, row in read_ledger(tmp_path / "work.jsonl")] == ["a", "d"]


def test_threads_may_append_to_one_ledger(tmp_path):
    path = tmp_path / "work.jsonl"
    with Ledger(path, HEADER) as ledger:
        threads = [threading.Thread(target=ledger.append, args=([number, "x" * 10_000],)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(row[0] for _, row in read_ledger(path, HEADER)) == list(range(20))


@pytest.mark.parametrize("value", ["half \ud83d", "é\n\u2028", {"a": [None, 1.5, "\0"]}, 10**400])
def test_rows_come_back_as_they_were(tmp_path, value):
    path = tmp_path / "work.jsonl"
    with Ledger(path, HEADER) as ledger:
        ledger.append(value)
    with Ledger(path, HEADER) as ledger:
        assert ledger.rows == [value]


def test_without_filelock_the_extras_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(ConfigurationError, match=r"filelock: pip install 'videorefer-plugin\[engine\]'"):
        Ledger(tmp_path / "work.jsonl", HEADER)


def test_nothing_is_left_beside_the_files(tmp_path):
    with Store(tmp_path, "answers", {"model": "m"}) as store:
        store.append([])
        assert not store.path.exists()
        store.append([{"id": "a", "prediction": "a"}])
    names = sorted(os.path.relpath(path, tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["answers-0.jsonl", f"configurations/{store.hash}.json"]
    assert json.loads((tmp_path / "answers-0.jsonl").read_text()) == {
        "id": "a",
        "prediction": "a",
        "configuration": store.hash,
    }


def test_a_file_that_is_written_anew_stays_what_it_was_to_others(tmp_path):
    kept, link = tmp_path / "kept.json", tmp_path / "link.json"
    kept.write_text("old")
    kept.chmod(0o600)
    link.symlink_to(kept)
    write_whole(link, "new")
    assert link.is_symlink()
    assert kept.read_text() == "new"
    assert kept.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UnicodeEncodeError):
        write_whole(kept, "\ud83d")
    assert kept.read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [kept, link]
