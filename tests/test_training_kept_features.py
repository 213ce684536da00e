"""Training on what a frozen vision tower makes of objects and clips, computed once."""

import json
import os
import pickle

import pytest
import torch
import transformers
from safetensors.torch import load_file

from tests import media
from tests.training_data import write_json
from tests.training_runs import assert_equal_runs, command, finish, losses, run, weights, write_data
from videorefer_plugin.errors import ConfigurationError, TrainingError, VideoError
from videorefer_plugin.models.feature_store import FeatureStore
from videorefer_plugin.training import VideoReferCollator, VideoReferDataset, kept_features
from videorefer_plugin.training.feature_collator import FeatureCollator
from videorefer_plugin.training.kept_features import compute_features, remove_features
from videorefer_plugin.training.read_once import ReadOnce
from videorefer_plugin.training.recipe import load_recipe
from videorefer_plugin.training.trainer import VideoReferTrainer
from videorefer_plugin.video import open_video

KINDS = (
    "compressed",
    "two objects",
    "polygons without size",
    "image",
    "never together",
    "regions in several turns",
    "one level deeper",
    "folder of frames",
)
RECIPE = "videollama2.1-7b/stage3"
PARTS = {"data.clip": False, "data.mode": "multi", "train.parts": ["object_encoder", "language_model"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), KINDS, copies=1)


@pytest.fixture
def setting(data, model, processor, tmp_path):
    dataset = VideoReferDataset(data, mode="multi")
    features = compute_features(model, processor, dataset, tmp_path / "features")
    config = model.object_encoder.config
    return dataset, FeatureCollator(processor, features, config)


@pytest.fixture
def setting_with_clips(tmp_path, model, processor):
    data = write_data(tmp_path / "data", (*KINDS, "video without objects", "text"), copies=1)
    dataset = VideoReferDataset(data, mode="multi")
    processor.num_frames = model.config.num_frames  # as a run sets it
    features = compute_features(model, processor, dataset, tmp_path / "features", clips=True)
    config = model.object_encoder.config
    return dataset, FeatureCollator(processor, features, config, clips=True)


def test_conversations_are_those_with_clips_less_the_clips(setting, processor):
    dataset, collator = setting
    whole = VideoReferCollator(processor)
    for index in range(len(dataset)):
        alone, shown = collator([dataset[index]]), whole([dataset[index]])
        visuals = torch.tensor([processor.image_token_id, processor.video_token_id])
        keep = ~torch.isin(shown["input_ids"], visuals)
        assert alone["input_ids"][0].tolist() == shown["input_ids"][keep].tolist()
        assert alone["labels"][0].tolist() == shown["labels"][keep].tolist()
        assert [alone["region_lengths"].tolist()] == shown["region_lengths"].tolist()
        assert alone.keys() == {"input_ids", "labels", "region_pooled", "region_lengths"}


def test_with_clips_conversations_are_the_same(setting_with_clips, processor):
    dataset, collator = setting_with_clips
    kinds = set()
    for index in range(len(dataset)):
        kept, shown = collator([dataset[index]]), VideoReferCollator(processor)([dataset[index]])
        for name in ("input_ids", "labels"):
            assert kept[name].tolist() == shown[name].tolist(), dataset[index]["record"].place
        kinds |= {name for name in kept if name.endswith("_features")}
    assert kinds == {"image_features", "video_features"}


def test_with_clips_the_loss_is_the_same(setting_with_clips, model, processor, tmp_path):
    from transformers import TrainingArguments

    dataset, collator = setting_with_clips
    samples = [dataset[index] for index in range(len(dataset))]
    arguments = TrainingArguments(tmp_path, use_cpu=True, report_to="none", remove_unused_columns=False)
    trainer = VideoReferTrainer(model, arguments, train_dataset=dataset, data_collator=collator)
    config, connector = model.object_encoder.config, model.model.connector
    connected = FeatureCollator(processor, collator.features, config, clips=True, connector=connector)
    for some in (samples, samples[:2]):
        # Frames of clips are kept in half precision.
        expected = model(**VideoReferCollator(processor)(some)).loss
        loss = trainer.compute_loss(model, collator(some))
        torch.testing.assert_close(loss, expected, atol=1e-3, rtol=1e-3)
        batch = connected(some)
        assert "video_tokens" in batch
        assert not [name for name in batch if name.endswith("_features")]
        torch.testing.assert_close(trainer.compute_loss(model, batch), loss, atol=1e-5, rtol=1e-5)


