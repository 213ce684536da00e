"""The store of what a vision tower makes of frames: computed once, held within bounds, shared through a folder."""

import copy
import logging
import multiprocessing
import os
import pickle
import threading
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.models.feature_store import (
    FeatureKey,
    FeatureStore,
    preprocessing_digest,
    remove_features,
    tower_revision,
)

SIZE = 40  # bytes of a feature: 10 floats


def key(frame, content="clip", tower="tower"):
    return FeatureKey(content, frame, "square", tower)


def value(one):
    return torch.full((2, 5), float(one.frame))


class Tower:
    """Makes features whose values are the number of their frame, and notes what it was asked for."""

    def __init__(self):
        self.calls = []

    def __call__(self, keys):
        self.calls.append(keys)
        return [value(one) for one in keys]


@pytest.fixture
def tower():
    return Tower()


def frames(features):
    return [int(feature[0, 0]) for feature in features]


# --- in memory -------------------------------------------------------------------------------------------------------


def test_each_key_is_computed_once_and_given_in_order(tower):
    store = FeatureStore()
    assert frames(store.fetch([key(3), key(1), key(3)], tower)) == [3, 1, 3]
    assert frames(store.fetch([key(1), key(2), key(3), key(0), key(2)], tower)) == [1, 2, 3, 0, 2]
    assert tower.calls == [[key(3), key(1)], [key(2), key(0)]]
    assert (store.computed, len(store), store.memory()) == (4, 4, 4 * SIZE)
    assert key(2) in store
    assert key(9) not in store
    assert store.fetch([], tower) == []
    assert len(tower.calls) == 2


@pytest.mark.parametrize("field", FeatureKey._fields)
def test_keys_that_differ_in_anything_are_others(tower, field):
    store = FeatureStore()
    other = key(1)._replace(**{field: 2 if field == "frame" else "other"})
    store.fetch([key(1)], tower)
    store.fetch([other], tower)
    assert tower.calls == [[key(1)], [other]]


def test_what_was_not_used_for_longest_goes_first(tower):
    store = FeatureStore(max_bytes=3 * SIZE)
    store.fetch([key(0), key(1), key(2)], tower)
    store.fetch([key(0)], tower)
    store.fetch([key(3)], tower)
    assert [frame for frame in range(4) if key(frame) in store] == [0, 2, 3]
    store.shrink(SIZE)
    assert [frame for frame in range(4) if key(frame) in store] == [3]
    assert (len(store), store.memory()) == (1, SIZE)
    store.clear()
    assert (len(store), store.memory()) == (0, 0)
    assert key(3) not in store


@pytest.mark.parametrize("limit", [0, SIZE - 1])
def test_what_is_larger_than_the_limit_is_given_but_not_held(tower, limit):
    store = FeatureStore(max_bytes=limit)
    assert frames(store.fetch([key(1), key(2)], tower)) == [1, 2]
    assert (len(store), store.memory()) == (0, 0)


def test_more_than_the_limit_is_given_whole(tower):
    store = FeatureStore(max_bytes=2 * SIZE)
    assert frames(store.fetch([key(frame) for frame in range(5)], tower)) == [0, 1, 2, 3, 4]
    assert store.memory() == 2 * SIZE


def test_without_limit_everything_is_held(tower):
    store = FeatureStore(max_bytes=None)
    store.fetch([key(frame) for frame in range(50)], tower)
    assert store.memory() == 50 * SIZE


def test_a_row_of_a_batch_does_not_hold_the_batch():
    store = FeatureStore(max_bytes=SIZE)
    batch = torch.zeros(1000, 2, 5)
    (held,) = store.fetch([key(0)], lambda keys: batch[:1])
    assert held.untyped_storage().nbytes() == store.memory() == SIZE


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("in_folder", [False, True])
def test_dtypes_stay_and_gradients_do_not(tmp_path, dtype, in_folder):
    wanted = torch.randn(3, 4, dtype=torch.float64).to(dtype).requires_grad_()
    store = FeatureStore(folder=tmp_path if in_folder else None)
    store.fetch([key(0)], lambda keys: [wanted])
    if in_folder:
        store.clear()
    (feature,) = store.fetch([key(0)], Tower())
    assert feature.dtype == dtype
    assert feature.equal(wanted)
    assert not feature.requires_grad


