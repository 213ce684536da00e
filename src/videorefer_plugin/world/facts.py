"""The facts of a clip: looks, motions, positions, relations, events, and the continuation after its end.

The actions of objects are known from their programs. Positions, relations, visibility and the future are observed in
the simulated tracks, so that they agree with the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world.motion import Phase
from videorefer_plugin.world.scene import Scene
from videorefer_plugin.world.values import DIRECTIONS, FPS, Label

__all__ = ["Event", "Facts", "ObjectFacts", "Relation", "observe", "quarter"]

_CLEAR = 3.0  # pixels (of 64) from the middle of the frame from which on a position is in a quarter of it
_STILL = 1.0  # pixels (of 64): an object that moves less in the time after the clip stays still
_SLOPE = 1.6  # an object is beside or above another one if its distance that way is this many times the other distance


@dataclass(frozen=True)
class Event:
    """An event between objects, or of one object.

    Attributes:
        kind (`str`): "approach" (stops at), "chase", "behind" (passes), "collide" or "leave" (the frame).
        subject (`int`): index of the object that acts.
        object (`int`, *optional*): index of the other object.
        start (`int`): first frame of the contact, of the chase, of being hidden at all, or of being out of sight.
        stop (`int`): frame after the last one.
    """

    kind: str
    subject: int
    object: int | None
    start: int
    stop: int


@dataclass(frozen=True)
class Relation:
    """The position of one object relative to another one: "left", "right", "above" or "below"."""

    subject: int
    object: int
    side: str


@dataclass(frozen=True)
class ObjectFacts:
    """The facts of one object.

    Attributes:
        shape (`str`): one of the shapes of `values`.
        color, pattern (`str`, *optional*): one of those of `values`; None if it changes.
        size (`str`, *optional*): "small" or "large"; None if it changes.
        motion (`Label`): its motion; an int in it is the index of another object.
        phases (`tuple[Phase, ...]`): the parts of its motion, which cover the clip.
        start, end (`str`, *optional*): quarter of the frame in which its center is in the first and last frame, e.g.
            "top left"; None when it is near the middle of the frame or (at the end) out of sight.
        future (`Label`, *optional*): its motion after the clip in the continued simulation; None if that is not clear.
        change (`tuple`, *optional*): "color" or "pattern", its first and second value, and the frame at which it
            changes; None if neither changes.
    """

    shape: str
    color: str | None
    pattern: str | None
    size: str | None
    motion: Label
    phases: tuple[Phase, ...]
    start: str | None
    end: str | None
    future: Label | None
    change: tuple[str, str, str, int] | None = None


@dataclass(frozen=True)
class Facts:
    """The facts of a clip of square frames.

    Attributes:
        size (`int`): side of the frames in pixels.
        frames (`int`): number of frames.
        fps (`int`): frames per second.
        background (`str`): "plain" or "cluttered".
        objects (`tuple[ObjectFacts, ...]`): the facts of N objects.
        events (`tuple[Event, ...]`): the events in order of their start.
        relations_start, relations_end (`tuple[Relation, ...]`): clear relative positions in the first and last frame
            of objects inside the frame.
        nearest_end (`tuple[int | None, ...]`): for each object the nearest one in the last frame; None if no object is
            clearly nearer than all others.
    """

    size: int
    frames: int
    fps: int
    background: str
    objects: tuple[ObjectFacts, ...]
    events: tuple[Event, ...]
    relations_start: tuple[Relation, ...]
    relations_end: tuple[Relation, ...]
    nearest_end: tuple[int | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the facts in the form of JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Facts:
        """Read the result of `to_dict`, also after a round trip through JSON.

        Raises:
            ConfigurationError: the value is something else.
        """
        try:
            objects = tuple(
                ObjectFacts(
                    **{
                        **item,
                        "motion": tuple(item["motion"]),
                        "phases": tuple(Phase(**phase) for phase in item["phases"]),
                        "future": None if item["future"] is None else tuple(item["future"]),
                        "change": None if item.get("change") is None else tuple(item["change"]),
                    }
                )
                for item in value["objects"]
            )
            return cls(
                **{
                    **value,
                    "objects": objects,
                    "events": tuple(Event(**event) for event in value["events"]),
                    "relations_start": tuple(Relation(**item) for item in value["relations_start"]),
                    "relations_end": tuple(Relation(**item) for item in value["relations_end"]),
                    "nearest_end": tuple(value["nearest_end"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise ConfigurationError(f"these are not the facts of a clip: {error!r} is missing or wrong") from error


def observe(scene: Scene) -> Facts:
    """Derive the facts from a scene."""
    stage, last = scene.stage, scene.stage.frames - 1
    objects = tuple(
        ObjectFacts(
            actor.shape,
            None if actor.change and actor.change[0] == "color" else actor.color,
            None if actor.change and actor.change[0] == "pattern" else actor.pattern,
            actor.size,
            actor.label,
            actor.phases,
            quarter(scene, index, 0),
            quarter(scene, index, last),
            _future(scene, index),
            actor.change,
        )
        for index, actor in enumerate(scene.actors)
    )
    return Facts(
        stage.size,
        stage.frames,
        FPS,
        "cluttered" if scene.cluttered else "plain",
        objects,
        tuple(sorted(_events(scene), key=lambda event: (event.start, event.subject))),
        _relations(scene, 0),
        _relations(scene, last),
        _nearest(scene, last),
    )


def _out(scene: Scene, index: int, frame: int) -> bool:
    """Return whether an object is wholly outside the frame."""
    center, reach = scene.centers[index, frame], scene.reaches[index, frame]
    return bool((center < -reach).any() or (center > scene.stage.size + reach).any())


def _in(scene: Scene, index: int, frame: int) -> bool:
    """Return whether an object is wholly inside the frame."""
    center, reach = scene.centers[index, frame], scene.reaches[index, frame]
    return bool((center >= reach).all() and (center <= scene.stage.size - reach).all())


def quarter(scene: Scene, index: int, frame: int) -> str | None:
    """Return the quarter of the frame that an object's center is in, e.g. "top left"; None if that is not clear."""
    x, y = scene.centers[index, frame] - scene.stage.size / 2
    if min(abs(x), abs(y)) < _CLEAR * scene.stage.unit or _out(scene, index, frame):
        return None
    return f"{'top' if y < 0 else 'bottom'} {'left' if x < 0 else 'right'}"


