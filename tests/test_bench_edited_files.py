"""Files that the benchmarks read back: what was edited or torn is named with its line, and counts as nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from tests import media
from tests.bench_data import Parrot, read_items, write_benchmark
from videorefer_plugin.bench import (
    RuleJudge,
    evaluate_descriptions,
    find_results,
    read_captions,
    read_descriptions,
    read_questions,
    score_captions,
    score_descriptions,
    score_questions,
    write_report,
)
from videorefer_plugin.bench.general import general_results
from videorefer_plugin.bench.items import DescriptionItem, QuestionItem
from videorefer_plugin.errors import BenchError

LINE = 2  # the one that is edited, of five


class Watched(Parrot):
    """Counts what it is asked."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def answer(self, items, mode):
        self.asked += len(items)
        return super().answer(items, mode)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_benchmark(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def finished(bench, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    evaluate_descriptions(bench / "bench_d.json", Parrot(), RuleJudge(), out)
    return out


@pytest.fixture
def out(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "out"))


def evaluate(bench, out, limit=None):
    """A further run, with how many items it asked about."""
    parrot = Watched()
    result = evaluate_descriptions(bench / "bench_d.json", parrot, RuleJudge(), out, limit=limit)
    return result, parrot.asked


def edit(path, change, line=LINE):
    """Put another line in the place of one; `change` takes its values, and gives values, text or bytes."""
    lines = path.read_bytes().split(b"\n")
    new = change(json.loads(lines[line - 1]))
    if not isinstance(new, (str, bytes)):
        new = json.dumps(new)
    lines[line - 1] = new if isinstance(new, bytes) else new.encode()
    path.write_bytes(b"\n".join(lines))
    return path


def having(**values):
    return lambda row: {**row, **values}


def lacking(key):
    return lambda row: {name: value for name, value in row.items() if name != key}


def doubled(key):
    return lambda row: json.dumps(row)[:-1] + f', "{key}": "again"}}'


# --- answers and judgements ------------------------------------------------------------------------------------------

TEXT_KEYS = [("answers", "prediction"), ("judgements", "reply"), ("judgements", "date")]
NO_TEXTS = [5, 0.5, True, None, [], ["A"], {"text": "A"}]
DAMAGED = [
    (lambda row: "junk", "no JSON"),
    (lambda row: json.dumps(row)[:-9], "no JSON"),
    (lambda row: json.dumps(row) + "}", "no JSON"),
    (lambda row: f"{json.dumps(row)} {json.dumps(row)}", "no JSON"),
    (lambda row: [row], "expected an object, got"),
    (lambda row: 5, "expected an object, got 5"),
    (lambda row: None, "expected an object, got None"),
    (lambda row: {}, "'configuration'"),
    (lambda row: json.dumps(row).encode("utf-16"), "UTF-16"),
    (lambda row: json.dumps({**row, "id": "é"}, ensure_ascii=False).encode("latin-1"), "is not UTF-8"),
    (lambda row: json.dumps(row)[:-1] + ', "tokens": NaN}', "NaN is not a number"),
    (lambda row: json.dumps(row)[:-1] + ', "tokens": -Infinity}', "-Infinity is not a number"),
    (lambda row: json.dumps(row)[:-1] + ', "tokens": 1e999}', "the number '1e999' is too large"),
    (lambda row: json.dumps(row)[:-1] + f', "tokens": {"9" * 5000}}}', "is too large"),
    (lambda row: json.dumps(row)[:-1] + f', "tokens": {"[" * 50_000}{"]" * 50_000}}}', "nested more than"),
    (lambda row: json.dumps(row)[:-1] + ', "tokens": {"a": 1, "a": 1}}', "the key 'a' stands twice"),
    (lambda row: json.dumps(row).replace('"id": "', '"id": "\\ud83d'), "half a character"),
    (having(id=5), "expected a text under 'id', got 5"),
    (having(id=None), "expected a text under 'id', got None"),
    (having(id=["x"]), "expected a text under 'id'"),
    (having(id="of another benchmark"), "the benchmark has no item 'of another benchmark'"),
    (lacking("id"), "the key 'id' is missing"),
    (lacking("configuration"), "'configuration'"),
    (having(configuration=5), "'configuration', got 5"),
    (doubled("id"), "the key 'id' stands twice"),
    (doubled("configuration"), "the key 'configuration' stands twice"),
]
CASES = [
    *((kind, change, said) for kind in ("answers", "judgements") for change, said in DAMAGED),
    *((kind, having(**{key: value}), f"under {key!r}, got") for kind, key in TEXT_KEYS for value in NO_TEXTS),
    *((kind, lacking(key), f"the key {key!r} is missing") for kind, key in TEXT_KEYS),
    *((kind, doubled(key), f"the key {key!r} stands twice") for kind, key in TEXT_KEYS),
    ("judgements", having(date="yesterday"), "expected a time such as"),
]


@pytest.mark.spread(8)
@pytest.mark.parametrize(("kind", "change", "said"), CASES)
def test_an_edited_line_is_named_before_anything_is_asked(bench, out, kind, change, said):
    path = edit(out / f"{kind}-0.jsonl", change)
    before = path.read_bytes()
    parrot = Watched()
    with pytest.raises(BenchError) as caught:
        evaluate_descriptions(bench / "bench_d.json", parrot, RuleJudge(), out)
    assert f"{kind}-0.jsonl, line {LINE} is damaged" in str(caught.value)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not parrot.asked
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["answers", "judgements"])
def test_an_item_with_two_lines_in_a_file(bench, out, kind):
    path = out / f"{kind}-0.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[1])
    with pytest.raises(BenchError, match=rf"{kind}-0\.jsonl, line 6 is damaged: .* has a line already: .*, line 2\."):
        evaluate(bench, out)


