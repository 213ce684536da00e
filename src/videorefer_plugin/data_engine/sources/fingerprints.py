"""Fingerprints of videos: their bytes, and the look of a few frames.

The look survives another encoding and another size. It does not survive cutting, which changes the frames that are
compared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.data_engine.items import Source
from videorefer_plugin.errors import ConfigurationError, VideoError
from videorefer_plugin.video import load_image, open_video

__all__ = ["Fingerprint", "LookIndex", "take_fingerprint"]

_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # positions of the compared frames, as shares of the clip
_SIDE = 16  # of the perceptual hash: 256 bits per frame
_CELLS = 8  # side of the thumbnail
_FLAT = 3.0  # gray levels; with less contrast, the hash of a frame is random
_FEWEST = 3  # frames with contrast that a comparison by look needs
_SMALL = 128  # pixels of the shorter side, below which encoding changes a picture a lot

# The largest average differences of copies in bits (of 256) and levels of color. Measured: copies of real clips at a
# quarter of the size and CRF 38 stay below 18 bits and 18 levels, those of clips of 64 x 64 pixels below 61 and 49.
# Different clips of the shapes world differ by at least 85 bits and 77 levels, also with the same background.
_MOST = (40.0, 32.0)
_MOST_SMALL = (64.0, 56.0)


@dataclass(frozen=True)
class Fingerprint:
    """The fingerprint of a video.

    Attributes:
        content (`str`): digest of its bytes.
        bits (`np.ndarray`): `uint64` (20,), the perceptual hashes of five frames.
        cells (`np.ndarray`): `uint8` (5, 192), a thumbnail of each.
        is_small (`bool`): whether its frames are small.
        is_plain (`bool`): whether its frames have too little contrast for a comparison of hashes.
    """

    content: str
    bits: NDArray[np.uint64]
    cells: NDArray[np.uint8]
    is_small: bool
    is_plain: bool


def take_fingerprint(source: Source) -> Fingerprint:
    """Return the fingerprint of a video from a few frames, or that of an image.

    Raises:
        VideoError: the source cannot be read.
        ConfigurationError: `imagehash` is not installed.
    """
    if source.kind == "image":
        picture = load_image(source.path)
        try:
            content = hashlib.blake2b(Path(source.path).read_bytes(), digest_size=16).hexdigest()
        except OSError as error:
            raise VideoError(f"{source.path} cannot be read ({error.strerror or error}).") from error
        return _of_frames(content, np.broadcast_to(picture, (len(_SHARES), *picture.shape)))
    video = open_video(source.path)
    places = [min(int(share * video.num_frames), video.num_frames - 1) for share in _SHARES]
    return _of_frames(video.digest(), video.read(places))


def _of_frames(content: str, frames: NDArray[np.uint8]) -> Fingerprint:
    try:
        import imagehash
    except ImportError as error:
        raise ConfigurationError(
            "Videos that are there twice are found with imagehash: pip install 'videorefer-plugin[engine]', or set "
            "source.deduplicate to false and give no source.exclude."
        ) from error
    from PIL import Image

    pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    flat = [np.asarray(picture.convert("L")).std() < _FLAT for picture in pictures]
    hashes = [
        np.zeros(_SIDE * _SIDE, dtype=bool) if is_flat else imagehash.phash(picture, hash_size=_SIDE).hash.ravel()
        for picture, is_flat in zip(pictures, flat, strict=True)
    ]
    cells = [np.asarray(picture.resize((_CELLS, _CELLS), Image.Resampling.BOX)).ravel() for picture in pictures]
    return Fingerprint(
        content,
        np.packbits(np.stack(hashes)).view(np.uint64),
        np.stack(cells),
        min(frames.shape[1:3]) < _SMALL,
        len(flat) - sum(flat) < _FEWEST,
    )


def _ones(words: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return the number of set bits in each column."""
    if hasattr(np, "bitwise_count"):  # from NumPy 2 on, and much faster
        return np.bitwise_count(words).sum(0, dtype=np.uint16)
    octets = words.view(np.uint8).reshape(*words.shape, 8)
    return np.unpackbits(octets, axis=2).sum((0, 2), dtype=np.uint16)


class LookIndex:
    """An index of fingerprints, of 1.1 kB each, that are all compared at once."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._contents: dict[str, str] = {}
        self._bits = np.empty((len(_SHARES) * _SIDE * _SIDE // 64, 0), dtype=np.uint64)  # sums over columns are fast
        self._cells = np.empty((0, len(_SHARES), 3 * _CELLS * _CELLS), dtype=np.uint8)
        self._is_small = np.empty(0, dtype=bool)

    def add(self, found: Fingerprint, name: str) -> None:
        """Add a fingerprint under a name."""
        self._contents.setdefault(found.content, name)
        if found.is_plain:
            return
        count = len(self._names)
        if count == len(self._is_small):
            more = max(64, count)
            self._bits = np.pad(self._bits, ((0, 0), (0, more)))
            self._cells = np.pad(self._cells, ((0, more), (0, 0), (0, 0)))
            self._is_small = np.pad(self._is_small, (0, more))
        self._bits[:, count], self._cells[count], self._is_small[count] = found.bits, found.cells, found.is_small
        self._names.append(name)

    def same_content(self, found: Fingerprint) -> str | None:
        """Return the name of the first fingerprint with the same bytes."""
        return self._contents.get(found.content)

    def same_look(self, found: Fingerprint) -> str | None:
        """Return the name of the most similar fingerprint, if it is a copy."""
        count = len(self._names)
        if found.is_plain or not count:
            return None
        bits = _ones(self._bits[:, :count] ^ found.bits[:, None]) / len(_SHARES)
        small = self._is_small[:count] | found.is_small
        near = np.flatnonzero(bits <= np.where(small, _MOST_SMALL[0], _MOST[0]))
        for place in near[np.argsort(bits[near], kind="stable")]:
            apart = np.abs(self._cells[place].astype(np.int16) - found.cells).max(1).mean()
            if apart <= (_MOST_SMALL[1] if small[place] else _MOST[1]):
                return self._names[place]
        return None
