"""VideoRefer-VideoLLaMA3: original checkpoints load unconverted, and answer as the original code does."""

import functools
import json
import operator
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
)

import videorefer_plugin as vr
from tests.checkpoints import change_json, read_json
from tests.videollama3 import (
    CASES,
    CHECKPOINT,
    GOLDENS,
    REGION_ID,
    TINY,
    TOWER,
    call,
    pixels,
    reference_ids,
    tensors,
    visuals,
)
from videorefer_plugin import (
    CheckpointError,
    ConfigurationError,
    PromptError,
    RegionError,
    TensorError,
    VideoReferVideoLLaMA3ForConditionalGeneration,
)
from videorefer_plugin.hosts import load_checkpoint
from videorefer_plugin.hosts.loading import load_processor
from videorefer_plugin.models.videollama2.adapters import rename_original
from videorefer_plugin.models.videorefer_videollama3.patches import Patches, keep_changed
from videorefer_plugin.training import VideoReferCollator, VideoReferDataset
from videorefer_plugin.training.parts import parameters_by_part
from videorefer_plugin.video.intervals import sample_intervals

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
GREEDY = {"do_sample": False, "repetition_penalty": 1.0, "suppress_tokens": []}


def named(case):
    return case["name"]


@pytest.fixture(scope="module")
def shared():
    return AutoModel.from_pretrained(CHECKPOINT, dtype=torch.float32, attn_implementation="eager").eval()


@pytest.fixture
def model(shared):
    shared.eval()
    shared.zero_grad(set_to_none=True)
    return shared


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(CHECKPOINT)


def inputs_of(case, processor, **changed):
    inputs = processor(**{**call(case, processor), **changed})
    if "region_masks" in inputs:
        inputs["region_initial_cells"] = case["kmeans_initial_rows"]
    return inputs


def answers(model, inputs, tokens=6, **settings):
    with torch.no_grad():
        made = model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, **{**GREEDY, **settings})
    return made[:, inputs["input_ids"].shape[1] :].tolist()


def square(top, left, side=30, shape=(70, 101)):
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def clip(frames=6, height=70, width=101):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


# ---------------------------------------------------------------------- against the original


