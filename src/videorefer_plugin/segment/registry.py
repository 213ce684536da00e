"""The registry of segmenters, and a function to load them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

from videorefer_plugin._kinds import TEXT, check_kind, lists
from videorefer_plugin._plugins import load_plugins
from videorefer_plugin.errors import ConfigurationError, SegmentError

__all__ = [
    "ABILITIES",
    "Entry",
    "class_of",
    "entry_of",
    "load_segmenter",
    "loadable",
    "refuse",
    "register_segmenter",
    "segmenters",
]

ABILITIES = {"segment": "cut objects out of a frame", "propagate": "follow objects", "find": "find words"}
"""The abilities of segmenters, and the words for them in messages."""


class Entry(NamedTuple):
    """A registered segmenter.

    Attributes:
        path (`str`): path of its class, "package.module:Class".
        abilities (`tuple[str, ...]`): its abilities, of [`ABILITIES`].
        checkpoint (`str`, *optional*): Hub id of the default checkpoint; `None` if it has no weights.
        packages (`tuple[str, ...]`): modules that it imports, which the extra `segment` installs.
    """

    path: str
    abilities: tuple[str, ...]
    checkpoint: str | None = None
    packages: tuple[str, ...] = ()


_ENTRIES: dict[str, Entry] = {}


def register_segmenter(
    name: str,
    path: str,
    abilities: Sequence[str],
    *,
    checkpoint: str | None = None,
    packages: Sequence[str] = (),
) -> None:
    """Register a segmenter under a name.

    An installed package calls it from an entry point of the group `videorefer_plugin.plugins`.

    Args:
        name (`str`): the name, as in `segmenter="name"`.
        path (`str`): path of its class, `"package.module:Class"`, a subclass of [`Segmenter`]; imported when it is
            loaded.
        abilities (`Sequence[str]`): its abilities, of `"segment"`, `"propagate"` and `"find"`.
        checkpoint (`str`, *optional*): Hub id of the default checkpoint; without one, the segmenter has no weights.
        packages (`Sequence[str]`, *optional*): modules that it imports in addition to those of the core.

    Raises:
        ConfigurationError: an ability is unknown, the path has no class, or another segmenter has the name.
    """
    check_kind(ConfigurationError, TEXT, name=name, path=path)
    check_kind(ConfigurationError, lists(TEXT, "abilities"), abilities=abilities)
    check_kind(ConfigurationError, lists(TEXT, "packages"), packages=packages)
    unknown = [ability for ability in abilities if ability not in ABILITIES]
    if unknown or not abilities:
        said = f"has the unknown ability {unknown[0]!r}" if unknown else "has no ability"
        raise ConfigurationError(f"The segmenter {name!r} {said}; expected some of {', '.join(ABILITIES)}.")
    if path.count(":") != 1:
        raise ConfigurationError(f"The segmenter {name!r} is at {path!r}; expected 'package.module:Class'.")
    entry = Entry(path, tuple(abilities), checkpoint, tuple(packages))
    if _ENTRIES.get(name, entry) != entry:
        raise ConfigurationError(f"A segmenter {name!r} is registered already; register this one under another name.")
    _ENTRIES[name] = entry


def segmenters() -> dict[str, tuple[str, ...]]:
    """Return the names of all segmenters, in alphabetical order, with their abilities.

    Abilities are `"segment"` (masks in one frame from points, boxes or rough masks), `"propagate"` (masklets from the
    same) and `"find"` (masks and masklets from words).
    """
    load_plugins()
    return {name: _ENTRIES[name].abilities for name in sorted(_ENTRIES)}


def entry_of(name: Any) -> Entry:
    """Return the registered segmenter of a name.

    Raises:
        ConfigurationError: there is no segmenter of that name.
    """
    if isinstance(name, str) and name not in _ENTRIES:
        load_plugins()
    entry = _ENTRIES.get(name) if isinstance(name, str) else None
    if entry is None:
        raise ConfigurationError(f"There is no segmenter {name!r}; expected one of {', '.join(segmenters())}.")
    return entry


def refuse(name: str, ability: str) -> SegmentError:
    """Return the error for a segmenter that lacks an ability; it names the segmenters that have it."""
    able = [other for other, abilities in segmenters().items() if ability in abilities and other != name]
    use = " or ".join([", ".join(able[:-1]), able[-1]] if len(able) > 1 else able)
    return SegmentError(f"{name} cannot {ABILITIES[ability]}; use {use or 'a segmenter that can'}.")


def loadable(name: Any, checkpoint: Any = None) -> Entry:
    """Return the registered segmenter of a name, after checking that it can be loaded.

    Raises:
        ConfigurationError: there is no segmenter of that name, a package that it needs is not installed, or a
            checkpoint is given for a segmenter without weights.
    """
    entry = entry_of(name)
    lacking = [package for package in entry.packages if importlib.util.find_spec(package) is None]
    if lacking:
        raise ConfigurationError(
            f"The segmenter {name} needs {', '.join(lacking)}: pip install 'videorefer-plugin[segment]'."
        )
    if entry.checkpoint is None and checkpoint is not None:
        raise ConfigurationError(f"The segmenter {name} has no weights; leave out the checkpoint {checkpoint!r}.")
    return entry


def load_segmenter(name: str, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> Any:
    """Load a segmenter, which can be used for several videos.

    Args:
        name (`str`): one of [`segmenters`].
        checkpoint (`str` or `os.PathLike`, *optional*): folder or Hub id of its weights; a published one by default.
        device (*optional*): device of the model; by default a GPU if there is one.
        dtype (*optional*): dtype of the weights, as `from_pretrained` takes it; by default that of the checkpoint.
        settings: further settings of this segmenter; see its class.

    Returns:
        [`Segmenter`]

    Raises:
        ConfigurationError: there is no such segmenter or setting, or a package that it needs is not installed.
        CheckpointError: the checkpoint cannot be loaded.
    """
    entry = loadable(name, checkpoint)
    return class_of(entry).load(entry.checkpoint if checkpoint is None else checkpoint, device, dtype, **settings)


def class_of(entry: Entry) -> Any:
    """Import and return the class of a registered segmenter."""
    module, _, made = entry.path.partition(":")
    return getattr(importlib.import_module(module), made)


_HERE = "videorefer_plugin.segment"
_FOLLOWS = ("segment", "propagate")
register_segmenter("classical", f"{_HERE}.classical:Classical", _FOLLOWS, packages=["cv2"])
register_segmenter(
    "grounding", f"{_HERE}.grounding:Grounding", (*_FOLLOWS, "find"), checkpoint="IDEA-Research/grounding-dino-base"
)
register_segmenter("sam2_video", f"{_HERE}.sam2_video:Sam2Video", _FOLLOWS, checkpoint="facebook/sam2.1-hiera-large")
register_segmenter(
    "sam3_tracker_video", f"{_HERE}.sam3_tracker_video:Sam3TrackerVideo", _FOLLOWS, checkpoint="facebook/sam3"
)
register_segmenter(
    "edgetam_video", f"{_HERE}.edgetam_video:EdgeTamVideo", _FOLLOWS, checkpoint="yonigozlan/EdgeTAM-hf"
)
register_segmenter(
    "sam3_video", f"{_HERE}.sam3_video:Sam3Video", ["find"], checkpoint="facebook/sam3", packages=["scipy"]
)
register_segmenter("shapes_color", "videorefer_plugin.data_engine.shapes:ShapesFinder", ["find"], packages=["cv2"])
