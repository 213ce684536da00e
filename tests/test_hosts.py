"""Every host family, through one matrix: a host is a row of `tiny_hosts.ROWS`."""

import copy
import dataclasses
import functools
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import TextStreamer

import videorefer_plugin as vr
from tests.tiny_hosts import BY_NAME, IDS, ROWS, VOCAB, HostRow, stop_mixing
from videorefer_plugin.hosts.attach import AttachedRegionMixin

every_host = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """More threads only slow models of this size down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def shared(name: str) -> tuple[Any, Any]:
    """An attached model that tests leave as it is."""
    return BY_NAME[name].attached()


def quarter(row: HostRow, *frames: int, right: bool = False, low: bool = False) -> vr.Region:
    height, width = row.side
    left, top = (width // 2) * right, (height // 2) * low
    return vr.Region(dict.fromkeys(frames, (left, top, left + width // 2, top + height // 2)))


def samples(row: HostRow) -> list[dict[str, Any]]:
    """Two samples: different videos, prompts, numbers of regions and of masks."""
    return [
        {
            "text": row.prompt("Is <region> near <region>, and why would that be?"),
            "videos": [row.video(1)],
            "regions": [quarter(row, 1), quarter(row, 3, 5, right=True)],
        },
        {"text": row.prompt(), "videos": [row.video(2)], "regions": [quarter(row, 0, 2, 4, low=True)]},
    ]


def together(each: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "text": [sample["text"] for sample in each],
        "videos": [video for sample in each for video in sample["videos"]],
        "regions": [sample["regions"] for sample in each],
    }


def one(row: HostRow, processor: Any) -> dict[str, Any]:
    return processor(**samples(row)[0])


def logits(model: Any, inputs: dict[str, Any], **kwargs: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs, **kwargs).logits


def greedy(model: Any, inputs: dict[str, Any], **kwargs: Any) -> torch.Tensor:
    settings = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, **kwargs}
    return model.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :]


# ------------------------------------------------------------------------------------------------- the same numbers


@pytest.mark.spread(2)
@every_host
def test_attached_but_unused_equals_the_bare_host_bit_for_bit(row: HostRow) -> None:
    bare, (model, processor) = row.model(), shared(row.name)
    inputs = processor(
        text=[row.prompt("What?"), row.prompt("And what is this?")], videos=[row.video(1), row.video(2)]
    )
    assert torch.equal(logits(model, inputs), logits(bare, inputs))
    bare.train()
    model.train()
    labels = inputs["input_ids"].clamp(max=VOCAB - 1)
    assert torch.equal(model(**inputs, labels=labels).loss, bare(**inputs, labels=labels).loss)
    model.eval()
    bare.eval()
    for settings in ({}, {"repetition_penalty": 1.3}, {"num_beams": 2, "num_return_sequences": 2}):
        assert torch.equal(greedy(model, inputs, **settings), greedy(bare, inputs, **settings))


@pytest.mark.spread(2)
@every_host
def test_forward_equals_splicing_by_hand(row: HostRow) -> None:
    bare, (model, processor) = row.model(), shared(row.name)
    inputs = processor(**together(samples(row)))
    given = dict(inputs)
    regions = vr.RegionInputs.collect(given, with_pixels=False)
    with torch.no_grad():
        encoded = model.encode_visuals(given, None)
        tokens, counts = model.get_object_tokens(inputs["input_ids"], regions, encoded, given)
    assert counts.tolist() == [3, 3]
    ids = inputs["input_ids"].clone()

    def splice(decoder: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        embeds = kwargs["inputs_embeds"].clone()
        for sample in range(len(ids)):
            places = (ids[sample] == processor.region_token_id).nonzero().flatten().tolist()
            assert len(places) == 3
            for number, place in enumerate(places):
                embeds[sample, place] = tokens[sample, number]
        return args, {**kwargs, "inputs_embeds": embeds}

    bare.get_decoder().register_forward_pre_hook(splice, with_kwargs=True)
    plain = {name: value for name, value in inputs.items() if not name.startswith("region_")}
    plain["input_ids"] = ids.masked_fill(ids == processor.region_token_id, 65)
    by_hand = logits(bare, plain)
    assert torch.equal(logits(model, inputs), by_hand)
    # And the tokens matter: others give other logits.
    tokens = tokens.flip(1)
    assert not torch.allclose(logits(bare, plain), by_hand, atol=1e-2)


@pytest.mark.spread(3)
@every_host
def test_the_backbone_alone_sees_the_regions_too(row: HostRow) -> None:
    """As it is run by losses that are computed without logits, such as TRL's; also of a copy."""
    model, processor = row.attached()
    inputs = processor(**together(samples(row)))
    for each in (model, copy.deepcopy(model)):
        with torch.no_grad():
            hidden = each.base_model(**inputs).last_hidden_state
            assert torch.equal(each.get_output_embeddings()(hidden), logits(model, inputs))
    backbone = copy.deepcopy(model.base_model)
    with pytest.raises(vr.TensorError, match="taken out of its model"):
        backbone(**inputs)