def test_a_clip_goes_through_a_connector_that_is_not_trained_once(setting_with_clips, model, processor):
    dataset, collator = setting_with_clips
    calls = []
    hook = model.model.connector.register_forward_hook(lambda *given: calls.append(len(given[1][0])))
    samples = [dataset[index] for index in range(len(dataset))]
    shown = {sample["visual"] for sample in samples} - {None}
    connected = FeatureCollator(
        processor, collator.features, model.object_encoder.config, clips=True, connector=model.model.connector
    )
    first, second = connected(samples), connected(samples)
    hook.remove()
    assert calls == [1] * len(shown)
    assert first["video_tokens"].equal(second["video_tokens"])
    assert not first["video_tokens"].requires_grad


def test_records_are_read_once(setting_with_clips):
    dataset, collator = setting_with_clips
    once = ReadOnce(dataset, regions=False)
    assert "regions" not in once[3]
    assert "regions" in ReadOnce(dataset)[3]
    assert (len(once), once.lengths, once.modalities) == (len(dataset), dataset.lengths, dataset.modalities)
    batches = [collator([once[index] for index in (0, 2, 1)]) for _ in range(2)]
    assert once[2] == {"index": 2}
    for name in batches[0]:
        assert batches[0][name].equal(batches[1][name])


def test_objects_have_the_tokens_that_they_have_with_their_clips(setting, model, processor, tmp_path):
    dataset, collator = setting
    samples = [dataset[index] for index in range(len(dataset))]
    seen = []

    class Watching(VideoReferTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            hook = model.register_forward_pre_hook(lambda *given: seen.append(given[2]), with_kwargs=True)
            try:
                return super().compute_loss(model, inputs, *args, **kwargs)
            finally:
                hook.remove()

    from transformers import TrainingArguments

    arguments = TrainingArguments(tmp_path, use_cpu=True, report_to="none", remove_unused_columns=False)
    loss = Watching(model, arguments, train_dataset=dataset, data_collator=collator).compute_loss(
        model, collator(samples)
    )
    assert torch.isfinite(loss)
    (given,) = seen
    for row, sample in enumerate(samples):
        inputs = VideoReferCollator(processor)([sample])
        tokens = torch.cat(model.get_region_tokens(**inputs)[0])
        assert given["object_token_counts"][row] == len(tokens)
        assert torch.allclose(given["object_tokens"][row, : len(tokens)], tokens, atol=1e-5)


@pytest.mark.slow
def test_a_run_learns_and_leaves_the_rest_alone(data, tmp_path):
    changes = {**PARTS, "train.batch_size": 4, "train.global_batch_size": 4, "train.learning_rate": 2e-3}
    changes["train.learning_rates"] = {}
    run(RECIPE, data, tmp_path / "0", **{**changes, "train.learning_rate": 0, "train.max_steps": 1})
    run(RECIPE, data, tmp_path, **changes, **{"train.max_steps": 8})
    curve = losses(tmp_path)
    assert sum(curve[-2:]) < sum(curve[:2])
    before, after = weights(tmp_path / "0"), weights(tmp_path)
    changed = {name for name in after if not after[name].equal(before[name])}
    assert any(name.startswith("object_encoder.") for name in changed)
    assert not any(".vision_tower." in name or ".connector." in name for name in changed)
    assert not list(tmp_path.glob("features-*"))


@pytest.mark.slow
def test_a_run_with_clips_learns_the_connector_too(data, tmp_path):
    changes = {"data.keep_features": True, "data.mode": "multi", "train.batch_size": 4, "train.global_batch_size": 4}
    changes |= {"train.parts": ["connector", "object_encoder", "language_model"], "train.learning_rates": {}}
    run(RECIPE, data, tmp_path / "0", **{**changes, "train.learning_rate": 0, "train.max_steps": 1})
    run(RECIPE, data, tmp_path, **changes, **{"train.max_steps": 8, "train.learning_rate": 2e-3})
    curve = losses(tmp_path)
    assert sum(curve[-2:]) < sum(curve[:2])
    before, after = weights(tmp_path / "0"), weights(tmp_path)
    changed = {name for name in after if not after[name].equal(before[name])}
    for part, learns in (("object_encoder.", True), (".connector.", True), (".vision_tower.", False)):
        assert any(part in name for name in changed) == learns, part


def test_an_adapter_learns_what_it_learns_with_the_tower_running(data, tmp_path):
    changes = {"data.mode": "multi", "train.max_steps": 3, "lora.dropout": 0.0, "train.group_by": None}
    changes |= {"train.optimizer": "sgd", "train.learning_rate": 0.05}  # which no tiny gradient turns around
    for kept in (False, True):
        run("videollama2.1-7b/stage3_lora", data, tmp_path / str(kept), **changes, **{"data.keep_features": kept})
    expected, found = (load_file(tmp_path / str(kept) / "adapter_model.safetensors") for kept in (False, True))
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-4)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-3, msg=name)