@pytest.mark.parametrize("case", CASES, ids=named)
def test_prompts_are_those_of_the_original(case, processor):
    inputs, reference = processor(**call(case, processor)), tensors(case["file"])
    assert inputs["input_ids"][0].tolist() == reference_ids(case)
    name = {"video": "pixel_values_videos", "image": "pixel_values"}.get(case["modal"])
    if name is not None:
        assert torch.equal(inputs[name], pixels(visuals()[f"{case['patches']}.patches"]))
    if "compression_mask" in reference:
        assert torch.equal(inputs["video_compression_mask"], reference["compression_mask"].bool())
    if case.get("region_token_nums"):
        assert torch.equal(inputs["region_pixel_values"][0], pixels(reference["region_patches"]))
        assert inputs["region_grids"][0].tolist() == [grid[1:] for grid in case["region_grid_thw"]]
        assert inputs["region_mask_grids"][0].tolist() == case["region_mask_grids"]
        masks = [reference[f"region_masks.{number}"].flatten() for number in range(len(case["region_token_nums"]))]
        assert torch.equal(inputs["region_masks"][0], torch.cat(masks).bool())


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_answers_are_those_of_the_original(case, processor, model):
    inputs, reference = inputs_of(case, processor), tensors(case["file"])
    seen = []
    hook = model.get_decoder().layers[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        output = model(**inputs)
    hook.remove()
    assert output.logits.shape[1] == case["sequence_length"]
    torch.testing.assert_close(seen[0], reference["inputs_embeds"], **CLOSE)
    torch.testing.assert_close(output.logits[:, -8:], reference["logits_last"], atol=2e-4, rtol=0)
    if "visual_tokens" in reference:
        with torch.no_grad():
            (encoded,) = model.encode_visuals(dict(inputs), None).values()
        torch.testing.assert_close(torch.cat(encoded.pooler_output), reference["visual_tokens"], **CLOSE)
    if "region_masks" in inputs:
        tokens = model.get_region_tokens(**inputs)
        torch.testing.assert_close(torch.cat(tokens[0]), reference["region_tokens"], **CLOSE)
        assert [len(one) for one in tokens[0]] == case["region_token_nums"]
    assert answers(model, inputs, 12, eos_token_id=None) == [case["greedy_ids"]]


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", [case for case in CASES if case.get("upstream_infer_ids")], ids=named)
def test_what_the_original_s_helper_writes_is_written(case, processor, model):
    inputs = inputs_of(case, processor)
    length = inputs["input_ids"].shape[1]
    # The original generates from embeddings, so its penalty, that of the checkpoint, counts no words of the prompt.
    usual = RepetitionPenaltyLogitsProcessor(model.generation_config.repetition_penalty)
    penalty = LogitsProcessorList([lambda ids, scores: usual(ids[:, length:], scores)])
    settings = {**GREEDY, "logits_processor": penalty}
    with torch.no_grad():
        made = model.generate(**inputs, max_new_tokens=16, **settings)
    assert made[0, length:].tolist() == case["upstream_infer_ids"]


VISION = json.loads((GOLDENS / "vision/cases.json").read_text())["cases"]


@pytest.mark.parametrize("case", VISION, ids=named)
def test_visuals_are_encoded_as_in_the_original(case, processor, model):
    reference = load_file(GOLDENS / "vision" / case["file"])
    patches, merge = processor.patches, case["downsampling"]
    budget = case["max_pixels"] * merge**2 // 4 // case["num_images"]
    made = []
    for number, size in enumerate(case["sizes_hw"]):
        frame = reference.get(f"frames.{number}", reference["frames.0"])
        shown = patches.shown(tuple(size), merge, budget, 3136)
        assert [1, *shown.grid] == case["grid_thw"][number]
        made.append(patches.of(frame.numpy()[None], shown.size, merge)[0])
    assert torch.equal(torch.cat(made), pixels(reference["patches"]))
    grids = torch.tensor(case["grid_thw"])
    with torch.no_grad():
        output = model.model.get_image_features(
            torch.cat(made), grids, torch.full((len(grids),), merge), return_dict=True
        )
    assert sum(map(len, output.pooler_output)) == case["tokens"]
    torch.testing.assert_close(torch.cat(output.pooler_output), reference["projected"], **CLOSE)


SAMPLING = json.loads((GOLDENS / "frame_sampling/frame_sampling.json").read_text())
LISTS = [{"kind": kind, **entry} for kind in ("files", "folders") for entry in SAMPLING[kind]]


@pytest.mark.parametrize("entry", LISTS, ids=lambda entry: f"{entry['kind']}-{entry['request_fps']}")
def test_frames_are_sampled_as_by_the_original(entry):
    number = entry.get("frames", entry.get("folder_frames"))
    rate = {"fps": float(entry["fps"])} if "fps" in entry and "/" not in entry["fps"] else {}
    if "/" in entry.get("fps", ""):
        over, under = map(int, entry["fps"].split("/"))
        rate = {"fps": over / under}
    video = vr.open_video(np.zeros((number, 8, 8, 3), dtype=np.uint8), **rate)
    found, times = sample_intervals(
        video,
        entry["request_fps"],
        max_frames=entry["max_frames"],
        start=entry.get("start_s"),
        end=entry.get("end_s"),
    )
    if not entry["frame_indices"]:  # the original fails; a clip shows at least one frame
        assert len(found) >= 1
        return
    assert found == entry["frame_indices"]
    assert times == pytest.approx(entry["timestamps"], abs=1e-3)


# ---------------------------------------------------------------------- batches and repeatability


@pytest.mark.parametrize("policy", ["keep", "original"])
def test_ragged_batches_answer_as_single_prompts(policy, processor, model):
    chosen = [
        case for case in CASES if case["name"] in ("video_two_regions_same_frame", "video_no_region", "bench_d_style")
    ]
    calls = [{**call(case, processor), "mask_policy": policy} for case in chosen]
    for one in calls:
        one["fps"] = 1
    batch = processor(
        text=[one["text"] for one in calls],
        videos=[one["videos"] for one in calls],
        regions=[one["regions"] or [] for one in calls],
        mask_policy=policy,
        fps=1,
        return_tensors="pt",
    )
    together = answers(model, batch)
    singles = [processor(**one) for one in calls]
    assert together == [answers(model, one)[0] for one in singles]
    assert together == answers(model, processor.pad(singles))


def test_images_videos_and_text_go_into_one_batch(processor, model):
    frames, picture = clip(), clip(1, 60, 80)[0]
    texts = ["<video>\nWhat is <region>?", "<image>\nWhat is <region> and <region>?", "Say hello."]
    own = [[vr.Region({2: square(10, 20)})], [vr.Region({0: square(5, 5, shape=(60, 80))})] * 2, []]
    batch = processor(text=texts, videos=[frames], images=[picture], regions=own, return_tensors="pt")
    single = [
        processor(text=texts[0], videos=[frames], regions=own[0], return_tensors="pt"),
        processor(text=texts[1], images=[picture], regions=own[1], return_tensors="pt"),
        processor(text=texts[2], return_tensors="pt"),
    ]
    assert answers(model, batch) == [answers(model, one)[0] for one in single]


def test_answers_do_not_change_from_run_to_run(processor, model):
    case = next(case for case in CASES if case["name"] == "video_three_regions_all_frames")
    inputs = processor(**call(case, processor))
    torch.manual_seed(1)
    first = model(**inputs).logits
    torch.manual_seed(2)
    torch.testing.assert_close(model(**inputs).logits, first, rtol=0, atol=0)


def test_an_object_in_several_frames_is_one_region_or_as_many_as_the_original_writes(processor, model):
    case = next(case for case in CASES if case["name"] == "video_one_object_three_frames")
    given = call(case, processor)
    object_ = functools.reduce(operator.or_, given["regions"])
    several = processor(**given)
    for text in (given["text"], given["text"].replace("<region><region><region>", "<region>")):
        joined = processor(**{**given, "text": text, "regions": [object_]})
        assert torch.equal(joined["input_ids"], several["input_ids"])
        assert torch.equal(joined["region_pixel_values"], several["region_pixel_values"])
        assert joined["region_lengths"].tolist() == [[3]]
    with pytest.raises(PromptError, match="3 <region>"):
        processor(**{**given, "regions": [object_], "mask_policy": "keep"})


# ---------------------------------------------------------------------- what users would expect


def ask(processor, mask, frames=None, **settings):
    shown = clip() if frames is None else frames
    given = {"fps": 3, **settings}
    return processor(
        text="<video>\nWhat is <region>?", videos=[shown], regions=[vr.Region({1: mask})], return_tensors="pt", **given
    )


def test_thin_objects_have_a_token(processor):
    mask = np.zeros((70, 101), dtype=bool)
    mask[33, 4:95] = True
    assert (ask(processor, mask)["input_ids"] == REGION_ID).sum() >= 1


@pytest.mark.parametrize("policy", ["keep", "original"])
def test_an_empty_mask_is_an_error(policy, processor):
    with pytest.raises(RegionError, match="no pixel"):
        ask(processor, np.zeros((70, 101), dtype=bool), mask_policy=policy)


def test_every_positive_value_of_a_mask_counts(processor):
    mask = square(10, 20)
    wanted = ask(processor, mask)
    for other in (mask.astype(np.uint8) * 255, mask.astype(np.float32), torch.from_numpy(mask)):
        found = ask(processor, other)
        assert torch.equal(found["input_ids"], wanted["input_ids"])
        assert torch.equal(found["region_pixel_values"], wanted["region_pixel_values"])


def test_placeholders_and_regions_must_match(processor, model):
    with pytest.raises(PromptError, match="2 <region>"):
        processor(text="<video>\n<region> and <region>?", videos=[clip()], regions=[vr.Region({0: square(5, 5)})])
    inputs = ask(processor, square(10, 20))
    inputs["input_ids"] = inputs["input_ids"][:, inputs["input_ids"][0] != REGION_ID]
    inputs.pop("attention_mask")
    with pytest.raises(PromptError, match="0 <region> position"):
        model(**inputs)


def test_a_mask_of_another_size_than_its_frame_is_an_error(processor):
    with pytest.raises(RegionError):
        ask(processor, square(10, 20, shape=(101, 70)))


def test_clips_shorter_than_an_interval_show_a_frame(processor):
    inputs = processor(text="<video>\nWhat?", videos=[vr.open_video(clip(5), fps=25)], fps=1, return_tensors="pt")
    assert inputs["video_grid_thw"][0, 0] == 1


def test_a_rate_above_the_source_s_shows_every_frame(processor):
    inputs = processor(text="<video>\nWhat?", videos=[clip(5)], fps=30, return_tensors="pt")
    assert inputs["video_grid_thw"][0, 0] == 5


def test_small_objects_are_enlarged_up_to_a_limit(processor):
    mask = np.zeros((70, 101), dtype=bool)
    mask[35, 50] = True
    inputs = ask(processor, mask)
    assert inputs["region_grids"].tolist() == inputs["region_mask_grids"].tolist() == [[[32, 32]]]
    assert (inputs["input_ids"] == REGION_ID).sum() == 1


def test_what_one_object_becomes_does_not_depend_on_others(processor, model):
    frames, own = clip(6, 300, 400), [vr.Region({1: square(20, 30, 200, (300, 400))}) for _ in range(3)]
    one = processor(text="<video>\n<region>?", videos=[frames], regions=own[:1], return_tensors="pt")
    three = processor(text="<video>\n<region> <region> <region>?", videos=[frames], regions=own, return_tensors="pt")
    first = model.get_region_tokens(**three)[0][0]
    torch.testing.assert_close(first, model.get_region_tokens(**one)[0][0], rtol=1e-5, atol=1e-6)


def test_object_and_visual_tokens_are_not_generated(processor, model):
    case = next(case for case in CASES if case["greedy_ids"][0] == REGION_ID)
    inputs = inputs_of(case, processor)
    with torch.no_grad():
        made = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    new = made[0, inputs["input_ids"].shape[1] :]
    assert not torch.isin(new, torch.tensor([REGION_ID, 363, 364])).any()


def test_tokens_that_did_not_change_may_be_kept(processor):
    frames = np.repeat(clip(1), 4, axis=0)
    dropped = processor(text="<video>\nWhat?", videos=[frames], fps=3, return_tensors="pt")
    kept = processor(text="<video>\nWhat?", videos=[frames], fps=3, compress_tokens=False, return_tensors="pt")
    tokens = int(kept["video_compression_mask"].sum())
    assert tokens == len(kept["video_compression_mask"]) == 4 * 8
    assert int(dropped["video_compression_mask"].sum()) == 8 + 3
    patches = Patches(processor.image_processor).of(frames, (56, 112), 2)
    assert keep_changed(patches, 2).tolist() == [[True] * 8] + [[True] + [False] * 7] * 3


def test_the_initial_cells_change_the_tokens_and_must_fit(processor, model):
    inputs = ask(processor, square(10, 20))
    usual = model(**inputs).logits
    cells = int(inputs["region_masks"].sum())
    given = model(**inputs, region_initial_cells=[list(range(10))]).logits
    assert cells > 10
    assert not torch.allclose(given, usual)
    for wrong in ([[*range(9), cells]], [list(range(9))], [None, None]):
        with pytest.raises(TensorError, match="region_initial_cells"):
            model(**inputs, region_initial_cells=wrong)


def test_equal_crops_are_shown_to_the_tower_once(processor, model):
    text, mask = "<video>\n<region>, <region> and <region>?", square(10, 20)
    own = [vr.Region({1: mask}), vr.Region({2: mask}), vr.Region({1: mask})]
    inputs = processor(text=text, videos=[clip()], regions=own, return_tensors="pt")
    seen = []
    tower = model.model.vision_model.embeddings
    with tower.register_forward_pre_hook(lambda module, args: seen.append(len(args[0]))):
        first, second, third = model.get_region_tokens(**inputs)[0]
    assert seen[-1] == int(inputs["region_grids"][0, :2].prod(dim=1).sum())  # patches of two crops
    assert torch.equal(first, third)
    assert not torch.equal(first, second)


def test_placeholders_are_counted_from_sizes_alone(processor):
    counts = processor._get_num_multimodal_tokens(image_sizes=[(60, 80)], video_sizes=[(6, 70, 101)])
    frames = np.random.default_rng(1).integers(0, 256, (6, 70, 101, 3), dtype=np.uint8)
    inputs = processor(
        text="<video>\n<image>\nWhat?", videos=[frames], images=[clip(1, 60, 80)[0]], fps=3, return_tensors="pt"
    )
    assert counts["num_image_tokens"] == [int((inputs["input_ids"] == 363).sum())]
    assert counts["num_video_tokens"] == [int((inputs["input_ids"] == 364).sum())]


@pytest.mark.parametrize("name", ["region_grids", "region_masks", "region_lengths"])
def test_incomplete_region_tensors_are_refused(name, processor, model):
    inputs = ask(processor, square(10, 20))
    inputs.pop(name)
    with pytest.raises(TensorError, match=name):
        model(**inputs)


# ---------------------------------------------------------------------- checkpoints of all kinds


def copy_of(folder, state=None, **config):
    shutil.copytree(CHECKPOINT, folder / "checkpoint")
    shutil.copytree(TOWER, folder / TOWER.name)
    change_json(folder / "checkpoint" / "config.json", config)
    if state is not None:
        save_file(state, folder / "checkpoint" / "model.safetensors", {"format": "pt"})
    return folder / "checkpoint"


def weights():
    return load_file(CHECKPOINT / "model.safetensors")


def logits(model, processor):
    case = next(case for case in CASES if case["name"] == "image_two_regions")
    with torch.no_grad():
        return model(**inputs_of(case, processor)).logits


@pytest.mark.parametrize("prefix", ["model.vision_encoder.vision_encoder.", "model.vision_encoder."])
def test_the_shorter_names_of_base_checkpoints_load(prefix, tmp_path, processor, model):
    long = "model.vision_encoder.vision_encoder.vision_model."
    state = {(prefix + n.removeprefix(long) if n.startswith(long) else n): value for n, value in weights().items()}
    loaded, info = AutoModelForImageTextToText.from_pretrained(
        copy_of(tmp_path, state), dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(logits(loaded, processor), logits(model, processor))


def test_a_tied_head_is_the_embedding_table(tmp_path):
    state = {name: value for name, value in weights().items() if name != "lm_head.weight"}
    loaded = AutoModel.from_pretrained(copy_of(tmp_path, state, tie_word_embeddings=True))
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight


def test_a_base_checkpoint_gets_a_new_object_encoder_and_says_so(tmp_path, caplog):
    state = {name: value for name, value in weights().items() if "region_encoder" not in name}
    AutoModel.from_pretrained(copy_of(tmp_path, state))
    assert "no weights for the object encoder" in caplog.text


def test_what_is_saved_has_our_names_and_loads_without_the_tower(tmp_path, processor, model):
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert read_json(tmp_path / "config.json")["model_type"] == "videorefer_videollama3"
    names = load_file(tmp_path / "model.safetensors")
    assert not [name for name in names if "region_encoder" in name or "mm_projector" in name]
    again = AutoModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    own = AutoProcessor.from_pretrained(tmp_path)
    assert type(own) is type(processor)
    assert own.object_encoder_config == processor.object_encoder_config == again.config.object_encoder_config
    assert torch.equal(logits(again, own), logits(model, processor))


def test_the_known_tower_needs_no_folder(tmp_path):
    config = AutoConfig.from_pretrained(copy_of(tmp_path))
    assert config.vision_config.num_attention_heads == 4
    state = {name: value for name, value in weights().items() if "vision_encoder" not in name}
    tower = "model.vision_encoder.vision_encoder.vision_model."
    state[f"{tower}embeddings.patch_embedding.weight"] = torch.zeros(1152, 3, 14, 14)
    for layer in range(3):
        state[f"{tower}encoder.layers.{layer}.mlp.fc1.weight"] = torch.zeros(200, 1152)
    save_file(state, tmp_path / "checkpoint" / "model.safetensors", {"format": "pt"})
    change_json(tmp_path / "checkpoint" / "config.json", {"mm_vision_encoder": "gone", "mm_hidden_size": 1152})
    config = AutoConfig.from_pretrained(tmp_path / "checkpoint")
    found = config.vision_config
    assert (found.hidden_size, found.num_attention_heads, found.num_hidden_layers) == (1152, 16, 3)
    assert (found.intermediate_size, found.patch_size) == (200, 14)


def test_another_tower_without_its_folder_is_an_error(tmp_path):
    shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match="vision_tower="):
        AutoModel.from_pretrained(tmp_path / "checkpoint")
    loaded = AutoModel.from_pretrained(tmp_path / "checkpoint", vision_tower=TOWER)
    assert loaded.config.vision_config.num_attention_heads == 4


@pytest.mark.parametrize("kind", ["pixelrefer_qwen2", "pixelreferlite_qwen2"])
@pytest.mark.parametrize("auto", [AutoConfig, AutoModel, AutoProcessor])
def test_pixelrefer_is_refused_by_name(kind, auto, tmp_path):
    folder = copy_of(tmp_path, model_type=kind)
    with pytest.raises(ConfigurationError, match="PixelRefer"):
        auto.from_pretrained(folder)


@pytest.mark.parametrize(
    "change", [{"use_token_compression": False}, {"mm_projector_type": "linear"}, {"mm_hidden_size": 33}]
)
def test_unsupported_parts_are_refused(change, tmp_path):
    with pytest.raises((ConfigurationError, CheckpointError)):
        AutoConfig.from_pretrained(copy_of(tmp_path, **change))


def test_projector_only_output_goes_onto_its_base(tmp_path, processor, model):
    base = copy_of(tmp_path)
    adapter = tmp_path / "adapter"
    shutil.copytree(base, adapter, ignore=shutil.ignore_patterns("model.safetensors"))
    state = {name: value * 2 for name, value in weights().items() if "mm_projector" in name}
    torch.save(state, adapter / "mm_projector.bin")
    loaded = AutoModel.from_pretrained(adapter, base_model=base, dtype=torch.float32)
    wanted = model.model.projector.readout[0].weight * 2
    torch.testing.assert_close(loaded.model.projector.readout[0].weight, wanted)


def write_lora(folder, base, rank=2):
    """What a LoRA run of the original code leaves, and the weights that come of it."""
    torch.manual_seed(0)
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        shutil.copy(CHECKPOINT / name, folder / name)
    adapter, merged = {}, {name: value.float() for name, value in weights().items()}
    for layer in range(3):
        name = f"model.layers.{layer}.self_attn.q_proj"
        first, second = torch.randn(rank, 48) / 7, torch.randn(48, rank) / 7
        adapter[f"base_model.model.{name}.lora_A.weight"] = first
        adapter[f"base_model.model.{name}.lora_B.weight"] = second
        merged[f"{name}.weight"] += 2 * second @ first
    save_file(adapter, folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "bias": "none"}
    settings |= {"base_model_name_or_path": base, "target_modules": ["q_proj"], "lora_dropout": 0.05}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    others = {name: value for name, value in merged.items() if "mm_projector" in name or "region_encoder" in name}
    for name in others:
        others[name] = merged[name] = others[name] * 1.5
    torch.save(
        {f"base_model.model.{name}": value for name, value in others.items()}, folder / "non_lora_trainables.bin"
    )
    return merged


@pytest.mark.parametrize("door", [VideoReferVideoLLaMA3ForConditionalGeneration.from_pretrained, load_checkpoint])
def test_what_a_lora_run_left_is_merged_into_its_base(door, tmp_path):
    copy_of(tmp_path)
    merged = write_lora(tmp_path / "lora", "checkpoint")
    loaded = door(tmp_path / "lora", dtype=torch.float32, vision_tower=TOWER)
    state = loaded.state_dict()
    for name, value in merged.items():
        torch.testing.assert_close(state[rename_original(name, loaded.original_key_mapping)], value)
    assert len(state) == len(merged)
    own = load_processor(str(tmp_path / "lora"))
    assert own.region_token_id == REGION_ID


def test_a_lora_run_of_another_model_is_refused(tmp_path):
    copy_of(tmp_path)
    write_lora(tmp_path / "lora", "checkpoint")
    torch.save(
        {"base_model.model.model.mm_projector.readout.9.weight": torch.ones(2)},
        tmp_path / "lora/non_lora_trainables.bin",
    )
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(tmp_path / "lora", vision_tower=TOWER)
    change_json(tmp_path / "lora" / "adapter_config.json", {"base_model_name_or_path": None})
    with pytest.raises(CheckpointError, match="base_model="):
        load_checkpoint(tmp_path / "lora", vision_tower=TOWER)


# ---------------------------------------------------------------------- training


def write_records(folder, batch):
    """The training records of a reference batch in this library's form, and their media."""
    for name in ("vid_a", "vid_b"):
        (folder / name).mkdir()
        for number, frame in enumerate(visuals()[f"{name}.frames"].numpy()):
            Image.fromarray(frame).save(folder / name / f"{number:03}.png")
    Image.fromarray(visuals()["img_c.frames"][0].numpy()).save(folder / "img_c.png")
    records = []
    for number, given in enumerate(batch["records"]):
        record = {"id": number, "conversations": given["conversations"]}
        if "video" in given:
            record["video"] = given["video"][0]
        if "image" in given:
            record["image"] = given["image"]
        masks = given.get("masks", [])
        by_frame = [mask if "size" not in mask else {"0": mask} for mask in masks]
        record["annotation"] = [{f: {"segmentation": rle} for f, rle in each.items()} for each in by_frame]
        if masks:
            rle = next(iter(by_frame[0].values()))
            record["height"], record["width"] = rle["size"]
        records.append(record)
    (folder / "records.json").write_text(json.dumps(records))
    return folder / "records.json"


@pytest.fixture(params=["two", "with_text"])
def reference(request):
    return json.loads((TINY / f"train_batch_{request.param}.json").read_text()), tensors(
        f"train_batch_{request.param}.safetensors"
    )


def packed_batch(path, processor, **settings):
    data = VideoReferDataset(path, mode="multi")
    collate = VideoReferCollator(processor, mask_policy="original", **settings)
    return collate([data[index] for index in range(len(data))])


def test_packed_training_batches_are_those_of_the_original(reference, tmp_path, processor, model):
    batch, wanted = reference
    packed = packed_batch(write_records(tmp_path, batch), processor, packing=True)
    assert "attention_mask" not in packed
    assert torch.equal(packed["position_ids"], wanted["spliced_position_ids"])
    assert torch.equal(packed["labels"], wanted["spliced_labels"])
    assert int((packed["labels"] >= 0).sum()) == batch["num_supervised_tokens"]
    cells = [rows for sample in batch["samples"] for rows in sample.get("kmeans_initial_rows", [])]
    output = model(**packed, region_initial_cells=cells)
    assert output.loss.item() == pytest.approx(batch["loss"], rel=1e-5)
    output.loss.backward()
    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    names = {rename_original(name, model.original_key_mapping): norm for name, norm in batch["grad_norms"].items()}
    assert norms.keys() == names.keys()
    for name, norm in names.items():
        assert norms[name] == pytest.approx(norm, rel=1e-3, abs=1e-6), name


def test_a_padded_batch_has_the_loss_of_a_packed_one(reference, tmp_path, processor, model):
    path = write_records(tmp_path, reference[0])
    with torch.no_grad():
        packed = model(**packed_batch(path, processor, packing=True)).loss
        padded = model(**packed_batch(path, processor)).loss
    assert padded.item() == pytest.approx(packed.item(), rel=1e-5)


def test_turns_beyond_the_longest_length_take_their_regions_along(tmp_path, processor, model):
    batch = json.loads((TINY / "train_batch_two.json").read_text())
    path = write_records(tmp_path, batch)
    whole = packed_batch(path, processor)
    cut = packed_batch(path, processor, max_length=int(whole["attention_mask"].sum(dim=1)[1]))
    assert whole["region_lengths"].tolist() == [[1, 1], [1, 1]]
    assert cut["region_lengths"].tolist() == [[1, 0], [1, 1]]
    assert torch.isfinite(model(**cut).loss)


def test_the_four_parts_of_the_model_are_known(model):
    parts = parameters_by_part(model)
    assert {name.split(".")[1] for name in parts["connector"]} == {"projector"}
    assert {name.split(".")[1] for name in parts["vision_tower"]} == {"vision_model"}
    assert {name.split(".")[0] for name in parts["object_encoder"]} == {"object_encoder"}


# ---------------------------------------------------------------------- the published sizes


@pytest.mark.parametrize(
    ("text", "total"),
    [
        (
            {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2},
            1963715312,
        ),
        (
            {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4},
            8058894576,
        ),
    ],
    ids=["2B", "7B"],
)
def test_the_published_sizes_have_these_weights(text, total):
    tied = text["hidden_size"] == 1536
    config = vr.VideoReferVideoLLaMA3Config(
        text_config={
            "model_type": "qwen2",
            "vocab_size": 151669,
            "num_hidden_layers": 28,
            "tie_word_embeddings": tied,
            **text,
        },
        vision_config={
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "patch_size": 14,
        },
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        made = vr.VideoReferVideoLLaMA3ForConditionalGeneration(config)
    assert sum(parameter.numel() for parameter in made.parameters()) == total
    shapes = {name: tuple(value.shape) for name, value in made.object_encoder.state_dict().items()}
    width = text["hidden_size"]
    assert shapes == {
        "projector.0.weight": (width, 1152),
        "projector.0.bias": (width,),
        "projector.2.weight": (width, width),
        "projector.2.bias": (width,),
    }
    names = set(made.state_dict())
    assert len(names) == 783
    # Every name of the original layout has its place, for all layers.
    original = {f"model.layers.{layer}.self_attn.q_proj.bias" for layer in range(28)}
    tower = "model.vision_encoder.vision_encoder.vision_model"
    original |= {f"{tower}.encoder.layers.{layer}.mlp.fc2.weight" for layer in range(27)}
    original |= {f"{tower}.embeddings.patch_embedding.weight", f"{tower}.post_layernorm.bias", "model.norm.weight"}
    original |= {"model.mm_projector.readout.2.weight", "model.region_encoder.feat_linear.0.bias", "lm_head.weight"}
    assert {rename_original(name, made.original_key_mapping) for name in original} <= names