def test_processes_that_met_at_an_item(bench, out):
    """Alike they are no matter; with other words neither can be told to be right."""
    other = out / "answers-1.jsonl"
    other.write_bytes((out / "answers-0.jsonl").read_bytes())
    assert evaluate(bench, out)[1] == 0
    edit(other, having(prediction="something else"))
    with pytest.raises(BenchError, match=r"answers-1\.jsonl, line 2 is damaged: .* has a line already"):
        evaluate(bench, out)


def test_what_editors_do_to_a_file_without_changing_it(bench, out):
    expected, _ = evaluate(bench, out)
    path = out / "answers-0.jsonl"
    text = path.read_text(encoding="utf-8")
    for data in (
        text.rstrip("\n").encode(),
        text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\n\n").encode(),
        text.encode("utf-8-sig"),
        text.rstrip("\n").encode("utf-8-sig"),
        json.dumps(json.loads(text.splitlines()[0]), ensure_ascii=True).encode() + text[text.index("\n") :].encode(),
    ):
        path.write_bytes(data)
        assert evaluate(bench, out) == (expected, 0)


@pytest.mark.parametrize(
    "tail", [b'{"id": "heldout-0000', '{"id": "é'.encode()[:-1], b'{"id": "x\0\0\0', b"\0\0\0\0", b"{"]
)
def test_a_torn_line_is_done_again(bench, out, tail):
    expected, _ = evaluate(bench, out)
    path = out / "answers-0.jsonl"
    kept = b"".join(path.read_bytes().splitlines(keepends=True)[:-1])
    path.write_bytes(kept + tail)
    assert evaluate(bench, out) == (expected, 1)
    assert path.read_bytes().startswith(kept)


@pytest.mark.parametrize("tail", [b"junk", b"[1, 2]", b"5", '{"id": "x"}'.encode("utf-16"), b'{"id": "x"}'])
def test_an_end_that_is_no_torn_line(bench, out, tail):
    path = out / "answers-0.jsonl"
    path.write_bytes(path.read_bytes() + tail)
    with pytest.raises(BenchError, match=r"answers-0\.jsonl, line 6 is damaged"):
        evaluate(bench, out)


def test_a_torn_file_of_another_process_is_incomplete(bench, out):
    lines = (out / "answers-0.jsonl").read_bytes().splitlines(keepends=True)
    (out / "answers-1.jsonl").write_bytes(lines[-1][:-9])
    (out / "answers-0.jsonl").write_bytes(b"".join(lines[:-1]))
    result, asked = evaluate(bench, out)
    assert (result["answered"], asked) == (5, 1)


def test_empty_files_and_folders(bench, out):
    (out / "answers-1.jsonl").touch()
    assert evaluate(bench, out)[1] == 0
    (out / "answers-2.jsonl").mkdir()
    with pytest.raises(BenchError, match=r"answers-2\.jsonl cannot be read"):
        evaluate(bench, out)


def test_lines_of_other_models_are_left_alone(bench, out):
    other = having(configuration="0" * 12, prediction=5)
    edit(out / "answers-0.jsonl", lambda row: json.dumps(row) + "\n" + json.dumps(other(row)))
    assert evaluate(bench, out)[1] == 0


