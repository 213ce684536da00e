"""Example videos of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from videorefer_plugin.world import bench_clip, encode_video

__all__ = ["Example", "examples", "shapes_clip"]

_BUNNY = "big_buck_bunny.mp4"
_SEED, _NUMBER = 7000, 2  # the clip of `videorefer demo`, which is in no training data


@dataclass(frozen=True)
class Example:
    """An example video.

    Attributes:
        about (`str`): a hint what to do with it.
        make: function that writes the video into a folder, and returns its path.
    """

    about: str
    make: Callable[[Path], Path]


def shapes_clip(folder: Path) -> Path:
    """Write the clip of the shapes world into a folder, and return its path."""
    path = folder / "shapes.mp4"
    clip, _ = bench_clip(_SEED, _NUMBER)
    encode_video(path, clip.frames)
    return path


def bunny(folder: Path) -> Path:
    """Copy the clip of Big Buck Bunny into a folder, and return its path."""
    path = folder / _BUNNY
    path.write_bytes((resources.files("videorefer_plugin.app") / "clips" / _BUNNY).read_bytes())
    return path


def examples() -> dict[str, Example]:
    """Return the examples by name."""
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
