"""Data sets on disk: videos, images, training records and the held-out benchmark.

Everything is a function of the seed and of the number of the clip. The work is split into parts of some clips each. A
part is written when it is finished, so that an interrupted run continues after the last finished part. Several
processes may write the same folder: they write the same contents, and files appear whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import read_object
from videorefer_plugin._kinds import FUNCTION, PATH, check_kind, instances
from videorefer_plugin._places import check_folder_place, writing
from videorefer_plugin._text import short
from videorefer_plugin.embedded import SHAPES_WORLD
from videorefer_plugin.errors import ConfigurationError, VideoError
from videorefer_plugin.inputs.matching import check_at_least_one
from videorefer_plugin.video import Video
from videorefer_plugin.world.bench import (
    bench_clip,
    bench_d_item,
    bench_q_items,
    grounding_clip,
    grounding_items,
)
from videorefer_plugin.world.clip import make_clip, seeded
from videorefer_plugin.world.filming import PLAIN, Filming, any_filming
from videorefer_plugin.world.records import image_frame
from videorefer_plugin.world.stages import STAGES, stage_records
from videorefer_plugin.world.stages import Stage as TrainingStage
from videorefer_plugin.world.values import FPS, Stage
from videorefer_plugin.world.versions import VERSION, Settings, claim, seed_of

__all__ = ["encode_video", "is_of_shapes_world", "write_dataset"]

_PART = 20  # clips
_MOST = 10_000_000  # clips, because their names and parts are held in memory; also processes
_GROUNDING_SHARE = 4  # clips of the benchmark for each clip of the grounding test
_IMAGE_EVERY = 2  # training clips for each image
_CHANGING = {3: "colors", 5: "patterns"}  # of six training clips, these have objects that change
_FILMED = "filming.json"
_FILMING = 7  # the random stream of filming, independent of those of clips and records


def encode_video(path: str | os.PathLike, frames: NDArray[np.uint8], fps: int = FPS, filming: Filming = PLAIN) -> None:
    """Write an mp4 file. The same frames give the same file.

    Args:
        path: path of the file. It appears when it is complete.
        frames: uint8 (T, height, width, 3), RGB, with even sides.
        fps: frames per second.
        filming: light, contrast and codec. Default: unchanged frames in H.264.

    Raises:
        ConfigurationError: an argument has the wrong type.
    """
    check_kind(ConfigurationError, PATH, path=path)
    check_kind(ConfigurationError, instances(np.ndarray), frames=frames)
    check_at_least_one(fps, "fps")
    import av

    def write(temporary: str) -> None:
        with av.open(temporary, "w", format="mp4") as container:
            container.metadata["comment"] = SHAPES_WORLD
            stream: Any = container.add_stream(filming.codec, rate=fps)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.options = filming.options
            for picture in filming.seen(frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))

    write_whole(Path(path), write)


def is_of_shapes_world(video: Video) -> bool:
    """Return whether [`encode_video`] wrote a video; it leaves a comment in the file."""
    check_kind(VideoError, instances(Video, hint="Open it with open_video()."), video=video)
    return video.comment == SHAPES_WORLD


def write_dataset(
    out: str | os.PathLike,
    clips: int,
    seed: int = 0,
    heldout: int = 0,
    size: int = 64,
    frames: int = 16,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    version: int | None = None,
) -> dict[str, int]:
    """Write a data set, or continues one.

    `train_stage0_language.json` to `train_stage3_more.json` are records in the format of VideoRefer-700K about
    `videos/` and `images/`; `stages.STAGES` describes the contents of each. `heldout/` is a separate benchmark about
    `heldout/videos/`: `bench_q.json`, `bench_d.json`, and `grounding_q.json` (the same question about each of two
    objects). Paths in a file are relative to its folder. From version 7 on, `filming.json` lists the light, the
    contrast and the encoding of each training clip.

    Args:
        out: folder to write.
        clips: number of training clips.
        seed: seed of all data. A larger number of clips of the same seed keeps the clips that are there.
        heldout: number of clips of the benchmark, with two questions each. A quarter as many are added for grounding.
        size: side of the square frames in pixels, even, from 48.
        frames: length of the clips, from 8.
        workers: number of processes.
        progress: called after each part with the number of finished clips and of all clips.
        version: version of the data; 6 by default. The packaged model was trained on version 5. Version 6 differs from
            it in the training records, which are drawn by the name of their stage; videos, images and the benchmark
            are the same. In version 7, objects of one clip in three change their colors or patterns, and the
            benchmark's questions about sequences are about these changes; training clips differ in light, contrast and
            codec; options may be reworded; and answers to questions with options end with the letter.

    Returns:
        A mapping from file to the number of its records.

    Raises:
        ConfigurationError: a number is out of range, the version is unknown, or the folder cannot be written or holds
            a data set of other settings.
    """
    for name, value, least in (("clips", clips, 0), ("heldout", heldout, 0), ("workers", workers, 1)):
        if not isinstance(value, int) or not least <= value <= _MOST:
            raise ConfigurationError(f"{name} is {short(value)}: expected a whole number from {least} to {_MOST}")
    check_kind(ConfigurationError, PATH, out=out)
    check_kind(ConfigurationError, FUNCTION, optional=True, progress=progress)
    Stage(size, frames).check()
    seeded(seed)
    root, settings = Path(out), Settings(seed, size, frames, VERSION if version is None else version)
    check_folder_place(out, ConfigurationError)
    with writing(root, ConfigurationError):
        return _write_dataset(root, settings, clips, heldout, workers, progress)


def _write_dataset(
    root: Path,
    settings: Settings,
    clips: int,
    heldout: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, int]:
    claim(root, settings)
    for folder in ("videos", "images", "heldout/videos", ".parts"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    counts = {"train": clips, "heldout": heldout, "grounding": -(-heldout // _GROUNDING_SHARE)}
    jobs = [
        (kind, first, min(first + _PART, count)) for kind, count in counts.items() for first in range(0, count, _PART)
    ]
    done, total = 0, sum(counts.values())
    try:
        for _, first, last in _finished(root, settings, jobs, workers):
            done += last - first
            if progress:
                progress(done, total)
    except KeyboardInterrupt as stop:
        stop.args = (f"{done} of {total} clips are finished, {total - done} are left; the same command goes on.",)
        raise
    written = _assemble(root, settings, jobs)
    shutil.rmtree(root / ".parts", ignore_errors=True)
    return written


Job = tuple[str, int, int]


def _finished(root: Path, settings: Settings, jobs: list[Job], workers: int) -> Iterator[Job]:
    """Make the missing parts; yields all parts in order as they are finished."""
    if workers == 1:
        for job in jobs:
            _make_part(root, settings, job)
            yield job
        return
    # Processes are spawned: forking a process with threads (a progress bar) may hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_leave_signals) as pool:
        futures = [pool.submit(_make_part, root, settings, job) for job in jobs]
        try:
            for job, future in zip(jobs, futures, strict=True):
                future.result()
                yield job
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _leave_signals() -> None:
    """Leave Ctrl-C, which all processes of a terminal get, to the parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _part_file(root: Path, job: Job) -> Path:
    return root / ".parts" / f"{job[0]}-{job[1]:06d}-{job[2]:06d}.json"


