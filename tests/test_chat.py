"""Chat models as tools: what is sent, what is made of the replies, and what happens when a server misbehaves."""

import json
import sys
from typing import get_args

import numpy as np
import pytest

from tests.chat_server import KEY, Raw, completion
from videorefer_plugin.chat import (
    ChatEndpoint,
    Completion,
    LocalChat,
    ReplyError,
    Usage,
    ask_json,
    ask_text,
    complete_many,
    make_chat,
)
from videorefer_plugin.chat.pictures import picture_message
from videorefer_plugin.chat.replies import Kind
from videorefer_plugin.errors import BenchError, ChatError, PromptError

MESSAGES = [{"role": "user", "content": "Hello"}]
SECRETS = (KEY, "another-secret")


def endpoint(server, **settings):
    return ChatEndpoint("a-model", base_url=server.url, **{"timeout": 30, "retries": 0, **settings})


def one_after_the_other(*replies):
    """A server's replies in turn; the last one for good."""
    left = list(replies)
    return lambda messages: left.pop(0) if len(left) > 1 else left[0]


def error(message, code=None, **more):
    return {"error": {"message": message, "code": code, **more}}


# --- what a server does -> what becomes of it ------------------------------------------------------------------------

WORKS = [
    # what the server does, how often it may be asked again -> the reply, how often it was asked
    ("a red star", 0, Completion("a red star", 100, 10, "stop"), 1),
    (Raw(completion("a red st", "length")), 0, Completion("a red st", 100, 10, "length"), 1),
    (Raw(completion("")), 0, Completion("", 100, 10, "stop"), 1),
    (Raw(completion(None)), 0, Completion("", 100, 10, "stop"), 1),
    (Raw(completion(None, refusal="I can't.")), 0, Completion("", 100, 10, "content_filter", "I can't."), 1),
    (Raw(completion("a r", "content_filter")), 0, Completion("a r", 100, 10, "content_filter"), 1),
    (Raw(completion("a red star", "whatever")), 0, Completion("a red star", 100, 10, None), 1),
    (Raw({"choices": [{"message": {"content": "a red star"}}]}), 0, Completion("a red star"), 1),
    (
        Raw(completion([{"type": "text", "text": "a red "}, {"type": "text", "text": "star"}])),
        0,
        Completion("a red star", 100, 10, "stop"),
        1,
    ),
    (one_after_the_other(429, "a red star"), 2, Completion("a red star", 100, 10, "stop"), 2),
    (one_after_the_other(500, 500, "a red star"), 2, Completion("a red star", 100, 10, "stop"), 3),
    (
        one_after_the_other(Raw(completion("a red star"), cut=5), "a red star"),
        1,
        Completion("a red star", 100, 10, "stop"),
        2,
    ),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize(("does", "retries", "expected", "asked"), WORKS)
def test_what_is_a_reply(server, does, retries, expected, asked):
    server.reply = does if callable(does) else lambda messages: does
    chat = endpoint(server, retries=retries)
    assert chat.complete(MESSAGES) == expected
    assert len(server.requests) == asked
    assert chat.usage.requests == 1


FAILS = [
    # what the server does, how often it may be asked again -> the error's kind (None: nobody will get a reply) and
    # words, how often it was asked
    (429, 0, "endpoint", r"answers with status 429: try later$", 1),
    (429, 2, "endpoint", r"answers with status 429, in 3 tries: try later$", 3),
    (Raw(error("slow down"), 429, {"Retry-After": "0"}), 1, "endpoint", r"in 2 tries: slow down$", 2),
    (500, 1, "endpoint", r"answers with status 500, in 2 tries: try later$", 2),
    (Raw(b"<html>Bad</html>", 502, {"X-Should-Retry": "false"}), 2, "endpoint", r"answers with status 502\.$", 1),
    (Raw(error("no such picture")), 2, "endpoint", "has no message, but says: no such picture", 1),
    (Raw(error("bad picture"), 400), 2, "endpoint", r"answers with status 400: bad picture$", 1),
    (Raw({"detail": [{"msg": "Input should be a list"}]}, 422), 2, "endpoint", "Input should be a list", 1),
    (Raw(error("13 tokens of 12", "context_length_exceeded"), 400), 2, "too_long", "too long .*13 tokens of 12", 1),
    (Raw(error("flagged", "content_filter"), 400), 2, "refused", r"refuses these messages .*: flagged", 1),
    (Raw(error("flagged", "content_policy_violation"), 403), 2, "refused", "refuses these messages", 1),
    (Raw({"choices": []}), 2, "endpoint", "has no message", 1),
    (Raw({"choices": [{"message": None}]}), 2, "endpoint", "has no message", 1),
    (Raw({"choices": ["x"]}), 2, "endpoint", "has no message", 1),
    (Raw([1]), 2, "endpoint", "has no message", 1),
    (Raw(b"hello"), 2, "endpoint", "cannot be read: it is not JSON, and begins with b'hello'", 1),
    (Raw(b"\xff\xfe\x00garbage"), 2, "endpoint", "it is not JSON", 1),
    (Raw(b"[" * 100_000), 2, "endpoint", "it is not JSON", 1),
    (Raw(b"", headers={"Content-Type": "text/plain"}), 2, "endpoint", "it is not JSON", 1),
    (Raw(b"garbage", headers={"Content-Encoding": "gzip"}), 0, "endpoint", "breaks off its reply", 1),
    (Raw(completion("a red star"), cut=5), 0, "endpoint", r"breaks off its reply \(", 1),
    (Raw(completion("a red star"), cut=5), 1, "endpoint", r"breaks off its reply, in 2 tries \(", 2),
    (Raw(completion("a red star"), drip=0.05), 0, "timeout", r"does not answer in time \(0.4 s\)\.$", 1),
    (Raw(completion("a red star"), drip=0.05), 1, "timeout", r"does not answer in time \(0.4 s\), in 2 tries\.$", 2),
    (Raw(error(f"no key {KEY}"), 401), 2, None, r"refuses the key in OPENAI_API_KEY \(status 401\)", 1),
    (Raw(error("not yours"), 403), 2, None, r"refuses the key in OPENAI_API_KEY \(status 403\)", 1),
    (Raw(error("pay first"), 402), 2, None, "nothing left to spend .*: pay first", 1),
    (Raw(error("no more", "insufficient_quota"), 429), 0, None, "nothing left to spend", 1),
    (Raw(error("no model of that name"), 404), 2, None, "does not know the model 'a-model'.*: no model of that", 1),
    (Raw(error("which?", "model_not_found"), 400), 2, None, "does not know the model 'a-model'", 1),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize(("does", "retries", "kind", "said", "asked"), FAILS)
def test_what_is_no_reply(server, does, retries, kind, said, asked):
    server.reply = lambda messages: does
    slow = isinstance(does, Raw) and does.drip
    chat = endpoint(server, retries=retries, timeout=0.4 if slow else 30)
    with pytest.raises(ChatError, match=said) as caught:
        chat.complete(MESSAGES)
    assert getattr(caught.value, "kind", None) == kind
    assert len(server.requests) == asked
    assert chat.usage.requests == 0


@pytest.mark.spread(2)
@pytest.mark.parametrize("status", [400, 404, 500])
@pytest.mark.parametrize("shown", [KEY, "Bearer another-secret", "sk-proj-abc***wxyz"])
def test_no_key_is_repeated(server, status, shown):
    server.reply = lambda messages: Raw(error(f"I was given {shown}, and more"), status)
    with pytest.raises(ChatError, match=r"I was given .*\[key\], and more") as caught:
        endpoint(server).complete(MESSAGES)
    for secret in (*SECRETS, "wxyz"):
        assert secret not in str(caught.value)


def test_a_server_that_takes_no_key(server, monkeypatch, caplog):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ChatError, match="status 401"):  # this one wants one
        endpoint(server).complete(MESSAGES)


REFUSED = [
    ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", 400),
    ("temperature", "Unsupported value: 'temperature' does not support 0 with this model.", 400),
    ("temperature", "temperature: Extra inputs are not permitted", 422),
    ("max_completion_tokens", "Unsupported parameter: 'max_completion_tokens'.", 400),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "refused", [REFUSED[:1], REFUSED[1:2], REFUSED[2:3], REFUSED[:2], [REFUSED[0], REFUSED[3]], REFUSED], ids=str
)
def test_parameters_that_a_model_does_not_take(server, caplog, refused):
    def reply(messages):
        for name, message, status in refused:
            if name in server.requests[-1]:
                return Raw(error(message), status)
        return "a red star"

    server.reply = reply
    chat = endpoint(server, max_tokens=7, temperature=0.5)
    settings = chat.settings()
    for _ in range(2):
        assert chat.complete(MESSAGES).text == "a red star"
    names = {name for name, *_ in refused}
    assert len(server.requests) == len(names) + 2  # it is learned once
    given = {"max_tokens": 7, "temperature": 0.5, "max_completion_tokens": 7 if "max_tokens" in names else None}
    sent = server.requests[-1]
    assert {name: sent.get(name) for name in given} == {**given, **dict.fromkeys(names)}
    renamed = "left out" if "max_completion_tokens" in names else "sent as max_completion_tokens"
    told = {"max_tokens": renamed, "temperature": "left out"}
    assert chat.adapted == {name: told[name] for name in names & told.keys()}
    assert all(name in caplog.text for name in chat.adapted)
    assert chat.settings() == settings  # what was asked for names the configuration, before and after


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 99999. This model supports at most 4096 completion tokens.",
        "temperature must be between 0 and 2",
        "This model's maximum context length is 12 tokens; you requested 20 (13 in messages, 7 as max_tokens).",
    ],
)
def test_a_wrong_value_of_a_parameter_stays_an_error(server, message):
    server.reply = lambda messages: Raw(error(message), 400)
    chat = endpoint(server)
    with pytest.raises(ReplyError, match="status 400: "):
        chat.complete(MESSAGES)
    assert len(server.requests) == 1
    assert chat.adapted == {}


