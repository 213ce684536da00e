"""Videos to begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from videorefer_plugin.world import bench_clip, encode_video

__all__ = ["Example", "examples", "shapes_clip"]

_BUNNY = "big_buck_bunny.mp4"
_SEED, _NUMBER = 7000, 2  # the clip of `videorefer demo`, which no model was trained on


@dataclass(frozen=True)
class Example:
    """A video to begin with.

    Attributes:
        about (`str`): what can be done with it.
        make: from a folder to a video in it.
    """

    about: str
    make: Callable[[Path], Path]


def shapes_clip(folder: Path) -> Path:
    """The clip of the shapes world, written into a folder."""
    path = folder / "shapes.mp4"
    clip, _ = bench_clip(_SEED, _NUMBER)
    encode_video(path, clip.frames)
    return path


def bunny(folder: Path) -> Path:
    """The clip of Big Buck Bunny, copied into a folder."""
    path = folder / _BUNNY
    path.write_bytes((resources.files("videorefer_plugin.app") / "clips" / _BUNNY).read_bytes())
    return path


def examples() -> dict[str, Example]:
    """Name of each example -> the example."""
    return {
        "Example: shapes": Example(
            "This is the world that the embedded model knows: follow the objects, then ask, for example: What does "
            "<region1> look like?",
            shapes_clip,
        ),
        "Example: film": Example(
            "From Big Buck Bunny, (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0. Follow the rabbit "
            "from where it is large. The embedded model knows nothing of such videos.",
            bunny,
        ),
    }
