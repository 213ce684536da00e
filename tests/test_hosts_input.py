"""Input of hosts: frames, masks and prompts that `RegionProcessor` makes, third-party hosts, and bad input."""

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import videorefer_plugin as vr
from tests.media import write_video
from tests.test_hosts import cell, cells, every_host, greedy, logits, one_thread, pooled, quarter, shared  # noqa: F401
from tests.tiny_hosts import BY_NAME, QWEN2_VL, ROWS, VOCAB, HostRow, stop_mixing
from videorefer_plugin.hosts import Host, registry
from videorefer_plugin.inputs.clips import Clip, show_frames

LLAVA, QWEN3 = BY_NAME["llava_onevision"], BY_NAME["qwen3_vl"]

# ------------------------------------------------------------------------------------------------- prompts


@pytest.mark.spread(2)
@every_host
def test_chat_template_with_regions_in_either_way(row: HostRow) -> None:
    model, processor = shared(row.name)
    first, second = quarter(row, 1), quarter(row, 3, 5, right=True)
    clip = row.video()

    def ask(*content: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "video", "video": clip}, *content]}]

    text = {"type": "text", "text": "Is <region> near <region>?"}
    inputs = processor.apply_chat_template(
        ask(text), regions=[first, second], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    items = processor.apply_chat_template(
        ask(
            {"type": "text", "text": "Is "},
            {"type": "region", "region": first},
            {"type": "text", "text": " near "},
            {"type": "region", "region": second},
            {"type": "text", "text": "?"},
        ),
        add_generation_prompt=True,
    )
    assert set(items) == set(inputs)
    assert all(torch.equal(items[name], inputs[name]) for name in inputs)
    prompt = processor.apply_chat_template(ask(text), add_generation_prompt=True, tokenize=False)
    direct = processor(text=prompt, videos=[clip], regions=[first, second])
    assert all(torch.equal(direct[name], inputs[name]) for name in inputs)
    assert int((inputs["input_ids"] == VOCAB).sum()) == 3
    assert greedy(model, inputs).shape == (1, 5)
    batch = processor.apply_chat_template([ask(text), ask(text)], regions=[[first, second]] * 2, num_frames=2)
    assert batch["input_ids"].shape[0] == 2
    assert batch["region_lengths"].tolist() == [[1, 2], [1, 2]]


@every_host
def test_region_count_follows_the_unions(row: HostRow) -> None:
    _, processor = shared(row.name)
    inputs = processor(text=row.prompt(), videos=[row.video()], regions=[quarter(row, *range(6))], num_frames=8)
    assert inputs["region_lengths"].tolist() == [[6]]
    assert int((inputs["input_ids"] == VOCAB).sum()) == 4
    limited = processor(
        text=row.prompt(), videos=[row.video()], regions=[quarter(row, *range(6))], max_frames_per_region=3
    )
    assert limited["region_lengths"].tolist() == [[3]]
    assert int((limited["input_ids"] == VOCAB).sum()) == 3


# ------------------------------------------------------------------------------------------------- frames


def test_frames_of_a_file_are_exact_and_mask_frames_take_the_nearest_places(tmp_path: Any) -> None:
    _, processor = shared("llava_onevision")
    frames = np.stack([np.full((16, 16, 3), 10 * index, dtype=np.uint8) for index in range(24)])
    path = write_video(tmp_path / "steps.mp4", frames, rate=8)
    call = {"text": LLAVA.prompt("<region>"), "videos": [path], "return_metadata": True}
    plain = processor(text=LLAVA.prompt("What?"), videos=[path], return_metadata=True)
    sampled = plain["video_metadata"][0]["frames_indices"]
    assert sampled == vr.sample_frame_indices(24, num_frames=4) == [3, 9, 14, 20]
    inputs = processor(**call, regions=[vr.Region.from_box((0, 0, 8, 8), frame=10)])
    assert inputs["video_metadata"][0]["frames_indices"] == [3, 10, 14, 20]
    assert inputs["region_frames"].tolist() == [[2]]
    mean, std = (torch.tensor(getattr(processor.video_processor, f"image_{name}")) for name in ("mean", "std"))
    pixels = inputs["pixel_values_videos"][0].mean(dim=(2, 3)) * std + mean
    torch.testing.assert_close(pixels.mean(dim=1) * 25.5, torch.tensor([3.0, 10, 14, 20]), atol=0.3, rtol=0)
    # Times are frames of the file, and more masks than frames make the clip longer.
    timed = processor(**call, regions=[vr.Region.from_box((0, 0, 8, 8), time=1.25)])
    assert timed["video_metadata"][0]["frames_indices"] == [3, 10, 14, 20]
    many = processor(**call, regions=[vr.Region(dict.fromkeys(range(6), (0, 0, 8, 8)))])
    assert many["video_metadata"][0]["frames_indices"] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("sampled", "wanted", "expected"),
    [
        ([3, 9, 14, 20], [9], [3, 9, 14, 20]),
        ([3, 9, 14, 20], [10, 11], [3, 10, 11, 20]),
        ([3, 9, 14, 20], [9, 10], [3, 9, 10, 20]),
        ([0, 0, 1, 1], [2], [0, 0, 1, 2]),
        ([0, 0, 1, 1], [0, 1, 2, 3], [0, 1, 2, 3]),
        ([5], [1, 2, 3], [1, 2, 3]),
    ],
)
def test_which_sampled_frames_give_way(sampled: list[int], wanted: list[int], expected: list[int]) -> None:
    clip = Clip("video", 0, vr.open_video(np.zeros((24, 4, 4, 3), dtype=np.uint8)), sampled)
    show_frames(clip, wanted, may_change=True)
    assert clip.sampled == expected


