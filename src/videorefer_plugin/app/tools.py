"""The model, the segmenters and the threads that all visitors share."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import Any

from videorefer_plugin.app.jobs import Pool
from videorefer_plugin.app.limits import Limits
from videorefer_plugin.asking import load_model, shapes_note
from videorefer_plugin.embedded import is_tiny_checkpoint, tiny_checkpoint
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.segment import load_segmenter
from videorefer_plugin.segment.registry import loadable, refuse
from videorefer_plugin.session.making import takes
from videorefer_plugin.video import Video

__all__ = ["Tools", "load_tools"]

_SEGMENTER = "classical"
_FINDER = "shapes_color"


@dataclass
class Tools:
    """The model, the segmenters and the threads that all visitors share.

    Attributes:
        model, processor: the model and processor that answer.
        model_name (`str`): folder or Hub id of the model; `"embedded"` for the model in the package.
        loading (`dict`): arguments of `load_model` for this model.
        segmenter ([`Segmenter`]): the segmenter that cuts objects out and follows them.
        finder ([`Segmenter`]): the segmenter that finds words in a frame.
        limits ([`Limits`]): limits of the page.
        cutting: lock for cutting objects out of a frame.
        following, answering, drawing ([`Pool`]): pools of threads. Answers are generated one after the other. So are
            objects cut out and followed, if the segmenter has weights.
    """

    model: Any
    processor: Any
    model_name: str
    segmenter: Any
    finder: Any
    limits: Limits = field(default_factory=Limits)
    loading: dict[str, Any] = field(default_factory=dict)
    cutting: threading.Semaphore = field(init=False)
    following: Pool = field(init=False)
    answering: Pool = field(default_factory=lambda: Pool("answer"))
    drawing: Pool = field(default_factory=lambda: Pool("draw"))

    def __post_init__(self) -> None:
        at_once = 2 if self.segmenter.name == _SEGMENTER else 1
        self.cutting = threading.Semaphore(at_once)
        self.following = Pool("follow", at_once)

    @property
    def is_embedded(self) -> bool:
        """Whether the model is the one in the package."""
        return is_tiny_checkpoint(getattr(self.model, "name_or_path", ""))

    def note(self, video: Video | None) -> str | None:
        """Return a warning about answers for a video, if there is one."""
        return shapes_note(video) if self.is_embedded and video is not None else None

    @property
    def about(self) -> list[str]:
        """Return a sentence each about abilities and limits of model, segmenter and finder."""
        said = []
        if self.is_embedded:
            said.append(
                "Answers come from the embedded model, which knows nothing but the shapes world: about any other "
                "video its answers mean nothing. For real videos, start videorefer app --model FOLDER_OR_HUB_ID."
            )
        else:
            said.append(f"Answers come from {self.model_name}.")
        if self.segmenter.name == _SEGMENTER:
            said.append(
                "Objects are cut out by the classical segmenter, from colors and motion, without weights: it does "
                "well on things that stand out, and loses those that look like their surroundings. For better masks, "
                "start with --segmenter sam2_video."
            )
        else:
            said.append(f"Objects are cut out and followed by {self.segmenter.name}.")
        if self.finder.name == _FINDER:
            said.append("Words are found in the shapes world only, such as: red circle. Others: --finder grounding.")
        elif self.finder is not self.segmenter:
            said.append(f"Words are found by {self.finder.name}.")
        return said

    def close(self) -> None:
        """Start no more jobs."""
        for pool in (self.following, self.answering, self.drawing):
            pool.close()


def load_tools(
    model: str | None = None,
    *,
    object_encoder: str | None = None,
    revision: str | None = None,
    segmenter: str = _SEGMENTER,
    segmenter_checkpoint: str | None = None,
    finder: str | None = None,
    finder_checkpoint: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    limits: Limits | None = None,
) -> Tools:
    """Load the model and the segmenters that visitors share.

    Args:
        model (`str`, *optional*): a checkpoint's folder or Hub id; the embedded model by default.
        object_encoder (`str`, *optional*): for a host, folder or Hub id of its saved object encoder.
        revision (`str`, *optional*): branch, tag or commit of the model's repository on the Hub.
        segmenter (`str`, *optional*, defaults to `"classical"`): name of the segmenter that cuts out and follows
            objects.
        segmenter_checkpoint (`str`, *optional*): folder or Hub id of its weights.
        finder (`str`, *optional*):
            Name of the segmenter that finds words; by default `segmenter` if it can, and else `"shapes_color"`, which
            knows the shapes world.
        finder_checkpoint (`str`, *optional*): folder or Hub id of its weights.
        device, dtype (*optional*): device and dtype of the model, as [`load_model`] takes them.
        limits ([`Limits`], *optional*): limits of the page.

    Raises:
        ConfigurationError: a segmenter is unknown, lacks an ability or a package, or sessions do not take the model.
        CheckpointError: weights cannot be loaded.
    """
    abilities = loadable(segmenter, segmenter_checkpoint).abilities
    for ability in ("segment", "propagate"):
        if ability not in abilities:
            raise ConfigurationError(str(refuse(segmenter, ability)))
    own_finder = "find" in abilities and finder in (None, segmenter)
    name = _FINDER if finder is None else finder
    if not own_finder and "find" not in loadable(name, finder_checkpoint).abilities:
        raise ConfigurationError(str(refuse(name, "find")))
    place = tiny_checkpoint() if model in (None, "embedded") else os.fspath(model)
    given = {"object_encoder": object_encoder, "revision": revision, "device": device, "dtype": dtype}
    loading = {name: value for name, value in given.items() if value is not None}
    loaded, processor = load_model(place, **loading)
    if not takes(loaded, processor):
        raise ConfigurationError(
            f"{place!r} cannot be asked in a session, as the page does: expected a VideoRefer or VideoLLaMA2 model, "
            "or a host with an object encoder (--object-encoder), without prompt tuning."
        )
    cutter = load_segmenter(segmenter, segmenter_checkpoint)
    return Tools(
        model=loaded,
        processor=processor,
        model_name="embedded" if model in (None, "embedded") else place,
        segmenter=cutter,
        finder=cutter if own_finder else load_segmenter(name, finder_checkpoint),
        limits=limits or Limits(),
        loading=loading,
    )