def test_a_limit_leaves_lines_out(bench, out):
    result, asked = evaluate(bench, out, limit=2)
    assert (result["items"], result["answered"], asked) == (2, 2, 0)
    assert [row["id"] for row in result["scores"]["items"]] == [
        r["id"] for r in read_items(bench / "bench_d.json")[:2]
    ]


@pytest.mark.parametrize("said", [None, 5, ["x"], "half \ud83d"])
def test_what_cannot_be_kept_fails_its_item_alone(bench, tmp_path, said):
    items = read_descriptions(bench / "bench_d.json")

    class OddOnce(Parrot):
        def answer(self, given, mode):
            told = super().answer(given, mode)
            return [said if item.id == items[0].id else text for item, text in zip(given, told, strict=True)]

    result = evaluate_descriptions(bench / "bench_d.json", OddOnce(), RuleJudge(), tmp_path)
    assert list(result["failed"]) == [items[0].id]
    assert "cannot be stored" in result["failed"][items[0].id]
    assert result["answered"] == 4


# --- what callers score ----------------------------------------------------------------------------------------------

QUESTION = QuestionItem("1", None, [], answer="(A) x", type="Basic Questions")  # type: ignore[arg-type]
OBJECT = DescriptionItem("1", None, [], caption="x")  # type: ignore[arg-type]
SCORERS = {
    "questions": lambda said: score_questions([QUESTION], said),
    "descriptions": lambda said: score_descriptions([OBJECT], said, {}),
    "replies": lambda said: score_descriptions([OBJECT], {"1": "x"}, said),
    "captions": lambda said: score_captions({"1": ["x"]}, said, ["BLEU@4"]),
}


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize(
    "said",
    [
        *({"1": text} for text in (5, 0.5, float("nan"), True, ["A"], {}, b"A", "\ud83d")),
        *({name: "A"} for name in (1, None, "one")),
        *(["A"], "A", None),
    ],
    ids=repr,
)
def test_what_is_no_text_about_an_item_does_not_count(scorer, said):
    with pytest.raises(BenchError):
        SCORERS[scorer](said)


def test_further_texts_and_missing_ones_are_no_mistake():
    assert score_questions([QUESTION], {"1": "A", "2": "B"}).missing == []
    assert score_questions([QUESTION], {}).missing == ["1"]
    assert score_questions([QUESTION], {"1": None}).missing == ["1"]
    assert score_descriptions([OBJECT], {"1": "x"}, {"1": None}).not_judged == ["1"]


def test_items_that_are_there_twice():
    with pytest.raises(BenchError, match="the item '1' is there 2 times"):
        score_questions([QUESTION, QUESTION], {"1": "A"})
    with pytest.raises(BenchError, match="expected a list of texts"):
        score_captions({"1": "a text"}, {"1": "x"})


# --- results ---------------------------------------------------------------------------------------------------------


def set_at(*keys, to):
    def change(result):
        value = result
        for key in keys[:-1]:
            value = value[key]
        if to is del_:
            del value[keys[-1]]
        else:
            value[keys[-1]] = to
        return json.dumps(result, indent=1)

    return change


del_ = object()
NAN, HUGE = float("nan"), 10**400
RESULTS = [
    (lambda result: "", "line 1: no JSON"),
    (lambda result: json.dumps(result, indent=1)[:-40], "no JSON"),
    (lambda result: json.dumps([result]), "has no 'benchmark'"),
    (lambda result: "5", "has no 'benchmark'"),
    (
        lambda result: json.dumps(result, indent=1).replace('"items"', '"name"', 1),
        "line 15: the key 'name' stands twice",
    ),
    (lambda result: "[" * 100_000, "nested more than"),
    (set_at("benchmark", to=["d"]), "unknown benchmark"),
    (set_at("scores", "average", to=NAN), "NaN is not a number"),
    (set_at("scores", "average", to=HUGE), "expected a number from 0 to 5"),
    (set_at("scores", "average", to="4"), "scores.average is '4': expected a number from 0 to 5"),
    (set_at("scores", "average", to=50), "scores.average is 50: expected a number from 0 to 5"),
    (set_at("scores", "average", to=del_), "scores lacks 'average'"),
    (set_at("scores", "dimensions", "SC", to=del_), "dimensions lacks 'SC'"),
    (set_at("scores", "dimensions", "SC", "mean", to=[4]), "SC.mean is [4]"),
    (set_at("scores", "dimensions", "SC", "count", to=-1), "SC.count is -1"),
    (set_at("scores", "dimensions", "SC", "count", to=True), "SC.count is True"),
    (set_at("scores", "dimensions", "SC", "interval", to=[1]), "SC.interval is [1]"),
    (set_at("scores", "not_judged", to=None), "not_judged is None: expected a list"),
    (set_at("scores", to=[]), "scores is []"),
    (set_at("scores", to=del_), "lacks 'scores'"),
    (set_at("judge", to=None), "judge is None"),
    (set_at("judge", "prompt_hash", to=del_), "judge lacks 'prompt_hash'"),
    (set_at("dates", to="today"), "dates is 'today'"),
    (set_at("name", to=5), "name is 5"),
    (set_at("settings", to=[]), "settings is []"),
    (set_at("items", to=5.5), "items is 5.5"),
    (set_at("answered", to=HUGE), "expected a whole number"),
    (set_at("failed", to={"x": 5}), "failed.x is 5"),
]