def test_features_made_in_inference_mode_can_be_learnt_from(tower):
    store = FeatureStore()
    with torch.inference_mode():
        (feature,) = store.fetch([key(2)], lambda keys: [value(one) * 1 for one in keys])
    weight = torch.ones((), requires_grad=True)
    (feature * weight).sum().backward()
    assert weight.grad == 20


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_features_are_held_where_they_are_wanted(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    made = value(key(1)).to(device)
    assert FeatureStore().fetch([key(1)], lambda keys: [made])[0].device.type == device
    assert FeatureStore(device="cpu").fetch([key(1)], lambda keys: [made])[0].device.type == "cpu"
    assert FeatureStore(device="meta").fetch([key(1)], lambda keys: [made])[0].device.type == "meta"


def test_computing_may_fetch_other_features(tower):
    store = FeatureStore(max_bytes=2 * SIZE)

    def pool(keys):
        return [feature.mean(dim=1) for feature in store.fetch([one._replace(tower="tower") for one in keys], tower)]

    for _ in range(2):
        pooled = store.fetch([key(1, tower="tower/pooled"), key(2, tower="tower/pooled")], pool)
        assert [one.tolist() for one in pooled] == [[1, 1], [2, 2]]
    assert tower.calls == [[key(1), key(2)]]


def test_what_cannot_be_computed_is_not_known():
    store = FeatureStore()
    with pytest.raises(ZeroDivisionError):
        store.fetch([key(0)], lambda keys: 1 / 0)
    assert key(0) not in store
    assert store.computed == 0


@pytest.mark.parametrize("made", [[], [torch.zeros(1)], [torch.zeros(1)] * 3, [None, None]])
def test_features_that_do_not_fit_their_keys_are_refused(made):
    store = FeatureStore()
    with pytest.raises(TensorError, match=r"2 frame\(s\) were to be computed.*Return a tensor for each key"):
        store.fetch([key(0), key(1)], lambda keys: made)
    assert len(store) == 0


def test_threads_that_ask_for_the_same_wait_for_one_another(tower):
    store = FeatureStore(max_bytes=5 * SIZE)
    barrier = threading.Barrier(8)
    found = []

    def ask():
        barrier.wait()
        for first in range(20):
            found.append((first, frames(store.fetch([key(first), key(first + 1)], tower))))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160
    assert all(got == [first, first + 1] for first, got in found)
    assert store.memory() == sum(one.nbytes for one in store._held.values()) <= 5 * SIZE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_bytes": -1}, "max_bytes is -1; expected a whole number of bytes"),
        ({"max_bytes": "2GB"}, "max_bytes is '2GB'"),
        ({"max_bytes": 1.5}, "max_bytes is 1.5"),
        ({"max_bytes": True}, "max_bytes is True"),
        ({"device": "gpu"}, "device is 'gpu'; expected a device of torch"),
        ({"folder": 5}, "Features cannot be kept in 5"),
        ({"folder": "a\0b"}, "Features cannot be kept in"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        FeatureStore(**settings)


def test_a_store_without_features_is_still_one():
    assert FeatureStore()


# --- in a folder -----------------------------------------------------------------------------------------------------


def test_what_memory_has_no_room_for_is_read_back(tmp_path, tower):
    store = FeatureStore(max_bytes=SIZE, folder=tmp_path)
    keys = [key(frame) for frame in range(5)]
    for _ in range(3):
        assert frames(store.fetch(keys, tower)) == [0, 1, 2, 3, 4]
        assert store.memory() == SIZE
        assert all(one in store for one in keys)
    assert store.computed == 5
    assert tower.calls == [keys]


def test_stores_share_a_folder(tmp_path, tower):
    one, other = FeatureStore(folder=tmp_path / "new" / "folder"), FeatureStore(folder=str(tmp_path / "new/folder"))
    one.fetch([key(0), key(1)], tower)
    assert key(1) in other
    assert frames(other.fetch([key(2), key(1)], tower)) == [2, 1]
    assert frames(one.fetch([key(2)], tower)) == [2]
    assert tower.calls == [[key(0), key(1)], [key(2)]]
    later = FeatureStore(folder=tmp_path / "new/folder")
    assert frames(later.fetch([key(frame) for frame in range(3)], tower)) == [0, 1, 2]
    assert (later.computed, len(tower.calls)) == (0, 2)


def _compute_in_a_process(folder, number, barrier):
    store = FeatureStore(folder=folder)
    barrier.wait()
    for frame in range(6):
        got = store.fetch([key(frame), key(frame + 10 * number)], Tower())
        assert frames(got) == [frame, frame + 10 * number]


def test_processes_share_a_folder(tmp_path, tower):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    processes = [context.Process(target=_compute_in_a_process, args=(tmp_path, number, barrier)) for number in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    wanted = [*range(6), *range(10, 16), *range(20, 26)]
    assert frames(FeatureStore(folder=tmp_path).fetch([key(frame) for frame in wanted], tower)) == wanted
    assert tower.calls == []
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}


def test_a_store_can_be_sent_to_another_process(tmp_path, tower):
    for store in (FeatureStore(folder=tmp_path), FeatureStore()):
        store.fetch([key(1)], tower)
        for sent in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
            assert frames(sent.fetch([key(1)], None)) == [1]


def _damage(path, how):
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:-7])
    elif how == "cut off early":
        path.write_bytes(path.read_bytes()[:5])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "something else":
        path.write_text("a letter to a friend, which is long enough to have a header")
    elif how == "of another library":
        save_file(load_file(path), path)
    elif how == "of another tower":
        save_file(
            load_file(path), path, {"layout": "videorefer-plugin features 1", "tower": "?", "preprocessing": "?"}
        )
    elif how == "a folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    "how",
    ["cut off", "cut off early", "empty", "something else", "of another library", "of another tower", "a folder"],
)
def test_a_damaged_file_is_computed_again_with_a_word(tmp_path, tower, how, caplog):
    FeatureStore(folder=tmp_path).fetch([key(0), key(1)], tower)
    (path,) = tmp_path.iterdir()
    _damage(path, how)
    store = FeatureStore(folder=tmp_path)
    with caplog.at_level(logging.WARNING):
        assert frames(store.fetch([key(1), key(5)], tower)) == [1, 5]
        assert frames(store.fetch([key(0)], tower)) == [0]
    assert tower.calls[1:] == [[key(1), key(5)], [key(0)]]
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"{path} cannot be used (" in message
    assert "computed again" in message


