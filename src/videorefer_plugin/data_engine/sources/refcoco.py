"""The layout `refcoco`: `instances.json` and `refs(...).json` of RefCOCO, RefCOCO+ or RefCOCOg, and COCO's images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videorefer_plugin._json import read_json
from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut, check_text, find_media
from videorefer_plugin.data_engine.sources.expressions import Annotation, Expression, give_objects, read_object
from videorefer_plugin.errors import EngineError

__all__ = ["read_refcoco"]

_FOLDERS = ("images", "train2014", "")  # folders of images beside the files


@dataclass
class _Image:
    """An image, with the annotations of all data sets."""

    place: str
    media: Path | LeftOut
    given: dict[str, Any]
    masks: dict[Any, Annotation] = field(default_factory=dict)
    objects: list[tuple[Expression, Annotation]] = field(default_factory=list)


def read_refcoco(settings: SourceSettings) -> Iterator[Candidate | LeftOut]:
    """Read the images of RefCOCO, RefCOCO+ or RefCOCOg with their expressions, one source for each image.

    `files` names folders with `instances.json` and one `refs*.json`; annotations of several folders about an image are
    merged. `media_root` is COCO's folder `train2014`. The references are published as a pickle, which may run any
    program when it is read, so it is not read here.

    Raises:
        EngineError: a file is missing, or does not have this form.
    """
    found: dict[str, _Image] = {}
    for folder in map(Path, settings.files):
        instances = read_object(_instances(folder))
        known = {name: _by_id(instances, name, folder) for name in ("images", "annotations")}
        licenses = _by_id(instances, "licenses", folder) if "licenses" in instances else {}
        for ref, place in _refs(folder):
            mask = _listed(known["annotations"], ref, "ann_id", place)
            value = _listed(known["images"], ref, "image_id", place)
            where = f"{folder / 'instances.json'}, image {value['id']}"
            name = check_text(value.get("file_name"), "the file name", where)
            if name not in found:
                media = _media(settings, folder, name, where)
                found[name] = _Image(where, media, _given(value, licenses, where))
            image = found[name]
            annotation = image.masks.setdefault(mask["id"], {"0": {"segmentation": mask.get("segmentation") or None}})
            image.objects.extend((said, annotation) for said in _sentences(ref, place))
    for name, image in found.items():
        if isinstance(image.media, LeftOut):
            yield image.media
        else:
            yield from give_objects(settings, Path(name).stem, image.media, image.place, image.objects, **image.given)


def _instances(folder: Path) -> Path:
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        raise EngineError(f"{folder} is {what}; expected a folder with instances.json and refs(...).json.")
    if not (folder / "instances.json").is_file():
        raise EngineError(f"{folder} has no instances.json; expected a folder of RefCOCO, RefCOCO+ or RefCOCOg.")
    return folder / "instances.json"


def _refs(folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    files = sorted(folder.glob("refs*.json"))
    if len(files) != 1:
        pickles = sorted(folder.glob("refs*.p"))
        if not files and pickles:
            old = pickles[0]
            raise EngineError(
                f"{old} is a pickle, which can run any program when it is read, so it is not read here. If you trust "
                f'it, write it as JSON once: python -c "import json, pickle; json.dump(pickle.load(open({str(old)!r}, '
                f"'rb')), open({str(old.with_suffix('.json'))!r}, 'w'))\""
            )
        there = listed(file.name for file in files) or "no refs*.json"
        raise EngineError(f"{folder} has {there}; expected one file of references.")
    found = read_json(files[0], EngineError)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise EngineError(f"{files[0]} is {short(found)}; expected a list of references.")
    for place, one in enumerate(found):
        yield one, f"{files[0]}, reference {short(one.get('ref_id', place))}"


def _sentences(ref: Mapping[str, Any], place: str) -> list[Expression]:
    said = ref.get("sentences")
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        raise EngineError(f"{place}: 'sentences' is {short(said)}; expected a list of objects.")
    return [
        Expression(place, check_text(one.get("raw") or one.get("sent"), "the sentence", place), one) for one in said
    ]


def _by_id(instances: Mapping[str, Any], name: str, folder: Path) -> dict[Any, dict[str, Any]]:
    found = instances.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) and _is_id(one.get("id")) for one in found):
        raise EngineError(f"{folder / 'instances.json'}: {name!r} is {short(found)}; expected a list as COCO has it.")
    return {one["id"]: one for one in found}


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _listed(known: Mapping[Any, dict[str, Any]], ref: Mapping[str, Any], name: str, place: str) -> dict[str, Any]:
    """Return the entry of `instances.json` that a reference names."""
    number = ref.get(name)
    if not _is_id(number) or number not in known:
        raise EngineError(f"{place}: {name} is {short(number)}, which is not in instances.json.")
    return known[number]


def _media(settings: SourceSettings, folder: Path, name: str, place: str) -> Path | LeftOut:
    roots = [Path(settings.media_root)] if settings.media_root is not None else [folder / one for one in _FOLDERS]
    found = [find_media(name, root, place) for root in roots]
    return next((one for one in found if isinstance(one, Path)), found[0])


def _given(image: Mapping[str, Any], licenses: Mapping[Any, Mapping[str, Any]], place: str) -> dict[str, Any]:
    """Return size, license and address of an image."""
    sides = [image.get(side) for side in ("height", "width")]
    if not all(side is None or (isinstance(side, int) and _is_id(side) and side > 0) for side in sides):
        raise EngineError(f"{place}: height and width are {short(sides)}; expected whole numbers above 0.")
    number = image.get("license")
    terms = licenses.get(number, {}) if _is_id(number) else {}
    return {
        "height": sides[0],
        "width": sides[1],
        "license": ", ".join(str(terms[key]) for key in ("name", "url") if terms.get(key)) or None,
        "address": check_text(image.get("coco_url") or image.get("flickr_url"), "the address", place) or None,
    }
