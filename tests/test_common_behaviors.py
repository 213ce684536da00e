"""What every transformers model and processor does, class by class.

transformers' own tests of these behaviors run as well where `VIDEOREFER_TRANSFORMERS_TESTS` names the folder of its
source distribution, which holds `tests/`.
"""

import copy
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor, Qwen2ForCausalLM

import videorefer_plugin as vr
from tests.conftest import CHECKPOINT, TINY
from tests.tiny_hosts import BY_NAME, ROWS
from videorefer_plugin.models.local_paths import without_local_path
from videorefer_plugin.models.videollama2.modeling import VideoLLaMA2ForConditionalGeneration
from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.models.videorefer.processing import VideoReferProcessor

MODELS = {"videollama2": VideoLLaMA2ForConditionalGeneration, "videorefer": VideoReferForConditionalGeneration}
PROCESSORS = {"videollama2": VideoLLaMA2Processor, "videorefer": VideoReferProcessor}
FRAMES = np.random.default_rng(0).integers(0, 255, (6, 42, 42, 3), dtype=np.uint8)
KINDS = ("image", "video")
PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}

every_model = pytest.mark.parametrize("name", MODELS)
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def loaded() -> dict[str, tuple[Any, Any]]:
    """Each class with its processor, loaded from one checkpoint. Tests leave them as they are."""
    return {
        name: (MODELS[name].from_pretrained(CHECKPOINT).eval(), PROCESSORS[name].from_pretrained(CHECKPOINT))
        for name in MODELS
    }


def asked(processor: Any, kind: str, **settings: Any) -> Any:
    """A prompt with a visual, and a region on it where the processor takes regions."""
    takes_regions = isinstance(processor, VideoReferProcessor)
    regions = {"regions": [vr.Region.from_box((5, 5, 30, 30), frame=0)]} if takes_regions else {}
    visual = {"images": [FRAMES[0]]} if kind == "image" else {"videos": [FRAMES], "num_frames": 4}
    text = f"<{kind}>\nWhat is this{' <region>' if takes_regions else ''}?"
    return processor(text=text, return_tensors="pt", **visual, **regions, **settings)


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@every_model
@every_kind
def test_outputs_hold_those_of_the_encoder(name, kind, loaded):
    model, processor = loaded[name]
    inputs = asked(processor, kind)
    with torch.no_grad():
        output = model(**inputs)
        encoded = getattr(model, f"get_{kind}_features")(inputs[PIXELS[kind]])
    other = next(each for each in KINDS if each != kind)
    found = output[f"{kind}_outputs"]
    torch.testing.assert_close(found.pooler_output, encoded.pooler_output)
    torch.testing.assert_close(found.last_hidden_state, encoded.last_hidden_state)
    assert output[f"{kind}_hidden_states"] is found.pooler_output
    assert getattr(output, f"{other}_outputs") is None
    as_tuple = output.to_tuple()
    assert len(as_tuple) == len(output)
    assert [type(part) for part in as_tuple if isinstance(part, tuple)] == [tuple]


@pytest.mark.spread(2)
@every_model
@every_kind
def test_attentions_and_hidden_states_of_the_tower_come_by_argument_and_by_configuration(name, kind):
    model = MODELS[name].from_pretrained(CHECKPOINT, attn_implementation="eager").eval()
    processor = PROCESSORS[name].from_pretrained(CHECKPOINT)
    pixels = asked(processor, kind)[PIXELS[kind]]
    encode = getattr(model, f"get_{kind}_features")
    depth = model.config.vision_feature_layer % (model.config.vision_config.num_hidden_layers + 1)
    heads = model.config.vision_config.num_attention_heads
    with torch.no_grad():
        plain, full = encode(pixels), encode(pixels, output_attentions=True, output_hidden_states=True)
        for part in (model.config, model.model.config):
            part.output_attentions = part.output_hidden_states = True
        configured = encode(pixels)
    assert (plain.attentions, plain.hidden_states) == (None, None)
    for output in (full, configured):
        assert len(output.attentions) == depth
        assert len(output.hidden_states) == depth + 1
        frames, patches = output.last_hidden_state.shape[:2]
        for weights in output.attentions:
            assert weights.shape == (frames, heads, patches, patches)
            torch.testing.assert_close(weights.sum(-1), torch.ones(frames, heads, patches))
        torch.testing.assert_close(output.pooler_output, plain.pooler_output)