def _future(scene: Scene, index: int) -> Label | None:
    """Return the motion of an object in the frames past the end of the clip."""
    now, end, label = scene.stage.frames - 1, scene.stage.length - 1, scene.actors[index].label
    if _out(scene, index, now):
        return ("gone",)
    if _out(scene, index, end):
        return ("leave",)
    if not _in(scene, index, end):
        return None
    if label[0] in ("circle", "bounce", "grow", "shrink", "chase"):
        return label
    moved = scene.centers[index, end] - scene.centers[index, now]
    distance = float(np.hypot(*moved))
    if distance < _STILL * scene.stage.unit:
        return ("still",)
    # An object that comes to rest before the end of the simulation has reached something.
    if np.hypot(*(scene.centers[index, end] - scene.centers[index, end - 1])) < 1e-6:
        return ("reach", _touched(scene, index, end))
    return ("move", _direction(moved / distance))


def _direction(unit: np.ndarray) -> str:
    return max(DIRECTIONS, key=lambda name: float(np.dot(DIRECTIONS[name], unit)))


def _touched(scene: Scene, index: int, frame: int) -> int:
    gaps = np.hypot(*(scene.centers[:, frame] - scene.centers[index, frame]).T) - scene.reaches[:, frame]
    gaps[index] = np.inf
    return int(gaps.argmin())


def _events(scene: Scene) -> list[Event]:
    frames = scene.stage.frames
    events = []
    for index, actor in enumerate(scene.actors):
        kind, *rest = actor.label
        if kind == "leave":
            events.append(Event("leave", index, None, actor.phases[-1].start, frames))
        elif kind == "approach":
            events.append(Event("approach", index, int(rest[0]), actor.phases[-1].start, frames))
        elif kind == "chase":
            events.append(Event("chase", index, int(rest[0]), 0, frames))
        elif kind == "collide":
            turn = actor.phases[-1].start
            events.append(Event("collide", index, int(rest[0]), turn, turn + 1))
        elif kind == "behind":
            other = int(rest[0])
            gaps = np.hypot(*(scene.centers[index] - scene.centers[other])[:frames].T)
            covered = np.flatnonzero(gaps < (scene.reaches[index] + scene.reaches[other])[:frames])
            events.append(Event("behind", index, other, int(covered[0]), int(covered[-1]) + 1))
    return events


def _relations(scene: Scene, frame: int) -> tuple[Relation, ...]:
    inside = [i for i in range(len(scene.actors)) if _in(scene, i, frame)]
    relations = []
    for i in inside:
        for j in inside:
            x, y = scene.centers[i, frame] - scene.centers[j, frame]
            if i == j or math.hypot(x, y) < 2 * _CLEAR * scene.stage.unit:
                continue
            if abs(x) > _SLOPE * abs(y):
                relations.append(Relation(i, j, "left" if x < 0 else "right"))
            elif abs(y) > _SLOPE * abs(x):
                relations.append(Relation(i, j, "above" if y < 0 else "below"))
    return tuple(relations)


def _nearest(scene: Scene, frame: int) -> tuple[int | None, ...]:
    inside = np.array([_in(scene, i, frame) for i in range(len(scene.actors))])
    gaps = np.linalg.norm(scene.centers[:, None, frame] - scene.centers[None, :, frame], axis=2)
    np.fill_diagonal(gaps, np.inf)
    gaps[:, ~inside] = np.inf
    found: list[int | None] = []
    for i, row in enumerate(gaps):
        near, next_near = np.sort(row)[:2] if len(row) > 2 else (np.inf, np.inf)
        clear = inside[i] and inside.sum() > 2 and next_near > 1.25 * near + 2 * scene.stage.unit
        found.append(int(row.argmin()) if clear else None)
    return tuple(found)
