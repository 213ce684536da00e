"""Scores of Bench-Q and Bench-D: the released scripts' figures, and those of a careful reader."""

import json
import math
import re
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
        ("The answer is $\\boxed{\\textbf{(B)}}$.", "B"),
        ("(A) is a man, (B) is a dog. \\boxed{C}", "C"),
        ("<answer>C</answer>", "C"),
        ("It is A or C. <answer>C</answer>", "C"),
        ("**Answer:** B", "B"),
        ("### Answer\nB", "B"),
        ("Final Answer: The final answer is $\\boxed{B}$", "B"),
        ("{'answer': 'B'}", "B"),
        ('{"answer": "B", "reason": "A dog"}', "B"),
        ("**B) a black dog**", "B"),
        ("B - a black dog", "B"),
        ("not A but B", "B"),
        ("The answer isn't A, it's C", "C"),
        ("The answer cannot be A. It must be C.", "C"),
        ("C because of A", "C"),
        ("A, B", None),
        ("AB", None),
        ("B and C are correct", None),
        ("Answer: B or C", None),
        ("The answer is B. The answer is C.", None),
        ("None of the above", None),
        ("A dog runs", None),
        ("I see a dog", None),
        ("B\n\nExplanation: A dog is black.", "B"),
        ("Respuesta: B", "B"),
        # What a model thought before it answered is no answer.
        ("<think>It might be A. Or C.</think>B", "B"),
        ("<think>\nThe answer is A\n</think>\n\n**Answer: B**", "B"),
        ("<think>The answer is A", None),
        ("<think>A</think>", None),
        ("B <think>or is it A", None),
        ("The answer is A</think>B", "B"),
        ("<think>A</think>B<think>C</think>", "B"),
        ("<think>A</think>B<think>C", None),
        ("<think>I write <think> here</think>B", "B"),
        ("<think></think>B", "B"),
        ("<think/>B", "B"),
        ("<THINK>A</THINK>B", "B"),
        ("<thinking>A</thinking>B", "B"),
        ("<reasoning>A</reasoning>B", "B"),
        ("[THINK]A[/THINK]B", "B"),
        ("◁think▷A◁/think▷B", "B"),
        ("<|begin_of_thought|>A<|end_of_thought|>B", "B"),
        ("I am thinking: B", "B"),
        # In Chinese, Japanese and Korean no space parts a letter from the words around it.
        ("答案是B", "B"),
        ("Bです。", "B"),
        ("B입니다", "B"),
        ("B\n\nExplanation: A is wrong, since it runs.", "B"),
        ("答案：B", "B"),
        ("答案是（B）。", "B"),
        ("正确答案：Ｂ", "B"),
        ("【答案】B", "B"),
        ("答案是 **B**", "B"),
        ("所以答案是B，因为狗是黑的。", "B"),
        ("选B。", "B"),
        ("应该选B", "B"),
        ("選擇B", "B"),
        ("选择 B", "B"),
        ("选项B是正确的。", "B"),
        ("B选项", "B"),
        ("B、黑狗", "B"),
        ("（B）", "B"),
        ("【B】", "B"),
        ("不是A，是B", "B"),
        ("不选A，选B", "B"),
        ("答案不是A，而是B。", "B"),
        ("A错误，B正确", "B"),
        ("排除A，选C", "C"),
        ("选A还是B", None),
        ("A和B都正确", None),
        ("答案是A或B", None),
        ("答案不是A", None),
        ("A队赢了", None),
        ("选T恤", None),
        ("正解はBです", "B"),
        ("정답은 B입니다", "B"),
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
    assert strict_letter("<think>A red car?</think>a blue car", options) == "B"
    assert strict_letter("答案是绿色。", ["（A）红色", "【B】蓝色", "C、绿色"]) == "C"


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
    assert option_letters(["(A) yes", "B. no", " (c) or", "[D] both", "（E）是", "F、不是"]) == list("ABCDEF")
    assert option_letters(["yes", "no"]) is None
    assert option_letters(["(A) yes", "(A) no"]) is None
    assert [gold_letter(text) for text in ("(B) no", "b", "C. x", "D) y", "none")] == ["B", "B", "C", "D", None]