@every_model
def test_an_attention_without_weights_says_so_before_anything_runs(name, loaded):
    model, processor = loaded[name]
    pixels = asked(processor, "image")["pixel_values"]
    with pytest.raises(vr.ConfigurationError, match=r"'sdpa', which returns no weights.*attn_implementation='eager'"):
        model.get_image_features(pixels, output_attentions=True)


@every_model
@every_kind
def test_placeholders_are_found_by_id_and_by_embedding(name, kind, loaded):
    model, processor = loaded[name]
    inputs = asked(processor, kind)
    ids, base = inputs["input_ids"], copy.deepcopy(model.model)
    with torch.no_grad():
        tokens = getattr(model, f"get_{kind}_features")(inputs[PIXELS[kind]]).pooler_output
        base.language_model.resize_token_embeddings(400)  # an embedding for every placeholder
        embeds = base.get_input_embeddings()(ids)
    features = {f"{kind}_features": tokens}
    place, other = (0, 1) if kind == "image" else (1, 0)
    expected = (ids == getattr(model.config, f"{kind}_token_id")).unsqueeze(-1)
    for given in ({"input_ids": ids, "inputs_embeds": embeds}, {"input_ids": None, "inputs_embeds": embeds}):
        for shaped in (features, {f"{kind}_features": tokens.flatten(0, 1)}, {f"{kind}_features": list(tokens)}):
            masks = base.get_placeholder_mask(**given, **shaped)
            assert masks[place].equal(expected)
            assert not masks[other].any()
    assert not model.model.get_placeholder_mask(None, embeds)[place].any()  # its id has no embedding
    with pytest.raises(vr.PromptError, match=rf"{int(expected.sum())} <{kind}> position.*{len(tokens[0]) - 1} token"):
        base.get_placeholder_mask(ids, embeds, **{f"{kind}_features": tokens[:, 1:]})
    with pytest.raises(vr.PromptError, match="neither is given"):
        base.get_placeholder_mask(None)


@every_model
def test_a_tensor_parallel_plan_is_that_of_the_language_model_with_its_head(name, loaded):
    model, _ = loaded[name]
    alone = Qwen2ForCausalLM(model.config.text_config).tp_plan
    plan = {key.replace("model.language_model.", "model."): value for key, value in model.tp_plan.items()}
    assert plan == alone
    assert "lm_head" in plan


@every_model
def test_a_model_is_made_of_weights_in_memory(name, loaded):
    model, _ = loaded[name]
    made = MODELS[name].from_pretrained(None, config=model.config, state_dict=model.state_dict())
    for key, value in model.state_dict().items():
        assert made.state_dict()[key].equal(value), key


WHOLE = "needs the configuration as config= and the weights as state_dict="


@pytest.mark.spread(4)
@every_model
@pytest.mark.parametrize(
    ("given", "without", "message"),
    [
        ((), None, WHOLE),
        (("config",), None, WHOLE),
        (("state_dict",), None, WHOLE),
        (("config", "state_dict"), "language_model.layers.0", "do not fit its language model"),
        (("config", "state_dict"), "connector.downsample", "do not fit its connector"),
        (("config", "state_dict"), "", "are not those of this model"),
    ],
)
def test_weights_in_memory_are_checked_as_those_of_a_folder(name, given, without, message, loaded):
    model, _ = loaded[name]
    state = {key: value for key, value in model.state_dict().items() if without is None or without not in key}
    known = {"config": model.config, "state_dict": state}
    with pytest.raises(vr.CheckpointError, match=message):
        MODELS[name].from_pretrained(None, **{key: known[key] for key in given})