def _make_part(root: Path, settings: Settings, job: Job) -> None:
    if _kept_part(root, job) is None:
        text = json.dumps(_records(root, settings, job))
        # If another process has finished and removed the folder, the file of this part is not needed any more.
        with contextlib.suppress(FileNotFoundError):
            write_whole(_part_file(root, job), text)


def _kept_part(root: Path, job: Job) -> dict[str, list[str]] | None:
    """Return an existing part, unless it was made before a stage was added."""
    path = _part_file(root, job)
    if not path.exists():
        return None
    try:
        part = read_object(path, ConfigurationError)
    except ConfigurationError:  # the machine was interrupted; the part is made again
        return None
    expected = {stage.file for stage in _own_records()} if job[0] == "train" else set()
    return part if expected <= part.keys() else None


def _records(root: Path, settings: Settings, job: Job) -> dict[str, list[str]]:
    """Write the missing media of a part; returns file -> its records, as JSON."""
    kind, first, last = job
    make = {"train": _train_clip, "heldout": _heldout_clip, "grounding": _grounding_clip}[kind]
    files: dict[str, list[str]] = {}
    for number in range(first, last):
        for name, records in make(root, settings, number).items():
            files.setdefault(name, []).extend(json.dumps(record) for record in records)
    return files


def _train_clip(root: Path, settings: Settings, number: int) -> dict[str, list[dict]]:
    name = f"train-{number:06d}"
    # Every other clip is like those of the benchmark: each of the four options is true of some object.
    full: dict[str, Any] = {"objects": 4, "distinct": True} if number % 2 else {}
    filming = PLAIN
    if settings.version >= 7:
        full |= {"theme": theme} if (theme := _CHANGING.get(number % 6)) else {}
        filming = any_filming(seeded(settings.seed, _FILMING, number))
    clip = make_clip((settings.seed, 0, number), "train", settings.size, settings.frames, **full)
    video, image = f"videos/{name}.mp4", None if number % _IMAGE_EVERY else f"images/{name}.png"
    if not (root / video).exists():
        encode_video(root / video, clip.frames, filming=filming)
    if image and not (root / image).exists():
        _save_image(root / image, filming.seen(clip.frames)[image_frame(clip)])
    files = {}
    if settings.version >= 7:
        files[_FILMED] = [{"video": video, **filming.to_dict()}]
    for stage in _own_records():
        rng = seeded(settings.seed, 0, number, seed_of(stage.records, settings.version))
        files[stage.file] = stage_records(clip, stage.records, name, video, image, rng, settings.version)
    return files


