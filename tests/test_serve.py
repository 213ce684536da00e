"""`videorefer serve` with the engine of transformers: a real server, asked by many at once."""

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import videorefer_plugin as vr
from tests.serving import Served, as_request, asking, conversation, one_frame, visual, write_clip
from videorefer_plugin.video import open_video

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

KEY = "a-key-that-nobody-knows"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for number in (5, 6, 7, 8):
        path, _ = write_clip(folder, number)
        Image.fromarray(open_video(path).read([8])[0]).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def served(media: Path) -> Iterator[Served]:
    server = Served("--media-root", str(media), "--max-request-mb", "2", "--max-video-seconds", "60", key=KEY)
    yield server
    server.close()


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    from videorefer_plugin.asking import load_model

    return load_model(vr.tiny_checkpoint())


@pytest.fixture(scope="module")
def clips(media: Path) -> list[tuple[Path, list[vr.Region]]]:
    return [write_clip(media, number) for number in (5, 6, 7, 8)]


Asked = tuple[list[dict[str, Any]], list[vr.Region], dict[str, Any]]


def expected(pair: tuple[Any, Any], asked: Asked) -> str:
    """What the processor and `generate` answer."""
    from videorefer_plugin.asking import answer

    conversation, regions, settings = asked
    return answer(*pair, [conversation], [regions], max_new_tokens=24, processor_kwargs=settings)[0]