@pytest.mark.parametrize(("change", "said"), RESULTS)
def test_an_edited_result_is_named(out, tmp_path, change, said):
    (path,) = (out / "results").glob("*.json")
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(BenchError) as caught:
        write_report(find_results([out]), tmp_path / "report.md")
    assert path.name in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"\xff\xfe{\x00}\x00", '{"benchmark": "é"}'.encode("latin-1"), b'{"benchmark": "\\ud83d"}']
)
def test_bytes_that_are_no_result(tmp_path, data):
    (tmp_path / "r.json").write_bytes(data)
    with pytest.raises(BenchError, match=r"r\.json.* line 1"):
        find_results([tmp_path / "r.json"])


def test_shares_have_to_be_what_they_are_shares_of(tmp_path):
    share = {"right": 1, "total": 2, "accuracy": 0.5, "interval": [0.1, 0.9]}
    table = {"types": {"Basic Questions": share}, "overall": share, "mean_over_types": 0.5, "mean_interval": None}
    tables = {reader: {**table, "no_letter": 0} for reader in ("compatible", "strict")}
    result = {"benchmark": "q", "name": "x", "settings": {}, "items": 2, "answered": 2, "failed": {}}
    path = tmp_path / "r.json"

    def written(**changes):
        own = {"compatible": {**tables["compatible"], "overall": {**share, **changes}}, "strict": tables["strict"]}
        path.write_text(json.dumps({**result, "scores": {"tables": own, "differences": [], "missing": []}}))
        return [path]

    assert len(find_results(written())) == 1
    for changes in ({"accuracy": 0.9}, {"right": 3}, {"accuracy": None}, {"total": 0}, {"accuracy": "0.5"}):
        with pytest.raises(BenchError, match=r"tables\.compatible\.overall"):
            find_results(written(**changes))


def test_results_of_lmms_eval(tmp_path):
    path = tmp_path / "x_results.json"
    path.write_text('{"results": {"mvbench": {"accuracy,none": NaN, "f1,none": 0.5, "ok": true}}}')
    assert general_results(tmp_path) == {"mvbench": {"accuracy": None, "f1": 0.5}}
    for text in ("[]", '{"results": []}', '{"results": {"mvbench": 5}}', '{"results": ', ""):
        path.write_text(text)
        with pytest.raises(BenchError, match=r"x_results\.json"):
            general_results(tmp_path)


# --- the benchmarks themselves ---------------------------------------------------------------------------------------

