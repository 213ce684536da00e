"""Pictures of items: each frame, beside the same frame with the objects drawn."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from videorefer_plugin._files import write_whole
from videorefer_plugin.errors import VideoError, VideoReferError
from videorefer_plugin.pictures import write_overlay
from videorefer_plugin.pictures.sheets import marked_frames
from videorefer_plugin.regions import Region
from videorefer_plugin.training.records import Record, parse_record
from videorefer_plugin.video import load_image, open_video

__all__ = ["show_item"]

_LONGEST = 480  # pixels of the longer side
_SLOWEST, _FASTEST = 2.0, 25.0  # frames per second


def show_item(record: dict[str, Any], media_root: Path, path: Path) -> tuple[str, str]:
    """Write the picture of a record: an .mp4 of the annotated frames of a video, or a .png of an image.

    Args:
        record (`dict`): the record in its file.
        media_root (`Path`): folder that paths are relative to.
        path (`Path`): path of the file, without its suffix.

    Returns:
        `tuple[str, str]`: the file's name, and the reason why there is none; one of them is empty.
    """
    try:
        read = parse_record(record, media_root=media_root)
        video = open_video(load_image(read.image)[None]) if read.image else open_video(read.video)
        regions = _different(read)
        frames = sorted({frame for region in regions for frame in region.frames if frame < video.num_frames})
        if not frames:
            raise VideoError(f"{video.name} has {video.num_frames} frames, and none of those with the object.")
        scale = min(1.0, _LONGEST / max(video.height, video.width))
        size = max(round(video.height * scale), 1), max(round(video.width * scale), 1)
        plain = marked_frames(video, [], frames, size, "contour")
        marked = marked_frames(video, regions, frames, size, "mask", "contour")
        shown = np.stack([np.concatenate(both, axis=1) for both in zip(plain, marked, strict=True)])
        if read.image:
            from PIL import Image

            target = path.with_name(f"{path.name}.png")
            write_whole(target, functools.partial(Image.fromarray(shown[0]).save, format="PNG"))
        else:
            target = path.with_name(f"{path.name}.mp4")
            seconds = float(video.timestamps[frames[-1]] - video.timestamps[frames[0]])
            rate = (len(frames) - 1) / seconds if seconds > 0 else _SLOWEST
            write_overlay(open_video(shown, fps=min(max(rate, _SLOWEST), _FASTEST)), [], target)
    except (VideoReferError, OSError) as error:
        return "", str(error)
    return target.name, ""


def _different(record: Record) -> list[Region]:
    """Return the objects of a record, each once, although it may be in several questions."""
    annotations = record.annotation or []
    return [
        region for number, region in enumerate(record.regions()) if annotations[number] not in annotations[:number]
    ]
