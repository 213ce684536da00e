"""Scores of Bench-Q and Bench-D: the released scripts' figures, and those of a careful reader."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.conftest import GOLDENS
from videorefer_plugin.bench.description_scores import compatible_table, score_descriptions
from videorefer_plugin.bench.items import DescriptionItem, QuestionItem
from videorefer_plugin.bench.judge_replies import DIMENSIONS, compatible_scores, reply_scores
from videorefer_plugin.bench.letters import compatible_letter, gold_letter, option_letters, strict_letter
from videorefer_plugin.bench.question_scores import score_questions
from videorefer_plugin.bench.statistics import mean_interval, mean_of_shares_interval, share_interval

Q = json.loads((GOLDENS / "bench_q_scoring" / "bench_q.json").read_text())
D = json.loads((GOLDENS / "bench_d_scoring" / "bench_d.json").read_text())


def item(number: int, **values: Any) -> QuestionItem:
    return QuestionItem(str(number), None, [], **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scores() -> Any:
    items = [item(row["id"], answer=row["Answer"], type=row["type"]) for row in Q["items"]]
    return score_questions(items, {str(row["id"]): row["pred"] for row in Q["items"]})


# --- Bench-Q ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", Q["items"], ids=lambda row: str(row["id"]))
def test_compatible_letter_is_that_of_the_released_script(row):
    found = compatible_letter(row["pred"])
    assert (None if found is None else found.upper()) == (
        None if row["upstream"]["extracted"] is None else row["upstream"]["extracted"].upper()
    )


def test_compatible_table_is_that_of_the_released_script(scores):
    table = scores.tables["compatible"]
    expected = dict(Q["aggregate_counting_crashes_as_wrong"])
    overall = expected.pop("average")
    assert {name: (cell["right"], cell["total"]) for name, cell in table["types"].items()} == {
        name: (cell["right_num"], cell["all_num"]) for name, cell in expected.items()
    }
    assert (table["overall"]["right"], table["overall"]["total"]) == (overall["right_num"], overall["all_num"])
    assert table["overall"]["accuracy"] == overall["accuracy"]
    assert table["mean_over_types"] == pytest.approx(sum(c["accuracy"] for c in expected.values()) / len(expected))
    correct = {row["id"]: row["correct"]["compatible"] for row in scores.items}
    assert correct == {str(row["id"]): bool(row["upstream"]["correct"]) for row in Q["items"]}


def test_strict_reading_is_that_of_a_careful_reader(scores):
    agreed = [
        (found["letter"]["strict"], found["correct"]["strict"]) == (row["reader_letter"], row["reader_correct"])
        for found, row in zip(scores.items, Q["items"], strict=True)
    ]
    assert sum(agreed) >= 0.95 * len(agreed)


def test_every_difference_between_the_readers_is_listed(scores):
    expected = [str(r["id"]) for r in Q["items"] if bool(r["upstream"]["correct"]) != r["reader_correct"]]
    assert scores.differences == expected
    assert scores.missing == []


# Not among the reference items.
@pytest.mark.parametrize(
    ("prediction", "letter"),
    [
        ("The correct option is C because the dog runs.", "C"),
        ("I think the answer is: **D**", "D"),
        ("A", "A"),
        ("A man is running", None),
        ("It isn't (B). (D) is right", "D"),
        ("(B) is wrong, so (C)", "C"),
        ("Option B is not correct; option D is", "D"),
        ("Either A or B", None),
        ("Option A or option B", None),
        ("The answer is A, not B", "A"),
        ("Option A is wrong, it is option B", "B"),
        ("C\nThe boat turns", "C"),
        ("Answer: (e)", "E"),
        ("I would say B", "B"),
        ("Neither A nor B, but C", "C"),
        ("I", "I"),
        ("$\\boxed{B}$", "B"),
        ("<answer>C</answer>", "C"),
    ],
)
def test_strict_letter(prediction, letter):
    assert strict_letter(prediction) == letter


def test_strict_letter_knows_the_options():
    options = ["(A) a red car", "(B) A blue car", "(C) 2 cars"]
    assert strict_letter("a blue car.", options) == "B"
    assert strict_letter("D", options) is None
    assert strict_letter("The answer is D", options) is None
    assert strict_letter("(b) a blue car", options) == "B"
    assert strict_letter("Answer: a blue car", options) == "B"
    assert strict_letter("The correct answer is a blue car.", options) == "B"
    assert strict_letter("Answer: (A) a blue car", options) == "A"  # words and letter differ: the letter was asked for
    assert strict_letter("Not the answer: a blue car", options) is None
    # Reasons may come first, if they name no option by its letter.
    assert strict_letter("It has the colour of the sky. Answer: a blue car.", options) == "B"
    assert strict_letter("Is it red? No.\nThe answer is a blue car", options) == "B"
    assert strict_letter("It looks like (A). Answer: a blue car.", options) is None
    assert strict_letter("A red car is behind it. This is not the answer: a blue car", options) is None
    assert strict_letter("Answer: a green car", options) is None
    assert strict_letter("The answer is unknown.", ["(A) a red car", "(B) The answer is unknown"]) == "B"


@settings(deadline=None)
@example("ß", None)
@given(st.text(), st.sampled_from([None, ["(A) yes", "(B) no"]]))
def test_no_prediction_stops_a_reader(text, options):
    letter = strict_letter(text, options)
    assert letter is None or letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    compatible_letter(text)


@settings(deadline=None)
@given(st.sampled_from("ABCDE"), st.sampled_from(["{}", "({})", "{}.", "Answer: {}", "The answer is ({}).", "**{}**"]))
def test_plain_answers_mean_the_same_to_a_careful_reader(letter, form):
    assert strict_letter(form.format(letter)) == letter


def test_letters_of_options_and_answers():
    assert option_letters(["(A) yes", "B. no", " (c) or"]) == ["A", "B", "C"]
    assert option_letters(["yes", "no"]) is None
    assert option_letters(["(A) yes", "(A) no"]) is None
    assert [gold_letter(text) for text in ("(B) no", "b", "C. x", "D) y", "none")] == ["B", "B", "C", "D", None]


def test_missing_answers_count_as_wrong_and_are_listed():
    items = [item(0, answer="(A) x", type="Basic Questions"), item(1, answer="(A) x", type="Basic Questions")]
    scores = score_questions(items, {"0": "A"})
    assert scores.missing == ["1"]
    assert scores.tables["strict"]["overall"]["accuracy"] == 0.5


# --- intervals -------------------------------------------------------------------------------------------------------


def test_wilson_interval():
    z, right, total = 1.959963984540054, 7, 20  # by the textbook's formula
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    assert share_interval(right, total) == pytest.approx([centre - half, centre + half])
    assert share_interval(0, 0) is None


def test_interval_of_a_mean_over_types():
    # Of one type it is the type's own, and it never shrinks to a point.
    assert mean_of_shares_interval([(3, 10)]) == pytest.approx(share_interval(3, 10))
    low, high = mean_of_shares_interval([(10, 10), (5, 5)])
    assert low < 0.9
    assert high == 1
    # Many like types say more about their mean than one.
    one, many = mean_of_shares_interval([(3, 10)]), mean_of_shares_interval([(3, 10)] * 25)
    assert many[1] - many[0] == pytest.approx((one[1] - one[0]) / 5)


def test_bootstrap_interval_of_a_mean():
    values = [1.0, 2, 3, 4, 5] * 20
    low, high = mean_interval(values)
    assert low < 3 < high
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(2 / 100), rel=0.15)  # as the normal law has it
    assert mean_interval(values) == [low, high]
    assert mean_interval([1.0]) is None


# --- Bench-D ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", D["items"], ids=lambda row: row["what"])
def test_compatible_scores_are_those_of_the_released_script(row):
    upstream = row["upstream"]
    assert compatible_scores(row["gpt"]) == (upstream["extracted"] if upstream["kept"] else None)


def test_compatible_means_are_those_of_the_released_script():
    table = compatible_table([row["gpt"] for row in D["items"]])
    assert table == {
        "dimensions": {name: D["aggregate"][name] for name in D["dimensions"]},
        "average": D["aggregate"]["average"],
        "dropped": D["dropped"],
    }


def test_a_dimension_without_scores_is_said_and_stops_nothing():
    replies = [row["gpt"] for row in D["crashing_set"]["items"]]
    table = compatible_table(replies)
    assert table["average"] is None
    assert table["dimensions"]["Hallucination Detection"] == {"mean": None, "count": 0}
    scores = score_descriptions([_described("0")], {"0": "x"}, {"0": replies[0]})
    assert scores.average is None
    assert scores.not_understood == ["0"]
    assert scores.dimensions["HD"]["missing"] == 1


# What a person reads in the replies of the reference that the released script reads wrongly.
READ = {
    "markdown bold name": [4, 4, 4, 4],
    "bold name and colon": [3, 3, 3, 3],
    "no space after the colon": [2, 2, 2, 2],
    "no numbering": [3, 3, 3, 3],
    "bracketed numbering": [3, 4, 3, 4],
    "word Score in between": [3, 4, 5, 4],
    "lower-case names": [5, 5, 5, 5],
    "two dots in a number": [4.5, 3, 3, 3],
}


@pytest.mark.parametrize("row", D["items"], ids=lambda row: row["what"])
def test_replies_are_read_in_all_their_forms(row):
    found = reply_scores(row["gpt"])
    if row["upstream_evidently_wrong"]:
        assert list(found.values()) == READ[row["what"]]
    else:
        extracted = row["upstream"]["extracted"] or {}
        assert found == {code: extracted[name] for code, name in DIMENSIONS.items() if name in extracted}


@pytest.mark.parametrize(
    ("reply", "scores"),
    [
        ('{"SC": 5, "AD": 4, "TD": 3.5, "HD": 2}', [5, 4, 3.5, 2]),
        ('Sure!\n```json\n{"SC": "4/5", "AD": 4, "TD": 0, "HD": 2}\n```', [4, 4, 0, 2]),
        ('{"scores": {"Subject Correspondence": {"score": 1}, "AD": 2, "td": 3, "HD": 4}}', [1, 2, 3, 4]),
        ('{"SC": 6, "AD": -1, "TD": true, "HD": "good"}', []),
        ("| Subject Correspondence | 4 |\n| Appearance Description | 3 |", [4, 3]),
        ("Subject Correspondence (SC): 2", [2]),
        ("The description is good, I like it.", []),
        ("{not json} SC: 3", [3]),
        ("SC: 3, and on second thoughts SC: 9", []),
    ],
)
def test_replies_in_other_forms(reply, scores):
    assert list(reply_scores(reply).values()) == scores


@settings(deadline=None)
@given(st.text())
def test_no_reply_stops_a_reader(text):
    assert all(0 <= score <= 5 for score in reply_scores(text).values())
    compatible_scores(text)


def test_what_is_not_understood_is_counted_and_not_averaged_away():
    items = [_described(str(number)) for number in range(5)]
    full = '{"SC": 4, "AD": 4, "TD": 4, "HD": 4}'
    said = dict.fromkeys("0123", "x")  # nothing about the last
    scores = score_descriptions(items, said, {"0": full, "1": '{"SC": 2}', "2": "I refuse."})
    assert scores.dimensions["SC"] == {
        "mean": 3,
        "count": 2,
        "missing": 3,
        "interval": scores.dimensions["SC"]["interval"],
    }
    assert (scores.dimensions["AD"]["mean"], scores.dimensions["AD"]["missing"]) == (4, 4)
    assert scores.average == pytest.approx((3 + 4 + 4 + 4) / 4)
    assert scores.average_missing_as_zero == pytest.approx((16 + 2) / 20)
    assert (scores.not_described, scores.not_judged, scores.not_understood) == (["4"], ["3"], ["1", "2"])


def _described(name: str) -> DescriptionItem:
    return DescriptionItem(name, None, [], caption="x")  # type: ignore[arg-type]
