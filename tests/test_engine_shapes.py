"""The agents of the shapes world: its grammar, its finder, its rule and its template."""

import json

import numpy as np
import pytest

import videorefer_plugin as vr
from videorefer_plugin.data_engine.items import (
    Description,
    Drop,
    Noun,
    ObjectItem,
    RegionCaption,
    Source,
    VideoItem,
)
from videorefer_plugin.data_engine.registry import make_agent
from videorefer_plugin.errors import ConfigurationError, SegmentError
from videorefer_plugin.segment import load_segmenter
from videorefer_plugin.video import open_video
from videorefer_plugin.world import description_facts, encode_video, language, make_clip, score_description


def item(caption="", objects=(), seed=0):
    return VideoItem(Source("clip", "clip.mp4", caption), seed, tuple(objects))


def made_of(agent, given):
    (made,) = agent.run([given])
    return made.objects


# --- Analyzer --------------------------------------------------------------------------------------------------------

CAPTIONS = {
    "each object once, with all that is said of it": (
        "A small striped red circle moves left, then up. A large plain blue star moves in a circle.",
        [("red circle", "a small striped red circle", "subject"), ("blue star", "a large plain blue star", "subject")],
    ),
    "a size that changes is not said": (
        "A dotted cyan cross grows.",
        [("cyan cross", "a dotted cyan cross", "subject")],
    ),
    "what is mentioned is merged with what the next sentence is about": (
        "A small plain red circle moves to the blue square and stops. A large bordered blue square stays still.",
        [
            ("red circle", "a small plain red circle", "subject"),
            ("blue square", "a large bordered blue square", "subject"),
        ],
    ),
    "what is only mentioned is another object": (
        "A small plain red circle chases the blue square.",
        [("red circle", "a small plain red circle", "subject"), ("blue square", "the blue square", "other")],
    ),
    "two of a kind that look otherwise are two": (
        "A small plain red circle moves left. A large plain red circle moves up.",
        [("red circle", "a small plain red circle", "subject"), ("red circle", "a large plain red circle", "subject")],
    ),
    "case and line breaks say nothing": (
        "THE RED CIRCLE\nmoves left! the red\tcircle stops",
        [("red circle", "the red circle", "subject")],
    ),
}


@pytest.mark.parametrize(("caption", "expected"), CAPTIONS.values(), ids=CAPTIONS)
def test_a_caption_of_the_shapes_world_names_its_objects(caption, expected):
    nouns = made_of(make_agent("analyzer", "shapes"), item(caption))
    assert [(noun.text, noun.expression, noun.role) for noun in nouns] == expected


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("caption", "kind"),
    [
        ("", "no_caption"),
        (" \n", "no_caption"),
        ("A man walks his dog.", "no_noun"),
        ("It moves in a circle.", "no_noun"),
        ("猫が歩く", "no_noun"),
        ("red " * 100_000, "no_noun"),
    ],
)
def test_a_caption_without_shapes_is_counted(caption, kind):
    (drop,) = made_of(make_agent("analyzer", "shapes"), item(caption))
    assert drop.kind == kind


def test_short_captions_are_made_of_single_subjects_only():
    caption = "Two red circles move left. A green star hits the blue cross."
    nouns = made_of(make_agent("analyzer", "shapes"), item(caption))
    assert [(noun.text, noun.singular) for noun in nouns] == [
        ("red circles", False),
        ("green star", True),
        ("blue cross", True),
    ]
    found = made_of(make_agent("analyzer", "shapes", {"mode": "short"}), item(caption))
    assert [one.kind if isinstance(one, Drop) else one.text for one in found] == [
        "plural",
        "green star",
        "not_subject",
    ]


def test_all_nouns_of_rendered_clips_are_found():
    for seed in range(40):
        facts = make_clip((7710, seed)).facts
        order = list(range(len(facts.objects)))
        looks = [language.look(one) for one in facts.objects]
        nouns = made_of(make_agent("analyzer", "shapes"), item(language.scene_caption(facts, order)))
        assert sorted(noun.expression for noun in nouns) == sorted(looks)


# --- finder ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips with their videos, as they are decoded from H.264 with halved chroma."""
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for seed in range(6):
        clip, path = make_clip((7711, seed)), folder / f"{seed}.mp4"
        encode_video(path, clip.frames)
        made.append((clip, open_video(path)))
    return made


