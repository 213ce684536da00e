"""The run lengths of COCO masks, plain and compressed.

pycocotools trusts its input, and would read or write past its buffers; so everything is checked here.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import short
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.reading import is_integer

_REMEMBERED_BYTES = 1024  # longer counts are not kept
_MAX_PIXELS = 2**31 - 1  # pycocotools counts pixels in 32 bits


def read_size(size: Any) -> tuple[int, int]:
    """The [height, width] of an RLE."""
    sides = list(size) if isinstance(size, (list, tuple, np.ndarray)) else []
    if len(sides) != 2 or not (is_integer(sides[0]) and is_integer(sides[1]) and min(sides) > 0):
        raise RegionError(f"RLE size is [height, width], two whole numbers of pixels above 0, got {short(size)}")
    height, width = int(sides[0]), int(sides[1])
    if height * width > _MAX_PIXELS:
        raise RegionError(f"RLE size [{height}, {width}] has more than {_MAX_PIXELS} pixels; it cannot be a frame")
    return height, width


def read_runs(counts: Any) -> NDArray[np.int64]:
    """Read and check run lengths, plain or compressed, zeros first."""
    if isinstance(counts, (str, bytes, bytearray)):
        runs = compressed_runs(counts)
    elif isinstance(counts, (list, tuple, np.ndarray)):
        bad = [count for count in counts if not (is_integer(count) and 0 <= count <= _MAX_PIXELS)]
        if bad:
            raise RegionError(f"RLE counts are run lengths, whole numbers from 0 up, got {short(bad[0])} among them")
        runs = np.array(counts, dtype=np.int64)
    else:
        raise RegionError(f"RLE counts are a str, bytes or a list of run lengths, got {short(counts)}")
    if runs.size == 0:
        raise RegionError("RLE counts are empty: even a mask without a pixel has one run, height * width")
    if runs.min() < 0:
        raise RegionError(f"RLE counts {short(counts)} hold a negative run of {runs.min()}: they are damaged")
    return runs


def compressed_runs(counts: str | bytes | bytearray) -> NDArray[np.int64]:
    """Run lengths of compressed counts: digits of 5 bits, low first, each run less the one two before it."""
    text = counts.encode("utf-8") if isinstance(counts, str) else bytes(counts)
    return _remembered_runs(text) if len(text) <= _REMEMBERED_BYTES else _decoded_runs(text)


def _decoded_runs(text: bytes) -> NDArray[np.int64]:
    counts = text.decode("utf-8", "replace")
    digits = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if digits.size == 0:
        return digits
    wrong = np.flatnonzero((digits < 0) | (digits > 63))
    if wrong.size:
        at = int(wrong[0])
        raise RegionError(
            f"RLE counts hold the byte {text[at : at + 1]!r} at position {at}, which is not in the alphabet of "
            f"compressed RLE ('0' to 'o'): {short(counts)} is damaged, or escaped twice"
        )
    ends = np.flatnonzero(digits & 32 == 0)
    if ends.size == 0 or ends[-1] != digits.size - 1:
        raise RegionError(f"RLE counts {short(counts)} end in the middle of a number: they are truncated")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > 7:  # 35 bits: no run of a frame needs more, and int64 cannot overflow below
        raise RegionError(f"RLE counts {short(counts)} hold a number of {lengths.max()} digits: they are damaged")
    position = np.arange(digits.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((digits & 31) << (5 * position), starts)
    runs -= np.where(digits[ends] & 16, 1 << (5 * lengths), 0)
    for parity in (1, 2):  # the first three are plain
        runs[parity::2] = np.cumsum(runs[parity::2])
    runs.setflags(write=False)
    return runs


# Records repeat the masks of their objects, and read them to check and again to draw.
_remembered_runs = lru_cache(maxsize=4096)(_decoded_runs)
