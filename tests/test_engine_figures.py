"""Pictures of records and benchmark files: what they count, and that they are drawn."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.engine_states import masks, recipe, reviewed, source
from tests.training_data import all_kinds, turns, write_json, write_media
from videorefer_plugin.cli import app
from videorefer_plugin.data_engine.figure_counts import bench_counts, record_counts
from videorefer_plugin.data_engine.figures import draw_figures
from videorefer_plugin.data_engine.items import GivenObject, Noun, Question, Refined
from videorefer_plugin.data_engine.records import write_records
from videorefer_plugin.errors import BenchError, ConfigurationError, EngineError, RecordError

HOSTILE = "a $x^{$ _weird_ \u4eba name \U0001f680"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three detailed records of one video, of objects with odd names."""
    folder = tmp_path_factory.mktemp("run")
    made = reviewed(source(folder), [True, True, True])
    for number, noun in enumerate((HOSTILE, "Dog", "dog")):
        made.rows["analyzer"]["objects"][number] = {"made": dataclasses.asdict(Noun(noun))}
    write_records([made], folder, recipe(folder))
    return folder


def bench_q(folder, **changed):
    item = {
        "id": 0,
        "video": "nowhere.mp4",
        "Question": "What does <object1><region> do beside <object2><region>?",
        "options": ["(A) It rests.", "(B) It runs.", "(C) It sings."],
        "Answer": "(B)",
        "type": "Relationship Questions",
        "annotation": [masks(frames=[0, 1, 2], absent=[3]), masks(frames=[4])],
    } | changed
    (folder / "bench.json").write_text(json.dumps([item, item | {"type": "Future Predictions"}]))
    return folder / "bench.json"


def test_records_are_counted(run):
    counts = record_counts("all", [run / "records.json"])
    assert (counts.records, counts.bad, counts.videos) == (3, 0, 1)
    assert counts.types == {"detailed captions": 3}
    assert counts.words["detailed captions"] == {7: 3}
    assert counts.frames == {12: 3}
    assert counts.objects == {1: 3}
    assert counts.nouns["dog"] == 2
    assert counts.media == {"video, with objects": 3}
    assert counts.seconds == [pytest.approx(12 / 25)]


def test_questions_are_counted_by_their_kinds(tmp_path):
    questions = [Question(kind, "What about <region>?", "It is so.", (0,)) for kind in ("basic", "future", "future")]
    given = (GivenObject("the square", masks()),)
    from tests.engine_states import state

    made = state(source(tmp_path, objects=given), {"refiner": [Refined(questions=tuple(questions))]})
    write_records([made], tmp_path, recipe(tmp_path, "qa"))
    counts = record_counts("qa", [tmp_path / "records.json"])
    assert counts.types == {"basic questions": 1, "future predictions": 2}
    assert counts.objects == {1: 1}  # one object, asked about three times
    (tmp_path / "provenance.jsonl").unlink()
    assert record_counts("qa", [tmp_path / "records.json"]).types == {"other questions": 3}


@pytest.mark.parametrize(
    "line",
    [
        "junk",
        "5",
        '{"record": null}',
        '{"record": ID, "questions": 5, "objects": 5}',
        '{"record": ID, "questions": [5], "objects": [5, {}, {"analyzer": 5}, {"analyzer": {"text": []}}]}',
    ],
)
@pytest.mark.parametrize("first", ["junk", None, {}])
def test_provenance_that_says_nothing_is_not_needed(run, tmp_path, line, first):
    records = json.loads((run / "records.json").read_text())
    (tmp_path / "records.json").write_text(json.dumps([first, records[0]]))
    (tmp_path / "provenance.jsonl").write_text(f"{line}\n" + line.replace("ID", json.dumps(records[0]["id"])) + "\n")
    counts = record_counts("all", [tmp_path / "records.json"])
    assert (counts.records, counts.bad) == (2, 1)
    assert counts.types == {"detailed captions": 1}
    assert not counts.nouns


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("Please describe the object <region> in the video in brief.", "short captions"),
        ("Please describe in detail the object <region> in the video.", "detailed captions"),
        ("Please give a detailed description of the highlighted object [<region>] in the video.", "detailed captions"),
        ("What is <region>?\n(A) a cat\n(B) a dog", "questions with options"),
        ("What is <region>?", "other questions"),
    ],
)
def test_types_of_records_of_others_are_told_from_their_words(tmp_path, prompt, kind):
    record = {"video": "v.mp4", "conversations": turns(f"<video>\n{prompt}", "Yes."), "annotation": [masks()]}
    counts = record_counts("x", [write_json(tmp_path / "x.json", [record, {"conversations": "none"}])])
    assert counts.types == {kind: 1}
    assert (counts.records, counts.bad) == (2, 1)


