"""Judges and endpoints: what is sent, what comes back, and what happens when it does not."""

import ast
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.bench_data import Parrot, read_items, write_benchmark
from tests.chat_server import KEY, Raw, completion, scores_of
from tests.conftest import CHECKPOINT
from videorefer_plugin.bench import (
    ChatEndpoint,
    ChatJudge,
    LocalChat,
    RuleJudge,
    evaluate_descriptions,
    find_results,
    write_report,
)
from videorefer_plugin.bench.benchmarks.descriptions import JUDGE_PROMPT
from videorefer_plugin.bench.benchmarks.records import Records
from videorefer_plugin.bench.benchmarks.registry import benchmark_of
from videorefer_plugin.bench.choosing import make_judge
from videorefer_plugin.bench.endpoint import Completion, Usage
from videorefer_plugin.bench.evaluate import evaluate
from videorefer_plugin.bench.items import DescriptionItem, read_descriptions
from videorefer_plugin.chat import ReplyError
from videorefer_plugin.cli import app
from videorefer_plugin.errors import BenchError
from videorefer_plugin.world import judge as world_judge
from videorefer_plugin.world.judge import score_description

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_benchmark(tmp_path_factory.mktemp("bench")) / "bench_d.json"


def endpoint(server, **settings):
    return ChatEndpoint("a-judge", base_url=server.url, **{"timeout": 60, "retries": 2, **settings})


# --- judges ----------------------------------------------------------------------------------------------------------


def test_rules_give_a_true_description_full_marks(bench, tmp_path):
    result = evaluate_descriptions(bench, Parrot(), RuleJudge(), tmp_path)
    assert [cell["mean"] for cell in result["scores"]["dimensions"].values()] == [5, 5, 5, 5]
    assert result["judge"]["prompt_hash"] == RuleJudge().settings()["prompt_hash"]


def test_rules_are_those_of_the_world(bench):
    item = read_descriptions(bench)[0]
    for said in ("A red star.", "Nothing", ""):
        row = RuleJudge().judge(item, said)
        expected = score_description(said, item.facts)
        assert row["reply"] == str(expected).replace("'", '"')


