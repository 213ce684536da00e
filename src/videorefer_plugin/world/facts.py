"""What is true of a clip: looks, motions, places, relations, events, and what happens after its end.

What objects do is known from their programs; places, relations, sight and the future are observed in the simulated
tracks, so that they are true of what can be seen.
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

_CLEAR = 3.0  # pixels (of 64) by which a place has to be off the middle of the frame to count as a quarter of it
_STILL = 1.0  # pixels (of 64): what moves less in the time after the clip stays still
_SLOPE = 1.6  # one object is beside or above another one when it is this much farther away that way than the other way


@dataclass(frozen=True)
class Event:
    """Something that happens between objects, or to one.

    Attributes:
        kind (`str`): "approach" (stops at), "chase", "behind" (passes), "collide" or "leave" (the frame).
        subject (`int`): index of the object that does it.
        object (`int`, *optional*): index of the other one.
        start (`int`): first frame: of the contact, of the chase, of being hidden at all, of being out of sight.
        stop (`int`): frame after the last one.
    """

    kind: str
    subject: int
    object: int | None
    start: int
    stop: int


@dataclass(frozen=True)
class Relation:
    """Where one object is, seen from another one: "left", "right", "above" or "below"."""

    subject: int
    object: int
    side: str


@dataclass(frozen=True)
class ObjectFacts:
    """What is true of one object.

    Attributes:
        shape (`str`): of `values`.
        color, pattern (`str`, *optional*): of `values`; None if it changes.
        size (`str`, *optional*): "small" or "large"; None if it changes.
        motion (`Label`): what it does; an int in it is the index of another object.
        phases (`tuple[Phase, ...]`): the parts of its motion, which cover the clip.
        start, end (`str`, *optional*): quarter of the frame in which its centre is in the first and last frame, e.g.
            "top left"; None when it is near the middle of the frame or (at the end) out of sight.
        future (`Label`, *optional*): what it does after the clip, by the continued simulation; None if that is no
            clear case.
        change (`tuple`, *optional*): "color" or "pattern", what that is first and then, and the frame from which on it
            is; None if neither changes.
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
    """What is true of a clip of square frames.

    Attributes:
        size (`int`): side of the frames in pixels.
        frames (`int`): of the clip.
        fps (`int`): frames a second.
        background (`str`): "plain" or "cluttered".
        objects (`tuple[ObjectFacts, ...]`): N objects.
        events (`tuple[Event, ...]`): in order of their start.
        relations_start, relations_end (`tuple[Relation, ...]`): clear relations of place in the first and last frame,
            between objects inside the frame.
        nearest_end (`tuple[int | None, ...]`): for each object the one nearest to it in the last frame, where it is
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
        """The facts as JSON has them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Facts:
        """Read what `to_dict` gave, also after it went through JSON.

        Raises:
            ConfigurationError: it is something else.
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
            raise ConfigurationError(f"these are no facts of a clip: {error!r} is missing or wrong") from error


def observe(scene: Scene) -> Facts:
    """Find out what is true of a scene."""
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
    """Wholly outside the frame."""
    centre, reach = scene.centres[index, frame], scene.reaches[index, frame]
    return bool((centre < -reach).any() or (centre > scene.stage.size + reach).any())


def _in(scene: Scene, index: int, frame: int) -> bool:
    """Wholly inside the frame."""
    centre, reach = scene.centres[index, frame], scene.reaches[index, frame]
    return bool((centre >= reach).all() and (centre <= scene.stage.size - reach).all())


def quarter(scene: Scene, index: int, frame: int) -> str | None:
    """The quarter of the frame in which the centre of an object is, e.g. "top left"; None where that is not clear."""
    x, y = scene.centres[index, frame] - scene.stage.size / 2
    if min(abs(x), abs(y)) < _CLEAR * scene.stage.unit or _out(scene, index, frame):
        return None
    return f"{'top' if y < 0 else 'bottom'} {'left' if x < 0 else 'right'}"


def _future(scene: Scene, index: int) -> Label | None:
    """What an object does in the frames past the end of the clip."""
    now, end, label = scene.stage.frames - 1, scene.stage.length - 1, scene.actors[index].label
    if _out(scene, index, now):
        return ("gone",)
    if _out(scene, index, end):
        return ("leave",)
    if not _in(scene, index, end):
        return None
    if label[0] in ("circle", "bounce", "grow", "shrink", "chase"):
        return label
    moved = scene.centres[index, end] - scene.centres[index, now]
    distance = float(np.hypot(*moved))
    if distance < _STILL * scene.stage.unit:
        return ("still",)
    # A mover which comes to rest before the end of the simulation does so because it reached something.
    if np.hypot(*(scene.centres[index, end] - scene.centres[index, end - 1])) < 1e-6:
        return ("reach", _touched(scene, index, end))
    return ("move", _direction(moved / distance))


def _direction(unit: np.ndarray) -> str:
    return max(DIRECTIONS, key=lambda name: float(np.dot(DIRECTIONS[name], unit)))


def _touched(scene: Scene, index: int, frame: int) -> int:
    gaps = np.hypot(*(scene.centres[:, frame] - scene.centres[index, frame]).T) - scene.reaches[:, frame]
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
            gaps = np.hypot(*(scene.centres[index] - scene.centres[other])[:frames].T)
            covered = np.flatnonzero(gaps < (scene.reaches[index] + scene.reaches[other])[:frames])
            events.append(Event("behind", index, other, int(covered[0]), int(covered[-1]) + 1))
    return events


def _relations(scene: Scene, frame: int) -> tuple[Relation, ...]:
    inside = [i for i in range(len(scene.actors)) if _in(scene, i, frame)]
    relations = []
    for i in inside:
        for j in inside:
            x, y = scene.centres[i, frame] - scene.centres[j, frame]
            if i == j or math.hypot(x, y) < 2 * _CLEAR * scene.stage.unit:
                continue
            if abs(x) > _SLOPE * abs(y):
                relations.append(Relation(i, j, "left" if x < 0 else "right"))
            elif abs(y) > _SLOPE * abs(x):
                relations.append(Relation(i, j, "above" if y < 0 else "below"))
    return tuple(relations)


def _nearest(scene: Scene, frame: int) -> tuple[int | None, ...]:
    inside = np.array([_in(scene, i, frame) for i in range(len(scene.actors))])
    gaps = np.linalg.norm(scene.centres[:, None, frame] - scene.centres[None, :, frame], axis=2)
    np.fill_diagonal(gaps, np.inf)
    gaps[:, ~inside] = np.inf
    found: list[int | None] = []
    for i, row in enumerate(gaps):
        near, next_near = np.sort(row)[:2] if len(row) > 2 else (np.inf, np.inf)
        clear = inside[i] and inside.sum() > 2 and next_near > 1.25 * near + 2 * scene.stage.unit
        found.append(int(row.argmin()) if clear else None)
    return tuple(found)
