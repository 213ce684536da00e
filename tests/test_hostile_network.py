"""The matrix of hostile endpoints: addresses, settings, keys and environments, and servers that misbehave."""

import json
import socket
import time

import pytest
from hypothesis import strategies as st

from tests.chat_server import KEY, Raw, completion
from tests.hostile import draw, in_time, refuses
from tests.test_hostile_media import after, drip, reply, serving, silent, to
from videorefer_plugin.bench.choosing import make_judge
from videorefer_plugin.bench.runner import Shard
from videorefer_plugin.chat import ChatEndpoint, make_chat
from videorefer_plugin.chat.replies import ReplyError, ask_text
from videorefer_plugin.errors import BenchError, ChatError

MESSAGES = [{"role": "user", "content": "Hello"}]
SECRET = "a-word-of-mine"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("OPENAI_BASE_URL", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


# --- before anything is sent -----------------------------------------------------------------------------------------

ADDRESSES = [
    *(
        "notaurl",
        "localhost",
        "localhost:8000",
        "127.0.0.1:8000/v1",
        "/v1",
        "//host/v1",
        "ftp://host/v1",
        "file:///etc",
    ),
    *(
        "ws://host/v1",
        "http:/host/v1",
        "http:host",
        "http://",
        "https://",
        "http:///v1",
        "https://:80/",
        "http://@/v1",
    ),
    *("http://host:99999/v1", "http://host:0/v1", "http://host:-1/v1", "http://host:port/v1", "http://host:8 0/v1"),
    *(
        " http://host/v1",
        "http://host/v1 ",
        "http://a host/v1",
        "http://host/v 1",
        "http://host/v1\n",
        "http://ho\tst/",
    ),
    *(
        "http://host\0/v1",
        "http://\ud800/v1",
        "http://host/\ud800",
        "http://[::1/v1",
        "http://a..b/v1",
        "http://host\u2028",
    ),
    *(
        f"http://{'a' * 64}/v1",
        f"http://me:{SECRET}@host:99999/v1",
        f"http://me:{SECRET}/x@host/v1",
        f"ftp://me:{SECRET}@h",
    ),
    *(f"http://host/v1?token={SECRET}", f"http://host/v1#{SECRET}", "http://host/v1/chat/completions", "javascript:x"),
    *(
        "http://host/v1/chat/completions/",
        "http://host/v1/completions",
        "data:,x",
        "http://host/v1?",
        "http://\u200b/v1",
    ),
]


def test_addresses_that_are_none_are_refused_at_once():
    def door(address):
        make_chat("a-model", address)

    def judge(address):
        make_judge("endpoint", "a-model", endpoint=address)

    for address in ADDRESSES:
        for enter in (door, judge):
            began = time.monotonic()
            with in_time(), pytest.raises(ChatError, match="address of the endpoint") as caught:
                enter(address)
            assert SECRET not in str(caught.value)
            assert time.monotonic() - began < 5
    assert len(set(ADDRESSES)) >= 45


no_number = st.sampled_from(
    [float("nan"), float("inf"), -float("inf"), -1, -0.5, "1", None, True, [], {}, 10**400, 1j]
)
SETTINGS = {
    "temperature": no_number.filter(lambda value: value is not None),
    "max_tokens": st.one_of(no_number.filter(lambda value: value is not None), st.floats(0.1, 9.9)),
    "retries": no_number.filter(lambda value: value is not None),
    "timeout": st.one_of(no_number.filter(lambda value: value is not None), st.just(0)),
    "workers": st.one_of(no_number.filter(lambda value: value is not None), st.just(0)),
    "requests_per_minute": st.one_of(no_number.filter(lambda value: value is not None), st.just(0)),
    "prices": st.one_of(no_number.filter(lambda value: value is not None), st.tuples(no_number)),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_are_none_are_refused_at_once(name):
    def door(value):
        make_chat("a-model", "http://127.0.0.1:9/v1", **{name: value})

    assert draw(SETTINGS[name], refuses(ChatError, door), 30) >= 8


@pytest.mark.parametrize("key", ["", "a key", "key\n", "\nkey", "k\u00e9y", "key\r\nX-Other: 1", "\u2028"])
def test_keys_that_are_none(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    refuses(ChatError, lambda given: make_chat("a-model", given))("openai")


WRONG_SHARDS = [
    *(
        ("x", "1"),
        ("0", "x"),
        ("-1", "2"),
        ("0", "-1"),
        ("0", "0"),
        ("2", "2"),
        ("1.0", "2"),
        ("1e3", "2"),
        (" 1", "2"),
    ),
    *(("\u0661", "2"), ("0x1", "2"), ("9" * 5000, "2"), ("1_0", "20"), ("nan", "2"), ("", "0"), ("0", "9" * 40)),
]


@pytest.mark.parametrize(("rank", "size"), WRONG_SHARDS)
def test_environments_that_name_no_shard(monkeypatch, rank, size):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    refuses(BenchError, lambda _: Shard.from_environment())(None)


# --- servers that misbehave ------------------------------------------------------------------------------------------

BODY = json.dumps(completion("a red star")).encode()
JSON = "Content-Type: application/json"
SERVERS = {
    "silent": (silent, "does not answer in time"),
    "silent after the status": (after(b"HTTP/1.1 200 OK\r\n"), "does not answer in time"),
    "silent after the headers": (after(reply(b"", "200 OK", JSON, "Content-Length: 99")), "does not answer in time"),
    "silent in the middle": (after(reply(BODY[:9], "200 OK", JSON, "Content-Length: 99")), "does not answer in time"),
    "dripping headers": (drip(b"HTTP/1.1 200 OK\r\nX-A: "), "does not answer in time"),
    "dripping status": (drip(b"HTTP/1.1 200 "), "does not answer in time"),
    "dripping body": (drip(reply(b"", "200 OK", JSON)), "does not answer in time"),
    "dripping error": (drip(reply(b"", "400 Bad Request", JSON)), "does not answer in time"),
    "closes at once": (lambda connection, _: None, "cannot be reached"),
    "resets": (
        lambda connection, _: connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"),
        "cannot be reached",
    ),
    "breaks off": (reply(BODY[:9], "200 OK", JSON, "Content-Length: 999"), "breaks off"),
    "broken chunks": (reply(b"zz\r\nx", "200 OK", JSON, "Transfer-Encoding: chunked"), "breaks off"),
    "no http": (b"220 mail.example.org ESMTP\r\n", "cannot be reached"),
    "noise": (bytes(range(256)) * 4, "cannot be reached"),
    "endless header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, "cannot be reached"),
    "wrong encoding": (reply(b"no gzip", "200 OK", JSON, "Content-Encoding: gzip"), "breaks off"),
    "a page": (reply(b"<html>log in</html>", "200 OK", "Content-Type: text/html"), "it is not JSON"),
    "nothing": (reply(b"", "200 OK", JSON), "it is not JSON"),
    "null": (reply(b"null", "200 OK", JSON), "has no message"),
    "a number": (reply(b"1" * 6000, "200 OK", JSON), "cannot be read"),
    "deep": (reply(b"[" * 100_000, "200 OK", JSON), "it is not JSON"),
    "an error": (reply(b'{"error": {"message": "no memory left"}}', "200 OK", JSON), "no memory left"),
    "no choices": (reply(b'{"choices": []}', "200 OK", JSON), "has no message"),
    "to itself": (to("/v1/chat/completions"), "cannot be reached|status 307|status 302"),
    "to a file": (to("file:///etc/passwd"), "cannot be reached"),
    "a page about an error": (reply(b"<html>" + b"x" * 5_000_000, "400 Bad Request"), "status 400"),
    "a long message": (
        reply(json.dumps({"error": {"message": "no " * 9000}}).encode(), "400 Bad Request", JSON),
        r"status 400: no no .*\.\.\.",
    ),
    "the key": (reply(json.dumps({"error": f"{KEY} is wrong"}).encode(), "400 Bad Request", JSON), "key. is wrong"),
    **{
        f"status {status}": (reply(b'{"error": {"message": "said so"}}', f"{status} Said", JSON), f"{status}|said so")
        for status in (400, 401, 402, 403, 404, 405, 409, 413, 418, 422, 429, 451, 500, 501, 502, 503, 504, 599)
    },
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", SERVERS)
def test_a_server_that_misbehaves(case):
    does, said = SERVERS[case]
    with serving(does) as server:
        address = server.address.replace("/a.mp4", "/v1").replace("://", f"://me:{SECRET}@")
        chat = ChatEndpoint("a-model", base_url=address, retries=0, timeout=0.5)
        began = time.monotonic()
        with in_time(), pytest.raises(ChatError, match=said) as caught:
            chat.complete(MESSAGES)
    assert time.monotonic() - began < 10
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)
    assert "tries" not in str(caught.value)  # there was one
    assert len(str(caught.value)) < 700


def test_an_endless_reply_is_given_up():
    def does(connection, _):
        connection.sendall(reply(b"", "200 OK", JSON))
        for _ in range(200):
            connection.sendall(b" " * (1 << 20))

    with serving(does) as server:
        chat = ChatEndpoint("a-model", base_url=server.address.replace("/a.mp4", "/v1"), retries=0, timeout=20)
        with in_time(), pytest.raises(ReplyError, match="more than 64 MiB"):
            chat.complete(MESSAGES)


def test_what_is_cut_off_says_how_to_go_on(server):
    server.reply = lambda messages: Raw(completion("a red st", "length"))
    with pytest.raises(ReplyError, match="raise max_tokens"):
        ask_text(make_chat("a-model", server.url, retries=0), MESSAGES)