def _own_records() -> list[TrainingStage]:
    """Return the stages that have records of their own."""
    return [stage for stage in STAGES.values() if stage.kinds]


def _save_image(path: Path, picture: NDArray[np.uint8]) -> None:
    from PIL import Image

    write_whole(path, lambda temporary: Image.fromarray(picture).save(temporary, "png"))


def _heldout_clip(root: Path, settings: Settings, number: int) -> dict[str, list[dict]]:
    name = f"heldout-{number:06d}"
    clip, questions = bench_clip(settings.seed, number, settings.size, settings.frames, settings.version)
    video = f"videos/{name}.mp4"
    if not (root / "heldout" / video).exists():
        encode_video(root / "heldout" / video, clip.frames)
    return {
        "heldout/bench_q.json": list(bench_q_items(clip, questions, name, video)),
        "heldout/bench_d.json": [bench_d_item(clip, name, video)],
    }


def _grounding_clip(root: Path, settings: Settings, number: int) -> dict[str, list[dict]]:
    name = f"grounding-{number:06d}"
    clip, questions = grounding_clip(settings.seed, number, settings.size, settings.frames, settings.version)
    video = f"videos/{name}.mp4"
    if not (root / "heldout" / video).exists():
        encode_video(root / "heldout" / video, clip.frames)
    return {"heldout/grounding_q.json": list(grounding_items(clip, questions, name, video))}


def _assemble(root: Path, settings: Settings, jobs: list[Job]) -> dict[str, int]:
    """Join the parts into the files of the data set, one record per line, with one part in memory at a time."""
    names = [stage.file for stage in _own_records()]
    names += [f"heldout/{name}.json" for name in ("bench_q", "bench_d", "grounding_q")]
    names += [_FILMED] if settings.version >= 7 else []
    written = dict.fromkeys(names, 0)
    streams = {
        name: (root / f"{name}.{os.getpid()}.{threading.get_ident()}").open("w", encoding="utf-8") for name in names
    }
    try:
        for job in jobs:
            part = _kept_part(root, job)
            if part is None:  # another process has finished and cleaned up
                part = _records(root, settings, job)
            for name, records in part.items():
                for record in records:
                    streams[name].write(("[\n" if not written[name] else ",\n") + record)
                    written[name] += 1
        for name, stream in streams.items():
            stream.write("\n]\n" if written[name] else "[]\n")
            stream.close()
            os.replace(stream.name, root / name)
    finally:
        for stream in streams.values():
            with contextlib.suppress(OSError):  # such as a full disk, which an earlier error has named
                stream.close()
            Path(stream.name).unlink(missing_ok=True)
    return written
