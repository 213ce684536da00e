"""How fast SAM 2 follows objects at its real sizes, and how much memory that takes, with and without pruning.

    python -m tests.benchmarks.gpu_segment                            # on a GPU
    python -m tests.benchmarks.gpu_segment --size tiny --device cpu --frames 40   # tries the benchmark itself

Weights are random and made on the device, so nothing is downloaded; how long a frame takes does not depend on them. A
Markdown table is printed: three objects of a clip of 480p are followed by `sam2_video`, which drops what the model no
longer looks back at, once from frames in memory and once from a file; and by a session of transformers, which holds
the whole clip and all that was made of it. Memory is what is needed beyond the weights.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import videorefer_plugin as vr
from tests.benchmarks.gpu_7b import GIB, place_and_versions
from tests.tensors import only_new_tensors
from videorefer_plugin.segment import Prompt
from videorefer_plugin.segment.sam2_video import Sam2Video

HEIGHT, WIDTH = 480, 854
MIB = 2**20
OBJECTS = ((100, 80, 300, 260), (350, 200, 600, 400), (640, 60, 820, 300))
SIZES = {"tiny": 64, "large": 1024}


def main(given: Sequence[str] | None = None) -> int:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--size", choices=SIZES, default="large", help="shapes of the model; only large is worth a table"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--out", type=Path, help="also write the table into this file")
    arguments = parser.parse_args(given)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU; --device cpu tries the benchmark with --size tiny")
    segmenter = make_segmenter(arguments.size, arguments.device, getattr(torch, arguments.dtype))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, run in ways(segmenter, arguments.frames, Path(folder)):
            for _ in run(4):  # the first frames are slower than others
                pass
            rows.append([name, *measured(run, arguments.frames, arguments.device)])
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    weights = sum(parameter.nbytes for parameter in segmenter.model.parameters()) / GIB
    settings = f"--size {arguments.size} --device {arguments.device} --dtype {arguments.dtype}"
    report = "\n".join(
        [
            place_and_versions(arguments.device),
            f"SAM 2.1 `{arguments.size}`, random weights in {arguments.dtype}: {weights:.2f} GiB; "
            f"{arguments.frames} frames of {WIDTH}x{HEIGHT}, {len(OBJECTS)} objects.",
            f"Command: `python -m tests.benchmarks.gpu_segment {settings} --frames {arguments.frames}`",
            "",
            *table(rows),
        ]
    )
    print(report)
    if arguments.out:
        arguments.out.write_text(report + "\n", encoding="utf-8")
    return 0


def make_segmenter(size: str, device: str, dtype: torch.dtype) -> Any:
    """The segmenter with random weights, made in their dtype where they stay."""
    from tests.tiny_segmenters import SEGMENTERS

    make_tiny, make_processor, _ = SEGMENTERS["sam2_video"]
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = make_tiny() if size == "tiny" else make_large()
    finally:
        torch.set_default_dtype(torch.float32)
    return Sam2Video(model, make_processor(SIZES[size]))


def make_large() -> Any:
    """The shapes of facebook/sam2.1-hiera-large; what is not named here is as by default."""
    from transformers import Sam2VideoConfig, Sam2VideoModel

    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 144,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 6, 36, 4],
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "global_attention_blocks": [23, 33, 43],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [1152, 576, 288, 144],
    }
    return Sam2VideoModel(Sam2VideoConfig(vision_config=vision))


# --- what is measured ------------------------------------------------------------------------------------------------

Way = Callable[[int], Iterator[Any]]  # how many frames to follow the objects through -> something for each frame


def ways(segmenter: Any, count: int, folder: Path) -> Iterator[tuple[str, Way]]:
    """Everything that is measured, one after the other."""
    from tests.media import write_video

    frames = np.random.default_rng(0).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)
    masks = [np.zeros((HEIGHT, WIDTH), bool) for _ in OBJECTS]
    for mask, (x0, y0, x1, y1) in zip(masks, OBJECTS, strict=True):
        mask[y0:y1, x0:x1] = True
    path = folder / "clip.mp4"
    write_video(path, count, size=(WIDTH, HEIGHT))

    def follow(video: Any, last: int) -> Iterator[Any]:
        events = segmenter.track(vr.open_video(video), [{0: Prompt(mask=mask)} for mask in masks], 0, last - 1)
        return (event for event in events if getattr(event, "number", None) == len(masks) - 1)

    def hold(last: int) -> Iterator[Any]:
        model, processor = segmenter.model, segmenter.processor
        session = processor.init_video_session(
            video=list(frames[:last]), inference_device=model.device, dtype=model.dtype
        )
        processor.add_inputs_to_inference_session(
            session, frame_idx=0, obj_ids=list(range(len(masks))), input_masks=masks
        )
        model(session, frame_idx=0)
        for output in model.propagate_in_video_iterator(session, start_frame_idx=0):
            drawn = processor.post_process_masks([output.pred_masks], original_sizes=[[HEIGHT, WIDTH]])[0]
            yield drawn.cpu()

    yield "pruned, frames in memory", lambda last: follow(frames, last)
    yield "pruned, frames of a file", lambda last: follow(path, last)
    yield "not pruned (a session of transformers)", hold


def measured(run: Way, count: int, device: str) -> list[str]:
    """Frames a second; the peak of memory, which only GPUs tell; and what tensors hold after the last frame."""
    cuda = device == "cuda"
    before = 0
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    held = seconds = 0.0
    with only_new_tensors() as tensors:
        start = time.perf_counter()
        for done, _ in enumerate(run(count), 1):
            if done == count:
                seconds = time.perf_counter() - start
                held = torch.cuda.memory_allocated() - before if cuda else tensors()
    peak = f"{(torch.cuda.max_memory_allocated() - before) / MIB:.1f}" if cuda else "-"
    return [f"{count / seconds:.2f}", peak, f"{held / MIB:.1f}"]


def table(rows: list[list[str]]) -> list[str]:
    head = ["three objects", "frames a second", "peak memory (MiB)", "held after the last frame (MiB)"]
    return [f"| {' | '.join(row)} |" for row in (head, ["---", "---:", "---:", "---:"], *rows)]


if __name__ == "__main__":
    sys.exit(main())
