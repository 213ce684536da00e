"""The backends that are video models of the SAM family tell what a whole session of transformers tells."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import videorefer_plugin as vr
from tests.tensors import only_new_tensors, side_by_side
from tests.tiny_segmenters import SEGMENTERS, save_tiny_segmenter
from videorefer_plugin.errors import CheckpointError, ConfigurationError, SegmentError
from videorefer_plugin.segment import FrameMask, Note, Prompt, Tracked
from videorefer_plugin.segment.collecting import Collected

HEIGHT, WIDTH, FRAMES = 36, 54, 12  # more frames than the tiny models look back at, on both sides of the prompts
backends = pytest.mark.parametrize("name", SEGMENTERS)


def each_backend(argument: str, rows: Iterable[Any], kin: Collection[Any]) -> Any:
    """All rows for SAM 2, and for the others, which share all of its code but the model, a few of them."""
    pairs = [("sam2_video", row) for row in rows]
    pairs += [(name, row) for name in SEGMENTERS if name != "sam2_video" for row in kin]
    return pytest.mark.parametrize(("name", argument), pairs)


CLICK = Prompt(points=[[20, 15]], labels=(1,))
CLICKS = Prompt(points=[[20, 15], [40, 30]], labels=(1, 0))
BOX = Prompt(box=(10, 8, 40, 30))
BOX_AND_CLICKS = Prompt(box=(10, 8, 40, 30), points=[[20, 15], [12, 28]], labels=(1, 0))
MASK = Prompt(mask=np.pad(np.ones((18, 24), bool), ((8, 10), (10, 20))))
NOT_HERE = Prompt(points=[[40, 30]], labels=(0,))
ABSENT = Prompt(absent=True)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Saves a checkpoint when it is first asked for."""
    folders: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in folders:
            folders[name] = save_tiny_segmenter(name, tmp_path_factory.mktemp(name))
        return folders[name]

    return get


@pytest.fixture(scope="session")
def segmenters(checkpoints: Callable[[str], Path]) -> Callable[[str], Any]:
    """Loads a segmenter when it is first asked for. All tests use the same ones, one after the other."""
    loaded: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in loaded:
            loaded[name] = vr.load_segmenter(name, checkpoints(name), device="cpu")
        return loaded[name]

    return get


def clip(frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, HEIGHT, WIDTH, 3), np.uint8)


def follow(
    segmenter: Any, video: np.ndarray, prompts: Sequence[Mapping[int, Prompt]], start: int = 0, end: int | None = None
) -> list[Any]:
    last = len(video) - 1 if end is None else end
    return list(segmenter.track(vr.open_video(video), prompts, start, last))


def told(events: Sequence[Any], number: int) -> dict[int, Tracked]:
    own = [event for event in events if isinstance(event, Tracked) and event.number == number]
    assert len({event.frame for event in own}) == len(own), "a frame was told twice"
    return {event.frame: event for event in own}


def frames_of(events: Sequence[Any], number: int) -> list[int]:
    return [event.frame for event in events if isinstance(event, Tracked) and event.number == number]


# --- what transformers does by itself --------------------------------------------------------------------------------


def tell(segmenter: Any, session: Any, frame: int, prompt: Prompt, reverse: bool = False, number: int = 1) -> Any:
    """Give a prompt to a session as the documentation of transformers does, and run the model on that frame."""
    given: dict[str, Any] = {"original_size": (HEIGHT, WIDTH)}
    if prompt.absent or prompt.mask is not None:
        given = {"input_masks": np.zeros((HEIGHT, WIDTH), bool) if prompt.mask is None else prompt.mask}
    if len(prompt.points):
        given |= {"input_points": [[prompt.points.tolist()]], "input_labels": [[list(prompt.labels)]]}
    if prompt.box is not None:
        given |= {"input_boxes": [[list(prompt.box)]]}
    segmenter.processor.add_inputs_to_inference_session(session, frame_idx=frame, obj_ids=number, **given)
    return segmenter.model(session, frame_idx=frame, reverse=reverse)


