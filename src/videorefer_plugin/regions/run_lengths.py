"""The run lengths of COCO masks, plain and compressed.

pycocotools trusts its input, and would read or write past its buffers; so everything is checked here first.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import short
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.reading import MAX_PIXELS, check_pixels, is_integer

MAX_RUNS = 5_000_000
"""The limit for one mask, which takes 40 MB; white noise on a 4K frame has 4.1 million."""

_MAX_DIGITS = 7  # of a number in compressed counts: 35 bits, which no run of a frame needs
_REMEMBERED_BYTES = 1024  # longer counts are not kept


def read_size(size: Any) -> tuple[int, int]:
    """Return the [height, width] of an RLE."""
    sides = list(size) if isinstance(size, (list, tuple, np.ndarray)) else []
    if len(sides) != 2 or not (is_integer(sides[0]) and is_integer(sides[1]) and min(sides) > 0):
        raise RegionError(f"RLE size is [height, width], two whole numbers of pixels above 0, got {short(size)}")
    height, width = int(sides[0]), int(sides[1])
    check_pixels(height, width, "RLE")
    return height, width


def read_runs(counts: Any) -> NDArray[np.int64]:
    """Read and check run lengths, plain or compressed, zeros first."""
    if isinstance(counts, (str, bytes, bytearray)):
        runs = compressed_runs(counts)
    elif isinstance(counts, (list, tuple, np.ndarray)):
        _check_number(len(counts))
        bad = [count for count in counts if not (is_integer(count) and 0 <= count <= MAX_PIXELS)]
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
    """Return the run lengths of compressed counts: digits of 5 bits, low first, each run less the second to last."""
    if len(counts) > _MAX_DIGITS * MAX_RUNS:
        _check_number(len(counts) // _MAX_DIGITS)
    text = counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else bytes(counts)
    return _remembered_runs(text) if len(text) <= _REMEMBERED_BYTES else _decoded_runs(text)


def _decoded_runs(text: bytes) -> NDArray[np.int64]:
    counts = text.decode("utf-8", "replace")
    digits = np.frombuffer(text, dtype=np.uint8) - np.uint8(48)  # of a byte below '0', it is above 63
    if digits.size == 0:
        return digits.astype(np.int64)
    if digits.max() > 63:
        at = int(np.flatnonzero(digits > 63)[0])
        raise RegionError(
            f"RLE counts hold the byte {text[at : at + 1]!r} at position {at}, which is not in the alphabet of "
            f"compressed RLE ('0' to 'o'): {short(counts)} is damaged, or escaped twice"
        )
    ends = (digits < 32).nonzero()[0]
    _check_number(ends.size)
    if ends.size == 0 or ends[-1] != digits.size - 1:
        raise RegionError(f"RLE counts {short(counts)} end in the middle of a number: they are truncated")
    lengths = ends.copy()
    lengths[0] += 1
    lengths[1:] -= ends[:-1]
    longest = int(lengths.max())
    if longest > _MAX_DIGITS:  # int64 cannot overflow below
        raise RegionError(f"RLE counts {short(counts)} hold a number of {longest} digits: they are damaged")
    runs = (digits[ends].astype(np.int64) ^ 16) - 16  # the highest digit, whose highest bit is the sign
    for place in range(1, longest):
        some = (lengths > place).nonzero()[0]
        runs[some] = (runs[some] << 5) + (digits[ends[some] - place] & np.uint8(31))
    for parity in (1, 2):  # the first three are plain
        part = runs[parity::2]
        part.cumsum(out=part)
    runs.setflags(write=False)
    return runs


def _check_number(runs: int) -> None:
    if runs > MAX_RUNS:
        raise RegionError(
            f"RLE counts hold {runs} runs, more than {MAX_RUNS}, which no mask of an object has: they are damaged"
        )


# Records repeat the masks of their objects, and read them once to check and again to draw.
_remembered_runs = lru_cache(maxsize=4096)(_decoded_runs)
