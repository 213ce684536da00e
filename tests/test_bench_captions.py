"""Caption metrics: against calculations made here, and against figures worked out by hand."""

import math
import shutil
from collections import Counter

import pytest

from videorefer_plugin.bench import score_captions
from videorefer_plugin.bench.captions import METRICS
from videorefer_plugin.errors import BenchError

JAVA = shutil.which("java") is not None
REFERENCES = {
    "a": ["a man in a red shirt walks to the door", "the man walks to a door"],
    "b": ["a woman opens the window and sits down"],
    "c": ["two dogs run over the grass", "dogs are running on grass"],
    "perfect": ["the boy throws a ball into the water"],
}
PREDICTIONS = {"a": "a man walks to the door", "b": "a woman sits down", "c": "two cats sleep on the grass"}
PREDICTIONS["perfect"] = REFERENCES["perfect"][0]


def rouge_l(said, references, beta=1.2):
    """ROUGE-L as published for captions: the best precision and the best recall over the references."""

    def common(one, other):
        table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
        for i, word in enumerate(one):
            for j, twin in enumerate(other):
                table[i + 1][j + 1] = table[i][j] + 1 if word == twin else max(table[i][j + 1], table[i + 1][j])
        return table[-1][-1]

    words = said.split()
    precision = max(common(words, reference.split()) / len(words) for reference in references)
    recall = max(common(words, reference.split()) / len(reference.split()) for reference in references)
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision) if precision and recall else 0.0


def cider_d(predictions, references, sigma=6.0):
    """CIDEr-D (Vedantam et al., 2015): TF-IDF n-grams, clipped, with a penalty for another length, times 10."""

    def grams(text, n):
        words = text.split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    documents = Counter(
        gram
        for n in range(1, 5)
        for texts in references.values()
        for gram in {gram for text in texts for gram in grams(text, n)}
    )
    log_total = math.log(len(references))

    def vector(text, n):
        return {
            gram: count * (log_total - math.log(max(1, documents[gram]))) for gram, count in grams(text, n).items()
        }

    def norm(values):
        return math.sqrt(sum(value * value for value in values.values()))

    scores = []
    for name, said in predictions.items():
        total = 0.0
        for text in references[name]:
            gap = len(said.split()) - 1 - (len(text.split()) - 1)
            for n in range(1, 5):
                one, other = vector(said, n), vector(text, n)
                product = sum(min(value, other.get(gram, 0.0)) * other.get(gram, 0.0) for gram, value in one.items())
                if norm(one) and norm(other):
                    total += product / norm(one) / norm(other) * math.exp(-(gap**2) / (2 * sigma**2))
        scores.append(10 * total / 4 / len(references[name]))
    return scores


@pytest.fixture(scope="module")
def scores():
    return score_captions(REFERENCES, PREDICTIONS, [metric for metric in METRICS if metric != "METEOR"])


@pytest.fixture(scope="module")
def meteor():
    """It loads its tables for ten seconds."""
    return score_captions(REFERENCES, PREDICTIONS, ["METEOR"])


def test_rouge_l_is_that_of_an_independent_calculation(scores):
    for name, said in PREDICTIONS.items():
        assert scores.items[name]["ROUGE-L"] == pytest.approx(100 * rouge_l(said, REFERENCES[name]))
    assert scores.scores["ROUGE-L"] == pytest.approx(sum(each["ROUGE-L"] for each in scores.items.values()) / 4)


def test_cider_is_that_of_an_independent_calculation(scores):
    expected = cider_d(PREDICTIONS, REFERENCES)
    for name, value in zip(PREDICTIONS, expected, strict=True):
        assert scores.items[name]["CIDEr"] == pytest.approx(100 * value)
    assert scores.scores["CIDEr"] == pytest.approx(100 * sum(expected) / 4)