@pytest.mark.spread(4)
@every_host
def test_greedy_generation_equals_repeated_full_forwards(row: HostRow) -> None:
    model, processor = shared(row.name)
    inputs = one(row, processor)
    step = dict(inputs)
    written = []
    for _ in range(4):
        written.append(int(logits(model, step)[0, -1].argmax()))
        for name, value in (("input_ids", written[-1]), ("attention_mask", 1), ("mm_token_type_ids", 0)):
            if name in step:
                step[name] = torch.cat([step[name], torch.tensor([[value]])], dim=1)
    assert greedy(model, inputs, max_new_tokens=4)[0].tolist() == written
    assert greedy(model, inputs, max_new_tokens=4, use_cache=False)[0].tolist() == written


@pytest.mark.spread(2)
@every_host
def test_padded_batch_of_ragged_samples_equals_single_runs(row: HostRow) -> None:
    model, processor = shared(row.name)
    each = samples(row)
    batch = processor(**together(each))
    assert not batch["attention_mask"].all(), "the samples must differ in length"
    assert batch["region_lengths"].tolist() == [[1, 2], [3, 0]]
    got, answers = logits(model, batch), greedy(model, batch)
    beams = greedy(model, batch, num_beams=3)
    for place, sample in enumerate(each):
        inputs = processor(**sample)
        length = inputs["input_ids"].shape[1]
        torch.testing.assert_close(got[place, -length:], logits(model, inputs)[0], atol=2e-4, rtol=0)
        assert torch.equal(answers[place], greedy(model, inputs)[0])
        assert torch.equal(beams[place], greedy(model, inputs, num_beams=3)[0])


@pytest.mark.spread(2)
@every_host
def test_streaming_and_several_answers(row: HostRow) -> None:
    model, processor = shared(row.name)
    inputs = one(row, processor)
    answer = greedy(model, inputs)

    class Streamer(TextStreamer):
        ids: list[int] = []  # noqa: RUF012

        def put(self, value: torch.Tensor) -> None:
            self.ids = self.ids + value.flatten().tolist()

        def end(self) -> None:
            pass

    streamer = Streamer(processor.tokenizer)
    greedy(model, inputs, streamer=streamer)
    assert streamer.ids[inputs["input_ids"].shape[1] :] == answer[0].tolist()
    beams = greedy(model, inputs, num_beams=3, num_return_sequences=2)
    assert beams.shape == (2, 5)
    assert not torch.equal(beams[0], beams[1])
    torch.manual_seed(0)
    assert greedy(model, inputs, do_sample=True, num_return_sequences=3).shape == (3, 5)
    assert torch.equal(greedy(model, inputs, repetition_penalty=1.0), answer)