def overlap(mask, other):
    return np.count_nonzero(mask & other) / np.count_nonzero(mask | other)


def test_words_find_their_objects_in_decoded_frames(clips):
    finder = load_segmenter("shapes_color")
    overlaps = []
    for clip, video in clips:
        for index in range(len(clip)):
            frame = clip.clear_frames(index)[-1]
            found = finder.find(video.read([frame])[0], language.name(clip.facts, index))
            overlaps.append(overlap(found[0].mask, clip.masks[index, frame]))
            assert found[0].phrase == language.name(clip.facts, index)
            assert 0.5 <= found[0].score <= 1
    assert np.mean(overlaps) > 0.9
    assert min(overlaps) > 0.6


def test_found_objects_are_followed(clips):
    clip, video = clips[0]
    (masklet,) = vr.find_regions(video, language.name(clip.facts, 0), "shapes_color", on_lost="ignore")
    overlaps = [
        overlap(masklet.region.mask(frame, 64, 64), clip.masks[0, frame])
        for frame in clip.clear_frames(0)
        if frame in masklet.region.present
    ]
    assert len(overlaps) > 8
    assert np.mean(overlaps) > 0.8


def drawn(*shapes, background=190):
    """A frame with filled squares and disks: (color, kind, x, y, radius)."""
    frame = np.full((64, 64, 3), background, np.uint8)
    y, x = np.mgrid[:64, :64] + 0.5
    for color, kind, left, top, radius in shapes:
        away = np.hypot(x - left, y - top) if kind == "circle" else np.maximum(abs(x - left), abs(y - top)) / 0.9
        frame[away < radius] = color
    return frame


RED, BLUE = (215, 30, 35), (40, 70, 215)


def test_of_several_with_one_color_the_shape_decides_then_the_size():
    finder = load_segmenter("shapes_color")
    frame = drawn((RED, "circle", 16, 16, 9), (RED, "square", 46, 16, 9), (RED, "square", 46, 46, 5.5))
    (circle,) = finder.find(frame, "red circle")
    assert circle.mask[16, 16]
    assert not circle.mask[16, 46]
    assert {tuple(one.mask[[16, 46], [46, 46]]) for one in finder.find(frame, "red square")} == {
        (True, False),
        (False, True),
    }
    (small,) = finder.find(frame, "a small red square")
    assert small.mask[46, 46]
    assert len(finder.find(frame, "red square", max_objects=1)) == 1


def test_what_is_not_there_is_not_found():
    finder = load_segmenter("shapes_color")
    frame = drawn((RED, "circle", 20, 20, 8))
    for phrase in ("blue circle", "red star"):
        with pytest.raises(SegmentError, match="found nothing"):
            finder.find(frame, phrase)
    for gray in (0, 190, 255):
        with pytest.raises(SegmentError, match="found nothing"):
            finder.find(drawn(background=gray), "red circle")


@pytest.mark.parametrize("phrase", ["a man", "circle", "red", "🟥"])
def test_words_of_another_world_are_refused(phrase):
    with pytest.raises(SegmentError, match="knows colors with shapes only"):
        load_segmenter("shapes_color").find(drawn(), phrase)


@pytest.mark.parametrize("settings", [{"threshold": 0.2}, {"dtype": "float16"}, {"device": "cuda"}])
def test_the_finder_takes_no_settings(settings):
    with pytest.raises(ConfigurationError, match="no settings"):
        load_segmenter("shapes_color", **settings)


# --- Reviewer --------------------------------------------------------------------------------------------------------

PAIRS = {
    "the same": (
        "It is a small plain red circle. It moves left.",
        "A small plain red circle is at the top left.",
        True,
    ),
    "said shorter": ("It is a small plain red circle.", "The red circle stays still.", True),
    "another color": ("It is a small plain red circle.", "It is a small plain blue circle.", False),
    "another shape": ("It is a small plain red circle.", "It is a small plain red star.", False),
    "another pattern": ("It is a small plain red circle.", "It is a small striped red circle.", False),
    "another size": ("It is a small plain red circle.", "It is a large plain red circle.", False),
    "no color": ("It is a small plain red circle.", "It is a circle.", False),
    "nothing": ("It is a small plain red circle.", "", False),
    "others are named": (
        "A plain red circle chases the blue star.",
        "A plain red circle. The green cross chases it.",
        True,
    ),
}