def test_presampled_frames_keep_the_numbers_of_their_source() -> None:
    _, processor = shared("llava_onevision")
    metadata = {"frames_indices": [40, 80, 120, 160], "fps": 20, "total_num_frames": 200}
    call = {"videos": [LLAVA.video(frames=4)], "text": LLAVA.prompt(), "video_metadata": [metadata]}
    inputs = processor(**call, regions=[quarter(LLAVA, 80, 160)])
    assert inputs["region_frames"].tolist() == [[2, 4]]
    assert processor(**call, regions=[vr.Region.from_box((0, 0, 4, 4), time=4.0)])["region_frames"].tolist() == [[2]]
    with pytest.raises(vr.RegionError, match="frame 81 carries a mask but is not among the 4 frame"):
        processor(**call, regions=[quarter(LLAVA, 81)])


def test_the_number_of_frames_is_asked_for_or_the_host_s_own() -> None:
    processor = vr.RegionProcessor(BY_NAME["qwen3_vl"].processor(), shared("qwen3_vl")[0])
    clip = vr.open_video(QWEN3.video(frames=40), fps=10)

    def rows(**settings: Any) -> int:
        inputs = processor(text=QWEN3.prompt("What?"), videos=[clip], **settings)
        return int(inputs["video_grid_thw"][0, 0])

    assert rows() == 4  # 4 s at the host's 2 frames a second, in pairs
    assert rows(num_frames=6) == 3
    assert rows(fps=5) == 10
    assert rows(do_sample_frames=False) == 20
    assert rows(video_start=1.0, video_end=3.0) == 2


def test_odd_frames_and_pairs() -> None:
    model, processor = shared("qwen3_vl")
    inputs = processor(
        text=QWEN3.prompt("<region>" * 5),
        videos=[QWEN3.video(frames=5)],
        regions=[quarter(QWEN3, frame) for frame in range(5)],
        do_sample_frames=False,
    )
    assert inputs["region_frames"].tolist() == [[1, 1, 2, 2, 3]]
    assert torch.isfinite(logits(model, inputs)).all()


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "video_llama_3"])
def test_videos_of_several_sizes_in_one_batch(name: str) -> None:
    row, (model, processor) = BY_NAME[name], shared(name)
    small, large = row.video(1), np.random.default_rng(3).integers(0, 256, (8, 40, 24, 3), dtype=np.uint8)
    each = [
        {"text": row.prompt(), "videos": [small], "regions": [quarter(row, 1, 2)]},
        {"text": row.prompt(), "videos": [large], "regions": [vr.Region.from_box((8, 20, 24, 40), frame=4)]},
    ]
    batch = processor(
        text=[one["text"] for one in each],
        videos=[one["videos"][0] for one in each],
        regions=[one["regions"] for one in each],
        num_frames=3,
    )
    singles = [processor(**one, num_frames=3) for one in each]
    heights, widths = zip(*(inputs["region_masks"].shape[2:] for inputs in singles), strict=True)
    assert heights[0] < heights[1]
    assert widths[0] > widths[1]
    assert batch["region_masks"].shape[2:] == (max(heights), max(widths))
    together = pooled(model, batch)
    alone = torch.cat([pooled(model, inputs) for inputs in singles])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert (alone[0] - alone[2]).abs().max() > 0.1