def test_bleu_worked_out_by_hand(monkeypatch):
    monkeypatch.setenv("PATH", "")
    # Of "a man walks to the door": 6 of 6 words, 4 of 5 pairs (not "man walks"), 2 of 4 triples ("walks to the", "to
    # the door") and 1 of 3 quadruples ("walks to the door") are in the reference of 10 words.
    scores = score_captions({"a": REFERENCES["a"][:1]}, {"a": PREDICTIONS["a"]}, ["BLEU@4"])
    precision = (6 / 6 * 4 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
    assert scores.scores["BLEU@4"] == pytest.approx(100 * precision * math.exp(1 - 10 / 6), rel=1e-6)


def test_a_perfect_caption_gets_all_there_is(scores):
    for metric, value in scores.items["perfect"].items():
        assert value == pytest.approx({"CIDEr": 1000.0}.get(metric, 100.0), rel=1e-3), metric


@pytest.mark.skipif(not JAVA, reason="the tokenizer runs in Java")
def test_captions_are_cut_into_words_as_published(scores):
    assert scores.tokenizer == "PTB"


@pytest.mark.slow
@pytest.mark.skipif(not JAVA, reason="METEOR runs in Java")
def test_meteor_by_its_program(meteor):
    assert 0 < meteor.items["c"]["METEOR"] < 100
    assert meteor.items["a"]["METEOR"] > meteor.items["c"]["METEOR"]
    assert meteor.items["perfect"]["METEOR"] == pytest.approx(100, rel=1e-3)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    scores = score_captions(REFERENCES, PREDICTIONS)
    assert set(scores.scores) == {"BLEU@4", "ROUGE-L", "CIDEr"}
    assert set(scores.missing) == {"METEOR", "SPICE"}
    assert "there is no Java" in scores.missing["METEOR"]
    assert scores.tokenizer == "plain words"


@pytest.mark.skipif(not JAVA, reason="SPICE runs in Java")
def test_spice_downloads_nothing_by_itself(scores):
    from pathlib import Path

    import pycocoevalcap.spice

    folder = Path(next(iter(pycocoevalcap.spice.__path__))) / "lib"
    if list(folder.glob("stanford-corenlp-3.6.0*.jar")):
        assert scores.scores["SPICE"] > 0
    else:
        assert "lacks Stanford CoreNLP" in scores.missing["SPICE"]
        assert "get_stanford_models" in scores.missing["SPICE"]


def test_empty_and_missing_captions_are_counted(monkeypatch):
    monkeypatch.setenv("PATH", "")  # without Java, which takes its time
    scores = score_captions(REFERENCES, {"a": "A man\nwalks to the door.", "b": ""}, ["BLEU@4", "CIDEr", "ROUGE-L"])
    assert scores.empty == ["b", "c", "perfect"]
    assert scores.items["b"]["ROUGE-L"] == 0
    # Case, full stops and line ends make no difference.
    assert scores.items["a"]["ROUGE-L"] == pytest.approx(100 * rouge_l(PREDICTIONS["a"], REFERENCES["a"]))


def test_unusable_input():
    with pytest.raises(BenchError, match="unknown metric 'BLEURT'"):
        score_captions(REFERENCES, PREDICTIONS, ["BLEURT"])
    with pytest.raises(BenchError, match="item 'x' has no true caption"):
        score_captions({"x": []}, {})
    with pytest.raises(BenchError, match="no items"):
        score_captions({}, {})


def test_captions_of_boxes_end_to_end(tmp_path, shared_model, processor, monkeypatch):
    import json

    from tests import media
    from videorefer_plugin.bench import RegionModel, evaluate_captions

    monkeypatch.setenv("PATH", "")
    media.write_video(tmp_path / "v.mp4", 12)
    record = {"bbox": [[10, 5, 20, 30]] * 4, "st_frame": 3, "English": "The man waves."}
    (tmp_path / "test.json").write_text(json.dumps({"v.mp4": record}))
    model = RegionModel(shared_model, processor=processor, max_new_tokens=4)
    result = evaluate_captions(tmp_path / "test.json", model, tmp_path / "out", mode="multi")
    assert result["answered"] == 1
    assert set(result["scores"]["scores"]) == {"BLEU@4", "ROUGE-L", "CIDEr"}
    assert "there is no Java" in result["scores"]["missing"]["METEOR"]
