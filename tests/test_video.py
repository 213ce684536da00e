"""Opening, sampling and decoding of videos and images."""

import base64
import contextlib
import io
import json
import math
import os
import pickle
import random
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import media
from videorefer_plugin.errors import VideoError
from videorefer_plugin.video import FOLDER_FPS, Video, load_image, open_video, sample_frame_indices
from videorefer_plugin.video.structure import find_breaks

GOLDENS = json.loads((Path(__file__).parent / "data/goldens/frame_sampling/frame_sampling.json").read_text())
SOURCE = Path(__file__).parents[1] / "src"


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Real files of many kinds, each with frames 0, 1, 2, ..."""
    folder = tmp_path_factory.mktemp("clips")
    no_cuts = {"sc_threshold": "0"}
    long = {"bf": "3", "g": "250", **no_cuts}
    short = {"bf": "3", "g": "12", **no_cuts}
    fast = {"deadline": "realtime", "cpu-used": "8"}
    write = media.write_video
    made = SimpleNamespace(
        folder=folder,
        h264=write(folder / "h264.mp4", 200, options=long),
        short_gop=write(folder / "short.mp4", 200, options=short),
        tiny_gop=write(folder / "tiny.mp4", 120, options={"bf": "2", "g": "3", **no_cuts}),
        open_gop=write(folder / "open.mkv", 200, options={**short, "g": "40", "x264-params": "open-gop=1"}),
        mkv=write(folder / "clip.mkv", 60, options=short),
        avi=write(folder / "clip.avi", 60, "mpeg4", options={"bf": "2", "g": "12"}),
        vp9=write(folder / "clip.webm", 60, "libvpx-vp9", options=fast),
        vp8=write(folder / "vp8.webm", 60, "libvpx", options=fast),
        mov=write(folder / "clip.mov", 30, "mpeg4"),
        transport=write(folder / "clip.ts", 40, options=short),
        raw=write(folder / "clip.h264", 40, options=short),
        ntsc=write(folder / "ntsc.mkv", 90, rate=Fraction(30000, 1001)),
        gif=write(folder / "clip.gif", 20, "gif", rate=10, pixels="rgb8"),
        odd=write(folder / "odd.mp4", 10, size=(101, 51), pixels="yuv444p"),
        single=write(folder / "single.mp4", 1),
        sound=write(folder / "sound.mp4", 30, audio=True),
    )
    made.vfr_times = [0, 100, 150, 800, 850, 2000, 2040, 2080, 9000, 9040]
    made.vfr = write(folder / "vfr.mp4", 10, times=made.vfr_times, options={"bf": "2"})
    offset = [5000 + 40 * number for number in range(30)]
    made.offset_mkv = write(folder / "offset.mkv", 30, times=offset)
    made.offset_mp4 = write(folder / "offset.mp4", 30, times=offset)
    # A busy picture, so that damage hits coded pixels; the index comes first, so that the start of the file opens.
    generator = np.random.default_rng(0)
    busy = [generator.integers(0, 255, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(60)]
    uneven = [40 * number + 120 * (number // 5) for number in range(60)]
    made.vfr_webm = write(folder / "vfr.webm", 60, "libvpx-vp9", times=uneven, options={**fast, "g": "15"})
    made.lost_vp9 = write(folder / "lost9.webm", 60, "libvpx-vp9", options={**fast, "g": "15"})
    made.lost_vp8 = write(folder / "lost8.webm", 60, "libvpx", options={**fast, "g": "15"})
    made.flv = write(folder / "clip.flv", 60, options=short)
    made.flv_hevc = write(folder / "hevc.flv", 20, "libx265", options={"x265-params": "log-level=none"})
    made.busy_mp4 = write(
        folder / "busy.mp4", busy, options={**short, "g": "15"}, container_options={"movflags": "faststart"}
    )
    made.busy_mkv = write(folder / "busy.mkv", busy, options={**short, "g": "15"})
    made.busy_avi = write(folder / "busy.avi", busy, "mpeg4", options={"bf": "2", "g": "15"})
    return made


ALL_CLIPS = [
    "h264",
    "short_gop",
    "tiny_gop",
    "open_gop",
    "mkv",
    "avi",
    "vp9",
    "vp8",
    "mov",
    "transport",
    "raw",
    "ntsc",
    "gif",
    "odd",
    "single",
    "sound",
    "vfr",
    "flv_hevc",
]


# --- sampling --------------------------------------------------------------------------------------------------------


def golden_id(case):
    return "-".join(str(case.get(key)) for key in ("video_frames", "fps", "start_s", "end_s", "num_frames"))


def sample_golden(case, **more):
    return sample_frame_indices(
        case["video_frames"],
        num_frames=case["num_frames"],
        fps=case["fps"],
        start=case["start_s"],
        end=case["end_s"],
        **more,
    )


@pytest.mark.parametrize("case", [c for c in GOLDENS["file_videos"] if "error" not in c], ids=golden_id)
def test_sampling_matches_the_original(case):
    assert sample_golden(case) == case["frame_indices"]
    assert len(sample_golden(case, max_frames=32)) == case["frames_used"]
    assert sample_golden(case, max_frames=32) == case["frame_indices"][:32]


@pytest.mark.parametrize("case", [c for c in GOLDENS["file_videos"] if "error" in c], ids=golden_id)
def test_sampling_where_the_original_crashes(case):
    """The documented difference: an impossible range is an error, a too short one gives the nearest frame."""
    beyond = case["start_s"] is not None and case["start_s"] * case["fps"] > case["video_frames"]
    before = case["start_s"] is None and case["end_s"] is not None and case["end_s"] <= 0
    if beyond or before:
        with pytest.raises(VideoError, match="ends at"):
            sample_golden(case)
    elif case["end_s"] is not None:
        assert (case["start_s"], case["end_s"]) == (0.02, 0.03)
        assert sample_golden(case) == [0] * (case["num_frames"] or 1)
    else:
        assert case["fps"] < 1
        assert sample_golden(case) == list(range(case["video_frames"]))


@pytest.mark.parametrize("case", GOLDENS["other_sources"], ids=lambda case: f"{case['kind']}-{golden_id(case)}")
def test_sampling_of_folders_and_lists(case, tmp_path):
    count = case["video_frames"]
    if case["kind"] == "folder":
        video = open_video(media.write_folder(tmp_path, [f"{number:03d}.jpg" for number in range(count)], (8, 6)))
        assert video.fps == FOLDER_FPS == case["fps_assumed"]
        assert video.sample(case["num_frames"], max_frames=32) == case["frame_indices"]
    else:
        # The documented difference: lists are sampled like files instead of being cut or filled with black frames.
        video = open_video([np.zeros((3, 5, 3), dtype=np.uint8)] * count)
        expected = sample_frame_indices(count, num_frames=case["num_frames"], fps=1.0)
        assert video.sample(case["num_frames"]) == expected
        assert len(expected) == (case["num_frames"] or count)


seconds = st.one_of(st.none(), st.floats(0, 30, allow_nan=False))


@settings(max_examples=300, deadline=None)
@given(
    total=st.integers(1, 2000),
    num_frames=st.one_of(st.none(), st.integers(1, 64)),
    fps=st.floats(0.1, 240),
    start=seconds,
    end=seconds,
    max_frames=st.one_of(st.none(), st.integers(1, 40)),
)
def test_sampled_indices_are_sorted_in_range_and_as_many_as_asked(total, num_frames, fps, start, end, max_frames):
    try:
        indices = sample_frame_indices(
            total, num_frames=num_frames, fps=fps, start=start, end=end, max_frames=max_frames
        )
    except VideoError:
        if start is None:
            assert end == 0
        else:
            assert (start if end is None else min(start, end)) * fps >= total
        return
    assert indices == sorted(indices)
    assert all(type(index) is int and 0 <= index < total for index in indices)
    if num_frames is not None:
        assert len(indices) == min(num_frames, max_frames or num_frames)
    else:
        assert 1 <= len(indices) <= (max_frames or total)
        steps = set(np.diff(indices).tolist())
        assert len(steps) <= 1
        assert steps <= {max(1, math.floor(fps))}


@given(total=st.integers(1, 500), num_frames=st.integers(1, 64))
def test_uniform_sampling_is_symmetric_and_covers_the_video(total, num_frames):
    indices = sample_frame_indices(total, num_frames=num_frames)
    gaps = np.diff(indices)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
    assert indices[0] <= (total - 1) / num_frames
    assert total - 1 - indices[-1] <= (total - 1) / num_frames


@pytest.mark.parametrize(
    "arguments",
    [
        {"total_frames": 0, "num_frames": 4},
        {"total_frames": -3, "num_frames": 4},
        {"total_frames": 2.0, "num_frames": 4},
        {"total_frames": True, "num_frames": 4},
        {"total_frames": 10},
        {"total_frames": 10, "num_frames": 0},
        {"total_frames": 10, "num_frames": 1.5},
        {"total_frames": 10, "num_frames": True},
        {"total_frames": 10, "num_frames": math.nan},
        {"total_frames": 10, "fps": 0},
        {"total_frames": 10, "fps": -1},
        {"total_frames": 10, "fps": math.nan},
        {"total_frames": 10, "fps": math.inf},
        {"total_frames": 10, "fps": True},
        {"total_frames": 10, "fps": "25"},
        {"total_frames": 10, "num_frames": 4, "start": 1},
        {"total_frames": 10, "num_frames": 4, "fps": 5, "start": math.nan},
        {"total_frames": 10, "num_frames": 4, "fps": 5, "end": math.inf},
        {"total_frames": 10, "num_frames": 4, "fps": 5, "end": "1"},
        {"total_frames": 10, "num_frames": 4, "fps": 5, "start": 99},
        {"total_frames": 10, "num_frames": 4, "fps": 5, "end": 0},
        {"total_frames": 10, "num_frames": 4, "max_frames": 0},
        {"total_frames": 10, "num_frames": 4097},
        {"total_frames": 10, "num_frames": 10**12},
        pytest.param({"total_frames": 10, "num_frames": 10**5000}, id="thousands of digits"),
        pytest.param({"total_frames": 10, "num_frames": -(10**5000)}, id="minus thousands of digits"),
        {"total_frames": 10, "num_frames": 10**12, "max_frames": 8},
        {"total_frames": 10**12, "fps": 1},
        {"total_frames": 10**12, "num_frames": 8},
        {"total_frames": 10, "fps": 1e-300},
        {"total_frames": 10, "fps": 1e300},
        {"total_frames": 10, "num_frames": 4, "fps": 1e6, "start": 1e308},
    ],
    ids=str,
)
def test_unusable_sampling_arguments(arguments):
    total = arguments.pop("total_frames")
    with pytest.raises(VideoError):
        sample_frame_indices(total, **arguments)


def test_as_many_frames_as_the_video_has_can_be_sampled():
    assert sample_frame_indices(5000, num_frames=5000) == list(range(5000))
    assert len(sample_frame_indices(10, num_frames=4096)) == 4096
    assert sample_frame_indices(4_000_000, fps=25, max_frames=2) == [12, 37]
    assert sample_frame_indices(10, num_frames=1, fps=5, end=1e308) == sample_frame_indices(10, num_frames=1)


# --- files: exact frames ---------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ALL_CLIPS)
def test_every_frame_is_the_one_asked_for(clips, name):
    path = getattr(clips, name)
    video = open_video(path)
    plain = media.decode_plainly(path)
    assert video.num_frames == len(plain)
    assert media.read_numbers(plain) == list(range(len(plain)))
    frames = video.read(range(video.num_frames))
    assert frames.dtype == np.uint8
    assert frames.shape == (video.num_frames, video.height, video.width, 3)
    np.testing.assert_array_equal(frames, plain)
    asked = [len(plain) - 1, 0, len(plain) // 2, 0, len(plain) - 1]
    np.testing.assert_array_equal(video.read(asked), plain[asked])


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["h264", "short_gop", "tiny_gop", "open_gop"])
def test_single_frames_equal_plain_decoding(clips, name):
    video = open_video(getattr(clips, name))
    plain = media.decode_plainly(getattr(clips, name))
    for index in range(0, video.num_frames, 3 if name == "tiny_gop" else 9):
        np.testing.assert_array_equal(video.read([index])[0], plain[index])


@pytest.mark.spread(1)
@pytest.mark.parametrize("name", ["h264", "short_gop", "open_gop"])
def test_subsets_equal_plain_decoding(clips, name):
    video = open_video(getattr(clips, name))
    plain = media.decode_plainly(getattr(clips, name))

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(0, video.num_frames - 1), max_size=6))
    def check(indices):
        np.testing.assert_array_equal(video.read(indices), plain[indices])

    check()


def test_frames_marked_as_keyframes_at_which_decoding_cannot_start(clips, tmp_path):
    """Bytes of the table of keyframes are changed to name other frames; the frames read stay the right ones."""
    data = bytearray(clips.short_gop.read_bytes())
    table = data.index(b"stss") + 12
    count = int.from_bytes(data[table - 4 : table], "big")
    for entry in range(1, count):
        place = table + 4 * entry
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + 5).to_bytes(4, "big")
    path = tmp_path / "lying.mp4"
    path.write_bytes(data)
    plain = media.decode_plainly(clips.short_gop)
    video = open_video(path)
    for indices in ([100], [60, 61, 150], [199]):
        np.testing.assert_array_equal(video.read(indices), plain[indices])


def test_order_and_repetition(clips):
    video = open_video(clips.gif)
    assert media.read_numbers(video.read([7, 3, 3, 19, 0, 7])) == [7, 3, 3, 19, 0, 7]
    assert video.read([]).shape == (0, video.height, video.width, 3)


@pytest.mark.parametrize(
    "indices",
    [np.array([5, 2]), torch.tensor([5, 2]), (5, 2), iter([5, 2]), [np.int64(5), torch.tensor(2)]],
    ids=["numpy", "torch", "tuple", "iterator", "scalars"],
)
def test_kinds_of_indices(clips, indices):
    assert media.read_numbers(open_video(clips.mkv).read(indices)) == [5, 2]


@pytest.mark.parametrize(
    "indices",
    [
        [60],
        [-1],
        [0, 1000],
        [1.0],
        [math.nan],
        [math.inf],
        [True],
        ["1"],
        [None],
        [[1, 2]],
        3,
        "3",
        None,
        np.array([1.5]),
        np.array([True]),
        torch.tensor([1.0]),
        torch.tensor(1),
        np.array([[1]]),
    ],
    ids=repr,
)
def test_unusable_indices(clips, indices):
    with pytest.raises(VideoError, match=r"[Ff]rame ind|has 60 frames"):
        open_video(clips.mkv).read(indices)


def test_index_out_of_range_says_count_and_duration(clips):
    with pytest.raises(VideoError, match=r"Frame 60 .*clip\.mkv.*60 frames.*2\.400 s"):
        open_video(clips.mkv).read([0, 60])


def test_path_kinds_and_pickling(clips, monkeypatch):
    video = open_video(str(clips.mkv))
    copy = pickle.loads(pickle.dumps(video))
    assert media.read_numbers(copy.read([4])) == [4]
    assert isinstance(video, Video)
    assert open_video(video) is video
    assert open_video(video, fps=25) is video
    with pytest.raises(VideoError, match="already open"):
        open_video(video, fps=3)
    monkeypatch.chdir(clips.folder)
    relative = open_video("clip.mkv")
    monkeypatch.chdir("/")
    assert media.read_numbers(relative.read([9])) == [9]


def test_name_that_looks_like_a_protocol(clips, tmp_path):
    path = tmp_path / "concat:a|b.mkv"
    path.write_bytes(clips.mkv.read_bytes())
    assert media.read_numbers(open_video(path).read([8])) == [8]


# --- bytes, open files and addresses ---------------------------------------------------------------------------------


def base64_url(data, kind="video/mp4"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def lines(text, length=76):
    return "\r\n".join(text[place : place + length] for place in range(0, len(text), length))


# What a video file, or an image file, may be given as instead of its path.
HANDED = {
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes())[::1],
    "reversed memoryview": lambda path: memoryview(path.read_bytes()[::-1])[::-1],
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "one-way stream": lambda path: media.OneWay(path.read_bytes()),
    "file URL": lambda path: path.as_uri(),
    "file URL of a host": lambda path: f"FILE://localhost{quote(str(path))}",
    "file URL with one slash": lambda path: f"file:{path}".replace("%", "%25"),
    "data URL": lambda path: base64_url(path.read_bytes()),
    "data URL without a type": lambda path: base64_url(path.read_bytes(), ""),
    "data URL of a browser": lambda path: base64_url(path.read_bytes(), "video/webm;codecs=vp8,opus"),
    "data URL in lines": lambda path: "DATA:;Base64," + lines(base64.b64encode(path.read_bytes()).decode()),
    "data URL without padding": lambda path: base64_url(path.read_bytes()).rstrip("="),
    "quoted data URL": lambda path: f"data:;base64,{quote(base64.b64encode(path.read_bytes()))}",
    "percent-encoded data URL": lambda path: f"data:video/mp4,{quote(path.read_bytes())}",
}


@pytest.mark.spread(5)
@pytest.mark.parametrize("kind", HANDED)
def test_videos_may_come_as(clips, tmp_path, kind):
    path = tmp_path / "a b%20#c?.mkv"
    path.write_bytes(clips.mkv.read_bytes())
    plain = open_video(path)
    video = open_video(HANDED[kind](path))
    assert (video.num_frames, video.fps, video.duration) == (plain.num_frames, plain.fps, plain.duration)
    assert video.timestamps.tolist() == plain.timestamps.tolist()
    assert media.read_numbers(video.read([59, 3, 3, 40])) == [59, 3, 3, 40]
    assert media.read_numbers(video.read([7])) == [7]
    path.unlink()
    if "file URL" not in kind:
        assert media.read_numbers(pickle.loads(pickle.dumps(video)).read([30, 2])) == [30, 2]


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", ALL_CLIPS)
def test_bytes_have_the_frames_of_the_file(clips, name):
    path = getattr(clips, name)
    plain, video = open_video(path), open_video(path.read_bytes())
    assert (video.num_frames, video.fps, video.timestamps.tolist()) == (
        plain.num_frames,
        plain.fps,
        plain.timestamps.tolist(),
    )
    np.testing.assert_array_equal(video.read(range(video.num_frames)), plain.read(range(plain.num_frames)))


def test_bytes_are_read_in_several_threads(clips):
    video = open_video(clips.short_gop.read_bytes())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: media.read_numbers(video.read([index, 199 - index])), range(0, 200, 9)))
    assert found == [[index, 199 - index] for index in range(0, 200, 9)]


def test_streams_and_rates_of_bytes(tmp_path):
    path = media.write_tracks(tmp_path / "two.mkv", [FILM, OTHER])
    data = path.read_bytes()
    with pytest.raises(VideoError, match=r"the bytes object of .* holds 2 films"):
        open_video(data)
    assert media.read_numbers(open_video(data, stream=1).read([5])) == [105]
    assert open_video(data, stream=0, fps=2).duration == 10


def test_what_is_handed_over_may_change_afterwards(clips):
    data = bytearray(clips.mkv.read_bytes())
    video = open_video(data)
    data[:] = bytes(len(data))
    assert media.read_numbers(video.read([30])) == [30]


def test_open_files_are_read_from_where_they_stand_and_stay_there(clips):
    data = clips.mkv.read_bytes()
    with io.BytesIO(b"something else" + data) as file:
        file.seek(14)
        for _ in range(2):
            assert media.read_numbers(open_video(file).read([30])) == [30]
            assert file.tell() == 14
    with clips.mkv.open("rb") as file:
        video = open_video(file)
        assert file.tell() == 0
    assert media.read_numbers(video.read([30])) == [30]  # closed meanwhile


@pytest.mark.slow
def test_cut_off_and_damaged_bytes(clips):
    whole = clips.busy_mkv.read_bytes()
    cut = open_video(whole[: int(len(whole) * 0.7)])
    plain = open_video(whole).read(range(60))
    assert cut.num_frames == 60
    good = readable_frames(cut, plain)
    assert 10 < len(good) < 60
    with pytest.raises(VideoError, match=r"the bytes object of .* is damaged or cut off.*cannot be decoded"):
        cut.read([59])


def test_bytes_name_no_other_files(clips, monkeypatch):
    """A list of parts is no video: one that somebody sent must not open what lies here."""
    parts = f"ffconcat version 1.0\nfile {clips.mkv.name}\n".encode()
    path = clips.mkv.with_name("parts.ffconcat")
    path.write_bytes(parts)
    monkeypatch.chdir(clips.folder)
    for named in (parts.replace(clips.mkv.name.encode(), str(clips.mkv).encode()), path, parts):
        with pytest.raises(VideoError, match="a list of other files or addresses"):
            open_video(named)


# --- animations ------------------------------------------------------------------------------------------------------

MOVING = [media.numbered_frame(number) for number in range(12)]
DURATIONS = [40 * (1 + number % 3) for number in range(12)]


@pytest.fixture(scope="module")
def webp():
    return media.animation(MOVING, duration=DURATIONS)


@pytest.mark.parametrize("suffix", ["webp", "png"])
@pytest.mark.parametrize("kind", [None, "bytes", "open file", "data URL"])
def test_animated_pictures_are_videos(tmp_path, suffix, kind):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(media.animation(MOVING, suffix, duration=DURATIONS))
    video = open_video(HANDED[kind](path) if kind else path)
    assert (video.num_frames, video.height, video.width) == (12, 48, 80)
    assert (video.duration, video.fps, video.has_clock) == (pytest.approx(0.96), pytest.approx(12.5), True)
    np.testing.assert_allclose(video.timestamps, np.cumsum([0, *DURATIONS[:-1]]) / 1000)
    for index, time in enumerate(video.timestamps):
        assert video.frame_at(time) == video.frame_at(time + 0.03) == index
    np.testing.assert_array_equal(video.read([11, 0, 5, 5, 3]), np.stack([MOVING[n] for n in (11, 0, 5, 5, 3)]))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(video)).read([7])[0], MOVING[7])
    assert open_video(path, fps=4).timestamps.tolist() == [number / 4 for number in range(12)]
    np.testing.assert_array_equal(load_image(path), MOVING[0])


def test_animated_webp_of_frames_that_build_on_each_other():
    """Parts of frames that stay as they are, and some that can be seen through, are put together."""
    pictures = []
    for number in range(6):
        picture = np.zeros((48, 80, 4), dtype=np.uint8)
        picture[:, :, 3] = 255
        picture[8 * number : 8 * number + 8, ::2] = 255
        pictures.append(picture)
    video = open_video(media.animation(pictures, duration=50))
    np.testing.assert_array_equal(video.read(range(6)), np.stack(pictures)[..., :3])


def test_frames_of_no_time_are_shown_as_browsers_show_them():
    video = open_video(media.animation(MOVING[:3], duration=[0, 40, 0]))
    assert video.timestamps.tolist() == [0, 0.1, 0.14]
    assert video.duration == pytest.approx(0.24)


def test_orientation_of_animated_webp():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = [np.ascontiguousarray(np.rot90(picture)) for picture in MOVING]
    video = open_video(media.animation(turned, exif=exif.tobytes()))
    assert (video.height, video.width) == (48, 80)
    np.testing.assert_array_equal(video.read([4])[0], MOVING[4])


def test_a_still_webp_stays_an_image(tmp_path):
    still = media.animation(MOVING[:1])
    (tmp_path / "a.webp").write_bytes(still)
    for source in (still, tmp_path / "a.webp"):
        np.testing.assert_array_equal(load_image(source), MOVING[0])
        with pytest.raises(VideoError, match="single image"):
            open_video(source)
    assert open_video(tmp_path).num_frames == 1


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_cut_off_animations(tmp_path, webp, part):
    with pytest.raises(VideoError, match="is cut off"):
        open_video(webp[: int(len(webp) * part)])
    data = media.animation(MOVING, "png")
    video = open_video(data[: int(len(data) * part)])
    assert readable_frames(video, MOVING[: video.num_frames]) == list(range(video.num_frames - 1))


def test_no_damage_gives_another_frame_of_an_animated_png():
    data = media.animation(MOVING, "png")
    for seed in range(40):
        generator = random.Random(seed)
        damaged, place = bytearray(data), generator.randrange(60, len(data) - 20)
        damaged[place : place + 4] = generator.randbytes(4)
        with contextlib.suppress(VideoError):
            video = open_video(bytes(damaged))
            readable_frames(video, MOVING[: video.num_frames])


def damaged_webp(webp, name):
    """The animation with a part of it changed: (the new one, what the message says)."""
    first = webp.index(b"ANMF")
    giant = (9999).to_bytes(3, "little")
    return {
        "giant": (webp[:24] + giant * 2 + webp[30:], "claims to be 10000x10000 .*at most 67108864 pixels"),
        "no frames": (webp[:first].replace(webp[4:8], (first - 8).to_bytes(4, "little"), 1), "without frames"),
        "too long a part": (webp[: first + 4] + b"\xff\xff\xff\0" + webp[first + 8 :], "reaches beyond its end"),
        "broken frame": (webp[: first + 24] + b"VP8?" + webp[first + 28 :], "damaged"),
        "another canvas": (webp[:24] + (9).to_bytes(3, "little") + webp[27:], "damaged"),
        "only its head": (webp[:21], "cut off"),
    }[name]


@pytest.mark.parametrize(
    "name", ["giant", "no frames", "too long a part", "broken frame", "another canvas", "only its head"]
)
def test_damaged_webp(webp, name):
    data, message = damaged_webp(webp, name)
    with pytest.raises(VideoError, match=message):
        open_video(data).read(range(12))


def test_an_animated_webp_has_no_streams(webp):
    with pytest.raises(VideoError, match=r"stream=0 was given .*animated WebP has no streams"):
        open_video(webp, stream=0)


# --- files: size and time --------------------------------------------------------------------------------------------


# The eight ways to turn and mirror a picture.
MATRICES = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_display_matrix_is_applied(tmp_path, matrix):
    a, b, c, d = matrix
    upright = [media.numbered_frame(number) for number in range(5)]
    width, height = media.SIZE
    rows, columns = np.mgrid[: (height if a else width), : (width if a else height)]
    shown_x, shown_y = a * columns + c * rows, b * columns + d * rows
    stored = [picture[shown_y - shown_y.min(), shown_x - shown_x.min()] for picture in upright]
    path = media.write_video(tmp_path / "stored.mp4", stored)
    video = open_video(media.set_display_matrix(path, tmp_path / "shown.mp4", matrix))
    assert (video.width, video.height) == media.SIZE
    frames = video.read([4, 1])
    assert media.read_numbers(frames) == [4, 1]
    assert np.abs(frames[0].astype(int) - upright[4])[24:].mean() < 12


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_of_matroska_is_applied(tmp_path, rotation):
    upright = [media.numbered_frame(number) for number in range(5)]
    stored = [np.rot90(picture, -rotation // 90) for picture in upright]
    try:
        path = media.write_video(tmp_path / "turned.mkv", stored, rotation=rotation)
    except AttributeError:
        pytest.skip("this PyAV cannot write rotation metadata")
    video = open_video(path)
    assert (video.width, video.height) == media.SIZE
    assert media.read_numbers(video.read([4, 1])) == [4, 1]


def test_odd_size(clips):
    video = open_video(clips.odd)
    assert (video.width, video.height) == (101, 51)


def test_constant_rate_times(clips):
    for name in ("h264", "mkv", "avi", "vp9", "offset_mkv", "offset_mp4", "transport", "raw"):
        video = open_video(getattr(clips, name))
        assert video.fps == 25
        np.testing.assert_array_equal(video.timestamps, np.arange(video.num_frames) / 25)
        assert video.duration == pytest.approx(video.num_frames / 25)
        assert video.timestamps.dtype == np.float64


@pytest.mark.parametrize("name", ["offset_mkv", "offset_mp4"])
def test_start_time_offset(clips, name):
    video = open_video(getattr(clips, name))
    assert video.frame_at(0) == 0
    assert media.read_numbers(video.read([video.frame_at(0.5), 29])) == [12, 29]


def test_variable_frame_rate(clips):
    video = open_video(clips.vfr)
    np.testing.assert_allclose(video.timestamps, np.array(clips.vfr_times) / 1000)
    for index, time in enumerate(video.timestamps):
        assert video.frame_at(time) == index
    assert video.frame_at(0.099) == 0
    assert video.frame_at(0.79) == 2
    assert video.frame_at(5) == 7
    assert media.read_numbers(video.read([7, 8])) == [7, 8]
    # The frames on screen in the range, not those that an even rate would put there.
    assert video.sample(2, start=0.8, end=2.0) == [4, 5]
    assert video.sample(100, start=0.8, end=2.0)[0] == 3
    assert video.sample(100, start=0.8, end=2.0)[-1] == 5
    assert video.sample(None) == [2, 4, 7, 7, 7, 7, 7, 7, 7]
    assert video.sample(None, start=0.8, end=0.82) == [3]
    assert video.sample(None, max_frames=2) == [2, 4]
    assert video.sample(10) == list(range(10))
    with pytest.raises(VideoError, match="ends at"):
        video.sample(4, start=50)


def test_gif_times_come_from_the_file(clips, tmp_path):
    assert open_video(clips.gif).fps == 10
    frames = [Image.fromarray(media.numbered_frame(number)) for number in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 500, 200, 50])
    video = open_video(tmp_path / "a.gif")
    np.testing.assert_allclose(video.timestamps, [0, 0.1, 0.6, 0.8])
    assert video.frame_at(0.3) == 1
    assert media.read_numbers(video.read([3, 1, 1])) == [3, 1, 1]
    assert open_video(tmp_path / "a.gif", fps=25).timestamps.tolist() == [0, 0.04, 0.08, 0.12]


def test_rounded_times_belong_to_the_frame_they_mean(clips):
    """Matroska rounds times to milliseconds; frame n of 29.97 a second may be stored slightly too late."""
    video = open_video(clips.ntsc)
    for index in range(video.num_frames):
        assert video.frame_at(index * 1001 / 30000) == index
    assert video.fps == pytest.approx(30000 / 1001)


def test_frame_at_limits(clips):
    video = open_video(clips.h264)
    assert video.frame_at(0) == 0
    assert video.frame_at(0.0399) == 0
    assert video.frame_at(7.96) == 199
    assert video.frame_at(8.0) == 199
    for bad in (8.01, -0.01, math.nan, math.inf, None, "1", True):
        with pytest.raises(VideoError, match=r"time|must be a finite number"):
            video.frame_at(bad)


def test_sample_uses_the_rate_of_the_file(clips):
    video = open_video(clips.h264)
    assert video.sample(8) == sample_frame_indices(200, num_frames=8)
    assert video.sample() == sample_frame_indices(200, fps=25)
    assert video.sample(4, 2, 4) == sample_frame_indices(200, num_frames=4, fps=25, start=2, end=4)
    assert open_video(clips.h264, fps=50).sample() == sample_frame_indices(200, fps=50)
    assert open_video(clips.h264, fps=50).frame_at(1) == 50


@pytest.mark.parametrize(("first", "count"), [(0, 20), (10, 30), (15, 45), (17, 1)])
def test_edit_lists(clips, tmp_path, first, count):
    """Frames outside the edit list are neither counted nor given."""
    path = media.set_edit_list(clips.short_gop, tmp_path / "edited.mp4", first, count, 25)
    video = open_video(path)
    frames = video.read(range(video.num_frames))
    assert media.read_numbers(frames) == media.read_numbers(media.decode_plainly(path))
    assert media.read_number(frames[0]) == first
    assert abs(video.num_frames - count) <= 2  # the players' rounding at the end of a segment
    assert media.read_numbers(video.read([video.num_frames - 1])) == [first + video.num_frames - 1]


# --- files: tracks ---------------------------------------------------------------------------------------------------

STILL, FILM, OTHER = ("mjpeg", 1, 500), ("libx264", 20, 0), ("libx264", 30, 100)
PLAIN, DEFAULT, ATTACHED = 0, 1, 0x400


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("suffix", "tracks", "flags", "first", "count"),
    [
        ("mp4", [STILL, FILM], None, 0, 20),
        ("mp4", [FILM, STILL], None, 0, 20),
        ("mp4", [STILL, FILM], [DEFAULT, PLAIN], 0, 20),
        ("mkv", [STILL, FILM], None, 0, 20),
        ("mkv", [STILL, FILM], [DEFAULT, PLAIN], 0, 20),
        ("mkv", [STILL, FILM], [PLAIN, DEFAULT], 0, 20),
        ("mkv", [FILM, OTHER], [PLAIN, DEFAULT], 100, 30),
        ("mkv", [FILM, OTHER], [DEFAULT, PLAIN], 0, 20),
        ("mkv", [STILL, FILM, OTHER], [DEFAULT, PLAIN, DEFAULT], 100, 30),
        ("mkv", [STILL, ("mjpeg", 1, 7)], [PLAIN, DEFAULT], 7, 1),
        ("mp4", [STILL, STILL], None, 500, 1),
    ],
    ids=str,
)
def test_the_film_is_found_among_the_tracks(tmp_path, suffix, tracks, flags, first, count):
    video = open_video(media.write_tracks(tmp_path / f"tracks.{suffix}", tracks, flags))
    assert media.read_numbers(video.read(range(video.num_frames))) == list(range(first, first + count))


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("suffix", "flags"),
    [
        ("mkv", [PLAIN, PLAIN, PLAIN]),
        ("mkv", [PLAIN, DEFAULT, DEFAULT]),
        ("mkv", [DEFAULT, PLAIN, PLAIN]),
        ("mp4", None),
        ("ts", None),
    ],
    ids=str,
)
def test_several_films_are_named_and_one_can_be_chosen(tmp_path, suffix, flags):
    still = [] if suffix == "ts" else [STILL]
    path = media.write_tracks(tmp_path / f"films.{suffix}", [*still, FILM, OTHER], flags)
    one, other = len(still), len(still) + 1
    with pytest.raises(VideoError, match=rf"2 films.*stream=.*stream {one}: h264 80x48.*; stream {other}: h264 80x48"):
        open_video(path)
    video = pickle.loads(pickle.dumps(open_video(path, stream=other)))
    assert media.read_numbers(video.read([29, 0])) == [129, 100]
    assert open_video(path, stream=one).num_frames == 20
    assert open_video(video, stream=other) is video
    with pytest.raises(VideoError, match="already open"):
        open_video(video, stream=one)
    if still:
        assert media.read_numbers(open_video(path, stream=0).read([0])) == [500]
    with pytest.raises(VideoError, match=f"Stream 9 .*is not a video; its video streams are .*stream {other}"):
        open_video(path, stream=9)


@pytest.mark.parametrize("stream", [-1, 1.0, True, "1", 10**5000], ids=lambda stream: str(type(stream)))
def test_unusable_streams(clips, stream):
    with pytest.raises(VideoError, match=r"stream must be|is not a video"):
        open_video(clips.sound, stream=stream)


def test_streams_of_what_is_no_file(clips, tmp_path):
    for source in (PICTURES, [PICTURES[0]], media.write_folder(tmp_path / "folder", ["0.png"])):
        with pytest.raises(VideoError, match="only video files have streams"):
            open_video(source, stream=0)
    assert open_video(clips.sound, stream=0).num_frames == 30
    with pytest.raises(VideoError, match=r"Stream 1 .*is not a video; its video streams are stream 0: h264 80x48"):
        open_video(clips.sound, stream=1)  # sound


# --- files: damage ---------------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["busy_mp4", "busy_mkv", "busy_avi"])
@pytest.mark.parametrize("keep", [0.35, 0.7])
def test_cut_off_files(clips, tmp_path, name, keep):
    """The frames that are left are the right ones, the others are an error, and sampling covers the whole video."""
    whole = getattr(clips, name)
    plain = media.decode_plainly(whole)
    video = open_video(media.cut(whole, tmp_path / f"cut{whole.suffix}", keep))
    assert video.num_frames == len(plain)
    given = readable_frames(video, plain)
    assert given == list(range(len(given)))
    left = media.count_packets(video.name.strip("'"))
    assert 1 < left < len(plain)
    assert left - 8 <= len(given) <= left
    with pytest.raises(
        VideoError, match=rf"cannot be decoded \(.*59\).*60 frames, these can: 0 to {len(given) - 1}\."
    ):
        video.read([*video.sample(16), 59])


@pytest.mark.spread(1)
@pytest.mark.parametrize("name", ["busy_mp4", "busy_mkv"])
@pytest.mark.parametrize("packet", [0, 31, 59])
def test_damage_in_the_middle(clips, tmp_path, name, packet):
    """Each frame is either right or an error; groups of pictures without damage stay readable."""
    whole = getattr(clips, name)
    plain = media.decode_plainly(whole)
    video = open_video(media.spoil_packet(whole, tmp_path / f"holed{whole.suffix}", packet))
    assert video.num_frames == len(plain)
    given = readable_frames(video, plain)
    group = packet // 15
    others = [index for index in range(60) if index // 15 != group]
    assert set(others) <= set(given)
    assert len(given) < 60
    np.testing.assert_array_equal(video.read(given), plain[given])
    with pytest.raises(VideoError, match="cannot be decoded"):
        video.read(range(60))


# Files that lose packets, and whether frames behind these can still be told apart.
LOSING = {"mkv": True, "lost_vp9": True, "lost_vp8": True, "vfr_webm": False, "avi": False, "transport": False}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", LOSING)
@pytest.mark.parametrize("packet", [12, 20])
def test_frames_behind_lost_ones_keep_their_numbers(clips, tmp_path, name, packet):
    """Zeros over a packet and what stands before it, so that the next ones are lost, too."""
    whole = getattr(clips, name)
    plain = media.decode_plainly(whole)
    start = media.packet_places(whole)[packet] - 20
    path = media.zero_bytes(whole, tmp_path / f"holed{whole.suffix}", start, 400)
    assert media.count_packets(path) < len(plain)
    video = open_video(path)
    right, refused = right_or_refused(video, plain)
    assert min(refused) > packet - 15
    assert video.num_frames == len(plain) or name == "vfr_webm"
    assert (right[-1] > refused[0]) == LOSING[name]
    assert right_or_refused(open_video(path), plain) == (right, refused)
    with pytest.raises(
        VideoError, match=rf"holed.*cannot be decoded \({refused[0]}\).*{video.num_frames} frames.*can: 0 to"
    ):
        video.read([0, refused[0]])


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", ["mkv", "lost_vp9", "vp8", "vfr_webm", "avi", "transport", "flv", "gif", "mov"])
@pytest.mark.parametrize("seed", range(6))
def test_no_damage_gives_another_frame(clips, tmp_path, name, seed):
    """Zeros or noise behind the header: each frame is the right one, is broken in its place, or is refused."""
    whole = getattr(clips, name)
    chance = random.Random(seed)
    start = int(chance.uniform(0.2, 0.9) * whole.stat().st_size)
    length = chance.choice([8, 60, 500])
    path = media.zero_bytes(whole, tmp_path / f"holed{whole.suffix}", start, length, noise=seed % 2 == 1)
    try:
        video = open_video(path)
    except VideoError:
        return
    right_or_refused(video, media.decode_plainly(whole))


def right_or_refused(video, plain):
    """Frames that can be read one by one, of which none may be another one, and frames that cannot."""
    right, refused = [], []
    for index in range(0, len(plain), 3):
        try:
            frame = video.read([index])[0]
        except VideoError:
            refused.append(index)
            continue
        right.append(index)
        distance = np.abs(plain.astype(np.int16) - frame).mean(axis=(1, 2, 3))
        nearest = int(distance.argmin())
        assert nearest == index or distance[nearest] > 2, f"frame {nearest} was given for {index}"
    return right, refused


def test_gaps_of_files_without_damage_stay_gaps(clips):
    """Where the frame rate varies, a gap between two times is no sign of damage."""
    video = open_video(clips.vfr_webm)
    assert video.num_frames == 60
    assert media.read_numbers(video.read(range(60))) == list(range(60))
    assert video.timestamps[-1] == pytest.approx(3.68)


OWN_BOX = struct.pack(">I4s16s", 24, b"CAMD", b"x" * 16)  # as cameras write them


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(data[data.index(b"moov") - 4 :], OWN_BOX + data[data.index(b"moov") - 4 :]),
        lambda data: data.replace(b"free", b"beam", 1),
        lambda data: data + OWN_BOX,
        lambda data: data + b"made with care by a vendor",
        lambda data: data + bytes(4096),
        lambda data: data + b"\xff\x00\x10",
    ],
    ids=[
        "box in the middle",
        "renamed box",
        "box at the end",
        "words at the end",
        "zeros at the end",
        "junk at the end",
    ],
)
def test_what_writers_add_to_a_file_is_no_damage(clips, tmp_path, change):
    path = tmp_path / "more.mp4"
    path.write_bytes(change(clips.vfr.read_bytes()))
    video = open_video(path)
    assert media.read_numbers(video.read(range(video.num_frames))) == list(range(10))


def test_a_recording_that_ends_in_a_torn_block(clips, tmp_path):
    """A live recording does not say how long it is, so it may end anywhere."""
    data = clips.vfr_webm.read_bytes()
    length = data.index(b"\x18\x53\x80\x67") + 4
    assert data[length] == 1  # eight bytes
    path = tmp_path / "live.webm"
    path.write_bytes(data[: length + 1] + b"\xff" * 7 + data[length + 8 :] + b"\xa3\x81\x01")
    right, _ = right_or_refused(open_video(path), media.decode_plainly(clips.vfr_webm))
    assert right[:19] == list(range(0, 57, 3))


@pytest.mark.spread(4)
@pytest.mark.parametrize("name", ["mkv", "vfr", "avi", "flv", "flv_hevc", "transport", "gif", "raw"])
def test_structure_of_arbitrary_bytes(clips, tmp_path, name):
    """Whatever is cut off or overwritten, looking for damage does not fail on it."""
    whole = getattr(clips, name).read_bytes()
    chance = random.Random(name)
    path = tmp_path / "any.bin"
    for _ in range(150):
        data = bytearray(whole[: chance.choice([chance.randrange(300), chance.randrange(1, len(whole)), len(whole)])])
        for _ in range(chance.randrange(6)):
            start = chance.randrange(min(len(data), chance.choice([400, len(data)])) + 1)
            data[start : start + chance.randrange(9)] = chance.randbytes(4)
        path.write_bytes(data)
        breaks = find_breaks(str(path))
        assert breaks == sorted(breaks)


def test_damage_that_shows_late(clips, tmp_path):
    """B-frames are shown before the later frame they build on; damage to that one must not slip through.

    Only as far as the decoder notices it: H.264 has no checksums, and x264 does not write the same file every time.
    """
    whole = clips.busy_avi
    plain = media.decode_plainly(whole)
    noticed = 0
    for packet in range(16, 23):
        path = media.spoil_packet(whole, tmp_path / f"{packet}{whole.suffix}", packet, start=60)
        if not media.damage_is_noticed(path):
            continue
        noticed += 1
        video = open_video(path)
        assert video.num_frames == len(plain)
        for index in range(15, 27):
            try:
                frame = video.read([index])[0]
            except VideoError:
                continue
            np.testing.assert_array_equal(frame, plain[index])
    assert noticed >= 2


def readable_frames(video, plain):
    """The frames that can be read one by one, all of them right; the others must be named in the error."""
    given = []
    for index in range(len(plain)):
        try:
            frame = video.read([index])[0]
        except VideoError as error:
            message = str(error)
        else:
            message = f"({index})"
            np.testing.assert_array_equal(frame, plain[index])
            given.append(index)
        assert f"({index})" in message
    return given


def test_cut_off_gif(clips, tmp_path):
    video = open_video(media.cut(clips.gif, tmp_path / "cut.gif", 0.5))
    plain = media.decode_plainly(clips.gif)
    last = video.num_frames - 1
    assert 3 < last < 15
    np.testing.assert_array_equal(video.read(range(last)), plain[:last])
    with pytest.raises(VideoError, match=f"0 to {last - 1}"):
        video.read([last])


def test_frame_size_that_changes(tmp_path):
    first = media.write_video(tmp_path / "first.h264", 10)
    second = media.write_video(tmp_path / "second.h264", 10, size=(160, 96))
    path = tmp_path / "both.h264"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    video = open_video(path)
    assert video.num_frames == 20
    assert media.read_numbers(video.read([3, 9])) == [3, 9]
    with pytest.raises(VideoError, match="frame 12 is 160x96 while the first one is 80x48"):
        video.read([3, 12])


# --- folders, lists, arrays ------------------------------------------------------------------------------------------


def test_folder_is_sorted_naturally(tmp_path):
    numbers = [0, 1, 2, 9, 10, 11, 100]
    names = [f"frame{number}.png" for number in numbers]
    folder = media.write_folder(tmp_path / "clip", names[::-1], numbers=numbers[::-1])
    (folder / "notes.txt").write_text("no frame")
    (folder / "._frame0.png").write_bytes(b"no frame either")
    (folder / "more.png").mkdir()
    video = open_video(folder)
    assert media.read_numbers(video.read(range(video.num_frames))) == numbers
    assert video.fps == 3
    assert video.timestamps.tolist() == pytest.approx([index / 3 for index in range(7)])
    assert open_video(folder, fps=10).frame_at(0.25) == 2


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "PNG", "webp", "bmp", "tiff", "ppm"])
def test_folder_formats_in_zero_padded_order(tmp_path, suffix):
    names = [f"{number:05d}.{suffix}" for number in (1, 2, 10, 20)]
    video = open_video(str(media.write_folder(tmp_path, names, numbers=[0, 1, 2, 3])))
    assert media.read_numbers(video.read([3, 0, 2, 2])) == [3, 0, 2, 2]


def test_list_of_mixed_images(tmp_path):
    pictures = [media.numbered_frame(number) for number in range(6)]
    Image.fromarray(pictures[2]).save(tmp_path / "two.png")
    images = [
        pictures[0],
        Image.fromarray(pictures[1]),
        tmp_path / "two.png",
        str(tmp_path / "two.png"),
        torch.from_numpy(pictures[4]).permute(2, 0, 1),
        pictures[5].astype(np.float32) / 255,
    ]
    video = open_video(images)
    frames = video.read([5, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(frames, np.stack([pictures[number] for number in (5, 0, 1, 2, 2, 4)]))
    assert video.fps == 1
    assert video.timestamps.tolist() == [0, 1, 2, 3, 4, 5]
    assert video.sample() == [0, 1, 2, 3, 4, 5]
    assert video.sample(2) == [1, 4]
    assert open_video(tuple(images), fps=2).duration == 3


PICTURES = np.stack([media.numbered_frame(number) for number in range(5)])


@pytest.mark.parametrize(
    "frames",
    [
        PICTURES,
        PICTURES.transpose(0, 3, 1, 2),
        PICTURES.astype(np.float64) / 255,
        torch.from_numpy(PICTURES),
        torch.from_numpy(PICTURES).permute(0, 3, 1, 2),
        (torch.from_numpy(PICTURES).float() / 255).requires_grad_(),
        torch.from_numpy(PICTURES).double() / 255,
    ],
    ids=["numpy", "channels first", "float64", "torch", "torch channels first", "torch float", "torch double"],
)
def test_arrays_and_tensors(frames):
    video = open_video(frames, fps=10)
    np.testing.assert_array_equal(video.read([4, 0, 0]), PICTURES[[4, 0, 0]])
    assert (video.num_frames, video.height, video.width, video.fps) == (5, 48, 80, 10)
    assert video.frame_at(0.3) == 3


def test_half_precision_tensors():
    frames = torch.from_numpy(PICTURES).float() / 255
    for dtype in (torch.float16, torch.bfloat16):
        read = open_video(frames.to(dtype)).read(range(5))
        assert np.abs(read.astype(int) - PICTURES).max() <= 1


def test_three_frames_of_height_three_stay_channels_last():
    frames = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    np.testing.assert_array_equal(open_video(frames).read([1, 0]), frames[::-1])


def test_frames_are_read_afresh_and_belong_to_the_caller():
    video = open_video(PICTURES)
    video.read([0])[:] = 0
    np.testing.assert_array_equal(video.read([0])[0], PICTURES[0])


# --- images ----------------------------------------------------------------------------------------------------------


def test_load_image_kinds(tmp_path):
    picture = media.numbered_frame(77)
    image = Image.fromarray(picture)
    image.save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), image, picture, torch.from_numpy(picture)):
        loaded = load_image(source)
        assert loaded.dtype == np.uint8
        np.testing.assert_array_equal(loaded, picture)
    np.testing.assert_array_equal(load_image(torch.from_numpy(picture).permute(2, 0, 1) / 255), picture)


@pytest.mark.parametrize("kind", HANDED)
def test_images_may_come_as(tmp_path, kind):
    path = media.write_folder(tmp_path, ["a b%20#c?.png"], numbers=[77]) / "a b%20#c?.png"
    np.testing.assert_array_equal(load_image(HANDED[kind](path)), media.numbered_frame(77))
    video = open_video([HANDED[kind](path), path])
    assert media.read_numbers(video.read([1, 0])) == [77, 77]
    assert media.read_numbers(video.read([0])) == [77]
    if "file URL" not in kind:
        path.unlink()
        assert media.read_numbers(pickle.loads(pickle.dumps(video)).read([0])) == [77]


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "CMYK", "1", "LA"])
def test_load_image_modes(mode):
    image = Image.fromarray(media.numbered_frame(77)).convert(mode)
    np.testing.assert_array_equal(load_image(image), np.asarray(image.convert("RGB")))
    assert media.read_number(load_image(image)) == 77


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 1), (8, 3)])
def test_orientation_metadata_of_images(tmp_path, orientation, turns):
    upright = media.numbered_frame(300)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(np.rot90(upright, turns))).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), upright)
    video = open_video(tmp_path)
    assert (video.height, video.width) == upright.shape[:2]
    np.testing.assert_array_equal(video.read([0])[0], upright)
    np.testing.assert_array_equal(open_video([Image.open(tmp_path / "a.png"), upright]).read([0])[0], upright)


# --- bad input -------------------------------------------------------------------------------------------------------


class Asynchronous:
    """As the uploads of web frameworks are."""

    async def read(self, size=-1):
        return b""


class Breaking(io.RawIOBase):
    """As a connection that is lost."""

    def read(self, size=-1):
        raise RuntimeError("gone")


def bad_sources(folder):
    """Name -> (source made on demand, what the message says)."""

    def file(name, content):
        path = folder / name
        path.write_bytes(content)
        return path

    def subfolder(name, **files):
        (folder / name).mkdir()
        for stem, content in files.items():
            (folder / name / f"{stem}.png").write_bytes(content)
        return folder / name

    def sound():
        import av

        with av.open(str(folder / "sound.mp4"), "w") as container:
            media.write_silence(container)
        return folder / "sound.mp4"

    def photo():
        return media.write_folder(folder / "photo", ["a.jpg"]) / "a.jpg"

    def photo_as_video():
        return photo().rename(folder / "photo.mp4")

    def notes():
        (folder / "texts").mkdir()
        (folder / "texts" / "a.txt").write_text("hello")
        return folder / "texts"

    def given_back():
        memory = memoryview(bytearray(9))
        memory.release()
        return memory

    def closed():
        file = io.BytesIO(b"hello")
        file.close()
        return file

    def at_its_end():
        file = io.BytesIO(b"hello")
        file.seek(0, 2)
        return file

    def unindexed():
        return media.cut(media.write_video(folder / "whole.mp4", 10), folder / "cut.mp4", 0.7)

    def huge():
        data = bytearray(media.write_video(folder / "small.gif", 3, "gif", pixels="rgb8").read_bytes())
        data[6:10] = (12000).to_bytes(2, "little") + (9000).to_bytes(2, "little")
        return file("huge.gif", data)

    def endless():
        data = bytearray(media.write_video(folder / "whole.mkv", 30).read_bytes())
        place = data.index(b"\x44\x89\x88") + 3  # the length of the film, which is cut off
        data[place : place + 8] = struct.pack(">d", 1e15)
        return file("endless.mkv", data[: len(data) * 2 // 3])

    picture = media.numbered_frame(0)
    nan = np.full((2, 4, 4, 3), np.nan, dtype=np.float32)
    return {
        "missing": (lambda: folder / "nowhere.mp4", "no file or folder at .*nowhere.mp4"),
        "empty path": (lambda: "", "is not a path"),
        "null in path": (lambda: "a\0b", "is not a path"),
        "empty file": (lambda: file("empty.mp4", b""), "empty.mp4.*empty file"),
        "text as video": (lambda: file("text.mp4", b"hello " * 100), "text.mp4.*cannot be opened"),
        "text": (lambda: file("text.txt", b"hello " * 100), "text.txt.*no video stream"),
        "bytes": (
            lambda: file("noise.bin", bytes(range(256)) * 20),
            "noise.bin.*(no video stream|not a video|cannot be opened)",
        ),
        "subtitles": (lambda: file("a.srt", b"1\n00:00:00,000 --> 00:00:01,000\nhi\n\n"), "no video stream"),
        "sound only": (sound, r"sound.mp4.*no video stream.*audio"),
        "cover art": (lambda: media.write_mp3_with_cover(folder / "a.mp3"), "no video stream.*audio"),
        "huge frames": (huge, "huge.gif.* claims to be 12000x9000 .*at most 67108864 pixels"),
        "endless": (endless, "endless.mkv.* claims to have .* frames, but at most 4000000"),
        "index cut off": (unindexed, "cut.mp4.*cut off"),
        "photo": (photo, "single image.*load_image"),
        "photo named mp4": (photo_as_video, "single image.*load_image"),
        "empty folder": (lambda: subfolder("nothing"), "nothing.*is empty"),
        "folder without images": (notes, "texts.*holds no images.*png"),
        "folder with a broken image": (lambda: subfolder("broken", a=b"no image"), "a.png.*cannot be read"),
        "unreachable": (lambda: "http://127.0.0.1:9/a.mp4?key=secret", "127.0.0.1:9/a.mp4' cannot be opened"),
        "other protocol": (
            lambda: "ftp://me:secret@example.org/a.mp4?secret",
            "'ftp://example.org/a.mp4'; .*download it",
        ),
        "address with a password": (
            lambda: "http://me:secret@127.0.0.1:9/a.mp4",
            "'http://127.0.0.1:9/a.mp4'.*download",
        ),
        "file of another computer": (lambda: "file://server/a.mp4", "another computer .'server'"),
        "missing file URL": (lambda: "file:///no%20such.mp4", "no file or folder at '/no such.mp4'"),
        "null in file URL": (lambda: "file:///a%00b", "is not a path"),
        "no bytes": (lambda: b"", "bytes object of 0 bytes is empty"),
        "text in bytes": (lambda: b"hello " * 100, "bytes object of 600 bytes cannot be opened"),
        "noise in bytes": (
            lambda: bytes(range(256)) * 20,
            "bytes object of 5120 bytes (has no video|cannot be opened)",
        ),
        "picture in bytes": (lambda: photo().read_bytes(), "single image.*load_image"),
        "given back": (given_back, "memoryview object cannot be read"),
        "frames in a memoryview": (lambda: memoryview(np.zeros((2, 4, 4, 3), np.uint8)), "4 dimensions.*np.asarray"),
        "text file": (lambda: io.StringIO("hello"), "gives str instead of bytes.*binary mode"),
        "closed file": (closed, "BytesIO cannot be read .*closed file"),
        "file at its end": (at_its_end, "stands at its end.*seek"),
        "empty open file": (io.BytesIO, "BytesIO is empty"),
        "asynchronous file": (Asynchronous, "gives coroutine instead of bytes"),
        "file that breaks": (Breaking, "Breaking cannot be read .RuntimeError: gone"),
        "data URL without content": (lambda: "data:video/mp4;base64", "21 characters has no content.*comma"),
        "empty data URL": (lambda: "data:video/mp4;base64,", "22 characters is empty"),
        "no base64": (lambda: "data:;base64," + "secret=@" * 99, "not valid base64"),
        "two base64": (lambda: base64_url(b"a") + "secret" * 30, "not valid base64"),
        "cut base64": (lambda: "data:;base64," + "secre" * 201, "not valid base64"),
        "foreign base64": (lambda: "data:;base64,secret\u00e9\u4e00", "not valid base64"),
        "half a character": (lambda: "data:,secret\ud800", "not valid percent-encoding"),
        "text in a data URL": (
            lambda: "data:text/plain,secret%20hello",
            "data: URL of 30 characters cannot be opened",
        ),
        "base64 without more": (lambda: "secret" * 1000, "text of 6000 characters was given.*data:video/mp4;base64"),
        "short base64 without more": (lambda: "secrets/" * 99 + "A" * 40, "path of 832 characters"),
        "name that is too long": (lambda: "secret" * 50 + "a" * 40, "path of 340 characters.*(no file|too long)"),
        "none": (lambda: None, "NoneType was given"),
        "number": (lambda: 7, "int was given"),
        "generator": (lambda: (image for image in [picture]), "generator was given"),
        "PIL image": (lambda: Image.fromarray(picture), r"single PIL image"),
        "empty list": (list, "list of frames is empty"),
        "list of numbers": (lambda: [1, 2], "frame 0 of the list.*int was given"),
        "unequal list": (lambda: [picture, picture, picture[:-1], picture[:9]], "frame 2 of .* is 80x47 .*80x48"),
        "list with missing file": (
            lambda: [picture, folder / "no.png"],
            "frame 1 of .*no.png.*file does not exist",
        ),
        "list with address": (lambda: ["https://example.org/a.png"], "download the image"),
        "grey image in list": (lambda: [picture[..., 0]], "gray"),
        "image array": (lambda: picture, r"one image.*\[image\]"),
        "grey array": (lambda: np.zeros((5, 8, 9), dtype=np.uint8), r"\(5, 8, 9\).*gray frames become RGB.*repeat"),
        "one channel": (lambda: np.zeros((5, 8, 9, 1), dtype=np.uint8), "repeat"),
        "RGBA array": (lambda: np.zeros((5, 8, 9, 4), dtype=np.uint8), "transparency"),
        "5 dimensions": (lambda: np.zeros((1, 5, 8, 9, 3), dtype=np.uint8), "reshape"),
        "no frames": (lambda: np.zeros((0, 8, 9, 3), dtype=np.uint8), "no frames or no pixels"),
        "no pixels": (lambda: np.zeros((2, 0, 9, 3), dtype=np.uint8), "no frames or no pixels"),
        "integers": (lambda: np.zeros((2, 8, 9, 3), dtype=np.int64), "int64.*astype"),
        "booleans": (lambda: torch.zeros(2, 8, 9, 3, dtype=torch.bool), "bool"),
        "strings": (lambda: np.full((2, 8, 9, 3), "a"), "uint8"),
        "NaN": (lambda: nan, r"in \[0, 1\].*nan"),
        "float 0 to 255": (lambda: torch.full((2, 8, 9, 3), 255.0), "from 255 to 255.*astype"),
        "float below 0": (lambda: np.full((2, 8, 9, 3), -0.5), "from -0.5"),
    }


@pytest.mark.spread(23)
@pytest.mark.parametrize("name", bad_sources(Path()))
def test_unusable_sources(tmp_path, name):
    make, message = bad_sources(tmp_path)[name]
    with pytest.raises(VideoError, match=message) as caught:
        open_video(make())
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf, True, "3"])
def test_unusable_fps(fps):
    with pytest.raises(VideoError, match="fps"):
        open_video(PICTURES, fps=fps)


def test_unreadable_images_in_a_folder_are_named_when_read(tmp_path):
    folder = media.write_folder(tmp_path, [f"{number}.png" for number in range(5)])
    media.cut(folder / "2.png", folder / "2.png", 0.5)
    Image.fromarray(media.numbered_frame(3, (40, 48))).save(folder / "3.png")
    video = open_video(folder)
    assert media.read_numbers(video.read([4, 0])) == [4, 0]
    with pytest.raises(VideoError, match=r"frame 2 of .*2\.png.*cannot be read as an image"):
        video.read([0, 2])
    with pytest.raises(VideoError, match=r"frame 3 of .*3\.png.* is 40x48 while the first frame is 80x48"):
        video.read([3])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.png", "nowhere.png.*image file does not exist"),
        ("https://example.org/a.png", "download"),
        (Path(), "image file does not exist"),
        ("https://me:secret@example.org/a.png?key=secret", "'https://example.org/a.png' is an address.*download"),
        ("file:///no/such.png", "/no/such.png.*image file does not exist"),
        (b"", "bytes object of 0 bytes is empty"),
        (b"hello", "bytes object of 5 bytes cannot be read as an image"),
        (io.BytesIO(b"hello"), "BytesIO cannot be read as an image"),
        (io.StringIO("hello"), "gives str instead of bytes"),
        ("data:image/png;base64,secret=@", "not valid base64"),
        ("data:image/png;base64,c2VjcmV0", "data: URL of 30 characters cannot be read as an image"),
        ("secret" * 1000, "text of 6000 characters was given"),
        (None, "NoneType was given"),
        (np.zeros((4, 5), dtype=np.uint8), "gray"),
        (np.zeros((4, 5, 1), dtype=np.uint8), "gray"),
        (np.zeros((4, 5, 4), dtype=np.uint8), "transparency"),
        (np.zeros((0, 5, 3), dtype=np.uint8), "no pixels"),
        (np.zeros((1, 4, 5, 3), dtype=np.uint8), "reshape"),
        (np.full((4, 5, 3), np.nan), "nan"),
        (np.zeros((4, 5, 3), dtype=np.int32), "int32"),
        (Image.new("I;16", (4, 4)), "8 bits"),
        (Image.new("F", (4, 4)), "8 bits"),
        (Image.new("1", (20000, 9000)), "20000x9000 .*at most 178956970 pixels"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else type(value).__name__,
)
def test_unusable_images(source, message):
    with pytest.raises(VideoError, match=message) as caught:
        load_image(source)
    assert "secret" not in str(caught.value)


def test_damaged_image_file(tmp_path):
    folder = media.write_folder(tmp_path, ["a.jpg"], (320, 240))
    (tmp_path / "text.png").write_text("hello")
    media.cut(folder / "a.jpg", folder / "cut.jpg", 0.5)
    for name in ("text.png", "cut.jpg"):
        with pytest.raises(VideoError, match=f"{name}.*cannot be read as an image"):
            load_image(tmp_path / name)


@pytest.mark.parametrize("read", [load_image, lambda path: open_video([path, path]).read([0]), open_video])
def test_a_small_file_that_says_it_is_a_giant_image(tmp_path, read):
    """What it says is looked at before memory is taken: 60,000 x 60,000 pixels would be 10.8 GB."""
    media.write_png_header(tmp_path / "giant.png", 60_000, 60_000)
    with pytest.raises(VideoError, match=r"giant\.png.* larger than Pillow reads: .*3600000000.*Scale it down"):
        read(tmp_path if read is open_video else tmp_path / "giant.png")


def test_images_may_be_as_large_as_masks(tmp_path):
    """A photograph of 151 megapixels, whose mask is accepted, is accepted, too; Pillow warns of its size."""
    path = tmp_path / "photo.ppm"
    path.write_bytes(b"P6 14204 10652 255 ")
    with pytest.warns(Image.DecompressionBombWarning):
        video = open_video([path])
    assert (video.height, video.width) == (10_652, 14_204)


# --- digests ---------------------------------------------------------------------------------------------------------

SHOWN = [media.numbered_frame(number) for number in range(4)]
FLOATS = np.stack(SHOWN) / np.float64(255)


def _write_pictures(folder, names=("0.png", "1.png", "2.png", "3.png")):
    return media.write_folder(folder, names)


# Pairs of sources that hold the same frames in the same form.
SAME_CONTENT = {
    "path and copy": lambda clips, folder: (clips.mkv, _copy(clips.mkv, folder / "other name.bin")),
    "path and link": lambda clips, folder: (str(clips.mkv), _link(clips.mkv, folder / "link.mkv")),
    "GIF and its bytes": lambda clips, folder: (clips.gif, clips.gif.read_bytes()),
    "animated WebP and its bytes": lambda clips, folder: (
        _write(folder / "a.webp", media.animation(SHOWN)),
        media.animation(SHOWN),
    ),
    "animated PNG and its bytes": lambda clips, folder: (
        _write(folder / "a.png", media.animation(SHOWN, "png")),
        media.animation(SHOWN, "png"),
    ),
    "file and its film": lambda clips, folder: (clips.sound, open_video(clips.sound, stream=0)),
    "another rate": lambda clips, folder: (clips.mkv, open_video(clips.mkv, fps=3)),
    "at_rate": lambda clips, folder: (clips.mkv, open_video(clips.mkv).at_rate(2)),
    "folders": lambda clips, folder: (
        _write_pictures(folder / "a"),
        _write_pictures(folder / "b", [f"frame {number:03}.png" for number in range(4)]),
    ),
    "folder and list of its paths": lambda clips, folder: (
        _write_pictures(folder / "a"),
        sorted((folder / "a").iterdir()),
    ),
    "list of paths and of bytes": lambda clips, folder: (
        sorted(_write_pictures(folder / "a").iterdir()),
        [path.read_bytes() for path in sorted((folder / "a").iterdir())],
    ),
    "array and tensor": lambda clips, folder: (np.stack(SHOWN), torch.tensor(np.stack(SHOWN))),
    "array and channels first": lambda clips, folder: (
        np.stack(SHOWN),
        np.ascontiguousarray(np.stack(SHOWN).transpose(0, 3, 1, 2)),
    ),
    "array and floats": lambda clips, folder: (np.stack(SHOWN), FLOATS),
    "array and list": lambda clips, folder: (np.stack(SHOWN), list(FLOATS)),
    "list of arrays and PIL images": lambda clips, folder: (SHOWN, [Image.fromarray(one) for one in SHOWN]),
    "mixed lists": lambda clips, folder: (
        [_write_pictures(folder / "a") / "0.png", SHOWN[1]],
        [(folder / "a" / "0.png").read_bytes(), Image.fromarray(SHOWN[1])],
    ),
}


def _write(path, data):
    path.write_bytes(data)
    return path


def _copy(path, target):
    return _write(target, path.read_bytes())


def _link(path, target):
    target.symlink_to(path)
    return target


@pytest.mark.parametrize("kind", HANDED)
def test_a_file_has_its_digest_however_it_is_handed_over(clips, kind):
    digest = open_video(clips.mkv).digest()
    assert len(digest) == 32
    int(digest, 16)
    assert open_video(HANDED[kind](clips.mkv)).digest() == digest


@pytest.mark.parametrize("kind", SAME_CONTENT)
def test_digests_of_the_same_content_are_the_same(clips, tmp_path, kind):
    one, other = map(open_video, SAME_CONTENT[kind](clips, tmp_path))
    np.testing.assert_array_equal(one.read(range(one.num_frames)), other.read(range(other.num_frames)))
    assert one.digest() == other.digest()
    assert pickle.loads(pickle.dumps(one)).digest() == open_video(other).digest()


def test_digests_of_other_content_are_others(clips, tmp_path):
    two = media.write_tracks(tmp_path / "two.mkv", [FILM, OTHER])
    folder, webp = _write_pictures(tmp_path / "a"), media.animation(SHOWN)
    sources = [
        *(getattr(clips, name) for name in ALL_CLIPS),
        open_video(two, stream=0),
        open_video(two, stream=1),
        np.stack(SHOWN),
        np.stack(SHOWN[::-1]),
        np.stack(SHOWN[:3]),
        np.stack(SHOWN).reshape(4, media.SIZE[0], media.SIZE[1], 3),  # the same bytes in another shape
        np.stack(SHOWN) ^ np.uint8(1),
        webp,
        _damaged_end(webp),
        folder,
        sorted(folder.iterdir())[::-1],
        sorted(folder.iterdir())[:3],
        [folder / "0.png", SHOWN[1]],
        [SHOWN[0], folder / "1.png"],
    ]
    digests = [open_video(source).digest() for source in sources]
    assert len(set(digests)) == len(sources)


def _damaged_end(data):
    """The same animation with another last byte of pixels."""
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


@pytest.mark.parametrize("kind", ["file", "animation", "folder", "list", "array"])
def test_what_has_changed_has_another_digest(clips, tmp_path, kind):
    pictures = np.stack(SHOWN)
    folder = _write_pictures(tmp_path / "a")
    path = _copy(clips.mkv, tmp_path / "clip.mkv")
    webp = _write(tmp_path / "a.webp", media.animation(SHOWN))
    source = {"file": path, "animation": webp, "folder": folder, "list": sorted(folder.iterdir()), "array": pictures}
    before = open_video(source[kind])
    digest = before.digest()
    for changed in (path, webp, folder / "2.png"):
        other = {".mkv": clips.short_gop.read_bytes(), ".webp": media.animation(SHOWN[::-1])}
        changed.write_bytes(other.get(changed.suffix, (folder / "1.png").read_bytes()))
        os.utime(changed, (1, 1))
    pictures[0] = 0
    assert open_video(source[kind]).digest() != digest
    if kind != "array":
        with pytest.raises(VideoError, match="has changed since it was opened; open it again"):
            before.digest()


def test_a_file_that_is_gone_keeps_its_digest(clips, tmp_path):
    path = _copy(clips.mkv, tmp_path / "clip.mkv")
    video, later = open_video(path), open_video(path)
    digest = video.digest()
    path.unlink()
    assert video.digest() == digest
    with pytest.raises(VideoError, match=r"clip\.mkv"):
        later.digest()


@pytest.mark.parametrize("missing", ["0.png", "2.png"])
def test_a_folder_that_lacks_a_frame_has_no_digest(tmp_path, missing):
    video = open_video(_write_pictures(tmp_path / "a"))
    (tmp_path / "a" / missing).unlink()
    with pytest.raises(VideoError, match=f"{missing}.*check the path"):
        video.digest()


def test_a_damaged_file_has_a_digest(clips, tmp_path):
    cut = media.cut(clips.mkv, tmp_path / "cut.mkv", 0.5)
    assert open_video(cut).digest() != open_video(clips.mkv).digest()


def test_the_repr_names_the_file_once(clips):
    assert repr(open_video(clips.mkv)).startswith(f"FileVideo('{clips.mkv}', num_frames=")


def test_an_address_has_the_digest_of_its_file_and_a_path_without_a_password(clips):
    with served(clips.mkv) as address:
        video = open_video(address.replace("://", "://me:hidden@") + "?token=hidden&part=1")
    assert video.digest() == open_video(clips.mkv).digest()
    assert video.path == f"{address}?token=***&part=1"
    assert "hidden" not in repr(video)
    np.testing.assert_array_equal(video.read([0, 30]), open_video(clips.mkv).read([0, 30]))


@contextlib.contextmanager
def served(path):
    """An address of a file, which takes requests for parts of it as well."""
    handler_class = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *given: None})
    handler = partial(handler_class, directory=str(path.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{path.name}"
        server.shutdown()


# --- cost ------------------------------------------------------------------------------------------------------------

DIGEST_PEAK = """
import resource, sys
from videorefer_plugin.video import open_video
video = open_video(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
video.digest()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_digesting_takes_no_memory(clips, tmp_path):
    path = tmp_path / "long.mkv"
    path.write_bytes(clips.mkv.read_bytes() + bytes(200 << 20))  # what follows the end is no frame
    assert int(run_python(DIGEST_PEAK, path)) < 30 << 10


PEAK = """
import resource, sys
from videorefer_plugin.video import open_video
video = open_video(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
frames = video.read([0, video.num_frames // 2, video.num_frames - 1])
print(video.num_frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def run_python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
@pytest.mark.parametrize("suffix", ["mp4", "avi", ""])
def test_memory_does_not_grow_with_the_video(tmp_path, suffix):
    """150 more frames of 0.9 MB each must not show in the peak."""
    size, peaks = (640, 480), []
    for count in (10, 160):
        path = tmp_path / (f"{count}.{suffix}" if suffix else str(count))
        if suffix:
            codec, options = ("libx264", {"preset": "ultrafast"}) if suffix == "mp4" else ("mpeg4", {})
            media.write_video(path, [media.numbered_frame(7, size)] * count, codec, options=options)
        else:
            media.write_folder(path, ["0.bmp"], size)
            for number in range(1, count):
                (path / f"{number}.bmp").hardlink_to(path / "0.bmp")
        frames, peak = map(int, run_python(PEAK, path).split())
        assert frames == count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 60


@pytest.mark.parametrize("name", ["h264", "mkv", "vp8", "mov", "avi", "gif"])
def test_a_file_is_opened_once_to_be_listed_and_once_to_be_read(clips, name, monkeypatch):
    opened = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: opened.append(args) or real(*args, **kwargs))
    video = open_video(getattr(clips, name))
    assert len(opened) == 1
    video.read([0, 5])
    assert len(opened) == 2


def test_import_is_light():
    code = """
import sys, videorefer_plugin.video
print([name for name in ("av", "PIL", "torch", "transformers") if name in sys.modules])
"""
    assert run_python(code).strip() == "[]"


def test_reading_does_not_wait_for_logging_forever(tmp_path):
    """With PyAV's log level set, as torchvision sets it, FFmpeg's threads and the interpreter wait for each other."""
    path = media.write_video(tmp_path / "a.mp4", 60)
    code = (
        "import av, sys; av.logging.set_level(av.logging.DEBUG)\n"
        "from videorefer_plugin.video import open_video\n"
        "for _ in range(5):\n"
        "    open_video(sys.argv[1]).read([3, 40])\n"
        "print('done')\n"
    )
    source = str(Path(__file__).parent.parent / "src")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.stdout == "done\n", done.stderr
