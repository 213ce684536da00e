"""The shapes world: questions, the benchmark, and scores of descriptions."""

import json
import re
import zlib
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.world_truth import all_masks, does, gap
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world import (
    DIMENSIONS,
    QUESTION_TYPES,
    VOCABULARY,
    ask,
    bench_clip,
    bench_q_items,
    description_facts,
    grounding_clip,
    iter_clips,
    make_clip,
    open_questions,
    score_description,
    stage_records,
)
from videorefer_plugin.world.categories import CATEGORIES, asked
from videorefer_plugin.world.clip import seeded
from videorefer_plugin.world.language import detailed, short, words
from videorefer_plugin.world.questions import holds
from videorefer_plugin.world.scene import CHANGES, THEMES
from videorefer_plugin.world.stages import STAGES
from videorefer_plugin.world.versions import NEWEST, VERSION

CHOICES = [name for name, category in CATEGORIES.items() if category.choice]
SEEDS = st.tuples(st.integers(0, 10**6), st.sampled_from(["train", "heldout"]), st.sampled_from(list(THEMES)))
examples = settings(max_examples=60, deadline=None, derandomize=True)
BENCH_CLIPS = 300


@pytest.fixture(scope="module", params=[VERSION, NEWEST])
def version(request):
    return request.param


@pytest.fixture(scope="module")
def bench(version):
    return [bench_clip(0, number, version=version) for number in range(BENCH_CLIPS)]


# --- options ---------------------------------------------------------------------------------------------------------


def seen(clip, category, subjects, label):
    """Whether an option is true, as far as tracks, masks and what was drawn tell; None where that takes facts."""
    first = subjects[0]
    item, frames = clip.facts.objects[first], clip.facts.frames
    path = clip.scene.centers
    if category in ("color", "shape", "pattern"):
        return getattr(item, category) == label[0]
    if category in ("start", "end"):
        x, y = path[first, 0 if category == "start" else frames - 1]
        return label[0] == f"{'top' if y < 32 else 'bottom'} {'left' if x < 32 else 'right'}"
    if category in ("doing", "order"):
        return does(clip, first, label)
    if category in ("first", "last"):
        step = path[first, 3] - path[first, 0] if category == "first" else path[first, -1] - path[first, -4]
        ways = {"left": -step[0], "right": step[0], "up": -step[1], "down": step[1], "still": 0.01}
        return max(ways, key=ways.get) == label[0]
    if category == "side":
        x, y = path[first, 0] - path[subjects[1], 0]
        ways = {"left": -x, "right": x, "above": -y, "below": y}
        return max(ways, key=ways.get) == label[0]
    if category == "nearest":
        away = np.linalg.norm(path[:, frames - 1] - path[first, frames - 1], axis=1)
        away[first] = np.inf
        return int(away.argmin()) == label[0]
    if category == "next":
        return will(clip, first, label)
    return None


def will(clip, index, label):
    """Whether an object does something after the clip."""
    now, masks, path = clip.facts.frames - 1, all_masks(clip), clip.scene.centers[index]
    area, kind = masks[index].sum((1, 2)), label[0]
    if kind in ("gone", "leave"):
        return area[-1] == 0 and (area[now] == 0) == (kind == "gone")
    if not area[-1]:
        return False
    rests = np.linalg.norm(path[-1] - path[-2]) < 1e-6
    if kind == "reach":
        near = not isinstance(label[1], str) and gap(masks[index, -1], masks[label[1], -1]) < 4
        return near and rests and np.linalg.norm(path[-1] - path[now]) > 1
    if kind in ("grow", "shrink"):
        change = np.diff(clip.scene.radii[index, now:])
        return bool(change.any() and (change >= 0 if kind == "grow" else change <= 0).all())
    if kind in ("still", "move"):
        return does(clip, index, label, now, len(path))
    return kind in ("circle", "bounce", "chase") and does(clip, index, label)


@examples
@given(SEEDS)
def test_exactly_one_option_is_true(seed):
    check_options(*seed)


@pytest.mark.parametrize("theme", CHANGES)
def test_exactly_one_option_is_true_of_objects_that_change(theme):
    for number in range(12):
        assert theme in check_options(number, "heldout", theme)  # each is the name of a category, too


def check_options(number, split, theme):
    """Check all questions of a clip; returns the categories that had any."""
    clip = make_clip(number, split, theme=theme)
    rng = seeded(number)
    asked_of = set()
    for category in CHOICES:
        for full in (False, True):
            for question in ask(category, clip.facts, rng, full=full):
                assert [holds(category, clip.facts, question.subjects, label) for label in question.labels] == [
                    place == question.answer for place in range(4)
                ]
                by_sight = [seen(clip, category, question.subjects, label) for label in question.labels]
                if None not in by_sight:
                    assert by_sight == [place == question.answer for place in range(4)], question
                assert len(set(question.options)) == 4
                assert not full or question.spread == 4
                asked_of.add(category)
    return asked_of


