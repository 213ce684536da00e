"""The Reviewer's check: people look at some of what it kept and of what it discarded, and say whether it was right."""

import csv
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.engine_states import found, recipe, reviewed, source
from videorefer_plugin.bench.items import read_descriptions
from videorefer_plugin.cli import app
from videorefer_plugin.data_engine.records import write_records
from videorefer_plugin.data_engine.review import PAPER, ReviewTable, draw_review, export_bench_d, fill_in, read_filled
from videorefer_plugin.errors import ConfigurationError, EngineError
from videorefer_plugin.video import open_video

HOSTILE = [
    'He says "hello", and leaves; quickly.',
    "</script><script>alert(1)</script>",
    "</p><img src=x onerror=alert(1)>&amp;",
    '=HYPERLINK("http://example.org")',
    "Line one\nline two\r\nthree",
    "Ein Mädchen läuft 👩‍🚀 \u2028 \u202e reversed",
    "{{ rows }} {% raw %} ${1+1} `x` \\n",
    "'quoted', -1, +1, @x",
]


def make_run(folder, verdicts, texts=()):
    """A run of one source, whose objects the Reviewer kept or discarded."""
    write_records([reviewed(source(folder, license="cc0-1.0"), verdicts, texts)], folder, recipe(folder))
    return folder


