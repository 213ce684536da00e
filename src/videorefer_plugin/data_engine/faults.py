"""Planted faults, to measure the Reviewer: wrong descriptions, and masks of something else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.items import Found, ObjectItem, VideoItem, seed_of
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.regions import encode_rle

__all__ = ["FAULTS", "Planted", "plant"]

FAULTS = ("description_of_other", "description_of_other_video", "mask_of_other", "mask_of_background")
"""Kinds of faults: the description of another object of the same video, or of another video; the masks of another
object; or the object's own masks, moved to the background."""


@dataclass(frozen=True)
class Planted:
    """A video with faults.

    Attributes:
        item ([`VideoItem`]): input of the captioner.
        faults (`dict[int, str]`): number of an object -> its fault, one of [`FAULTS`]; other objects have none.
    """

    item: VideoItem
    faults: dict[int, str]


def plant(items: Sequence[VideoItem], share: float, seed: int = 0, kinds: Sequence[str] = FAULTS) -> list[Planted]:
    """Plant faults in some of the objects, which have masks and descriptions. Each fault depends on the seed alone.

    Args:
        items (`Sequence[VideoItem]`): videos as inputs of the captioner.
        share (`float`): share of the objects that get a fault, from 0 to 1.
        seed (`int`, *optional*, defaults to 0): seed of the choice of objects and faults.
        kinds (`Sequence[str]`, *optional*): kinds of faults out of [`FAULTS`]. The possible kinds of an object are
            equally likely. An object without a possible kind, such as the only one of the only video, gets none.

    Raises:
        ConfigurationError: the share is invalid, or a kind is unknown.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise ConfigurationError(f"The share of faults is {short(share)}; expected a number from 0 to 1.")
    if not kinds or not set(kinds) <= set(FAULTS):
        raise ConfigurationError(f"The kinds of faults are {short(kinds)}; expected some of {', '.join(FAULTS)}.")
    places = [(video, place) for video, item in enumerate(items) for place in range(len(item.objects))]
    chance = random.Random(seed_of("faults", seed))
    chosen = set(chance.sample(places, round(share * len(places))))
    planted = []
    for video, item in enumerate(items):
        others = [one for number, other in enumerate(items) if number != video for one in other.objects]
        objects, faults = list(item.objects), {}
        for place, one in enumerate(item.objects):
            if (video, place) not in chosen:
                continue
            own = random.Random(seed_of("fault", seed, item.source.id, one.number))
            for kind in own.sample(list(kinds), len(kinds)):
                spoiled = _spoiled(kind, one, [other for other in item.objects if other is not one], others, own)
                if spoiled is not None:
                    objects[place], faults[one.number] = spoiled, kind
                    break
        planted.append(Planted(replace(item, objects=tuple(objects)), faults))
    return planted


def _spoiled(
    kind: str, one: ObjectItem, beside: Sequence[ObjectItem], elsewhere: Sequence[ObjectItem], chance: random.Random
) -> ObjectItem | None:
    """Return the object with a fault; None if it cannot have this fault."""
    if kind == "mask_of_background":
        moved = None if one.found is None else _moved(one.found, [other.found for other in beside if other.found])
        return None if moved is None else replace(one, found=moved)
    takes = "found" if kind == "mask_of_other" else "description"
    from_where = elsewhere if kind == "description_of_other_video" else beside
    # An equal description would not be a fault.
    able = [other for other in from_where if getattr(other, takes) not in (None, getattr(one, takes))]
    return replace(one, **{takes: getattr(chance.choice(able), takes)}) if able else None


def _moved(found: Found, others: Sequence[Found]) -> Found | None:
    """Return the masks, all moved by the same shift to where they cover the fewest objects; None if there is none."""
    height, width = found.height, found.width
    masks = {frame: found.region.mask(frame, height, width) for frame in found.region.present}
    taken = {
        frame: np.any([mask, *(_mask(other, frame) for other in others)], axis=0) for frame, mask in masks.items()
    }
    steps = [(y * height // 8, x * width // 8) for y in range(8) for x in range(8)]
    covered = {
        step: sum(np.count_nonzero(np.roll(masks[frame], step, (0, 1)) & taken[frame]) for frame in masks)
        for step in steps
    }
    best = min(steps, key=lambda step: covered[step])
    if covered[best] > 0.1 * sum(map(np.count_nonzero, masks.values())):
        return None
    annotation: dict[str, Any] = {
        frame: one
        if one.get("segmentation") is None
        else {"segmentation": encode_rle(np.roll(masks[int(frame)], best, (0, 1)))}
        for frame, one in found.annotation.items()
    }
    return replace(found, annotation=annotation)


def _mask(found: Found, frame: int) -> Any:
    if frame in set(found.region.present):
        return found.region.mask(frame, found.height, found.width)
    return np.zeros((found.height, found.width), bool)
