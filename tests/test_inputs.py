"""What the processors of VideoRefer and of hosts do alike: settings, frames and masks of regions, prompts."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.video_utils import VideoMetadata

import videorefer_plugin as vr
from tests import media
from tests.media import OneWay
from tests.test_bad_input import refused
from tests.test_hosts import greedy, one_thread, shared  # noqa: F401
from tests.tiny_hosts import BY_NAME
from videorefer_plugin.hosts import Host, registry
from videorefer_plugin.hosts.llava_onevision import LlavaOnevisionHost
from videorefer_plugin.inputs.clips import CLIP_SETTINGS, Clip, Sampling, open_clips
from videorefer_plugin.inputs.matching import match_samples
from videorefer_plugin.inputs.visuals import flatten_videos
from videorefer_plugin.object_encoder import ObjectEncoder, ObjectEncoderConfig, pool_masks
from videorefer_plugin.regions import Shape
from videorefer_plugin.training.parts import modules_of_parts, set_trainable
from videorefer_plugin.video.files import FileVideo

LLAVA = BY_NAME["llava_onevision"]
HEIGHT, WIDTH = 48, 64
VIDEO = np.random.default_rng(0).integers(0, 256, (24, HEIGHT, WIDTH, 3), dtype=np.uint8)
MISSING = "no/such/video.mp4"
DOORS = ("videorefer", "host")


@pytest.fixture(scope="module")
def doors(processor: Any) -> dict[str, Any]:
    return {"videorefer": processor, "host": shared("llava_onevision")[1]}


@pytest.fixture(params=DOORS)
def door(request: Any, doors: dict[str, Any]) -> Any:
    return doors[request.param]


def left(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A mask of the left half, which no grid loses."""
    mask = np.zeros((height, width), dtype=bool)
    mask[:, : width // 2] = True
    return mask


def blank() -> np.ndarray:
    return np.zeros((HEIGHT, WIDTH), dtype=bool)


def ask(door: Any, *regions: vr.Region, video: Any = VIDEO, **settings: Any) -> Any:
    """All frames of the video are shown, so that frames of masks are found by their numbers."""
    settings = {"do_sample_frames": False, "return_tensors": "pt", **settings}
    return door(text="<video>\n" + "<region>" * len(regions), videos=video, regions=list(regions), **settings)


def frames_of(inputs: Any) -> list[int]:
    """Frames of the video that the masks lie on, where all are shown."""
    return (inputs["region_frames"][0] - 1).tolist()


def has_pixels(inputs: Any) -> list[bool]:
    return inputs["region_masks"][0].flatten(1).any(dim=1).tolist()


# --- frames of a region ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [2, 3, None])
def test_frames_with_pixels_are_used_before_the_limit_counts(door: Any, limit: int | None) -> None:
    region = vr.Region({0: left(), 2: blank(), 4: blank(), 6: left()})
    inputs = ask(door, region, max_frames_per_region=limit)
    assert frames_of(inputs) == [0, 6]
    assert has_pixels(inputs) == [True, True]


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, [20, 9, 2, 16, 5, 0]), (6, [20, 9, 2, 16, 5, 0]), (3, [9, 16, 5]), (1, [16])]
)
def test_the_original_limits_the_annotated_frames_in_their_order(
    door: Any, limit: int | None, expected: list[int]
) -> None:
    region = vr.Region({frame: left() if frame in (20, 5) else blank() for frame in (20, 9, 2, 16, 5, 0)})
    inputs = ask(door, region, mask_policy="original", max_frames_per_region=limit)
    assert frames_of(inputs) == expected
    assert has_pixels(inputs) == [frame in (20, 5) for frame in expected]


def test_masks_are_merged_in_order_of_time_or_as_in_the_original_in_the_annotation_s(door: Any) -> None:
    right = ~left()
    region = vr.Region({20: left(), 5: right})
    for policy, frames, sides in (("original", [20, 5], [True, False]), ("keep", [5, 20], [False, True])):
        inputs = ask(door, region, mask_policy=policy)
        assert frames_of(inputs) == frames
        assert inputs["region_masks"][0, :, 0, 0].tolist() == sides, "masks must stay with their frames"


# --- other forms of a region -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [True, False])
def test_the_json_form_stands_for_a_region(door: Any, alone: bool) -> None:
    region = vr.Region({20: (4, 4, 40, 40), 3: left(), 5: None})
    expected = ask(door, region)
    call = {"text": "<video>\n<region>", "videos": VIDEO, "do_sample_frames": False, "return_tensors": "pt"}
    inputs = door(**call, regions=region.to_json() if alone else [region.to_json()])
    assert frames_of(inputs) == frames_of(expected) == [3, 20]
    assert torch.equal(inputs["region_masks"], expected["region_masks"])


def test_the_json_form_stands_for_a_region_in_batches_and_conversations(door: Any) -> None:
    boxes = [{"3": {"box": [4, 4, 40, 40]}}, {"7": {"box": [20, 4, 60, 40]}}]
    regions = [vr.Region.from_json(box) for box in boxes]
    call = {"text": ["<video>\n<region>"] * 2, "videos": [VIDEO] * 2, "return_tensors": "pt"}
    expected = door(**call, regions=[[region] for region in regions])
    for given in ([[box] for box in boxes], boxes, [regions[0], boxes[1]]):
        assert torch.equal(door(**call, regions=given)["region_masks"], expected["region_masks"])
    settings = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "add_generation_prompt": True}
    said = []
    for region in (regions[1], boxes[1]):
        items = [{"type": "video", "video": VIDEO}, {"type": "region", "region": region}]
        said.append(door.apply_chat_template([{"role": "user", "content": items}], **settings))
    assert torch.equal(said[0]["input_ids"], said[1]["input_ids"])
    assert torch.equal(said[0]["region_masks"], said[1]["region_masks"])


def test_a_wrong_json_form_names_sample_and_frame(door: Any) -> None:
    with refused(vr.RegionError, "Sample 1: region 1", "frame 12", "'bbox'"):
        door(
            text=["<video>\n", "<video>\n<region><region>"],
            videos=[VIDEO] * 2,
            regions=[[], [{"1": {"box": [4, 4, 40, 40]}}, {"12": {"bbox": [4, 4, 40, 40]}}]],
        )
    with refused(vr.RegionError, "time 1.5 s", "'bbox'"):
        items = [{"type": "video", "video": VIDEO}, {"type": "region", "region": {"time:1.5": {"bbox": [1]}}}]
        door.apply_chat_template([{"role": "user", "content": items}], tokenize=True, return_dict=True)