@every_model
@pytest.mark.parametrize("resize", [400, 340])
def test_embeddings_are_resized(name, resize, loaded):
    model = copy.deepcopy(loaded[name][0])
    model.resize_token_embeddings(resize)
    assert model.get_input_embeddings().weight.shape[0] == model.get_output_embeddings().weight.shape[0] == resize
    assert model.config.text_config.vocab_size == resize
    inputs = asked(loaded[name][1], "image")
    inputs["input_ids"] = inputs["input_ids"].where(inputs["input_ids"] > 360, inputs["input_ids"].clamp(max=330))
    with torch.no_grad():
        assert model(**inputs).logits.shape[-1] == resize


# --- what is saved ---------------------------------------------------------------------------------------------------


def test_no_path_of_this_machine_is_saved(tmp_path):
    tower = TINY / "siglip-tiny-patch6-42"
    model = AutoModel.from_pretrained(CHECKPOINT, vision_tower=tower)
    processor = AutoProcessor.from_pretrained(CHECKPOINT, vision_tower=tower)
    for folder in (tmp_path / "first", tmp_path / "second"):
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    host = BY_NAME["llava_onevision"].model()
    host.save_pretrained(tmp_path / "host")
    host = type(host).from_pretrained(tmp_path / "host")
    vr.attach_object_encoder(host).save_pretrained(tmp_path / "attached")
    named = {}
    for path in [path for path in tmp_path.rglob("*") if path.suffix in (".json", ".jinja", ".py", ".md")]:
        text = path.read_text("utf-8")
        assert str(tmp_path) not in text, path
        assert str(TINY.parent) not in text, path
        if path.suffix == ".json":
            values = json.loads(text)
            named |= {key: values[key] for key in ("vision_tower", "base_model_name_or_path") if key in values}
    assert named == {"vision_tower": tower.name, "base_model_name_or_path": "host"}


