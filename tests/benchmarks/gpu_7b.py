"""How long the parts of a model take at the sizes of VideoRefer-7B, and how much memory they need.

    python -m tests.benchmarks.gpu_7b                            # on a GPU
    python -m tests.benchmarks.gpu_7b --size tiny --device cpu   # tries the benchmark itself

Weights are random and made on the device, so nothing is downloaded. Every part is measured with PyTorch's
own attention and, where that is installed, with flash attention. A Markdown table is printed: of each part the median,
the quickest and the slowest run, and the memory that it needs at most beyond what was held before it. Questions about
one video are asked as a user asks them, with the decoding of a clip and the processor, once apart and once in a
[`VideoSession`].
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import videorefer_plugin as vr

FRAMES, CLIP_FRAMES, CLIP_SIZE, TOKENS = 16, 160, (854, 480), 32
BATCHES, QUESTIONS = (4, 8), (1, 4, 16)
ENCODED = ((1, 1), (1, 16), (8, 16))  # objects x frames
GIB = 2**30
GENERATE = {"do_sample": False, "max_new_tokens": TOKENS, "min_new_tokens": TOKENS}


@dataclass(frozen=True)
class Size:
    """Shapes of the vision tower (SigLIP) and the language model (Qwen2)."""

    vision: dict[str, int]
    text: dict[str, int]


def _vision(side: int, patch: int, width: int, inner: int, layers: int, heads: int) -> dict[str, int]:
    names = (
        "image_size",
        "patch_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
    )
    return dict(zip(names, (side, patch, width, inner, layers, heads), strict=True))


def _text(vocabulary: int, width: int, inner: int, layers: int, heads: int, kept_heads: int) -> dict[str, int]:
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    given = dict(zip(names, (vocabulary, width, inner, layers, heads), strict=True))
    return {**given, "num_key_value_heads": kept_heads}


SIZES = {
    "tiny": Size(_vision(56, 14, 32, 64, 3, 2), _text(2000, 56, 64, 2, 4, 2)),
    "middle": Size(_vision(384, 14, 768, 3072, 4, 12), _text(2000, 896, 4864, 4, 14, 2)),
    "7b": Size(_vision(384, 14, 1152, 4304, 27, 16), _text(151649, 3584, 18944, 28, 28, 4)),
}


def main(given: Sequence[str] | None = None) -> int:
    """Measure everything, print a table, and say by the exit code whether all of it ran."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="7b", help="shapes of the model; only 7b is worth a table")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--out", type=Path, help="also write the table into this file")
    arguments = parser.parse_args(given)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU; --device cpu tries the benchmark with --size tiny or middle")
    processor = make_processor(SIZES[arguments.size])
    model = make_model(SIZES[arguments.size], processor, arguments.device, getattr(torch, arguments.dtype))
    rows, failed = [], False
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        for attention in attentions(arguments.device):
            model.set_attn_implementation(attention)
            for name, run, rounds in parts(model, processor, Path(folder)):
                try:
                    cells = measured(run, rounds, arguments.device)
                except Exception as error:  # the other parts are worth their time on a GPU all the same
                    failed, cells = True, [f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", "", ""]
                rows.append([name, attention, *cells])
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    report = "\n".join([*about(arguments, model), "", *table(rows)])
    print(report)
    if arguments.out:
        arguments.out.write_text(report + "\n", encoding="utf-8")
    return int(failed)


def attentions(device: str) -> list[str]:
    """PyTorch's attention, and flash attention where it is installed and there is a GPU for it."""
    from transformers.utils import is_flash_attn_2_available

    return ["sdpa", *(["flash_attention_2"] if device == "cuda" and is_flash_attn_2_available() else [])]


# --- model and inputs ------------------------------------------------------------------------------------------------


def make_processor(size: Size) -> Any:
    from transformers import AutoTokenizer, SiglipImageProcessorPil

    from tests.conftest import CHECKPOINT

    side = {"height": size.vision["image_size"], "width": size.vision["image_size"]}
    pictures = SiglipImageProcessorPil(size=side, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    return vr.VideoReferProcessor(pictures, tokenizer, num_frames=FRAMES, patch_size=size.vision["patch_size"])


def make_model(size: Size, processor: Any, device: str, dtype: torch.dtype) -> Any:
    """The model with random weights, made in its dtype where it stays."""
    config = vr.VideoReferConfig(
        text_config={"model_type": "qwen2", "rope_theta": 1e6, "max_position_embeddings": 32768, **size.text},
        vision_config={"model_type": "siglip_vision_model", **size.vision},
        num_frames=FRAMES,
        **{name: getattr(processor, name) for name in ("region_token_id", "image_token_id", "video_token_id")},
    )
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return vr.VideoReferForConditionalGeneration(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def make_inputs(model: Any, processor: Any, batch: int = 1, objects: int = 1, frames: int = 1) -> dict[str, Any]:
    """What the processor makes of questions about different clips, whose objects are given in so many frames."""
    pixels = np.random.default_rng(0).integers(0, 256, (batch, FRAMES, 128, 160, 3), np.uint8)
    boxes = [(8 * place, 10, 60 + 8 * place, 90) for place in range(objects)]
    regions = [vr.Region(dict.fromkeys(range(frames), box)) for box in boxes]
    text = f"<video>\nWhat happens to {' and '.join(['<region>'] * objects)} in this video, and what comes next?"
    made = processor(text=[text] * batch, videos=list(pixels), regions=[regions] * batch, return_tensors="pt")
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in made.items()
        if isinstance(value, torch.Tensor)
    }


def make_questions(number: int) -> list[tuple[str, list[Any]]]:
    """Questions of different lengths about objects in frames that the model is shown."""
    shown = vr.sample_frame_indices(CLIP_FRAMES, num_frames=FRAMES)
    return [
        (
            f"What is <region> doing{' now' * (place % 4)}?",
            [vr.Region.from_box((40 + 9 * place, 60, 200 + 9 * place, 300), frame=shown[place % FRAMES])],
        )
        for place in range(number)
    ]


# --- what is measured ------------------------------------------------------------------------------------------------

Part = tuple[str, Callable[[], Any], int]  # name, what to run, how many times


def parts(model: Any, processor: Any, folder: Path) -> Iterator[Part]:
    """Everything that is measured, one after the other, so that inputs of one part are gone with the next."""
    yield from _encoders(model, processor)
    yield from _answers(model, processor)
    yield from _questions(model, processor, folder)


def _encoders(model: Any, processor: Any) -> Iterator[Part]:
    inputs = make_inputs(model, processor)
    clip = inputs["pixel_values_videos"][0]
    features = model.model.get_frame_features(clip)
    yield f"vision tower, {FRAMES} frames", lambda: model.model.get_frame_features(clip), 5
    yield "connector", lambda: model.model.connect("video", [features]), 10
    for objects, frames in ENCODED:
        lengths = torch.full((objects,), frames, device=model.device)
        rows = torch.arange(frames, device=model.device).repeat(objects)
        masks = torch.rand((len(rows), *features.shape[1:3]), device=model.device) > 0.9
        name = f"object encoder, {objects} x {frames}"
        yield name, lambda given=(masks, rows, lengths): model.object_encoder(features, *given, values=False), 20


def _answers(model: Any, processor: Any) -> Iterator[Part]:
    inputs = make_inputs(model, processor)
    length = inputs["input_ids"].shape[1]
    rest = {name: value for name, value in inputs.items() if name != "pixel_values_videos"}
    encoded = {"video": model.model.get_video_features(inputs["pixel_values_videos"])}
    ahead = {"use_cache": True, "logits_to_keep": 1}
    yield f"prefill, {length} positions", lambda: model(**rest, mm_encoder_outputs=encoded, **ahead), 5
    yield "prefill with tower and connector", lambda: model(**inputs, **ahead), 5
    yield f"answer of {TOKENS} tokens", lambda: model.generate(**inputs, **GENERATE), 3
    for objects, frames in ENCODED[1:]:
        given = make_inputs(model, processor, 1, objects, frames)
        name = f"answer of {TOKENS} tokens, {objects} x {frames} masks"
        yield name, lambda given=given: model.generate(**given, **GENERATE), 3
    for batch in BATCHES:
        given = make_inputs(model, processor, batch)
        yield f"{batch} answers in a batch", lambda given=given: model.generate(**given, **GENERATE), 3


def _questions(model: Any, processor: Any, folder: Path) -> Iterator[Part]:
    """Questions about one clip, apart and in a session that begins with nothing computed."""
    from tests.media import write_video

    path = folder / "clip.mp4"
    if not path.exists():
        write_video(path, CLIP_FRAMES, size=CLIP_SIZE)

    def apart(asked: list[tuple[str, list[Any]]]) -> None:
        for text, regions in asked:
            vr.ask(model, path, text, regions, processor=processor, **GENERATE)

    def in_a_session(asked: list[tuple[str, list[Any]]]) -> None:
        from videorefer_plugin import VideoSession

        with VideoSession(model, processor, path) as session:
            session.ask_many(asked, **GENERATE)

    for number in QUESTIONS:
        asked, plural = make_questions(number), "s" if number > 1 else ""
        yield f"{number} question{plural} about a clip, apart", lambda asked=asked: apart(asked), 1
        yield f"{number} question{plural} about a clip, in a session", lambda asked=asked: in_a_session(asked), 3


# --- measuring and reporting -----------------------------------------------------------------------------------------


def measured(run: Callable[[], Any], rounds: int, device: str) -> list[str]:
    """Median seconds, their range, and peak memory in GiB beyond what was held; after one run that does not count."""
    cuda = device == "cuda"
    run()
    held = 0
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    memory = f"{(torch.cuda.max_memory_allocated() - held) / GIB:.2f}" if cuda else "-"
    spread = f"{min(seconds):.4f} to {max(seconds):.4f}" if rounds > 1 else "-"
    return [f"{statistics.median(seconds):.4f}", spread, memory]


def about(arguments: argparse.Namespace, model: Any) -> list[str]:
    """On what, with which versions and how the table came about."""
    weights = sum(parameter.nbytes for parameter in model.parameters()) / GIB
    settings = f"--size {arguments.size} --device {arguments.device} --dtype {arguments.dtype}"
    return [
        place_and_versions(arguments.device),
        f"Shapes `{arguments.size}`, random weights in {arguments.dtype}: {weights:.2f} GiB.",
        f"Command: `python -m tests.benchmarks.gpu_7b {settings}`",
    ]


def place_and_versions(device: str) -> str:
    """On what and with which versions something was measured."""
    names = ["videorefer-plugin", "torch", "transformers"]
    if device == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        place = f"{torch.cuda.get_device_name()} ({memory:.0f} GiB), CUDA {torch.version.cuda}"
        names += ["flash-attn"] if "flash_attention_2" in attentions("cuda") else []
    else:
        place = f"CPU ({platform.machine()}), threads: {torch.get_num_threads()}"
    return f"{place}; {', '.join(f'{name} {version(name)}' for name in names)}; Python {platform.python_version()}."


def table(rows: list[list[str]]) -> list[str]:
    head = ["part", "attention", "seconds", "range", "memory beyond (GiB)"]
    rule = ["---", "---", "---:", "---:", "---:"]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in (head, rule, *rows)]


if __name__ == "__main__":
    sys.exit(main())