def test_prompts_are_those_of_the_benchmark():
    (question,) = ask("color", make_clip(0, objects=4, distinct=True).facts, seeded(1), full=True, letter=2)
    assert re.fullmatch(
        r"What (color is \[<region>\]|is the color of \[<region>\])\? "
        r"\(A\) \w+ \(B\) \w+ \(C\) \w+ \(D\) \w+\. "
        r"Answer with the option's letter from the given choices directly\.",
        question.prompt,
    )
    assert question.options[2].startswith("(C) ")
    assert question.answer == 2


@pytest.mark.slow
def test_fillers_are_as_frequent_as_what_is_true():
    true, fill = {}, {}
    clips = [clip for clip, _ in zip(iter_clips(3), range(900), strict=False)]
    rng = seeded(3)
    for category in ("doing", "next", "goal", "cause", "deed"):
        for clip in clips:
            labels = sorted(set(CATEGORIES[category].labels(clip.facts).values()), key=str)
            for label in labels:
                true.setdefault(category, Counter())[label[0]] += 1 / len(labels)
            fill.setdefault(category, Counter())[CATEGORIES[category].fill(clip.facts, rng)[0]] += 1
        for kind in {*true[category], *fill[category]}:
            share, filled = (c[category][kind] / c[category].total() for c in (true, fill))
            assert abs(share - filled) < 0.09, (category, kind, share, filled)


# --- the benchmark ---------------------------------------------------------------------------------------------------


