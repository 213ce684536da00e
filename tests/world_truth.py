"""What can be seen to be true of a clip of the shapes world, found in tracks and masks without its facts.

Used by tests to judge facts and answers. Slow and plain on purpose; nothing here looks at labels or phases of a scene.
"""

import math

import numpy as np

from videorefer_plugin.world.clip import Clip
from videorefer_plugin.world.drawing import draw, draw_background

WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def way(name: str) -> np.ndarray:
    vector = sum(np.array(WAYS[part], float) for part in name.split())
    return vector / np.linalg.norm(vector)


def corners(shape: str) -> list[tuple[float, float]]:
    """The outline of a shape of radius 1 as a polygon; none for a circle."""
    turn = [math.radians(-90 + 36 * k) for k in range(10)]
    inner = 1.5 * math.cos(math.radians(72)) / math.cos(math.radians(36))
    a, b = 1.1, 0.48
    return {
        "circle": [],
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "diamond": [(0, -0.9 * 2**0.5), (0.9 * 2**0.5, 0), (0, 0.9 * 2**0.5), (-0.9 * 2**0.5, 0)],
        "triangle": [(0, -1.5), (1.5 * 3**0.5 / 2, 0.75), (-1.5 * 3**0.5 / 2, 0.75)],
        "star": [
            ((inner if k % 2 else 1.5) * math.cos(t), (inner if k % 2 else 1.5) * math.sin(t))
            for k, t in enumerate(turn)
        ],
        "cross": [
            *[(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b)],
            *[(b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)],
        ],
    }[shape]


def contains(shape: str, x: float, y: float) -> bool:
    """Whether a point lies in a shape of radius 1, by casting a ray; stars and circles have a disc as well."""
    if math.hypot(x, y) < {"circle": 1.0, "star": 0.8}.get(shape, 0.0):
        return True
    points, inside = corners(shape), False
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (x1 - x0) * (y - y0) / (y1 - y0):
            inside = not inside
    return inside


def slow_masks(clip: Clip, frame: int) -> np.ndarray:
    """Visible masks of one frame, a pixel at a time, (N, size, size)."""
    scene = clip.scene
    masks = np.zeros((len(clip), scene.stage.size, scene.stage.size), bool)
    for row in range(scene.stage.size):
        for column in range(scene.stage.size):
            for index in reversed(scene.order):
                x, y = scene.centers[index, frame]
                radius = scene.radii[index, frame]
                if contains(scene.actors[index].shape, (column + 0.5 - x) / radius, (row + 0.5 - y) / radius):
                    masks[index, row, column] = True
                    break
    return masks


def all_masks(clip: Clip) -> np.ndarray:
    """Masks of the clip and of the frames simulated past its end, (N, L, size, size)."""
    scene = clip.scene
    shapes = [(actor.shape, actor.color, actor.pattern) for actor in scene.actors]
    background = draw_background(np.random.default_rng(0), scene.stage, False)
    return draw(background, shapes, scene.centers, scene.radii, scene.order, scene.stage.unit)[1]


def gap(one: np.ndarray, other: np.ndarray) -> float:
    """Distance of two masks in pixels, from center to center of their nearest pixels."""
    a, b = np.argwhere(one), np.argwhere(other)
    return float(np.sqrt(((a[:, None] - b[None]) ** 2).sum(2)).min())


def _heads(steps: np.ndarray, name: str) -> bool:
    """All steps have the same length and go one way."""
    lengths = np.linalg.norm(steps, axis=1)
    return bool(lengths.min() > 0.3 and np.allclose(steps / lengths[:, None], way(name), atol=0.02))


def _turns(path: np.ndarray) -> int:
    steps = np.diff(path)
    signs = np.sign(steps[abs(steps) > 1e-9])
    return int((signs[1:] != signs[:-1]).sum())