def _spoil(data):
    """Empty all media, so that only their names, sizes and times are as before."""
    for path in [path for path in data.parent.rglob("*") if path.is_file() and path != data]:
        times, size = (path.stat().st_atime_ns, path.stat().st_mtime_ns), path.stat().st_size
        path.write_bytes(bytes(size))
        os.utime(path, ns=times)


def test_features_stay_for_other_runs(tmp_path):
    data = write_data(tmp_path / "data", KINDS, copies=1)
    changes = {**PARTS, "train.max_steps": 1, "train.batch_size": 4, "train.global_batch_size": 4}
    changes["data.features"] = str(tmp_path / "features")
    run(RECIPE, data, tmp_path / "first", **changes)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "features").iterdir()}
    assert kept
    _spoil(data)
    run(RECIPE, data, tmp_path / "second", **changes)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "features").iterdir()} == kept
    assert losses(tmp_path / "second") == losses(tmp_path / "first")


@pytest.fixture
def counted(model):
    """How many frames went through the vision tower, one number a pass; the fixture is a list that is emptied."""
    passes = []
    tower = getattr(model.model.vision_tower, "vision_model", model.model.vision_tower)
    hook = tower.embeddings.register_forward_hook(lambda *given: passes.append(len(given[2])))
    yield passes
    hook.remove()


def _same(one, other):
    return one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one)


def _as_dict(features):
    return {key: features[key].clone() for key in features}


def test_features_of_other_towers_frames_or_files_are_not_taken(tmp_path, model, processor, counted):
    data = write_data(tmp_path / "data", ("compressed", "two objects"), copies=1)
    dataset, folder = VideoReferDataset(data, mode="multi"), tmp_path / "features"

    def compute(dataset=dataset):
        counted.clear()
        return compute_features(model, processor, dataset, folder, clips=True)

    first = compute()
    weight = next(model.model.vision_tower.parameters())
    with torch.no_grad():
        kept = weight.clone()
        weight += 1
        other = compute()
        weight.copy_(kept)
    assert sum(counted) > 0
    assert other.keys() == first.keys()
    assert not _same(first, other)
    few = compute(VideoReferDataset(data, mode="multi", max_frames_per_region=1))
    assert sum(counted) <= 3  # those with masks that no clip shows; the clips are the same
    assert max(len(few[key]) for key in few if few[key].ndim == 2) == 1
    before = set(folder.iterdir())
    assert _same(first, compute())
    assert set(folder.iterdir()) == before
    assert not counted
    processor.num_frames, sampled = 4, processor.num_frames
    short = compute()
    processor.num_frames = sampled
    assert {len(short[key]) for key in short if short[key].ndim == 4} == {4}
    visual = dataset.record(0).visual
    media.write_video(visual, 12, rate=7)
    changed = compute()
    assert 0 < len(changed.keys() & first.keys()) < len(first)


def test_frames_of_the_same_content_are_encoded_once(tmp_path, model, processor, counted):
    """Whatever the files are called, however often records show them, and whoever has computed them."""
    data = write_data(tmp_path / "data", ("compressed", "regions in several turns", "polygons without size"), copies=3)
    records = json.loads(data.read_text())
    (tmp_path / "data" / "clips" / "copy.mp4").write_bytes((tmp_path / "data" / "clips" / "a.mp4").read_bytes())
    for record in records[5:]:
        record["video"] = "clips/copy.mp4"
    write_json(data, records)
    dataset = VideoReferDataset(data, mode="multi")

    def frames_seen():
        masked = {frame for index in range(len(dataset)) for one in dataset[index]["regions"] for frame in one.present}
        clip = open_video(dataset[0]["visual"])
        return masked | set(clip.sample(processor.num_frames))

    features = compute_features(model, processor, dataset, tmp_path / "features", clips=True)
    # Frames that carry masks and are not shown are not kept, so that each file with new objects needs them.
    assert sum(counted) <= 12
    assert sum(counted) == len(frames_seen())
    first, last = dataset.record(0), dataset.record(len(dataset) - 1)
    assert first.visual != last.visual
    assert features.clip_key(first) == features.clip_key(last)
    counted.clear()
    os.utime(first.visual, (0, 0))
    assert _same(features, compute_features(model, processor, dataset, tmp_path / "features", clips=True))
    assert not counted


