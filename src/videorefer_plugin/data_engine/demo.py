"""A demonstration: the data engine on captioned clips of the shapes world, compared with the truth."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videorefer_plugin._json import read_json, write_json
from videorefer_plugin._places import check_folder_place, writing
from videorefer_plugin._text import listed
from videorefer_plugin.data_engine.recipe import load_engine_recipe
from videorefer_plugin.data_engine.records import DROPPED, RUN, record_files
from videorefer_plugin.data_engine.runs import run_engine
from videorefer_plugin.errors import EngineError
from videorefer_plugin.inputs.matching import check_at_least_one
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.pictures import Line, picture_answers
from videorefer_plugin.pictures.answers import save_picture
from videorefer_plugin.regions import Region
from videorefer_plugin.video import open_video
from videorefer_plugin.world import encode_video, language, make_clip
from videorefer_plugin.world.clip import Clip, seeded
from videorefer_plugin.world.judge import description_facts, read_description, score_description
from videorefer_plugin.world.nouns import LOOKS

__all__ = ["Comparison", "EngineDemonstration", "compare", "demonstrate_engine", "render_clips"]

_STREAM = 5  # random stream, different from those of training and the benchmark, so that these clips are in neither
_SAME_OBJECT = 0.5  # overlap with an object from which on a masklet shows that object
_RECIPE = "engine/shapes"
_RUN, _PICTURES, _TRUTH = "run", "pictures", "truth.json"


@dataclass(frozen=True)
class Comparison:
    """The comparison of the engine's results with the truth.

    Attributes:
        objects (`int`): objects in the clips.
        named (`int`): objects that the Analyzer named.
        found (`int`): named objects that the Segmentor found.
        overlap (`float`, *optional*): mean overlap (intersection over union) of their masklets with the truth, over
            the frames in which either shows the object, and over objects.
        right_object (`int`): masklets that show the named object.
        kept_right, kept_wrong, discarded_right, discarded_wrong (`int`): the Reviewer's verdicts. A description is
            right if all of its claims about the look, which include color and shape, are true of the object in the
            mask.
        scores (`dict[str, float]`): mean scores of the kept descriptions in each dimension of VideoRefer-Bench-D, from
            0 to 5.
        records, discarded (`int`): number of records, and of discarded ones.
        dropped (`dict[str, int]`): "stage: kind" -> objects.
    """

    objects: int
    named: int
    found: int
    overlap: float | None
    right_object: int
    kept_right: int
    kept_wrong: int
    discarded_right: int
    discarded_wrong: int
    scores: dict[str, float]
    records: int
    discarded: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class EngineDemonstration:
    """The result of a demonstration of the data engine.

    Attributes:
        folder (`str`): folder of the run.
        records (`str`): file of records for training.
        pictures (`str`): folder with a picture of each object.
        seed, clips (`int`): seed and number of the clips.
        compared ([`Comparison`]): comparison with the truth.
        seconds (`float`): total time.
    """

    folder: str
    records: str
    pictures: str
    seed: int
    clips: int
    compared: Comparison
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the result in the form of JSON."""
        return asdict(self)


def demonstrate_engine(
    out: str | os.PathLike,
    seed: int = 0,
    clips: int = 8,
    overrides: Sequence[str] = (),
    progress: Callable[[str, int, int], Any] = lambda what, done, total: None,
) -> EngineDemonstration:
    """Render captioned clips of the shapes world, make data from them, and compare it with the truth.

    Args:
        out (`str` or `os.PathLike`): folder for `clips/`, their table `captions.json`, the run's folder `run/`,
            `truth.json` (id of a record -> whether its description is right, from which `data review` fills its
            table), and `pictures/`. The same command continues an interrupted run.
        seed (`int`, *optional*, defaults to 0): seed of the clips.
        clips (`int`, *optional*, defaults to 8): number of clips.
        overrides (`Sequence[str]`): settings of the recipe `engine/shapes` to change.
        progress (*optional*): called with a stage, the amount done and the total.

    Raises:
        ConfigurationError: a number or a setting is invalid.
        EngineError: the folder holds other clips or another run.
    """
    started = time.monotonic()
    check_at_least_one(clips, "clips")
    seeded(seed)
    folder = check_folder_place(out, EngineError)
    own = {
        "source.files": [str(folder / "captions.json")],
        "source.license": "Apache-2.0",  # the license of this package, which draws the clips
        "output.folder": str(folder / _RUN),
        "seed": seed,
    }
    given = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in own.items()]
    recipe = load_engine_recipe(_RECIPE, [*given, *overrides])
    _refuse_other(folder, seed, clips)
    with writing(folder, EngineError):
        made = render_clips(folder, seed, clips, progress)
        run_engine(recipe, progress=progress)
        compared, truth = compare(folder / _RUN, made)
        write_json(folder / _TRUTH, truth)
        _draw(folder, progress)
        records, _ = record_files(folder / _RUN)
    seconds = round(time.monotonic() - started, 2)
    return EngineDemonstration(str(folder), str(records), str(folder / _PICTURES), seed, clips, compared, seconds)