def test_smolvlm_batch_of_videos_of_several_lengths() -> None:
    row, (model, processor) = BY_NAME["smolvlm"], shared("smolvlm")
    clips = [row.video(1, frames=3), row.video(2, frames=5)]
    regions = [[quarter(row, 2)], [quarter(row, 4)]]
    call = {"do_sample_frames": False}
    batch = processor(text=[row.prompt()] * 2, videos=clips, regions=regions, **call)
    assert batch["region_frames"].tolist() == [[3], [5]]
    single = [
        processor(text=row.prompt(), videos=[clip], regions=own, **call)
        for clip, own in zip(clips, regions, strict=True)
    ]
    alone = torch.cat([pooled(model, inputs) for inputs in single])
    torch.testing.assert_close(pooled(model, batch), alone, atol=1e-4, rtol=0)


# ------------------------------------------------------------------------------------------------- masks


@every_host
def test_masks_of_any_source_size_come_to_the_grid(row: HostRow) -> None:
    _, processor = shared(row.name)
    height, width = 45, 80
    clip = np.random.default_rng(0).integers(0, 256, (4, height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), dtype=bool)
    mask[5:30, 50:79] = True
    inputs = processor(text=row.prompt(), videos=[clip], regions=[vr.Region.from_mask(mask, frame=2)])
    grid = tuple(inputs["region_masks"].shape[2:])
    expected = vr.resize_masks(torch.from_numpy(mask)[None], grid)
    assert torch.equal(inputs["region_masks"][0], expected)
    assert 0 < int(expected.sum()) < expected.numel()


def test_mask_policies() -> None:
    _, processor = shared("llava_onevision")
    dot = np.zeros((160, 160), dtype=bool)
    dot[2, 2] = True
    clip = np.zeros((4, 160, 160, 3), dtype=np.uint8)
    region = vr.Region({0: dot, 1: np.zeros_like(dot), 2: None})
    kept = processor(text=LLAVA.prompt(), videos=[clip], regions=[region])
    assert kept["region_masks"].sum(dim=(2, 3)).tolist() == [[1]]
    assert bool(kept["region_masks"][0, 0, 0, 0])
    original = processor(text=LLAVA.prompt(), videos=[clip], regions=[region], mask_policy="original")
    assert original["region_masks"].sum(dim=(2, 3)).tolist() == [[0, 0, 0]]
    assert original["region_lengths"].tolist() == [[3]]


def test_padded_frames_have_padded_masks() -> None:
    row = BY_NAME["videollama2"]
    processor = row.processor()
    processor.image_aspect_ratio = "pad"
    wrapped = vr.RegionProcessor(processor, vr.attach_object_encoder(row.model()))
    clip = np.zeros((4, 20, 40, 3), dtype=np.uint8)
    inputs = wrapped(text=row.prompt(), videos=[clip], regions=[vr.Region.from_box((0, 0, 40, 20))])
    assert inputs["region_masks"][0, 0].any(dim=1).tolist() == [False, True, True, False]


# ------------------------------------------------------------------------------------------------- a host of one's own


@pytest.fixture
def qwen2_vl() -> Iterator[HostRow]:
    code = re.search(r"```python\n(.*?)```", textwrap.dedent(Host.__doc__ or ""), re.DOTALL)
    assert code is not None
    exec(textwrap.dedent(code.group(1)), {})
    yield QWEN2_VL
    del registry._HOSTS["qwen2_vl"]


def test_the_example_of_a_host_of_one_s_own_works(qwen2_vl: HostRow) -> None:
    assert "qwen2_vl" in vr.supported_hosts()
    model, processor = qwen2_vl.attached()
    stop_mixing(model)
    regions = [vr.Region.from_box(cell(qwen2_vl, place), frame=1) for place in cells(qwen2_vl)]
    clip = qwen2_vl.video(frames=4)
    call = {"text": qwen2_vl.prompt("<region>" * len(regions)), "regions": regions, "do_sample_frames": False}
    inputs = processor(**call, videos=[clip])
    before = pooled(model, inputs)
    changed = clip.copy()
    x0, y0, x1, y1 = cell(qwen2_vl, (2, 3))
    changed[1, y0:y1, x0:x1] = 255 - changed[1, y0:y1, x0:x1]
    reacts = (pooled(model, processor(**call, videos=[changed])) != before).any(dim=1)
    assert reacts.tolist() == [place == (2, 3) for place in cells(qwen2_vl)]
    assert greedy(model, inputs).shape == (1, 5)


