"""Whether a checkpoint answers because it looks: the same questions as they are, and with something taken away."""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import read_json
from videorefer_plugin._places import check_folder_place
from videorefer_plugin.bench.answerers import RegionModel
from videorefer_plugin.bench.benchmarks.questions import QuestionItem
from videorefer_plugin.bench.evaluate import evaluate_questions
from videorefer_plugin.bench.reading import Item
from videorefer_plugin.errors import BenchError
from videorefer_plugin.inputs.wording import QUESTION_TYPES
from videorefer_plugin.regions import encode_rle
from videorefer_plugin.tiny.measuring import QUESTION_TOKENS, shuffle_regions
from videorefer_plugin.world.bench import bench_clip
from videorefer_plugin.world.clip import Clip
from videorefer_plugin.world.dataset import encode_video, write_dataset
from videorefer_plugin.world.filming import PLAIN, Filming
from videorefer_plugin.world.versions import NEWEST

__all__ = ["CONDITIONS", "probe", "words_said"]

_LARGER = 4  # times the side of the frames: 256 px for 64

# Condition -> a function of the frames of its videos, and the way in which they are filmed.
_FILMED: dict[str, tuple[Callable[[NDArray[np.uint8]], NDArray[np.uint8]], Filming]] = {
    "black video": (np.zeros_like, PLAIN),
    "mpeg4": (lambda frames: frames, Filming(codec="mpeg4", quality=5)),
    "crf 35": (lambda frames: frames, Filming(quality=35)),
    "70 % light": (lambda frames: frames, Filming(light=0.7)),
    "256 px": (lambda frames: frames.repeat(_LARGER, 1).repeat(_LARGER, 2), PLAIN),
}
CONDITIONS = ("as it is", "single frame", *_FILMED, "other object", "other clip", "no options", "no video")
"""The conditions. With another object's or clip's regions, the right answer is that of the true ones."""


class _AskedItem(QuestionItem):
    """A question without its options."""

    @property
    def prompt(self) -> str:
        return re.sub(r"(?<!\[)<region>(?!\])", "[<region>]", self.question)


class _WithoutOptions(RegionModel):
    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "asked": "without options"}

    def answer(self, items: Sequence[Item], mode: str) -> list[str]:
        return super().answer([_AskedItem(**vars(item)) for item in items], mode)


class _WithoutVideo(RegionModel):
    """Sees the words of the question alone, in which objects are called "the object"."""

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "asked": "without video"}

    def answer(self, items: Sequence[Item], mode: str) -> list[str]:
        import torch

        model, processor = self.load()
        said = []
        for item in items:
            text = re.sub(r"\[?<region>\]?", "the object", item.prompt)
            prompt = processor.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
            inputs = processor(text=[prompt], return_tensors="pt").to(model.device)
            with torch.no_grad():
                made = model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
            new = made[0, inputs["input_ids"].shape[1] :]
            said.append(processor.tokenizer.decode(new, skip_special_tokens=True).strip())
        return said


