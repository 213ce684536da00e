"""Motion programs: the paths of one object, or of two that interact, through a clip and past its end.

A program is first planned (`Plan`: labels only), so that shapes and colors can be chosen for it, and then worked out
(`work_out`) as paths relative to an origin, which is chosen later. Lengths in the code are in pixels of a frame of 64
x 64 and are scaled by `Stage.unit`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.world.values import (
    AXES,
    CORNERS,
    DIRECTIONS,
    LARGE,
    OPPOSITE,
    REACH,
    SMALL,
    STRAIGHT,
    Label,
    Stage,
    pick,
)

__all__ = ["PAIRS", "Course", "Phase", "Plan", "Troupe", "work_out"]

PAIRS = ("approach", "chase", "behind", "collide", "reach")
_MARGIN = 0.5  # pixels kept free at the edge of the frame by objects that are inside it


@dataclass(frozen=True)
class Phase:
    """One part of a motion.

    Attributes:
        action (`str`): a direction, "still", "circle", "bounce", "grow", "shrink" or "gone" (out of the frame).
        start (`int`): first frame.
        stop (`int`): frame after the last one.
    """

    action: str
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """The planned motion of one object, or of two that interact.

    Attributes:
        kind (`str`): "solo", "edge" (goes on to leave the frame after the clip), or one of `PAIRS`.
        labels (`tuple[Label, ...]`): label of each object; an int in a label is an index into this tuple.
    """

    kind: str
    labels: tuple[Label, ...]


@dataclass
class Course:
    """The track of one object: path (L, 2) relative to the origin, radius (L,), label and phases."""

    label: Label
    path: NDArray[np.float64]
    radius: NDArray[np.float64]
    size: str | None
    phases: tuple[Phase, ...]


@dataclass
class Troupe:
    """Objects that move together, and the box (low, high) in which their common origin may be placed."""

    courses: list[Course]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    behind: bool = False  # the first object is drawn below the second


def work_out(plan: Plan, shapes: Sequence[str], stage: Stage, rng: np.random.Generator, crowd: int) -> Troupe | None:
    """Choose sizes and speeds for a plan.

    Args:
        plan: the planned motion.
        shapes: shapes of the plan's objects, in order.
        stage: size of the frames and length of the clip.
        rng: random generator.
        crowd: number of objects in the clip; the more, the smaller they are.

    Returns:
        The courses, or None if this choice does not fit into the frame; then try again.
    """
    if len(shapes) == 1:
        troupe = _solo(plan, REACH[shapes[0]], stage, rng, crowd)
    else:
        troupe = _pair(plan, shapes, stage, rng, crowd)
    return troupe if (troupe.low <= troupe.high).all() else None


def _size(rng: np.random.Generator, crowd: int) -> str:
    return "large" if rng.random() < (0.5 if crowd < 4 else 0.3) else "small"


def _radius(size: str, stage: Stage, rng: np.random.Generator) -> float:
    return rng.uniform(*(SMALL if size == "small" else LARGE)) * stage.unit


def _inside(courses: Sequence[Course], reach: Sequence[float], stage: Stage, until: int) -> Troupe:
    """Return the troupe whose objects are wholly inside the picture up to a frame."""
    extent = [(r * course.radius + _MARGIN)[:until, None] for r, course in zip(reach, courses, strict=True)]
    low = [(e - c.path[:until]).max(0) for e, c in zip(extent, courses, strict=True)]
    high = [(stage.size - e - c.path[:until]).min(0) for e, c in zip(extent, courses, strict=True)]
    return Troupe(list(courses), np.max(low, axis=0), np.min(high, axis=0))


def _vector(action: str) -> NDArray[np.float64]:
    return np.array(DIRECTIONS.get(action, (0.0, 0.0)))


def _straight(action: str, speed: float, times: NDArray) -> NDArray[np.float64]:
    return times[:, None] * speed * _vector(action)


# --- one object -----------------------------------------------------------------------------------------------------


def _solo(plan: Plan, reach: float, stage: Stage, rng: np.random.Generator, crowd: int) -> Troupe:
    (label,) = plan.labels
    kind = label[0]
    if kind == "leave":
        return _leave(label, reach, stage, rng, crowd)
    if plan.kind == "edge":
        return _edge(label, reach, stage, rng)
    end, times = stage.frames, np.arange(stage.length, dtype=float)
    size: str | None = _size(rng, crowd)
    radius = np.full(stage.length, _radius(size or "", stage, rng))
    path = np.zeros((stage.length, 2))
    phases: tuple[Phase, ...] = (Phase(str(kind), 0, end),)
    if kind == "move":
        action = str(label[1])
        path = _straight(action, rng.uniform(16, 22) * stage.unit / (end - 1), times)
        phases = (Phase(action, 0, end),)
    elif kind == "circle":
        angle = rng.uniform(0, 2 * math.pi) + pick(rng, (-1, 1)) * 2 * math.pi * times / end
        path = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(6, 8) * stage.unit
    elif kind == "bounce":
        height = abs(np.sin(2 * math.pi * times / end)) * rng.uniform(12, 16) * stage.unit
        path[:, 0 if label[1] == "sideways" else 1] = -height
    elif kind in ("grow", "shrink"):
        # The change continues for a while after the clip, but the object does not vanish.
        share = np.minimum(times / (end - 1), 1.3)
        small, large = SMALL[0] * stage.unit, rng.uniform(8.6, 9.4) * stage.unit
        radius = small + (large - small) * (share if kind == "grow" else 1 - share)
        radius, size = np.maximum(radius, 0.7 * small), None
    elif kind == "two":
        path, phases = _two(label, stage, rng)
    return _inside([Course(label, path, radius, size, phases)], [reach], stage, stage.length)


def _two(label: Label, stage: Stage, rng: np.random.Generator) -> tuple[NDArray[np.float64], tuple[Phase, ...]]:
    """Return the path of a two-phase motion: one action up to the turn, and the other one from there on."""
    _, first, last = map(str, label)
    times = np.arange(stage.length, dtype=float)
    turn = stage.frames // 2 + int(rng.integers(-1, 2))
    speed = rng.uniform(11, 15) * stage.unit / (stage.frames / 2)
    path = _straight(first, speed, np.minimum(times, turn)) + _straight(last, speed, np.maximum(times - turn, 0))
    return path, (Phase(first, 0, turn), Phase(last, turn, stage.frames))


def _axis(direction: str) -> int:
    return 0 if AXES[direction] == "sideways" else 1


def _bound(troupe: Troupe, direction: str, start: float, stage: Stage) -> Troupe:
    """Fix the origin along the axis of a direction, at a distance from the edge that lies in that direction."""
    axis = _axis(direction)
    troupe.low[axis] = troupe.high[axis] = start if direction in ("left", "up") else stage.size - start
    return troupe


def _leave(label: Label, reach: float, stage: Stage, rng: np.random.Generator, crowd: int) -> Troupe:
    """Return an object that leaves the frame in the last part of the clip, for good."""
    direction = {"top": "up", "bottom": "down"}.get(str(label[1]), str(label[1]))
    size = _size(rng, crowd)
    radius = _radius(size, stage, rng)
    away = rng.uniform(13, 30) * stage.unit
    out = int(stage.frames * rng.uniform(0.55, 0.75))  # first frame without a pixel of it
    speed = (away + reach * radius + 1) / out
    path = _straight(direction, speed, np.arange(stage.length, dtype=float))
    phases = (Phase(direction, 0, out), Phase("gone", out, stage.frames))
    course = Course(label, path, np.full(stage.length, radius), size, phases)
    return _bound(_inside([course], [reach], stage, 1), direction, max(away, reach * radius + 1), stage)


def _edge(label: Label, reach: float, stage: Stage, rng: np.random.Generator) -> Troupe:
    """Return an object that is inside to the end of the clip, and out of sight before the end of the simulation."""
    direction = str(label[1])
    radius = _radius("small", stage, rng)
    speed = rng.uniform(28, 36) * stage.unit / (stage.frames - 1)
    spare = speed * stage.future - 2 * reach * radius - 1.5
    start = reach * radius + 0.5 + rng.uniform(0, 1) * max(spare, 0) + speed * (stage.frames - 1)
    path = _straight(direction, speed, np.arange(stage.length, dtype=float))
    phases = (Phase(direction, 0, stage.frames),)
    course = Course(label, path, np.full(stage.length, radius), "small", phases)
    troupe = _bound(_inside([course], [reach], stage, stage.frames), direction, start, stage)
    if spare < 0:
        troupe.high[:] = -np.inf  # too big to be out in time
    return troupe


# --- two objects ----------------------------------------------------------------------------------------------------


def _extent(shape: str, direction: NDArray[np.float64]) -> float:
    """Return how far a shape of radius 1 reaches in a direction."""
    return max([x * direction[0] + y * direction[1] for x, y in CORNERS[shape]], default=1.0)


def _pair(plan: Plan, shapes: Sequence[str], stage: Stage, rng: np.random.Generator, crowd: int) -> Troupe:
    if plan.kind == "behind":
        sizes = ["small", "large"]
        radii = [_radius("small", stage, rng), rng.uniform(9.4, 10.4) * stage.unit]
    else:
        sizes = [_size(rng, crowd + 1), _size(rng, crowd + 1)]
        radii = [_radius(size, stage, rng) for size in sizes]
    if plan.kind == "chase":
        # The path may turn, so that the objects meet from all sides.
        paths, phases = _chase(plan, sum(REACH[s] * r for s, r in zip(shapes, radii, strict=True)), stage, rng)
    else:
        programs = {"approach": _go_to, "reach": _go_to, "collide": _collide, "behind": _pass_behind}
        directions = STRAIGHT if plan.kind in ("collide", "behind") else tuple(DIRECTIONS)
        direction = str(plan.labels[0][1]) if plan.kind == "reach" else pick(rng, directions)
        vector = _vector(direction)
        contact = _extent(shapes[0], vector) * radii[0] + _extent(shapes[1], -vector) * radii[1]
        paths, phases = programs[plan.kind](plan, direction, contact, stage, rng)
    courses = [
        Course(label, path, np.full(stage.length, radius), size, steps)
        for label, path, radius, size, steps in zip(plan.labels, paths, radii, sizes, phases, strict=True)
    ]
    troupe = _inside(courses, [REACH[shape] for shape in shapes], stage, stage.frames)
    troupe.behind = plan.kind == "behind"
    return troupe


_Paths = tuple[list[NDArray[np.float64]], list[tuple[Phase, ...]]]


def _go_to(plan: Plan, direction: str, contact: float, stage: Stage, rng: np.random.Generator) -> _Paths:
    """Move the first object straight to the second, where it stops: within the clip (approach) or after it (reach)."""
    end, times = stage.frames, np.arange(stage.length, dtype=float)
    if plan.kind == "approach":
        arrival = int(end * rng.uniform(0.5, 0.7))
        way = rng.uniform(14, 24) * stage.unit
        steps: tuple[Phase, ...] = (Phase(direction, 0, arrival), Phase("still", arrival, end))
    else:
        speed = rng.uniform(14, 19) * stage.unit / (end - 1)
        arrival = end - 1 + int(rng.integers(2, stage.future - 2))
        way = speed * arrival
        steps = (Phase(direction, 0, end),)
    left = way - np.minimum(times / arrival, 1) * way + contact  # distance still to go, from center to center
    still = (Phase("still", 0, end),)
    return [-left[:, None] * _vector(direction), np.zeros((stage.length, 2))], [steps, still]


def _chase(plan: Plan, contact: float, stage: Stage, rng: np.random.Generator) -> _Paths:
    """Let the first object follow the path of the second, some frames behind."""
    end, times = stage.frames, np.arange(stage.length, dtype=float)
    target = plan.labels[1]
    if target[0] == "two":
        path, steps = _two(target, stage, rng)
        contact *= math.sqrt(2)  # around a corner, the path is longer than the distance
    else:
        path = _straight(str(target[1]), rng.uniform(14, 20) * stage.unit / (end - 1), times)
        steps = (Phase(str(target[1]), 0, end),)
    speed = float(np.linalg.norm(path[1] - path[0]))
    lag = (contact + rng.uniform(2, 5) * stage.unit) / speed
    # Before frame 0, the path is continued backwards in a straight line.
    late = times - lag
    extra = np.minimum(late, 0)[:, None] * (path[1] - path[0])
    late = late.clip(0)
    chaser = np.stack([np.interp(late, times, path[:, axis]) for axis in (0, 1)], 1) + extra
    turned = [min(round(step.start + lag), end) if step.start else 0 for step in steps] + [end]
    follow = tuple(
        Phase(step.action, turned[i], turned[i + 1]) for i, step in enumerate(steps) if turned[i] < turned[i + 1]
    )
    return [chaser, path], [follow, steps]


def _pass_behind(plan: Plan, direction: str, contact: float, stage: Stage, rng: np.random.Generator) -> _Paths:
    """Move the first object straight behind the second, from one side of it to the other."""
    half = contact + rng.uniform(1, 3) * stage.unit
    share = np.arange(stage.length) / (stage.frames - 1)
    aside = rng.uniform(-1, 1) * stage.unit * _vector(direction)[::-1]
    path = (2 * share - 1)[:, None] * half * _vector(direction) + aside
    still = (Phase("still", 0, stage.frames),)
    return [path, np.zeros_like(path)], [(Phase(direction, 0, stage.frames),), still]


def _collide(plan: Plan, direction: str, contact: float, stage: Stage, rng: np.random.Generator) -> _Paths:
    """Let the two objects meet half-way and go back to where they came from."""
    end, times = stage.frames, np.arange(stage.length, dtype=float)
    meeting = end // 2 + int(rng.integers(-1, 2))
    speed = rng.uniform(10, 13) * stage.unit / (end / 2)
    left = abs(times - meeting) * speed + contact / 2
    away = OPPOSITE[direction]
    first = (Phase(direction, 0, meeting), Phase(away, meeting, end))
    last = (Phase(away, 0, meeting), Phase(direction, meeting, end))
    path = -left[:, None] * _vector(direction)
    return [path, -path], [first, last]