@pytest.mark.slow
def test_many_features_are_written_together(tmp_path, tower):
    store, keys = FeatureStore(max_bytes=0, folder=tmp_path), [key(frame) for frame in range(3000)]
    with store.together():
        for one in keys:
            store.fetch([one], tower)
        assert frames(store.fetch([key(2999), key(7)], tower)) == [2999, 7]
        assert key(2999) in store
        assert len(list(tmp_path.iterdir())) == 1  # more than these are not lost
    assert len(list(tmp_path.iterdir())) == 2
    assert frames(FeatureStore(folder=tmp_path).fetch(keys, tower)) == list(range(3000))
    assert len(tower.calls) == 3000
    with FeatureStore().together():
        pass


def test_what_was_computed_before_an_error_is_written(tmp_path, tower):
    store = FeatureStore(folder=tmp_path)

    def compute():
        with store.together():
            store.fetch([key(1)], tower)
            store.fetch([key(2)], lambda keys: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        compute()
    assert key(1) in FeatureStore(folder=tmp_path)


def test_one_tensor_may_stand_for_several_keys(tmp_path):
    one = torch.ones(2, 5)
    FeatureStore(folder=tmp_path).fetch([key(0), key(1)], lambda keys: [one, one])
    assert frames(FeatureStore(folder=tmp_path).fetch([key(0), key(1)], None)) == [1, 1]


def test_files_that_come_later_are_found(tmp_path, tower):
    one, other = FeatureStore(folder=tmp_path), FeatureStore(folder=tmp_path)
    long_ago = time.time() - 100
    for frame in range(3):
        other.fetch([key(frame)], tower)
        os.utime(tmp_path, (long_ago + frame, long_ago + frame))
        assert frames(one.fetch([key(frame)], None)) == [frame]
        assert key(9) not in one


def test_files_that_vanish_are_computed_again(tmp_path, tower):
    store = FeatureStore(max_bytes=0, folder=tmp_path)
    store.fetch([key(0)], tower)
    remove_features(tmp_path)
    assert frames(store.fetch([key(0)], tower)) == [0]
    remove_features(tmp_path)
    FeatureStore(folder=tmp_path).fetch([key(0)], Tower())
    assert frames(store.fetch([key(0)], tower)) == [0]
    tmp_path.joinpath("other").mkdir()
    (path,) = tmp_path.glob("features-*")
    path.unlink()
    tmp_path.joinpath("other").rmdir()
    tmp_path.rmdir()
    assert frames(store.fetch([key(0)], tower)) == [0]
    assert len(list(tmp_path.glob("features-*"))) == 1
    assert len(tower.calls) == 3


def test_other_files_of_the_folder_are_left_alone(tmp_path, tower, caplog):
    others = ["model.safetensors", "features.json", "features-.safetensors", "features-x.safetensors"]
    for name in others:
        (tmp_path / name).write_text("mine")
    assert frames(FeatureStore(folder=tmp_path).fetch([key(0)], tower)) == [0]
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    assert not caplog.records


def test_a_place_where_no_folder_can_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="expected a folder"):
        FeatureStore(folder=tmp_path / "file")


