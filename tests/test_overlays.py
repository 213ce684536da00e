"""Overlays: objects on the frames of a video, as a video again and as sheets of frames."""

import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont

from tests.media import write_video
from videorefer_plugin import Region, open_video
from videorefer_plugin.errors import ConfigurationError, RegionError, VideoError
from videorefer_plugin.pictures import COLORS, Line, check_overlay, contact_sheet, fonts, save_overlay, write_overlay
from videorefer_plugin.pictures.sheets import write
from videorefer_plugin.segment import Masklet

GREY = 120
RED, GREEN = COLORS["red"], COLORS["green"]


def clip(count: int, height: int, width: int) -> Any:
    return open_video(np.full((count, height, width, 3), GREY, np.uint8), fps=10)


def moving(count: int, height: int, width: int) -> Region:
    """A square that covers a third of the frame's sides and moves to the right; in every third frame it is absent."""
    side = max(1, min(height, width) // 3)
    masks: dict[int, Any] = {}
    for frame in range(count):
        mask = np.zeros((height, width), bool)
        left = min(frame, width - side)
        mask[side : 2 * side, left : left + side] = True
        masks[frame] = None if frame % 3 == 2 else mask
    return Region(masks)


def is_like(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Where pixels are of a color, also where it lies over the grey: its strongest channel stands out."""
    strong = int(np.argmax(color))
    others = [channel for channel in range(3) if channel != strong]
    values = pixels.astype(int)
    return values[..., strong] - values[..., others].max(-1) > 40


# --- videos ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "height", "width"), [(7, 48, 64), (7, 47, 63), (1, 48, 64), (4, 200, 31), (2, 2, 2)]
)
def test_video_has_the_same_frames_and_the_objects_where_their_masks_are(
    tmp_path: Path, count: int, height: int, width: int
) -> None:
    video, region = clip(count, height, width), moving(count, height, width)
    path = tmp_path / "overlay.mp4"
    told: list[tuple[int, int]] = []
    write_overlay(video, [region], path, progress=lambda done, total: told.append((done, total)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["overlay.mp4"]
    assert told == [(done, count) for done in range(1, count + 1)]
    written = open_video(path)
    assert (written.num_frames, written.height, written.width) == (count, height + height % 2, width + width % 2)
    assert written.timestamps == pytest.approx(video.timestamps, abs=1e-3)
    if min(height, width) < 20:  # nothing but the object's number
        return
    for index, frame in enumerate(written.read(range(count))):
        mask = region.mask(index, height, width)
        shown = is_like(frame[:height, :width], RED)
        assert (shown == mask).mean() > 0.9  # but for the number, and colors that run by a pixel
        assert shown.any() == mask.any()


def test_each_object_has_its_color_and_number_from_one(tmp_path: Path) -> None:
    video = clip(3, 60, 120)
    write_overlay(video, [Region({1: (5, 5, 50, 50)}), Region({1: (70, 5, 115, 50)})], tmp_path / "two.mp4")
    before, marked, after = open_video(tmp_path / "two.mp4").read(range(3))
    assert is_like(marked[10:45, 10:20], RED).all()
    assert is_like(marked[10:45, 75:85], GREEN).all()
    for untouched in (before, after, marked[54:]):  # a region says nothing of frames that it lacks
        assert np.abs(untouched.astype(int) - GREY).max() < 12


@pytest.mark.parametrize(
    ("times", "frames"),
    [
        (None, None),
        (None, range(4, 9)),
        (None, range(0, 10, 3)),
        ([0, 40, 80, 500, 540, 1000, 1033, 1066, 3000, 3010], None),
        ([0, 40, 80, 500, 540, 1000, 1033, 1066, 3000, 3010], range(2, 10)),
    ],
    ids=["even", "a part", "every third", "varying rate", "a part of it"],
)
def test_frames_are_shown_when_the_video_shows_them(
    tmp_path: Path, times: list[int] | None, frames: range | None
) -> None:
    video = open_video(write_video(tmp_path / "clip.mp4", 10, rate=Fraction(30_000, 1001), times=times))
    write_overlay(video, [], tmp_path / "overlay.mp4", frames=frames)
    expected = video.timestamps[list(frames or range(10))]
    assert open_video(tmp_path / "overlay.mp4").timestamps == pytest.approx(expected - expected[0], abs=1e-3)


@pytest.mark.parametrize("side", [60, 480])  # of the large one, the strip holds words besides
def test_strips_are_as_long_as_scores_are_high(tmp_path: Path, side: int) -> None:
    video = clip(3, side, side)
    regions = [Region({0: (5, 5, 20, 20), 1: None}), Region({0: (25, 5, 40, 20)})]
    scores = [{0: 0.75, 1: 0.0}, {0: 0.25}]
    write_overlay(video, regions, tmp_path / "overlay.mp4", scores=scores, names=["a dog", ""])
    both, *others = open_video(tmp_path / "overlay.mp4").read(range(3))
    high = max(3, side // 40)
    assert both.shape == (side + 2 * high, side, 3)
    first, second = both[side : side + high], both[side + high :]
    assert is_like(first, RED).mean() == pytest.approx(0.75, abs=0.1)
    assert is_like(second, GREEN).mean() == pytest.approx(0.25, abs=0.1)
    for frame in others:
        assert not is_like(frame, RED).any()
        assert not is_like(frame, GREEN).any()


@pytest.mark.spread(3)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (63, 47), (240, 320)])
@pytest.mark.parametrize("count", [1, 40, 300])
def test_strips_cover_nothing_of_the_frames(tmp_path: Path, height: int, width: int, count: int) -> None:
    video, regions = clip(1, height, width), [Region({0: (5, 5, 9, 9)})] * count
    write_overlay(video, regions, tmp_path / "overlay.mp4", scores=[{0: 1.0}] * count)
    (frame,) = open_video(tmp_path / "overlay.mp4").read([0])
    assert np.abs(frame[20 : height - 1].astype(int) - GREY).max() < 60  # colors run by a pixel
    assert np.median(np.abs(frame[20:height].astype(int) - GREY)) < 3
    below = frame[height + height % 2 :, : width - 1]
    assert height + len(below) <= 2 * height + 1
    assert bool(len(below)) == (count <= height)
    assert bool(is_like(below, RED).any()) == (count <= height)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    frames = [np.full((540, 960, 3), 2 * number, np.uint8) for number in range(100)]  # 155 MB
    video = open_video(write_video(tmp_path / "long.mp4", frames, options={"preset": "ultrafast"}))
    del frames
    tracemalloc.start()
    write_overlay(video, [Region({3: (10, 10, 90, 90)})], tmp_path / "overlay.mp4")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


# --- sheets ----------------------------------------------------------------------------------------------------------


def telling_clip(count: int) -> Any:
    """A video whose frames are of one grey each, by which they are found in a sheet: 10 of the first, then 12, ..."""
    return open_video(np.stack([np.full((30, 40, 3), 10 + 2 * number, np.uint8) for number in range(count)]))


def frames_in(sheet: Any) -> list[int]:
    values, counts = np.unique(np.asarray(sheet)[..., 0], return_counts=True)
    return [
        (int(value) - 10) // 2 for value, number in zip(values, counts, strict=True) if value < 255 and number > 20_000
    ]


BOX = (4, 4, 12, 12)


@pytest.mark.parametrize(
    ("regions", "most", "expected"),
    [
        ([{20: BOX, 21: BOX, 22: BOX}], 12, [20, 21, 22]),
        ([dict.fromkeys(range(100), BOX)], 4, [12, 37, 62, 87]),
        ([{5: BOX}, {70: BOX}], 2, [5, 70]),
        ([{5: BOX, 6: None, 7: None}], 2, [5, 6]),
        ([dict.fromkeys(range(50)) | {50: BOX}], 1, [50]),
        ([], 2, [25, 75]),
    ],
    ids=["all", "spread", "of all objects", "others to fill up", "those seen first", "without objects"],
)
def test_sheet_shows_frames_that_tell_something(regions: list[dict[int, Any]], most: int, expected: list[int]) -> None:
    sheet = contact_sheet(telling_clip(100), [Region(frames) for frames in regions], most=most)
    assert frames_in(sheet) == pytest.approx(expected, abs=1)


@pytest.mark.spread(3)
@pytest.mark.parametrize(("height", "width"), [(9, 7), (63, 47), (480, 640), (1500, 2601), (2000, 60)])
@pytest.mark.parametrize("count", [1, 12])
def test_sheet_is_of_bearable_size_and_objects_stay_where_they_are(height: int, width: int, count: int) -> None:
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 2, width // 4 : width // 2] = True
    video = open_video(np.broadcast_to(np.uint8(GREY), (count, height, width, 3)).copy())
    sheet = np.asarray(contact_sheet(video, [Region(dict.fromkeys(range(count), mask))], most=12))
    assert max(sheet.shape) < 7000
    assert sheet.shape[1] < 1700
    if count > 1:
        return
    tile = np.abs(sheet[14:].astype(int) - GREY).max(-1) < 3
    rows, columns = np.flatnonzero(tile.any(1)), np.flatnonzero(tile.any(0))
    marked = is_like(sheet, RED)
    drawn_rows, drawn_columns = np.flatnonzero(marked.any(1)), np.flatnonzero(marked.any(0))
    top, high = 14 + rows[0], rows[-1] - rows[0] + 1
    left, wide = columns[0], columns[-1] - columns[0] + 1
    assert (drawn_rows[0] - top) / high == pytest.approx((height // 4) / height, abs=0.03)
    assert (drawn_rows[-1] + 1 - top) / high == pytest.approx((height // 2) / height, abs=0.03)
    assert (drawn_columns[0] - left) / wide == pytest.approx((width // 4) / width, abs=0.05)
    assert (drawn_columns[-1] + 1 - left) / wide == pytest.approx((width // 2) / width, abs=0.05)


def test_an_object_of_a_pixel_is_not_lost_on_a_large_frame() -> None:
    mask = np.zeros((2000, 3000), bool)
    mask[1000, 1500] = True
    video = open_video(np.full((1, 2000, 3000, 3), GREY, np.uint8))
    assert is_like(np.asarray(contact_sheet(video, [Region({0: mask})])), RED).any()


def test_words_stand_with_the_frames() -> None:
    video, region = telling_clip(3), Region({0: BOX, 1: BOX, 2: None})
    plain = contact_sheet(video, [region])
    scored = contact_sheet(video, [region], scores=[{0: 0.5, 1: 0.25, 2: 0.0}])
    titled = contact_sheet(video, [region], title="clip.mp4", names=["the box"])
    asked = contact_sheet(video, [region], lines=[Line("What is <region>?", "A box. " * 50, (0,))])
    long = contact_sheet(video, [region], lines=[Line("<region>" + "字" * 20_000, "No.", (0,))])
    assert scored.size == plain.size
    assert scored.tobytes() != plain.tobytes()
    assert titled.height > plain.height
    assert asked.width > plain.width
    assert long.height < 5000


def no_font(font: Any, *more: Any, given: Any = ImageFont.truetype, **others: Any) -> Any:
    """A system without fonts; the one that Pillow brings is no file."""
    if isinstance(font, str):
        raise OSError("cannot open resource")
    return given(font, *more, **others)


def _forget_fonts() -> None:
    fonts._system_fonts.cache_clear()
    fonts._fitting.cache_clear()


@pytest.mark.parametrize("has_fonts", [True, False], ids=["fonts of the system", "no font"])
@pytest.mark.parametrize(("one", "other"), [("漢字", "日本"), ("кот", "пёс"), ("é", "è"), ("😀", "😁")])
def test_words_of_any_language_can_be_told_apart(
    monkeypatch: pytest.MonkeyPatch, one: str, other: str, has_fonts: bool
) -> None:
    _forget_fonts()
    if not has_fonts:
        monkeypatch.setattr(ImageFont, "truetype", no_font)
    ink = (0, 0, 0)
    pictures = [write([[(f"the {word}", ink)]], 400) for word in (one, other)]
    _forget_fonts()
    assert pictures[0].tobytes() != pictures[1].tobytes()
    if not has_fonts:
        escaped = one.encode("ascii", "backslashreplace").decode().replace("\\x", "\\u00")
        assert pictures[0].tobytes() == write([[(f"the {escaped}", ink)]], 400).tobytes()


@pytest.mark.parametrize("name", ["漢字", "two\nlines", "\u200b\x07", "字" * 5000])
def test_names_of_any_kind_stand_in_strips(tmp_path: Path, name: str) -> None:
    write_overlay(clip(1, 480, 480), [moving(1, 480, 480)], tmp_path / "a.mp4", scores=[{0: 0.5}], names=[name])
    assert open_video(tmp_path / "a.mp4").height == 492


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["overlay.mp4", "OVERLAY.MP4", "overlay.png", "overlay.jpg", "overlay.webp"])
@pytest.mark.parametrize("kind", ["regions", "masklets"])
def test_the_ending_says_what_is_written(tmp_path: Path, name: str, kind: str) -> None:
    video, region = clip(4, 48, 64), moving(4, 48, 64)
    masklet = Masklet(region, dict.fromkeys(range(4), 0.5), {}, "classical", (48, 64), phrase="a square")
    save_overlay(video, [region] if kind == "regions" else [masklet], tmp_path / name, frames=range(3), title="clip")
    if name.lower().endswith(".mp4"):
        assert open_video(tmp_path / name).num_frames == 3
    else:
        with Image.open(tmp_path / name) as picture:
            picture.load()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("overlay.avi", {}, ConfigurationError, "use .mp4"),
        ("overlay", {}, ConfigurationError, "use .mp4"),
        ("nowhere/overlay.mp4", {}, ConfigurationError, "no folder"),
        ("nowhere/overlay.png", {}, ConfigurationError, "no folder"),
        ("overlay.mp4", {"frames": range(0)}, ConfigurationError, "one frame or more"),
        ("overlay.mp4", {"frames": range(3, 0, -1)}, ConfigurationError, "goes forward"),
        ("overlay.mp4", {"frames": [1, 2]}, ConfigurationError, "expected a range"),
        ("overlay.mp4", {"frames": range(2, 9)}, VideoError, "has 4 frames"),
        ("overlay.mp4", {"scores": [{}, {}]}, ConfigurationError, "2 scores for 1 object"),
        ("overlay.mp4", {"names": ["a", "b"]}, ConfigurationError, "2 names for 1 object"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    write = write_overlay if "scores" in options or "names" in options else save_overlay
    with pytest.raises(error, match=message):
        write(clip(4, 48, 64), [moving(4, 48, 64)], tmp_path / name, **options)
    if not options:
        with pytest.raises(error, match=message):
            check_overlay(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("most", [0, -1, 401, 2.5, "4", None])
def test_a_sheet_has_a_bearable_number_of_frames(most: Any) -> None:
    with pytest.raises(ConfigurationError, match="from 1 to 400"):
        contact_sheet(clip(2, 48, 64), [], most=most)


def test_one_object_is_a_list_of_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="give a list"):
        save_overlay(clip(4, 48, 64), moving(4, 48, 64), tmp_path / "overlay.mp4")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_video_may_be_given_by_its_path_and_scores_may_be_nothing_known(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 3)
    scores = [{0: float("nan"), 1: 7.0, 2: -1.0}]
    write_overlay(path, [Region({0: (5, 5, 20, 20)})], tmp_path / "overlay.mp4", scores=scores)
    assert open_video(tmp_path / "overlay.mp4").num_frames == 3


@pytest.mark.parametrize("name", ["overlay.mp4", "overlay.png"])
def test_nothing_is_left_of_an_overlay_that_fails(tmp_path: Path, name: str) -> None:
    region = Region({0: (5, 5, 20, 20), 3: np.ones((10, 10), bool)})
    with pytest.raises(RegionError, match="frame 3"):
        save_overlay(clip(4, 48, 64), [region], tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["overlay.mp4", "overlay.png"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        save_overlay(clip(2, 48, 64), [moving(2, 48, 64)], tmp_path / name)
