"""A demonstration: a clip of the shapes world, questions about its objects, and the answers of a model."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin.asking import answer, load_model
from videorefer_plugin.pictures import Line, picture_answers
from videorefer_plugin.video import open_video
from videorefer_plugin.world import encode_video, open_questions
from videorefer_plugin.world.bench import bench_clip
from videorefer_plugin.world.categories import CATEGORIES
from videorefer_plugin.world.clip import Clip

__all__ = ["Demonstration", "demonstrate"]

_ASKED = ("look", "doing", "start", "cause", "next", "partner", "side", "last")  # what is asked, in this order


@dataclass(frozen=True)
class Demonstration:
    """What a demonstration did.

    Attributes:
        video, picture (`Path`): files that it wrote.
        lines (`list[Line]`): questions, answers and truths.
        seconds (`float`): for loading the model and answering.
    """

    video: Path
    picture: Path
    lines: list[Line]
    seconds: float


def demonstrate(
    model: str | os.PathLike,
    out: str | os.PathLike,
    seed: int = 0,
    progress: Callable[[str], None] = lambda said: None,
) -> Demonstration:
    """Render a clip that no model was trained on, ask about its objects, and draw the answers.

    Args:
        model (`str` or `os.PathLike`): folder or Hub id of a checkpoint.
        out (`str` or `os.PathLike`): folder for `demo.mp4` and `demo.png`.
        seed (`int`, *optional*, defaults to 0): which clip.
        progress (*optional*): told what is being done.

    Raises:
        CheckpointError: the model cannot be loaded.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    clip, _ = bench_clip(seed + _SEED, 2)
    video = folder / "demo.mp4"
    progress(f"Rendering {video}")
    encode_video(video, clip.frames)
    asked = _questions(clip)
    progress(f"Loading {model}")
    started = time.monotonic()
    loaded, processor = load_model(model)
    progress(f"Asking {len(asked)} questions")
    conversations, regions = [], []
    for question, subjects, _ in asked:
        content = [{"type": "video", "video": str(video)}, {"type": "text", "text": question}]
        conversations.append([{"role": "user", "content": content}])
        regions.append([clip.region(index) for index in subjects])
    answers = answer(loaded, processor, conversations, regions, max_new_tokens=48)
    seconds = time.monotonic() - started
    lines = [
        Line(question, said, subjects, truth, _plain(said) == _plain(truth))
        for (question, subjects, truth), said in zip(asked, answers, strict=True)
    ]
    picture = folder / "demo.png"
    picture_answers(open_video(video), [clip.region(index) for index in range(len(clip))], lines).save(picture)
    return Demonstration(video, picture, lines, seconds)


_SEED = 7000  # of clips that neither training nor the benchmark's default seeds use


def _questions(clip: Clip) -> list[tuple[str, tuple[int, ...], str]]:
    """Questions with true answers, each about another object than the one before, as far as the clip has them."""
    known: dict[str, list[tuple[tuple[int, ...], str]]] = {}
    for category, subject, truth in open_questions(clip.facts):
        known.setdefault(category, []).append((subject, truth))
    asked: list[tuple[str, tuple[int, ...], str]] = []
    for place, category in enumerate(_ASKED):
        found = known.get(category, [])
        if found:
            subject, truth = min(found, key=lambda one: (one[0][0] - place) % len(clip))
            asked.append((CATEGORIES[category].phrasings[0], subject, truth))
    return asked


def _plain(text: str) -> Sequence[Any]:
    return text.lower().strip(" .").split()
