"""Small benchmarks of the shapes world, in the published formats."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from PIL import Image

from videorefer_plugin.video import open_video
from videorefer_plugin.world.dataset import write_dataset

CLIPS = 5  # one of every type of question; two questions and one description each


def write_benchmark(folder: Path, clips: int = CLIPS) -> Path:
    """`bench_q.json` and `bench_d.json` about mp4 files."""
    write_dataset(folder, 0, 0, clips)
    return folder / "heldout"


def as_frame_folders(source: Path, target: Path) -> Path:
    """The same benchmark with a folder of frames in place of each video, as DAVIS and MeViS have."""
    target.mkdir(parents=True)
    for name in ("bench_q.json", "bench_d.json"):
        items = json.loads((source / name).read_text())
        for item in items:
            folder = Path("JPEGImages") / Path(item["video"]).stem
            if not (target / folder).exists():
                (target / folder).mkdir(parents=True)
                video = open_video(source / item["video"])
                for number, picture in enumerate(video.read(range(video.num_frames))):
                    Image.fromarray(picture).save(target / folder / f"{number:05d}.png")
            item["video"] = str(folder)
        (target / name).write_text(json.dumps(items))
    return target


def read_items(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())


def change_item(path: Path, target: Path, number: int = 0, **changes: Any) -> Path:
    """A copy in which one item is changed; None deletes a key. Its media stay where they are."""
    items = read_items(path)
    items[number] = {key: value for key, value in {**items[number], **changes}.items() if value is not None}
    target.write_text(json.dumps(items))
    return target


def task_functions(folder: Path) -> Any:
    """The functions of a task folder, as lmms-eval loads them."""
    spec = importlib.util.spec_from_file_location(folder.name, folder / "utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Parrot:
    """Answers every item with its caption, or with nothing."""

    workers = 1

    def __init__(self, *silent: str):
        self.silent = silent

    def settings(self):
        return {"model": "parrot", "sees": "the answers"}

    def answer(self, items, mode):
        return ["" if item.id in self.silent else item.caption for item in items]