def test_benchmarks_are_counted_without_their_videos(tmp_path):
    counts = bench_counts(bench_q(tmp_path))
    assert (counts.kind, counts.items, counts.videos) == ("q", 2, 1)
    assert counts.types == {"Relationship Questions": 1, "Future Predictions": 1}
    assert counts.options == {3: 2}
    assert counts.objects == {2: 2}
    assert counts.frames == {3: 2, 1: 2}


def looks_drawn(path):
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert min(pixels.shape[:2]) >= 400
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_pictures_are_drawn(run, tmp_path):
    media = write_media(tmp_path)
    others = write_json(media / "kinds.json", list(all_kinds().values()))
    describing = tmp_path / "bench_d.json"
    describing.write_text(json.dumps([{"video": "a", "caption": "A dog runs.", "annotation": [masks()]}]))
    files = [f"$a={run / 'records.json'}", f"b={others}", f"b={others}", bench_q(tmp_path), describing]
    written = draw_figures(files, tmp_path / "figures")
    names = ["data_types.png", "stages.png", "bench_bench.png", "bench_bench_d.png"]
    assert [path.name for path in written] == names
    for path in written:
        looks_drawn(path)


@pytest.mark.slow
def test_each_benchmark_file_has_a_picture_of_its_own(tmp_path):
    files = []
    for name in ("a/x", "b/x", "c/x", "d"):
        (tmp_path / name).mkdir(parents=True)
        files.append(bench_q(tmp_path / name))
    written = draw_figures([*files, files[0]], tmp_path / "figures")
    names = ["bench_bench", "bench_x_bench", "bench_x_bench_2", "bench_d_bench", "bench_x_bench_3"]
    assert [path.stem for path in written] == names


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (None, RecordError, "not there"),
        ("[]", EngineError, "no record that can be used"),
        ('[{"conversations": 3}]', EngineError, "no record that can be used"),
        ('[{"Question": 3, "annotation": []}]', EngineError, "not an item of this benchmark"),
        ('[{"Question": "a", "annotation": [], "options": 5}]', EngineError, "options that are not a list, but 5"),
        ('[{"Question": "a", "annotation": [], "options": "(A)"}]', EngineError, "options that are not a list"),
        ('[{"caption": "a", "annotation": 3}]', EngineError, "not an item of this benchmark"),
        ('[{"caption": "a"}, 3]', EngineError, "not an item of this benchmark"),
        ('[{"caption": "a", "annotation": []}, {]', BenchError, "line 1"),
        ("{", EngineError, "no record that can be used"),
    ],
)
def test_files_that_cannot_be_drawn(tmp_path, content, error, said):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=said):
        draw_figures([path], tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_nothing_and_nowhere(run, tmp_path):
    with pytest.raises(ConfigurationError, match="nothing to draw"):
        draw_figures([], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        draw_figures([run / "records.json"], tmp_path / "file")


@pytest.mark.slow
def test_without_matplotlib_the_extra_is_named(run, tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from videorefer_plugin.data_engine.figures import draw_figures\n"
        f"draw_figures([{str(run / 'records.json')!r}], {str(tmp_path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "EngineError" in done.stderr
    assert "videorefer-plugin[engine]" in done.stderr


def test_the_command(run, tmp_path):
    result = CliRunner().invoke(app, ["data", "figures", str(run / "records.json"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "data_types.png").is_file()
    result = CliRunner().invoke(app, ["data", "figures", str(tmp_path / "no.json"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