# ------------------------------------------------------------------------------------------------- bad input


def test_supported_hosts_are_those_of_the_matrix() -> None:
    assert vr.supported_hosts() == tuple(sorted(row.name for row in ROWS))


def encoder_of(name: str, folder: Any) -> Any:
    shared(name)[0].save_object_encoder(folder)
    return folder


def unsupported() -> Any:
    import transformers

    config = transformers.Qwen2Config(
        vocab_size=8,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    return transformers.Qwen2ForCausalLM(config)


ATTACH = {
    "unsupported host": (
        lambda: vr.attach_object_encoder(unsupported()),
        r"No host is known for model type 'qwen2'; supported are internvl, .*register_host",
    ),
    "twice": (
        lambda: vr.attach_object_encoder(vr.attach_object_encoder(LLAVA.model())),
        "has an object encoder already. detach_object_encoder",
    ),
    "not a model": (lambda: vr.attach_object_encoder("llava"), "takes a transformers model, but got a str"),
    "wrapped": (
        lambda: vr.attach_object_encoder(torch.nn.Sequential(LLAVA.model())),
        "Attach before the model is wrapped",
    ),
    "without a head": (lambda: vr.attach_object_encoder(LLAVA.model().model), "has no language-modeling head"),
    "vision width": (
        lambda: vr.attach_object_encoder(LLAVA.model(), vr.ObjectEncoderConfig(vision_hidden_size=8, hidden_size=32)),
        r"config.vision_hidden_size is 8, but the llava_onevision host's features are 16 wide",
    ),
    "language width": (
        lambda: vr.attach_object_encoder(LLAVA.model(), vr.ObjectEncoderConfig(vision_hidden_size=16, hidden_size=8)),
        r"config.hidden_size is 8, but the llava_onevision host's language model is 32 wide",
    ),
    "config of another kind": (lambda: vr.attach_object_encoder(LLAVA.model(), {}), "must be an ObjectEncoderConfig"),
    "processor of another family": (
        lambda: vr.attach_object_encoder(LLAVA.model(), processor=QWEN3.processor()),
        "A llava_onevision host needs a LlavaOnevisionProcessor, but got a Qwen3VLProcessor",
    ),
    "detach a bare host": (lambda: vr.detach_object_encoder(LLAVA.model()), "no attached object encoder to take off"),
    "processor for a bare host": (
        lambda: vr.RegionProcessor(LLAVA.processor(), LLAVA.model()),
        "has no attached object encoder. Call attach_object_encoder",
    ),
    "register a class": (lambda: vr.register_host(Host), "takes an instance of a Host subclass"),
    "register without a type": (lambda: vr.register_host(Host()), "lacks model_type, processor_names"),
    "register twice": (
        lambda: vr.register_host(type(registry.host_of("qwen3_vl"))()),
        "model type 'qwen3_vl' is registered already, Qwen3VLHost of videorefer_plugin.hosts.qwen3_vl",
    ),
    "mask policy": (
        lambda: vr.RegionProcessor(LLAVA.processor(), shared("llava_onevision")[0], mask_policy="some"),
        "Unknown mask_policy 'some'; known are 'keep', 'original'",
    ),
}


@pytest.mark.parametrize("case", ATTACH)
def test_bad_attachments(case: str) -> None:
    act, message = ATTACH[case]
    with pytest.raises(vr.ConfigurationError, match=message):
        act()


def test_a_refused_attachment_leaves_the_model_alone() -> None:
    model = LLAVA.model()
    names = set(vars(model))
    with pytest.raises(vr.ConfigurationError):
        vr.attach_object_encoder(model, processor=QWEN3.processor())
    assert type(model) is type(LLAVA.model())
    assert set(vars(model)) == names


def test_processors_that_disagree_with_the_model() -> None:
    model, _ = LLAVA.attached()
    other = LLAVA.processor()
    other.tokenizer.add_tokens(["<more>"])
    with pytest.raises(
        vr.ConfigurationError, match=f"has id {VOCAB + 1} in this processor's tokenizer, but .* {VOCAB}"
    ):
        vr.RegionProcessor(other, model)
    other = LLAVA.processor()
    other.video_token_id = 3
    with pytest.raises(vr.ConfigurationError, match="video placeholder has id 3, but the model's"):
        vr.RegionProcessor(other, model)
    other = LLAVA.processor()
    other.video_processor.do_center_crop = True
    with pytest.raises(vr.ConfigurationError, match="crops frames"):
        vr.RegionProcessor(other, model)


def test_bad_files(tmp_path: Any) -> None:
    saved = encoder_of("llava_onevision", tmp_path / "saved")
    load = vr.load_object_encoder
    with pytest.raises(
        vr.CheckpointError, match="trained for a 'llava_onevision' host, but this model is of type 'qwen3_vl'"
    ):
        load(QWEN3.model(), saved)
    with pytest.raises(vr.CheckpointError, match="this model is a str"):
        load("model", saved)
    with pytest.raises(vr.CheckpointError, match=r"has no object_encoder_config\.json"):
        load(LLAVA.model(), tmp_path)
    with pytest.raises(vr.CheckpointError, match="neither a folder nor a repository"):
        load(LLAVA.model(), tmp_path / "nowhere")
    narrow = vr.ObjectEncoderConfig(vision_hidden_size=16, hidden_size=32, max_tokens_per_region=2)
    with pytest.raises(vr.ConfigurationError, match="Take the model's off with detach_object_encoder first"):
        load(vr.attach_object_encoder(LLAVA.model(), narrow), saved)
    config, weights = saved / "object_encoder_config.json", saved / "object_encoder.safetensors"
    text, good = config.read_text(), weights.read_bytes()
    for bad in ("{", "[]", text.replace('"patch_size"', '"patchsize"'), text.replace('"hidden_size"', '"size"')):
        config.write_text(bad)
        with pytest.raises((vr.CheckpointError, vr.ConfigurationError)):
            load(LLAVA.model(), saved)
    config.write_text(text)
    weights.write_bytes(good[: len(good) // 2])
    with pytest.raises(vr.CheckpointError, match=r"object_encoder\.safetensors is not a whole file of weights"):
        load(LLAVA.model(), saved)
    other = vr.attach_object_encoder(BY_NAME["perception_lm"].model())
    deeper = vr.ObjectEncoderConfig(vision_hidden_size=16, hidden_size=32, projector_depth=3)
    other = vr.attach_object_encoder(vr.detach_object_encoder(other), deeper)
    other.save_object_encoder(tmp_path / "deep")
    weights.write_bytes((tmp_path / "deep" / "object_encoder.safetensors").read_bytes())
    model = LLAVA.model()
    with pytest.raises(vr.CheckpointError, match=r"are not those that object_encoder_config\.json beside them"):
        load(model, saved)
    assert type(model) is type(LLAVA.model()), "a failed load must leave the host as it was"


PLACE = vr.Region.from_box((0, 0, 8, 8))
CALLS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "region beyond the end": (
        {"regions": [quarter(LLAVA, 8)]},
        vr.RegionError,
        "Sample 0: region 0: it lies on frame 8",
    ),
    "frame not sampled": (
        {"regions": [quarter(LLAVA, 6)], "include_region_frames": False, "num_frames": 2},
        vr.RegionError,
        "Sample 0: frame 6 carries a mask but is not among the 2 frame",
    ),
    "empty region": ({"regions": [vr.Region({1: None})]}, vr.RegionError, "region 0: it has no pixel in any of its 1"),
    "mask of another size": (
        {"regions": [vr.Region.from_mask(np.ones((5, 5)))]},
        vr.RegionError,
        "Sample 0: region 0: frame 0",
    ),
    "no region": ({"regions": []}, vr.PromptError, "has 1 <region> in its text, but 0 region"),
    "too many regions": ({"regions": [PLACE, PLACE]}, vr.PromptError, "has 1 <region> in its text, but 2 region"),
    "regions of two samples": (
        {"text": [LLAVA.prompt()] * 2, "videos": [LLAVA.video()] * 2, "regions": [[PLACE]]},
        vr.PromptError,
        r"has 1 item\(s\) for 2 prompt",
    ),
    "not a region": ({"regions": ["dog"]}, vr.RegionError, "Sample 0: a region must be a Region, but is a str"),
    "no video": ({"videos": []}, vr.PromptError, "has <video> in its text, but only 0 video"),
    "two videos": ({"videos": [LLAVA.video(), LLAVA.video()]}, vr.PromptError, "2 video.s. were given"),
    "third visual of two": (
        {
            "text": LLAVA.prompt("<video> <region>"),
            "videos": [LLAVA.video(), LLAVA.video()],
            "regions": [PLACE.on_visual(2)],
        },
        vr.RegionError,
        r"Sample 0: it lies on visual 2, but its prompt has 2 visual\(s\), numbered from 0",
    ),
    "no text": ({"text": None}, vr.PromptError, "text is missing"),
    "text of another kind": ({"text": [3]}, vr.PromptError, "Sample 0: text must be a string"),
    "no such file": ({"videos": ["nowhere.mp4"]}, vr.VideoError, "Sample 0: There is no file or folder"),
    "numpy tensors": ({"return_tensors": "np"}, vr.ConfigurationError, "PyTorch tensors only"),
    "policy": ({"mask_policy": "most"}, vr.ConfigurationError, "Unknown mask_policy 'most'"),
    "frames twice": ({"num_frames": 4, "fps": 2}, vr.VideoError, "exclude each other"),
    "metadata": (
        {"video_metadata": [{"frames_indices": [3, 2]}]},
        vr.VideoError,
        r"must name the source frame of each of the 8 frame\(s\)",
    ),
    "metadata of another batch": ({"video_metadata": []}, vr.VideoError, r"has 0 item\(s\) for 1 video"),
    "truncated": (
        {"max_length": 12, "truncation": True, "padding_side": "left"},
        (ValueError, vr.PromptError),
        "truncat|placeholder|match|token",
    ),
}  # type: ignore[dict-item]


@pytest.mark.parametrize("case", CALLS)
def test_bad_calls(case: str) -> None:
    changes, error, message = CALLS[case]
    call = {"text": LLAVA.prompt(), "videos": [LLAVA.video()], "regions": [PLACE], **changes}
    with pytest.raises(error, match=message):
        shared("llava_onevision")[1](**call)


def test_videos_of_unequal_lengths() -> None:
    regions = [[quarter(LLAVA, *range(6))], [quarter(LLAVA, 0)]]
    call = {"text": [LLAVA.prompt()] * 2, "videos": [LLAVA.video(), LLAVA.video()], "regions": regions}
    model, processor = shared("llava_onevision")
    assert processor(**call)["pixel_values_videos"].shape[:2] == (2, 6)
    assert processor(**call, num_frames=6)["pixel_values_videos"].shape[:2] == (2, 6)

    class EqualFrames(type(registry.host_of("llava_onevision"))):  # type: ignore[misc]
        equal_frames = True

    strict = vr.RegionProcessor(LLAVA.processor(), model, num_frames=4)
    strict.host = EqualFrames()
    message = (
        r"have \[6, 4\] frames to show, but llava_onevision hosts need equally many.*hosts that take any: internvl"
    )
    with pytest.raises(vr.VideoError, match=message):
        strict(**call)
    assert strict(**call, num_frames=6)["pixel_values_videos"].shape[:2] == (2, 6)


@pytest.mark.parametrize("name", ["smolvlm", "internvl", "perception_lm"])
def test_regions_on_images_that_are_cut_into_tiles(name: str) -> None:
    row, (_, processor) = BY_NAME[name], shared(name)
    image = Image.fromarray(row.video()[0])
    with pytest.raises(
        vr.RegionError, match=r"cut images into tiles.*as a video of one frame.*llava_onevision, qwen2_5_vl"
    ):
        processor(text=f"{row.image_token} <region>", images=[image], regions=[PLACE])
    shown = processor(text=row.prompt(), videos=[[image]], regions=[PLACE])
    assert shown["region_frames"].tolist() == [[1]]


def test_bad_chats() -> None:
    processor = shared("llava_onevision")[1]
    video, region = {"type": "video", "video": LLAVA.video()}, {"type": "region", "region": PLACE}

    def chat(*content: Any) -> list[dict[str, Any]]:
        return [{"role": "user", "content": list(content)}]

    with pytest.raises(vr.PromptError, match="both as regions= and as content items"):
        processor.apply_chat_template(chat(video, region), regions=[PLACE])
    with pytest.raises(vr.RegionError, match='needs a Region under "region"'):
        processor.apply_chat_template(chat(video, {"type": "region"}))
    with pytest.raises(vr.PromptError, match='of type "video" needs a video under "video"'):
        processor.apply_chat_template(chat({"type": "video"}, region))
    with pytest.raises(vr.ConfigurationError, match="return_assistant_tokens_mask is not supported"):
        processor.apply_chat_template(chat(video, region), return_assistant_tokens_mask=True)


def spoil(inputs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**inputs, **changes}.items() if value is not None}


@every_host
def test_bad_tensors(row: HostRow) -> None:
    model, processor = shared(row.name)
    good = dict(processor(text=row.prompt(), videos=[row.video()], regions=[quarter(row, 0, 3)]))
    masks, frames = good["region_masks"], good["region_frames"]
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (
            {"region_masks": masks[:, :, :-1]},
            vr.TensorError,
            "region_masks are .* but the features below them form grids of",
        ),
        (
            {"region_frames": frames + 50},
            vr.TensorError,
            r"name frame 51 of sample 0, but the visuals of that sample have \d row",
        ),
        ({"region_frames": frames - 9}, vr.TensorError, "name frame -8 of region_pixel_values, which hosts have not"),
        ({"region_masks": None}, vr.TensorError, "region_masks is missing"),
        ({"region_lengths": torch.tensor([[1]])}, (vr.TensorError, vr.PromptError), "add up to 1|position"),
        ({"region_pixel_values": torch.zeros(1, 1, 3, 16, 16)}, vr.TensorError, "are for VideoRefer models"),
        ({"input_ids": good["input_ids"].clamp(max=65)}, vr.PromptError, "has 0 <region> position"),
        (
            {"region_frames": frames[0], "region_masks": masks[0]},
            vr.TensorError,
            "earlier version .* Prepare them again",
        ),
        (
            {"region_masks": None, "region_frames": None, "region_lengths": None},
            vr.PromptError,
            r"has 2 <region> position\(s\)",
        ),
    ]  # type: ignore[list-item]
    for changes, error, message in cases:
        for run in (lambda inputs: logits(model, inputs), lambda inputs: greedy(model, inputs)):
            with pytest.raises(error, match=message):
                run(spoil(good, **changes))
    pixels = [name for name in good if name.startswith("pixel_values")]
    for value, what in ((torch.nan, "NaN"), (-torch.inf, "infinity")):
        spoiled = good[pixels[0]].clone()
        spoiled[-1] = value
        for run in (logits, greedy):
            with pytest.raises(
                vr.TensorError, match=f"{pixels[0]} holds {what} at index {len(spoiled) - 1} of its first"
            ):
                run(model, spoil(good, **{pixels[0]: spoiled}))
    with pytest.raises(vr.PromptError, match="no video or image that they lie on"):
        logits(model, spoil(good, **dict.fromkeys(pixels)))