@pytest.mark.parametrize(
    "message",
    ["Unsupported parameter: 'max_completion_tokens'.", "max_completion_tokens, max_tokens, temperature: unexpected"],
)
def test_a_server_that_takes_no_request_is_not_asked_for_ever(server, message):
    server.reply = lambda messages: Raw(error(message), 400)
    chat = endpoint(server)
    with pytest.raises(ReplyError, match="status 400: "):
        chat.complete(MESSAGES)
    assert len(server.requests) <= 4
    assert chat.adapted == {}


@pytest.mark.spread(2)
@pytest.mark.parametrize("count", [-1, 2.5, True, None, "12", 10**400])
def test_counts_of_tokens_that_are_none(server, count):
    usage = {"prompt_tokens": count, "completion_tokens": 10}
    server.reply = lambda messages: Raw({**completion("a red star"), "usage": usage})
    chat = endpoint(server, prices=(1, 1))
    assert chat.complete(MESSAGES) == Completion("a red star", None, 10, "stop")
    assert chat.usage.cost == 1e-5


def test_nobody_is_there(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for address in ("http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"):
        with pytest.raises(ReplyError, match="cannot be reached: ") as caught:
            ChatEndpoint("m", base_url=address, retries=0).complete(MESSAGES)
        assert caught.value.kind == "endpoint"


# --- asking for something --------------------------------------------------------------------------------------------


def nouns(value):
    if not isinstance(value, dict) or not isinstance(value.get("nouns"), list):
        raise ValueError('expected {"nouns": [...]}')
    return value["nouns"]


GOOD = '{"nouns": ["dog"]}'


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\nI hope this helps!",
        f"Sure! Here it is: {GOOD} Anything else?",
        f'<think>Is {{it}} a dog? {{"nouns": 1}}</think>\n{GOOD}',
        f"In this form, {{nouns}}, see [1]: {GOOD}",
        f'Not {{"nouns": dog}}, but {GOOD}',
        '{\n  "nouns": [\n    "dog"\n  ]\n}',
        Raw(completion(GOOD, "length")),  # nothing is missing
    ],
)
def test_json_is_found_whatever_stands_around_it(server, reply):
    server.reply = lambda messages: reply
    asked = ask_json(endpoint(server), MESSAGES, nouns)
    assert asked.value == ["dog"]
    assert [each.output_tokens for each in asked.completions] == [10]
    assert len(server.requests) == 1


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("It is a dog.", "there is no JSON in it"),
        ('{"nouns": "dog"}', 'expected {"nouns": [...]}'),
        ('{"nouns": ["dog",]}', "the JSON in it is broken"),
        ('{"nouns": ["cat"], "nouns": ["dog"]}', "has the key 'nouns' twice"),
        ('{"note": {"nouns": ["cat"]},, "nouns": ["dog"]}', 'expected {"nouns": [...]}'),
        ('{"nouns": [NaN]}', "NaN"),
        ('{"nouns": ["\\ud83d"]}', "half a character"),
        ("", "empty"),
        ("<think>A dog, I think", "empty"),
        (Raw(completion('{"nouns": ["dog", "c', "length")), "cut off"),
        (Raw(completion('{"note": {"nouns": ["dog"]}, "c', "length")), "cut off"),
    ],
)
def test_what_is_no_json_is_asked_once_more(server, first, told):
    server.reply = one_after_the_other(first, GOOD)
    asked = ask_json(endpoint(server), MESSAGES, nouns)
    assert asked.value == ["dog"]
    assert len(asked.completions) == len(server.requests) == 2
    again = server.requests[-1]["messages"]
    assert told in again[-1]["content"]
    roles = [message["role"] for message in again]
    assert roles in (["user"], ["user", "assistant", "user"])  # templates demand turns
    assert again[0]["content"].startswith("Hello")


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("replies", "kind", "said", "asked"),
    [
        (["It is a dog."], "not_json", r"cannot be used \(there is no JSON in it: 'It is a dog\.'\)", 2),
        (["It is a dog.", ""], "empty", "reply is empty", 2),
        ([Raw(completion('{"nou', "length"))], "cut_off", "raise max_tokens", 2),
        ([Raw(completion(None, refusal="I can't."))], "refused", r"refuses to reply \(\"I can't\.\"\)", 1),
        ([Raw(completion("a d", "content_filter"))], "refused", "refuses to reply", 1),
        (["It is a dog.", 500], "endpoint", "status 500", 2),
        (["[" * 100_000], "not_json", "no JSON", 2),
        (["{" * 100_000], "not_json", "broken", 2),
        (['{"nouns": ' * 100_000], "not_json", "too deep", 2),
    ],
)
def test_what_stays_no_json(server, replies, kind, said, asked):
    server.reply = one_after_the_other(*replies)
    chat = endpoint(server)
    with pytest.raises(ReplyError, match=said) as caught:
        ask_json(chat, MESSAGES, nouns)
    assert caught.value.kind == kind
    assert len(server.requests) == asked
    assert len(caught.value.spent) == chat.usage.requests  # they have to be paid for nevertheless


