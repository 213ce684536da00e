"""Scenes: the objects of a clip, their motions and positions; everything about a clip but its pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world.motion import Phase, Plan, Troupe, work_out
from videorefer_plugin.world.values import (
    ACTIONS,
    AXES,
    DIRECTIONS,
    PATTERNS,
    REACH,
    SPLITS,
    STRAIGHT,
    Label,
    Stage,
    combinations,
    motion_key,
    pick,
)

__all__ = ["CHANGES", "THEMES", "Actor", "Scene", "make_scene"]

_CLEARANCE = 1.5  # pixels (of 64) between objects that do not interact
_ATTEMPTS = 10
_ORIGINS = 64  # positions tried at once for a troupe


@dataclass(frozen=True)
class Actor:
    """One object of a scene.

    Attributes:
        shape, color, pattern (`str`): one of those of `values`.
        size (`str`, *optional*): "small" or "large"; None if it changes.
        label (`Label`): its motion; an int is the index of another object.
        phases (`tuple[Phase, ...]`): the parts of its motion, which cover the clip.
        change (`tuple`, *optional*): "color" or "pattern", its first and second value, and the frame at which it
            changes. One of the two values is the color or pattern above.
    """

    shape: str
    color: str
    pattern: str
    size: str | None
    label: Label
    phases: tuple[Phase, ...]
    change: tuple[str, str, str, int] | None = None


@dataclass(frozen=True)
class Scene:
    """A clip before it is drawn.

    Attributes:
        stage (`Stage`): size and length.
        split (`str`): "train" or "heldout".
        theme (`str`): one of `THEMES`.
        actors (`tuple[Actor, ...]`): N objects.
        centers (`NDArray` of shape (N, L, 2)): x and y in pixels; L frames, of the clip and past its end.
        radii (`NDArray` of shape (N, L)): in pixels.
        order (`tuple[int, ...]`): objects from the back to the front.
        cluttered (`bool`): whether the background is cluttered.
        paint_seed (`int`): seed of the background.
    """

    stage: Stage
    split: str
    theme: str
    actors: tuple[Actor, ...]
    centers: NDArray[np.float64]
    radii: NDArray[np.float64]
    order: tuple[int, ...]
    cluttered: bool
    paint_seed: int

    @property
    def reaches(self) -> NDArray[np.float64]:
        """The radius of the circle into which each object fits, (N, L), in pixels."""
        return self.radii * np.array([REACH[actor.shape] for actor in self.actors])[:, None]


def make_scene(
    rng: np.random.Generator,
    split: str = "train",
    stage: Stage = Stage(),  # noqa: B008 (immutable)
    objects: int | None = None,
    theme: str | None = None,
    distinct: bool = False,
) -> Scene:
    """Make a random scene.

    Args:
        rng: random generator.
        split: split that every object's combination of shape, color and motion belongs to.
        stage: size and length of the clip.
        objects: number of objects, 2 to 4. Default: random.
        theme: one of `THEMES` or [`CHANGES`]. Default: a random one of `THEMES`.
        distinct: whether no two objects share a shape, color or pattern (otherwise, no two share both shape and
            color). If colors or patterns change, no two share a shape, and two or three have the same color at a time.

    Raises:
        ConfigurationError: an argument has an unknown value.
    """
    if split not in SPLITS:
        raise ConfigurationError(f"split is {split!r}: expected one of {', '.join(SPLITS)}")
    if theme is not None and theme not in {*THEMES, *CHANGES}:
        raise ConfigurationError(f"theme is {theme!r}: expected one of {', '.join((*THEMES, *CHANGES))}")
    if objects is not None and objects not in (2, 3, 4):
        raise ConfigurationError(f"objects is {objects!r}: expected 2, 3 or 4")
    stage.check()
    count = objects or pick(rng, (2, 3, 4))
    chosen = theme or pick(rng, (*THEMES, "pairs"))
    distinct = distinct or bool(rng.random() < 0.5) or chosen in CHANGES
    while True:
        plans = (THEMES.get(chosen) or _staying)(rng, count)
        # Motions that need much room are tried again, so that they do not become rare.
        for _ in range(_ATTEMPTS):
            scene = _attempt(rng, split, stage, count, chosen, plans, distinct)
            if scene:
                return scene


def _attempt(
    rng: np.random.Generator,
    split: str,
    stage: Stage,
    count: int,
    theme: str,
    plans: Sequence[Plan],
    distinct: bool,
) -> Scene | None:
    looks = _looks(rng, split, [label for plan in plans for label in plan.labels], distinct)
    if looks is None:
        return None
    troupes, firsts, taken = [], [], 0
    for plan in plans:
        shapes = [look[0] for look in looks[taken : taken + len(plan.labels)]]
        troupe = _worked_out(plan, shapes, stage, rng, count)
        if troupe is None:
            return None
        troupes.append(troupe)
        firsts.append(taken)
        taken += len(shapes)
    paths = np.concatenate([[course.path for course in troupe.courses] for troupe in troupes])
    radii = np.concatenate([[course.radius for course in troupe.courses] for troupe in troupes])
    reaches = radii * np.array([REACH[look[0]] for look in looks])[:, None]
    centers = _place(rng, troupes, firsts, paths, reaches, stage)
    if centers is None:
        return None
    depth = rng.random(count)
    for troupe, first in zip(troupes, firsts, strict=True):
        if troupe.behind:
            depth[first : first + 2].sort()
    changes = _changes(rng, CHANGES[theme], looks, stage) if theme in CHANGES else None
    # Objects are listed in random order, so that an index does not give away an object's motion.
    shuffle = rng.permutation(count)
    place = np.argsort(shuffle)
    actors = []
    courses = [(first, course) for troupe, first in zip(troupes, firsts, strict=True) for course in troupe.courses]
    for old in shuffle:
        first, course = courses[old]
        label = tuple(int(place[first + part]) if isinstance(part, int) else part for part in course.label)
        shape, color, pattern = looks[old]
        change = changes[old] if changes else None
        actors.append(Actor(shape, color, pattern, course.size, label, course.phases, change))
    return Scene(
        stage,
        split,
        theme,
        tuple(actors),
        centers[shuffle],
        radii[shuffle],
        tuple(int(i) for i in np.argsort(depth[shuffle])),
        bool(rng.random() < 0.5),
        int(rng.integers(2**32)),
    )


def _looks(
    rng: np.random.Generator, split: str, labels: Sequence[Label], distinct: bool
) -> list[tuple[str, str, str]] | None:
    """Return shape, color and pattern of every object, such that the combination with its motion is in the split."""
    looks: list[tuple[str, str, str]] = []
    patterns = rng.permutation(len(PATTERNS)) if distinct else rng.integers(len(PATTERNS), size=len(PATTERNS))
    for label, pattern in zip(labels, patterns, strict=False):
        shared = any if distinct else all
        free = [
            (shape, color)
            for shape, color in combinations(split, motion_key(label))
            if not any(shared((shape == look[0], color == look[1])) for look in looks)
        ]
        if not free:
            return None
        looks.append((*pick(rng, free), PATTERNS[pattern]))
    return looks


def _changes(
    rng: np.random.Generator, what: str, looks: Sequence[tuple[str, str, str]], stage: Stage
) -> list[tuple[str, str, str, int]]:
    """Return the changes of the objects in the middle of the clip: no two are equal, but each starts like others.

    So a single frame does not tell which of the changes is an object's own. One of the two values is that of its look,
    whose combination with the motion belongs to the split.
    """
    own = [look[1 if what == "color" else 2] for look in looks]
    frames = rng.integers(3 * stage.frames // 8, 5 * stage.frames // 8 + 1, size=len(looks))
    lasts = [own[1 - i] if i < 2 else own[i] for i in range(len(own))]
    return [(what, own[i % 2], last, int(frames[i])) for i, last in enumerate(lasts)]


def _worked_out(
    plan: Plan, shapes: Sequence[str], stage: Stage, rng: np.random.Generator, count: int
) -> Troupe | None:
    for _ in range(4):
        troupe = work_out(plan, shapes, stage, rng, count)
        if troupe:
            return troupe
    return None


def _place(
    rng: np.random.Generator,
    troupes: Sequence[Troupe],
    firsts: Sequence[int],
    paths: NDArray[np.float64],
    reaches: NDArray[np.float64],
    stage: Stage,
) -> NDArray[np.float64] | None:
    """Shift each troupe's paths to an origin where it never comes near another one; None if none is found."""
    # The troupes with the least room choose first.
    order = sorted(range(len(troupes)), key=lambda i: float(np.prod(troupes[i].high - troupes[i].low + 1)))
    for _ in range(3):
        centers = paths.copy()
        placed: list[int] = []
        for i in order:
            mine = list(range(firsts[i], firsts[i] + len(troupes[i].courses)))
            origins = rng.uniform(troupes[i].low, troupes[i].high, (_ORIGINS if placed else 1, 2))
            gaps = paths[mine][:, None] - centers[placed][None]  # (m, n, L, 2)
            apart = reaches[mine][:, None] + reaches[placed][None] + _CLEARANCE * stage.unit  # (m, n, L)
            x = gaps[None, ..., 0] + origins[:, 0, None, None, None]
            y = gaps[None, ..., 1] + origins[:, 1, None, None, None]
            free = (x * x + y * y > apart * apart).all((1, 2, 3))
            if not free.any():
                break
            centers[mine] += origins[free.argmax()]
            placed += mine
        else:
            return centers
    return None


