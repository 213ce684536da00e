"""Whole evaluations with the tiny checkpoint: from files to tables, in parts, interrupted and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.bench_data import as_frame_folders, change_item, read_items, write_benchmark
from tests.conftest import CHECKPOINT
from tests.training_runs import raise_when
from videorefer_plugin.bench import (
    ChatEndpoint,
    ChatJudge,
    MarkedEndpoint,
    MarkedModel,
    RegionModel,
    RuleJudge,
    Shard,
    evaluate_descriptions,
    evaluate_questions,
    read_questions,
)
from videorefer_plugin.bench.runner import ItemError, run
from videorefer_plugin.bench.store import Store
from videorefer_plugin.cli import app
from videorefer_plugin.errors import BenchError

TOKENS = 6


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_benchmark(tmp_path_factory.mktemp("bench"))


def rows(folder, kind="answers"):
    """Lines of all processes, in order."""
    return [json.loads(line) for path in sorted(folder.glob(f"{kind}-*.jsonl")) for line in path.open()]


def table(result):
    """What must not depend on when and in how many parts a run was made."""
    parts = {key: value for key, value in result.items() if key not in ("path", "dates")}
    for name in ("settings", "judge"):
        parts[name] = {key: value for key, value in (parts.get(name) or {}).items() if key != "endpoint"}
    return parts


# --- from files to tables --------------------------------------------------------------------------------------------


def test_questions_from_videos_and_from_folders_of_frames(bench, tmp_path, shared_model, processor):
    folders = as_frame_folders(bench, tmp_path / "frames")
    model = RegionModel(shared_model, processor=processor, max_new_tokens=TOKENS)
    by_file, by_folder = (
        evaluate_questions(place / "bench_q.json", model, tmp_path / out, batch_size=3)
        for place, out in ((bench, "a"), (folders, "b"))
    )
    # Frames decoded from a video are the same pictures as PNGs of them.
    assert [row["prediction"] for row in by_file["scores"]["items"]] == [
        row["prediction"] for row in by_folder["scores"]["items"]
    ]
    assert by_file["answered"] == by_file["items"] == 10
    assert sum(cell["total"] for cell in by_file["scores"]["tables"]["strict"]["types"].values()) == 10
    assert json.loads(Path(by_file["path"]).read_text())["scores"] == json.loads(json.dumps(by_file["scores"]))


def test_answers_are_those_of_ask(bench, tmp_path, shared_model, processor):
    import videorefer_plugin as vr

    model = RegionModel(shared_model, processor=processor, max_new_tokens=TOKENS)
    items = read_questions(bench / "bench_q.json", mode="single")[:2]
    for mode in ("single", "multi"):
        answers = model.answer(items, mode)
        for item, found in zip(items, answers, strict=True):
            asked = vr.ask(
                shared_model, item.video, item.prompt, item.regions(mode), processor=processor, max_new_tokens=TOKENS
            )
            assert found == asked


def test_modes_and_settings_make_other_configurations(bench, tmp_path, shared_model, processor):
    model = RegionModel(shared_model, processor=processor, max_new_tokens=2)
    paths = {
        evaluate_questions(bench / "bench_q.json", one, tmp_path, mode=mode, limit=2)["path"]
        for mode, one in (
            ("single", model),
            ("multi", model),
            ("multi", RegionModel(shared_model, processor=processor, max_new_tokens=2, max_frames_per_region=3)),
            ("multi", RegionModel(shared_model, processor=processor, max_new_tokens=2, mask_policy="original")),
        )
    }
    assert len(paths) == 4
    assert len(rows(tmp_path)) == 8


def test_descriptions_judged_by_rule_by_endpoint_and_by_nobody(bench, tmp_path, server, shared_model, processor):
    model = RegionModel(shared_model, processor=processor, max_new_tokens=TOKENS)
    data = bench / "bench_d.json"
    described = evaluate_descriptions(data, model, None, tmp_path)
    assert described["scores"] is None
    ruled = evaluate_descriptions(data, model, RuleJudge(), tmp_path)
    assert ruled["scores"]["dimensions"]["SC"]["count"] == 5
    judged = evaluate_descriptions(data, model, ChatJudge(ChatEndpoint("a-judge", base_url=server.url)), tmp_path)
    assert len(rows(tmp_path)) == 5  # described once
    assert judged["judge"]["name"] == "a-judge"
    assert judged["judge"]["temperature"] == 0
    assert len(judged["judge"]["prompt_hash"]) == 12
    assert len(judged["dates"]) == 2
    asked = [request["messages"][-1]["content"] for request in server.requests]  # several at the same time
    assert len(asked) == 5
    assert all(sum(record["caption"] in text for text in asked) == 1 for record in read_items(data))
    said = [json.loads(row["reply"]) for row in judged["scores"]["items"]]
    for code in ("SC", "AD", "TD", "HD"):
        expected = sum(scores[code] for scores in said) / len(said)
        assert judged["scores"]["dimensions"][code]["mean"] == pytest.approx(expected)


def test_the_same_model_seeing_marks(bench, tmp_path, shared_model, processor):
    model = MarkedModel(shared_model, "contour", processor=processor, num_frames=8, max_new_tokens=TOKENS)
    result = evaluate_questions(bench / "bench_q.json", model, tmp_path, mode="multi", batch_size=5)
    assert result["answered"] == 10
    other = MarkedModel(shared_model, "mask", processor=processor, num_frames=8, max_new_tokens=TOKENS)
    filled = evaluate_questions(bench / "bench_q.json", other, tmp_path, mode="multi", batch_size=5)
    assert result["path"] != filled["path"]
    assert result["scores"]["items"] != filled["scores"]["items"]  # it does see them


def test_a_model_behind_an_endpoint_sees_marked_frames(bench, tmp_path, server):
    import base64
    import io

    import numpy as np
    from PIL import Image

    server.reply = lambda messages: "The answer is (A)."
    model = MarkedEndpoint(ChatEndpoint("sees-frames", base_url=server.url), "box", num_frames=4)
    result = evaluate_questions(bench / "bench_q.json", model, tmp_path, limit=3)
    assert [row["letter"]["strict"] for row in result["scores"]["items"]] == ["A"] * 3
    content = server.requests[0]["messages"][0]["content"]
    frames = [part for part in content if part["type"] == "image_url"]
    assert len(frames) == 4
    assert "<region>" not in content[-1]["text"]
    assert "Object 1 is framed with a box in red" in content[-1]["text"]
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].split(",")[1])))).astype(int)
        for part in frames
    ]
    red = [int(((p[..., 0] > 180) & (p[..., 1] < 80) & (p[..., 2] < 80)).sum()) for p in pictures]
    assert sum(count > 20 for count in red) >= 1  # marked in one frame, as single-frame mode has it


# --- parts and interruptions -----------------------------------------------------------------------------------------


def test_shards_share_the_items_and_the_last_one_has_the_whole_table(bench, tmp_path, shared_model, processor):
    model = RegionModel(shared_model, processor=processor, max_new_tokens=TOKENS)
    whole = evaluate_questions(bench / "bench_q.json", model, tmp_path / "whole", batch_size=2)
    for rank in range(3):
        result = evaluate_questions(bench / "bench_q.json", model, tmp_path / "s", batch_size=2, shard=Shard(rank, 3))
    ids = [row["id"] for row in rows(tmp_path / "s")]
    assert sorted(ids) == sorted({row["id"] for row in rows(tmp_path / "whole")})
    assert len(list((tmp_path / "s").glob("answers-*.jsonl"))) == 3
    assert table(result) == table(whole)


def test_a_second_run_asks_nothing_and_loads_no_model(bench, tmp_path):
    arguments = [str(bench / "bench_q.json"), "--model", str(CHECKPOINT), "--out", str(tmp_path), "--limit", "2"]
    first = CliRunner().invoke(app, ["bench", "q", *arguments, "--max-new-tokens", "2"])
    assert first.exit_code == 0, first.output
    before = rows(tmp_path)
    model = RegionModel(str(CHECKPOINT), max_new_tokens=2)
    evaluate_questions(bench / "bench_q.json", model, tmp_path, limit=2)
    assert model._loaded is None
    assert rows(tmp_path) == before


def test_another_checkpoint_in_the_same_place_is_another_configuration(bench, tmp_path):
    from tests.checkpoints import make_checkpoint, weights

    folder = make_checkpoint(tmp_path / "model")
    first = RegionModel(str(folder)).settings()
    assert RegionModel(str(folder)).settings() == first
    changed = {name: value + 1e-3 if "lm_head" in name else value for name, value in weights().items()}
    make_checkpoint(tmp_path / "other", changed)
    os.replace(tmp_path / "other" / "model.safetensors", folder / "model.safetensors")
    assert RegionModel(str(folder)).settings() != first


def start(*arguments, **environment):
    command = [sys.executable, "-m", "videorefer_plugin.cli", "bench", *arguments]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def kill_at(process, path, lines):
    """Kill a process as soon as a file has so many lines."""
    end = time.monotonic() + 600
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, f"it ended by itself: {process.communicate()[0]}"
        assert time.monotonic() < end, "it is too slow"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow  # what a kill leaves is in tests/test_bench_edited_files.py, and a run that goes on is below
def test_killed_while_generating_and_while_judging(bench, tmp_path, server):
    """The table is that of an uninterrupted run, and nothing is done twice."""
    data, tokens = bench / "bench_d.json", 150
    arguments = [str(data), "--model", str(CHECKPOINT), "--max-new-tokens", str(tokens), "--batch-size", "2"]
    arguments += ["--judge", "endpoint", "--judge-model", "a-judge", "--judge-endpoint", server.url]
    arguments += ["--judge-workers", "1", "--out"]
    killed = tmp_path / "killed"
    process = start("d", *arguments, str(killed))
    kill_at(process, killed / "answers-0.jsonl", 1)
    generated = rows(killed)
    assert 0 < len(generated) < 5
    assert not server.requests
    # A line that was cut short by the kill is not taken for an answer.
    with (killed / "answers-0.jsonl").open("a") as file:
        file.write('{"id": "heldout-0000')

    # Generate the rest, but judge nothing yet.
    model = RegionModel(str(CHECKPOINT), max_new_tokens=tokens)
    evaluate_descriptions(data, model, None, killed, batch_size=2)
    assert [row["id"] for row in rows(killed)] == [record["id"] for record in read_items(data)]
    assert rows(killed)[: len(generated)] == generated

    server.delay = 0.5
    process = start("d", *arguments, str(killed))
    kill_at(process, killed / "judgements-0.jsonl", 2)
    server.delay = 0
    judged = len(rows(killed, "judgements"))
    assert judged < 5
    finished = CliRunner().invoke(app, ["bench", "d", *arguments, str(killed)])
    assert finished.exit_code == 0, finished.output
    replies = [row["id"] for row in rows(killed, "judgements")]
    assert len(replies) == len(set(replies)) == 5
    assert len(server.requests) <= 6  # the one that was under way when it was killed is asked again

    whole = CliRunner().invoke(app, ["bench", "d", *arguments, str(tmp_path / "whole")])
    assert whole.exit_code == 0, whole.output
    one, other = (
        json.loads(next((folder / "results").glob("d-*-*.json")).read_text())
        for folder in (killed, tmp_path / "whole")
    )
    assert table(one) == table(other)


def test_an_answer_file_that_was_meddled_with_is_named(bench, tmp_path):
    with Store(tmp_path, "answers", {"model": "x"}) as store:
        store.append([{"id": "1", "prediction": "a"}])
        (tmp_path / "answers-0.jsonl").write_text("junk\n")
        with pytest.raises(BenchError, match=r"answers-0\.jsonl, line 1 is damaged"):
            store.done()
        with pytest.raises(BenchError, match="being written by another process"):
            Store(tmp_path, "answers", {"model": "x"})


def about_few_videos(bench, target, copies=3):
    """The benchmark with every item several times, first all items once: those about one video lie far apart."""
    items = read_items(bench / "bench_q.json")
    items = [{**item, "id": f"{item['id']}/{copy}"} for copy in range(copies) for item in items[:6]]
    target.write_text(json.dumps(items))
    return target


def predictions(folder):
    return {row["id"]: row["prediction"] for row in rows(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["single", "multi"])
def test_items_about_one_video_are_answered_as_each_would_be_alone(bench, tmp_path, shared_model, processor, mode):
    data = about_few_videos(bench, bench / "few.json")
    model = RegionModel(shared_model, processor=processor, max_new_tokens=TOKENS)
    alone = {item.id: model.answer([item], mode)[0] for item in read_questions(data, mode=mode)}
    results = []
    for batch_size in (1, 4, 5):
        results.append(evaluate_questions(data, model, tmp_path / str(batch_size), mode=mode, batch_size=batch_size))
        assert predictions(tmp_path / str(batch_size)) == alone
    assert [row["id"] for row in results[0]["scores"]["items"]] == [item["id"] for item in read_items(data)]
    assert table(results[0]) == table(results[1]) == table(results[2])


def test_a_run_that_went_through_the_file_line_by_line_goes_on(bench, tmp_path, shared_model, processor):
    """Earlier versions worked on the items in the order of the file, and shared them between processes one by one."""
    data = about_few_videos(bench, bench / "few.json")
    model = RegionModel(shared_model, processor=processor, max_new_tokens=TOKENS)
    whole = evaluate_questions(data, model, tmp_path / "whole", batch_size=4)
    said = predictions(tmp_path / "whole")
    names = [item["id"] for item in read_items(data)]
    begun = {0: names[0:8:2], 1: names[1::2]}  # the second of two processes was through
    for rank, done in begun.items():
        with Store(tmp_path / "begun", "answers", whole["settings"], rank) as store:
            store.append({"id": name, "prediction": said[name]} for name in done)
    result = evaluate_questions(data, model, tmp_path / "begun", batch_size=4, shard=Shard(0, 2))
    assert table(result) == table(whole)
    assert len(rows(tmp_path / "begun")) == len(names)
    assert predictions(tmp_path / "begun") == said


def test_sigterm_ends_a_run_and_the_same_command_goes_on(bench, tmp_path):
    command = ["bench", "q", str(bench / "bench_q.json"), "--model", str(CHECKPOINT), "--batch-size", "1", "--out"]

    def lines():
        return sum(path.read_bytes().count(b"\n") for path in (tmp_path / "stopped").glob("answers-*.jsonl"))

    assert CliRunner().invoke(app, [*command, str(tmp_path / "whole")]).exit_code == 0
    raise_when(lambda: lines() >= 2, signal.SIGTERM)
    stopped = CliRunner().invoke(app, [*command, str(tmp_path / "stopped")])
    assert stopped.exit_code == 143, stopped.output
    assert 2 <= lines() < 10
    before = rows(tmp_path / "stopped")
    assert CliRunner().invoke(app, [*command, str(tmp_path / "stopped")]).exit_code == 0
    assert rows(tmp_path / "stopped")[: len(before)] == before
    assert predictions(tmp_path / "stopped") == predictions(tmp_path / "whole")


# --- items that fail -------------------------------------------------------------------------------------------------


def test_an_item_that_fails_is_counted_and_the_others_are_answered(bench, tmp_path, shared_model, processor):
    (bench / "videos" / "broken.mp4").write_bytes(b"this is no video")
    data = change_item(bench / "bench_q.json", bench / "broken.json", 1, video="videos/broken.mp4")
    model = RegionModel(shared_model, processor=processor, max_new_tokens=2)
    result = evaluate_questions(data, model, tmp_path, batch_size=5)
    name = read_items(data)[1]["id"]
    assert list(result["failed"]) == [name]
    assert "broken.mp4" in result["failed"][name]
    assert result["answered"] == 9
    assert result["scores"]["missing"] == [name]
    assert result["scores"]["tables"]["compatible"]["overall"]["total"] == 10


def test_many_failures_in_a_row_stop_the_run(bench, tmp_path):
    items = read_questions(bench / "bench_q.json") * 2
    asked = []

    def work(batch):
        asked.append(batch)
        return [ItemError("it is down") for _ in batch]

    with (
        Store(tmp_path, "answers", {}) as store,
        pytest.raises(BenchError, match=r"8 items failed in a row.*it is down"),
    ):
        run(items, work, store)
    assert len(asked) == 8


def test_a_video_with_many_items_that_is_broken_stops_nothing(bench, tmp_path, shared_model, processor):
    (bench / "videos" / "broken.mp4").write_bytes(b"this is no video")
    items = read_items(bench / "bench_q.json")
    broken = [{**items[0], "id": f"broken/{number}", "video": "videos/broken.mp4"} for number in range(9)]
    (bench / "many.json").write_text(json.dumps([*broken, items[0]]))
    model = RegionModel(shared_model, processor=processor, max_new_tokens=2)
    for batch_size in (1, 4):
        result = evaluate_questions(bench / "many.json", model, tmp_path / str(batch_size), batch_size=batch_size)
        assert list(result["failed"]) == [item["id"] for item in broken]
        assert result["answered"] == 1
        assert all(f"item {name!r}: Sample 0: " in reason for name, reason in result["failed"].items())


def test_a_model_without_regions_is_said(bench, tmp_path):
    from tests.tiny_hosts import BY_NAME

    row = BY_NAME["llava_onevision"]
    model = RegionModel(row.model(), processor=row.processor())
    with pytest.raises(BenchError, match="takes no regions"):
        evaluate_questions(bench / "bench_q.json", model, tmp_path)


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl", "smolvlm", "internvl"])
def test_hosts_with_regions_and_hosts_that_see_marks(bench, tmp_path, name):
    from tests.tiny_hosts import BY_NAME

    row = BY_NAME[name]
    model, processor = row.attached()
    regions = RegionModel(model, processor=processor, max_new_tokens=2, max_frames_per_region=2)
    marks = MarkedModel(row.model(), "mask", processor=row.processor(), num_frames=4, max_new_tokens=2)
    for answerer in (regions, marks):
        result = evaluate_questions(bench / "bench_q.json", answerer, tmp_path, mode="multi", batch_size=2, limit=2)
        assert result["answered"] == 2, result["failed"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "openai"], "takes no regions"),
        (["--marks", "box", "--endpoint", "notaurl"], "expected one such as http://localhost:8000/v1"),
        (["--marks", "box", "--object-encoder", "x"], "exclude each other"),
        (["--rank", "1"], "belong together"),
        (["--rank", "2", "--world-size", "2"], "expected a rank"),
        (["--media-root", "nowhere"], "which is not in nowhere"),
    ],
)
def test_bad_options_are_said_before_a_model_is_loaded(bench, tmp_path, arguments, said):
    command = ["bench", "q", str(bench / "bench_q.json"), "--model", "nowhere/at-all", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*command, *arguments])
    assert result.exit_code == 1
    assert said in " ".join(result.output.split())