def questions(path: Path, regions: list[vr.Region]) -> list[Asked]:
    """Ragged ones about a clip and a picture of it: 0 to 4 regions, in one frame or many, next to each other."""
    first, second, third = regions
    image = path.with_suffix(".png")
    box = vr.Region.from_box((4, 4, 30, 30), frame=7)
    flat = [vr.Region.from_box((10 * n, 8, 10 * n + 20, 40)) for n in range(3)]
    color, two = conversation("What color is <region>?", shown=[path]), "Where is <region> with respect to <region>?"
    alone = [
        (path, "What color is <region>?", [one_frame(second)]),
        (path, "What shape is <region>?", [third]),
        (path, "What is <region> doing?", [box]),
        (path, two, [first, second]),
        (path, two, [one_frame(third), box]),
        (path, "<region><region> <region>", [third, second, first]),
        (path, "How do <region>, <region>, <region> and <region> look?", [first, second, third, box]),
        (path, "What happens in the video?", []),
        (path, "", []),
        (image, "What color is <region>?", [flat[0]]),
        (image, two, flat[:2]),
        (image, "<region><region><region>", flat),
        (image, "What is there?", []),
        (None, f"What color is a cross in clip {path.stem}?", []),
    ]
    late = [{"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "video", "video": path}]}]
    turns = ("What color is <region>?", "It is blue.", "And <region>?")
    behind = vr.Region.from_json({"0": {"box": [8, 8, 40, 40]}, "visual": 1})
    return [
        *((conversation(words, shown=[about] if about else []), own, {}) for about, words, own in alone),
        (color, [first], {}),
        (color, [third], {"num_frames": 4}),
        (color, [third], {"fps": 1.0}),
        (color, [third], {"mask_policy": "original", "max_frames_per_region": 2}),
        (conversation(*turns, shown=[path]), [first, second], {}),
        (conversation(*turns, shown=[path], system="You see shapes."), [first, second], {}),
        (conversation(*turns, "Red.", "Why?", shown=[image], system="You see shapes."), flat[:2], {}),
        (conversation("Hello?", "Yes.", "Why?"), [], {}),
        (conversation("Which is <region>?", shown=[path, image]), [behind], {}),
        (conversation("Which is <region>?", shown=[image, path]), [vr.Region({3: box.shape(7)}, visual=1)], {}),
        (late, [], {}),
    ]


@pytest.mark.parametrize("clip", [0, *(pytest.param(clip, marks=pytest.mark.slow) for clip in (1, 2, 3))])
def test_answers_are_those_of_generate(served, pair, clips, clip):
    asked = questions(*clips[clip])
    bodies = [
        as_request(*one[:2], stream=number % 3 == 0, **({"mm_processor_kwargs": one[2]} if one[2] else {}))
        for number, one in enumerate(asked)
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(served.answer, bodies))
    wanted = [expected(pair, one) for one in asked]
    assert [(n, a, w) for n, (a, w) in enumerate(zip(answers, wanted, strict=True)) if a != w] == []
    assert (len(answers), len(set(answers)) > 10) == (25, True)


def test_regions_and_files_may_be_named_in_other_ways(served, pair, clips):
    path, regions = clips[0]
    given = [regions[0].to_json()]
    local = {"type": "video_url", "video_url": {"url": f"file://{path}"}}
    messages = [{"role": "user", "content": [local, {"type": "text", "text": "What color is <region>?"}]}]
    wanted = expected(pair, (conversation("What color is <region>?", shown=[path]), regions[:1], {}))
    for fields in ({"regions": given}, {"chat_template_kwargs": {"regions": given}}):
        assert served.answer({"messages": messages, "max_tokens": 24, **fields}) == wanted


@pytest.mark.parametrize("clients", [8, pytest.param(64, marks=pytest.mark.slow)])
def test_clients_at_once_get_their_own_answers(served, pair, clips, clients):
    """The same question about different objects of several videos; some clients leave in the middle."""
    places = [(path, region) for path, regions in clips for region in regions]
    wanted = [
        expected(pair, (conversation("What color is <region>?", shown=[path]), [region], {}))
        for path, region in places
    ]
    served.answer(asking(*places[0][:1], "What color is <region>?", [places[0][1]]))

    def ask(number: int) -> tuple[str, str]:
        path, region = places[number % len(places)]
        body = asking(path, "What color is <region>?", [region], stream=number % 2 == 0)
        if number % 8 == 7:
            leave_early(served, {**body, "stream": True, "max_tokens": 2000})
            return "", ""
        return served.answer(body), wanted[number % len(places)]

    before = served.memory()
    for _ in range(2):
        with ThreadPoolExecutor(clients) as pool:
            said = list(pool.map(ask, range(clients)))
        assert [one for one in said if one[0] != one[1]] == []
    assert len(set(wanted)) > 3
    assert served.memory() - before < 100 * MEGABYTE


def leave_early(served: Served, body: dict[str, Any]) -> None:
    """Send a request, and close the connection when the answer begins."""
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(head.encode() + data)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_the_one_model_is_listed(served, clips):
    status, listed = served.ask(None, "/models")
    assert (status, [model["id"] for model in listed["data"]]) == (200, ["embedded"])
    path, regions = clips[0]
    assert served.ask(asking(path, "What is <region>?", regions[:1], model="embedded"))[0] == 200
    status, said = served.ask(asking(path, "What is <region>?", regions[:1], model="gpt-4"))
    assert (status, said["error"]["param"]) == (404, "model")


def test_the_client_of_openai_is_understood(served, clips):
    import openai

    path, regions = clips[0]
    client = openai.OpenAI(base_url=served.url, api_key=KEY, max_retries=0)
    body = asking(path, "What color is <region>?", regions[:1])
    given = {"model": client.models.list().data[0].id, "messages": body["messages"], "max_tokens": 24}
    whole = client.chat.completions.create(**given)
    pieces = client.chat.completions.create(**given, stream=True, stream_options={"include_usage": True})
    assert "".join(one.choices[0].delta.content or "" for one in pieces) == whole.choices[0].message.content
    assert whole.usage.completion_tokens > 1
    wrong = {**given, "messages": [{"role": "user", "content": [visual(path), {"type": "text", "text": "<region>"}]}]}
    with pytest.raises(openai.BadRequestError, match="but the list regions holds 2"):
        client.chat.completions.create(**wrong, extra_body={"regions": [{}, {}]})


def test_samples_differ_and_a_seed_repeats_them(served, clips):
    path, regions = clips[1]
    body = asking(path, "How does <region> look?", regions[:1], temperature=2.0)
    with ThreadPoolExecutor(8) as pool:
        free = list(pool.map(served.answer, [{**body, "seed": seed} for seed in range(8)]))
        same = list(pool.map(served.answer, [{**body, "seed": 3}] * 4))
    assert len(set(free)) > 2
    assert set(same) == {free[3]}


# --- who asks it -----------------------------------------------------------------------------------------------------


def test_what_the_page_shows_runs(served, clips, tmp_path, monkeypatch):
    import shutil

    from tests.blocks import read_blocks, run_commands

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    shutil.copy(clips[0][0], "dog.mp4")
    page = Path(__file__).parent.parent / "docs" / "serve.md"
    names: dict[str, Any] = {}
    for language, body in read_blocks(page):
        body = body.replace("http://localhost:8000/v1", served.url)
        # Frames of these clips have 64 pixels a side.
        body = body.replace("40, 30, 120, 100", "4, 3, 40, 40").replace("44, 30, 124, 100", "4, 3, 40, 40")
        if language == "py":
            exec(compile(body.replace("20, 8 * n + 40, 90", "2, 8 * n + 10, 50"), page.name, "exec"), names)
        elif language == "sh":
            run_commands(body.replace("curl -s", "curl -sf"))
    assert len(names["answers"]) == 8


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["single", "multi"])
def test_a_benchmark_is_answered_by_a_server_as_by_the_model(served, tmp_path_factory, monkeypatch, mode):
    from tests.bench_data import write_benchmark
    from videorefer_plugin.bench.benchmarks.registry import benchmark_of
    from videorefer_plugin.bench.choosing import make_answerer
    from videorefer_plugin.bench.evaluate import evaluate

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    folder = write_benchmark(tmp_path_factory.mktemp("bench"))
    items = benchmark_of("q").read(folder / "bench_q.json", None, mode, "error").items
    there = make_answerer("q", "embedded", endpoint=served.url, regions=True, num_frames=8, max_new_tokens=16)
    here = make_answerer("q", vr.tiny_checkpoint(), num_frames=8, max_new_tokens=16)
    assert there.answer(items, mode) == [here.answer([item], mode)[0] for item in items]
    result = evaluate("q", folder / "bench_q.json", there, tmp_path_factory.mktemp("out"), mode=mode, limit=2)
    assert (result["settings"]["sees"], result["failed"]) == ("regions", {})


@pytest.mark.slow
def test_agents_of_the_engine_ask_a_server_about_regions(served, monkeypatch, clips):
    from videorefer_plugin.data_engine.items import Found, Noun, ObjectItem, Source, VideoItem
    from videorefer_plugin.data_engine.registry import make_agent

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path, regions = clips[0]
    objects = [
        ObjectItem(number, Noun("shape", "shape"), Found(region.to_json(), 64, 64, min(region.present), (0, 0, 9, 9)))
        for number, region in enumerate(regions)
    ]
    item = VideoItem(Source("clip", str(path)), 0, tuple(objects))
    asked = {"model": "embedded", "endpoint": served.url}
    for stage, here, there in (
        ("annotator", {"sees": "region"}, {"sees": "region"}),
        ("captioner", {}, {"shows": "region"}),
    ):
        (wanted,) = make_agent(stage, "model", {**here, "max_new_tokens": 128}).run([item])
        (said,) = make_agent(stage, "endpoint", {**there, **asked, "max_tokens": 128}).run([item])
        assert getattr(said, "objects", said) == wanted.objects


# --- what is refused -------------------------------------------------------------------------------------------------


def bomb(kind: str, media: Path) -> str:
    """The address of something that is larger inside than outside, or no visual at all."""
    from tests.media import write_png_header, write_video
    from tests.serving import data_url

    path = media / f"bomb-{kind}.{'png' if 'png' in kind else 'mp4'}"
    if kind == "png-wide":
        write_png_header(path, 60_000, 60_000)
    elif kind == "png-blank":
        Image.new("1", (13_000, 13_000)).save(path)
    elif kind == "long":
        write_video(path, 8, times=range(0, 80_000, 10_000))
    elif kind == "cut":
        path.write_bytes((media / "5.mp4").read_bytes()[:500])
    else:
        path.write_bytes({"text": b"hello", "zeros": bytes(1000), "playlist": b"#EXTM3U\nfile:///etc/passwd\n"}[kind])
    return data_url(path)


@pytest.mark.spread(2)
@pytest.mark.parametrize("kind", ["png-wide", "png-blank", "long", "cut", "text", "zeros", "playlist"])
def test_visuals_that_cannot_be_taken_are_refused(served, media, kind):
    before = served.memory()
    name = "image_url" if "png" in kind else "video_url"
    content = [{"type": name, name: {"url": bomb(kind, media)}}, {"type": "text", "text": "What?"}]
    status, said = served.ask({"messages": [{"role": "user", "content": content}]})
    assert status == 400
    assert str(media) not in said["error"]["message"]
    assert served.memory() - before < 150 * MEGABYTE


def place(place: str) -> dict[str, Any]:
    return {"type": "region", "region": {place: {"box": [1, 2, 30, 40]}}}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([place("900")], "has 16 frame"),
        ([place("time:99")], "beyond|after|end"),
        ([{"type": "region", "region": {"3": {"box": [500, 500, 600, 600]}}}], "outside|pixel|fit"),
        ([{"type": "region", "region": {"3": {"segmentation": {"size": [9, 9], "counts": "91"}}}}], "size|9x9|64"),
        ([{"type": "region", "region": {"3": None}}], "absent|pixel|no frame"),
        ([{"type": "text", "text": "<region>"}], "without a region"),
        ([{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,!!!!"}}], "not valid base64"),
        ([{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,"}}], "empty|no content"),
        ([{"type": "video_url", "video_url": {"url": "http://127.0.0.1:1/a.mp4"}}], "not public"),
        ([{"type": "video_url", "video_url": {"url": "http://[::1]:1/a.mp4"}}], "not public"),
        ([{"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data"}}], "not public"),
        ([{"type": "video_url", "video_url": {"url": "file:///etc/passwd"}}], "may not be read"),
    ],
)
def test_bad_parts_are_refused_with_a_reason(served, clips, parts, said):
    content = [visual(clips[0][0]), *parts, {"type": "text", "text": "?"}]
    status, reply = served.ask({"messages": [{"role": "user", "content": content}]})
    assert status == 400
    assert re.search(said, reply["error"]["message"]), reply


def test_files_outside_the_folder_are_not_read(served, media):
    outside = media.parent / "outside.png"
    Image.new("RGB", (64, 64)).save(outside)
    (media / "link.png").symlink_to(outside)
    for path in (outside, media / "link.png", media / ".." / "outside.png", media / "absent.png"):
        image = {"type": "image_url", "image_url": {"url": f"file://{path}"}}
        status, said = served.ask({"messages": [{"role": "user", "content": [image]}]})
        assert status == 400
        assert str(media.parent) not in said["error"]["message"]


def test_a_request_that_is_too_large_is_not_held(served):
    before = served.memory()
    for size in (3, 7):
        status, said = served.ask(b"[" + b" " * (size * MEGABYTE))
        assert status == 413
        assert "2000000 bytes" in said["error"]["message"]
    assert served.memory() - before < 30 * MEGABYTE


def test_no_address_but_those_of_the_form_is_open(served):
    root = served.url.removesuffix("/v1")
    for path in ("/completions", "/responses", "/audio/transcriptions", "/../reset", "/../load_model", "/../docs"):
        status, _ = served.ask({}, path)
        assert status in (404, 405), path
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nX-Request-ID: a b\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400")
    assert root.startswith("http://127.0.0.1:")


def test_the_log_names_requests_and_neither_keys_nor_questions(served, clips):
    path, regions = clips[0]
    served.ask(asking(path, "What secret color is <region>?", regions[:1]), **{"X-Request-ID": "mine-77"})
    status, said = served.ask({}, "/models", **{"Authorization": "Bearer wrong-key-1"})
    assert status == 401
    deadline = time.monotonic() + 10
    while not any("mine-77" in line for line in served.log) and time.monotonic() < deadline:
        time.sleep(0.05)
    log = "".join(served.log)
    assert "mine-77 POST /v1/chat/completions 200" in log
    assert not any(word in log + json.dumps(said) for word in (KEY, "wrong-key-1", "secret color", str(path)))
    assert "Traceback" not in log


# --- other servers ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_attached_host_is_served_and_stops_when_it_has_answered(tmp_path, clips):
    """SIGTERM comes while an answer is written, which is finished."""
    from tests.tiny_hosts import BY_NAME
    from videorefer_plugin.asking import load_model

    model, processor = BY_NAME["llava_onevision"].attached()
    model.save_pretrained(tmp_path / "host")
    processor.save_pretrained(tmp_path / "host")
    model.save_object_encoder(tmp_path / "encoder")
    pair = load_model(tmp_path / "host", object_encoder=tmp_path / "encoder")
    path, regions = clips[0]
    about = conversation("What is <region> doing?", shown=[path])
    server = Served("--model", str(tmp_path / "host"), "--object-encoder", str(tmp_path / "encoder"))
    try:
        for own in ([regions[0]], [one_frame(regions[1])]):
            wanted = expected(pair, (about, own, {"num_frames": 4}))
            body = as_request(about, own, mm_processor_kwargs={"num_frames": 4})
            assert server.answer(body) == wanted
            # Random weights may end within a character, which a stream keeps to itself.
            assert server.answer({**body, "stream": True}).rstrip("\ufffd") == wanted.rstrip("\ufffd")
        assert server.ask(None, "/models")[1]["data"][0]["id"] == "host"
        with ThreadPoolExecutor(1) as pool:
            last = pool.submit(server.answer, {**body, "max_tokens": 200, "stream": True})
            time.sleep(0.2)
            assert server.stop() == 0
            assert last.result().startswith(wanted[:10])
    finally:
        server.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "magic"], "There is no engine 'magic'"),
        (["--api-key", "short"], "at least 8 characters"),
        (["--model", "no/where"], "no/where"),
        (["--media-root", "nowhere"], "'nowhere' does not exist"),
        (["--max-regions", "0"], "above 0"),
        (["--host", "no.such.host.invalid"], "not an address to listen at"),
    ],
)
def test_a_server_that_cannot_start_says_why(options, said):
    from typer.testing import CliRunner

    from videorefer_plugin.cli import app

    result = CliRunner().invoke(app, ["serve", "--port", "0", *options])
    assert result.exit_code == 1
    assert said in " ".join(result.stderr.split())
    assert "short" not in result.stderr or options[0] != "--api-key"


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded():
    from typer.testing import CliRunner

    from videorefer_plugin.cli import app

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = CliRunner().invoke(app, ["serve", "--port", str(port)])
    assert result.exit_code == 1
    assert f"port {port}, cannot be listened at" in " ".join(result.stderr.split())
