"""Training runs from recipes, on the tiny checkpoint."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import TrainerCallback

import videorefer_plugin as vr
from tests import training_data, training_runs
from tests.conftest import CHECKPOINT, TINY
from tests.training_runs import losses, run, weights, write_data, write_language_model
from videorefer_plugin.training import VideoReferCollator, VideoReferDataset
from videorefer_plugin.training.checkpoints import find_checkpoint
from videorefer_plugin.training.parts import parameters_by_part, set_trainable
from videorefer_plugin.training.sampling import ModalityLengthSampler
from videorefer_plugin.training.trainer import VideoReferTrainer

PREFIXES = {
    "vision_tower": ("model.vision_tower.",),
    "connector": ("model.connector.",),
    "object_encoder": ("object_encoder.",),
    "language_model": ("model.language_model.", "lm_head."),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def names_of(parts, state):
    return {name for name in state if name.startswith(tuple(prefix for part in parts for prefix in PREFIXES[part]))}


# --- stages ----------------------------------------------------------------------------------------------------------


STAGES = {
    "1": ["connector"],
    "2": ["object_encoder"],
    "2.5": ["connector", "object_encoder", "language_model"],
    "3": ["connector", "object_encoder", "language_model"],
}


def test_stages_train_what_they_should_and_the_loss_falls(tmp_path):
    """1 -> 2 -> 2.5 -> 3 from Qwen2 and SigLIP, each from the folder that the one before it left.

    Stage 1 has captions of a clip and of an image, the others records of all kinds; every step sees all of them.
    """
    media = training_data.write_media(tmp_path)
    records = training_data.all_kinds()
    captions = [records.pop("first stage")]
    captions += [{"video": "clips/a.mp4", "conversations": training_data.turns("<video>", "bars above a texture")}]
    files = {
        stage: training_data.write_json(media / f"{stage}.json", captions if stage == "1" else [*records.values()])
        for stage in STAGES
    }
    parts = write_language_model(tmp_path / "qwen2")
    # What the parts are before anything is learnt.
    start = {"train.learning_rate": 0, "train.max_steps": 1}
    run("videollama2.1-7b/stage1", files["1"], tmp_path / "0", None, **parts, **start)
    before, previous = weights(tmp_path / "0"), None
    for stage, trained in STAGES.items():
        output = tmp_path / stage
        size = len(json.loads(files[stage].read_text()))
        changes = {
            **(parts if previous is None else {}),
            "train.learning_rate": {"1": 1e-2, "2": 2e-1, "2.5": 2e-3, "3": 2e-3}[stage],
            "train.batch_size": size,
            "train.global_batch_size": size,
            "data.num_frames": 4,
        }
        run(f"videollama2.1-7b/stage{stage}", files[stage], output, previous, **changes)
        after = weights(output)
        assert changed(before, after) == names_of(trained, after), stage
        curve = losses(output)
        assert len(curve) == 4
        assert curve[-1] < curve[0], stage
        assert sum(curve[-2:]) < sum(curve[:2]), stage
        before, previous = after, output
    loaded = vr.VideoReferForConditionalGeneration.from_pretrained(previous).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in before.items())


def test_settings_of_generation_come_along(data, tmp_path):
    run("videollama2.1-7b/stage2", data, tmp_path, **{"train.max_steps": 1})
    model = vr.VideoReferForConditionalGeneration.from_pretrained(tmp_path)
    assert model.generation_config.repetition_penalty == 1.05


def test_a_new_model_is_built_from_a_language_model_and_a_tower(tmp_path):
    """Stage 1 as it starts in the paper: SigLIP, Qwen2 with its padded table, and a new connector."""
    parts = write_language_model(tmp_path / "qwen2")
    data = write_data(tmp_path / "data", ("first stage",), copies=4)
    run("videollama2.1-7b/stage1", data, tmp_path / "out", None, **parts, **{"train.max_steps": 2})
    after = weights(tmp_path / "out")
    language_model, tower = (load_file(Path(folder) / "model.safetensors") for folder in parts.values())
    assert len(language_model["model.embed_tokens.weight"]) == 384
    for kept, name in (
        (language_model["model.embed_tokens.weight"], "model.language_model.embed_tokens.weight"),
        (
            tower["vision_model.embeddings.patch_embedding.weight"],
            "model.vision_tower.embeddings.patch_embedding.weight",
        ),
    ):
        assert torch.equal(after[name], kept), name
    region = vr.Region.from_box((0, 0, 20, 20))
    picture = Image.new("RGB", (64, 48))
    assert isinstance(vr.ask(tmp_path / "out", None, "<region>?", [region], image=picture, max_new_tokens=2), str)


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden_records(tmp_path_factory, visuals):
    """The reference batch as a data set: records as they are, media as folders of frames."""
    root = tmp_path_factory.mktemp("golden")
    batch = json.loads((TINY / "train_batch_mixed.json").read_text())
    for name in ("vid_a", "vid_b"):
        (root / name).mkdir()
        for index, frame in enumerate(visuals[f"{name}.frames"].numpy()):
            Image.fromarray(frame).save(root / name / f"{index:03d}.png")
    Image.fromarray(visuals["img_c.frames"][0].numpy()).save(root / "img_c.png")
    (root / "data.json").write_text(json.dumps(batch["samples"]))
    return root / "data.json", batch


class _Gradients(TrainerCallback):
    def __init__(self):
        self.norms = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.norms = {name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}


def arguments(folder, **changes):
    from transformers import TrainingArguments

    values = {"max_steps": 1, "report_to": "none", "use_cpu": True, "remove_unused_columns": False, "logging_steps": 1}
    values |= {"save_strategy": "no", "max_grad_norm": 0.0, "label_names": ["labels"], "lr_scheduler_type": "constant"}
    return TrainingArguments(output_dir=str(folder), **{**values, **changes})


def trainer_for(path, processor, folder, batch_size, learning_rates=None, accumulation=1, **changes):
    model = vr.VideoReferForConditionalGeneration.from_pretrained(CHECKPOINT)
    values = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": accumulation, **changes}
    return VideoReferTrainer(
        model=model,
        args=arguments(folder, **values),
        train_dataset=VideoReferDataset(path, mode="multi"),
        data_collator=VideoReferCollator(processor, mask_policy="original"),
        learning_rates=learning_rates,
    )


def test_one_step_has_the_loss_and_gradients_of_the_original(golden_records, processor, tmp_path):
    from videorefer_plugin.models.videollama2.loading import rename_original

    path, batch = golden_records
    trainer = trainer_for(path, processor, tmp_path, 3)
    gradients = _Gradients()
    trainer.add_callback(gradients)
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["loss"] == pytest.approx(batch["loss"], rel=1e-5)
    assert log["supervised_tokens"] == batch["num_supervised_tokens"]
    expected = {rename_original(name): norm for name, norm in batch["grad_norms"].items()}
    for name, norm in expected.items():
        assert gradients.norms[name] == pytest.approx(norm, rel=1e-3, abs=1e-9), name
    parts = [value for name, value in log.items() if name.startswith("grad_norm_")]
    assert len(parts) == 4
    assert math.sqrt(sum(norm**2 for norm in parts)) == pytest.approx(log["grad_norm"], rel=1e-4)


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_norms_of_parts_are_those_before_clipping(clip, golden_records, processor, tmp_path):
    trainer = trainer_for(golden_records[0], processor, tmp_path, 3, max_grad_norm=clip)
    trainer.train()
    log = trainer.state.log_history[0]
    parts = [value for name, value in log.items() if name.startswith("grad_norm_")]
    assert math.sqrt(sum(norm**2 for norm in parts)) == pytest.approx(log["grad_norm"], rel=1e-3)


def test_accumulated_steps_equal_one_large_step(golden_records, processor, tmp_path):
    """Batches of 3, of 1 three times: supervised tokens are ragged, and the loss is their mean over the whole step."""
    path, batch = golden_records
    results = []
    for size, accumulation in ((3, 1), (1, 3)):
        trainer = trainer_for(
            path, processor, tmp_path, size, accumulation=accumulation, optim="sgd", learning_rate=0.1
        )
        trainer.train()
        assert trainer.state.log_history[0]["loss"] == pytest.approx(batch["loss"], rel=1e-5)
        results.append(trainer.model.state_dict())
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, atol=1e-6, rtol=0, msg=name)


# --- parts -----------------------------------------------------------------------------------------------------------


def test_parts_cover_every_parameter_once(model):
    by_part = parameters_by_part(model)
    names = [name for parameters in by_part.values() for name in parameters]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    for part, parameters in by_part.items():
        assert set(parameters) == names_of([part], dict(model.named_parameters()))


def test_unknown_parts_are_refused(model):
    with pytest.raises(vr.ConfigurationError, match="decoder"):
        set_trainable(model, ["decoder"])


def test_a_frozen_tower_records_nothing_for_a_backward_pass():
    """Not even where hooks, as PEFT adds them for checkpointing, make its inputs require gradients."""
    model = vr.VideoReferForConditionalGeneration.from_pretrained(CHECKPOINT).train()
    frames = torch.randn(2, 3, 42, 42)
    assert model.model.get_frame_features(frames).requires_grad
    set_trainable(model, ["object_encoder"])
    model.model.vision_tower.embeddings.register_forward_hook(lambda module, inputs, out: out.requires_grad_(True))
    assert not model.model.get_frame_features(frames).requires_grad
    assert model.model.get_frame_features(frames.requires_grad_(True)).requires_grad


def test_parts_may_have_learning_rates_of_their_own(golden_records, processor, tmp_path):
    rates = {"connector": 1e-5, "object_encoder": 3e-4}
    trainer = trainer_for(golden_records[0], processor, tmp_path, 3, learning_rates=rates, learning_rate=2e-5)
    optimizer = trainer.create_optimizer()
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for part, parameters in parameters_by_part(trainer.model).items():
        assert {rate_of[id(p)] for p in parameters.values()} == {rates.get(part, 2e-5)}, part
    decayed = [group for group in optimizer.param_groups if group["weight_decay"]]
    assert all(p.ndim > 1 for group in decayed for p in group["params"])


# --- order of records ------------------------------------------------------------------------------------------------


def test_batches_hold_one_modality_and_similar_lengths():
    lengths = [((7 * index) % 101) + 5 for index in range(203)]
    modalities = ["video" if index % 3 else "text" for index in range(203)]
    sampler = ModalityLengthSampler(lengths, modalities, batch_size=8, seed=3)
    order = list(sampler)
    assert sorted(order) == list(range(203))
    assert order == list(sampler)
    whole = sum(modalities.count(kind) // 8 for kind in ("video", "text"))
    batches = [order[at : at + 8] for at in range(0, whole * 8, 8)]
    assert all(len({modalities[index] for index in batch}) == 1 for batch in batches)
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches]
    assert max(spread) < 30
    sampler.set_epoch(1)
    assert list(sampler) != order
    assert ModalityLengthSampler([], [], 4).__len__() == 0


# --- guards ----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_stops_the_run(golden_records, processor, tmp_path):
    trainer = trainer_for(golden_records[0], processor, tmp_path, 3)
    with torch.no_grad():
        trainer.model.object_encoder.projector[0].weight[0, 0] = float("nan")
    with pytest.raises(vr.TrainingError, match=r"loss at step 1 is nan"):
        trainer.train()


def test_a_batch_that_supervises_nothing_stops_the_run(golden_records, processor, tmp_path):
    trainer = trainer_for(golden_records[0], processor, tmp_path, 3)
    collate = trainer.data_collator
    trainer.data_collator = lambda samples: {**(batch := collate(samples)), "labels": batch["labels"] * 0 - 100}
    with pytest.raises(vr.TrainingError, match=r"No token .* step 1 is supervised"):
        trainer.train()


def test_grouping_needs_lengths(processor, tmp_path):
    model = vr.VideoReferForConditionalGeneration.from_pretrained(CHECKPOINT)
    trainer = VideoReferTrainer(
        model=model, args=arguments(tmp_path), train_dataset=[1, 2, 3], group_by_modality_length=True
    )
    with pytest.raises(vr.ConfigurationError, match="VideoReferDataset"):
        trainer.get_train_dataloader()


def test_bad_records_stop_a_run_or_are_left_out(tmp_path):
    data = write_data(tmp_path, ("compressed", "polygons"), copies=2)
    records = json.loads(data.read_text())
    records[1]["annotation"] = []
    data.write_text(json.dumps(records))
    with pytest.raises(vr.RecordError, match=r"data[.]json"):
        run("videollama2.1-7b/stage2", data, tmp_path / "out")
    trainer = run("videollama2.1-7b/stage2", data, tmp_path / "out", **{"data.on_bad_sample": "skip"})
    assert len(trainer.train_dataset) == 3
    summary = json.loads((tmp_path / "out" / "videorefer_run.json").read_text())
    assert summary["hyperparameters"]["skipped"] == 1


def test_no_data_is_said_at_once(tmp_path):
    with pytest.raises(vr.ConfigurationError, match=r"data[.]files"):
        run("videollama2.1-7b/stage2", tmp_path, tmp_path, **{"data.files": []})


def test_the_trainer_of_the_original_package(tmp_path, data, monkeypatch):
    from transformers import Trainer

    with pytest.raises(vr.ConfigurationError, match="original videollama2 package"):
        run("videollama2.1-7b/stage2", data, tmp_path, trainer="videollama2")
    package = tmp_path / "package" / "videollama2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "videollama2_trainer.py").write_text(
        "from transformers import Trainer\n\n\nclass VideoLLaMA2Trainer(Trainer):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "package"))
    trainer = run("videollama2.1-7b/stage2", data, tmp_path / "out", trainer="videollama2")
    assert [cls.__name__ for cls in type(trainer).__mro__[:3]][-1] == "VideoLLaMA2Trainer"
    assert isinstance(trainer, Trainer)
    assert len(losses(tmp_path / "out")) == 4


# --- precision and results -------------------------------------------------------------------------------------------


def test_what_is_trained_is_kept_in_full_precision(data, tmp_path):
    """Updates of 1e-6 would round to nothing in bfloat16; the saved weights are bfloat16 again."""
    changes = {"model.dtype": "bfloat16", "train.learning_rate": 1e-6, "train.max_steps": 2, "train.save_every": 2}
    run("videollama2.1-7b/stage2", data, tmp_path, **changes)
    kept = weights(tmp_path / "checkpoint-2")
    dtypes = {name.split(".")[0]: value.dtype for name, value in kept.items()}
    assert dtypes == {"object_encoder": torch.float32, "model": torch.bfloat16, "lm_head": torch.bfloat16}
    start = vr.VideoReferForConditionalGeneration.from_pretrained(CHECKPOINT, dtype=torch.bfloat16).state_dict()
    moved = kept["object_encoder.projector.2.weight"] - start["object_encoder.projector.2.weight"].float()
    assert 0 < moved.abs().max() < 1e-5
    assert {value.dtype for value in weights(tmp_path).values()} == {torch.bfloat16}


def test_object_encoder_alone(data, tmp_path):
    run("videollama2.1-7b/stage2", data, tmp_path, **{"output.save": "object_encoder"})
    assert not (tmp_path / "model.safetensors").exists()
    assert (tmp_path / "object_encoder.safetensors").stat().st_size < 50_000
    trained = load_file(tmp_path / "object_encoder.safetensors")
    model = vr.VideoReferForConditionalGeneration.from_pretrained(CHECKPOINT)
    assert not torch.equal(model.object_encoder.state_dict()["projector.0.weight"], trained["projector.0.weight"])
    vr.load_object_encoder(model, tmp_path)
    for name, value in model.object_encoder.state_dict().items():
        assert torch.equal(value, trained[name])


def test_adapter_and_object_encoder(data, tmp_path, visuals, processor):
    peft = pytest.importorskip("peft")
    from tests.conftest import CASES, case_call

    changes = {"lora.rank": 4, "train.learning_rate": 1e-2, "train.max_steps": 3}
    trainer = run("videollama2.1-7b/stage3_lora", data, tmp_path, **changes)
    inputs = processor(**case_call(CASES[1], visuals))
    with torch.no_grad():
        expected = trainer.model.eval()(**inputs).logits
    base = vr.VideoReferForConditionalGeneration.from_pretrained(CHECKPOINT)
    untouched = {name: value.clone() for name, value in base.state_dict().items()}
    with torch.no_grad():
        moved_by = (base.eval()(**inputs).logits - expected).abs().max()
    loaded = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).logits, expected, atol=1e-5, rtol=0)
        merged = loaded.merge_and_unload()
        # Sums are rounded in another order, which differs from one CPU to the next.
        torch.testing.assert_close(merged(**inputs).logits, expected, atol=float(moved_by) * 1e-3, rtol=0)
    moved = changed(untouched, merged.state_dict())
    assert names_of(["connector", "object_encoder"], untouched) <= moved
    assert not moved & names_of(["vision_tower"], untouched)
    assert (tmp_path / "object_encoder.safetensors").is_file()


def test_run_summary_says_what_was_run(data, tmp_path):
    import transformers

    run("videollama2.1-7b/stage2", data, tmp_path, **{"output.license": "apache-2.0"})
    summary = json.loads((tmp_path / "videorefer_run.json").read_text())
    assert summary["recipe"]["name"] == "videollama2.1-7b/stage2"
    assert summary["steps"] == 4
    assert summary["data"][0]["name"] == "data.json"
    assert summary["data"][0]["records"] == len(json.loads(data.read_text()))
    assert summary["versions"]["transformers"] == transformers.__version__
    assert summary["license"] == "apache-2.0"
    assert summary["hyperparameters"]["learning_rate"] == 1e-3


def test_gradient_checkpointing_changes_nothing(data, tmp_path):
    curves = []
    for enabled in (False, True):
        folder = tmp_path / str(enabled)
        run("videollama2.1-7b/stage3", data, folder, **{"train.gradient_checkpointing": enabled})
        curves.append(losses(folder))
    assert curves[0] == pytest.approx(curves[1], rel=1e-6)


def test_old_checkpoints_make_room(data, tmp_path):
    run("videollama2.1-7b/stage2", data, tmp_path, **{"train.save_every": 1, "train.keep_checkpoints": 2})
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-4"]
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")
    assert not (tmp_path / "unfinished").exists()
    assert find_checkpoint(tmp_path / "nothing") is None


def test_checkpoints_of_another_run_are_not_overwritten(data, tmp_path):
    from videorefer_plugin.training.recipe import load_recipe
    from videorefer_plugin.training.run import train

    run("videollama2.1-7b/stage2", data, tmp_path, **{"train.save_every": 2})
    recipe = load_recipe("videollama2.1-7b/stage2", training_runs.settings(data, tmp_path))
    with pytest.raises(vr.ConfigurationError, match="holds checkpoints already"):
        train(recipe, resume=False)


# --- evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    ("kinds", "changes"),
    [
        (training_runs.KINDS, {}),
        (training_runs.KINDS, {"data.keep_features": True, "data.mode": "multi"}),
        (("compressed", "two objects"), {"data.clip": False, "data.mode": "multi"}),
    ],
    ids=["plain", "kept features", "without clips"],
)
def test_the_loss_on_other_records_is_logged(kinds, changes, tmp_path):
    data, other = write_data(tmp_path / "data", kinds), write_data(tmp_path / "other", kinds[:2], copies=1)
    changes |= {"data.files": [{"file": str(data), "weight": 0.5}], "data.eval_files": [str(other)]}
    still = {"train.learning_rate": 0, "train.eval_every": 2}
    run("videollama2.1-7b/stage2", data, tmp_path / "out", **changes, **still)
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    found = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    assert list(found) == [2, 4]
    assert found[2] == found[4] > 0  # nothing was learnt, and the same was looked at


@pytest.mark.slow
def test_the_loss_on_other_records_does_not_depend_on_batches(tmp_path):
    """It is the mean over all tokens: of answers of very different lengths, batches of any size say the same."""
    kinds = training_runs.KINDS
    data, other = write_data(tmp_path / "data", kinds), write_data(tmp_path / "other", kinds, copies=1)
    records = json.loads(other.read_text())
    records[0]["conversations"][-1]["value"] = "It goes to the left, and then it goes back again and lies down."
    other.write_text(json.dumps(records[:3]))
    still = {
        "train.learning_rate": 0,
        "train.eval_every": 2,
        "data.files": [str(data)],
        "data.eval_files": [str(other)],
    }
    found = []
    for size in (1, 2, 4):
        out = tmp_path / str(size)
        run("videollama2.1-7b/stage2", data, out, **still, **{"train.batch_size": size, "train.global_batch_size": 4})
        history = json.loads((out / "trainer_state.json").read_text())["log_history"]
        found.append(next(entry["eval_loss"] for entry in history if "eval_loss" in entry))
    assert found == pytest.approx([found[0]] * 3, rel=1e-6)


def test_what_an_environment_holds_is_in_no_summary(data, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEOREFER_SECRET", "hushhush")
    secret = "${oc.env:VIDEOREFER_SECRET}"
    changes = {"name": secret, "output.license": secret, "train.extra": {"run_name": secret}}
    run("videollama2.1-7b/stage2", data, tmp_path, **changes)
    holding = {path.name for path in tmp_path.rglob("*") if path.is_file() and b"hushhush" in path.read_bytes()}
    assert holding <= {"training_args.bin"}