ITEM_FILES = [
    (lambda text: text.replace('"Question"', '"type"', 1), "the key 'type' stands twice"),
    (lambda text: text.replace('"annotation": [', '"facts": NaN, "annotation": [', 1), "NaN is not a number"),
    (lambda text: text.replace('"annotation": [', '"facts": 1e999, "annotation": [', 1), "too large"),
    (lambda text: text.replace('"annotation": [', f'"facts": {"9" * 5000}, "annotation": [', 1), ""),
    (lambda text: text.replace('"Question": "', '"Question": "\\udc00', 1), "half a character"),
    (lambda text: text.replace('"annotation": [', f'"facts": {"[" * 50_000}, "annotation": [', 1), "nested"),
    (lambda text: text[: len(text) // 2], "no JSON"),
    (lambda text: text.encode("utf-16"), ""),
    (lambda text: text.replace("What", "Qué", 1).encode("latin-1"), "UTF-8"),
]


@pytest.mark.parametrize(("change", "said"), ITEM_FILES)
@pytest.mark.parametrize("lines", [False, True])
def test_an_edited_benchmark_is_named(bench, tmp_path, change, said, lines):
    items = read_items(bench / "bench_q.json")
    text = "\n".join(json.dumps(item) for item in items) if lines else json.dumps(items, indent=1)
    changed = change(text)
    (tmp_path / "q.json").write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(BenchError) as caught:
        read_questions(tmp_path / "q.json", bench)
    assert "q.json" in str(caught.value)
    assert "line" in str(caught.value)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_line_of_an_edited_item(bench, tmp_path):
    items = json.dumps(read_items(bench / "bench_q.json"), indent=1)
    text = items.replace('"Question"', '"type"', 3)
    (tmp_path / "q.json").write_text(text)
    line = items[: items.rindex('"type"', 0, items.index('"type"') + 6)].count("\n") + 1
    with pytest.raises(BenchError, match=rf"line {line}: the key 'type' stands twice"):
        read_questions(tmp_path / "q.json", bench)


DEEP = json.loads("[" * 900 + "]" * 900)


@pytest.mark.spread(18)
@pytest.mark.parametrize("key", ["id", "video", "annotation", "frame_idx", "height", "width", "Question", "options"])
@pytest.mark.parametrize(
    "value", [True, [5], {"a": 5}, DEEP, "x" * 10_000, -1, 10**30], ids=lambda value: str(value)[:9]
)
def test_values_of_other_types(bench, tmp_path, key, value):
    items = read_items(bench / "bench_q.json")
    items[1][key] = value
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, items)))
    if (key, value) in [("id", "x" * 10_000), ("id", -1), ("id", 10**30)]:
        assert len(read_questions(tmp_path / "q.jsonl", bench)) == 10
        return
    with pytest.raises(BenchError) as caught:
        read_questions(tmp_path / "q.jsonl", bench, "single")
    assert "q.jsonl, line 2" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": {"2": ["1", "2", "3", "4"]}},
        {"boxes": {"2": [1, 2, 3, 10**400]}},
        {"boxes": {"2": [True, 2, 3, 4]}},
        {"boxes": {"two": [1, 2, 3, 4]}},
        {"boxes": {"٢": [1, 2, 3, 4]}},
        {"boxes": {"2": "1234"}},
        {"boxes": None, "bbox": [["1", "2", "3", "4"]], "st_frame": 0},
        {"boxes": None, "bbox": [[1, 2, 3, None]], "st_frame": 0},
        {"boxes": None, "bbox": [[1, 2, 3, 4]], "st_frame": True},
        {"boxes": None, "bbox": [[1, 2, 3, 4]], "st_frame": -1},
        {"frame_idx": "٢"},
        {"frame_idx": True},
        {"frame_idx": "9" * 5000},
        {"height": True},
        {"caption": [5]},
        {"video": "x" * 5000},
        {"video": "a\0.mp4"},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_values_of_captions(tmp_path, changes):
    media.write_video(tmp_path / "a.mp4", 3)
    record = {"id": 4, "video": "a.mp4", "boxes": {"2": [1, 2, 11, 12]}, "caption": "One.", **changes}
    (tmp_path / "captions.jsonl").write_text(json.dumps(record))
    with pytest.raises(BenchError, match=r"captions\.jsonl, line 1"):
        read_captions(tmp_path / "captions.jsonl")


def test_hc_stvg_with_a_video_that_is_there_twice(tmp_path):
    item = '"a.mp4": {"bbox": [[1, 2, 3, 4]], "st_frame": 0, "caption": "One."}'
    (tmp_path / "test.json").write_text(f"{{{item},\n{item}}}")
    with pytest.raises(BenchError, match=r"test\.json, line 2: the key 'a\.mp4' stands twice"):
        read_captions(tmp_path / "test.json")


@pytest.mark.parametrize("facts", [5, [], "x", {"color": 5}, "typed"], ids=str)
def test_facts_that_are_none(bench, tmp_path, facts):
    items = read_items(bench / "bench_d.json")
    items[1]["facts"] = {**items[1]["facts"], "actions": 5} if facts == "typed" else facts
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, items)))
    with pytest.raises(BenchError, match=r"d\.jsonl, line 2: item .* facts"):
        evaluate_descriptions(tmp_path / "d.jsonl", Parrot(), RuleJudge(), tmp_path / "out", media_root=bench)