def whole_session(segmenter: Any, video: np.ndarray) -> Any:
    return segmenter.processor.init_video_session(
        video=list(video), inference_device="cpu", dtype=segmenter.model.dtype
    )


def masks_of(segmenter: Any, output: Any) -> np.ndarray:
    return segmenter.processor.post_process_masks([output.pred_masks], original_sizes=[[HEIGHT, WIDTH]])[0].numpy()


def propagated(
    segmenter: Any, video: np.ndarray, conditions: Mapping[int, Prompt], corrections: Mapping[int, Prompt]
) -> dict[int, np.ndarray]:
    """Masks of one object out of a session that holds the whole video and everything that was made of it."""
    session, masks = whole_session(segmenter, video), {}
    for frame, prompt in conditions.items():
        tell(segmenter, session, frame, prompt)
    for reverse in (False, True):
        way = segmenter.model.propagate_in_video_iterator(session, start_frame_idx=min(conditions), reverse=reverse)
        for output in way:
            frame = output.frame_idx
            if frame in corrections:
                output = tell(segmenter, session, frame, corrections[frame], reverse)
            masks[frame] = masks_of(segmenter, output)[0, 0]
    return masks


def assert_same(tracked: Mapping[int, Tracked], masks: Mapping[int, np.ndarray]) -> None:
    assert sorted(tracked) == sorted(masks)
    for frame, event in tracked.items():
        mask = np.zeros((HEIGHT, WIDTH), bool) if event.mask is None else event.mask
        np.testing.assert_array_equal(mask, masks[frame], err_msg=f"frame {frame}")


# --- one frame -------------------------------------------------------------------------------------------------------


@pytest.mark.spread(1)
@backends
def test_prompts_of_all_kinds_cut_an_object_out_of_a_frame(name: str, segmenters: Callable) -> None:
    segmenter, video = segmenters(name), clip(1)
    prompts = [CLICK, CLICKS, BOX, BOX_AND_CLICKS, MASK]
    found = segmenter.segment(video[0], prompts)
    assert [type(one) for one in found] == [FrameMask] * len(prompts)
    for prompt, (mask, score) in zip(prompts, found, strict=True):
        assert (mask.shape, mask.dtype) == ((HEIGHT, WIDTH), bool)
        assert 0 <= score <= 1
        output = tell(segmenter, whole_session(segmenter, video), 0, prompt)
        np.testing.assert_array_equal(mask, masks_of(segmenter, output)[0, 0])
    rough = found[prompts.index(MASK)].mask
    assert (rough & MASK.mask).sum() / (rough | MASK.mask).sum() > 0.8
    assert found[prompts.index(MASK)].score > 0.99


@backends
def test_clicks_beside_a_rough_mask_change_it(name: str, segmenters: Callable) -> None:
    segmenter, video = segmenters(name), clip(1)
    both = Prompt(mask=MASK.mask, points=CLICKS.points, labels=CLICKS.labels)
    (alone, _), (refined, score) = segmenter.segment(video[0], [MASK, both])
    assert refined.any()
    assert (refined != alone).any()
    assert 0 <= score <= 1


@backends
def test_no_prompts_find_nothing(name: str, segmenters: Callable) -> None:
    assert segmenters(name).segment(clip(1)[0], []) == []


def test_threads_that_share_a_segmenter_read_their_own_scores(segmenters: Callable) -> None:
    segmenter, frame = segmenters("sam2_video"), clip(1)[0]
    alone = [segmenter.segment(frame, [prompt])[0].score for prompt in (CLICK, BOX)]
    calls = [lambda prompt=prompt: segmenter.segment(frame, [prompt])[0].score for prompt in (CLICK, BOX)]
    assert side_by_side(type(segmenter.model).__name__, calls) == alone
    assert alone[0] != alone[1]


# --- videos ----------------------------------------------------------------------------------------------------------

