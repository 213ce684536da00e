"""Caption metrics of `pycocoevalcap`: BLEU@4, METEOR, ROUGE-L, CIDEr and SPICE.

METEOR, SPICE and the tokenizer of published scores run in Java. The scores list each missing metric with the reason.
Without Java, this library cuts captions into words itself, and the table says so.
"""

import contextlib
import io
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin._kinds import MAPPING, TEXT, check_kind, lists
from videorefer_plugin._text import short
from videorefer_plugin.bench.said import check_said
from videorefer_plugin.errors import BenchError

__all__ = ["METRICS", "CaptionScores", "score_captions"]

METRICS = ("BLEU@4", "METEOR", "ROUGE-L", "CIDEr", "SPICE")
_NO_JAVA = "there is no Java (a `java` command) on this machine"
_NO_CORENLP = (
    "pycocoevalcap's copy of SPICE lacks Stanford CoreNLP 3.6.0 in {folder}; "
    "`python -m pycocoevalcap.spice.get_stanford_models` downloads it (some 400 MB)"
)

Captions = dict[str, list[str]]


@dataclass(frozen=True)
class CaptionScores:
    """Caption metrics, times 100 as the paper prints them.

    Attributes:
        scores (`dict[str, float]`): metric -> score over all items.
        missing (`dict[str, str]`): metric -> reason for a missing score.
        tokenizer (`str`): `"PTB"`, whose scores can be compared with published ones, or `"plain words"`.
        items (`dict[str, dict[str, float]]`): id -> metric -> score, for metrics with a score for each item.
        empty (`list[str]`): ids of items without a caption, which count as empty captions.
    """

    scores: dict[str, float]
    missing: dict[str, str]
    tokenizer: str
    items: dict[str, dict[str, float]]
    empty: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in the form of JSON."""
        return vars(self)


def score_captions(
    references: Mapping[str, Sequence[str]], predictions: Mapping[str, str], metrics: Sequence[str] = METRICS
) -> CaptionScores:
    """Compare captions with reference captions.

    Args:
        references: id -> reference captions.
        predictions: id -> caption; a missing one counts as empty.
        metrics: names of the metrics.

    Raises:
        BenchError: a metric is unknown, an item has no reference, references or captions are not texts, no caption
            belongs to an item, or `pycocoevalcap` is not installed.
    """
    check_kind(BenchError, MAPPING, references=references, predictions=predictions)
    check_kind(BenchError, lists(TEXT, "metrics"), metrics=metrics)
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown:
        raise BenchError(f"unknown metric {unknown[0]!r}: expected some of {', '.join(METRICS)}")
    bare = [name for name, sentences in references.items() if not sentences]
    if bare or not references:
        raise BenchError(f"item {bare[0]!r} has no true caption" if bare else "there are no items to score")
    for name, sentences in references.items():
        if isinstance(sentences, str) or not all(isinstance(sentence, str) for sentence in sentences):
            raise BenchError(f"true captions of item {short(name)} are {short(sentences)}: expected a list of texts")
    check_said("captions", predictions, references, optional=False)
    try:
        import pycocoevalcap  # noqa: F401
    except ImportError as error:
        raise BenchError("Caption metrics need pycocoevalcap: pip install 'videorefer-plugin[bench]'") from error
    java = shutil.which("java") is not None
    truth = {name: [_one_line(text) for text in sentences] for name, sentences in references.items()}
    said = {name: [_one_line(predictions.get(name, ""))] for name in references}
    cut: Callable[[Captions], Captions] = _ptb if java else _plain_words
    both = cut({**{f"0{name}": texts for name, texts in truth.items()}, **{f"1{name}": s for name, s in said.items()}})
    truth, said = ({name: both[f"{part}{name}"] for name in references} for part in "01")
    scores: dict[str, float] = {}
    missing: dict[str, str] = {}
    items: dict[str, dict[str, float]] = {name: {} for name in references}
    for metric in metrics:
        reason = _lacks(metric, java)
        if reason:
            missing[metric] = reason
            continue
        try:
            score, each = _compute(metric, truth, said)
        except (OSError, ValueError, subprocess.SubprocessError) as error:  # a Java program failed
            missing[metric] = f"its program failed: {error}"
            continue
        scores[metric] = 100 * score
        for name, value in each.items():
            items[name][metric] = 100 * value
    tokenizer = "PTB" if java else "plain words"
    return CaptionScores(scores, missing, tokenizer, items, [name for name, (text,) in said.items() if not text])


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _ptb(captions: Captions) -> Captions:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    given = {name: [{"caption": text} for text in sentences] for name, sentences in captions.items()}
    return PTBTokenizer().tokenize(given)


def _plain_words(captions: Captions) -> Captions:
    return {
        name: [" ".join(re.findall(r"\w+(?:'\w+)?", text.lower())) for text in sentences]
        for name, sentences in captions.items()
    }


def _lacks(metric: str, java: bool) -> str:
    if metric in ("METEOR", "SPICE") and not java:
        return _NO_JAVA
    if metric == "SPICE":
        import pycocoevalcap.spice

        folder = Path(next(iter(pycocoevalcap.spice.__path__))) / "lib"
        # Checked here, because the metric would download it without asking.
        if len(list(folder.glob("stanford-corenlp-3.6.0*.jar"))) < 2:
            return _NO_CORENLP.format(folder=folder)
    return ""


def _compute(metric: str, truth: Captions, said: Captions) -> tuple[float, dict[str, float]]:
    """Return the score over all items, and the score of each."""
    names = sorted(truth) if metric == "SPICE" else list(truth)
    with contextlib.redirect_stdout(io.StringIO()):  # the metrics print progress
        scorer = _scorer(metric)
        try:
            score, each = scorer.compute_score(truth, said)
        except BaseException:
            # METEOR's wrapper would wait forever for the lock that it still holds when it is deleted.
            if metric == "METEOR" and scorer.lock.locked():
                scorer.lock.release()
            raise
    if metric == "BLEU@4":
        score, each = score[3], each[3]
    if metric == "SPICE":
        each = [value["All"]["f"] for value in each]
    return float(score), {name: float(value) for name, value in zip(names, each, strict=True)}


def _scorer(metric: str) -> Any:
    if metric == "BLEU@4":
        from pycocoevalcap.bleu.bleu import Bleu

        return Bleu(4)
    if metric == "METEOR":
        from pycocoevalcap.meteor.meteor import Meteor

        return Meteor()
    if metric == "ROUGE-L":
        from pycocoevalcap.rouge.rouge import Rouge

        return Rouge()
    if metric == "CIDEr":
        from pycocoevalcap.cider.cider import Cider

        return Cider()
    from pycocoevalcap.spice.spice import Spice

    return Spice()
