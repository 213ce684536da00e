"""Requests with regions before any model sees them: their form, and who may come in how often."""

import asyncio
import json
from typing import Any

import pytest

import videorefer_plugin as vr
from videorefer_plugin.errors import ServeError, VideoReferError
from videorefer_plugin.serve.door import Door
from videorefer_plugin.serve.engines import run
from videorefer_plugin.serve.fetching import fetch
from videorefer_plugin.serve.limits import Limits
from videorefer_plugin.serve.middleware import CHAT_PATH, RegionParts
from videorefer_plugin.serve.request import read_request
from videorefer_plugin.serve.running import ServeSettings
from videorefer_plugin.serve.sources import Sources
from videorefer_plugin.serve.vllm.running import vllm_arguments

BOX = {"3": {"box": [1, 2, 30, 40]}}
VIDEO = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}
KEY = "a-key-that-nobody-knows"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def region(place: Any = None) -> dict[str, Any]:
    return {"type": "region", "region": BOX if place is None else place}


def asked(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], **fields}


def read(body: Any, **limits: Any) -> Any:
    return read_request(body, Limits(**limits))


# --- the form --------------------------------------------------------------------------------------------------------


def test_regions_stand_between_the_words():
    body = asked(VIDEO, text("Is "), region(), region({"5": {"box": [2, 2, 9, 9]}}), text(" red?"))
    request = read(body)
    (message,) = request.messages
    assert message["content"] == [VIDEO, text("Is <region><region> red?")]
    assert request.regions == [vr.Region.from_json(BOX), vr.Region.from_box((2, 2, 9, 9), frame=5)]


@pytest.mark.parametrize("beside", ["regions", "mm_processor_kwargs", "chat_template_kwargs"])
def test_regions_may_be_a_list_beside_the_conversation(beside):
    given = {"regions": [BOX]}
    body = asked(VIDEO, text("What is <region>?"), **(given if beside == "regions" else {beside: given}))
    assert read(body) == read(asked(VIDEO, text("What is "), region(), text("?")))


def test_what_is_translated_means_the_same_once_more():
    body = asked(VIDEO, text("What is "), region(), text("?"), mm_processor_kwargs={"num_frames": 4}, temperature=0)
    body["messages"] += [{"role": "assistant", "content": "A <region>."}, {"role": "user", "content": "Why?"}]
    once = read(body)
    assert once.messages[1]["content"] == [text("A < region>.")]
    assert read(once.to_json("chat_template_kwargs")) == once


@pytest.mark.parametrize(("given", "told"), [({}, 0), ({"temperature": None}, 0), ({"temperature": 0.7}, 0.7)])
def test_answers_are_greedy_where_no_temperature_is_given(given, told):
    body = json.dumps(asked(text("Hello"), **given)).encode()
    assert json.loads(RegionParts(None).translated(body))["temperature"] == told


def test_options_for_vllm_are_handed_on_unless_they_are_ours():
    def arguments(*options):
        return vllm_arguments("model", ServeSettings(engine_options=options), ["--block-size", "32"])

    assert arguments("--block-size=16")[-3:] == ["--block-size", "32", "--block-size=16"]  # the last one counts
    for option, said in (("--api_key=secret-key-1", "option of videorefer serve"), ("--middleware", "Leave it out")):
        with pytest.raises(ServeError, match=said) as caught:
            arguments("--max-model-len", "512", option)
        assert "secret" not in str(caught.value)
    with pytest.raises(ServeError, match=r"--max-model-len 512 are for the server of vLLM, but .* transformers"):
        run("transformers", ServeSettings(engine_options=("--max-model-len", "512")), print)


