"""How well the embedded model answers when its objects are given by true masks, boxes, or one click that is followed.

Bench-Q of the shapes world, on clips of a seed that nothing else uses. Run with `pytest --benchmark-only`.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CLIPS = int(os.environ.get("VIDEOREFER_BENCHMARK_CLIPS", "150"))
SEGMENTER = os.environ.get("VIDEOREFER_BENCHMARK_SEGMENTER", "classical")
SEED = 4242


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from videorefer_plugin.world import write_dataset

    root = tmp_path_factory.mktemp("world")
    write_dataset(root, 0, SEED, CLIPS)
    return root / "heldout"


def regions_of(item: dict[str, Any]) -> list[Any]:
    from videorefer_plugin import Region

    return [Region.from_annotation(one) for one in item["annotation"]]


def with_masks(item: dict[str, Any], folder: Path) -> list[Any]:
    """The true masks, in every frame."""
    return item["annotation"]


def with_boxes(item: dict[str, Any], folder: Path) -> list[Any]:
    """The boxes of the true masks, in every frame."""
    boxes = []
    for region in regions_of(item):
        frames: dict[str, Any] = {}
        for frame, mask in region.masks(item["height"], item["width"]):
            rows, columns = np.nonzero(mask)
            box = (
                [float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)]
                if len(rows)
                else None
            )
            frames[str(frame)] = {"box": box} if box else {"segmentation": None}
        boxes.append(frames)
    return boxes


def with_clicks(item: dict[str, Any], folder: Path) -> list[Any]:
    """One click on each object in one frame, which the segmenter follows through the video."""
    import videorefer_plugin as vr

    clicked = clicks(item)
    masklets = vr.propagate_many(folder / item["video"], clicked, SEGMENTER, on_lost="ignore")
    return [masklet.region.to_annotation(item["height"], item["width"]) for masklet in masklets]


def with_single_clicks(item: dict[str, Any], folder: Path) -> list[Any]:
    """The same clicks, which nobody follows: discs in one frame."""
    return [region.to_json() for region in clicks(item)]


def clicks(item: dict[str, Any]) -> list[Any]:
    """A pixel of each object by chance, in a frame by chance in which at least 12 pixels of it can be seen."""
    import videorefer_plugin as vr

    rng = np.random.default_rng([SEED, *item["id"].encode()])
    chosen = []
    for region in regions_of(item):
        seen = [(frame, mask) for frame, mask in region.masks(item["height"], item["width"]) if mask.sum() >= 12]
        frame, mask = seen[rng.integers(len(seen))]
        row, column = np.argwhere(mask)[rng.integers(mask.sum())]
        chosen.append(vr.Region.from_points([(column + 0.5, row + 0.5)], frame=frame))
    return chosen


WAYS: dict[str, Callable[..., list[Any]]] = {
    "masks": with_masks,
    "boxes": with_boxes,
    "click followed": with_clicks,
    "click alone": with_single_clicks,
}


@pytest.mark.parametrize("way", WAYS)
def test_questions_about_objects_that_are_pointed_at(benchmark: Any, heldout: Path, tmp_path: Path, way: str) -> None:
    import videorefer_plugin as vr
    from videorefer_plugin.bench.answerers import RegionModel
    from videorefer_plugin.bench.evaluate import evaluate_questions

    items = json.loads((heldout / "bench_q.json").read_text())
    changed = [{**item, "annotation": WAYS[way](item, heldout)} for item in items]
    file = tmp_path / "bench_q.json"
    file.write_text(json.dumps(changed))
    model = RegionModel(vr.tiny_checkpoint())
    result = benchmark.pedantic(
        lambda: evaluate_questions(file, model, tmp_path / "out", mode="multi", media_root=heldout, batch_size=16),
        rounds=1,
    )
    table = result["scores"]["tables"]["strict"]
    benchmark.extra_info.update(
        {
            "questions": len(items),
            "right": table["overall"]["accuracy"],
            "interval": table["overall"]["interval"],
            **{kind: cell["accuracy"] for kind, cell in table["types"].items()},
        }
    )
    print(way, json.dumps(benchmark.extra_info))