def test_the_configuration_in_memory_keeps_the_path(tmp_path):
    tower = TINY / "siglip-tiny-patch6-42"
    model = AutoModel.from_pretrained(CHECKPOINT, vision_tower=tower)
    model.save_pretrained(tmp_path)
    assert model.config.vision_tower == str(tower)


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("google/siglip-so400m-patch14-384", "google/siglip-so400m-patch14-384"),
        ("siglip", "siglip"),
        ("/data/me/siglip", "siglip"),
        ("/data/me/siglip/", "siglip"),
        ("~/models/siglip", "siglip"),
        ("./siglip", "siglip"),
        ("../models/siglip", "siglip"),
        ("models/towers/siglip", "siglip"),
        ("C:\\models\\siglip", "siglip"),
        (Path("/data/siglip"), "siglip"),
        ("tests/data", "data"),
        ("~", None),
        ("/", None),
        ("", None),
        (None, None),
    ],
)
def test_what_is_saved_of_a_name(name, saved, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
    assert without_local_path(name) == saved


# --- processors ------------------------------------------------------------------------------------------------------


@every_model
def test_the_names_of_inputs_are_those_that_a_call_returns(name, loaded):
    _, processor = loaded[name]
    returned = {key for kind in KINDS for key in asked(processor, kind)}
    assert set(processor.model_input_names) == returned
    regions = {key for key in returned if key.startswith("region_")}
    assert bool(regions) == (name == "videorefer")


def test_a_region_processor_names_the_inputs_of_its_host_and_of_regions():
    model, processor = BY_NAME["llava_onevision"].attached()
    own = set(processor.model_input_names) - set(processor.processor.model_input_names)
    assert own == {"region_masks", "region_frames", "region_lengths"}
    assert own < set(inspect.signature(model.forward).parameters)


@every_model
def test_tokens_are_counted_as_a_call_makes_them(name, loaded):
    _, processor = loaded[name]
    counts = processor._get_num_multimodal_tokens(
        image_sizes=[(42, 42), (10, 90)], video_sizes=[(4, 42, 42), (5, 42, 42), (16, 1, 1)]
    )
    types = asked(processor, "image", return_mm_token_type_ids=True)["mm_token_type_ids"]
    assert counts["num_image_tokens"] == [int((types == 1).sum())] * 2
    assert counts["num_image_patches"] == [1, 1]
    for frames, count in zip((4, 5), counts["num_video_tokens"], strict=False):
        types = processor(
            text="<video>", videos=[FRAMES[:frames]], do_sample_frames=False, return_mm_token_type_ids=True
        )["mm_token_type_ids"]
        assert types[0].count(2) == count
    assert counts["num_video_tokens"][2] > counts["num_video_tokens"][0]
    assert processor._get_num_multimodal_tokens()["num_image_tokens"] is None


@every_model
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"image_sizes": [(1, 2, 3)]}, vr.ConfigurationError, r"\(height, width\).*\(1, 2, 3\)"),
        ({"image_sizes": [(0, 3)]}, vr.ConfigurationError, "at least 1"),
        ({"image_sizes": [4]}, vr.ConfigurationError, "A size must be"),
        ({"video_sizes": [(4, 5)]}, vr.ConfigurationError, r"\(num_frames, height, width\)"),
        ({"video_sizes": [(1, 4, 5)]}, vr.VideoError, "at least 2"),
        ({"image_sizes": [(4, 4)], "num_frame": 3}, vr.ConfigurationError, "did you mean 'num_frames'"),
    ],
)
def test_sizes_that_make_no_tokens_are_refused(name, call, error, message, loaded):
    with pytest.raises(error, match=message):
        loaded[name][1]._get_num_multimodal_tokens(**call)


@every_model
@pytest.mark.parametrize("tensors", [None, "pt"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_token_types_tell_visuals_from_text_regions_and_padding(name, tensors, side, loaded):
    _, processor = loaded[name]
    takes_regions = name == "videorefer"
    inputs = processor(
        text=["<image> and <region>?" if takes_regions else "<image>", "<video> " + 30 * "long ", "text"],
        images=[FRAMES[0]],
        videos=[FRAMES],
        **({"regions": [[vr.Region.from_box((5, 5, 30, 30), frame=0)], [], []]} if takes_regions else {}),
        return_mm_token_type_ids=True,
        return_tensors=tensors,
        padding_side=side,
    )
    ids, types = (torch.as_tensor(inputs[key]) for key in ("input_ids", "mm_token_type_ids"))
    expected = (ids == processor.image_token_id).long() + 2 * (ids == processor.video_token_id)
    assert types.equal(expected)
    assert sorted(set(types.flatten().tolist())) == [0, 1, 2]


@pytest.mark.spread(2)
@pytest.mark.parametrize("row", [row for row in ROWS if row.takes_images], ids=lambda row: row.name)
def test_regions_are_text_in_the_token_types_of_a_host(row):
    _, processor = row.attached()
    if not hasattr(processor, "create_mm_token_type_ids"):
        pytest.skip("this transformers knows no token types of this host")
    height, width = row.side
    frame = row.video()[0]
    region = vr.Region.from_box((0, 0, width // 2, height // 2), frame=0)
    inputs = processor(
        text=f"{row.video_token} What is <region>?",
        videos=[[frame] * 4],
        regions=[region],
        return_mm_token_type_ids=True,
    )
    places = torch.as_tensor(inputs["input_ids"]) == processor.region_token_id
    assert places.any()
    assert not torch.as_tensor(inputs["mm_token_type_ids"])[places].any()


# --- settings of a call, by kind -------------------------------------------------------------------------------------

DARK = {"do_rescale": True, "rescale_factor": -1.0}


def pixels_of(processor: Any, **settings: Any) -> dict[str, Any]:
    return {kind: asked(processor, kind, **settings)[PIXELS[kind]] for kind in KINDS}


@every_model
@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"images_kwargs": DARK}, {"image"}),
        ({"videos_kwargs": DARK}, {"video"}),
        ({"images_kwargs": DARK, "videos_kwargs": DARK}, {"image", "video"}),
        ({"common_kwargs": DARK}, {"image", "video"}),
        ({"common_kwargs": {**DARK, "return_tensors": "pt"}, **DARK}, {"image", "video"}),
        (DARK, {"image", "video"}),
        ({"images_kwargs": {"do_normalize": False}, "videos_kwargs": {}, "text_kwargs": None}, {"image"}),
        ({"images_kwargs": {"size": {"height": 42, "width": 42}, "do_resize": True}}, set()),
        ({"size": (42, 42), "do_center_crop": False, "crop_size": None}, set()),
        ({"do_resize": False}, set()),  # these frames have the size already
        ({"images_kwargs": {"do_rescale": None}}, set()),
    ],
)
def test_settings_count_for_the_visuals_of_their_kind(name, settings, changed, loaded):
    _, processor = loaded[name]
    plain, found = pixels_of(processor), pixels_of(processor, **settings)
    assert {kind for kind in KINDS if not found[kind].equal(plain[kind])} == changed
    assert {kind: found[kind].shape for kind in KINDS} == {kind: plain[kind].shape for kind in KINDS}


