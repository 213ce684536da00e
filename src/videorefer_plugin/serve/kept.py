"""Keeps opened visuals and their sessions between requests, within a limit of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from videorefer_plugin.errors import ServeError, VideoError
from videorefer_plugin.inputs.clips import open_image
from videorefer_plugin.models.feature_store import FeatureStore
from videorefer_plugin.serve.fetching import Fetched
from videorefer_plugin.serve.limits import Limits
from videorefer_plugin.session.conversations import ConversationSession
from videorefer_plugin.video import Video, open_video
from videorefer_plugin.video.images import image_size
from videorefer_plugin.video.sources import Stored

__all__ = ["Kept", "Visual"]

_MOST = 64  # visuals, since the bytes of their frame tables are not counted


class Visual:
    """An opened video or image of a request.

    Attributes:
        kind (`str`): `"video"` or `"image"`.
        key (`str`): equal for visuals with the same content.
        video ([`Video`]): the visual; an image is a video of one frame.
        size (`int`): number of bytes of its source.
    """

    def __init__(self, kind: str, fetched: Fetched, where: str, limits: Limits):
        self.kind, self.key, self.size = kind, f"{kind} {fetched.key}", fetched.size
        self.video = _image(fetched, where, limits) if kind == "image" else _video(fetched, where, limits)
        self.video.name = where  # its name in messages, instead of a path of this machine
        if kind == "image":
            self.size += self.video.height * self.video.width * 3


def _image(fetched: Fetched, where: str, limits: Limits) -> Video:
    source = Stored(fetched.source, where)
    _check_size(*image_size(source, where), where, limits)
    return open_image(source)


def _video(fetched: Fetched, where: str, limits: Limits) -> Video:
    try:
        video = open_video(fetched.source)
    except VideoError as error:
        said = str(error) if isinstance(fetched.source, bytes) else str(error).replace(repr(fetched.source), "it")
        raise VideoError(f"{where}: {said}") from error
    _check_size(video.height, video.width, where, limits)
    if video.duration > limits.video_seconds:
        raise ServeError(
            f"{where} is {video.duration:.1f} s long; this server takes at most {limits.video_seconds:g} s. Cut it."
        )
    return video


def _check_size(height: int, width: int, where: str, limits: Limits) -> None:
    if height * width > limits.video_pixels:
        raise ServeError(
            f"{where} has frames of {width} x {height} pixels; this server takes at most {limits.video_pixels} pixels."
        )


class Kept:
    """Visuals and sessions about them, so that later requests use the work of earlier ones.

    Half of the bytes is for features of frames, and half for the rest. The visual or session that was not used for the
    longest time is dropped first. Only one thread may use sessions; several may open visuals.

    Args:
        model, processor: the model and its processor.
        max_bytes (`int`): largest number of bytes to keep.

    Attributes:
        features ([`FeatureStore`]): features of frames, for all visuals.
    """

    def __init__(self, model: Any, processor: Any, max_bytes: int):
        self.features = FeatureStore(max_bytes // 2)
        self._model, self._processor = model, processor
        self._most = max_bytes - max_bytes // 2
        self._visuals: OrderedDict[str, Visual] = OrderedDict()
        self._sessions: OrderedDict[Hashable, tuple[str, ConversationSession]] = OrderedDict()
        self._lock = threading.Lock()

    def visual(self, kind: str, fetched: Fetched, where: str, limits: Limits) -> Visual:
        """Open a visual, or return an open one with the same content."""
        key = f"{kind} {fetched.key}"
        with self._lock:
            if key in self._visuals:
                self._visuals.move_to_end(key)
                return self._visuals[key]
        opened = Visual(kind, fetched, where, limits)
        with self._lock:
            return self._visuals.setdefault(key, opened)

    def session(self, visual: Visual, system: str | None, settings: dict[str, Any]) -> ConversationSession:
        """Return the session about a visual with these settings of the processor."""
        key = (visual.key, system, tuple(sorted(settings.items())))
        if key in self._sessions:
            self._sessions.move_to_end(key)
            return self._sessions[key][1]
        given = {"image" if visual.kind == "image" else "video": visual.video}
        session = ConversationSession(
            self._model,
            self._processor,
            **given,
            system=system,
            features=self.features,
            max_bytes=self._most,
            **settings,
        )
        self._sessions[key] = visual.key, session
        return session

    def memory(self) -> int:
        """Return the bytes that are kept."""
        with self._lock:
            sources = sum(visual.size for visual in self._visuals.values())
        return sources + sum(session.memory() for _, session in self._sessions.values()) + self.features.memory()

    def trim(self) -> None:
        """Drop the values that were not used for the longest time, until at most `max_bytes` are kept."""
        while len(self._visuals) > _MOST or (self.memory() - self.features.memory() > self._most and self._drop()):
            if len(self._visuals) > _MOST:
                self._drop_visual()

    def _drop(self) -> bool:
        """Drop one value; returns `False` if nothing is left."""
        if len(self._sessions) > 1 or (self._sessions and len(self._visuals) < 2):
            self._sessions.popitem(last=False)
            return True
        return self._drop_visual()

    def _drop_visual(self) -> bool:
        with self._lock:
            if not self._visuals:
                return False
            gone, _ = self._visuals.popitem(last=False)
        for key in [key for key, (visual, _) in self._sessions.items() if visual == gone]:
            del self._sessions[key]
        return True