MASK = {"3": {"segmentation": {"size": [100_000, 100_000], "counts": "abc"}}}
MALFORMED: dict[str, tuple[Any, str]] = {
    "no-object": ([], "is an object"),
    "text": ("hello", "is an object"),
    "nothing": ({}, "list of messages"),
    "no-messages": ({"messages": []}, "an empty one"),
    "messages-object": ({"messages": {}}, "this is an object"),
    "message-text": ({"messages": ["hello"]}, "messages.0. must be an object"),
    "no-role": ({"messages": [{"content": "a"}]}, "has the role None"),
    "role": ({"messages": [{"role": "wizard", "content": "a"}]}, "has the role 'wizard'"),
    "tool": ({"messages": [{"role": "tool", "content": "a"}]}, "has the role 'tool'"),
    "no-content": ({"messages": [{"role": "user"}]}, "under .content., but has null"),
    "content-number": ({"messages": [{"role": "user", "content": 5}]}, "has a number"),
    "content-empty": ({"messages": [{"role": "user", "content": []}]}, "an empty list"),
    "message-key": ({"messages": [{"role": "user", "content": "a", "name": "b"}]}, "the key 'name'"),
    "assistant-last": ({"messages": [{"role": "assistant", "content": "a"}]}, 'the role "user"'),
    "part-text": (asked("hello"), "must be an object with one of the types"),
    "part-type": (asked({"type": "audio_url"}), "the type 'audio_url'"),
    "part-no-type": (asked({}), "the type None"),
    "part-type-list": (asked({"type": ["text"]}), "the type"),
    "part-key": (asked({**text("a"), "cache": 1}), "the key 'cache' beside"),
    "text-number": (asked({"type": "text", "text": 5}), "a string under .text."),
    "text-surrogate": (asked(text("\ud800")), "surrogate"),
    "placeholder-video": (asked(VIDEO, text("<video> what?")), "has <video> in its text"),
    "placeholder-image": (asked(VIDEO, text("<image> what?")), "has <image> in its text"),
    "region-without-visual": (asked(text("a"), region()), "no video or image"),
    "placeholder-without-region": (asked(VIDEO, text("<region>")), "1 <region> without a region"),
    "placeholder-and-part": (asked(VIDEO, text("<region>"), region()), "1 <region> without a region"),
    "too-few": (asked(VIDEO, text("<region> <region>"), regions=[BOX]), "2 <region>, but the list"),
    "too-many": (asked(VIDEO, text("<region>"), regions=[BOX, BOX]), "1 <region>, but the list"),
    "both-ways": (asked(VIDEO, region(), regions=[BOX]), "both as content parts and as the list"),
    "twice": (asked(VIDEO, text("<region>"), regions=[BOX], mm_processor_kwargs={"regions": [BOX]}), "given twice"),
    "regions-object": (asked(VIDEO, text("<region>"), regions=BOX), "regions must be a list"),
    "region-null": (asked(VIDEO, {"type": "region"}), "must be a Region"),
    "region-text": (asked(VIDEO, region("1,2,3,4")), "must be a Region"),
    "region-empty": (asked(VIDEO, region({})), "is empty"),
    "region-shape": (asked(VIDEO, region({"3": {"sphere": [1]}})), "expected one shape"),
    "region-frame": (asked(VIDEO, region({"-3": BOX["3"]})), "frame"),
    "region-nan": (asked(VIDEO, region({"3": {"box": [1, 2, float("nan"), 4]}})), "finite"),
    "region-relative": (asked(VIDEO, region({"3": {"box": [0.1, 0.1, 0.5, 0.5]}})), "relative to the frame"),
    "region-huge-mask": (asked(VIDEO, region(MASK)), "pixels"),
    "region-visual": (asked(VIDEO, region({**BOX, "visual": 4})), "visual 4"),
    "region-by-assistant": (
        {"messages": [{"role": "assistant", "content": [region()]}, {"role": "user", "content": "a"}]},
        "only users show",
    ),
    "visual-number": (asked({"type": "video_url", "video_url": 5}), "needs an address"),
    "visual-empty": (asked({"type": "video_url", "video_url": {"url": ""}}), "an empty one"),
    "visual-beside": (asked({"type": "video_url", "video_url": {"url": "data:,a", "fps": 2}}), "'fps' beside"),
    "visual-path": (asked({"type": "video_url", "video_url": {"url": "/etc/passwd"}}), "not an address to open"),
    "visual-ftp": (asked({"type": "image_url", "image_url": {"url": "ftp://a.b/c"}}), "not an address to open"),
    "visual-file": (asked({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}), "may not be read"),
    "visual-newline": (asked({"type": "image_url", "image_url": {"url": "http://a.b/\r\nX: y"}}), "not an address"),
    "field": (asked(text("a"), temprature=1), "Did you mean 'temperature'"),
    "field-tools": (asked(text("a"), tools=[]), "the field 'tools'"),
    "field-template": (asked(text("a"), chat_template="{{ 7 }}"), "the field 'chat_template'"),
    "setting": (asked(VIDEO, mm_processor_kwargs={"chat_template": "x"}), "requests may not set"),
    "setting-frames": (asked(VIDEO, mm_processor_kwargs={"num_frames": 10**9}), "from 1 to 64"),
    "setting-bool": (asked(VIDEO, mm_processor_kwargs={"num_frames": True}), "from 1 to 64"),
    "setting-policy": (asked(VIDEO, mm_processor_kwargs={"mask_policy": "x"}), '"keep" or "original"'),
    "setting-list": (asked(VIDEO, mm_processor_kwargs=[1]), "an object of settings"),
    "settings-twice": (asked(VIDEO, mm_processor_kwargs={}, chat_template_kwargs={}), "mean the same"),
    "max-tokens": (asked(text("a"), max_tokens=10**6), "from 1 to 2048"),
    "max-tokens-twice": (asked(text("a"), max_tokens=1, max_completion_tokens=1), "mean the same"),
    "temperature": (asked(text("a"), temperature=-1), "from 0 to 2"),
    "temperature-text": (asked(text("a"), temperature="hot"), "from 0 to 2"),
    "top-p": (asked(text("a"), top_p=0), "above 0"),
    "top-p-greedy": (asked(text("a"), top_p=0.5), "no temperature above 0"),
    "n": (asked(text("a"), n=2), "one answer"),
    "seed": (asked(text("a"), seed=2**80), "seed is"),
    "stream": (asked(text("a"), stream="yes"), "true or false"),
    "stream-options": (asked(text("a"), stream_options={"include_usage": True}), "with .stream.: true"),
    "model": (asked(text("a"), model=5), "name of a model"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_wrong_is_said(kind):
    body, said = MALFORMED[kind]
    with pytest.raises(VideoReferError, match=said):
        read(body)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"messages": 1}, "3 messages"),
        ({"regions": 1}, "2 regions"),
        ({"region_frames": 2}, "3 frames all together"),
        ({"visuals": 1}, "more than 1 videos"),
    ],
)
def test_there_are_limits(limits, said):
    body = asked(VIDEO, VIDEO, region(), region({**BOX, "4": None}))
    body["messages"] += [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    assert len(read(body).regions) == 2
    with pytest.raises(ServeError, match=said):
        read(body, **limits)


# --- where visuals come from -----------------------------------------------------------------------------------------


def test_files_lie_in_their_folder(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside.txt"
    root.mkdir()
    outside.write_text("secret")
    (root / "a clip.mp4").write_bytes(b"clip")
    (root / "link").symlink_to(outside)
    sources = Sources(str(root))
    for address in (
        f"file://{root}/a%20clip.mp4",
        f"file://localhost{root}/a%20clip.mp4",
        f"file:{root}/a%20clip.mp4",
    ):
        assert fetch(address, sources, Limits(), "video 0").source == str((root / "a clip.mp4").resolve())
    wrong = [f"file://{outside}", f"file://{root}/link", f"file://{root}/../outside.txt", f"file://{root}", "file:///"]
    wrong += [f"file://{root}/%2e%2e/outside.txt", f"file://{root}x/a", f"file://other{root}/a%20clip.mp4", "file:a"]
    wrong += [f"file://{root}/a%00b", f"file://{root}//etc/passwd", f"FILE://{outside}", "file://" + "/a" * 5000]
    for address in wrong:
        with pytest.raises(VideoReferError) as refused:
            fetch(address, sources, Limits(), "video 0")
        assert "secret" not in str(refused.value)
        assert str(root) not in str(refused.value)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1"),
        *("[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "127.1", "[fe80::1]", "[fd00::1]", "100.64.0.1"),
        *(
            "224.0.0.1",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "255.255.255.255",
            "[::]",
            "user@127.0.0.1",
            "127.0.0.2",
        ),
    ],
)
def test_nothing_is_fetched_from_this_machine_or_the_network_around_it(host):
    with pytest.raises(VideoReferError, match=r"not public|not an address to open|is not known"):
        fetch(f"http://{host}:1/a.mp4", Sources(), Limits(), "video 0")


def test_only_allowed_servers_are_asked_and_those_they_lead_to():
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            leads = {"/on": f"http://localhost:{port}/clip", "/away": f"http://127.0.0.1:{port}/clip"}.get(self.path)
            self.send_response(302 if leads else 200)
            if leads:
                self.send_header("Location", leads)
            self.end_headers()
            if not leads:
                self.wfile.write(b"a clip")

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("localhost", 0), Handler)
    port = server.server_address[1]
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        sources = Sources(domains=("localhost",))
        for path in ("clip", "on"):
            assert fetch(f"http://localhost:{port}/{path}", sources, Limits(), "video 0").source == b"a clip"
        with pytest.raises(ServeError, match=r"leads on to '127\.0\.0\.1'"):
            fetch(f"http://localhost:{port}/away", sources, Limits(), "video 0")
        with pytest.raises(ServeError, match="only addresses of localhost"):
            fetch(f"http://127.0.0.1:{port}/clip", sources, Limits(), "video 0")
        with pytest.raises(ServeError, match="no addresses"):
            fetch(f"http://localhost:{port}/clip", Sources(urls=False), Limits(), "video 0")
        with pytest.raises(VideoReferError, match="more than 3 bytes"):
            fetch(f"http://localhost:{port}/clip", sources, Limits(request_bytes=3), "video 0")
    finally:
        server.shutdown()
        server.server_close()