def test_seconds_need_to_know_how_fast_frames_are_shown(door: Any) -> None:
    timed = {"time:0.5": {"box": [4, 4, 40, 40]}}
    assert frames_of(ask(door, timed, video=vr.open_video(VIDEO, fps=10))) == [5]
    for video in (VIDEO, list(VIDEO), [Image.fromarray(frame) for frame in VIDEO]):
        with refused(
            vr.RegionError, "Sample 0: region 0", "0.5 s", "does not say when", "open_video(frames, fps=...)"
        ):
            ask(door, timed, video=video)
    metadata = [{"frames_indices": [0, 3, 6, 9], "total_num_frames": 20}]
    with refused(vr.RegionError, "0.5 s", '"fps" in video_metadata'):
        ask(door, timed, video=VIDEO[:4], video_metadata=metadata)


def test_images_have_no_seconds(processor: Any) -> None:
    with refused(vr.RegionError, "0 s", "an image has no times"):
        processor(text="<image>\n<region>", images=[VIDEO[0]], regions=[{"time:0": {"box": [4, 4, 40, 40]}}])


# --- drawing ---------------------------------------------------------------------------------------------------------


class Counted(Shape):
    """Half of the frame, or nothing of it, that says how often it was drawn."""

    name = "counted"

    def __init__(self, empty: bool = False) -> None:
        self.empty, self.drawn = empty, 0

    def rasterize(self, height: int, width: int) -> np.ndarray:
        self.drawn += 1
        return left(height, width) & (not self.empty)


@pytest.mark.parametrize("policy", ["keep", "original"])
@pytest.mark.parametrize("limit", [None, 2])
def test_a_mask_is_drawn_once(door: Any, policy: str, limit: int | None) -> None:
    shapes = {frame: Counted(empty=frame in (3, 7)) for frame in range(0, 20)}
    inputs = ask(door, vr.Region(shapes), mask_policy=policy, max_frames_per_region=limit)
    drawn = {frame: shape.drawn for frame, shape in shapes.items()}
    # Which frames have pixels is known once all are drawn; the original draws those that it chose.
    expected = frames_of(inputs) if policy == "original" else list(shapes)
    assert drawn == {frame: int(frame in expected) for frame in shapes}
    assert len(frames_of(inputs)) == (limit or (20 if policy == "original" else 18))


# --- lists of pictures -----------------------------------------------------------------------------------------------