def test_rules_need_facts_and_say_so_before_anything_is_generated(tmp_path, bench):
    items = [{key: value for key, value in item.items() if key != "facts"} for item in read_items(bench)]
    (bench.parent / "plain.json").write_text(json.dumps(items))
    with pytest.raises(BenchError, match="has no facts"):
        evaluate_descriptions(bench.parent / "plain.json", Parrot(), RuleJudge(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_judge_is_told_reference_and_description(server):
    judge = ChatJudge(endpoint(server))
    item = DescriptionItem("1", None, [], caption="A dog runs.")  # type: ignore[arg-type]
    row = judge.judge(item, "A cat sleeps.")
    (request,) = server.requests
    said = "\n".join(message["content"] for message in request["messages"])
    for text in ("A dog runs.", "A cat sleeps.", "SC", "AD", "TD", "HD", "JSON", "0 to 5"):
        assert text in said
    assert (request["model"], request["temperature"]) == ("a-judge", 0)
    assert row["reply"] == scores_of(request["messages"][-1]["content"])
    assert row["date"][:2] == "20"
    assert (row["input_tokens"], row["output_tokens"]) == (100, 10)


def test_temperature_and_model_are_part_of_the_configuration(bench, tmp_path, server):
    results = [
        evaluate_descriptions(bench, Parrot(), ChatJudge(endpoint(server, temperature=heat)), tmp_path)
        for heat in (0.0, 0.7)
    ]
    assert results[0]["path"] != results[1]["path"]
    assert results[1]["judge"]["temperature"] == 0.7
    assert server.requests[-1]["temperature"] == 0.7


def test_results_say_what_the_judge_does_not_take_and_what_is_cut_off(bench, tmp_path, server):
    first = server.answer

    def answer(body, key):
        for name in ("temperature", "max_tokens"):
            if name in body:
                return Raw({"error": {"message": f"Unsupported parameter: '{name}'"}}, 400)
        return first(body, key)

    server.answer = answer
    odd = read_items(bench)[1]
    server.reply = lambda messages: (
        Raw(completion("So", "length")) if odd["caption"] in messages[-1]["content"] else scores_of("x")
    )
    for _ in range(2):  # also such as were judged before
        result = evaluate_descriptions(bench, Parrot(), ChatJudge(endpoint(server)), tmp_path)
        assert result["judge_adapted"] == {"temperature": "left out", "max_tokens": "sent as max_completion_tokens"}
        assert result["judge_cut_off"] == [odd["id"]]
        assert result["judge"]["temperature"] == 0.0  # what was asked for names the judgements


def test_judgements_without_a_count_of_tokens(bench, tmp_path, server):
    server.reply = lambda messages: Raw({"choices": [{"message": {"content": scores_of("x")}}]})
    judge = ChatJudge(endpoint(server))
    evaluate_descriptions(bench, Parrot(), judge, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "judgements-0.jsonl").read_text().splitlines()]
    assert {(row["input_tokens"], row["output_tokens"]) for row in rows} == {(None, None)}
    assert "tokens unknown" in str(judge.chat.usage)


def test_prose_is_counted_and_not_asked_again(bench, tmp_path, server):
    items = read_items(bench)
    odd = items[2]["caption"]
    server.reply = lambda messages: (
        "A fine description, well done." if odd in messages[-1]["content"] else scores_of(messages[-1]["content"])
    )
    for _ in range(2):
        result = evaluate_descriptions(bench, Parrot(), ChatJudge(endpoint(server)), tmp_path)
    assert len(server.requests) == 5
    assert result["scores"]["not_understood"] == [items[2]["id"]]
    assert result["scores"]["dimensions"]["SC"]["missing"] == 1
    assert result["scores"]["average_missing_as_zero"] < result["scores"]["average"]


def test_an_empty_description_is_judged(bench, tmp_path, server):
    name = read_items(bench)[0]["id"]
    result = evaluate_descriptions(bench, Parrot(name), ChatJudge(endpoint(server)), tmp_path)
    assert result["scores"]["items"][0]["description"] == ""
    assert len(server.requests) == 5
    assert result["scores"]["not_judged"] == []


@pytest.mark.parametrize("status", [429, 500])
def test_refused_for_a_while(bench, tmp_path, server, status):
    seen: dict[str, int] = {}

    def reply(messages):
        text = messages[-1]["content"]
        seen[text] = seen.get(text, 0) + 1
        return status if seen[text] == 1 else scores_of(text)

    server.reply = reply
    result = evaluate_descriptions(bench, Parrot(), ChatJudge(endpoint(server)), tmp_path)
    assert set(seen.values()) == {2}
    assert result["scores"]["not_judged"] == []


def test_refused_for_good_is_counted_and_tried_by_the_next_run(bench, tmp_path, server):
    items = read_items(bench)
    server.reply = lambda messages: (
        500 if items[0]["caption"] in messages[-1]["content"] else scores_of(messages[-1]["content"])
    )
    judge = ChatJudge(endpoint(server, retries=1))
    first = evaluate_descriptions(bench, Parrot(), judge, tmp_path)
    assert first["scores"]["not_judged"] == [items[0]["id"]]
    assert "status 500" in first["judge_failed"][items[0]["id"]]
    assert first["scores"]["dimensions"]["HD"]["missing"] == 1
    server.reply = lambda messages: scores_of(messages[-1]["content"])
    asked = len(server.requests)
    second = evaluate_descriptions(bench, Parrot(), judge, tmp_path)
    assert len(server.requests) == asked + 1
    assert second["scores"]["not_judged"] == []
    assert second["judge_failed"] == {}


def test_no_answer_in_time(server):
    server.delay = 1.0
    with pytest.raises(ReplyError, match="does not answer in time"):
        endpoint(server, timeout=0.1, retries=0).complete(MESSAGES)


def test_nobody_there(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ReplyError, match="cannot be reached"):
        ChatEndpoint("m", base_url="http://127.0.0.1:9/v1", retries=0).complete(MESSAGES)


# --- a prompt of one's own -------------------------------------------------------------------------------------------

WORDING = """\
name: as the released script asks
system: |
  Reply with {"SC": 5, "AD": {}}.
user: |
  Truth: {reference}
  Said: {description}
  Leave {this} alone.
"""


def test_the_wording_of_a_file_is_sent_named_and_kept_beside_the_result(bench, tmp_path, server):
    path = tmp_path / "prompt.yaml"
    path.write_text(WORDING, encoding="utf-8-sig")
    prompt = JUDGE_PROMPT.from_file(path)
    results = [
        evaluate_descriptions(bench, Parrot(), ChatJudge(endpoint(server), one), tmp_path / "out")
        for one in (JUDGE_PROMPT, prompt, prompt)
    ]
    system, user = (message["content"] for message in server.requests[-1]["messages"])
    caption = next(item["caption"] for item in read_items(bench) if item["caption"] in user)
    assert system == 'Reply with {"SC": 5, "AD": {}}.\n'
    assert user == f"Truth: {caption}\nSaid: {caption}\nLeave {{this}} alone.\n"
    assert len(server.requests) == 10  # once in each wording
    assert results[0]["judge"]["prompt_hash"] != results[1]["judge"]["prompt_hash"] == prompt.hash
    assert "judge_prompt" not in results[0]
    kept = tmp_path / "out" / "configurations" / f"judge_prompt-{prompt.hash}.yaml"
    again = JUDGE_PROMPT.from_file(kept)
    assert (again.system, again.user, again.hash) == (prompt.system, prompt.user, prompt.hash)
    write_report(find_results([tmp_path / "out"]), tmp_path / "report.md")
    notes = (tmp_path / "report.md").read_text()
    assert f"prompt {prompt.hash} (as the released script asks)" in notes
    assert f"prompt {JUDGE_PROMPT.hash}. " in notes


def test_wordings_are_told_apart_by_their_hashes():
    # Results of earlier versions name the first of these.
    hashes = [benchmark_of(name).judge_prompt.hash for name in ("d", "dlc", "records")]
    assert hashes == ["e1d290834396", "103dea919741", "f19395348c87"]
    user = "{reference} {description}"
    texts = [("Be strict.", f" Truth {user}"), ("Be strict. Truth ", user), ("Be strict. ", f"Truth {user}")]
    prompts = [replace(JUDGE_PROMPT, system=system, user=said) for system, said in texts]
    assert len({prompt.hash for prompt in prompts}) == 3


def test_a_file_that_repeats_the_wording_of_the_library_is_that_wording(tmp_path):
    assert JUDGE_PROMPT.from_file(JUDGE_PROMPT.save(tmp_path)).hash == JUDGE_PROMPT.hash


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "cannot be read: No such file"),
        ("", "is empty"),
        ("Score it.", "expected YAML with a text under 'system'"),
        (b"system: caf\xe9", "is not UTF-8"),
        (b"system: a\0b\nuser: c", "is not YAML"),
        ('{"system": "a\\u0000", "user": "{reference} {description}"}', "has a zero byte"),
        ("system: a\nsystem: b\nuser: c", "stands twice"),
        (WORDING + "sytem: x", "unknown key 'sytem'; did you mean system?"),
        ("user: '{reference} {description}'", "has None under 'system': expected a text"),
        ("system: a\nuser: {reference}", "expected a text, indented below a line 'user: |'"),
        (
            "system: a\nuser: '{reference} {descripton}'",
            "lacks {description} in its user's text, but has {descripton}",
        ),
        ("system: a\nuser: nothing", "lacks {reference}, {description}"),
        (WORDING.replace("Reply", "{reference} Reply"), "which takes no fields: move it"),
        (WORDING.replace("as the", "5 #"), "has 5 under 'name'"),
        ("#" * (1 << 21), "has more than 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_prompt(tmp_path, written, said):
    path = tmp_path / "prompt.yaml"
    if written is not None:
        path.write_bytes(written if isinstance(written, bytes) else written.encode())
    with pytest.raises(BenchError) as caught:
        JUDGE_PROMPT.from_file(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("rule", "asked nothing"), ("none", "asked nothing"), ("robot", "expected one of endpoint, local, rule, none")],
)
def test_who_is_asked_nothing_takes_no_prompt(kind, said):
    with pytest.raises(BenchError, match=said):
        make_judge(kind, prompt=JUDGE_PROMPT)


