"""`train check` warns where masks and frames do not seem to belong together, and shows records."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from tests.media import write_folder, write_video
from tests.training_data import HEIGHT, WIDTH, all_kinds, box_mask, turns, write_json, write_jsonl, write_media
from videorefer_plugin.cli import app
from videorefer_plugin.errors import ConfigurationError, RecordError
from videorefer_plugin.regions import encode_rle
from videorefer_plugin.training import check_data, show_records
from videorefer_plugin.world.dataset import write_dataset

FRAMES = 100  # of the video, at 25 a second


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_media(tmp_path_factory.mktemp("data"))
    write_video(folder / "long.mp4", FRAMES)
    write_video(folder / "slow.mp4", FRAMES, rate=1)
    write_folder(folder / "many", [f"{number}.png" for number in range(FRAMES)])
    return folder


def mask(x: int, y: int = 10, height: int = HEIGHT, width: int = WIDTH, side: int = 10) -> dict[str, Any]:
    return {"segmentation": encode_rle(box_mask(x, y, height, width, side))}


def polygon(x: int, y: int, side: int = 10) -> dict[str, Any]:
    return {"segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]]}


def record(*objects: dict[int, Any], video: str = "long.mp4", **more: Any) -> dict[str, Any]:
    return {
        "video": video,
        "conversations": turns("<video>\nWhat " + "of <region> " * len(objects), "It is there."),
        "annotation": [{str(frame): shape for frame, shape in frames.items()} for frames in objects],
        **more,
    }


def run_of(frames: Any, at: Callable[[int], int] = lambda frame: 10) -> dict[int, Any]:
    return {frame: mask(at(frame)) for frame in frames}


def absent_in(frames: Any) -> dict[int, Any]:
    return {frame: {"segmentation": None} for frame in frames}


def slow(frame: int) -> int:
    return 10 + frame


DEEP, SHALLOW = True, False
SIZE = {"height": HEIGHT, "width": WIDTH}
HALF = mask(10, 5, HEIGHT // 2, WIDTH // 2)

STRANGE: dict[str, tuple[dict[str, Any], str, str, bool]] = {
    # what is strange: record, kind, words of the reason, and whether the media are needed to see it
    "masks of two sizes": (record({0: mask(10), 4: HALF}), "size", "several sizes: 48 x 80.*24 x 40", SHALLOW),
    "objects of two sizes": (record({0: mask(10)}, {0: HALF}), "size", "object 1, frame 0", SHALLOW),
    "another size than is told": (record({0: HALF}, **SIZE), "size", "height and width are 48 and 80", SHALLOW),
    "height and width swapped": (
        record({0: mask(10)}, height=WIDTH, width=HEIGHT),
        "aspect",
        "they look swapped",
        SHALLOW,
    ),
    "masks of half the size": (record({0: HALF}), "size", "24 x 40 .*the masks are scaled", DEEP),
    "polygons of half the size": (
        record({0: polygon(5, 5)}, height=HEIGHT // 2, width=WIDTH // 2),
        "size",
        "the masks are scaled",
        DEEP,
    ),
    "a polygon beyond the frame": (record({0: polygon(70, 20, 30)}, **SIZE), "size", "reaches to x = 100", SHALLOW),
    "a box beyond the frame": (record({3: {"box": [4, 4, 30, 90]}}), "size", "y = 90 in frame 3", DEEP),
    "hardly other proportions": (
        record({0: mask(100, 100, 480, 812, 50)}),
        "aspect",
        "differ a little from those of its frames",
        DEEP,
    ),
    "every frame far away": (
        record(run_of(range(12), lambda frame: 30 * (frame % 3))),
        "rate",
        "frames are 0 to 11, but object 0 moves by more than its size",
        SHALLOW,
    ),
    "as many frames as seconds": (record(run_of(range(5)), video="slow25.mp4"), "rate", "at 1 frame", DEEP),
    "first frames that move far": (
        record(run_of(range(6), lambda frame: 15 * (frame % 4))),
        "rate",
        "0 to 5 of 100, but object 0 moves far",
        DEEP,
    ),
    "multiples of 30 at one frame a second": (
        record(run_of((0, 30, 60, 90)), video="slow.mp4"),
        "rate",
        r"multiples of 30 \(0, 30, 60, ...\), but its video has 1 frame",
        DEEP,
    ),
    "away for one frame": (
        record(run_of(range(20, 40), lambda frame: 60 if frame == 30 else slow(frame - 20))),
        "jump",
        "object 0 jumps elsewhere in frame 30 alone; in frames 29 and 31",
        SHALLOW,
    ),
    "a neighbor's mask in one frame": (
        record(run_of(range(20, 40)), run_of(range(20, 40), lambda frame: 22 if frame == 25 else 10)),
        "jump",
        "object 1 jumps elsewhere in frame 25 alone",
        SHALLOW,
    ),
    "a neighbor's mask in one of every third or fourth frame": (
        record(run_of((0, 3, 7, 10, 13, 17, 20, 23), lambda frame: 22 if frame == 13 else 10 + frame // 7)),
        "jump",
        "in frame 13 alone; in frames 10 and 17",
        SHALLOW,
    ),
    "a neighbor's mask while it moves": (
        record(run_of(range(20, 40), lambda frame: 10 if frame == 32 else 10 + 2 * (frame - 20))),
        "jump",
        "in frame 32 alone",
        SHALLOW,
    ),
    "a neighbor's mask in two places": (
        record(run_of(range(20, 40), lambda frame: 25 if frame in (24, 33) else 10)),
        "jump",
        "in frame 24 alone",
        SHALLOW,
    ),
    "a neighbor's mask in three frames": (
        record(run_of(range(20, 40), lambda frame: 25 if frame in (24, 25, 26) else 10)),
        "jump",
        r"in frames 24, 25, 26 alone; in frames 23 and 27",
        SHALLOW,
    ),
    "another object from some frame on": (
        record(run_of(range(1, 20)), run_of(range(20, 40), lambda frame: 60 if frame > 32 else 10)),
        "jump",
        "object 1 jumps between frames 32 and 33 by 5.0 times",
        SHALLOW,
    ),
    "absent for one frame": (
        record(run_of(range(20, 30)) | {25: {"segmentation": None}}),
        "vanish",
        "absent from frame 25 alone",
        SHALLOW,
    ),
    "absent from one of every third or fourth frame": (
        record(run_of((0, 3, 7, 10, 17, 20, 23)) | absent_in([13])),
        "vanish",
        "absent from frame 13 alone; in frames 10 and 17",
        SHALLOW,
    ),
    "empty for one frame": (
        record(run_of(range(20, 30)) | {25: mask(200)}),
        "vanish",
        "absent from frame 25 alone",
        SHALLOW,
    ),
    "absent from one of every fifth": (
        record(run_of(range(0, 50, 5)) | {25: {"segmentation": None}}),
        "vanish",
        "in frames 20 and 30 it is at the same position",
        SHALLOW,
    ),
    "left out of one frame": (
        record(run_of([*range(20, 26), *range(27, 35)])),
        "vanish",
        "not given in frame 26 alone",
        SHALLOW,
    ),
}

SENSIBLE = {
    "one mask": record({50: mask(10)}, **SIZE),
    "it moves": record(run_of(range(40), slow)),
    "it moves fast, all the time": record(run_of(range(30, 40), lambda frame: 7 * (frame - 30))),
    "it gets going": record(run_of(range(20, 30), lambda frame: (frame - 20) ** 2 * 60 // 81)),
    "it swings": record(run_of(range(20, 40), lambda frame: 30 if frame % 2 else 10)),
    "it swings and rests": record(run_of(range(20, 60), lambda frame: 30 if frame % 3 == 0 else 10)),
    "half hidden for one frame": record(run_of(range(20, 30)) | {25: mask(10, side=4)}),
    "it goes there and back": record(run_of(range(20, 40), lambda frame: 50 - 4 * abs(frame - 30))),
    "it is hidden for a while": record(run_of(range(20, 40)) | absent_in(range(25, 29))),
    "it passes behind something": record(
        {20: mask(10), 21: mask(12, side=6), 22: {"segmentation": None}, 23: mask(20, side=6), 24: mask(22)}
    ),
    "it comes back elsewhere": record(
        run_of(range(20, 40), lambda frame: 60 if frame > 30 else 10) | absent_in(range(28, 33))
    ),
    "far apart": record(run_of((0, 20, 40, 60, 80, 99), lambda frame: 60 if frame > 50 else 10)),
    "here and there": record(run_of((3, 4, 9, 17, 18, 40, 77), slow)),
    "every thirtieth frame": record(run_of((0, 30, 60, 90), slow)),
    "a folder of frames": record(run_of((0, 30, 60, 90)), video="many"),
    "the first frames": record(run_of(range(20), slow)),
    "polygons": record({2: polygon(70, 38), 3: polygon(69, 37)}, **SIZE),
    "a polygon over the edge": record({2: polygon(72, 30)}, **SIZE),
    "a point": record({4: {"points": [[3, 3]]}, 5: {"points": [[70, 40]]}}),
    "absent from the start": record({0: {"segmentation": None}, 1: mask(10), 2: mask(11)}),
    "frames of a hand's numbers": record(run_of((0, 99))),
}


def found_in(path: Path, deep: bool) -> dict[str, list[str]]:
    report = check_data(path, deep=deep)
    assert not report.bad
    return {kind: [example.reason for example in warned.examples] for kind, warned in report.warnings.items()}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", STRANGE)
def test_what_is_strange_is_told(root: Path, name: str) -> None:
    value, kind, words, needs_media = STRANGE[name]
    if value["video"] == "slow25.mp4":  # 100 frames of 5 seconds
        write_video(root / value["video"], FRAMES, rate=20)
    path = write_jsonl(root / "strange.jsonl", [all_kinds()["text"], value])
    shallow, deep = found_in(path, deep=False), found_in(path, deep=True)
    assert (kind in shallow) != needs_media
    (reason,) = deep[kind]
    assert (shallow.get(kind) or [reason]) == [reason]
    assert re.search(words, reason), reason


@pytest.mark.parametrize("deep", [False, True])
def test_nothing_is_said_of_what_is_sensible(root: Path, deep: bool) -> None:
    path = write_jsonl(root / "sensible.jsonl", [*SENSIBLE.values(), *all_kinds().values()])
    assert found_in(path, deep) == {}


@pytest.mark.parametrize(("clips", "size", "frames"), [(3, 64, 16), (1, 96, 48)])
def test_nothing_is_said_of_the_shapes_world(tmp_path: Path, clips: int, size: int, frames: int) -> None:
    write_dataset(tmp_path, clips, seed=3, size=size, frames=frames)
    for path in sorted(tmp_path.glob("train_*.json")):
        assert found_in(path, deep=False) == {}, path
    assert found_in(tmp_path / "train_stage2_objects.json", deep=True) == {}


@pytest.mark.parametrize(
    ("frames", "hint"),
    [
        (range(1, FRAMES + 1), "numbered from 1"),
        (range(0, 3000, 30), "all of them are multiples of 30"),
        (range(0, 2 * FRAMES), "in 200 frames, more than it has"),
        ((7, 300), "another frame rate, or in a longer video"),
        ((10**17, 10**18 - 1), "another frame rate"),
    ],
)
def test_frames_beyond_the_video_are_an_error_that_says_how_they_may_be_numbered(
    root: Path, frames: Any, hint: str
) -> None:
    path = write_jsonl(root / "beyond.jsonl", [record(run_of(frames))])
    (bad,) = check_data(path, deep=True).bad
    assert f"in frame {frames[-1]}, but " in bad.reason
    assert f"has {FRAMES} frame(s)" in bad.reason
    assert hint in bad.reason


def test_the_report_counts_warnings_by_kind_and_has_examples(root: Path) -> None:
    values = [STRANGE["absent for one frame"][0]] * 5 + [STRANGE["away for one frame"][0], SENSIBLE["it moves"]]
    report = check_data(write_json(root / "counted.json", values))
    assert {kind: warned.records for kind, warned in report.warnings.items()} == {"vanish": 5, "jump": 1}
    assert [example.number for example in report.warnings["vanish"].examples] == [1, 2, 3, 4, 5]
    written = json.loads(json.dumps(report.to_dict()))["warnings"]
    assert written["jump"]["records"] == 1
    assert written["jump"]["examples"][0]["number"] == 6
    console = Console(width=200, record=True)
    console.print(report.table())
    text = console.export_text()
    assert text.count("is absent from frame 25 alone") == 3
    assert text.count("object 0 jumps") == 1


def table_of(path: Path) -> str:
    console = Console(width=300, record=True)
    console.print(check_data(path).table())
    return console.export_text()


def test_the_tables_name_records_where_the_line_does_not(root: Path) -> None:
    values = [SENSIBLE["it moves"], {"id": "dog [7]", "video": "nowhere.mp4"}, STRANGE["absent for one frame"][0]]
    values.append(values[2] | {"id": 12})
    (root / "one line.json").write_text(json.dumps(values))
    text = table_of(root / "one line.json")
    assert re.search(r"line .* record .* id +. reason", text)
    assert re.search(r"1 │ +2 │ dog \[7\] │ ", text)
    assert re.search(r"vanish +│ +2 │ +1 │ +3 │ +│ object 0", text)
    assert re.search(r"1 │ +4 │ 12 +│ object 0", text)
    text = table_of(write_jsonl(root / "lines.jsonl", [values[2], 5]))  # nothing but the line is needed
    assert re.search(r"│ +2 │ a record is a JSON object", text)
    assert re.search(r"vanish +│ +1 │ +1 │ object 0", text)
    (written, _) = check_data(root / "one line.json").to_dict()["warnings"]["vanish"]["examples"]
    assert (written["number"], written["id"]) == (3, None)


# --- a look ----------------------------------------------------------------------------------------------------------


def shown(folder: Path) -> list[str]:
    for path in folder.iterdir():
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 20
    return sorted(path.name for path in folder.iterdir())


def test_all_kinds_of_records_are_shown(root: Path, tmp_path: Path) -> None:
    path = write_json(root / "all.json", list(all_kinds().values()))
    report = check_data(path)
    show_records(report, 100, tmp_path / "look")
    assert shown(tmp_path / "look") == [f"record-{number:06}.png" for number in range(1, len(all_kinds()) + 1)]


def test_what_is_bad_or_doubtful_is_shown_first_and_the_rest_is_spread(root: Path, tmp_path: Path) -> None:
    values = [all_kinds()["text"]] * 60  # quickly drawn
    values[20] = record({500: mask(10)})
    values[21] = {"conversations": 5}
    values[40] = STRANGE["absent for one frame"][0]
    values[41] = STRANGE["away for one frame"][0]
    text = "[" + ",".join(json.dumps(value) for value in values) + "]"  # all on one line
    (root / "spread.json").write_text(text)
    report = check_data(root / "spread.json", deep=True)
    show_records(report, 3, tmp_path / "three")
    assert shown(tmp_path / "three") == ["record-000021-bad.png", "record-000041-vanish.png", "record-000042-jump.png"]
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        show_records(report, 7, tmp_path / name, seed=seed)
    one, same, other = (shown(tmp_path / name) for name in ("one", "same", "other"))
    assert len(one) == len(other) == 7
    assert one == same != other
    assert {"record-000021-bad.png", "record-000022-bad.png"} < set(one) & set(other)
    first, middle, last = (int(name[7:13]) for name in one if name.count("-") == 1)
    assert first <= 22 <= middle <= 42 <= last


def test_bad_records_are_shown_as_far_as_they_can_be(root: Path, tmp_path: Path) -> None:
    values = [
        record({0: mask(10), 500: mask(10)}),
        record({0: {"segmentation": encode_rle(np.ones((WIDTH, HEIGHT)))}}),
        record({0: mask(10)}, video="nowhere.mp4"),
        record({0: mask(10)}, video="images/c.png"),
        record(),
        "nonsense",
    ]
    report = check_data(write_json(root / "bad.json", values), deep=True)
    assert len(report.bad) == 5
    show_records(report, 6, tmp_path)
    assert len(shown(tmp_path)) == 6
    frames_seen = np.asarray(Image.open(tmp_path / "record-000001-bad.png"))
    words = np.asarray(Image.open(tmp_path / "record-000003-bad.png"))
    assert frames_seen.size > words.size


def test_the_command_shows_records(root: Path, tmp_path: Path) -> None:
    path = write_jsonl(root / "command.jsonl", [all_kinds()["text"]] * 3 + [STRANGE["away for one frame"][0]])
    result = CliRunner().invoke(app, ["train", "check", str(path), "--show", "2"])
    assert result.exit_code == 0, result.output
    assert "2 picture(s) are in" in result.output
    assert "jump" in result.output
    assert len(shown(root / "command.jsonl.look")) == 2
    result = CliRunner().invoke(
        app, ["train", "check", str(path), "--show", "9", "--show-dir", str(tmp_path / "a" / "b"), "--json"]
    )
    assert len(shown(tmp_path / "a" / "b")) == 4
    assert len(json.loads(result.stdout)["shown"]) == 4
    CliRunner().invoke(app, ["train", "check", str(root / "nowhere.jsonl"), "--show", "2"])
    assert not (root / "nowhere.jsonl.look").exists()


@pytest.mark.spread(2)
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Interrupted after 1 of 3 picture(s); the check is whole."),
        (OSError("no room"), 1, "cannot be written (no room); choose another folder."),
    ],
    ids=["Ctrl-C", "a full disk"],
)
def test_a_check_is_told_though_its_pictures_are_not_finished(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    said: str,
    as_json: bool,
) -> None:
    path = write_jsonl(root / "stopped.jsonl", [SENSIBLE["it moves"]] * 2 + [STRANGE["away for one frame"][0]])
    save, saved = Image.Image.save, []

    def stop(image: Image.Image, *args: Any, **kwargs: Any) -> None:
        if saved:
            raise raised
        saved.append(save(image, *args, **kwargs))

    monkeypatch.setattr(Image.Image, "save", stop)
    given = ["train", "check", str(path), "--show", "9", "--show-dir", str(tmp_path), *["--json"] * as_json]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == code
    stderr = " ".join(result.stderr.split())
    assert said in stderr
    assert "1 picture(s) are in" in stderr
    assert shown(tmp_path) == ["record-000001.png"]
    if as_json:
        told = json.loads(result.stdout)
        assert (told["records"], told["interrupted"], len(told["shown"])) == (3, False, 1)
    else:
        assert "jump" in result.stdout


def test_a_folder_that_cannot_be_made_is_refused(root: Path, tmp_path: Path) -> None:
    path = write_jsonl(root / "folder.jsonl", [SENSIBLE["it moves"]])
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="Choose another"):
        show_records(check_data(path), 1, tmp_path / "file")
    result = CliRunner().invoke(
        app, ["train", "check", str(path), "--show", "1", "--show-dir", str(tmp_path / "file")]
    )
    assert result.exit_code == 1
    report = check_data(path)
    path.unlink()
    with pytest.raises(RecordError, match="not there"):
        show_records(report, 1, tmp_path / "look")
