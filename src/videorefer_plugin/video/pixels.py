"""Upright RGB pictures from decoded frames."""

import threading
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

__all__ = ["Rotations"]

_ONE_THREAD = (
    {"threads": 1} if "threads" in (VideoReformatter.reformat.__doc__ or "") else {}
)  # older PyAV: always one

_converters = threading.local()


class Rotations:
    """Turns the frames of one video upright, as their display matrices say."""

    def __init__(self) -> None:
        self._matrices: dict[int, tuple[int, int, int, int] | None] = {}  # by rotation

    def size(self, frame: Any) -> tuple[int, int]:
        """Height and width of the upright frame."""
        matrix = self._matrix(frame)
        return (frame.width, frame.height) if matrix and _swaps_sides(*matrix) else (frame.height, frame.width)

    def picture(self, frame: Any) -> np.ndarray:
        """The upright frame, `uint8` RGB of shape `(height, width, 3)`."""
        matrix = self._matrix(frame)
        picture = _to_rgb(frame)
        return picture if matrix is None else _turn(picture, *matrix)

    def _matrix(self, frame: Any) -> tuple[int, int, int, int] | None:
        # Reading a frame's side data puts the frame into a cycle of references, and with it the threads that convert
        # it, until garbage is collected; if that happens in a forked worker of a DataLoader, it crashes. So it is read
        # once for each rotation, which is the same for all frames of nearly every video.
        angle = getattr(frame, "rotation", 0)
        if angle not in self._matrices:
            self._matrices[angle] = _display_matrix(frame)
        return self._matrices[angle]


def _to_rgb(frame: Any) -> np.ndarray:
    """Converts a frame with a cached converter, on one thread.

    Creating one for every frame, with its threads, takes many times longer than converting a small frame.
    """
    if not hasattr(_converters, "reformatter"):
        _converters.reformatter = VideoReformatter()
    convert = _converters.reformatter.reformat
    return convert(frame, format="rgb24", **_ONE_THREAD).to_ndarray()


def _display_matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """How to show a frame: stored (x, y) to shown (a*x + c*y, b*x + d*y). Unlike an angle, this keeps mirroring."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    return a, b, c, d


def _swaps_sides(a: int, b: int, _c: int, _d: int) -> bool:
    return abs(a) < abs(b)


def _turn(picture: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Applies a display matrix to pixels."""
    turned = _swaps_sides(a, b, c, d)
    if turned:
        picture = picture.swapaxes(0, 1)
    mirrored, flipped = (c < 0, b < 0) if turned else (a < 0, d < 0)
    return picture[:: -1 if flipped else 1, :: -1 if mirrored else 1]
