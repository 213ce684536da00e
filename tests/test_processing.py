"""From prompts, media and regions to the tensors of a batch."""

import copy

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

import videorefer_plugin as vr
from tests.batches import take_samples
from tests.conftest import CASES, CHECKPOINT, GOLDENS, TINY, case_call
from videorefer_plugin.models.videorefer.region_inputs import frames_with_masks

VIDEO = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)


# --- agreement with the original -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_ids_pixels_and_frames_agree_with_the_original(case, visuals, processor):
    inputs = processor(**case_call(case, visuals), return_metadata=True)
    expected = load_file(TINY / case["file"])
    placeholder = {"video": processor.video_token_id, "image": processor.image_token_id}.get(case["modal"])
    counts = iter(case.get("region_token_nums", []))
    ids = []
    for token in case["input_ids"]:
        if token in (-200, -201):
            ids += [placeholder] * expected["video_tokens"].shape[1]
        elif token == processor.region_token_id:
            ids += [token] * next(counts)
        else:
            ids.append(token)
    assert inputs["input_ids"][0].tolist() == ids
    if case["modal"] == "video":
        assert inputs["video_metadata"][0]["frames_indices"] == case["sampled_frame_indices"]
        pixels = visuals[f"{case['pixel_values']}.pixel_values"]
        torch.testing.assert_close(inputs["pixel_values_videos"][0], pixels, atol=1e-6, rtol=0)
    if case["modal"] == "image":
        torch.testing.assert_close(
            inputs["pixel_values"], visuals[f"{case['pixel_values']}.pixel_values"], atol=1e-6, rtol=0
        )
    if case.get("annotation"):
        frames, rows = frames_with_masks(inputs)
        assert len(frames) == len(expected["mask_frame_pixel_values"]), "each frame once"
        regions = [region for sample in case["ann_indices"] for region in sample]
        below = expected["mask_frame_pixel_values"][[row for region in regions for row in region]]
        torch.testing.assert_close(frames[rows], below, atol=1e-6, rtol=0)
        assert inputs["region_lengths"].tolist() == [[len(region) for region in regions]]
        assert torch.equal(inputs["region_masks"][0], vr.resize_masks(expected["masks"], 7, "original"))


@pytest.mark.parametrize("mode", ["square", "pad"])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_preprocessing_agrees_with_the_original(mode, index, processor):
    golden = load_file(GOLDENS / "frame_sampling" / "image_preprocess.safetensors")
    pixels = processor.preprocess_frames(golden[f"{index}.image"].numpy()[None], mode)
    torch.testing.assert_close(pixels[0], golden[f"{index}.{mode}"], atol=1e-6, rtol=0)


class Halving(transformers.SiglipImageProcessorPil):
    """An image processor that rescales in its own way."""

    def rescale(self, image, scale, **kwargs):
        return super().rescale(image // 2, scale, **kwargs)


IMAGE_PROCESSORS = {
    "siglip": lambda: transformers.SiglipImageProcessorPil(size={"height": 14, "width": 14}),
    "clip": lambda: transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 14, "width": 14}
    ),
    "clip-odd": lambda: transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 9}, crop_size={"height": 14, "width": 14}
    ),
    "plain": lambda: transformers.SiglipImageProcessorPil(size={"height": 14, "width": 14}, do_normalize=False),
    "padding": lambda: transformers.SiglipImageProcessorPil(
        size={"height": 14, "width": 14}, do_pad=True, pad_size={"height": 16, "width": 17}
    ),
    "own-way": lambda: Halving(size={"height": 14, "width": 14}),
    "torchvision": lambda: transformers.SiglipImageProcessor(size={"height": 14, "width": 14}),
}
FRAME_SETTINGS = [
    {},
    {"do_rescale": False},
    {"do_normalize": False},
    {"do_rescale": False, "do_normalize": False},
    {"do_rescale": None, "do_normalize": True},
    {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.0, 1.0], "image_std": [1.0, 1.0, 1.0]},
    {"rescale_factor": -1.0},
    {"image_mean": [0.1, 0.2, 0.3], "image_std": (0.3, 0.2, 0.1)},
    {"image_mean": 0.25, "image_std": 2.0},
    {"resample": Image.Resampling.NEAREST, "do_convert_rgb": False},
]