def test_how_often_to_ask(server):
    server.reply = lambda messages: "no"
    for tries in (1, 3):
        server.requests.clear()
        with pytest.raises(ReplyError):
            ask_json(endpoint(server), MESSAGES, nouns, tries)
        assert len(server.requests) == tries
    with pytest.raises(ChatError, match="tries is 0: expected a whole number from 1 up"):
        ask_json(endpoint(server), MESSAGES, nouns, 0)


def test_pictures_are_asked_about_once_more_too(server):
    server.reply = one_after_the_other("", GOOD)
    pictures = [picture_message([np.zeros((8, 8, 3), np.uint8)] * 2, "What is it?")]
    assert ask_json(endpoint(server), pictures, nouns).value == ["dog"]
    first, second = (request["messages"][0]["content"] for request in server.requests)
    assert [part["type"] for part in first] == ["image_url", "image_url", "text"]
    assert first[0]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert second[: len(first)] == first
    assert "empty" in second[-1]["text"]


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("  A red star.\n", "A red star."),
        ("<think>What is it?</think>A red star.", "A red star."),
        ("", "empty"),
        (" \n", "empty"),
        ("<think>What is it?", "empty"),
        ("half \ud83d", "endpoint"),
        (Raw(completion("A red st", "length")), "cut_off"),
        (Raw(completion("", "length")), "cut_off"),
        (Raw(completion(None, refusal="No.")), "refused"),
    ],
)
def test_asking_for_a_text(server, reply, expected):
    server.reply = lambda messages: reply
    if expected in get_args(Kind):
        with pytest.raises(ReplyError) as caught:
            ask_text(endpoint(server), MESSAGES)
        assert (caught.value.kind, len(caught.value.spent)) == (expected, 1)
    else:
        assert ask_text(endpoint(server), MESSAGES).value == expected
    assert len(server.requests) == 1