# --- the door --------------------------------------------------------------------------------------------------------


class Client:
    """Asks an application of ASGI as a server would."""

    def __init__(self, app: Any):
        self.app = app

    async def ask(
        self,
        body: bytes = b"{}",
        path: str = CHAT_PATH,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        gone: asyncio.Event | None = None,
    ) -> tuple[int | None, dict[str, str], bytes]:
        given = {"content-type": "application/json", **(headers or {})}
        pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)] or [b""]
        sent: list[Any] = []

        async def receive() -> Any:
            if pieces:
                piece = pieces.pop(0)
                return {"type": "http.request", "body": piece, "more_body": bool(pieces)}
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()]
        await self.app({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
        start = next((one for one in sent if one["type"] == "http.response.start"), None)
        content = b"".join(one.get("body", b"") for one in sent if one["type"] == "http.response.body")
        names = {name.decode(): value.decode() for name, value in (start or {}).get("headers", ())}
        return (start or {}).get("status"), names, content


class Engine:
    """An application that answers when it may, with what it was asked."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.running = self.cancelled = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.running += 1
        try:
            body = (await receive())["body"]
            if body == b'{"wait": true}':
                await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


WAIT = b'{"wait": true}'


def test_a_full_server_says_so_and_goes_on():
    async def run() -> None:
        engine = Engine()
        client = Client(Door(engine, Limits(requests=2)))
        waiting = [asyncio.create_task(client.ask(WAIT)) for _ in range(2)]
        await asyncio.sleep(0.01)
        status, headers, _ = await client.ask()
        assert (status, headers["retry-after"]) == (429, "1")
        assert (await client.ask(path="/health", method="GET"))[0] == 200
        engine.may_answer.set()
        assert [answer[0] for answer in await asyncio.gather(*waiting)] == [200, 200]
        assert (await client.ask())[0] == 200

    asyncio.run(run())


def test_what_nobody_waits_for_is_stopped():
    async def run() -> None:
        engine, gone = Engine(), asyncio.Event()
        client = Client(Door(engine, Limits(requests=1, seconds=0.2)))
        left = asyncio.create_task(client.ask(WAIT, gone=gone))
        await asyncio.sleep(0.01)
        gone.set()
        assert (await left)[0] is None
        status, _, body = await client.ask(WAIT)  # too late
        assert (status, engine.running, engine.cancelled) == (504, 0, 2)
        assert "longer than 0.2 s" in json.loads(body)["error"]["message"]
        assert (await client.ask())[0] == 200

    asyncio.run(run())


def test_the_door_asks_for_the_key_and_never_notes_it(caplog):
    caplog.set_level("DEBUG")

    async def run() -> None:
        client = Client(Door(Engine(), Limits(), KEY))
        right = {"authorization": f"Bearer {KEY}"}
        assert (await client.ask(headers=right))[0] == 200
        assert (await client.ask(path="/health", method="GET"))[0] == 200
        for wrong in ("", KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", "Bearer ", "Bearer \xe9"):
            status, headers, body = await client.ask(headers={"authorization": wrong})
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert KEY.encode() not in body
        assert (await client.ask(path="/v1/models", method="GET"))[0] == 401
        assert (await client.ask(path="/reset", method="POST"))[0] == 401
        assert (await client.ask(path="/reset", method="POST", headers=right))[0] == 404

    asyncio.run(run())
    assert "200" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ({"path": "/reset"}, 404),
        ({"path": "/load_model"}, 404),
        ({"path": "/docs", "method": "GET"}, 404),
        ({"path": "/v1/completions"}, 404),
        ({"path": "/v1/chat/completions/"}, 404),
        ({"path": "/health"}, 405),
        ({"method": "GET"}, 405),
        ({"headers": {"content-type": "text/plain"}}, 415),
        ({"headers": {"content-encoding": "gzip"}}, 415),
        ({"headers": {"x-request-id": "a b"}}, 400),
        ({"headers": {"x-request-id": "a\r\nset-cookie: b"}}, 400),
        ({"headers": {"x-request-id": "a" * 129}}, 400),
        ({"headers": {"content-length": "99999999"}}, 413),
        ({"body": b"a" * 6000}, 413),
        ({"body": b"a" * 100_000}, 413),
    ],
)
def test_what_does_not_come_in(call, status):
    found, headers, body = asyncio.run(Client(Door(Engine(), Limits(request_bytes=5000))).ask(**call))
    assert found == status
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert "set-cookie" not in headers
    assert "\n" not in headers["x-request-id"]


def test_answers_have_the_id_of_their_request():
    client = Client(Door(Engine(), Limits()))
    assert asyncio.run(client.ask(headers={"x-request-id": "mine-1"}))[1]["x-request-id"] == "mine-1"
    assert asyncio.run(client.ask())[1]["x-request-id"].startswith("chatcmpl-")


# --- in front of any engine ------------------------------------------------------------------------------------------


def test_engines_get_what_they_know():
    body = json.dumps(asked(VIDEO, text("Is "), region(), text(" red?"), top_k=3)).encode()
    status, _, said = asyncio.run(Client(RegionParts(Engine())).ask(body))
    told = json.loads(said)
    assert (status, told["top_k"], told["mm_processor_kwargs"]) == (200, 3, {"regions": [BOX]})
    assert told["messages"][0]["content"] == [VIDEO, text("Is <region> red?")]


def test_other_paths_are_left_alone():
    client = Client(RegionParts(Engine()))
    assert asyncio.run(client.ask(b"no JSON", path="/v1/completions"))[2] == b"no JSON"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"a": 1, "a": 2}',
        b"[" * 100000,
        b'{"a": NaN}',
        b'{"a": 1' + b"0" * 10000 + b"}",
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b"\x00",
        b"null",
        b"\x1f\x8b\x08\x00",
        '{"messages": "é"}'.encode("latin-1"),
    ],
)
def test_what_is_no_request_is_refused(body):
    status, _, said = asyncio.run(Client(RegionParts(Engine())).ask(body))
    assert status == 400
    assert json.loads(said)["error"]["message"]
