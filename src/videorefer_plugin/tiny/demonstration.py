"""A demonstration: a clip of the shapes world, questions about its objects, and the answers of a model."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from videorefer_plugin._places import check_folder_place, writing
from videorefer_plugin.asking import answer_about, load_model
from videorefer_plugin.bench.letters import strict_letter
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.pictures import Line, picture_answers
from videorefer_plugin.pictures.answers import save_picture
from videorefer_plugin.video import open_video
from videorefer_plugin.world import encode_video, open_questions
from videorefer_plugin.world.bench import bench_clip
from videorefer_plugin.world.categories import CATEGORIES
from videorefer_plugin.world.clip import Clip, seeded
from videorefer_plugin.world.questions import ask

__all__ = ["Demonstration", "demonstrate"]

_ASKED = (
    "look",
    "doing",
    "start",
    "cause",
    "next",
    "partner",
    "side",
    "last",
)  # categories of the questions, in this order
_WITH_OPTIONS = (
    "doing",
    "cause",
    "next",
    "last",
)  # conclusions from motion, which the embedded model learned with options


@dataclass(frozen=True)
class Demonstration:
    """The result of a demonstration.

    Attributes:
        video, picture (`Path`): files that it wrote.
        lines (`list[Line]`): questions, answers and true answers.
        seconds (`float`): time to load the model and to answer.
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
        seed (`int`, *optional*, defaults to 0): seed of the clip.
        progress (*optional*): called with a message at each step.

    Raises:
        ConfigurationError: the folder cannot be written.
        CheckpointError: the model cannot be loaded.
    """
    folder = check_folder_place(out, ConfigurationError)
    with writing(folder, ConfigurationError):
        return _demonstrate(model, folder, seed, progress)


def _demonstrate(model: str | os.PathLike, folder: Path, seed: int, progress: Callable[[str], None]) -> Demonstration:
    folder.mkdir(parents=True, exist_ok=True)
    clip, _ = bench_clip(seed + _SEED, 2, version=_VERSION)
    video = folder / "demo.mp4"
    progress(f"Rendering {video}")
    encode_video(video, clip.frames)
    asked = _questions(clip)
    progress(f"Loading {model}")
    started = time.monotonic()
    loaded, processor = load_model(model)
    progress(f"Asking {len(asked)} questions")
    about = [(one.prompt, [clip.region(index) for index in one.subjects]) for one in asked]
    answers = answer_about(loaded, processor, video, about, max_new_tokens=64)
    seconds = time.monotonic() - started
    lines = [
        Line(one.shown, said, one.subjects, one.truth, one.is_right(said))
        for one, said in zip(asked, answers, strict=True)
    ]
    picture = folder / "demo.png"
    drawn = picture_answers(open_video(video), [clip.region(index) for index in range(len(clip))], lines)
    save_picture(drawn, picture)
    return Demonstration(video, picture, lines, seconds)


_VERSION = 6  # of the data; the embedded model was made for its benchmark
_SEED = 7000  # of clips that neither training nor the benchmark's default seeds use


@dataclass(frozen=True)
class _Question:
    shown: str
    prompt: str
    subjects: tuple[int, ...]
    truth: str
    options: tuple[str, ...] | None = None

    def is_right(self, said: str) -> bool:
        """Return whether an answer names the right option; without options, whether it equals the true answer."""
        if self.options is None:
            return _plain(said) == _plain(self.truth)
        return strict_letter(said, self.options) == strict_letter(self.truth, self.options)


def _questions(clip: Clip) -> list[_Question]:
    """Return questions with true answers, each about another object than the one before, if the clip allows it."""
    known: dict[str, list[tuple[tuple[int, ...], str]]] = {}
    for category, subject, truth in open_questions(clip.facts):
        known.setdefault(category, []).append((subject, truth))
    asked: list[_Question] = []
    for place, category in enumerate(_ASKED):
        found = known.get(category, [])
        if not found:
            continue
        subject, truth = min(found, key=lambda one: (one[0][0] - place) % len(clip))
        text = CATEGORIES[category].phrasings[0]
        open_question = _Question(text, text, subject, truth)
        rng = seeded(_SEED, place)
        choices = ask(category, clip.facts, rng, subjects=[subject]) if category in _WITH_OPTIONS else []
        asked += [
            _Question(f"{one.text} {' '.join(one.options)}", one.prompt, subject, one.options[one.answer], one.options)
            for one in choices
        ] or [open_question]
    return asked


def _plain(text: str) -> list[str]:
    return text.lower().strip(" .").split()