# --- settings --------------------------------------------------------------------------------------------------------

WRONG = [
    ({"endpoint": "notaurl"}, "address of the endpoint is 'notaurl': expected one such as http://localhost:8000/v1"),
    ({"endpoint": "localhost:8000/v1"}, "expected one such as"),
    ({"endpoint": "ftp://host/v1"}, "expected one such as"),
    ({"endpoint": "http://"}, "expected one such as"),
    ({"endpoint": "http://host:port/v1"}, "expected one such as"),
    ({"endpoint": "http://a host/v1"}, "expected one such as"),
    ({"endpoint": 5}, "endpoint must be a string or None"),
    ({"temperature": float("nan")}, "temperature is nan: expected a number from 0 up"),
    ({"temperature": -0.1}, "temperature is -0.1"),
    ({"temperature": "warm"}, "temperature is 'warm'"),
    ({"max_tokens": 0}, "max_tokens is 0: expected a whole number from 1 up"),
    ({"max_tokens": 1.5}, "max_tokens is 1.5"),
    ({"max_tokens": True}, "max_tokens is True"),
    ({"retries": -1}, "retries is -1: expected a whole number from 0 up"),
    ({"timeout": 0}, "timeout is 0: expected a number above 0"),
    ({"timeout": float("inf")}, "timeout is inf"),
    ({"workers": 0}, "workers is 0"),
    ({"requests_per_minute": float("nan")}, "requests_per_minute is nan: expected a number above 0"),
    ({"requests_per_minute": 0}, "requests_per_minute is 0"),
    ({"prices": (1.0, -1.0)}, "prices is -1.0: expected a number from 0 up"),
    ({"prices": (float("nan"), 1.0)}, "prices is nan"),
    ({"prices": (1.0,)}, "expected two numbers"),
    ({"prices": 1.0}, "expected two numbers"),
    ({"model": ""}, "model is ''"),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=str)
