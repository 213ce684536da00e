"""The layout `mevis`: `meta_expressions.json`, `mask_dict.json` and `JPEGImages/<video>` of a split of MeViS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut
from videorefer_plugin.data_engine.sources.expressions import (
    Expression,
    MetaVideo,
    frame_places,
    give_objects,
    read_meta,
    read_object,
)
from videorefer_plugin.errors import EngineError

__all__ = ["read_mevis"]


def read_mevis(settings: SourceSettings) -> Iterator[Candidate | LeftOut]:
    """Read the videos of MeViS with their expressions. Expressions for several objects are left out.

    `files` names folders of splits with masks, such as `MeViS/train` and `MeViS/valid_u`.

    Raises:
        EngineError: a file is missing, or does not have this form.
    """
    for given in settings.files:
        root, videos = read_meta(settings, given)
        file = root / "mask_dict.json"
        if not file.is_file():
            raise EngineError(f"{file} is not there; of MeViS, the splits train and valid_u come with masks.")
        masks = read_object(file)
        for video in videos:
            places = frame_places(video)
            if isinstance(places, LeftOut):
                yield places
                continue
            made: dict[str, Any] = {}
            objects = [(one, _annotation(one, video, places, masks, made)) for one in video.expressions]
            yield from give_objects(settings, video.name, video.folder, video.place, objects)


def _annotation(
    one: Expression, video: MetaVideo, places: dict[str, int], masks: dict[str, Any], made: dict[str, Any]
) -> dict[str, Any] | LeftOut:
    """Return the masks of an expression's object; `made` caches those of the video."""
    numbers = one.value.get("anno_id")
    if not isinstance(numbers, list) or not numbers:
        raise EngineError(
            f"{one.place}: 'anno_id' is {short(numbers)}; expected a list of masks. The split valid comes without."
        )
    if len(numbers) > 1:
        return LeftOut("several_objects", one.place, f"it means {len(numbers)} objects", "expression")
    key = str(numbers[0])
    if key not in made:
        lengths = masks.get(key)
        if not isinstance(lengths, list) or len(lengths) != len(video.frames):
            said = f"{len(lengths)} frames" if isinstance(lengths, list) else short(lengths)
            reason = f"mask {key} has {said}; expected {len(video.frames)}, as the video has"
            return LeftOut("bad_mask", one.place, reason, "expression")
        made[key] = {
            str(places[frame]): {"segmentation": mask or None}
            for frame, mask in zip(video.frames, lengths, strict=True)
        }
    found: dict[str, Any] = made[key]
    return found