def test_sessions_and_training_share_frames(tmp_path, model, processor, counted):
    import videorefer_plugin as vr

    data = write_data(tmp_path / "data", ("compressed", "image"), copies=1)
    dataset = VideoReferDataset(data, mode="multi")
    processor.num_frames = model.config.num_frames

    def ask(folder):
        counted.clear()
        for sample in map(dataset.__getitem__, range(len(dataset))):
            visual = {sample["kind"]: sample["visual"]}
            with vr.VideoSession(model, processor, **visual, features=FeatureStore(folder=folder)) as session:
                session.ask("What happens?", max_new_tokens=1)
        return sum(counted)

    def train(folder):
        counted.clear()
        return _as_dict(compute_features(model, processor, dataset, folder, clips=True)), sum(counted)

    clip = open_video(dataset[0]["visual"])
    shown = set(clip.sample(processor.num_frames))
    beside = set(dataset[0]["regions"][0].present) - shown  # frames with masks that the clip does not show
    first, encoded = train(tmp_path / "one")
    assert encoded == len(shown) + len(beside) + 1
    assert ask(tmp_path / "one") == 0
    assert ask(tmp_path / "other") == len(shown) + 1
    second, encoded = train(tmp_path / "other")
    assert encoded == len(beside)
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("clips", [False, True])
def test_more_features_than_memory_holds_are_read_from_the_folder(tmp_path, model, processor, clips, monkeypatch):
    data = write_data(tmp_path / "data", KINDS, copies=1)
    dataset = VideoReferDataset(data, mode="multi")
    held = compute_features(model, processor, dataset, tmp_path / "features", clips=clips)
    monkeypatch.setattr(kept_features, "_BYTES_HELD", 1000)
    read = compute_features(model, processor, dataset, tmp_path / "features", clips=clips)
    assert _same(held, read)
    collators = [FeatureCollator(processor, one, model.object_encoder.config, clips=clips) for one in (held, read)]
    batches = [collator([dataset[index] for index in range(2)]) for collator in collators]
    assert all(batches[0][name].equal(batches[1][name]) for name in batches[0])
    assert _same(held, pickle.loads(pickle.dumps(read)))
    remove_features(tmp_path / "features")
    with pytest.raises(TrainingError, match=r"not in the folder for features any more.*start the run again"):
        list(read.values())


def test_an_interrupted_computation_goes_on(tmp_path, model, processor, counted):
    data = write_data(tmp_path / "data", KINDS, copies=1)
    dataset, folder = VideoReferDataset(data, mode="multi"), tmp_path / "features"
    whole = _as_dict(compute_features(model, processor, dataset, tmp_path / "whole", clips=True))
    needed = sum(counted)
    counted.clear()
    spoilt = dataset.record(len(dataset) - 1).visual
    os.rename(spoilt, f"{spoilt} away")
    with pytest.raises(VideoError, match=r"data\.json, line .*There is no file or folder"):
        compute_features(model, processor, dataset, folder, clips=True)
    os.rename(f"{spoilt} away", spoilt)
    before = sum(counted)
    assert _same(compute_features(model, processor, dataset, folder, clips=True), whole)
    assert 0 < before < sum(counted) == needed


def test_damaged_files_of_features_are_computed_again(tmp_path, model, processor, counted, caplog):
    data = write_data(tmp_path / "data", ("compressed", "image"), copies=1)
    dataset, folder = VideoReferDataset(data, mode="multi"), tmp_path / "features"
    features = _as_dict(compute_features(model, processor, dataset, folder, clips=True))
    paths = sorted(folder.glob("features-*"))
    assert {path.suffix for path in paths} == {".json", ".safetensors"}
    for path in paths:
        path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level("WARNING"):
        again = compute_features(model, processor, dataset, folder, clips=True)
    assert _same(features, again)
    for path in paths:
        assert f"{path} cannot be used" in caplog.text