def test_a_question_lists_its_file_once_and_looks_for_nan_and_infinity_once(
    model: Any, processor: Any, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, searched = [], []
    make, ends = FileVideo.__init__, torch.aminmax

    def opening(self: FileVideo, *args: Any) -> None:
        listed.append(args)
        make(self, *args)

    def looking(values: torch.Tensor) -> Any:
        if values.is_floating_point():
            searched.append(tuple(values.shape))
        return ends(values)

    monkeypatch.setattr(FileVideo, "__init__", opening)
    monkeypatch.setattr(torch, "aminmax", looking)
    dog = vr.Region.from_box((1, 1, 8, 8), frame=5)
    vr.ask(model, clip, "What is <region>?", [dog], processor=processor, max_new_tokens=1)
    assert len(listed) == 1
    size = processor.image_size
    # The frames of the clip, and the one that carries a mask.
    assert sorted(searched) == [(1, 1, 3, size, size), (1, processor.num_frames, 3, size, size)]


@pytest.mark.parametrize("suffix", [".ppm", ".pnm", ".pgm", ".png"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_list_of_pictures_is_one_video(door: Any, suffix: str, kind: Callable, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}{suffix}" for number in range(3)]
    for frame, path in zip(VIDEO[:3], paths, strict=True):
        Image.fromarray(frame).convert("L" if suffix == ".pgm" else "RGB").save(path)
    inputs = ask(door, vr.Region({2: left()}), video=[kind(path) for path in paths], return_metadata=True)
    assert [one["total_num_frames"] for one in inputs["video_metadata"]] == [3]
    assert inputs["pixel_values_videos"].shape[:2] == (1, 3)
    assert frames_of(inputs) == [2]
    if suffix != ".pgm":
        expected = ask(door, vr.Region({2: left()}), video=VIDEO[:3])
        assert torch.equal(inputs["pixel_values_videos"], expected["pixel_values_videos"])


# --- sampling --------------------------------------------------------------------------------------------------------

SAMPLING: dict[str, tuple[dict[str, Any], list[list[int]]]] = {
    "default": ({}, [vr.sample_frame_indices(24, num_frames=6)] * 2),
    "num_frames": ({"num_frames": 4}, [vr.sample_frame_indices(24, num_frames=4)] * 2),
    "fps": ({"fps": 4}, [vr.sample_frame_indices(24, num_frames=12)] * 2),
    "range": (
        {"video_start": 1.0, "video_end": 2.0},
        [vr.sample_frame_indices(24, num_frames=6, fps=8, start=1.0, end=2.0)] * 2,
    ),
    "range of each": (
        {"video_start": [0.0, 1.0], "video_end": [2.0, 3.0]},
        [
            vr.sample_frame_indices(24, num_frames=6, fps=8, start=0.0, end=2.0),
            vr.sample_frame_indices(24, num_frames=6, fps=8, start=1.0, end=3.0),
        ],
    ),
    "fps in a range": (
        {"fps": 4, "video_start": 1.0, "video_end": 2.0},
        [vr.sample_frame_indices(24, num_frames=4, fps=8, start=1.0, end=2.0)] * 2,
    ),
    "max_frames": ({"max_frames": 3}, [vr.sample_frame_indices(24, num_frames=3)] * 2),
    "max_frames above": ({"max_frames": 20}, [vr.sample_frame_indices(24, num_frames=6)] * 2),
    "fps and max_frames": ({"fps": 4, "max_frames": 5}, [vr.sample_frame_indices(24, num_frames=5)] * 2),
    "all": ({"do_sample_frames": False}, [list(range(24))] * 2),
    "in a group": ({"videos_kwargs": {"num_frames": 4}}, [vr.sample_frame_indices(24, num_frames=4)] * 2),
    "fps of numpy": ({"fps": np.float32(4)}, [vr.sample_frame_indices(24, num_frames=12)] * 2),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: Any) -> Path:
    return media.write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", 24, rate=8)


@pytest.fixture
def alike(door: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Either processor, with the same number of frames by default."""
    monkeypatch.setattr(door, "num_frames", 6)
    return door


@pytest.mark.spread(8)
@pytest.mark.parametrize("case", SAMPLING)
def test_sampling_settings_mean_the_same(alike: Any, case: str, clip: Path) -> None:
    settings, expected = SAMPLING[case]
    inputs = alike(text=["<video>\n"] * 2, videos=[clip] * 2, return_metadata=True, **settings)
    assert [one["frames_indices"] for one in inputs["video_metadata"]] == expected


@pytest.mark.spread(8)
@pytest.mark.parametrize("case", SAMPLING)
def test_sampling_settings_mean_the_same_in_conversations(alike: Any, case: str, clip: Path) -> None:
    settings, expected = SAMPLING[case]
    found = alike.apply_chat_template([talk(clip)] * 2, return_metadata=True, **CHAT, **settings)
    beside = alike.apply_chat_template(
        [talk(clip)] * 2, processor_kwargs={"return_metadata": True, **settings}, **CHAT
    )
    for inputs in (found, beside):
        assert [one["frames_indices"] for one in inputs["video_metadata"]] == expected


def test_metadata_of_a_video_are_those_of_the_file(alike: Any, clip: Path) -> None:
    inputs = alike(text="<video>\n", videos=clip, return_metadata=True)
    assert inputs["video_metadata"] == [
        {
            "total_num_frames": 24,
            "fps": 8.0,
            "height": media.SIZE[1],
            "width": media.SIZE[0],
            "duration": 3.0,
            "frames_indices": vr.sample_frame_indices(24, num_frames=6),
        }
    ]
    assert "video_metadata" not in alike(text="<video>\n", videos=clip)


def test_frames_taken_beforehand_keep_their_numbers(alike: Any) -> None:
    metadata = {"frames_indices": [40, 80, 120, 160], "fps": 20, "total_num_frames": 200}
    call = {"video": VIDEO[:4], "video_metadata": [metadata], "return_metadata": True, "do_sample_frames": None}
    inputs = ask(alike, vr.Region({160: left(), 80: left()}), **call)
    (found,) = inputs["video_metadata"]
    assert found["frames_indices"] == [40, 80, 120, 160]
    assert (found["fps"], found["total_num_frames"], found["duration"]) == (20, 200, 10)
    assert frames_of(inputs) == [1, 3]
    assert frames_of(ask(alike, vr.Region.from_mask(left(), time=4.0), **call)) == [1]
    for indices in (np.array([40, 80, 120, 160]), torch.tensor([40, 80, 120, 160]), (40, 80, 120, 160)):
        call["video_metadata"] = [{**metadata, "frames_indices": indices}]
        assert ask(alike, vr.Region({160: left()}), **call)["video_metadata"] == inputs["video_metadata"]


@pytest.mark.parametrize(
    ("metadata", "parts"),
    [
        ([5], ["video_metadata", "is a int"]),
        ([], ["0 item(s) for 1 video(s)"]),
        ([{"frames_indices": [3, 2]}], ["ascending order"]),
        ([{"frames_indices": []}], ["ascending order"]),
        ([{"frames_indices": [1, 2, 3]}], ["each of the 2 frame(s)", "3 frames_indices"]),
        ([{"frames_indices": 5}], ["list of frame indices", "5"]),
        ([{"frames_indices": "01"}], ["list of frame indices", "'01'"]),
        ([{"frames_indices": [0, 1.9]}], ["whole numbers", "1.9"]),
        ([{"frames_indices": [False, True]}], ["whole numbers", "False"]),
        ([{"frames_indices": ["0", "1"]}], ["whole numbers", "'0'"]),
        ([{"frames_indices": [0, 9], "fps": float("nan")}], ["fps", "finite number", "nan"]),
        ([{"frames_indices": [0, 9], "fps": "30"}], ["fps", "finite number", "'30'"]),
        ([{"frames_indices": [0, 9], "fps": -30}], ["fps", "above 0", "-30"]),
        ([{"frames_indices": [0, 9], "total_num_frames": "10"}], ["total_num_frames", "whole number", "'10'"]),
        ([{"frames_indices": [0, 9], "total_num_frames": 9}], ["9 frames", "frame 9"]),
        ([{"total_num_frames": 9}], ["9 frames", "holds 2", "frames_indices"]),
        ([{"fps": 0}], ["fps", "above 0", "0"]),
        ([{"fps": 2, "duration": 50}], ["contradicts itself", "2 frames at fps=2 last 1 s", "50 s"]),
        ([{"duration": -1}], ["duration", "negative", "-1"]),
        ([{"duration": "long"}], ["duration", "finite number", "'long'"]),
        ([[{}], [{}]], ["2 item(s) for 1 video(s)"]),
    ],
)
def test_metadata_that_do_not_fit(door: Any, metadata: Any, parts: list[str]) -> None:
    with refused(vr.VideoError, *parts):
        door(text="<video>\n", videos=VIDEO[:2], video_metadata=metadata)


def test_a_number_of_frames_and_a_rate_exclude_each_other(door: Any) -> None:
    for settings in ({"num_frames": 4, "fps": 2}, {"num_frames": 4, "videos_kwargs": {"fps": 2}}):
        with refused(vr.VideoError, "num_frames=4 and fps=2 exclude each other"):
            door(text="<video>\n", videos=MISSING, **settings)


@pytest.mark.parametrize("number", [4097, 10**12])
def test_more_frames_than_memory_holds_are_refused_before_a_video_is_opened(door: Any, number: int) -> None:
    with refused(vr.VideoError, "num_frames must be at most 4096", str(number)):
        door(text="<video>\n", videos=MISSING, num_frames=number)


@pytest.mark.parametrize("settings", [{"fps": 1e9, "video_end": 5000}, {"do_sample_frames": False}], ids=str)
def test_more_frames_than_memory_holds_are_refused_before_they_are_read(door: Any, settings: dict[str, Any]) -> None:
    frames = vr.open_video(np.broadcast_to(VIDEO[:1], (4097, *VIDEO.shape[1:])), fps=1)
    with refused(vr.VideoError, "frames to show", "must be at most 4096", "4097"):
        door(text="<video>\n", videos=frames, **settings)


def test_a_mask_on_a_frame_that_was_not_handed_over(door: Any) -> None:
    metadata = [{"frames_indices": [0, 3, 6, 9], "fps": 10.0, "total_num_frames": 20}]
    for region in (vr.Region.from_mask(left(), frame=4), vr.Region.from_mask(left(), time=1.95)):
        with refused(vr.RegionError, "Sample 0", "carries a mask but is not among the 4 frame(s)"):
            ask(door, region, video=VIDEO[:4], video_metadata=metadata)


@pytest.mark.parametrize("times", [(-5.0, 0.5), (0.5, -5.0), (0.5, 0.0)], ids=str)
def test_a_rate_counts_the_seconds_of_the_range_that_is_sampled(door: Any, clip: Path, times: tuple) -> None:
    start, end = times
    call = {"text": "<video>\n", "videos": clip, "fps": 8, "return_metadata": True}
    taken = door(**call, video_start=start, video_end=end)["video_metadata"][0]["frames_indices"]
    assert taken == door(**call, video_start=0.0, video_end=0.5)["video_metadata"][0]["frames_indices"]
    assert len(taken) == 4


@pytest.mark.parametrize("name", ["video_start", "video_end"])
@pytest.mark.parametrize("values", [[], [1.0, 2.0]], ids=["none", "two"])
def test_a_list_of_times_has_one_for_each_video(door: Any, name: str, values: list[float]) -> None:
    with refused(vr.VideoError, f"{name} has {len(values)} value(s)", "1 video(s)", "pass one for each"):
        door(text="<video>\n", videos=VIDEO, **{name: values})


@pytest.mark.parametrize("setting", [{"num_frames": 4}, {"fps": 2}], ids=str)
def test_one_frame_a_second_excludes_a_number_and_a_rate(processor: Any, clip: Path, setting: dict[str, Any]) -> None:
    with refused(vr.VideoError, "sample_by_second", next(iter(setting)), "exclude each other"):
        processor(text="<video>\n", videos=clip, sample_by_second=True, **setting)


def test_one_frame_a_second_as_videollama2_does(processor: Any, clip: Path) -> None:
    inputs = processor(text="<video>\n", videos=clip, sample_by_second=True, return_metadata=True)
    assert inputs["video_metadata"][0]["frames_indices"] == vr.sample_frame_indices(24, fps=8) == [4, 12, 20]
    few = processor(text="<video>\n", videos=clip, sample_by_second=True, max_frames=2, return_metadata=True)
    assert few["video_metadata"][0]["frames_indices"] == [4, 12]


def test_settings_of_the_host_s_own_processor_reach_it() -> None:
    _, processor = shared("llava_onevision")
    call = {"text": "<video>\n", "videos": VIDEO, "num_frames": 2}
    assert processor(**call)["pixel_values_videos"].shape == (1, 2, 3, 16, 16)
    raw = processor(**call, do_normalize=False, do_rescale=False)["pixel_values_videos"]
    assert raw.max() > 100
    grouped = processor(**call, videos_kwargs={"do_normalize": False, "do_rescale": False})
    assert torch.equal(grouped["pixel_values_videos"], raw)
    chat = processor.apply_chat_template(talk(VIDEO), num_frames=2, do_normalize=False, do_rescale=False)
    assert torch.equal(chat["pixel_values_videos"], raw)
    large = processor(**call, size={"height": 32, "width": 32})
    assert large["pixel_values_videos"].shape == (1, 2, 3, 32, 32)
    assert processor(**call, do_resize=False)["pixel_values_videos"].shape == (1, 2, 3, HEIGHT, WIDTH)


# --- settings of each video ------------------------------------------------------------------------------------------


def opened(
    texts: list[str],
    videos: list[Any],
    metadata: Any = None,
    images: Any = None,
    usual: int = 6,
    **settings: Any,
) -> list[Clip]:
    """The clips of a batch, for processors that show `usual` frames where nothing is said."""
    samples = match_samples(texts, images, videos, tokens={"image": "<image>", "video": "<video>"})
    sampling = Sampling.of({**dict.fromkeys(CLIP_SETTINGS), **settings}, num_frames=usual)
    return list(open_clips(samples, sampling, metadata))


def shown(*args: Any, **kwargs: Any) -> list[list[int]]:
    return [one.sampled for one in opened(*args, **kwargs) if one.kind == "video"]


def spread(count: int, **more: Any) -> list[int]:
    return vr.sample_frame_indices(24, num_frames=count, fps=8, **more)


ONE_EACH = ["<video>", "<video>"]
TWO_AND_ONE = ["<video><video>", "<video>", "no video"]  # three samples, three videos

OF_EACH: dict[str, tuple[list[str], dict[str, Any], list[list[int]]]] = {
    "number": (ONE_EACH, {"num_frames": [4, 8]}, [spread(4), spread(8)]),
    "rate": (ONE_EACH, {"fps": (4, 2)}, [spread(12), spread(6)]),
    "limit": (ONE_EACH, {"max_frames": [2, 20]}, [spread(2), spread(6)]),
    "limits of rates": (ONE_EACH, {"fps": 4, "max_frames": [5, None]}, [spread(5), spread(12)]),
    "start": (ONE_EACH, {"video_start": [None, 1.0]}, [spread(6), spread(6, start=1.0)]),
    "nothing for one": (ONE_EACH, {"num_frames": [4, None]}, [spread(4), spread(6)]),
    "number and rate": (ONE_EACH, {"num_frames": [4, None], "fps": [None, 4]}, [spread(4), spread(12)]),
    "an array": (ONE_EACH, {"num_frames": np.array([4, 8])}, [spread(4), spread(8)]),
    "a tensor": (ONE_EACH, {"num_frames": torch.tensor([4, 8])}, [spread(4), spread(8)]),
    "video before sample": (TWO_AND_ONE, {"num_frames": [2, 3, 4]}, [spread(2), spread(3), spread(4)]),
    "sample": (["<video><video>", "<video>"], {"num_frames": [2, 3]}, [spread(2), spread(2), spread(3)]),
    "sample of an image": (["<video>", "<image>"], {"num_frames": [2, None]}, [spread(2)]),
    "sample and video": (
        ["<video><video>", "<video>"],
        {"num_frames": [2, 3], "video_start": [0.0, 1.0, 2.0]},
        [spread(2, start=0.0), spread(2, start=1.0), spread(3, start=2.0)],
    ),
}


@pytest.mark.parametrize("case", OF_EACH)
def test_settings_of_each_video_or_sample(case: str, clip: Path) -> None:
    texts, settings, expected = OF_EACH[case]
    assert (
        shown(texts, [clip] * len(expected), images=[VIDEO[0]] * str(texts).count("<image>"), **settings) == expected
    )


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"num_frames": [4]}, ["num_frames has 1 value(s)", "2 video(s)", "pass one for each"]),
        ({"fps": [1.0, 2.0, 3.0]}, ["fps has 3 value(s)", "2 video(s)", "pass one for each"]),
        ({"max_frames": []}, ["max_frames has 0 value(s)", "pass one for each"]),
        ({"num_frames": [4, "8"]}, ["num_frames", "whole number", "'8'"]),
        ({"num_frames": [4, 4097]}, ["num_frames must be at most 4096", "4097"]),
        ({"num_frames": [[4], [8]]}, ["num_frames", "whole number", "[4]"]),
        ({"max_frames": [4, 0]}, ["max_frames", "at least 1", "0"]),
        ({"num_frames": [4, 8], "fps": [None, 2]}, ["num_frames=8 and fps=2 exclude each other for video 1"]),
        ({"num_frames": 4, "fps": [None, 2]}, ["num_frames=4 and fps=2 exclude each other for video 1"]),
    ],
    ids=str,
)
def test_settings_of_each_video_that_do_not_fit(door: Any, settings: dict[str, Any], parts: list[str]) -> None:
    with refused(vr.VideoError, *parts):
        door(text=["<video>\n"] * 2, videos=[MISSING] * 2, **settings)


# --- frames decoded elsewhere ----------------------------------------------------------------------------------------

TAKEN = {"frames_indices": [40, 80, 120, 160], "fps": 20, "total_num_frames": 200}  # a frame every two seconds

OF_HANDED: dict[str, tuple[int, dict[str, Any], dict[str, Any], list[int]]] = {
    # Frames handed over, what is said of them, settings, frames shown.
    "all": (4, TAKEN, {}, [40, 80, 120, 160]),
    "some": (4, TAKEN, {"num_frames": 2}, [80, 120]),
    "as many": (4, TAKEN, {"num_frames": 4}, [40, 80, 120, 160]),
    "limit": (4, TAKEN, {"max_frames": 3}, [80, 120, 160]),
    "limit above": (4, TAKEN, {"max_frames": 9}, [40, 80, 120, 160]),
    "rate": (4, TAKEN, {"fps": 0.25}, [80, 120]),
    "their own rate": (4, TAKEN, {"fps": 0.5}, [40, 80, 120, 160]),
    "their own rate, rounded": (4, {**TAKEN, "fps": 19.98}, {"fps": 0.5}, [40, 80, 120, 160]),
    "range": (4, TAKEN, {"video_start": 3.0, "video_end": 6.0}, [80, 120]),
    "number in a range": (4, TAKEN, {"video_start": 3.0, "num_frames": 1}, [120]),
    "rate in words of length": (
        4,
        {"frames_indices": [40, 80, 120, 160], "total_num_frames": 200, "duration": 10},
        {"fps": 0.25},
        [80, 120],
    ),
    "all asked for": (4, TAKEN, {"num_frames": 2, "do_sample_frames": False}, [40, 80, 120, 160]),
    "whole": (24, {}, {}, spread(6)),
    "whole at a rate": (24, {"fps": 8}, {"fps": 4}, spread(12)),
    "whole at a rate that follows": (24, {"duration": 3.0}, {"fps": 4}, spread(12)),
    "whole with all facts": (24, {"fps": 8, "duration": 3.0, "total_num_frames": 24}, {"num_frames": 4}, spread(4)),
    "whole in a range": (24, {"fps": 8}, {"video_start": 1.0, "video_end": 2.0}, spread(6, start=1.0, end=2.0)),
    "whole and none of the indices": (24, {"fps": 8, "frames_indices": None}, {"fps": 4}, spread(12)),
}


@pytest.mark.parametrize("case", OF_HANDED)
def test_frames_are_chosen_among_those_handed_over(case: str) -> None:
    handed, said, settings, expected = OF_HANDED[case]
    for metadata in (said, [said], [[said]], [VideoMetadata(**{"total_num_frames": None, **said})]):
        assert shown(["<video>"], [VIDEO[:handed]], metadata, **settings) == [expected]


def test_each_frame_chosen_is_the_one_that_was_handed_over(door: Any) -> None:
    inputs = door(text="<video>\n", videos=VIDEO[:4], video_metadata=TAKEN, num_frames=2, return_tensors="pt")
    expected = door(text="<video>\n", videos=VIDEO[1:3], do_sample_frames=False, return_tensors="pt")
    assert torch.equal(inputs["pixel_values_videos"], expected["pixel_values_videos"])


def test_a_region_brings_back_the_frame_that_it_lies_on(door: Any) -> None:
    settings = {"video_metadata": TAKEN, "num_frames": 2, "do_sample_frames": None}
    ask(door, vr.Region({160: left()}), video=VIDEO[:4], **settings)
    with refused(vr.RegionError, "carries a mask but is not among the 4 frame(s)", "handed over"):
        ask(door, vr.Region({161: left()}), video=VIDEO[:4], **settings)


def test_metadata_may_be_nested_like_the_videos() -> None:
    said = [{"fps": 8}, {"fps": 4}, {"fps": 2}]
    videos = [VIDEO, VIDEO.copy(), VIDEO.copy()]
    for metadata in (said, [said[:2], said[2:]], [said[:2], [], said[2:]]):
        clips = opened(["<video><video>", "nothing", "<video>"], videos, metadata, fps=2)
        assert [one.fps for one in clips] == [8, 4, 2]
        assert [len(one.sampled) for one in clips] == [6, 12, 24]


def test_times_work_where_the_rate_is_said(door: Any) -> None:
    region = vr.Region.from_mask(left(), time=1.0)
    inputs = ask(door, region, video_metadata={"fps": 8}, return_metadata=True)
    assert frames_of(inputs) == [8]
    assert (inputs["video_metadata"][0]["fps"], inputs["video_metadata"][0]["duration"]) == (8, 3)


@pytest.mark.parametrize(
    ("said", "settings", "parts"),
    [
        (TAKEN, {"num_frames": 5}, ["num_frames=5", "4 frame(s) taken beforehand"]),
        (TAKEN, {"fps": 1}, ["fps=1", "0.5 a second"]),
        (TAKEN, {"video_start": 9.0}, ["None of the 4 frames", "2 s to 8 s", "video_start"]),
        (
            {"frames_indices": [0, 5, 9, 12]},
            {"fps": 1},
            ["fps=1 is asked for", "video_metadata", "open_video(frames, fps=...)"],
        ),
        ({"frames_indices": [0, 5, 9, 12]}, {"video_end": 1.0}, ["A range of seconds", "video_metadata"]),
        (
            {},
            {"fps": 1},
            ["fps=1 is asked for", "does not say at what rate", "video_metadata", "open_video(frames, fps=...)"],
        ),
        ({}, {"fps": "fast"}, ["fps must be a number", "'fast'"]),
        (
            None,
            {"fps": 1},
            ["fps=1 is asked for", "does not say at what rate", "video_metadata", "open_video(frames, fps=...)"],
        ),
    ],
    ids=str,
)
def test_settings_that_contradict_what_was_handed_over(door: Any, said: Any, settings: Any, parts: list[str]) -> None:
    with refused(vr.VideoError, "Sample 0", *parts):
        door(text="<video>\n", videos=VIDEO[:4], video_metadata=said, **settings)


def test_the_rate_of_a_file_is_its_own(clip: Path) -> None:
    assert shown(["<video>"], [clip], {"fps": 8.01, "total_num_frames": 24}, fps=4) == [spread(12)]
    with refused(vr.VideoError, "video_metadata says fps=25", "8 frames a second", "open_video(..., fps=...)"):
        shown(["<video>"], [clip], {"fps": 25}, fps=4)


# --- one source in several places ------------------------------------------------------------------------------------


def test_a_source_that_stands_in_several_places_is_opened_once(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, url = clip.read_bytes(), "data:video/mp4;base64," + base64.b64encode(clip.read_bytes()).decode()
    sources = [str(clip), clip, VIDEO, data, url, clip.as_uri(), list(VIDEO), vr.open_video(clip)]
    scans = []
    init = FileVideo.__init__
    monkeypatch.setattr(FileVideo, "__init__", lambda *args, **kwargs: scans.append(args) or init(*args, **kwargs))
    clips = opened(["<video>" * len(sources)] * 2, [*sources, *sources], num_frames=[4, 8])
    assert len(scans) == 4
    for one, other in zip(clips[: len(sources)], clips[len(sources) :], strict=True):
        assert one.video is other.video
        assert (one.sampled, other.sampled) == (spread(4), spread(8))
    assert clips[0].video is clips[1].video


def test_a_file_object_that_stands_in_several_places_is_read_once(clip: Path) -> None:
    with open(clip, "rb") as file:
        stream = OneWay(file.read())
    one, other = opened(ONE_EACH, [stream, stream])
    assert one.video is other.video
    assert one.read().shape[0] == 6


def test_an_image_that_stands_in_several_places_is_opened_once(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(VIDEO[0]).save(path)
    one, other, another = opened(["<image>"] * 3, [], images=[path, str(path), VIDEO[0]])
    assert one.video is other.video
    assert another.video is not one.video


# --- what a video may be ---------------------------------------------------------------------------------------------


def test_videos_and_images_may_be_bytes_open_files_and_addresses(door: Any, clip: Path, tmp_path: Path) -> None:
    data, picture = clip.read_bytes(), io.BytesIO()
    Image.fromarray(VIDEO[0]).save(picture, "PNG")
    call = {"text": "<video>\n", "num_frames": 4, "return_tensors": "pt"}
    expected = door(videos=clip, **call)["pixel_values_videos"]
    base64_url = "data:video/mp4;base64," + base64.b64encode(data).decode()
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data), clip.as_uri(), base64_url):
        for videos in (source, [source], [[source]]):
            assert torch.equal(door(videos=videos, **call)["pixel_values_videos"], expected)
    call["text"] = "<image>\n"
    expected = door(images=VIDEO[0], **call)["pixel_values"]
    for source in (picture.getvalue(), io.BytesIO(picture.getvalue())):
        for images in (source, [source]):
            assert torch.equal(door(images=images, **call)["pixel_values"], expected)


def test_conversations_hold_bytes_open_files_and_addresses(door: Any, clip: Path) -> None:
    data, settings = clip.read_bytes(), {"num_frames": 4, "return_tensors": "pt", **CHAT}
    expected = door.apply_chat_template(talk(clip), **settings)["pixel_values_videos"]
    for source in (data, io.BytesIO(data), clip.as_uri(), f"data:;base64,{base64.b64encode(data).decode()}"):
        inputs = door.apply_chat_template(talk(source), **settings)
        assert torch.equal(inputs["pixel_values_videos"], expected)


def test_ask_takes_what_processors_take(model: Any, processor: Any, clip: Path) -> None:
    region = vr.Region.from_box((1, 1, 40, 40), frame=5)
    answers = {
        vr.ask(model, video, "What is <region>?", [region], processor=processor, max_new_tokens=4)
        for video in (clip, clip.read_bytes(), io.BytesIO(clip.read_bytes()), clip.as_uri())
    }
    assert len(answers) == 1


def test_lists_of_bytes_are_told_apart_by_what_they_hold(clip: Path, tmp_path: Path) -> None:
    """Pictures are the frames of one video, as their paths are; films and animations are a video each."""
    still, animated, film = [media.numbered_frame(0)], list(VIDEO[:2]), clip.read_bytes()
    for suffix, count in (("webp", 1), ("png", 1), ("webp", 3), ("png", 3), ("mp4", 3)):
        data = film if suffix == "mp4" else media.animation(still if count == 1 else animated, suffix)
        paths = [tmp_path / f"{number}.{suffix}" for number in range(3)]
        for path in paths:
            path.write_bytes(data)
        files = [io.BytesIO(data) for _ in paths]
        urls = [f"data:;base64,{base64.b64encode(data).decode()}"] * 3
        named = [[str(path) for path in paths], [path.as_uri() for path in paths]]
        for sources in (paths, *named, [data] * 3, files, urls):
            assert len(flatten_videos(sources)) == count, (suffix, sources)
        assert [file.tell() for file in files] == [0, 0, 0]


# --- what cannot be used, told before a video is opened --------------------------------------------------------------

CHAT = {"tokenize": True, "return_dict": True}
PLACE = vr.Region.from_box((0, 0, 8, 8))


def talk(video: Any = MISSING, *content: Any) -> list[dict[str, Any]]:
    content = content or ({"type": "text", "text": "What?"},)
    return [{"role": "user", "content": [{"type": "video", "video": video}, *content]}]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (5, ["text must be a string or a list of strings", "int"]),
        ([], ["text is an empty list", "at least one prompt"]),
        (None, ["text is missing"]),
        (b"<video>", ["text must be a string", "bytes"]),
        (["<video>\n", 5], ["Sample 1: text must be a string", "int"]),
    ],
)
def test_text_that_is_none(door: Any, text: Any, parts: list[str]) -> None:
    with refused(vr.PromptError, *parts):
        door(text=text, videos=MISSING)


@pytest.mark.parametrize("tokenize", [True, False])
@pytest.mark.parametrize(
    ("conversation", "parts"),
    [
        ("What?", ["list of messages", "'What?'"]),
        ([], ["list of messages", "[]"]),
        ([*talk(), 5], ["list of messages", "5"]),
        ([talk(), "What?"], ["Sample 1: a conversation must be a list of messages"]),
        (talk(MISSING, {"type": "text"}), ['needs a string under "text"', "NoneType"]),
        (talk(MISSING, {"type": "text", "text": 5}), ['needs a string under "text"', "int"]),
        (talk(MISSING, {"type": "audio", "audio": "dog.wav"}), ["'text', 'image', 'video', 'region'", "'audio'"]),
        (talk(MISSING, "What?"), ["content item must be a dict", "'What?'"]),
        ([{"role": "user", "content": 5}], ["content must be a string or a list", "int"]),
        ([*talk(), {"content": "What?"}], ['string under "role"', '"user"']),
    ],
)
def test_conversations_that_are_none(door: Any, conversation: Any, parts: list[str], tokenize: bool) -> None:
    with refused(vr.PromptError, *parts):
        door.apply_chat_template(conversation, tokenize=tokenize, return_dict=tokenize)


MISSPELT: dict[str, Callable[[Any], Any]] = {
    "call": lambda door: door(text="<video>\n", videos=MISSING, num_frame=4),
    "group": lambda door: door(text="<video>\n", videos=MISSING, videos_kwargs={"num_frame": 4}),
    "chat": lambda door: door.apply_chat_template(talk(), num_frame=4, **CHAT),
    "chat group": lambda door: door.apply_chat_template(talk(), videos_kwargs={"num_frame": 4}, **CHAT),
    "chat kwargs": lambda door: door.apply_chat_template(talk(), processor_kwargs={"num_frame": 4}, **CHAT),
    "chat kwargs group": lambda door: door.apply_chat_template(
        talk(), processor_kwargs={"videos_kwargs": {"num_frame": 4}}, **CHAT
    ),
    "text only": lambda door: door.apply_chat_template(talk(), num_frame=4, tokenize=False),
    "text only kwargs": lambda door: door.apply_chat_template(
        talk(), processor_kwargs={"num_frame": 4}, tokenize=False
    ),
}


@pytest.mark.parametrize("where", MISSPELT)
def test_misspelt_settings(door: Any, where: str) -> None:
    with refused(vr.ConfigurationError, type(door).__name__, "'num_frame'", "did you mean 'num_frames'?"):
        MISSPELT[where](door)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"videos_kwargs": 4}, ["videos_kwargs must be a dict", "int"]),
        ({"max_frames_per_region": 0}, ["max_frames_per_region", "at least 1", "0"]),
        ({"max_frames_per_region": "2"}, ["max_frames_per_region", "'2'"]),
        ({"max_frames_per_region": True}, ["max_frames_per_region", "True"]),
        ({"mask_policy": "drop"}, ["'drop'", "'keep', 'original'"]),
    ],
)
def test_settings_of_another_kind(door: Any, settings: dict[str, Any], parts: list[str]) -> None:
    with refused(vr.ConfigurationError, *parts):
        door(text="<video>\n<region>", videos=MISSING, regions=[PLACE], **settings)


TWICE: dict[str, Callable[[Any], Any]] = {
    "own": lambda door: door(text="<video>\n", videos=MISSING, num_frames=4, videos_kwargs={"num_frames": 8}),
    "own groups": lambda door: door(
        text="<video>\n", videos=MISSING, common_kwargs={"num_frames": 4}, videos_kwargs={"num_frames": 8}
    ),
    "text": lambda door: door(text="<video>\n", videos=MISSING, padding=True, text_kwargs={"padding": False}),
    "chat": lambda door: door.apply_chat_template(
        talk(), padding=True, processor_kwargs={"text_kwargs": {"padding": False}}, **CHAT
    ),
    "chat kwargs": lambda door: door.apply_chat_template(
        talk(), num_frames=4, processor_kwargs={"num_frames": 8}, **CHAT
    ),
    "regions": lambda door: door.apply_chat_template(
        talk(MISSING, {"type": "text", "text": "<region>"}),
        regions=[PLACE],
        processor_kwargs={"regions": [PLACE]},
        **CHAT,
    ),
}


@pytest.mark.parametrize("where", TWICE)
def test_settings_given_twice(door: Any, where: str) -> None:
    with refused(vr.ConfigurationError, "given twice", "Leave one out"):
        TWICE[where](door)


def test_settings_of_the_text_may_stand_in_a_group(door: Any) -> None:
    texts = ["<video>\nOne", "<video>\nand two and three"]
    call = {"text": texts, "videos": [VIDEO, VIDEO], "return_tensors": "pt", "do_sample_frames": False}
    right = door(**call, text_kwargs={"padding_side": "right"})["attention_mask"]
    left_ = door(**call)["attention_mask"]
    assert right[0, 0] == left_[0, -1] == 1
    assert right[0, -1] == left_[0, 0] == 0


def test_types_of_tokens_are_returned_where_asked_for(door: Any) -> None:
    inputs = ask(door, PLACE, return_mm_token_type_ids=True)
    tokenizer = getattr(door, "tokenizer", None) or door.processor.tokenizer
    video, region = (tokenizer.convert_tokens_to_ids(token) for token in ("<video>", "<region>"))
    types, ids = inputs["mm_token_type_ids"], inputs["input_ids"]
    assert types.shape == ids.shape
    assert set(types[ids == region].tolist()) == {0}
    assert types[ids == video].tolist() == [2] * int((ids == video).sum())
    assert int((types == 2).sum()) == int((ids == video).sum()) > 0
    assert "mm_token_type_ids" not in ask(door, PLACE)


def test_regions_of_a_conversation_may_stand_anywhere_but_once(door: Any) -> None:
    text, item = {"type": "text", "text": "<region>"}, {"type": "region", "region": PLACE}
    found = [
        door.apply_chat_template(talk(VIDEO, item), **CHAT),
        door.apply_chat_template(talk(VIDEO, text), regions=[PLACE], **CHAT),
        door.apply_chat_template(talk(VIDEO, text), processor_kwargs={"regions": [PLACE]}, **CHAT),
    ]
    assert [one["region_lengths"].tolist() for one in found] == [[[1]]] * 3
    for extra in ({"regions": [PLACE]}, {"processor_kwargs": {"regions": [PLACE]}}):
        with refused(vr.PromptError, "both as regions= and as content items"):
            door.apply_chat_template(talk(MISSING, item), **extra, **CHAT)


# --- the object encoder says what becomes of a region ----------------------------------------------------------------


def test_tokens_of_regions_are_counted_by_their_masks() -> None:
    config = ObjectEncoderConfig(max_tokens_per_region=3)
    assert [config.num_tokens(frames) for frames in (1, 2, 3, 4, 50)] == [1, 2, 3, 3, 3]
    masks = [torch.zeros(1, 5, 5), [blank()] * 2, torch.zeros(7, 5, 5)]
    assert config.count_tokens(masks, [(5, 5), (HEIGHT, WIDTH), (5, 5)]) == [1, 2, 3]
    assert config.count_tokens([], []) == []
    assert config.placeholder("<region>", 3) == "<region><region><region>"


def test_pooled_features_give_the_tokens_that_masks_give() -> None:
    torch.manual_seed(0)
    encoder = ObjectEncoder(ObjectEncoderConfig(8, 12, max_tokens_per_region=2))
    features, masks = torch.randn(4, 3, 5, 8), torch.rand(7, 3, 5) > 0.5
    frames, lengths = torch.tensor([0, 1, 2, 3, 3, 1, 0]), torch.tensor([4, 1, 2])
    expected = encoder(features, masks, frames, lengths)
    found = encoder.from_pooled(pool_masks(features, masks, frames), lengths)
    assert found.counts.tolist() == expected.counts.tolist() == [2, 1, 2]
    assert torch.equal(found.tokens, expected.tokens)


class Bracketed(ObjectEncoderConfig):
    """Marks where the tokens of a region begin and end."""

    def placeholder(self, token: str, count: int) -> str:
        return "[" + token * count + "]"


def test_the_text_of_a_region_is_the_object_encoder_s() -> None:
    model, processor = LLAVA.attached()
    processor.attachment.object_encoder = Bracketed(**model.object_encoder.config.to_dict())
    regions = [vr.Region(dict.fromkeys(frames, left())) for frames in ((0,), range(3), range(8))]
    text = "<video>\n<region>, <region> and <region>?"
    inputs = processor(
        text=text, videos=VIDEO[:8], regions=regions, num_frames=8, return_text_replacement_offsets=True
    )
    spans = inputs.pop("text_replacement_offsets")[0]
    written = [one["replacement"] for one in spans if one["text"] == "<region>"]
    assert written == ["[" + "<region>" * count + "]" for count in (1, 3, 4)]
    said = processor.tokenizer.decode(inputs["input_ids"][0])
    assert said.endswith("{}, {} and {}?".format(*written))
    assert inputs["region_lengths"].tolist() == [[1, 3, 8]]
    assert greedy(model, inputs).shape == (1, 5)
    # The tokens are those of the plain placeholder, in the same order.
    plain = shared("llava_onevision")[1](text=text, videos=VIDEO[:8], regions=regions, num_frames=8)
    assert torch.equal(inputs["region_masks"], plain["region_masks"])


# --- the vision tower of a host --------------------------------------------------------------------------------------


class ImageTowerConfig(transformers.LlavaOnevisionConfig):
    model_type = "image_tower"


class ImageTowerHost(LlavaOnevisionHost):
    model_type = "image_tower"
    tower_name = "image_tower"


class UnnamedTowerHost(LlavaOnevisionHost):
    model_type = "image_tower"


@pytest.fixture
def image_tower_model() -> Any:
    """A model whose vision tower is its `image_tower`."""
    plain = LLAVA.model()
    config = ImageTowerConfig(**{**plain.config.to_dict(), "model_type": "image_tower"})
    model = transformers.LlavaOnevisionForConditionalGeneration(config)
    model.model.image_tower = model.model._modules.pop("vision_tower")
    yield model
    registry._HOSTS.pop("image_tower", None)


def test_a_tower_of_another_name_stays_frozen_where_the_connector_is_trained(image_tower_model: Any) -> None:
    vr.register_host(ImageTowerHost())
    model = vr.attach_object_encoder(image_tower_model)
    set_trainable(model, ["connector"])
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert not [name for name in trained if "image_tower" in name]
    assert modules_of_parts(model, ["vision_tower"]) == ["model.image_tower"]
    set_trainable(model, ["vision_tower"])
    assert all(parameter.requires_grad for parameter in model.model.image_tower.parameters())


def test_a_tower_that_is_not_where_the_host_says(image_tower_model: Any) -> None:
    vr.register_host(UnnamedTowerHost())
    parts = ["image_tower host", "'vision_tower'", "has only", "language_model, image_tower", "tower_name"]
    with refused(vr.ConfigurationError, *parts, "UnnamedTowerHost"):
        vr.attach_object_encoder(image_tower_model)
    assert not hasattr(image_tower_model, "object_encoder")
    assert Host.tower_name == "vision_tower"
