"""Masklets: the masks of one object in all frames that it was followed through."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import read_object
from videorefer_plugin._kinds import PATH, check_kind, instances, lists
from videorefer_plugin._places import named_path
from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import RegionError, SegmentError
from videorefer_plugin.regions import Region
from videorefer_plugin.regions.run_lengths import read_size
from videorefer_plugin.segment.events import Note
from videorefer_plugin.segment.prompts import Prompt

__all__ = ["Masklet", "load_masklets", "save_masklets"]


@dataclass(frozen=True, eq=False)
class Masklet:
    """An object followed through a video.

    Attributes:
        region (`Region`): a mask in every frame that the object was followed through; None where it is absent. Frames
            after the one in which it was lost are left out, since nothing is known about them. An object that is not
            found again after a cut is absent there, and a note reports the loss.
        scores (`dict[int, float]`): for each frame of the region, how sure the segmenter is, from 0 to 1.
        prompts (`dict[int, Prompt]`): the prompts by frame.
        backend (`str`): the segmenter's name.
        size (`tuple[int, int]`): height and width of the frames.
        settings (`dict`): settings of the segmenter, such as its checkpoint, fit for JSON.
        notes (`tuple[Note, ...]`): notes on losses, cuts and steps that were left out.
        phrase (`str`, *optional*): the words by which it was found.
        video (`str`, *optional*): path or address of the video; `None` if it was in memory.
    """

    region: Region
    scores: dict[int, float]
    prompts: dict[int, Prompt]
    backend: str
    size: tuple[int, int]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    phrase: str | None = None
    video: str | None = None

    @property
    def lost(self) -> tuple[Note, ...]:
        """The notes on losses of the object: at most one for each direction."""
        return tuple(note for note in self.notes if note.kind == "lost")

    @property
    def cuts(self) -> tuple[int, ...]:
        """The frames with which a new shot begins."""
        return tuple(sorted({note.frame for note in self.notes if note.kind == "cut" and note.frame is not None}))

    def __repr__(self) -> str:
        frames = self.region.frames
        lost = "".join(f", lost at frame {note.frame}" for note in self.lost)
        return (
            f"Masklet({self.backend}, frames {frames[0]} to {frames[-1]}, visible in {len(self.region.present)}{lost})"
        )

    def save(self, path: str | os.PathLike) -> None:
        """Save the masklet; see [`save_masklets`]."""
        save_masklets(path, [self])


def save_masklets(path: str | os.PathLike, masklets: Sequence[Masklet]) -> None:
    """Write masklets to a JSON file in the form of VideoRefer-700K, with additional lists of scores and notes.

    The file has `"annotation"`, a list with {"12": {"segmentation": RLE or null}, ...} for each object, as records
    have it. `"scores"`, `"prompts"`, `"notes"` and `"phrases"` are lists with an entry for each object. The other keys
    are `"segmenter"` and its `"settings"`, `"video"` and `"size"` (height and width). On a command line, object 2 of
    the file is `--region FILE#2`. The file is written completely or not at all.

    Raises:
        SegmentError: there are no masklets, they are of several videos or segmenters, or the file cannot be written.
    """
    check_kind(SegmentError, lists(instances(Masklet), "masklets"), masklets=masklets)
    if not masklets:
        raise SegmentError("There are no masklets to save; find or follow an object first.")
    first = masklets[0]
    for name in ("size", "video", "backend", "settings"):
        if any(getattr(one, name) != getattr(first, name) for one in masklets):
            found = dict.fromkeys(short(getattr(one, name)) for one in masklets)
            raise SegmentError(
                f"The masklets differ in {name}: {listed(found)}. Save those of one video and one segmenter together, "
                "and others in a file of their own."
            )
    written = {
        "video": first.video,
        "size": list(first.size),
        "segmenter": first.backend,
        "settings": first.settings,
        "annotation": [masklet.region.to_annotation(*masklet.size) for masklet in masklets],
        "scores": [{str(frame): round(score, 4) for frame, score in one.scores.items()} for one in masklets],
        "prompts": [{str(frame): prompt.to_json() for frame, prompt in one.prompts.items()} for one in masklets],
        "phrases": [masklet.phrase for masklet in masklets],
        "notes": [[note.to_json() for note in masklet.notes] for masklet in masklets],
    }
    text = json.dumps(written, ensure_ascii=False)
    try:
        write_whole(Path(path), text)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, or half a character in the words
        raise SegmentError(f"{os.fspath(path)!r} cannot be written ({error}); choose another path.") from error


def load_masklets(path: str | os.PathLike) -> list[Masklet]:
    """Read what [`save_masklets`] wrote.

    Raises:
        SegmentError: there is no such file, or [`save_masklets`] did not write it.
        RegionError: an annotation is damaged.
    """
    check_kind(SegmentError, PATH, path=path)
    name = named_path(path)
    value = read_object(path, SegmentError, "masklets, as save_masklets writes them")
    try:
        return [_read(value, number) for number in range(len(value["annotation"]))]
    except (SegmentError, RegionError):
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError) as error:
        raise SegmentError(
            f"{name!r} holds no masklets: expected what save_masklets writes, with 'annotation', 'scores', 'prompts', "
            f"'notes', 'size' and 'segmenter' ({type(error).__name__}: {error})"
        ) from error


def _read(value: Mapping[str, Any], number: int) -> Masklet:
    height, width = read_size(value["size"])
    region = Region.from_annotation(value["annotation"][number])
    scores = {int(frame): float(score) for frame, score in value["scores"][number].items()}
    for frame in region.present:
        region.shape(frame).silhouette(height, width)  # raises for masks of another size
    if set(scores) != set(region.frames) or not all(0 <= score <= 1 for score in scores.values()):
        raise SegmentError(
            f"The scores of object {number + 1} are damaged: expected one from 0 to 1 for each of its frames."
        )
    return Masklet(
        region=region,
        scores=scores,
        prompts={int(frame): Prompt.from_json(one) for frame, one in value["prompts"][number].items()},
        backend=str(value["segmenter"]),
        size=(height, width),
        settings=dict(value["settings"]),
        notes=tuple(Note(number=number, **note) for note in value["notes"][number]),
        phrase=value["phrases"][number],
        video=value["video"],
    )