@pytest.mark.spread(3)
@every_host
def test_the_tower_runs_once(row: HostRow) -> None:
    model, processor = shared(row.name)
    inputs = one(row, processor)
    base = model.base_model
    tower = next(getattr(base, name) for name in ("vision_tower", "visual", "vision_model") if hasattr(base, name))
    embeddings = next(module for module in tower.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d))
    calls: list[int] = []
    handle = embeddings.register_forward_hook(lambda *_: calls.append(1))
    try:
        logits(model, inputs)
        assert len(calls) == 1
        greedy(model, inputs)
        assert len(calls) == 2
    finally:
        handle.remove()


# ------------------------------------------------------------------------------------------------- place by place


def pooled(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    given = dict(inputs)
    regions = vr.RegionInputs.collect(given, with_pixels=False)
    with torch.no_grad():
        model.check_visuals(inputs["input_ids"], given, regions, None)
        encoded = model.encode_visuals(given, None)
        features, flat = model.get_region_features(inputs["input_ids"], regions, encoded, given)
    return vr.pool_masks(features, flat.masks, flat.frames)


def cell(row: HostRow, place: tuple[int, int]) -> tuple[int, int, int, int]:
    """Box of pixels (x0, y0, x1, y1) of a cell of the feature grid."""
    height, width = (side // cells for side, cells in zip(row.side, row.grid, strict=True))
    return place[1] * width, place[0] * height, (place[1] + 1) * width, (place[0] + 1) * height


def cells(row: HostRow) -> list[tuple[int, int]]:
    return [(i, j) for i in range(row.grid[0]) for j in range(row.grid[1])]


@pytest.mark.spread(2)
@every_host
def test_exactly_the_masked_cell_reacts_to_a_painted_patch(row: HostRow) -> None:
    model, processor = row.attached()
    stop_mixing(model)
    frames = 4
    places = [(frame, place) for frame in range(frames) for place in cells(row)]
    regions = [vr.Region.from_box(cell(row, place), frame=frame) for frame, place in places]
    text = row.prompt("<region>" * len(regions))
    call = functools.partial(processor, text=text, regions=regions, do_sample_frames=False)
    clip = row.video(frames=frames)
    inputs = call(videos=[clip])
    assert inputs["region_masks"].flatten(2).sum(2).eq(1).all()
    before = pooled(model, inputs)
    last = row.grid[0] - 1, row.grid[1] - 1
    for painted in [(0, (0, 0)), (1, (0, last[1])), (2, (last[0], 0)), (3, last), (1, (1, 2)), (2, (2, 1))]:
        changed = clip.copy()
        x0, y0, x1, y1 = cell(row, painted[1])
        changed[painted[0], y0:y1, x0:x1] = 255 - changed[painted[0], y0:y1, x0:x1]
        reacts = (pooled(model, call(videos=[changed])) != before).any(dim=1)
        fused = painted[0] // row.frames_per_row
        expected = [frame // row.frames_per_row == fused and place == painted[1] for frame, place in places]
        assert reacts.tolist() == expected, f"painted {painted}"


@pytest.mark.spread(2)
@pytest.mark.parametrize("row", [row for row in ROWS if row.takes_images], ids=lambda row: row.name)
def test_images_beside_videos_react_in_their_places(row: HostRow) -> None:
    model, processor = row.attached()
    stop_mixing(model)
    image = row.video(5, frames=1)[0]
    clip = row.video(6, frames=4)
    places = cells(row) if row.name != "video_llama_3" else [(i, j) for i in range(6) for j in range(8)]
    fine = row if row.name != "video_llama_3" else HostRow(**{**vars(row), "grid": (6, 8)})  # images are not merged
    text = ["user: " + row.image_token + "<region>" * len(places), row.prompt("<region>")]
    regions = [[vr.Region.from_box(cell(fine, place)) for place in places], [quarter(row, 3)]]
    call = functools.partial(processor, text=text, regions=regions, do_sample_frames=False)
    inputs = call(images=[image], videos=[clip])
    assert inputs["region_lengths"].tolist() == [[1] * len(places), [1] + [0] * (len(places) - 1)]
    before = pooled(model, inputs)
    for painted in (places[0], places[-1], (1, 2)):
        changed = image.copy()
        x0, y0, x1, y1 = cell(fine, painted)
        changed[y0:y1, x0:x1] = 255 - changed[y0:y1, x0:x1]
        reacts = (pooled(model, call(images=[changed], videos=[clip])) != before).any(dim=1)
        assert reacts.tolist() == [place == painted for place in places] + [False]
    changed = clip.copy()
    changed[3, :2, :2] = 255 - changed[3, :2, :2]
    reacts = (pooled(model, call(images=[image], videos=[changed])) != before).any(dim=1)
    assert reacts.tolist() == [False] * len(places) + [True]
    assert torch.isfinite(logits(model, inputs)).all()


# ------------------------------------------------------------------------------------------------- training


@pytest.mark.spread(2)
@every_host
def test_gradients_reach_the_object_encoder_also_with_checkpointing(row: HostRow) -> None:
    model, processor = row.attached()
    inputs = processor(**together(samples(row)))
    labels = inputs["input_ids"].masked_fill(inputs["input_ids"] >= VOCAB, -100)
    grads = []
    for checkpointing in (False, True):
        model.train()
        if checkpointing:
            # Renamed in transformers 5.23.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        model.zero_grad()
        model(**inputs, labels=labels, use_cache=False).loss.backward()
        grads.append([parameter.grad.clone() for parameter in model.object_encoder.parameters()])
    assert all(grad.abs().max() > 1e-6 for grad in grads[0])
    for plain, checkpointed in zip(*grads, strict=True):
        torch.testing.assert_close(plain, checkpointed, atol=1e-6, rtol=1e-4)
    # A batch without regions still has (zero) gradients, as distributed training needs.
    model.zero_grad()
    plain = processor(text=row.prompt("What?"), videos=[row.video()])
    model(**plain, labels=plain["input_ids"], use_cache=False).loss.backward()
    assert all(
        parameter.grad is not None and not parameter.grad.any() for parameter in model.object_encoder.parameters()
    )


@pytest.mark.spread(1)
@every_host
def test_lora_training_with_trainer_reload_and_merge(row: HostRow, tmp_path: Any) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import Trainer, TrainingArguments

    model, processor = row.attached()
    inputs = dict(processor(**together(samples(row))))
    ids = inputs["input_ids"]
    labels = ids.masked_fill((ids >= VOCAB) | (inputs["attention_mask"] == 0), -100)
    labels[:, :-12] = -100
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["object_encoder"])
    torch.manual_seed(0)
    peft = get_peft_model(model, lora)
    before = logits(peft.eval(), inputs)
    names = {field.name for field in dataclasses.fields(TrainingArguments)}
    prefix = "activation" if "activation_checkpointing" in names else "gradient"  # renamed in transformers 5.23
    checkpointing = {f"{prefix}_checkpointing": True, f"{prefix}_checkpointing_kwargs": {"use_reentrant": False}}
    arguments = TrainingArguments(
        str(tmp_path / "run"), max_steps=6, per_device_train_batch_size=1, learning_rate=1e-2, logging_steps=1,
        report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True, remove_unused_columns=False,
        lr_scheduler_type="constant", **checkpointing,
    )  # fmt: skip
    trainer = Trainer(peft, arguments, train_dataset=[{}] * 8, data_collator=lambda _: {**inputs, "labels": labels})
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 6
    assert losses[-1] < 0.9 * losses[0], losses
    trained = logits(peft.eval(), inputs)
    assert not torch.allclose(trained, before, atol=1e-3)
    peft.save_pretrained(tmp_path / "adapter")
    fresh = PeftModel.from_pretrained(row.attached()[0], tmp_path / "adapter").eval()
    assert torch.equal(logits(fresh, inputs), trained)
    answer = greedy(fresh, inputs)
    merged = fresh.merge_and_unload()
    assert isinstance(merged, AttachedRegionMixin)
    torch.testing.assert_close(logits(merged, inputs), trained, atol=2e-4, rtol=0)
    assert torch.equal(greedy(merged, inputs), answer)


# ------------------------------------------------------------------------------------------------- copies and files


@pytest.mark.spread(2)
@every_host
def test_deepcopy_and_pickle_are_models_of_their_own(row: HostRow) -> None:
    model, processor = row.attached()
    inputs = one(row, processor)
    # Once they have run, some bare hosts cannot be pickled either: transformers leaves hooks on their towers.
    stored = pickle.dumps(model)
    expected = logits(model, inputs)
    for other in (copy.deepcopy(model), pickle.loads(stored)):
        assert type(other) is type(model)
        assert torch.equal(logits(other, inputs), expected)
        with torch.no_grad():
            other.object_encoder.projector[0].weight.add_(1)
        assert not torch.equal(logits(other, inputs), expected)
        vr.detach_object_encoder(other)
        assert not other.get_decoder()._forward_pre_hooks
        assert torch.equal(logits(model, inputs), expected)


@pytest.mark.spread(2)
@every_host
def test_saving_the_host_leaves_it_as_it_was(row: HostRow, tmp_path: Any) -> None:
    bare, (model, processor) = row.model(), row.attached()
    bare.save_pretrained(tmp_path / "bare")
    model.save_pretrained(tmp_path / "attached")
    assert isinstance(model, AttachedRegionMixin)
    files = {path.name: path.read_bytes() for path in (tmp_path / "attached").iterdir()}
    for path in (tmp_path / "bare").iterdir():
        assert files[path.name] == path.read_bytes(), path.name
    own = set(files) - {path.name for path in (tmp_path / "bare").iterdir()}
    assert own == {"object_encoder.safetensors", "object_encoder_config.json"}
    again, info = type(bare).from_pretrained(tmp_path / "attached", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    inputs = one(row, processor)
    vr.load_object_encoder(again.eval(), tmp_path / "attached", processor=row.processor())
    assert torch.equal(logits(again, inputs), logits(model, inputs))


@pytest.mark.spread(3)
@every_host
def test_a_saved_object_encoder_makes_the_same_model(row: HostRow, tmp_path: Any) -> None:
    model, processor = row.attached()
    inputs = one(row, processor)
    model.save_object_encoder(tmp_path)
    written = json.loads((tmp_path / "object_encoder_config.json").read_text())
    assert written["host_model_type"] == row.name
    assert (written["region_token"], written["region_token_id"]) == ("<region>", VOCAB)
    assert written["version"] == vr.__version__
    other = vr.load_object_encoder(row.model(), tmp_path)
    assert torch.equal(logits(other, inputs), logits(model, inputs))
    # Without a model, the files are enough to prepare inputs.
    alone = vr.RegionProcessor(row.processor(), tmp_path, num_frames=4)
    for name, value in one(row, alone).items():
        assert torch.equal(value, inputs[name]), name


@pytest.mark.spread(3)
@every_host
def test_detaching_restores_the_host_exactly(row: HostRow) -> None:
    bare, model = row.model(), row.model()
    names = set(vars(model))
    vr.attach_object_encoder(model)
    assert type(model) is not type(bare)
    assert type(model).__name__ == f"Region{type(bare).__name__}"
    vr.detach_object_encoder(model)
    assert type(model) is type(bare)
    assert set(vars(model)) == names
    assert list(model.state_dict()) == list(bare.state_dict())
    assert not model.get_decoder()._forward_pre_hooks
    inputs = shared(row.name)[1](text=row.prompt("What?"), videos=[row.video()])
    assert torch.equal(logits(model, inputs), logits(bare, inputs))
    assert torch.equal(greedy(model, inputs), greedy(bare, inputs))


# ------------------------------------------------------------------------------------------------- ways to run


@pytest.mark.skipif(
    not hasattr(torch.compiler, "is_exporting"), reason="bare transformers hosts do not compile with a torch this old"
)
@pytest.mark.slow  # tracing takes many seconds a host
@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=row.name) for row in ROWS],
)
def test_compiled_equals_eager(row: HostRow) -> None:
    model, processor = row.attached()
    inputs = one(row, processor)
    expected = logits(model, inputs)
    torch._dynamo.reset()
    assert torch.equal(logits(torch.compile(model, backend="eager"), inputs), expected)