@pytest.mark.spread(23)
@pytest.mark.parametrize("settings", FRAME_SETTINGS, ids=str)
@pytest.mark.parametrize("name", IMAGE_PROCESSORS)
def test_frames_become_what_the_image_processor_makes_of_them(name, settings, processor):
    own = copy.copy(processor)
    own.image_processor = IMAGE_PROCESSORS[name]()
    ramp = np.arange(2 * 22 * 35 * 3, dtype=np.int64).reshape(2, 22, 35, 3).astype(np.uint8)  # holds every byte
    for frames in (ramp, VIDEO[:3], VIDEO[:1, :14, :14], VIDEO[:1, :3, :1]):
        expected = own.image_processor([Image.fromarray(frame) for frame in frames], return_tensors="pt", **settings)
        found = own.preprocess_frames(frames, "square", **settings)
        assert found.dtype == expected["pixel_values"].dtype
        assert torch.equal(found, expected["pixel_values"])


@pytest.mark.parametrize("settings", [{"image_mean": [0.5, 0.5]}, {"resample": 99}, {"image_std": "wide"}], ids=str)
def test_wrong_settings_of_frames_are_refused_in_the_image_processors_words(settings, processor):
    with pytest.raises(Exception) as expected:
        processor.image_processor([Image.fromarray(VIDEO[0])], return_tensors="pt", **settings)
    with pytest.raises(expected.type) as found:
        processor.preprocess_frames(VIDEO[:1], "square", **settings)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_chat_template_writes_the_originals_prompt(case, processor):
    messages = case["messages"]
    if case["modal"] == "text":
        messages = [{"role": "user", "content": case["question"]}]
    assert processor.apply_chat_template(messages, add_generation_prompt=True) == case["prompt"]


# --- chat ------------------------------------------------------------------------------------------------------------


def chat(question, *, role="user", visual=VIDEO):
    return {"role": role, "content": [{"type": "video", "video": visual}, {"type": "text", "text": question}]}


CHAT = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}


def test_chat_with_content_items_equals_a_call_with_the_prompt(processor):
    region = vr.Region.from_box((3, 4, 30, 40), frame=5)
    prompt = processor.apply_chat_template([chat("What is <region>?")], add_generation_prompt=True)
    expected = processor(text=prompt, videos=VIDEO, regions=[region], return_tensors="pt")
    found = processor.apply_chat_template([chat("What is <region>?")], regions=[region], **CHAT)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_regions_in_place_equal_regions_beside_the_text(processor):
    regions = [vr.Region.from_box((3, 4, 30, 40), frame=5), vr.Region.from_box((30, 4, 60, 40), frame=6)]
    inline = {
        "role": "user",
        "content": [
            {"type": "video", "video": VIDEO},
            {"type": "text", "text": "Is "},
            {"type": "region", "region": regions[0]},
            {"type": "text", "text": " above "},
            {"type": "region", "region": regions[1]},
            {"type": "text", "text": "?"},
        ],
    }
    found = processor.apply_chat_template([inline], **CHAT)
    expected = processor.apply_chat_template([chat("Is <region> above <region>?")], regions=regions, **CHAT)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_visual_goes_to_the_head_of_its_message_and_not_into_the_system_message(processor):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What happens?"}, {"type": "video", "video": VIDEO}]},
    ]
    assert processor.apply_chat_template(messages) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<video>\nWhat happens?<|im_end|>\n"
    )


def test_batch_of_chats(processor):
    region = vr.Region.from_box((3, 4, 30, 40), frame=5)
    conversations = [
        [chat("What is <region>?")],
        [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        [chat("What happens in the video?")],
    ]
    inputs = processor.apply_chat_template(conversations, regions=[[region], [], []], **CHAT)
    assert inputs["input_ids"].shape[0] == 3
    assert inputs["pixel_values_videos"].shape == (2, 8, 3, 42, 42)
    assert inputs["region_lengths"].tolist() == [[1], [0], [0]]


def test_settings_of_the_call_may_be_given_to_the_chat_template(processor):
    inputs = processor.apply_chat_template([chat("What happens?")], num_frames=4, **CHAT)
    assert inputs["pixel_values_videos"].shape[1] == 4


def test_assistant_tokens_mask_covers_the_answers(processor):
    messages = [
        chat("What is happening?"),
        {"role": "assistant", "content": "A red ball rolls."},
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "To the left."},
    ]
    found = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
    )
    mask = torch.as_tensor(found["assistant_masks"]).bool().reshape(-1)
    learnt = processor.tokenizer.decode(found["input_ids"].reshape(-1)[mask])
    assert learnt == "A red ball rolls.<|im_end|>\nTo the left.<|im_end|>\n"