@pytest.mark.parametrize(("description", "caption", "same"), PAIRS.values(), ids=PAIRS)
def test_two_texts_mean_the_same_object_if_the_look_agrees(description, caption, same):
    one = ObjectItem(
        0, Noun("red circle"), description=Description("", description), caption=RegionCaption(caption, 3)
    )
    (verdict,) = made_of(make_agent("reviewer", "shapes"), item(objects=[one]))
    assert verdict.same is same
    assert verdict.reason.endswith(".")
    assert 0 <= verdict.score <= 1


# --- Refiner ---------------------------------------------------------------------------------------------------------


def described(dynamic, appearance, number=0):
    return ObjectItem(number, Noun("red circle"), description=Description(dynamic, appearance))


REFINED = {
    "look and motion": (
        "It moves left, then up.",
        "It is a small plain red circle.",
        "This is a small plain red circle. It moves left, then up.",
    ),
    "what is said twice is said once": (
        "A small plain red circle starts at the top left. It moves left. It moves left. It ends at the top left.",
        "It is a small plain red circle. It is red.",
        "A small plain red circle starts at the top left. It moves left. It ends at the top left.",
    ),
    "a look that differs is that of the appearance": (
        "A large red star moves left.",
        "It is a small plain red circle.",
        "This is a small plain red circle. It moves left.",
    ),
    "what others do": (
        "It moves right. The blue star chases it.",
        "It is a small plain red circle.",
        "This is a small plain red circle. It moves right. The blue star chases it.",
    ),
    "what is no action is true all the same": (
        "It moves left.",
        "It is a small plain red circle.",
        "A small plain red circle starts at the top left. It moves left.",
        ("At the start it is at the top left.",),
    ),
    "no motion is made up": ("", "It is a small plain red circle.", "This is a small plain red circle."),
}


@pytest.mark.parametrize("texts", REFINED.values(), ids=REFINED)
def test_descriptions_are_coherent_and_invent_nothing(texts):
    dynamic, appearance, expected, *filtered = texts
    one = ObjectItem(0, Noun("red circle"), description=Description(dynamic, appearance, *filtered))
    (made,) = made_of(make_agent("refiner", "shapes"), item(objects=[one]))
    assert made.description == expected


def test_questions_are_of_the_three_kinds_and_about_what_was_said():
    one = described("It leaves the frame on the left.", "It is a small plain red circle.", number=3)
    (made,) = made_of(
        make_agent("refiner", "shapes", {"product": "qa", "kinds": {"basic": 9, "reasoning": 9, "future": 9}}),
        item(objects=[one]),
    )
    assert {question.kind for question in made.questions} == {"basic", "reasoning", "future"}
    assert all(question.question.count("<region>") == 1 and question.objects == (3,) for question in made.questions)
    answers = {question.answer for question in made.questions}
    assert {
        "It is red.",
        "It leaves the frame on the left.",
        "It wants to leave the frame.",
        "It is gone because it leaves the frame.",
        "It will stay out of the frame.",
    } <= answers
    (still,) = made_of(
        make_agent("refiner", "shapes", {"product": "qa"}), item(objects=[described("", "A red circle.")])
    )
    assert {question.kind for question in still.questions} == {"basic"}  # of nothing else anything is known


def test_true_descriptions_stay_true():
    refiner = make_agent("refiner", "shapes")
    for seed in range(40):
        facts = make_clip((7712, seed)).facts
        for index, one in enumerate(facts.objects):
            given = described(language.detailed(facts, index), f"It is {language.look(one)}.")
            (made,) = made_of(refiner, item(objects=[given], seed=seed))
            scores = score_description(made.description, description_facts(facts, index))
            assert set(scores.values()) == {5.0}


def test_words_that_name_no_object_are_dropped_and_settings_are_checked():
    (drop,) = made_of(make_agent("refiner", "shapes"), item(objects=[described("It moves.", "It is nice.")]))
    assert drop.kind == "no_subject"
    for settings in ({"kinds": {"hard": 1}}, {"kinds": "basic"}, {"product": "short"}, {"rounds": 3}):
        with pytest.raises(ConfigurationError):
            make_agent("refiner", "shapes", settings)


@pytest.mark.parametrize("stage", ["analyzer", "reviewer", "refiner"])
def test_identities_are_fit_for_json_and_tell_settings(stage):
    agent = make_agent(stage, "shapes")
    assert json.loads(json.dumps(agent.identity())) == agent.identity()
    assert agent.identity()["version"] == 1