@pytest.mark.parametrize(
    ("while_computing", "message"), [(False, "cannot be looked for"), (True, "cannot be written")]
)
def test_a_folder_that_cannot_be_used_any_more_is_told(tmp_path, tower, while_computing, message):
    store = FeatureStore(folder=tmp_path / "folder")

    def vanish(keys=()):
        (tmp_path / "folder").rmdir()
        (tmp_path / "folder").write_text("in the way")
        return tower(keys)

    if not while_computing:
        vanish()
    with pytest.raises(ConfigurationError, match=f"{message}.*name another folder"):
        store.fetch([key(0)], vanish if while_computing else None)


# --- keys ------------------------------------------------------------------------------------------------------------


def _module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.BatchNorm1d(3))


def test_equal_towers_have_the_same_revision():
    assert tower_revision(_module()) == tower_revision(_module())
    assert tower_revision(_module(), {"b": 1, "a": 2}) == tower_revision(_module(), {"a": 2, "b": 1})


@pytest.mark.parametrize(
    "change",
    [
        lambda tower: tower[0].weight[0, 0].add_(1),
        lambda tower: tower[0].weight.data.mul_(2),
        lambda tower: tower[2].running_mean.fill_(3),
        lambda tower: setattr(tower[0], "bias", nn.Parameter(torch.ones(3))),
        lambda tower: setattr(tower[0].weight, "data", torch.ones(3, 4)),
        lambda tower: tower.load_state_dict({**tower.state_dict(), "0.bias": torch.ones(3)}),
        lambda tower: tower.to(torch.bfloat16),
        lambda tower: tower.append(nn.Linear(3, 3)),
    ],
    ids=["in place", "data", "buffer", "replaced", "new data", "loaded", "dtype", "module"],
)
def test_a_revision_changes_with_the_weights(change):
    tower = _module()
    before = tower_revision(tower)
    assert tower_revision(tower) == before
    with torch.no_grad():
        change(tower)
    after = tower_revision(tower)
    assert after != before
    assert tower_revision(copy.deepcopy(tower)) == after


def test_a_revision_goes_back_with_the_weights():
    tower = _module()
    before = tower_revision(tower)
    with torch.no_grad():
        tower[0].weight += 1
        assert tower_revision(tower) != before
        tower.load_state_dict(_module().state_dict())
    assert tower_revision(tower) == before


def test_a_revision_says_how_features_are_made(model):
    tower = model.model.vision_tower
    plain = tower_revision(tower)
    assert len({plain, tower_revision(tower, -2), tower_revision(tower, -1), tower_revision(tower, -2, "x")}) == 4
    with torch.inference_mode():
        assert tower_revision(tower) == plain
    tower.config.layer_norm_eps *= 2
    try:
        assert tower_revision(tower) != plain
    finally:
        tower.config.layer_norm_eps /= 2
    tower.config._name_or_path = "somewhere/else"
    assert tower_revision(tower) == plain


def test_a_tower_that_is_elsewhere_has_no_revision():
    with pytest.raises(ConfigurationError, match=r"0\.\w+ of the vision tower is not in memory"):
        tower_revision(_module().to("meta"))


def test_a_digest_of_preprocessing_changes_with_each_setting(processor):
    image_processor = copy.deepcopy(processor.image_processor)
    before = preprocessing_digest(image_processor)
    assert preprocessing_digest(processor.image_processor) == before
    assert preprocessing_digest(image_processor, "more") != before
    image_processor.image_mean = [0.1, 0.2, 0.3]
    assert preprocessing_digest(image_processor) != before
    padded = copy.copy(processor)
    padded.image_aspect_ratio = "pad"
    assert preprocessing_digest(padded) != preprocessing_digest(processor)
    assert preprocessing_digest(processor, image_aspect_ratio="pad") == preprocessing_digest(padded)
    assert preprocessing_digest(processor, do_rescale=False) != preprocessing_digest(processor)
    # What says the same, or nothing of pixels, makes no difference.
    padded.image_aspect_ratio, padded.num_frames = processor.image_aspect_ratio, 3
    padded.image_processor = copy.deepcopy(processor.image_processor)
    padded.image_processor._processor_class = "Other"
    assert preprocessing_digest(padded, do_rescale=True, do_resize=None) == preprocessing_digest(processor)