# --- what benchmarks need of their judges ----------------------------------------------------------------------------


def write_others(folder):
    """An item each of the benchmarks that have judges besides Bench-D."""
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "picture.png")
    shown = {"id": "a", "image": "picture.png", "height": 64, "width": 64}
    box = {"segmentation": [[8, 16, 24, 16, 24, 48, 8, 48]]}
    question = {"kind": "positive", "question": "Which colour?", "choices": [["Red", 1], ["Blue", 0]]}
    said = [{"from": "human", "value": "<image>\nWhat is <region>?"}, {"from": "gpt", "value": "A red star."}]
    (folder / "dlc.json").write_text(json.dumps([{**shown, "annotation": [box], "questions": [question]}]))
    (folder / "records.json").write_text(json.dumps([{**shown, "annotation": [{"0": box}], "conversations": said}]))


class Says:
    """Says the same of everything, and counts how often it was asked."""

    workers, asked = 1, 0

    def settings(self):
        return {"model": "says", "sees": "nothing"}

    def answer(self, items, mode):
        self.asked += len(items)
        return ["A red star."] * len(items)


OTHERS = {"dlc": benchmark_of("dlc"), "records": Records(compare="judge")}


@pytest.mark.parametrize("name", OTHERS)
def test_a_chat_model_is_asked_in_the_words_of_the_benchmark(tmp_path, server, name):
    write_others(tmp_path)
    server.reply = lambda messages: "(A)"
    judge, benchmark = ChatJudge(endpoint(server)), OTHERS[name]
    result = evaluate(benchmark, tmp_path / f"{name}.json", Says(), tmp_path / "out", judge=judge)
    assert server.requests[-1]["messages"][0]["content"] == benchmark.judge_prompt.system
    assert result["judge"]["prompt_hash"] == benchmark.judge_prompt.hash
    assert result["scores"]["not_judged"] == []
    assert judge.settings()["prompt_hash"] == JUDGE_PROMPT.hash  # what it was given is as before


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda chat: ChatJudge(chat, JUDGE_PROMPT), "lacks a value for the judge's prompt: .* 'caption'"),
        (lambda chat: RuleJudge(), "a judge of the kind rule: expected one of endpoint, local, none"),
    ],
)
@pytest.mark.parametrize("on_bad_item", ["error", "skip"])
def test_a_judge_that_does_not_fit_is_refused_before_anything_is_generated(
    tmp_path, server, name, make, said, on_bad_item
):
    write_others(tmp_path)
    says, judge = Says(), make(endpoint(server))
    data = tmp_path / f"{name}.json"
    with pytest.raises(BenchError, match=said):
        evaluate(OTHERS[name], data, says, tmp_path / "out", judge=judge, on_bad_item=on_bad_item)
    with pytest.raises(BenchError):
        judge.check(OTHERS[name].read(data).items)
    assert (says.asked, server.requests) == (0, [])


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("records", ["--judge-prompt", "p.yaml"], "leave --judge-prompt out, or add --compare judge"),
        ("records", ["--judge-model", "m", "--judge-workers", "2"], "leave --judge-model, --judge-workers out"),
        ("records", ["--compare", "exact", "--judge-endpoint", "openai"], "leave --judge-endpoint out"),
        ("records", ["--judge", "endpoint", "--judge-model", "m"], "leave --judge, --judge-model out, or add"),
        ("records", ["--compare", "judge", "--judge-model", "m"], "give --judge endpoint, local, none"),
        ("records", ["--compare", "judge", "--judge", "local", "--judge-model", "embedded"], "is not a chat model"),
    ],
)
def test_settings_of_a_judge_that_nobody_reads_are_refused(tmp_path, name, options, said):
    write_others(tmp_path)
    arguments = ["bench", name, str(tmp_path / f"{name}.json"), "--model", "embedded", "--out", str(tmp_path / "out")]
    result = CliRunner(env={"COLUMNS": "1000"}).invoke(app, [*arguments, *options])
    assert result.exit_code == 1
    assert said in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", OTHERS)