def test_cells_beyond_a_smaller_grid_and_missing_grids() -> None:
    model, processor = shared("qwen3_vl")
    large = np.zeros((4, 40, 24, 3), dtype=np.uint8)
    inputs = processor(
        text=[QWEN3.prompt()] * 2, videos=[QWEN3.video(frames=4), large], regions=[[quarter(QWEN3, 0)], [PLACE]]
    )
    masks = inputs["region_masks"].clone()
    masks[0, 0, -1] = True
    with pytest.raises(vr.TensorError, match="cover cells beyond the feature grid of their frame"):
        logits(model, spoil(inputs, region_masks=masks))
    encoded = model.encode_visuals(dict(inputs), None)
    with pytest.raises(vr.TensorError, match=r"mm_encoder_outputs.*both given"):
        logits(model, inputs, mm_encoder_outputs=encoded)
    given = {name: value for name, value in inputs.items() if name not in ("pixel_values_videos", "video_grid_thw")}
    with pytest.raises(vr.TensorError, match="Regions need video_grid_thw"):
        logits(model, given, mm_encoder_outputs=encoded)


def test_a_model_that_has_not_seen_a_processor_does_not_know_the_id() -> None:
    model = vr.attach_object_encoder(LLAVA.model())
    inputs = shared("llava_onevision")[1](text=LLAVA.prompt(), videos=[LLAVA.video()], regions=[PLACE])
    with pytest.raises(vr.PromptError, match="does not know which id stands for <region>"):
        logits(model, inputs)
    vr.RegionProcessor(LLAVA.processor(), model)
    assert torch.isfinite(logits(model, inputs)).all()
