"""What one step of training makes and reads of its objects: each thing once."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

import numpy as np
import pytest
import torch

from tests.media import write_video
from tests.training_data import HEIGHT, WIDTH, box_mask, compressed, turns, write_jsonl
from videorefer_plugin.models.videorefer.region_inputs import frames_with_masks
from videorefer_plugin.regions import Region, Rle, encode_rle
from videorefer_plugin.regions.reading import frame_index
from videorefer_plugin.training import VideoReferCollator, VideoReferDataset, parse_record
from videorefer_plugin.training.records import frames_with_object

OBJECTS, FRAMES = 4, 16
BLANK = {"segmentation": encode_rle(np.zeros((HEIGHT, WIDTH), dtype=bool))}


def record_of(annotation):
    asked = " and ".join(["<region>"] * len(annotation))
    return {
        "id": 1,
        "video": "a.mp4",
        "conversations": turns(f"<video>\nWhat do {asked} do?", "They run."),
        "annotation": annotation,
        "height": HEIGHT,
        "width": WIDTH,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("step")
    write_video(folder / "a.mp4", FRAMES)
    return folder


@contextmanager
def counted(**functions: Callable) -> Iterator[Counter[str]]:
    """How often functions are called in the block, seen from outside: nothing is put in their place."""
    names: dict[CodeType, str] = {function.__code__: name for name, function in functions.items()}
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code in names:
            found[names[frame.f_code]] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize(("mode", "drawn"), [("multi", OBJECTS * FRAMES), ("single", OBJECTS)])
def test_a_step_makes_a_region_an_object_and_reads_and_draws_each_mask_once(folder, processor, mode, drawn):
    annotation = [
        {str(frame): compressed(3 * frame, frame + number) for frame in range(FRAMES)} for number in range(OBJECTS)
    ]
    dataset = VideoReferDataset(write_jsonl(folder / "step.jsonl", [record_of(annotation)]), mode=mode)
    collator = VideoReferCollator(processor)
    with counted(
        called=Region.__init__,
        trusted=Region._made.__func__,  # type: ignore[attr-defined]
        read=Rle.__init__,
        drawn=Rle._pixels,
        checked=frame_index,
    ) as found:
        batch = collator([dataset[0]])
    assert batch["region_lengths"].tolist() == [[drawn // OBJECTS] * OBJECTS]
    assert found["called"] + found["trusted"] == OBJECTS
    assert found["read"] == OBJECTS * FRAMES
    assert found["drawn"] == drawn
    assert found["checked"] <= OBJECTS * FRAMES


@pytest.mark.parametrize("limit", [None, 3])
def test_frames_stay_in_the_order_of_the_annotation(folder, limit):
    given = {"9": compressed(0, 0), "2": BLANK, "7": compressed(9, 9), "12": {}, "4": compressed(3, 3)}
    path = write_jsonl(folder / "order.jsonl", [record_of([given])])
    dataset = VideoReferDataset(path, mode="multi", max_frames_per_region=limit)
    (region,) = dataset[0]["regions"]
    assert region.order == ((9, 2, 7, 12, 4) if limit is None else (9, 7, 4))
    assert frames_with_object(region) == (4, 7, 9)
    (whole,) = dataset.record(0).regions()
    assert whole.order == (9, 2, 7, 12, 4)
    assert [frame for frame in whole.frames if whole.is_absent(frame)] == [2, 12]
    assert np.array_equal(whole.mask(7, HEIGHT, WIDTH), box_mask(9, 9))


def test_the_order_of_the_annotation_does_not_choose_the_frame(folder):
    frames = {str(frame): compressed(frame, frame) for frame in range(FRAMES)}
    turned = dict(reversed(frames.items()))
    chosen = []
    for annotation in ([frames, turned], [turned, frames]):
        dataset = VideoReferDataset(write_jsonl(folder / "turned.jsonl", [record_of(annotation)]), mode="single")
        chosen.append([])
        for epoch in range(20):
            dataset.set_epoch(epoch)
            chosen[-1].append([region.frames for region in dataset[0]["regions"]])
    assert chosen[0] == chosen[1]
    assert all(len(set(one)) == 1 for one in chosen[0])


def test_the_original_policy_takes_masks_as_the_annotation_has_them(folder, processor):
    given = {"9": compressed(0, 0), "4": compressed(40, 20)}
    dataset = VideoReferDataset(write_jsonl(folder / "two.jsonl", [record_of([given])]), mode="multi")
    marked = []
    for policy in ("keep", "original"):
        batch = VideoReferCollator(processor, mask_policy=policy)([dataset[0]])
        frames, rows = frames_with_masks(batch)
        marked.append((frames[rows], batch["region_masks"][0]))
    for kept, original in zip(*marked, strict=True):
        assert torch.equal(original, kept.flip(0))
        assert not torch.equal(original, kept)


def test_a_record_that_is_asked_again_reads_nothing_again():
    record = parse_record(record_of([{"3": compressed(1, 1), "5": BLANK}]))
    assert record.seen == [(3,)]
    with counted(read=Rle.__init__) as found:
        assert record.regions() == record.regions()
        assert record.seen == [(3,)]
    assert not found