@pytest.mark.spread(3)
@every_host
def test_bfloat16(row: HostRow) -> None:
    processor = row.processor()
    model = vr.attach_object_encoder(row.model().to(torch.bfloat16), processor=processor)
    assert model.object_encoder.dtype == torch.bfloat16
    inputs = one(row, vr.RegionProcessor(processor, model, num_frames=4)).to(torch.bfloat16)
    assert torch.isfinite(logits(model, inputs)).all()
    assert greedy(model, inputs).shape == (1, 5)


@pytest.mark.spread(2)
@every_host
@pytest.mark.parametrize("hooks", [False, True])
def test_device_map(row: HostRow, hooks: bool, tmp_path: Any) -> None:
    from accelerate import dispatch_model

    expected, processor = shared(row.name)
    inputs = one(row, processor)
    expected.save_pretrained(tmp_path)
    model = type(row.model()).from_pretrained(tmp_path, device_map={"": "cpu"}).eval()
    if hooks:  # as with several devices, every module's forward is wrapped
        model = dispatch_model(model, {"": "cpu"}, main_device="cpu", force_hooks=True)
        assert hasattr(model, "_hf_hook")
    vr.load_object_encoder(model, tmp_path)
    assert torch.equal(logits(model, inputs), logits(expected, inputs))
    assert torch.equal(greedy(model, inputs), greedy(expected, inputs))
    vr.detach_object_encoder(model)
    plain = processor(text=row.prompt("What?"), videos=[row.video()])
    assert torch.equal(logits(model, plain), logits(row.model(), plain))