# --- themes ---------------------------------------------------------------------------------------------------------


# Drawn as often as listed; there are more ways to move than to stay.
_SOLO_KINDS = (
    *("still", "circle", "bounce", "grow", "shrink", "leave", "two", "edge", "move", "diagonal"),
    *("bounce", "leave", "two", "edge", "move", "diagonal"),
    *("move", "move"),
)


def _any_solo(rng: np.random.Generator) -> Plan:
    kind = pick(rng, _SOLO_KINDS)
    if kind in ("move", "edge"):
        return Plan("solo" if kind == "move" else "edge", (("move", pick(rng, STRAIGHT)),))
    if kind == "diagonal":
        return Plan("solo", (("move", pick(rng, tuple(DIRECTIONS)[4:])),))
    if kind == "bounce":
        return Plan("solo", (("bounce", pick(rng, ["sideways", "upright"])),))
    if kind == "leave":
        return Plan("solo", (("leave", pick(rng, ["left", "right", "top", "bottom"])),))
    if kind == "two":
        first, last = rng.choice(ACTIONS, 2, replace=False)
        return Plan("solo", (("two", str(first), str(last)),))
    return Plan("solo", ((kind,),))


def _solos(rng: np.random.Generator, count: int, *others: Plan) -> list[Plan]:
    """Return the other plans and solos, `count` objects in all, with no two solos alike."""
    plans = list(others)
    while sum(len(plan.labels) for plan in plans) < count:
        plan = _any_solo(rng)
        if plan not in plans:
            plans.append(plan)
    return plans