# What is said -> what the model is told before it sets out, and what corrects it on the way.
TOLD = {
    "a click": ({3: CLICK}, {}),
    "a box, in the first frame": ({0: BOX}, {}),
    "a rough mask, in the last frame": ({FRAMES - 1: MASK}, {}),
    "boxes and masks in several frames": ({2: CLICKS, 6: BOX_AND_CLICKS, 8: MASK}, {}),
    "clicks and absence that correct": ({2: BOX}, {4: CLICKS, 5: NOT_HERE, 8: ABSENT, 9: ABSENT}),
    "corrections before it is pointed at": ({6: MASK, 9: BOX}, {2: ABSENT, 4: NOT_HERE}),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("said", TOLD)
@backends
def test_streaming_equals_a_session_that_holds_everything(name: str, said: str, segmenters: Callable) -> None:
    segmenter, video = segmenters(name), clip()
    conditions, corrections = TOLD[said]
    events = follow(segmenter, video, [{**conditions, **corrections}])
    assert_same(told(events, 0), propagated(segmenter, video, conditions, corrections))
    first = min(conditions)
    assert frames_of(events, 0) == [*range(first, FRAMES), *range(first - 1, -1, -1)]
    assert all(0 <= event.score <= 1 for event in told(events, 0).values())
    for frame, prompt in corrections.items():
        if prompt.absent:
            assert told(events, 0)[frame].mask is None
            assert told(events, 0)[frame].score < 0.01


@pytest.mark.spread(1)
@backends
def test_every_number_of_the_model_is_that_of_the_whole_session(name: str, segmenters: Callable) -> None:
    """Not only masks: what the model makes of each frame, before it is cut at a threshold, differs by 0.0."""
    segmenter, video, seen = segmenters(name), clip(16), {}

    def keep(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        seen[kwargs["reverse"], output.frame_idx] = output.pred_masks

    hook = segmenter.model.register_forward_hook(keep, with_kwargs=True)
    follow(segmenter, video, [{3: CLICK}])
    hook.remove()
    session, biggest = whole_session(segmenter, video), 0.0
    tell(segmenter, session, 3, CLICK)
    for reverse in (False, True):
        for output in segmenter.model.propagate_in_video_iterator(session, start_frame_idx=3, reverse=reverse):
            if (reverse, output.frame_idx) != (True, 3):  # where the way back begins, nothing is computed
                difference = (output.pred_masks - seen[reverse, output.frame_idx]).abs().max()
                biggest = max(biggest, float(difference))
    assert biggest == 0.0


@pytest.mark.spread(1)
@backends
def test_two_objects_are_followed_as_each_of_them_alone(name: str, segmenters: Callable) -> None:
    segmenter, video = segmenters(name), clip()
    prompts = [{2: CLICK, 9: BOX}, {6: BOX, 8: NOT_HERE, 10: ABSENT}]
    events = follow(segmenter, video, prompts)
    for number, own in enumerate(prompts):
        alone = told(follow(segmenter, video, [own]), 0)
        beside = told(events, number)
        assert sorted(beside) == list(range(FRAMES))
        for frame, event in beside.items():
            assert event.score == alone[frame].score
            assert (event.mask is None) == (alone[frame].mask is None) == (own.get(frame) is ABSENT)
            assert event.mask is None or (event.mask == alone[frame].mask).all()
    numbers = [event.number for event in events if event.frame == 9]
    assert numbers == sorted(numbers)


@pytest.mark.spread(1)
@backends
def test_objects_pointed_at_in_one_frame_are_as_in_one_session(name: str, segmenters: Callable) -> None:
    segmenter, video = segmenters(name), clip()
    events = follow(segmenter, video, [{5: CLICK}, {5: BOX}])
    session = whole_session(segmenter, video)
    tell(segmenter, session, 5, CLICK, number=1)
    tell(segmenter, session, 5, BOX, number=2)
    masks: dict[int, np.ndarray] = {}
    for reverse in (False, True):
        for output in segmenter.model.propagate_in_video_iterator(session, start_frame_idx=5, reverse=reverse):
            masks[output.frame_idx] = masks_of(segmenter, output)[:, 0]
    for number in (0, 1):
        assert_same(told(events, number), {frame: both[number] for frame, both in masks.items()})


@pytest.mark.spread(2)
@backends
def test_a_part_of_a_video_is_followed_as_in_the_whole_one(name: str, segmenters: Callable) -> None:
    segmenter, video = segmenters(name), clip()
    part = told(follow(segmenter, video, [{6: CLICK}], 4, 9), 0)
    whole = told(follow(segmenter, video, [{6: CLICK}]), 0)
    assert sorted(part) == list(range(4, 10))
    for frame in range(6, 10):
        np.testing.assert_array_equal(part[frame].mask, whole[frame].mask)


@pytest.mark.spread(2)
@backends
def test_an_object_that_cannot_be_seen_is_absent_and_not_lost(name: str, segmenters: Callable) -> None:
    segmenter = segmenters(name)
    bias = segmenter.model.mask_decoder.pred_obj_score_head.proj_out.bias
    before = bias.detach().clone()
    try:
        bias.data.fill_(-5)  # nothing is ever there, says the model
        masklet = segmenter.propagate(clip(8), [{3: MASK}])[0]
        with pytest.raises(SegmentError, match="Object 1 was not found in frame 3, where it was pointed at"):
            segmenter.propagate(clip(8), [{3: CLICK}])
        assert not segmenter.segment(clip(1)[0], [CLICK])[0].mask.any()
    finally:
        bias.data.copy_(before)
    assert masklet.region.present == (3,)
    assert list(masklet.region.frames) == list(range(8))
    assert all(score < 0.5 for frame, score in masklet.scores.items() if frame != 3)
    assert not masklet.lost


@pytest.mark.spread(1)
@backends
def test_cuts_are_noted_with_the_frame_that_begins_the_shot(name: str, segmenters: Callable) -> None:
    video = np.concatenate([np.full((6, HEIGHT, WIDTH, 3), shade, np.uint8) for shade in (10, 120, 240)])
    masklets = segmenters(name).propagate(video, [{6: MASK}, {8: MASK}])
    assert [masklet.cuts for masklet in masklets] == [(6, 12), (6, 12)]
    assert [len(masklet.notes) for masklet in masklets] == [2, 2]


@pytest.mark.spread(1)
@backends
def test_half_the_digits_are_enough(name: str, checkpoints: Callable) -> None:
    segmenter = vr.load_segmenter(name, checkpoints(name), device="cpu", dtype=torch.bfloat16)
    assert {each.dtype for each in segmenter.model.parameters()} == {torch.bfloat16}
    assert segmenter.settings["dtype"] == "bfloat16"
    first, second = segmenter.propagate(clip(8), [{3: CLICK, 5: NOT_HERE}, {2: BOX, 4: MASK, 6: ABSENT}])
    for masklet in (first, second):
        assert list(masklet.region.frames) == list(range(8))
        assert all(0 <= score <= 1 for score in masklet.scores.values())
    assert 6 not in second.region.present


# --- memory, stopping, going on --------------------------------------------------------------------------------------


def held_bytes(
    segmenter: Any, video: np.ndarray, prompts: Sequence[Mapping[int, Prompt]], frames: Sequence[int]
) -> list[int]:
    """Bytes of tensors that there are when frames have been told."""
    with only_new_tensors() as count:
        return [
            count()
            for event in segmenter.track(vr.open_video(video), prompts, 0, len(video) - 1)
            if isinstance(event, Tracked) and event.frame in frames and event.number == len(prompts) - 1
        ]


@pytest.mark.slow
@backends
def test_memory_does_not_grow_with_the_video(name: str, segmenters: Callable) -> None:
    segmenter, video = segmenters(name), clip(20)
    forward = held_bytes(segmenter, video, [{0: CLICK}], [9, 18])
    backward = held_bytes(segmenter, video, [{19: CLICK, 17: NOT_HERE}], [10, 1])
    assert forward[0] == forward[1] > 0
    assert backward[0] == backward[1] > 0


def test_masks_in_every_frame_are_not_all_kept(segmenters: Callable) -> None:
    segmenter, video = segmenters("sam2_video"), clip(40)
    few, many = (held_bytes(segmenter, video[:n], [dict.fromkeys(range(n), MASK)], [n - 2])[0] for n in (20, 40))
    assert many < 1.1 * few


@pytest.mark.slow
@backends
def test_memory_after_200_frames_is_as_after_40(name: str, segmenters: Callable) -> None:
    import resource

    prompts, held, peaks = [{0: CLICK}, {0: BOX, 10: NOT_HERE}], [], []
    with only_new_tensors() as count:
        for event in segmenters(name).track(vr.open_video(clip(201)), prompts, 0, 200):
            if isinstance(event, Tracked) and event.frame in (40, 200) and event.number == 1:
                held.append(count())
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    print(f"\n{name}: {held} bytes of tensors after 40 and 200 frames, {peaks} KiB at the peak of the process")
    assert held[0] == held[1]
    assert peaks[1] - peaks[0] < 32 * 1024


@pytest.mark.spread(2)
@backends
def test_stopping_leaves_nothing_behind_and_videos_do_not_mix(name: str, segmenters: Callable) -> None:
    segmenter = segmenters(name)
    fresh = told(follow(segmenter, clip(5, seed=1), [{2: CLICK}]), 0)
    with only_new_tensors() as count:
        follow(segmenter, clip(5, seed=2), [{2: CLICK}])
        before = count()  # embeddings of positions that transformers keeps for the next call
        events = segmenter.track(vr.open_video(clip()), [{1: CLICK}, {3: BOX}], 0, FRAMES - 1)
        for _ in range(5):
            next(events)
        assert count() > before
        events.close()
        assert count() == before
    again = told(follow(segmenter, clip(5, seed=1), [{2: CLICK}]), 0)
    for frame, event in fresh.items():
        np.testing.assert_array_equal(event.mask, again[frame].mask)


@pytest.mark.spread(2)
@backends
def test_progress_counts_every_frame_once_and_may_stop(name: str, segmenters: Callable) -> None:
    calls: list[tuple[int, int]] = []
    segmenters(name).propagate(clip(7), [{2: CLICK}, {4: BOX}], progress=lambda *done: calls.append(done))
    assert sorted(set(calls)) == [(done, 7) for done in range(1, 8)]
    assert calls == sorted(calls)
    masklets = segmenters(name).propagate(clip(7), [{2: CLICK}], progress=lambda done, total: done < 4)
    assert list(masklets[0].region.frames) == [2, 3, 4, 5]
    assert [note.kind for note in masklets[0].notes] == ["cancelled"]


def interrupted(
    segmenter: Any, video: np.ndarray, prompts: Sequence[Mapping[int, Prompt]], after: int
) -> list[Collected]:
    known = [Collected() for _ in prompts]
    events = segmenter.track(vr.open_video(video), prompts, 0, len(video) - 1)
    for _, event in zip(range(after), events, strict=False):
        known[event.number].add(event)
    events.close()
    return known


@pytest.mark.spread(1)
@each_backend("after", [3, 9, 18, 2 * FRAMES], [9])
def test_an_interrupted_run_goes_on_with_what_is_known(name: str, after: int, segmenters: Callable) -> None:
    segmenter, video, prompts = segmenters(name), clip(), [{4: MASK, 8: NOT_HERE}, {7: BOX, 2: ABSENT}]
    known = interrupted(segmenter, video, prompts, after)
    before = [sorted(one.shapes) for one in known]
    events = list(segmenter.track(vr.open_video(video), prompts, 0, FRAMES - 1, known))
    for number, done in enumerate(before):
        assert sorted(frames_of(events, number) + done) == list(range(FRAMES))
    notes = [event for event in events if isinstance(event, Note)]
    assert {note.kind for note in notes} <= {"resumed"}
    assert bool(notes) == (after < 2 * FRAMES)
    for note in notes:
        assert note.frame in frames_of(events, note.number)


@pytest.mark.spread(1)
@backends
def test_what_goes_on_looks_like_what_was_not_interrupted(name: str, segmenters: Callable) -> None:
    """The masks that are known stand in for the memory that is gone: not the same, but close."""
    segmenter, video, prompts = segmenters(name), clip(), [{4: MASK}]
    whole = told(follow(segmenter, video, prompts), 0)
    known = interrupted(segmenter, video, prompts, 6)
    events = list(segmenter.track(vr.open_video(video), prompts, 0, FRAMES - 1, known))
    for frame, event in told(events, 0).items():
        both = (event.mask & whole[frame].mask).sum() / (event.mask | whole[frame].mask).sum()
        assert both > 0.5, frame


# --- checkpoints and settings ----------------------------------------------------------------------------------------


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def _without_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    state.pop(next(name for name in state if name.endswith("no_memory_embedding")))
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def _of_another_shape(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    state[next(name for name in state if name.endswith("no_memory_embedding"))] = torch.zeros(1, 1, 7)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def _cut_off(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def _configured(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))

    return change


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a weight is missing": _without_a_weight,
    "a weight of another shape": _of_another_shape,
    "weights cut off": _cut_off,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no configuration": lambda folder: (folder / "config.json").unlink(),
    "no processor": lambda folder: (folder / "processor_config.json").unlink(),
    "a configuration that is no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "a processor that is no JSON": lambda folder: (folder / "processor_config.json").write_text("{"),
    "a configuration that is a list": lambda folder: (folder / "config.json").write_text("[]"),
    "a setting of the wrong type": _configured(num_maskmem="seven"),
    "no model type": _configured(model_type=None),
    "a model that reads text": _configured(model_type="bert"),
    "an image model": _configured(model_type="sam2"),
}


@pytest.mark.spread(6)
@each_backend("damage", DAMAGES, ["a weight is missing", "no processor", "a model that reads text"])
def test_damaged_checkpoints_are_refused(name: str, damage: str, checkpoints: Callable, tmp_path: Path) -> None:
    folder = copy(checkpoints(name), tmp_path / "damaged")
    DAMAGES[damage](folder)
    with pytest.raises(CheckpointError, match="damaged"):  # the folder's name
        vr.load_segmenter(name, folder, device="cpu")


@backends
def test_checkpoints_of_other_kinds_are_refused(name: str, checkpoints: Callable, tmp_path: Path) -> None:
    other = next(each for each in SEGMENTERS if each != name)
    with pytest.raises(CheckpointError, match=f"is of type '{other}', but {name} needs one of type '{name}'"):
        vr.load_segmenter(name, checkpoints(other))
    with pytest.raises(CheckpointError):
        vr.load_segmenter(name, vr.tiny_checkpoint())
    for missing in (tmp_path, tmp_path / "nowhere", "nobody/has-this"):
        with pytest.raises(CheckpointError):
            vr.load_segmenter(name, missing, local_files_only=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"colour": "red"}, "colour"),
        ({"revison": "main"}, "revision"),
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"device": "gpu"}, "device"),
        ({"device": "meta"}, "device"),
        ({"dtype": "int3"}, "dtype"),
        ({"dtype": torch.float8_e4m3fn}, "dtype"),
        ({"dtype": torch.int8}, "dtype"),
    ],
)
@backends
def test_unknown_settings_are_refused(name: str, given: Any, said: str, checkpoints: Callable) -> None:
    with pytest.raises(ConfigurationError, match=said):
        vr.load_segmenter(name, checkpoints(name), **given)


def test_edgetam_is_loaded_in_several_threads_at_once(checkpoints: Callable) -> None:
    from transformers import EdgeTamVisionConfig

    before = EdgeTamVisionConfig.__post_init__
    with ThreadPoolExecutor(2) as threads:
        loading = [threads.submit(vr.load_segmenter, "edgetam_video", checkpoints("edgetam_video")) for _ in range(2)]
        assert [each.result().name for each in loading] == ["edgetam_video"] * 2
    assert EdgeTamVisionConfig.__post_init__ is before


@backends
def test_what_they_can_do_is_known_without_weights(name: str) -> None:
    assert vr.segmenters()[name] == ("segment", "propagate")
    with pytest.raises(SegmentError, match=f"{name} cannot find words"):
        vr.find_regions(clip(2), "a dog", name)