@pytest.mark.spread(1)
def test_the_benchmark_is_balanced_and_fair(bench, version):
    questions = [question for _, found in bench for question in found]
    assert Counter(q.type for q in questions) == dict.fromkeys(QUESTION_TYPES, len(questions) // 5)
    for kind in QUESTION_TYPES:
        letters = Counter(q.answer for q in questions if q.type == kind)
        assert max(letters.values()) - min(letters.values()) <= 2
    assert {q.category for q in questions} == set(asked(version, benchmark=True))
    if version == NEWEST:
        sequences = {q.category for q in questions if q.type == QUESTION_TYPES[1]}
        assert sequences == {"colors", "patterns"}  # of which masks show nothing
    # Somebody who sees the video but no region can do no better than chance: every option is true of some object.
    assert all(q.spread == 4 for q in questions)
    assert all(clip.scene.split == "heldout" for clip, _ in bench)


@pytest.mark.slow
def test_another_object_mostly_has_another_answer(bench):
    differ = []
    for clip, questions in bench:
        for question in questions:
            known = CATEGORIES[question.category].labels(clip.facts)
            answer = known[question.subjects]
            differ += [label != answer for subject, label in known.items() if subject != question.subjects]
    assert np.mean(differ) > 0.9


def text_features(question):
    """Hashed features of each option, of the question and of how the options compare."""
    said = [set(option[4:].split()) for option in question.options]
    rows = []
    for place, option in enumerate(question.options):
        text = option[4:].split()
        found = [f"letter {place}", f"length {len(text)}", f"whole {question.category} {option[4:]}"]
        found += [f"word {question.category} {word}" for word in text]
        found += [f"pair {a} {b}" for a, b in pairwise(text)]
        for other in (said[i] for i in range(4) if i != place):
            found += [f"shared {word}" for word in said[place] & other]
            found += [f"elsewhere {word}" for word in other - said[place]]
        rows.append([zlib.crc32(feature.encode()) % 8192 for feature in found])
    return rows


def fit(questions, epochs):
    """Conditional logistic regression of the answer on the text, by AdaGrad."""
    weights, squares, rng = np.zeros(8192), np.full(8192, 1e-8), np.random.default_rng(0)
    features = [text_features(question) for question in questions]
    for _ in range(epochs):
        for number in rng.permutation(len(questions)):
            scores = np.array([weights[row].sum() for row in features[number]])
            chances = np.exp(scores - scores.max())
            chances /= chances.sum()
            for place, row in enumerate(features[number]):
                gradient = chances[place] - (place == questions[number].answer)
                squares[row] += gradient**2
                weights[row] -= 0.1 * gradient / np.sqrt(squares[row])
    return weights


def accuracy(weights, questions):
    guesses = [np.argmax([weights[row].sum() for row in text_features(question)]) for question in questions]
    return float(np.mean([guess == question.answer for guess, question in zip(guesses, questions, strict=True)]))


@pytest.mark.spread(1)
def test_no_answer_is_guessable_from_the_text(bench):
    train = []
    for number in range(500):
        clip, rng = make_clip((0, 0, number)), seeded(number)
        train += [question for category in CHOICES for question in ask(category, clip.facts, rng)]
    weights = fit(train, 2)
    held = [question for _, questions in bench for question in questions]
    for kind in QUESTION_TYPES:
        mine = [question for question in held if question.type == kind]
        assert len(mine) == 120
        # Chance is 25%, with a standard deviation of 4.0%.
        assert abs(accuracy(weights, mine) - 0.25) < 0.1, kind
    assert abs(accuracy(weights, held) - 0.25) < 0.04
    # The classifier can learn: where letters give the answer away, it finds out.
    easy = [question for question in held if question.answer == 1]
    assert accuracy(fit(easy[:100], 5), easy[100:]) > 0.9


def test_items_have_the_format_of_the_benchmark(bench):
    clip, questions = bench[2]
    for item, question in zip(bench_q_items(clip, questions, "x", "videos/x.mp4"), questions, strict=True):
        assert item["video"] == "videos/x.mp4"
        assert item["Answer"] in item["options"]
        assert item["Question"].count("[<region>]") == len(item["annotation"]) == len(question.subjects)
        assert item["type"] == "Relationship Questions"
        for annotation in item["annotation"]:
            assert annotation[item["frame_idx"]]["segmentation"]["size"] == [64, 64]


def test_grounding_pairs_flip_with_the_region():
    for number in range(2 * len(CHOICES)):
        clip, (one, other) = grounding_clip(0, number)
        assert len(clip) == 2
        assert one.text == other.text
        assert one.options == other.options
        assert one.answer != other.answer
        assert set(one.subjects) == set(other.subjects) or len(one.subjects) == 1


# --- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    ("stage", "most"),
    [
        ("stage3_facts", dict.fromkeys(QUESTION_TYPES, 0.27)),
        ("stage3", {"Relationship Questions": 0.45}),
        ("stage3_more", {"Basic Questions": 0.36}),
    ],
)
def test_records_ask_questions_with_options_of_all_types(stage, most):
    kinds = {text: (name, kind.type) for name, kind in CATEGORIES.items() for text in kind.phrasings}
    types, names, written = Counter(), Counter(), Counter()
    for number in range(80):
        clip = make_clip((6, number), **({"objects": 4, "distinct": True} if number % 2 else {}))
        records = stage_records(clip, stage, "x", "x.mp4", "x.png", seeded(number))
        written.update(record["id"].split("/")[1] for record in records)
        for record in (record for record in records if "/choice/" in record["id"]):
            for turn in record["conversations"][::2]:
                text = turn["value"].removeprefix("<video>\n").replace("[<region>]", "<region>")
                name, wanted = kinds[text.split(" (A)")[0]]
                types[wanted] += 1
                names[name] += 1
    assert types.keys() == set(QUESTION_TYPES)
    shares = {name: count / types.total() for name, count in types.items()}
    assert all(0.08 < share < most.get(name, 0.27) for name, share in shares.items()), shares
    if stage != "stage3_facts":
        assert written["choice"] == {"stage3": 3, "stage3_more": 5}[stage] * 80
        assert all(30 < written[kind] < 50 for kind in ("qa", "frame", "image", "detailed")), written
        # What two objects do to each other comes last, but often.
        assert min(names["deed"], names["partner"]) > {"stage3": 0.06, "stage3_more": 0.025}[stage] * types.total()
    if stage == "stage3_more":  # looks and places are asked for most often where they are answered worst
        assert min(names["shape"], names["start"], names["end"]) > 1.2 * max(names["color"], names["pattern"]), names


def test_what_an_object_does_in_each_part_is_said_once_in_a_conversation():
    conversations = Counter()
    for number in range(60):
        clip = make_clip((8, number), **({"objects": 4, "distinct": True} if number % 2 else {}))
        for record in stage_records(clip, "stage3", "x", "x.mp4", None, seeded(number)):
            regions, told = iter(record["annotation"]), []
            turns = record["conversations"]
            assert turns
            for question, answer in zip(turns[::2], turns[1::2], strict=True):
                shown = [json.dumps(next(regions)) for _ in range(question["value"].count("<region>"))]
                if answer["value"].count("part: "):
                    assert answer["value"].count("part: ") == len(shown)
                    told += shown
            assert len(set(told)) == len(told)
            conversations[len(told)] += 1
    assert sum(conversations[count] for count in (2, 3, 4)) > 60