def _staying(rng: np.random.Generator, count: int) -> list[Plan]:
    """Return motions of objects that can be seen from the first frame to the last."""
    while True:
        plans = _solos(rng, count)
        if not any(plan.kind == "edge" or plan.labels[0][0] == "leave" for plan in plans):
            return plans


def _any_pair(rng: np.random.Generator, kind: str) -> Plan:
    if kind == "chase":
        first = pick(rng, STRAIGHT)
        # A turn to the side: an object that turns back would run into its chaser.
        last = pick(rng, [action for action in STRAIGHT if AXES[action] != AXES[first]])
        return Plan("chase", (("chase", 1), ("move", first) if rng.random() < 0.7 else ("two", first, last)))
    if kind == "collide":
        return Plan("collide", (("collide", 1), ("collide", 0)))
    if kind == "reach":
        return Plan("reach", (("move", pick(rng, tuple(DIRECTIONS))), ("still",)))
    return Plan(kind, ((kind, 1), ("still",)))


def _mixed(rng: np.random.Generator, count: int) -> list[Plan]:
    return _solos(rng, count)


def _sequence(rng: np.random.Generator, count: int) -> list[Plan]:
    """Return two-phase motions; no two objects begin alike, or end alike."""
    while True:
        firsts, lasts = rng.permutation(ACTIONS)[:count], rng.permutation(ACTIONS)[:count]
        if (firsts != lasts).all():
            return [Plan("solo", (("two", str(a), str(b)),)) for a, b in zip(firsts, lasts, strict=True)]


def _pairs(rng: np.random.Generator, count: int) -> list[Plan]:
    """Return objects that interact in pairs, each pair in another way."""
    # Interactions that no other theme has are listed more often, so that they do not become rare.
    kinds = ["behind"] * 4 + ["collide"] * 3 + ["approach", "chase"]
    kinds = list(dict.fromkeys(kinds[i] for i in rng.permutation(len(kinds))))
    return _solos(rng, count, *(_any_pair(rng, kind) for kind in kinds[: count // 2]))


def _goals(rng: np.random.Generator, count: int) -> list[Plan]:
    """Return objects with goals: to catch, to get away, to reach, to leave, or to stay."""
    leave = Plan("solo", (("leave", pick(rng, ("left", "right", "top", "bottom"))),))
    still = Plan("solo", (("still",),))
    chase, approach = _any_pair(rng, "chase"), _any_pair(rng, "approach")
    # The partner of an approach stays where it is already; a second such object would have the same answer.
    casts = {
        2: ([chase], [approach], [leave, still]),
        3: ([chase, leave], [chase, still], [approach, leave]),
        4: ([chase, leave, still], [chase, approach]),
    }
    return pick(rng, casts[count])


def _future(rng: np.random.Generator, count: int) -> list[Plan]:
    """Return objects whose motion after the clip is worth a question."""
    kind = pick(rng, ("reach", "reach", "chase", "none", "none"))
    pair = [] if kind == "none" else [_any_pair(rng, kind)]
    edge = [Plan("edge", (("move", pick(rng, STRAIGHT)),))] if rng.random() < 0.5 else []
    if count - 2 * len(pair) < len(edge):
        edge = []
    return _solos(rng, count, *pair, *edge)


THEMES: dict[str, Callable[[np.random.Generator, int], list[Plan]]] = {
    "mixed": _mixed,
    "sequence": _sequence,
    "pairs": _pairs,
    "goals": _goals,
    "future": _future,
}
CHANGES = {"colors": "color", "patterns": "pattern"}
"""Themes of objects that change while they move, with the property that changes. They are never drawn at random."""