def probe(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    seed: int,
    clips: int = 300,
    limit: int | None = None,
    batch_size: int = 8,
    data_version: int | None = None,
    conditions: Sequence[str] = CONDITIONS,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Ask a checkpoint the questions of a benchmark of a seed under each condition, and write one table for its card.

    Answers that are there are kept. Take a seed that nothing else has used.

    Args:
        checkpoint (`str` or `os.PathLike`): its folder.
        out (`str` or `os.PathLike`): folder of videos, answers and the table, or one to go on with.
        seed (`int`): of the benchmark that is rendered.
        clips (`int`, *optional*, defaults to 300): of the benchmark, with two questions each.
        limit (`int`, *optional*): only the first so many questions.
        batch_size (`int`, *optional*, defaults to 8): items answered together.
        data_version (`int`, *optional*): of the benchmark; the newest by default.
        conditions (`Sequence[str]`, *optional*): of [`CONDITIONS`]; all by default.
        say (*optional*): called with a line about each step.

    Returns:
        `Path`: the table, in Markdown; `probe.json` beside it has the same figures.

    Raises:
        BenchError: there is no such condition.
        ConfigurationError: the folder holds another benchmark, or cannot be written.
    """
    for name in conditions:
        if name not in CONDITIONS:
            raise BenchError(f"Unknown condition {name!r}; known are {', '.join(CONDITIONS)}.")
    root = check_folder_place(out, BenchError)
    version = NEWEST if data_version is None else data_version
    say(f"Rendering {clips} clips from seed {seed}")
    write_dataset(root / "world", 0, seed, clips, version=version)
    items = read_json(root / "world" / "heldout" / "bench_q.json", BenchError)[:limit]
    (root / "items").mkdir(exist_ok=True)
    rows = {}
    for name in conditions:
        say(f"Asking: {name}")
        path = root / "items" / f"{name.replace(' ', '_').replace('%', 'percent')}.json"
        write_whole(path, json.dumps(_changed(name, items, root, seed, version)))
        kind = {"no options": _WithoutOptions, "no video": _WithoutVideo}.get(name, RegionModel)
        answerer = kind(os.fspath(checkpoint), max_new_tokens=QUESTION_TOKENS)
        mode = "single" if name == "single frame" else "multi"
        asked = evaluate_questions(
            path, answerer, root / "answers", mode=mode, media_root=root, batch_size=batch_size, name=name
        )
        rows[name] = _figures(asked["scores"]["items"], {item["id"]: item["options"] for item in items})
    write_whole(root / "probe.json", json.dumps({"seed": seed, "version": version, "rows": rows}, indent=2) + "\n")
    path = root / "probe.md"
    write_whole(path, _table(rows, seed, version, len(items)))
    return path


def words_said(answer: str) -> tuple[str, str | None]:
    """What an answer says without reasons before it, and the letter behind that, if there is one.

    Examples:
        >>> words_said("part: up, up, down, down. Answer: it moves up, then down (D)")
        ('it moves up, then down', 'D')
    """
    last = re.split(r"\bAnswer: ", answer.strip())[-1].rstrip(".")
    found = re.fullmatch(r"(.*?) ?\(([A-Z])\)", last, re.DOTALL)
    return (found[1].strip(), found[2]) if found else (last.strip(), None)


def _figures(rows: Sequence[dict[str, Any]], options: dict[str, list[str]]) -> dict[str, Any]:
    """Shares in percent: of both readers, of words, of letters that are those of the words, and of types."""
    texts = {key: {text[1]: text[4:] for text in some} for key, some in options.items()}
    words, agrees = [], []
    for row in rows:
        said, letter = words_said(row["prediction"] or "")
        words.append(said == row["answer"][4:])
        shown = [key for key, text in texts[row["id"]].items() if text == said]
        if letter is not None:
            agrees.append(shown == [letter])
    types = {kind: [row["correct"]["strict"] for row in rows if row["type"] == kind] for kind in QUESTION_TYPES}
    return {
        "compatible": _percent([row["correct"]["compatible"] for row in rows]),
        "strict": _percent([row["correct"]["strict"] for row in rows]),
        "words exactly right": _percent(words),
        "letter agrees with words": _percent(agrees),
        **{kind: _percent(right) for kind, right in types.items()},
    }


def _percent(right: Sequence[bool]) -> float | None:
    return round(100 * sum(right) / len(right), 1) if right else None


def _changed(name: str, items: list[dict[str, Any]], root: Path, seed: int, version: int) -> list[dict[str, Any]]:
    """The items of a condition, whose videos lie under the root."""
    shown = [{**item, "video": f"world/heldout/{item['video']}"} for item in items]
    if name == "other clip":
        return shuffle_regions(shown)
    if name not in _FILMED and name != "other object":
        return shown
    clips: dict[int, Clip] = {}
    for item in shown:
        number = int(item["id"].split("/")[0].rpartition("-")[2])
        if number not in clips:
            clips[number] = bench_clip(seed, number, version=version)[0]
        clip = clips[number]
        if name == "other object":
            item |= _of_others(item, clip)
            continue
        make, filming = _FILMED[name]
        item["video"] = f"videos/{name.replace(' ', '_').replace('%', 'percent')}/{number:06d}.mp4"
        if not (root / item["video"]).exists():
            (root / item["video"]).parent.mkdir(parents=True, exist_ok=True)
            encode_video(root / item["video"], make(clip.frames), filming=filming)
        if name == "256 px":
            item |= _enlarged(item, clip)
    return shown


def _subjects(item: dict[str, Any], clip: Clip) -> list[int]:
    known = [clip.annotation(index) for index in range(len(clip))]
    return [known.index(annotation) for annotation in item["annotation"]]


def _of_others(item: dict[str, Any], clip: Clip) -> dict[str, Any]:
    """Regions of other objects of the same clip; of two that are asked about together, in the other order."""
    subjects = _subjects(item, clip)
    others = subjects[::-1] if len(subjects) > 1 else [(subjects[0] + 1) % len(clip)]
    frames = set(clip.clear_frames(others[0])).intersection(*(clip.clear_frames(index) for index in others))
    return {"annotation": [clip.annotation(index) for index in others], "frame_idx": str(min(frames))}


def _enlarged(item: dict[str, Any], clip: Clip) -> dict[str, Any]:
    annotations = []
    for index in _subjects(item, clip):
        masks = clip.masks[index].repeat(_LARGER, 1).repeat(_LARGER, 2)
        annotations.append(
            {str(at): {"segmentation": encode_rle(m) if m.any() else None} for at, m in enumerate(masks)}
        )
    side = clip.scene.stage.size * _LARGER
    return {"annotation": annotations, "height": side, "width": side}


def _table(rows: dict[str, dict[str, Any]], seed: int, version: int, count: int) -> str:
    """The table for a card."""
    columns = list(next(iter(rows.values())))
    lines = [
        f"{count} questions of VideoRefer-Bench-Q in the shapes world, seed {seed}, data version {version}, in "
        "percent. Types are those of the strict reader, and chance is 25. Objects are shown in many frames, or as the "
        "row says.\n",
        f"| asked | {' | '.join(name.removesuffix(' Questions').removesuffix(' Predictions') for name in columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join('-' if row[one] is None else f'{row[one]:.1f}' for one in columns)} |")
    return "\n".join(lines) + "\n"