def test_reports_name_the_wording_of_every_judge(tmp_path, server, name):
    write_others(tmp_path)
    server.reply = lambda messages: "(A)"
    benchmark = OTHERS[name]
    own = benchmark.judge_prompt
    other = replace(own, user=f"Now: {own.user}", name="the *released* one | a_b\n# <b>")
    for number, prompts in enumerate(((own,), (own, other), (other,))):
        out = tmp_path / f"out{number}"
        for prompt in prompts:
            judge = ChatJudge(endpoint(server), prompt)
            evaluate(benchmark, tmp_path / f"{name}.json", Says(), out, judge=judge)
        text = write_report(find_results([out]), tmp_path / "report.md")[0].read_text()
        assert (f"prompt {own.hash};" in text) == (own in prompts)
        called = r"(the \*released\* one \| a\_b # \<b\>)"
        assert (f"prompt {other.hash} {called};" in text) == (other in prompts)
        assert "judged by a-judge, temperature 0.0, " in text
        if name == "dlc":
            ours = ["The judge's wording is this library's", f"wording {own.hash} is this library's"]
            assert [said in text for said in ours] == [number == 0, number == 1]


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_wrong_key_stops_at_once_and_is_never_shown(bench, tmp_path, server, monkeypatch):
    secret = "sk-wrong-but-secret"
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    # The descriptions are there, so that nothing has to be generated.
    evaluate_descriptions(bench, Parrot(), None, tmp_path)
    with pytest.raises(BenchError) as caught:
        evaluate_descriptions(bench, Parrot(), ChatJudge(endpoint(server)), tmp_path)
    assert "refuses the key in OPENAI_API_KEY (status 401)" in str(caught.value)
    chain = [caught.value, caught.value.__cause__]
    assert secret not in "".join(map(str, chain))
    assert not server.requests
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret not in path.read_text()