@every_model
@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"images_kwargs": {"size": {"height": 84, "width": 84}}}, ["size=", "42 x 42", "Leave it out"]),
        ({"videos_kwargs": {"size": {"shortest_edge": 42}}}, ["size=", "42 x 42"]),
        ({"size": 42}, ["size=42", "42 x 42"]),
        ({"size": "large"}, ["size='large'"]),
        ({"do_center_crop": True}, ["do_center_crop=True", "masks of regions would lie elsewhere"]),
        ({"crop_size": 20}, ["crop_size=20"]),
        ({"image_mean": [0.5, 0.5]}, ["image processor does not take image_mean=[0.5, 0.5]", "3 elements"]),
        ({"rescale_factor": "much"}, ["image processor does not take rescale_factor='much'"]),
        ({"resample": "bicubic"}, ["PIL.Image.Resampling", "'bicubic'"]),
        ({"text_kwargs": {"do_rescale": True}}, ["stands in text_kwargs", "images_kwargs or videos_kwargs"]),
        ({"images_kwargs": {"do_rescale": True}, "do_rescale": True}, ["do_rescale is given twice"]),
        ({"common_kwargs": {"do_rescale": True}, "do_rescale": False}, ["do_rescale is given twice"]),
        ({"text_kwargs": {"padding": False}, "padding": True}, ["padding is given twice"]),
        ({"images_kwargs": {"do_rescal": True}}, ["'do_rescal'", "did you mean 'do_rescale'"]),
        ({"images_kwargs": 4}, ["images_kwargs must be a dict", "int"]),
    ],
)
def test_settings_that_would_move_masks_or_mean_nothing_are_refused_before_a_file_is_opened(
    name, settings, parts, loaded
):
    _, processor = loaded[name]
    with pytest.raises(vr.ConfigurationError) as caught:
        processor(text="<video>", videos=["missing.mp4"], **settings)
    for part in parts:
        assert part in str(caught.value)


@every_model
def test_frames_of_another_size_need_resizing(name, loaded):
    with pytest.raises(vr.ConfigurationError, match=r"Sample 0.*do_resize=False.*42 x 42.*30 x 20"):
        loaded[name][1](text="<image>", images=[FRAMES[0, :20, :30]], do_resize=False)