@pytest.mark.slow
def test_what_objects_without_a_partner_do_is_no_better_guess_than_the_rest():
    """Clips of few objects ask about them often; were all questions kept, the text would tell half of them."""
    offered, right = Counter(), Counter()
    for number in range(400):
        clip = make_clip((7, number), **({"objects": 4, "distinct": True} if number % 2 else {}))
        for record in stage_records(clip, "stage3_facts", "x", "x.mp4", None, seeded(number)):
            for question, answer in zip(record["conversations"][::2], record["conversations"][1::2], strict=True):
                options = re.findall(r"\([A-D]\) (.*?)(?= \([A-D]\)|\. Answer with)", question["value"])
                offered.update(options)
                right.update(option for option in options if answer["value"].endswith(f"Answer: {option}"))
    for option in (
        "to stay in its place",
        "to leave the frame",
        "it is gone because it leaves the frame",
        "it will stay still",
        "it will leave the frame",
        "it will stay out of the frame",
        "it stays still",
    ):
        assert offered[option] > 60, option
        assert 0.15 < right[option] / offered[option] < 0.4, (option, right[option] / offered[option])


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_word_is_in_the_vocabulary_and_every_word_is_used():
    used = Counter()
    for clip, number in zip(iter_clips(4), range(200), strict=False):
        for stage in (stage.records for stage in STAGES.values() if stage.kinds):
            for record in stage_records(clip, stage, "x", "x.mp4", "x.png", seeded(number)):
                for turn in record["conversations"]:
                    used.update(words(turn["value"]))
        for _, _, answer in open_questions(clip.facts):
            used.update(words(answer))
        for category in CHOICES:
            for question in ask(category, clip.facts, seeded(number)):
                used.update(words(question.prompt))
    assert set(used) <= VOCABULARY
    assert set(used) == VOCABULARY
    assert len(VOCABULARY) < 250


# --- the judge -------------------------------------------------------------------------------------------------------

TRUTH = {
    "color": "red",
    "shape": "circle",
    "pattern": "striped",
    "size": "small",
    "start": "top left",
    "end": "bottom left",
    "actions": ["move right", "move down"],
    "also": ["move left"],
    "passive": ["chased by blue square"],
    "others": ["blue square", "green star"],
}


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        # The whole truth, twice.
        (
            "A small striped red circle starts at the top left. It moves right, then down. The blue square chases it. "
            "It ends at the bottom left.",
            (5, 5, 5, 5),
        ),
        (
            "This is a small striped red circle. At the start it is at the top left. It moves right and then moves "
            "down. It is chased by the blue square. At the end it is at the bottom left.",
            (5, 5, 5, 5),
        ),
        # Another object: nothing of the look but the size, a wrong motion: one right claim of five.
        ("A small dotted green star stays still.", (0, 1.25, 0, 1)),
        # Half of the subject; only its look.
        ("A red square.", (2.5, 1.25, 0, 2.5)),
        # The right order counts: one of two actions, and the other one is said at the wrong time.
        ("A small striped red circle moves down, then right.", (5, 5, 5 * 1 / 6, 5 * 5 / 6)),
        # What is true in a way is neither asked for nor held against it.
        ("A small striped red circle moves left.", (5, 5, 0, 5)),
        # An invented object, an invented action and invented words.
        (
            "A small striped red circle starts at the top left. It moves right, then down. The blue square chases it. "
            "It ends at the bottom left. It hits the pink cross and turns back.",
            (5, 5, 5 * 5 / 6, 5 * 10 / 12),
        ),
        ("A small striped red circle and a dog on the beach.", (5, 5, 0, 5 * 4 / 6)),
        ("", (0, 0, 0, 0)),
        ("It moves right, then moves down.", (0, 0, 2, 5)),
    ],
)
def test_hand_written_descriptions(text, scores):
    found = score_description(text, TRUTH)
    assert tuple(found) == DIMENSIONS
    assert tuple(found.values()) == pytest.approx(scores)


def test_capitals_and_verb_forms_do_not_matter():
    text = "a small STRIPED red circle is moving right, then down, starting at the top left"
    assert score_description(text, TRUTH) == pytest.approx({"SC": 5, "AD": 5, "TD": 3, "HD": 5})


@examples
@given(SEEDS)
def test_descriptions_of_the_world_score_full_marks_and_those_of_others_do_not(seed):
    number, split, theme = seed
    facts = make_clip(number, split, theme=theme, distinct=True).facts
    for index in range(len(facts.objects)):
        truth = description_facts(facts, index)
        for rng in (None, seeded(number)):
            assert set(score_description(detailed(facts, index, rng), truth).values()) == {5.0}
        brief = score_description(short(facts, index), truth)
        assert brief["SC"] == brief["AD"] == brief["HD"] == 5
        other = score_description(detailed(facts, index - 1), truth)
        assert other["SC"] == 0
        assert other["AD"] <= 5 / 3
        assert other["HD"] < 4
        invented = score_description(detailed(facts, index) + " It turns back because a dog barks.", truth)
        assert invented["HD"] < 5


def test_facts_of_a_description_are_checked():
    with pytest.raises(ConfigurationError, match="facts lack also"):
        score_description("A red circle.", {key: value for key, value in TRUTH.items() if key != "also"})
