"""The layout `ref-youtube-vos`: `meta_expressions.json`, and folders of videos in `JPEGImages` and `Annotations`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut
from videorefer_plugin.data_engine.sources.expressions import (
    Expression,
    MetaVideo,
    frame_places,
    give_objects,
    read_meta,
)
from videorefer_plugin.errors import EngineError
from videorefer_plugin.regions import encode_rle

__all__ = ["read_ref_youtube_vos"]


def read_ref_youtube_vos(settings: SourceSettings) -> Iterator[Candidate | LeftOut]:
    """Read the videos of Ref-YouTube-VOS with their expressions.

    `files` names the folder of the split `train`, whose `meta_expressions.json` may also be in
    `../meta_expressions/train`. Masks are PNGs with a palette, in which pixels have the number of their object. They
    belong to the frames of the same name, which are all frames or every fifth.

    Raises:
        EngineError: a file is missing, or does not have this form.
    """
    for given in settings.files:
        root, videos = read_meta(settings, given)
        if not (root / "Annotations").is_dir():
            raise EngineError(
                f"{root} has no folder Annotations; of Ref-YouTube-VOS, the split train comes with masks."
            )
        for video in videos:
            yield from _read_video(settings, video, root / "Annotations" / video.name)


def _read_video(settings: SourceSettings, video: MetaVideo, folder: Path) -> Iterator[Candidate | LeftOut]:
    wanted = {_number(one) for one in video.expressions}
    places = frame_places(video)
    if isinstance(places, LeftOut):
        yield places
        return
    made: dict[int, dict[str, Any]] = {number: {} for number in wanted}
    for frame, place in places.items():
        path = folder / f"{frame}.png"
        if not path.is_file():
            continue
        labels = _labels(path)
        if isinstance(labels, str):
            yield LeftOut("bad_mask", video.place, labels)
            return
        for number in wanted:
            mask = labels == number
            made[number][str(place)] = {"segmentation": encode_rle(mask) if mask.any() else None}
    objects = [(one, made[_number(one)]) for one in video.expressions]
    yield from give_objects(settings, video.name, video.folder, video.place, objects)


def _number(one: Expression) -> int:
    """Return the number of an expression's object."""
    given = one.value.get("obj_id")
    digits = str(given)
    if isinstance(given, bool) or not digits.isascii() or not digits.isdigit() or not 0 < int(digits) < 256:
        raise EngineError(
            f"{one.place}: 'obj_id' is {short(given)}; expected the number of an object, from 1 to 255. "
            "The splits valid and test come without."
        )
    return int(digits)


def _labels(path: Path) -> NDArray[np.uint8] | str:
    """Return the numbers in a mask's pixels, or the reason why there are none."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1"):
                return f"{path} has {image.mode} pixels; expected a PNG with a palette"
            return np.asarray(image).astype(np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"{path} cannot be read as an image ({error})"