class _Interrupted(transformers.TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_the_features_that_it_has(tmp_path, monkeypatch):
    data = write_data(tmp_path / "data", KINDS, copies=1)
    changes = {
        **PARTS,
        "train.save_every": 1,
        "train.max_steps": 6,
        "train.batch_size": 4,
        "train.global_batch_size": 4,
    }
    run(RECIPE, data, tmp_path / "whole", **changes)
    begun = tmp_path / "begun"
    with monkeypatch.context() as patch:
        callbacks = [*transformers.trainer.DEFAULT_CALLBACKS, _Interrupted]
        patch.setattr(transformers.trainer, "DEFAULT_CALLBACKS", callbacks)
        with pytest.raises(KeyboardInterrupt):
            run(RECIPE, data, begun, **changes)
    assert sorted(path.name for path in begun.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    _spoil(data)  # nothing is decoded again
    run(RECIPE, data, begun, **changes)
    assert_equal_runs(begun, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("clips", [False, True])
def test_two_processes_train_like_one(data, tmp_path, clips):
    kept = {"data.clip": clips, "data.keep_features": clips}
    changes = {**PARTS, **kept, "train.max_steps": 3, "train.optimizer": "sgd", "train.learning_rate": 0.05}
    finish(command(RECIPE, data, tmp_path / "one", **changes))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    alone = command(RECIPE, data, tmp_path / "two", **changes, **{"train.batch_size": 1})
    finish([*launcher, *alone], env=environment)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    wanted = weights(tmp_path / "one")
    for name, value in weights(tmp_path / "two").items():
        torch.testing.assert_close(value, wanted[name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize(
    "change",
    [{"train.parts": ["connector", "object_encoder"]}, {"data.mode": "mixed"}, {"data.template": "plain"}],
    ids=["connector", "mixed", "plain"],
)
def test_settings_that_do_not_go_together_are_refused(change):
    values = {"model.checkpoint": "x", "data.files": "a.json", **PARTS, **change}

    with pytest.raises(ConfigurationError, match=r"data\.clip"):
        load_recipe(RECIPE, [f"{name}={json.dumps(value)}" for name, value in values.items()])


@pytest.mark.parametrize(
    "change",
    [{"train.parts": ["vision_tower", "object_encoder"]}, {"data.mode": "single"}, {"data.template": "plain"}],
    ids=["vision tower", "single", "plain"],
)
def test_what_features_cannot_be_kept_for_is_refused(change):
    values = {"model.checkpoint": "x", "data.files": "a.json", **PARTS, "data.clip": True, "data.keep_features": True}

    with pytest.raises(ConfigurationError, match=r"data\.keep_features"):
        load_recipe(RECIPE, [f"{name}={json.dumps(value)}" for name, value in {**values, **change}.items()])


def test_only_the_settings_that_stand_in_the_way_are_named():
    values = ["model.checkpoint=x", "data.files=[a.json]", "data.clip=true", "data.keep_features=true"]
    said = r"^data\.keep_features: true needs data\.mode: multi \(it is mixed\)\. Change that, or leave .* out\.$"
    with pytest.raises(ConfigurationError, match=said):
        load_recipe("videollama2.1-7b/stage3_lora", values)


def test_a_folder_for_features_that_are_not_kept_is_refused():
    with pytest.raises(ConfigurationError, match=r"data\.features is x, but no features are kept"):
        load_recipe(RECIPE, ["model.checkpoint=x", "data.files=[a.json]", "data.features=x"])


def test_records_without_objects_are_refused_before_anything_is_computed(tmp_path):
    data = write_data(tmp_path / "data", ("compressed", "video without objects"), copies=1)
    with pytest.raises(ConfigurationError, match=r"data\.json.*no objects.*data\.clip: true"):
        run(RECIPE, data, tmp_path / "out", **PARTS)


def test_hosts_are_refused(tmp_path):
    from tests.tiny_hosts import ROWS

    row = next(row for row in ROWS if row.name == "llava_onevision")
    row.model().save_pretrained(tmp_path / "host")
    row.processor().save_pretrained(tmp_path / "host")
    data = write_data(tmp_path / "data", ("compressed",), copies=1)
    changes = {
        **PARTS,
        "model.object_encoder": None,
        "train.parts": ["object_encoder"],
        "output.save": "object_encoder",
    }
    with pytest.raises(ConfigurationError, match=r"data\.clip: false is for VideoRefer models"):
        run("attach/llava-onevision-tiny", data, tmp_path / "out", tmp_path / "host", **changes)