def _refuse_other(folder: Path, seed: int, clips: int) -> None:
    """Make sure that a folder with a run has these clips, before any of its files are overwritten."""
    table = folder / "captions.json"
    if not table.exists() or not (folder / _RUN / RUN).exists():
        return
    try:
        there = [row["id"] for row in read_json(table, EngineError)]
    except (ValueError, TypeError, KeyError) as error:
        raise EngineError(f"{table} is not a table of clips ({error!r}); choose another folder (--out).") from error
    if there != [_clip_name(seed, number) for number in range(clips)]:
        raise EngineError(
            f"{folder} holds a demonstration of other clips: {len(there)} of them, such as {listed(there, 1)}, where "
            f"{clips} of seed {seed} were asked for. Choose another folder (--out), or ask for the same clips."
        )


def _clip_name(seed: int, number: int) -> str:
    return f"shapes-{seed}-{number:05d}"


def render_clips(
    folder: Path,
    seed: int,
    count: int,
    progress: Callable[[str, int, int], Any] = lambda what, done, total: None,
) -> dict[str, Clip]:
    """Render clips into `clips/`, and write `captions.json`, a table of videos and captions. Returns id -> clip.

    Their combinations of shape, color and motion are those of training, so that the results do not disclose the
    held-out benchmark.
    """
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    made: dict[str, Clip] = {}
    rows = []
    for number in range(count):
        name = _clip_name(seed, number)
        clip = made[name] = make_clip((seed, _STREAM, number))
        video = folder / "clips" / f"{name}.mp4"
        if not video.exists():
            encode_video(video, clip.frames)
        order = [int(place) for place in seeded(seed, _STREAM, number, 1).permutation(len(clip))]
        rows.append({"id": name, "video": f"clips/{name}.mp4", "caption": language.scene_caption(clip.facts, order)})
        progress("clips", number + 1, count)
    write_json(folder / "captions.json", rows)
    return made


# --- the truth -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """An object in a record, with the results of each agent."""

    record: str
    source: str
    name: str
    region: Region
    history: Mapping[str, Any]
    kept: bool


def _rows(folder: Path) -> list[_Row]:
    found = []
    for kept in (True, False):
        records, provenance = record_files(folder, kept)
        lines = provenance.read_text(encoding="utf-8").splitlines()
        for record, line in zip(json.loads(records.read_text(encoding="utf-8")), map(json.loads, lines), strict=True):
            history = line["objects"][0]
            region = Region.from_annotation(record["annotation"][0])
            found.append(_Row(record["id"], line["source"]["id"], history["analyzer"]["text"], region, history, kept))
    return found