def test_wrong_settings_are_said_at_once(monkeypatch, change, said):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ChatError, match="(?s)" + said.replace("(", r"\(")) as caught:
        make_chat(**{"model": "m", "endpoint": "http://127.0.0.1:9/v1", **change})
    assert isinstance(caught.value, BenchError)


def test_the_address_may_come_from_the_environment(monkeypatch, server):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.reply = lambda messages: "here"
    assert make_chat("m", "openai").complete(MESSAGES).text == "here"
    monkeypatch.setenv("OPENAI_BASE_URL", "notaurl")
    with pytest.raises(ChatError, match="'notaurl'"):
        make_chat("m", "openai")


@pytest.mark.parametrize("key", ["", "a key", "key\n", "schlüssel"])
def test_keys_that_are_none(monkeypatch, key):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("A_KEY", key)
    with pytest.raises(ChatError, match="environment variable A_KEY") as caught:
        make_chat("m", "openai", key_variable="A_KEY")
    assert not key or key not in str(caught.value).replace("A_KEY", "")


def test_an_address_with_a_password_is_not_shown(monkeypatch, server):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    chat = make_chat("m", "http://me:hidden@127.0.0.1:9/v1", retries=0)
    assert chat.settings()["endpoint"] == "http://127.0.0.1:9/v1"
    with pytest.raises(ReplyError) as caught:
        chat.complete(MESSAGES)
    assert "hidden" not in str(caught.value)
    for address in (
        "http://me:hidden@127.0.0.1:99999/v1",
        "http://127.0.0.1:9/v1?key=hidden",
        "http://me:hid/den@h/v1",
    ):
        with pytest.raises(ChatError, match="The address of the endpoint") as refused:
            make_chat("m", address)
        assert "hid" not in str(refused.value)


def test_without_openai_both_extras_are_named(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ChatError, match=r"videorefer-plugin\[engine\].*videorefer-plugin\[bench\]"):
        make_chat("m", "openai")


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "There are no messages"),
        ([{"role": "user"}], "Message 0 is"),
        ([{"content": "x"}], "Message 0 is"),
        ([*MESSAGES, {"role": "user", "content": "half \ud83d"}], "Message 1 cannot be sent: .*half of a character"),
    ],
)
def test_messages_that_cannot_be_sent(server, messages, said):
    with pytest.raises(PromptError, match=said):
        endpoint(server).complete(messages)
    assert not server.requests