def rows_of(folder):
    with open(folder / "review" / "review.csv", encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def fill(folder, said, name="filled.csv", delimiter=","):
    """The drawn table with answers: id -> what a person wrote."""
    rows = rows_of(folder)
    path = folder / name
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(row | {"true": said.get(row["id"], "")} for row in rows)
    return path


def names(*numbers):
    return [f"clip/{number}/detailed" for number in numbers]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four kept items and three discarded ones, all of which are drawn."""
    folder = make_run(tmp_path_factory.mktemp("run"), [True, True, True, True, False, False, False])
    draw_review(folder)
    return folder


# --- drawing ---------------------------------------------------------------------------------------------------------


def test_items_are_drawn_by_seed_and_without_replacement(tmp_path):
    folder = make_run(tmp_path, [True, False] * 6)
    drawn = [draw_review(folder, 3, 2, seed) for seed in (0, 0, 1)]
    assert [(one.kept, one.discarded, one.all_kept, one.all_discarded) for one in drawn] == [(3, 2, 6, 6)] * 3
    samples = []
    for seed in (0, 0, 1):
        draw_review(folder, 3, 2, seed)
        samples.append([(row["id"], row["kept"]) for row in rows_of(folder)])
    assert samples[0] == samples[1] != samples[2]
    assert len({name for name, _ in samples[0]}) == 5
    assert [kept for _, kept in samples[0]].count("true") == 3


def test_fewer_items_than_asked_for_are_all_drawn(run):
    rows = rows_of(run)
    assert sorted(row["id"] for row in rows) == names(*range(7))
    assert all(row["true"] == "" for row in rows)
    row = next(row for row in rows if row["id"] == "clip/5/detailed")
    assert row["region_caption"] == "a square, seen as 5"
    assert row["text"] == "The square 5 moves to the right. It moves."
    assert (row["kept"], row["reason"]) == ("false", "reason 5")


def test_the_order_tells_nothing_about_verdicts(tmp_path):
    folder = make_run(tmp_path, [True] * 10 + [False] * 10)
    draw_review(folder)
    verdicts = "".join(row["kept"][0] for row in rows_of(folder))
    assert "ft" in verdicts
    assert "tf" in verdicts


def test_pictures_show_the_frames_beside_the_same_with_the_object(run):
    video = open_video(run / "review" / "media" / "0001.mp4")
    assert (video.num_frames, video.width, video.height) == (12, 160, 48)
    frame = video.read([3])[0].astype(int)
    assert np.abs(frame[:, :80] - frame[:, 80:]).max() > 60


def test_videos_that_cannot_be_shown_are_said(tmp_path):
    folder = make_run(tmp_path, [True])
    (folder / "videos" / "clip.mp4").write_bytes(b"no video")
    review = draw_review(folder)
    assert list(review.hidden) == names(0)
    assert "It cannot be shown" in (folder / "review" / "review.html").read_text()


def test_what_was_filled_in_is_not_lost(tmp_path):
    folder = make_run(tmp_path, [True, False])
    draw_review(folder)
    draw_review(folder)  # nothing was filled in
    fill(folder, {"clip/0/detailed": "yes"}, "review/review.csv")
    with pytest.raises(EngineError, match="--overwrite"):
        draw_review(folder)
    draw_review(folder, overwrite=True)
    assert all(row["true"] == "" for row in rows_of(folder))


def test_runs_without_a_reviewer_have_nothing_to_check(tmp_path):
    made = reviewed(source(tmp_path), [True])
    del made.rows["reviewer"]
    write_records([made], tmp_path, recipe(tmp_path))
    with pytest.raises(EngineError, match="no verdict"):
        draw_review(tmp_path)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"kept": -1}, ConfigurationError, "kept is -1"),
        ({"kept": 0, "discarded": 0}, ConfigurationError, "both 0"),
    ],
)
def test_numbers_that_draw_nothing(run, given, error, said):
    with pytest.raises(error, match=said):
        draw_review(run, **given)


def test_folders_without_records(tmp_path):
    with pytest.raises(EngineError, match=r"no records\.json"):
        draw_review(tmp_path)


def test_provenance_of_other_records_is_refused(tmp_path):
    folder = make_run(tmp_path, [True, True])
    lines = (folder / "provenance.jsonl").read_text().splitlines()
    (folder / "provenance.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    with pytest.raises(EngineError, match="does not fit the record"):
        draw_review(folder)


# --- the page --------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser makes of a page: elements, texts, and what scripts hold."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.scripts, self._inside = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag, attributes = self._inside[-1] if self._inside else ("", {})
        if tag == "script":
            self.scripts.append(data)
        elif attributes.get("class") == "text":
            self.texts.append(data)


def test_hostile_texts_stay_texts(tmp_path):
    folder = make_run(tmp_path, [True] * len(HOSTILE), HOSTILE)
    draw_review(folder)
    text = (folder / "review" / "review.html").read_bytes().decode()
    page = Page(text)
    assert sorted(page.texts) == sorted(HOSTILE)
    assert len(page.scripts) == 2
    assert not [1 for tag, attributes in page.elements if "onerror" in attributes]
    sheet = json.loads(page.scripts[0])
    said = {row[0]: row[1] for row in sheet["rows"]}
    assert set(said) == set(names(*range(len(HOSTILE))))
    assert said["clip/1/detailed"] == HOSTILE[1]
    assert said["clip/5/detailed"] == HOSTILE[5]
    assert {row["id"]: row["text"] for row in rows_of(folder)} == said


def test_the_page_needs_no_network(run):
    text = (run / "review" / "review.html").read_text()
    assert not re.search(r"https?://|src=\"(?!media/)|<link|@import", text)
    page = Page(text)
    videos = [attributes["src"] for tag, attributes in page.elements if tag == "video"]
    assert len(videos) == 7
    assert all((run / "review" / name).is_file() for name in videos)


def test_verdicts_are_hidden_until_they_are_asked_for(run):
    text = (run / "review" / "review.html").read_text()
    shown = re.sub(r"<details>.*?</details>|<script.*?</script>", "", text, flags=re.DOTALL)
    assert "discarded" not in shown
    assert "reason 5" not in shown
    assert "reason 5" in text
    assert not re.search(r"<details[^>]*open", text)


def test_spreadsheets_get_no_formulas(tmp_path):
    folder = make_run(tmp_path, [True], ["=1+1"])
    draw_review(folder)
    (row,) = rows_of(folder)
    assert row["text"] == "'=1+1"


@pytest.mark.slow
def test_the_page_remembers_answers_about_its_own_texts(browser, tmp_path):
    folder = make_run(tmp_path, [True, True])
    context = browser.new_context()
    page = context.new_page()

    def checked(keys=""):
        page.goto((folder / "review" / "review.html").as_uri())
        for key in keys:
            page.keyboard.press(key)
        return page.inner_text("#done")

    draw_review(folder)
    assert checked("yn") == "2 of 2 checked"
    assert checked() == "2 of 2 checked"
    make_run(folder, [True, True], ["First.", "Second."])
    draw_review(folder)
    assert checked() == "0 of 2 checked"
    assert sorted(page.locator(".text").all_inner_texts()) == ["First.", "Second."]
    context.close()


@pytest.mark.slow
def test_the_page_runs_no_hostile_texts(browser, tmp_path):
    folder = make_run(tmp_path, [True] * len(HOSTILE), HOSTILE)
    draw_review(folder)
    page = browser.new_page()
    alerts, errors = [], []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((folder / "review" / "review.html").as_uri())
    for _ in HOSTILE:
        page.keyboard.press("y")
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(folder / "filled.csv")
    page.close()
    assert not alerts
    assert not errors
    assert read_filled(folder, folder / "filled.csv").table.tp == len(HOSTILE)


def test_the_page_in_a_browser(run, tmp_path, browser):
    """Keys fill it in, and what it hands over is read."""
    page = browser.new_page()
    page.goto((run / "review" / "review.html").as_uri())
    for key in "ynyynny":
        page.keyboard.press(key)
    assert page.inner_text("#done") == "7 of 7 checked"
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "review.csv")
    page.close()
    checked = read_filled(run, tmp_path / "review.csv")
    assert [checked.true[row["id"]] for row in rows_of(run)] == [said == "y" for said in "ynyynny"]


# --- what people say -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_filled_tables_are_read(run, delimiter):
    said = dict(zip(names(0, 1, 2, 3, 4, 5, 6), ["y", "Yes", " TRUE", "no", "1", "0", ""], strict=True))
    checked = read_filled(run, fill(run, said, delimiter=delimiter))
    table = checked.table
    assert (table.tp, table.fp, table.fn, table.tn) == (3, 1, 1, 1)
    assert table.unchecked == {"kept": 0, "discarded": 1}
    assert table.population == {"kept": 4, "discarded": 3}
    assert table.retained == pytest.approx(4 / 7)


def changed(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",yes,", ",perhaps,", "'perhaps' is not an answer"),
        (",yes,", ",2,", "'2' is not an answer"),
        ("clip/0/detailed", "clip/99/detailed", "no item 'clip/99/detailed' was drawn"),
        ("clip/0/detailed", "clip/1/detailed", "'clip/1/detailed' stands here twice"),
        ("yes,true", "yes,false", "kept = true"),
        (",true,", ",right,", "no column 'true'"),
        ("id,", "name,", "no column 'id'"),
        (",yes,", ",,", "nothing is filled in"),
    ],
)
def test_tables_that_cannot_be_used(run, old, new, said):
    path = fill(run, {"clip/0/detailed": "yes"})
    changed(path, old, new)
    with pytest.raises(EngineError, match=re.escape(said)):
        read_filled(run, path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", None], ids=["empty", "no UTF-8", "missing"])
def test_files_that_are_no_tables(run, tmp_path, content):
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineError):
        read_filled(run, path)


def test_nothing_was_drawn_yet(tmp_path):
    with pytest.raises(EngineError, match="nothing was drawn yet"):
        read_filled(tmp_path)


def test_truth_fills_the_table_in(tmp_path):
    folder = make_run(tmp_path, [True, True, False])
    draw_review(folder)
    truth = folder / "truth.json"
    truth.write_text(json.dumps(dict(zip(names(0, 1, 2, 7), [True, False, False, True], strict=True))))
    table = fill_in(folder, truth).table
    assert (table.tp, table.fp, table.fn, table.tn) == (1, 1, 0, 1)
    assert read_filled(folder).table == table
    assert {row["id"]: row["true"] for row in rows_of(folder)} == dict(
        zip(names(0, 1, 2), ["yes", "no", "no"], strict=True)
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"clip/0/detailed": "yes"}', "expected true or false"),
        ('{"other": true}', "knows none"),
        ("[]", "expected an object"),
        ("{", "truth.json, line 1: no JSON"),
        ('{"clip/0/detailed": true, "clip/0/detailed": false}', "twice"),
    ],
)
def test_truths_that_cannot_be_used(run, tmp_path, content, said):
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(EngineError, match=said):
        fill_in(run, tmp_path / "truth.json")


def test_truth_does_not_replace_what_people_said(tmp_path):
    folder = make_run(tmp_path, [True, True, False])
    draw_review(folder)
    fill(folder, dict(zip(names(0, 1), ["yes", "no"], strict=True)), "review/review.csv")
    truth = folder / "truth.json"
    truth.write_text(json.dumps(dict(zip(names(0, 2), [False, False], strict=True))))
    before = (folder / "review" / "review.csv").read_bytes()
    with pytest.raises(EngineError, match=r"1 item\(s\), such as 'clip/0/detailed'.*--overwrite"):
        fill_in(folder, truth)
    assert (folder / "review" / "review.csv").read_bytes() == before
    truth.write_text(json.dumps(dict(zip(names(0, 2), [True, False], strict=True))))
    checked = fill_in(folder, truth)
    assert checked.true == dict(zip(names(0, 1, 2), [True, False, False], strict=True))
    people = checked.of_people
    assert (people.tp, people.fp, people.tn, people.unchecked) == (1, 1, 0, {"kept": 0, "discarded": 1})
    truth.write_text(json.dumps({"clip/1/detailed": True}))
    assert fill_in(folder, truth, overwrite=True).true["clip/1/detailed"] is True


def reordered(text):
    written = io.StringIO(newline="")
    csv.writer(written).writerows(row[::-1] for row in csv.reader(io.StringIO(text, newline="")))
    return written.getvalue()


def with_semicolons(text):
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=";").writerows(csv.reader(io.StringIO(text, newline="")))
    return written.getvalue()


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("save", "said"),
    [
        (with_semicolons, None),
        (reordered, None),
        (lambda text: f"{text}clip/9", "no item 'clip/9'"),
        (lambda text: reordered(text) + "a reason", None),
        (lambda text: text.replace("square", "squ\xe4re").encode("cp1252"), "save it as CSV in UTF-8"),
        (lambda text: text.replace("square 0", "square 10", 1), "is not the one that was drawn"),
        (lambda text: "id\nclip/0/detailed\n", "no column 'true'"),
        (lambda text: None, "cannot be read"),
    ],
    ids=["semicolons", "reordered", "short", "short and reordered", "cp1252", "another text", "no answers", "gone"],
)
@pytest.mark.parametrize("door", ["filled", "truth"])
def test_both_doors_read_tables_alike(tmp_path, door, save, said):
    folder = make_run(tmp_path, [True])
    draw_review(folder)
    path = folder / "review" / "review.csv"
    fill(folder, {} if door == "truth" else {"clip/0/detailed": "yes"}, "review/review.csv")
    content = save(path.read_bytes().decode())
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "truth.json").write_text('{"clip/0/detailed": true}')

    def read():
        return fill_in(folder, folder / "truth.json") if door == "truth" else read_filled(folder)

    if said is None:
        assert read().true == {"clip/0/detailed": True}
    else:
        with pytest.raises(EngineError, match=re.escape(said)):
            read()


@pytest.mark.parametrize("length", [32_000, 40_000, 200_000])
def test_long_texts_can_be_read_back(tmp_path, length):
    folder = make_run(tmp_path, [True], ["x" * length])
    draw_review(folder)
    checked = read_filled(folder, fill(folder, {"clip/0/detailed": "yes"}))
    assert checked.table.tp == 1
    assert max(len(value) for row in rows_of(folder) for value in row.values()) <= 32_767
    assert "x" * length in (folder / "review" / "review.html").read_text()


def test_answers_of_another_drawing_are_refused(tmp_path):
    folder = make_run(tmp_path, [True, True])
    draw_review(folder)
    path = fill(folder, dict(zip(names(0, 1), ["yes", "no"], strict=True)))
    pages = {draw_and_read(folder) for _ in range(2)}
    assert len(pages) == 1  # the same items of the same records
    make_run(folder, [True, True], ["First.", "Second."])
    pages.add(draw_and_read(folder))
    assert len(pages) == 2
    with pytest.raises(EngineError, match="is not the one that was drawn"):
        read_filled(folder, path)


def draw_and_read(folder):
    """What the page of a new drawing knows its answers by."""
    draw_review(folder)
    return json.loads(Page((folder / "review" / "review.html").read_text()).scripts[0])["drawn"]


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"items": 5}', '{"seed": 0, "population": {}, "items": {}, "texts": {}, "records": ""}']
)
def test_what_was_drawn_must_be_readable(tmp_path, content):
    folder = make_run(tmp_path, [True])
    draw_review(folder)
    (folder / "review" / "review.json").write_text(content)
    with pytest.raises(EngineError, match="the drawn items"):
        read_filled(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("provenance.jsonl", '{"record": "clip/0/detailed", "objects": 5}'),
        ("provenance.jsonl", '{"record": "clip/0/detailed", "objects": [{"reviewer": 5}]}'),
        ("records.json", '["junk"]'),
        ("records.json", '[{"id": "clip/0/detailed", "conversations": 3}]'),
    ],
)
def test_records_that_were_damaged(tmp_path, name, content):
    folder = make_run(tmp_path, [True])
    (folder / name).write_text(content)
    with pytest.raises(EngineError, match="does not fit the record"):
        draw_review(folder)


def test_smaller_drawings_leave_no_pictures_behind(tmp_path):
    folder = make_run(tmp_path, [True] * 3)
    draw_review(folder)
    (folder / "review" / "media" / "mine.mp4").touch()
    draw_review(folder, 1)
    assert sorted(path.name for path in (folder / "review" / "media").iterdir()) == ["0001.mp4", "mine.mp4"]


def test_the_population_is_what_the_reviewer_said(tmp_path):
    made = reviewed(source(tmp_path), [True, True, True, False], ["Fine.", "", "", "Other."])
    write_records([made], tmp_path, recipe(tmp_path))
    drawn = draw_review(tmp_path)
    assert (drawn.all_kept, drawn.all_discarded) == (1, 1)
    assert read_filled(tmp_path, fill(tmp_path, {"clip/0/detailed": "y"})).table.retained == 0.75


# --- figures ---------------------------------------------------------------------------------------------------------


def test_the_papers_table_gives_the_papers_figures():
    table = ReviewTable(88, 12, 36, 64, population={"kept": 40, "discarded": 60})
    assert {name: round(one["value"], 2) for name, one in table.sample.items()} == PAPER
    low, high = table.sample["precision"]["interval"]
    assert (low, high) == pytest.approx((0.80, 0.93), abs=0.01)


def test_weighted_figures_count_items_as_the_run_has_them():
    """Checked by counting: of 1000 items 400 are kept, 352 of them right; of 600 discarded ones, 216 are right."""
    table = ReviewTable(88, 12, 36, 64, population={"kept": 400, "discarded": 600})
    tp, fp, fn, tn = 352, 48, 216, 384
    weighted = {name: one["value"] for name, one in table.weighted.items()}
    assert weighted == pytest.approx(
        {
            "accuracy": (tp + tn) / 1000,
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
        }
    )
    assert all(low < one["value"] < high for one in table.weighted.values() for low, high in [one["interval"]])


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of 200 made-up checks, about 95 % of the intervals hold the recall of the whole run."""
    rng = np.random.default_rng(0)
    kept, right, missed = 0.4, 0.88, 0.36
    recall = kept * right / (kept * right + (1 - kept) * missed)
    held = 0
    for _ in range(200):
        tp, fn = rng.binomial(100, right), rng.binomial(100, missed)
        table = ReviewTable(tp, 100 - tp, fn, 100 - fn, population={"kept": 400, "discarded": 600})
        low, high = table.weighted["recall"]["interval"]
        held += low <= recall <= high
    assert 180 <= held <= 199


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("counts", "known"),
    [
        ((5, 0, 0, 5), {"accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0}),
        ((0, 5, 0, 5), {"accuracy": 0.5, "precision": 0.0, "recall": None, "f1": None}),
        ((0, 5, 5, 0), {"accuracy": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0}),
        ((4, 1, 0, 0), {"accuracy": None, "precision": 0.8, "recall": None, "f1": None}),
        ((0, 0, 0, 0), {"accuracy": None, "precision": None, "recall": None, "f1": None}),
    ],
)
def test_figures_of_nothing_are_none(counts, known):
    table = ReviewTable(*counts, population={"kept": 10, "discarded": 10})
    assert {name: one["value"] for name, one in table.sample.items()} == known
    assert {name: one["value"] for name, one in table.weighted.items()} == known
    for one in [*table.sample.values(), *table.weighted.values()]:
        assert one["value"] is None or one["interval"][0] <= one["value"] <= one["interval"][1]
    assert json.loads(json.dumps(table.to_json(), allow_nan=False))
    table.table()


# --- a benchmark of checked items ------------------------------------------------------------------------------------


def test_checked_items_become_a_benchmark(run, tmp_path):
    checked = read_filled(run, fill(run, dict(zip(names(0, 1, 4, 5), ["y", "n", "y", "n"], strict=True))))
    out = tmp_path / "bench" / "bench_d.json"
    made = export_bench_d(run, checked, out)
    assert (made.count, made.left_out) == (1, {})
    for mode in ("single", "multi"):
        (item,) = read_descriptions(out, mode=mode)
        assert item.id == "clip/0/detailed"
        assert item.caption == "The square 0 moves to the right."
        assert item.frame == 3
        assert len(item.regions(mode)) == 1


def test_benchmarks_beside_their_videos_have_relative_paths(run):
    checked = read_filled(run, fill(run, {"clip/0/detailed": "y"}))
    export_bench_d(run, checked, run / "bench_d.json")
    assert json.loads((run / "bench_d.json").read_text())[0]["video"] == "videos/clip.mp4"


def test_nothing_to_export(run, tmp_path):
    checked = read_filled(run, fill(run, {"clip/0/detailed": "no", "clip/4/detailed": "yes"}))
    with pytest.raises(EngineError, match="No item was kept and found to be right"):
        export_bench_d(run, checked, tmp_path / "out.json")


def test_items_that_are_gone_are_not_exported(tmp_path):
    folder = make_run(tmp_path, [True, True])
    draw_review(folder)
    checked = read_filled(folder, fill(folder, {"clip/1/detailed": "y"}))
    make_run(folder, [True])
    with pytest.raises(EngineError, match="no longer in"):
        export_bench_d(folder, checked, tmp_path / "out.json")


def test_a_benchmark_without_its_video_is_not_written(tmp_path):
    folder = make_run(tmp_path, [True])
    draw_review(folder)
    checked = read_filled(folder, fill(folder, {"clip/0/detailed": "y"}))
    (folder / "videos" / "clip.mp4").unlink()
    with pytest.raises(EngineError, match=re.escape(f"needs the video {folder / 'videos' / 'clip.mp4'}")) as missing:
        export_bench_d(folder, checked, tmp_path / "out.json")
    assert "--media-root" in str(missing.value)
    assert not (tmp_path / "out.json").exists()


def test_images_are_left_out_of_a_benchmark(tmp_path):
    from PIL import Image

    Image.new("RGB", (80, 48)).save(tmp_path / "one.png")
    picture = dataclasses.replace(source(tmp_path, "picture"), path=str(tmp_path / "one.png"), kind="image")
    made = [reviewed(source(tmp_path), [True]), reviewed(picture, [True])]
    made[1].rows["segmentor"]["objects"] = [{"made": dataclasses.asdict(found(frames=[0]))}]
    write_records(made, tmp_path, recipe(tmp_path))
    draw_review(tmp_path)
    picture_id = "picture/0/detailed"
    checked = read_filled(tmp_path, fill(tmp_path, {"clip/0/detailed": "y", picture_id: "y"}))
    exported = export_bench_d(tmp_path, checked, tmp_path / "out.json")
    assert (exported.count, list(exported.left_out)) == (1, [picture_id])
    assert "image" in exported.left_out[picture_id]
    checked = read_filled(tmp_path, fill(tmp_path, {picture_id: "y"}))
    with pytest.raises(EngineError, match=f"None of the 1 .*'{picture_id}', it is about an image"):
        export_bench_d(tmp_path, checked, tmp_path / "none.json")


def test_items_that_say_something_else_by_now_are_not_exported(tmp_path):
    folder = make_run(tmp_path, [True])
    draw_review(folder)
    checked = read_filled(folder, fill(folder, {"clip/0/detailed": "y"}))
    make_run(folder, [True], ["Something else."])
    with pytest.raises(EngineError, match="no longer in"):
        export_bench_d(folder, checked, tmp_path / "out.json")


# --- the command -----------------------------------------------------------------------------------------------------


def called(*arguments):
    return CliRunner().invoke(app, ["data", "review", *map(str, arguments)])


def test_the_command_draws_and_measures(tmp_path):
    folder = make_run(tmp_path, [True, True, False])
    drawn = called(folder, "--kept", 1)
    assert drawn.exit_code == 0, drawn.output
    assert "kept: 1 of 2 item(s) drawn" in drawn.output
    assert f"--filled {folder}/review/review.csv" in drawn.output
    said = {row["id"]: "yes" if row["kept"] == "true" else "no" for row in rows_of(folder)}
    path = fill(folder, said)
    out = folder / "bench.json"
    result = called(folder, "--filled", path, "--export", "bench-d", out, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output[: result.output.rindex("}") + 1])
    assert (figures["tp"], figures["tn"], figures["paper"]) == (1, 1, PAPER)
    assert len(read_descriptions(out)) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--export", "bench-q", "x.json"], 2, "bench-q"),
        (["--filled", "a.csv", "--truth", "b.json"], 2, "not both"),
        (["--filled", "missing.csv"], 1, "cannot be read"),
    ],
)
def test_the_command_refuses(run, arguments, code, said):
    result = called(run, *arguments)
    assert result.exit_code == code
    assert said in result.output