def compare(folder: Path, clips: Mapping[str, Clip]) -> tuple[Comparison, dict[str, bool]]:
    """Compare the records in a run's folder with their clips.

    Args:
        folder (`Path`): folder of the run.
        clips (`Mapping[str, Clip]`): id of a source -> its clip.

    Returns:
        The comparison, and a mapping from the id of each record, kept or discarded, to whether its description is
        right.
    """
    rows = _rows(folder)
    judged = [_judge(row, clips[row.source]) for row in rows]
    dropped = [json.loads(line) for line in (folder / DROPPED).read_text(encoding="utf-8").splitlines()]
    named = {(row.source, row.name) for row in rows} | {(row["source"], row["noun"]) for row in dropped}
    true = {(source, name) for source, clip in clips.items() for name in _names(clip)}
    verdicts = Counter((row.kept, one.right) for row, one in zip(rows, judged, strict=True))
    overlaps = [one.overlap for one in judged if one.overlap is not None]
    scores = [one.scores for row, one in zip(rows, judged, strict=True) if row.kept and one.scores]
    comparison = Comparison(
        objects=len(true),
        named=len(true & named),
        found=len(rows),
        overlap=round(float(np.mean(overlaps)), 4) if overlaps else None,
        right_object=sum(one.right_object for one in judged),
        kept_right=verdicts[True, True],
        kept_wrong=verdicts[True, False],
        discarded_right=verdicts[False, True],
        discarded_wrong=verdicts[False, False],
        scores={name: round(float(np.mean([one[name] for one in scores])), 3) for name in scores[0]} if scores else {},
        records=sum(row.kept for row in rows),
        discarded=sum(not row.kept for row in rows),
        dropped=dict(Counter(f"{one['stage']}: {one['kind']}" for one in dropped)),
    )
    return comparison, {row.record: one.right for row, one in zip(rows, judged, strict=True)}


class _Judged(NamedTuple):
    """The truth about an object in a record, such as the overlap of its masks with the named object."""

    overlap: float | None
    right_object: bool
    right: bool
    scores: dict[str, float]


def _judge(row: _Row, clip: Clip) -> _Judged:
    names = _names(clip)
    overlaps = [masklet_overlap(row.region, clip, index) for index in range(len(clip))]
    own = overlaps[names.index(row.name)] if row.name in names else None
    shown = int(np.argmax(overlaps))
    if overlaps[shown] < _SAME_OBJECT:  # the mask shows no object
        return _Judged(own, False, False, {})
    facts = description_facts(clip.facts, shown)
    refined = row.history.get("refiner")
    scores = score_description(refined["description"], facts) if refined else {}
    return _Judged(own, names[shown] == row.name, is_right(row.history["annotator"], facts), scores)


def _names(clip: Clip) -> list[str]:
    return [language.name(clip.facts, index).removeprefix("the ") for index in range(len(clip))]


def masklet_overlap(region: Region, clip: Clip, index: int) -> float:
    """Return the mean intersection over union of a masklet and an object, over frames in which either shows it."""
    size = clip.scene.stage.size
    present = set(region.present)
    shares = []
    for frame, true in enumerate(clip.masks[index]):
        mask = region.mask(frame, size, size) if frame in present else np.zeros_like(true)
        if (mask | true).any():
            shares.append(np.count_nonzero(mask & true) / np.count_nonzero(mask | true))
    return float(np.mean(shares)) if shares else 0.0


def is_right(description: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Return whether an Annotator's description fits the object of these facts."""
    looks = read_description(f"{description['appearance']} {description['dynamic']}").looks
    said = {"color", "shape"} <= set(looks)
    return said and all(facts[key] in (None, looks[key]) for key in LOOKS if key in looks)


# --- pictures --------------------------------------------------------------------------------------------------------


def _draw(folder: Path, progress: Callable[[str, int, int], Any]) -> None:
    (folder / _PICTURES).mkdir(exist_ok=True)
    rows = _rows(folder / _RUN)
    for number, row in enumerate(rows, 1):
        video = open_video(folder / "clips" / f"{row.source}.mp4")
        picture = picture_answers(video, [row.region], _lines(row))
        save_picture(picture, folder / _PICTURES / f"{row.source}-{row.history['number']}.png")
        progress(_PICTURES, number, len(rows))


def _lines(row: _Row) -> list[Line]:
    refined = row.history.get("refiner", {"description": "", "questions": ()})
    annotated = row.history["annotator"]
    said = refined["description"] or " ".join([annotated["appearance"], annotated["dynamic"]])
    lines = [
        Line(REGION_TOKEN, row.history["analyzer"]["expression"], (0,)),
        Line("Description", said, ()),
        Line("Region caption", row.history["captioner"]["text"], ()),
        Line("Kept" if row.kept else "Discarded", row.history["reviewer"]["reason"], ()),
    ]
    return [*lines, *(Line(one["question"], one["answer"], (0,)) for one in refined["questions"])]