# ------------------------------------------------------------------------------------------------- not per host


@pytest.mark.slow
def test_a_process_that_has_not_attached_anything_loads_and_unpickles(tmp_path: Any) -> None:
    """One interpreter, as starting it takes seconds: a saved host loads without this library, a pickle brings it."""
    BY_NAME["llava_onevision"].attached()[0].save_pretrained(tmp_path / "host")
    model, processor = BY_NAME["qwen3_vl"].attached()
    inputs = dict(one(BY_NAME["qwen3_vl"], processor))
    torch.save((copy.deepcopy(model), inputs, logits(model, inputs)), tmp_path / "all.pt")
    code = """
import sys
from transformers import AutoModelForImageTextToText as Auto
folder = sys.argv[1]
print(type(Auto.from_pretrained(f"{folder}/host")).__name__)
assert "videorefer_plugin" not in sys.modules
import torch
model, inputs, expected = torch.load(f"{folder}/all.pt", weights_only=False)
assert torch.equal(model(**inputs).logits, expected)
print(type(model).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["LlavaOnevisionForConditionalGeneration", "RegionQwen3VLForConditionalGeneration"]


def test_region_id_inside_the_vocabulary_is_not_generated_and_ids_of_placeholders_are_not_borrowed() -> None:
    row = BY_NAME["qwen3_vl"]
    model, processor = row.attached()
    inputs = one(row, processor)
    with torch.no_grad():
        first = int(greedy(model, inputs)[0, 0])
    model.object_encoder_attachment.region_token_id = first  # as if the tokenizer had put <region> there
    moved = dict(inputs)
    moved["input_ids"] = inputs["input_ids"].masked_fill(inputs["input_ids"] == VOCAB, first)
    assert int((moved["input_ids"] == first).sum()) == 3
    assert torch.equal(logits(model, moved), logits(model, moved))
    assert int(greedy(model, moved)[0, 0]) != first
    assert int(greedy(model, moved, suppress_tokens=[])[0, 0]) == first
    ids = torch.tensor([[5, first, 7]])
    model.config.image_token_id, before = 0, model.config.image_token_id
    assert int(model.hide_region_ids(ids, ids == first)[0, 1]) not in (0, IDS["<video>"])
    model.config.image_token_id = before
