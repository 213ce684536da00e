"""Maker of a small training data set with records of all kinds, and writers of it in every file format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.media import numbered_frame, write_folder, write_video
from videorefer_plugin.regions import encode_rle

HEIGHT, WIDTH = 48, 80  # of every video and image, except the small clip
FRAMES = 12


def box_mask(x: int, y: int, height: int = HEIGHT, width: int = WIDTH, side: int = 20) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def compressed(x: int, y: int) -> dict[str, Any]:
    return {"segmentation": encode_rle(box_mask(x, y))}


def run_lengths(x: int, y: int) -> dict[str, Any]:
    flat = box_mask(x, y).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *changes, flat.size]).tolist()
    return {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, *runs] if flat[0] else runs}}


def polygon(x: int, y: int) -> dict[str, Any]:
    return {"segmentation": [[x, y, x + 20, y, x + 20, y + 20, x, y + 20]]}


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if number % 2 else "human", "value": text} for number, text in enumerate(texts)]


def all_kinds() -> dict[str, dict[str, Any]]:
    """One record of each kind, by name."""
    size = {"height": HEIGHT, "width": WIDTH}
    return {
        "compressed": {
            "id": 0,
            "video": "clips/a.mp4",
            "conversations": turns("<video>\nWhat is <region> doing?", "It runs away."),
            "annotation": [{str(frame): compressed(3 * frame, frame) for frame in (0, 2, 5, 7, 9, 11)}],
            **size,
        },
        "two objects": {
            "id": "b",
            "video": "clips/b.mp4",
            "conversations": turns("<video>\nWhat do <region> and <region> have in common?", "Both are red."),
            "annotation": [
                {"1": run_lengths(5, 5), "4": {"segmentation": None}, "8": run_lengths(0, 0)},
                {"1": {}, "8": compressed(40, 20), "10": {"segmentation": []}},
            ],
            **size,
        },
        "polygons": {
            "id": 2,
            "video": "clips/a.mp4",
            "conversations": turns("<video>\nDescribe <region>.", "A box."),
            "annotation": [{"3": polygon(10, 10), "6": polygon(30, 10)}],
            **size,
        },
        "polygons without size": {
            "video": "clips/a.mp4",
            "conversations": turns("<video>\nDescribe <region>.", "A box that has no id."),
            "annotation": [{"3": polygon(50, 20)}],
        },
        "image": {
            "id": 4,
            "image": "images/c.png",
            "conversations": turns("<image>\nWhat colour is <region>?", "Blue."),
            "annotation": [{"0": compressed(12, 8)}],
            **size,
        },
        "video without objects": {
            "id": 5,
            "video": "clips/b.mp4",
            "conversations": turns("<video>\nWhat happens?", "A ball rolls.", "Where to?", "To the left."),
        },
        "text": {
            "id": 6,
            "conversations": turns("Name a colour.", "Green.", "Another one?", "Red."),
        },
        "first stage": {
            "id": 7,
            "image": "images/c.png",
            "conversations": turns("<image>", "a texture below black and white bars"),
        },
        "never together": {
            "id": 8,
            "video": "clips/b.mp4",
            "conversations": turns("<video>\nDoes <region> become <region>?", "Yes."),
            "annotation": [{"0": compressed(0, 0), "1": compressed(2, 2)}, {"9": compressed(40, 20)}],
            **size,
        },
        "regions in several turns": {
            "id": 9,
            "video": "clips/a.mp4",
            "conversations": turns(
                "What is <region>?\n<video>", "A dog.", "And <region> beside <region>?", "A cat.", "Sure?", "Yes."
            ),
            "annotation": [
                {"2": compressed(0, 0), "7": compressed(5, 5)},
                {"1": compressed(10, 0)},
                {"7": compressed(40, 10), "11": compressed(50, 20)},
            ],
            **size,
            "ratio": 0.5,
        },
        "one level deeper": {
            "id": "ytb_vos_1",
            "video": "clips/b.mp4",
            "conversations": turns("<video>\nWhat is <region>?", "A car."),
            "annotation": [{"4": {"2": compressed(5, 5), "4": compressed(8, 5)}}],
            "frame_idx": 4,
            **size,
        },
        "folder of frames": {
            "id": 11,
            "video": "frames",
            "conversations": [
                {"from": "system", "value": "Answer briefly."},
                *turns("<video>\nWhat is <region>?", "A house."),
            ],
            "annotation": [{"0": compressed(30, 10), "3": compressed(31, 11)}],
            **size,
        },
    }


def write_media(root: Path) -> Path:
    """The media of `all_kinds`, in sub-folders."""
    (root / "clips").mkdir(parents=True)
    (root / "images").mkdir()
    write_video(root / "clips" / "a.mp4", FRAMES)
    write_video(root / "clips" / "b.mp4", FRAMES, rate=10)
    Image.fromarray(numbered_frame(3)).save(root / "images" / "c.png")
    write_folder(root / "frames", [f"{number}.png" for number in range(4)])
    return root


def write_json(path: Path, records: list[Any]) -> Path:
    path.write_text(json.dumps(records, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def write_jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_parquet(path: Path, records: list[Any], group: int = 3) -> Path:
    """Nested conversations, and annotations as JSON text, since segmentations of several kinds have no common type."""
    import pyarrow
    import pyarrow.parquet

    rows = [
        {
            **record,
            "id": None if record.get("id") is None else str(record["id"]),
            "annotation": json.dumps(record["annotation"]) if "annotation" in record else None,
        }
        for record in records
    ]
    columns = sorted({key for row in rows for key in row})
    table = pyarrow.Table.from_pylist([{key: row.get(key) for key in columns} for row in rows])
    pyarrow.parquet.write_table(table, path, row_group_size=group)
    return path


WRITERS = {"json": write_json, "jsonl": write_jsonl, "parquet": write_parquet}