@pytest.mark.parametrize(
    "answer",
    [
        "[C] falls",
        "(C) falls",
        "C. falls",
        "C) falls",
        "C: falls",
        "C - falls",
        "C\nfalls",
        "C",
        "c",
        " C ",
        "[c] falls",
        "{C} falls",
        "<C> falls",
        "**C** falls",
        "**C.** falls",
        "falls [C]",
        "（Ｃ）falls",
        "【C】跌倒",
        "C、跌倒",
        "C：跌倒",
    ],
)
def test_the_right_answer_in_all_its_forms(answer):
    assert gold_letter(answer) == "C"


@pytest.mark.parametrize("answer", ["a cat", "A cat", "T-shirt", "none", ""])
def test_right_answers_without_a_letter(answer):
    assert gold_letter(answer) is None


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


SPACES = [" ", "  ", "\t", "\n", "\r\n", " \n\n ", "\xa0", "\u3000", "\v"]
READ_BY_THE_SCRIPT = re.compile(r"(\d+)\.\s+(.+?):\s+([\d.]+)")


@pytest.mark.parametrize("space", SPACES, ids=repr)
@pytest.mark.parametrize("row", D["items"], ids=lambda row: row["what"])
def test_any_white_space_stands_between_number_dimension_and_score(row, space):
    """Only the first and the last place are widened; names of several words stay on their line."""

    def dimensions(scores):
        return scores and {name: score for name, score in scores.items() if name in DIMENSIONS.values()}

    reply = row["gpt"] and re.sub(r"(?<=\d\.) |(?<=:) ", space, row["gpt"])
    upstream = row["upstream"]
    assert dimensions(compatible_scores(reply)) == dimensions(upstream["extracted"] if upstream["kept"] else None)
    assert reply_scores(reply) == reply_scores(row["gpt"])


PARTS = ["1. ", "2.", "10", "Subject Correspondence", "a", ":", ": ", "4", ".", "4.5.", "٤", *SPACES]


@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(PARTS), max_size=14).map("".join))
def test_replies_of_any_form_are_read_as_by_the_released_script(reply):
    found = {name: score for _, name, score in READ_BY_THE_SCRIPT.findall(reply)}
    try:
        expected = {name: float(score) for name, score in found.items()}
        for _, _, score in READ_BY_THE_SCRIPT.findall(reply):
            float(score)
    except ValueError:
        expected = None
    assert compatible_scores(reply) == expected


LONG = ["1. ", "SC ", "SC(", "SC: 4 - 1.", "(A) ", "<think>", "{", '{"a":', "选", "选项", "答案不"]
STARTS = ["", "(", "answer", "answer: A", "Answer is", "(answer)", "\\boxed{", "答案", "选", "是", "A", "<think", "1."]
STARTS += ["SC", "SC: score", "SC: 4", "SC: 4/", '{"SC": "4']


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    "reply", [part * 20_000 for part in LONG] + [f'{s}{" " * 20_000}é"}}' for s in STARTS], ids=lambda text: text[:12]
)
def test_long_replies_of_little_sense_take_no_time(reply):
    compatible_scores(reply)
    assert set(reply_scores(reply)) <= {"SC"}
    compatible_letter(reply)
    gold_letter(reply)
    option_letters([reply])
    strict_letter(reply)
    strict_letter(reply, ["(A) yes", "(B) no"])


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
        ("SC: .5\nAD: 4.\nTD: +3\nHD: 4.5.", [0.5, 4, 3, 4.5]),
        ('{"SC": ".5", "AD": "4.", "TD": "**3**", "HD": "4 out of 5"}', [0.5, 4, 3, 4]),
        ("SC: **4**/5\nAD: 4 / 5\nTD: 4/5.0\nHD: 4 out of 5.", [4, 4, 4, 4]),
        ("SC (0-5): 4\nAppearance Description (out of 5): 3\nTD score: 2", [4, 3, 2]),
        ("SC：４．５", [4.5]),
        ("SC: 4 - good\nAD: 3\n- 2 things", [4, 3]),
        # Not one number from 0 to 5.
        ("SC: 3-4\nAD: 3 to 4\nTD: 3 or 4\nHD: 3~4", []),
        ("SC: 4/10\nAD: 4 out of 10\nTD: 4/50\nHD: 80%", []),
        ("SC: 4,5\nAD: 1e0\nTD: 3D model\nHD: ½", []),
        ('{"SC": "3-4", "AD": "4/10", "TD": NaN, "HD": 1e999}', []),
        ('{"SC": null, "AD": false}', []),
        # What a judge thought before it scored is no score.
        ("<think>SC: 1</think>SC: 4", [4]),
        ('maybe {"SC": 1}</think>{"SC": 4}', [4]),
        ('<think>{"SC": 1}', []),
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