@every_model
def test_what_the_tokenizer_was_made_with_counts_where_a_call_says_nothing(name):
    processor = PROCESSORS[name].from_pretrained(CHECKPOINT, padding="max_length", max_length=120)
    assert asked(processor, "image")["input_ids"].shape == (1, 120)
    assert asked(processor, "image", padding=True)["input_ids"].shape[1] < 120


@every_model
def test_settings_of_a_chat_reach_the_image_processor(name, loaded):
    _, processor = loaded[name]
    chat = [{"role": "user", "content": [{"type": "image", "image": FRAMES[0]}, {"type": "text", "text": "What?"}]}]
    call = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    for settings in (DARK, {"processor_kwargs": {"images_kwargs": DARK}}):
        assert processor.apply_chat_template(chat, **call, **settings)["pixel_values"].max() <= -1


@every_model
def test_settings_of_a_call_are_listed_by_kind(name, loaded):
    _, processor = loaded[name]
    listed = processor.valid_processor_kwargs.__annotations__
    assert {"text_kwargs", "images_kwargs", "videos_kwargs"} <= set(listed)
    assert {"max_frames", "video_start", "num_frames"} <= set(listed["videos_kwargs"].__annotations__)
    assert ("mask_policy" in listed) == (name == "videorefer")
    call = set(inspect.signature(processor.__call__).parameters)
    assert call == {"images", "text", "videos", "kwargs"}
    with pytest.raises(vr.PromptError, match="does not listen"):
        processor(text="hi", audio=[np.zeros(10)])


# --- transformers' own tests -----------------------------------------------------------------------------------------

# Test of transformers -> why it does not hold here.
DIFFERENT = {
    "test_apply_chat_template_image": "addresses are not fetched",
    "test_processor_text_has_no_visual": "addresses are not fetched",
    "test_init_arguments_not_in_processor_kwargs": "a call may set num_frames otherwise",
    "test_processor_from_and_save_pretrained_as_nested_dict": "the Pillow image processor is used, as in training",
    "test_processor_with_multiple_inputs": "it gives no videos to a class without a video processor",
    "VideoReferProcessor::test_model_input_names": "its call has no regions",
    "TestVideoLLaMA2Video::test_multimodal_outputs_are_returned": "it looks for those of images only",
    "TestVideoReferVideo::test_multimodal_outputs_are_returned": "it looks for those of images only",
    "test_chat_template_message_objects": "a template learns that a visual stands there, not its address",
    "test_correct_missing_keys": "a model without its head is not loaded",
    "test_model_weights_reload_no_missing_tied_weights": "a file without a weight of the model is not loaded",
    "test_inputs_embeds": "visuals need the ids of the prompt",
    "test_generation_tester_mixin_inheritance": "generation's tests are not in the source distribution",
}


@pytest.mark.slow
def test_transformers_own_tests_hold_save_where_the_difference_is_meant():
    folder = os.environ.get("VIDEOREFER_TRANSFORMERS_TESTS")
    if not folder or not (Path(folder) / "tests" / "test_modeling_common.py").is_file():
        pytest.skip("VIDEOREFER_TRANSFORMERS_TESTS names no folder with the tests/ of transformers")
    pytest.importorskip("parameterized")
    command = [sys.executable, "-m", "pytest", "tests/transformers_mixins.py", "-q", "-n", "0", "--disable-warnings"]
    settings = ["-p", "no:cacheprovider", "-o", "addopts=", "-o", "filterwarnings=default"]
    root = Path(__file__).parent.parent
    output = subprocess.run([*command, *settings], capture_output=True, text=True, cwd=root, check=False).stdout
    failed = re.findall(r"^(?:FAILED|ERROR) \S+::(\w+::\w+|\S+\.py)", output, flags=re.MULTILINE)
    assert re.search(r"\d+ passed", output), output[-2000:]
    assert not {test for test in failed if not any(name in test for name in DIFFERENT)}, output[-4000:]