def test_no_key(monkeypatch, bench, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    arguments = ["bench", "d", str(bench), "--model", str(CHECKPOINT), "--out", str(tmp_path), "--judge", "endpoint"]
    result = CliRunner().invoke(app, [*arguments, "--judge-model", "gpt"])
    assert result.exit_code == 1
    assert "no key in the environment variable OPENAI_API_KEY" in " ".join(result.output.split())
    result = CliRunner().invoke(app, arguments)
    assert "there is no --judge-model" in " ".join(result.output.split())


# --- manners ---------------------------------------------------------------------------------------------------------


def test_requests_at_the_same_time(bench, tmp_path, server):
    server.delay = 0.1
    evaluate_descriptions(bench, Parrot(), ChatJudge(endpoint(server, workers=3)), tmp_path / "a")
    assert 2 <= server.most_at_once <= 3
    server.most_at_once = 0
    evaluate_descriptions(bench, Parrot(), ChatJudge(endpoint(server, workers=1)), tmp_path / "b")
    assert server.most_at_once == 1


def test_requests_keep_their_distance(server):
    import time

    chat = endpoint(server, requests_per_minute=60 / 0.1)
    start = time.monotonic()
    for _ in range(4):
        chat.complete(MESSAGES)
    assert time.monotonic() - start >= 0.3  # the limit itself, not how fast this machine is
    with pytest.raises(BenchError, match="expected a number above 0"):
        endpoint(server, requests_per_minute=0)


def test_tokens_and_cost(server):
    chat = endpoint(server, prices=(2.0, 8.0))
    for _ in range(3):
        chat.complete(MESSAGES)
    assert str(chat.usage) == "3 request(s), 300 tokens in, 30 out, cost 0.0008"
    assert chat.usage.cost == pytest.approx((300 * 2 + 30 * 8) / 1e6)
    usage = Usage()
    usage.add(Completion("x"))
    assert str(usage) == "1 request(s), tokens unknown, since the model's side counts none"
    usage.add(Completion("x", 3, 4))
    assert str(usage) == "2 request(s), 3 tokens in, 4 out, and those of 1 request(s) unknown"


# --- a model on this machine -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    from tests.tiny_hosts import write_chat_model

    turn = "{{ m['role'] }}: {{ m['content'] }}"
    return write_chat_model(tmp_path_factory.mktemp("chat"), turn, num_hidden_layers=1, max_position_embeddings=8192)


def test_a_local_chat_model_judges(bench, tmp_path, chat_model):
    judge = ChatJudge(LocalChat(str(chat_model), max_tokens=4))
    result = evaluate_descriptions(bench, Parrot(), judge, tmp_path)
    # It is random, so that its replies are not understood; all are counted.
    assert len(result["scores"]["not_understood"]) == 5
    assert result["scores"]["average"] is None
    assert result["judge"]["model"] == str(chat_model)
    assert judge.chat.usage.requests == 5
    assert judge.chat.usage.output_tokens == 20


def test_what_is_no_chat_model(tmp_path):
    with pytest.raises(BenchError, match="chat model that can be loaded"):
        LocalChat(str(tmp_path)).complete(MESSAGES)


def test_judgements_of_the_rules_are_good_as_long_as_no_rule_changes():
    """Docstrings and comments are no rules. A change of a rule changes `RULES` and the hash here."""
    source = Path(str(world_judge.__file__)).read_text(encoding="utf-8")
    texts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr)]
    texts = [node for node in texts if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)]
    skipped = {number for node in texts for number in range(node.lineno, (node.end_lineno or 0) + 1)}
    lines = [line.split("  # ")[0] for number, line in enumerate(source.splitlines(), 1) if number not in skipped]
    rules = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    found = hashlib.sha256("\n".join(rules).encode()).hexdigest()[:12]
    assert (RuleJudge().settings()["prompt_hash"], found) == ("f5058fa73967", "880d6ffec075")


def test_a_judge_of_ones_own_need_not_look_at_items_before(tmp_path):
    class Lenient:
        name, workers = "lenient", 1

        def settings(self):
            return {"judge": "lenient", "model": "me", "prompt_hash": "0"}

        def judge(self, item, answer):
            return {"reply": '{"SC": 5, "AD": 5, "TD": 5, "HD": 5}', "date": "2026-01-01T00:00:00+00:00"}

    descriptions = write_benchmark(tmp_path, 2) / "bench_d.json"
    result = evaluate_descriptions(descriptions, Parrot(), Lenient(), tmp_path / "out")
    assert result["scores"]["average"] == 5.0