def does(clip: Clip, index: int, label: tuple, first: int = 0, last: int | None = None) -> bool:
    """Whether an object is seen to do what a label of a motion says, in the frames of the clip or in some of them."""
    frames = clip.scene.stage.frames if last is None else last
    path, radius = clip.scene.centers[index, first:frames], clip.scene.radii[index, first:frames]
    steps, kind = np.diff(path, axis=0), label[0]
    rests = np.linalg.norm(steps, axis=1) < 1e-9
    if kind in ("grow", "shrink"):
        change = np.diff(radius)
        return bool(rests.all() and (change > 0 if kind == "grow" else change < 0).all())
    if not np.allclose(radius, radius[0]):
        return False
    if kind == "still":
        return bool(rests.all())
    if kind == "move":
        return _heads(steps, label[1])
    if kind == "circle":
        middle = (path.max(0) + path.min(0)) / 2
        away = np.linalg.norm(path - middle, axis=1)
        return bool(np.ptp(path, axis=0).min() > 8 and np.ptp(away) < 0.15 * away.mean())
    if kind == "bounce":
        along, across = (0, 1) if label[1] == "sideways" else (1, 0)
        return bool(np.ptp(path[:, across]) < 1e-9 and _turns(path[:, along]) >= 3)
    if kind == "leave":
        seen = np.flatnonzero(clip.areas[index])
        edge = {"left": path[-1][0], "top": path[-1][1]}
        size = clip.scene.stage.size
        edge |= {"right": size - path[-1][0], "bottom": size - path[-1][1]}
        return bool(seen[-1] < len(path) - 2 and edge[label[1]] < 0)
    if kind == "two":
        return any(_phases(steps, rests, turn, label[1:]) for turn in range(4, len(steps) - 3))
    return _together(clip, index, label[1], kind, steps, rests)


def _phases(steps: np.ndarray, rests: np.ndarray, turn: int, actions: tuple) -> bool:
    parts = ((steps[:turn], rests[:turn]), (steps[turn:], rests[turn:]))
    return all(
        r.all() if action == "still" else _heads(s, action) for (s, r), action in zip(parts, actions, strict=True)
    )


def _together(clip: Clip, index: int, other: int | str, kind: str, steps: np.ndarray, rests: np.ndarray) -> bool:
    """Motions that have to do with another object."""
    if isinstance(other, str):
        return False  # it is not in the clip
    paths = clip.scene.centers[:, : clip.scene.stage.frames]
    mine, theirs = paths[index], paths[other]
    apart = np.linalg.norm(mine - theirs, axis=1)
    reach = clip.scene.reaches[[index, other], 0].sum()
    still = np.ptp(theirs, axis=0).max() < 1e-9
    if kind == "approach":
        return bool(still and rests[-3:].all() and not rests[:4].any() and apart[-1] <= reach and apart[0] > reach + 5)
    if kind == "behind":
        hidden = clip.areas[index].min() < 0.5 * clip.areas[index].max()
        opposite = float(np.dot(mine[0] - theirs[0], mine[-1] - theirs[-1])) < 0
        return bool(still and hidden and opposite)
    if kind == "collide":
        turn = int(apart.argmin())
        back = 3 < turn < len(apart) - 3 and np.dot(steps[0], steps[-1]) < 0
        return bool(back and apart[turn] <= reach + 3 and min(apart[0], apart[-1]) > apart[turn] + 8)
    # Whoever chases comes, later, where the other one was, or would have been before the clip; and both move.
    before = theirs[0] - np.arange(40, 0, -1)[:, None] * (theirs[1] - theirs[0])
    trail = np.concatenate([before, theirs])
    places = [int(np.linalg.norm(trail - place, axis=1).argmin()) for place in mine]
    off = max(np.linalg.norm(trail[place] - at) for place, at in zip(places, mine, strict=True))
    lags = len(before) + np.arange(len(mine)) - places
    return bool(off < 1.5 and lags.min() >= 5 and np.ptp(lags) <= 2 and not rests.any() and not still)
