"""How well one click or one box on one frame of a clip of the shapes world becomes a masklet, and how long it takes.

Run with `pytest tests/benchmarks/test_segment_benchmark.py -n 0 --benchmark-only -s`. The clips are of the split
`heldout`, from seeds that nothing else uses. `VIDEOREFER_BENCHMARK_CLIPS` sets their number, `..._SEGMENTER` the
segmenter. A frame behind a loss counts as one with an empty mask.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

CLIPS = int(os.environ.get("VIDEOREFER_BENCHMARK_CLIPS", "100"))
SEGMENTER = os.environ.get("VIDEOREFER_BENCHMARK_SEGMENTER", "classical")
SEED = 910_000
PROMPTS = ("inner click", "click", "box")
WRONG, SURE = 0.5, 0.5  # IoU below which, and score from which on, a loss is silent


class Outcome(NamedTuple):
    """One object of one clip.

    Attributes:
        cluttered (`bool`): whether the background is.
        overlaps (`list[float]`): IoU in each frame in which the object is visible.
        silent (`int`): frames in which it is visible, but elsewhere or larger or smaller by far, with a high score.
        ghosts (`int`): frames in which it is not visible, but has a mask.
        lost (`bool`): whether it was reported as lost.
        is_wrong (`bool`): whether most of the frames in which it is visible are wrong.
        seconds (`float`): for each frame.
    """

    cluttered: bool
    overlaps: list[float]
    silent: int
    ghosts: int
    lost: bool
    is_wrong: bool
    seconds: float


def prompt_of(kind: str, mask: Any, rng: np.random.Generator) -> Any:
    """A box around a mask; or a click on one of its pixels, for "inner click" not on its outline."""
    import cv2

    from videorefer_plugin.segment import Prompt

    if kind == "box":
        rows, columns = np.nonzero(mask)
        return Prompt(box=(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    places = np.argwhere(inner if kind == "inner click" and inner.any() else mask)
    row, column = places[rng.integers(len(places))]
    return Prompt(points=np.array([[column + 0.5, row + 0.5]]))


def follow(segmenter: Any, seed: int, kind: str, encode: Path | None, size: int, split: str = "heldout") -> Outcome:
    """One click or box on a clip, encoded as a file if a place for it is given."""
    import time

    import videorefer_plugin as vr
    from videorefer_plugin import world
    from videorefer_plugin.errors import SegmentError

    clip, rng = world.make_clip(seed, split, size=size), np.random.default_rng(seed)
    number = int(rng.integers(len(clip)))
    frame = int(rng.choice(clip.clear_frames(number)))
    truth = clip.masks[number]
    prompt = prompt_of(kind, truth[frame], rng)
    if encode is not None:
        world.encode_video(encode, clip.frames)
    video = vr.open_video(list(clip.frames) if encode is None else encode)
    start = time.perf_counter()
    try:
        (masklet,) = segmenter.propagate(video, [{frame: prompt}])
        found, scores, lost = dict(masklet.region.masks(size, size)), masklet.scores, bool(masklet.lost)
    except SegmentError:  # which says that nothing can be cut out there
        found, scores, lost = {}, {}, True
    seconds = (time.perf_counter() - start) / len(truth)
    overlaps, silent, ghosts = [], 0, 0
    for index, mask in enumerate(truth):
        own = found.get(index)
        own = np.zeros_like(mask) if own is None else own
        if not mask.any():
            ghosts += bool(own.any())
            continue
        overlaps.append(float((own & mask).sum() / (own | mask).sum()))
        silent += overlaps[-1] < WRONG and scores.get(index, 0) >= SURE
    return Outcome(clip.scene.cluttered, overlaps, silent, ghosts, lost, np.median(overlaps) < WRONG, seconds)


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Figures of some objects."""
    visible = np.concatenate([one.overlaps for one in outcomes])
    return {
        "clips": len(outcomes),
        "IoU": round(float(visible.mean()), 4),
        "IoU by clip": round(float(np.mean([np.mean(one.overlaps) for one in outcomes])), 4),
        "objects lost": sum(one.is_wrong or one.lost for one in outcomes),
        "losses reported": sum(one.lost for one in outcomes),
        "silent": round(sum(one.silent for one in outcomes) / len(visible), 4),
        "ghosts": sum(one.ghosts for one in outcomes),
        "seconds a frame": round(float(np.mean([one.seconds for one in outcomes])), 4),
    }


def measure(clips: int, kind: str, folder: Path | None, size: int, seed: int = SEED) -> dict[str, dict[str, Any]]:
    """Figures of plain and of cluttered backgrounds; of files if there is a folder for them, else of raw frames."""
    from videorefer_plugin.segment import load_segmenter

    segmenter = load_segmenter(SEGMENTER)
    path = None if folder is None else folder / "clip.mp4"
    outcomes = [follow(segmenter, seed + number, kind, path, size) for number in range(clips)]
    parts = {"plain": [one for one in outcomes if not one.cluttered]}
    parts["cluttered"] = [one for one in outcomes if one.cluttered]
    return {name: summary(part) for name, part in parts.items() if part}


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("encoded", [False, True], ids=["raw", "mp4"])
@pytest.mark.parametrize("kind", PROMPTS)
def test_one_prompt_on_clips(benchmark: Any, tmp_path: Path, kind: str, encoded: bool, size: int) -> None:
    folder = tmp_path if encoded else None
    found = benchmark.pedantic(lambda: measure(CLIPS, kind, folder, size), rounds=1)
    benchmark.extra_info.update(found)
    for name, figures in found.items():
        print(f"\n{kind}, {'mp4' if encoded else 'raw'}, {size}, {name}: {figures}")
