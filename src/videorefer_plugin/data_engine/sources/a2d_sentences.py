"""The layout `a2d-sentences`: sentences about actors, with masks in a few frames of each clip."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut, check_text, find_media
from videorefer_plugin.data_engine.sources.expressions import Expression, give_objects
from videorefer_plugin.data_engine.sources.rows import Table, check_column
from videorefer_plugin.errors import ConfigurationError, EngineError
from videorefer_plugin.regions import encode_rle

__all__ = ["read_a2d_sentences"]

_SENTENCES = "a2d_annotation.txt"
_MASKS = "a2d_annotation_with_instances"
_CLIPS = ("Release/clips320H", "clips320H", "")


def read_a2d_sentences(settings: SourceSettings) -> Iterator[Candidate | LeftOut]:
    """Read the clips of A2D-Sentences with their sentences.

    `files` names the folder that holds `text_annotations` (with `a2d_annotation.txt` and
    `a2d_annotation_with_instances/<video>/<frame>.h5`) and `Release/clips320H/<video>.mp4`; clips may also be in
    `media_root`. Frames are numbered from 1 there, and from 0 here.

    Raises:
        EngineError: a file is missing, or does not have this form.
        ConfigurationError: `h5py` is not installed.
    """
    if importlib.util.find_spec("h5py") is None:
        raise ConfigurationError("The masks of A2D-Sentences are HDF5 files, which need h5py: pip install h5py")
    for folder in map(Path, settings.files):
        texts = next((one for one in (folder / "text_annotations", folder) if (one / _SENTENCES).is_file()), None)
        if texts is None:
            raise EngineError(f"{folder} has no text_annotations/{_SENTENCES}; expected the folder of A2D-Sentences.")
        of_video: dict[str, list[Expression]] = {}
        table = Table(texts / _SENTENCES)
        for place, row in table.rows():
            name = check_text(row.get("video_id"), "the video_id", place)
            text = check_text(row.get("query"), "the query", place)
            of_video.setdefault(name, []).append(Expression(place, text, row))
        for column in ("video_id", "instance_id", "query"):
            check_column(table, column, column)
        roots = [folder / one for one in _CLIPS] if settings.media_root is None else [Path(settings.media_root)]
        for name, expressions in of_video.items():
            yield from _read_video(settings, name, expressions, texts / _MASKS / name, roots)


def _read_video(
    settings: SourceSettings, name: str, expressions: list[Expression], masks: Path, roots: list[Path]
) -> Iterator[Candidate | LeftOut]:
    place = expressions[0].place
    found = [find_media(f"{name}.mp4", root, place) for root in roots]
    media = next((one for one in found if isinstance(one, Path)), None)
    if media is None:
        yield from (one for one in found[:1] if isinstance(one, LeftOut))
        return
    made: dict[int, dict[str, Any]] = {}
    for file in sorted(masks.glob("*.h5")):
        objects = _objects(file)
        if isinstance(objects, str) or not file.stem.isdigit() or int(file.stem) < 1:
            reason = objects if isinstance(objects, str) else f"{file} is not called after a frame, from 1"
            yield LeftOut("bad_mask", place, reason)
            return
        for number, mask in objects.items():
            made.setdefault(number, {})[str(int(file.stem) - 1)] = {
                "segmentation": encode_rle(mask) if mask.any() else None
            }
    yield from give_objects(settings, name, media, place, [(one, made.get(_number(one), {})) for one in expressions])


def _number(one: Expression) -> int:
    given = str(one.value.get("instance_id")).strip()
    if not given.isascii() or not given.isdigit():
        raise EngineError(f"{one.place}: the instance_id is {short(given)}; expected a whole number.")
    return int(given)


def _objects(file: Path) -> dict[int, NDArray[np.bool_]] | str:
    """Return the masks of a frame by the numbers of their objects, or why they cannot be read."""
    import h5py

    try:
        with h5py.File(file, "r") as stored:
            numbers = [int(number) for number in np.asarray(stored["instance"]).ravel()]
            masks = np.asarray(stored["reMask"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        return f"{file} cannot be read ({error})"
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim != 3 or len(masks) < len(numbers):
        return f"{file} has masks of shape {masks.shape} for the objects {listed(numbers)}"
    # MATLAB wrote them, with the columns first.
    return {number: mask.T > 0 for number, mask in zip(numbers, masks, strict=False)}