# --- forms of input --------------------------------------------------------------------------------------------------


def test_forms_of_the_same_video_give_the_same_tensors(tmp_path, processor):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(VIDEO):
        Image.fromarray(frame).save(folder / f"{index:03d}.png")
    forms = [
        VIDEO,
        torch.from_numpy(VIDEO),
        torch.from_numpy(VIDEO).permute(0, 3, 1, 2),
        list(VIDEO),
        [Image.fromarray(frame) for frame in VIDEO],
        sorted(map(str, folder.iterdir())),
        folder,
        str(folder),
        vr.open_video(VIDEO),
        [VIDEO],
        [[VIDEO]],
    ]
    region = vr.Region.from_box((3, 4, 30, 40), frame=17)
    expected = processor(text="<video>\n<region>?", videos=VIDEO, regions=[region], return_tensors="pt")
    for form in forms:
        found = processor(text="<video>\n<region>?", videos=form, regions=[region], return_tensors="pt")
        for name, value in expected.items():
            assert torch.equal(found[name], value), (type(form), name)


def test_regions_may_come_flat_nested_or_alone(processor):
    region = vr.Region.from_box((3, 4, 30, 40), frame=17)
    calls = [
        processor(text="<video>\n<region>?", videos=VIDEO, regions=form, return_tensors="pt")
        for form in (region, [region], [[region]], (region,))
    ]
    for found in calls[1:]:
        assert torch.equal(found["region_masks"], calls[0]["region_masks"])


def test_videos_and_images_go_to_their_samples_in_order(processor):
    image = VIDEO[0]
    inputs = processor(
        text=["<image>\na", "<video>\nb", "c", "<video>\nd", "<image>\ne"],
        videos=[VIDEO, VIDEO[::-1].copy()],
        images=[image, Image.fromarray(image).transpose(Image.Transpose.FLIP_TOP_BOTTOM)],
        return_tensors="pt",
    )
    backwards = processor(text="<video>\n", videos=VIDEO[::-1].copy(), return_tensors="pt")
    assert torch.equal(inputs["pixel_values_videos"][1], backwards["pixel_values_videos"][0])
    assert inputs["pixel_values"].shape == (2, 3, 42, 42)
    per_sample = [(row == processor.image_token_id).any().item() for row in inputs["input_ids"]]
    assert per_sample == [True, False, False, False, True]


def test_sampling_settings(processor):
    def indices(**settings):
        found = processor(text="<video>\n", videos=vr.open_video(VIDEO, fps=10), return_metadata=True, **settings)
        return found["video_metadata"][0]["frames_indices"]

    assert indices() == vr.sample_frame_indices(20, num_frames=8)
    assert indices(num_frames=4) == vr.sample_frame_indices(20, num_frames=4)
    assert indices(do_sample_frames=False) == list(range(20))
    assert indices(sample_by_second=True) == vr.sample_frame_indices(20, fps=10)
    assert indices(video_start=1.0, num_frames=2) == vr.sample_frame_indices(20, fps=10, start=1.0, num_frames=2)
    several = processor(
        text=["<video>\n"] * 2,
        videos=[vr.open_video(VIDEO, fps=10)] * 2,
        video_start=[0.5, 1.0],
        video_end=[1.5, 2.0],
        num_frames=2,
        return_metadata=True,
    )
    starts = [metadata["frames_indices"][0] for metadata in several["video_metadata"]]
    assert starts[0] < starts[1]