def test_a_closed_chat_can_be_asked_again(server):
    chat = endpoint(server)
    server.reply = lambda messages: "yes"
    for _ in range(2):
        assert complete_many(chat, [MESSAGES, MESSAGES]) == [Completion("yes", 100, 10, "stop")] * 2
        chat.close()


def test_prices_are_those_of_a_million_tokens():
    usage = Usage([2, 8])
    usage.add(Completion("x", 1_000_000, 500_000))
    assert usage.cost == 6.0


# --- a model on this machine -----------------------------------------------------------------------------------------

LONG = 64  # positions of the model below


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose template wants turns, and of whose replies some end by themselves."""
    from tests.tiny_hosts import write_chat_model

    refusal = "{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    turn = f"{refusal}{{{{ m['role'] }}}}: {{{{ m['content'] }}}}"
    sizes = {"num_hidden_layers": 2, "max_position_embeddings": LONG, "initializer_range": 0.5, "eos_token_id": None}
    return write_chat_model(tmp_path_factory.mktemp("chat"), turn, ends=96, **sizes)


def says(*words):
    return [[{"role": "user", "content": word}] for word in words]


def test_a_batch_gets_the_replies_of_each_alone(folder):
    conversations = says("a", "a red star", "is it a dog or a cat?", "b c d e f g h", *"ijklmnop")
    chat = make_chat(folder, max_tokens=12)
    alone = [chat.complete(messages) for messages in conversations]
    used = str(chat.usage)
    other = LocalChat(folder, max_tokens=12)
    assert complete_many(other, conversations) == alone
    assert str(other.usage) == used
    assert {each.finish for each in alone} == {"stop", "length"}
    assert all(each.output_tokens == 12 for each in alone if each.finish == "length")
    other.close()
    assert other.complete(conversations[1]) == alone[1]
    assert other.complete_many([]) == []


def test_messages_that_are_too_long_and_replies_that_reach_the_end(folder):
    chat = LocalChat(folder, max_tokens=1000)
    short = chat.complete(says("a")[0])
    assert short.output_tokens <= LONG - short.input_tokens
    with pytest.raises(ReplyError, match=rf"tokens, and '.*' reads at most {LONG}") as caught:
        chat.complete(says("a b c d " * 50)[0])
    assert caught.value.kind == "too_long"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"role": "system", "content": "x"}], "chat template of .* does not take these messages: no system"),
        ([picture_message([np.zeros((8, 8, 3), np.uint8)], "x")], "'image_url', which a language model does not see"),
    ],
)
def test_messages_that_no_language_model_takes(folder, messages, said):
    with pytest.raises(ChatError, match=said):
        LocalChat(folder).complete(messages)


def test_parts_that_are_texts_are_a_text(folder):
    chat = LocalChat(folder, max_tokens=4)
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert chat.complete(parts) == chat.complete(says("a\nb")[0])


def test_settings_of_requests_mean_nothing_here(folder):
    chat = make_chat(folder, None, retries=3, timeout=5.0, prices=(1.0, 2.0), workers=4, temperature=0, max_tokens=3)
    assert isinstance(chat, LocalChat)
    assert chat.complete(MESSAGES).output_tokens <= 3
    for wrong in ({"temperature": 0.5}, {"max_tokens": 0}):
        with pytest.raises(ChatError, match="expected"):
            make_chat(folder, **wrong)


def test_a_model_is_loaded_where_one_says(folder, monkeypatch):
    chat = make_chat(folder, device="meta", max_tokens=1)
    with pytest.raises(Exception, match="meta"):
        chat.complete(MESSAGES)
    assert chat.settings() == make_chat(folder, max_tokens=1).settings()  # replies do not depend on it
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    make_chat("m", "http://127.0.0.1:9/v1", device="cuda:1")  # where this is decided by whoever runs it


def test_a_model_that_lacks_weights_is_refused(folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = load_file(broken / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(ChatError, match="incomplete, so that the model would answer with random ones"):
        LocalChat(str(broken)).complete(MESSAGES)
    (broken / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    with pytest.raises(ChatError, match="chat model that can be loaded"):
        LocalChat(str(broken)).complete(MESSAGES)
