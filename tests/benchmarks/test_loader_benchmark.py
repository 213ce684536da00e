"""Records that a loader of training batches gives in a second, by workers, and how long a data set takes to start.

The data are clips of 80 frames at 854 x 480, of which eight are shown, with two objects each that are annotated in
every fifth frame. A machine that does other things at the same time is slower, so the time of the processors is
given as well. Run with `pytest --benchmark-only`.
"""

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

SIZE = (854, 480)  # width, height
CLIPS, CLIP_FRAMES, SHOWN, SIDE, PATCH = 6, 80, 8, 384, 14
RECORDS, BATCH = 24, 4
SCANNED = 5_000  # records
WORKERS = (0, 2, 4)


def write_records(folder: Path, count: int) -> Path:
    from tests import training_data
    from tests.media import write_video
    from videorefer_plugin.regions import encode_rle

    width, height = SIZE
    for number in range(CLIPS):
        if not (folder / f"{number}.mp4").exists():
            write_video(folder / f"{number}.mp4", CLIP_FRAMES, size=SIZE)
    with (folder / f"{count}.jsonl").open("w") as stream:
        for number in range(count):
            x, y = number % 300, number // 300
            masks = [training_data.box_mask(x + 300 * place, y, height, width, 120) for place in range(2)]
            shapes = [{"segmentation": encode_rle(mask)} for mask in masks]
            record = {
                "id": number,
                "video": f"{number % CLIPS}.mp4",
                "conversations": training_data.turns("<video>\nWhat do <region> and <region> do?", "They move."),
                "annotation": [dict.fromkeys(map(str, range(0, CLIP_FRAMES, 5)), shape) for shape in shapes],
            }
            stream.write(json.dumps(record) + "\n")
    return folder / f"{count}.jsonl"


def make_collator() -> Any:
    from transformers import AutoTokenizer, SiglipImageProcessorPil

    import videorefer_plugin as vr
    from tests.conftest import CHECKPOINT
    from videorefer_plugin.training import VideoReferCollator

    pictures = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    return VideoReferCollator(vr.VideoReferProcessor(pictures, tokenizer, num_frames=SHOWN, patch_size=PATCH))


def seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """By the clock, and of processors, those of workers that have ended included."""
    start, before = time.perf_counter(), sum(os.times()[:4])
    call()
    return time.perf_counter() - start, sum(os.times()[:4]) - before


@pytest.mark.parametrize("workers", WORKERS)
def test_records_by_workers(benchmark: Any, tmp_path: Path, workers: int) -> None:
    from videorefer_plugin.training import VideoReferDataset

    collator = make_collator()
    dataset = VideoReferDataset(write_records(tmp_path, RECORDS))

    def read() -> None:
        given = sum(len(batch["input_ids"]) for batch in loader)
        assert given == RECORDS

    loader = DataLoader(dataset, BATCH, collate_fn=collator, num_workers=workers)
    clock, processors = seconds(lambda: benchmark.pedantic(read, rounds=1))
    rates = {"records_per_s": RECORDS / clock, "processor_ms_per_record": 1e3 * processors / RECORDS}
    benchmark.extra_info.update(rates)
    print(
        f"\n{workers} workers: {rates['records_per_s']:.2f} records/s, {rates['processor_ms_per_record']:.0f} ms each"
    )


def test_start_of_a_data_set(benchmark: Any, tmp_path: Path) -> None:
    from videorefer_plugin.training import VideoReferDataset

    path = write_records(tmp_path, SCANNED)
    first = seconds(lambda: VideoReferDataset(path))
    second = seconds(lambda: benchmark.pedantic(VideoReferDataset, (path,), rounds=1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    for name, (clock, processors) in {"first": first, "second": second}.items():
        benchmark.extra_info[name] = {"seconds": clock, "processor_seconds": processors}
        print(f"\n{SCANNED} records, {name} start: {clock:.2f} s ({processors:.2f} s of processors)", end="")
    print(f"; peak of this process {peak} MiB")