def test_settings_kept_on_the_processor_and_overruled_by_the_call(processor):
    tiny = vr.Region.from_box((20, 20, 21, 21), frame=2)
    kept = processor(text="<video>\n<region>", videos=VIDEO, regions=[tiny], return_tensors="pt")
    lost = processor(
        text="<video>\n<region>", videos=VIDEO, regions=[tiny], mask_policy="original", return_tensors="pt"
    )
    assert kept["region_masks"].sum() == 1
    assert lost["region_masks"].sum() == 0


# --- regions ---------------------------------------------------------------------------------------------------------


def test_a_region_takes_as_many_positions_as_unions(processor):
    box = (3, 4, 30, 40)
    for frames in (1, 2, 4, 5, 16):
        region = vr.Region(dict.fromkeys(range(frames), box))
        inputs = processor(text="<video>\n<region>", videos=VIDEO, regions=[region], return_tensors="pt")
        assert (inputs["input_ids"] == processor.region_token_id).sum() == min(frames, 4)
        assert inputs["region_lengths"].tolist() == [[frames]]


def test_masks_are_ordered_by_time(processor):
    boxes = {9: (0, 0, 20, 20), 2: (40, 30, 64, 48), 5: (20, 10, 40, 30)}
    inputs = processor(text="<video>\n<region>", videos=VIDEO, regions=[vr.Region(boxes)], return_tensors="pt")
    expected = [vr.Region({frame: boxes[frame]}).mask(frame, 48, 64) for frame in sorted(boxes)]
    grids = vr.resize_masks(torch.from_numpy(np.stack(expected)), 7)
    assert torch.equal(inputs["region_masks"][0], grids)
    frames, rows = frames_with_masks(inputs)
    assert torch.equal(frames[rows], processor.preprocess_frames(VIDEO[[2, 5, 9]]))


def test_frames_shared_by_objects_appear_once(processor):
    regions = [
        vr.Region({3: (0, 0, 20, 20), 8: (0, 0, 20, 20)}),
        vr.Region({8: (30, 20, 60, 40), 4: (30, 20, 60, 40)}),
    ]
    inputs = processor(text="<video>\n<region> <region>", videos=VIDEO, regions=regions, return_tensors="pt")
    frames, rows = frames_with_masks(inputs)
    assert len(frames) == 3
    assert torch.equal(frames[rows], processor.preprocess_frames(VIDEO[[3, 8, 4, 8]]))


def test_an_absent_frame_is_left_out_or_counts_as_empty(processor):
    region = vr.Region({3: (0, 0, 20, 20), 8: None, 12: (0, 0, 20, 20)})
    call = {"text": "<video>\n<region>", "videos": VIDEO, "regions": [region], "return_tensors": "pt"}
    assert processor(**call)["region_lengths"].tolist() == [[2]]
    original = processor(**call, mask_policy="original")
    assert original["region_lengths"].tolist() == [[3]]
    assert original["region_masks"][0].flatten(1).sum(1).gt(0).tolist() == [True, False, True]


def test_frames_of_a_long_region_can_be_limited(processor):
    region = vr.Region(dict.fromkeys(range(20), (0, 0, 20, 20)))
    call = {"text": "<video>\n<region>", "videos": VIDEO, "regions": [region], "return_tensors": "pt"}
    inputs = processor(**call, max_frames_per_region=5)
    assert inputs["region_lengths"].tolist() == [[5]]
    chosen = processor(
        text="<video>\n<region>",
        videos=VIDEO,
        regions=[region.select(vr.sample_frame_indices(20, num_frames=5))],
        return_tensors="pt",
    )
    for name, value in chosen.items():
        assert torch.equal(inputs[name], value), name


def test_regions_by_time_meet_the_frame_on_screen(processor):
    video = vr.open_video(VIDEO, fps=10)
    by_time = vr.Region.from_box((3, 4, 30, 40), time=1.25)
    by_frame = vr.Region.from_box((3, 4, 30, 40), frame=12)
    found, expected = (
        processor(text="<video>\n<region>", videos=video, regions=[region], return_tensors="pt")
        for region in (by_time, by_frame)
    )
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_pad_mode_pads_masks_like_frames(processor):
    region = vr.Region.from_box((0, 0, 64, 48), frame=0)
    inputs = processor(
        text="<video>\n<region>", videos=VIDEO, regions=[region], image_aspect_ratio="pad", return_tensors="pt"
    )
    padded = np.pad(np.ones((48, 64), dtype=np.uint8), ((8, 8), (0, 0)))  # 64 x 64, the object in the middle
    assert torch.equal(inputs["region_masks"][0], vr.resize_masks(torch.from_numpy(padded)[None], 7))
    assert not inputs["region_masks"].all()


