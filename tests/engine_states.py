"""States of the data engine as its agents leave them, for tests of what is made of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.media import SIZE, write_video
from tests.training_data import box_mask
from videorefer_plugin import Region
from videorefer_plugin.data_engine.items import (
    Description,
    Drop,
    Failure,
    Found,
    Made,
    Noun,
    Refined,
    RegionCaption,
    Source,
    Spent,
    Verdict,
)
from videorefer_plugin.data_engine.recipe import EngineRecipe, OutputSettings, StageSettings
from videorefer_plugin.data_engine.state import State, made_row

WIDTH, HEIGHT = SIZE
FRAMES = 12


def recipe(folder: Path, product: str = "detailed", **output: Any) -> EngineRecipe:
    stages = {
        "short": ("analyzer", "segmentor"),
        "detailed": ("analyzer", "segmentor", "annotator", "captioner", "reviewer", "refiner"),
        "qa": ("annotator", "refiner"),
    }[product]
    chosen = {stage: StageSettings(backend=f"my-{stage}") for stage in stages}
    return EngineRecipe(
        name=f"my-{product}", product=product, output=OutputSettings(folder=str(folder), **output), **chosen
    )


def source(folder: Path, name: str = "clip", **given: Any) -> Source:
    """A source whose video lies in a folder `videos`."""
    path = folder / "videos" / "clip.mp4"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, FRAMES)
    return Source(name, str(path), given.pop("caption", "A red square moves beside a ball."), **given)


def masks(x: int = 4, frames: Sequence[int] = range(FRAMES), absent: Sequence[int] = ()) -> dict[str, Any]:
    (shape,) = Region.from_mask(box_mask(x, 4, HEIGHT, WIDTH, 12), frame=0).to_annotation(HEIGHT, WIDTH).values()
    return {str(frame): shape for frame in frames} | {str(frame): {"segmentation": None} for frame in absent}


def found(x: int = 4, **given: Any) -> Found:
    return Found(masks(x, **given), HEIGHT, WIDTH, 3, (x, 4, x + 12, 16), 0.9, {"3": 0.5, "4": 1.0}, {"quality": 0.8})


def state(of: Source, rows: Mapping[str, Sequence[Any] | Failure], seed: int = 7) -> State:
    """A source with, for each stage, what it made of the objects that it was given."""
    made = State(of, seed)
    for stage, given in rows.items():
        value = given if isinstance(given, Failure) else Made(tuple(given), Spent(1, 100, 10, 0.5))
        made.rows[stage] = made_row(made, stage, f"key-of-{stage}", value, 0.25)
    return made


def reviewed(of: Source, verdicts: Sequence[bool], texts: Sequence[str] = ()) -> State:
    """All six agents have worked; the Reviewer kept those objects whose verdict is true."""
    numbers = range(len(verdicts))
    texts = texts or [f"The square {number} moves to the right." for number in numbers]
    return state(
        of,
        {
            "analyzer": [Noun(f"square {number}") for number in numbers],
            "segmentor": [found(4 + 16 * (number % 4)) for number in numbers],
            "annotator": [Description("It moves.", text) for text in texts],
            "captioner": [RegionCaption(f"a square, seen as {number}", 3) for number in numbers],
            "reviewer": [Verdict(same, f"reason {number}", 0.5) for number, same in enumerate(verdicts)],
            "refiner": [Refined(text) for text, kept in zip(texts, verdicts, strict=True) if kept],
        },
    )


def dropped(kind: str = "not_found") -> Drop:
    return Drop(kind, f"The object is {kind}.")