def test_masks_lie_on_the_pixels_of_their_frames(visuals, processor):
    """Frames of a batch that a visual shows are named; only the others come as pixels of their own."""
    image, backwards = visuals["img_c.frames"][0].numpy(), VIDEO[::-1].copy()
    marked = [[*range(20)], [0], [*range(5), 19]]
    inputs = processor(
        text=["<video>\n<region>", "<image>\n<region>", "<video>\n<region> <region>"],
        videos=[VIDEO, backwards],
        images=[image],
        regions=[
            [vr.Region(dict.fromkeys(marked[0], (0, 0, 20, 20)))],
            [vr.Region.from_box((0, 0, 20, 20))],
            [vr.Region(dict.fromkeys(range(5), (0, 0, 20, 20))), vr.Region.from_box((0, 0, 20, 20), frame=19)],
        ],
        return_tensors="pt",
    )
    sampled = set(vr.sample_frame_indices(20, num_frames=8))
    sources, shown = (VIDEO, image[None], backwards), (sampled, {0}, sampled)
    for sample, (visuals_of, frames) in enumerate(zip((([0], []), ([], [0]), ([1], [])), marked, strict=True)):
        single = take_samples(inputs, [sample], *visuals_of)
        single["region_frames"] = single["region_frames"][:, : len(frames)]
        assert (single["region_frames"][0] > 0).tolist() == [frame in shown[sample] for frame in frames]
        pixels, rows = frames_with_masks(single)
        assert torch.equal(pixels[rows], processor.preprocess_frames(sources[sample][frames]))
    assert inputs["region_pixel_values"].shape[:2] == (3, 20 - 8)


def test_real_files_of_many_kinds(tmp_path, processor, model):
    """Landscape mp4, portrait webm, GIF and an image in one batch, with regions at different times."""
    from tests import media

    mp4 = media.write_video(tmp_path / "a.mp4", 30)
    webm = media.write_video(tmp_path / "b.webm", 12, codec="libvpx-vp9")
    picture = tmp_path / "c.png"
    Image.fromarray(VIDEO[3]).save(picture)
    regions = [
        [vr.Region.from_box((5, 5, 40, 40), frame=29), vr.Region.from_points([(30, 20)], time=0.5)],
        [vr.Region({0: (2, 2, 30, 60), 11: (10, 2, 40, 60)})],
        [vr.Region.from_polygon([(1, 1), (50, 5), (30, 40)])],
    ]
    inputs = processor(
        text=["<video>\n<region> and <region>?", "<video>\nWhat is <region>?", "<image>\n<region>"],
        videos=[mp4, str(webm)],
        images=[picture],
        regions=regions,
        return_tensors="pt",
    )
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()
    assert inputs["region_lengths"].tolist() == [[1, 1], [2, 0], [1, 0]]


def test_ask(model, processor):
    region = vr.Region.from_box((3, 4, 30, 40), frame=17)
    answer = vr.ask(model, VIDEO, "What is <region> doing?", [region], processor=processor, max_new_tokens=8)
    inputs = processor.apply_chat_template([chat("What is <region> doing?")], regions=[region], **CHAT)
    ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert answer == processor.decode(ids, skip_special_tokens=True).strip()
    assert vr.ask(CHECKPOINT, VIDEO, "What is <region> doing?", [region], max_new_tokens=8) == answer
    box = vr.Region.from_box((0, 0, 9, 9))
    about_image = vr.ask(
        model, None, "What is <region>?", [box], image=VIDEO[0], processor=processor, max_new_tokens=4
    )
    message = {
        "role": "user",
        "content": [{"type": "image", "image": VIDEO[0]}, {"type": "text", "text": "What is <region>?"}],
    }
    inputs = processor.apply_chat_template([message], regions=[box], **CHAT)
    ids = model.generate(**inputs, max_new_tokens=4, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert about_image == processor.decode(ids, skip_special_tokens=True).strip()
